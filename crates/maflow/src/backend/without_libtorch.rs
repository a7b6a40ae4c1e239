//! In place of libtorch in a build that leaves it out: the sentence that says so.

use super::{Backend, Compute, Work};
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
pub fn run<W: Work>(compute: &Compute, _precision: Arithmetic, _work: W) -> Result<W::Output, Error> {
    Err(Error::WithoutLibtorch(compute.backend))
}
