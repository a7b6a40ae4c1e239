//! Random numbers keyed by (seed, purpose, step, row): the same at any thread count and after any resume.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// What a random number is for. Different purposes never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// First values of the parameters.
    Initialise = 1,
    /// Order of the training data within an epoch.
    Shuffle = 2,
    /// Batches for training: base samples, synthetic data, dequantisation noise.
    Train = 3,
    /// Batches for validation during training.
    Validate = 4,
    /// Batches for the final figures.
    Evaluate = 5,
    /// Samples that the user asked for.
    Sample = 6,
    /// Steps of Markov chains.
    Chain = 7,
    /// Discrete variables drawn beside continuous ones: spins.
    Spins = 8,
}

/// A key for one batch of random numbers: (seed, purpose, step), and the row of the batch where numbering begins.
///
/// ```
/// use flow_core::{RngKey, Purpose};
/// let key = RngKey::new(7, Purpose::Train, 3);
/// assert_eq!(key.normals(0..4, 5)[5..10], key.normals(1..2, 5)[..]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RngKey {
    seed: u64,
    purpose: Purpose,
    step: u64,
    first_row: u64,
}

/// The last of the streams of a row, that of [`RngKey::rademacher`]; stages of a solve, which count from 1, never come
/// near it.
const STREAMS: u64 = 0xffff_ffff_ffff;
/// The stream of [`RngKey::noise`].
const NOISE: u64 = STREAMS - 1;
/// The stream of [`RngKey::stratified`].
const TIMES: u64 = STREAMS - 2;

impl RngKey {
    /// The key of batch number `step` for a purpose.
    pub fn new(seed: u64, purpose: Purpose, step: u64) -> Self {
        Self { seed, purpose, step, first_row: 0 }
    }

    /// The key of the rows from `first` on: its row 0 is row `first` of this key.
    ///
    /// With it, a part of a batch draws the same numbers as the whole batch has there.
    ///
    /// ```
    /// use flow_core::{Purpose, RngKey};
    /// let key = RngKey::new(7, Purpose::Train, 3);
    /// assert_eq!(key.rows_from(10).normals(0..2, 5), key.normals(10..12, 5));
    /// ```
    #[must_use]
    pub fn rows_from(self, first: usize) -> Self {
        Self { first_row: self.first_row + first as u64, ..self }
    }

    /// The seed of the run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The number of the batch.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The generator of one row: where the numbers of a batch (data, base samples, noise) come from.
    pub fn row(&self, row: u64) -> ChaCha8Rng {
        self.generator(self.of_batch(row), 0)
    }

    /// The number within the batch of row `row` of this key. Wraps, so that chains may count rows from the end.
    fn of_batch(&self, row: u64) -> u64 {
        self.first_row.wrapping_add(row)
    }

    /// The generator of one row at one stage of a solve, apart from [`RngKey::row`]: for drawn symmetries.
    pub(crate) fn symmetry(&self, row: u64, stage: u64) -> ChaCha8Rng {
        self.generator(self.of_batch(row), 1 + stage)
    }

    fn generator(&self, row: u64, stream: u64) -> ChaCha8Rng {
        let mut key = [0u8; 32];
        for (slot, word) in
            key.chunks_exact_mut(8).zip([self.seed, (self.purpose as u64) << 48 | (stream & STREAMS), self.step, row])
        {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// Standard normal numbers, `cols` for each of the given rows, row by row.
    pub fn normals(&self, rows: std::ops::Range<usize>, cols: usize) -> Vec<f64> {
        self.normals_of(0, rows, cols)
    }

    /// `count` numbers uniform in [−1, 1), from the generator of one row.
    pub fn uniform(&self, row: u64, count: usize) -> Vec<f64> {
        let mut rng = self.row(row);
        (0..count).map(|_| 2.0 * rng.random::<f64>() - 1.0).collect()
    }

    /// Standard normal numbers, `cols` for each of the given rows, row by row, independent of all other numbers of the
    /// key: the noise that a batch of data is mixed with.
    pub fn noise(&self, rows: std::ops::Range<usize>, cols: usize) -> Vec<f64> {
        self.normals_of(NOISE, rows, cols)
    }

    fn normals_of(&self, stream: u64, rows: std::ops::Range<usize>, cols: usize) -> Vec<f64> {
        let mut out = Vec::with_capacity(rows.len() * cols);
        for row in rows {
            let rng = self.generator(self.of_batch(row as u64), stream);
            out.extend(<StandardNormal as Distribution<f64>>::sample_iter(StandardNormal, rng).take(cols));
        }
        out
    }

    /// One uniform number in each of `count` equal parts of [0, 1), in rising order, independent of all other numbers
    /// of the key. They belong to the whole batch: the same wherever its rows begin.
    pub fn stratified(&self, count: usize) -> Vec<f64> {
        let mut rng = self.generator(0, TIMES);
        (0..count).map(|i| (i as f64 + rng.random::<f64>()) / count as f64).collect()
    }

    /// Numbers +1 and −1 with equal chances, `cols` for each of the given rows, row by row, independent of all other
    /// numbers of the key: the probes of a stochastic trace, which stay the same during a solve.
    pub fn rademacher(&self, rows: std::ops::Range<usize>, cols: usize) -> Vec<f64> {
        let mut out = Vec::with_capacity(rows.len() * cols);
        for row in rows {
            let mut rng = self.generator(self.of_batch(row as u64), STREAMS);
            out.extend((0..cols).map(|_| if rng.random() { 1.0 } else { -1.0 }));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_share_numbers() {
        let base = RngKey::new(1, Purpose::Train, 0).normals(0..1, 8);
        for other in [
            RngKey::new(2, Purpose::Train, 0).normals(0..1, 8),
            RngKey::new(1, Purpose::Validate, 0).normals(0..1, 8),
            RngKey::new(1, Purpose::Train, 1).normals(0..1, 8),
            RngKey::new(1, Purpose::Train, 0).normals(1..2, 8),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn rows_of_a_part_are_those_of_the_whole() {
        let whole = RngKey::new(7, Purpose::Train, 3);
        let part = whole.rows_from(2).rows_from(3);
        assert_eq!(part.normals(0..4, 3), whole.normals(5..9, 3));
        assert_eq!(part.noise(1..3, 3), whole.noise(6..8, 3));
        assert_eq!(part.rademacher(0..4, 9), whole.rademacher(5..9, 9));
        assert_eq!(part.uniform(2, 6), whole.uniform(7, 6));
        assert_eq!(part.symmetry(1, 4).random::<u64>(), whole.symmetry(6, 4).random::<u64>());
        // Of the whole batch.
        assert_eq!(part.stratified(5), whole.stratified(5));
    }

    #[test]
    fn signs_are_fair_and_of_their_own() {
        let key = RngKey::new(3, Purpose::Train, 0);
        let signs = key.rademacher(0..100, 100);
        assert!(signs.iter().all(|s| s.abs() == 1.0));
        // Four standard errors of 10,000 numbers.
        assert!(signs.iter().sum::<f64>().abs() < 400.0);
        assert_eq!(signs[500..600], key.rademacher(5..6, 100));
        assert_ne!(signs[0..100], signs[100..200]);
    }

    #[test]
    fn normals_have_unit_variance() {
        let x = RngKey::new(3, Purpose::Sample, 0).normals(0..200, 100);
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        // Four standard errors of 20,000 numbers.
        assert!(mean.abs() < 4.0 / n.sqrt() && (variance - 1.0).abs() < 4.0 * (2.0 / n).sqrt());
    }
}
