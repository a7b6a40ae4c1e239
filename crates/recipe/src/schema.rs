//! The keys of a recipe with their defaults: target, potential and flow or model, training, evaluation.

mod method;
mod model;
mod particles;
mod potential;
mod scale;
mod target;

use flow_core::{Coordinates, Estimator, Memory, Precision, Reversible, Schedule};
use serde::{Deserialize, Serialize};

use crate::backend::Backend;

pub use method::*;
pub use model::*;
pub use particles::*;
pub use potential::*;
pub use scale::*;
pub use target::*;

/// A whole recipe, and the `config.toml` of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recipe {
    /// Name of the recipe; names the run directory too.
    pub name: String,
    /// One line for `maflow recipes`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What made this file; only in the `config.toml` of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunInfo>,
    /// The density to be fitted.
    pub target: TargetKind,
    /// What is fitted to it.
    #[serde(flatten)]
    pub density: Density,
    /// How the parameters are found.
    pub train: Train,
    /// A second, shorter training that goes on from the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fine_tune: Option<FineTune>,
    /// How the figures of the finished run are taken.
    pub evaluate: Evaluate,
}

/// What is fitted to a target.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Density {
    /// A flow along the gradient of a potential.
    Flow {
        /// The scalar potential whose gradient is the velocity.
        potential: Potential,
        /// How the ordinary differential equation is solved in training.
        flow: Flow,
    },
    /// A model in closed form, to compare flows with.
    Model {
        /// Which.
        model: Model,
    },
}

impl Recipe {
    /// Dimension N of the data.
    pub fn dimension(&self) -> usize {
        self.target.layout().dimension()
    }

    /// The potential, of a flow.
    pub fn potential(&self) -> Option<&Potential> {
        match &self.density {
            Density::Flow { potential, .. } => Some(potential),
            Density::Model { .. } => None,
        }
    }

    /// How the flow is integrated, where it is one.
    pub fn flow(&self) -> Option<&Flow> {
        match &self.density {
            Density::Flow { flow, .. } => Some(flow),
            Density::Model { .. } => None,
        }
    }

    /// The model, where it is one in closed form.
    pub fn model(&self) -> Option<&Model> {
        match &self.density {
            Density::Flow { .. } => None,
            Density::Model { model } => Some(model),
        }
    }

    /// The fewest probes that the Laplacian of a term is estimated with, where one is not exact.
    pub fn probes(&self) -> Option<usize> {
        self.potential().and_then(Potential::probes)
    }
}

/// What made a run: written into its `config.toml`, ignored when that file is used as a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// Version of maflow.
    pub version: String,
    /// Backend the run was made with.
    pub backend: Backend,
    /// Threads it was made with.
    pub threads: usize,
    /// SHA-256 of the data it is trained on, where they come from files; runs of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// How `dx/dt = ∇φ` is solved in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Final time T.
    pub time: f64,
    /// Steps of the method, in every segment; the integration-error watch may raise them.
    pub steps: usize,
    /// Segments of equal length that the flow is a chain of, each with a potential of its own.
    #[serde(default = "Flow::default_segments")]
    pub segments: usize,
    /// Normalisation layers between the segments: decay of the moving averages, e.g. 0.99, of means and deviations of
    /// the batches before, by which points are centred and scaled; no layers when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalisation: Option<f64>,
    /// Explicit Runge-Kutta method of fixed step, as in `"rk4"`, or, of fifth order, in `"fixed-tsit5"`; or reversible
    /// steps made of a method, as in `"reversible-rk4"`: twice the evaluations a step, and memory that does not grow
    /// with the steps.
    #[serde(default)]
    pub method: FlowMethod,
    /// Of reversible steps: what a state keeps of itself in a step, the rest being of the other state; above 0 and at
    /// most 1, 0.999 when left out. Undoing a step divides round-off by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupling: Option<f64>,
    /// What the adjoint keeps, of a method that is not reversible: the residuals of all `"stages"`, the starts of steps
    /// alone to `"recompute"` the stages from, or only the end, from which the `"continuous"` adjoint goes back; that
    /// one's gradients are not exact, and training says by how much.
    #[serde(default)]
    pub memory: Memory,
    /// Coordinates the equation is solved in.
    #[serde(default)]
    pub coordinates: Coordinates,
}

impl Flow {
    fn default_segments() -> usize {
        1
    }

    /// What a state of reversible steps keeps of itself, whether the recipe says so or not.
    pub fn coupling_or_default(&self) -> f64 {
        self.coupling.unwrap_or(Reversible::COUPLING)
    }
}

