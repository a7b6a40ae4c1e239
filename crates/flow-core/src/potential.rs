//! The seam of potentials: a scalar function, its field frozen for one solve, and a block of rows in the field's own
//! coordinates.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::normalisation::{Moments, Normalisation};
use crate::parameter::Parameter;
use crate::rng::RngKey;
use crate::space::Space;

/// A learnable scalar function `φ(x, t)` on rows of `dim` numbers, or `φ(x, t | c)` with a context of `context_dim`
/// numbers a row.
///
/// A potential always means `φ` with `∇φ` and `∇²φ` as mathematics has them; the sign of the log-density and the
/// direction of time are the integrator's business. To add one, implement this trait and run the conformance suite
/// (feature `conformance`) on it: `conformance::Gaussian` is a whole potential on one screen, and
/// [`potentials::Ridge`](crate::potentials::Ridge) one with matrices. Both are written once for all backends, over the
/// operations of a [`Space`]. A potential with nothing to learn, whole:
///
/// ```
/// use flow_core::{Block, BlockField, Field, Motion, Parameter, Potential, Pullback, Share, Solve, Space, Stage};
///
/// /// `φ = ‖x‖²/2`: points run away from the origin.
/// struct Away<S> { space: S, dim: usize }
///
/// impl<S: Space> Potential<S> for Away<S> {
///     fn dim(&self) -> usize { self.dim }
///     fn parameters(&self) -> Vec<&Parameter<S>> { Vec::new() }
///     fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> { Vec::new() }
///     fn freeze(&self, _solve: &Solve) -> Box<dyn Field<S> + '_> { Box::new(Frozen(self)) }
/// }
///
/// struct Frozen<'a, S>(&'a Away<S>);
///
/// impl<S: Space> Field<S> for Frozen<'_, S> {
///     fn enter(&self, block: Block<S>) -> (Box<dyn BlockField<S> + '_>, S::Array) {
///         (Box::new(Rows(self.0)), block.x)
///     }
///     fn value(&self, _stage: Stage, block: Block<S>) -> S::Column {
///         let (space, rows) = (&self.0.space, block.rows.len());
///         let (mut square, mut value) = (space.column_zeros(rows), space.column_zeros(rows));
///         space.row_dot(&mut square, &block.x, &block.x);
///         space.column_accumulate(&mut value, 0.0, &[(0.5, &square)]);
///         value
///     }
///     fn gradient(&self, _sums: Vec<Share<S>>) -> Vec<S::Array> { Vec::new() }
/// }
///
/// struct Rows<'a, S>(&'a Away<S>);
///
/// impl<S: Space> BlockField<S> for Rows<'_, S> {
///     fn evaluate(&mut self, _stage: Stage, x: &S::Array, out: Motion<'_, S>) {
///         let Away { space, dim } = self.0;
///         space.accumulate(out.velocity, 0.0, &[(1.0, x)]);
///         if let Some(laplacian) = out.laplacian {
///             *laplacian = space.upload_column(&vec![*dim as f64; space.shape(x).0]);
///         }
///     }
///     fn pullback(&mut self, _stage: Stage, _x: &S::Array, of: Pullback<'_, S>) {
///         // The matrix of second derivatives is the unit matrix, and the Laplacian depends on nothing.
///         if let Some(x_bar) = of.state_bar {
///             self.0.space.accumulate(x_bar, 0.0, &[(1.0, of.velocity_bar)]);
///         }
///     }
///     fn enter_pullback(self: Box<Self>, x_bar: S::Array) -> (S::Array, Vec<Share<S>>) { (x_bar, Vec::new()) }
/// }
/// ```
pub trait Potential<S: Space>: Send + Sync {
    /// Numbers per row.
    fn dim(&self) -> usize;

    /// Numbers of context per row.
    fn context_dim(&self) -> usize {
        0
    }

    /// The learnable arrays, in a fixed order.
    fn parameters(&self) -> Vec<&Parameter<S>>;

    /// The learnable arrays, in the same order.
    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>>;

    /// Arrays that belong to the potential but are not learned by gradients, such as running means; their names differ
    /// from those of the parameters.
    fn buffers(&self) -> Vec<&Parameter<S>> {
        Vec::new()
    }

    /// The same arrays, in the same order.
    fn buffers_mut(&mut self) -> Vec<&mut Parameter<S>> {
        Vec::new()
    }

