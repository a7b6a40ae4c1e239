//! Clusters of equal particles in open space: their energies, a sampler, ln Z by annealing, and the alignment of one
//! configuration with another.

mod align;
mod annealing;
mod chain;
mod cluster;
mod composition;
mod pairs;
mod positions;
mod samples;

pub use align::{Alignment, assignment};
pub use annealing::{AnnealedLogZ, Annealing};
pub use chain::ClusterChain;
pub use cluster::{Cluster, PairEnergy};
pub use composition::Composition;
pub use pairs::Pairs;
pub use positions::{PositionsError, read_positions};
pub use samples::ClusterSamples;

/// Why a cluster or its samples cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// Too few particles, or a space that has no dimension or too many.
    #[error("a cluster of {particles} particles in {space} dimensions; there must be at least 2 in 1, 2 or 3")]
    Size {
        /// Particles given.
        particles: usize,
        /// Dimensions of space given.
        space: usize,
    },
    /// Not a kind for each particle.
    #[error("{found} kinds are given for {particles} particles; give one for each particle, or none")]
    Kinds {
        /// Kinds given.
        found: usize,
        /// Particles there are.
        particles: usize,
    },
    /// The strength of the energy is not positive and finite.
    #[error("the strength of the pair energy is {found}; it must be positive and finite")]
    Strength {
        /// The value given.
        found: f64,
    },
    /// No samples were asked for, or more than memory holds.
    #[error("{count} configurations of {numbers} numbers cannot be held; ask for at least 1 and what memory holds")]
    SampleCount {
        /// The number asked for.
        count: usize,
        /// Numbers of each.
        numbers: usize,
    },
    /// Too few chains for an error, or no path at all.
    #[error("an annealing of {chains} chains with {places} places; there must be at least 2 and 1")]
    Annealing {
        /// Chains asked for.
        chains: usize,
        /// Places asked for.
        places: usize,
    },
    /// The progress callback stopped the work.
    #[error("stopped after {done} configurations, as it was told to")]
    Stopped {
        /// How many there were, of at least one thread.
        done: usize,
    },
}
