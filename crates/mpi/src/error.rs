//! What can keep processes from becoming a team, each with its remedy.

use std::path::PathBuf;

/// The command that compiles the shim, from the root of the project.
pub const SET_UP: &str = "scripts/setup-mpi.sh";

/// Errors of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The shim was not compiled.
    #[error(
        "there is no link to MPI in {}: run `{SET_UP}` with the mpicc of the MPI that starts the program",
        .path.display()
    )]
    NotSetUp {
        /// Where it should be.
        path: PathBuf,
    },
    /// The shim is there and cannot be used.
    #[error("the link to MPI in {} cannot be used ({reason}): run `{SET_UP}` again", .path.display())]
    CannotLoad {
        /// The file.
        path: PathBuf,
        /// The loader's own words, or what is wrong with the file.
        reason: String,
    },
    /// The processes were started by another MPI than that of the shim: each is alone there.
    #[error(
        "{launcher} started {started} processes, but {name} knows of {found}: run `{SET_UP}` with the mpicc of the MPI \
         that starts the program (on SLURM `srun --mpi=list` names those that srun can start)"
    )]
    OtherMpi {
        /// Who started the processes.
        launcher: &'static str,
        /// How many.
        started: usize,
        /// The MPI of the shim.
        name: String,
        /// How many it knows of.
        found: usize,
    },
    /// A call of MPI failed.
    #[error("MPI failed to {action}: {reason}")]
    Failed {
        /// What it was to do.
        action: &'static str,
        /// MPI's own words.
        reason: String,
    },
    /// More numbers than one call of MPI can count.
    #[error("{0} numbers are more than MPI exchanges at a time, 2147483647; take a smaller model or batch")]
    TooMany(usize),
    /// MPI was asked for by another thread than that which started it.
    #[error("MPI is for the thread that started it (a defect of this program)")]
    OtherThread,
}

/// What a training is told.
impl From<Error> for flow_core::Error {
    fn from(error: Error) -> Self {
        Self::Store(Box::new(error))
    }
}
