//! Where blocks of rows arrive, and what boundary terms make of them.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::batch::Batch;
use crate::boundary::{BoundaryTerms, Endpoints, Losses};
use crate::error::Error;

/// Where a block of rows arrived, on the host.
#[derive(Default)]
pub(crate) struct End {
    /// `rows × dim`.
    pub x: Vec<f64>,
    /// `∇ ln p`, likewise; empty where it was not carried along.
    pub score: Vec<f64>,
    /// Change of ln p, per row.
    pub log_density: Vec<f64>,
    /// Transport cost per row, zeros where it was not wanted.
    pub cost: Vec<f64>,
    /// Weighted sums over the rows of every coordinate and then of their squares, for one [layer](Field::layers) after
    /// the other, where points went backward with a way back.
    pub moments: Vec<f64>,
}

impl End {
    /// Losses and cotangents of these rows of a batch. Blocks take turns where one thread at a time may ask the terms.
    pub fn losses(
        &self,
        terms: &dyn BoundaryTerms,
        batch: &Batch,
        dim: usize,
        rows: &Range<usize>,
        turn: &Mutex<()>,
    ) -> Result<Losses, Error> {
        let weights = batch.shares(rows);
        let endpoints = Endpoints {
            dim,
            first: rows.start,
            start: batch.numbers(&batch.x, rows),
            end: &self.x,
            score: &self.score,
            log_density: &self.log_density,
            cost: &self.cost,
            weights: &weights,
            context: batch.numbers(&batch.context, rows),
        };
        let _turn = (!terms.concurrent()).then(|| turn.lock().unwrap_or_else(PoisonError::into_inner));
        checked(terms, &endpoints)
    }
}

/// The terms' losses and cotangents, if there are as many as there should be.
pub(crate) fn checked(terms: &dyn BoundaryTerms, rows: &Endpoints<'_>) -> Result<Losses, Error> {
    let losses = terms.evaluate(rows)?;
    let n = rows.log_density.len();
    let found =
        vec![losses.losses.len(), losses.end.len(), losses.score.len(), losses.log_density.len(), losses.cost.len()];
    let wanted = |yes: bool, numbers: usize| if yes { numbers } else { 0 };
    let scores = wanted(terms.needs_score(), n * rows.dim);
    let expected = vec![n, n * rows.dim, scores, n, wanted(terms.needs_cost(), n)];
    if found == expected {
        return Ok(losses);
    }
    Err(Error::Shape { what: "the losses of the boundary terms".into(), found, expected })
}

impl Losses {
    /// Those of some rows.
    pub(crate) fn of_rows(&self, rows: &Range<usize>, dim: usize) -> Self {
        Self {
            losses: self.losses[rows.clone()].to_vec(),
            end: self.end[rows.start * dim..rows.end * dim].to_vec(),
            score: if self.score.is_empty() {
                Vec::new()
            } else {
                self.score[rows.start * dim..rows.end * dim].to_vec()
            },
            log_density: self.log_density[rows.clone()].to_vec(),
            cost: if self.cost.is_empty() { Vec::new() } else { self.cost[rows.clone()].to_vec() },
        }
    }
}

/// Rows of two arrays of equally many numbers a row side by side.
pub(crate) fn side_by_side(left: &[f64], right: &[f64], width: usize) -> Vec<f64> {
    left.chunks_exact(width).zip(right.chunks_exact(width)).flat_map(|(left, right)| [left, right].concat()).collect()
}

/// The left and the right half of every row of `2 · width` numbers.
pub(crate) fn halves(rows: &[f64], width: usize) -> [Vec<f64>; 2] {
    [0, width].map(|first| rows.chunks_exact(2 * width).flat_map(|row| &row[first..first + width]).copied().collect())
}
