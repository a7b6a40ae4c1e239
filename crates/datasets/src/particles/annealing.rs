//! ln Z of a cluster by annealed importance sampling from a standard normal one.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::chain::sweep;
use super::{Cluster, ClusterError};
use crate::chains::{Heard, Part};

/// Chains that find the path of all others.
const PILOTS: usize = 32;
/// Sweeps of the pilots at each of their places.
const PILOT_SWEEPS: usize = 10;
/// Deviation of the change of energy from one place of the pilots to the next.
const PACE: f64 = 0.5;
/// Acceptance that the steps are tuned to.
const ACCEPTANCE: f64 = 0.4;
/// Keeps these random numbers apart from those of every other sampler with the same seed.
const KEY: [u8; 8] = *b"annealed";

/// How much work an annealing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annealing {
    /// Independent chains, at least 2: each has one weight.
    pub chains: usize,
    /// Places on the path, each with one sweep over all particles; at least 1.
    pub places: usize,
}

/// ln Z of a [`Cluster`] by annealed importance sampling (Neal, Stat. Comput. 11, 125 (2001)).
///
/// Every chain begins with a standard normal cluster, whose ln Z is `½ (n − 1) d ln 2π`, and goes by Metropolis steps
/// through densities between this one and `exp(−U)`; the mean of the weights that it collects is the ratio of both Z,
/// without bias, whatever the steps are. Hard cores are soft on the way. Where the path is steep places are dense: a
/// few pilot chains find where, and how long steps should be; their own weights are left out.
///
/// The result depends on the seed alone, not on the number of threads.
///
/// ```
/// use datasets::particles::{AnnealedLogZ, Annealing, Cluster, PairEnergy};
/// let cluster = Cluster::new(3, 2, PairEnergy::Harmonic { stiffness: 1.0 })?;
/// let work = Annealing { chains: 64, places: 100 };
/// let found = AnnealedLogZ::generate(&cluster, work, 1, &|_| std::ops::ControlFlow::Continue(()))?;
/// let (log_z, error) = found.log_z();
/// assert!((log_z - cluster.log_z().unwrap()).abs() < 4.0 * error && error < 0.1);
/// # Ok::<(), datasets::particles::ClusterError>(())
/// ```
#[derive(Debug, Clone)]
pub struct AnnealedLogZ {
    /// ln Z of the standard normal cluster.
    start: f64,
    /// The chains that are here.
    found: Range<usize>,
    log_weights: Vec<f64>,
}

/// A place on the path: how near to the target, and the step of a particle there.
#[derive(Debug, Clone, Copy)]
struct Place {
    lambda: f64,
    step: f64,
}

impl AnnealedLogZ {
    /// Anneals; `progress` hears, from any thread, how many chains are done.
    ///
    /// # Errors
    /// [`ClusterError::Annealing`] for too little work; [`ClusterError::Stopped`] where `progress` broke off.
    pub fn generate(cluster: &Cluster, work: Annealing, seed: u64, progress: &Heard<'_>) -> Result<Self, ClusterError> {
        Self::part(cluster, work, seed, 0..work.chains, progress)
    }

