//! The seam: a potential, its field frozen for one solve, and a block of rows in the field's own coordinates.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{RngKey, Space};

/// One learnable array of a potential.
#[derive(Debug, Clone)]
pub struct Parameter<S: Space> {
    /// Name in files, unique within a potential.
    pub name: String,
    /// Shape in files; a vector of n numbers is stored here as a `1 × n` matrix.
    pub shape: Vec<usize>,
    /// The numbers.
    pub value: S::Array,
}

/// A learnable scalar function `φ(x, t)` on rows of `dim` numbers.
///
/// A potential always means `φ` with `∇φ` and `∇²φ` as mathematics has them; the sign of the log-density and the direction of time
/// are the integrator's business. To add one, implement this trait and run
/// the conformance suite (feature `conformance`) on it.
pub trait Potential<S: Space>: Send + Sync {
    /// Numbers per row.
    fn dim(&self) -> usize;

    /// The learnable arrays, in a fixed order.
    fn parameters(&self) -> Vec<&Parameter<S>>;

    /// The learnable arrays, in the same order.
    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>>;

    /// Fixes everything that stays the same while one batch is integrated: drawn symmetries, products of weights, tables.
    fn freeze(&self, solve: &Solve) -> Box<dyn Field<S> + '_>;

    /// Whether the field changes at random from stage to stage, so that only fixed steps make sense.
    fn random_in_time(&self) -> bool {
        false
    }

    /// A number of this potential alone ([`new_cache_key`]), where the operations of a solve depend on nothing but the potential, the
    /// number of rows and the integrator: nothing is drawn, and no numbers come from the host. Such solves can be [recorded](crate::Recorder).
    fn identity(&self) -> Option<u64> {
        None
    }

    /// The same potential as one that can be told what to draw, where its solves depend on that too, but on nothing else that
    /// [`Potential::identity`] leaves out: only of a potential that has none.
    fn chooses(&self) -> Option<&dyn Chooses<S>> {
        None
    }
}

/// A potential that can be told what to draw, so that its solves can be [recorded](crate::Recorder) too.
pub trait Chooses<S: Space> {
    /// What [`Potential::identity`] is to others.
    fn told_identity(&self) -> u64;

    /// What the potential draws for a solve of so many evaluations: equally many numbers for every row of the batch, row by row.
    fn choose(&self, solve: &Solve, evaluations: usize) -> Vec<f64>;

    /// [`Potential::freeze`] with these numbers, for a solve of all rows in one block.
    fn freeze_with<'a>(&'a self, solve: &Solve, chosen: &'a S::Array) -> Box<dyn Field<S> + 'a>;
}

/// A number that no other potential of this process has.
pub fn new_cache_key() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl<S: Space, P: Potential<S> + ?Sized> Potential<S> for Box<P> {
    fn dim(&self) -> usize {
        (**self).dim()
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        (**self).parameters()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        (**self).parameters_mut()
    }

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<S> + '_> {
        (**self).freeze(solve)
    }

    fn random_in_time(&self) -> bool {
        (**self).random_in_time()
    }

    fn identity(&self) -> Option<u64> {
        (**self).identity()
    }

    fn chooses(&self) -> Option<&dyn Chooses<S>> {
        (**self).chooses()
    }
}

/// What a potential may know of the solve it is frozen for.
#[derive(Debug, Clone, Copy)]
pub struct Solve {
    /// Rows of the whole batch.
    pub rows: usize,
    /// The key of the batch; draws of the potential itself (symmetries, probes) come from here.
    pub key: RngKey,
    /// Which coordinates may be used.
    pub coordinates: Coordinates,
}

/// In which coordinates a solve integrates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinates {
    /// Whatever the potential finds cheapest.
    Auto,
    /// `x` itself: velocities are `∇φ`, and tolerances are in units of `x`.
    X,
    /// The potential's own coordinates, where it has any, even when `x` is cheaper.
    Feature,
}

/// A potential frozen for one solve; blocks of rows enter it, perhaps on several threads.
pub trait Field<S: Space>: Sync {
    /// Takes a block of rows (`rows` are their numbers within the batch, `x` is `rows.len() × dim`) into the field's coordinates.
    /// Returns the block's chart and its state at the start.
    fn enter(&self, rows: Range<usize>, x: S::Array) -> (Box<dyn BlockField<S> + '_>, S::Array);

    /// [`Field::enter`] in plain coordinates, for rows that are each at a time of their own, `times`, whatever the time of a stage: for a
    /// regression, which evaluates every row but once. The chart gives no Laplacians. `None` where rows have to share their time.
    fn enter_at(
        &self,
        _rows: Range<usize>,
        _x: &S::Array,
        _times: &[f64],
    ) -> Option<(Box<dyn BlockField<S> + '_>, S::Array)> {
        None
    }

    /// `φ(x_r, t)` of the frozen potential for a block of rows of `x` (`rows.len() × dim`): the judge of everything else.
    fn value(&self, rows: Range<usize>, stage: Stage, x: &S::Array) -> S::Column;

    /// Turns the sums over blocks of what [`BlockField::enter_pullback`] returned into the gradient,
    /// one array per parameter of the potential: the place for work that is needed once per solve.
    fn gradient(&self, sums: Vec<S::Array>) -> Vec<S::Array>;
}

/// Where an evaluation stands in a solve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// Time.
    pub t: f64,
    /// Number of the evaluation within the solve: the same in the flow and in its adjoint.
    pub index: u64,
}

