//! Files written whole or not at all: temporary file in the same folder, fsync, rename.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::CliError;

/// Replaces `path` by `bytes`; whatever happens, `path` holds either the old content or the new.
///
/// # Errors
/// When the folder cannot be written to or the disk is full; the old content is untouched.
pub fn whole_file(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let attempt = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(folder)?;
        file.write_all(bytes)?;
        readable_by_all(file.as_file())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder(folder)
    };
    attempt().map_err(|error| CliError::file("write", path, error))
}

/// Temporary files are private; the files of a run are as readable as any other.
#[cfg(unix)]
fn readable_by_all(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_: &File) -> std::io::Result<()> {
    Ok(())
}

/// Makes the rename itself durable.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        whole_file(&path, b"one").unwrap();
        whole_file(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("kept"), b"kept").unwrap();
        let error = whole_file(&path, b"new").unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert_eq!(std::fs::read(path.join("kept")).unwrap(), b"kept");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
