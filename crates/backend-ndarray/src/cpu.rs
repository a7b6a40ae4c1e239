//! Arrays in the main memory and the pool of threads that works on blocks of their rows.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use flow_core::{Activation, Factor, MomentStep, Precision, Quotient, Space, map_by};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, Zip, s};
use rayon::prelude::*;

use crate::arrays::{column, numbers, numbers_mut, zeros};
use crate::gemm::product;
use crate::real::Real;

/// The least and the greatest number of rows of a block of a large batch. Each block reads the potential's matrices
/// once per stage, so high blocks need less of the memory; low ones give work to more threads.
const BLOCK_ROWS: [usize; 2] = [8, 32];

/// Blocks of a large batch are a multiple of this many, so that two or four threads have equally much to do.
const BLOCKS: usize = 4;

/// Blocks that so many rows are cut into, equally high but for one row. (With blocks of 16 rows and a rest of 4, for a
/// batch of 100, one of two threads would have 64 rows to do and the other 36.)
fn blocks(rows: usize) -> usize {
    let most = rows.div_ceil(BLOCK_ROWS[0]);
    if most <= BLOCKS { most } else { BLOCKS * rows.div_ceil(BLOCKS * BLOCK_ROWS[1]) }
}

/// Columns per thread's share of one large product.
const PRODUCT_COLUMNS: usize = 64;

/// Numbers per thread's share of large element-wise work, as an optimiser has it.
const PIECE: usize = 1 << 15;

/// The CPU as a [`Space`]: column-major `ndarray` matrices of `f32` or `f64`, and a pool of threads.
///
/// ```
/// use backend_ndarray::Cpu;
/// use flow_core::Space;
/// let cpu = Cpu::<f32>::new(1);
/// let a = cpu.upload(1, 2, &[3.0, 4.0]);
/// assert_eq!(cpu.dot(&a, &a), 25.0);
/// ```
#[derive(Debug, Clone)]
pub struct Cpu<T> {
    pool: Arc<rayon::ThreadPool>,
    precision: PhantomData<T>,
}

impl<T: Real> Cpu<T> {
    /// A pool of `threads` threads (0: one per core).
    ///
    /// # Panics
    /// When the system cannot start the threads.
    pub fn new(threads: usize) -> Self {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("maflow-{i}"))
            .start_handler(|_| flush_denormals())
            .build()
            .expect("the system starts a few threads");
        Self { pool: Arc::new(pool), precision: PhantomData }
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Does work that asks for threads, in the pool.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// `out ← keep · out + a · b` with the columns of the result shared among the threads; the cut is the same for any
    /// number of them.
    pub(crate) fn product(&self, mut out: ArrayViewMut2<'_, T>, keep: f64, a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) {
        let blocks: Vec<_> = out
            .axis_chunks_iter_mut(Axis(1), PRODUCT_COLUMNS)
            .zip(b.axis_chunks_iter(Axis(1), PRODUCT_COLUMNS))
            .collect();
        self.pool.install(|| blocks.into_par_iter().for_each(|(out, b)| product(out, keep, a, b)));
    }

    /// Element-wise work on the same pieces of several matrices of one shape, shared among the threads where they are
    /// large.
    fn pieces<const N: usize>(
        &self,
        out: &mut Array2<T>,
        terms: [&Array2<T>; N],
        work: impl Fn(&mut [T], [&[T]; N]) + Sync,
    ) {
        terms.iter().for_each(|term| assert_eq!(term.dim(), out.dim(), "matrices of one shape"));
        let (out, terms) = (numbers_mut(out), terms.map(numbers));
        if out.len() <= PIECE {
            return work(out, terms);
        }
        self.pool.install(|| {
            out.par_chunks_mut(PIECE).enumerate().for_each(|(i, out)| {
                let range = i * PIECE..i * PIECE + out.len();
                work(out, terms.map(|term| &term[range.clone()]));
            });
        });
    }

