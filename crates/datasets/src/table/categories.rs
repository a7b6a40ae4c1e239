//! Context for a conditional density: numbers to zero mean and unit scale, categories one-hot.

use super::{Kind, Table, TableError};

/// A category that was not among those of the training rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, row {row}, column {column:?}: the category {found:?} is unknown; known are {known}")]
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
#[non_exhaustive]
pub enum Categories {
    /// A column of text becomes one number for each known category: 1 for its own and 0 for the others.
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

    /// Numbers that it becomes.
    pub fn width(&self) -> usize {
        match self {
            Self::OneHot { known, .. } => known.len(),
            Self::Number { .. } => 1,
        }
    }
}

/// How columns become the context of a conditional density.
///
/// ```
/// use datasets::table::{Context, ReadOptions, Table};
/// let table = Table::from_text("t.csv", "x,kind\n1.5,b\n2.5,a\n", &ReadOptions::default())?;
/// let context = Context::fit(&table, &["kind"])?;
/// assert_eq!(context.encode(&table).unwrap(), [0.0, 1.0, 1.0, 0.0]);
/// # Ok::<(), datasets::table::TableError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
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
    /// Learns categories and scales from training rows.
    ///
    /// # Errors
    /// [`TableError::UnknownColumn`].
    pub fn fit(table: &Table, given: &[impl AsRef<str>]) -> Result<Self, TableError> {
        let column = |name: &str| {
            let place = table.position(name)?;
            Ok(match &table.columns()[place].kind {
                Kind::Text(known) => Categories::OneHot { column: name.to_owned(), known: known.clone() },
                _ => {
                    let (mean, deviation) = crate::moments::moments(table.column(place));
                    let deviation = if deviation > 0.0 { deviation } else { 1.0 };
                    Categories::Number { column: name.to_owned(), mean, deviation }
                }
            })
        };
        Ok(Self { columns: given.iter().map(|name| column(name.as_ref())).collect::<Result<_, TableError>>()? })
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
                                known: known.join(", "),
                            })?;
                        out.extend((0..known.len()).map(|place| f64::from(u8::from(place == hot))));
                    }
                }
            }
        }
        Ok(out)
    }
}

/// A value as the file has it: the category, or the number, which a file of other rows may take for one.
fn word(table: &Table, place: usize, value: f64) -> String {
    match &table.columns()[place].kind {
        Kind::Text(categories) => categories[value as usize].clone(),
        _ => value.to_string(),
    }
}
