//! The score `∇ ln p` along the flow: carried beside the points by an equation of its own.

use std::ops::Range;

use crate::flow::all_finite;
use crate::{
    BlockField, Coordinates, Direction, Error, Field, Flow, Residuals, RngKey, Solve, SolveOptions, Space, Span, Stage,
};

/// Points carried from one time to another, with the score of their density.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The points at the end, `rows × dim`, row by row.
    pub x: Vec<f64>,
    /// Change of ln p on the way, per row.
    pub log_density: Vec<f64>,
    /// `∇ ln p` at the points at the end, `rows × dim`, row by row.
    pub score: Vec<f64>,
}

impl<S: Space> Flow<'_, S> {
    /// Carries points (`rows × dim`, row by row) and the scores `s = ∇ ln p` of their density over a span of time.
    ///
    /// `ds/dt = −(∇∇φ) s − ∇(∇²φ)` is integrated together with the points, by the same method: its right-hand side is minus what
    /// [`BlockField::pullback`] makes of the cotangents s of ∇φ and 1 of ∇²φ. The result nears the gradient of ln p with the order of the
    /// method. Always in plain coordinates.
    ///
    /// # Errors
    /// As [`Flow::transport`].
    pub fn transport_score(&self, x: &[f64], score: &[f64], span: Span, key: RngKey) -> Result<Scored, Error> {
        let out = self.carry_score(x, score, span, key)?;
        all_finite(out.x.iter().chain(&out.log_density).chain(&out.score))?;
        Ok(out)
    }

    /// Points of the model with their score, from points of the base density, whose score is `−z`.
    ///
    /// # Errors
    /// As [`Flow::transport`].
    pub fn scored_samples(&self, base: &[f64], key: RngKey) -> Result<Scored, Error> {
        self.transport_score(base, &base_score(base), self.span(Direction::Forward), key)
    }

    /// [`Flow::transport_score`], with whatever comes of it.
    pub(crate) fn carry_score(&self, x: &[f64], score: &[f64], span: Span, key: RngKey) -> Result<Scored, Error> {
        let (space, dim) = (self.space, self.potential.dim());
        let rows = x.len() / dim;
        let solve = Solve { coordinates: Coordinates::X, ..self.solve(rows, key)? };
        if let Some(recorder) = space.recorder()
            && let Some(scored) = recorder.carry_score(self, [x, score], span, &solve)?
        {
            return Ok(scored);
        }
        let field = self.potential.freeze(&solve);
        let blocks = space.map_rows(rows, |range| {
            let (n, numbers) = (range.len(), range.start * dim..range.end * dim);
            let start = [x, score].map(|values| space.upload(n, dim, &values[numbers.clone()]));
            let ([x, score], log_density) = self.carry_scored_block(&*field, range, start, ones(space, n), span)?;
            Ok::<_, Error>((space.download(&x), space.download_column(&log_density), space.download(&score)))
        });
        let mut out = Scored { x: Vec::new(), log_density: Vec::new(), score: Vec::new() };
        for block in blocks {
            let (x, log_density, score) = block?;
            out.x.extend(x);
            out.log_density.extend(log_density);
            out.score.extend(score);
        }
        Ok(out)
    }

    /// Points and scores of a block of rows at the end, and the change of ln p; `ones` are as many ones as rows.
    pub(crate) fn carry_scored_block(
        &self,
        field: &dyn Field<S>,
        range: Range<usize>,
        [x, score]: [S::Array; 2],
        ones: S::Column,
        span: Span,
    ) -> Result<([S::Array; 2], S::Column), Error> {
        let (space, dim, n) = (self.space, self.potential.dim(), range.len());
        let (mut inner, state) = field.enter(range, x);
        // A score is a cotangent of x: it enters and leaves the chart like one.
        let state_score = inner.leave_pullback(&state, score);
        let mut both = space.zeros(n, 2 * dim);
        space.copy_columns(&mut both, 0, &state, 0..dim);
        space.copy_columns(&mut both, dim, &state_score, 0..dim);
        let mut chart = ScoredBlock::new(space, inner, n, dim, ones);
        let passage = self.integrator.flow(space, &mut chart, both, span, SolveOptions::default())?;
        chart.split(&passage.state);
        let ScoredBlock { mut inner, x, score, .. } = chart;
        let x = inner.leave(x);
        let (score, _) = inner.enter_pullback(score);
        Ok(([x, score], passage.log_density))
    }
}

/// The cotangents of the Laplacians of rows that carry a score.
pub(crate) fn ones<S: Space>(space: &S, rows: usize) -> S::Column {
    space.upload_column(&vec![1.0; rows])
}

/// The score of the standard normal density.
pub(crate) fn base_score(z: &[f64]) -> Vec<f64> {
    z.iter().map(|z| -z).collect()
}

/// A block of rows whose state is `(x, s)` side by side: any integrator carries both.
struct ScoredBlock<'a, S: Space> {
    space: &'a S,
    inner: Box<dyn BlockField<S> + 'a>,
    dim: usize,
    x: S::Array,
    score: S::Array,
    velocity: S::Array,
    score_bar: S::Array,
    ones: S::Column,
    residuals: Residuals<S>,
}

impl<'a, S: Space> ScoredBlock<'a, S> {
    fn new(space: &'a S, inner: Box<dyn BlockField<S> + 'a>, rows: usize, dim: usize, ones: S::Column) -> Self {
        let zeros = || space.zeros(rows, dim);
        let (x, score, velocity, score_bar) = (zeros(), zeros(), zeros(), zeros());
        Self { space, inner, dim, x, score, velocity, score_bar, ones, residuals: Vec::new() }
    }

    /// Takes a state apart, into x and the score.
    fn split(&mut self, state: &S::Array) {
        self.space.copy_columns(&mut self.x, 0, state, 0..self.dim);
        self.space.copy_columns(&mut self.score, 0, state, self.dim..2 * self.dim);
    }
}

impl<S: Space> BlockField<S> for ScoredBlock<'_, S> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &S::Array,
        velocity: &mut S::Array,
        laplacian: Option<&mut S::Column>,
        _memo: Option<&mut Residuals<S>>,
    ) {
        self.split(state);
        let Self { space, inner, dim, x, score, velocity: x_velocity, score_bar, ones, residuals } = self;
        residuals.clear();
        inner.evaluate(stage, x, x_velocity, laplacian, Some(&mut *residuals));
        inner.pullback(stage, x, residuals, score, Some(&*ones), Some(&mut *score_bar));
        space.accumulate(score_bar, -1.0, &[]);
        space.copy_columns(velocity, 0, x_velocity, 0..*dim);
        space.copy_columns(velocity, *dim, score_bar, 0..*dim);
    }

    fn pullback(
        &mut self,
        _stage: Stage,
        _state: &S::Array,
        _memo: &[S::Array],
        _velocity_bar: &S::Array,
        _laplacian_bar: Option<&S::Column>,
        _state_bar: Option<&mut S::Array>,
    ) {
        unreachable!("a score is carried without a tape");
    }

    fn leave(&mut self, state: S::Array) -> S::Array {
        state
    }

    fn leave_pullback(&mut self, _state: &S::Array, x_bar: S::Array) -> S::Array {
        x_bar
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<S::Array>) {
        (state_bar, Vec::new())
    }
}
