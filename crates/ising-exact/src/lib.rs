//! Exact free energies of the two-dimensional Ising model on finite and infinite lattices.

mod chain;
mod continuous;
mod critical;
mod enumeration;
mod error;
mod jet;
mod lattice;
mod thermodynamics;
mod torus;

pub use continuous::{Continuous, SMALLEST_EIGENVALUE};
pub use critical::critical_temperature;
pub use enumeration::{Graph, MAX_ENUMERATED};
pub use error::Error;
pub use lattice::{Boundary, Edge, Lattice, MAX_SIDE, UnknownBoundary};
pub use thermodynamics::Thermodynamics;

/// Largest number of sites whose density of states is computed.
pub const MAX_DOS_SITES: usize = 4096;
