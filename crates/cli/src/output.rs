//! Standard output, for results only; a reader that goes away ends the program quietly.

use std::io::Write;

use crate::error::CliError;

/// Prints `text` and a line break.
///
/// # Errors
/// [`CliError::BrokenPipe`] when the reader has gone.
pub fn line(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(CliError::stdout)
}

/// Prints a note to standard error. There is nowhere left to report that it cannot be written.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
