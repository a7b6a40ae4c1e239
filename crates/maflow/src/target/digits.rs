//! MNIST as batches in logit space: an endless sequence of shuffled epochs to train on, fixed rows to take figures on.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasets::mnist::{Content, Download, LogitTransform, Mnist, Pictures};
use datasets::{Bijection, Standardisation};
use flow_core::{Purpose, RngKey};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::epochs::{Epochs, shuffled};
use super::{Layout, Samples, Split, Target};
use crate::error::Error;
use crate::monitor::Monitor;
use crate::recipe::{DataContent, MnistTarget, Standardise};

/// Rows and columns of a picture.
const SIDE: usize = 28;

/// The data set with its maps to logit space and on to the coordinates that the flow works in.
pub struct Digits {
    mnist: Mnist,
    transform: LogitTransform,
    standardisation: Standardisation,
    /// Order in which the test pictures are used, so that some of them stand for all: the first half of the file is the
    /// easier one.
    test_order: Vec<u32>,
    epochs: Epochs,
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digits").field("training_rows", &self.mnist.train.len()).finish_non_exhaustive()
    }
}

impl Digits {
    /// Reads the files from `data`, or fetches them into the user's cache folder first. The standardisation is the one
    /// `kept` by a run or, for a new one, that of the training pictures. Epochs are shuffled by `seed`.
    ///
    /// # Errors
    /// Files that are missing, damaged or not those of MNIST; no network.
    pub fn load(
        target: &MnistTarget,
        seed: u64,
        data: Option<&Path>,
        kept: Option<Standardisation>,
        monitor: &dyn Monitor,
    ) -> Result<Self, Error> {
        let transform = LogitTransform::new(target.lambda).map_err(|error| Error::Argument(error.to_string()))?;
        let content = match target.content {
            DataContent::Published => Content::Published,
            DataContent::Any => Content::Any,
        };
        let folder = match data {
            Some(folder) => folder.to_owned(),
            None => fetch(monitor)?,
        };
        let mnist = Mnist::load(&folder, content, &mut ChaCha8Rng::seed_from_u64(target.split_seed))?;
        if mnist.shape != (SIDE, SIDE) {
            let (rows, cols) = mnist.shape;
            return Err(Error::Failed(format!(
                "the pictures in {} are {rows}×{cols}, but the target mnist needs {SIDE}×{SIDE}; choose another folder",
                folder.display()
            )));
        }
        let standardisation = match kept {
            Some(kept) => kept,
            None => standardisation(target.standardise, &mnist.train, transform, monitor)?,
        };
        let test_order = shuffled(mnist.test.len(), RngKey::new(seed, Purpose::Evaluate, u64::MAX));
        let epochs = Epochs::new(mnist.train.len(), seed);
        Ok(Self { mnist, transform, standardisation, test_order, epochs })
    }

    fn set(&self, split: Split) -> &Pictures {
        match split {
            Split::Validation => &self.mnist.validation,
            Split::Test => &self.mnist.test,
        }
    }

    /// Writes pictures in the flow's coordinates, each with the dequantisation noise of its own row.
    fn write(&self, set: &Pictures, indices: &[u32], rows: Range<usize>, key: RngKey, out: &mut [f64]) {
        for ((row, index), out) in rows.zip(indices).zip(out.chunks_exact_mut(self.mnist.dimension())) {
            self.transform.forward(set.picture(*index as usize), &mut key.row(row as u64), out);
        }
        self.standardisation.apply(out);
    }
}

impl Target for Digits {
    fn dimension(&self) -> usize {
        self.mnist.dimension()
    }

    fn layout(&self) -> Layout {
        Layout::Picture(SIDE, SIDE)
    }

    /// From logits to the flow's coordinates.
    fn bijection(&self) -> Option<Arc<dyn Bijection>> {
        Some(Arc::new(self.standardisation.clone()))
    }

    fn samples(&self) -> Option<&dyn Samples> {
        Some(self)
    }

    fn standardisation(&self) -> Option<&Standardisation> {
        Some(&self.standardisation)
    }

    /// With the Jacobian of each row's own logits.
    fn bits_per_dim(&self, rows: &[f64], losses: &[f64]) -> Option<Vec<f64>> {
        let (mut logits, dimension) = (rows.to_vec(), self.mnist.dimension());
        self.standardisation.invert(&mut logits);
        let of =
            |(x, loss): (&[f64], &f64)| LogitTransform::bits_per_dim(*loss, self.transform.log_jacobian(x), dimension);
        Some(logits.chunks_exact(dimension).zip(losses).map(of).collect())
    }
}

impl Samples for Digits {
    fn training_rows(&self) -> Option<usize> {
        Some(self.mnist.train.len())
    }

    fn held_out_rows(&self, split: Split) -> Option<usize> {
        Some(self.set(split).len())
    }

    fn training(&self, key: RngKey, seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        let indices = self.epochs.rows(seen + rows.start as u64..seen + rows.end as u64);
        self.write(&self.mnist.train, &indices, rows, key, out);
        Ok(())
    }