    /// Updates the buffers by the moments of a training batch at the [layers](Field::layers). Only later batches see
    /// them.
    fn observe(&mut self, _moments: &[Moments]) {}

    /// Fixes everything that stays the same while one batch is integrated: products of weights, tables.
    fn freeze(&self, solve: &Solve) -> Box<dyn Field<S> + '_>;

    /// Whether the field changes at random from stage to stage, so that only fixed steps make sense.
    fn random_in_time(&self) -> bool {
        false
    }

    /// How many random numbers every row of a solve needs (elements of a symmetry group, probes of a trace estimator).
    fn draw_width(&self, _solve: &Solve) -> usize {
        0
    }

    /// Those numbers for the rows `rows` of the batch, [`Potential::draw_width`] a row, row by row: a function of
    /// `solve.key` and the row alone. Blocks get them back as [`Block::draws`].
    fn draw(&self, _solve: &Solve, _rows: Range<usize>) -> Vec<f64> {
        Vec::new()
    }

    /// Whether blocks in plain coordinates have [`BlockField::score_pullback`]: what a loss of the score `∇ ln p` is
    /// differentiated by.
    fn has_score_pullback(&self) -> bool {
        false
    }

    /// A number of this potential alone ([`new_cache_key`]), where the operations of a solve depend on nothing but the
    /// potential, the number of rows and the integrator. Solves of such a potential can be captured and replayed, see
    /// [`GraphCache`](crate::GraphCache).
    /// The shares of their blocks must be sums then, not factors.
    fn cache_key(&self) -> Option<u64> {
        None
    }
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

    fn context_dim(&self) -> usize {
        (**self).context_dim()
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        (**self).parameters()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        (**self).parameters_mut()
    }

    fn buffers(&self) -> Vec<&Parameter<S>> {
        (**self).buffers()
    }

    fn buffers_mut(&mut self) -> Vec<&mut Parameter<S>> {
        (**self).buffers_mut()
    }

    fn observe(&mut self, moments: &[Moments]) {
        (**self).observe(moments);
    }

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<S> + '_> {
        (**self).freeze(solve)
    }

    fn random_in_time(&self) -> bool {
        (**self).random_in_time()
    }

    fn draw_width(&self, solve: &Solve) -> usize {
        (**self).draw_width(solve)
    }

    fn draw(&self, solve: &Solve, rows: Range<usize>) -> Vec<f64> {
        (**self).draw(solve, rows)
    }

    fn has_score_pullback(&self) -> bool {
        (**self).has_score_pullback()
    }

    fn cache_key(&self) -> Option<u64> {
        (**self).cache_key()
    }
}

/// What a potential may know of the solve it is frozen for.
#[derive(Debug, Clone, Copy)]
pub struct Solve {
    /// Rows of the whole batch.
    pub rows: usize,
    /// The most rows of a block.
    pub block_rows: usize,
    /// The key of the batch, for what the potential draws.
    pub key: RngKey,
    /// Which coordinates may be used.
    pub coordinates: Coordinates,
    /// Evaluations of the field, where their number is the same for every solve of this kind.
    pub evaluations: Option<usize>,
    /// Whether Laplacians will be asked for: a regression wants velocities alone, and needs no probes of a trace.
    pub laplacians: bool,
}

/// In which coordinates a solve integrates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Coordinates {
    /// Whatever the potential finds cheapest.
    #[default]
    Auto,
    /// `x` itself: velocities are `∇φ`, and tolerances are in units of `x`.
    X,
    /// The potential's own coordinates, where it has any, even when `x` is cheaper: of a ridge potential its feature
    /// space, where the state is c with `x = x₀ + Wᵀc`.
    Feature,
}

/// A block of rows on its way into a field.
#[derive(Debug)]
pub struct Block<S: Space> {
    /// The numbers of the rows within the batch.
    pub rows: Range<usize>,
    /// The points, `rows.len() × dim`.
    pub x: S::Array,
    /// `rows.len() × context_dim`; `None` for a potential without context.
    pub context: Option<S::Array>,
    /// `rows.len() × draw_width`, see [`Potential::draw`]; `None` for a potential that draws nothing.
    pub draws: Option<S::Array>,
    /// The time of every row, instead of that of each stage: for a regression, which evaluates every row but once. Only
    /// where [`Field::rows_may_have_times`]; the block then gives no Laplacians.
    pub times: Option<Vec<f64>>,
}

