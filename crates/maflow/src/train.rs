//! The trainings of a run: from a recipe, or a run's last checkpoint, to a trained flow.

use std::path::PathBuf;
use std::sync::Arc;

use flow_core::{
    Alone, Engine, Evaluation, Finish, Mean, Observer, Purpose, RngKey, Space, Team, TrainState, Trainable, Trainer,
    Validation,
};

use crate::backend::{self, BackendJob, Compute};
use crate::checkpoint::CheckpointFolder;
use crate::error::Error;
use crate::kept::Kept;
use crate::listener::Listener;
use crate::memory::{Available, Estimate};
use crate::monitor::{self, Monitor};
use crate::phases::{self, Phase};
use crate::recipe::{EnergyTarget, Objective, ParticlesTarget, Recipe, RunInfo, TargetKind};
use crate::run_dir::RunDir;
use crate::target::{self, FigureRows, Target, TrainingRows};
use crate::together::{Shared, agreed, by_first, of_first, require_blocks, require_same_recipe};
use crate::trained::{self, Learned};
use crate::{energy_check, recipes, run_dir};

/// A training: what of, where, and from what.
#[derive(Debug, Clone)]
pub struct Train {
    /// What to train.
    pub recipe: Recipe,
    /// Where it begins: a new folder, or a run that goes on.
    pub start: Start,
    /// The run whose weights it starts from.
    pub from: Option<PathBuf>,
    /// Folder of the data set's files; fetched where it is needed and not given.
    pub data: Option<PathBuf>,
    /// Where the numbers are computed.
    pub compute: Compute,
    /// A target of the caller's own, in place of the recipe's.
    pub target: Option<Arc<dyn Target>>,
}

/// The default recipe in `runs/NAME`, on all cores.
impl Default for Train {
    fn default() -> Self {
        let recipe = recipes::load(recipes::DEFAULT, &[]).expect("the default recipe is valid: a test reads them all");
        let start = Start::NewNumbered(run_dir::RUNS.into());
        Self { recipe, start, from: None, data: None, compute: Compute::default(), target: None }
    }
}

/// How a training begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// In the directory named.
    New(PathBuf),
    /// In the next directory of the recipe's name in this folder.
    NewNumbered(PathBuf),
    /// From the newest checkpoint of the run there.
    Resume(PathBuf),
}

/// How a training ended, and where.
#[derive(Debug)]
pub struct Done {
    /// The run directory.
    pub run: RunDir,
    /// With all steps made, early, or interrupted after a checkpoint.
    pub finish: Finish,
    /// The target, ready for figures.
    pub target: Arc<dyn Target>,
    /// The recipe, with what made the run.
    pub recipe: Recipe,
}

impl Train {
    /// Trains to the end, or until the monitor asks for an end; the state is saved either way.
    ///
    /// # Errors
    /// Whatever is wrong with recipe, data or run, before anything is written; after that, those of the training
    /// itself.
    pub fn run(self, monitor: &dyn Monitor) -> Result<Done, Error> {
        Ok(self.run_by(&Alone, monitor)?.expect("one process alone is the first"))
    }

    /// The same with the work shared: every member of the team calls this, with the same recipe. The first makes the
    /// run, alone writes into it, and has what came of it; the others have `None`. Results do not depend on the number
    /// of members, bit for bit, where the backend's do not depend on the number of threads.
    ///
    /// # Errors
    /// As [`Train::run`], on all members; [`flow_core::Error::OtherMember`] on those that do not know the reason.
    pub fn run_by(self, team: &dyn Team, monitor: &dyn Monitor) -> Result<Option<Done>, Error> {
        Ok(self.finish_by(team, monitor)?.1)
    }

    /// The same with how it ended, on every member.
    pub(crate) fn finish_by(self, team: &dyn Team, monitor: &dyn Monitor) -> Result<(Finish, Option<Done>), Error> {
        let (compute, precision) = (self.compute, self.recipe.train.precision);
        backend::run(&compute, precision, Monitored { train: self, team, monitor })
    }
}

