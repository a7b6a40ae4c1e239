//! The seam of integrators: carrying a block of rows from one time to another, and pulling cotangents back along the
//! same steps.

use crate::cache_key::CacheKey;
use crate::error::Error;
use crate::potential::BlockField;
use crate::space::Space;

/// An interval of time with a direction: backwards where `to < from`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Time at the start.
    pub from: f64,
    /// Time at the end.
    pub to: f64,
}

/// What an integration keeps for its pullback, where the method has a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Memory {
    /// The residuals of every stage, and its argument unless the block [makes velocities
    /// again](BlockField::recompute_velocity): fastest.
    #[default]
    Stages,
    /// Only the start of every step. The pullback computes the stages again: one more evaluation per stage, and memory
    /// smaller by once to twice the number of stages.
    Recompute,
    /// Only the end. States and cotangents are integrated back by an equation of their own (Chen et al.,
    /// arXiv:1806.07366): memory does not grow with the steps, and the gradient is *not* that of the map that was
    /// applied, but nears it with the order of the method. A choice of fixed Runge-Kutta steps alone; methods without
    /// it give the exact gradient all the same. [`Model::gradient_error`](crate::Model::gradient_error) measures it.
    Continuous,
}

impl Memory {
    /// What gives the exact gradient of the discrete map: itself, or [`Memory::Recompute`] in place of the continuous
    /// adjoint.
    pub fn exact(self) -> Self {
        match self {
            Self::Stages | Self::Recompute => self,
            Self::Continuous => Self::Recompute,
        }
    }
}

/// What is wanted of an integration beside the final state.
#[derive(Debug, Clone, Copy, Default)]
pub struct SolveOptions {
    /// Whether there is to be a [`Solution::backward`], and what it keeps.
    pub backward: Option<Memory>,
    /// The transport cost `∫ ½‖∇φ‖² |dt|`; only meaningful in plain coordinates.
    pub cost: bool,
    /// Whether the points alone are wanted. The change of ln p and its cotangent are then meaningless, so that a method
    /// may leave the Laplacian out.
    pub points_only: bool,
}

/// The result of an integration for one block of rows.
pub struct Solution<S: Space> {
    /// State at the end, in the block's coordinates.
    pub state: S::Array,
    /// Change of ln p along the way, `−∫ ∇²φ dt` with the sign of dt, per row.
    pub log_density: S::Column,
    /// `∫ ½‖velocity‖² |dt|` per row, where wanted.
    pub cost: Option<S::Column>,
    /// The way back, where wanted.
    pub backward: Option<Box<dyn Backward<S>>>,
}

/// Cotangents of a [`Solution`].
#[derive(Debug)]
pub struct SolutionCotangent<S: Space> {
    /// Cotangent of the final state.
    pub state: S::Array,
    /// Cotangent of the change of ln p, per row.
    pub log_density: S::Column,
    /// Cotangent of the transport cost, per row, where it was wanted.
    pub cost: Option<S::Column>,
}

/// The record of an integration: whatever its method needs to pull cotangents back.
pub trait Backward<S: Space>: Send {
    /// Pulls cotangents of the solution back to the state at the start, which is returned. Those of the parameters are
    /// added to the share of the block, which is the one that was integrated.
    ///
    /// This is the exact derivative of the discrete map that the integration applied, for any number of steps; only
    /// that of [`Memory::Continuous`] is not.
    fn pull_back(self: Box<Self>, space: &S, block: &mut dyn BlockField<S>, bar: SolutionCotangent<S>) -> S::Array;
}

