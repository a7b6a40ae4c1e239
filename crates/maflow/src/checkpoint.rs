//! The folder that keeps the last few checkpoints of a training, and the best.

use std::fs;
use std::path::{Path, PathBuf};

use flow_core::{Checkpoint, CheckpointStore, Occasion, Stored};

use crate::error::Error;
use crate::tensor_file::TensorFile;

/// A folder of checkpoints: `step-N.safetensors` for the periodic ones, `interrupt-N.safetensors`, and
/// `best.safetensors`.
#[derive(Debug, Clone)]
pub struct CheckpointFolder {
    path: PathBuf,
    keep: usize,
}

/// A checkpoint that was found in a folder.
#[derive(Debug)]
pub struct Found {
    /// Its content.
    pub checkpoint: Checkpoint,
    /// Its file.
    pub path: PathBuf,
    /// What it was written for.
    pub occasion: Occasion,
    /// Why newer ones were passed over.
    pub warnings: Vec<String>,
}

/// Reads a checkpoint.
///
/// # Errors
/// [`Error::Io`] when it cannot be read; [`flow_core::Error::Checkpoint`] when it is truncated, not a checkpoint, or of
/// a broken state.
pub fn read(path: &Path) -> Result<Checkpoint, Error> {
    TensorFile::read(path).and_then(TensorFile::into_checkpoint).map_err(|error| match error {
        Error::Unusable { path, reason } => {
            flow_core::Error::Checkpoint { origin: format!("checkpoint {}", path.display()), reason }.into()
        }
        error => error,
    })
}

impl CheckpointFolder {
    /// Uses a folder, made where missing, that keeps the last `keep` periodic checkpoints.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made; [`flow_core::Error::Setting`] when `keep` is zero.
    pub fn open(path: &Path, keep: usize) -> Result<Self, Error> {
        if keep == 0 {
            return Err(flow_core::Error::setting("keep", keep, "at least 1").into());
        }
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        Ok(Self { path: path.into(), keep })
    }

    /// The best checkpoint on validation, where there is one.
    pub fn best(&self) -> Option<PathBuf> {
        Some(self.path.join("best.safetensors")).filter(|p| p.exists())
    }

