//! What can go wrong with the files of a run.

use std::io;
use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that could not be written or read.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason the system gives.
        source: io::Error,
    },
    /// A file of tensors that cannot be used.
    #[error("{path} cannot be used ({reason})")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An error of the core.
    #[error(transparent)]
    Core(#[from] flow_core::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// What a training is told when its store fails.
impl From<Error> for flow_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Core(error) => error,
            error => Self::Store(Box::new(error)),
        }
    }
}
