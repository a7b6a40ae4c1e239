//! `maflow plot`: the figures of a run.

use crate::engine::{self, Engine, Work};
use crate::error::CliError;
use crate::plan::Plot;
use crate::problem::Problem;
use crate::{model, output, pictures, run_dir};

/// Draws as planned.
pub fn run(plan: Plot) -> Result<(), CliError> {
    let compute = plan.compute;
    let precision = plan.config.train.precision;
    engine::run(&compute, precision, plan)
}

impl Work for Plot {
    type Output = ();

    fn run<E: Engine>(self, engine: &E) -> Result<(), CliError> {
        let trained = model::load(engine, &self.config, &self.run)?;
        let kept = Some(trained.standardisation.clone());
        let problem = Problem::load(&self.config, self.data.as_deref(), kept)?;
        let drawn = pictures::draw(engine.space(), &self.config, &problem, &trained, None, &self.run)?;
        let folder = run_dir::plots(&self.run);
        let lines: Vec<String> = drawn.iter().map(|name| folder.join(name).display().to_string()).collect();
        output::line(&lines.join("\n"))
    }
}
