//! Flow matching: a potential learned by regression on the known velocity of a path from the base to the target,
//! without integration.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::batch::Batch;
use crate::energy::{Energy, check_widths, context_of};
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
#[derive(Debug, Clone)]
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
    /// Forces of the target, which take noise from the velocities along a straight path; none: as they are.
    pub forces: Option<KnownForces>,
}

/// Forces of the target at its samples, as a control variate of the velocities that a regression sees (target score
/// matching: De Bortoli et al., arXiv:2402.08667).
///
/// Of all pairs that meet in `x = τ x₁ + (1 − τ) ξ`, `τ ξ/(1 − τ) − ∇E(x₁)` is zero on average, an integral of a
/// derivative. The regression therefore has the same minimum with the velocities
///
/// ```text
/// x₁ − ξ + (τ ξ − (1 − τ) ∇E(x₁)) / (τ² + λ (1 − τ)²),
/// ```
///
/// λ the mean square of a component of ∇E. That factor has the least noise where ξ and ∇E(x₁) do not depend on each
/// other; of a Gaussian target with equal variances nothing is left of the noise.
#[derive(Clone)]
pub struct KnownForces {
    /// The energy E of the target.
    pub energy: Arc<dyn Energy>,
    /// λ.
    pub mean_square: f64,
}

impl fmt::Debug for KnownForces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownForces").field("mean_square", &self.mean_square).finish_non_exhaustive()
    }
}

impl KnownForces {
    /// What is added to the velocity `x₁ − ξ` in one coordinate.
    fn variate(&self, tau: f64, base: f64, gradient: f64) -> f64 {
        let rest = 1.0 - tau;
        (tau * base - rest * gradient) / (tau * tau + self.mean_square * rest * rest)
    }
}

impl FlowMatching {
    /// Along a path, with so many uniform times in a batch.
    pub fn new(path: Path, times: usize) -> Self {
        Self { path, times, focus: None, forces: None }
    }

    fn check<S: Space>(&self, flow: &Flow<'_, S>, batch: &Batch) -> Result<(), Error> {
        batch.check(flow.potential.dim(), flow.potential.context_dim())?;
        if let Some(focus) = self.focus.filter(|focus| !(*focus > 0.0 && focus.is_finite())) {
            return Err(Error::setting("focus", focus, "a positive number"));
        }
        let Some(forces) = &self.forces else { return Ok(()) };
        check_widths(&forces.energy, flow.potential.dim(), flow.potential.context_dim())?;
        if !(forces.mean_square > 0.0 && forces.mean_square.is_finite()) {
            return Err(Error::setting("the mean square of forces", forces.mean_square, "a positive number"));
        }
        match self.path {
            Path::Straight => Ok(()),
            Path::Blurred => Err(Error::setting("forces", "given", "left out where the path is blurred")),
        }
    }

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
        self.check(flow, batch)?;
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
        let (field, gradient) = (&*field, how.gradient);
        let regression = Regression { of: self, flow, field, batch, solve, taus: &taus, gradient };
        gather(flow.space, field, flow.space.map_blocks(blocks, |rows| regression.block(rows)), how.team)
    }
}

/// One batch of the regression.
struct Regression<'a, 'f, S: Space> {
    of: &'a FlowMatching,
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
    fn block(&self, range: Range<usize>) -> Result<BlockLosses<S>, Error> {
        let times: Vec<f64> = range.clone().map(|row| self.taus[self.time_of(row)] * self.flow.duration).collect();
        let points = self.points(range.clone())?;
        if self.field.rows_may_have_times() {
            return Ok(self.rows_at(times[0], range, [&points.x, &points.velocity], Some(times)));
        }
        let mut losses = Vec::with_capacity(range.len());
        let mut sums: Option<Vec<Share<S>>> = None;
        let (mut first, dim) = (0, self.flow.potential.dim());
        for group in times.chunk_by(|a, b| a == b) {
            let end = first + group.len();
            let points = [&points.x, &points.velocity].map(|of| &of[first * dim..end * dim]);
            let rows = range.start + first..range.start + end;
            let (found, share) = self.rows_at(group[0], rows, points, None);
            losses.extend(found);
            match (&mut sums, share) {
                (Some(sums), Some(share)) => {
                    sums.iter_mut().zip(share).for_each(|(sum, later)| sum.add(self.flow.space, later));
                }
                (sums, share) => *sums = share,
            }
            first = end;
        }
        Ok((losses, sums))
    }

