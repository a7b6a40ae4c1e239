//! Where the batches of a training come from: samples of the base density, rows of an array, or whatever implements the
//! seam.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rand::seq::SliceRandom;

use crate::batch::{Batch, rows_of};
use crate::error::Error;
use crate::rng::{Purpose, RngKey};

/// Where batches come from: data, synthetic data, or samples of the base density.
///
/// ```
/// use std::ops::Range;
/// use flow_core::{Batch, Batches, Error, Purpose, RngKey};
///
/// /// Points on a noisy circle.
/// struct Circle { width: f64 }
///
/// impl Batches for Circle {
///     fn batch(&self, key: RngKey, part: Range<usize>, rows: usize) -> Result<Batch, Error> {
///         let mut x = key.normals(part.clone(), 2);
///         for x in x.chunks_exact_mut(2) {
///             let radius = x[0].hypot(x[1]);
///             x.iter_mut().for_each(|x| *x /= radius);
///         }
///         x.iter_mut().zip(key.noise(part.clone(), 2)).for_each(|(x, noise)| *x += self.width * noise);
///         Ok(Batch::new(x, 2)?.part(part.start, rows))
///     }
/// }
///
/// let (circle, key) = (Circle { width: 0.1 }, RngKey::new(1, Purpose::Train, 0));
/// assert_eq!(circle.batch(key, 5..8, 8)?.x, circle.batch(key, 0..8, 8)?.x[10..]);
/// # Ok::<(), Error>(())
/// ```
pub trait Batches: Sync {
    /// The rows `part` of a batch of `rows` rows, as a function of the key and the rows' numbers alone: a part is what
    /// the whole batch has there.
    ///
    /// # Errors
    /// Whatever keeps it from giving the batch, as [`Error::Callback`].
    fn batch(&self, key: RngKey, part: Range<usize>, rows: usize) -> Result<Batch, Error>;
}

/// Samples of the standard normal base density.
#[derive(Debug, Clone, Copy)]
pub struct BaseSamples {
    /// Numbers per row.
    pub dim: usize,
}

impl Batches for BaseSamples {
    fn batch(&self, key: RngKey, part: Range<usize>, rows: usize) -> Result<Batch, Error> {
        Ok(Batch::new(key.normals(part.clone(), self.dim), self.dim)?.part(part.start, rows))
    }
}

/// The rows of an array, all of them in a new random order in every epoch.
///
/// ```
/// use flow_core::{ArrayRows, Batches, Purpose, RngKey};
/// let rows = ArrayRows::new((0..10).map(f64::from).collect(), 2)?;
/// // Five rows of two numbers: a batch of five is an epoch.
/// let mut batch = rows.batch(RngKey::new(3, Purpose::Train, 0), 0..5, 5)?.x;
/// batch.sort_by(f64::total_cmp);
/// assert_eq!(batch, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
/// # Ok::<(), flow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ArrayRows {
    x: Vec<f64>,
    dim: usize,
    rows: usize,
    /// The order of the epoch that was asked for last.
    order: Mutex<Option<EpochOrder>>,
}

#[derive(Debug)]
struct EpochOrder {
    seed: u64,
    epoch: u64,
    rows: Arc<Vec<usize>>,
}

impl ArrayRows {
    /// `x` is `rows × dim`, row by row.
    ///
    /// # Errors
    /// [`Error::Shape`] when the numbers do not make whole rows, or there are none; [`Error::NonFinite`] for a number
    /// that is not finite.
    pub fn new(x: Vec<f64>, dim: usize) -> Result<Self, Error> {
        let rows = rows_of("the array of rows", &x, dim)?;
        if rows == 0 {
            return Err(Error::Shape { what: "the array of rows".into(), found: vec![0, dim], expected: vec![1, dim] });
        }
        if let Some(at) = x.iter().position(|v| !v.is_finite()) {
            let place = format!(": column {} of row {} is {}", at % dim, at / dim, x[at]);
            return Err(Error::NonFinite { what: "the array of rows", place });
        }
        Ok(Self { x, dim, rows, order: Mutex::new(None) })
    }

