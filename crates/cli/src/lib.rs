//! The `maflow` program as a library, so that its parts can be tested: words typed -> plan -> run.

pub mod args;
pub mod commands;
pub mod error;
pub mod exhaustion;
pub mod interrupt;
pub mod library;
pub mod memory;
pub mod output;
pub mod page;
pub mod physics_report;
pub mod pictures;
pub mod plan;
pub mod plots;
pub mod progress;
pub mod report;
pub mod terminal;

use std::ffi::OsString;

use clap::Parser;

use crate::error::CliError;

/// Runs the program with the words of a command line, its own name first, and returns its exit code: 0 done, 1 failed,
/// 2 wrong use, 130 interrupted. Results go to standard output, everything else to standard error.
///
/// ```
/// assert_eq!(cli::run(["maflow", "recipes"]), 0);
/// assert_eq!(cli::run(["maflow", "evaluate", "no-such-run"]), 2);
/// ```
pub fn run(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> u8 {
    let cli = match args::Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(told) => {
            // Help, version and wrong words. Whoever reads them no longer is told nothing.
            let _ = told.print();
            return if told.use_stderr() { 2 } else { 0 };
        }
    };
    match exhaustion::caught(|| plan::resolve(cli).and_then(commands::execute)) {
        Ok(()) | Err(CliError::BrokenPipe) => 0,
        Err(error) => {
            output::note(&format!("maflow: {error}"));
            error.exit_code()
        }
    }
}
