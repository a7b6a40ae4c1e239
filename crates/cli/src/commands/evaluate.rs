//! `maflow evaluate`: the figures of a run with their standard error and integration error.

use flow_core::{Alone, Team};
use maflow::monitor::Monitor;

use crate::error::CliError;
use crate::place::Place;
use crate::plan::Evaluate;
use crate::terminal::{Silent, Terminal};
use crate::{output, report};

/// Evaluates as planned, with others where there are others. The first tells.
pub fn run(plan: Evaluate, place: Option<Place<'_>>) -> Result<(), CliError> {
    let team = place.map_or(&Alone as &dyn Team, |place| place.world as &dyn Team);
    let terminal = Terminal::default();
    let monitor: &dyn Monitor = if team.rank() == 0 { &terminal } else { &Silent };
    let run = match place.and_then(|place| place.threads) {
        Some(threads) => plan.run.with_threads(threads),
        None => plan.run,
    };
    let found = run.report_by(team, monitor)?;
    output::line(&if plan.json { found.json() } else { report::text(&found) })
}