    /// Step, occasion and file of all checkpoints but the best, oldest first; of one step, the periodic one last.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read.
    pub fn list(&self) -> Result<Vec<(u64, Occasion, PathBuf)>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(Error::io("read", &self.path))? {
            let path = entry.map_err(Error::io("read", &self.path))?.path();
            let stem = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".safetensors"));
            let parsed = stem.and_then(|s| s.split_once('-')).and_then(|(kind, n)| Some((kind, n.parse().ok()?)));
            match parsed {
                Some(("step", n)) => found.push((n, Occasion::Periodic, path)),
                Some(("interrupt", n)) => found.push((n, Occasion::Interrupt, path)),
                _ => {}
            }
        }
        found.sort_by_key(|(n, occasion, _)| (*n, *occasion == Occasion::Periodic));
        Ok(found)
    }

    /// The newest readable checkpoint (with `periodic` the newest of those), with a sentence for every newer one that
    /// could not be used.
    ///
    /// # Errors
    /// The error of the newest file when none is readable; `Ok(None)` when there is none at all.
    pub fn newest(&self, periodic: bool) -> Result<Option<Found>, Error> {
        let mut warnings = Vec::new();
        let mut first_error = None;
        for (_, occasion, path) in self.list()?.into_iter().rev() {
            if periodic && occasion != Occasion::Periodic {
                continue;
            }
            match read(&path) {
                Ok(checkpoint) => return Ok(Some(Found { checkpoint, path, occasion, warnings })),
                Err(error) => {
                    warnings.push(format!("{error}; falling back to the one before"));
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    /// Writes a checkpoint. A periodic one makes interrupts and the oldest periodic ones obsolete: they are deleted.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses.
    pub fn write(&self, occasion: Occasion, checkpoint: &Checkpoint) -> Result<(), Error> {
        let step = checkpoint.state.map_or(0, |state| state.step);
        let path = self.path.join(match occasion {
            Occasion::Periodic => format!("step-{step:08}.safetensors"),
            Occasion::Interrupt => format!("interrupt-{step:08}.safetensors"),
            Occasion::Best => "best.safetensors".to_owned(),
        });
        TensorFile::of_checkpoint(checkpoint).write(&path)?;
        if occasion == Occasion::Periodic {
            // Whatever its step: later ones may be damaged, or of a past that was given up.
            let others = self.list()?.into_iter().filter(|(_, _, other)| *other != path);
            let (periodic, interrupts): (Vec<_>, Vec<_>) =
                others.partition(|(_, occasion, _)| *occasion == Occasion::Periodic);
            let old = (periodic.len() + 1).saturating_sub(self.keep);
            for (_, _, path) in periodic[..old].iter().chain(&interrupts) {
                fs::remove_file(path).map_err(Error::io("delete", path))?;
            }
        }
        Ok(())
    }
}

impl CheckpointStore for CheckpointFolder {
    fn save(&mut self, occasion: Occasion, checkpoint: &Checkpoint) -> Result<(), flow_core::Error> {
        Ok(self.write(occasion, checkpoint)?)
    }

    fn newest(&mut self, periodic: bool) -> Result<Option<Stored>, flow_core::Error> {
        let found = CheckpointFolder::newest(self, periodic)?;
        Ok(found.map(|Found { checkpoint, occasion, warnings, .. }| Stored { checkpoint, occasion, warnings }))
    }
}

#[cfg(test)]
mod tests {
    use flow_core::{Precision, Tensor, TrainState};

    use super::*;

    fn example(step: u64) -> Checkpoint {
        let tensor = Tensor { name: "a".into(), shape: vec![2], precision: Precision::F64, values: vec![1.0, -0.0] };
        let state = TrainState {
            step,
            adam_steps: step,
            level: 4,
            learning_rate_scale: 1.0,
            rollbacks: 0,
            best: None,
            validations_since_best: 0,
            seconds: 0.5,
        };
        Checkpoint { tensors: vec![tensor], state: Some(state), origin: String::new() }
    }

    fn step_of(found: &Found) -> u64 {
        found.checkpoint.state.unwrap().step
    }

    #[test]
    fn every_truncation_is_noticed_and_the_one_before_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointFolder::open(folder.path(), 3).unwrap();
        store.write(Occasion::Periodic, &example(1)).unwrap();
        store.write(Occasion::Periodic, &example(2)).unwrap();
        let newest = folder.path().join("step-00000002.safetensors");
        let bytes = fs::read(&newest).unwrap();
        for length in 0..bytes.len() {
            fs::write(&newest, &bytes[..length]).unwrap();
            let found = store.newest(false).unwrap().unwrap();
            assert_eq!(step_of(&found), 1, "cut at {length}");
            assert_eq!(found.warnings.len(), 1);
        }
    }

    #[test]
    fn the_last_few_are_kept_and_interrupts_give_way() {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointFolder::open(folder.path(), 2).unwrap();
        for step in 1..=4 {
            store.write(Occasion::Periodic, &example(step)).unwrap();
        }
        store.write(Occasion::Interrupt, &example(5)).unwrap();
        store.write(Occasion::Best, &example(4)).unwrap();
        assert!(store.best().is_some());
        let steps: Vec<_> = store.list().unwrap().iter().map(|(n, o, _)| (*n, *o)).collect();
        assert_eq!(steps, [(3, Occasion::Periodic), (4, Occasion::Periodic), (5, Occasion::Interrupt)]);
        assert_eq!(store.newest(false).unwrap().unwrap().occasion, Occasion::Interrupt);
        assert_eq!(step_of(&store.newest(true).unwrap().unwrap()), 4);
        store.write(Occasion::Periodic, &example(6)).unwrap();
        assert_eq!(store.list().unwrap().len(), 2);
        assert!(CheckpointFolder::open(folder.path(), 0).is_err());
        // One that was just written stays, whatever steps others claim.
        let store = CheckpointFolder::open(folder.path(), 1).unwrap();
        store.write(Occasion::Periodic, &example(2)).unwrap();
        assert_eq!(store.list().unwrap().iter().map(|(n, _, _)| *n).collect::<Vec<_>>(), [2]);
    }
}