struct Monitored<'a> {
    train: Train,
    team: &'a dyn Team,
    monitor: &'a dyn Monitor,
}

/// What is known before anything is written.
struct Prepared<E: Engine> {
    target: Arc<dyn Target>,
    phases: Vec<Phase>,
    model: Box<dyn Trainable<E>>,
}

impl BackendJob for Monitored<'_> {
    type Output = (Finish, Option<Done>);

    fn run<E: Engine>(self, space: &E) -> Result<Self::Output, Error> {
        let Self { train: mut plan, team, monitor } = self;
        require_same_recipe(team, &plan.recipe)?;
        let by = (plan.compute.backend, plan.compute.threads.get());
        let needed = Estimate::of(&plan.recipe, space, by, team.size());
        agreed(team, needed.require(Available::now()).map_err(Error::from))?;
        let Prepared { target, mut phases, model } = agreed(team, plan.prepare(space, monitor))?;
        require_blocks(team, space, &mut phases, monitor)?;
        let run = by_first(team, || {
            let run = match &plan.start {
                Start::New(path) => RunDir::create(path, &plan.recipe)?,
                Start::NewNumbered(base) => RunDir::create_next(base, &plan.recipe)?,
                Start::Resume(path) => RunDir::resume(path)?,
            };
            if let Start::New(_) | Start::NewNumbered(_) = &plan.start {
                Kept::write(run.path(), &plan.recipe, &*target)?;
            }
            Ok(run)
        })?;
        let store = |run: &RunDir| CheckpointFolder::open(&run.checkpoints(), plan.recipe.train.keep);
        let folder = agreed(team, run.as_ref().map(store).transpose())?;
        let members = Members { team, run: run.as_ref(), monitor };
        let finish = Training { space, plan: &plan, target: &*target, members, folder }.run(model, phases)?;
        Ok((finish, run.map(|run| Done { run, finish, target, recipe: plan.recipe })))
    }
}

/// The team, the run that its first member writes, and the monitor.
#[derive(Clone, Copy)]
struct Members<'a> {
    team: &'a dyn Team,
    run: Option<&'a RunDir>,
    monitor: &'a dyn Monitor,
}

impl Train {
    /// Everything that can be found out before anything is written; the recipe learns of what makes the run.
    fn prepare<E: Engine>(&mut self, space: &E, monitor: &dyn Monitor) -> Result<Prepared<E>, Error> {
        let plan = self;
        let before = match (&plan.start, &plan.from) {
            (Start::Resume(run), _) | (_, Some(run)) => Some(Kept::read(run, &plan.recipe)?),
            _ => None,
        };
        let target: Arc<dyn Target> = match &plan.target {
            Some(own) => Arc::clone(own),
            None => target::open(&plan.recipe, plan.data.as_deref(), before, monitor)?.into(),
        };
        plan.require_same_dimension(&*target)?;
        let data = target.samples().and_then(|samples| samples.digest());
        plan.require_same_data(data.as_deref())?;
        let phases = phases::phases(&plan.recipe, &*target)?;
        for phase in &phases {
            target.require_for(&plan.recipe.train, phase.objective)?;
        }
        plan.check_own_energy(&*target)?;
        let model = plan.first_model(space, target.context_dim(), monitor)?;
        plan.recipe.run = Some(RunInfo { data, ..plan.compute.run_info() });
        Ok(Prepared { target, phases, model })
    }

    /// The recipe and a target of the caller's own are of the same dimension.
    fn require_same_dimension(&self, target: &dyn Target) -> Result<(), Error> {
        let (found, expected) = (target.dimension(), self.recipe.dimension());
        match found == expected {
            true => Ok(()),
            false => Err(Error::Argument(format!(
                "the target has {found} numbers per row, but the recipe's target has {expected}; make target.dimension \
                 and the target agree"
            ))),
        }
    }

