//! Samples of a lattice model to train on: drawn once by cluster Monte Carlo, when they are first needed.

use std::ops::{ControlFlow, Range};
use std::sync::OnceLock;

use datasets::lattice::{Lattice, LatticeError};
use flow_core::RngKey;
use rand::RngExt;

use crate::error::Error;
use crate::monitor::{Monitor, counted};

/// A pool of configurations that is there once it was needed.
#[derive(Debug)]
pub(super) struct Pool<T> {
    /// What they are, in the plural.
    what: &'static str,
    count: usize,
    seed: u64,
    drawn: OnceLock<Result<T, LatticeError>>,
}

/// What a sampler tells of configurations that are done; it says whether to go on.
type Counter<'a> = dyn Fn(usize) -> ControlFlow<()> + Sync + 'a;

impl<T> Pool<T> {
    pub(super) fn new(what: &'static str, count: usize, seed: u64) -> Self {
        Self { what, count, seed, drawn: OnceLock::new() }
    }

    /// The configurations, which `generate` draws the first time, given their count, their seed and a counter.
    pub(super) fn get(
        &self,
        lattice: &Lattice,
        monitor: &dyn Monitor,
        generate: impl FnOnce(usize, u64, &Counter<'_>) -> Result<T, LatticeError>,
    ) -> Result<&T, Error> {
        let noted = || {
            let (rows, cols) = (lattice.rows(), lattice.cols());
            monitor.note(&format!("sampling {} {} of {rows}×{cols} (cluster Monte Carlo)", self.count, self.what));
            counted(monitor, "sampling", self.count, |counter| generate(self.count, self.seed, counter))
        };
        Ok(self.drawn.get_or_init(noted).as_ref().map_err(|error| *error)?)
    }
}

/// Writes rows of `sites` numbers, each by `place` for the number of a configuration below `count`, picked at random.
pub(super) fn pick(
    key: RngKey,
    rows: Range<usize>,
    sites: usize,
    count: usize,
    out: &mut [f64],
    mut place: impl FnMut(usize, &mut [f64]),
) {
    for (row, point) in rows.zip(out.chunks_exact_mut(sites)) {
        place(key.row(row as u64).random_range(0..count), point);
    }
}
