//! The parameters of ridge potentials, which all backends share.

use crate::activation::Activation;
use crate::error::Error;
use crate::parameter::Parameter;
use crate::space::Space;

/// The shape of a potential of one hidden layer, `φ(x, t) = Σ_j v_j f(g_j (w_j·x + u_j·c) + b_j)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RidgeSettings {
    /// Hidden units h.
    pub hidden: usize,
    /// The function f.
    pub activation: Activation,
    /// Whether there are offsets b. With ln cosh and without them the potential is exactly even.
    pub bias: bool,
    /// Whether there are gains g.
    pub gains: bool,
    /// Numbers of context c per row; 0: there is none.
    pub context: usize,
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
    /// First values for `hidden` ridge functions of `dim` numbers: weights and biases uniform in `±1/√dim`, amplitudes
    /// in `±1/√hidden`, as PyTorch's linear layers have them.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero.
    pub fn new(space: &S, dim: usize, hidden: usize, bias: bool, seed: u64) -> Result<Self, Error> {
        Error::at_least_1([("dim", dim), ("hidden", hidden)])?;
        Ok(Self {
            weight: Parameter::uniform(space, "weight", &[hidden, dim], dim, seed, 0),
            bias: bias.then(|| Parameter::uniform(space, "bias", &[hidden], dim, seed, 1)),
            amplitude: Parameter::uniform(space, "amplitude", &[hidden], hidden, seed, 2),
        })
    }

    /// The weights U of a context of `width` numbers a row, `hidden × width`, that start as those of `dim` numbers do;
    /// none for no context.
    pub fn context(space: &S, hidden: usize, dim: usize, width: usize, seed: u64) -> Option<Parameter<S>> {
        (width > 0).then(|| Parameter::uniform(space, "context", &[hidden, width], dim, seed, 5))
    }

    /// The factors `g(t) = Σ_m g_m b_m(t)` of the arguments, `terms × hidden` (hidden for a single term), that start at
    /// one.
    pub fn gain(space: &S, hidden: usize, terms: usize) -> Parameter<S> {
        let one = space.upload(1, hidden, &vec![1.0; hidden]);
        Parameter { name: "gain".into(), shape: vec![hidden], value: one }.in_time(space, terms)
    }
}
