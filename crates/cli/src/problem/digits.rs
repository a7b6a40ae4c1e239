//! MNIST as batches in logit space: an endless sequence of shuffled epochs to train on, fixed rows to take figures on.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use datasets::Standardisation;
use datasets::mnist::{Content, Download, LogitTransform, Mnist, Pictures};
use flow_core::{Purpose, RngKey, Space, cut};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::{DataContent, MnistTarget, Standardise};
use crate::error::CliError;
use crate::output;

/// Rows and columns of a picture.
pub const SIDE: usize = 28;

/// The data set with its maps to logit space and on to the coordinates that the flow works in.
pub struct Digits {
    mnist: Mnist,
    transform: LogitTransform,
    standardisation: Standardisation,
    /// Order in which the test pictures are used, so that some of them stand for all: the first half of the file is the
    /// easier one.
    test_order: Vec<u32>,
    /// The latest epoch asked for and its order.
    epoch: Mutex<(u64, Vec<u32>)>,
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digits").field("training_rows", &self.training_rows()).finish_non_exhaustive()
    }
}

impl Digits {
    /// Reads the files from `data`, or fetches them into the user's cache folder first. The standardisation is the one
    /// `kept` by a run or, for a new one, that of the training pictures.
    ///
    /// # Errors
    /// Files that are missing, damaged or not those of MNIST; no network.
    pub fn load(
        target: &MnistTarget,
        seed: u64,
        data: Option<&Path>,
        kept: Option<Standardisation>,
    ) -> Result<Self, CliError> {
        let transform = LogitTransform::new(target.lambda).map_err(|e| CliError::Usage(e.to_string()))?;
        let content = match target.content {
            DataContent::Published => Content::Published,
            DataContent::Any => Content::Any,
        };
        let folder = match data {
            Some(folder) => folder.to_owned(),
            None => fetch()?,
        };
        let mnist = Mnist::load(&folder, content, &mut ChaCha8Rng::seed_from_u64(target.split_seed))?;
        if mnist.shape != (SIDE, SIDE) {
            let (rows, cols) = mnist.shape;
            return Err(CliError::Failed(format!(
                "the pictures in {} are {rows}×{cols}, but the target mnist needs {SIDE}×{SIDE}; choose another folder",
                folder.display()
            )));
        }
        let standardisation = match kept {
            Some(kept) => kept,
            None => standardisation(target.standardise, &mnist.train, transform)?,
        };
        let test_order = shuffled(mnist.test.len(), RngKey::new(seed, Purpose::Evaluate, u64::MAX));
        let epoch = (0, epoch_order(mnist.train.len(), seed, 0));
        Ok(Self { mnist, transform, standardisation, test_order, epoch: Mutex::new(epoch) })
    }

    /// What tells these pictures from others.
    pub fn digest(&self) -> String {
        self.mnist.digest()
    }

    /// Pictures to train on.
    pub fn training_rows(&self) -> usize {
        self.mnist.train.len()
    }

    /// The map between pixels and logits.
    pub fn transform(&self) -> LogitTransform {
        self.transform
    }

    /// The map between logits and the flow's coordinates.
    pub fn standardisation(&self) -> &Standardisation {
        &self.standardisation
    }

    /// The rows `part` of a batch of the pictures after so many were `seen` of an endless sequence of epochs, each a
    /// permutation of its own, with fresh dequantisation noise.
    pub(super) fn training_batch<S: Space>(&self, space: &S, key: RngKey, seen: u64, part: Range<usize>) -> Vec<f64> {
        let indices = self.training_indices(key.seed(), seen + part.start as u64, part.len());
        let (rows, key) = (part.len(), key.rows_from(part.start));
        let blocks = cut(rows, space.blocks(rows));
        space.map_blocks(blocks, |range| self.rows(&self.mnist.train, &indices, range, key)).concat()
    }

    fn training_indices(&self, seed: u64, seen: u64, rows: usize) -> Vec<u32> {
        let count = self.training_rows() as u64;
        let mut epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let index = |position: u64| {
            if epoch.0 != position / count {
                *epoch = (position / count, epoch_order(count as usize, seed, position / count));
            }
            epoch.1[(position % count) as usize]
        };
        (seen..seen + rows as u64).map(index).collect()
    }

    /// Pictures set apart for a purpose.
    pub fn held_out_rows(&self, purpose: Purpose) -> usize {
        self.set(purpose).len()
    }

    fn set(&self, purpose: Purpose) -> &Pictures {
        if purpose == Purpose::Validate { &self.mnist.validation } else { &self.mnist.test }
    }

    /// Some of the pictures set apart for a purpose, in the flow's coordinates.
    pub fn held_out(&self, purpose: Purpose, rows: Range<usize>, key: RngKey) -> Vec<f64> {
        let set = self.set(purpose);
        let indices: Vec<u32> = if purpose == Purpose::Validate {
            rows.map(|i| i as u32).collect()
        } else {
            rows.map(|i| self.test_order[i]).collect()
        };
        self.rows(set, &indices, 0..indices.len(), key)
    }

    /// Rows of a batch of pictures in the flow's coordinates, each with the noise of its own row.
    fn rows(&self, set: &Pictures, indices: &[u32], range: Range<usize>, key: RngKey) -> Vec<f64> {
        let dimension = self.mnist.dimension();
        let mut out = vec![0.0; range.len() * dimension];
        for (row, out) in range.zip(out.chunks_exact_mut(dimension)) {
            self.transform.forward(set.picture(indices[row] as usize), &mut key.row(row as u64), out);
        }
        self.standardisation.apply(&mut out);
        out
    }
}

