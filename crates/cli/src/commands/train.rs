//! `maflow train`: from a recipe or a run's last checkpoint to a trained flow, its figures and its pictures.

use std::path::Path;

use flow_core::{Evaluation, Finish, Flow, FlowModel, Mean, Model, Observer, Potential, Space, Trainer, Validation};
use maflow::checkpoint::CheckpointFolder;

use crate::config::{Config, RunInfo};
use crate::engine::{self, Engine, Work};
use crate::error::CliError;
use crate::listener::Listener;
use crate::plan::{Start, Train};
use crate::problem::{FigureRows, Problem, TrainingRows};
use crate::progress::duration;
use crate::run_dir::RunDir;
use crate::settings::Phase;
use crate::{figures, interrupt, metrics, model, output, pictures, settings, standard};

/// Trains as planned.
pub fn run(plan: Train) -> Result<(), CliError> {
    interrupt::listen()?;
    let compute = plan.compute;
    let precision = plan.config.train.precision;
    engine::run(&compute, precision, plan)
}

impl Work for Train {
    type Output = ();

    fn run<E: Engine>(mut self, engine: &E) -> Result<(), CliError> {
        // Whatever can be wrong is found before anything is written.
        let before = match (&self.start, &self.from) {
            (Start::Resume(run), _) | (_, Some(run)) => Some(standard::read(run, &self.config)?),
            _ => None,
        };
        let problem = Problem::load(&self.config, self.data.as_deref(), before)?;
        let data = problem.data_digest();
        self.require_same_data(data.as_deref())?;
        let phases = settings::phases(&self.config, &problem);
        self.first_potential(engine)?;
        self.config.run = Some(RunInfo { data, ..self.compute.run_info() });
        let run = match &self.start {
            Start::New(path) => RunDir::create(path, &self.config)?,
            Start::NewNumbered(base) => RunDir::create_next(base, &self.config)?,
            Start::Resume(path) => RunDir::resume(path)?,
        };
        if let (Problem::Digits(digits), Start::New(_) | Start::NewNumbered(_)) = (&problem, &self.start) {
            standard::write(run.path(), &self.config, digits.standardisation())?;
        }
        let finish = train(engine, &self, &problem, phases, &run)?;
        if finish == Finish::Interrupted {
            return Err(CliError::Interrupted(format!(
                "interrupted; to go on type: maflow train --resume --out {}",
                run.path().display()
            )));
        }
        summarise(engine, &self.config, &problem, &run)
    }
}

impl Train {
    /// A run goes on with the data that it was begun with; one of an earlier version has not written down which.
    fn require_same_data(&self, found: Option<&str>) -> Result<(), CliError> {
        let Start::Resume(run) = &self.start else { return Ok(()) };
        let before = self.config.run.as_ref().and_then(|run| run.data.as_deref());
        if before.is_none() || before == found {
            return Ok(());
        }
        let (run, data) = (run.display(), self.data.as_deref().map(Path::display));
        let (place, again) = match data {
            Some(folder) => (format!("in {folder}"), format!(" --data {folder}")),
            None => ("of the cache folder".to_owned(), String::new()),
        };
        Err(CliError::Usage(format!(
            "the pictures {place} are not those that {run} was begun with; give the folder of those with --data, \
             or begin a new run from its weights: maflow train --from {run}{again}"
        )))
    }

    /// The potential that the training starts from.
    fn first_potential<E: Engine>(&self, engine: &E) -> Result<Box<dyn Potential<E::Space>>, CliError> {
        match &self.from {
            Some(run) => Ok(model::load(engine, &self.config, run)?.potential),
            None => model::potential(engine, &self.config),
        }
    }
}