impl<S: Space> Block<S> {
    /// A block without context and draws.
    pub fn new(rows: Range<usize>, x: S::Array) -> Self {
        Self { rows, x, context: None, draws: None, times: None }
    }
}

/// A potential frozen for one solve; blocks of rows enter it, perhaps on several threads.
pub trait Field<S: Space>: Sync {
    /// Takes a block of rows into the field's coordinates. Returns the block and its state at the start.
    fn enter(&self, block: Block<S>) -> (Box<dyn BlockField<S> + '_>, S::Array);

    /// Whether a block may say a time for each of its rows, [`Block::times`].
    fn rows_may_have_times(&self) -> bool {
        false
    }

    /// Times at which an integration has to stop, because another segment of the flow begins there: none, but of a
    /// [`Chain`](crate::Chain).
    fn boundaries(&self) -> Vec<f64> {
        Vec::new()
    }

    /// What is done to points at the boundaries, if anything is.
    fn layers(&self) -> &[Normalisation<S>] {
        &[]
    }

    /// `φ(x_r, t)` of the frozen potential for a block of rows. The conformance suite compares all derivatives with
    /// differences of it.
    fn value(&self, stage: Stage, block: Block<S>) -> S::Column;

    /// Turns the sums over blocks of what [`BlockField::enter_pullback`] returned into the gradient, one array per
    /// parameter of the potential: the place for work that is needed once per solve.
    fn gradient(&self, sums: Vec<Share<S>>) -> Vec<S::Array>;
}

/// A block's share of something that is summed over all blocks: an array, products `leftᵀ · right` of short matrices,
/// or both.
///
/// Products whose factors have few rows are better added up as factors: those of all blocks stacked make one large
/// product. Either kind may be missing, but of all blocks of a solve alike: the members of a team send each other the
/// kinds that they have.
#[derive(Debug, Clone)]
pub struct Share<S: Space> {
    /// Summed over blocks in their order.
    pub sum: Option<S::Array>,
    /// Left and right factors, which have equally many rows; those of later blocks are put behind these.
    pub factors: Vec<(S::Array, S::Array)>,
}

impl<S: Space> Share<S> {
    /// A share that is an array.
    pub fn of(sum: S::Array) -> Self {
        Self { sum: Some(sum), factors: Vec::new() }
    }

    /// Adds the share of the next block.
    pub fn add(&mut self, space: &S, later: Self) {
        match (&mut self.sum, later.sum) {
            (Some(sum), Some(term)) => space.accumulate(sum, 1.0, &[(1.0, &term)]),
            (sum @ None, term) => *sum = term,
            (Some(_), None) => {}
        }
        self.factors.extend(later.factors);
    }

    /// The sum, of a share that has no factors.
    ///
    /// # Panics
    /// If the share has no sum. The field that made it knows which kind it is.
    pub fn into_sum(self) -> S::Array {
        assert!(self.factors.is_empty(), "a share of factors is no sum");
        self.sum.expect("a share that is an array")
    }
}

/// Where an evaluation stands in a solve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// Time.
    pub t: f64,
    /// Number of the evaluation within the solve: the same in the flow and in its adjoint.
    pub index: u64,
}

/// What an evaluation of a field gives: arrays that it overwrites, and residuals that it leaves.
#[derive(Debug)]
pub struct Motion<'a, S: Space> {
    /// The velocity of the state, in its shape.
    pub velocity: &'a mut S::Array,
    /// `∇²φ` of every row, where it is wanted.
    pub laplacian: Option<&'a mut S::Column>,
    /// What [`BlockField::pullback`] needs is put here, where one follows; empty before.
    pub residuals: Option<&'a mut Residuals<S>>,
}

/// What a pullback of an evaluation is given, and where it puts the cotangent of the state. `V` says how the cotangent
/// of the velocity comes.
#[derive(Debug)]
pub struct Pullback<'a, S: Space, V = &'a <S as Space>::Array> {
    /// What the evaluation left.
    pub residuals: &'a [S::Array],
    /// Cotangent of the velocity, in the shape of the state.
    pub velocity_bar: V,
    /// Cotangent of `∇²φ` of every row; none where it is zero.
    pub laplacian_bar: Option<&'a S::Column>,
    /// Overwritten with the cotangent of the state, where it is wanted.
    pub state_bar: Option<&'a mut S::Array>,
}

