//! Monge-Ampère flows (Zhang, E, Wang, arXiv:1809.10188) for any array backend.
//!
//! A density is carried by `dx/dt = ∇φ(x, t)`, `d ln p/dt = −∇²φ(x, t)` from a standard normal at `t = 0` to the model at `t = T`.
//! This crate holds the only copy of stepping, adjoints, objectives and training. A backend brings a [`Space`] and potentials
//! ([`Potential`]); an [`Integrator`] carries points; an [`Objective`] turns a batch into a loss with its exact gradient;
//! [`train::Trainer`] does the rest.

mod centres;
pub mod checkpoint;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod flow;
mod hmc;
mod importance;
mod integrate;
mod latent;
mod lattice;
mod matching;
mod objective;
mod optimise;
mod potential;
mod recorded;
mod ridge;
mod rng;
mod score;
mod space;
mod sum;
mod symmetry;
mod tableau;
mod time;
pub mod train;

pub use centres::Centres;
pub use error::Error;
pub use flow::{Direction, Flow, Transported, standard_normal_log_density};
pub use hmc::{Energies, Hmc, HmcReport};
pub use importance::{IndependenceMetropolis, Weights};
pub use integrate::{
    Adaptive, FixedStep, Integrator, Memory, Solution, SolutionCotangent, SolveOptions, Span, Tape, adjoint,
};
pub use lattice::{LatticeRidgeParameters, LatticeRidgeSettings};
pub use matching::{FlowMatching, Path};
pub use objective::{
    Converged, Energy, Estimator, FreeEnergy, Mean, NegativeLogLikelihood, Objective, Outcome, StandardNormal,
    converged,
};
pub use optimise::{Adam, AdamSettings, Schedule, clip, global_norm};
pub use potential::{
    BlockField, Chooses, Coordinates, Field, FusedUpdate, Parameter, Potential, RecomputeVelocity, Residuals, Solve,
    Stage, new_cache_key,
};
pub use recorded::{Record, Recorder, Repeat};
pub use ridge::{Activation, RidgeParameters};
pub use rng::{Purpose, RngKey};
pub use score::Scored;
pub use space::{Precision, Space};
pub use sum::Sum;
pub use symmetry::{Group, Symmetrised, SymmetryDraw};
pub use tableau::{Method, Tableau};
pub use time::{TimeBasis, TimeFamily};
