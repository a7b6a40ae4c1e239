//! Monge-Ampère flows as a library, above [`flow_core`] and its backends: whatever the program `maflow` does, a Rust
//! caller does with this crate.
//!
//! - A [`recipe::Recipe`] says what is trained and how; [`recipes`] has those that come with the crate.
//! - A [`target::Target`] is the density to be fitted.
//! - A [`run::Run`] is trained, interrupted and resumed, and gives ln p of rows, samples and figures
//!   ([`report::Report`]). It is a folder ([`run_dir`]) with its recipe, its metrics and its checkpoints
//!   ([`checkpoint`]), written whole or not at all ([`files`]). [`train::Train`] has all the choices of a training.
//!   A [`flow::TrainedFlow`] is the flow of a run in its own coordinates, on whichever backend; underneath, for work
//!   of one's own on a backend, are [`trained::load`], [`figures::take`], [`physics::study`] and [`sampling`].
//! - All long work tells a [`monitor::Monitor`] how far it is, and stops where that wants it to.
//!
//! # A small training, its figures and its samples
//!
//! ```
//! use maflow::recipes;
//! use maflow::run::Run;
//!
//! let folder = tempfile::tempdir()?;
//! let short = ["train.steps=20", "train.schedule=constant", "evaluate.samples=200"];
//! let recipe = recipes::load("rings", &short.map(|setting| setting.parse().unwrap()))?;
//! let run = Run::create(folder.path().join("run"), recipe);
//! run.train(&())?;
//!
//! println!("{}", run.report(&())?.json());
//! assert_eq!(run.sample(10)?.len(), 10 * 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A target of your own
//!
//! ```
//! use std::sync::Arc;
//! use flow_core::{Energy, PointEnergy};
//! use maflow::recipes;
//! use maflow::run::Run;
//! use maflow::target::Target;
//!
//! /// Two wells in x, a spring in y.
//! #[derive(Debug)]
//! struct DoubleWell;
//!
//! impl Target for DoubleWell {
//!     fn dimension(&self) -> usize { 2 }
//!     fn energy(&self) -> Option<Arc<dyn Energy>> {
//!         Some(Arc::new(PointEnergy::new(2, |x, gradient| {
//!             gradient.copy_from_slice(&[4.0 * x[0] * (x[0] * x[0] - 1.0), x[1]]);
//!             Ok((x[0] * x[0] - 1.0).powi(2) + 0.5 * x[1] * x[1])
//!         })))
//!     }
//! }
//!
//! let folder = tempfile::tempdir()?;
//! let own = ["target={kind=\"own\", dimension=2, energy=true, samples=false}", "train.steps=20",
//!     "train.schedule=constant", "evaluate.samples=200"];
//! let recipe = recipes::load("energy-1", &own.map(|setting| setting.parse().unwrap()))?;
//! let run = Run::create(folder.path().join("run"), recipe).with_target(Arc::new(DoubleWell));
//! run.train(&())?;
//! assert!(run.report(&())?.standard_error.is_finite());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod backend;
mod c_energy;
pub mod checkpoint;
mod energy_check;
mod error;
pub mod figures;
pub mod files;
pub mod fit;
pub mod flow;
mod integration;
pub mod kept;
mod listener;
pub mod memory;
pub mod metrics;
pub mod monitor;
pub mod numbers;
mod observable;
mod phases;
pub mod physics;
mod potential;
pub mod recipes;
pub mod report;
pub mod run;
pub mod run_dir;
pub mod sampling;
pub mod standardisation;
pub mod target;
pub mod tensor_file;
pub mod together;
mod torch_names;
pub mod train;
pub mod trained;
pub mod transfer;
pub mod transport;
mod weights;

pub use error::Error;
pub use maflow_recipe as recipe;
