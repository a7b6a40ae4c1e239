//! Flow matching: a potential learned by regression on the known velocity of a path from the base to the target,
//! without integration.

use std::ops::Range;

use crate::batch::Batch;
use crate::error::Error;
use crate::evaluation::{Evaluation, Outcome};
use crate::flow::Flow;
use crate::objective::Objective;
use crate::potential::{Block, Coordinates, Field, Motion, Pullback, Share, Solve, Stage};
use crate::shares::gather;
use crate::space::Space;

/// How a point of the base, ξ ~ N(0, I), is joined to a point x₁ of the target, at `τ = t/T` from 0 to 1.
///
/// Along either path the mean velocity of all points that meet at x is affine in x and in the score, hence the gradient
/// of a scalar: a potential can represent it, and the closer its gradient is to that velocity, the better the model
/// (Lipman et al., arXiv:2210.02747).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// `x = τ x₁ + (1 − τ) ξ`: ends in the target itself.
    Straight,
    /// `x = τ x₁ + ξ`: ends in the target convolved with a standard normal, as the continuous form of the Ising model
    /// is.
    Blurred,
}

impl Path {
    /// `(x, dx/dτ)` in one coordinate.
    fn at(self, tau: f64, target: f64, base: f64) -> (f64, f64) {
        match self {
            Self::Straight => (tau * target + (1.0 - tau) * base, target - base),
            Self::Blurred => (tau * target + base, target),
        }
    }
}

/// `E‖∇φ(x_t, t) − ẋ_t‖²` along a [`Path`]: batches are samples of the target, joined to independent points of the base
/// or to those that they are paired with ([`Batch::base`]).
///
/// The loss is a mean square and not a likelihood; its lowest value, the variance of the velocities that meet in one
/// point, is not zero. Times are drawn stratified, one for each group of successive rows.
#[derive(Debug, Clone, Copy)]
pub struct FlowMatching {
    /// The path.
    pub path: Path,
    /// Times in a batch; at most one per row is used.
    pub times: usize,
    /// ε > 0 draws times with a density proportional to `1/(1 + ε − τ)`, and so takes errors near the data more
    /// seriously; none: uniform.
    ///
    /// An error of the velocity counts in the likelihood the more the narrower the density is at its time, and that
    /// narrows like 1 − τ until it has the width of the data's own details.
    pub focus: Option<f64>,
}

impl FlowMatching {
    /// τ at which a part u of the density lies below.
    fn tau(&self, u: f64) -> f64 {
        match self.focus {
            None => u,
            // (1 + ε − τ) falls from 1 + ε to ε like an exponential of u.
            Some(e) => (1.0 + e) - (1.0 + e) * (e / (1.0 + e)).powf(u),
        }
    }
}

impl<S: Space> Objective<S> for FlowMatching {
    fn name(&self) -> &'static str {
        "flow-matching"
    }

    fn evaluate(&self, flow: &Flow<'_, S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        batch.check(flow.potential.dim(), flow.potential.context_dim())?;
        if let Some(focus) = self.focus.filter(|focus| !(*focus > 0.0 && focus.is_finite())) {
            return Err(Error::setting("focus", focus, "a positive number"));
        }
        let blocks = how.blocks_of(flow.space, batch)?;
        let solve = Solve {
            rows: batch.of,
            block_rows: how.block_rows(flow.space, batch.of),
            key: how.key,
            coordinates: Coordinates::X,
            evaluations: Some(1),
            laplacians: false,
        };
        let field = flow.potential.freeze(&solve);
        // Of the whole batch, whichever rows of it are here.
        let times = how.key.stratified(self.times.clamp(1, batch.of));
        let taus: Vec<f64> = times.into_iter().map(|u| self.tau(u)).collect();
        let (path, field, gradient) = (self.path, &*field, how.gradient);
        let regression = Regression { path, flow, field, batch, solve, taus: &taus, gradient };
        gather(flow.space, field, flow.space.map_blocks(blocks, |rows| Ok(regression.block(rows))), how.team)
    }
}

/// One batch of the regression.
struct Regression<'a, 'f, S: Space> {
    path: Path,
    flow: &'a Flow<'f, S>,
    field: &'a dyn Field<S>,
    batch: &'a Batch,
    solve: Solve,
    taus: &'a [f64],
    gradient: bool,
}

/// Losses of a block's rows and, where asked for, its share of the gradient.
type BlockLosses<S> = (Vec<f64>, Option<Vec<Share<S>>>);

impl<S: Space> Regression<'_, '_, S> {
    /// The number of the time at which a row is taken.
    fn time_of(&self, row: usize) -> usize {
        row * self.taus.len() / self.batch.of
    }

