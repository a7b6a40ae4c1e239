//! One function per command, from its resolved plan to the end.

mod doctor;
mod evaluate;
mod export;
mod fit;
mod import;
mod manual;
mod physics;
mod plot;
mod recipes;
mod report;
mod rows;
mod sample;
mod train;

use crate::error::CliError;
use crate::place::Place;
use crate::plan::Plan;

/// Does what was planned, in this process alone or as one of several that share the work.
///
/// # Errors
/// Whatever ends the command before its work is done.
pub fn execute(plan: Plan, place: &Place) -> Result<(), CliError> {
    match plan {
        Plan::Fit(plan) => fit::run(*plan),
        Plan::Train(plan) => train::run(*plan, place),
        Plan::Evaluate(plan) => evaluate::run(*plan, place),
        Plan::Physics(plan) => physics::run(*plan, place),
        Plan::Rows(plan) => rows::run(*plan, place),
        Plan::Sample(plan) => sample::run(*plan, place),
        Plan::Plot(plan) => plot::run(*plan),
        Plan::Report(plan) => report::run(*plan),
        Plan::Import(plan) => import::run(*plan),
        Plan::Export(plan) => export::run(*plan),
        Plan::Recipes(name) => recipes::print(name.as_deref()),
        Plan::Doctor(json) => doctor::print(json, place.world.as_deref()),
        Plan::Completions(shell) => manual::completions(shell),
        Plan::Manual(folder) => manual::write(&folder),
    }
}
