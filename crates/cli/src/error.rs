//! The one error of the program: a clear sentence with its remedy, and the exit code that belongs to it.

use std::io;
use std::path::{Path, PathBuf};

use maflow::recipe::RecipeError;

/// What makes libtorch usable.
#[cfg(feature = "libtorch")]
fn libtorch() -> &'static str {
    backend_tch::set_up::command(false)
}
#[cfg(not(feature = "libtorch"))]
fn libtorch() -> &'static str {
    "a build with the feature `libtorch`"
}

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
    Recipe(#[from] RecipeError),
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
    /// Another of several processes failed, and says why. Exit code 1.
    #[error("another process failed, and says why")]
    Elsewhere,
    /// The reader of the output has gone (`maflow recipes | head -1`): the program ends quietly. Exit code 0.
    #[error("the reader of the output has gone")]
    BrokenPipe,
}

impl CliError {
    /// The exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Recipe(_) => 2,
            Self::Failed(_) | Self::File { .. } | Self::Elsewhere => 1,
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

/// The key of a recipe that sets a parameter of the library; the parameter's own name where no key does.
fn key_of(parameter: &'static str) -> &'static str {
    match parameter {
        "learning_rate" => "train.learning_rate",
        "batch" => "train.batch",
        "blocks" => "train.blocks",
        "clip_norm" => "train.clip_norm",
        "clip_force" => "train.clip_force",
        "average" => "train.average",
        "patience" => "train.patience",
        "betas[0]" | "betas[1]" => "train.betas",
        "weight_decay" => "train.weight_decay",
        "max_level" => "train.max_flow_steps",
        "watch_tolerance" => "train.watch_tolerance",
        "checkpoint_every" => "train.checkpoint_every",
        "keep" => "train.keep",
        "steps" => "flow.steps",
        "method" => "evaluate.method",
        "coupling" => "flow.coupling",
        "blur" => "train.blur",
        "projections" => "train.projections",
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

/// The library's error with the remedy in the words of the command line.
impl From<maflow::Error> for CliError {
    #[allow(clippy::too_many_lines, reason = "a table: one sentence for each error")]
    fn from(error: maflow::Error) -> Self {
        use maflow::Error as E;
        match error {
            E::Io { action, path, source } => Self::file(action, path, source),
            E::Recipe(error) => error.into(),
            E::Cancelled => Self::interrupted(),
            E::Core(flow_core::Error::OtherMember) => Self::Elsewhere,
            E::Core(error @ flow_core::Error::NeedsFlow { .. }) => Self::Usage(error.to_string()),
            E::FewBlocks { .. } => Self::Usage(error.to_string()),
            E::Core(flow_core::Error::Setting { name, value, expected }) => {
                Self::Failed(format!("{} is {value}, but must be {expected}; change it in the recipe", key_of(name)))
            }
            E::RunExists(run) => Self::Usage(format!(
                "{0} already holds a run; go on with it by `maflow train --resume --out {0}`, or choose another --out",
                run.display()
            )),
            E::NotEmpty(folder) => {
                Self::Usage(format!("{} is not empty and holds no run; choose another --out", folder.display()))
            }
            E::NoRun(folder) => Self::Usage(format!(
                "{} is not a run directory: it has no config.toml; `maflow train` makes one",
                folder.display()
            )),
            E::NoRunOf { name, folder } => Self::Usage(format!(
                "there is no run of {name} in {}; name the run directory with --out, or start one without --resume",
                folder.display()
            )),
            E::Busy(run) => Self::Failed(format!(
                "another process is training in {}; wait for it, or choose another --out",
                run.display()
            )),
            E::NoCheckpoint(run) => Self::Failed(format!(
                "{0} has no checkpoint yet; train it: maflow train --resume --out {0}",
                run.display()
            )),
            E::OnlyBest(run) => Self::Failed(format!(
                "{0} has only its best checkpoint, which no training can be resumed from; to start a new run from \
                 its weights type: maflow train --from {0}",
                run.display()
            )),
            E::TakenBack { .. } => Self::Usage(format!("{error}, so leave that out")),
            E::OtherData { run, data } => Self::Usage(other_data(&run, data.as_deref())),
            E::Changed { run, key } => Self::Usage(format!(
                "a resumed run keeps its `{key}`, and {} was made with another; leave that change out or start a new \
                 run without --resume",
                run.display()
            )),
            E::TooManyRows { found, most } => {
                Self::Usage(format!("the test set has {most} rows, not {found}; ask for at most {most} --samples"))
            }
            E::NeedsLibtorch { what, name } => Self::Usage(format!(
                "the {what} \"{name}\" is one of libtorch, and the backend ndarray lacks it; give --backend tch-cpu \
                 (or tch-cuda), after {} where that was not done",
                libtorch()
            )),
            E::NeedsF64(found) => Self::Failed(format!("{found}; give --precision f64")),
            E::NoEnergy(target) => Self::Usage(format!(
                "physics is for targets with an energy, and this run's target is {target}, known by samples; `maflow \
                 evaluate` prints its figures"
            )),
            E::NotLoaded { library, sha256 } => Self::Usage(format!(
                "the energy is in the library {0} (SHA-256 {1}), whose code is not run because a run names it; if you \
                 trust it, give --library {0}",
                library.display(),
                sha256.as_deref().unwrap_or("unknown")
            )),
            error @ E::OtherLibrary { .. } => Self::Usage(error.to_string()),
            E::EstimatedLaplacian { term } => Self::Usage(format!(
                "importance weights need the exact Laplacian, and potential.terms.{term} estimates it; give \
                 --set potential.terms.{term}.probes=0"
            )),
            E::Table(error) => Self::Failed(in_flags(&error.to_string())),
            E::Columns(error) => Self::Failed(in_flags(&error.to_string())),
            E::Context(error) => Self::Failed(error.to_string()),
            E::Lattice(error) => Self::Usage(format!("{error}; change [target]")),
            error @ E::Argument(_) => Self::Usage(in_flags(&error.to_string())),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// A sentence of the library's with the names of parameters as flags of the command line.
pub fn in_flags(sentence: &str) -> String {
    [
        "columns",
        "given",
        "weights",
        "regression",
        "transform",
        "drop_missing",
        "delimiter",
        "decimal",
        "header",
        "array",
    ]
    .iter()
    .fold(sentence.to_owned(), |text, name| {
        text.replace(&format!("`{name}`"), &format!("--{}", name.replace('_', "-")))
    })
}

fn other_data(run: &Path, data: Option<&Path>) -> String {
    let (place, again) = match data.map(Path::display) {
        Some(folder) => (format!("in {folder}"), format!(" --data {folder}")),
        None => ("of the cache folder".to_owned(), String::new()),
    };
    let run = run.display();
    format!(
        "the pictures {place} are not those that {run} was begun with; give the folder of those with --data, \
         or begin a new run from its weights: maflow train --from {run}{again}"
    )
}
