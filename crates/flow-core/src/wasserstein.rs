//! Distances of optimal transport between samples of a flow and data, as objectives: no likelihood is asked for.

mod sinkhorn;
mod sliced;

use crate::batch::Batch;
use crate::boundary::{BoundaryTerms, Endpoints, Losses};
use crate::error::Error;
use crate::evaluation::{Evaluation, Outcome};
use crate::flow::{Direction, Flow};
use crate::objective::Objective;
use crate::space::Space;

/// Half the squared Wasserstein distance `½ W₂²` between samples of the flow and data, or an approximation of it:
/// batches are data, and as many points of the base are carried forward beside them.
///
/// Distances are in coordinates whose standard deviation over the data of the batch is 1. All rows are coupled, so the
/// objective needs the whole batch: the ends of all rows, and each member of a team solves the same problem on the
/// host. Samples are as many as data, so that the figure is above that of the densities, and not zero where they are
/// equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WassersteinDistance {
    /// The debiased Sinkhorn divergence `OT_ε(p, q) − ½ OT_ε(p, p) − ½ OT_ε(q, q)` (Genevay, Peyré and Cuturi,
    /// arXiv:1706.00292), with the cost `½‖x − y‖²`. ε is this part of the mean cost between two rows of data, 1e-3 to
    /// 10: the smaller, the nearer to `½ W₂²` and the slower.
    Sinkhorn {
        /// ε as a part of the mean cost.
        blur: f64,
    },
    /// The mean of `½ W₂²` over projections to `projections` random directions, new ones for every batch (Rabin et al.
    /// 2011): exact in one dimension, by sorting.
    Sliced {
        /// How many directions.
        projections: usize,
    },
}

impl WassersteinDistance {
    fn check(self) -> Result<(), Error> {
        match self {
            Self::Sinkhorn { blur } if !(1e-3..=10.0).contains(&blur) => {
                Err(Error::setting("blur", blur, "a number from 1e-3 to 10"))
            }
            Self::Sinkhorn { .. } => Ok(()),
            Self::Sliced { projections } => Error::at_least_1([("projections", projections)]),
        }
    }
}

impl<S: Space> Objective<S> for WassersteinDistance {
    fn name(&self) -> &'static str {
        match self {
            Self::Sinkhorn { .. } => "sinkhorn",
            Self::Sliced { .. } => "sliced-wasserstein",
        }
    }

    fn evaluate(&self, flow: &Flow<'_, S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        self.check()?;
        let dim = flow.potential.dim();
        if flow.potential.context_dim() > 0 {
            let found = format!("{} numbers", flow.potential.context_dim());
            return Err(Error::setting("context", found, "none for a distance between samples"));
        }
        batch.check(dim, 0)?;
        let data = Cloud { x: how.team.gather(&batch.x)?, weights: how.team.gather(&batch.shares(&batch.rows))? };
        let directions = match self {
            Self::Sinkhorn { .. } => Vec::new(),
            // Rows behind the batch's own, so that they are numbers apart from the points of the base.
            Self::Sliced { projections } => how.key.noise(batch.of..batch.of + projections, dim),
        };
        let base = Batch::new(how.key.noise(batch.rows.clone(), dim), dim)?.part(batch.rows.start, batch.of);
        let terms = DistanceTerms { distance: *self, data: data.standardised(dim), directions };
        flow.evaluate_terms(Direction::Forward, &terms, &base, how)
    }
}

/// Points with what each counts; weights add up to 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cloud {
    /// `rows × dim`, row by row.
    pub x: Vec<f64>,
    pub weights: Vec<f64>,
}

/// Points in units of the standard deviation of each coordinate.
struct Standardised {
    cloud: Cloud,
    scales: Vec<f64>,
}

impl Cloud {
    /// In units of its own standard deviations; a coordinate that does not vary keeps its unit.
    fn standardised(self, dim: usize) -> Standardised {
        let moment = |k: usize, centre: f64, power: i32| -> f64 {
            let column = self.x.iter().skip(k).step_by(dim);
            column.zip(&self.weights).map(|(x, weight)| weight * (x - centre).powi(power)).sum()
        };
        let scale = |k: usize| {
            let deviation = moment(k, moment(k, 0.0, 1), 2).sqrt();
            if deviation > 0.0 { deviation } else { 1.0 }
        };
        let scales: Vec<f64> = (0..dim).map(scale).collect();
        let cloud = Self { x: divided(&self.x, &scales), weights: self.weights };
        Standardised { cloud, scales }
    }
}

/// Rows with every coordinate divided by its own number.
fn divided(x: &[f64], by: &[f64]) -> Vec<f64> {
    x.chunks_exact(by.len()).flat_map(|row| row.iter().zip(by).map(|(x, by)| x / by)).collect()
}

/// A distance between two clouds, seen from the rows of the first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distance {
    /// One figure per row, whose weighted mean is the distance.
    pub of_rows: Vec<f64>,
    /// Gradient of the distance by the points of the first cloud, `rows × dim`.
    pub gradient: Vec<f64>,
}

