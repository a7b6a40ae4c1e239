//! What a recipe names and a run has trained: a potential with the way it is integrated, or a map in closed form.

use std::path::{Path, PathBuf};

use flow_core::potentials::{ContextMap, MappedContext};
use flow_core::{
    Adaptive, Alone, Batch, Bijector, BijectorModel, BijectorSettings, Checkpoint, Converged, Direction, Engine,
    FixedStep, Flow, FlowModel, Integrator, NegativeLogLikelihood, Objective, Parameter, Potential, Reversible, RngKey,
    Space, Team, Trainable, Transported, converged, exact,
};

use crate::checkpoint::{self, CheckpointFolder};
use crate::error::Error;
use crate::files::sha256_of;
use crate::kept::Kept;
use crate::monitor::Monitor;
use crate::potential::potential;
use crate::recipe::{self, Density, Evaluate, FlowMethod, Recipe, TargetKind};
use crate::run_dir;

/// Tried steps after which an adaptive integrator gives up.
const ADAPTIVE_STEPS: usize = 100_000;

/// What a recipe names, with its parameters.
pub enum Learned<S: Space> {
    /// A potential, whose gradient is integrated.
    Flow(LearnedFlow<S>),
    /// A map in closed form.
    Map(Box<dyn Bijector<S>>),
}

/// A potential with the settings of its integration.
pub struct LearnedFlow<S: Space> {
    /// The potential.
    pub potential: Box<dyn Potential<S>>,
    /// How it is integrated in training.
    pub settings: recipe::Flow,
    /// Integration steps now: after a training those at its end.
    pub steps: usize,
}

impl<S: Space> Learned<S> {
    /// With its first parameters, for a target with `context` numbers of context per row.
    ///
    /// # Errors
    /// Sizes that are out of range, or a model that the backend lacks.
    pub fn first(space: &S, recipe: &Recipe, context: usize) -> Result<Self, Error>
    where
        S: Engine,
    {
        Ok(match &recipe.density {
            Density::Flow { potential: of, flow } => Self::Flow(LearnedFlow {
                potential: potential(space, recipe, (of, flow), context)?,
                settings: flow.clone(),
                steps: flow.steps,
            }),
            Density::Model { model } => {
                let settings = bijector_settings(model, recipe.target.lattice().map_or(0, |(side, ..)| side));
                Self::Map(space.bijector(recipe.dimension(), context, &settings, recipe.train.seed)?)
            }
        })
    }

    /// Its learnable arrays.
    pub fn parameters(&self) -> Vec<&Parameter<S>> {
        match self {
            Self::Flow(flow) => flow.potential.parameters(),
            Self::Map(map) => map.parameters(),
        }
    }

    /// The same arrays.
    pub fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        match self {
            Self::Flow(flow) => flow.potential.parameters_mut(),
            Self::Map(map) => map.parameters_mut(),
        }
    }

    /// What is kept beside the parameters and not trained: averages of batches.
    pub fn buffers(&self) -> Vec<&Parameter<S>> {
        match self {
            Self::Flow(flow) => flow.potential.buffers(),
            Self::Map(_) => Vec::new(),
        }
    }

    /// The same arrays.
    pub fn buffers_mut(&mut self) -> Vec<&mut Parameter<S>> {
        match self {
            Self::Flow(flow) => flow.potential.buffers_mut(),
            Self::Map(_) => Vec::new(),
        }
    }

    /// Whether a loss of forces can be trained on.
    ///
    /// # Errors
    /// Of a map in closed form, and of a potential that has not all derivatives that it takes.
    pub fn require_score_pullback(&self) -> Result<(), Error> {
        match self {
            Self::Flow(flow) if flow.potential.has_score_pullback() => Ok(()),
            Self::Flow(_) => Err(flow_core::Error::NoScorePullback.into()),
            Self::Map(_) => Err(flow_core::Error::NeedsFlow { what: "force_weight" }.into()),
        }
    }

    /// The model that training has of it, with a likelihood for its objective until another is set.
    ///
    /// # Errors
    /// Settings that a method of integration cannot have.
    pub fn into_model(self, space: &S) -> Result<Box<dyn Trainable<S>>, Error> {
        Ok(match self {
            Self::Flow(flow) => {
                let integrator = equal_steps(flow.settings.method, &flow.settings, flow.settings.steps)?;
                Box::new(flow.into_model(space, integrator))
            }
            Self::Map(map) => Box::new(map_model(map)),
        })
    }
}