    /// A run goes on with the data that it was begun with; one of an earlier version has not written down which.
    fn require_same_data(&self, found: Option<&str>) -> Result<(), Error> {
        let Start::Resume(run) = &self.start else { return Ok(()) };
        let before = self.recipe.run.as_ref().and_then(|run| run.data.as_deref());
        if before.is_none() || before == found {
            return Ok(());
        }
        match &self.recipe.target {
            TargetKind::Energy(EnergyTarget { samples: Some(samples), .. })
            | TargetKind::Particles(ParticlesTarget { samples: Some(samples), .. }) => Err(Error::Argument(format!(
                "the samples in {} are not those that {} was begun with; put those back, or begin a new run from its \
                 weights",
                samples.display(),
                run.display()
            ))),
            _ => Err(Error::OtherData { run: run.clone(), data: self.data.clone() }),
        }
    }

    /// A new training by an energy of the caller's own begins where that is finite, and with its true gradient.
    fn check_own_energy(&self, target: &dyn Target) -> Result<(), Error> {
        let (TargetKind::Own(_), Start::New(_) | Start::NewNumbered(_)) = (&self.recipe.target, &self.start) else {
            return Ok(());
        };
        // Where there are samples, a training begins at those.
        let Some(energy) = target.energy().filter(|energy| energy.context_dim() == 0 && target.samples().is_none())
        else {
            return Ok(());
        };
        let key = RngKey::new(self.recipe.train.seed, Purpose::Train, 0);
        energy_check::check(&*energy, &key.normals(0..energy_check::POINTS, energy.dim()), key)
    }

    /// The model that the training starts from.
    fn first_model<E: Engine>(
        &self,
        space: &E,
        context: usize,
        monitor: &dyn Monitor,
    ) -> Result<Box<dyn Trainable<E>>, Error> {
        let learned = match &self.from {
            Some(run) => trained::load(space, &self.recipe, run, monitor)?.learned,
            None => Learned::first(space, &self.recipe, context)?,
        };
        if self.recipe.train.force_weight > 0.0 {
            learned.require_score_pullback()?;
        }
        learned.into_model(space)
    }
}

/// A training whose run is there: what all of its phases have in common.
struct Training<'a, E> {
    space: &'a E,
    plan: &'a Train,
    target: &'a dyn Target,
    members: Members<'a>,
    /// The checkpoints of the run, on the first member.
    folder: Option<CheckpointFolder>,
}

