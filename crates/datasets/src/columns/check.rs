//! Checks of a table before any training: what would make figures meaningless.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::dependence::{self, Candidate};
use super::dequantise::decimal_step;
use super::{ColumnError, Transform, list, moments};
use crate::table::{Kind, Storage, Table};

/// Rows that are looked at for linear dependence.
const ROWS_FOR_DEPENDENCE: usize = 20_000;
/// A value of a real column repeats in bulk where at least this many rows share it, and at least this part of all rows.
const BULK: (usize, f64) = (10, 0.005);
/// It stands out where it has at least this many times the rows of its neighbours.
const STANDS_OUT: f64 = 10.0;
/// A column has few values when a value has at least this many rows on average.
const ROWS_PER_VALUE: usize = 10;

/// Refuses fewer rows than columns.
pub(super) fn row_count(table: &Table) -> Result<(), ColumnError> {
    let (rows, columns) = (table.rows(), table.columns().len());
    match rows > columns {
        true => Ok(()),
        false => Err(ColumnError::TooFewRows { file: table.file().to_owned(), rows, columns }),
    }
}

/// Whether all columns are of integers.
pub(super) fn counts_only(table: &Table) -> bool {
    table.columns().iter().all(|column| column.kind == Kind::Integer)
}

/// Refuses where fewer than a tenth of the rows are distinct, and says how many are otherwise.
///
/// Rows of integers alone are not refused: equal rows are what counts look like.
pub(super) fn duplicates(table: &Table) -> Result<Option<String>, ColumnError> {
    let mut seen = HashSet::new();
    for row in table.values().chunks_exact(table.columns().len()) {
        let mut hash = DefaultHasher::new();
        row.iter().for_each(|value| (value + 0.0).to_bits().hash(&mut hash));
        seen.insert(hash.finish());
    }
    let (file, distinct, rows) = (table.file().to_owned(), seen.len(), table.rows());
    if distinct == rows {
        return Ok(None);
    }
    if 10 * distinct < rows && !counts_only(table) {
        return Err(ColumnError::Duplicates { file, distinct, rows });
    }
    Ok(Some(format!(
        "{file}: {} of {rows} rows are repetitions of others; they count as often as they stand there",
        rows - distinct
    )))
}

/// Refuses columns that do not vary.
///
/// A constant column of integers is refused only beside columns of reals, where it is a unit or a mark. Among integers
/// alone it is a count, such as a pixel that is always black.
pub(super) fn constants(table: &Table, stated: &[Option<Transform>]) -> Result<Vec<usize>, ColumnError> {
    let constant = |column: usize| {
        let first = table.values()[column];
        table.column(column).all(|value| value == first)
    };
    let found: Vec<usize> = (0..table.columns().len()).filter(|column| constant(*column)).collect();
    let dequantised = |column: &usize| stated[*column].is_some_and(|transform| transform.dequantise.is_some());
    let allowed = |column: &usize| dequantised(column) || (counts_only(table) && stated[*column].is_none());
    let bad: Vec<&str> = found.iter().filter(|column| !allowed(column)).map(|column| table.names()[*column]).collect();
    match bad.is_empty() {
        true => Ok(found),
        false => {
            let (file, rows) = (table.file().to_owned(), table.rows());
            Err(ColumnError::Constant { file, columns: list(&bad), rows })
        }
    }
}

/// How the values of a real column repeat.
pub(super) enum Repetition {
    /// As those of a continuous column do.
    None,
    /// On a coarse grid of this step.
    Grid { step: f64, distinct: usize },
}

/// Refuses a real column in which a value stands out, or whose few values are on no grid.
pub(super) fn repetition(table: &Table, column: usize) -> Result<Repetition, ColumnError> {
    let mut counts: HashMap<u64, usize> = HashMap::new();
    table.column(column).for_each(|value| *counts.entry((value + 0.0).to_bits()).or_default() += 1);
    let mut counts: Vec<(f64, usize)> = counts.into_iter().map(|(bits, count)| (f64::from_bits(bits), count)).collect();
    counts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rows = table.rows();
    let least = BULK.0.max((BULK.1 * rows as f64).ceil() as usize);
    let stands_out = |place: &usize| {
        let near = &counts[place.saturating_sub(3)..(place + 4).min(counts.len())];
        let others: usize = near.iter().map(|(_, count)| count).sum::<usize>() - counts[*place].1;
        counts[*place].1 >= least && counts[*place].1 as f64 * (near.len() - 1) as f64 > STANDS_OUT * others as f64
    };
    let most = |places: &mut dyn Iterator<Item = usize>| places.max_by_key(|place| counts[*place].1);
    let step = || decimal_step(counts.iter().map(|(value, _)| *value));
    let refused = |place: usize, step: Option<f64>| {
        let aside = "let the density be conditional on it with `given`, or leave the column out with `columns`";
        let remedy = match step {
            Some(step) => format!("spread the values by the transformation dequantise({step}), {aside}"),
            None => aside.to_owned(),
        };
        let (value, count) = counts[place];
        let (file, column) = (table.file().to_owned(), table.names()[column].to_owned());
        Err(ColumnError::Repeats { file, column, value, count, rows, remedy })
    };
    if let Some(place) = most(&mut (0..counts.len()).filter(stands_out)) {
        return refused(place, step());
    }
    if counts.len() * ROWS_PER_VALUE > rows {
        return Ok(Repetition::None);
    }
    match (step(), most(&mut (0..counts.len()))) {
        (Some(step), _) => Ok(Repetition::Grid { step, distinct: counts.len() }),
        (None, Some(place)) => refused(place, None),
        (None, None) => Ok(Repetition::None),
    }
}

/// Refuses a column without noise that is a linear function of others without noise.
pub(super) fn dependences(table: &Table, transforms: &[Transform]) -> Result<(), ColumnError> {
    let places: Vec<usize> = (0..transforms.len()).filter(|place| transforms[*place].dequantise.is_none()).collect();
    let stride = table.rows().div_ceil(ROWS_FOR_DEPENDENCE);
    let candidate = |place: &usize| {
        let (mean, deviation) = moments(table.column(*place));
        let values = table.column(*place).step_by(stride).map(|x| (x - mean) / deviation).collect();
        Candidate { values, rounding: resolution(table, *place) / deviation }
    };
    let found = dependence::find(places.iter().map(candidate).collect());
    let Some(first) = found.first() else { return Ok(()) };
    let names = table.names();
    let others: Vec<&str> = first.on.iter().map(|place| names[places[*place]]).collect();
    Err(ColumnError::Dependent {
        file: table.file().to_owned(),
        column: names[places[first.column]].to_owned(),
        others: list(&others),
        rows: table.rows(),
    })
}

/// The distance of neighbouring numbers in a column, by its decimals or its storage.
fn resolution(table: &Table, column: usize) -> f64 {
    let largest = table.column(column).fold(0.0f64, |a, x| a.max(x.abs()));
    let relative = match table.columns()[column].storage {
        Storage::Float(2) => 2f64.powi(-10),
        Storage::Bf16 => 2f64.powi(-7),
        Storage::Float(4) => 2f64.powi(-23),
        _ => f64::EPSILON,
    };
    decimal_step(table.column(column)).unwrap_or(0.0).max(relative * largest)
}
