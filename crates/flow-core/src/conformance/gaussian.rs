//! The potential of appendix A, `φ = λ‖x‖²/2`: a Gaussian stays a Gaussian of width `e^{λt}`, the first test of any
//! integrator.

use super::{assert_close, key, points};
use crate::batch::Batch;
use crate::energy::standard_normal_log_density;
use crate::flow::{Direction, Flow};
use crate::integrate::Integrator;
use crate::parameter::Parameter;
use crate::potential::{
    Block, BlockField, Field, Motion, Potential, Pullback, ScoredCotangent, ScoredPoint, ScoredPointBar, Share, Solve,
    Stage,
};
use crate::space::Space;

/// `φ(x) = λ‖x‖²/2`, or `λ‖x‖²/2 + c·x` with a context c of as many numbers, with the one parameter λ: written with the
/// operations of a [`Space`] alone, it runs on any backend.
#[derive(Debug)]
pub struct Gaussian<S: Space> {
    space: S,
    dim: usize,
    rate: Parameter<S>,
    driven: bool,
}

impl<S: Space> Gaussian<S> {
    /// The potential of rate λ on `dim` coordinates.
    pub fn new(space: S, dim: usize, rate: f64) -> Self {
        let value = space.upload(1, 1, &[rate]);
        Self { space, dim, rate: Parameter { name: "rate".into(), shape: vec![1], value }, driven: false }
    }

    /// The same with a context, `dim` numbers a row, that pushes every point along.
    #[must_use]
    pub fn driven(self) -> Self {
        Self { driven: true, ..self }
    }

    fn lambda(&self) -> f64 {
        self.space.download(&self.rate.value)[0]
    }
}

impl<S: Space> Potential<S> for Gaussian<S> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn context_dim(&self) -> usize {
        if self.driven { self.dim } else { 0 }
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        vec![&self.rate]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        vec![&mut self.rate]
    }

    fn has_score_pullback(&self) -> bool {
        true
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<S> + '_> {
        Box::new(Frozen { of: self, lambda: self.lambda() })
    }
}

struct Frozen<'a, S: Space> {
    of: &'a Gaussian<S>,
    lambda: f64,
}

impl<S: Space> Field<S> for Frozen<'_, S> {
    fn enter(&self, block: Block<S>) -> (Box<dyn BlockField<S> + '_>, S::Array) {
        (Box::new(Rows { field: self, context: block.context, lambda_bar: 0.0 }), block.x)
    }

    fn value(&self, _stage: Stage, block: Block<S>) -> S::Column {
        let (space, rows) = (&self.of.space, block.rows.len());
        let (mut square, mut drive) = (space.column_zeros(rows), space.column_zeros(rows));
        space.row_dot(&mut square, &block.x, &block.x);
        if let Some(context) = &block.context {
            space.row_dot(&mut drive, &block.x, context);
        }
        let mut value = space.column_zeros(rows);
        space.column_accumulate(&mut value, 0.0, &[(0.5 * self.lambda, &square), (1.0, &drive)]);
        value
    }

    fn gradient(&self, sums: Vec<Share<S>>) -> Vec<S::Array> {
        sums.into_iter().map(Share::into_sum).collect()
    }
}

struct Rows<'a, S: Space> {
    field: &'a Frozen<'a, S>,
    context: Option<S::Array>,
    lambda_bar: f64,
}

