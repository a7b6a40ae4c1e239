//! Maps in closed form: layers written as formulas, whose pullback is one backward pass of automatic differentiation.

mod autoregressive;
mod blocks;
mod coupling;
mod mixture;
mod network;

use std::fmt;
use std::ops::Range;

use flow_core::{Bijector, BijectorSettings, Direction, Error, Image, Parameter};
use tch::{Kind, Tensor};

use crate::module::{gradients, inner};
use crate::tensors::{Array, Column, Tch};
use autoregressive::Affine;
use blocks::Blocks;
use coupling::Coupling;
use mixture::Mixture;

/// Layers one after the other, from the model to the base.
///
/// ```
/// use backend_tch::{BijectorSettings, Device, Layers, Options, Tch};
/// use flow_core::{BijectorModel, Model, NegativeLogLikelihood, Precision, Purpose, RngKey};
/// # if backend_tch::load(Device::Cpu).is_err() { return Ok(()) }
/// let tch = Tch::new(Device::Cpu, Precision::F64, Options::default())?;
/// let settings = BijectorSettings::Autoregressive { layers: 2, hidden: vec![16], components: 0 };
/// let map = Layers::new(tch, 3, 0, &settings, 0)?;
/// let model = BijectorModel::new(Box::new(map), Box::new(NegativeLogLikelihood::default()));
/// let samples = model.sample(10, &[], RngKey::new(0, Purpose::Sample, 0))?;
/// assert_eq!(samples.x.len(), 30);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Layers {
    space: Tch,
    dim: usize,
    context: usize,
    parameters: Vec<Parameter<Tch>>,
    /// Each with the places of its parameters.
    layers: Vec<(Box<dyn Layer>, Range<usize>)>,
    words: String,
}

/// A tensor that never changes: a mask, or places of coordinates.
struct Constant(Tensor);

// SAFETY: as for `Array`: the tensor is private and only read.
unsafe impl Sync for Constant {}

/// One layer, in operations of libtorch. Jacobians are per row, in 64 bits.
trait Layer: Send + Sync {
    /// Towards the base: the rows z, and `ln |det ∂z/∂x|`. It can be differentiated.
    fn to_base(&self, parameters: &[Tensor], x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor);

    /// Towards the model: the rows x, and `ln |det ∂x/∂z|`.
    fn to_model(&self, parameters: &[Tensor], z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor);

    /// Whether [`Layer::to_model`] can be differentiated too.
    fn differentiable_to_model(&self) -> bool {
        false
    }
}

/// Where a layer that is being made puts its parameters.
struct Maker<'a> {
    space: &'a Tch,
    seed: u64,
    parameters: Vec<Parameter<Tch>>,
}

impl Maker<'_> {
    /// A weight of `rows × cols` numbers uniform in `±1/√cols`.
    fn weight(&mut self, name: String, rows: usize, cols: usize) {
        let which = self.parameters.len() as u64;
        self.parameters.push(Parameter::uniform(self.space, &name, &[rows, cols], cols, self.seed, which));
    }

    fn zeros(&mut self, name: String, shape: &[usize]) {
        self.parameters.push(Parameter::zeros(self.space, &name, shape));
    }
}

impl Layers {
    /// The layers of these settings for rows of `dim` numbers, given `context` numbers each. Affine layers begin as the
    /// identity: the last weights of their networks are zero, all others uniform in `±1/√n`, n the units of the layer
    /// before.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero, or couplings have a single coordinate.
    pub fn new(space: Tch, dim: usize, context: usize, settings: &BijectorSettings, seed: u64) -> Result<Self, Error> {
        Error::at_least_1([("dim", dim)])?;
        let mut maker = Maker { space: &space, seed, parameters: Vec::new() };
        let mut layers: Vec<(Box<dyn Layer>, Range<usize>)> = Vec::new();
        let words = match settings {
            BijectorSettings::Autoregressive { layers: affine, hidden, components } => {
                require_sizes(affine + components, hidden)?;
                let sizes = network::Sizes { dim, context, hidden };
                for k in 0..*affine {
                    let (first, reversed) = (maker.parameters.len(), k % 2 == 1);
                    let layer = Affine::new(&mut maker, &format!("affine{}", k + 1), sizes, reversed);
                    layers.push((Box::new(layer), first..maker.parameters.len()));
                }
                if *components > 0 {
                    let (first, reversed) = (maker.parameters.len(), affine % 2 == 1);
                    let layer = Mixture::new(&mut maker, "mixture", sizes, *components, reversed);
                    layers.push((Box::new(layer), first..maker.parameters.len()));
                }
                autoregressive_words(*affine, *components)
            }
            BijectorSettings::Coupling { layers: couplings, hidden } => {
                require_sizes(*couplings, hidden)?;
                if dim < 2 {
                    return Err(Error::setting(
                        "dim",
                        dim,
                        "at least 2 for couplings, which move some coordinates by the others",
                    ));
                }
                for k in 0..*couplings {
                    let first = maker.parameters.len();
                    let sizes = network::Sizes { dim, context, hidden };
                    let layer = Coupling::new(&mut maker, &format!("layer{}", k + 1), sizes, k % 2 == 0);
                    layers.push((Box::new(layer), first..maker.parameters.len()));
                }
                format!("{couplings} affine coupling{}", plural(*couplings))
            }
            BijectorSettings::Hierarchical { side, layers: couplings, hidden } => {
                require_sizes(*couplings, hidden)?;
                if !side.is_power_of_two() || *side < 2 || side * side != dim || context > 0 {
                    return Err(Error::setting(
                        "side",
                        side,
                        format!("a power of two, its square the {dim} sites, without context"),
                    ));
                }
                for (k, sites) in blocks::scales(*side).iter().enumerate() {
                    let first = maker.parameters.len();
                    let layer = Blocks::new(&mut maker, &format!("layer{}", k + 1), *couplings, hidden, sites);
                    layers.push((Box::new(layer), first..maker.parameters.len()));
                }
                format!(
                    "hierarchical blocks of {couplings} affine coupling{} over {} scales",
                    plural(*couplings),
                    side.ilog2()
                )
            }
            _ => return Err(Error::setting("model", "of another kind", "one that this backend has")),
        };
        let parameters = maker.parameters;
        Ok(Self { space, dim, context, parameters, layers, words })
    }

