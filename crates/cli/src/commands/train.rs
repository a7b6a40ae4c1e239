//! `maflow train`: from a recipe or a run's last checkpoint to a trained flow, its figures and its pictures.

use flow_core::checkpoint::CheckpointFolder;
use flow_core::train::{Finish, Observer, TrainSettings, Trainer, Validation};
use flow_core::{Flow, Mean, Space};

use crate::config::{Config, Objective};
use crate::engine::{self, Engine, Work};
use crate::error::CliError;
use crate::listener::Listener;
use crate::plan::{Start, Train};
use crate::problem::{FigureRows, Problem};
use crate::progress::duration;
use crate::run_dir::RunDir;
use crate::{figures, interrupt, metrics, model, output, pictures, settings};

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
        let problem = Problem::load(&self.config, self.data.as_deref())?;
        let settings = settings::of(&self.config, &problem);
        model::potential(engine, &self.config)?;
        self.config.run = Some(self.compute.run_info());
        let run = match &self.start {
            Start::New(path) => RunDir::create(path, &self.config)?,
            Start::NewNumbered(base) => RunDir::create_free(base, &self.config)?,
            Start::Resume(path) => RunDir::resume(path)?,
        };
        let finish = train(engine, &self, &problem, settings, &run)?;
        if finish == Finish::Interrupted {
            return Err(CliError::Interrupted(format!(
                "interrupted after a checkpoint; to go on type: maflow train --resume --out {}",
                run.path().display()
            )));
        }
        summarise(engine, &self.config, &problem, &run)
    }
}

/// Trains to the end or to an interrupt.
fn train<E: Engine>(
    engine: &E,
    plan: &Train,
    problem: &Problem,
    settings: TrainSettings,
    run: &RunDir,
) -> Result<Finish, CliError> {
    let (config, space, total) = (&plan.config, engine.space(), settings.steps);
    let folder = CheckpointFolder::open(&run.checkpoints(), config.train.keep)?;
    let objective = problem.training_objective::<E::Space>(&config.train);
    let mut potential = model::potential(engine, config)?;
    let mut trainer = Trainer::new(space, settings, &mut *potential, &*objective, problem, &folder)?;
    let epoch = problem.training_rows().map(|rows| (config.train.batch as u64, rows as u64));
    let mut listener = Listener::new(run, problem.sites(), epoch);
    let mut first = 0;
    if let Start::Resume(_) = plan.start {
        match trainer.resume(&mut listener)? {
            Some(step) => first = step,
            None => listener.rewind(0)?,
        }
        // The old configuration stays until its checkpoint has been read with the new one.
        run.write_config(config)?;
        listener.note(&format!("resumed at step {first} of {total}"));
    } else {
        listener.rewind(0)?;
        output::note(&format!("training {} in {}", config.name, run.path().display()));
        run.log(&format!("started: {} steps", total))?;
    }
    // A regression's loss is no free energy and no likelihood: the best of those stands beside the validation figure alone.
    let regression = config.train.objective == Objective::FlowMatching;
    let best = problem.best().filter(|_| !regression || config.train.validate_every > 0);
    listener.show(first, total, best.map(|best| (problem.best_is(), best)));
    let rows = FigureRows::validation(problem, config.train.seed);
    let validated = problem.objective::<E::Space>(0.0);
    let finish = trainer.run(&mut listener, &mut |flow: &Flow<'_, E::Space>| validate(flow, &*validated, &rows));
    listener.finish();
    let finish = finish?;
    run.log(match finish {
        Finish::Completed => "all steps made",
        Finish::Interrupted => "interrupted",
    })?;
    Ok(finish)
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
        let (batch, draws) = rows.batch(i);
        let found = objective.evaluate(flow, &batch, draws, false)?.losses;
        if i == 0 {
            let finer = flow.integrator.finer();
            let fine = objective.evaluate(&flow.with_integrator(&*finer), &batch, draws, false)?.losses;
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
    let report = match figures::take(engine.space(), config, problem, &trained) {
        Err(CliError::Interrupted(_)) => {
            return Err(CliError::Interrupted(format!(
                "interrupted, but the training is complete; for its figures type: maflow evaluate {path}"
            )));
        }
        report => report?,
    };
    let report = report.text();
    let rows = metrics::read(&run.metrics())?;
    let seconds = rows.last().map_or(0.0, |row| row.seconds);
    let trained_for = format!("{} steps in {}", rows.last().map_or(0, |row| row.step), duration(seconds));
    run.log(&format!("trained: {trained_for}\n{report}"))?;
    output::line(&format!("\n{} · {trained_for}\n\n{report}\n", title(config)))?;
    let drawn = pictures::draw(engine.space(), config, problem, &trained, run.path())?;
    output::line(&format!("  {path}/plots/  {}", drawn.join("  ")))?;
    output::line(&format!("  next: maflow sample {path} --count 64 --out samples.png"))
}

fn title(config: &Config) -> String {
    match config.description.is_empty() {
        true => config.name.clone(),
        false => format!("{}: {}", config.name, config.description),
    }
}
