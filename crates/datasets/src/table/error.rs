//! What can be wrong with a table, one sentence each, with its place and a remedy.

use std::fmt;
use std::io;

/// A cell of a table, in words: file, row, line and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as the caller named it.
    pub file: String,
    /// Number of the row of data, from 1.
    pub row: u64,
    /// Number of the line, from 1, in a file of text.
    pub line: Option<u64>,
    /// Name of the column.
    pub column: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, row {}", self.file, self.row)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        write!(f, ", column {:?}", self.column)
    }
}

/// Why a table could not be read or written.
///
/// Words in backquotes are names of [`ReadOptions`](super::ReadOptions) or of a caller's parameters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The system does not give the file, or its compressed data are damaged.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// Compressed data that end early.
    #[error("{file} ends in the middle of its compressed data; copy or fetch it again")]
    Cut {
        /// The file.
        file: String,
    },
    /// Neither the name nor the content says what the file is.
    #[error(
        "{file} is no table that can be read: {found}; known are .csv, .tsv, .txt, .npy, .npz, .safetensors, \
            .parquet and IDX, and the .gz of each but the last three"
    )]
    Format {
        /// The file.
        file: String,
        /// What is there instead.
        found: String,
    },
    /// A file whose content is not what its name says, or breaks the rules of its format.
    #[error("{file} is not a whole {format} file: {found}; write or fetch it again")]
    Malformed {
        /// The file.
        file: String,
        /// Name of the format.
        format: &'static str,
        /// What is wrong.
        found: String,
    },
    /// A program that was built without the reader of a format.
    #[error(
        "{file} is a parquet file, which this build does not read; write it as .csv or .npy, or build with the \
            feature parquet"
    )]
    WithoutParquet {
        /// The file.
        file: String,
    },
    /// Nothing at all.
    #[error("{file} is empty; a table has a row of numbers on each line")]
    Empty {
        /// The file.
        file: String,
    },
    /// Columns, but no row.
    #[error("{file} has the columns {columns}, but no rows; at least one row of numbers is needed")]
    NoRows {
        /// The file.
        file: String,
        /// Names of the columns.
        columns: String,
    },
    /// No row is left.
    #[error(
        "{file}: every one of the {rows} rows has a missing or infinite value, so that `drop_missing` leaves none; \
            choose other `columns`"
    )]
    AllDropped {
        /// The file.
        file: String,
        /// Rows of the file.
        rows: u64,
    },
    /// A cell without a value.
    #[error(
        "{place}: the value is missing ({found}); fill it in, leave such rows out with `drop_missing`, or leave the \
            column out with `columns`"
    )]
    Missing {
        /// The cell.
        place: Place,
        /// What stands there.
        found: String,
    },
    /// A number that is infinite, or beyond the largest one.
    #[error(
        "{place}: the value is {found}, which is not finite; correct it, leave such rows out with `drop_missing`, or \
            leave the column out with `columns`"
    )]
    Infinite {
        /// The cell.
        place: Place,
        /// What stands there.
        found: String,
    },
    /// Text among numbers.
    #[error("{place}: expected a number, found {found:?}; correct it, or leave the column out with `columns`")]
    Text {
        /// The cell.
        place: Place,
        /// What stands there.
        found: String,
    },
    /// A row of another length.
    #[error(
        "{file}, row {row} (line {line}): expected {expected} values, found {found}; correct the line, or state the \
            `delimiter` if the file was read with the wrong one ({delimiter})"
    )]
    Ragged {
        /// The file.
        file: String,
        /// Number of the row of data, from 1.
        row: u64,
        /// Number of the line, from 1.
        line: u64,
        /// Columns.
        expected: usize,
        /// Values of this row.
        found: usize,
        /// The delimiter in words.
        delimiter: &'static str,
    },
    /// Text in another encoding.
    #[error("{file}, line {line}: the text is not UTF-8; save the file as UTF-8")]
    Encoding {
        /// The file.
        file: String,
        /// Number of the line, from 1.
        line: u64,
    },
    /// Two columns of one name.
    #[error("{file} has two columns called {name:?}; rename one of them")]
    SameName {
        /// The file.
        file: String,
        /// The name.
        name: String,
    },
    /// A column that is not there.
    #[error("{file} has no column {name:?}; its columns are {known}")]
    UnknownColumn {
        /// The file.
        file: String,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A column that has text where numbers are needed.
    #[error(
        "{file}: the column {name:?} holds text ({examples}), not numbers; leave it out with `columns`, or let the \
            density be conditional on it with `given`"
    )]
    TextColumn {
        /// The file.
        file: String,
        /// The column.
        name: String,
        /// Some of its values.
        examples: String,
    },
    /// Elements that are no numbers.
    #[error("{file} holds {found}, not numbers{remedy}; nothing in such a file is ever executed or unpickled")]
    Element {
        /// The file.
        file: String,
        /// Kind of the elements.
        found: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// An array that is no table.
    #[error("{file} holds an array of shape {shape} of {element}, which is no table; {remedy}")]
    Dimensions {
        /// The file.
        file: String,
        /// Its shape.
        shape: String,
        /// Kind of the elements.
        element: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A file that ends before its header says it should.
    #[error(
        "{file} is truncated: {found} of {expected} bytes of numbers are there, {rows} whole rows; copy or fetch it \
            again"
    )]
    Truncated {
        /// The file.
        file: String,
        /// Bytes that the header asks for.
        expected: u64,
        /// Bytes that are there.
        found: u64,
        /// Rows that are whole.
        rows: u64,
    },
    /// Several arrays, and none named.
    #[error("{file} holds several arrays: {arrays}; name one with `array`")]
    Arrays {
        /// The file.
        file: String,
        /// Names and shapes.
        arrays: String,
    },
    /// An array that is not there.
    #[error("{file} has no array {name:?}; it holds {arrays}")]
    UnknownArray {
        /// The file.
        file: String,
        /// What was asked for.
        name: String,
        /// Names and shapes.
        arrays: String,
    },
    /// An option that has no effect on such a file.
    #[error("`{option}` has no effect on {file}, a file of the format {format}; leave it out")]
    Option {
        /// The file.
        file: String,
        /// Name of the option.
        option: &'static str,
        /// Name of the format.
        format: &'static str,
    },
    /// More numbers than memory holds.
    #[error(
        "{file} has {numbers} numbers, more than memory holds; read it in blocks, or fewer of its columns with \
            `columns`"
    )]
    Memory {
        /// The file.
        file: String,
        /// How many.
        numbers: u64,
    },
    /// Names, kinds and values that do not belong together.
    #[error("a table of {columns} columns cannot have {found} {what}")]
    Shape {
        /// What there is too much or too little of.
        what: &'static str,
        /// How many.
        found: usize,
        /// Columns.
        columns: usize,
    },
    /// Text in a format of numbers.
    #[error("the column {name:?} holds text, which a {format} file of numbers cannot; write .csv or .tsv")]
    TextWrite {
        /// The column.
        name: String,
        /// Name of the format.
        format: &'static str,
    },
    /// The system does not take what is written.
    #[error("cannot write the table: {0}")]
    Write(#[source] io::Error),
}
