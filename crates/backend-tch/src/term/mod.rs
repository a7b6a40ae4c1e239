//! Potentials written as formulas for φ, ∇φ and ∇²φ: the further terms of a sum.

mod convolutional;
mod dense;
mod lattice;
mod particles;
mod two_layer;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_core::{
    Block, BlockField, Field, Motion, Parameter, Potential, Pullback, ScoredCotangent, ScoredPoint, ScoredPointBar,
    Share, Solve, Stage, TimeBasis, new_cache_key,
};
use tch::{Kind, Tensor};

use crate::module::{gradients, gradients_kept, inner};
use crate::tensors::{Array, Column, Tch};

/// A potential whose value, gradient and Laplacian are written out. Their pullback is one backward pass of automatic
/// differentiation.
///
/// Names, shapes and first values of the parameters are those of backend-ndarray's potentials of the same formula.
///
/// | constructor | `φ(x, t)` |
/// |---|---|
/// | [`Term::quadratic`] | `½ Σ_i q_i x_i² + Σ_i l_i x_i` |
/// | [`Term::full_quadratic`] | `½ xᵀ A x` |
/// | [`Term::separable`] | `Σ_i Σ_k α_ik f(g(x_i − c_k))` |
/// | [`Term::ridge`] | `Σ_j v_j f(g_j (w_j·x + u_j·c) + b_j)`, c the context |
/// | [`Term::two_layer`] | `Σ_k v_k f(z_k)`, `z = W₂ f(a) + b₂`, `a = g ⊙ (W₁x + Uc) + b₁` |
/// | [`Term::lattice_quadratic`] | `½ xᵀ C x`, C the same at every site of a periodic lattice |
/// | [`Term::lattice_ridge`] | `Σ_c v_c Σ_s f(g_c (w_c ⋆ x)_s + b_c)` on a periodic lattice |
/// | [`Term::particles`] | `½ q Σ_i |x_i − x̄|² + Σ_{i<j} P(r_ij) + Σ_i F(D_i, |V_i|²)` of particles |
/// | [`Term::convolutional`] | `⟨x, U⟩`, U a small U-shaped network for pictures; on this backend alone |
///
/// ```
/// use backend_tch::{Device, Options, Tch, Term};
/// use flow_core::{Potential, Precision, TimeBasis, TimeFamily};
/// # if backend_tch::load(Device::Cpu).is_err() { return Ok(()) }
/// let tch = Tch::new(Device::Cpu, Precision::F32, Options::default())?;
/// let basis = TimeBasis::new(TimeFamily::Cosine, 4, 1.0)?;
/// let term = Term::quadratic(tch, 784, basis, true)?;
/// let shapes: Vec<_> = term.parameters().iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
/// assert_eq!(shapes, [("quadratic".into(), vec![4, 784]), ("linear".into(), vec![4, 784])]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Term {
    space: Tch,
    dim: usize,
    basis: TimeBasis,
    parameters: Vec<Parameter<Tch>>,
    /// Vectors of random signs that every row needs for its Laplacian; 0: it is exact.
    probes: usize,
    /// Numbers of context per row.
    context: usize,
    formula: Box<dyn Formula>,
    cache_key: u64,
    kept: AtomicU64,
}

impl Term {
    fn new(
        space: Tch,
        dim: usize,
        basis: TimeBasis,
        parameters: Vec<Parameter<Tch>>,
        probes: usize,
        formula: Box<dyn Formula>,
    ) -> Self {
        let (cache_key, kept) = (new_cache_key(), AtomicU64::new(0));
        Self { space, dim, basis, parameters, probes, context: 0, formula, cache_key, kept }
    }

    /// For a formula that takes so many numbers of context per row.
    fn in_context(self, context: usize) -> Self {
        Self { context, ..self }
    }

    /// Pullbacks that went back over the graph of their evaluation so far: the proof that nothing was computed twice.
    pub fn kept_graphs(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parameters.iter().map(|p| &p.name).collect();
        f.debug_struct("Term").field("dim", &self.dim).field("parameters", &names).finish_non_exhaustive()
    }
}

