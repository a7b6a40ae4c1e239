//! The set-up of libtorch: what it compiles, what it writes down, and how a user is told to do it.

use std::{env, fs, path::PathBuf};

use sha2::{Digest, Sha256};

pub use crate::command::{Command, SCRIPT, command, is_done_by};
use crate::error::Error;

include!("setup_file.rs");

/// The torch-sys whose C interface this program calls.
pub const TORCH_SYS: &str = "0.24.0";

/// The C++ sources that this crate adds to that interface, with their names, in the order in which the set-up hashes
/// them.
pub const SOURCES: [(&str, &str); 2] =
    [("cpu.cpp", include_str!("interface/cpu.cpp")), ("cuda.cpp", include_str!("interface/cuda.cpp"))];

/// The file in which the set-up writes down what it has made; none where there is no cache folder.
pub fn file() -> Option<PathBuf> {
    setup_file()
}

/// The SHA-256 of [`SOURCES`], one after the other.
fn hash_needed() -> String {
    let hash = SOURCES.iter().fold(Sha256::new(), |hash, (_, source)| hash.chain_update(source));
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
        let fits = value("torch-sys")? == TORCH_SYS && value("sources")? == hash_needed();
        fits.then_some(Self { libtorch: value("libtorch")?.into(), interface: value("interface")?.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