/// Trains to the end or to an interrupt, phase by phase.
fn train<E: Engine>(
    engine: &E,
    plan: &Train,
    problem: &Problem,
    phases: Vec<Phase>,
    run: &RunDir,
) -> Result<Finish, CliError> {
    let (config, total) = (&plan.config, phases.last().map_or(0, |phase| phase.settings.steps));
    let folder = CheckpointFolder::open(&run.checkpoints(), config.train.keep)?;
    let mut listener = Listener::new(run, problem.sites(), problem.training_rows());
    let mut first = None;
    if let Start::Resume(_) = plan.start {
        first = newest_step(&folder)?;
        if let Some(made) = first.filter(|made| *made > total) {
            return Err(CliError::Usage(format!(
                "{} has made {made} steps, more than the {total} that are asked for; a training is not taken back, so leave that out",
                run.path().display()
            )));
        }
    } else {
        output::note(&format!("training {} in {}", config.name, run.path().display()));
        run.log(&format!("started: {total} steps"))?;
    }
    problem.training_rows().into_iter().for_each(|rows| note_large_batches(&phases, rows, &mut listener));
    // A regression's loss is no free energy and no likelihood: the best of those stands beside a validation figure
    // alone.
    let comparable = !phases[0].matching || phases.len() > 1 || config.train.validate_every > 0;
    let best = problem.best().filter(|_| comparable).map(|best| (problem.best_is(), best));
    let unfinished = |phase: &Phase| first.is_none_or(|first| first < phase.settings.steps);
    if phases.iter().any(|phase| phase.matching && unfinished(phase)) {
        // Before the first step, with a display of their own.
        match problem.draw_samples() {
            Err(CliError::Interrupted(_)) => return Ok(Finish::Interrupted),
            drawn => drawn?,
        }
    }
    listener.show(first.unwrap_or(0), total, best);
    let mut model = settings::model(engine.space(), config, plan.first_potential(engine)?)?;
    let last = phases.len() - 1;
    let mut finish = Finish::Completed;
    for (k, phase) in phases.into_iter().enumerate() {
        if k < last && !unfinished(&phase) {
            continue;
        }
        finish = phase.run(engine, plan, problem, &mut model, &folder, run, &mut listener)?;
        if finish == Finish::Interrupted {
            break;
        }
    }
    listener.finish();
    run.log(match finish {
        Finish::Completed => "all steps made",
        Finish::Interrupted => "interrupted",
    })?;
    Ok(finish)
}

/// Says of batches that are larger than the training set what that means.
/// They are no error: old runs with them go on as they were.
fn note_large_batches(phases: &[Phase], rows: usize, listener: &mut Listener<'_>) {
    for (phase, key) in phases.iter().zip(["train.batch", "fine_tune.batch"]) {
        let batch = phase.settings.batch;
        if batch > rows {
            listener.note(&format!(
                "{key} = {batch} is more than the {rows} training pictures: every batch has some of them more than \
                 once, and its standard error takes them for different ones; in a new run set {key} = {rows} or less"
            ));
        }
    }
}

/// Gradient steps made before the newest usable checkpoint, where there is one.
fn newest_step(folder: &CheckpointFolder) -> Result<Option<u64>, CliError> {
    Ok(folder.newest(false)?.and_then(|newest| newest.checkpoint.state).map(|state| state.step))
}

