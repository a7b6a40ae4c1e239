//! A block of rows that carries scores beside its points, for any integrator.

use crate::potential::{
    Block, BlockField, Field, Motion, Pullback, Residuals, ScoredCotangent, ScoredMotion, ScoredPoint, ScoredPointBar,
    Share, Stage,
};
use crate::space::Space;

/// The score of the standard normal density.
pub(crate) fn base_score(z: &[f64]) -> Vec<f64> {
    z.iter().map(|z| -z).collect()
}

/// A block of rows in plain coordinates whose state is `(x, s)` side by side: any integrator carries both, and takes
/// cotangents of both back.
pub(crate) struct ScoredBlock<'a, S: Space> {
    space: S,
    /// Gives the right-hand sides; what they add to its share is no gradient.
    forward: Box<dyn BlockField<S> + 'a>,
    /// The same rows again, where cotangents go back: its share is the gradient's.
    backward: Option<Box<dyn BlockField<S> + 'a>>,
    dim: usize,
    x: S::Array,
    score: S::Array,
    /// Room for what belongs to x and to s.
    of_x: S::Array,
    of_score: S::Array,
    /// The cotangents of the Laplacians of rows that carry a score.
    ones: S::Column,
    residuals: Residuals<S>,
}

impl<'a, S: Space> ScoredBlock<'a, S> {
    /// Rows that enter a field in plain coordinates with their scores, and the state at the start; `ones` is a column
    /// of as many ones.
    pub fn enter(
        space: &S,
        field: &'a dyn Field<S>,
        block: Block<S>,
        (score, ones): (S::Array, S::Column),
        way_back: bool,
    ) -> (Box<dyn BlockField<S> + 'a>, S::Array) {
        let (rows, dim) = space.shape(&block.x);
        let again = || Block {
            rows: block.rows.clone(),
            x: block.x.clone(),
            context: block.context.clone(),
            draws: block.draws.clone(),
            times: None,
        };
        let backward = way_back.then(|| field.enter(again()).0);
        let (forward, x) = field.enter(block);
        let mut state = space.zeros(rows, 2 * dim);
        space.copy_columns(&mut state, 0, &x, 0..dim);
        space.copy_columns(&mut state, dim, &score, 0..dim);
        let (of_x, of_score) = (space.zeros(rows, dim), space.zeros(rows, dim));
        let (space, residuals) = (space.clone(), Vec::new());
        (Box::new(Self { space, forward, backward, dim, x, score, of_x, of_score, ones, residuals }), state)
    }

    /// Takes a state apart, into x and the score.
    fn split(&mut self, state: &S::Array) {
        self.space.copy_columns(&mut self.x, 0, state, 0..self.dim);
        self.space.copy_columns(&mut self.score, 0, state, self.dim..2 * self.dim);
    }

    /// Puts what belongs to x and to the score side by side.
    fn join(&self, out: &mut S::Array) {
        self.space.copy_columns(out, 0, &self.of_x, 0..self.dim);
        self.space.copy_columns(out, self.dim, &self.of_score, 0..self.dim);
    }
}

impl<S: Space> BlockField<S> for ScoredBlock<'_, S> {
    fn enter_segment(&mut self, segment: usize) {
        std::iter::once(&mut self.forward).chain(&mut self.backward).for_each(|block| block.enter_segment(segment));
    }

    fn evaluate(&mut self, stage: Stage, state: &S::Array, Motion { velocity, laplacian, .. }: Motion<'_, S>) {
        self.split(state);
        let Self { space, forward, x, score, of_x, of_score, ones, residuals, .. } = self;
        let out = ScoredMotion { velocity: of_x, laplacian, change: &mut *of_score };
        forward.evaluate_scored(stage, ScoredPoint { x, score }, ones, residuals, out);
        space.accumulate(of_score, -1.0, &[]);
        self.join(velocity);
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        Pullback { velocity_bar, laplacian_bar, state_bar, .. }: Pullback<'_, S>,
    ) {
        self.split(state);
        let Self { space, backward, dim, x, score, of_x, of_score, .. } = self;
        let (mut velocity, mut change) = (space.empty_like(x), space.empty_like(x));
        space.copy_columns(&mut velocity, 0, velocity_bar, 0..*dim);
        space.copy_columns(&mut change, 0, velocity_bar, *dim..2 * *dim);
        // A score moves with minus what its pullback is of.
        space.accumulate(&mut change, -1.0, &[]);
        let zeros = laplacian_bar.is_none().then(|| space.column_zeros(space.shape(x).0));
        let laplacian = laplacian_bar.or(zeros.as_ref()).expect("one or the other");
        backward.as_mut().expect("a way back was asked for").score_pullback(
            stage,
            ScoredPoint { x, score },
            ScoredCotangent { velocity: &velocity, laplacian, change: &change },
            ScoredPointBar { x: of_x, score: of_score },
        );
        if let Some(state_bar) = state_bar {
            self.join(state_bar);
        }
    }

    /// The cotangent of the points alone: their scores at the start are given.
    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<Share<S>>) {
        let mut x_bar = self.space.empty_like(&self.x);
        self.space.copy_columns(&mut x_bar, 0, &state_bar, 0..self.dim);
        self.backward.expect("a way back was asked for").enter_pullback(x_bar)
    }
}
