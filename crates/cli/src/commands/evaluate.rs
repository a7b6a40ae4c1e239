//! `maflow evaluate`: the figures of a run with their standard error and integration error.

use maflow::run::Run;

use crate::error::CliError;
use crate::plan::Evaluate;
use crate::terminal::Terminal;
use crate::{output, report};

/// Evaluates as planned.
pub fn run(plan: Evaluate) -> Result<(), CliError> {
    let run = Run::of(plan.run, plan.config).with_compute(plan.compute);
    let found = run.report(plan.data.as_deref(), &Terminal::default())?;
    output::line(&if plan.json { found.json() } else { report::text(&found) })
}