impl<E: Engine> Training<'_, E> {
    /// Trains to the end or to an interrupt, phase by phase.
    fn run(&self, mut model: Box<dyn Trainable<E>>, phases: Vec<Phase>) -> Result<Finish, Error> {
        let (Members { team, run, monitor }, recipe, target) = (self.members, &self.plan.recipe, self.target);
        let total = phases.last().map_or(0, |phase| phase.settings.steps);
        let mut listener = Listener::new(run, monitor, target.sites() as f64, target.training_rows());
        let first = self.begin(total)?;
        target.training_rows().into_iter().for_each(|rows| note_large_batches(&phases, rows, &mut listener));
        // The loss of a regression or a distance is no free energy and no likelihood: the best of those stands beside a
        // validation figure alone.
        let comparable = phases[0].objective == target.kind() || phases.len() > 1 || recipe.train.validate_every > 0;
        let best = target.known().filter(|_| comparable).map(|known| (known.word(), known.value()));
        let unfinished = |phase: &Phase| first.is_none_or(|first| first < phase.settings.steps);
        let of_samples = |phase: &Phase| matches!(phase.objective, Objective::FlowMatching | Objective::ForwardKl);
        if phases.iter().any(|phase| of_samples(phase) && unfinished(phase)) && !self.prepare_samples()? {
            return Ok(Finish::Interrupted);
        }
        let last = phases.len() - 1;
        let fine_tuned_from = (last > 0).then(|| phases[0].settings.steps);
        listener.show(monitor::Training { first: first.unwrap_or(0), total, fine_tuned_from, best });
        let mut finish = Finish::Completed;
        for (k, phase) in phases.into_iter().enumerate() {
            if k < last && !unfinished(&phase) {
                continue;
            }
            let ended = self.phase(phase, &mut *model, &mut listener);
            finish = ended.map_err(|error| with_trouble(error, target))?;
            if finish == Finish::Interrupted {
                break;
            }
        }
        listener.finish();
        let words = match finish {
            Finish::Completed => "all steps made",
            Finish::EarlyStopped => "ended early",
            Finish::Interrupted => "interrupted",
        };
        agreed(team, run.map_or(Ok(()), |run| run.log(words)))?;
        Ok(finish)
    }

    /// Says that a training of so many steps begins. Returns the steps that a resumed one has made.
    fn begin(&self, total: u64) -> Result<Option<u64>, Error> {
        let Members { team, run, monitor } = self.members;
        if let Start::Resume(path) = &self.plan.start {
            let first = newest_step(team, self.folder.as_ref())?;
            return match first.filter(|made| *made > total) {
                Some(made) => Err(Error::TakenBack { run: path.clone(), made, total }),
                None => Ok(first),
            };
        }
        if let Some(run) = run {
            let by = if team.size() > 1 { format!(" by {} processes", team.size()) } else { String::new() };
            monitor.note(&format!("training {} in {}{by}", self.plan.recipe.name, run.path().display()));
            run.log(&format!("started: {total} steps{by}"))?;
        }
        Ok(None)
    }

    /// Has the target make its samples before the first step, with a display of their own. Says whether it did: an
    /// interrupt ends that too.
    fn prepare_samples(&self) -> Result<bool, Error> {
        let Members { team, monitor, .. } = self.members;
        let prepared = self.target.samples().map_or(Ok(()), |samples| samples.prepare(team, monitor));
        if team.any(matches!(prepared, Err(Error::Cancelled)))? {
            return Ok(false);
        }
        agreed(team, prepared).map(|()| true)
    }
}

/// What a target has met is told where a training gave up.
fn with_trouble(error: Error, target: &dyn Target) -> Error {
    match (error, target.trouble()) {
        (Error::Core(error @ flow_core::Error::TooManyRollbacks { .. }), Some(trouble)) => {
            Error::Failed(format!("{error}; {trouble}"))
        }
        (error, _) => error,
    }
}

/// Says of batches that are larger than the training set what that means.
/// They are no error: old runs with them go on as they were.
fn note_large_batches(phases: &[Phase], rows: usize, listener: &mut Listener<'_>) {
    for (phase, key) in phases.iter().zip(["train.batch", "fine_tune.batch"]) {
        let batch = phase.settings.batch;
        if batch > rows {
            listener.note(&format!(
                "{key} = {batch} is more than the {rows} training rows: every batch has some of them more than \
                 once, and its standard error takes them for different ones; in a new run set {key} = {rows} or less"
            ));
        }
    }
}

/// Gradient steps made before the newest usable checkpoint of the first member, where there is one.
fn newest_step(team: &dyn Team, folder: Option<&CheckpointFolder>) -> Result<Option<u64>, Error> {
    of_first(team, || {
        let newest = folder.map_or(Ok(None), |folder| folder.newest(false))?;
        Ok(newest.and_then(|newest| newest.checkpoint.state).map(|state| state.step))
    })
}

