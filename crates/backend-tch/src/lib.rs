//! The libtorch backend: which libtorch there is, whether it can be used, and (once set up) loading it.
//!
//! libtorch is loaded while the program runs, not when it starts: a run that does not ask for it does not pay for it
//! (half a second and 110 MB), a libtorch that went away is an error with a remedy instead of a program that does
//! not start, and CUDA is only touched by a run on CUDA. [`load`] has to succeed before anything of `tch` is called.
//!
//! The build needs no libtorch. `scripts/setup-libtorch.sh` finds or fetches one, compiles its C interface, and writes
//! where both are into the user's cache, which the program reads when libtorch is asked for; before, [`load`] answers
//! with the command to run. A program that comes without that script does the same its own way, and names that
//! ([`set_up`]). There is a loader for Linux on x86-64 and arm64; elsewhere the crate is that answer alone.
//! A libtorch that is in the process already, as where Python has imported torch, is used or else refused.
//!
//! The environment is a program's own affair: see [`wait_policy`] for what one with this crate had better say there.
#![cfg_attr(loader, doc = concat!("\n```\n", include_str!("example.rs"), "```"))]

#[cfg(loader)]
mod activation;
#[cfg(loader)]
mod bijector;
mod command;
#[cfg(loader)]
mod context;
mod cuda;
mod device;
#[cfg(loader)]
mod engine;
mod error;
#[cfg(loader)]
mod factor;
mod findings;
#[cfg(loader)]
mod graph;
#[cfg(loader)]
mod kernels;
mod libtorch;
#[cfg(loader)]
mod loading;
#[cfg(not(loader))]
#[path = "loading/none.rs"]
mod loading;
#[cfg(loader)]
mod module;
mod openmp;
#[cfg(loader)]
mod ops;
#[cfg(loader)]
mod orbit;
#[cfg(loader)]
mod pointwise;
#[cfg(loader)]
mod ridge;
pub mod set_up;
#[cfg(loader)]
mod space;
#[cfg(loader)]
mod tensors;
#[cfg(loader)]
mod term;
mod versions;
#[cfg(loader)]
mod workers;

pub use cuda::{Driver, driver};
pub use device::Device;
pub use error::Error;
pub use findings::Findings;
pub use libtorch::{Libtorch, libtorch, libtorch_for};
pub use loading::load;
pub use openmp::wait_policy;
pub use versions::{CUDA_NEEDED, VERSION_NEEDED};
#[cfg(loader)]
pub use {
    bijector::Layers,
    flow_core::{Activation, BijectorSettings, LatticeRidgeSettings, NetworkSettings},
    module::{Laplacian, ModulePotential},
    ridge::Ridge,
    space::Permutations,
    tch,
    tensors::{Array, Column, Options, Tch},
    term::Term,
};
