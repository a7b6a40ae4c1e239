//! Standard output, for results only; a reader that goes away ends the program quietly.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::CliError;

static MUTED: AtomicBool = AtomicBool::new(false);

/// Prints nothing from now on but what is said by [`say`]: of several processes the first speaks for all.
pub fn mute(muted: bool) {
    MUTED.store(muted, Ordering::SeqCst);
}

/// Prints `text` and a line break.
///
/// # Errors
/// [`CliError::BrokenPipe`] when the reader has gone.
pub fn line(text: &str) -> Result<(), CliError> {
    if MUTED.load(Ordering::SeqCst) {
        return Ok(());
    }
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(CliError::stdout)
}

/// Prints a note to standard error. There is nowhere left to report that it cannot be written.
pub fn note(text: &str) {
    if !MUTED.load(Ordering::SeqCst) {
        say(text);
    }
}

/// Names in a sentence: the first few, and how many more.
pub fn listed<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Prints to standard error what has to be known, whichever of several processes says it.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
