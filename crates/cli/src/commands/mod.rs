//! One function per command, from its resolved plan to the end.

mod doctor;
mod recipes;

use crate::error::CliError;
use crate::plan::Plan;

/// Does what was planned.
///
/// # Errors
/// Whatever ends the command before its work is done.
pub fn execute(plan: Plan) -> Result<(), CliError> {
    let missing = |command: &str| Err(CliError::Failed(format!("`maflow {command}` is not part of this build yet")));
    match plan {
        Plan::Recipes(name) => recipes::print(name.as_deref()),
        Plan::Doctor => doctor::print(),
        Plan::Train(_) => missing("train"),
        Plan::Evaluate(_) => missing("evaluate"),
        Plan::Sample(_) => missing("sample"),
        Plan::Plot(_) => missing("plot"),
        Plan::Import(_) => missing("import"),
        Plan::Export(_) => missing("export"),
    }
}