    /// Anneals some of the chains.
    ///
    /// # Errors
    /// As [`AnnealedLogZ::generate`].
    pub fn part(
        cluster: &Cluster,
        work: Annealing,
        seed: u64,
        chains: Range<usize>,
        progress: &Heard<'_>,
    ) -> Result<Self, ClusterError> {
        let Annealing { chains: count, places } = work;
        if count < 2 || places < 1 {
            return Err(ClusterError::Annealing { chains: count, places });
        }
        let path = refined(&pilot(cluster, seed), places);
        let mut log_weights = vec![0.0; count];
        let done = AtomicUsize::new(0);
        let of_chains = log_weights.par_iter_mut().enumerate().skip(chains.start).take(chains.len());
        of_chains.try_for_each(|(chain, log_weight)| {
            *log_weight = annealed(cluster, &path, &mut generator(seed, 1 + chain as u64));
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            match progress(done) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(ClusterError::Stopped { done }),
            }
        })?;
        let hyperplane = ((cluster.particles() - 1) * cluster.space()) as f64;
        let start = 0.5 * hyperplane * std::f64::consts::TAU.ln();
        Ok(Self { start, found: chains, log_weights })
    }

    /// `ln (Z w / Z)` of every chain: ln Z is the logarithm of the mean of their exponentials.
    pub fn log_weights(&self) -> Vec<f64> {
        self.log_weights.iter().map(|w| self.start + w).collect()
    }

    /// ln Z and its standard error to leading order, which is too small where few weights carry the sum: see
    /// [`AnnealedLogZ::effective_size`].
    pub fn log_z(&self) -> (f64, f64) {
        let (most, weights) = self.weights();
        let n = weights.len() as f64;
        let mean = weights.iter().sum::<f64>() / n;
        let variance = weights.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (self.start + most + mean.ln(), (variance / n).sqrt() / mean)
    }

    /// `(Σw)²/(n Σw²)`: the part of the chains that count.
    pub fn effective_size(&self) -> f64 {
        let weights = self.weights().1;
        let squares: f64 = weights.iter().map(|w| w * w).sum();
        weights.iter().sum::<f64>().powi(2) / (squares * weights.len() as f64)
    }

    /// The largest log-weight, and all weights in units of it.
    fn weights(&self) -> (f64, Vec<f64>) {
        let most = self.log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (most, self.log_weights.iter().map(|w| (w - most).exp()).collect())
    }
}

impl Part for AnnealedLogZ {
    fn numbers(&self) -> Vec<f64> {
        self.log_weights[self.found.clone()].to_vec()
    }

    fn completed(mut self, numbers: &[f64]) -> Self {
        self.log_weights.copy_from_slice(numbers);
        Self { found: 0..self.log_weights.len(), ..self }
    }
}

fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut whole = [0; 32];
    for (slot, word) in whole.chunks_exact_mut(8).zip([seed.to_le_bytes(), KEY, stream.to_le_bytes()]) {
        slot.copy_from_slice(&word);
    }
    ChaCha8Rng::from_seed(whole)
}

/// Where the path has its places, so that the energy changes as much from each to the next, and the steps there.
fn pilot(cluster: &Cluster, seed: u64) -> Vec<Place> {
    let mut rng = generator(seed, 0);
    let mut normal = || StandardNormal.sample_iter(&mut rng).take(cluster.dimension()).collect::<Vec<f64>>();
    let mut all: Vec<Vec<f64>> = (0..PILOTS).map(|_| normal()).collect();
    let mut path = vec![Place { lambda: 0.0, step: 0.7 }];
    while let Some(&Place { lambda, mut step }) = path.last().filter(|place| place.lambda < 1.0) {
        let lambda = next(cluster, &all, lambda);
        for _ in 0..PILOT_SWEEPS {
            let of_pair = |q| cluster.of_pair_between(q, lambda);
            let accepted = all.iter_mut().map(|x| sweep(x, cluster.space(), step, 1.0, &mut rng, of_pair));
            let acceptance = accepted.sum::<usize>() as f64 / (PILOTS * cluster.particles()) as f64;
            step *= 1.0 + 0.5 * (acceptance - ACCEPTANCE);
        }
        path.push(Place { lambda, step });
    }
    path
}

/// The place after λ, by bisection: as far as the changes of the energy deviate no more than the pace allows.
fn next(cluster: &Cluster, all: &[Vec<f64>], lambda: f64) -> f64 {
    let before: Vec<f64> = all.iter().map(|x| cluster.energy_between(x, lambda)).collect();
    let deviation = |to: f64| {
        let changes: Vec<f64> = all.iter().zip(&before).map(|(x, u)| cluster.energy_between(x, to) - u).collect();
        let mean = changes.iter().sum::<f64>() / changes.len() as f64;
        (changes.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / changes.len() as f64).sqrt()
    };
    if deviation(1.0) <= PACE {
        return 1.0;
    }
    let (mut low, mut high) = (lambda, 1.0);
    for _ in 0..30 {
        let middle = 0.5 * (low + high);
        // What overflows is too far.
        if deviation(middle) <= PACE { low = middle } else { high = middle }
    }
    // On, by whatever little, where all of the path seems too steep.
    low.max(lambda + 1e-9).min(1.0)
}

