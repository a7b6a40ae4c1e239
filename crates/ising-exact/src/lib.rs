//! Exact free energies of the two-dimensional Ising model, on finite lattices and on the infinite one.
//!
//! For anyone who needs a number to trust: the exact value that a sampler, a variational method or a series is
//! compared with. Energy `E = −J_x Σ s s' − J_y Σ s s'` over nearest neighbours, units J = k_B = 1.
//!
//! ```
//! use ising_exact::{Lattice, critical_temperature};
//!
//! let t_c = critical_temperature(1.0, 1.0);
//! let exact = Lattice::square(32)?.thermodynamics(t_c)?;
//! println!("ln Z = {}, energy per site = {}", exact.ln_z, exact.energy_per_site);
//! // −T ln Z / N, a little below that of the infinite lattice.
//! assert!((exact.free_energy_per_site + 2.111_069_366_919).abs() < 1e-12);
//! # Ok::<(), ising_exact::Error>(())
//! ```
//!
//! # Which method
//!
//! | lattice | how | limits |
//! | --- | --- | --- |
//! | closed both ways ([`Lattice`]) | Kaufman's four products | sides up to [`MAX_SIDE`], microseconds to milliseconds |
//! | open, cylinder ([`Lattice`], [`PlanarLattice`] for a coupling on every bond) | a Pfaffian, eliminated row by row | width up to [`MAX_PLANAR_WIDTH`], time N · width² |
//! | closed both ways, all energies ([`Lattice::density_of_states`]) | Beale's polynomials in exact integers | up to [`MAX_DOS_SITES`] sites |
//! | any graph ([`Graph`]) | enumeration | up to [`MAX_ENUMERATED`] spins |
//! | infinite ([`infinite_lattice`], [`spontaneous_magnetisation`], [`critical_temperature`]) | Onsager, Yang | |
//!
//! Each is tested against at least one of the others. [`Lattice::continuous`] adds the constants of the formulation
//! with continuous variables, in which flows and other densities are fitted.
//!
//! # Boundaries
//!
//! Each direction is open, periodic or antiperiodic ([`Edge`]); couplings may have either sign, and be different along x and y.
//! A closed direction of two sites has **two** bonds between the same two sites; a closed direction of one site has one bond from
//! each site to itself, worth −J whatever its spin. A density of states or a transfer matrix with one bond there is that of an open edge.
//!
//! # How exact
//!
//! Derivatives are carried as second-order dual numbers in β, never taken by differences, and the products are
//! arranged so that nothing cancels: on the torus and on the infinite lattice every quantity is good to a relative 10⁻¹², at all temperatures, at T_c itself, and
//! for entropies and specific heats of 10⁻⁶⁵ (checked against 50-digit arithmetic; `tests/data/tables.py` makes the tables).
//!
//! - With one antiperiodic or frustrated direction that holds for all but the specific heat, which is good to 10⁻¹¹ where it is not below 10⁻⁷,
//!   and to an absolute 10⁻¹⁴ otherwise.
//! - With both, terms cancel at low temperature: up to three digits go before [`Error::Cancellation`] says so.
//!   The density of states has no such limit.
//! - Planar lattices are eliminated from both ends and refused with [`Error::Unstable`] when the two differ by 10⁻⁹. Ferromagnets and other
//!   lattices without frustration never are; spin glasses are at low temperature (open 64 × 64: below about T = 1 with bonds ±1, below
//!   0.7 with Gaussian bonds; 16 × 16: 0.8 and 0.6). Quantities much smaller than 1 are good to an absolute 10⁻¹² or so.
//!
//! # The command
//!
//! `ising-exact --size 16 --temperature 2.0` prints the same for people, `--json` for programs. It comes with the feature `cli`
//! (on by default); the library alone does without.

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

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;

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
