//! A pool of φ⁴ fields for training and for comparison, with its statistics.

use std::ops::{ControlFlow, Range};

use rand::RngExt;

use super::{Estimate, LatticeError, Phi4Chain, Phi4Target};
use crate::chains::{CHAINS, Heard, Part, Pool};

/// Rounds between successive configurations of a chain.
const ROUNDS_BETWEEN: usize = 4;

/// Configurations of the φ⁴ theory, practically independent, from many [`Phi4Chain`]s.
///
/// Each chain is thermalised from its own start. Between two of its configurations lie four rounds, a number fixed
/// beforehand. The [`statistics`](Self::statistics) say what correlation remained. Each configuration is turned over
/// with probability ½, an exact symmetry.
///
/// The pool depends on its seed alone, not on the number of threads that fill it. Fields are kept in single precision.
///
/// ```
/// use datasets::lattice::{Boundary, Phi4Samples, Phi4Target};
///
/// let target = Phi4Target::new(4, 4, Boundary::Periodic, 0.2, 0.0)?;
/// let samples = Phi4Samples::generate(&target, 4096, 1)?;
/// assert_eq!((samples.len(), samples.field(17).len()), (4096, 16));
/// // The action of a free field is half a square for each site.
/// let action = samples.statistics().action_per_site;
/// assert!((action.mean - 0.5).abs() < 4.0 * action.standard_error, "{action:?}");
/// # Ok::<(), datasets::lattice::LatticeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Phi4Samples {
    pool: Pool<f32, 2>,
}

impl Phi4Samples {
    /// Draws `count` configurations.
    ///
    /// # Errors
    /// [`LatticeError::SampleCount`] for 0 or more than memory holds.
    pub fn generate(target: &Phi4Target, count: usize, seed: u64) -> Result<Self, LatticeError> {
        Self::generate_with_progress(target, count, seed, &|_| ControlFlow::Continue(()))
    }

    /// The same; `progress` hears, from any thread, how many configurations there are, and breaks off where no more are
    /// wanted.
    ///
    /// # Errors
    /// [`LatticeError::Stopped`] after that; else as [`Phi4Samples::generate`].
    pub fn generate_with_progress(
        target: &Phi4Target,
        count: usize,
        seed: u64,
        progress: &Heard<'_>,
    ) -> Result<Self, LatticeError> {
        Self::part(target, count, seed, 0..CHAINS, progress)
    }

    /// Draws some of the [chains](CHAINS) of that pool.
    ///
    /// # Errors
    /// As [`Phi4Samples::generate_with_progress`].
    pub fn part(
        target: &Phi4Target,
        count: usize,
        seed: u64,
        chains: Range<usize>,
        progress: &Heard<'_>,
    ) -> Result<Self, LatticeError> {
        let start = |stream| {
            let mut chain = Phi4Chain::new(target, seed, stream);
            chain.thermalise();
            Ok((chain, vec![0.0; target.sites()]))
        };
        let next = |(chain, gradient): &mut (Phi4Chain, Vec<f64>), row: &mut [f32]| {
            (0..ROUNDS_BETWEEN).for_each(|_| chain.round());
            let sign = if chain.rng().random() { 1.0 } else { -1.0 };
            for (out, phi) in row.iter_mut().zip(chain.field()) {
                *out = (sign * phi) as f32;
            }
            let action = target.energy_and_gradient(chain.field(), gradient);
            [action, sign * chain.field().iter().sum::<f64>()]
        };
        let pool = Pool::draw([count, target.sites()], chains, start, next, progress);
        Ok(Self { pool: pool.map_err(|why| LatticeError::of(why, count, target.sites()))? })
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

    /// The field φ of configuration `index` at its N sites.
    ///
    /// # Panics
    /// If there is no such configuration.
    pub fn field(&self, index: usize) -> &[f32] {
        self.pool.row(index)
    }

    /// S(φ) of each configuration.
    pub fn actions(&self) -> Vec<f64> {
        self.pool.figure(0)
    }

    /// `Σ_i φ_i` of each configuration.
    pub fn magnetisations(&self) -> Vec<f64> {
        self.pool.figure(1)
    }

    /// Averages over the pool.
    pub fn statistics(&self) -> Phi4Statistics {
        let per_site = 1.0 / self.sites() as f64;
        let actions = self.actions();
        let actions: Vec<&[f64]> = self.pool.by_chain(&actions);
        let magnetisations: Vec<f64> = self.magnetisations().iter().map(|m| m.abs()).collect();
        let magnetisations: Vec<&[f64]> = self.pool.by_chain(&magnetisations);
        Phi4Statistics {
            action_per_site: Estimate::from_chains(&actions).scaled(per_site),
            magnetisation_per_site: Estimate::from_chains(&magnetisations).scaled(per_site),
            susceptibility: Estimate::variance(&magnetisations).scaled(per_site),
        }
    }
}

impl Part for Phi4Samples {
    fn numbers(&self) -> Vec<f64> {
        self.pool.numbers()
    }

    fn completed(self, numbers: &[f64]) -> Self {
        Self { pool: self.pool.completed(numbers) }
    }
}

/// Averages over φ⁴ fields; autocorrelation times are in configurations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phi4Statistics {
    /// ⟨S⟩/N.
    pub action_per_site: Estimate,
    /// ⟨|M|⟩/N, `M = Σ_i φ_i`.
    pub magnetisation_per_site: Estimate,
    /// (⟨M²⟩ − ⟨|M|⟩²)/N.
    pub susceptibility: Estimate,
}

#[cfg(test)]
mod tests;
