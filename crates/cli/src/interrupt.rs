//! Ctrl-C: the first asks the training to stop at a checkpoint, the second ends the program at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::CliError;
use crate::output;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts listening, before work that can save its state. An earlier wish to stop is forgotten.
///
/// # Errors
/// When the operating system refuses the handler.
pub fn listen() -> Result<(), CliError> {
    REQUESTED.store(false, Ordering::SeqCst);
    static LISTENING: OnceLock<Result<(), String>> = OnceLock::new();
    let listening = LISTENING.get_or_init(|| ctrlc::set_handler(heard).map_err(|error| error.to_string()));
    listening.clone().map_err(|error| CliError::Failed(format!("cannot listen for Ctrl-C: {error}; try again")))
}

fn heard() {
    if REQUESTED.swap(true, Ordering::SeqCst) {
        std::process::exit(130);
    }
    output::note("stopping; Ctrl-C again stops at once, with nothing saved");
}

/// Whether the user has asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
