//! Where numbers are computed, and work that is done there, written once for all backends.

#[cfg(feature = "libtorch")]
mod libtorch;
#[cfg(not(feature = "libtorch"))]
#[path = "backend/without_libtorch.rs"]
mod libtorch;

use std::num::NonZeroUsize;

use backend_ndarray::Cpu;
use flow_core::Engine;

use crate::error::Error;
pub use crate::recipe::Backend;
use crate::recipe::{self, Arithmetic, Density, Recipe, RunInfo, TermKind};

/// Where the numbers are computed, and by how many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    /// The library.
    pub backend: Backend,
    /// Threads.
    pub threads: NonZeroUsize,
}

/// ndarray on all cores.
impl Default for Compute {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { backend: Backend::Ndarray, threads }
    }
}

impl Compute {
    /// What a run writes down of it, without the digest of its data.
    pub fn run_info(&self) -> RunInfo {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        RunInfo { version, backend: self.backend, threads: self.threads.get(), data: None }
    }
}

/// Checks that a backend has the model of a recipe, or the terms of its potential.
///
/// # Errors
/// [`Error::NeedsLibtorch`].
pub fn require_parts(backend: Backend, recipe: &Recipe) -> Result<(), Error> {
    let terms = match &recipe.density {
        Density::Flow { potential: recipe::Potential::Sum(sum), .. } => &sum.terms,
        Density::Flow { .. } => return Ok(()),
        Density::Model { model } => return require_model(backend, model.name()),
    };
    terms.iter().try_for_each(|term| match (&term.kind, backend.is_libtorch()) {
        (TermKind::Convolutional(_), false) => Err(Error::NeedsLibtorch { what: "term", name: term.kind.name() }),
        _ => Ok(()),
    })
}

/// Checks that a backend has models in closed form, of which one is named.
///
/// # Errors
/// [`Error::NeedsLibtorch`].
pub fn require_model(backend: Backend, name: &'static str) -> Result<(), Error> {
    match backend.is_libtorch() {
        true => Ok(()),
        false => Err(Error::NeedsLibtorch { what: "model", name }),
    }
}

/// Something to be done on whichever backend was chosen.
pub trait BackendJob {
    /// What the job returns.
    type Output;

    /// Does the job on `space`.
    ///
    /// # Errors
    /// Whatever ends it before it is done.
    fn run<E: Engine>(self, space: &E) -> Result<Self::Output, Error>;
}

/// Checks that a backend can be had.
///
/// # Errors
/// Why the backend cannot be used here, with the remedy.
pub fn require(backend: Backend) -> Result<(), Error> {
    match backend.is_libtorch() {
        true => libtorch::require(backend),
        false => Ok(()),
    }
}

/// Does `work` on the backend and in the precision chosen; libtorch is loaded here, where it is asked for.
///
/// # Errors
/// Those of the work; a backend that is not part of this build, or cannot be used on this machine.
pub fn run<W: BackendJob>(compute: &Compute, precision: Arithmetic, work: W) -> Result<W::Output, Error> {
    let threads = compute.threads.get();
    match (compute.backend, precision) {
        (Backend::TchCpu | Backend::TchCuda, _) => libtorch::run(compute, precision, work),
        (Backend::Ndarray, Arithmetic::F64) => work.run(&Cpu::<f64>::new(threads)),
        (Backend::Ndarray, Arithmetic::F32 | Arithmetic::Tf32) => work.run(&Cpu::<f32>::new(threads)),
    }
}
