//! `maflow export`: the weights of a run for other programs.

use maflow::transfer;

use crate::error::CliError;
use crate::output;
use crate::plan::Export;
use crate::terminal::Terminal;

/// Exports as planned.
pub fn run(plan: Export) -> Result<(), CliError> {
    let exported = transfer::export(&plan.run, &plan.recipe, &plan.out, &Terminal::default())?;
    if exported.symmetric {
        output::note(&format!(
            "the density of {} is that of these weights with the symmetry in [potential.symmetry] of its config.toml, \
             which weights do not hold",
            plan.run.display()
        ));
    }
    let names: Vec<String> = exported.tensors.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
    let from = exported.checkpoint.display();
    output::line(&format!("{}: {} of {from}", plan.out.display(), names.join(", ")))
}
