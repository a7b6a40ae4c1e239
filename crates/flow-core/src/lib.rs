//! Monge-Ampère flows (Zhang, E, Wang, arXiv:1809.10188) for any array backend.
//!
//! A density is carried by `dx/dt = ∇φ(x, t)`, `d ln p/dt = −∇²φ(x, t)` from a standard normal at `t = 0` to the model
//! at `t = T`. This crate holds the only copy of stepping, adjoints, objectives and training. A backend brings a
//! [`Space`] and potentials ([`Potential`]); an [`Integrator`] carries points; an [`Objective`] turns a batch into a
//! loss with its exact gradient; [`Trainer`] trains whatever is a [`Model`]. No files, no terminals, no device: those
//! are of the crates above and beside.
//!
//! # A first training
//!
//! A flow on the rows of an array, `x` row by row, on any backend: `Cpu::<f32>::new(0)` of the crate `backend-ndarray`
//! is a [`Space`], and its `Ridge` a [`Potential`]. The crate `maflow` has targets, recipes and runs above this.
//!
//! ```
//! use flow_core::{
//!     ArrayRows, Error, FixedStep, FlowModel, Method, NegativeLogLikelihood, Potential, Space, TrainSettings, Trainer,
//! };
//! fn train<S: Space>(space: S, potential: Box<dyn Potential<S>>, x: Vec<f64>) -> Result<FlowModel<S>, Error> {
//!     let rows = ArrayRows::new(x, potential.dim())?;
//!     let integrator = Box::new(FixedStep::new(Method::Rk4.tableau(), 8)?);
//!     let mut model = FlowModel::new(space, potential, integrator, Box::new(NegativeLogLikelihood::default()));
//!     Trainer::new(&mut model, TrainSettings { steps: 500, ..Default::default() }, &rows)?.run(&mut ())?;
//!     Ok(model)
//! }
//! ```

mod activation;
mod batch;
mod bijector;
mod bijector_model;
mod boundary;
mod cache_key;
mod centres;
mod chain;
mod checkpoint;
#[cfg(feature = "conformance")]
pub mod conformance;
mod continuous;
mod converged;
mod data;
mod ends;
mod energy;
mod engine;
mod error;
mod evaluation;
mod flow;
mod hmc;
mod importance;
mod integrate;
mod latent;
mod lattice;
mod matching;
mod members;
mod model;
mod normalisation;
mod objective;
mod optimise;
mod parameter;
mod particles;
mod potential;
pub mod potentials;
mod reversible;
mod ridge;
mod rng;
mod runge_kutta;
mod score;
mod scored;
mod segments;
mod shares;
mod solve;
mod space;
mod stages;
mod statistics;
mod sum;
mod symmetry;
mod tableau;
mod team;
mod time;
mod train;
mod transport;
mod two_layer;
mod wasserstein;

pub use activation::{Activation, Scalar};
pub use batch::Batch;
pub use bijector::{Bijector, BijectorPullback, Image};
pub use bijector_model::BijectorModel;
pub use boundary::{BoundaryTerms, Endpoints, Losses};
pub use cache_key::CacheKey;
pub use centres::Centres;
pub use chain::Chain;
pub use checkpoint::{Checkpoint, CheckpointStore, NoStore, Occasion, Stored, Tensor, TrainState};
pub use converged::{Converged, choose_level, converged, exact, three_quarters};
pub use data::{ArrayRows, BaseSamples, Batches};
pub use energy::{Energy, PointEnergy, StandardNormal, standard_normal_log_density};
pub use engine::{BijectorSettings, Engine, NetworkSettings, PotentialSettings};
pub use error::Error;
pub use evaluation::{Evaluation, Outcome};
pub use flow::{Direction, Flow};
pub use hmc::{Energies, Hmc, HmcReport};
pub use importance::{IndependenceMetropolis, Pareto, Weights};
pub use integrate::{Backward, Integrator, Memory, Solution, SolutionCotangent, SolveOptions, Span};
pub use lattice::{LatticeRidgeParameters, LatticeRidgeSettings};
pub use matching::{FlowMatching, KnownForces, Path};
pub use model::{Estimate, FlowModel, Mapped, Model, Sampled, Trainable};
pub use normalisation::{Moments, Normalisation};
pub use objective::{
    Estimator, ForwardDivergence, FreeEnergy, LogJacobian, NegativeLogLikelihood, Objective, RowFunction,
};
pub use optimise::{Adam, AdamSettings, CosineSchedule, Schedule, clip, global_norm};
pub use parameter::{Parameter, rows_and_cols};
pub use particles::{ParticlesNetwork, ParticlesParameters, ParticlesSettings};
pub use potential::{
    Block, BlockField, Coordinates, CotangentSum, Field, FusedUpdate, Motion, Potential, Pullback, RecomputeVelocity,
    Residuals, ScoredCotangent, ScoredMotion, ScoredPoint, ScoredPointBar, Share, Solve, Stage, new_cache_key,
};
pub use reversible::Reversible;
pub use ridge::{RidgeParameters, RidgeSettings};
pub use rng::{Purpose, RngKey};
pub use runge_kutta::{Adaptive, FixedStep};
pub use score::Scored;
pub use space::{Factor, GraphCache, MomentStep, Outputs, Precision, Quotient, Session, Space, cut, map_by};
pub use statistics::{Mean, jackknife};
pub use sum::Sum;
pub use symmetry::{Group, Symmetrised, SymmetryDraw};
pub use tableau::{Method, Tableau};
pub use team::{Alone, Team, Traffic, agreed};
pub use time::{TimeBasis, TimeFamily};
pub use train::{Finish, GradientHook, Observer, StepMetrics, TrainSettings, Trainer, Validation, Validator};
pub use transport::{Moved, Transported};
pub use two_layer::{TwoLayerParameters, TwoLayerSettings};
pub use wasserstein::WassersteinDistance;
