//! Files of named arrays: safetensors, with text under keys.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use flow_core::{Checkpoint, Precision, Tensor};
use safetensors::{Dtype, SafeTensors, View};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::files::{hex, write_whole};

/// The key of the state of a training in the metadata of a file.
const TRAIN_STATE: &str = "train_state";
/// The keys of the checksum of all the rest, and of what kind it is: a file with one of them alone is damaged.
const CHECKSUM: &str = "checksum";
const CHECKSUM_KIND: &str = "checksum_kind";
/// The one kind.
const SHA256: &str = "sha256";

/// The content of a safetensors file: arrays, and text under keys. What is written here has a SHA-256 of both in its
/// metadata, which is compared when it is read; files of other programs have none.
///
/// ```
/// use flow_core::{Precision, Tensor};
/// use maflow::tensor_file::TensorFile;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("weights.safetensors");
/// let values = vec![0.5, -1.0];
/// let tensor = Tensor { name: "bias".into(), shape: vec![2], precision: Precision::F32, values };
/// let file = TensorFile { tensors: vec![tensor], ..TensorFile::default() };
/// file.write(&path)?;
/// assert_eq!(TensorFile::read(&path)?.tensors, file.tensors);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TensorFile {
    /// The arrays.
    pub tensors: Vec<Tensor>,
    /// Text under keys (the file's `__metadata__`).
    pub metadata: HashMap<String, String>,
    /// Where it was read from; empty for one that was not.
    pub path: PathBuf,
}

impl TensorFile {
    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let named = self.tensors.iter().map(|t| (t.name.as_str(), Bytes(t)));
        let checked = [(CHECKSUM.to_owned(), self.checksum()), (CHECKSUM_KIND.to_owned(), SHA256.to_owned())];
        let metadata = self.metadata.clone().into_iter().chain(checked).collect();
        let bytes = safetensors::serialize(named, Some(metadata))
            .map_err(|e| Error::Unusable { path: path.into(), reason: e.to_string() })?;
        write_whole(path, &bytes)
    }

    /// Reads a file with tensors of 32- or 64-bit floating point numbers.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Unusable`] when it is truncated, damaged or not a safetensors
    /// file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let bad = |reason: String| Error::Unusable { path: path.into(), reason };
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
        let mut metadata = header.metadata().clone().unwrap_or_default();
        let (checksum, kind) = (metadata.remove(CHECKSUM), metadata.remove(CHECKSUM_KIND));
        let file = Self { tensors, metadata, path: path.into() };
        match (checksum, kind) {
            (None, None) => Ok(file),
            (Some(checksum), Some(kind)) if kind == SHA256 && checksum == file.checksum() => Ok(file),
            _ => Err(bad("damaged: its content does not have the checksum in its metadata".to_owned())),
        }
    }

    /// SHA-256 of all arrays, by their names, and of all text, by its keys, in hexadecimal digits.
    fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        // With its length before it nothing can be taken for the end of what stands before.
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        let mut tensors: Vec<&Tensor> = self.tensors.iter().collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        for tensor in tensors {
            add(tensor.name.as_bytes());
            add(format!("{:?} {:?}", Bytes(tensor).dtype(), tensor.shape).as_bytes());
            add(&Bytes(tensor).data());
        }
        let mut metadata: Vec<_> = self.metadata.iter().collect();
        metadata.sort();
        metadata.into_iter().flat_map(|(key, text)| [key, text]).for_each(|text| add(text.as_bytes()));
        hex(&hash.finalize())
    }

    /// The file of a checkpoint.
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Self {
        let state = checkpoint.state.map(|state| {
            let text = serde_json::to_string(&state).expect("a plain struct of numbers serialises");
            (TRAIN_STATE.to_owned(), text)
        });
        Self { tensors: checkpoint.tensors.clone(), metadata: state.into_iter().collect(), path: PathBuf::new() }
    }

    /// The checkpoint in a file.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the state of its training cannot be read.
    pub fn into_checkpoint(self) -> Result<Checkpoint, Error> {
        let state = self.metadata.get(TRAIN_STATE).map(|text| serde_json::from_str(text)).transpose();
        let state = state
            .map_err(|e| Error::Unusable { path: self.path.clone(), reason: format!("its {TRAIN_STATE}: {e}") })?;
        Ok(Checkpoint { tensors: self.tensors, state, origin: format!("checkpoint {}", self.path.display()) })
    }
}

