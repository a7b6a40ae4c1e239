//! Pictures of tables: test rows beside as many samples of the flow, pair by pair of columns.

use flow_core::{Purpose, RngKey};
use maflow::Error;
use maflow::flow::TrainedFlow;
use maflow::kept::Units;
use maflow::recipe::Recipe;
use maflow::target::{Samples, Split, Table, Target};

use crate::plots::Corner;

/// Columns that are shown at most: the first.
const MOST_COLUMNS: usize = 6;
/// Rows that are shown at most.
const MOST_ROWS: usize = 2000;

/// The first columns of test rows, and of samples of the flow in the same contexts.
pub fn corner(flow: &dyn TrainedFlow, recipe: &Recipe, table: &Table, units: &Units) -> Result<Corner, Error> {
    let (n, k) = (table.dimension(), table.context_dim());
    let rows = table.held_out_rows(Split::Test).unwrap_or(0).min(MOST_ROWS);
    let key = RngKey::new(recipe.train.seed, Purpose::Evaluate, 0);
    let mut held_out = vec![0.0; rows * (n + k)];
    table.held_out(Split::Test, key, 0, 0..rows, &mut held_out)?;
    let (mut points, mut contexts) = (Vec::with_capacity(rows * n), Vec::with_capacity(rows * k));
    for row in held_out.chunks_exact(n + k) {
        points.extend(&row[..n]);
        contexts.extend(&row[n..]);
    }
    let shown = n.min(MOST_COLUMNS);
    let first = |mut rows: Vec<f64>| -> Vec<f64> {
        units.to_user(&mut rows, &contexts);
        rows.chunks_exact(n).flat_map(|row| &row[..shown]).copied().collect()
    };
    let samples = flow.samples(rows, &contexts)?;
    Ok(Corner {
        title: match shown < n {
            true => format!("{}: the first {shown} of {n} columns", recipe.name),
            false => recipe.name.clone(),
        },
        names: table.map().names()[..shown].iter().map(|name| (*name).to_owned()).collect(),
        series: [("test rows".to_owned(), first(points)), ("samples of the flow".to_owned(), first(samples))],
    })
}
