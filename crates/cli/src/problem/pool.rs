//! Samples of a lattice model to train on: drawn once by cluster Monte Carlo, when they are first needed.

use std::ops::{ControlFlow, Range};
use std::sync::OnceLock;

use datasets::lattice::{IsingSamples, Lattice, LatticeError, Phi4Samples, WhitenedIsing, WhitenedPhi4};
use flow_core::RngKey;
use rand::RngExt;

use super::TargetEnergy;
use crate::{output, progress};

/// A pool of configurations; batches are some of them in whitened coordinates.
#[derive(Debug)]
pub struct SamplePool {
    model: Model,
    count: usize,
    seed: u64,
}

/// The seed of configurations that are compared with the flow: others than those it was trained on.
pub fn reference_seed(seed: u64) -> u64 {
    seed ^ u64::from_be_bytes(*b"clusters")
}

/// Samples that are there once they were needed.
type Drawn<T> = OnceLock<Result<T, LatticeError>>;

#[derive(Debug)]
enum Model {
    Ising(WhitenedIsing, Drawn<IsingSamples>),
    Phi4(WhitenedPhi4, Drawn<Phi4Samples>),
}

impl SamplePool {
    /// A pool of `count` configurations; `None` for an energy that is no lattice model in whitened coordinates.
    pub fn new(energy: &TargetEnergy, count: usize, seed: u64) -> Option<Self> {
        let model = match energy {
            TargetEnergy::WhitenedIsing(target) => Model::Ising(target.clone(), OnceLock::new()),
            TargetEnergy::WhitenedPhi4(target) => Model::Phi4(target.clone(), OnceLock::new()),
            TargetEnergy::Ising(_) | TargetEnergy::Phi4(_) | TargetEnergy::Plane(_) => return None,
        };
        Some(Self { model, count, seed })
    }

    /// Configurations picked at random for some rows of a batch, row by row: the centres `K^(1/2) s` of spins, or
    /// fields `K^(-1/2) φ`.
    ///
    /// # Errors
    /// When the pool is larger than memory.
    pub fn batch(&self, key: RngKey, rows: Range<usize>) -> Result<Vec<f64>, LatticeError> {
        match &self.model {
            Model::Ising(target, drawn) => {
                let samples = self.ising(target, drawn)?;
                Ok(picked(key, rows, target.sites(), samples.len(), |index, centre| {
                    target.centre(samples.spins(index), centre);
                }))
            }
            Model::Phi4(target, drawn) => {
                let samples = self.phi4(target, drawn)?;
                let mut field = vec![0.0; target.sites()];
                Ok(picked(key, rows, target.sites(), samples.len(), |index, y| {
                    field.iter_mut().zip(samples.field(index)).for_each(|(to, from)| *to = f64::from(*from));
                    target.to_whitened(&field, y);
                }))
            }
        }
    }

    /// Draws the configurations now, unless they are there.
    ///
    /// # Errors
    /// When the pool is larger than memory, or the user interrupts.
    pub fn draw(&self) -> Result<(), LatticeError> {
        match &self.model {
            Model::Ising(target, drawn) => self.ising(target, drawn).map(drop),
            Model::Phi4(target, drawn) => self.phi4(target, drawn).map(drop),
        }
    }

    fn ising<'a>(
        &self,
        target: &WhitenedIsing,
        drawn: &'a Drawn<IsingSamples>,
    ) -> Result<&'a IsingSamples, LatticeError> {
        let (lattice, temperature) = (target.physical().lattice(), target.physical().temperature());
        self.samples(drawn, "spin configurations", lattice, |progress| {
            IsingSamples::generate_with_progress(lattice, temperature, self.count, self.seed, progress)
        })
    }

    fn phi4<'a>(&self, target: &WhitenedPhi4, drawn: &'a Drawn<Phi4Samples>) -> Result<&'a Phi4Samples, LatticeError> {
        let physical = target.physical();
        self.samples(drawn, "fields", physical.lattice(), |progress| {
            Phi4Samples::generate_with_progress(physical, self.count, self.seed, progress)
        })
    }

    fn samples<'a, T>(
        &self,
        drawn: &'a Drawn<T>,
        what: &str,
        lattice: &Lattice,
        generate: impl FnOnce(&(dyn Fn(usize) -> ControlFlow<()> + Sync)) -> Result<T, LatticeError>,
    ) -> Result<&'a T, LatticeError> {
        let noted = || {
            let (rows, cols) = (lattice.rows(), lattice.cols());
            output::note(&format!("sampling {} {what} of {rows}×{cols} (cluster Monte Carlo)", self.count));
            progress::shown("sampling", self.count, generate)
        };
        drawn.get_or_init(noted).as_ref().map_err(|error| *error)
    }
}

/// Rows of `sites` numbers, each written by `place` for the number of a configuration below `count`.
fn picked(
    key: RngKey,
    rows: Range<usize>,
    sites: usize,
    count: usize,
    mut place: impl FnMut(usize, &mut [f64]),
) -> Vec<f64> {
    let mut out = vec![0.0; rows.len() * sites];
    for (row, point) in rows.zip(out.chunks_exact_mut(sites)) {
        place(key.row(row as u64).random_range(0..count), point);
    }
    out
}