    /// Matrices of equally many columns one below the other.
    pub(crate) fn stacked(&self, cols: usize, parts: &[&Array2<T>]) -> Array2<T> {
        let rows: usize = parts.iter().map(|part| part.nrows()).sum();
        let mut out = zeros(rows, cols);
        if rows > 0 {
            let stack = |(j, out): (usize, &mut [T])| {
                let mut rest = out;
                for part in parts {
                    let (here, below) = rest.split_at_mut(part.nrows());
                    here.copy_from_slice(column(part, j));
                    rest = below;
                }
            };
            self.pool
                .install(|| numbers_mut(&mut out).par_chunks_mut(rows).enumerate().with_min_len(32).for_each(stack));
        }
        out
    }

    /// `aᵀ` in the layout of the space.
    pub(crate) fn transposed(&self, a: &Array2<T>) -> Array2<T> {
        let mut out = zeros(a.ncols(), a.nrows());
        let from = a.t();
        // Runs of 64 bytes of 32-bit numbers, a line of the caches.
        const COLUMNS: usize = 16;
        let blocks: Vec<_> =
            out.axis_chunks_iter_mut(Axis(1), COLUMNS).zip(from.axis_chunks_iter(Axis(1), COLUMNS)).collect();
        self.pool.install(|| {
            blocks.into_par_iter().for_each(|(mut out, from)| {
                // Row by row of the block: reads then run along the columns of `a`, and writes stay in the cache.
                for (mut out, from) in out.rows_mut().into_iter().zip(from.rows()) {
                    out.assign(&from);
                }
            });
        });
        out
    }
}

/// Has this thread treat denormal numbers as zero as long as it lives: only threads of a pool that do nothing but the
/// work of a [`Cpu`]. Saturated sigmoids make such numbers by the million, and each costs a hundred cycles or more on
/// many processors. Other threads keep them, so an operation may differ by a denormal number from one to the other;
/// which operations go to the pool depends on sizes alone, never on the number of threads.
///
/// The standard library (`_mm_setcsr`) calls it undefined behaviour to change these bits around Rust code: the compiler
/// assumes their default, and may fold or move operations by it. Inline assembly does not change that. Here it can only
/// come to a denormal number where there was to be a zero, or a zero for it: nothing asks whether a number is denormal,
/// and rounding and exceptions stay as they were. What the library allows instead is one block of assembly for each
/// kernel.
#[cfg(target_arch = "x86_64")]
fn flush_denormals() {
    let mut control = 0u32;
    // Bits 15 and 6 of MXCSR: flush results to zero, take operands as zero. SAFETY: reads and writes this thread's own
    // control register through a valid pointer; what the compiler assumes of it, see above.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &mut control, options(nostack));
        control |= 0x8040;
        std::arch::asm!("ldmxcsr [{}]", in(reg) &control, options(nostack));
    }
}

/// Only x86-64 is slow on denormal numbers by default.
#[cfg(not(target_arch = "x86_64"))]
fn flush_denormals() {}

impl<T: Real> Space for Cpu<T> {
    type Array = Array2<T>;
    type Column = Vec<f64>;
    type Permutations = Permutations<T>;

    fn precision(&self) -> Precision {
        T::PRECISION
    }

    fn zeros(&self, rows: usize, cols: usize) -> Array2<T> {
        zeros(rows, cols)
    }

    fn shape(&self, array: &Array2<T>) -> (usize, usize) {
        array.dim()
    }

    fn upload(&self, rows: usize, cols: usize, values: &[f64]) -> Array2<T> {
        assert_eq!(values.len(), rows * cols, "a {rows} × {cols} matrix");
        // Some columns at a time: what is written stays in the nearest cache until all rows have written there.
        const COLUMNS: usize = 16;
        let mut out = zeros(rows, cols);
        for (c, out) in numbers_mut(&mut out).chunks_mut(COLUMNS * rows.max(1)).enumerate() {
            for r in 0..rows {
                let from = &values[r * cols + c * COLUMNS..(r + 1) * cols];
                out[r..].iter_mut().step_by(rows).zip(from).for_each(|(out, value)| *out = T::of(*value));
            }
        }
        out
    }

