//! From the library's errors to Python's exceptions: the same sentences, ValueError for input and OSError for files.

use std::io;

use datasets::table::{ContextError, TableError};
use flow_core::Error as Core;
use maflow::Error;
use pyo3::PyErr;
use pyo3::exceptions::{
    PyFileExistsError, PyFileNotFoundError, PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError,
};

use crate::torch::in_arguments;

/// The exception of an error.
pub fn raise(error: Error) -> PyErr {
    let sentence = in_arguments(&error.to_string());
    match error {
        Error::Io { source, .. }
        | Error::Table(TableError::Read { source, .. } | TableError::Write(source))
        | Error::Context(ContextError::Table(TableError::Read { source, .. })) => system(&source, sentence),
        Error::RunExists(_) | Error::NotEmpty(_) => PyFileExistsError::new_err(sentence),
        Error::NoRun(_) | Error::NoRunOf { .. } | Error::NoCheckpoint(_) => PyFileNotFoundError::new_err(sentence),
        Error::Busy(_) | Error::OnlyBest(_) | Error::Unusable { .. } | Error::Library { .. } | Error::Mnist(_) => {
            PyOSError::new_err(sentence)
        }
        Error::Core(Core::Checkpoint { .. } | Core::MissingTensor { .. }) => PyOSError::new_err(sentence),
        Error::Core(Core::Setting { .. } | Core::Shape { .. } | Core::AdaptivePerStage | Core::Tableau { .. }) => {
            PyValueError::new_err(sentence)
        }
        Error::Core(_) | Error::Failed(_) | Error::Libtorch(_) => PyRuntimeError::new_err(sentence),
        Error::Cancelled => PyKeyboardInterrupt::new_err("stopped"),
        _ => PyValueError::new_err(sentence),
    }
}

/// OSError, of the kind that belongs to the system's code where there is one.
fn system(source: &io::Error, sentence: String) -> PyErr {
    match source.raw_os_error() {
        Some(code) => PyOSError::new_err((code, sentence)),
        None => PyOSError::new_err(sentence),
    }
}
