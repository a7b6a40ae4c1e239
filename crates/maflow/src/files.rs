//! Files that are written whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use datasets::table::{Format, Table};
use tempfile::NamedTempFile;

use crate::error::Error;

/// How the names of temporary files begin; a process that was killed may leave one.
pub const PARTIAL: &str = ".partial-";

/// Writes a file whole or not at all: a temporary file in the same folder, fsync, rename, fsync of the folder.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.txt");
/// maflow::files::write_whole(&path, b"all of it")?;
/// assert_eq!(std::fs::read(&path)?, b"all of it");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Io`] when the file system refuses; what was there before is then untouched.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_whole_with(path, |file| file.write_all(bytes))
}

/// As [`write_whole`], with content that `fill` writes piece by piece.
///
/// # Errors
/// [`Error::Io`] when the file system refuses or `fill` fails; what was there before is then untouched.
pub fn write_whole_with(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Error> {
    let mut file = WholeFile::create(path)?;
    fill(&mut file).map_err(Error::io("write", path))?;
    file.finish()
}

/// Writes a table whole or not at all.
///
/// # Errors
/// As [`write_whole_with`], with those of [`Table::write`] as its source.
pub fn write_table(path: &Path, table: &Table, format: Format) -> Result<(), Error> {
    write_whole_with(path, |file| table.write(format, BufWriter::new(file)).map_err(io::Error::other))
}

/// A file under way that takes its place when it is finished; dropped before that, it leaves everything as it was.
#[derive(Debug)]
pub struct WholeFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl WholeFile {
    /// Begins a file for this path: a temporary one in the same folder.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PARTIAL);
        // A temporary file is private by default; a result is as readable as any other file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
        let file = builder.tempfile_in(folder(path)).map_err(Error::io("write", path))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Puts it in its place: fsync, rename, fsync of the folder.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses; what was there before is then untouched.
    pub fn finish(self) -> Result<(), Error> {
        let Self { file, path } = self;
        let placed = || {
            file.as_file().sync_all()?;
            file.persist(&path)?;
            sync_folder(folder(&path))
        };
        placed().map_err(Error::io("write", &path))
    }
}

impl Deref for WholeFile {
    type Target = File;

    fn deref(&self) -> &File {
        self.file.as_file()
    }
}

impl DerefMut for WholeFile {
    fn deref_mut(&mut self) -> &mut File {
        self.file.as_file_mut()
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the renaming last through a loss of power.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Only Unix lets a folder be opened; elsewhere the file is written, and the system decides when its name is.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_whole(&path, b"old").unwrap();
        let failed = write_whole_with(&path, |file| {
            file.write_all(b"ne")?;
            Err(io::Error::other("no more"))
        });
        assert!(failed.unwrap_err().to_string().contains("no more"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
