//! Chooses a transform for every column by stated rules, and says why.

use super::check::{self, Repetition};
use super::dequantise::is_multiple;
use super::{ColumnError, MapKind, Outside, Transform, kurtosis, shorten};
use crate::table::{Kind, Table};

/// The standardised kurtosis from which a column counts as heavy-tailed. It is 3 for a normal distribution, 6 for a
/// Laplace and 9 for an exponential one.
pub const KURTOSIS_LIMIT: f64 = 10.0;

/// What is to happen to each column, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The transform of each column, in the order of the table.
    pub transforms: Vec<Transform>,
    /// What was chosen and why, and what a user should know, in plain sentences.
    pub notes: Vec<String>,
}

/// λ of the logit of pixels, as for MNIST.
const PIXEL_LAMBDA: f64 = 1e-6;

/// Checks a table and chooses the transform of every column that `stated` does not name.
///
/// The rules, in this order:
///
/// 1. Pictures: `dequantise(1) logit(0, 256)`, the bounds moved outwards by λ = 1e-6 as for MNIST, without further
///    checks.
/// 2. Columns of text, fewer rows than columns, fewer than a tenth of the rows distinct, and constant columns are
///    refused. Constant columns of integers are allowed in a table of integers alone.
/// 3. A column of integers: `dequantise(1)`.
/// 4. A column of reals with at most one value for ten rows, all whole numbers of a decimal step: `dequantise(step)`. A
///    column in which a value stands out from its neighbours is refused.
/// 5. A standardised kurtosis above [`KURTOSIS_LIMIT`]: `log` where all values are positive and the kurtosis of their
///    logarithms is below the limit, else `tail`. With rules 3 and 4: `dequantise(step) tail`.
/// 6. Else: `standardise`.
///
/// Last, columns without noise must not be linear functions of each other.
///
/// # Errors
/// All of [`ColumnError`] that say what is wrong with a table.
pub fn plan(table: &Table, stated: &[(&str, Transform)]) -> Result<Plan, ColumnError> {
    table.require_numbers()?;
    let mut wanted = vec![None; table.columns().len()];
    for (name, transform) in stated {
        wanted[table.position(name)?] = Some(*transform);
    }
    if table.picture().is_some() && stated.is_empty() {
        return Ok(pictures(table));
    }
    check::row_count(table)?;
    let mut notes: Vec<String> = check::duplicates(table)?.into_iter().collect();
    let constants = check::constants(table, &wanted)?;
    let mut choices = Choices::default();
    let mut transforms = Vec::with_capacity(wanted.len());
    for (column, wanted) in wanted.iter().enumerate() {
        transforms.push(match wanted {
            Some(transform) => choices.stated(table, column, *transform)?,
            None => choices.choose(table, column, constants.contains(&column))?,
        });
    }
    check::dependences(table, &transforms)?;
    notes.extend(choices.sentences(table));
    notes.extend((0..wanted.len()).filter_map(|column| hint(table, column)));
    Ok(Plan { transforms, notes })
}

fn pictures(table: &Table) -> Plan {
    let margin = 256.0 * PIXEL_LAMBDA / (1.0 - 2.0 * PIXEL_LAMBDA);
    let map = MapKind::Logit { low: -margin, high: 256.0 + margin };
    let note = format!(
        "{}: pixels get uniform noise in [0, 1) and the logit of MNIST (lambda {PIXEL_LAMBDA:e})",
        table.file()
    );
    Plan { transforms: vec![Transform { dequantise: Some(1.0), map }; table.columns().len()], notes: vec![note] }
}

/// Columns by what was chosen for them.
#[derive(Default)]
struct Choices {
    integers: Vec<usize>,
    constants: Vec<usize>,
    grids: Vec<(usize, f64, usize)>,
    tails: Vec<(usize, f64)>,
    logs: Vec<(usize, f64)>,
    heavy: Vec<(usize, f64)>,
}

/// A standardised kurtosis that is too high, NaN and infinity included.
fn heavy(values: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let kurtosis = kurtosis(values);
    (kurtosis.is_nan() || kurtosis > KURTOSIS_LIMIT).then_some(kurtosis)
}

impl Choices {
    fn choose(&mut self, table: &Table, column: usize, constant: bool) -> Result<Transform, ColumnError> {
        if constant {
            self.constants.push(column);
            return Ok(Transform { dequantise: Some(1.0), map: MapKind::Standardise });
        }
        let dequantise = match table.columns()[column].kind {
            Kind::Integer => {
                self.integers.push(column);
                Some(1.0)
            }
            _ => match check::repetition(table, column)? {
                Repetition::None => None,
                Repetition::Grid { step, distinct } => {
                    self.grids.push((column, step, distinct));
                    Some(step)
                }
            },
        };
        let map = match heavy(table.column(column)) {
            None => MapKind::Standardise,
            Some(kurtosis) => {
                let positive = dequantise.is_none() && table.column(column).all(|x| x > 0.0);
                if positive && heavy(table.column(column).map(f64::ln)).is_none() {
                    self.logs.push((column, kurtosis));
                    MapKind::Log
                } else {
                    self.tails.push((column, kurtosis));
                    MapKind::Tail
                }
            }
        };
        Ok(Transform { dequantise, map })
    }

