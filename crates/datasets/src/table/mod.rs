//! Tables of numbers with named columns, read from files of many formats, in blocks of rows or whole, and written.
//!
//! Rows are of f64, row-major. Text is read as the number of its category. How a file was read is told in notes, plain
//! sentences for a user. Everything that is wrong with a file is one [`TableError`].
//!
//! | format | read | written |
//! | --- | --- | --- |
//! | `.csv`, `.tsv`, `.txt`, and `.gz` of each | in blocks | yes |
//! | `.npy`, `.npy.gz`: f16, f32, f64, integers and bool, either byte order | in blocks (Fortran order: whole) | yes |
//! | `.npz`: one array, or one of several by name, or columns as arrays of one dimension | whole | yes |
//! | `.safetensors` | whole | yes |
//! | IDX (`.idx`, `-ubyte`, and `.gz`) | in blocks | no |
//! | `.parquet`, with the feature `parquet` | whole | no |
//!
//! ```
//! use datasets::table::{Kind, ReadOptions, Table};
//! let csv = "height;mass\n9,5;3\n10,25;4\n";
//! let table = Table::from_text("people.csv", csv, &ReadOptions::default())?;
//! assert_eq!(table.names(), ["height", "mass"]);
//! assert_eq!((table.row(1), &table.columns()[1].kind), (&[10.25, 4.0][..], &Kind::Integer));
//! assert_eq!(table.notes()[0], "people.csv: delimiter semicolon, decimal comma, first line read as names");
//! # Ok::<(), datasets::table::TableError>(())
//! ```

mod array;
mod categories;
mod delimited;
mod dialect;
mod error;
mod format;
mod npy;
#[cfg(feature = "parquet")]
mod parquet;
mod reader;
mod safetensors;
mod source;
mod storage;
mod write;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use categories::{Categories, Context, ContextError, UnknownCategory};
pub use error::{Place, TableError};
pub use format::Format;
pub use reader::{Block, Reader};
pub use storage::{PictureShape, Storage};
pub use write::Writer;

/// How to read a file, where the caller knows better than its content says.
///
/// An option that has no effect on the format of the file is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format, else by the name and the content.
    pub format: Option<Format>,
    /// What separates values in text: one byte of ASCII; a space stands for any number of blanks.
    pub delimiter: Option<char>,
    /// The decimal sign in text: `.` or `,`.
    pub decimal: Option<char>,
    /// Whether the first line of text has the names.
    pub header: Option<bool>,
    /// The array to read where a file has several.
    pub array: Option<String>,
    /// Reads an array of more than two dimensions as a table with one row for each place of its first axis.
    pub flatten: bool,
    /// The columns to read, by name, in this order; else all.
    pub columns: Option<Vec<String>>,
    /// Columns to read as categories, whatever they hold.
    pub text: Vec<String>,
    /// Leaves out rows that have a missing or infinite value.
    pub drop_missing: bool,
}

/// What the values of a column are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Real numbers.
    Real,
    /// Whole numbers, however they are stored: no value has a fraction or exceeds 2^53.
    Integer,
    /// Text: the values are places in this list of categories, which is sorted in a [`Table`] and in order of
    /// appearance in blocks.
    Text(Vec<String>),
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, or `x` and its place where a file has no names.
    pub name: String,
    /// What its values are.
    pub kind: Kind,
    /// How the file stores it.
    pub storage: Storage,
}

/// Rows of numbers with named columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    file: String,
    columns: Vec<Column>,
    values: Vec<f64>,
    /// The number in the file of each row, from 1, where rows were left out.
    numbers: Option<Vec<u64>>,
    picture: Option<PictureShape>,
    notes: Vec<String>,
}