impl Phase {
    /// Trains from the potential as it is, from the end of the phase before, or from the newest checkpoint of this
    /// phase.
    #[allow(clippy::too_many_arguments, reason = "one training is made of this many parts")]
    fn run<E: Engine>(
        self,
        engine: &E,
        plan: &Train,
        problem: &Problem,
        model: &mut FlowModel<E::Space>,
        folder: &CheckpointFolder,
        run: &RunDir,
        listener: &mut Listener<'_>,
    ) -> Result<Finish, CliError> {
        let (space, config) = (engine.space(), &plan.config);
        let (first, total) = (self.settings.first, self.settings.steps);
        let resumed = matches!(plan.start, Start::Resume(_));
        // At the very end of a phase the next one starts afresh from its averaged weights, interrupted in between or
        // not.
        let newest = newest_step(folder)?;
        if resumed && newest.is_none() && folder.best().is_some() {
            let path = run.path().display();
            return Err(CliError::Failed(format!(
                "{path} has only its best checkpoint, which no training can be resumed from; to start a new run from its weights type: \
                 maflow train --from {path}"
            )));
        }
        let mut resume = resumed && newest.is_some_and(|step| first == 0 || step > first);
        let mut before = None;
        if first > 0 && !resume {
            let newest = folder
                .newest(false)?
                .ok_or_else(|| CliError::Failed("the first training left no checkpoint".into()))?;
            newest.checkpoint.load_trained(space, model.potential.parameters_mut())?;
            before = newest.checkpoint.state;
        }
        model.objective = problem.training_objective::<E::Space>(&config.train, self.matching, self.gradient);
        // A training begins with the steps of the recipe, whatever the one before came to.
        model.set_level(config.flow.steps as u64);
        let seen = first * config.train.batch as u64;
        let batches = TrainingRows { problem, matching: self.matching, space, first, seen };
        listener.begin(first, seen, self.settings.batch as u64);
        let rows = FigureRows::validation(problem, config.train.seed, config.train.validation_samples);
        let validated = problem.objective::<E::Space>();
        let (mut store, by) = (folder.clone(), model.objective.name());
        let mut trainer = Trainer::new(model, self.settings, &batches)?
            .with_store(&mut store)
            .with_validator(|model: &FlowModel<E::Space>| validate(&model.flow(), &*validated, &rows));
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
            // The old configuration stays until its checkpoint has been read with the new one.
            run.write_config(config)?;
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
}

/// The validation figure of the flow as it is; its integration error is that of the first batch.
fn validate<S: Space>(
    flow: &Flow<'_, S>,
    objective: &dyn flow_core::Objective<S>,
    rows: &FigureRows<'_>,
) -> Result<Validation, flow_core::Error> {
    let mut losses = Vec::with_capacity(rows.rows());
    let mut integration_error = 0.0;
    for i in 0..rows.batches() {
        let (batch, key) = rows.core_batch(i)?;
        let how = Evaluation::new(key);
        let found = objective.evaluate(flow, &batch, &how)?.losses;
        if i == 0 {
            let finer = flow.integrator.refined();
            let fine = objective.evaluate(&flow.with_integrator(&*finer), &batch, &how)?.losses;
            integration_error = Mean::of(&fine).mean - Mean::of(&found).mean;
        }
        losses.extend(found);
    }
    let Mean { mean: figure, standard_error } = Mean::of(&losses);
    Ok(Validation { figure, standard_error, integration_error })
}

/// Figures and pictures of the trained flow.
fn summarise<E: Engine>(engine: &E, config: &Config, problem: &Problem, run: &RunDir) -> Result<(), CliError> {
    let path = run.path().display();
    let trained = model::load(engine, config, run.path())?;
    let taken = match figures::take(engine.space(), config, problem, &trained) {
        Err(CliError::Interrupted(_)) => {
            return Err(CliError::Interrupted(format!(
                "interrupted, but the training is complete; for its figures type: maflow evaluate {path}"
            )));
        }
        taken => taken?,
    };
    let (report, found) = (taken.0.text(), taken.1);
    let rows = metrics::read(&run.metrics())?;
    let seconds = rows.last().map_or(0.0, |row| row.seconds);
    let trained_for = format!("{} steps in {}", rows.last().map_or(0, |row| row.step), duration(seconds));
    run.log(&format!("trained: {trained_for}\n{report}"))?;
    // Pictures are there even where nobody reads on.
    let told = output::line(&format!("\n{} · {trained_for}\n\n{report}\n", title(config)));
    let drawn = pictures::draw(engine.space(), config, problem, &trained, Some(&found), run.path())?;
    told?;
    output::line(&format!("  {path}/plots/  {}", drawn.join("  ")))?;
    output::line(&format!("  next: maflow sample {path} --count 64 --out samples.png"))
}

fn title(config: &Config) -> String {
    match config.description.is_empty() {
        true => config.name.clone(),
        false => format!("{}: {}", config.name, config.description),
    }
}
