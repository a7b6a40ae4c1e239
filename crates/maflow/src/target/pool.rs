//! Samples that Markov chains draw, shared by the members of a team; of a lattice model to train on they are drawn
//! once, when they are first needed.

use std::ops::{ControlFlow, Range};
use std::sync::OnceLock;

use datasets::chains::{CHAINS, Part};
use datasets::lattice::{Lattice, LatticeError};
use flow_core::{RngKey, Team};
use rand::RngExt;

use crate::error::Error;
use crate::monitor::{Monitor, counted};
use crate::together;

/// What a sampler tells of configurations that are done; it says whether to go on.
pub(super) type Counter<'a> = dyn Fn(usize) -> ControlFlow<()> + Sync + 'a;

/// `count` configurations or partners, in so many parts of which every member of a team makes some by `make`.
pub(super) fn shared<T: Part, E: Into<Error>>(
    team: &dyn Team,
    monitor: &dyn Monitor,
    name: &'static str,
    [parts, count]: [usize; 2],
    make: impl FnOnce(Range<usize>, &Counter<'_>) -> Result<T, E>,
) -> Result<T, Error> {
    let mine = team.share(parts);
    let most = count.div_ceil(parts.max(1)) * mine.len();
    let made = counted(monitor, name, most.min(count), |counter| make(mine, counter)).map_err(Into::into);
    if team.size() == 1 {
        return made;
    }
    // One that was told to stop is no failure of the others.
    if team.any(matches!(made, Err(Error::Cancelled)))? {
        return Err(Error::Cancelled);
    }
    let made = together::agreed(team, made)?;
    let all = team.gather(&made.numbers())?;
    Ok(made.completed(&all))
}

/// A pool of configurations that is there once it was needed.
#[derive(Debug)]
pub(super) struct Pool<T> {
    /// What they are, in the plural.
    what: &'static str,
    count: usize,
    seed: u64,
    drawn: OnceLock<T>,
}

impl<T: Part> Pool<T> {
    pub(super) fn new(what: &'static str, count: usize, seed: u64) -> Self {
        Self { what, count, seed, drawn: OnceLock::new() }
    }

    /// The configurations, of which `draw` draws some chains the first time, given count, seed, chains and a counter.
    pub(super) fn get(
        &self,
        lattice: &Lattice,
        team: &dyn Team,
        monitor: &dyn Monitor,
        draw: impl FnOnce(usize, u64, Range<usize>, &Counter<'_>) -> Result<T, LatticeError>,
    ) -> Result<&T, Error> {
        if let Some(drawn) = self.drawn.get() {
            return Ok(drawn);
        }
        let (rows, cols) = (lattice.rows(), lattice.cols());
        monitor.note(&format!("sampling {} {} of {rows}×{cols} (cluster Monte Carlo)", self.count, self.what));
        let (count, seed) = (self.count, self.seed);
        let drawn =
            shared(team, monitor, "sampling", [CHAINS, count], |chains, counter| draw(count, seed, chains, counter))?;
        Ok(self.drawn.get_or_init(|| drawn))
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
