//! Work on libtorch, which is loaded where it is asked for.

use backend_tch::Device;

use super::{Backend, BackendJob, Compute};
use crate::error::Error;
use crate::recipe::Arithmetic;

fn device(backend: Backend) -> Device {
    match backend {
        Backend::TchCuda => Device::Cuda,
        Backend::Ndarray | Backend::TchCpu => Device::Cpu,
    }
}

/// Checks that a backend of libtorch can be had.
///
/// # Errors
/// Why libtorch cannot be used here, with the remedy.
pub fn require(backend: Backend) -> Result<(), Error> {
    Ok(backend_tch::libtorch_for(device(backend)).map(drop)?)
}

/// Does `work` on a backend of libtorch.
///
/// # Errors
/// Those of the work and of loading libtorch.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn run<W: BackendJob>(compute: &Compute, precision: Arithmetic, work: W) -> Result<W::Output, Error> {
    require(compute.backend)?;
    let threads = compute.threads.get();
    let options = backend_tch::Options { threads, allow_tf32: precision == Arithmetic::Tf32 };
    work.run(&backend_tch::Tch::new(device(compute.backend), precision.precision(), options)?)
}

/// There is no loader for this system.
///
/// # Errors
/// Always.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub fn run<W: BackendJob>(compute: &Compute, _precision: Arithmetic, _work: W) -> Result<W::Output, Error> {
    require(compute.backend)?;
    Err(backend_tch::load(device(compute.backend)).expect_err("there is no loader for this system").into())
}