struct DistanceTerms {
    distance: WassersteinDistance,
    data: Standardised,
    /// `projections × dim`, of any length.
    directions: Vec<f64>,
}

impl BoundaryTerms for DistanceTerms {
    fn evaluate(&self, rows: &Endpoints<'_>) -> Result<Losses, Error> {
        let Standardised { cloud: data, scales } = &self.data;
        let samples = Cloud { x: divided(rows.end, scales), weights: rows.weights.to_vec() };
        let found = match self.distance {
            WassersteinDistance::Sinkhorn { blur } => {
                // Two rows of data are on average ½ · 2 · dim apart, in units of their standard deviations.
                sinkhorn::divergence(&samples, data, rows.dim, blur * rows.dim as f64, sinkhorn::TOLERANCE)?
            }
            WassersteinDistance::Sliced { .. } => sliced::distance(&samples, data, rows.dim, &self.directions),
        };
        let end = divided(&found.gradient, scales);
        Ok(Losses { log_density: vec![0.0; found.of_rows.len()], losses: found.of_rows, end, ..Losses::default() })
    }

    fn couples_rows(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, RngKey};

    pub(super) fn points(rows: usize, dim: usize, key: u64) -> Vec<f64> {
        RngKey::new(29, Purpose::Sample, key).normals(0..rows, dim)
    }

    /// Points with uneven weights.
    pub(super) fn uneven(rows: usize, dim: usize, key: u64) -> Cloud {
        let weight = |r: usize| 1.0 + (r % 3) as f64;
        let total: f64 = (0..rows).map(weight).sum();
        Cloud { x: points(rows, dim, key), weights: (0..rows).map(|r| weight(r) / total).collect() }
    }

    pub(super) fn even(x: Vec<f64>, dim: usize) -> Cloud {
        let rows = x.len() / dim;
        Cloud { x, weights: vec![1.0 / rows as f64; rows] }
    }

    pub(super) fn value(distance: &Distance, weights: &[f64]) -> f64 {
        distance.of_rows.iter().zip(weights).map(|(row, weight)| row * weight).sum()
    }

    /// Least `½‖x − y‖²` on average over all ways to pair equally many points.
    pub(super) fn by_assignment(x: &[f64], y: &[f64], dim: usize) -> f64 {
        fn least(row: usize, taken: &mut Vec<bool>, cost: &dyn Fn(usize, usize) -> f64) -> f64 {
            if row == taken.len() {
                return 0.0;
            }
            let mut best = f64::INFINITY;
            for j in 0..taken.len() {
                if !std::mem::replace(&mut taken[j], true) {
                    best = best.min(cost(row, j) + least(row + 1, taken, cost));
                    taken[j] = false;
                }
            }
            best
        }
        let rows = x.len() / dim;
        let cost = |i: usize, j: usize| -> f64 {
            let pair = x[i * dim..(i + 1) * dim].iter().zip(&y[j * dim..(j + 1) * dim]);
            0.5 * pair.map(|(x, y)| (x - y).powi(2)).sum::<f64>() / rows as f64
        };
        least(0, &mut vec![false; rows], &cost)
    }

    /// Checks the gradient of a distance against differences of fourth order, coordinate by coordinate.
    pub(super) fn assert_differentiated(samples: &Cloud, tolerance: f64, distance: impl Fn(&Cloud) -> Distance) {
        let gradient = distance(samples).gradient;
        let size = gradient.iter().fold(0.0f64, |most, g| most.max(g.abs()));
        assert!(size > 1e-4, "there is a gradient");
        for (i, got) in gradient.iter().enumerate() {
            let at = |epsilon: f64| {
                let mut moved = samples.clone();
                moved.x[i] += epsilon;
                value(&distance(&moved), &moved.weights)
            };
            let h = 1e-3;
            let difference = (at(-2.0 * h) - 8.0 * at(-h) + 8.0 * at(h) - at(2.0 * h)) / (12.0 * h);
            let off = (got - difference).abs();
            assert!(off < tolerance * size, "coordinate {i}: {got}, by differences {difference}");
        }
    }

    #[test]
    fn coordinates_are_divided_by_the_deviation_of_the_data() {
        let data = Cloud { x: vec![0.0, 7.0, 4.0, 7.0, 8.0, 7.0], weights: vec![0.25, 0.5, 0.25] };
        let standardised = data.standardised(2);
        assert_eq!(standardised.scales, [8f64.sqrt(), 1.0]);
        assert_eq!(standardised.cloud.x[2..4], [4.0 / 8f64.sqrt(), 7.0]);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for (distance, name) in [
            (WassersteinDistance::Sinkhorn { blur: 1e-4 }, "blur"),
            (WassersteinDistance::Sinkhorn { blur: f64::NAN }, "blur"),
            (WassersteinDistance::Sliced { projections: 0 }, "projections"),
        ] {
            assert!(distance.check().unwrap_err().to_string().starts_with(name));
        }
    }
}
