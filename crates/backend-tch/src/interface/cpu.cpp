// Part of the C interface of libtorch that scripts/setup-libtorch.sh compiles: settings that torch-sys has no call for.

#include <ATen/Context.h>
#include <cstddef>
#include <cstdint>

extern "C" {

// Allows or forbids TF32 in matrix products and in convolutions.
void maflow_allow_tf32(bool allow) noexcept {
    at::globalContext().setAllowTF32CuBLAS(allow);
    at::globalContext().setAllowTF32CuDNN(allow);
}

// Has CUDA devices do convolutions by methods alone that give the same bits for the same numbers.
void maflow_same_bits_again() noexcept { at::globalContext().setDeterministicCuDNN(true); }

// Has this thread, and the threads of libtorch that it starts, treat denormal numbers as zero.
void maflow_flush_denormals() noexcept { at::Context::setFlushDenormal(true); }

// Calls from libtorch back into torch-sys, to read and write streams. maflow uses none: they fail.
bool tch_write_stream_destructor(void *) { return false; }
bool tch_write_stream_write(void *, const uint8_t *, size_t, size_t *) { return false; }
bool tch_read_stream_destructor(void *) { return false; }
bool tch_read_stream_stream_position(void *, uint64_t *) { return false; }
bool tch_read_stream_seek_start(void *, uint64_t, uint64_t *) { return false; }
bool tch_read_stream_seek_end(void *, int64_t, uint64_t *) { return false; }
bool tch_read_stream_read(void *, uint8_t *, size_t, size_t *) { return false; }
}
