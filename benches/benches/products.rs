//! What do the tiles of `backend-ndarray` gain over general matrix products? A block of 25 rows, as four threads have
//! of a batch of 100, times 1024 × 1024 numbers that stay the same, on one thread: the product of an evaluation in the
//! feature space of the paper's model of the digits.

use backend_ndarray::bench::RightFactor;
use backend_ndarray::{Cpu, Real};
use criterion::{BenchmarkId, Criterion, Throughput};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ShapeBuilder};

const ROWS: usize = 25;
const SIDE: usize = 1024;

/// A column-major matrix of numbers that differ.
fn matrix<T: Real>(rows: usize, columns: usize) -> Array2<T> {
    Array2::from_shape_fn((rows, columns).f(), |(i, j)| T::of(((i * 7 + j * 3) % 11) as f64 - 5.0))
}

/// `out ← left · right` by the crate `gemm`, which adds to nothing.
fn by_gemm<T: Real>(out: &mut Array2<T>, left: &Array2<T>, right: &Array2<T>) {
    let ((m, k), n) = (left.dim(), right.ncols());
    // SAFETY: all three are contiguous, column-major and of these shapes; `out` is borrowed alone.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            m as isize,
            1,
            false,
            left.as_ptr(),
            m as isize,
            1,
            right.as_ptr(),
            k as isize,
            1,
            T::zero(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn products<T: Real>(criterion: &mut Criterion, precision: &str) {
    let (left, right) = (matrix::<T>(ROWS, SIDE), matrix::<T>(SIDE, SIDE));
    let mut out = matrix::<T>(ROWS, SIDE);
    let packed = RightFactor::new(&Cpu::new(1), right.view());
    let mut group = criterion.benchmark_group("25 × 1024 · 1024 × 1024");
    group.throughput(Throughput::Elements((2 * ROWS * SIDE * SIDE) as u64));
    group.bench_function(BenchmarkId::new("tiles", precision), |bencher| {
        bencher.iter(|| packed.product(&mut out, &left))
    });
    group.bench_function(BenchmarkId::new("gemm", precision), |bencher| {
        bencher.iter(|| by_gemm(&mut out, &left, &right))
    });
    group.bench_function(BenchmarkId::new("matrixmultiply", precision), |bencher| {
        bencher.iter(|| general_mat_mul(T::one(), &left, &right, T::zero(), &mut out));
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    products::<f32>(&mut criterion, "f32");
    products::<f64>(&mut criterion, "f64");
    criterion.final_summary();
}
