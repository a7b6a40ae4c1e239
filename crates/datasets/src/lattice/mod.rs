//! Lattice models: the bonds of a rectangular lattice, the Boltzmann weights that live on it, and samplers of its spins
//! and fields.

mod autocorrelation;
mod dense;
mod geometry;
mod ising;
mod phi4;
mod phi4_chain;
mod phi4_samples;
mod samples;
mod spectral;
mod symmetry;
mod whitened;
mod whitened_phi4;
mod whitened_range;
mod wolff;

pub use autocorrelation::{AutocorrelationTime, Estimate};
pub use dense::DenseCoupling;
pub use geometry::{Boundary, Lattice, UnknownBoundary};
pub use ising::{CRITICAL_TEMPERATURE, CouplingPower, IsingTarget, SMALLEST_EIGENVALUE, sample_spins, up_probability};
pub use phi4::Phi4Target;
pub use phi4_chain::Phi4Chain;
pub use phi4_samples::{Phi4Samples, Phi4Statistics};
pub use samples::{IsingSamples, IsingStatistics};
pub use symmetry::LatticeSymmetry;
pub use whitened::WhitenedIsing;
pub use whitened_phi4::WhitenedPhi4;
pub use whitened_range::WhitenedIsingRange;
pub use wolff::WolffChain;

use crate::chains::Unfilled;

/// Why a lattice or a model on it cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LatticeError {
    /// A side has no site.
    #[error("a lattice of {rows}×{cols} has no sites; both sides must be at least 1")]
    Empty {
        /// Rows given.
        rows: usize,
        /// Columns given.
        cols: usize,
    },
    /// Sites are numbered by 32 bits.
    #[error("a lattice of {rows}×{cols} has too many sites; at most {} are possible", u32::MAX)]
    TooLarge {
        /// Rows given.
        rows: usize,
        /// Columns given.
        cols: usize,
    },
    /// The temperature is not positive and finite, or so extreme that the coupling matrix is not.
    #[error("the temperature is {found}; it must be positive, finite and not so small that 1/T overflows")]
    Temperature {
        /// The value given.
        found: f64,
    },
    /// No samples were asked for, or more than memory holds.
    #[error("{count} configurations of {sites} sites cannot be held; ask for at least 1 and at most what memory holds")]
    SampleCount {
        /// The number asked for.
        count: usize,
        /// Sites of each.
        sites: usize,
    },
    /// The progress callback stopped the work.
    #[error("stopped after {done} configurations, as it was told to")]
    Stopped {
        /// How many there were, of at least one thread.
        done: usize,
    },
    /// A parameter of the φ⁴ action is not finite, or λ is negative.
    #[error("the φ⁴ action has kappa = {kappa}, lambda = {lambda}; both must be finite and lambda not negative")]
    Phi4 {
        /// The hopping parameter given.
        kappa: f64,
        /// The quartic coupling given.
        lambda: f64,
    },
    /// Without a quartic term the action is not bounded below at this hopping.
    #[error(
        "the free field (lambda = 0) with kappa = {kappa} has no normalisable density; |kappa| must be below {limit}"
    )]
    Unbounded {
        /// The hopping parameter given.
        kappa: f64,
        /// The reciprocal of the largest eigenvalue of the adjacency matrix.
        limit: f64,
    },
}

impl LatticeError {
    /// Why there is no pool of `count` configurations.
    fn of(why: Unfilled<Self>, count: usize, sites: usize) -> Self {
        match why {
            Unfilled::Count => Self::SampleCount { count, sites },
            Unfilled::Stopped(done) => Self::Stopped { done },
            Unfilled::Chain(error) => error,
        }
    }
}
