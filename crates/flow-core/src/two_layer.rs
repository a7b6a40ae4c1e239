//! What the potentials of two hidden layers of all backends share.

use crate::activation::Activation;
use crate::error::Error;
use crate::parameter::Parameter;
use crate::ridge::RidgeParameters;
use crate::space::Space;
use crate::time::TimeBasis;

/// The shape of a potential of two hidden layers, `φ(x, t) = Σ_k v_k f(z_k)`, `z = W₂ f(a) + b₂`, `a = g ⊙ (W₁x + Uc) +
/// b₁`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoLayerSettings {
    /// Hidden units h₁ and h₂.
    pub hidden: [usize; 2],
    /// f, of both layers.
    pub activation: Activation,
    /// Whether the first layer has offsets b₁. With ln cosh and without them the potential is exactly even.
    pub bias: bool,
    /// Probes for the Laplacian, drawn once per solve for every row; 0: the exact Laplacian.
    pub probes: usize,
    /// Numbers of context c per row; 0: there is none.
    pub context: usize,
}

/// The parameters of a potential of two hidden layers; the same seed gives the same numbers on every backend, to
/// working precision.
///
/// Weights, biases and amplitudes start as those of PyTorch's linear layers, gains at one, and all that depends on time
/// at zero.
#[derive(Debug)]
pub struct TwoLayerParameters<S: Space> {
    /// `layer1.weight`, h₁ × N.
    pub weight1: Parameter<S>,
    /// `layer1.context`, U, h₁ × k, where there is a context.
    pub context: Option<Parameter<S>>,
    /// `layer1.bias`, M × h₁, where there is one.
    pub bias1: Option<Parameter<S>>,
    /// `layer1.gain`, M × h₁.
    pub gain: Parameter<S>,
    /// `layer2.weight`, h₂ × h₁.
    pub weight2: Parameter<S>,
    /// `layer2.bias`, M × h₂.
    pub bias2: Parameter<S>,
    /// `amplitude`, M × h₂.
    pub amplitude: Parameter<S>,
}

impl<S: Space> TwoLayerParameters<S> {
    /// First values for points of `dim` numbers.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero.
    pub fn new(space: &S, dim: usize, settings: &TwoLayerSettings, basis: TimeBasis, seed: u64) -> Result<Self, Error> {
        let [h1, h2] = settings.hidden;
        Error::at_least_1([("dim", dim)])?;
        if h1 == 0 || h2 == 0 {
            return Err(Error::setting("hidden", format!("[{h1}, {h2}]"), "at least 1 in each layer"));
        }
        let uniform =
            |which, name, shape: &[usize], fan_in| Parameter::uniform(space, name, shape, fan_in, seed, which);
        let timed = |which, name, size, fan_in| uniform(which, name, &[size], fan_in).in_time(space, basis.terms());
        let context = RidgeParameters::context(space, h1, dim, settings.context, seed);
        Ok(Self {
            weight1: uniform(0, "layer1.weight", &[h1, dim], dim),
            context: context.map(|weight| Parameter { name: "layer1.context".into(), ..weight }),
            bias1: settings.bias.then(|| timed(1, "layer1.bias", h1, dim)),
            gain: Parameter { name: "layer1.gain".into(), ..RidgeParameters::gain(space, h1, basis.terms()) },
            weight2: uniform(2, "layer2.weight", &[h2, h1], h1),
            bias2: timed(3, "layer2.bias", h2, h1),
            amplitude: timed(4, "amplitude", h2, h2),
        })
    }

    /// All of them, in the order of files.
    pub fn into_vec(self) -> Vec<Parameter<S>> {
        let Self { weight1, context, bias1, gain, weight2, bias2, amplitude } = self;
        let first = std::iter::once(weight1).chain(context).chain(bias1).chain([gain]);
        first.chain([weight2, bias2, amplitude]).collect()
    }
}
