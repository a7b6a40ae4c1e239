//! Which libtorch is there, where, and of what version.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::device::Device;
use crate::error::Error;
use crate::set_up::SetUp;
use crate::versions::VERSION_NEEDED;

/// A libtorch of the needed version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Libtorch {
    /// Its folder, which holds `lib`.
    pub path: PathBuf,
    /// Its version, such as `2.11.0+cu130`; `None` when the folder does not tell.
    pub version: Option<String>,
    /// Whether it has a CUDA part (whose own needs are not looked at here).
    pub cuda: bool,
}

/// The libtorch that [`load`](crate::load) has taken, which stays in use as long as the process lives.
static TAKEN: OnceLock<Libtorch> = OnceLock::new();

/// Has [`libtorch()`] answer with this one from now on, which was just loaded.
#[cfg(loader)]
pub(crate) fn take(found: Libtorch) {
    TAKEN.get_or_init(|| found);
}

/// The libtorch that [`load`](crate::load) takes: one that is in this process already, as where Python has imported
/// torch, else the folder in the variable `LIBTORCH` when it is set, else the one that the set-up chose.
///
/// # Errors
/// [`Error::OtherLoaded`], [`Error::NotSetUp`], [`Error::OldSetUp`], [`Error::NotFound`] or [`Error::WrongVersion`].
pub fn libtorch() -> Result<Libtorch, Error> {
    if let Some(taken) = TAKEN.get() {
        return Ok(taken.clone());
    }
    if let Some((path, replaced)) = loaded() {
        let found = Libtorch::of(path);
        let fits = !replaced && found.version.as_deref().is_some_and(fits);
        // What the folder tells is no longer what is loaded.
        let told = if replaced { Some("of a file that was replaced since".to_owned()) } else { found.version.clone() };
        return if fits { Ok(found) } else { Err(Error::OtherLoaded { path: found.path, found: told }) };
    }
    match env::var_os("LIBTORCH").filter(|path| !path.is_empty()) {
        Some(path) => look(path.into(), "LIBTORCH"),
        None => look(SetUp::read()?.libtorch, "the set-up"),
    }
}

/// The folder of the libtorch that this process has loaded, and whether its file was removed or replaced since. Linux
/// lists what is loaded; elsewhere there is no loader either.
fn loaded() -> Option<(PathBuf, bool)> {
    let maps = fs::read("/proc/self/maps").ok()?;
    String::from_utf8_lossy(&maps).lines().find_map(|line| {
        let file = &line[line.find('/')?..];
        let there = file.strip_suffix(" (deleted)");
        let folder = there.unwrap_or(file).strip_suffix("/lib/libtorch_cpu.so")?;
        Some((folder.into(), there.is_some()))
    })
}

/// As [`libtorch()`] for a device, which decides how the set-up is to be done where it was not.
///
/// # Errors
/// As [`libtorch()`].
pub fn libtorch_for(device: Device) -> Result<Libtorch, Error> {
    libtorch().map_err(|error| error.on(device))
}

/// Looks into one folder.
fn look(path: PathBuf, named_by: &'static str) -> Result<Libtorch, Error> {
    if !path.join("lib/libtorch_cpu.so").is_file() {
        return Err(Error::NotFound { path, named_by });
    }
    let found = Libtorch::of(path);
    match found.version {
        Some(version) if !fits(&version) => Err(Error::WrongVersion { path: found.path, found: version }),
        _ => Ok(found),
    }
}

impl Libtorch {
    /// What a folder holds.
    fn of(path: PathBuf) -> Self {
        Self { cuda: path.join("lib/libtorch_cuda.so").is_file(), version: version(&path), path }
    }
}

/// Whether a version is the one needed, for whichever device.
fn fits(version: &str) -> bool {
    version.split('+').next() == Some(VERSION_NEEDED)
}

/// The version as libtorch's own packages tell it (`build-version`), or PyTorch's (`version.py`).
fn version(path: &Path) -> Option<String> {
    let plain = fs::read_to_string(path.join("build-version")).map(|text| text.trim().to_owned());
    let python = || {
        let text = fs::read_to_string(path.join("version.py")).ok()?;
        let line = text.lines().find(|line| line.starts_with("__version__"))?;
        Some(line.split_once('=')?.1.trim().trim_matches(['\'', '"']).to_owned())
    };
    plain.ok().or_else(python).filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a libtorch, with the given further files.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lib")).unwrap();
        for (name, text) in [("lib/libtorch_cpu.so", "")].iter().chain(files) {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn both_kinds_of_package_tell_their_version() {
        let python = "from typing import Optional\n__version__ = '2.11.0+cu130'\ndebug = False\n";
        for file in [("build-version", "2.11.0+cu130\n"), ("version.py", python)] {
            let folder = folder(&[file]);
            let found = look(folder.path().into(), "LIBTORCH").unwrap();
            assert_eq!(found.version.as_deref(), Some("2.11.0+cu130"));
            assert!(!found.cuda);
        }
    }

    #[test]
    fn cuda_is_seen_and_a_silent_folder_is_taken() {
        let folder = folder(&[("lib/libtorch_cuda.so", "")]);
        let found = look(folder.path().into(), "LIBTORCH").unwrap();
        assert_eq!((found.version, found.cuda), (None, true));
    }

    #[test]
    fn another_version_is_refused_with_both_versions() {
        for version in ["2.5.1", "2.11.1+cu130", "12.11.0", "2.11.0a0"] {
            let folder = folder(&[("build-version", version)]);
            let message = look(folder.path().into(), "LIBTORCH").unwrap_err().to_string();
            assert!(message.contains(version) && message.contains("2.11.0"), "{message}");
        }
    }

    #[test]
    fn an_empty_folder_is_refused_with_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let message = look(folder.path().into(), "the set-up").unwrap_err().to_string();
        assert!(message.contains("scripts/setup-libtorch.sh") && message.contains("the set-up"), "{message}");
    }
}
