//! Exact free energies of the two-dimensional Ising model on finite and infinite lattices.

mod chain;
mod continuous;
mod critical;
mod density_of_states;
mod elliptic;
mod enumeration;
mod error;
mod frontier;
mod infinite;
mod jet;
mod lattice;
mod modular;
mod phase;
mod planar;
mod thermodynamics;
mod torus;

pub use continuous::{Continuous, SMALLEST_EIGENVALUE};
pub use critical::critical_temperature;
pub use density_of_states::{DensityOfStates, MAX_DOS_SITES};
pub use elliptic::{complete_elliptic_integrals, onsager_energy, onsager_specific_heat};
pub use enumeration::{Graph, MAX_ENUMERATED};
pub use error::Error;
pub use infinite::{InfiniteLattice, infinite_lattice, spontaneous_magnetisation};
pub use lattice::{Boundary, Edge, Lattice, MAX_SIDE, UnknownBoundary};
pub use planar::{MAX_PLANAR_WIDTH, PlanarLattice};
pub use thermodynamics::Thermodynamics;
