// The pointwise work of a solve on a CUDA device, one launch per operation. Compiled while the program runs, by
// kernels.rs, which has the same structures, field by field, and says what REAL, WIDE, THREADS and MOST_TERMS are.

typedef REAL T;  // of most numbers
typedef WIDE A;  // of the factors of products and what comes of them
constexpr int W = 16 / sizeof(T);
struct alignas(16) V {
    T at[W];
};

__device__ __forceinline__ bool aligned(const void *p) { return (reinterpret_cast<unsigned long long>(p) & 15) == 0; }

// The first `count` numbers at `from`, zeros after them; all of them at once where they may be.
__device__ __forceinline__ V load(const T *from, int count) {
    V out = {};
    if (count == W && aligned(from)) return *reinterpret_cast<const V *>(from);
    for (int w = 0; w < W; ++w)
        if (w < count) out.at[w] = from[w];
    return out;
}

__device__ __forceinline__ void store(T *to, const V &value, int count) {
    if (count == W && aligned(to)) {
        *reinterpret_cast<V *>(to) = value;
        return;
    }
    for (int w = 0; w < W; ++w)
        if (w < count) to[w] = value.at[w];
}

// W numbers that may be wider, 32 bytes at most.
struct alignas(16) U {
    A at[W];
};

__device__ __forceinline__ U load_wide(const A *from, int count) {
    U out = {};
    if (count == W && aligned(from)) return *reinterpret_cast<const U *>(from);
    for (int w = 0; w < W; ++w)
        if (w < count) out.at[w] = from[w];
    return out;
}

__device__ __forceinline__ void store_wide(A *to, const U &value, int count) {
    if (count == W && aligned(to)) {
        *reinterpret_cast<U *>(to) = value;
        return;
    }
    for (int w = 0; w < W; ++w)
        if (w < count) to[w] = value.at[w];
}

// sum_i c_i term_i; a term is of A where its bit of `wide` is set (1, 2, 4, ...), else of T.
struct Terms {
    int count, wide;
    const void *term[MOST_TERMS];
    double c[MOST_TERMS];
};

__device__ __forceinline__ U load_either(const void *from, long long i, int count, bool wide) {
    if (wide) return load_wide(static_cast<const A *>(from) + i, count);
    const V narrow = load(static_cast<const T *>(from) + i, count);
    U out;
    for (int w = 0; w < W; ++w) out.at[w] = narrow.at[w];
    return out;
}

__device__ __forceinline__ void store_either(void *to, long long i, const U &value, int count, bool wide) {
    if (wide) {
        store_wide(static_cast<A *>(to) + i, value, count);
        return;
    }
    V narrow;
    for (int w = 0; w < W; ++w) narrow.at[w] = T(value.at[w]);
    store(static_cast<T *>(to) + i, narrow, count);
}

__device__ __forceinline__ void add_terms(U &out, const Terms &p, long long i, int count) {
    for (int m = 0; m < p.count; ++m) {
        const U term = load_either(p.term[m], i, count, p.wide >> m & 1);
        for (int w = 0; w < W; ++w) out.at[w] += A(p.c[m]) * term.at[w];
    }
}

// out <- keep out + base + the terms, of n numbers; base may be missing, and keep = 0 overwrites.
struct Sum {
    void *out;
    const void *base;
    double keep;
    long long n;
    int out_wide, base_wide;
    Terms terms;
};

extern "C" __global__ void __launch_bounds__(THREADS) sum(const __grid_constant__ Sum p) {
    const long long i = (blockIdx.x * (long long)THREADS + threadIdx.x) * W;
    if (i >= p.n) return;
    const int count = min((long long)W, p.n - i);
    U out = {};
    if (p.keep != 0) {
        out = load_either(p.out, i, count, p.out_wide);
        for (int w = 0; w < W; ++w) out.at[w] *= A(p.keep);
    }
    if (p.base) {
        const U base = load_either(p.base, i, count, p.base_wide);
        for (int w = 0; w < W; ++w) out.at[w] += base.at[w];
    }
    add_terms(out, p.terms, i, count);
    store_either(p.out, i, out, count, p.out_wide);
}

