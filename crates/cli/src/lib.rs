//! The `maflow` program as a library, so that its parts can be tested: words typed -> plan -> run.

pub mod args;
pub mod commands;
pub mod error;
pub mod exhaustion;
pub mod gpu;
pub mod interrupt;
pub mod library;
pub mod members;
pub mod memory;
#[cfg(feature = "libtorch")]
pub mod openmp;
pub mod output;
pub mod page;
pub mod physics_report;
pub mod pictures;
pub mod place;
pub mod plan;
pub mod plots;
pub mod progress;
pub mod report;
pub mod terminal;

use std::ffi::OsString;

use clap::Parser;

use crate::error::CliError;
use crate::members::Share;
use crate::place::Place;

/// Runs the program with the words of a command line, its own name first, and returns its exit code: 0 done, 1 failed,
/// 2 wrong use, 130 interrupted. Results go to standard output, everything else to standard error.
///
/// ```
/// assert_eq!(cli::run(["maflow", "recipes"]), 0);
/// assert_eq!(cli::run(["maflow", "evaluate", "no-such-run"]), 2);
/// ```
pub fn run(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> u8 {
    let launch = mpi::Launch::of_environment();
    let first = launch.is_none_or(|launch| launch.rank == 0);
    output::mute(!first);
    let cli = match args::Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(told) => {
            // Help, version and wrong usage. An error of printing is ignored: nobody reads any more.
            let _ = if first { told.print() } else { Ok(()) };
            return if told.use_stderr() { 2 } else { 0 };
        }
    };
    let done = match launch {
        None => alone(cli),
        Some(launch) => members::share(cli.command.as_ref(), &launch).and_then(|share| match share {
            Share::Together => members::run(cli, &launch),
            Share::First if first => alone(cli),
            Share::First => Ok(0),
        }),
    };
    match done {
        Ok(code) => code,
        Err(CliError::BrokenPipe) => 0,
        Err(error) => {
            output::note(&format!("maflow: {error}"));
            error.exit_code()
        }
    }
}

/// Does what was typed in this process alone.
fn alone(cli: args::Cli) -> Result<u8, CliError> {
    exhaustion::caught(|| plan::resolve(cli).and_then(|plan| commands::execute(plan, &Place::default()))).map(|()| 0)
}