/// What a term computes, in operations that libtorch can differentiate once, or twice where it says so.
trait Formula: Send + Sync {
    /// φ of every row, in 64 bits.
    fn value(&self, at: &At) -> Tensor;

    /// ∇φ, and ∇²φ of every row in 64 bits where asked for. It is asked for only where all rows have the same time.
    fn field(&self, at: &At, laplacian: bool) -> (Tensor, Option<Tensor>);

    /// Whether ∇φ and ∇²φ can be differentiated twice, as the pullback of a score needs.
    fn is_differentiable_twice(&self) -> bool {
        true
    }

    /// Whether a few rows fill the caches of a processor. It is then better not to evaluate all rows of a batch at
    /// once.
    fn fills_caches(&self) -> bool {
        false
    }
}

/// The time of rows.
enum Time {
    OfAll(f64),
    /// Of each row its own: the functions of time there, n × M.
    OfEach(Tensor),
}

/// Where a formula is evaluated.
struct At<'a> {
    /// n × N.
    x: &'a Tensor,
    time: &'a Time,
    basis: TimeBasis,
    /// In the order of [`Term::parameters`], as matrices.
    parameters: &'a [Tensor],
    /// n × k, for a term that takes a context.
    context: Option<&'a Tensor>,
    /// n × P × N.
    probes: Option<&'a Tensor>,
    /// Whether the results will be differentiated.
    differentiable: bool,
}

impl At<'_> {
    fn rows(&self) -> i64 {
        self.x.size()[0]
    }

    /// `c(t) = Σ_m c_m b_m(t)` of the parameter of this number (M × c): 1 × c where it is the same for all rows, else n
    /// × c.
    fn coefficient(&self, parameter: usize) -> Tensor {
        let coefficients = &self.parameters[parameter];
        match self.time {
            Time::OfEach(b) if self.basis.terms() > 1 => b.mm(coefficients),
            Time::OfEach(_) => coefficients.shallow_clone(),
            Time::OfAll(t) => {
                let terms = coefficients.split(1, 0);
                let first = terms[0].shallow_clone();
                self.basis.at(*t).zip(&terms).skip(1).fold(first, |sum, (b, term)| sum + term * b)
            }
        }
    }

    /// `Wx`, n × h, with `Uc` added where U is the number of a parameter: W is the first.
    fn first_layer(&self, context: Option<usize>) -> Tensor {
        let product = self.x.mm(&self.parameters[0].tr());
        match context {
            Some(place) => product + self.context.expect(CONTEXT).mm(&self.parameters[place].tr()),
            None => product,
        }
    }

    /// A number that is the same for every row.
    fn for_every_row(&self, figure: &Tensor) -> Tensor {
        figure.to_kind(Kind::Double).reshape([1]).expand([self.rows()], false)
    }
}

const CONTEXT: &str = "a block has the context that its potential takes";

/// The sum of the numbers of every row, in 64 bits.
fn sum_of_rows(of: &Tensor) -> Tensor {
    of.flatten(1, -1).sum_dim_intlist(1, false, Kind::Double)
}

impl Potential<Tch> for Term {
    fn dim(&self) -> usize {
        self.dim
    }

    fn context_dim(&self) -> usize {
        self.context
    }

    fn parameters(&self) -> Vec<&Parameter<Tch>> {
        self.parameters.iter().collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Tch>> {
        self.parameters.iter_mut().collect()
    }

    fn draw_width(&self, solve: &Solve) -> usize {
        if solve.laplacians { self.probes * self.dim } else { 0 }
    }

    /// The probes, one after the other in every row.
    fn draw(&self, solve: &Solve, rows: Range<usize>) -> Vec<f64> {
        solve.key.rademacher(rows, self.draw_width(solve))
    }

    fn has_score_pullback(&self) -> bool {
        self.formula.is_differentiable_twice()
    }

    fn cache_key(&self) -> Option<u64> {
        Some(self.cache_key)
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<Tch> + '_> {
        // The same numbers in tensors of their own, of which gradients can be taken: no copies.
        let leaf = |p: &Parameter<Tch>| p.value.0.detach().set_requires_grad(true);
        Box::new(Frozen { of: self, parameters: self.parameters.iter().map(leaf).collect() })
    }
}

/// A term frozen for one solve.
struct Frozen<'a> {
    of: &'a Term,
    parameters: Vec<Tensor>,
}

