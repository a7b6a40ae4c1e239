//! `maflow evaluate`: the figures of a run with their standard error and integration error.

use crate::error::CliError;
use crate::place::Place;
use crate::plan::Evaluate;
use crate::{output, report};

/// Evaluates as planned, together with all processes. The first one prints.
pub fn run(plan: Evaluate, place: &Place) -> Result<(), CliError> {
    let found = place.shared(plan.run).report(&*place.monitor())?;
    output::line(&if plan.json { found.json() } else { report::text(&found) })
}
