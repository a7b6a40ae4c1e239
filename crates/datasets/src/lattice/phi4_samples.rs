//! A pool of φ⁴ fields for training and for comparison, with its statistics.

use rand::RngExt;
use rayon::prelude::*;

use super::{Estimate, LatticeError, Phi4Chain, Phi4Target};

/// Independent chains that fill a pool. Part of what a seed means: not the number of threads.
const CHAINS: usize = 32;

/// Rounds between successive configurations of a chain.
const ROUNDS_BETWEEN: usize = 4;

/// Configurations of the φ⁴ theory, practically independent, from many [`Phi4Chain`]s.
///
/// Each chain is thermalised from its own start. Between two of its configurations lie four rounds, a number fixed beforehand. The
/// [`statistics`](Self::statistics) say what correlation remained. Each configuration is turned over with probability ½, an exact
/// symmetry.
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
    sites: usize,
    /// Configurations of each chain; the last one may have fewer.
    per_chain: usize,
    /// Row-major, a configuration in each row, chain after chain.
    fields: Vec<f32>,
    actions: Vec<f64>,
    magnetisations: Vec<f64>,
}

impl Phi4Samples {
    /// Draws `count` configurations.
    ///
    /// # Errors
    /// [`LatticeError::SampleCount`] for 0 or more than memory holds.
    pub fn generate(target: &Phi4Target, count: usize, seed: u64) -> Result<Self, LatticeError> {
        let sites = target.sites();
        let mut fields = Vec::new();
        let held = count.checked_mul(sites).is_some_and(|size| fields.try_reserve_exact(size).is_ok());
        if count == 0 || !held {
            return Err(LatticeError::SampleCount { count, sites });
        }
        fields.resize(count * sites, 0.0);
        let (mut actions, mut magnetisations) = (vec![0.0; count], vec![0.0; count]);
        let per_chain = count.div_ceil(CHAINS);
        fields
            .par_chunks_mut(per_chain * sites)
            .zip(actions.par_chunks_mut(per_chain))
            .zip(magnetisations.par_chunks_mut(per_chain))
            .enumerate()
            .for_each(|(stream, ((fields, actions), magnetisations))| {
                let mut chain = Phi4Chain::new(target, seed, stream as u64);
                chain.thermalise();
                let mut gradient = vec![0.0; sites];
                for ((row, action), magnetisation) in fields.chunks_exact_mut(sites).zip(actions).zip(magnetisations) {
                    (0..ROUNDS_BETWEEN).for_each(|_| chain.round());
                    let sign = if chain.rng().random() { 1.0 } else { -1.0 };
                    for (out, phi) in row.iter_mut().zip(chain.field()) {
                        *out = (sign * phi) as f32;
                    }
                    *action = target.energy_and_gradient(chain.field(), &mut gradient);
                    *magnetisation = sign * chain.field().iter().sum::<f64>();
                }
            });
        Ok(Self { sites, per_chain, fields, actions, magnetisations })
    }

    /// Number of configurations.
    pub fn len(&self) -> usize {
        self.actions.len()
    }

    /// Never: a pool has at least one configuration.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Number of sites N.
    pub fn sites(&self) -> usize {
        self.sites
    }

    /// The field φ of configuration `index` at its N sites.
    ///
    /// # Panics
    /// If there is no such configuration.
    pub fn field(&self, index: usize) -> &[f32] {
        &self.fields[index * self.sites..(index + 1) * self.sites]
    }

    /// S(φ) of each configuration.
    pub fn actions(&self) -> &[f64] {
        &self.actions
    }

    /// `Σ_i φ_i` of each configuration.
    pub fn magnetisations(&self) -> &[f64] {
        &self.magnetisations
    }

    /// Averages over the pool.
    pub fn statistics(&self) -> Phi4Statistics {
        let per_site = 1.0 / self.sites as f64;
        let actions: Vec<&[f64]> = self.actions.chunks(self.per_chain).collect();
        let magnetisations: Vec<f64> = self.magnetisations.iter().map(|m| m.abs()).collect();
        let magnetisations: Vec<&[f64]> = magnetisations.chunks(self.per_chain).collect();
        Phi4Statistics {
            action_per_site: Estimate::from_chains(&actions).scaled(per_site),
            magnetisation_per_site: Estimate::from_chains(&magnetisations).scaled(per_site),
            susceptibility: Estimate::variance(&magnetisations).scaled(per_site),
        }
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
