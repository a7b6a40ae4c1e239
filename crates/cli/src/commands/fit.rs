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

/// Neighbouring columns with the same transformation, in words: one by one, or all together where they are many.
fn transformed(columns: &[(&String, &String)]) -> Vec<String> {
    const APART: usize = 8;
    match columns {
        [(first, transform), .., (last, _)] if columns.len() > APART => vec![format!("{first} to {last}: {transform}")],
        _ => columns.iter().map(|(column, transform)| format!("{column}: {transform}")).collect(),
    }
}

/// Fits as planned.
pub fn run(plan: FitPlan) -> Result<(), CliError> {
    let FitPlan { fit, out, compute } = plan;
    let planned = fit.plan(&compute, &Terminal::default())?;
    planned.notes.iter().for_each(|note| output::note(&in_flags(note)));
    if let TargetKind::Table(table) = &planned.recipe.target {
        let columns: Vec<(&String, &String)> = table.columns.iter().zip(&table.transforms).collect();
        let runs: Vec<String> = columns.chunk_by(|a, b| a.1 == b.1).flat_map(transformed).collect();
        output::note(&format!("columns and their transformations: {}", output::listed(&runs)));
    }
    let start = match out {
        Some(out) => Start::New(out),
        None => Start::NewNumbered(run_dir::RUNS.into()),
    };
    let (recipe, target) = (planned.recipe, planned.target);
    train::run(Train { recipe, start, from: None, data: None, compute, target: Some(target) }, &Place::default())
}
