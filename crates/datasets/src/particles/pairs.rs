//! Configurations of a cluster paired with points of the base density that they are near to.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::{Alignment, ClusterError, ClusterSamples, Composition, assignment};
use crate::chains::{Heard, Part};

/// Pairs that exchange their partners, where images are exact and quickly found.
const BLOCK: usize = 64;
/// Keeps these random numbers apart from those of every other sampler with the same seed.
const KEY: [u8; 8] = *b"partners";

/// Pairs of a standard normal point of n d numbers and a configuration of a cluster, each turned and renumbered towards
/// its partner ([`Alignment`]) and moved to the same centre.
///
/// Paths between partners are short and cross little, so that a flow learns more of them from fewer steps (Klein,
/// Krämer and Noé, arXiv:2306.15030). The law of either partner is what it was, up to symmetries that the cluster has
/// and that a potential of distances cannot tell. Of up to 4 particles the best partners within blocks of 64 are found
/// too.
#[derive(Debug, Clone)]
pub struct Pairs {
    numbers: usize,
    /// The pairs that are here.
    found: Range<usize>,
    /// Points of the base and configurations in turn.
    x: Vec<f64>,
}

impl Pairs {
    /// Finds a partner for every configuration; `progress` hears, from any thread, how many have one.
    ///
    /// # Errors
    /// [`ClusterError::SampleCount`] for more than memory holds; [`ClusterError::Stopped`] where `progress` broke off.
    pub fn of(
        of: &Composition,
        samples: &ClusterSamples,
        seed: u64,
        progress: &Heard<'_>,
    ) -> Result<Self, ClusterError> {
        Self::part(of, samples, seed, 0..Self::blocks(samples.len()), progress)
    }

    /// How many blocks `count` pairs come in. Several processes find some blocks each.
    pub fn blocks(count: usize) -> usize {
        count.div_ceil(BLOCK)
    }

    /// Finds the partners of some [blocks](Pairs::blocks).
    ///
    /// # Errors
    /// As [`Pairs::of`].
    pub fn part(
        of: &Composition,
        samples: &ClusterSamples,
        seed: u64,
        chosen: Range<usize>,
        progress: &Heard<'_>,
    ) -> Result<Self, ClusterError> {
        let (numbers, count) = (of.dimension(), samples.len());
        let alignment = Alignment::of(of);
        let mut x = Vec::new();
        if x.try_reserve_exact(count * 2 * numbers).is_err() {
            return Err(ClusterError::SampleCount { count, numbers: 2 * numbers });
        }
        x.resize(count * 2 * numbers, 0.0);
        // Within a block from many chains: successive configurations of one are alike.
        let (blocks, done) = (Self::blocks(count), AtomicUsize::new(0));
        let order: Vec<usize> = (0..blocks).flat_map(|first| (first..count).step_by(blocks)).collect();
        let of_blocks = x.par_chunks_mut(BLOCK * 2 * numbers).enumerate().skip(chosen.start).take(chosen.len());
        of_blocks.try_for_each(|(block, pairs)| {
            let mut whole = [0; 32];
            for (slot, word) in whole.chunks_exact_mut(8).zip([seed.to_le_bytes(), KEY, (block as u64).to_le_bytes()]) {
                slot.copy_from_slice(&word);
            }
            let mut rng = ChaCha8Rng::from_seed(whole);
            let members = order.iter().skip(block * BLOCK).take(pairs.len() / (2 * numbers));
            let members: Vec<&[f64]> = members.map(|index| samples.configuration(*index)).collect();
            fill(of, &alignment, &members, pairs, &mut rng);
            let done = done.fetch_add(members.len(), Ordering::Relaxed) + members.len();
            match progress(done) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(ClusterError::Stopped { done }),
            }
        })?;
        let found = (chosen.start * BLOCK).min(count)..(chosen.end * BLOCK).min(count);
        Ok(Self { numbers, found, x })
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.x.len() / (2 * self.numbers)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.x.is_empty()
    }

    /// The point of the base and the configuration of pair `index`.
    ///
    /// # Panics
    /// If there is no such pair.
    pub fn pair(&self, index: usize) -> (&[f64], &[f64]) {
        self.x[index * 2 * self.numbers..(index + 1) * 2 * self.numbers].split_at(self.numbers)
    }

    /// The mean square of the distance between partners.
    pub fn mean_square(&self) -> f64 {
        let square = |k| {
            let (base, target) = self.pair(k);
            base.iter().zip(target).map(|(x, y)| (x - y).powi(2)).sum::<f64>()
        };
        (0..self.len()).map(square).sum::<f64>() / self.len() as f64
    }
}

