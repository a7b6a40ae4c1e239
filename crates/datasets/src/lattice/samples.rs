//! A pool of Ising configurations for training and for comparison, with its statistics.

use std::ops::{ControlFlow, Range};

use rand::RngExt;

use super::{Estimate, Lattice, LatticeError, WolffChain};
use crate::chains::{CHAINS, Heard, Part, Pool};

/// Sum of the cluster sizes between successive configurations of a chain, in lattices.
const SEPARATION_SWEEPS: usize = 8;

/// Sum of the cluster sizes, in lattices, over which their mean is measured.
const PILOT_SWEEPS: usize = 200;

/// Configurations of the Ising model `exp(Σ_bonds s_i s_j / T)`, practically independent, from many [`WolffChain`]s.
///
/// Each chain is thermalised from its own start. Between two of its configurations lie as many clusters as have 8 times
/// the lattice in sum on average. That is right at every temperature: far above T_c, where clusters are single spins,
/// each spin has been flipped 8 times; far below, where a cluster is nearly the lattice and leaves all excitations new,
/// there are still 8 of them; and at T_c it is several autocorrelation times (those of energy and |magnetisation| are
/// 0.52 to 0.54 configurations at L = 64, where 0.5 is independence). The [`statistics`](Self::statistics) say what
/// remained. Each configuration is turned over with probability ½, an exact symmetry.
///
/// The number of clusters is fixed beforehand. To stop when a sum of sizes is reached would prefer configurations after
/// large clusters: on 8 × 8 sites at T_c the energy would come out 5 per cent too low.
///
/// The pool depends on its seed alone, not on the number of threads that fill it.
///
/// ```
/// use datasets::lattice::{Boundary, CRITICAL_TEMPERATURE, IsingSamples, Lattice};
///
/// let lattice = Lattice::new(8, 8, Boundary::Periodic)?;
/// let samples = IsingSamples::generate(&lattice, CRITICAL_TEMPERATURE, 4096, 1)?;
/// assert_eq!((samples.len(), samples.spins(17).len()), (4096, 64));
/// let energy = samples.statistics().energy_per_site;
/// // Kaufman's value for this lattice.
/// assert!((energy.mean + 1.491_588).abs() < 4.0 * energy.standard_error, "{energy:?}");
/// # Ok::<(), datasets::lattice::LatticeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct IsingSamples {
    temperature: f64,
    clusters_between: usize,
    pool: Pool<i8, 2>,
}

impl IsingSamples {
    /// Draws `count` configurations.
    ///
    /// # Errors
    /// [`LatticeError::Temperature`] when it is not positive and finite; [`LatticeError::SampleCount`] for 0 or more
    /// than memory holds.
    pub fn generate(lattice: &Lattice, temperature: f64, count: usize, seed: u64) -> Result<Self, LatticeError> {
        Self::generate_with_progress(lattice, temperature, count, seed, &|_| ControlFlow::Continue(()))
    }

    /// The same; `progress` hears, from any thread, how many configurations there are, and breaks off where no more are
    /// wanted.
    ///
    /// # Errors
    /// [`LatticeError::Stopped`] after that; else as [`IsingSamples::generate`].
    pub fn generate_with_progress(
        lattice: &Lattice,
        temperature: f64,
        count: usize,
        seed: u64,
        progress: &Heard<'_>,
    ) -> Result<Self, LatticeError> {
        Self::part(lattice, temperature, count, seed, 0..CHAINS, progress)
    }

    /// Draws some of the [chains](CHAINS) of that pool.
    ///
    /// # Errors
    /// As [`IsingSamples::generate_with_progress`].
    pub fn part(
        lattice: &Lattice,
        temperature: f64,
        count: usize,
        seed: u64,
        chains: Range<usize>,
        progress: &Heard<'_>,
    ) -> Result<Self, LatticeError> {
        let sites = lattice.sites();
        // The last of the streams, which no chain of the pool reaches.
        let mut pilot = WolffChain::new(lattice, temperature, seed, u64::MAX)?;
        pilot.thermalise();
        let (clusters, sum) = pilot.sweeps(PILOT_SWEEPS);
        let clusters_between = (SEPARATION_SWEEPS * sites * clusters).div_ceil(sum);
        let start = |stream| {
            let mut chain = WolffChain::new(lattice, temperature, seed, stream)?;
            chain.thermalise();
            Ok(chain)
        };
        let next = |chain: &mut WolffChain, row: &mut [i8]| {
            (0..clusters_between).for_each(|_| {
                chain.update();
            });
            let sign = if chain.rng().random() { 1 } else { -1 };
            for (out, spin) in row.iter_mut().zip(chain.spins()) {
                *out = sign * spin;
            }
            [chain.energy(), (i64::from(sign) * chain.magnetisation()) as f64]
        };
        let pool = Pool::draw([count, sites], chains, start, next, progress);
        Ok(Self { temperature, clusters_between, pool: pool.map_err(|why| LatticeError::of(why, count, sites))? })
    }

    /// Number of configurations.
    pub fn len(&self) -> usize {
        self.pool.len()
    }

    /// Never: a pool has at least one configuration.
    pub fn is_empty(&self) -> bool {
        self.pool.len() == 0
    }

    /// Number of sites N.
    pub fn sites(&self) -> usize {
        self.pool.width()
    }

    /// The temperature T.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// Clusters flipped between successive configurations of a chain.
    pub fn clusters_between(&self) -> usize {
        self.clusters_between
    }

    /// The N spins of configuration `index`, each 1 or −1.
    ///
    /// # Panics
    /// If there is no such configuration.
    pub fn spins(&self, index: usize) -> &[i8] {
        self.pool.row(index)
    }

    /// `−Σ_bonds s_i s_j` of each configuration.
    pub fn energies(&self) -> Vec<f64> {
        self.pool.figure(0)
    }

    /// `Σ_i s_i` of each configuration.
    pub fn magnetisations(&self) -> Vec<f64> {
        self.pool.figure(1)
    }

    /// Averages over the pool.
    pub fn statistics(&self) -> IsingStatistics {
        let (n, beta) = (self.sites() as f64, 1.0 / self.temperature);
        let energies = self.energies();
        let energies: Vec<&[f64]> = self.pool.by_chain(&energies);
        let magnetisations: Vec<f64> = self.magnetisations().iter().map(|m| m.abs() / n).collect();
        let magnetisations: Vec<&[f64]> = self.pool.by_chain(&magnetisations);
        IsingStatistics {
            energy_per_site: Estimate::from_chains(&energies).scaled(1.0 / n),
            specific_heat_per_site: Estimate::variance(&energies).scaled(beta * beta / n),
            magnetisation_per_site: Estimate::from_chains(&magnetisations),
        }
    }
}

impl Part for IsingSamples {
    fn numbers(&self) -> Vec<f64> {
        self.pool.numbers()
    }

    fn completed(self, numbers: &[f64]) -> Self {
        Self { pool: self.pool.completed(numbers), ..self }
    }
}

/// Averages over Ising configurations, in units of J = k_B = 1; autocorrelation times are in configurations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IsingStatistics {
    /// ⟨E⟩/N.
    pub energy_per_site: Estimate,
    /// (⟨E²⟩ − ⟨E⟩²)/(N T²).
    pub specific_heat_per_site: Estimate,
    /// ⟨|Σ_i s_i|⟩/N.
    pub magnetisation_per_site: Estimate,
}

#[cfg(test)]
mod tests;