/// How the parameters are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// What is minimised.
    pub objective: Objective,
    /// Rows of a batch.
    pub batch: usize,
    /// Passes over the training data; give this or `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Optimiser steps; give this or `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Step size of the optimiser.
    #[serde(default = "Train::default_learning_rate")]
    pub learning_rate: f64,
    /// How the learning rate changes.
    #[serde(default)]
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Adam: added to the gradient as L2 decay (PyTorch's `Adam`); AdamW: decoupled.
    #[serde(default)]
    pub weight_decay: f64,
    /// Decay rates of the two moments.
    #[serde(default = "Train::default_betas")]
    pub betas: [f64; 2],
    /// Largest global norm of the gradient; longer ones are scaled to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Blocks of rows that every batch is cut into, which are worked on at once; the backend's own rule when left out.
    /// On ndarray the bits of a training depend on this number, and on no number of threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<usize>,
    /// Decay of the moving average of the parameters that figures are taken with, e.g. 0.999; none when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// Which gradient of the free energy: `"total"`, or `"path"` through the samples alone, with less noise near the
    /// target and two to three times the work.
    #[serde(default)]
    pub gradient: Estimator,
    /// Gradient through the path: the longest force `∇ ln p(x,T) + ∇E(x)` of a sample, longer ones are scaled to it, so
    /// that few samples far from the target do not hide all others; of `"forward-kl"` likewise at the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_force: Option<f64>,
    /// Weight of the transport cost `∫ ½‖∇φ‖² dt` in the loss.
    #[serde(default)]
    pub transport_cost: f64,
    /// Weight of the difference of forces `‖∇ ln p(x,T) + ∇E(x)‖²/N` in a free energy, for points of N numbers: zero
    /// where the flow is the target. About three times the work of a training without.
    #[serde(default)]
    pub force_weight: f64,
    /// Flow matching: times in a batch, drawn stratified.
    #[serde(default = "Train::default_times")]
    pub times: usize,
    /// Flow matching: times are drawn with a density proportional to `1/(1 + focus − t/T)`, the more of them near the
    /// data the smaller it is; uniformly when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focus: Option<f64>,
    /// Flow matching to a target whose energy is known: its forces at the samples take noise from the regression, whose
    /// minimum stays where it is (target score matching). Of particles it needs target.pairs = "independent".
    #[serde(default, skip_serializing_if = "target::is_false")]
    pub target_forces: bool,
    /// Sinkhorn divergence: the part of the mean cost between two rows of data that transport is blurred by, 1e-3 to
    /// 10; 0.05 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blur: Option<f64>,
    /// Sliced Wasserstein distance: random directions in a batch; 64 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projections: Option<usize>,
    /// Flow matching to a lattice model: configurations sampled once, by cluster Monte Carlo, to train on.
    #[serde(default = "Train::default_pool")]
    pub pool: usize,
    /// Floating-point precision.
    #[serde(default)]
    pub precision: Arithmetic,
    /// Seed of every random number.
    #[serde(default)]
    pub seed: u64,
    /// Steps between checkpoints.
    #[serde(default = "Train::default_checkpoint_every")]
    pub checkpoint_every: usize,
    /// Checkpoints kept, besides the best on validation.
    #[serde(default = "Train::default_keep")]
    pub keep: usize,
    /// Steps between validations; 0 for one at the end of each epoch (or none without epochs).
    #[serde(default)]
    pub validate_every: usize,
    /// Validations in a row without a new best one that end the training early; it goes on when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Rows of a validation; all that there are, or 2000 where there is no end of them, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_samples: Option<usize>,
    /// Steps between two looks at the integration error; 0 for never.
    #[serde(default = "Train::default_watch_every")]
    pub watch_every: usize,
    /// Integration error in nats above which the flow gets more steps.
    #[serde(default = "Train::default_watch_tolerance")]
    pub watch_tolerance: f64,
    /// Most integration steps that the watch may ask for.
    #[serde(default = "Train::default_max_flow_steps")]
    pub max_flow_steps: usize,
    /// Returns to the last good state, after a loss or gradient that is not finite, before giving up.
    #[serde(default = "Train::default_max_rollbacks")]
    pub max_rollbacks: usize,
}

impl Train {
    /// Sets the number of steps, of which the warm-up is a fifth at most.
    pub fn set_steps(&mut self, steps: usize) {
        self.steps = Some(steps);
        if let Schedule::Cosine(schedule) = &mut self.schedule {
            schedule.warmup = schedule.warmup.min(steps as u64 / 5);
        }
    }

