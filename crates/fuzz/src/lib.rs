//! Every reader of files and of words typed, as a function of bytes that may end in a value or in a sentence, and in
//! nothing else: a panic is a finding, and so is a value that is not what it is taken for.
//!
//! `scripts/fuzz.py` runs the binary `fuzz` of this crate, which looks for inputs that reach new code; the tests change
//! the same seeds at random, for as long as a test may take.

mod mutate;
mod runs;
mod tables;

use std::path::Path;

pub use mutate::mutated;

/// A reader, and inputs that it takes.
pub struct Reader {
    /// What it is called.
    pub name: &'static str,
    /// Reads the input, with a folder for files; the sentence of one that was refused.
    pub read: fn(&[u8], &Path) -> Result<(), String>,
    /// Inputs to start from. It takes each.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All readers.
pub const READERS: &[Reader] = &[
    Reader { name: "csv", read: tables::csv, seeds: tables::csv_seeds },
    Reader { name: "tsv", read: tables::tsv, seeds: tables::tsv_seeds },
    Reader { name: "gz", read: tables::gz, seeds: tables::gz_seeds },
    Reader { name: "npy", read: tables::npy, seeds: tables::npy_seeds },
    Reader { name: "npz", read: tables::npz, seeds: tables::npz_seeds },
    Reader { name: "safetensors", read: tables::safetensors, seeds: tables::safetensors_seeds },
    Reader { name: "idx", read: tables::idx, seeds: tables::idx_seeds },
    #[cfg(feature = "parquet")]
    Reader { name: "parquet", read: tables::parquet, seeds: tables::parquet_seeds },
    Reader { name: "mnist", read: tables::mnist, seeds: tables::mnist_seeds },
    Reader { name: "recipe", read: runs::recipe, seeds: runs::recipe_seeds },
    Reader { name: "set", read: runs::set, seeds: runs::set_seeds },
    Reader { name: "config", read: runs::config, seeds: runs::config_seeds },
    Reader { name: "metrics", read: runs::metrics, seeds: runs::metrics_seeds },
    Reader { name: "columns", read: runs::columns, seeds: runs::columns_seeds },
    Reader { name: "checkpoint", read: runs::checkpoint, seeds: runs::checkpoint_seeds },
    Reader { name: "import", read: runs::import, seeds: runs::import_seeds },
];

/// The reader of that name.
pub fn reader(name: &str) -> Option<&'static Reader> {
    READERS.iter().find(|reader| reader.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changed inputs of each reader: a tenth of a second's worth.
    const INPUTS: u64 = 200;

    #[test]
    fn every_reader_takes_its_seeds_and_ends_in_a_value_or_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        for reader in READERS {
            let seeds = (reader.seeds)();
            for (number, seed) in seeds.iter().enumerate() {
                let taken = (reader.read)(seed, folder.path());
                assert_eq!(taken, Ok(()), "seed {number} of {}", reader.name);
            }
            let refused = (0..INPUTS).filter_map(|number| {
                let told = (reader.read)(&mutated(&seeds, number), folder.path()).err()?;
                assert!(!told.is_empty(), "input {number} of {}", reader.name);
                Some(told)
            });
            assert!(refused.count() > 0, "{}: nothing was refused", reader.name);
        }
    }
}
