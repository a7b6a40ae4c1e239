//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// How the names of temporary files begin; a process that was killed may leave one.
pub const PARTIAL: &str = ".partial-";

/// Writes a file whole or not at all: a temporary file in the same folder, fsync, rename, fsync of the folder.
///
/// # Errors
/// When the file system refuses; what was there before is then untouched.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}

/// A file under way that takes its place when it is finished; dropped before that, it leaves everything as it was.
///
/// Where the path is a link, what it leads to is replaced and the link stays. A pipe or a device is written to at once:
/// nothing can take its place.
#[derive(Debug)]
pub struct WholeFile {
    file: Unfinished,
    path: PathBuf,
}

#[derive(Debug)]
enum Unfinished {
    /// In the file system of what it will replace, where nothing stays of it if the process is killed.
    Nameless(File),
    /// In the folder of what it will replace.
    Temporary(NamedTempFile),
    /// A pipe or a device.
    Stream(File),
}

impl WholeFile {
    /// Begins a file for this path: one without a name where the system has such, else a temporary one in the same
    /// folder.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn create(path: &Path) -> io::Result<Self> {
        let path = &followed(path);
        if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            let file = File::options().write(true).open(path)?;
            return Ok(Self { file: Unfinished::Stream(file), path: path.clone() });
        }
        let file = match nameless::file(folder_of(path)) {
            Some(file) => Unfinished::Nameless(file),
            None => Unfinished::Temporary(partial(0o644).tempfile_in(folder_of(path))?),
        };
        Ok(Self { file, path: path.clone() })
    }

    /// Where it will be: the path that it was begun for, or what that leads to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place: fsync, rename, fsync of the folder.
    ///
    /// # Errors
    /// When the file system refuses; what was there before is then untouched.
    pub fn finish(self) -> io::Result<()> {
        let Self { file, path } = self;
        match file {
            Unfinished::Nameless(file) => {
                file.sync_all()?;
                match nameless::link(&file, &path) {
                    // The name of another file cannot be given to it, but one that then takes that place.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        let named = partial(0o644).make_in(folder_of(&path), |name| nameless::link(&file, name))?;
                        named.persist(&path)?;
                    }
                    linked => linked?,
                }
            }
            Unfinished::Temporary(file) => {
                file.as_file().sync_all()?;
                file.persist(&path)?;
            }
            Unfinished::Stream(_) => return Ok(()),
        }
        sync_folder(folder_of(&path))
    }
}

impl Deref for WholeFile {
    type Target = File;

    fn deref(&self) -> &File {
        match &self.file {
            Unfinished::Temporary(file) => file.as_file(),
            Unfinished::Nameless(file) | Unfinished::Stream(file) => file,
        }
    }
}

impl DerefMut for WholeFile {
    fn deref_mut(&mut self) -> &mut File {
        match &mut self.file {
            Unfinished::Temporary(file) => file.as_file_mut(),
            Unfinished::Nameless(file) | Unfinished::Stream(file) => file,
        }
    }
}

/// Files without a name, which Linux has on most file systems.
#[cfg(target_os = "linux")]
mod nameless {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};

    /// By which a file without a name is found again.
    const OPEN_FILES: &str = "/proc/self/fd";

    /// A file in the file system of a folder.
    pub fn file(folder: &Path) -> Option<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = open(folder, flags, Mode::from_raw_mode(0o644)).ok()?;
        Path::new(OPEN_FILES).exists().then(|| File::from(file))
    }

    /// Gives it a name that no file has.
    pub fn link(file: &File, name: &Path) -> io::Result<()> {
        let source = format!("{OPEN_FILES}/{}", file.as_raw_fd());
        Ok(linkat(CWD, source, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
    }
}

/// There are none elsewhere.
#[cfg(not(target_os = "linux"))]
mod nameless {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub fn file(_folder: &Path) -> Option<File> {
        None
    }

    pub fn link(_file: &File, _name: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Where a link leads to, though nothing is there yet; every other path as it is.
fn followed(path: &Path) -> PathBuf {
    let Ok(target) = fs::read_link(path) else { return path.to_owned() };
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => folder_of(path).join(target),
        Err(_) => path.to_owned(),
        Ok(found) => found,
    }
}

/// Makes temporary files or folders with these permissions: they are private by default, and a result is as open as any
/// other.
pub fn partial(_mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PARTIAL);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(_mode));
    builder
}

/// The folder that a path is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
    fn what_is_not_finished_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_whole(&path, b"old").unwrap();
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"ne").unwrap();
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_under_way_has_no_name_where_there_are_such_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        for (content, before) in [(b"one", 0), (b"two", 1)] {
            let mut file = WholeFile::create(&path).unwrap();
            file.write_all(content).unwrap();
            let temporary = usize::from(nameless::file(folder.path()).is_none());
            assert_eq!(names(), before + temporary);
            file.finish().unwrap();
            assert_eq!((std::fs::read(&path).unwrap(), names()), (content.to_vec(), 1));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let other = folder.path().join("b.txt");
            fs::write(&other, "").unwrap();
            let readers = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o444;
            assert_eq!(readers(&path), readers(&other));
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_what_they_lead_to_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link] = ["a.txt", "link"].map(|name| folder.path().join(name));
        std::os::unix::fs::symlink("a.txt", &link).unwrap();
        for content in [b"new", b"old"] {
            write_whole(&link, content).unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_written_to() {
        use std::os::unix::fs::FileTypeExt;
        let null = Path::new("/dev/null");
        write_whole(null, b"gone").unwrap();
        assert!(fs::metadata(null).unwrap().file_type().is_char_device());
    }
}
