//! `maflow physics`: what the flow of a target with an energy says about that target, and how good it is as a sampler.

use crate::error::CliError;
use crate::place::Place;
use crate::plan::Physics;
use crate::{output, physics_report};

/// Studies as planned, with others where there are others. The first tells.
pub fn run(plan: Physics, place: &Place) -> Result<(), CliError> {
    let report = place.shared(plan.run).physics(plan.amounts, &*place.monitor())?;
    output::line(&if plan.json { report.json() } else { physics_report::text(&report) })
}
