//! From a recipe to an integrator and a flow, and from a run to the potential it trained.

use std::path::{Path, PathBuf};

use flow_core::{
    Adaptive, Alone, Checkpoint, Engine, FixedStep, Flow, FlowModel, Integrator, NegativeLogLikelihood, Potential,
    Reversible, Space,
};
use sha2::{Digest, Sha256};

use crate::checkpoint::{self, CheckpointFolder};
use crate::error::Error;
use crate::files::hex;
use crate::kept::Kept;
use crate::monitor::Monitor;
use crate::potential::potential;
use crate::recipe::{FlowMethod, Recipe};
use crate::run_dir;

/// Tried steps after which an adaptive integrator gives up.
const ADAPTIVE_STEPS: usize = 100_000;

/// A method with so many equal steps.
///
/// # Errors
/// Settings that the method cannot have.
pub fn equal_steps<S: Space>(
    method: FlowMethod,
    recipe: &Recipe,
    steps: usize,
) -> Result<Box<dyn Integrator<S>>, Error> {
    Ok(match method {
        FlowMethod::RungeKutta(method) => Box::new(FixedStep::new(method.tableau(), steps)?),
        FlowMethod::Fixed(method) => Box::new(FixedStep::new(method.tableau().for_equal_steps(), steps)?),
        FlowMethod::Reversible(of) => {
            Box::new(Reversible::new(of.tableau(), recipe.flow.coupling_or_default(), steps)?)
        }
    })
}

/// A flow that owns its parts, with a likelihood for its objective until another is set.
pub fn flow_model<S: Space>(
    space: &S,
    recipe: &Recipe,
    potential: Box<dyn Potential<S>>,
    integrator: Box<dyn Integrator<S>>,
) -> FlowModel<S> {
    let objective = Box::new(NegativeLogLikelihood::default());
    let mut model = FlowModel::new(space.clone(), potential, integrator, objective);
    model.duration = recipe.flow.time;
    model.coordinates = recipe.flow.coordinates;
    model.memory = recipe.flow.memory;
    model
}

/// A potential with its trained parameters.
pub struct Trained<S: Space> {
    /// The potential.
    pub potential: Box<dyn Potential<S>>,
    /// Integration steps when training ended.
    pub flow_steps: usize,
    /// The maps of the data into the flow's coordinates.
    pub kept: Kept,
    /// The run directory.
    pub run: PathBuf,
    /// The file that the parameters come from.
    pub file: PathBuf,
}

impl<S: Space> Trained<S> {
    /// SHA-256 of the file that the parameters come from, where it can still be read.
    pub fn checksum(&self) -> Option<String> {
        Some(hex(&Sha256::digest(std::fs::read(&self.file).ok()?)))
    }

    /// The integrator for figures and samples: `evaluate.method` and `evaluate.steps`, else those of the training.
    ///
    /// # Errors
    /// Settings that the method cannot have.
    pub fn integrator(&self, recipe: &Recipe) -> Result<Box<dyn Integrator<S>>, Error> {
        let evaluate = &recipe.evaluate;
        match evaluate.method.unwrap_or(recipe.flow.method) {
            FlowMethod::RungeKutta(method) if method.is_adaptive() => {
                Ok(Box::new(Adaptive::new(method.tableau(), evaluate.atol, evaluate.rtol, ADAPTIVE_STEPS)?))
            }
            method => equal_steps(method, recipe, evaluate.steps.unwrap_or(self.flow_steps)),
        }
    }

    /// The flow with an integrator.
    pub fn flow<'a>(&'a self, space: &'a S, recipe: &Recipe, integrator: &'a dyn Integrator<S>) -> Flow<'a, S> {
        Flow {
            space,
            potential: &*self.potential,
            integrator,
            duration: recipe.flow.time,
            coordinates: recipe.flow.coordinates,
            memory: recipe.flow.memory,
            team: &Alone,
        }
    }
}

/// The potential that the run in `path` has trained: the best on validation where there is one, else the newest.
///
/// # Errors
/// When there is no checkpoint, or none fits the recipe.
pub fn load<E: Engine>(space: &E, recipe: &Recipe, path: &Path, monitor: &dyn Monitor) -> Result<Trained<E>, Error> {
    let (checkpoint, file) = checkpoint(path, monitor)?;
    let kept = Kept::read(path, recipe)?;
    let mut potential = potential(space, recipe, kept.context_dim(recipe))?;
    checkpoint.load_trained(space, potential.parameters_mut())?;
    let flow_steps = checkpoint.state.map_or(recipe.flow.steps, |state| state.level as usize);
    Ok(Trained { potential, flow_steps, kept, run: path.to_owned(), file })
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