    /// A block at once, where its rows can have times of their own, or cut where the time changes.
    fn block(&self, range: Range<usize>) -> BlockLosses<S> {
        let times: Vec<f64> = range.clone().map(|row| self.taus[self.time_of(row)] * self.flow.duration).collect();
        let points = self.points(range.clone());
        if self.field.rows_may_have_times() {
            return self.rows_at(times[0], range, &points, Some(times));
        }
        let mut losses = Vec::with_capacity(range.len());
        let mut sums: Option<Vec<Share<S>>> = None;
        let (mut first, dim) = (0, self.flow.potential.dim());
        for group in times.chunk_by(|a, b| a == b) {
            let end = first + group.len();
            let [x, velocity] = [&points.x, &points.velocity].map(|of| of[first * dim..end * dim].to_vec());
            let rows = range.start + first..range.start + end;
            let (found, share) = self.rows_at(group[0], rows, &Points { x, velocity }, None);
            losses.extend(found);
            match (&mut sums, share) {
                (Some(sums), Some(share)) => {
                    sums.iter_mut().zip(share).for_each(|(sum, later)| sum.add(self.flow.space, later));
                }
                (sums, share) => *sums = share,
            }
            first = end;
        }
        (losses, sums)
    }

    /// Points of the paths of some rows.
    fn points(&self, rows: Range<usize>) -> Points {
        let dim = self.flow.potential.dim();
        let base = match self.batch.base.is_empty() {
            true => self.solve.key.noise(rows.clone(), dim),
            false => self.batch.numbers(&self.batch.base, &rows).to_vec(),
        };
        let target = self.batch.numbers(&self.batch.x, &rows);
        let taus = rows.flat_map(|row| std::iter::repeat_n(self.taus[self.time_of(row)], dim));
        let (x, velocity) = target
            .iter()
            .zip(&base)
            .zip(taus)
            .map(|((target, base), tau)| {
                let (x, velocity) = self.path.at(tau, *target, *base);
                // Per unit of t, which runs T times as far as τ.
                (x, velocity / self.flow.duration)
            })
            .unzip();
        Points { x, velocity }
    }

    /// Some rows at a time, or each at its own.
    fn rows_at(&self, t: f64, rows: Range<usize>, points: &Points, times: Option<Vec<f64>>) -> BlockLosses<S> {
        let (space, potential, n) = (self.flow.space, self.flow.potential, rows.len());
        let dim = potential.dim();
        let (context, draws) = (potential.context_dim(), potential.draw_width(&self.solve));
        let context_of_rows = || space.upload(n, context, self.batch.numbers(&self.batch.context, &rows));
        let draws_of_rows = || space.upload(n, draws, &potential.draw(&self.solve, rows.clone()));
        let (mut block, state) = self.field.enter(Block {
            rows: rows.clone(),
            x: space.upload(n, dim, &points.x),
            context: (context > 0).then(context_of_rows),
            draws: (draws > 0).then(draws_of_rows),
            times,
        });
        let stage = Stage { t, index: 0 };
        let (mut off, mut residuals) = (space.zeros(n, dim), Vec::new());
        block.evaluate(
            stage,
            &state,
            Motion { velocity: &mut off, laplacian: None, residuals: self.gradient.then_some(&mut residuals) },
        );
        space.accumulate(&mut off, 1.0, &[(-1.0, &space.upload(n, dim, &points.velocity))]);
        let mut squares = space.column_zeros(n);
        space.row_dot(&mut squares, &off, &off);
        let losses = space.download_column(&squares);
        if !self.gradient {
            return (losses, None);
        }
        let mut velocity_bar = space.zeros(n, dim);
        if self.batch.weights.is_empty() {
            space.accumulate(&mut velocity_bar, 0.0, &[(2.0 / self.batch.total_weight, &off)]);
        } else {
            space.accumulate_scaled_rows(&mut velocity_bar, 2.0, &space.upload_column(&self.batch.shares(&rows)), &off);
        }
        block.pullback(
            stage,
            &state,
            Pullback { residuals: &residuals, velocity_bar: &velocity_bar, laplacian_bar: None, state_bar: None },
        );
        (losses, Some(block.enter_pullback(space.zeros(n, dim)).1))
    }
}

/// Points of a [`Path`] and its velocity there, row by row.
struct Points {
    x: Vec<f64>,
    velocity: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn focused_times_have_the_density_they_should() {
        let at = |focus| FlowMatching { path: Path::Straight, times: 1, focus };
        assert_eq!(at(None).tau(0.3), 0.3);
        for e in [0.01, 0.1, 3.0] {
            let focused = at(Some(e));
            assert!(focused.tau(0.0).abs() < 1e-15 && (focused.tau(1.0) - 1.0).abs() < 1e-15);
            for u in [0.1, 0.5, 0.9] {
                // The density is the inverse of dτ/du, normalised by ∫ dτ/(1 + ε − τ) = ln((1 + ε)/ε).
                let slope = (focused.tau(u + 1e-6) - focused.tau(u - 1e-6)) / 2e-6;
                let density = 1.0 / ((1.0 + e - focused.tau(u)) * ((1.0 + e) / e).ln());
                assert!((slope * density - 1.0).abs() < 1e-8, "ε = {e}, u = {u}");
            }
        }
    }
}
