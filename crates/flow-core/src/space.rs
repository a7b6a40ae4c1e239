//! The few array operations that an explicit integrator and an optimiser need from a backend.

use std::fmt::Debug;
use std::ops::Range;

use crate::Recorder;

/// Working precision of the arrays of a [`Space`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point numbers.
    F32,
    /// 64-bit floating point numbers.
    F64,
}

/// Where arrays live and how they are combined: one implementation per backend and precision.
///
/// Two kinds of arrays occur. An [`Array`](Space::Array) is a matrix of `rows × cols` numbers in working precision,
/// one row per sample (or a parameter). A [`Column`](Space::Column) holds one figure per row
/// (a Laplacian, a log-density, an energy), always in 64 bits, because figures are accumulated over
/// hundreds of stages and read by people.
///
/// Results go to out-parameters, so that a solve allocates nothing per stage but what it keeps. Shapes are the caller's duty:
/// an implementation may panic on a mismatch, which is always a bug of the program and never bad input.
pub trait Space: Clone + Send + Sync + 'static {
    /// A `rows × cols` matrix in working precision.
    type Array: Clone + Debug + Send + Sync;
    /// One 64-bit figure per row.
    type Column: Clone + Debug + Send + Sync;
    /// A table of signed column permutations, see [`Space::permutations`].
    type Permutations: Debug + Send + Sync;

    /// The working precision.
    fn precision(&self) -> Precision;

    /// Unit round-off of the working precision; test tolerances scale with it.
    fn round_off(&self) -> f64 {
        match self.precision() {
            Precision::F32 => f64::from(f32::EPSILON) / 2.0,
            Precision::F64 => f64::EPSILON / 2.0,
        }
    }

    /// A matrix of zeros.
    fn zeros(&self, rows: usize, cols: usize) -> Self::Array;

    /// A matrix like another, to be overwritten before it is read.
    fn empty_like(&self, like: &Self::Array) -> Self::Array {
        let (rows, cols) = self.shape(like);
        self.zeros(rows, cols)
    }

    /// `(rows, cols)` of a matrix.
    fn shape(&self, array: &Self::Array) -> (usize, usize);

    /// A matrix from `rows · cols` host numbers, row by row, rounded to working precision.
    fn upload(&self, rows: usize, cols: usize, values: &[f64]) -> Self::Array;

    /// The numbers of a matrix, row by row. Waits for the device where there is one.
    fn download(&self, array: &Self::Array) -> Vec<f64>;

    /// `out ← base + Σ cᵢ · termᵢ` in one pass.
    fn combine(&self, out: &mut Self::Array, base: &Self::Array, terms: &[(f64, &Self::Array)]);

    /// `out ← keep · out + Σ cᵢ · termᵢ` in one pass; `keep = 0` overwrites whatever `out` held, NaN included.
    fn accumulate(&self, out: &mut Self::Array, keep: f64, terms: &[(f64, &Self::Array)]);

    /// `out ← keep · out + c · a ⊙ b`, element by element.
    fn accumulate_product(&self, out: &mut Self::Array, keep: f64, c: f64, a: &Self::Array, b: &Self::Array);

    /// `out ← out + c · numerator / (√(scale · square) + ε)`, element by element: the step of Adam.
    fn accumulate_quotient(
        &self,
        out: &mut Self::Array,
        c: f64,
        numerator: &Self::Array,
        square: &Self::Array,
        scale: f64,
        epsilon: f64,
    );

    /// `out ← out + c · diag(scale) · a`: every row times its own figure.
    fn accumulate_scaled_rows(&self, out: &mut Self::Array, c: f64, scale: &Self::Column, a: &Self::Array);

    /// Inner products of equal rows: `out_r ← Σ_i a_ri b_ri`.
    fn row_dot(&self, out: &mut Self::Column, a: &Self::Array, b: &Self::Array);

    /// `Σ_ri a_ri b_ri`, summed in 64 bits. Waits for the device.
    fn dot(&self, a: &Self::Array, b: &Self::Array) -> f64;

    /// Greatest over rows of `√(mean_i (error_ri / (absolute + relative · max(|before_ri|, |after_ri|)))²)`.
    /// Waits for the device.
    fn scaled_error(
        &self,
        error: &Self::Array,
        before: &Self::Array,
        after: &Self::Array,
        absolute: f64,
        relative: f64,
    ) -> f64;

    /// A column of zeros.
    fn column_zeros(&self, rows: usize) -> Self::Column;

    /// A column from host numbers.
    fn upload_column(&self, values: &[f64]) -> Self::Column;

    /// The figures of a column. Waits for the device.
    fn download_column(&self, column: &Self::Column) -> Vec<f64>;

    /// `out ← keep · out + Σ cᵢ · termᵢ`; `keep = 0` overwrites.
    fn column_accumulate(&self, out: &mut Self::Column, keep: f64, terms: &[(f64, &Self::Column)]);

    /// Uploads a table of signed permutations: element `g` sends a row `x` to `y_i = sign_g · x[source_g[i]]`.
    fn permutations(&self, source: &[Vec<u32>], sign: &[f64]) -> Self::Permutations;

    /// Row r of the result is an element of the table applied to row `x_r`: that whose number is in this column of row r of `elements`.
    fn permute(
        &self,
        x: &Self::Array,
        table: &Self::Permutations,
        elements: &Self::Array,
        column: usize,
    ) -> Self::Array;

    /// Copies the columns `columns` of `from` to those of `out` that begin with `first`.
    fn copy_columns(&self, out: &mut Self::Array, first: usize, from: &Self::Array, columns: Range<usize>);

    /// Cuts `rows` rows into blocks, does the work of each (at once where there are threads), and returns the results
    /// in the order of the rows. The cut is always the same for a space and a number of rows, so that a resumed run equals an
    /// uninterrupted one; whether it depends on the number of threads, the space says.
    fn map_rows<T: Send>(&self, rows: usize, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T>;

    /// What records solves, on a device that repeats them faster than the host can ask for them.
    fn recorder(&self) -> Option<&Recorder<Self>> {
        None
    }
}
