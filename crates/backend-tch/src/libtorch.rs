//! Which libtorch is there, where, and of what version.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use sha2::{Digest, Sha256};

use crate::{Device, Error};

include!("setup_file.rs");

/// The version of libtorch that the pinned `tch` was written for.
pub const VERSION_NEEDED: &str = "2.11.0";

/// The CUDA version, major and minor, that the libtorch of the set-up was built with.
pub const CUDA_NEEDED: (u32, u32) = (13, 0);

/// The command that sets libtorch up, from the root of the project.
pub const SET_UP: &str = "scripts/setup-libtorch.sh";

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

/// The torch-sys whose C interface this program calls.
const INTERFACE_NEEDED: &str = "0.24.0";

/// What this crate adds to that interface, in the order in which the set-up hashes it.
const INTERFACE_SOURCES: [&str; 2] = [include_str!("interface/cpu.cpp"), include_str!("interface/cuda.cpp")];

/// The SHA-256 of [`INTERFACE_SOURCES`], one after the other.
fn hash_needed() -> String {
    let hash = INTERFACE_SOURCES.iter().fold(Sha256::new(), |hash, source| hash.chain_update(source));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the set-up has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetUp {
    /// The folder of libtorch.
    pub(crate) libtorch: PathBuf,
    /// The compiled C interface.
    pub(crate) interface: PathBuf,
}

impl SetUp {
    /// Reads what the set-up wrote.
    ///
    /// # Errors
    /// [`Error::NotSetUp`], [`Error::OldSetUp`].
    pub(crate) fn read() -> Result<Self, Error> {
        let file = setup_file().ok_or(Error::NotSetUp { cuda: false })?;
        let text = fs::read_to_string(&file).map_err(|_| Error::NotSetUp { cuda: false })?;
        Self::parse(&text).ok_or(Error::OldSetUp { file, cuda: false })
    }

    /// From lines `name = value`.
    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let of = |line: &str| {
                let (key, value) = line.split_once('=')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            };
            text.lines().find_map(of)
        };
        let fits = value("torch-sys")? == INTERFACE_NEEDED && value("sources")? == hash_needed();
        fits.then_some(Self { libtorch: value("libtorch")?.into(), interface: value("interface")?.into() })
    }
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
        return if fits { Ok(found) } else { Err(Error::OtherLoaded { path: found.path, found: found.version }) };
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

/// The same for a device, which decides how the set-up is to be done where it was not.
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
    fn what_the_set_up_wrote_is_read_and_another_interface_is_not_taken() {
        let before = "# Written by the set-up.\nlibtorch = /a b/torch\ninterface = /c/libtch.so\ntorch-sys = 0.24.0\n";
        let text = format!("{before}sources = {}\n", hash_needed());
        let found = SetUp::parse(&text).unwrap();
        assert_eq!((found.libtorch, found.interface), ("/a b/torch".into(), "/c/libtch.so".into()));
        let others = [("0.24.0", "0.23.0"), ("interface", "face"), ("sources = ", "sources = 0")];
        let others = others.map(|(of, by)| text.replace(of, by));
        for other in others.iter().map(String::as_str).chain([before, ""]) {
            assert_eq!(SetUp::parse(other), None, "{other}");
        }
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
        assert!(message.contains(SET_UP) && message.contains("the set-up"), "{message}");
    }
}
