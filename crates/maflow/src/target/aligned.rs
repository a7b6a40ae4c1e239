//! Configurations of particles from wherever they are, each with the point of the base density that it is paired with.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use datasets::particles::{ClusterSamples, Composition, Pairs, read_positions};
use flow_core::{RngKey, Team};
use rand::RngExt;

use super::pool::shared;
use crate::error::Error;
use crate::monitor::Monitor;

/// Pairs that are there once they were needed.
#[derive(Debug)]
pub(super) struct Aligned {
    of: Composition,
    seed: u64,
    pairs: OnceLock<Pairs>,
}

impl Aligned {
    pub(super) fn new(of: Composition, seed: u64) -> Self {
        Self { of, seed, pairs: OnceLock::new() }
    }

    /// The pairs, of configurations that are asked for the first time.
    pub(super) fn get(
        &self,
        team: &dyn Team,
        monitor: &dyn Monitor,
        configurations: impl FnOnce() -> Result<ClusterSamples, Error>,
    ) -> Result<&Pairs, Error> {
        if let Some(pairs) = self.pairs.get() {
            return Ok(pairs);
        }
        let samples = configurations()?;
        let (blocks, count) = (Pairs::blocks(samples.len()), samples.len());
        let pairs = shared(team, monitor, "aligning", [blocks, count], |blocks, counter| {
            Pairs::part(&self.of, &samples, self.seed, blocks, counter)
        })?;
        Ok(self.pairs.get_or_init(|| pairs))
    }
}

/// Writes rows of a training batch, each a configuration and its partner, picked at random.
pub(super) fn write(pairs: &Pairs, key: RngKey, rows: Range<usize>, out: &mut [f64]) {
    let n = pairs.pair(0).0.len();
    for (row, point) in rows.zip(out.chunks_exact_mut(2 * n)) {
        let (base, target) = pairs.pair(key.row(row as u64).random_range(0..pairs.len()));
        point[..n].copy_from_slice(target);
        point[n..].copy_from_slice(base);
    }
}

/// The configurations of a file.
///
/// # Errors
/// A file without such configurations.
pub(super) fn read(file: &Path, of: &Composition) -> Result<Vec<f64>, Error> {
    read_positions(file, of).map_err(|why| Error::Argument(format!("target.samples: {why}")))
}
