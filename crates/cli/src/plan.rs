//! From the words typed to what will be done: every default filled in, every contradiction found, nothing written yet.

mod flags;
mod runs;
#[cfg(test)]
mod tests;
mod train;

use std::path::PathBuf;

use clap_complete::Shell;
use datasets::table::{Format, ReadOptions};
use maflow::backend::Compute;
use maflow::fit::Fit;
use maflow::physics::SampleCounts;
use maflow::recipe::Recipe;
use maflow::run::{RowQuantity, Run};
use maflow::train::Train;
use maflow::transfer::Import;

use crate::args::{Cli, Command, TrainArgs};
use crate::error::CliError;

/// What will be done.
#[derive(Debug)]
pub enum Plan {
    /// Fit a density to a table.
    Fit(Box<FitPlan>),
    /// Train.
    Train(Box<Train>),
    /// Take the figures of a run.
    Evaluate(Box<Evaluate>),
    /// Say what the flow of a target with an energy says of that target.
    Physics(Box<Physics>),
    /// Find something of the rows of a file.
    Rows(Box<Rows>),
    /// Draw samples from a run.
    Sample(Box<Sample>),
    /// Draw the figures of a run.
    Plot(Box<Plot>),
    /// Write a run as one HTML file.
    Report(Box<ReportPlan>),
    /// Make a run from weights.
    Import(Box<Import>),
    /// Write the weights of a run.
    Export(Box<Export>),
    /// List the recipes, or print the named one.
    Recipes(Option<String>),
    /// Look at this machine, and print JSON or not.
    Doctor(bool),
    /// Print the completions of a shell.
    Completions(Shell),
    /// Write the manual pages into a folder.
    Manual(PathBuf),
}

/// An evaluation.
#[derive(Debug)]
pub struct Evaluate {
    /// The run, with every flag applied.
    pub run: Run,
    /// Whether to print JSON.
    pub json: bool,
}

/// A study of a target with an energy.
#[derive(Debug)]
pub struct Physics {
    /// The run, with every flag applied.
    pub run: Run,
    /// How much is drawn.
    pub counts: SampleCounts,
    /// Whether to print JSON.
    pub json: bool,
}

/// Sampling.
#[derive(Debug)]
pub struct Sample {
    /// The run, with every flag applied.
    pub run: Run,
    /// How many; with a file of contexts, of every row there.
    pub count: usize,
    /// The file with what the density is conditional on, where it is.
    pub given: Option<PathBuf>,
    /// The file.
    pub out: PathBuf,
    /// Its kind.
    pub format: SampleFormat,
}

/// A fit.
#[derive(Debug)]
pub struct FitPlan {
    /// What, and for how long.
    pub fit: Fit,
    /// Where; numbered when left out.
    pub out: Option<PathBuf>,
    /// Where the numbers are computed.
    pub compute: Compute,
}

/// What is found of the rows of a file.
#[derive(Debug)]
pub struct Rows {
    /// The run.
    pub run: Run,
    /// The file.
    pub file: PathBuf,
    /// The file with what the density is conditional on, where it is another.
    pub given: Option<PathBuf>,
    /// How it is read.
    pub read: ReadOptions,
    /// What is wanted.
    pub wanted: RowQuantity,
    /// Where to, and as what; csv on standard output when left out.
    pub out: Option<(PathBuf, Format)>,
}

/// What samples are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleFormat {
    /// NumPy's format, one row per sample.
    Npy,
    /// A table.
    Table(Format),
    /// A picture.
    Png,
}

/// Figures of a run.
#[derive(Debug)]
pub struct Plot {
    /// The run.
    pub run: Run,
}

/// A run as one HTML file.
#[derive(Debug)]
pub struct ReportPlan {
    /// The run.
    pub run: Run,
    /// The file.
    pub out: PathBuf,
}

/// An export.
#[derive(Debug)]
pub struct Export {
    /// The run directory.
    pub run: PathBuf,
    /// Its recipe.
    pub recipe: Recipe,
    /// The file to write.
    pub out: PathBuf,
}

/// Resolves the command line.
///
/// # Errors
/// Anything that makes the words typed impossible to follow.
pub fn resolve(cli: Cli) -> Result<Plan, CliError> {
    let global = &cli.global;
    match cli.command {
        None => train::train(TrainArgs::default(), global),
        Some(Command::Fit(args)) => train::fit(args, global),
        Some(Command::Train(args)) => train::train(args, global),
        Some(Command::Evaluate(args)) => runs::evaluate(args, global),
        Some(Command::Physics(args)) => runs::physics(args, global),
        Some(Command::Score(args)) => runs::score(args, global),
        Some(Command::Transform(args)) => runs::transform(args, global),
        Some(Command::Sample(args)) => runs::sample(args, global),
        Some(Command::Plot(args)) => runs::plot(args, global),
        Some(Command::Import(args)) => runs::import(args, global),
        Some(Command::Export(args)) => runs::export(args, global),
        Some(Command::Recipes(args)) => Ok(Plan::Recipes(args.name)),
        Some(Command::Report(args)) => runs::report(args, global),
        Some(Command::Doctor(args)) => Ok(Plan::Doctor(args.json)),
        Some(Command::Completions(args)) => Ok(Plan::Completions(args.shell)),
        Some(Command::Man(args)) => Ok(Plan::Manual(args.folder)),
    }
}
