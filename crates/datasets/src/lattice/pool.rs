//! Configurations of many independent Markov chains, filled on all threads.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::LatticeError;

/// Independent chains that fill a pool. Part of what a seed means: not the number of threads.
const CHAINS: usize = 32;

/// What hears, from any thread, how many configurations there are, and breaks off where no more are wanted.
pub type Heard<'a> = dyn Fn(usize) -> ControlFlow<()> + Sync + 'a;

/// Configurations of T at each site, chain after chain, with an energy and a magnetisation M each.
#[derive(Debug, Clone)]
pub(super) struct Pool<T, M> {
    /// Sites of a configuration.
    pub sites: usize,
    /// Configurations of each chain; the last one may have fewer.
    per_chain: usize,
    /// Row-major, a configuration in each row.
    pub rows: Vec<T>,
    pub energies: Vec<f64>,
    pub magnetisations: Vec<M>,
}

impl<T: Copy + Default + Send, M: Copy + Default + Send> Pool<T, M> {
    /// Room for `count` configurations.
    ///
    /// # Errors
    /// [`LatticeError::SampleCount`] for 0 or more than memory holds.
    pub fn new(count: usize, sites: usize) -> Result<Self, LatticeError> {
        let mut rows = Vec::new();
        let held = count.checked_mul(sites).is_some_and(|size| rows.try_reserve_exact(size).is_ok());
        if count == 0 || !held {
            return Err(LatticeError::SampleCount { count, sites });
        }
        rows.resize(count * sites, T::default());
        let (energies, magnetisations) = (vec![0.0; count], vec![M::default(); count]);
        Ok(Self { sites, per_chain: count.div_ceil(CHAINS), rows, energies, magnetisations })
    }

    /// Fills it: `start` makes the chain of a stream, `next` writes its next configuration and returns energy and
    /// magnetisation, and `progress` hears how many configurations there are, and breaks off where no more are wanted.
    ///
    /// # Errors
    /// Those of `start`; [`LatticeError::Stopped`].
    pub fn fill<C>(
        mut self,
        start: impl Fn(u64) -> Result<C, LatticeError> + Sync,
        next: impl Fn(&mut C, &mut [T]) -> (f64, M) + Sync,
        progress: &Heard<'_>,
    ) -> Result<Self, LatticeError> {
        let (sites, per_chain, done) = (self.sites, self.per_chain, AtomicUsize::new(0));
        self.rows
            .par_chunks_mut(per_chain * sites)
            .zip(self.energies.par_chunks_mut(per_chain))
            .zip(self.magnetisations.par_chunks_mut(per_chain))
            .enumerate()
            .try_for_each(|(stream, ((rows, energies), magnetisations))| {
                let mut chain = start(stream as u64)?;
                for ((row, energy), magnetisation) in rows.chunks_exact_mut(sites).zip(energies).zip(magnetisations) {
                    (*energy, *magnetisation) = next(&mut chain, row);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if progress(done).is_break() {
                        return Err(LatticeError::Stopped { done });
                    }
                }
                Ok(())
            })?;
        Ok(self)
    }
}

impl<T, M> Pool<T, M> {
    /// Configuration `index`.
    pub fn row(&self, index: usize) -> &[T] {
        &self.rows[index * self.sites..(index + 1) * self.sites]
    }

    /// A number for each configuration, chain by chain.
    pub fn by_chain<'a>(&self, numbers: &'a [f64]) -> Vec<&'a [f64]> {
        numbers.chunks(self.per_chain).collect()
    }
}
