//! Files written whole or not at all, with the program's own error.

use std::fs::File;
use std::path::Path;

use maflow::files::{write_whole, write_whole_with};

use crate::error::CliError;

/// Replaces `path` by `bytes`; whatever happens, `path` holds either the old content or the new.
///
/// # Errors
/// When the folder cannot be written to or the disk is full; the old content is untouched.
pub fn whole_file(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    Ok(write_whole(path, bytes)?)
}

/// Replaces `path` by what `fill` writes; whatever happens, `path` holds either the old content or the new.
///
/// # Errors
/// As [`whole_file`], and those of `fill`.
pub fn whole_file_with(path: &Path, fill: impl FnOnce(&mut File) -> Result<(), CliError>) -> Result<(), CliError> {
    let mut failed = None;
    let written = write_whole_with(path, |file| {
        fill(file).map_err(|error| {
            failed = Some(error);
            std::io::Error::other("interrupted")
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(written?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_what_was_there_and_keeps_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        whole_file(&path, b"old").unwrap();
        let error = whole_file_with(&path, |_| Err(CliError::Failed("no numbers".to_owned()))).unwrap_err();
        assert_eq!(error.to_string(), "no numbers");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let error = whole_file(&dir.path().join("no/folder"), b"new").unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains("check the path"), "{error}");
    }
}
