//! A [`Team`](flow_core::Team) of processes over MPI.
//!
//! Nothing is linked: a small C file (`shim/maflow_mpi.c`), compiled by `scripts/setup-mpi.sh` with a machine's own
//! mpicc, is loaded while the program runs. So one program works with every MPI, and without any.
//!
//! ```
//! use flow_core::Team;
//!
//! // Started alone, a process is no part of a team.
//! if let Some(launch) = mpi::Launch::of_environment() {
//!     let world = mpi::World::start(&launch)?;
//!     println!("{} of {} by {}", world.rank(), world.size(), world.name());
//!     world.meet(None)?;
//!     world.finish()?;
//! }
//! # Ok::<(), mpi::Error>(())
//! ```

mod cores;
mod error;
mod launch;
mod shim;
mod world;

pub use error::{Error, SET_UP};
pub use launch::Launch;
pub use world::World;

/// The name of the MPI that processes would be joined by, without starting it.
///
/// # Errors
/// [`Error::NotSetUp`], [`Error::CannotLoad`].
pub fn name() -> Result<String, Error> {
    Ok(shim::Shim::load()?.name())
}