impl Part for Pairs {
    fn numbers(&self) -> Vec<f64> {
        self.x[self.found.start * 2 * self.numbers..self.found.end * 2 * self.numbers].to_vec()
    }

    fn completed(mut self, numbers: &[f64]) -> Self {
        self.x.copy_from_slice(numbers);
        Self { found: 0..self.len(), ..self }
    }
}

/// Draws a point of the base for every configuration of a block, and pairs them.
fn fill(of: &Composition, alignment: &Alignment, members: &[&[f64]], pairs: &mut [f64], rng: &mut ChaCha8Rng) {
    let (numbers, d, n) = (of.dimension(), of.space(), members.len());
    let base: Vec<f64> = StandardNormal.sample_iter(&mut *rng).take(n * numbers).collect();
    let mut centred = base.clone();
    centred.chunks_exact_mut(numbers).for_each(|x| of.centre(x));
    let partners: Vec<usize> = if alignment.is_exact() {
        let of_base = centred.chunks_exact(numbers);
        let costs: Vec<f64> = of_base.flat_map(|x| members.iter().map(|y| alignment.least(x, y))).collect();
        assignment(&costs, n)
    } else {
        (0..n).collect()
    };
    let rows = pairs.chunks_exact_mut(2 * numbers).zip(base.chunks_exact(numbers)).zip(centred.chunks_exact(numbers));
    for (((pair, base), centred), partner) in rows.zip(partners) {
        let (to_base, target) = pair.split_at_mut(numbers);
        to_base.copy_from_slice(base);
        target.copy_from_slice(members[partner]);
        alignment.align(centred, target, rng);
        for (a, target) in target.iter_mut().enumerate() {
            *target += base[a % d] - centred[a % d];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::particles::{Cluster, PairEnergy};

    #[test]
    fn partners_are_near_and_are_what_they_were() {
        let go_on = |_| ControlFlow::Continue(());
        for (particles, space) in [(4, 2), (6, 3)] {
            let cluster = Cluster::new(particles, space, PairEnergy::DoubleWell { strength: 1.0 }).unwrap();
            let samples = ClusterSamples::generate(&cluster, 200, 1, &go_on).unwrap();
            let pairs = Pairs::of(cluster.composition(), &samples, 1, &go_on).unwrap();
            assert_eq!(pairs.len(), 200);
            let part = |blocks| Pairs::part(cluster.composition(), &samples, 1, blocks, &go_on).unwrap();
            let (first, second) = (part(0..1), part(1..4));
            assert_eq!(second.completed(&[first.numbers(), part(1..4).numbers()].concat()).x, pairs.x);
            // Each configuration comes once: its energy tells it.
            let sorted = |mut of: Vec<f64>| {
                of.sort_by(f64::total_cmp);
                of
            };
            let found = sorted((0..200).map(|k| cluster.energy(pairs.pair(k).1)).collect());
            let given = sorted((0..200).map(|k| cluster.energy(samples.configuration(k))).collect());
            assert!(found.iter().zip(&given).all(|(a, b)| (a - b).abs() < 1e-8 * a.abs().max(1.0)));
            // Partners have the same centre, and are nearer than strangers.
            let centre = |x: &[f64], a: usize| x.iter().skip(a).step_by(space).sum::<f64>() / particles as f64;
            let strangers = (0..200).map(|k| {
                let (base, target) = (pairs.pair(k).0, samples.configuration((7 * k + 1) % 200));
                base.iter().zip(target).map(|(x, y)| (x - y).powi(2)).sum::<f64>()
            });
            let strangers = strangers.sum::<f64>() / 200.0;
            assert!(pairs.mean_square() < 0.7 * strangers, "{} {strangers}", pairs.mean_square());
            for k in 0..200 {
                let (base, target) = pairs.pair(k);
                assert!((0..space).all(|a| (centre(base, a) - centre(target, a)).abs() < 1e-12));
            }
            let again = Pairs::of(cluster.composition(), &samples, 1, &go_on).unwrap();
            assert_eq!(again.pair(33), pairs.pair(33));
        }
    }
}
