//! Monge-Ampère flows as a library, above [`flow_core`] and its backends: whatever the program `maflow` does, a Rust
//! caller does with this crate.
//!
//! - A [`recipe::Recipe`] says what is trained and how; [`recipes`] has those that come with the crate.
//! - A [`target::Target`] is the density to be fitted.
//! - [`train::Train`] makes a run, or goes on with one; a run is a folder ([`run_dir`]) with its recipe, its metrics and
//!   its checkpoints ([`checkpoint`]), written whole or not at all ([`files`]).
//! - [`trained::load`] gives the flow of a run, [`figures::take`] its figures ([`report::Report`]), [`physics::study`]
//!   those of a lattice model, [`sampling`] its samples.
//! - All long work tells a [`monitor::Monitor`] how far it is, and stops where that wants it to.
//!
//! # A small training, its figures and its samples
//!
//! ```
//! use flow_core::Direction;
//! use maflow::backend::{self, Compute, Engine, Work};
//! use maflow::train::{Start, Train};
//! use maflow::{Error, figures, recipes, sampling, trained};
//!
//! let folder = tempfile::tempdir()?;
//! let short = ["train.steps=20", "train.schedule=constant", "evaluate.samples=200"].map(|change| change.parse().unwrap());
//! let recipe = recipes::load("rings", &short)?;
//! let start = Start::New(folder.path().join("run"));
//! let done = Train { recipe, start, from: None, data: None, compute: Compute::default() }.run(&())?;
//!
//! struct Look(maflow::train::Done);
//! impl Work for Look {
//!     type Output = (f64, Vec<f64>);
//!     fn run<E: Engine>(self, engine: &E) -> Result<Self::Output, Error> {
//!         let Self(done) = self;
//!         let trained = trained::load(engine, &done.recipe, done.run.path(), &())?;
//!         let (report, _) = figures::take(engine.space(), &done.recipe, &*done.target, &trained, &())?;
//!         let integrator = trained.integrator(&done.recipe)?;
//!         let flow = trained.flow(engine.space(), &done.recipe, &*integrator);
//!         Ok((report.standard_error, sampling::all(&flow, 1, 10)?))
//!     }
//! }
//! let precision = done.recipe.train.precision;
//! let (standard_error, samples) = backend::run(&Compute::default(), precision, Look(done))?;
//! assert!(standard_error.is_finite());
//! assert_eq!(samples.len(), 10 * 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod backend;
pub mod checkpoint;
mod error;
pub mod figures;
pub mod files;
mod listener;
pub mod metrics;
pub mod monitor;
pub mod numbers;
pub mod phases;
pub mod physics;
pub mod recipe;
pub mod recipes;
pub mod report;
pub mod run_dir;
pub mod sampling;
pub mod standard;
pub mod target;
pub mod tensor_file;
pub mod torch_names;
pub mod train;
pub mod trained;
pub mod transfer;
pub mod weights;

pub use error::Error;
