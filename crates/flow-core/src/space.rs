//! What a backend brings: the few array operations that integrators and optimisers need, and the replay of captured
//! work.
//!
//! At the sizes of a training step a host takes longer to ask for a thousand small operations than a device takes to do
//! them. The operations of a solve are the same at every step of a training, but for the numbers that go in. So a
//! device may capture them once as a graph, and replay the graph with new numbers. It sees arrays and a key, and
//! nothing of flows: what is captured, when, and how long it is kept is the backend's business.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::activation::Activation;
use crate::cache_key::CacheKey;
use crate::error::Error;

/// Working precision of the arrays of a [`Space`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point numbers.
    F32,
    /// 64-bit floating point numbers.
    F64,
}

impl Precision {
    /// Unit round-off: the greatest relative error of a rounded number.
    pub fn round_off(self) -> f64 {
        match self {
            Self::F32 => f64::from(f32::EPSILON) / 2.0,
            Self::F64 => f64::EPSILON / 2.0,
        }
    }

    /// A number rounded to this precision.
    pub fn rounded(self, value: f64) -> f64 {
        match self {
            Self::F32 => f64::from(value as f32),
            Self::F64 => value,
        }
    }
}

/// `numerator / (√(scale · square) + ε)`, element by element; all arrays have one shape.
#[derive(Debug, Clone, Copy)]
pub struct Quotient<'a, A> {
    /// The numerator.
    pub numerator: &'a A,
    /// What the root is taken of, after it is scaled.
    pub square: &'a A,
    /// Factor of it.
    pub scale: f64,
    /// ε, which keeps the denominator from zero.
    pub epsilon: f64,
}

/// The numbers of a [`Space::moment_step`].
#[derive(Debug, Clone, Copy)]
pub struct MomentStep {
    /// Decay rates β of the first and second moment.
    pub betas: [f64; 2],
    /// c, minus the learning rate corrected for the bias of the first moment.
    pub rate: f64,
    /// Factor of the second moment under the root, its correction.
    pub scale: f64,
    /// ε, which keeps the denominator from zero.
    pub epsilon: f64,
}

impl MomentStep {
    /// A [`Space::moment_step`] operation by operation: what one pass is compared with.
    pub fn by_operations<S: Space>(
        self,
        space: &S,
        value: &mut S::Array,
        [first, second]: [&mut S::Array; 2],
        gradient: &S::Array,
    ) {
        let Self { betas, rate, scale, epsilon } = self;
        space.accumulate(first, betas[0], &[(1.0 - betas[0], gradient)]);
        space.accumulate_product(second, betas[1], 1.0 - betas[1], gradient, gradient);
        space.accumulate_quotient(value, rate, Quotient { numerator: first, square: second, scale, epsilon });
    }
}