/// The cotangent `Σ cᵢ · termᵢ` of a velocity, not yet added up.
#[derive(Debug)]
pub struct CotangentSum<'a, S: Space> {
    /// The backend.
    pub space: &'a S,
    /// The terms with their factors, each in the shape of the state.
    pub terms: &'a [(f64, &'a S::Array)],
    /// An array like the velocity, for a kernel that cannot add up.
    pub scratch: &'a mut S::Array,
}

/// What an integrator makes of a velocity: `out ← base + Σ cᵢ · termᵢ + c · velocity`. A backend may do it in the
/// kernel of the velocity.
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
    /// Makes the update apart from the velocity.
    pub fn apply(self, velocity: &S::Array) {
        let mut terms = self.terms.to_vec();
        terms.extend((self.c != 0.0).then_some((self.c, velocity)));
        self.space.combine(self.out, self.base, &terms);
    }
}

/// Points with their scores, each `rows × dim`, see [`BlockField::score_pullback`].
#[derive(Debug)]
pub struct ScoredPoint<'a, S: Space> {
    /// The points x.
    pub x: &'a S::Array,
    /// The scores s.
    pub score: &'a S::Array,
}

/// What moves points and their scores, see [`BlockField::evaluate_scored`].
#[derive(Debug)]
pub struct ScoredMotion<'a, S: Space> {
    /// ∇φ, `rows × dim`.
    pub velocity: &'a mut S::Array,
    /// ∇²φ, per row, where it is wanted.
    pub laplacian: Option<&'a mut S::Column>,
    /// `(∇∇φ) s + ∇∇²φ`, `rows × dim`.
    pub change: &'a mut S::Array,
}

/// Cotangents of what moves points and their scores.
#[derive(Debug)]
pub struct ScoredCotangent<'a, S: Space> {
    /// a, of ∇φ, `rows × dim`.
    pub velocity: &'a S::Array,
    /// l, of ∇²φ, per row.
    pub laplacian: &'a S::Column,
    /// b, of `(∇∇φ) s + ∇∇²φ`, `rows × dim`.
    pub change: &'a S::Array,
}

impl<S: Space> ScoredCotangent<'_, S> {
    /// What an evaluation at the points gets of it, by a field that leaves no residuals. The cotangent of the points
    /// goes to `x_bar`, `rows × dim`.
    pub fn to_points<'a>(&'a self, x_bar: &'a mut S::Array) -> Pullback<'a, S> {
        let (velocity_bar, laplacian_bar) = (self.velocity, Some(self.laplacian));
        Pullback { residuals: &[], velocity_bar, laplacian_bar, state_bar: Some(x_bar) }
    }

    /// What an evaluation at the scores gets of it, by a linear field that leaves no residuals. The cotangent of the
    /// scores goes to `score_bar`, `rows × dim`.
    pub fn to_scores<'a>(&'a self, score_bar: &'a mut S::Array) -> Pullback<'a, S> {
        Pullback { residuals: &[], velocity_bar: self.change, laplacian_bar: None, state_bar: Some(score_bar) }
    }
}

/// Where the cotangents of points and their scores go, each `rows × dim`.
#[derive(Debug)]
pub struct ScoredPointBar<'a, S: Space> {
    /// Cotangent of x.
    pub x: &'a mut S::Array,
    /// Cotangent of s: `(∇∇φ) b`.
    pub score: &'a mut S::Array,
}

// By hand: derives would ask for `S: Copy`, which references do not need.
impl<S: Space> Clone for ScoredPoint<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S: Space> Copy for ScoredPoint<'_, S> {}
impl<S: Space> Clone for ScoredCotangent<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S: Space> Copy for ScoredCotangent<'_, S> {}

/// Arrays that an evaluation leaves for its pullback, so that nothing is computed twice.
pub type Residuals<S> = Vec<<S as Space>::Array>;

/// Computes velocities again from residuals, see [`BlockField::recompute_velocity`].
pub trait RecomputeVelocity<S: Space> {
    /// The velocity of an evaluation again, from what it left in `residuals`.
    fn velocity(&self, stage: Stage, residuals: &[S::Array], velocity: &mut S::Array);
}

/// A block of rows in a frozen field's coordinates, with its work space and its share of the gradient.
///
/// The state has a row for each row of the block, and as many columns as the coordinates have. With plain coordinates
/// it is `x`, its velocity is `∇φ`, and `leave` and `leave_pullback` are the identity, as their defaults are.
pub trait BlockField<S: Space>: Send {
    /// Says that the evaluations that follow are of this segment, where a field has [boundaries](Field::boundaries). A
    /// block begins in segment 0.
    fn enter_segment(&mut self, _segment: usize) {}