    /// Points of the paths of some rows.
    fn points(&self, rows: Range<usize>) -> Result<Points, Error> {
        let dim = self.flow.potential.dim();
        let base = match self.batch.base.is_empty() {
            true => self.solve.key.noise(rows.clone(), dim),
            false => self.batch.numbers(&self.batch.base, &rows).to_vec(),
        };
        let target = self.batch.numbers(&self.batch.x, &rows);
        let (mut x, mut velocity) = (Vec::with_capacity(base.len()), Vec::with_capacity(base.len()));
        for (row, (target, base)) in rows.clone().zip(target.chunks_exact(dim).zip(base.chunks_exact(dim))) {
            let tau = self.taus[self.time_of(row)];
            let at = |(target, base): (&f64, &f64)| self.of.path.at(tau, *target, *base);
            x.extend(target.iter().zip(base).map(|pair| at(pair).0));
            velocity.extend(target.iter().zip(base).map(|pair| at(pair).1));
        }
        if let Some(forces) = &self.of.forces {
            let context = context_of(&forces.energy, self.batch.numbers(&self.batch.context, &rows));
            let (mut energies, mut gradients) = (vec![0.0; rows.len()], vec![0.0; base.len()]);
            forces.energy.energies_and_gradients(target, context, &mut energies, &mut gradients)?;
            let tau = |i: usize| self.taus[self.time_of(rows.start + i / dim)];
            for (i, velocity) in velocity.iter_mut().enumerate() {
                *velocity += forces.variate(tau(i), base[i], gradients[i]);
            }
        }
        // Per unit of t, which runs T times as far as τ.
        velocity.iter_mut().for_each(|velocity| *velocity /= self.flow.duration);
        Ok(Points { x, velocity })
    }

    /// Some rows at a time, or each at its own, at points of the path with its velocity there.
    fn rows_at(
        &self,
        t: f64,
        rows: Range<usize>,
        [x, velocity]: [&[f64]; 2],
        times: Option<Vec<f64>>,
    ) -> BlockLosses<S> {
        let (space, potential, n) = (self.flow.space, self.flow.potential, rows.len());
        let dim = potential.dim();
        let (context, draws) = (potential.context_dim(), potential.draw_width(&self.solve));
        let context_of_rows = || space.upload(n, context, self.batch.numbers(&self.batch.context, &rows));
        let draws_of_rows = || space.upload(n, draws, &potential.draw(&self.solve, rows.clone()));
        let (mut block, state) = self.field.enter(Block {
            rows: rows.clone(),
            x: space.upload(n, dim, x),
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
        space.accumulate(&mut off, 1.0, &[(-1.0, &space.upload(n, dim, velocity))]);
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
    use crate::energy::PointEnergy;

    #[test]
    fn focused_times_have_the_density_they_should() {
        let at = |focus| FlowMatching { focus, ..FlowMatching::new(Path::Straight, 1) };
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

    fn forces(mean_square: f64) -> KnownForces {
        let energy = Arc::new(PointEnergy::new(1, |_, _| Ok(0.0)));
        KnownForces { energy, mean_square }
    }

    #[test]
    fn forces_take_all_noise_from_a_gaussian_target() {
        // Every pair that meets in a point has the velocity of all: that of the Gaussian of variance (1 − τ)² + τ² s².
        for s2 in [0.3, 1.0, 4.0f64] {
            let forces = forces(s2.recip());
            for tau in [0.0, 0.2, 0.7, 1.0f64] {
                for (target, base) in [(0.4, -1.3), (-2.0, 0.1)] {
                    let (x, velocity) = Path::Straight.at(tau, target, base);
                    let found = velocity + forces.variate(tau, base, target / s2);
                    let exact = x * (tau * s2 - (1.0 - tau)) / ((1.0 - tau).powi(2) + tau * tau * s2);
                    assert!((found - exact).abs() < 1e-13, "s² = {s2}, τ = {tau}: {found} {exact}");
                }
            }
        }
    }

    #[test]
    fn forces_leave_the_mean_velocity_as_it_is() {
        // E = x⁴/4 − x: the mean over x₁ given x, by the trapezoidal rule, whose error is that of round-off here.
        let (forces, x) = (forces(1.7), 0.35);
        for tau in [0.2, 0.5, 0.9] {
            let (mut sum, mut plain, mut varied) = (0.0, 0.0, 0.0);
            for k in -4000..=4000 {
                let target = f64::from(k) * 1e-3;
                let base = (x - tau * target) / (1.0 - tau);
                let weight = (target - target.powi(4) / 4.0 - 0.5 * base * base).exp();
                let velocity = target - base;
                sum += weight;
                plain += weight * velocity;
                varied += weight * (velocity + forces.variate(tau, base, target.powi(3) - 1.0));
            }
            assert!(((varied - plain) / sum).abs() < 1e-10, "τ = {tau}: {} {}", plain / sum, varied / sum);
        }
    }
}