/// A method of integration at some fineness.
///
/// It owns its adjoint: what [`Integrator::solve`] returns pulls cotangents back by itself, so a method need not be
/// Runge-Kutta. The sign of `−∇²φ` and the direction of time live here. A method of one's own, whole:
///
/// ```
/// use flow_core::{
///     Backward, BlockField, Error, Integrator, Motion, Pullback, Solution, SolutionCotangent, SolveOptions, Space,
///     Span, Stage,
/// };
///
/// /// One long step `x + T ∇φ(x)`, taken from where the flow starts.
/// #[derive(Clone)]
/// struct OneStep;
///
/// struct Tape<S: Space> { start: S::Array, residuals: Vec<S::Array>, h: f64, stage: Stage }
///
/// impl<S: Space> Integrator<S> for OneStep {
///     fn solve(
///         &self, space: &S, block: &mut dyn BlockField<S>, start: S::Array, span: Span, options: SolveOptions,
///     ) -> Result<Solution<S>, Error> {
///         let (h, stage, rows) = (span.to - span.from, Stage { t: span.from, index: 0 }, space.shape(&start).0);
///         let (mut velocity, mut laplacian) = (space.empty_like(&start), space.column_zeros(rows));
///         let mut residuals = Vec::new();
///         let motion = Motion {
///             velocity: &mut velocity, laplacian: Some(&mut laplacian), residuals: Some(&mut residuals),
///         };
///         block.evaluate(stage, &start, motion);
///         let (mut state, mut log_density) = (start.clone(), space.column_zeros(rows));
///         space.accumulate(&mut state, 1.0, &[(h, &velocity)]);
///         space.column_accumulate(&mut log_density, 0.0, &[(-h, &laplacian)]);
///         let tape = || Box::new(Tape { start, residuals, h, stage });
///         let backward = options.backward.map(|_| tape() as Box<dyn Backward<S>>);
///         Ok(Solution { state, log_density, cost: None, backward })
///     }
///     fn evaluations(&self) -> Option<usize> { Some(1) }
///     fn level(&self) -> u64 { 1 }
///     fn order(&self) -> f64 { 1.0 }
///     fn at_level(&self, _level: u64) -> Box<dyn Integrator<S>> { Box::new(OneStep) }
///     fn describe(&self) -> String { "one step".into() }
/// }
///
/// impl<S: Space> Backward<S> for Tape<S> {
///     fn pull_back(self: Box<Self>, space: &S, block: &mut dyn BlockField<S>, bar: SolutionCotangent<S>) -> S::Array {
///         let Self { start, residuals, h, stage } = *self;
///         let (mut velocity_bar, mut through) = (space.empty_like(&start), space.empty_like(&start));
///         space.accumulate(&mut velocity_bar, 0.0, &[(h, &bar.state)]);
///         let mut laplacian_bar = bar.log_density.clone();
///         space.column_accumulate(&mut laplacian_bar, -h, &[]);
///         let of = Pullback {
///             residuals: &residuals, velocity_bar: &velocity_bar, laplacian_bar: Some(&laplacian_bar),
///             state_bar: Some(&mut through),
///         };
///         block.pullback(stage, &start, of);
///         let mut start_bar = bar.state;
///         space.accumulate(&mut start_bar, 1.0, &[(1.0, &through)]);
///         start_bar
///     }
/// }
/// ```
pub trait Integrator<S: Space>: Send + Sync {
    /// Carries a block of rows from one time to another.
    ///
    /// # Errors
    /// [`Error::Adaptive`] or [`Error::NonFinite`] where step control fails; a fixed step never fails, but may return
    /// non-finite numbers.
    fn solve(
        &self,
        space: &S,
        block: &mut dyn BlockField<S>,
        start: S::Array,
        span: Span,
        options: SolveOptions,
    ) -> Result<Solution<S>, Error>;

    /// Evaluations of an integration, where they are the same for every one: none where steps are chosen by an error
    /// estimate.
    fn evaluations(&self) -> Option<usize>;

    /// How fine the integration is, as a number that grows with it: steps, or one over the relative tolerance.
    /// Checkpoints keep it.
    fn level(&self) -> u64;

    /// The power of the level that the error falls with: the order of the method, or 1 for a tolerance.
    fn order(&self) -> f64;

    /// The same method at another level (at least 1). A method that has one level alone returns itself: its integration
    /// error then cannot be told, and is NaN.
    fn at_level(&self, level: u64) -> Box<dyn Integrator<S>>;

    /// The factor between two levels whose difference measures the integration error.
    fn level_step(&self) -> u64 {
        2
    }

    /// The next finer integrator, for measuring the integration error: half the step, or a tenth of the tolerances.
    fn refined(&self) -> Box<dyn Integrator<S>> {
        self.at_level(self.level().saturating_mul(self.level_step()))
    }

    /// The next coarser integrator; none where there is only one step.
    fn coarsened(&self) -> Option<Box<dyn Integrator<S>>> {
        let level = self.level() / self.level_step();
        (level > 0).then(|| self.at_level(level))
    }

    /// How fine it is, in words for people: `100 steps of rk4`.
    fn describe(&self) -> String;

    /// Numbers that tell this integrator from every other whose operations differ; `None`: its solves are never
    /// captured.
    fn cache_key(&self) -> Option<CacheKey> {
        None
    }
}
