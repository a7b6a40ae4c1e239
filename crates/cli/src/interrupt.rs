//! Ctrl-C: the first asks the training to stop at a checkpoint, the second ends the program at once. So do a request to
//! end and a hang-up, unless whoever started the program has it ignore them, as `nohup` does.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::CliError;
use crate::output;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts listening, before work that can save its state. An earlier request to stop is forgotten.
///
/// # Errors
/// When the operating system refuses the handler.
pub fn listen() -> Result<(), CliError> {
    REQUESTED.store(false, Ordering::SeqCst);
    static LISTENING: OnceLock<Result<(), String>> = OnceLock::new();
    let listening = LISTENING.get_or_init(|| {
        let ignored = ignored::signals();
        let listening = ctrlc::set_handler(heard).map_err(|error| error.to_string());
        ignored::ignore(&ignored);
        listening
    });
    listening.clone().map_err(|error| CliError::Failed(format!("cannot listen for Ctrl-C: {error}; try again")))
}

fn heard() {
    if REQUESTED.swap(true, Ordering::SeqCst) {
        std::process::exit(130);
    }
    output::note("stopping; Ctrl-C again stops at once, with nothing saved");
}

/// Has a write beyond the limit of a file's size (`ulimit -f`) fail with an error, which is told and leaves files
/// whole, instead of ending the process by a signal.
pub fn refuse_files_beyond_limits() {
    #[cfg(unix)]
    ignored::ignore(&[libc::SIGXFSZ]);
}

/// Whether the user has asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Signals that this process was started to ignore, of those that are listened for.
#[cfg(unix)]
mod ignored {
    use std::ffi::c_int;
    use std::{mem, ptr};

    pub fn signals() -> Vec<c_int> {
        let ignored = |signal: &c_int| {
            // SAFETY: all zeros are a value of it, and without a new action the call writes the present one there.
            let action = unsafe {
                let mut action: libc::sigaction = mem::zeroed();
                (libc::sigaction(*signal, ptr::null(), &mut action) == 0).then_some(action)
            };
            action.is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
        };
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().filter(ignored).collect()
    }

    pub fn ignore(signals: &[c_int]) {
        // SAFETY: to ignore a signal runs no code.
        signals.iter().for_each(|signal| unsafe {
            libc::signal(*signal, libc::SIG_IGN);
        });
    }
}

/// There is no such inheritance elsewhere.
#[cfg(not(unix))]
mod ignored {
    pub fn signals() {}

    pub fn ignore((): &()) {}
}
