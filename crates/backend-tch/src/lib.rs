//! The libtorch backend: which libtorch there is, whether it can be used, and (once set up) loading it.
//!
//! libtorch is loaded while the program runs, not when it starts: a run that does not ask for it does not pay for it
//! (half a second and 110 MB), a libtorch that went away is an error with a remedy instead of a program that does
//! not start, and CUDA is only touched by a run on CUDA. [`load`] has to succeed before anything of `tch` is called.
//!
//! Without the cfg `maflow_tch`, which `scripts/setup-libtorch.sh` sets, `tch` is not compiled and [`load`] answers
//! with the command to run.
//!
//! ```
//! use backend_tch::Device;
//!
//! let device: Device = "tch-cpu".parse()?;
//! match backend_tch::load(device) {
//!     Ok(()) => println!("{device} is ready"),
//!     Err(error) => println!("{error}"), // one sentence, with the remedy
//! }
//! # Ok::<(), backend_tch::Error>(())
//! ```

#[cfg(maflow_tch)]
mod activation;
#[cfg(maflow_tch)]
mod context;
mod cuda;
mod device;
#[cfg(maflow_tch)]
mod engine;
mod error;
#[cfg(maflow_tch)]
mod factor;
mod findings;
#[cfg(maflow_tch)]
mod graph;
#[cfg(maflow_tch)]
mod kernels;
mod libtorch;
#[cfg(maflow_tch)]
mod loading;
#[cfg(maflow_tch)]
mod module;
#[cfg(maflow_tch)]
mod orbit;
#[cfg(maflow_tch)]
mod pointwise;
#[cfg(maflow_tch)]
mod ridge;
#[cfg(maflow_tch)]
mod space;
#[cfg(maflow_tch)]
mod term;
#[cfg(maflow_tch)]
mod workers;

pub use cuda::{Driver, driver};
pub use device::Device;
pub use error::Error;
pub use findings::Findings;
pub use libtorch::{CUDA_NEEDED, Libtorch, SET_UP, VERSION_NEEDED, libtorch};
#[cfg(maflow_tch)]
pub use {
    flow_core::{Activation, LatticeRidgeSettings, NetworkSettings},
    loading::load,
    module::{Laplacian, ModulePotential},
    ridge::Ridge,
    space::{Array, Column, Options, Permutations, Tch},
    tch,
    term::Term,
};

/// Whether `tch` is compiled in, that is, whether the set-up was done before the build.
pub const BUILT: bool = cfg!(maflow_tch);

/// Makes libtorch ready for `device`; this program was built without it.
///
/// # Errors
/// Always [`Error::NotSetUp`].
#[cfg(not(maflow_tch))]
pub fn load(device: Device) -> Result<(), Error> {
    Err(Error::NotSetUp { cuda: device == Device::Cuda })
}