impl<E: Engine> Training<'_, E> {
    /// Trains from the model as it is, from the end of the phase before, or from the newest checkpoint of this phase.
    fn phase(&self, phase: Phase, model: &mut dyn Trainable<E>, listener: &mut Listener<'_>) -> Result<Finish, Error> {
        let (recipe, target, Members { team, run, .. }) = (&self.plan.recipe, self.target, self.members);
        let Phase { settings, objective, gradient } = phase;
        let (first, total, batch) = (settings.first, settings.steps, settings.batch as u64);
        let resumed = matches!(self.plan.start, Start::Resume(_));
        // At the very end of a phase the next one starts afresh from its averaged weights, interrupted in between or
        // not.
        let newest = newest_step(team, self.folder.as_ref())?;
        let only_best = resumed && newest.is_none() && self.folder.as_ref().is_some_and(|of| of.best().is_some());
        agreed(team, run.filter(|_| only_best).map_or(Ok(()), |run| Err(Error::OnlyBest(run.path().to_owned()))))?;
        let mut resume = resumed && newest.is_some_and(|step| first == 0 || step > first);
        let before = if first > 0 && !resume { self.take_up_last_phase(model)? } else { None };
        model.set_objective(target.training_objective::<E>(&recipe.train, objective, gradient)?);
        // A training begins with the steps of the recipe, whatever the one before came to.
        if let Some(flow) = recipe.flow() {
            model.set_level(flow.steps as u64);
        }
        let seen = first * recipe.train.batch as u64;
        let batches = TrainingRows { target, objective, space: self.space, first, seen };
        listener.begin(first, seen, batch);
        let rows = FigureRows::validation(target, recipe.train.seed, recipe.train.validation_samples);
        let validated = Shared { objective: target.objective::<E>()?, team };
        let (mut store, by) = (self.folder.clone(), model.objective_name());
        let mut trainer = Trainer::new(model, settings, &batches)?
            .with_team(team)
            .with_validator(|model| validate(model, &validated, &rows));
        if let Some(store) = &mut store {
            trainer = trainer.with_store(store);
        }
        if let Some(before) = before {
            trainer = trainer.after(&before);
        }
        if resume {
            resume = trainer.resume(listener)?.is_some();
        }
        if !resume {
            listener.rewind(first)?;
        }
        if resumed {
            // The old recipe stays until its checkpoint has been read with the new one.
            agreed(team, run.map_or(Ok(()), |run| run.write_recipe(recipe)))?;
            listener.note(&format!("resumed at step {} of {total}", trainer.state().step));
        } else if first > 0 {
            listener.note(&format!("fine-tuning by {} from step {first} on", by));
        }
        let finish = trainer.run(listener);
        if finish.is_err() {
            listener.finish();
        }
        Ok(finish?)
    }

    /// Gives the model what the phase before has left, with the state of that one's training. The other members get
    /// what the first reads when the training begins.
    fn take_up_last_phase(&self, model: &mut dyn Trainable<E>) -> Result<Option<TrainState>, Error> {
        let load = |folder: &CheckpointFolder| -> Result<_, Error> {
            let newest = folder.newest(false)?;
            let newest = newest.ok_or_else(|| Error::Failed("the first training left no checkpoint".into()))?;
            newest.checkpoint.load_trained(self.space, model.parameters_mut())?;
            newest.checkpoint.load_parameters(self.space, model.buffers_mut())?;
            Ok(newest.checkpoint.state)
        };
        Ok(agreed(self.members.team, self.folder.as_ref().map(load).transpose())?.flatten())
    }
}

/// The validation figure of the model as it is; its integration error is that of the first batch.
fn validate<S: Space>(
    model: &dyn Trainable<S>,
    objective: &dyn flow_core::Objective<S>,
    rows: &FigureRows<'_>,
) -> Result<Validation, flow_core::Error> {
    let (mut losses, mut weights) = (Vec::with_capacity(rows.rows()), Vec::new());
    let mut integration_error = 0.0;
    for i in 0..rows.batches() {
        let (batch, key) = rows.batch(i)?;
        let how = Evaluation::new(key);
        let found = model.evaluate_by(objective, &batch, &how)?.losses;
        if i == 0 && model.level().is_some() {
            let fine = model.evaluate_by(objective, &batch, &Evaluation { refined: true, ..how })?.losses;
            let mean = |losses: &[f64]| Mean::weighted(losses, &batch.weights).mean;
            integration_error = mean(&fine) - mean(&found);
        }
        losses.extend(found);
        weights.extend(batch.weights);
    }
    let Mean { mean: figure, standard_error } = Mean::weighted(&losses, &weights);
    Ok(Validation { figure, standard_error, integration_error })
}
