//! In place of libtorch in a build that leaves it out: the sentence that says so.

use super::{Backend, BackendJob, Compute};
use crate::error::Error;
use crate::recipe::Arithmetic;

/// No backend of libtorch can be had.
///
/// # Errors
/// Always.
pub fn require(backend: Backend) -> Result<(), Error> {
    Err(Error::WithoutLibtorch(backend))
}

/// Does no work.
///
/// # Errors
/// Always.
pub fn run<W: BackendJob>(compute: &Compute, _precision: Arithmetic, _work: W) -> Result<W::Output, Error> {
    Err(Error::WithoutLibtorch(compute.backend))
}
