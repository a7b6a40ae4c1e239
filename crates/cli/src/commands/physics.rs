//! `maflow physics`: what the flow of a target with an energy says about that target, and how good it is as a sampler.

use crate::error::CliError;
use crate::plan::Physics;
use crate::terminal::Terminal;
use crate::{output, physics_report};

/// Studies as planned.
pub fn run(plan: Physics) -> Result<(), CliError> {
    let report = plan.run.physics(plan.amounts, &Terminal::default())?;
    output::line(&if plan.json { report.json() } else { physics_report::text(&report) })
}
