//! Context for a conditional density: numbers to zero mean and unit scale, categories one-hot.

use std::ops::Range;

use super::{Kind, Table, TableError};

/// A category that was not among those of the training rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file}, row {row}, column {column:?}: the category {found:?} is not among those of the training rows ({known}); \
     leave the row out, or fit to rows that have it"
)]
pub struct UnknownCategory {
    /// The file.
    pub file: String,
    /// Number of the row, from 1.
    pub row: u64,
    /// Name of the column.
    pub column: String,
    /// What stands there.
    pub found: String,
    /// The known ones.
    pub known: String,
}

/// A column of context.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Categories {
    /// A column becomes one number for each known category: 1 for its own and 0 for the others.
    OneHot {
        /// Name of the column.
        column: String,
        /// The known categories, in the order of their numbers.
        known: Vec<String>,
    },
    /// A column of numbers becomes `(x − mean)/deviation`.
    Number {
        /// Name of the column.
        column: String,
        /// Mean of the training rows.
        mean: f64,
        /// Standard deviation of the training rows, 1 for a constant.
        deviation: f64,
    },
}

impl Categories {
    /// Name of the column.
    pub fn column(&self) -> &str {
        match self {
            Self::OneHot { column, .. } | Self::Number { column, .. } => column,
        }
    }

    /// How many numbers a value of it becomes.
    pub fn width(&self) -> usize {
        match self {
            Self::OneHot { known, .. } => known.len(),
            Self::Number { .. } => 1,
        }
    }

    /// Those of them that do not follow from the others.
    fn free_width(&self) -> usize {
        match self {
            Self::OneHot { known, .. } => known.len() - 1,
            Self::Number { .. } => 1,
        }
    }
}

/// How columns become the context of a conditional density.
///
/// ```
/// use datasets::table::{Context, ReadOptions, Table};
/// let table = Table::from_text("t.csv", "x,kind\n1.5,b\n2.5,a\n", &ReadOptions::default())?;
/// let context = Context::fit(&table, &["kind"], &[] as &[&str])?;
/// assert_eq!(context.encode(&table).unwrap(), [0.0, 1.0, 1.0, 0.0]);
/// # Ok::<(), datasets::table::TableError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Context {
    /// The columns, in order.
    pub columns: Vec<Categories>,
}

/// Why rows have no context.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// A column is not there, or of another kind than in training.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A category is new.
    #[error(transparent)]
    Unknown(#[from] UnknownCategory),
}

impl Context {
    /// Learns categories and scales from training rows. Text is always taken for categories, and numbers are where
    /// `categories` names their column.
    ///
    /// # Errors
    /// [`TableError::UnknownColumn`].
    pub fn fit(table: &Table, given: &[impl AsRef<str>], categories: &[impl AsRef<str>]) -> Result<Self, TableError> {
        let column = |name: &str| {
            let place = table.position(name)?;
            Ok(match &table.columns()[place].kind {
                kind if matches!(kind, Kind::Text(_)) || categories.iter().any(|other| other.as_ref() == name) => {
                    Categories::OneHot { column: name.to_owned(), known: known(table, place) }
                }
                _ => {
                    let (mean, deviation) = crate::moments::moments(table.column(place));
                    let deviation = if deviation > 0.0 { deviation } else { 1.0 };
                    Categories::Number { column: name.to_owned(), mean, deviation }
                }
            })
        };
        Ok(Self { columns: given.iter().map(|name| column(name.as_ref())).collect::<Result<_, TableError>>()? })
    }

    /// Contexts such as rows of data have, from rows of as many standard normal numbers: these themselves for columns
    /// of numbers, and for a column of categories the one whose number is largest.
    ///
    /// # Panics
    /// If the numbers are no whole rows.
    pub fn typical(&self, mut normals: Vec<f64>) -> Vec<f64> {
        let width = self.width();
        assert!(normals.is_empty() || normals.len().is_multiple_of(width), "whole rows of {width} numbers");
        for row in normals.chunks_exact_mut(width.max(1)) {
            for (column, places) in self.places() {
                if let Categories::OneHot { .. } = column {
                    let own = &mut row[places];
                    let largest = own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    own.iter_mut().for_each(|value| *value = f64::from(u8::from(*value == largest)));
                }
            }
        }
        normals
    }

    /// The columns, and the places of their numbers in a row of context.
    fn places(&self) -> impl Iterator<Item = (&Categories, Range<usize>)> {
        self.columns.iter().scan(0, |end, column| {
            let start = *end;
            *end += column.width();
            Some((column, start..*end))
        })
    }

    /// Numbers of a row of context without those that follow from the others.
    pub fn free_width(&self) -> usize {
        self.columns.iter().map(Categories::free_width).sum()
    }

    /// Rows of context without those numbers that follow from the others: of categories the last.
    pub fn free(&self, context: &[f64]) -> Vec<f64> {
        let mut out = Vec::with_capacity(context.len());
        for row in context.chunks_exact(self.width().max(1)) {
            self.places().for_each(|(column, places)| out.extend(&row[places][..column.free_width()]));
        }
        out
    }

    /// Names of the columns, in order.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(Categories::column).collect()
    }

    /// Numbers of a row of context.
    pub fn width(&self) -> usize {
        self.columns.iter().map(Categories::width).sum()
    }

    /// The context of every row, row-major. Columns are found by name.
    ///
    /// # Errors
    /// [`TableError::UnknownColumn`], [`TableError::TextColumn`] where numbers were learnt, and [`UnknownCategory`].
    pub fn encode(&self, table: &Table) -> Result<Vec<f64>, ContextError> {
        let places: Vec<usize> =
            self.columns.iter().map(|column| table.position(column.column())).collect::<Result<_, _>>()?;
        for (column, place) in self.columns.iter().zip(&places) {
            if matches!(column, Categories::Number { .. }) {
                table.select(&[&table.columns()[*place].name])?.require_numbers()?;
            }
        }
        let mut out = Vec::with_capacity(table.rows() * self.width());
        for index in 0..table.rows() {
            let row = table.row(index);
            for (column, place) in self.columns.iter().zip(&places) {
                match column {
                    Categories::Number { mean, deviation, .. } => out.push((row[*place] - mean) / deviation),
                    Categories::OneHot { column, known } => {
                        let found = word(table, *place, row[*place]);
                        let hot =
                            known.iter().position(|category| *category == found).ok_or_else(|| UnknownCategory {
                                file: table.file().to_owned(),
                                row: table.number(index),
                                column: column.clone(),
                                found: found.clone(),
                                known: shortened(known),
                            })?;
                        out.extend((0..known.len()).map(|place| f64::from(u8::from(place == hot))));
                    }
                }
            }
        }
        Ok(out)
    }
}

/// The first of many words.
fn shortened(words: &[String]) -> String {
    const MOST: usize = 10;
    match words.len() > MOST {
        true => format!("{} and {} more", words[..MOST].join(", "), words.len() - MOST),
        false => words.join(", "),
    }
}

/// The categories that the rows of a column have, in the order of the alphabet or of the numbers.
fn known(table: &Table, place: usize) -> Vec<String> {
    let mut values: Vec<f64> = table.column(place).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values.into_iter().map(|value| word(table, place, value)).collect()
}

/// A value as the file has it: the category, or the number, which a file of other rows may take for one.
fn word(table: &Table, place: usize, value: f64) -> String {
    match &table.columns()[place].kind {
        Kind::Text(categories) => categories[value as usize].clone(),
        _ => value.to_string(),
    }
}
