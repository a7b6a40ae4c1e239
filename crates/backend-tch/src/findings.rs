//! What a health check has to say about libtorch.

use crate::cuda::{Driver, driver};
use crate::device::Device;
use crate::error::Error;

use crate::libtorch::{Libtorch, libtorch};
use crate::loading::load;

/// Everything that decides whether libtorch can be used; every error's text is one sentence with its remedy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Findings {
    /// The libtorch found, to be compared with [`VERSION_NEEDED`](crate::VERSION_NEEDED).
    pub libtorch: Result<Libtorch, Error>,
    /// The NVIDIA driver and its devices, with or without libtorch.
    pub driver: Result<Driver, Error>,
    /// Whether `tch-cpu` is ready: libtorch was loaded.
    pub cpu: Result<(), Error>,
    /// Whether `tch-cuda` is ready: libtorch was loaded with its CUDA part, and sees a device.
    pub cuda: Result<(), Error>,
}

impl Findings {
    /// Looks, and loads libtorch: with CUDA where that works, else for the CPU.
    pub fn collect() -> Self {
        // CUDA first: once loaded for the CPU alone, libtorch cannot be given CUDA in the same process.
        let cuda = load(Device::Cuda);
        let cpu = load(Device::Cpu);
        Self { libtorch: libtorch(), driver: driver(), cpu, cuda }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_findings_agree_with_each_other() {
        let found = Findings::collect();
        if found.cpu.is_ok() {
            assert!(found.libtorch.is_ok(), "{found:?}");
        }
        if let Err(Error::NotSetUp { .. }) = found.libtorch {
            assert_eq!(found.cpu, Err(Error::NotSetUp { cuda: false }));
            assert_eq!(found.cuda, Err(Error::NotSetUp { cuda: true }));
        }
        if found.cuda.is_ok() {
            assert!(found.cpu.is_ok() && found.driver.is_ok(), "{found:?}");
        }
    }
}
