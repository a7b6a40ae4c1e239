//! Flow matching: a potential learned by regression on the known velocity of a path from the base to the target, without integration.

use std::ops::Range;

use crate::objective::{BlockResult, add_share, gather};
use crate::{BlockField, Coordinates, Error, Field, Flow, Objective, Outcome, RngKey, Solve, Space, Stage};

/// How a point of the base, ξ ~ N(0, I), is joined to a point x₁ of the target, at `τ = t/T` from 0 to 1.
///
/// Along either path the mean velocity of all points that meet at x is affine in x and in the score, hence the gradient of
/// a scalar: a potential can represent it, and is the better the closer its gradient is to it (Lipman et al., arXiv:2210.02747).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// `x = τ x₁ + (1 − τ) ξ`: ends in the target itself.
    Straight,
    /// `x = τ x₁ + ξ`: ends in the target convolved with a standard normal, as the continuous form of the Ising model is.
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

/// `E‖∇φ(x_t, t) − ẋ_t‖²` along a [`Path`]: batches are samples of the target.
///
/// The loss is a mean square and not a likelihood; its lowest value, the variance of the velocities that meet in one point, is not zero.
/// Times are drawn stratified, one for each group of successive rows.
#[derive(Debug, Clone, Copy)]
pub struct FlowMatching {
    /// The path.
    pub path: Path,
    /// Times in a batch; at most one per row is used.
    pub times: usize,
    /// ε > 0 draws times with a density proportional to `1/(1 + ε − τ)`, and so takes errors near the data more seriously; none: uniform.
    ///
    /// An error of the velocity counts in the likelihood the more the narrower the density is at its time, and that narrows like 1 − τ
    /// until it has the width of the data's own details.
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

    fn evaluate(&self, flow: &Flow<'_, S>, batch: &[f64], key: RngKey, gradient: bool) -> Result<Outcome<S>, Error> {
        let rows = batch.len() / flow.potential.dim();
        let solve = Solve { rows, key, coordinates: Coordinates::X };
        let field = flow.potential.freeze(&solve);
        let taus: Vec<f64> = key.stratified(self.times.clamp(1, rows)).into_iter().map(|u| self.tau(u)).collect();
        let regression = Regression { path: self.path, flow, field: &*field, batch, key, taus: &taus, gradient };
        gather(flow.space, &*field, flow.space.map_rows(rows, |range| regression.block(range)))
    }
}

/// One batch of the regression.
struct Regression<'a, 'f, S: Space> {
    path: Path,
    flow: &'a Flow<'f, S>,
    field: &'a dyn Field<S>,
    batch: &'a [f64],
    key: RngKey,
    taus: &'a [f64],
    gradient: bool,
}

impl<S: Space> Regression<'_, '_, S> {
    fn rows(&self) -> usize {
        self.batch.len() / self.flow.potential.dim()
    }

    /// The number of the time at which a row is taken.
    fn time_of(&self, row: usize) -> usize {
        row * self.taus.len() / self.rows()
    }

    /// A block at once, where the field can have rows at times of their own, or cut where the time changes.
    fn block(&self, range: Range<usize>) -> BlockResult<S> {
        let times: Vec<f64> = range.clone().map(|row| self.taus[self.time_of(row)] * self.flow.duration).collect();
        let Points { x, velocity } = self.points(range.clone());
        let (space, dim) = (self.flow.space, self.flow.potential.dim());
        let uploaded = space.upload(range.len(), dim, &x);
        if let Some(entered) = self.field.enter_at(range.clone(), &uploaded, &times) {
            return Ok(self.at(times[0], entered, &velocity));
        }
        let mut losses = Vec::with_capacity(range.len());
        let mut sums: Option<Vec<S::Array>> = None;
        let mut first = 0;
        for group in times.chunk_by(|a, b| a == b) {
            let rows = first..first + group.len();
            let place = rows.start * dim..rows.end * dim;
            let x = space.upload(rows.len(), dim, &x[place.clone()]);
            let entered = self.field.enter(range.start + rows.start..range.start + rows.end, x);
            let (found, share) = self.at(group[0], entered, &velocity[place]);
            losses.extend(found);
            match (&mut sums, share) {
                (Some(sums), Some(share)) => add_share(space, sums, &share),
                (sums, share) => *sums = share,
            }
            first = rows.end;
        }
        Ok((losses, sums))
    }

    /// Points of the paths of some rows.
    fn points(&self, rows: Range<usize>) -> Points {
        let dim = self.flow.potential.dim();
        let base = self.key.noise(rows.clone(), dim);
        let target = &self.batch[rows.start * dim..rows.end * dim];
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

    /// Losses of rows that entered, and the share of the gradient where it is wanted.
    fn at(
        &self,
        t: f64,
        (mut chart, state): (Box<dyn BlockField<S> + '_>, S::Array),
        velocity: &[f64],
    ) -> (Vec<f64>, Option<Vec<S::Array>>) {
        let space = self.flow.space;
        let (rows, dim) = space.shape(&state);
        let stage = Stage { t, index: 0 };
        let mut residual = space.zeros(rows, dim);
        let mut residuals = Vec::new();
        chart.evaluate(stage, &state, &mut residual, None, self.gradient.then_some(&mut residuals));
        space.accumulate(&mut residual, 1.0, &[(-1.0, &space.upload(rows, dim, velocity))]);
        let mut squares = space.column_zeros(rows);
        space.row_dot(&mut squares, &residual, &residual);
        let losses = space.download_column(&squares);
        if !self.gradient {
            return (losses, None);
        }
        let mut velocity_bar = space.zeros(rows, dim);
        space.accumulate(&mut velocity_bar, 0.0, &[(2.0 / self.rows() as f64, &residual)]);
        chart.pullback(stage, &state, &residuals, &velocity_bar, None, None);
        (losses, Some(chart.enter_pullback(space.zeros(rows, dim)).1))
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