    /// The order of the rows in an epoch.
    fn order(&self, seed: u64, epoch: u64) -> Arc<Vec<usize>> {
        let mut kept = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.as_ref().filter(|known| (known.seed, known.epoch) == (seed, epoch)) {
            return known.rows.clone();
        }
        let mut rows: Vec<usize> = (0..self.rows).collect();
        rows.shuffle(&mut RngKey::new(seed, Purpose::Shuffle, epoch).row(0));
        let rows = Arc::new(rows);
        *kept = Some(EpochOrder { seed, epoch, rows: rows.clone() });
        rows
    }
}

impl Batches for ArrayRows {
    fn batch(&self, key: RngKey, part: Range<usize>, rows: usize) -> Result<Batch, Error> {
        let mut x = Vec::with_capacity(part.len() * self.dim);
        let first = key.step() * rows as u64;
        for row in part.clone() {
            let (place, of) = (first + row as u64, self.rows as u64);
            let row = self.order(key.seed(), place / of)[(place % of) as usize];
            x.extend_from_slice(&self.x[row * self.dim..(row + 1) * self.dim]);
        }
        Ok(Batch::new(x, self.dim)?.part(part.start, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that say their own number, twice.
    fn numbered(rows: usize) -> ArrayRows {
        ArrayRows::new((0..rows).flat_map(|r| [r as f64; 2]).collect(), 2).unwrap()
    }

    /// The numbers of the rows of so many batches, one after the other.
    fn order(of: &ArrayRows, seed: u64, batches: u64, rows: usize) -> Vec<usize> {
        let batch = |step| of.batch(RngKey::new(seed, Purpose::Train, step), 0..rows, rows).unwrap().x;
        let x: Vec<f64> = (0..batches).flat_map(batch).collect();
        assert!(x.chunks(2).all(|row| row[0] == row[1]), "rows stay whole");
        x.into_iter().step_by(2).map(|r| r as usize).collect()
    }

    #[test]
    fn every_epoch_has_every_row_once_in_an_order_of_its_own() {
        // Batches that do not divide an epoch, and one that is longer.
        for rows in [4, 7, 25] {
            let of = numbered(10);
            let order = order(&of, 3, 20, rows);
            let epochs: Vec<_> = order.chunks_exact(10).collect();
            assert!(epochs.len() >= 8);
            for (i, epoch) in epochs.iter().enumerate() {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..10), "epoch {i}: {epoch:?}");
            }
            assert!(epochs.windows(2).all(|pair| pair[0] != pair[1]), "no epoch is the one before");
        }
        assert_ne!(order(&numbered(10), 3, 1, 10), order(&numbered(10), 4, 1, 10), "the seed matters");
    }

    #[test]
    fn a_part_of_a_batch_is_what_the_whole_has_there() {
        let (rows, base) = (numbered(10), BaseSamples { dim: 2 });
        let sources: [&dyn Batches; 2] = [&rows, &base];
        for source in sources {
            for step in [0, 1, 5] {
                let key = RngKey::new(3, Purpose::Train, step);
                let whole = source.batch(key, 0..8, 8).unwrap();
                assert_eq!((whole.rows.clone(), whole.of, whole.total_weight), (0..8, 8, 8.0));
                // Asked for in any order, from a source that others asked before.
                for part in [5..8, 0..3, 7..8, 3..5] {
                    let found = source.batch(key, part.clone(), 8).unwrap();
                    assert_eq!(found.x, whole.x[2 * part.start..2 * part.end]);
                    assert_eq!((found.rows, found.of, found.total_weight), (part, 8, 8.0));
                }
            }
        }
    }

    #[test]
    fn arrays_that_are_no_rows_are_refused() {
        for (x, dim) in [(vec![0.0; 5], 2), (Vec::new(), 2), (vec![0.0; 4], 0)] {
            let refused = ArrayRows::new(x, dim);
            assert!(matches!(refused, Err(Error::Shape { .. })), "{refused:?}");
        }
        let error = ArrayRows::new(vec![0.0, 1.0, f64::NAN, 3.0], 2).unwrap_err().to_string();
        assert!(error.contains("column 0 of row 1 is NaN"), "{error}");
    }
}