impl<S: Space> BlockField<S> for Rows<'_, S> {
    fn evaluate(&mut self, _stage: Stage, state: &S::Array, Motion { velocity, laplacian, .. }: Motion<'_, S>) {
        let space = &self.field.of.space;
        let terms = std::iter::once((self.field.lambda, state)).chain(self.context.iter().map(|c| (1.0, c)));
        space.accumulate(velocity, 0.0, &terms.collect::<Vec<_>>());
        if let Some(laplacian) = laplacian {
            *laplacian = space.upload_column(&vec![self.field.lambda * self.field.of.dim as f64; space.shape(state).0]);
        }
    }

    fn pullback(
        &mut self,
        _stage: Stage,
        state: &S::Array,
        Pullback { velocity_bar, laplacian_bar, state_bar, .. }: Pullback<'_, S>,
    ) {
        let space = &self.field.of.space;
        self.lambda_bar += space.dot(velocity_bar, state);
        if let Some(laplacian_bar) = laplacian_bar {
            self.lambda_bar += self.field.of.dim as f64 * space.download_column(laplacian_bar).iter().sum::<f64>();
        }
        if let Some(state_bar) = state_bar {
            space.accumulate(state_bar, 0.0, &[(self.field.lambda, velocity_bar)]);
        }
    }

    fn score_pullback(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, S>,
        bar: ScoredCotangent<'_, S>,
        out: ScoredPointBar<'_, S>,
    ) {
        // A quadratic form of x, and the same of s.
        self.pullback(stage, at.x, bar.to_points(out.x));
        self.pullback(stage, at.score, bar.to_scores(out.score));
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<Share<S>>) {
        let share = self.field.of.space.upload(1, 1, &[self.lambda_bar]);
        (state_bar, vec![Share::of(share)])
    }
}

/// Carries a normal density with `φ = λ‖x‖²/2`: points scale with `e^{λT}` and ln p is that of the wider Gaussian
/// (appendix A of arXiv:1809.10188), within `tolerance`.
///
/// # Panics
/// When they do not, with the numbers.
pub fn gaussian_stays_gaussian<S: Space>(space: &S, integrator: &dyn Integrator<S>, tolerance: f64) {
    let (dim, rows, rate, duration) = (3, 40, 0.4, 1.5);
    let potential = Gaussian::new(space.clone(), dim, rate);
    let flow = Flow { duration, ..Flow::new(space, &potential, integrator) };
    let start = points(rows, dim, 0);
    let end = flow.transport(&start, flow.span(Direction::Forward), key(0)).expect("a linear flow stays finite");
    let width = (rate * duration).exp();
    let expected: Vec<f64> = start.iter().map(|x| width * x).collect();
    assert_close("width of the Gaussian", &end.x, &expected, tolerance, 1.0);
    let scored = flow.scored_samples(&start, key(0)).expect("a linear flow stays finite");
    let expected_score: Vec<f64> = expected.iter().map(|x| -x / width.powi(2)).collect();
    assert_close("score of the Gaussian", &scored.score, &expected_score, tolerance, 1.0);
    let ln_p = flow.log_density(&expected, key(0)).expect("a linear flow stays finite");
    let exact = |x: &[f64]| {
        let z: Vec<f64> = x.iter().map(|x| x / width).collect();
        standard_normal_log_density(&z) - dim as f64 * width.ln()
    };
    let exact: Vec<f64> = expected.chunks_exact(dim).map(exact).collect();
    assert_close("ln p of the Gaussian", &ln_p, &exact, tolerance, 1.0);

    // With a context c the points move on by c (e^{λT} − 1)/λ.
    let driven = Gaussian::new(space.clone(), dim, rate).driven();
    let flow = Flow { potential: &driven, ..flow };
    let context = points(rows, dim, 16);
    let moved: Vec<f64> = expected.iter().zip(&context).map(|(x, c)| x + c * (width - 1.0) / rate).collect();
    let batch = |x: &[f64]| Batch::new(x.to_vec(), dim).expect("whole rows").with_context(context.clone());
    let end = flow.transport_batch(&batch(&start), flow.span(Direction::Forward), key(0)).expect("it stays finite");
    assert_close("the Gaussian in a context", &end.x, &moved, tolerance, 1.0);
    let ln_p = flow.log_density_of(&batch(&moved), key(0)).expect("it stays finite");
    assert_close("ln p of the Gaussian in a context", &ln_p, &exact, tolerance, 1.0);
}
