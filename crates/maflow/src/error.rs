//! What can go wrong with recipes, data, runs and their figures.

use std::io;
use std::path::PathBuf;

use datasets::lattice::LatticeError;
use datasets::mnist::MnistError;
use datasets::particles::ClusterError;
use datasets::sets::SetsError;

use crate::memory::TooLittle;
use crate::recipe::{Backend, RecipeError};

/// Errors of this crate. Their sentences name parameters and files, never words of a command line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder that could not be written, read, made or locked.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason the system gives.
        source: io::Error,
    },
    /// A file of tensors that cannot be used.
    #[error("{path} cannot be used ({reason})")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A recipe, or a change to one, that means nothing.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Arguments that contradict each other, or what is on the disk; a sentence with the remedy.
    #[error("{0}")]
    Argument(String),
    /// Work that failed for a reason of its own; a sentence with the remedy.
    #[error("{0}")]
    Failed(String),
    /// A training that needs more memory than there is.
    #[error(transparent)]
    Memory(#[from] TooLittle),
    /// The monitor asked for an end. What there was to save is saved.
    #[error("cancelled")]
    Cancelled,
    /// A folder that holds a run already.
    #[error("{0} already holds a run; resume it, or choose another folder")]
    RunExists(PathBuf),
    /// A folder for a new run that has other content.
    #[error("{0} is not empty and holds no run; choose another folder")]
    NotEmpty(PathBuf),
    /// A folder that holds no run.
    #[error("{0} is not a run directory: it has no config.toml")]
    NoRun(PathBuf),
    /// A folder without a run of that name.
    #[error("there is no run of {name} in {folder}")]
    NoRunOf {
        /// The name of the recipe.
        name: String,
        /// Where runs are.
        folder: PathBuf,
    },
    /// Another process trains in the run.
    #[error("another process is training in {0}; wait for it, or choose another folder")]
    Busy(PathBuf),
    /// A run without a checkpoint.
    #[error("{0} has no checkpoint yet; train it")]
    NoCheckpoint(PathBuf),
    /// A run with no checkpoint but its best, which has no optimiser's state to go on from.
    #[error(
        "{0} has only its best checkpoint, which no training can be resumed from; begin a new run from its weights"
    )]
    OnlyBest(PathBuf),
    /// More processes than parts of a batch that they could share.
    #[error(
        "{key} makes {batch} rows in {blocks} blocks, too few for {members} processes; start at most {blocks}, or set \
         train.blocks = {members} (a new run's last bits depend on it), with as many rows at least"
    )]
    FewBlocks {
        /// The key of the batch.
        key: &'static str,
        /// Its rows.
        batch: usize,
        /// Blocks that it is cut into.
        blocks: usize,
        /// Members of the team.
        members: usize,
    },
    /// A run that has made more steps than are asked for.
    #[error("{run} has made {made} steps, more than the {total} that are asked for; a training is not taken back")]
    TakenBack {
        /// The run directory.
        run: PathBuf,
        /// Steps made.
        made: u64,
        /// Steps asked for.
        total: u64,
    },
    /// A run resumed with other data than it was begun with.
    #[error("the data are not those that {run} was begun with; give those, or begin a new run from its weights")]
    OtherData {
        /// The run directory.
        run: PathBuf,
        /// The folder that the data were read from; `None` for the cache folder.
        data: Option<PathBuf>,
    },
    /// A run resumed with a change that its checkpoints or its random numbers depend on.
    #[error(
        "a resumed run keeps its `{key}`, and {run} was made with another; leave that change out or begin a new run"
    )]
    Changed {
        /// The run directory.
        run: PathBuf,
        /// The key of the recipe.
        key: &'static str,
    },
    /// Figures on more rows than the test set has.
    #[error("the test set has {most} rows, not {found}; ask for at most {most}")]
    TooManyRows {
        /// Rows asked for.
        found: usize,
        /// Rows that there are.
        most: usize,
    },
    /// Numbers that only double precision can hold; says which.
    #[error("{0}; set train.precision = \"f64\"")]
    NeedsF64(String),
    /// A term of a potential, or a model, that a backend lacks.
    #[error("the {what} \"{name}\" is one of libtorch, and the backend ndarray lacks it; choose a backend of libtorch")]
    NeedsLibtorch {
        /// `term` or `model`.
        what: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// Physics of a target that has no energy.
    #[error("physics is for targets with an energy, and this target is {0}, known by samples")]
    NoEnergy(&'static str),
    /// A library that no energy can be loaded from.
    #[error("no energy can be loaded from {library}: {reason}")]
    Library {
        /// The file.
        library: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A library that is not the one of the run or recipe.
    #[error(
        "{library} has SHA-256 {found}, but the energy was that of a library with {expected}; give that library, or \
         begin a new run without target.sha256"
    )]
    OtherLibrary {
        /// The file.
        library: PathBuf,
        /// Its SHA-256.
        found: String,
        /// That of the run or recipe.
        expected: String,
    },
    /// An energy from a library that nobody has loaded: that a run names it is no reason to run its code.
    #[error(
        "the energy is in the library {library} (SHA-256 {}), whose code is not run because a run names it; if you \
         trust it, load it as a `LibraryEnergy` and hand that in",
        .sha256.as_deref().unwrap_or("unknown")
    )]
    NotLoaded {
        /// The file that the run names.
        library: PathBuf,
        /// Its SHA-256, where the run knows it.
        sha256: Option<String>,
    },
    /// An energy that is not finite where a training begins.
    #[error(
        "the energy is not finite at {bad} of the {points} points where the training begins, first {first}; correct \
         it, or choose target.scale so that the training begins where it is finite"
    )]
    EnergyNotFinite {
        /// Points with an energy or a gradient that is not finite.
        bad: usize,
        /// Points looked at.
        points: usize,
        /// The first of them, in words.
        first: String,
    },
    /// A gradient that is not that of its energy.
    #[error(
        "the gradient of the energy is wrong: at x = {point} its entry for x{coordinate} is {found:.6}, but \
         differences of the energy give {expected:.6} ± {uncertainty:.0e}; correct that entry (coordinates count from \
         x0)"
    )]
    WrongGradient {
        /// The coordinate, from 0.
        coordinate: usize,
        /// The point, in words.
        point: String,
        /// The gradient's entry.
        found: f64,
        /// By central differences.
        expected: f64,
        /// How much these change with the step.
        uncertainty: f64,
    },
    /// Importance weights of a potential whose Laplacian is estimated.
    #[error(
        "importance weights need the exact Laplacian, and potential.terms.{term} estimates it; set its probes to 0"
    )]
    EstimatedLaplacian {
        /// The term's place in the sum.
        term: usize,
    },
    /// A table that cannot be read or written.
    #[error(transparent)]
    Table(#[from] datasets::table::TableError),
    /// Rows without the context that a conditional density needs.
    #[error(transparent)]
    Context(#[from] datasets::table::ContextError),
    /// Columns that no density can be fitted to.
    #[error(transparent)]
    Columns(#[from] datasets::columns::ColumnError),
    /// A lattice or its sampler.
    #[error(transparent)]
    Lattice(LatticeError),
    /// A cluster of particles or its sampler.
    #[error(transparent)]
    Cluster(ClusterError),
    /// Sets of vectors that there are not.
    #[error(transparent)]
    Sets(#[from] SetsError),
    /// The files of MNIST.
    #[error("{0}{remedy}", remedy = own_pictures(.0))]
    Mnist(#[from] MnistError),
    /// libtorch.
    #[cfg(feature = "libtorch")]
    #[error(transparent)]
    Libtorch(#[from] backend_tch::Error),
    /// A backend of libtorch in a build that leaves it out.
    #[error(
        "the backend {} needs libtorch, which this build leaves out; build with the feature `libtorch`, or use ndarray",
        .0.name()
    )]
    WithoutLibtorch(Backend),
    /// An error of the core.
    #[error(transparent)]
    Core(flow_core::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// The remedy where files are good, but not those that were published.
fn own_pictures(error: &MnistError) -> &'static str {
    match error {
        MnistError::Count { .. } | MnistError::Hash { .. } => {
            "; for pictures of your own in files of these names give target.content=any"
        }
        _ => "",
    }
}

/// An error of this crate that went through the core comes back as it was.
impl From<flow_core::Error> for Error {
    fn from(error: flow_core::Error) -> Self {
        match error {
            flow_core::Error::Store(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::Core(flow_core::Error::Store(other)),
            },
            error => Self::Core(error),
        }
    }
}

/// What a training is told when its store, its batches or its observer fail.
impl From<Error> for flow_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Core(error) => error,
            error => Self::Store(Box::new(error)),
        }
    }
}

impl From<LatticeError> for Error {
    fn from(error: LatticeError) -> Self {
        match error {
            // Only a monitor stops the samplers.
            LatticeError::Stopped { .. } => Self::Cancelled,
            error => Self::Lattice(error),
        }
    }
}

impl From<ClusterError> for Error {
    fn from(error: ClusterError) -> Self {
        match error {
            // Only a monitor stops the sampler.
            ClusterError::Stopped { .. } => Self::Cancelled,
            error => Self::Cluster(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_back_through_the_core_as_it_was() {
        let there = flow_core::Error::from(Error::Cancelled);
        assert!(matches!(Error::from(there), Error::Cancelled));
        let core = Error::from(flow_core::Error::setting("keep", 0, "at least 1"));
        assert!(matches!(flow_core::Error::from(core), flow_core::Error::Setting { name: "keep", .. }));
    }
}