// out <- keep out + c a b (quotient 0), or out + c a / (sqrt(scale b) + epsilon) (quotient 1), of n numbers; keep = 0
// overwrites.
struct Pointwise {
    T *out;
    const T *a;
    const T *b;
    long long n;
    double keep, c, scale, epsilon;
    int quotient;
};

extern "C" __global__ void __launch_bounds__(THREADS) pointwise(const __grid_constant__ Pointwise p) {
    const long long i = (blockIdx.x * (long long)THREADS + threadIdx.x) * W;
    if (i >= p.n) return;
    const int count = min((long long)W, p.n - i);
    const V a = load(p.a + i, count), b = load(p.b + i, count);
    V out = {};
    if (p.keep != 0) {
        out = load(p.out + i, count);
        for (int w = 0; w < W; ++w) out.at[w] *= T(p.keep);
    }
    for (int w = 0; w < W; ++w) {
        const T by = p.quotient ? T(1) / (sqrt(T(p.scale) * b.at[w]) + T(p.epsilon)) : b.at[w];
        out.at[w] += T(p.c) * a.at[w] * by;
    }
    store(p.out + i, out, count);
}

// Row r of out <- that element of the table, applied to row r of x, whose number is in this column of row r of
// `element`.
struct Permute {
    T *out;
    const T *x;
    const int *source;
    const T *sign;
    const T *element;
    int columns, column, stride;
};

extern "C" __global__ void __launch_bounds__(THREADS) permute(const __grid_constant__ Permute p) {
    const long long row = blockIdx.x, element = (long long)p.element[row * p.stride + p.column];
    const T sign = p.sign[element];
    for (int i = threadIdx.x; i < p.columns; i += THREADS)
        p.out[row * p.columns + i] = sign * p.x[row * p.columns + p.source[element * p.columns + i]];
}

// f'' from s = f'.
__device__ __forceinline__ T curvature(T s, bool softplus) {
    return softplus ? s * (T(1) - s) : (T(1) - s) * (T(1) + s);
}

// The sum over the threads of a block, for its first thread, always in the same order.
__device__ __forceinline__ double block_sum(double value) {
    __shared__ double parts[THREADS / 32];
    for (int distance = 16; distance; distance /= 2) value += __shfl_down_sync(~0u, value, distance);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = 0;
    for (int i = 0; i < THREADS / 32; ++i) value += parts[i];
    return value;
}

// s <- f'(a + base + moving) of one row per block, velocity <- v s, out <- start + terms + c velocity, laplacian <-
// sum_j curved_j f''_j; base (one row, or one for every row), moving (one row), velocity, out and laplacian may be
// missing.
struct Slopes {
    const A *a;
    T *s;
    const T *base;
    const T *moving;
    T *velocity;
    const T *v;
    const T *curved;
    double *laplacian;
    int columns, base_rows, softplus, out_wide, start_wide;
    void *out;
    const void *start;
    Terms terms;
    double c;
};