/// Where a velocity leads: `out ← base + Σ cᵢ · termᵢ + c · velocity`.
#[derive(Debug)]
pub struct FusedUpdate<'a, S: Space> {
    /// The backend.
    pub space: &'a S,
    /// Overwritten.
    pub out: &'a mut S::Array,
    /// Where the step began.
    pub base: &'a S::Array,
    /// Earlier velocities.
    pub terms: &'a [(f64, &'a S::Array)],
    /// Factor of the velocity.
    pub c: f64,
}

impl<S: Space> FusedUpdate<'_, S> {
    /// Adds up.
    pub fn apply(self, velocity: &S::Array) {
        let mut terms = self.terms.to_vec();
        terms.extend((self.c != 0.0).then_some((self.c, velocity)));
        self.space.combine(self.out, self.base, &terms);
    }
}

/// Arrays that an evaluation leaves for its pullback, so that nothing is computed twice.
pub type Residuals<S> = Vec<<S as Space>::Array>;

/// Tells velocities from residuals, see [`BlockField::recall`].
pub trait RecomputeVelocity<S: Space> {
    /// The velocity of an evaluation again, from what it left in `residuals`.
    fn velocity(&self, stage: Stage, residuals: &[S::Array], velocity: &mut S::Array);
}

/// A block of rows in a frozen field's coordinates, with its work space and its share of the gradient.
///
/// With plain coordinates the state is `x`, the velocity is `∇φ`, and `leave` returns the state.
pub trait BlockField<S: Space>: Send {
    /// Velocity of the state, and `∇²φ` of every row where asked for. Leaves in `residuals` what [`BlockField::pullback`] needs.
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &S::Array,
        velocity: &mut S::Array,
        laplacian: Option<&mut S::Column>,
        residuals: Option<&mut Residuals<S>>,
    );

    /// [`BlockField::evaluate`], and where the velocity leads, where that is wanted: for a chart that adds up on the way.
    fn evaluate_and_update(
        &mut self,
        stage: Stage,
        state: &S::Array,
        velocity: &mut S::Array,
        laplacian: Option<&mut S::Column>,
        residuals: Option<&mut Residuals<S>>,
        toward: Option<FusedUpdate<'_, S>>,
    ) {
        self.evaluate(stage, state, velocity, laplacian, residuals);
        if let Some(toward) = toward {
            toward.apply(velocity);
        }
    }

    /// What tells velocities from residuals, where that is cheap. The arguments of stages are then made again from them for the pullback, not
    /// kept, which halves what an integration remembers: for a chart whose residuals is about as large as its state.
    fn recompute_velocity(&self) -> Option<&dyn RecomputeVelocity<S>> {
        None
    }

    /// Pulls cotangents of (velocity, ∇²φ) back: `state_bar` is overwritten with the cotangent of the state where it is wanted;
    /// those of the parameters are added to the block's share.
    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        residuals: &[S::Array],
        velocity_bar: &S::Array,
        laplacian_bar: Option<&S::Column>,
        state_bar: Option<&mut S::Array>,
    );

    /// [`BlockField::pullback`] of the cotangent `Σ cᵢ · termᵢ` of the velocity, for which there is `room`: for a chart that adds up on the way.
    #[allow(clippy::too_many_arguments, reason = "a pullback has this many, and a sum two more")]
    fn pullback_of_sum(
        &mut self,
        space: &S,
        stage: Stage,
        state: &S::Array,
        residuals: &[S::Array],
        velocity_bar: &[(f64, &S::Array)],
        room: &mut S::Array,
        laplacian_bar: Option<&S::Column>,
        state_bar: Option<&mut S::Array>,
    ) {
        space.accumulate(room, 0.0, velocity_bar);
        self.pullback(stage, state, residuals, room, laplacian_bar, state_bar);
    }

    /// From the state at the end to `x` at the end.
    fn leave(&mut self, state: S::Array) -> S::Array;

    /// Pulls the cotangent of the final `x` back to the final state.
    fn leave_pullback(&mut self, state: &S::Array, x_bar: S::Array) -> S::Array;

    /// Pulls the cotangent of the state at the start back to the `x` that entered;
    /// returns it with the block's share of the gradient, as arrays that are summed over blocks
    /// and then given to [`Field::gradient`].
    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<S::Array>);
}