/// The standardisation of that kind for these pictures.
fn standardisation(
    kind: Standardise,
    pictures: &Pictures,
    transform: LogitTransform,
) -> Result<Standardisation, CliError> {
    let found = match kind {
        Standardise::None => Ok(Standardisation::identity(SIDE * SIDE)),
        Standardise::Scale => {
            let (mean, variance) = pictures.logit_moments(transform);
            Standardisation::scale(&mean, &variance)
        }
        Standardise::PerCoordinate => {
            let (mean, variance) = pictures.logit_moments(transform);
            Standardisation::per_coordinate(mean, variance)
        }
        Standardise::Gaussian => {
            output::note("finding the covariance of the training pictures");
            let (mean, covariance) = pictures.logit_covariance(transform);
            Standardisation::gaussian(mean, &covariance)
        }
    };
    found.map_err(|error| CliError::Failed(format!("target.standardise = \"{}\": {error}", kind.name())))
}

/// Makes sure that the user's cache folder holds the files.
fn fetch() -> Result<PathBuf, CliError> {
    let download = Download::into_user_cache()?;
    download.fetch(output::note)?;
    Ok(download.folder)
}

fn epoch_order(count: usize, seed: u64, epoch: u64) -> Vec<u32> {
    shuffled(count, RngKey::new(seed, Purpose::Shuffle, epoch))
}

fn shuffled(count: usize, key: RngKey) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.shuffle(&mut key.row(0));
    order
}

#[cfg(test)]
mod tests {
    use backend_ndarray::Cpu;

    use flow_core::Batches;

    use super::*;
    use crate::problem::{Problem, TrainingRows};

    /// 24 training and 7 test pictures of random pixels.
    fn digits(standardise: Standardise) -> Digits {
        let folder = tempfile::tempdir().unwrap();
        for (name, count) in [("train", 24_u32), ("t10k", 7)] {
            let mut pictures = [0x803_u32, count, 28, 28].map(u32::to_be_bytes).concat();
            pictures.extend((0..count * 784).map(|k| (k.wrapping_mul(2_654_435_761) >> 9) as u8));
            std::fs::write(folder.path().join(format!("{name}-images-idx3-ubyte")), pictures).unwrap();
        }
        let target = MnistTarget { content: DataContent::Any, standardise, ..MnistTarget::default() };
        Digits::load(&target, 7, Some(folder.path()), None).unwrap()
    }

    #[test]
    fn batches_do_not_depend_on_the_threads() {
        let digits = digits(Standardise::PerCoordinate);
        // The second of these batches runs over the end of an epoch.
        for step in [0, 1] {
            let (key, seen) = (RngKey::new(7, Purpose::Train, step), 18 * step);
            let batch = digits.training_batch(&Cpu::<f32>::new(1), key, seen, 0..18);
            assert_eq!(batch, digits.training_batch(&Cpu::<f32>::new(3), key, seen, 0..18));
            let indices = digits.training_indices(7, seen, 18);
            assert_eq!(batch, digits.rows(&digits.mnist.train, &indices, 0..18, key));
        }
    }

    #[test]
    fn a_second_training_goes_on_in_the_epoch_of_the_first() {
        let problem = Problem::Digits(Box::new(digits(Standardise::None)));
        let space = Cpu::<f64>::new(1);
        let batch = |first, seen, step, rows| {
            let rows_of = TrainingRows { problem: &problem, matching: false, space: &space, first, seen };
            let logits = rows_of.batch(RngKey::new(7, Purpose::Train, step), 0..rows, rows).unwrap().x;
            // Without the noise, which is of the step.
            logits.chunks(784).map(|row| (256.0 / (1.0 + (-row[400]).exp())).floor()).collect::<Vec<_>>()
        };
        let at_once = batch(0, 0, 0, 18);
        // Three batches of four pictures, then two of three.
        let split: Vec<f64> =
            (0..3).flat_map(|s| batch(0, 0, s, 4)).chain((3..5).flat_map(|s| batch(3, 12, s, 3))).collect();
        assert_eq!(split, at_once);
    }

    #[test]
    fn rows_are_standardised_logits() {
        let plain = digits(Standardise::None);
        let key = RngKey::new(7, Purpose::Evaluate, 0);
        let logits = plain.held_out(Purpose::Evaluate, 0..7, key);
        let mut expected = vec![0.0; 784];
        plain.transform.forward(plain.mnist.test.picture(plain.test_order[3] as usize), &mut key.row(3), &mut expected);
        assert_eq!(logits[3 * 784..4 * 784], expected);
        for kind in [Standardise::Scale, Standardise::PerCoordinate] {
            let digits = digits(kind);
            let mut rows = digits.held_out(Purpose::Evaluate, 0..7, key);
            assert!(rows.iter().all(|y| y.abs() < 20.0) && rows != logits);
            digits.standardisation().invert(&mut rows);
            assert!(rows.iter().zip(&logits).all(|(back, x)| (back - x).abs() < 1e-12), "{kind:?}");
        }
    }

    #[test]
    fn every_epoch_is_a_permutation_of_its_own() {
        let orders: Vec<Vec<u32>> = (0..3).map(|epoch| epoch_order(100, 7, epoch)).collect();
        assert_eq!(orders[1], epoch_order(100, 7, 1));
        assert_ne!(orders[0], orders[1]);
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..100).collect::<Vec<u32>>());
        }
    }
}
