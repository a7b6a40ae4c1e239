//! The place of this process among those that mpirun or srun has started with it.

use std::num::NonZeroUsize;

use mpi::World;

/// This process as one of several.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// All of them.
    pub world: &'a World,
    /// Threads for work that all do at a time, where the user names no number: this process' share of the cores.
    pub threads: Option<NonZeroUsize>,
}