    fn download(&self, array: &Array2<T>) -> Vec<f64> {
        array.iter().map(|v| v.wide()).collect()
    }

    fn combine(&self, out: &mut Array2<T>, base: &Array2<T>, terms: &[(f64, &Array2<T>)]) {
        let c = |i: usize| T::of(terms[i].0);
        match terms {
            [] => out.assign(base),
            [(_, a)] => {
                let ca = c(0);
                Zip::from(out).and(base).and(*a).for_each(|o, b, a| *o = *b + ca * *a);
            }
            [(_, a), (_, d)] => {
                let (ca, cd) = (c(0), c(1));
                Zip::from(out).and(base).and(*a).and(*d).for_each(|o, b, a, d| *o = *b + (ca * *a + cd * *d));
            }
            _ => {
                let (first, rest) = terms.split_at(2);
                self.combine(out, base, first);
                self.accumulate(out, 1.0, rest);
            }
        }
    }

    fn accumulate(&self, out: &mut Array2<T>, keep: f64, terms: &[(f64, &Array2<T>)]) {
        let k = T::of(keep);
        let c = |i: usize| T::of(terms[i].0);
        match (terms, keep == 0.0) {
            ([], true) => out.fill(T::zero()),
            ([], false) => out.mapv_inplace(|o| k * o),
            ([(_, a), rest @ ..], true) => {
                let ca = c(0);
                Zip::from(&mut *out).and(*a).for_each(|o, a| *o = ca * *a);
                if !rest.is_empty() {
                    self.accumulate(out, 1.0, rest);
                }
            }
            ([(_, a)], false) => {
                let ca = c(0);
                self.pieces(out, [a], |out, [a]| out.iter_mut().zip(a).for_each(|(o, a)| *o = k * *o + ca * *a));
            }
            ([(_, a), (_, b)], false) => {
                let (ca, cb) = (c(0), c(1));
                Zip::from(out).and(*a).and(*b).for_each(|o, a, b| *o = k * *o + (ca * *a + cb * *b));
            }
            ([(_, a), (_, b), (_, d)], false) => {
                let (ca, cb, cd) = (c(0), c(1), c(2));
                Zip::from(out)
                    .and(*a)
                    .and(*b)
                    .and(*d)
                    .for_each(|o, a, b, d| *o = k * *o + (ca * *a + cb * *b + cd * *d));
            }
            (terms, false) => {
                let (first, rest) = terms.split_at(3);
                self.accumulate(out, keep, first);
                self.accumulate(out, 1.0, rest);
            }
        }
    }

    fn accumulate_product(&self, out: &mut Array2<T>, keep: f64, c: f64, a: &Array2<T>, b: &Array2<T>) {
        let (k, c) = (T::of(keep), T::of(c));
        self.pieces(out, [a, b], |out, [a, b]| {
            let factors = a.iter().zip(b);
            if keep == 0.0 {
                out.iter_mut().zip(factors).for_each(|(o, (a, b))| *o = c * *a * *b);
            } else {
                out.iter_mut().zip(factors).for_each(|(o, (a, b))| *o = k * *o + c * *a * *b);
            }
        });
    }

    fn accumulate_quotient(&self, out: &mut Array2<T>, c: f64, of: Quotient<'_, Array2<T>>) {
        let Quotient { numerator, square, scale, epsilon } = of;
        let (c, scale, epsilon) = (T::of(c), T::of(scale), T::of(epsilon));
        self.pieces(out, [numerator, square], |out, [n, s]| {
            let quotients = n.iter().zip(s).map(|(n, s)| c * *n / ((scale * *s).sqrt() + epsilon));
            out.iter_mut().zip(quotients).for_each(|(o, quotient)| *o += quotient);
        });
    }