/// A path of `places` places after the first, equally spaced along another.
fn refined(path: &[Place], places: usize) -> Vec<Place> {
    let last = path.len() - 1;
    let at = |k: usize| {
        let along = (k * last) as f64 / places as f64;
        let (before, part) = ((along as usize).min(last - 1), along - (along as usize).min(last - 1) as f64);
        let between = |of: fn(&Place) -> f64| (1.0 - part) * of(&path[before]) + part * of(&path[before + 1]);
        Place { lambda: between(|place| place.lambda), step: between(|place| place.step) }
    };
    (0..=places).map(at).collect()
}

/// The log-weight of one chain.
fn annealed(cluster: &Cluster, path: &[Place], rng: &mut ChaCha8Rng) -> f64 {
    let mut x: Vec<f64> = StandardNormal.sample_iter(&mut *rng).take(cluster.dimension()).collect();
    let mut log_weight = 0.0;
    for (before, place) in path.iter().zip(&path[1..]) {
        log_weight += cluster.energy_between(&x, before.lambda) - cluster.energy_between(&x, place.lambda);
        sweep(&mut x, cluster.space(), place.step, 1.0, rng, |q| cluster.of_pair_between(q, place.lambda));
    }
    log_weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::particles::PairEnergy;

    fn go_on(_: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn close(cluster: &Cluster, work: Annealing, exact: f64, most: f64) {
        let found = AnnealedLogZ::generate(cluster, work, 1, &go_on).unwrap();
        let ((log_z, error), size) = (found.log_z(), found.effective_size());
        assert!((log_z - exact).abs() < 3.0 * error && error < most, "{cluster:?}: {log_z} ± {error}, not {exact}");
        assert!(size > 0.1, "{cluster:?}: {size}");
    }

    #[test]
    fn what_is_known_is_found() {
        let work = Annealing { chains: 1000, places: 1000 };
        let harmonic = |n, d, stiffness| Cluster::new(n, d, PairEnergy::Harmonic { stiffness }).unwrap();
        for cluster in [harmonic(4, 2, 0.05), harmonic(6, 3, 0.5), harmonic(3, 1, 4.0)] {
            close(&cluster, work, cluster.log_z().unwrap(), 0.02);
        }
        for pair in [PairEnergy::LennardJones { epsilon: 2.0 }, PairEnergy::DoubleWell { strength: 1.0 }] {
            for space in 1..=3 {
                let cluster = Cluster::new(2, space, pair).unwrap();
                close(&cluster, work, cluster.log_z().unwrap(), 0.02);
            }
        }
    }

    #[test]
    fn dw4_is_what_others_found() {
        // 29.687 ± 0.014 by another program.
        let dw4 = Cluster::new(4, 2, PairEnergy::DoubleWell { strength: 1.0 }).unwrap();
        close(&dw4, Annealing { chains: 400, places: 4000 }, 29.687, 0.05);
    }

    #[test]
    #[ignore = "long: scripts/full"]
    fn lj13_is_what_others_found() {
        // 59.8 ± 0.1 by another program.
        let lj13 = Cluster::new(13, 3, PairEnergy::LennardJones { epsilon: 2.0 }).unwrap();
        let found = AnnealedLogZ::generate(&lj13, Annealing { chains: 512, places: 8000 }, 2, &go_on).unwrap();
        let (log_z, error) = found.log_z();
        assert!((log_z - 59.8).abs() < 0.2 && error < 0.03, "{log_z} ± {error}");
    }

    #[test]
    fn parts_make_the_whole_and_stop_when_told_to() {
        let dw4 = Cluster::new(4, 2, PairEnergy::DoubleWell { strength: 1.0 }).unwrap();
        let work = Annealing { chains: 20, places: 30 };
        let part = |chains| AnnealedLogZ::part(&dw4, work, 3, chains, &go_on).unwrap();
        let (first, second) = (part(0..7), part(7..20));
        let all = [first.numbers(), second.numbers()].concat();
        assert_eq!(first.completed(&all).log_weights(), part(0..20).log_weights());
        let stopped = AnnealedLogZ::generate(&dw4, work, 3, &|_| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(ClusterError::Stopped { .. })));
        for work in [Annealing { chains: 1, ..work }, Annealing { places: 0, ..work }] {
            assert!(matches!(AnnealedLogZ::generate(&dw4, work, 3, &go_on), Err(ClusterError::Annealing { .. })));
        }
    }
}