impl Table {
    /// Reads a whole file.
    ///
    /// # Errors
    /// All of [`TableError`] that say what is wrong with a file.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, TableError> {
        Reader::open(path, options)?.collect()
    }

    /// Reads text as a file of that name would be read.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_text(name: &str, text: &str, options: &ReadOptions) -> Result<Self, TableError> {
        Reader::from_bytes(name, text.as_bytes().to_vec(), options)?.collect()
    }

    /// From names and numbers in memory (row-major). A column without a fraction is of integers.
    ///
    /// # Errors
    /// [`TableError::Shape`] for no columns or rows that are not whole, [`TableError::NoRows`],
    /// [`TableError::SameName`], [`TableError::Missing`] for NaN and [`TableError::Infinite`].
    pub fn new(names: &[impl AsRef<str>], values: Vec<f64>) -> Result<Self, TableError> {
        let names: Vec<String> = names.iter().map(|name| name.as_ref().to_owned()).collect();
        if names.is_empty() || !values.len().is_multiple_of(names.len()) {
            return Err(TableError::Shape { what: "numbers", found: values.len(), columns: names.len() });
        }
        Reader::from_values("the table", names, values)?.collect()
    }

    /// The same under another name, by which sentences call it.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { file: name.to_owned(), ..self }
    }

    /// The same with a column of text: its numbers are places in a list of labels, in any order.
    ///
    /// ```
    /// use datasets::table::{Kind, Table};
    /// let table = Table::new(&["x", "arm"], vec![0.5, 1.0, 0.7, 0.0])?.with_labels(1, &["b".into(), "a".into()])?;
    /// assert_eq!(table.columns()[1].kind, Kind::Text(vec!["a".into(), "b".into()]));
    /// assert_eq!(table.row(0), [0.5, 0.0]);
    /// # Ok::<(), datasets::table::TableError>(())
    /// ```
    ///
    /// # Errors
    /// [`TableError::Shape`] for a column that is not there, or numbers that are no places.
    pub fn with_labels(mut self, column: usize, labels: &[String]) -> Result<Self, TableError> {
        let width = self.columns.len();
        let found = if column < width { self.column(column).fold(0.0, f64::max) as usize + 1 } else { column + 1 };
        if column >= width || found > labels.len() {
            return Err(TableError::Shape { what: "labels", found: labels.len(), columns: found });
        }
        let mut sorted = labels.to_vec();
        sorted.sort();
        sorted.dedup();
        for value in self.values.iter_mut().skip(column).step_by(width) {
            let label = &labels[*value as usize];
            *value = sorted.partition_point(|other| other < label) as f64;
        }
        self.columns[column].kind = Kind::Text(sorted);
        Ok(self)
    }

    /// The file that it was read from, as it was named.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Its columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Names of the columns, in order.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns.len()
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// A row, from 0.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.columns.len()..(index + 1) * self.columns.len()]
    }

    /// The values of column `index`, from 0, row by row.
    pub fn column(&self, index: usize) -> impl Iterator<Item = f64> + Clone + '_ {
        self.values.iter().skip(index).step_by(self.columns.len()).copied()
    }

    /// The number in the file, from 1, of the row at `index`: they differ where rows were left out.
    pub fn number(&self, index: usize) -> u64 {
        self.numbers.as_ref().map_or(index as u64 + 1, |numbers| numbers[index])
    }

    /// The shape of the picture that each row is, where the file holds pictures.
    pub fn picture(&self) -> Option<PictureShape> {
        self.picture
    }

    /// The same with rows that are pictures of this shape, of bytes.
    ///
    /// # Errors
    /// [`TableError::Shape`] for another number of columns.
    pub fn of_pictures(self, shape: PictureShape) -> Result<Self, TableError> {
        match shape.height * shape.width * shape.channels {
            pixels if pixels == self.columns.len() => Ok(Self { picture: Some(shape), ..self }),
            pixels => Err(TableError::Shape { what: "pixels", found: pixels, columns: self.columns.len() }),
        }
    }

    /// How the file was read, in plain sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The place of a column.
    ///
    /// # Errors
    /// [`TableError::UnknownColumn`].
    pub fn position(&self, name: &str) -> Result<usize, TableError> {
        let found = self.columns.iter().position(|column| column.name == name);
        found.ok_or_else(|| TableError::UnknownColumn {
            file: self.file.clone(),
            name: name.to_owned(),
            known: self.names().join(", "),
        })
    }

    /// The named columns alone, in this order: two files whose columns stand in another order become alike.
    ///
    /// # Errors
    /// [`TableError::UnknownColumn`]; [`TableError::Shape`] for no name.
    pub fn select(&self, names: &[impl AsRef<str>]) -> Result<Self, TableError> {
        if names.is_empty() {
            return Err(TableError::Shape { what: "numbers", found: self.values.len(), columns: 0 });
        }
        let picks: Vec<usize> = names.iter().map(|name| self.position(name.as_ref())).collect::<Result<_, _>>()?;
        let rows = self.values.chunks_exact(self.columns.len());
        let whole = picks.iter().copied().eq(0..self.columns.len());
        Ok(Self {
            file: self.file.clone(),
            columns: picks.iter().map(|pick| self.columns[*pick].clone()).collect(),
            values: rows.flat_map(|row| picks.iter().map(|pick| row[*pick])).collect(),
            numbers: self.numbers.clone(),
            picture: self.picture.filter(|_| whole),
            notes: self.notes.clone(),
        })
    }

    /// The rows at these places (from 0), in this order.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn take(&self, rows: &[usize]) -> Self {
        Self {
            values: rows.iter().flat_map(|row| self.row(*row)).copied().collect(),
            numbers: Some(rows.iter().map(|row| self.number(*row)).collect()),
            file: self.file.clone(),
            columns: self.columns.clone(),
            picture: self.picture,
            notes: self.notes.clone(),
        }
    }

    /// The same rows with the columns of another table behind their own.
    ///
    /// # Errors
    /// [`TableError::Shape`] for another number of rows; [`TableError::SameName`].
    pub fn beside(&self, other: &Self) -> Result<Self, TableError> {
        if self.rows() != other.rows() {
            return Err(TableError::Shape { what: "rows", found: other.rows(), columns: self.rows() });
        }
        let columns = [&self.columns[..], &other.columns].concat();
        if let Some(twice) = other.columns.iter().find(|column| self.names().contains(&column.name.as_str())) {
            return Err(TableError::SameName { file: other.file.clone(), name: twice.name.clone() });
        }
        let values = (0..self.rows()).flat_map(|row| self.row(row).iter().chain(other.row(row))).copied().collect();
        Ok(Self { columns, values, picture: None, ..self.clone() })
    }

    /// Checks that every column is of numbers.
    ///
    /// # Errors
    /// [`TableError::TextColumn`] for the first that is not.
    pub fn require_numbers(&self) -> Result<(), TableError> {
        let text = self.columns.iter().find_map(|column| match &column.kind {
            Kind::Text(categories) => Some((column, categories)),
            _ => None,
        });
        text.map_or(Ok(()), |(column, categories)| {
            let some = categories.iter().take(3).map(|category| format!("{category:?}"));
            Err(TableError::TextColumn {
                file: self.file.clone(),
                name: column.name.clone(),
                examples: some.collect::<Vec<_>>().join(", "),
            })
        })
    }
}