    fn moment_step(
        &self,
        value: &mut Array2<T>,
        [first, second]: [&mut Array2<T>; 2],
        gradient: &Array2<T>,
        of: MomentStep,
    ) {
        [&*first, &*second, gradient].iter().for_each(|m| assert_eq!(m.dim(), value.dim(), "matrices of one shape"));
        let [value, first, second] = [value, first, second].map(numbers_mut);
        if value.len() <= PIECE {
            return T::moment_step(value, [first, second], numbers(gradient), of);
        }
        let moments = first.par_chunks_mut(PIECE).zip(second.par_chunks_mut(PIECE));
        let pieces = value.par_chunks_mut(PIECE).zip(moments).zip(numbers(gradient).par_chunks(PIECE));
        let step = |((value, (first, second)), gradient)| T::moment_step(value, [first, second], gradient, of);
        self.pool.install(|| pieces.for_each(step));
    }

    fn accumulate_scaled_rows(&self, out: &mut Array2<T>, c: f64, scale: &Vec<f64>, a: &Array2<T>) {
        for (mut out, a) in out.columns_mut().into_iter().zip(a.columns()) {
            for ((out, a), scale) in out.iter_mut().zip(a).zip(scale) {
                *out += T::of(c * scale) * *a;
            }
        }
    }

