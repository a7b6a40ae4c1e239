//! Checkpoints: safetensors files written whole or not at all, and the folder that keeps the last few and the best.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, View};

use crate::train::TrainState;
use crate::{Error, Parameter, Precision, Space};

/// One array of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name in the file.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Precision in the file.
    pub precision: Precision,
    /// The numbers, last index fastest.
    pub values: Vec<f64>,
}

impl Tensor {
    /// The tensor of an array in working precision.
    pub fn from_array<S: Space>(space: &S, name: impl Into<String>, shape: &[usize], array: &S::Array) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), precision: space.precision(), values: space.download(array) }
    }
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        match self.precision {
            Precision::F32 => Dtype::F32,
            Precision::F64 => Dtype::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.precision {
            Precision::F32 => self.values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
            Precision::F64 => self.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        self.values.len() * if self.precision == Precision::F32 { 4 } else { 8 }
    }
}

/// The content of a safetensors file: arrays, and text under keys.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// The arrays.
    pub tensors: Vec<Tensor>,
    /// Text under keys (the file's `__metadata__`).
    pub metadata: HashMap<String, String>,
}

impl Checkpoint {
    /// Writes the file whole or not at all: a temporary file beside it, fsync, rename.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let named = self.tensors.iter().map(|t| (t.name.as_str(), t));
        let metadata = (!self.metadata.is_empty()).then(|| self.metadata.clone());
        let bytes = safetensors::serialize(named, metadata)
            .map_err(|e| Error::Checkpoint { path: path.into(), reason: e.to_string() })?;
        write_whole(path, &bytes)
    }

    /// Reads a file with tensors of 32- or 64-bit floating point numbers.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Checkpoint`] when it is truncated or no such file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let bad = |reason: String| Error::Checkpoint { path: path.into(), reason };
        let file =
            SafeTensors::deserialize(&bytes).map_err(|e| bad(format!("truncated or no safetensors file: {e}")))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(e.to_string()))?;
        let mut tensors = Vec::new();
        for (name, view) in file.tensors() {
            let (precision, values) = match view.dtype() {
                Dtype::F32 => (Precision::F32, numbers(view.data(), |b| f64::from(f32::from_le_bytes(b)))),
                Dtype::F64 => (Precision::F64, numbers(view.data(), f64::from_le_bytes)),
                other => return Err(bad(format!("tensor `{name}` has type {other:?}, but F32 or F64 is needed"))),
            };
            tensors.push(Tensor { name, shape: view.shape().to_vec(), precision, values });
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { tensors, metadata: header.metadata().clone().unwrap_or_default() })
    }

    /// The array of a name, checked for its shape and for NaN, in the precision of `space`.
    /// `path` is for the message alone.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], or [`Error::Checkpoint`] for numbers that are not finite.
    pub fn array<S: Space>(&self, space: &S, name: &str, shape: &[usize], path: &Path) -> Result<S::Array, Error> {
        let Some(tensor) = self.tensors.iter().find(|t| t.name == name) else {
            let names: Vec<_> = self.tensors.iter().map(|t| t.name.as_str()).collect();
            return Err(Error::MissingTensor { path: path.into(), name: name.into(), available: names.join(", ") });
        };
        if tensor.shape != shape {
            let what = format!("tensor `{name}` of {}", path.display());
            return Err(Error::Shape { what, found: tensor.shape.clone(), expected: shape.to_vec() });
        }
        if let Some(at) = tensor.values.iter().position(|v| !v.is_finite()) {
            let reason = format!("tensor `{name}` has {} at position {at}", tensor.values[at]);
            return Err(Error::Checkpoint { path: path.into(), reason });
        }
        let (rows, cols) = rows_and_cols(shape);
        Ok(space.upload(rows, cols, &tensor.values))
    }

    /// Sets parameters from the tensors of the same names; all or, on an error, none of them.
    ///
    /// # Errors
    /// As [`Checkpoint::array`].
    pub fn load_parameters<S: Space>(
        &self,
        space: &S,
        parameters: Vec<&mut Parameter<S>>,
        path: &Path,
    ) -> Result<(), Error> {
        self.load(space, parameters, path, str::to_owned)
    }

    /// The state of the training that wrote it; none where there was no training.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it cannot be read. `path` is for the message alone.
    pub fn train_state(&self, path: &Path) -> Result<Option<TrainState>, Error> {
        let Some(text) = self.metadata.get("train_state") else { return Ok(None) };
        let bad = |e| Error::Checkpoint { path: path.into(), reason: format!("its train_state: {e}") };
        serde_json::from_str(text).map(Some).map_err(bad)
    }

    /// Sets parameters to what figures are taken with: their moving averages where the checkpoint has them, else as
    /// [`Checkpoint::load_parameters`] does.
    ///
    /// # Errors
    /// As [`Checkpoint::array`].
    pub fn load_trained<S: Space>(
        &self,
        space: &S,
        parameters: Vec<&mut Parameter<S>>,
        path: &Path,
    ) -> Result<(), Error> {
        let has = |p: &&mut Parameter<S>| self.tensors.iter().any(|tensor| tensor.name == averaged(&p.name));
        match parameters.iter().all(has) {
            true => self.load(space, parameters, path, averaged),
            false => self.load_parameters(space, parameters, path),
        }
    }

    fn load<S: Space>(
        &self,
        space: &S,
        parameters: Vec<&mut Parameter<S>>,
        path: &Path,
        stored: impl Fn(&str) -> String,
    ) -> Result<(), Error> {
        let read = |p: &&mut Parameter<S>| self.array(space, &stored(&p.name), &p.shape, path);
        let arrays = parameters.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        for (parameter, array) in parameters.into_iter().zip(arrays) {
            parameter.value = array;
        }
        Ok(())
    }
}

