//! The parameters of ridge potentials, which all backends share.

use crate::error::Error;
use crate::parameter::Parameter;
use crate::space::Space;

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

    /// The factors `g(t) = Σ_m g_m b_m(t)` of the arguments, `terms × hidden` (hidden for a single term), that start at
    /// one.
    pub fn gain(space: &S, hidden: usize, terms: usize) -> Parameter<S> {
        let one = space.upload(1, hidden, &vec![1.0; hidden]);
        Parameter { name: "gain".into(), shape: vec![hidden], value: one }.in_time(space, terms)
    }
}
