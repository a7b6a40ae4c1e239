// kernels.cu for the processor: a block's threads take turns, on stacks of their own, wherever they wait for each
// other. Compiled while tests run, by emulated.rs.

#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <memory>
#include <ucontext.h>

#define __device__
#define __global__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static thread_local

using std::exp;
using std::sqrt;
using std::tanh;

template <class N> N min(N a, N b) { return b < a ? b : a; }

struct Index {
    unsigned x;
};
static thread_local Index blockIdx, threadIdx;

static constexpr int WARP = 32;
static_assert(THREADS % WARP == 0, "whole warps");

// The block that this thread of the processor is at. Its threads are made once, and each goes from block to block:
// jumps are all that it takes to have them take turns.
struct Block {
    static constexpr size_t STACK = 64 * 1024;
    jmp_buf turns, thread[THREADS];
    bool done[THREADS];
    unsigned shuffles[THREADS] = {};
    double shuffled[2][THREADS];
    std::unique_ptr<char[]> stacks{new char[STACK * THREADS]};
    void (*kernel)(const void *);
    const void *parameters;
};
static thread_local std::unique_ptr<Block> block;

// Lets every other thread come as far.
static void __syncthreads() {
    if (!_setjmp(block->thread[threadIdx.x])) _longjmp(block->turns, 1);
}

static double __shfl_down_sync(unsigned, double value, int distance) {
    const unsigned own = threadIdx.x, from = own + distance;
    // No thread is two shuffles ahead of another.
    double *shuffled = block->shuffled[block->shuffles[own]++ % 2];
    shuffled[own] = value;
    __syncthreads();
    return from / WARP == own / WARP ? shuffled[from] : value;
}

static void run_thread() {
    for (;;) {
        __syncthreads();
        block->kernel(block->parameters);
        block->done[threadIdx.x] = true;
    }
}

static void make_block() {
    block.reset(new Block);
    for (unsigned i = 0; i < THREADS; ++i) {
        ucontext_t context;
        getcontext(&context);
        context.uc_stack.ss_sp = block->stacks.get() + Block::STACK * i;
        context.uc_stack.ss_size = Block::STACK;
        makecontext(&context, run_thread, 0);
        threadIdx.x = i;
        if (!_setjmp(block->turns)) setcontext(&context);
    }
}

static void run_block() {
    for (bool &done : block->done) done = false;
    for (bool all_done = false; !all_done;) {
        all_done = true;
        for (threadIdx.x = 0; threadIdx.x < THREADS; ++threadIdx.x) {
            if (block->done[threadIdx.x]) continue;
            if (!_setjmp(block->turns)) _longjmp(block->thread[threadIdx.x], 1);
            all_done &= block->done[threadIdx.x];
        }
    }
}

#include "kernels.cu"

// `kernel` is one of the following.
extern "C" int run(void (*kernel)(const void *), unsigned blocks, unsigned threads, const void *parameters) {
    if (threads != THREADS) return 1;
    if (!block) make_block();
    block->kernel = kernel;
    block->parameters = parameters;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) run_block();
    return 0;
}

extern "C" void emulated_sum(const void *p) { sum(*static_cast<const Sum *>(p)); }
extern "C" void emulated_pointwise(const void *p) { pointwise(*static_cast<const Pointwise *>(p)); }
extern "C" void emulated_permute(const void *p) { permute(*static_cast<const Permute *>(p)); }
extern "C" void emulated_slopes(const void *p) { slopes(*static_cast<const Slopes *>(p)); }
extern "C" void emulated_pullback(const void *p) { pullback(*static_cast<const Pullback *>(p)); }
