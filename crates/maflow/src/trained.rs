//! From a recipe to a potential and its integrator, and from a run to the potential it trained.

use std::path::{Path, PathBuf};

use datasets::lattice::{Lattice, LatticeSymmetry};
use flow_core::potentials::Modulated;
use flow_core::{
    Adaptive, Checkpoint, FixedStep, Flow, FlowModel, Group, Integrator, NegativeLogLikelihood, Potential, Space, Sum,
    Symmetrised, SymmetryDraw,
};

use crate::backend::{Engine, TermRequest, sharpened};
use crate::checkpoint::{self, CheckpointFolder};
use crate::error::Error;
use crate::kept::Kept;
use crate::monitor::Monitor;
use crate::recipe::{self, Generator, Recipe, Symmetry, TargetKind};
use crate::run_dir;

/// Tried steps after which an adaptive integrator gives up.
const ADAPTIVE_STEPS: usize = 100_000;

/// The potential of a recipe with its first parameters, for a target with so many numbers of context per row.
///
/// # Errors
/// Sizes that are out of range.
pub fn potential<E: Engine>(
    engine: &E,
    recipe: &Recipe,
    context: usize,
) -> Result<Box<dyn Potential<E::Space>>, Error> {
    let ridge = match &recipe.potential {
        recipe::Potential::Ridge(ridge) => ridge,
        recipe::Potential::Sum(sum) => return Ok(Box::new(sum_of(engine, recipe, &sum.terms, context)?)),
    };
    let free = |orbit| {
        let potential = engine.ridge(recipe.dimension(), ridge, recipe.flow.time, recipe.train.seed, orbit)?;
        Ok::<_, Error>(sharpened(engine.space(), potential, ridge.sharpness, 1.0))
    };
    let Some(symmetry) = &ridge.symmetry else { return free(None) };
    let group = group(symmetry, &recipe.target, recipe.dimension())?;
    if symmetry.draw == SymmetryDraw::Never {
        return free(Some(group));
    }
    Ok(Box::new(Symmetrised::new(engine.space().clone(), free(None)?, group, symmetry.draw)?))
}

/// The sum of terms, named by their kinds and, from the second of a kind on, their numbers. The strength of terms that
/// have no other place for a context depends on it.
fn sum_of<E: Engine>(
    engine: &E,
    recipe: &Recipe,
    terms: &[recipe::Term],
    context: usize,
) -> Result<Sum<E::Space>, Error> {
    let (dim, duration) = (recipe.dimension(), recipe.flow.time);
    let lattice = recipe.target.lattice().map(|(rows, cols, _)| (rows, cols));
    let mut named = Vec::with_capacity(terms.len());
    for (i, term) in terms.iter().enumerate() {
        let kind = term.kind.name();
        let before = terms[..i].iter().filter(|other| other.kind.name() == kind).count();
        let name = if before == 0 { kind.to_owned() } else { format!("{kind}-{}", before + 1) };
        // Terms of a kind must not start with the same numbers.
        let seed = recipe.train.seed.wrapping_add((i as u64) << 32);
        let mut potential = engine.term(term, &TermRequest { dim, context, lattice, duration, seed })?;
        if potential.context_dim() < context {
            let basis = term.time.basis(duration)?;
            potential = Box::new(Modulated::new(engine.space().clone(), potential, context, basis)?);
        }
        named.push((name, potential));
    }
    Ok(Sum::new(engine.space().clone(), named)?)
}

/// The group that the generators make: translations after elements of the point group, with or without x → −x.
fn group(symmetry: &Symmetry, target: &TargetKind, dimension: usize) -> Result<Group, Error> {
    let has = |generator| symmetry.group.contains(&generator);
    let identity: Vec<u32> = (0..dimension as u32).collect();
    let (mut translations, mut points) = (vec![identity.clone()], vec![identity]);
    if let Some(lattice) = lattice(target)? {
        let lattice = LatticeSymmetry::new(lattice);
        if has(Generator::Translations) {
            translations = lattice.translations();
        }
        if has(Generator::D4) {
            points = lattice.point_group();
        } else if has(Generator::Transpose) {
            points.extend(lattice.transpose());
        }
    }
    let mut elements = Vec::with_capacity(translations.len() * points.len());
    for translation in &translations {
        elements.extend(points.iter().map(|point| LatticeSymmetry::compose(translation, point)));
    }
    let signs = vec![1.0; elements.len()];
    let group = Group::new(elements, signs)?;
    Ok(if has(Generator::Z2) { group.with_reflection() } else { group })
}

fn lattice(target: &TargetKind) -> Result<Option<Lattice>, Error> {
    let Some((rows, cols, boundary)) = target.lattice() else { return Ok(None) };
    Ok(Some(Lattice::new(rows, cols, boundary)?))
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
    /// The integrator for figures and samples: `evaluate.method` and `evaluate.steps`, else those of the training.
    ///
    /// # Errors
    /// Settings that the method cannot have.
    pub fn integrator(&self, recipe: &Recipe) -> Result<Box<dyn Integrator<S>>, Error> {
        let evaluate = &recipe.evaluate;
        let method = evaluate.method.unwrap_or(recipe.flow.method);
        let tableau = method.tableau();
        Ok(if method.is_adaptive() {
            Box::new(Adaptive::new(tableau, evaluate.atol, evaluate.rtol, ADAPTIVE_STEPS)?)
        } else {
            Box::new(FixedStep::new(tableau, evaluate.steps.unwrap_or(self.flow_steps))?)
        })
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
        }
    }
}

/// The potential that the run in `path` has trained: the best on validation where there is one, else the newest.
///
/// # Errors
/// When there is no checkpoint, or none fits the recipe.
pub fn load<E: Engine>(
    engine: &E,
    recipe: &Recipe,
    path: &Path,
    monitor: &dyn Monitor,
) -> Result<Trained<E::Space>, Error> {
    let (checkpoint, file) = checkpoint(path, monitor)?;
    let kept = Kept::read(path, recipe)?;
    let mut potential = potential(engine, recipe, kept.context_dim(recipe))?;
    checkpoint.load_trained(engine.space(), potential.parameters_mut())?;
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
