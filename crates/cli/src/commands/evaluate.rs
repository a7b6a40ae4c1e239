//! `maflow evaluate`: the figures of a run with their standard error and integration error.

use maflow::backend::{self, Engine, Work};
use maflow::report::Report;
use maflow::{figures, target, trained};

use crate::error::CliError;
use crate::plan::Evaluate;
use crate::terminal::Terminal;
use crate::{output, report};

/// Evaluates as planned.
pub fn run(plan: Evaluate) -> Result<(), CliError> {
    let (json, compute, precision) = (plan.json, plan.compute, plan.config.train.precision);
    let found = backend::run(&compute, precision, plan)?;
    output::line(&if json { found.json() } else { report::text(&found) })
}

impl Work for Evaluate {
    type Output = Report;

    fn run<E: Engine>(self, engine: &E) -> Result<Report, maflow::Error> {
        let terminal = Terminal::default();
        let trained = trained::load(engine, &self.config, &self.run, &terminal)?;
        let kept = Some(trained.standardisation.clone());
        let target = target::open(&self.config, self.data.as_deref(), kept, &terminal)?;
        Ok(figures::take(engine.space(), &self.config, &*target, &trained, &terminal)?.0)
    }
}
