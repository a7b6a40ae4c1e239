//! Learnable arrays: names, shapes and first values.

use crate::rng::{Purpose, RngKey};
use crate::space::Space;

/// One learnable array of a potential.
#[derive(Debug, Clone)]
pub struct Parameter<S: Space> {
    /// Name in files, unique within a potential.
    pub name: String,
    /// Shape in files; a vector of n numbers is stored here as a `1 × n` matrix.
    pub shape: Vec<usize>,
    /// The numbers.
    pub value: S::Array,
}

/// First values of learnable arrays.
impl<S: Space> Parameter<S> {
    /// An array of zeros.
    pub fn zeros(space: &S, name: &str, shape: &[usize]) -> Self {
        let (rows, cols) = rows_and_cols(shape);
        Self { name: name.into(), shape: shape.to_vec(), value: space.zeros(rows, cols) }
    }

    /// Numbers uniform in `±1/√fan_in`, as PyTorch's linear layers have them. Arrays of one potential differ by
    /// `which`; the same seed gives the same numbers on every backend, to working precision.
    pub fn uniform(space: &S, name: &str, shape: &[usize], fan_in: usize, seed: u64, which: u64) -> Self {
        let bound = 1.0 / (fan_in as f64).sqrt();
        let mut values = RngKey::new(seed, Purpose::Initialise, 0).uniform(which, shape.iter().product());
        values.iter_mut().for_each(|u| *u *= bound);
        let (rows, cols) = rows_and_cols(shape);
        Self { name: name.into(), shape: shape.to_vec(), value: space.upload(rows, cols, &values) }
    }

    /// The coefficients `c(t) = Σ_m c_m b_m(t)` of shape `terms × n` that start as these n numbers at all times: `c_0`
    /// is this array (its first row, where it has several), the rest zero. A single term stays a vector.
    pub fn in_time(self, space: &S, terms: usize) -> Self {
        let (_, cols) = space.shape(&self.value);
        let mut values = space.download(&self.value);
        values.truncate(cols);
        values.resize(terms * cols, 0.0);
        let shape = if terms == 1 { vec![cols] } else { vec![terms, cols] };
        Self { name: self.name, shape, value: space.upload(terms, cols, &values) }
    }
}

/// Rows and columns of the matrix that stores an array of a shape: a vector is one row.
pub fn rows_and_cols(shape: &[usize]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        [n] => (1, *n),
        [rows, rest @ ..] => (*rows, rest.iter().product()),
    }
}
