//! Rows of a file one after the other: what every format is read as.

use super::TableError;
use super::storage::{PictureShape, Storage};

/// Rows of a file, one after the other.
pub(super) trait Source: Send {
    /// Names of all columns of the file.
    fn names(&self) -> &[String];
    fn storage(&self, column: usize) -> Storage;
    /// Categories so far, of a column of text.
    fn categories(&self, _column: usize) -> Option<&[String]> {
        None
    }
    /// Reads the picked columns of the next row, missing values as NaN; false at the end.
    fn next(&mut self, picks: &[usize], row: &mut [f64]) -> Result<bool, TableError>;
    /// The number of the last row, from 1.
    fn row(&self) -> u64;
    /// The number of its line, from 1.
    fn line(&self) -> Option<u64> {
        None
    }
    /// What the file has in a column of the last row, where that is text.
    fn cell(&self, _column: usize) -> Option<String> {
        None
    }
}

/// A file with its header read.
pub(super) struct Opened {
    pub source: Box<dyn Source>,
    pub picture: Option<PictureShape>,
    pub notes: Vec<String>,
}

/// Rows in memory.
pub(super) struct Whole {
    names: Vec<String>,
    storages: Vec<Storage>,
    pub categories: Vec<Option<Vec<String>>>,
    values: Vec<f64>,
    done: usize,
}

impl Whole {
    pub fn new(names: Vec<String>, storages: Vec<Storage>, values: Vec<f64>) -> Self {
        let categories = vec![None; names.len()];
        Self { names, storages, categories, values, done: 0 }
    }
}

impl Source for Whole {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn storage(&self, column: usize) -> Storage {
        self.storages[column]
    }

    fn categories(&self, column: usize) -> Option<&[String]> {
        self.categories[column].as_deref()
    }

    fn next(&mut self, picks: &[usize], row: &mut [f64]) -> Result<bool, TableError> {
        let Some(next) = self.values.chunks_exact(self.names.len()).nth(self.done) else { return Ok(false) };
        row.iter_mut().zip(picks).for_each(|(value, pick)| *value = next[*pick]);
        self.done += 1;
        Ok(true)
    }

    fn row(&self) -> u64 {
        self.done as u64
    }
}