/// A model in the words of the backends, for a lattice of such a side where the target is one.
fn bijector_settings(model: &recipe::Model, side: usize) -> BijectorSettings {
    // A mixture of one Gaussian is an affine layer.
    let mixture = |components: usize| if components > 1 { components } else { 0 };
    match model {
        recipe::Model::Made(made) => BijectorSettings::Autoregressive {
            layers: usize::from(made.components == 1),
            hidden: made.hidden.clone(),
            components: mixture(made.components),
        },
        recipe::Model::Maf(maf) => BijectorSettings::Autoregressive {
            layers: maf.layers,
            hidden: maf.hidden.clone(),
            components: mixture(maf.components),
        },
        recipe::Model::NeuralRg(of) => {
            BijectorSettings::Hierarchical { side, layers: of.layers, hidden: of.hidden.clone() }
        }
        recipe::Model::RealNvp(of) => BijectorSettings::Coupling { layers: of.layers, hidden: of.hidden.clone() },
    }
}

/// A method with `steps` equal steps.
fn equal_steps<S: Space>(
    method: FlowMethod,
    settings: &recipe::Flow,
    steps: usize,
) -> Result<Box<dyn Integrator<S>>, Error> {
    Ok(match method {
        FlowMethod::RungeKutta(method) => Box::new(FixedStep::new(method.tableau(), steps)?),
        FlowMethod::Fixed(method) => Box::new(FixedStep::new(method.tableau().for_equal_steps(), steps)?),
        FlowMethod::Reversible(of) => Box::new(Reversible::new(of.tableau(), settings.coupling_or_default(), steps)?),
    })
}

/// The model of a map in closed form, of this process alone, with a likelihood for its objective until another is set.
pub fn map_model<S: Space>(map: Box<dyn Bijector<S>>) -> BijectorModel<S> {
    BijectorModel::new(map, Box::new(NegativeLogLikelihood::default()))
}

impl<S: Space> LearnedFlow<S> {
    /// The integrator for figures and samples: `evaluate.method` and `evaluate.steps`, else those of the training.
    ///
    /// # Errors
    /// Settings that the method cannot have.
    pub fn integrator(&self, evaluate: &Evaluate) -> Result<Box<dyn Integrator<S>>, Error> {
        match evaluate.method.unwrap_or(self.settings.method) {
            FlowMethod::RungeKutta(method) if method.is_adaptive() => {
                Ok(Box::new(Adaptive::new(method.tableau(), evaluate.atol, evaluate.rtol, ADAPTIVE_STEPS)?))
            }
            method => equal_steps(method, &self.settings, evaluate.steps.unwrap_or(self.steps)),
        }
    }

    /// The flow with an integrator.
    pub fn flow<'a>(&'a self, space: &'a S, integrator: &'a dyn Integrator<S>) -> Flow<'a, S> {
        Flow {
            space,
            potential: &*self.potential,
            integrator,
            duration: self.settings.time,
            coordinates: self.settings.coordinates,
            memory: self.settings.memory,
            team: &Alone,
        }
    }

    /// The flow that owns its parts.
    pub fn into_model(self, space: &S, integrator: Box<dyn Integrator<S>>) -> FlowModel<S> {
        let objective = Box::new(NegativeLogLikelihood::default());
        let mut model = FlowModel::new(space.clone(), self.potential, integrator, objective);
        model.duration = self.settings.time;
        model.coordinates = self.settings.coordinates;
        model.memory = self.settings.memory;
        model
    }
}

/// What a run has trained.
pub struct Trained<S: Space> {
    /// With its trained parameters.
    pub learned: Learned<S>,
    /// The maps of the data into the coordinates that it works in.
    pub kept: Kept,
    /// The run directory.
    pub run: PathBuf,
    /// The file that the parameters come from.
    pub file: PathBuf,
}

impl<S: Space> Trained<S> {
    /// SHA-256 of the file that the parameters come from, where it can still be read.
    pub fn checksum(&self) -> Option<String> {
        sha256_of(&self.file)
    }

    /// The flow, where the run has trained one. `what` names for the error what asks for it.
    ///
    /// # Errors
    /// [`flow_core::Error::NeedsFlow`] where it has trained a map in closed form.
    pub fn flow_for(&self, what: &'static str) -> Result<&LearnedFlow<S>, Error> {
        match &self.learned {
            Learned::Flow(flow) => Ok(flow),
            Learned::Map(_) => Err(flow_core::Error::NeedsFlow { what }.into()),
        }
    }
}

/// What a run has trained, ready to carry rows that the members of a team share.
pub enum Carrier<'a, S: Space> {
    /// A flow at some integration step.
    Flow(Flow<'a, S>),
    /// A map in closed form.
    Map(&'a dyn Bijector<S>, &'a dyn Team),
}

