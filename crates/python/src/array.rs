//! NumPy's arrays as tables of the library, and back.

use datasets::table::Table;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::raise;

/// Columns of numbers that Python has laid out: 64-bit, row by row. Text is the places of its labels.
#[derive(FromPyObject)]
pub struct Columns<'py> {
    names: Option<Vec<String>>,
    values: PyReadonlyArray2<'py, f64>,
    labels: Vec<(usize, Vec<String>)>,
}

impl Columns<'_> {
    /// As a table. Columns without names get those at `names` where there are as many; a sentence calls them `what`.
    pub fn table(&self, what: &str, names: &[&str]) -> PyResult<Table> {
        let columns = self.values.shape()[1];
        let names: Vec<String> = match &self.names {
            Some(own) => own.clone(),
            None if columns == names.len() => names.iter().map(|name| (*name).to_owned()).collect(),
            None => {
                return Err(raise(maflow::Error::Argument(format!(
                    "{what} has {columns} columns, but {} are needed ({}); give one column for each",
                    names.len(),
                    names.join(", ")
                ))));
            }
        };
        let values = match self.values.as_slice() {
            Ok(values) => values.to_vec(),
            Err(_) => self.values.as_array().iter().copied().collect(),
        };
        let table = Table::new(&names, values).map_err(|error| raise(error.into()))?.named(what);
        self.labels.iter().try_fold(table, |table, (place, labels)| {
            table.with_labels(*place, labels).map_err(|error| raise(error.into()))
        })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.values.shape()[0]
    }

    /// Names of the columns, where they have any.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }
}

/// Numbers as an array of one axis, without a copy.
pub fn vector(py: Python<'_>, values: Vec<f64>) -> Bound<'_, PyArray1<f64>> {
    values.into_pyarray(py)
}

/// Rows of so many numbers as an array of two axes, without a copy.
pub fn matrix(py: Python<'_>, values: Vec<f64>, columns: usize) -> PyResult<Bound<'_, PyArray2<f64>>> {
    let rows = values.len() / columns.max(1);
    values.into_pyarray(py).reshape([rows, columns])
}
