//! `maflow evaluate`: the figures of a run with their standard error and integration error.

use maflow::run::Run;

use crate::error::CliError;
use crate::plan::Evaluate;
use crate::terminal::Terminal;
use crate::{output, report};

/// Evaluates as planned.
pub fn run(plan: Evaluate) -> Result<(), CliError> {
    let mut run = Run::create(plan.run, plan.recipe).with_compute(plan.compute);
    if let Some(folder) = plan.data {
        run = run.with_data(folder);
    }
    if let Some(target) = plan.target {
        run = run.with_target(target);
    }
    let found = run.report(&Terminal::default())?;
    output::line(&if plan.json { found.json() } else { report::text(&found) })
}
