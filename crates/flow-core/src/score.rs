//! The score `∇ ln p` along the flow: carried beside the points by an equation of its own.

use crate::batch::{Batch, rows_of};
use crate::error::Error;
use crate::evaluation::Evaluation;
use crate::flow::{Direction, Flow};
use crate::integrate::{SolveOptions, Span};
use crate::rng::RngKey;
use crate::scored::base_score;
use crate::solve::Solver;
use crate::space::Space;
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
    /// minus what [`BlockField::pullback`](crate::BlockField::pullback) makes of the cotangents s of ∇φ and 1 of ∇²φ.
    /// The result nears the gradient of ln p with the order of the method. Always in plain coordinates.
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

    /// Points of the model with their score, from points z of the base density (`rows × dim`, row by row), whose score
    /// is `−z`.
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
        let solver = Solver::new(self, batch, span, *how)?.with_scores(score);
        let end = solver.endpoints(SolveOptions::default())?;
        Ok(Scored { x: end.x, log_density: end.log_density, score: end.score })
    }
}