    fn held_out(
        &self,
        split: Split,
        key: RngKey,
        first: usize,
        rows: Range<usize>,
        out: &mut [f64],
    ) -> Result<(), Error> {
        let places = first + rows.start..first + rows.end;
        let indices: Vec<u32> = match split {
            Split::Validation => places.map(|i| i as u32).collect(),
            Split::Test => places.map(|i| self.test_order[i]).collect(),
        };
        self.write(self.set(split), &indices, rows, key, out);
        Ok(())
    }

    fn digest(&self) -> Option<String> {
        Some(self.mnist.digest())
    }
}

/// The standardisation of that kind for these pictures.
fn standardisation(
    kind: Standardise,
    pictures: &Pictures,
    transform: LogitTransform,
    monitor: &dyn Monitor,
) -> Result<Standardisation, Error> {
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
            monitor.note("finding the covariance of the training pictures");
            let (mean, covariance) = pictures.logit_covariance(transform);
            Standardisation::gaussian(mean, &covariance)
        }
    };
    found.map_err(|error| Error::Failed(format!("target.standardise = \"{}\": {error}", kind.name())))
}

/// Makes sure that the user's cache folder holds the files.
fn fetch(monitor: &dyn Monitor) -> Result<PathBuf, Error> {
    let download = Download::into_user_cache()?;
    download.fetch(|sentence| monitor.note(sentence))?;
    Ok(download.folder)
}

#[cfg(test)]
mod tests {
    use backend_ndarray::Cpu;
    use flow_core::Batches;

    use super::*;
    use crate::recipe::Objective;
    use crate::target::TrainingRows;

    /// 24 training and 7 test pictures of random pixels.
    fn digits(standardise: Standardise) -> Digits {
        let folder = tempfile::tempdir().unwrap();
        for (name, count) in [("train", 24_u32), ("t10k", 7)] {
            let mut pictures = [0x803_u32, count, 28, 28].map(u32::to_be_bytes).concat();
            pictures.extend((0..count * 784).map(|k| (k.wrapping_mul(2_654_435_761) >> 9) as u8));
            std::fs::write(folder.path().join(format!("{name}-images-idx3-ubyte")), pictures).unwrap();
        }
        let target = MnistTarget { content: DataContent::Any, standardise, ..MnistTarget::default() };
        Digits::load(&target, 7, Some(folder.path()), None, &()).unwrap()
    }

    fn batch(digits: &Digits, threads: usize, (first, seen): (u64, u64), step: u64, rows: usize) -> Vec<f64> {
        let space = Cpu::<f64>::new(threads);
        let rows_of = TrainingRows { target: digits, objective: Objective::Nll, space: &space, first, seen };
        rows_of.batch(RngKey::new(7, Purpose::Train, step), 0..rows, rows).unwrap().x
    }

    #[test]
    fn batches_do_not_depend_on_the_threads() {
        let digits = digits(Standardise::PerCoordinate);
        // The second of these batches runs over the end of an epoch.
        for step in [0, 1] {
            let found = batch(&digits, 1, (0, 0), step, 18);
            assert_eq!(found, batch(&digits, 3, (0, 0), step, 18));
            let indices = digits.epochs.rows(18 * step..18 * (step + 1));
            let mut whole = vec![0.0; 18 * 784];
            digits.write(&digits.mnist.train, &indices, 0..18, RngKey::new(7, Purpose::Train, step), &mut whole);
            assert_eq!(found, whole);
        }
    }

    #[test]
    fn a_second_training_goes_on_in_the_epoch_of_the_first() {
        let digits = digits(Standardise::None);
        // Without the noise, which is of the step.
        let grey = |start, step, rows| {
            let logits = batch(&digits, 1, start, step, rows);
            logits.chunks(784).map(|row| (256.0 / (1.0 + (-row[400]).exp())).floor()).collect::<Vec<_>>()
        };
        let at_once = grey((0, 0), 0, 18);
        // Three batches of four pictures, then two of three.
        let split: Vec<f64> =
            (0..3).flat_map(|s| grey((0, 0), s, 4)).chain((3..5).flat_map(|s| grey((3, 12), s, 3))).collect();
        assert_eq!(split, at_once);
    }

    #[test]
    fn rows_are_standardised_logits() {
        let plain = digits(Standardise::None);
        let key = RngKey::new(7, Purpose::Evaluate, 0);
        let held_out = |digits: &Digits| {
            let mut rows = vec![0.0; 7 * 784];
            digits.held_out(Split::Test, key, 0, 0..7, &mut rows).unwrap();
            rows
        };
        let logits = held_out(&plain);
        let mut expected = vec![0.0; 784];
        plain.transform.forward(plain.mnist.test.picture(plain.test_order[3] as usize), &mut key.row(3), &mut expected);
        assert_eq!(logits[3 * 784..4 * 784], expected);
        for kind in [Standardise::Scale, Standardise::PerCoordinate] {
            let digits = digits(kind);
            let mut rows = held_out(&digits);
            assert!(rows.iter().all(|y| y.abs() < 20.0) && rows != logits);
            digits.bijection().unwrap().inverse(&mut rows, &[], &mut [0.0; 7]);
            assert!(rows.iter().zip(&logits).all(|(back, x)| (back - x).abs() < 1e-12), "{kind:?}");
        }
    }
}