    fn row_dot(&self, out: &mut Vec<f64>, a: &Array2<T>, b: &Array2<T>) {
        out.fill(0.0);
        for (a, b) in a.columns().into_iter().zip(b.columns()) {
            for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                *out += a.wide() * b.wide();
            }
        }
    }

    fn dot(&self, a: &Array2<T>, b: &Array2<T>) -> f64 {
        assert_eq!(a.dim(), b.dim(), "matrices of one shape");
        let piece = |(a, b): (&[T], &[T])| {
            // Sums side by side need not wait for each other.
            let mut sums = [0.0; 8];
            for (a, b) in a.chunks(8).zip(b.chunks(8)) {
                sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a.wide() * b.wide());
            }
            sums.iter().sum::<f64>()
        };
        let pieces = numbers(a).par_chunks(PIECE).zip(numbers(b).par_chunks(PIECE)).map(piece);
        // In the order of the pieces, whichever thread came first.
        self.pool.install(|| pieces.collect::<Vec<f64>>()).into_iter().sum()
    }

    fn scaled_error(
        &self,
        error: &Array2<T>,
        before: &Array2<T>,
        after: &Array2<T>,
        absolute: f64,
        relative: f64,
    ) -> f64 {
        let mut greatest = 0.0f64;
        for ((error, before), after) in error.rows().into_iter().zip(before.rows()).zip(after.rows()) {
            let squares = error
                .iter()
                .zip(before)
                .zip(after)
                .map(|((e, b), a)| (e.wide() / (absolute + relative * b.wide().abs().max(a.wide().abs()))).powi(2));
            let root = (squares.sum::<f64>() / error.len() as f64).sqrt();
            if root.is_nan() {
                return root;
            }
            greatest = greatest.max(root);
        }
        greatest
    }

    fn column_zeros(&self, rows: usize) -> Vec<f64> {
        vec![0.0; rows]
    }

    fn upload_column(&self, values: &[f64]) -> Vec<f64> {
        values.to_vec()
    }

    fn download_column(&self, column: &Vec<f64>) -> Vec<f64> {
        column.clone()
    }

    fn column_accumulate(&self, out: &mut Vec<f64>, keep: f64, terms: &[(f64, &Vec<f64>)]) {
        for (r, out) in out.iter_mut().enumerate() {
            let kept = if keep == 0.0 { 0.0 } else { keep * *out };
            *out = terms.iter().fold(kept, |sum, (c, term)| sum + c * term[r]);
        }
    }

    fn column_product(&self, out: &mut Vec<f64>, a: &Vec<f64>, b: &Vec<f64>) {
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = a * b);
    }

    fn permutations(&self, source: &[Vec<u32>], sign: &[f64]) -> Permutations<T> {
        Permutations { source: source.to_vec(), sign: sign.iter().map(|s| T::of(*s)).collect() }
    }

    fn permute(&self, x: &Array2<T>, table: &Permutations<T>, elements: &Array2<T>, column: usize) -> Array2<T> {
        let rows = x.nrows();
        let elements: Vec<usize> = elements.column(column).iter().map(|g| g.wide() as usize).collect();
        assert!(elements.len() == rows, "one element for every row of {:?}", x.dim());
        let mut turned = self.zeros(rows, x.ncols());
        let (x, out) = (numbers(x), numbers_mut(&mut turned));
        // A few columns at a time: what is written stays in the nearest cache until all rows have written there.
        const COLUMNS: usize = 16;
        for (c, out) in out.chunks_mut(COLUMNS * rows.max(1)).enumerate() {
            for (r, &g) in elements.iter().enumerate() {
                let (source, sign) = (&table.source[g][c * COLUMNS..], table.sign[g]);
                for (out, &from) in out[r..].iter_mut().step_by(rows).zip(source) {
                    *out = sign * x[from as usize * rows + r];
                }
            }
        }
        turned
    }

    fn copy_columns(&self, out: &mut Array2<T>, first: usize, from: &Array2<T>, columns: Range<usize>) {
        let to = first..first + columns.len();
        out.slice_mut(s![.., to]).assign(&from.slice(s![.., columns]));
    }

    fn matmul(&self, out: &mut Array2<T>, keep: f64, a: Factor<'_, Array2<T>>, b: Factor<'_, Array2<T>>) {
        fn view<'a, T>(of: &Factor<'a, Array2<T>>) -> ArrayView2<'a, T> {
            match of {
                Factor::Plain(of) => of.view(),
                Factor::Transposed(of) => of.t(),
            }
        }
        product(out.view_mut(), keep, view(&a), view(&b));
    }

    fn activate(&self, out: &mut Array2<T>, activation: Activation, derivative: u8, a: &Array2<T>) {
        Zip::from(out).and(a).for_each(|out, a| *out = T::of(activation.derivative(derivative, a.wide())));
    }

    fn accumulate_scaled_columns(&self, out: &mut Array2<T>, keep: f64, c: f64, a: &Array2<T>, row: &Array2<T>) {
        let (k, c) = (T::of(keep), T::of(c));
        for ((mut out, a), factor) in out.columns_mut().into_iter().zip(a.columns()).zip(row) {
            let factor = c * *factor;
            if keep == 0.0 {
                Zip::from(&mut out).and(a).for_each(|out, a| *out = factor * *a);
            } else {
                Zip::from(&mut out).and(a).for_each(|out, a| *out = k * *out + factor * *a);
            }
        }
    }

    fn blocks(&self, rows: usize) -> usize {
        blocks(rows)
    }

    fn map_blocks<R: Send>(&self, blocks: Vec<Range<usize>>, work: impl Fn(Range<usize>) -> R + Sync) -> Vec<R> {
        map_by(blocks, work, |count, task| each(&self.pool, count, task))
    }
}

/// Does the tasks 0 to `count` − 1 in a pool.
fn each(pool: &rayon::ThreadPool, count: usize, task: &(dyn Fn(usize) + Sync)) {
    pool.install(|| (0..count).into_par_iter().for_each(task));
}

/// Signed permutations of the columns, see [`Space::permutations`].
#[derive(Debug)]
pub struct Permutations<T> {
    source: Vec<Vec<u32>>,
    sign: Vec<T>,
}

#[cfg(test)]
mod tests {
    use flow_core::{Purpose, RngKey, cut};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_cover_the_rows_whatever_the_threads() {
        let map = |threads, rows| {
            let cpu = Cpu::<f64>::new(threads);
            cpu.map_blocks(cut(rows, cpu.blocks(rows)), |r| r)
        };
        for rows in [0, 1, 15, 16, 17, 64, 65, 100, 128, 129, 256, 1000] {
            let one = map(1, rows);
            assert_eq!(one, map(3, rows));
            assert_eq!(one.iter().map(|r| r.len()).sum::<usize>(), rows);
            assert!(one.windows(2).all(|w| w[0].end == w[1].start));
            let heights = || one.iter().map(Range::len);
            assert!(heights().all(|height| (1..=BLOCK_ROWS[1]).contains(&height)));
            assert!(heights().max().unwrap_or(0) <= heights().min().unwrap_or(0) + 1);
        }
    }