/// The name that the moving average of a parameter is stored under.
pub(crate) fn averaged(name: &str) -> String {
    format!("average.{name}")
}

/// Rows and columns of the matrix that stores an array of a shape: a vector is one row.
pub(crate) fn rows_and_cols(shape: &[usize]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        [n] => (1, *n),
        [rows, rest @ ..] => (*rows, rest.iter().product()),
    }
}

fn numbers<const N: usize>(data: &[u8], decode: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.chunks_exact(N).map(|b| decode(b.try_into().expect("chunks have N bytes"))).collect()
}

/// How the names of temporary files begin; a process that was killed may leave one.
pub const PARTIAL: &str = ".partial-";

/// Writes a file whole or not at all: a temporary file in the same folder, fsync, rename, fsync of the folder.
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
pub fn write_whole_with(path: &Path, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<(), Error> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PARTIAL);
        // A temporary file is private by default; a result is as readable as any other file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
        let mut file = builder.tempfile_in(folder)?;
        fill(file.as_file_mut())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(Error::io("write", path))
}

/// A folder of checkpoints: `step-N` for the periodic ones, `interrupt-N`, and `best`.
#[derive(Debug, Clone)]
pub struct CheckpointFolder {
    path: PathBuf,
    keep: usize,
}

/// What a checkpoint was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// At a set interval.
    Periodic,
    /// Because the training was interrupted.
    Interrupt,
}