    /// The rows at the other end, and the change of ln p on the way.
    fn apply(
        &self,
        direction: Direction,
        parameters: &[Tensor],
        start: &Tensor,
        context: Option<&Tensor>,
    ) -> (Tensor, Tensor) {
        let zero = Tensor::zeros([start.size()[0]], (Kind::Double, start.device()));
        let step = |(rows, change): (Tensor, Tensor), (layer, places): &(Box<dyn Layer>, Range<usize>)| {
            let own = &parameters[places.clone()];
            let (rows, log_jacobian) = match direction {
                Direction::Backward => layer.to_base(own, &rows, context),
                Direction::Forward => layer.to_model(own, &rows, context),
            };
            (rows, change - log_jacobian)
        };
        let start = (start.shallow_clone(), zero);
        match direction {
            Direction::Backward => self.layers.iter().fold(start, step),
            Direction::Forward => self.layers.iter().rev().fold(start, step),
        }
    }
}

fn require_sizes(layers: usize, hidden: &[usize]) -> Result<(), Error> {
    Error::at_least_1([("layers", layers), ("hidden", hidden.iter().copied().min().unwrap_or(0))])
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn autoregressive_words(affine: usize, components: usize) -> String {
    let mixture = format!("an autoregressive mixture of {components} Gaussian{}", plural(components));
    match (affine, components) {
        (_, 0) => format!("{affine} autoregressive layer{}", plural(affine)),
        (0, _) => mixture,
        _ => format!("{affine} autoregressive layer{} on {mixture}", plural(affine)),
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").field("dim", &self.dim).field("words", &self.words).finish_non_exhaustive()
    }
}

impl Bijector<Tch> for Layers {
    fn space(&self) -> &Tch {
        &self.space
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn context_dim(&self) -> usize {
        self.context
    }

    fn parameters(&self) -> Vec<&Parameter<Tch>> {
        self.parameters.iter().collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Tch>> {
        self.parameters.iter_mut().collect()
    }

    fn carry(
        &self,
        direction: Direction,
        start: Array,
        context: Option<Array>,
        pullback: bool,
    ) -> Result<Image<Tch>, Error> {
        if pullback && direction == Direction::Forward && !self.layers.iter().all(|(l, _)| l.differentiable_to_model())
        {
            let expected = "the likelihood of data: samples of autoregressive layers are made one coordinate after the \
                            other, without a gradient";
            return Err(Error::setting("objective", "a free energy", expected));
        }
        // The same numbers in tensors of their own, of which gradients can be taken: no copies.
        let leaf = |p: &Parameter<Tch>| p.value.0.detach().set_requires_grad(pullback);
        let parameters: Vec<Tensor> = self.parameters.iter().map(leaf).collect();
        let apply = || self.apply(direction, &parameters, &start.0, context.as_ref().map(|context| &context.0));
        let (x, change) = if pullback { tch::with_grad(apply) } else { tch::no_grad(apply) };
        let (end, log_density) = (Array(x.detach()), Column(change.detach()));
        let back = move |x_bar: Array, bar: Column| {
            let pairing = inner(&x, &x_bar.0).to_kind(Kind::Double) + inner(&change, &bar.0);
            gradients(&pairing, &parameters, false).into_iter().map(|bar| Array(bar.detach())).collect()
        };
        Ok(Image { x: end, log_density, pullback: pullback.then(|| Box::new(back) as _) })
    }

    fn describe(&self) -> String {
        self.words.clone()
    }
}

/// The sum of the numbers of every row, in 64 bits.
fn sum_of_rows(of: &Tensor) -> Tensor {
    of.sum_dim_intlist(1, false, Kind::Double)
}