    /// Velocity of the state, and `∇²φ` of every row where asked for. Leaves what [`BlockField::pullback`] needs.
    fn evaluate(&mut self, stage: Stage, state: &S::Array, out: Motion<'_, S>);

    /// [`BlockField::evaluate`] with the update that follows, where that is wanted: for a block whose kernel can make
    /// both.
    fn evaluate_and_update(
        &mut self,
        stage: Stage,
        state: &S::Array,
        out: Motion<'_, S>,
        update: Option<FusedUpdate<'_, S>>,
    ) {
        let Motion { velocity, laplacian, residuals } = out;
        self.evaluate(stage, state, Motion { velocity: &mut *velocity, laplacian, residuals });
        if let Some(update) = update {
            update.apply(velocity);
        }
    }

    /// What makes velocities again from residuals, where that is cheap. The arguments of stages are then made again
    /// from them for the pullback, not kept, which halves what an integration remembers: for a block whose residuals
    /// are about as large as its state.
    fn recompute_velocity(&self) -> Option<&dyn RecomputeVelocity<S>> {
        None
    }

    /// Pulls cotangents of (velocity, ∇²φ) back to the state, where that is wanted; those of the parameters are added
    /// to the block's share.
    fn pullback(&mut self, stage: Stage, state: &S::Array, of: Pullback<'_, S>);

    /// [`BlockField::pullback`] of a cotangent that is a sum, for a block whose kernel can add up.
    fn pullback_of_sum(&mut self, stage: Stage, state: &S::Array, of: Pullback<'_, S, CotangentSum<'_, S>>) {
        let Pullback { residuals, velocity_bar: CotangentSum { space, terms, scratch }, laplacian_bar, state_bar } = of;
        space.accumulate(scratch, 0.0, terms);
        self.pullback(stage, state, Pullback { residuals, velocity_bar: scratch, laplacian_bar, state_bar });
    }

    /// What moves a point and its score, in plain coordinates: [`BlockField::evaluate`], and [`BlockField::pullback`]
    /// of the cotangents s and 1 (`ones`) to the point, for a block that makes both at once with less work. The block's
    /// share means nothing afterwards, and `scratch` is room for residuals.
    fn evaluate_scored(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, S>,
        ones: &S::Column,
        scratch: &mut Residuals<S>,
        out: ScoredMotion<'_, S>,
    ) {
        scratch.clear();
        let ScoredMotion { velocity, laplacian, change } = out;
        self.evaluate(stage, at.x, Motion { velocity, laplacian, residuals: Some(&mut *scratch) });
        let of =
            Pullback { residuals: scratch, velocity_bar: at.score, laplacian_bar: Some(ones), state_bar: Some(change) };
        self.pullback(stage, at.x, of);
    }

    /// Pulls cotangents of what moves a point and its score s back: of `∇φ`, `∇²φ` and `(∇∇φ) s + ∇∇²φ`. That is the
    /// gradient of
    ///
    /// ```text
    /// ψ = a·∇φ + l ∇²φ + b·((∇∇φ) s + ∇∇²φ)
    /// ```
    ///
    /// with these cotangents a, l and b held fixed: nothing but derivatives along fixed vectors, so that a ridge
    /// function `f(w·x)` needs the products of w with x, s, a and b, and the derivatives of f up to the fourth. Both
    /// parts of `out` are overwritten; the cotangents of the parameters are added to the block's share. It needs no
    /// evaluation before it.
    ///
    /// Asked for in plain coordinates, and only where [`Potential::has_score_pullback`] says that it is there.
    fn score_pullback(
        &mut self,
        _stage: Stage,
        _at: ScoredPoint<'_, S>,
        _bar: ScoredCotangent<'_, S>,
        _out: ScoredPointBar<'_, S>,
    ) {
        unreachable!("this potential does not say that it has the pullback of a score");
    }

    /// From the state at the end to `x` at the end.
    fn leave(&mut self, state: S::Array) -> S::Array {
        state
    }

    /// Pulls the cotangent of the final `x` back to the final state.
    fn leave_pullback(&mut self, _state: &S::Array, x_bar: S::Array) -> S::Array {
        x_bar
    }

    /// Pulls the cotangent of the state at the start back to the `x` that entered. Returns it with the block's share of
    /// the gradient, as shares that are summed over blocks and then given to [`Field::gradient`].
    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<Share<S>>);
}