impl CheckpointFolder {
    /// Uses a folder, made where missing, that keeps the last `keep` periodic checkpoints.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made; [`Error::Setting`] when `keep` is zero.
    pub fn open(path: &Path, keep: usize) -> Result<Self, Error> {
        if keep == 0 {
            return Err(Error::setting("train.keep", keep, "at least 1"));
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

    /// Saves a checkpoint of a step. A periodic one makes interrupts and the oldest periodic ones obsolete: they are deleted.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses.
    pub fn save(&self, step: u64, occasion: Occasion, checkpoint: &Checkpoint) -> Result<PathBuf, Error> {
        let kind = if occasion == Occasion::Periodic { "step" } else { "interrupt" };
        let path = self.path.join(format!("{kind}-{step:08}.safetensors"));
        checkpoint.write(&path)?;
        if occasion == Occasion::Periodic {
            // Whatever its step: later ones may be damaged, or of a past that was given up.
            let others = self.list()?.into_iter().filter(|(_, _, other)| *other != path);
            let (periodic, interrupts): (Vec<_>, Vec<_>) =
                others.partition(|(_, occasion, _)| *occasion == Occasion::Periodic);
            let old = (periodic.len() + 1).saturating_sub(self.keep);
            let obsolete = periodic[..old].iter().chain(&interrupts);
            for (_, _, path) in obsolete {
                fs::remove_file(path).map_err(Error::io("delete", path))?;
            }
        }
        Ok(path)
    }

    /// Saves the best checkpoint so far.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses.
    pub fn save_best(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        checkpoint.write(&self.path.join("best.safetensors"))
    }

    /// The newest readable checkpoint (of one occasion, or any), with a sentence for every newer one that could not be used.
    ///
    /// # Errors
    /// The error of the newest file when none is readable; `Ok(None)` when there is none at all.
    pub fn newest(&self, only: Option<Occasion>) -> Result<Option<Found>, Error> {
        let mut warnings = Vec::new();
        let mut first_error = None;
        for (_, occasion, path) in self.list()?.into_iter().rev() {
            if only.is_some_and(|only| only != occasion) {
                continue;
            }
            match Checkpoint::read(&path) {
                Ok(checkpoint) => return Ok(Some(Found { checkpoint, path, occasion, warnings })),
                Err(error) => {
                    warnings.push(format!("{error}; falling back to the one before"));
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(None), Err)
    }
}

/// A checkpoint that was found.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn example(step: u64) -> Checkpoint {
        let values = vec![1.0, -0.0, f64::MIN_POSITIVE / 8.0, std::f64::consts::PI];
        let tensor =
            |name: &str, precision| Tensor { name: name.into(), shape: vec![2, 2], precision, values: values.clone() };
        Checkpoint {
            tensors: vec![tensor("a", Precision::F64)],
            metadata: HashMap::from([("state".into(), step.to_string())]),
        }
    }

    #[test]
    fn a_file_gives_back_every_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        example(3).write(&path).unwrap();
        let back = Checkpoint::read(&path).unwrap();
        assert_eq!(back, example(3));
        assert!(back.tensors[0].values[1].is_sign_negative());
    }

    #[test]
    fn every_truncation_is_noticed_and_the_one_before_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointFolder::open(folder.path(), 3).unwrap();
        store.save(1, Occasion::Periodic, &example(1)).unwrap();
        let newest = store.save(2, Occasion::Periodic, &example(2)).unwrap();
        let bytes = fs::read(&newest).unwrap();
        for length in 0..bytes.len() {
            fs::write(&newest, &bytes[..length]).unwrap();
            let found = store.newest(None).unwrap().unwrap();
            assert_eq!(found.checkpoint, example(1), "cut at {length}");
            assert_eq!(found.warnings.len(), 1);
        }
    }

    #[test]
    fn the_last_few_are_kept_and_interrupts_give_way() {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointFolder::open(folder.path(), 2).unwrap();
        for step in 1..=4 {
            store.save(step, Occasion::Periodic, &example(step)).unwrap();
        }
        store.save(5, Occasion::Interrupt, &example(5)).unwrap();
        let steps: Vec<_> = store.list().unwrap().iter().map(|(n, o, _)| (*n, *o)).collect();
        assert_eq!(steps, [(3, Occasion::Periodic), (4, Occasion::Periodic), (5, Occasion::Interrupt)]);
        assert_eq!(store.newest(None).unwrap().unwrap().occasion, Occasion::Interrupt);
        store.save(6, Occasion::Periodic, &example(6)).unwrap();
        assert_eq!(store.list().unwrap().len(), 2);
        assert!(CheckpointFolder::open(folder.path(), 0).is_err());
        // One that was just written stays, whatever steps others claim.
        let store = CheckpointFolder::open(folder.path(), 1).unwrap();
        store.save(2, Occasion::Periodic, &example(2)).unwrap();
        assert_eq!(store.list().unwrap().iter().map(|(n, _, _)| *n).collect::<Vec<_>>(), [2]);
    }
}