    /// A transform of the caller's: every value must be one that it takes.
    fn stated(&mut self, table: &Table, column: usize, transform: Transform) -> Result<Transform, ColumnError> {
        check_values(table, column, transform)?;
        if transform.dequantise.is_none() && table.columns()[column].kind == Kind::Real {
            check::repetition(table, column)?;
        }
        if let (MapKind::None | MapKind::Standardise, Some(kurtosis)) = (transform.map, heavy(table.column(column))) {
            self.heavy.push((column, kurtosis));
        }
        Ok(transform)
    }

    /// One sentence for each kind of choice, however many columns it has.
    fn sentences(&self, table: &Table) -> Vec<String> {
        let (file, names, rows) = (table.file(), table.names(), table.rows());
        let quoted =
            |columns: &[usize]| columns.iter().map(|column| format!("{:?}", names[*column])).collect::<Vec<_>>();
        let measured = |columns: &[(usize, f64)]| {
            columns.iter().map(|(column, kurtosis)| format!("{:?} ({kurtosis:.1})", names[*column])).collect()
        };
        let grids = self
            .grids
            .iter()
            .map(|(column, step, distinct)| format!("{:?} ({distinct} values, dequantise({step}))", names[*column]));
        let tails = format!("heavy tails, by a standardised kurtosis above {KURTOSIS_LIMIT}");
        let sentences: [(String, Vec<String>); 6] = [
            (
                "integers get uniform noise in [0, 1), so that they have a density \
                (dequantise(1))"
                    .into(),
                quoted(&self.integers),
            ),
            ("the same integer in all rows, with uniform noise in [0, 1) all the same".into(), quoted(&self.constants)),
            (
                format!("few values in {rows} rows, where a density has no bound, get uniform noise of their step"),
                grids.collect(),
            ),
            (format!("{tails}, get the transformation tail"), measured(&self.tails)),
            (format!("{tails}, and positive values get the transformation log"), measured(&self.logs)),
            (format!("{tails}, would be suited by the transformation tail"), measured(&self.heavy)),
        ];
        let filled = sentences.into_iter().filter(|(_, columns)| !columns.is_empty());
        filled.map(|(what, columns)| format!("{file}: {what}: {}", shorten(&columns))).collect()
    }
}

/// Refuses the first value of a column that a transform does not take.
pub(super) fn check_values(table: &Table, column: usize, transform: Transform) -> Result<(), ColumnError> {
    let refuse = |row: usize, value: f64, wanted: String, remedy: &'static str| {
        Err(ColumnError::Outside(Box::new(Outside {
            file: table.file().to_owned(),
            row: table.number(row),
            column: table.names()[column].to_owned(),
            value,
            wanted,
            transform: transform.to_string(),
            remedy,
        })))
    };
    let step = transform.dequantise;
    let uneven = step.and_then(|step| table.column(column).enumerate().find(|(_, x)| !is_multiple(*x, step)));
    if let (Some(step), Some((row, value))) = (step, uneven) {
        let wanted = format!("a whole number of steps {step}");
        return refuse(row, value, wanted, "state the step of the values, or none");
    }
    // Noise moves values up, by less than a step.
    let noise = transform.dequantise.unwrap_or(0.0);
    match transform.map {
        MapKind::Log => match table.column(column).enumerate().find(|(_, x)| *x <= 0.0) {
            Some((row, value)) => refuse(
                row,
                value,
                "positive".to_owned(),
                "take the transformation tail or standardise, or leave the row out",
            ),
            None => Ok(()),
        },
        MapKind::Logit { low, high } => {
            match table.column(column).enumerate().find(|(_, x)| *x <= low || x + noise >= high) {
                Some((row, value)) => refuse(
                    row,
                    value,
                    format!("between {low} and {high}, both excluded"),
                    "state wider bounds, take another transformation, or leave the row out",
                ),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// A word on a column that may not be what it seems.
fn hint(table: &Table, column: usize) -> Option<String> {
    let (file, name) = (table.file(), table.names()[column]);
    let values = || table.column(column);
    let lower = name.to_lowercase();
    let weight = ["w", "wt", "weight", "weights", "sample_weight", "sample_weights"].contains(&lower.as_str());
    if weight && values().all(|x| x >= 0.0) {
        return Some(format!(
            "{file}: {name:?} is modelled as a column like any other; if it says what the rows count, name it with \
             `weights`"
        ));
    }
    let first = table.values()[column];
    if table.rows() > 2 && values().enumerate().all(|(row, x)| x == first + row as f64) {
        return Some(format!("{file}: {name:?} counts the rows; if it is no quantity, leave it out with `columns`"));
    }
    use std::f64::consts::{PI, TAU};
    let (least, most) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    let turns = [(0.0, TAU), (-PI, PI), (0.0, 360.0), (-180.0, 180.0)];
    let words = ["angle", "phase", "phi", "theta", "azimuth", "direction", "heading", "long", "lon", "longitude"];
    let named = words.iter().any(|word| lower.split(|c: char| !c.is_alphabetic()).any(|part| part == *word));
    let fills = |(low, high): &(f64, f64)| {
        let margin = 0.01 * (high - low);
        let radians = *high == PI || *high == TAU;
        (named || radians)
            && table.columns()[column].kind == Kind::Real
            && least >= *low
            && most <= *high
            && least < low + margin
            && most > high - margin
    };
    let turn = turns.iter().find(|turn| fills(turn))?;
    Some(format!(
        "{file}: {name:?} looks like an angle from {:.4} to {:.4}; it is taken as a number on a line, so that both \
            ends are far apart (no periodic treatment)",
        turn.0, turn.1
    ))
}
