//! What the potentials of all backends share: the function f, and names, shapes and first values of parameters.

use crate::checkpoint::rows_and_cols;
use crate::{Error, Parameter, Purpose, RngKey, Space};

/// The function `f` of a ridge potential `φ(x) = Σ_j v_j f(w_j·x + b_j)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `ln(1 + e^a)`.
    Softplus,
    /// `ln cosh a`, even: without bias the potential is exactly symmetric under `x → −x`.
    LnCosh,
}

impl Activation {
    /// `f(a)`, without overflow.
    pub fn value(self, a: f64) -> f64 {
        match self {
            Self::Softplus => a.max(0.0) + (-a.abs()).exp().ln_1p(),
            Self::LnCosh => a.abs() + (-2.0 * a.abs()).exp().ln_1p() - std::f64::consts::LN_2,
        }
    }

    /// λ: the derivatives of f are functions of `e^{−λa}`.
    pub fn decay(self) -> f64 {
        match self {
            Self::Softplus => 1.0,
            Self::LnCosh => 2.0,
        }
    }
}

/// First values of learnable arrays.
impl<S: Space> Parameter<S> {
    /// An array of zeros.
    pub fn zeros(space: &S, name: &str, shape: &[usize]) -> Self {
        let (rows, cols) = rows_and_cols(shape);
        Self { name: name.into(), shape: shape.to_vec(), value: space.zeros(rows, cols) }
    }

    /// Numbers uniform in `±1/√fan_in`, as PyTorch's linear layers have them. Arrays of one potential differ by `which`;
    /// the same seed gives the same numbers on every backend, to working precision.
    pub fn uniform(space: &S, name: &str, shape: &[usize], fan_in: usize, seed: u64, which: u64) -> Self {
        let bound = 1.0 / (fan_in as f64).sqrt();
        let mut values = RngKey::new(seed, Purpose::Initialise, 0).uniform(which, shape.iter().product());
        values.iter_mut().for_each(|u| *u *= bound);
        let (rows, cols) = rows_and_cols(shape);
        Self { name: name.into(), shape: shape.to_vec(), value: space.upload(rows, cols, &values) }
    }

    /// The coefficients `c(t) = Σ_m c_m b_m(t)` of shape `terms × n` that start as these n numbers at all times: `c_0` is this array
    /// (its first row, where it has several), the rest zero. A single term stays a vector.
    pub fn in_time(self, space: &S, terms: usize) -> Self {
        let (_, cols) = space.shape(&self.value);
        let mut values = space.download(&self.value);
        values.truncate(cols);
        values.resize(terms * cols, 0.0);
        let shape = if terms == 1 { vec![cols] } else { vec![terms, cols] };
        Self { name: self.name, shape, value: space.upload(terms, cols, &values) }
    }
}

/// The parameters of a ridge potential; the same seed gives the same numbers on every backend, to working precision.
#[derive(Debug)]
pub struct RidgeParameters<S: Space> {
    /// `weight`, h × N.
    pub weight: Parameter<S>,
    /// `bias`, h, where there is one.
    pub bias: Option<Parameter<S>>,
    /// `amplitude`, h.
    pub amplitude: Parameter<S>,
}

impl<S: Space> RidgeParameters<S> {
    /// First values for `hidden` ridge functions of `dim` numbers: weights and biases uniform in `±1/√dim`, amplitudes in `±1/√hidden`,
    /// as PyTorch's linear layers have them.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero.
    pub fn new(space: &S, dim: usize, hidden: usize, bias: bool, seed: u64) -> Result<Self, Error> {
        Error::at_least_1([("the dimension of the target", dim), ("potential.hidden", hidden)])?;
        Ok(Self {
            weight: Parameter::uniform(space, "weight", &[hidden, dim], dim, seed, 0),
            bias: bias.then(|| Parameter::uniform(space, "bias", &[hidden], dim, seed, 1)),
            amplitude: Parameter::uniform(space, "amplitude", &[hidden], hidden, seed, 2),
        })
    }

    /// The factors `g(t) = Σ_m g_m b_m(t)` of the arguments, `terms × hidden` (hidden for a single term), that start at one.
    pub fn gain(space: &S, hidden: usize, terms: usize) -> Parameter<S> {
        let one = space.upload(1, hidden, &vec![1.0; hidden]);
        Parameter { name: "gain".into(), shape: vec![hidden], value: one }.in_time(space, terms)
    }
}
