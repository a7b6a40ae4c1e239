//! The score `∇ ln p` along the flow: carried beside the points by an equation of its own.

use std::ops::Range;

use crate::batch::{Batch, rows_of};
use crate::cache_key::CacheKey;
use crate::error::Error;
use crate::flow::{Direction, Flow};
use crate::integrate::{SolveOptions, Span};
use crate::potential::{BlockField, Field, Residuals, Share, Stage};
use crate::rng::RngKey;
use crate::solve::{Direct, Evaluation, FROZEN, KIND_OF_SCORE, ONCE, Solver};
use crate::space::{Outputs, Session, Space};
use crate::transport::all_finite;

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
    /// `ds/dt = −(∇∇φ) s − ∇(∇²φ)` is integrated together with the points, by the same method: its right-hand side is
    /// minus what [`BlockField::pullback`] makes of the cotangents s of ∇φ and 1 of ∇²φ. The result nears the gradient
    /// of ln p with the order of the method. Always in plain coordinates.
    ///
    /// # Errors
    /// As [`Flow::transport`].
    pub fn transport_score(&self, x: &[f64], score: &[f64], span: Span, key: RngKey) -> Result<Scored, Error> {
        let batch = Batch::new(x.to_vec(), self.potential.dim())?;
        if rows_of("the scores", score, self.potential.dim())? != batch.of {
            let (found, expected) = (vec![score.len()], vec![x.len()]);
            return Err(Error::Shape { what: "the scores".into(), found, expected });
        }
        if batch.of == 0 {
            return Ok(Scored { x: Vec::new(), log_density: Vec::new(), score: Vec::new() });
        }
        let [x, log_density, score] = self.by_members(&batch, Evaluation::new(key), |part, how| {
            let found = self.carry_score(part, batch.numbers(score, &part.rows), span, how)?;
            all_finite(found.x.iter().chain(&found.log_density).chain(&found.score))?;
            Ok([found.x, found.log_density, found.score])
        })?;
        Ok(Scored { x, log_density, score })
    }

    /// Points of the model with their score, from points of the base density, whose score is `−z`.
    ///
    /// # Errors
    /// As [`Flow::transport`].
    pub fn scored_samples(&self, base: &[f64], key: RngKey) -> Result<Scored, Error> {
        self.transport_score(base, &base_score(base), self.span(Direction::Forward), key)
    }

    /// [`Flow::transport_score`] of the rows that are here, with whatever comes of it.
    pub(crate) fn carry_score(
        &self,
        batch: &Batch,
        score: &[f64],
        span: Span,
        how: &Evaluation<'_>,
    ) -> Result<Scored, Error> {
        let (space, solver) = (self.space, Solver::new(self, batch, span, *how)?.in_x());
        if let Some((mut session, field)) = solver.session(CacheKey::new().with(KIND_OF_SCORE))? {
            let scored = self.carry_scored_block(&solver, &mut *session, field.as_deref(), &batch.rows, score)?;
            session.finish();
            return Ok(scored);
        }
        let field = self.potential.freeze(&solver.solve);
        let blocks = space.map_blocks(solver.blocks.clone(), |rows| {
            self.carry_scored_block(&solver, &mut Direct(space), Some(&*field), &rows, score)
        });
        let mut out = Scored { x: Vec::new(), log_density: Vec::new(), score: Vec::new() };
        for block in blocks {
            let block = block?;
            out.x.extend(block.x);
            out.log_density.extend(block.log_density);
            out.score.extend(block.score);
        }
        Ok(out)
    }

    /// A block of rows at the end, from the scores of all rows at the start.
    fn carry_scored_block(
        &self,
        solver: &Solver<'_, '_, S>,
        session: &mut dyn Session<S>,
        field: Option<&dyn Field<S>>,
        rows: &Range<usize>,
        score: &[f64],
    ) -> Result<Scored, Error> {
        let (space, dim, n) = (self.space, self.potential.dim(), rows.len());
        let score = session.input(n, dim, solver.batch.numbers(score, rows));
        // The cotangents of the Laplacians of rows that carry a score.
        let ones = session.input_column(&vec![1.0; n]);
        let mut inputs = Some((solver.block(session, rows), score, ones));
        let end = session.stage(&mut || {
            let (block, score, ones) = inputs.take().expect(ONCE);
            let (mut inner, state) = field.expect(FROZEN).enter(block);
            // A score is a cotangent of x: it enters and leaves the block like one.
            let state_score = inner.leave_pullback(&state, score);
            let mut both = space.zeros(n, 2 * dim);
            space.copy_columns(&mut both, 0, &state, 0..dim);
            space.copy_columns(&mut both, dim, &state_score, 0..dim);
            let mut block = ScoredBlock::new(space, inner, n, dim, ones);
            let solution = self.integrator.solve(space, &mut block, both, solver.span, SolveOptions::default())?;
            block.split(&solution.state);
            let ScoredBlock { mut inner, x, score, .. } = block;
            let x = inner.leave(x);
            let (score, _) = inner.enter_pullback(score);
            Ok(Outputs { arrays: vec![x, score], columns: vec![solution.log_density] })
        })?;
        let [x, score] = [0, 1].map(|i| space.download(&end.arrays[i]));
        Ok(Scored { x, log_density: space.download_column(&end.columns[0]), score })
    }
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

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<Share<S>>) {
        (state_bar, Vec::new())
    }
}
