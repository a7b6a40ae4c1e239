//! How far a trained flow carries the base, beside the least that any map to the same place costs.

use datasets::gelbrich;
use flow_core::{Batch, Direction, Flow, Purpose, RngKey, Space, jackknife};
use serde::Serialize;

use crate::error::Error;
use crate::monitor::{Monitor, Task};
use crate::target::FIGURE_ROWS;

/// The most coordinates of a flow whose transport is measured: roots of larger covariances take longer than the figures
/// themselves, and so few samples say little of them.
pub const MOST_COORDINATES: usize = 64;
/// Samples that it is measured on.
const ROWS: usize = 2000;
/// Groups of samples that are left out in turn for the standard error.
const GROUPS: usize = 10;

/// The cost of the way that a flow takes from the base to its samples, in squared units of its coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Transport {
    /// `T ∫ E‖∇φ‖² dt`: no less than the squared Wasserstein distance from the base to the flow's samples (Benamou and
    /// Brenier 2000), and equal to it where every point goes straight at a constant speed to where optimal transport
    /// sends it.
    pub transport_cost: f64,
    /// Its standard error.
    pub transport_cost_error: f64,
    /// [`gelbrich`]'s lower bound of that squared distance, of the same points.
    pub transport_bound: f64,
    /// The cost over the bound, at least 1: the flow costs at most this many times what optimal transport does.
    pub transport_ratio: f64,
    /// Its standard error.
    pub transport_ratio_error: f64,
    /// The ratio's change from twice the integration step.
    pub transport_integration_error: f64,
    /// How many samples.
    pub transport_samples: usize,
}

/// Points at the start and the end of their ways, with the cost of each.
struct Ways {
    dim: usize,
    base: Vec<f64>,
    ends: Vec<f64>,
    costs: Vec<f64>,
}

impl Ways {
    /// Samples of a flow without context.
    fn of<S: Space>(flow: &Flow<'_, S>, seed: u64, monitor: &dyn Monitor, task: &Task<'_>) -> Result<Self, Error> {
        let dim = flow.potential.dim();
        let mut all = Self { dim, base: Vec::new(), ends: Vec::new(), costs: Vec::new() };
        for i in 0..(ROWS / FIGURE_ROWS) as u64 {
            if monitor.cancelled() {
                return Err(Error::Cancelled);
            }
            let key = RngKey::new(seed, Purpose::Sample, i);
            let batch = Batch::new(key.normals(0..FIGURE_ROWS, dim), dim)?;
            let moved = flow.transport_cost(&batch, flow.span(Direction::Forward), key)?;
            all.base.extend(batch.x);
            all.ends.extend(moved.x);
            // `∫ ½‖∇φ‖² dt` of every row.
            all.costs.extend(moved.cost.iter().map(|cost| 2.0 * flow.duration * cost));
            task.update(i + 1, "");
        }
        Ok(all)
    }

    /// Mean cost and bound of the rows that are not in one group.
    fn without(&self, group: Option<usize>) -> [f64; 2] {
        let kept = |row: &usize| group.is_none_or(|group| row % GROUPS != group);
        let rows: Vec<usize> = (0..self.costs.len()).filter(kept).collect();
        let points = |of: &[f64]| -> Vec<f64> {
            rows.iter().flat_map(|row| of[row * self.dim..(row + 1) * self.dim].iter().copied()).collect()
        };
        let cost = rows.iter().map(|row| self.costs[*row]).sum::<f64>() / rows.len() as f64;
        [cost, gelbrich(&points(&self.base), &points(&self.ends), self.dim)]
    }
}

impl Transport {
    /// Of a flow at the step of its figures, with a flow of twice the step beside it; `None` for a density given
    /// something, for more coordinates than [`MOST_COORDINATES`], and for a flow that does not move.
    ///
    /// # Errors
    /// An integration that fails, or an end that the monitor asks for.
    pub fn measure<S: Space>(
        [coarse, fine]: [&Flow<'_, S>; 2],
        seed: u64,
        monitor: &dyn Monitor,
    ) -> Result<Option<Self>, Error> {
        if fine.potential.context_dim() > 0 || fine.potential.dim() > MOST_COORDINATES {
            return Ok(None);
        }
        let task = Task::start(monitor, "measuring the transport", (ROWS / FIGURE_ROWS) as u64);
        let [coarse, fine] = [Ways::of(coarse, seed, monitor, &task)?, Ways::of(fine, seed, monitor, &task)?];
        let [cost, bound] = fine.without(None);
        let ratio = |[cost, bound]: [f64; 2]| cost / bound;
        if !(cost.is_finite() && bound > 0.0) {
            return Ok(None);
        }
        let without: Vec<_> = (0..GROUPS).map(|group| fine.without(Some(group))).collect();
        let [costs, ratios] =
            [|of: [f64; 2]| of[0], ratio].map(|of| without.iter().map(|w| of(*w)).collect::<Vec<_>>());
        Ok(Some(Self {
            transport_cost: cost,
            transport_cost_error: jackknife(&costs),
            transport_bound: bound,
            transport_ratio: cost / bound,
            transport_ratio_error: jackknife(&ratios),
            transport_integration_error: (cost / bound - ratio(coarse.without(None))).abs(),
            transport_samples: fine.costs.len(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_one_where_points_go_straight() {
        let x: Vec<f64> = (0..40).map(|i| f64::from(i * i % 23)).collect();
        // Every point goes three times as far from the origin: the gradient of a convex function, along straight lines.
        let ends: Vec<f64> = x.iter().map(|x| 3.0 * x).collect();
        let costs = x.chunks(2).map(|row| 4.0 * (row[0].powi(2) + row[1].powi(2))).collect();
        let [cost, bound] = Ways { dim: 2, base: x, ends, costs }.without(None);
        assert!((cost / bound - 1.0).abs() < 1e-12, "{cost} {bound}");
    }
}
