//! The seam to the backends: each is one implementation of [`Engine`]; all work is written once, generic over it.

use backend_ndarray::{Cpu, Real, Ridge};
use flow_core::{Group, Potential, Space};

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
        let free = Ridge::new(self.clone(), dim, ridge.hidden, activation(ridge), ridge.bias, seed)?
            .with_time(ridge.time_terms, duration)?;
        Ok(match orbit {
            Some(group) => Box::new(free.over_orbit(group)?),
            None => Box::new(free),
        })
    }
}

/// libtorch, on the CPU or on a GPU.
#[cfg(maflow_tch)]
impl Engine for backend_tch::Tch {
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
        let free = backend_tch::Ridge::new(*self, dim, ridge.hidden, activation(ridge), ridge.bias, seed)?
            .with_time(ridge.time_terms, duration)?;
        Ok(match orbit {
            Some(group) => Box::new(free.over_orbit(group)?),
            None => Box::new(free),
        })
    }
}

/// The function f, in the words of flow-core.
fn activation(ridge: &RidgePotential) -> flow_core::Activation {
    match ridge.activation {
        Activation::Softplus => flow_core::Activation::Softplus,
        Activation::LnCosh => flow_core::Activation::LnCosh,
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
pub const COMPILED: &[Backend] = match backend_tch::BUILT {
    true => &[Backend::Ndarray, Backend::TchCpu, Backend::TchCuda],
    false => &[Backend::Ndarray],
};

/// Checks that a backend is part of this build.
///
/// # Errors
/// A sentence with the remedy.
pub fn require(backend: Backend) -> Result<(), CliError> {
    match backend.libtorch_device() {
        Some(device) if !backend_tch::BUILT => Err(CliError::Failed(format!(
            "there is no backend {device}: {}",
            backend_tch::Error::NotSetUp { cuda: device == backend_tch::Device::Cuda }
        ))),
        _ => Ok(()),
    }
}

/// Does `work` on the backend and in the precision chosen; libtorch is loaded here, where it is asked for.
///
/// # Errors
/// Those of the work; a backend that is not part of this build, or cannot be used on this machine.
pub fn run<W: Work>(compute: &Compute, precision: Precision, work: W) -> Result<W::Output, CliError> {
    require(compute.backend)?;
    let threads = compute.threads.get();
    match (compute.backend.libtorch_device(), precision) {
        (Some(device), _) => on_libtorch(device, precision, threads, work),
        (None, Precision::F64) => work.run(&Cpu::<f64>::new(threads)),
        (None, Precision::F32 | Precision::Tf32) => work.run(&Cpu::<f32>::new(threads)),
    }
}

#[cfg(maflow_tch)]
fn on_libtorch<W: Work>(
    device: backend_tch::Device,
    precision: Precision,
    threads: usize,
    work: W,
) -> Result<W::Output, CliError> {
    let options = backend_tch::Options { threads, allow_tf32: precision == Precision::Tf32 };
    let precision = match precision {
        Precision::F32 | Precision::Tf32 => flow_core::Precision::F32,
        Precision::F64 => flow_core::Precision::F64,
    };
    work.run(&backend_tch::Tch::new(device, precision, options)?)
}

#[cfg(not(maflow_tch))]
fn on_libtorch<W: Work>(
    device: backend_tch::Device,
    _precision: Precision,
    _threads: usize,
    _work: W,
) -> Result<W::Output, CliError> {
    Err(backend_tch::load(device).expect_err("this build has no libtorch").into())
}
