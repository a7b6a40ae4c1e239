//! MNIST as batches in logit space: an endless sequence of shuffled epochs to train on, fixed rows to take figures on.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use datasets::mnist::{Content, Download, LogitTransform, Mnist, Pictures};
use flow_core::{Draws, Purpose};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::{DataContent, MnistTarget};
use crate::error::CliError;
use crate::output;

/// Rows and columns of a picture.
pub const SIDE: usize = 28;

/// The data set with its map to logit space.
pub struct Digits {
    mnist: Mnist,
    transform: LogitTransform,
    /// Order in which the test pictures are used, so that some of them stand for all: the first half of the file is the easier one.
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
    /// Reads the files from `data`, or fetches them into the user's cache folder first.
    ///
    /// # Errors
    /// Files that are missing, damaged or not those of MNIST; no network.
    pub fn load(target: &MnistTarget, seed: u64, data: Option<&Path>) -> Result<Self, CliError> {
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
        let test_order = shuffled(mnist.test.len(), Draws::new(seed, Purpose::Evaluate, u64::MAX));
        let epoch = (0, epoch_order(mnist.train.len(), seed, 0));
        Ok(Self { mnist, transform, test_order, epoch: Mutex::new(epoch) })
    }

    /// Pictures to train on.
    pub fn training_rows(&self) -> usize {
        self.mnist.train.len()
    }

    /// The map between pixels and logits.
    pub fn transform(&self) -> LogitTransform {
        self.transform
    }

    /// Row r of step s is picture number `s · rows + r` of an endless sequence of epochs, each a permutation of its own,
    /// with fresh dequantisation noise.
    pub(super) fn training_batch(&self, draws: Draws, rows: usize) -> Vec<f64> {
        let count = self.training_rows() as u64;
        let first = draws.step() * rows as u64;
        let mut epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let indices = (first..first + rows as u64).map(|position| {
            if epoch.0 != position / count {
                *epoch = (position / count, epoch_order(count as usize, draws.seed(), position / count));
            }
            epoch.1[(position % count) as usize]
        });
        self.logits(&self.mnist.train, indices, draws)
    }

    /// Pictures set apart for a purpose.
    pub(super) fn held_out_rows(&self, purpose: Purpose) -> usize {
        self.set(purpose).len()
    }

    fn set(&self, purpose: Purpose) -> &Pictures {
        if purpose == Purpose::Validate { &self.mnist.validation } else { &self.mnist.test }
    }

    /// Some of the pictures set apart for a purpose.
    pub fn held_out(&self, purpose: Purpose, rows: Range<usize>, draws: Draws) -> Vec<f64> {
        let set = self.set(purpose);
        if purpose == Purpose::Validate {
            self.logits(set, rows.map(|i| i as u32), draws)
        } else {
            self.logits(set, rows.map(|i| self.test_order[i]), draws)
        }
    }

    fn logits(&self, set: &Pictures, indices: impl Iterator<Item = u32>, draws: Draws) -> Vec<f64> {
        let mut out = Vec::new();
        for (row, index) in indices.enumerate() {
            let start = out.len();
            out.resize(start + self.mnist.dimension(), 0.0);
            self.transform.forward(set.picture(index as usize), &mut draws.row(row as u64), &mut out[start..]);
        }
        out
    }
}

/// Makes sure that the user's cache folder holds the files.
fn fetch() -> Result<PathBuf, CliError> {
    let download = Download::into_user_cache()?;
    download.fetch(output::note)?;
    Ok(download.folder)
}

fn epoch_order(count: usize, seed: u64, epoch: u64) -> Vec<u32> {
    shuffled(count, Draws::new(seed, Purpose::Shuffle, epoch))
}

fn shuffled(count: usize, draws: Draws) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.shuffle(&mut draws.row(0));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

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
