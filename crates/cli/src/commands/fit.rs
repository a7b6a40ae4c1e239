//! `maflow fit`: a density for a table of one's own, with a recipe chosen by rules.

use maflow::recipe::TargetKind;
use maflow::run_dir;
use maflow::train::{Start, Train};

use super::train;
use crate::error::{CliError, in_flags};
use crate::output;
use crate::place::Place;
use crate::plan::FitPlan;
use crate::terminal::Terminal;

/// Fits as planned.
pub fn run(plan: FitPlan) -> Result<(), CliError> {
    let FitPlan { fit, out, compute } = plan;
    let planned = fit.plan(&compute, &Terminal::default())?;
    planned.notes.iter().for_each(|note| output::note(&in_flags(note)));
    if let TargetKind::Table(table) = &planned.recipe.target {
        let columns: Vec<String> = table
            .columns
            .iter()
            .zip(&table.transforms)
            .map(|(column, transform)| format!("{column}: {transform}"))
            .collect();
        output::note(&format!("columns and their transformations: {}", columns.join(", ")));
    }
    let start = match out {
        Some(out) => Start::New(out),
        None => Start::NewNumbered(run_dir::RUNS.into()),
    };
    let (recipe, target) = (planned.recipe, planned.target);
    train::run(Train { recipe, start, from: None, data: None, compute, target: Some(target) }, &Place::default())
}
