//! `maflow evaluate`: the figures of a run with their standard error and integration error.

use crate::engine::{self, Engine, Work};
use crate::error::CliError;
use crate::plan::Evaluate;
use crate::problem::Problem;
use crate::{figures, model, output};

/// Evaluates as planned.
pub fn run(plan: Evaluate) -> Result<(), CliError> {
    let compute = plan.compute;
    let precision = plan.config.train.precision;
    engine::run(&compute, precision, plan)
}

impl Work for Evaluate {
    type Output = ();

    fn run<E: Engine>(self, engine: &E) -> Result<(), CliError> {
        let trained = model::load(engine, &self.config, &self.run)?;
        let kept = Some(trained.standardisation.clone());
        let problem = Problem::load(&self.config, self.data.as_deref(), kept)?;
        let (report, _) = figures::take(engine.space(), &self.config, &problem, &trained)?;
        output::line(&if self.json { report.json() } else { report.text() })
    }
}