/// A tensor as the numbers of its precision.
struct Bytes<'a>(&'a Tensor);

impl View for Bytes<'_> {
    fn dtype(&self) -> Dtype {
        match self.0.precision {
            Precision::F32 => Dtype::F32,
            Precision::F64 => Dtype::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.0.precision {
            Precision::F32 => self.0.values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
            Precision::F64 => self.0.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        self.0.values.len() * if self.0.precision == Precision::F32 { 4 } else { 8 }
    }
}

fn numbers<const N: usize>(data: &[u8], decode: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.chunks_exact(N).map(|b| decode(b.try_into().expect("chunks have N bytes"))).collect()
}

#[cfg(test)]
mod tests {
    use flow_core::TrainState;

    use super::*;

    #[test]
    fn a_file_gives_back_every_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let values = vec![1.0, -0.0, f64::MIN_POSITIVE / 8.0, std::f64::consts::PI];
        let tensor = Tensor { name: "a".into(), shape: vec![2, 2], precision: Precision::F64, values };
        let metadata = HashMap::from([("kind".to_owned(), "none".to_owned())]);
        let file = TensorFile { tensors: vec![tensor], metadata, path: path.clone() };
        file.write(&path).unwrap();
        let back = TensorFile::read(&path).unwrap();
        assert_eq!(back, file);
        assert!(back.tensors[0].values[1].is_sign_negative());
    }

    #[test]
    fn every_flipped_bit_of_a_checkpoint_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensor = |name: &str, values: Vec<f64>| Tensor {
            name: name.into(),
            shape: vec![values.len()],
            precision: Precision::F32,
            values,
        };
        let state = "{\"step\":7,\"adam_steps\":7,\"flow_steps\":4,\"learning_rate_scale\":1.0,\"rollbacks\":0,\
                     \"best\":null,\"seconds\":2.5}";
        let metadata = HashMap::from([(TRAIN_STATE.to_owned(), state.to_owned())]);
        let tensors = vec![tensor("a", vec![0.5, -1.0]), tensor("b", vec![3.0])];
        TensorFile { tensors, metadata, path: path.clone() }.write(&path).unwrap();
        assert!(TensorFile::read(&path).unwrap().into_checkpoint().is_ok());
        let whole = fs::read(&path).unwrap();
        for bit in 0..8 * whole.len() {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).unwrap();
            assert!(TensorFile::read(&path).is_err(), "bit {bit} of {}", 8 * whole.len());
        }
        // Another program's file has no checksum.
        let plain = safetensors::serialize([("a", Bytes(&tensor("a", vec![1.0])))], None).unwrap();
        fs::write(&path, plain).unwrap();
        assert_eq!(TensorFile::read(&path).unwrap().tensors[0].values, [1.0]);
    }

    #[test]
    fn the_state_of_a_training_comes_back_under_the_names_of_files() {
        let state = TrainState {
            step: 7,
            adam_steps: 6,
            level: 12,
            learning_rate_scale: 0.5,
            rollbacks: 1,
            best: Some(0.1),
            validations_since_best: 4,
            seconds: 2.5,
        };
        let file = TensorFile::of_checkpoint(&Checkpoint { state: Some(state), ..Checkpoint::default() });
        assert!(file.metadata[TRAIN_STATE].contains("\"flow_steps\":12"), "{:?}", file.metadata);
        assert_eq!(file.clone().into_checkpoint().unwrap().state, Some(state));
        let metadata = HashMap::from([(TRAIN_STATE.to_owned(), "{\"step\": -1}".to_owned())]);
        assert!(TensorFile { metadata, ..file }.into_checkpoint().is_err());
    }
}
