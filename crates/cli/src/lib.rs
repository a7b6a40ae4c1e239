//! The `maflow` program as a library, so that its parts can be tested: words typed -> plan -> run.

pub mod args;
pub mod commands;
pub mod config;
pub mod engine;
pub mod error;
pub mod exhaustion;
pub mod figures;
pub mod interrupt;
pub mod listener;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod output;
pub mod physics;
pub mod pictures;
pub mod plan;
pub mod plots;
pub mod problem;
pub mod progress;
pub mod recipes;
pub mod report;
pub mod run_dir;
pub mod sampling;
pub mod settings;
pub mod standard;
pub mod torch_names;
pub mod weights;
pub mod write;

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
