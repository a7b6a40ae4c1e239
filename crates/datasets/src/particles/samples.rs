//! Configurations of a cluster for training and for comparison.

use std::convert::Infallible;
use std::ops::Range;

use super::{Cluster, ClusterChain, ClusterError, Composition};
use crate::chains::{CHAINS, Heard, Part, Pool, Unfilled};

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
    pool: Pool<f64, 0>,
}

impl ClusterSamples {
    /// Draws `count` configurations; `progress` hears, from any thread, how many there are.
    ///
    /// # Errors
    /// [`ClusterError::SampleCount`] for 0 or more than memory holds; [`ClusterError::Stopped`] where `progress` broke
    /// off.
    pub fn generate(cluster: &Cluster, count: usize, seed: u64, progress: &Heard<'_>) -> Result<Self, ClusterError> {
        Self::part(cluster, count, seed, 0..CHAINS, progress)
    }

    /// Draws some of the [chains](CHAINS) of that pool.
    ///
    /// # Errors
    /// As [`ClusterSamples::generate`].
    pub fn part(
        cluster: &Cluster,
        count: usize,
        seed: u64,
        chains: Range<usize>,
        progress: &Heard<'_>,
    ) -> Result<Self, ClusterError> {
        let numbers = cluster.dimension();
        let start = |number| {
            let mut chain = ClusterChain::new(cluster, seed, number);
            chain.thermalise();
            Ok(chain)
        };
        let next = |chain: &mut ClusterChain, row: &mut [f64]| {
            (0..ROUNDS_BETWEEN).for_each(|_| chain.round());
            row.copy_from_slice(&chain.configuration());
            []
        };
        let pool = Pool::draw([count, numbers], chains, start, next, progress);
        let why = |why: Unfilled<Infallible>| match why {
            Unfilled::Count => ClusterError::SampleCount { count, numbers },
            Unfilled::Stopped(done) => ClusterError::Stopped { done },
            Unfilled::Chain(never) => match never {},
        };
        Ok(Self { pool: pool.map_err(why)? })
    }

    /// Configurations that somebody else has drawn, one after the other; their centres are moved to the origin.
    ///
    /// # Errors
    /// [`ClusterError::SampleCount`] for none.
    ///
    /// # Panics
    /// If they are not n d numbers each.
    pub fn given(of: &Composition, mut rows: Vec<f64>) -> Result<Self, ClusterError> {
        let numbers = of.dimension();
        assert!(rows.len().is_multiple_of(numbers), "n d numbers for each configuration");
        if rows.is_empty() {
            return Err(ClusterError::SampleCount { count: 0, numbers });
        }
        rows.chunks_exact_mut(numbers).for_each(|x| of.centre(x));
        Ok(Self { pool: Pool::given(numbers, rows) })
    }

    /// Number of configurations.
    pub fn len(&self) -> usize {
        self.pool.len()
    }

    /// Never: a pool has at least one configuration.
    pub fn is_empty(&self) -> bool {
        self.pool.len() == 0
    }

    /// Configuration `index`.
    ///
    /// # Panics
    /// If there is no such configuration.
    pub fn configuration(&self, index: usize) -> &[f64] {
        self.pool.row(index)
    }

    /// All of them, one after the other, chain by chain.
    pub fn configurations(&self) -> &[f64] {
        self.pool.rows()
    }
}

impl Part for ClusterSamples {
    fn numbers(&self) -> Vec<f64> {
        self.pool.numbers()
    }

    fn completed(self, numbers: &[f64]) -> Self {
        Self { pool: self.pool.completed(numbers) }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::particles::PairEnergy;

    /// Mean of a number over all configurations, and its standard error from the means of the chains, which are
    /// independent.
    fn mean(samples: &ClusterSamples, of: impl Fn(&[f64]) -> f64) -> (f64, f64) {
        let numbers: Vec<f64> = (0..samples.len()).map(|index| of(samples.configuration(index))).collect();
        let chains = samples.pool.by_chain(&numbers).into_iter();
        let chains: Vec<f64> = chains.map(|numbers| numbers.iter().sum::<f64>() / numbers.len() as f64).collect();
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
                let (rows, per) = (samples.len(), samples.len() / CHAINS);
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