    /// The blur of a Sinkhorn divergence, whether the recipe says so or not.
    pub fn blur_or_default(&self) -> f64 {
        self.blur.unwrap_or(0.05)
    }

    /// The directions of a sliced Wasserstein distance, whether the recipe says so or not.
    pub fn projections_or_default(&self) -> usize {
        self.projections.unwrap_or(64)
    }

    fn default_learning_rate() -> f64 {
        1e-3
    }
    fn default_times() -> usize {
        16
    }
    fn default_pool() -> usize {
        1 << 16
    }
    fn default_betas() -> [f64; 2] {
        [0.9, 0.999]
    }
    fn default_checkpoint_every() -> usize {
        100
    }
    fn default_keep() -> usize {
        3
    }
    fn default_watch_every() -> usize {
        100
    }
    fn default_watch_tolerance() -> f64 {
        0.1
    }
    fn default_max_flow_steps() -> usize {
        1000
    }
    fn default_max_rollbacks() -> usize {
        10
    }
}

/// A training that goes on from the first, by the target's own objective where none is named: likelihood of data, free
/// energy of an energy.
/// Its learning rate rises for a tenth of the steps and falls to zero like half a cosine; what it doesn't name is as in
/// `train`, without weight decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTune {
    /// What is minimised: the target's own objective, which is also that when left out, or `"forward-kl"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Optimiser steps; 0 leaves it out.
    pub steps: usize,
    /// Rows of a batch.
    pub batch: usize,
    /// Step size of the optimiser at the start.
    #[serde(default = "Train::default_learning_rate")]
    pub learning_rate: f64,
    /// Largest global norm of the gradient; longer ones are scaled to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Decay of the moving average of the parameters; none when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// Which gradient of the free energy, as in `train`.
    #[serde(default)]
    pub gradient: Estimator,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Negative log-likelihood of data (equation 6 of the paper).
    Nll,
    /// Variational free energy of an energy function (equation 7).
    FreeEnergy,
    /// Regression on the velocity of a path from the base to samples of the target, without integration.
    FlowMatching,
    /// The Kullback-Leibler divergence of the flow from a target that is known by samples and by its energy: the
    /// gradient is through the path of the samples to the base.
    ForwardKl,
    /// The debiased Sinkhorn divergence between samples of the flow and data: optimal transport, blurred.
    Sinkhorn,
    /// The squared Wasserstein distance between them, averaged over projections to random directions.
    SlicedWasserstein,
}

impl Objective {
    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nll => "nll",
            Self::FreeEnergy => "free-energy",
            Self::FlowMatching => "flow-matching",
            Self::ForwardKl => "forward-kl",
            Self::Sinkhorn => "sinkhorn",
            Self::SlicedWasserstein => "sliced-wasserstein",
        }
    }

    /// Whether it compares samples of the flow with data.
    pub fn is_distance(self) -> bool {
        matches!(self, Self::Sinkhorn | Self::SlicedWasserstein)
    }
}

/// The optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Weight decay added to the gradient.
    #[default]
    Adam,
    /// Decoupled weight decay.
    Adamw,
}

/// How numbers are computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arithmetic {
    /// Single
    #[default]
    F32,
    /// Double
    F64,
    /// Single, with matrix products rounded to the 10 bits of TF32: for NVIDIA GPUs (tch-cuda) only
    Tf32,
}

impl Arithmetic {
    /// The precision of the arrays.
    pub fn precision(self) -> Precision {
        match self {
            Self::F32 | Self::Tf32 => Precision::F32,
            Self::F64 => Precision::F64,
        }
    }

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Tf32 => "tf32",
        }
    }

    /// Unit round-off of whatever is rounded most.
    pub fn round_off(self) -> f64 {
        match self {
            Self::Tf32 => 0.5f64.powi(11),
            Self::F32 | Self::F64 => self.precision().round_off(),
        }
    }
}

/// How figures are taken and samples drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluate {
    /// Samples drawn, or data points used; the whole test set or 10,000 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// Integration steps to start from; those at the end of training when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Method; `flow.method` when left out. May be adaptive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<FlowMethod>,
    /// Relative tolerance of an adaptive method.
    pub rtol: f64,
    /// Absolute tolerance of an adaptive method.
    pub atol: f64,
    /// Halvings of the step at most, until the figure stands still.
    pub refinements: usize,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self { samples: None, steps: None, method: None, rtol: 1e-5, atol: 1e-5, refinements: 3 }
    }
}