impl<S: Space> Carrier<'_, S> {
    /// Numbers per row, and of context per row.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Flow(flow) => [flow.potential.dim(), flow.potential.context_dim()],
            Self::Map(map, _) => [map.dim(), map.context_dim()],
        }
    }

    /// Carries the rows of a whole batch the whole way.
    ///
    /// # Errors
    /// When the integration fails.
    pub fn carry(&self, batch: &Batch, direction: Direction, key: RngKey) -> Result<Transported, Error> {
        Ok(match self {
            Self::Flow(flow) => flow.transport_batch(batch, flow.span(direction), key)?,
            Self::Map(map, team) => map.transport(direction, batch, *team, key)?,
        })
    }

    /// Carries the rows of a whole batch the whole way without their ln p: `rows × dim`, row by row.
    ///
    /// # Errors
    /// When the integration fails.
    pub fn carry_points(&self, batch: &Batch, direction: Direction, key: RngKey) -> Result<Vec<f64>, Error> {
        Ok(match self {
            Self::Flow(flow) => flow.transport_points(batch, flow.span(direction), key)?,
            Self::Map(map, team) => map.transport(direction, batch, *team, key)?.x,
        })
    }

    /// As [`flow_core::converged`], or [`flow_core::exact`] of a map.
    ///
    /// # Errors
    /// As [`flow_core::converged`].
    pub fn converged(
        &self,
        objective: &dyn Objective<S>,
        count: u64,
        batches: impl FnMut(u64) -> Result<(Batch, RngKey), flow_core::Error>,
        refinements: u32,
        mut progress: impl FnMut(u32, u64),
    ) -> Result<Converged, Error> {
        Ok(match self {
            Self::Flow(flow) => converged(flow, objective, count, batches, refinements, progress)?,
            Self::Map(map, _) => exact(*map, objective, count, batches, |batch| progress(0, batch))?,
        })
    }
}

/// What the run in `path` has trained: the best on validation where there is one, else the newest.
///
/// # Errors
/// When there is no checkpoint, or none fits the recipe.
pub fn load<E: Engine>(space: &E, recipe: &Recipe, path: &Path, monitor: &dyn Monitor) -> Result<Trained<E>, Error> {
    let (checkpoint, file) = checkpoint(path, monitor)?;
    let kept = Kept::read(path, recipe)?;
    let mut learned = Learned::first(space, recipe, kept.context_dim(recipe))?;
    checkpoint.load_trained(space, learned.parameters_mut())?;
    checkpoint.load_parameters(space, learned.buffers_mut())?;
    if let (Learned::Flow(flow), Some(state)) = (&mut learned, checkpoint.state) {
        flow.steps = state.level as usize;
    }
    Ok(Trained { learned, kept, run: path.to_owned(), file })
}

/// The same for figures and samples: a recipe with one temperature takes the density at that temperature of a run that
/// was trained on a range.
///
/// # Errors
/// As [`load`]; [`Error::Argument`] for a temperature outside of the range.
pub(crate) fn load_given<E: Engine>(
    space: &E,
    recipe: &Recipe,
    path: &Path,
    monitor: &dyn Monitor,
) -> Result<Trained<E>, Error> {
    let (TargetKind::Ising(now), Ok(own)) = (&recipe.target, run_dir::read_recipe(path, &[])) else {
        return load(space, recipe, path, monitor);
    };
    if own.target.temperatures().is_none() || now.temperature.range().is_some() {
        return load(space, recipe, path, monitor);
    }
    let temperature = now.temperature.ends()[0];
    require_given(&own.target, &[temperature])?;
    let mut trained = load(space, &Recipe { target: own.target, ..recipe.clone() }, path, monitor)?;
    if let Learned::Flow(flow) = trained.learned {
        let map = ContextMap::Fixed(vec![temperature]);
        let potential = Box::new(MappedContext::new(space.clone(), flow.potential, map)?);
        trained.learned = Learned::Flow(LearnedFlow { potential, ..flow });
    }
    Ok(trained)
}

/// Contexts of a range of temperatures are in that range; those of other targets are checked where they are encoded.
///
/// # Errors
/// [`Error::Argument`].
pub(crate) fn require_given(target: &TargetKind, context: &[f64]) -> Result<(), Error> {
    let Some([low, high]) = target.temperatures() else { return Ok(()) };
    // The ends are inside, up to their round-off.
    let slack = 1e-9 * (high - low);
    match context.iter().find(|t| !(low - slack..=high + slack).contains(*t)) {
        Some(found) => Err(Error::Argument(format!(
            "the temperature {found} is outside of the range from {low} to {high} that the run was trained on; give \
             one inside"
        ))),
        None => Ok(()),
    }
}

/// The best checkpoint of a run on validation where there is one, else the newest, with its file; damaged ones are
/// passed over with a warning.
///
/// # Errors
/// When there is none, or none can be read.
pub fn checkpoint(path: &Path, monitor: &dyn Monitor) -> Result<(Checkpoint, PathBuf), Error> {
    let folder = CheckpointFolder::open(&run_dir::checkpoints(path), 1)?;
    if let Some(best) = folder.best() {
        match checkpoint::read(&best) {
            Ok(checkpoint) => return Ok((checkpoint, best)),
            Err(error) => monitor.note(&format!("{error}; the newest is used instead")),
        }
    }
    let newest = folder.newest(false)?.ok_or_else(|| Error::NoCheckpoint(path.to_owned()))?;
    newest.warnings.iter().for_each(|warning| monitor.note(warning));
    Ok((newest.checkpoint, newest.path))
}
