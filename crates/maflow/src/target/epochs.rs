//! An endless sequence of shuffled passes over a finite training set.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use flow_core::{Purpose, RngKey};
use rand::seq::SliceRandom;

/// Number and order of an epoch.
type Epoch = (u64, Arc<Vec<u32>>);

/// Epochs, each a permutation of its own.
#[derive(Debug)]
pub(super) struct Epochs {
    rows: usize,
    seed: u64,
    /// Sums of the weights up to each row, where rows come as often as they weigh.
    sums: Option<Vec<f64>>,
    /// The latest two asked for: a batch may begin in one and end in the next.
    known: Mutex<Vec<Epoch>>,
}

impl Epochs {
    /// Of so many rows, shuffled by `seed`.
    pub fn new(rows: usize, seed: u64) -> Self {
        Self { rows, seed, sums: None, known: Mutex::default() }
    }

    /// The same with rows that come as often as they weigh: in every epoch as many times as their share of the weights
    /// comes to, rounded up or down at random. Without weights nothing changes.
    #[must_use]
    pub fn weighted(self, weights: &[f64]) -> Self {
        let mut sum = 0.0;
        let sums = weights.iter().map(|weight| {
            sum += weight;
            sum
        });
        Self { sums: (!weights.is_empty()).then(|| sums.collect()), ..self }
    }

    fn order(&self, epoch: u64) -> Arc<Vec<u32>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = known.iter().find(|(number, _)| *number == epoch) {
            return Arc::clone(order);
        }
        let key = RngKey::new(self.seed, Purpose::Shuffle, epoch);
        let mut order = shuffled(self.rows, key);
        if let Some(sums) = &self.sums {
            // Systematic sampling: equally spaced points of the sums, moved along at random.
            let (offset, total) = (key.uniform(1, 1)[0].abs(), sums[sums.len() - 1]);
            let row = |place: u32| {
                let at = (f64::from(place) + offset) / self.rows as f64 * total;
                sums.partition_point(|sum| *sum <= at).min(sums.len() - 1) as u32
            };
            order.iter_mut().for_each(|place| *place = row(*place));
        }
        let order = Arc::new(order);
        known.truncate(1);
        known.insert(0, (epoch, Arc::clone(&order)));
        order
    }

    /// The rows at these places of the sequence.
    pub fn rows(&self, places: Range<u64>) -> Vec<u32> {
        let count = self.rows as u64;
        let mut epoch = (places.start / count, self.order(places.start / count));
        let row = |place: u64| {
            if epoch.0 != place / count {
                epoch = (place / count, self.order(place / count));
            }
            epoch.1[(place % count) as usize]
        };
        places.map(row).collect()
    }
}

/// The numbers below `count`, shuffled.
pub(super) fn shuffled(count: usize, key: RngKey) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.shuffle(&mut key.row(0));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_is_a_permutation_of_its_own() {
        let epochs = Epochs::new(100, 7);
        let orders: Vec<Vec<u32>> = (0..3).map(|epoch| epochs.rows(100 * epoch..100 * (epoch + 1))).collect();
        assert_eq!(orders[1], Epochs::new(100, 7).rows(100..200));
        assert_ne!(orders[0], orders[1]);
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..100).collect::<Vec<u32>>());
        }
        let weighted = Epochs::new(100, 7).weighted(&(0..100).map(|i| f64::from(i % 4)).collect::<Vec<_>>());
        for epoch in 0..3 {
            let mut counts = [0; 100];
            weighted.rows(100 * epoch..100 * (epoch + 1)).into_iter().for_each(|row| counts[row as usize] += 1);
            for (row, count) in counts.into_iter().enumerate() {
                // 100 rows weigh 150.
                let share = (row % 4) as f64 * 100.0 / 150.0;
                assert!((f64::from(count) - share).abs() < 1.0, "row {row} came {count} times for {share}");
            }
        }
        assert_eq!(epochs.rows(90..110), [&orders[0][90..], &orders[1][..10]].concat(), "over the end of an epoch");
    }
}
