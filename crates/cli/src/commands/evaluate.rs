//! `maflow evaluate`: the figures of a run with their standard error and integration error.

use crate::error::CliError;
use crate::plan::Evaluate;
use crate::terminal::Terminal;
use crate::{output, report};

/// Evaluates as planned.
pub fn run(plan: Evaluate) -> Result<(), CliError> {
    let found = plan.run.report(&Terminal::default())?;
    output::line(&if plan.json { found.json() } else { report::text(&found) })
}
