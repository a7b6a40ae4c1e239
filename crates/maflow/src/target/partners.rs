//! Configurations of particles from wherever they are, each with the point of the base density that it is paired with.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use datasets::particles::{ClusterSamples, Composition, Pairs, read_positions};
use flow_core::{Alone, RngKey, Team};
use rand::RngExt;

use super::pool::shared;
use crate::error::Error;
use crate::monitor::Monitor;
use crate::recipe::Pairing;

/// Configurations with their partners, which are there once they were needed.
#[derive(Debug)]
pub(super) struct Partners {
    of: Composition,
    pairing: Pairing,
    seed: u64,
    found: OnceLock<Found>,
}

/// Configurations as a pairing needs them.
#[derive(Debug)]
enum Found {
    /// Each with its partner.
    Aligned(Pairs),
    /// Partners are drawn for every batch anew.
    Independent(ClusterSamples),
}

impl Partners {
    pub(super) fn new(of: Composition, pairing: Pairing, seed: u64) -> Self {
        Self { of, pairing, seed, found: OnceLock::new() }
    }

    /// Finds them, for configurations that are asked for the first time.
    pub(super) fn prepare(
        &self,
        team: &dyn Team,
        monitor: &dyn Monitor,
        configurations: impl FnOnce() -> Result<ClusterSamples, Error>,
    ) -> Result<(), Error> {
        self.get(team, monitor, configurations).map(drop)
    }

    fn get(
        &self,
        team: &dyn Team,
        monitor: &dyn Monitor,
        configurations: impl FnOnce() -> Result<ClusterSamples, Error>,
    ) -> Result<&Found, Error> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let samples = configurations()?;
        let found = match self.pairing {
            Pairing::Independent => Found::Independent(samples),
            Pairing::Aligned => {
                let (blocks, count) = (Pairs::blocks(samples.len()), samples.len());
                Found::Aligned(shared(team, monitor, "aligning", [blocks, count], |blocks, counter| {
                    Pairs::part(&self.of, &samples, self.seed, blocks, counter)
                })?)
            }
        };
        Ok(self.found.get_or_init(|| found))
    }

    /// Writes rows of a training batch, each a configuration, picked at random, and its partner.
    pub(super) fn write(
        &self,
        key: RngKey,
        rows: Range<usize>,
        out: &mut [f64],
        configurations: impl FnOnce() -> Result<ClusterSamples, Error>,
    ) -> Result<(), Error> {
        let (n, found) = (self.of.dimension(), self.get(&Alone, &(), configurations)?);
        for (row, point) in rows.zip(out.chunks_exact_mut(2 * n)) {
            let (target, base) = point.split_at_mut(n);
            let mut rng = key.row(row as u64);
            match found {
                Found::Aligned(pairs) => {
                    let pair = pairs.pair(rng.random_range(0..pairs.len()));
                    base.copy_from_slice(pair.0);
                    target.copy_from_slice(pair.1);
                }
                Found::Independent(samples) => {
                    target.copy_from_slice(samples.configuration(rng.random_range(0..samples.len())));
                    base.copy_from_slice(&key.noise(row..row + 1, n));
                    // No path moves the centre.
                    self.of.centre(target);
                    self.of.centre(base);
                }
            }
        }
        Ok(())
    }
}

/// The configurations of a file.
///
/// # Errors
/// A file without such configurations.
pub(super) fn read(file: &Path, of: &Composition) -> Result<Vec<f64>, Error> {
    read_positions(file, of).map_err(|why| Error::Argument(format!("target.samples: {why}")))
}
