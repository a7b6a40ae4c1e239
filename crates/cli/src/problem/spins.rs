//! Samples of the Ising model to train on: spins from cluster Monte Carlo, drawn once when the first batch is asked for.

use std::sync::OnceLock;

use datasets::lattice::{IsingSamples, LatticeError, WhitenedIsing};
use flow_core::Draws;
use rand::RngExt;

use crate::output;

/// A pool of spin configurations; batches are the centres `K^(1/2) s` of some of them.
#[derive(Debug)]
pub struct SpinPool {
    target: WhitenedIsing,
    count: usize,
    seed: u64,
    samples: OnceLock<Result<IsingSamples, LatticeError>>,
}

impl SpinPool {
    /// A pool of `count` configurations.
    pub fn new(target: WhitenedIsing, count: usize, seed: u64) -> Self {
        Self { target, count, seed, samples: OnceLock::new() }
    }

    fn samples(&self) -> Result<&IsingSamples, LatticeError> {
        let generate = || {
            let target = self.target.physical();
            let (rows, cols) = (target.lattice().rows(), target.lattice().cols());
            output::note(&format!("sampling {} spin configurations of {rows}×{cols} (Wolff clusters)", self.count));
            IsingSamples::generate(target.lattice(), target.temperature(), self.count, self.seed)
        };
        self.samples.get_or_init(generate).as_ref().map_err(|error| *error)
    }

    /// `K^(1/2) s` of configurations picked at random, row by row.
    ///
    /// # Errors
    /// When the pool is larger than memory.
    pub fn batch(&self, draws: Draws, rows: usize) -> Result<Vec<f64>, LatticeError> {
        let (samples, sites) = (self.samples()?, self.target.sites());
        let mut out = vec![0.0; rows * sites];
        for (row, centre) in out.chunks_exact_mut(sites).enumerate() {
            let index = draws.row(row as u64).random_range(0..samples.len());
            self.target.centre(samples.spins(index), centre);
        }
        Ok(out)
    }
}
