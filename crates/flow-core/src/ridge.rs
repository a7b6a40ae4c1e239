//! What the ridge potentials of all backends share: the function f, and names, shapes and first values of the parameters.

use rand::RngExt;

use crate::{Draws, Error, Parameter, Purpose, Space};

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
        for (name, value) in [("the dimension of the target", dim), ("potential.hidden", hidden)] {
            if value == 0 {
                return Err(Error::setting(name, value, "at least 1"));
            }
        }
        let draws = Draws::new(seed, Purpose::Initialise, 0);
        let uniform = |which: u64, name: &str, shape: &[usize], fan_in: usize| {
            let (mut rng, bound) = (draws.row(which), 1.0 / (fan_in as f64).sqrt());
            let values: Vec<f64> =
                (0..shape.iter().product()).map(|_| bound * (2.0 * rng.random::<f64>() - 1.0)).collect();
            let cols = shape[shape.len() - 1];
            let value = space.upload(values.len() / cols, cols, &values);
            Parameter { name: name.into(), shape: shape.to_vec(), value }
        };
        Ok(Self {
            weight: uniform(0, "weight", &[hidden, dim], dim),
            bias: bias.then(|| uniform(1, "bias", &[hidden], dim)),
            amplitude: uniform(2, "amplitude", &[hidden], hidden),
        })
    }
}