    #[test]
    fn large_matrices_are_worked_on_as_small_ones_are() {
        let (cpu, other) = (Cpu::<f64>::new(2), Cpu::<f64>::new(1));
        for (rows, cols) in [(3, 5), (PIECE / 8, 9), (1, 3 * PIECE + 1)] {
            let matrix = |key: usize| {
                cpu.upload(rows, cols, &(0..rows * cols).map(|i| ((i * 7 + key) % 11) as f64 - 4.5).collect::<Vec<_>>())
            };
            let (a, b, start) = (matrix(1), matrix(2), matrix(3));
            let squares = a.mapv(|a| a * a);
            let mut out = start.clone();
            cpu.accumulate(&mut out, 0.5, &[(2.0, &a)]);
            assert_eq!(out, &start * 0.5 + &a * 2.0);
            cpu.accumulate_product(&mut out, 0.0, 3.0, &a, &b);
            assert_eq!(out, &a * 3.0 * &b);
            out.assign(&start);
            let of = Quotient { numerator: &b, square: &squares, scale: 4.0, epsilon: 1.0 };
            cpu.accumulate_quotient(&mut out, 2.0, of);
            let quotients = ndarray::Zip::from(&b).and(&squares).map_collect(|b, s| 2.0 * b / ((4.0 * s).sqrt() + 1.0));
            assert_eq!(out, &start + &quotients);
            // Multiples of a quarter: exact in any order.
            assert_eq!(cpu.dot(&a, &b), (&a * &b).sum());
            assert_eq!(cpu.dot(&quotients, &b), other.dot(&quotients, &b));
        }
    }

    fn one_pass_is_the_operations<T: Real>(rows: usize, cols: usize, of: MomentStep, key: u64) {
        let cpu = Cpu::<T>::new(2);
        let normals = |which| RngKey::new(key, Purpose::Sample, which).normals(0..rows, cols);
        let mut plain = [0, 1, 2, 3].map(|which| cpu.upload(rows, cols, &normals(which)));
        plain[2].mapv_inplace(|square| square * square);
        let mut fast = plain.clone();
        let [value, first, second, gradient] = &mut plain;
        of.by_operations(&cpu, value, [first, second], gradient);
        let [value, first, second, gradient] = &mut fast;
        cpu.moment_step(value, [first, second], gradient, of);
        assert_eq!(fast, plain);
    }

    proptest! {
        #[test]
        fn a_step_of_adam_in_one_pass_has_the_bits_of_its_operations(
            rows in 0usize..40, cols in 0usize..50, betas in prop::array::uniform2(0.0..1.0f64), rate in -0.1..0.0f64,
            scale in 1.0..1000.0f64, key: u64,
        ) {
            let of = MomentStep { betas, rate, scale, epsilon: 1e-8 };
            one_pass_is_the_operations::<f32>(rows, cols, of, key);
            one_pass_is_the_operations::<f64>(rows, cols, of, key);
        }
    }

    #[test]
    fn a_long_step_of_adam_is_shared_among_the_threads() {
        let of = MomentStep { betas: [0.9, 0.999], rate: -1e-3, scale: 10.0, epsilon: 1e-8 };
        one_pass_is_the_operations::<f32>(3, PIECE, of, 1);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn workers_flush_denormals() {
        let product = |x: f32| std::hint::black_box(x) * std::hint::black_box(1e-5);
        assert!(product(1e-37) > 0.0, "this thread keeps them");
        assert_eq!(Cpu::<f32>::new(1).map_blocks(cut(1, 1), |_| product(1e-37)), [0.0]);
    }
}