/// Where arrays live and how they are combined: one implementation per backend and precision.
///
/// Two kinds of arrays occur. An [`Array`](Space::Array) is a matrix of `rows × cols` numbers in working precision,
/// one row per sample (or a parameter). A [`Column`](Space::Column) holds one figure per row
/// (a Laplacian, a log-density, an energy), always in 64 bits, because figures are accumulated over
/// hundreds of stages and read by people.
///
/// Results go to out-parameters, so that a solve allocates nothing per stage but what it keeps. Shapes are the caller's
/// duty: an implementation may panic on a mismatch, which is always a bug of the program and never bad input. What is
/// written over a space runs on every backend and in either precision:
///
/// ```
/// use flow_core::{Factor, Space};
///
/// /// `‖xxᵀ‖²` of all inner products of rows.
/// fn squares_of_inner_products<S: Space>(space: &S, x: &S::Array) -> f64 {
///     let (rows, _) = space.shape(x);
///     let mut products = space.zeros(rows, rows);
///     space.matmul(&mut products, 0.0, Factor::Plain(x), Factor::Transposed(x));
///     space.dot(&products, &products)
/// }
/// ```
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
        self.precision().round_off()
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

    /// `out ← out + c · numerator / (√(scale · square) + ε)`, element by element.
    fn accumulate_quotient(&self, out: &mut Self::Array, c: f64, of: Quotient<'_, Self::Array>);

    /// A step of Adam against a gradient g: the moments `m ← β₁ m + (1 − β₁) g` and `s ← β₂ s + (1 − β₂) g²`, then
    /// `value ← value + c · m / (√(scale · s) + ε)`. A space may do it in one pass, to the same bits.
    fn moment_step(
        &self,
        value: &mut Self::Array,
        [first, second]: [&mut Self::Array; 2],
        gradient: &Self::Array,
        of: MomentStep,
    ) {
        of.by_operations(self, value, [first, second], gradient);
    }

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

    /// `out ← a ⊙ b`, figure by figure.
    fn column_product(&self, out: &mut Self::Column, a: &Self::Column, b: &Self::Column);

    /// Uploads a table of signed permutations: element `g` sends a row `x` to `y_i = sign_g · x[source_g[i]]`.
    fn permutations(&self, source: &[Vec<u32>], sign: &[f64]) -> Self::Permutations;

    /// Row r of the result is an element of the table applied to row `x_r`: that whose number is in this column of row
    /// r of `elements`.
    fn permute(
        &self,
        x: &Self::Array,
        table: &Self::Permutations,
        elements: &Self::Array,
        column: usize,
    ) -> Self::Array;

    /// Copies the columns `columns` of `from` to those of `out` that begin with `first`.
    fn copy_columns(&self, out: &mut Self::Array, first: usize, from: &Self::Array, columns: Range<usize>);

    /// `out ← keep · out + a · b`, either factor transposed where asked for; `keep = 0` overwrites.
    fn matmul(&self, out: &mut Self::Array, keep: f64, a: Factor<'_, Self::Array>, b: Factor<'_, Self::Array>);

    /// `out ← f⁽ᵏ⁾(a)`, the k-th derivative of an activation (k = 0 to 3), element by element.
    fn activate(&self, out: &mut Self::Array, activation: Activation, derivative: u8, a: &Self::Array);

    /// `out ← keep · out + c · a · diag(row)`: every column of a times its own number; `row` is `1 × cols`, and `keep =
    /// 0` overwrites.
    fn accumulate_scaled_columns(&self, out: &mut Self::Array, keep: f64, c: f64, a: &Self::Array, row: &Self::Array);

    /// How many blocks a batch of `rows` rows is cut into by default; 0 for no rows.
    ///
    /// Always the same for a space and a number of rows, so that a resumed run equals an uninterrupted one.
    /// [`Space::cuts_by_threads`] says whether it depends on the number of threads.
    fn blocks(&self, rows: usize) -> usize;

    /// Whether that number depends on the threads or the device, so that members of a team may cut a batch differently.
    fn cuts_by_threads(&self) -> bool {
        false
    }

    /// Does the work of every block of rows, at once where there are threads, and returns the results in the order of
    /// the blocks.
    fn map_blocks<T: Send>(&self, blocks: Vec<Range<usize>>, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T>;

    /// The captured graphs of a device that replays solves faster than the host can ask for their operations.
    fn graphs(&self) -> Option<&dyn GraphCache<Self>> {
        None
    }
}

/// A factor of a matrix product.
#[derive(Debug)]
pub enum Factor<'a, A> {
    /// The matrix as it is.
    Plain(&'a A),
    /// Its transpose.
    Transposed(&'a A),
}

/// `rows` rows cut into blocks of equal height but for one row: never more blocks than rows, and at least one where
/// there are rows.
///
/// ```
/// assert_eq!(flow_core::cut(10, 4), [0..2, 2..5, 5..7, 7..10]);
/// assert_eq!(flow_core::cut(2, 4), [0..1, 1..2]);
/// assert!(flow_core::cut(0, 4).is_empty());
/// ```
pub fn cut(rows: usize, blocks: usize) -> Vec<Range<usize>> {
    let blocks = blocks.clamp(1, rows.max(1));
    let range = |i: usize| i * rows / blocks..(i + 1) * rows / blocks;
    (0..blocks).map(range).filter(|range| !range.is_empty()).collect()
}

/// The results of `work` on blocks, in the order of the blocks. `run(n, task)` does the tasks 0 to n − 1, in any order
/// and on any threads. This is [`Space::map_blocks`] for a backend whose pool of threads has no type parameter, so that
/// it is compiled once.
///
/// ```
/// let one_by_one = |count, task: &(dyn Fn(usize) + Sync)| (0..count).for_each(task);
/// assert_eq!(flow_core::map_by(vec![0..2, 2..5], |rows| rows.len(), one_by_one), [2, 3]);
/// ```
///
/// # Panics
/// If `run` leaves a task out, or the work panics.
pub fn map_by<T: Send>(
    blocks: Vec<Range<usize>>,
    work: impl Fn(Range<usize>) -> T + Sync,
    run: impl FnOnce(usize, &(dyn Fn(usize) + Sync)),
) -> Vec<T> {
    let done: Vec<Mutex<Option<T>>> = blocks.iter().map(|_| Mutex::new(None)).collect();
    run(blocks.len(), &|i| {
        let result = work(blocks[i].clone());
        *done[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    });
    let result = |of: Mutex<Option<T>>| of.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.into_iter().map(|of| result(of).expect("every task was done")).collect()
}

/// A backend's captured graphs.
pub trait GraphCache<S: Space>: Send + Sync {
    /// A session for a solve of this key with these arrays for parameters; its inputs are arrays of `space`. `None`:
    /// the solve is to be done in the ordinary way, because it was never seen before or somebody else is in a session.
    fn session<'a>(&'a self, space: &S, key: CacheKey, parameters: &[&S::Array]) -> Option<Box<dyn Session<S> + 'a>>;

    /// Number of sessions that were replayed so far: by it tests know that replays happened.
    fn replays(&self) -> u64;
}

/// One run of a solve whose operations are captured or replayed, stage by stage.
///
/// A solve makes the same calls in the same order in every session of its key. Between the stages it may read their
/// outputs and hand numbers back through inputs. Nothing else of the host may enter a stage.
pub trait Session<S: Space> {
    /// A `rows × cols` array with these host numbers, row by row: made when the graph is captured, refilled in its
    /// place when it is replayed.
    fn input(&mut self, rows: usize, cols: usize, values: &[f64]) -> S::Array;

    /// A column with these host numbers, likewise.
    fn input_column(&mut self, values: &[f64]) -> S::Column;

    /// Does work that is nothing but operations on arrays, and returns its outputs.
    ///
    /// Where the stage is replayed `work` is not called: the outputs are the arrays that it returned when it was
    /// captured, with their new numbers. They hold these until the next session of the same key: clone what is to stay.
    ///
    /// # Errors
    /// Those of `work`. The session is then to be dropped, and nothing of it is kept.
    fn stage(&mut self, work: &mut dyn FnMut() -> Result<Outputs<S>, Error>) -> Result<Outputs<S>, Error>;

    /// Ends a session whose stages were all done: what was captured is kept. A session that is dropped without this
    /// call keeps nothing.
    fn finish(self: Box<Self>);
}

/// What a stage leaves on the device.
#[derive(Debug)]
pub struct Outputs<S: Space> {
    /// Matrices.
    pub arrays: Vec<S::Array>,
    /// Figures per row.
    pub columns: Vec<S::Column>,
}

impl<S: Space> Outputs<S> {
    /// No outputs.
    pub fn none() -> Self {
        Self { arrays: Vec::new(), columns: Vec::new() }
    }
}
