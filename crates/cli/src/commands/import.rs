//! `maflow import`: a run made from weights trained elsewhere, to be evaluated, sampled or trained further.

use maflow::transfer::Import;

use crate::error::CliError;
use crate::output;
use crate::terminal::Terminal;

/// Imports as planned.
pub fn run(plan: Import) -> Result<(), CliError> {
    let told = format!("a run of {} with the weights of {}", plan.recipe.name, plan.file.display());
    let run = plan.run(&Terminal::default())?;
    let path = run.path().display();
    output::line(&format!("{path}: {told}"))?;
    output::line(&format!("next: maflow evaluate {path}    or train further: maflow train --resume --out {path}"))
}
