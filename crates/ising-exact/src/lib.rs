//! Exact free energies of the two-dimensional Ising model, on finite lattices and on the infinite one: square,
//! triangular and honeycomb.
//!
//! For anyone who needs a number to trust: the exact value that a sampler, a variational method or a series is compared
//! with. Energy `E = −J_x Σ s s' − J_y Σ s s'` over nearest neighbours, with a third direction on triangular and
//! honeycomb lattices; units J = k_B = 1.
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
//! | closed both ways, not frustrated ([`Lattice`]) | Kaufman's four products | sides up to [`MAX_SIDE`] |
//! | cylinder; closed both ways, frustrated ([`Lattice`]) | momentum by momentum, many digits | sides to [`MAX_SIDE`] |
//! | open ([`Lattice`]); any bonds ([`PlanarLattice`]) | a Pfaffian, row by row | width up to [`MAX_PLANAR_WIDTH`] |
//! | triangular, honeycomb, closed ([`Hexagonal`]) | Houtappel's products, many digits | sides to [`MAX_SIDE`] |
//! | the same, open along x or y | a Pfaffian, row by row | width up to [`MAX_PLANAR_WIDTH`] |
//! | all energies ([`Lattice::density_of_states`]) | Beale's polynomials in integers | up to [`MAX_DOS_SITES`] sites |
//! | any graph ([`Graph`]) | enumeration | up to [`MAX_ENUMERATED`] spins |
//! | infinite ([`infinite_lattice`], [`spontaneous_magnetisation`], [`critical_temperature`]) | Onsager, Yang | |
//! | infinite, triangular or honeycomb ([`Hexagonal::infinite`], [`Hexagonal::critical_temperature`]) | Houtappel | |
//!
//! Each is tested against at least one of the others. [`Lattice::continuous`] adds the constants of the formulation
//! with continuous variables, in which flows and other densities are fitted.
//!
//! # Boundaries
//!
//! Each direction is open, periodic or antiperiodic ([`Edge`]); couplings may have either sign, and be different along
//! x and y. A closed direction of two sites has **two** bonds between the same two sites; a closed direction of one
//! site has one bond from each site to itself, worth −J whatever its spin. A density of states or a transfer matrix
//! with one bond there is that of an open edge.
//!
//! # How exact
//!
//! Derivatives are carried as second-order dual numbers in β, never taken by differences. Of a [`Lattice`], with any
//! boundary, couplings of any sign and any temperature, every quantity is good to a relative 10⁻¹², also entropies and
//! specific heats of 10⁻⁶⁵ (checked against 50-digit arithmetic; `tests/data/tables.py` makes the tables). So is the
//! infinite lattice. Two limits are those of doubles: an energy that is the difference of bonds of opposite signs is
//! good to a rounding error of these, and a specific heat below 10⁻²⁹⁰ may be given as zero.
//!
//! How that is reached where terms cancel:
//!
//! - The products of the torus and the sums over domain walls of an open ferromagnet are arranged so that nothing does.
//!   A torus is compared with its mirror image, and computed as a frustrated one where couplings that differ much show.
//! - Cylinders and frustrated tori are sums over momenta with positive terms; with a frustrated ring both along x and
//!   along y, a difference of two. They are computed with more and more bits until two results agree.
//!   [`Error::Cancellation`] remains for large tori, frustrated both ways and cold, where that would take minutes
//!   (512 × 512 below T = 0.085, 1024 × 1024 below 0.29, 4096 × 4096 below 1.8); it says which temperature can be had.
//! - A [`PlanarLattice`] is eliminated from both ends in double precision, and with more and more bits where the two
//!   differ by more than 10⁻¹². Where that would take minutes, a difference up to 10⁻⁹ is accepted (an absolute one
//!   where a quantity is below 1); beyond, [`Error::Unstable`] says how many digits are left. Spin glasses get there at
//!   low temperature: with bonds ±1, 16 × 16 between T = 0.2 and 0.5, 64 × 64 at about 1.
//!
//! No result leaves the library that breaks a bound of physics ([`Error::Unphysical`]): an energy not below that of the
//! ground state, an entropy per site from ln 2 / N to ln 2, a specific heat that is not negative.
//!
//! # The command
//!
//! `ising-exact --size 16 --temperature 2.0` prints the same for people, `--json` for programs. It comes with the
//! feature `cli` (on by default); the library alone does without.

mod axis;
mod chain;
mod continuous;
mod critical;
mod density_of_states;
mod elliptic;
mod enumeration;
mod error;
mod frontier;
mod hexagonal;
mod infinite;
mod jet;
mod lattice;
mod limits;
mod modular;
mod names;
mod phase;
mod planar;
mod rings;
mod shape;
mod thermodynamics;
mod torus;
mod triangles;
mod wide;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;

pub use continuous::{Continuous, SMALLEST_EIGENVALUE};
pub use critical::critical_temperature;
pub use density_of_states::DensityOfStates;
pub use elliptic::{complete_elliptic_integrals, onsager_energy, onsager_specific_heat};
pub use enumeration::Graph;
pub use error::Error;
pub use hexagonal::Hexagonal;
pub use infinite::{InfiniteLattice, infinite_lattice, spontaneous_magnetisation};
pub use lattice::{Boundary, Edge, Lattice, UnknownBoundary};
pub use limits::{MAX_DOS_SITES, MAX_ENUMERATED, MAX_PLANAR_WIDTH, MAX_SIDE};
pub use planar::PlanarLattice;
pub use shape::{Shape, UnknownShape};
pub use thermodynamics::Thermodynamics;