// SAFETY: as for `Array`: the tensors are private and only read; gradients are returned and not accumulated in them.
unsafe impl Sync for Frozen<'_> {}

impl Frozen<'_> {
    /// Where the formula is evaluated; what blocks bring is to be added.
    fn at<'a>(&'a self, time: &'a Time, x: &'a Tensor, differentiable: bool) -> At<'a> {
        let (context, probes) = (None, None);
        At { x, time, basis: self.of.basis, parameters: &self.parameters, context, probes, differentiable }
    }
}

impl Field<Tch> for Frozen<'_> {
    fn enter(&self, block: Block<Tch>) -> (Box<dyn BlockField<Tch> + '_>, Array) {
        let Term { space, basis, dim, probes, .. } = self.of;
        let [n, dim, count] = [block.rows.len(), *dim, *probes].map(|size| size as i64);
        let probes = block.draws.map(|draws| draws.0.reshape([n, count, dim]));
        let times = block.times.map(|times| {
            let b: Vec<f64> = times.iter().flat_map(|t| basis.at(*t)).collect();
            space.send(&b, space.kind(), &[n, basis.terms() as i64])
        });
        let context = block.context.map(|context| context.0);
        (Box::new(Rows { field: self, context, probes, times, share: None }), block.x)
    }

    fn rows_may_have_times(&self) -> bool {
        self.of.space.kernels.is_some() || !self.of.formula.fills_caches()
    }

    fn value(&self, stage: Stage, block: Block<Tch>) -> Column {
        let time = Time::OfAll(stage.t);
        let context = block.context.as_ref().map(|context| &context.0);
        Column(tch::no_grad(|| self.of.formula.value(&At { context, ..self.at(&time, &block.x.0, false) })))
    }

    fn gradient(&self, sums: Vec<Share<Tch>>) -> Vec<Array> {
        sums.into_iter().map(Share::into_sum).collect()
    }
}

/// A block of rows, in plain coordinates.
struct Rows<'a> {
    field: &'a Frozen<'a>,
    /// n × k, for a term that takes a context.
    context: Option<Tensor>,
    /// n × P × N.
    probes: Option<Tensor>,
    /// Where rows have times of their own: the functions of time there, n × M.
    times: Option<Tensor>,
    /// Sums of the cotangents of the parameters, once there are any.
    share: Option<Vec<Tensor>>,
}

impl Rows<'_> {
    fn time(&self, stage: Stage) -> Time {
        self.times.as_ref().map_or(Time::OfAll(stage.t), |b| Time::OfEach(b.shallow_clone()))
    }

    /// Where the formula is evaluated for this block.
    fn at<'a>(&'a self, time: &'a Time, x: &'a Tensor, differentiable: bool) -> At<'a> {
        let (context, probes) = (self.context.as_ref(), self.probes.as_ref());
        At { context, probes, ..self.field.at(time, x, differentiable) }
    }
}

impl Rows<'_> {
    /// Adds cotangents of the parameters to the share; returns those behind them.
    fn add(&mut self, mut bars: Vec<Tensor>) -> Vec<Tensor> {
        let of_points = bars.split_off(self.field.parameters.len());
        match &mut self.share {
            None => self.share = Some(bars),
            Some(share) => share.iter_mut().zip(bars).for_each(|(sum, bar)| drop(sum.g_add_(&bar))),
        }
        of_points
    }
}

