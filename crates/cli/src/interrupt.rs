//! Ctrl-C: the first asks the training to stop at a checkpoint, the second ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::CliError;
use crate::output;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts listening. Call once, before work that can save its state.
///
/// # Errors
/// When the operating system refuses the handler.
pub fn listen() -> Result<(), CliError> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        output::note("stopping; Ctrl-C again stops at once, with nothing saved");
    })
    .map_err(|error| CliError::Failed(format!("cannot listen for Ctrl-C: {error}; try again")))
}

/// Whether the user has asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