extern "C" __global__ void __launch_bounds__(THREADS) slopes(const __grid_constant__ Slopes p) {
    const long long start = blockIdx.x * (long long)p.columns;
    double laplacian = 0;
    for (int i = threadIdx.x * W; i < p.columns; i += THREADS * W) {
        const int count = min(W, p.columns - i);
        U a = load_wide(p.a + start + i, count);
        if (p.base) {
            const V base = load(p.base + (p.base_rows == 1 ? 0 : start) + i, count);
            for (int w = 0; w < W; ++w) a.at[w] += base.at[w];
        }
        if (p.moving) {
            const V moving = load(p.moving + i, count);
            for (int w = 0; w < W; ++w) a.at[w] += moving.at[w];
        }
        V s;
        for (int w = 0; w < W; ++w) s.at[w] = p.softplus ? T(1) / (T(1) + exp(-T(a.at[w]))) : tanh(T(a.at[w]));
        store(p.s + start + i, s, count);
        if (p.velocity) {
            V velocity = load(p.v + i, count);
            for (int w = 0; w < W; ++w) velocity.at[w] *= s.at[w];
            store(p.velocity + start + i, velocity, count);
            if (p.out) {
                U out = load_either(p.start, start + i, count, p.start_wide);
                add_terms(out, p.terms, start + i, count);
                for (int w = 0; w < W; ++w) out.at[w] += A(p.c) * velocity.at[w];
                store_either(p.out, start + i, out, count, p.out_wide);
            }
        }
        if (p.laplacian) {
            // Zeros of `curved` keep what lies after the row out.
            const V curved = load(p.curved + i, count);
            for (int w = 0; w < W; ++w) laplacian += curved.at[w] * curvature(s.at[w], p.softplus);
        }
    }
    if (!p.laplacian) return;
    laplacian = block_sum(laplacian);
    if (threadIdx.x == 0) p.laplacian[blockIdx.x] = laplacian;
}

// Of slopes s = f' (columns numbers per row, one row per block), with cotangents u of v s (of s where v is missing), a
// sum, and l of the Laplacian: a_bar <- f'' s_bar + l curved f''', copy <- from where there is something to copy, and
// for every function of time, of value b_m: amplitude_m += b_m s u, curvature_m += b_m l f'', argument_m += b_m a_bar,
// where there is room for them.
struct Pullback {
    const T *s;
    Terms u;
    const T *v;
    const T *curved;
    const double *l;
    A *a_bar;
    const A *from;
    A *copy;
    int columns, functions, softplus;
    double b[MOST_TERMS];
    T *amplitude[MOST_TERMS];
    T *curvature[MOST_TERMS];
    T *argument[MOST_TERMS];
};

__device__ __forceinline__ void add(T *to, double b, const V &value, int count) {
    V sum = load(to, count);
    for (int w = 0; w < W; ++w) sum.at[w] += T(b) * value.at[w];
    store(to, sum, count);
}

extern "C" __global__ void __launch_bounds__(THREADS) pullback(const __grid_constant__ Pullback p) {
    const long long start = blockIdx.x * (long long)p.columns;
    const T l = p.l ? T(p.l[blockIdx.x]) : T(0);
    for (int i = threadIdx.x * W; i < p.columns; i += THREADS * W) {
        const int count = min(W, p.columns - i);
        const long long at = start + i;
        const V s = load(p.s + at, count), curved = load(p.curved + i, count);
        U sum = {};
        add_terms(sum, p.u, at, count);
        V u;
        for (int w = 0; w < W; ++w) u.at[w] = T(sum.at[w]);
        if (p.copy) store_wide(p.copy + at, load_wide(p.from + at, count), count);
        V s_bar = u, product, bent, a_bar;
        U wide_bar;
        if (p.v) {
            const V v = load(p.v + i, count);
            for (int w = 0; w < W; ++w) s_bar.at[w] *= v.at[w];
        }
        for (int w = 0; w < W; ++w) {
            const T second = curvature(s.at[w], p.softplus);
            // f''' = f'' (1 - 2s) for softplus and -2s f'' for ln cosh.
            const T third = second * (p.softplus ? T(1) - 2 * s.at[w] : -2 * s.at[w]);
            product.at[w] = s.at[w] * u.at[w];
            bent.at[w] = l * second;
            a_bar.at[w] = second * s_bar.at[w] + l * curved.at[w] * third;
            wide_bar.at[w] = a_bar.at[w];
        }
        store_wide(p.a_bar + at, wide_bar, count);
        for (int m = 0; m < p.functions; ++m) {
            if (p.amplitude[m]) add(p.amplitude[m] + at, p.b[m], product, count);
            if (p.curvature[m] && p.l) add(p.curvature[m] + at, p.b[m], bent, count);
            if (p.argument[m]) add(p.argument[m] + at, p.b[m], a_bar, count);
        }
    }
}
