//! One reader under libFuzzer: that which the variable `MAFLOW_FUZZ` names. Its seeds are written to the folder in
//! `MAFLOW_FUZZ_SEEDS` first.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use maflow_fuzz::{Reader, reader};
use tempfile::TempDir;

static READER: LazyLock<&Reader> = LazyLock::new(|| {
    let name = std::env::var("MAFLOW_FUZZ").expect("MAFLOW_FUZZ names a reader");
    reader(&name).unwrap_or_else(|| panic!("there is no reader {name}"))
});
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("there is a folder for files"));

fn write_seeds() {
    if let Ok(folder) = std::env::var("MAFLOW_FUZZ_SEEDS") {
        for (number, seed) in (READER.seeds)().iter().enumerate() {
            std::fs::write(Path::new(&folder).join(format!("seed-{number}")), seed).expect("the folder can be written");
        }
    }
}

fuzz_target!(init: write_seeds(), |input: &[u8]| {
    let _ = (READER.read)(input, FOLDER.path());
});
