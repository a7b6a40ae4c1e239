//! The `maflow` program as a library, so that its parts can be tested: words typed -> plan -> run.

pub mod args;
pub mod commands;
pub mod error;
pub mod exhaustion;
pub mod interrupt;
pub mod memory;
pub mod output;
pub mod physics_report;
pub mod pictures;
pub mod plan;
pub mod plots;
pub mod progress;
pub mod report;
pub mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::error::CliError;

/// Runs the program with the words of the command line.
pub fn main() -> ExitCode {
    // Help, version and wrong words end here, with clap's messages and exit codes 0 and 2.
    let cli = args::Cli::parse();
    match exhaustion::caught(|| plan::resolve(cli).and_then(commands::execute)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::BrokenPipe) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("maflow: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
