//! Settings of libtorch that torch-sys has no call for: TF32, the same bits again, denormal numbers. libtorch has to be
//! loaded, as for everything else of it.

use std::sync::atomic::{AtomicBool, Ordering};

// Of `interface/cpu.cpp`; no exception leaves them.
unsafe extern "C" {
    safe fn maflow_allow_tf32(allow: bool);
    safe fn maflow_same_bits_again();
    safe fn maflow_flush_denormals();
}

/// Allows or forbids TF32 in matrix products (libtorch's own default: forbidden) and convolutions (its default:
/// allowed).
pub(crate) fn allow_tf32(allow: bool) {
    maflow_allow_tf32(allow);
    TF32.store(allow, Ordering::Relaxed);
}

/// What [`allow_tf32`] was last told.
static TF32: AtomicBool = AtomicBool::new(false);

/// Whether TF32 is allowed.
pub(crate) fn tf32() -> bool {
    TF32.load(Ordering::Relaxed)
}

/// Lets CUDA devices do convolutions by methods alone that give the same bits for the same numbers.
pub(crate) fn same_bits_again() {
    maflow_same_bits_again();
}

/// Has this thread, and the threads of libtorch that it starts, treat denormal numbers as zero: saturated sigmoids make
/// them by the million, and each costs a hundred cycles or more. It is libtorch's own setting, whose work these threads
/// do. Rust code that runs on them afterwards may see zeros for denormal numbers, though the compiler assumes
/// otherwise.
pub(crate) fn flush_denormals() {
    maflow_flush_denormals();
}