impl BlockField<Tch> for Rows<'_> {
    fn evaluate(&mut self, stage: Stage, state: &Array, Motion { velocity, laplacian, residuals }: Motion<'_, Tch>) {
        let (formula, time) = (&self.field.of.formula, self.time(stage));
        assert!(laplacian.is_none() || self.times.is_none(), "no Laplacian of rows at times of their own");
        if let (None, Some(residuals)) = (&laplacian, residuals) {
            // The pullback goes back over the graph of this evaluation. With a Laplacian it makes a graph of its own: a
            // solve has hundreds of stages, and their graphs would not fit into memory.
            let x = state.0.detach_copy().set_requires_grad(true);
            let (found, _) = tch::with_grad(|| formula.field(&self.at(&time, &x, true), false));
            velocity.0.copy_(&found.detach());
            residuals.extend([Array(x), Array(found)]);
            return;
        }
        tch::no_grad(|| {
            let at = self.at(&time, &state.0, false);
            let (found, trace) = formula.field(&at, laplacian.is_some());
            velocity.0.copy_(&found.detach());
            if let (Some(laplacian), Some(trace)) = (laplacian, trace) {
                laplacian.0.copy_(&trace);
            }
        });
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array,
        Pullback { residuals, velocity_bar, laplacian_bar, state_bar }: Pullback<'_, Tch>,
    ) {
        let to = |x: &Tensor| {
            let mut to: Vec<_> = self.field.parameters.iter().map(Tensor::shallow_clone).collect();
            to.extend(state_bar.is_some().then(|| x.shallow_clone()));
            to
        };
        let bars = match (residuals, laplacian_bar) {
            // A copy of a residual has no graph.
            ([x, velocity], None) if velocity.0.requires_grad() => {
                self.field.of.kept.fetch_add(1, Ordering::Relaxed);
                gradients_kept(&inner(&velocity.0, &velocity_bar.0), &to(&x.0), false)
            }
            _ => tch::with_grad(|| {
                let x = state.0.detach().set_requires_grad(state_bar.is_some());
                let time = self.time(stage);
                let at = self.at(&time, &x, true);
                let (velocity, laplacian) = self.field.of.formula.field(&at, laplacian_bar.is_some());
                let mut pairing = inner(&velocity, &velocity_bar.0).to_kind(Kind::Double);
                if let (Some(laplacian), Some(bar)) = (laplacian, laplacian_bar) {
                    pairing += inner(&laplacian, &bar.0);
                }
                gradients(&pairing, &to(&x), false)
            }),
        };
        let of_points = self.add(bars);
        if let Some(state_bar) = state_bar {
            state_bar.0.copy_(&of_points[0]);
        }
    }

    /// One more backward pass over the graph of the first.
    fn score_pullback(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, Tch>,
        bar: ScoredCotangent<'_, Tch>,
        out: ScoredPointBar<'_, Tch>,
    ) {
        let bars = tch::with_grad(|| {
            let [x, score] = [at.x, at.score].map(|of| of.0.detach().set_requires_grad(true));
            let time = self.time(stage);
            let (velocity, laplacian) = self.field.of.formula.field(&self.at(&time, &x, true), true);
            let laplacian = laplacian.expect("it was asked for");
            let moved = inner(&velocity, &score).to_kind(Kind::Double) + laplacian.sum(Kind::Double);
            let change = gradients(&moved, &[&x], true).swap_remove(0);
            let pairing = inner(&velocity, &bar.velocity.0) + inner(&change, &bar.change.0);
            let pairing = pairing.to_kind(Kind::Double) + inner(&laplacian, &bar.laplacian.0);
            let to: Vec<_> = self.field.parameters.iter().chain([&x, &score]).map(Tensor::shallow_clone).collect();
            gradients(&pairing, &to, false)
        });
        let of_points = self.add(bars);
        out.x.0.copy_(&of_points[0]);
        out.score.0.copy_(&of_points[1]);
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array) -> (Array, Vec<Share<Tch>>) {
        let zeros = || self.field.parameters.iter().map(Tensor::zeros_like).collect();
        let bars = self.share.unwrap_or_else(zeros);
        (state_bar, bars.into_iter().map(|bar| Share::of(Array(bar.detach()))).collect())
    }
}
