//! The one error of the program: a clear sentence with its remedy, and the exit code that belongs to it.

use std::io;
use std::path::PathBuf;

use datasets::lattice::LatticeError;

use crate::config::ConfigError;

/// What ends a command before its work is done.
///
/// Its `Display` is the sentence the user reads; [`CliError::exit_code`] is what the shell gets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The words typed contradict each other or what is on the disk. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A recipe or a `--set` cannot be used. Exit code 2.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The work itself failed. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// A file could not be read or written. Exit code 1.
    #[error("cannot {action} {}: {source}; {remedy}", path.display())]
    File {
        /// What was tried: "read", "write", "create", ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
        /// What the user can do.
        remedy: &'static str,
    },
    /// The user interrupted and the state was saved; says how to go on. Exit code 130.
    #[error("{0}")]
    Interrupted(String),
    /// Whoever read our output has gone (`maflow recipes | head -1`): end quietly. Exit code 0.
    #[error("the reader of the output has gone")]
    BrokenPipe,
}

impl CliError {
    /// The exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Failed(_) | Self::File { .. } => 1,
            Self::Interrupted(_) => 130,
            Self::BrokenPipe => 0,
        }
    }

    /// An error of the file system with the usual remedy for `action`.
    pub fn file(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "choose a place you may write to or change its rights",
            io::ErrorKind::StorageFull => "free some space and try again",
            _ => "check the path and the disk",
        };
        Self::File { action, path: path.into(), source, remedy }
    }

    /// The user interrupted work that has nothing to save.
    pub fn interrupted() -> Self {
        Self::Interrupted("interrupted".to_owned())
    }

    /// An error of writing to standard output.
    pub fn stdout(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::file("write to", "standard output", source),
        }
    }
}

impl From<flow_core::Error> for CliError {
    fn from(error: flow_core::Error) -> Self {
        match error {
            flow_core::Error::Store(error) => match error.downcast::<maflow::Error>() {
                Ok(error) => (*error).into(),
                Err(error) => Self::Failed(error.to_string()),
            },
            flow_core::Error::Setting { name, value, expected } => Self::Failed(format!(
                "{} is {value}, but must be {expected}; change it in the configuration",
                key_of(name)
            )),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// The key of a recipe that sets a parameter of the library; the parameter's own name where no key does.
fn key_of(parameter: &'static str) -> &'static str {
    match parameter {
        "learning_rate" => "train.learning_rate",
        "batch" => "train.batch",
        "blocks" => "train.blocks",
        "clip_norm" => "train.clip_norm",
        "average" => "train.average",
        "betas[0]" | "betas[1]" => "train.betas",
        "weight_decay" => "train.weight_decay",
        "max_level" => "train.max_flow_steps",
        "watch_tolerance" => "train.watch_tolerance",
        "checkpoint_every" => "train.checkpoint_every",
        "keep" => "train.keep",
        "steps" => "flow.steps",
        "method" => "evaluate.method",
        "absolute tolerance" => "evaluate.atol",
        "relative tolerance" => "evaluate.rtol",
        "duration" => "flow.time",
        "sites" => "target.size",
        "hidden" => "potential.hidden",
        "kernels" => "potential.kernels",
        "channels" => "potential.channels",
        "time_terms" => "potential.time_terms",
        "centres" => "potential.centres",
        "interval" => "potential.interval",
        "sharpness" => "potential.sharpness",
        "symmetry group" => "potential.symmetry.group",
        own => own,
    }
}

impl From<maflow::Error> for CliError {
    fn from(error: maflow::Error) -> Self {
        match error {
            maflow::Error::Io { action, path, source } => Self::file(action, path, source),
            maflow::Error::Core(error) => error.into(),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<backend_tch::Error> for CliError {
    fn from(error: backend_tch::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<datasets::mnist::MnistError> for CliError {
    fn from(error: datasets::mnist::MnistError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<LatticeError> for CliError {
    fn from(error: LatticeError) -> Self {
        match error {
            // Only the user stops the samplers.
            LatticeError::Stopped { .. } => Self::interrupted(),
            error => Self::Usage(format!("{error}; change [target]")),
        }
    }
}

/// What the library is told when our own part of a training fails.
impl From<CliError> for flow_core::Error {
    fn from(error: CliError) -> Self {
        Self::Callback(error.to_string())
    }
}
