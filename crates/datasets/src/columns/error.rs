//! What makes a table unfit for a density, one sentence each.

use crate::standardise::StandardisationError;
use crate::table::TableError;

/// A value where a map has none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{file}, row {row}, column {column:?}: the value {value} is not {wanted}, as {transform} needs; {remedy}")]
pub struct Outside {
    /// The file.
    pub file: String,
    /// Number of the row, from 1.
    pub row: u64,
    /// Name of the column.
    pub column: String,
    /// The value.
    pub value: f64,
    /// What it should be.
    pub wanted: String,
    /// The transform.
    pub transform: String,
    /// What to do.
    pub remedy: &'static str,
}

/// Why a table has no density, or a transform no fit.
///
/// Words in backquotes are names of a caller's parameters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ColumnError {
    /// A column that is not there, or of text.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Too few rows.
    #[error(
        "{file} has {rows} rows of {columns} columns; a density needs more rows than columns, and a useful one many \
            more: add rows, or choose fewer `columns`"
    )]
    TooFewRows {
        /// The file.
        file: String,
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
    },
    /// Columns that do not vary.
    #[error(
        "{file}: the value of {columns} is the same in all {rows} rows, so that it has no density; leave it out with \
            `columns`, or say that it is counted with the transformation dequantise(1)"
    )]
    Constant {
        /// The file.
        file: String,
        /// The columns.
        columns: String,
        /// Rows.
        rows: usize,
    },
    /// A column that others determine.
    #[error(
        "{file}: the column {column:?} is a linear function of {others} in all {rows} rows, so that there is no \
            density; leave one of them out with `columns`"
    )]
    Dependent {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// What it depends on.
        others: String,
        /// Rows.
        rows: usize,
    },
    /// A column that the context determines.
    #[error(
        "the column {column:?} is a linear function of what is given in all training rows, so that it has no density \
            given that; leave it out with `columns`, or leave what determines it out of `given`"
    )]
    Determined {
        /// The column.
        column: String,
    },
    /// Coefficients of a regression that are no numbers.
    #[error("location and scale of column {column} (from 0) have coefficients that are not finite")]
    Coefficients {
        /// Its number.
        column: usize,
    },
    /// The same few rows again and again.
    #[error("{file}: only {distinct} of {rows} rows are distinct, too few for a density; give each row once")]
    Duplicates {
        /// The file.
        file: String,
        /// Distinct rows.
        distinct: usize,
        /// Rows.
        rows: usize,
    },
    /// A value that many rows of a real column share.
    #[error(
        "{file}: {count} of {rows} rows have exactly the value {value} in the column {column:?}, where a continuous \
            density grows without bound and its figures mean nothing; {remedy}"
    )]
    Repeats {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// The value.
        value: f64,
        /// Rows that have it.
        count: usize,
        /// Rows.
        rows: usize,
        /// What to do.
        remedy: String,
    },
    /// A value where a map has none.
    #[error(transparent)]
    Outside(#[from] Box<Outside>),
    /// A transform that cannot be fitted.
    #[error(
        "the column {column:?} has too few different values for the transformation {transform}; use standardise or \
            dequantise"
    )]
    NoSpread {
        /// The column.
        column: String,
        /// The transform.
        transform: String,
    },
    /// Not a transform for each column, or weights for each row.
    #[error("{expected} {what} are needed, found {found}")]
    Shape {
        /// What there is too much or too little of.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Weights that are no weights.
    #[error("the weight of row {row} is {value}; weights are finite and not negative, and not all zero")]
    Weight {
        /// Number of the row, from 1.
        row: usize,
        /// The weight.
        value: f64,
    },
    /// A covariance without a density.
    #[error(
        "the covariance of the {columns} columns is singular: a Gaussian needs more rows than columns, and no column \
         that others determine"
    )]
    Singular {
        /// Columns.
        columns: usize,
    },
    /// Columns that cannot be whitened.
    #[error("the columns cannot be whitened: {0}")]
    Whitening(#[from] StandardisationError),
}
