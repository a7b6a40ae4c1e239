//! The seam to the backends: each is one implementation of [`Engine`]; all work is written once, generic over it.

use backend_ndarray::{Cpu, Real, Ridge};
use flow_core::{Group, Potential, Space, TimeBasis, TimeFamily};

use crate::args::Backend;
use crate::config::{Activation, Precision, RidgePotential};
use crate::error::CliError;
use crate::plan::Compute;

/// A backend in one precision: where arrays live, and the potentials it brings.
pub trait Engine {
    /// Its arrays.
    type Space: Space;

    /// Where its arrays live.
    fn space(&self) -> &Self::Space;

    /// The paper's potential of `dim` numbers for flows of this duration, with its first parameters drawn from `seed`,
    /// summed over a group where there is one.
    ///
    /// # Errors
    /// When a size is out of range.
    fn ridge(
        &self,
        dim: usize,
        ridge: &RidgePotential,
        duration: f64,
        seed: u64,
        orbit: Option<Group>,
    ) -> Result<Box<dyn Potential<Self::Space>>, CliError>;
}

/// Pure Rust on the CPU.
impl<T: Real> Engine for Cpu<T> {
    type Space = Self;

    fn space(&self) -> &Self {
        self
    }

    fn ridge(
        &self,
        dim: usize,
        ridge: &RidgePotential,
        duration: f64,
        seed: u64,
        orbit: Option<Group>,
    ) -> Result<Box<dyn Potential<Self>>, CliError> {
        let activation = match ridge.activation {
            Activation::Softplus => backend_ndarray::Activation::Softplus,
            Activation::LnCosh => backend_ndarray::Activation::LnCosh,
        };
        let free = Ridge::new(self.clone(), dim, ridge.hidden, activation, ridge.bias, seed)?
            .with_time(TimeBasis::new(TimeFamily::Cosine, ridge.time_terms, duration)?);
        Ok(match orbit {
            Some(group) => Box::new(free.over_orbit(group)?),
            None => Box::new(free),
        })
    }
}

/// Something to be done on whichever backend was chosen.
pub trait Work {
    /// What comes of it.
    type Output;

    /// Does it.
    ///
    /// # Errors
    /// Whatever ends it before it is done.
    fn run<E: Engine>(self, engine: &E) -> Result<Self::Output, CliError>;
}

/// The backends of this build.
pub const COMPILED: &[Backend] = &[Backend::Ndarray];

/// Checks that a backend is part of this build.
///
/// # Errors
/// A sentence with the remedy.
pub fn require(backend: Backend) -> Result<(), CliError> {
    match COMPILED.contains(&backend) {
        true => Ok(()),
        false => Err(CliError::Failed(format!(
            "this maflow was built without libtorch and has no backend {}; use --backend ndarray",
            backend.name()
        ))),
    }
}

/// Does `work` on the backend and in the precision chosen.
///
/// # Errors
/// Those of the work; a backend that is not part of this build.
pub fn run<W: Work>(compute: &Compute, precision: Precision, work: W) -> Result<W::Output, CliError> {
    require(compute.backend)?;
    let threads = compute.threads.get();
    match (compute.backend, precision) {
        (Backend::Ndarray, Precision::F32) => work.run(&Cpu::<f32>::new(threads)),
        (Backend::Ndarray, Precision::F64) => work.run(&Cpu::<f64>::new(threads)),
        (Backend::TchCpu | Backend::TchCuda, _) => unreachable!("refused above"),
    }
}
