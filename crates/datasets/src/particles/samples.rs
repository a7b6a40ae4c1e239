//! Configurations of a cluster for training and for comparison.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::{Cluster, ClusterChain, ClusterError, Heard};

/// Independent chains that fill a pool. Part of what a seed means: not the number of threads.
const CHAINS: usize = 32;
/// Rounds between successive configurations of a chain.
const ROUNDS_BETWEEN: usize = 4;

/// Configurations of a cluster, their centres at the origin, from many [`ClusterChain`]s.
///
/// The pool depends on its seed alone, not on the number of threads that fill it.
///
/// ```
/// use datasets::particles::{Cluster, ClusterSamples, PairEnergy};
/// let cluster = Cluster::new(3, 2, PairEnergy::Harmonic { stiffness: 1.0 })?;
/// let samples = ClusterSamples::generate(&cluster, 320, 1, &|_| std::ops::ControlFlow::Continue(()))?;
/// assert_eq!((samples.len(), samples.configuration(7).len()), (320, 6));
/// # Ok::<(), datasets::particles::ClusterError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClusterSamples {
    numbers: usize,
    per_chain: usize,
    x: Vec<f64>,
}

impl ClusterSamples {
    /// Draws `count` configurations; `progress` hears, from any thread, how many there are.
    ///
    /// # Errors
    /// [`ClusterError::SampleCount`] for 0 or more than memory holds; [`ClusterError::Stopped`] where `progress` broke
    /// off.
    pub fn generate(cluster: &Cluster, count: usize, seed: u64, progress: &Heard<'_>) -> Result<Self, ClusterError> {
        let numbers = cluster.dimension();
        let mut x = Vec::new();
        let held = count.checked_mul(numbers).is_some_and(|size| x.try_reserve_exact(size).is_ok());
        if count == 0 || !held {
            return Err(ClusterError::SampleCount { count, numbers });
        }
        x.resize(count * numbers, 0.0);
        let (per_chain, done) = (count.div_ceil(CHAINS), AtomicUsize::new(0));
        x.par_chunks_mut(per_chain * numbers).enumerate().try_for_each(|(stream, rows)| {
            let mut chain = ClusterChain::new(cluster, seed, stream as u64);
            chain.thermalise();
            for row in rows.chunks_exact_mut(numbers) {
                (0..ROUNDS_BETWEEN).for_each(|_| chain.round());
                row.copy_from_slice(&chain.configuration());
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if let ControlFlow::Break(()) = progress(done) {
                    return Err(ClusterError::Stopped { done });
                }
            }
            Ok(())
        })?;
        Ok(Self { numbers, per_chain, x })
    }

    /// Number of configurations.
    pub fn len(&self) -> usize {
        self.x.len() / self.numbers
    }

    /// Never: a pool has at least one configuration.
    pub fn is_empty(&self) -> bool {
        self.x.is_empty()
    }

    /// Configuration `index`.
    ///
    /// # Panics
    /// If there is no such configuration.
    pub fn configuration(&self, index: usize) -> &[f64] {
        &self.x[index * self.numbers..(index + 1) * self.numbers]
    }

    /// All of them, one after the other, chain by chain.
    pub fn configurations(&self) -> &[f64] {
        &self.x
    }

    /// Configurations of each chain; the last one may have fewer.
    pub fn per_chain(&self) -> usize {
        self.per_chain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::particles::PairEnergy;

    /// Mean of a number over all configurations, and its standard error from the means of the chains, which are
    /// independent.
    fn mean(samples: &ClusterSamples, of: impl Fn(&[f64]) -> f64) -> (f64, f64) {
        let chains: Vec<f64> = samples
            .configurations()
            .chunks(samples.per_chain() * samples.numbers)
            .map(|rows| {
                let rows = rows.chunks_exact(samples.numbers);
                let count = rows.len() as f64;
                rows.map(&of).sum::<f64>() / count
            })
            .collect();
        let n = chains.len() as f64;
        let mean = chains.iter().sum::<f64>() / n;
        let variance = chains.iter().map(|of| (of - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, (variance / n).sqrt())
    }

    fn drawn(cluster: &Cluster) -> ClusterSamples {
        ClusterSamples::generate(cluster, 32 * 1000, 3, &|_| ControlFlow::Continue(())).unwrap()
    }

    #[test]
    fn configurations_satisfy_the_identities_of_equilibrium() {
        let clusters = [
            Cluster::new(4, 2, PairEnergy::DoubleWell { strength: 1.0 }).unwrap(),
            Cluster::new(5, 3, PairEnergy::LennardJones { epsilon: 2.0 }).unwrap(),
            Cluster::new(3, 1, PairEnergy::LennardJones { epsilon: 1.0 }).unwrap(),
        ];
        for cluster in clusters {
            let (samples, hyperplane) = (drawn(&cluster), (cluster.particles() - 1) * cluster.space());
            let gradient = |x: &[f64]| {
                let mut gradient = vec![0.0; x.len()];
                cluster.energy_and_gradient(x, &mut gradient);
                gradient
            };
            let virial = |x: &[f64]| x.iter().zip(gradient(x)).map(|(x, g)| x * g).sum();
            let (found, error) = mean(&samples, virial);
            let exact = hyperplane as f64;
            assert!((found - exact).abs() < 4.0 * error && error < 0.05 * exact, "{cluster:?}: {found} ± {error}");
            let scale = mean(&samples, |x| cluster.laplacian(x)).0;
            let second = |x: &[f64]| gradient(x).iter().map(|g| g * g).sum::<f64>() - cluster.laplacian(x);
            let (found, error) = mean(&samples, second);
            assert!(found.abs() < 4.0 * error && error < 0.05 * scale, "{cluster:?}: {found} ± {error} of {scale}");
            // The first half of every chain tells the same as the second.
            let half = |late: bool| {
                let (rows, per) = (samples.len(), samples.per_chain());
                let of = (0..rows).filter(|k| ((k % per) >= per / 2) == late).map(|k| samples.configuration(k));
                of.map(|x| cluster.energy(x)).sum::<f64>() / (rows / 2) as f64
            };
            let (_, error) = mean(&samples, |x| cluster.energy(x));
            assert!((half(false) - half(true)).abs() < 8.0 * error, "{cluster:?}: {} {}", half(false), half(true));
        }
    }

    #[test]
    fn a_harmonic_cluster_has_its_exact_width() {
        let cluster = Cluster::new(4, 3, PairEnergy::Harmonic { stiffness: 0.7 }).unwrap();
        let (found, error) = mean(&drawn(&cluster), |x| x.iter().map(|x| x * x).sum());
        let exact = 9.0 / (4.0 * 0.7);
        assert!((found - exact).abs() < 4.0 * error && error < 0.01 * exact, "{found} ± {error}, exact {exact}");
    }

    #[test]
    fn a_pool_is_its_seed_alone_and_stops_when_told_to() {
        let cluster = Cluster::new(3, 2, PairEnergy::DoubleWell { strength: 1.0 }).unwrap();
        let go_on = |_| ControlFlow::Continue(());
        let of = |seed| ClusterSamples::generate(&cluster, 40, seed, &go_on).unwrap();
        assert_eq!(of(1).configurations(), of(1).configurations());
        assert_ne!(of(1).configurations(), of(2).configurations());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| of(1)).configurations(), of(1).configurations());
        let stopped = ClusterSamples::generate(&cluster, 40, 1, &|_| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(ClusterError::Stopped { .. })));
        assert!(ClusterSamples::generate(&cluster, 0, 1, &go_on).is_err());
    }
}
