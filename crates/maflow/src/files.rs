//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::{Deref, DerefMut};
use std::path::Path;

use datasets::table::{Format, Table};
use datasets::whole_file;
use sha2::{Digest, Sha256};

use crate::error::Error;

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

/// A [`whole_file::WholeFile`] whose errors name its path.
#[derive(Debug)]
pub struct WholeFile(whole_file::WholeFile);

impl WholeFile {
    /// Begins a file for this path.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses.
    pub fn create(path: &Path) -> Result<Self, Error> {
        whole_file::WholeFile::create(path).map(Self).map_err(Error::io("write", path))
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses; what was there before is then untouched.
    pub fn finish(self) -> Result<(), Error> {
        let path = self.0.path().to_owned();
        self.0.finish().map_err(Error::io("write", &path))
    }
}

impl Deref for WholeFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for WholeFile {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of a file, in hexadecimal digits, where it can be read.
pub(crate) fn sha256_of(path: &Path) -> Option<String> {
    Some(hex(&Sha256::digest(fs::read(path).ok()?)))
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
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
