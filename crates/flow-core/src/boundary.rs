//! Boundary terms: what an objective makes of the ends of a solve, row by row, and the cotangents that this sends back.

use crate::batch::Batch;
use crate::energy::{Energy, context_of};
use crate::error::Error;

/// Rows that were carried through the flow.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints<'a> {
    /// Numbers per point.
    pub dim: usize,
    /// The number of the first of these rows within the whole batch.
    pub first: usize,
    /// Where they started, `rows × dim`, row by row.
    pub start: &'a [f64],
    /// Where they arrived, `rows × dim`, row by row.
    pub end: &'a [f64],
    /// The score `∇ ln p` where they arrived, `rows × dim`, row by row; empty where [`BoundaryTerms::needs_score`] is
    /// false.
    pub score: &'a [f64],
    /// Change of ln p on the way, per row; meaningless where [`BoundaryTerms::needs_log_density`] is false.
    pub log_density: &'a [f64],
    /// Transport cost `∫ ½‖∇φ‖² |dt|`, per row; zeros where [`BoundaryTerms::needs_cost`] is false.
    pub cost: &'a [f64],
    /// The share of every row in the mean over the whole batch: `1/rows` where all count alike.
    pub weights: &'a [f64],
    /// `rows × context_dim`, row by row.
    pub context: &'a [f64],
}

/// Losses of rows, and the cotangents of the mean `Σ_r weight_r · loss_r`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Losses {
    /// Loss of every row, in nats.
    pub losses: Vec<f64>,
    /// Cotangent of the end point of every row, `rows × dim`.
    pub end: Vec<f64>,
    /// Cotangent of the score `∇ ln p` at the end points, `rows × dim`; empty where [`BoundaryTerms::needs_score`] is
    /// false.
    pub score: Vec<f64>,
    /// Cotangent of every row's change of ln p; ignored where [`BoundaryTerms::needs_log_density`] is false.
    pub log_density: Vec<f64>,
    /// Cotangent of every row's transport cost; empty where [`BoundaryTerms::needs_cost`] is false.
    pub cost: Vec<f64>,
}

/// What one objective that integrates has of its own: the losses that it computes from the ends of a solve, with their
/// cotangents. The solve and its adjoint are the same for all.
///
/// An objective of one's own is this trait and a call of [`Flow::evaluate_terms`](crate::Flow::evaluate_terms), see
/// [`Objective`](crate::Objective) for one that is whole. Terms see numbers on the host alone, so they can be tried
/// without a flow:
///
/// ```
/// use flow_core::{BoundaryTerms, Endpoints, Error, Losses};
///
/// /// How far points went: `‖end − start‖²`.
/// struct Way;
///
/// impl BoundaryTerms for Way {
///     fn evaluate(&self, rows: &Endpoints<'_>) -> Result<Losses, Error> {
///         let mut out = Losses { log_density: vec![0.0; rows.weights.len()], ..Losses::default() };
///         let points = rows.start.chunks_exact(rows.dim).zip(rows.end.chunks_exact(rows.dim));
///         for ((start, end), weight) in points.zip(rows.weights) {
///             let way = || end.iter().zip(start).map(|(end, start)| end - start);
///             out.losses.push(way().map(|d| d * d).sum());
///             out.end.extend(way().map(|d| 2.0 * weight * d));
///         }
///         Ok(out)
///     }
/// }
///
/// let rows = Endpoints {
///     dim: 1, first: 0, start: &[0.0, 1.0], end: &[2.0, 1.0], score: &[], log_density: &[0.0; 2], cost: &[0.0; 2],
///     weights: &[0.5; 2], context: &[],
/// };
/// let found = Way.evaluate(&rows)?;
/// assert_eq!((found.losses, found.end), (vec![4.0, 0.0], vec![2.0, 0.0]));
/// # Ok::<(), Error>(())
/// ```
pub trait BoundaryTerms: Sync {
    /// Losses and cotangents of some rows. Rows of a loss that is a sum over rows come a block at a time; where
    /// [`BoundaryTerms::couples_rows`], all rows of the whole batch come at once.
    ///
    /// # Errors
    /// Whatever keeps it from an answer: the evaluation ends with it.
    fn evaluate(&self, rows: &Endpoints<'_>) -> Result<Losses, Error>;

    /// Whether the loss of a row depends on other rows. The batch is then solved twice, the first time for the ends
    /// alone.
    fn couples_rows(&self) -> bool {
        false
    }

    /// Whether the transport cost is wanted. It is a norm of ∇φ, so the solve is then in plain coordinates.
    fn needs_cost(&self) -> bool {
        false
    }

    /// Whether the change of ln p is wanted.
    fn needs_log_density(&self) -> bool {
        true
    }

    /// Whether the score `∇ ln p` at the ends is wanted, of points that go forward from the base density. It is carried
    /// along in plain coordinates, without the transport cost, and a gradient needs
    /// [`Potential::has_score_pullback`](crate::Potential::has_score_pullback).
    fn needs_score(&self) -> bool {
        false
    }

    /// Whether [`BoundaryTerms::evaluate`] may be called from several threads at a time. If not, blocks take turns, and
    /// `evaluate` must not itself wait for work of the threads of the space.
    fn concurrent(&self) -> bool {
        false
    }
}

/// A part of the loss that depends on where a row starts and on its context.
pub(crate) type StartTerm<'a> = &'a (dyn Fn(&[f64], &[f64]) -> f64 + Sync);

/// `loss = start(x at the start, its context) + change of ln p + energy(x at the end) + weight · transport cost`:
/// likelihoods and free energies. With a weight of the forces `weight · ‖∇ ln p + ∇ energy‖²/N` at the end is added.
pub(crate) struct EnergyTerms<'a> {
    pub start: StartTerm<'a>,
    pub end: &'a dyn Energy,
    pub transport_cost: f64,
    pub force_weight: f64,
    pub gradient: Gradient<'a>,
    /// Of the gradient through the path: the longest `∇ ln p + ∇ energy` of a row.
    pub clip_force: Option<f64>,
}

/// Which gradient of a free energy.
pub(crate) enum Gradient<'a> {
    /// That of the losses.
    Total,
    /// Through the path alone: `∇ ln p` at the end takes the place of what ln p depends on along the way. Either the
    /// score that comes with the ends, or what every row of this part of the batch has been carried to before.
    Path(Option<CarriedBefore<'a>>),
}

/// What rows of a part of a batch have been carried to before.
#[derive(Clone, Copy)]
pub(crate) struct CarriedBefore<'a> {
    pub batch: &'a Batch,
    /// `∇ ln p` of every row.
    pub score: &'a [f64],
    /// Change of ln p of every row.
    pub log_density: &'a [f64],
}

impl<'a> EnergyTerms<'a> {
    /// Without a transport cost and forces.
    pub fn new(start: StartTerm<'a>, end: &'a dyn Energy) -> Self {
        Self { start, end, transport_cost: 0.0, force_weight: 0.0, gradient: Gradient::Total, clip_force: None }
    }

    /// Adds the forces of rows with their weights to losses and cotangents, from the gradients of the energy.
    fn add_forces(
        &self,
        rows: &Endpoints<'_>,
        (context, gradients): (&[f64], &[f64]),
        losses: &mut Losses,
    ) -> Result<(), Error> {
        let (dim, scale) = (rows.dim, self.force_weight / rows.dim as f64);
        let mut bars: Vec<f64> = rows.score.iter().zip(gradients).map(|(score, gradient)| score + gradient).collect();
        for ((bar, loss), weight) in bars.chunks_exact_mut(dim).zip(&mut losses.losses).zip(rows.weights) {
            *loss += scale * bar.iter().map(|difference| difference * difference).sum::<f64>();
            bar.iter_mut().for_each(|difference| *difference *= 2.0 * scale * weight);
        }
        // ∇E depends on where a row arrived.
        let mut products = vec![0.0; bars.len()];
        self.end.hessian_products(rows.end, context, &bars, &mut products)?;
        losses.end.iter_mut().zip(products).for_each(|(bar, product)| *bar += product);
        losses.score = bars;
        Ok(())
    }
}

/// Scales a vector to a length where it is longer; what is not finite stays so, for a training to go back.
fn shorten(of: &mut [f64], limit: f64) {
    let length = of.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length > limit && length.is_finite() {
        of.iter_mut().for_each(|v| *v *= limit / length);
    }
}

impl BoundaryTerms for EnergyTerms<'_> {
    fn evaluate(&self, rows: &Endpoints<'_>) -> Result<Losses, Error> {
        let (dim, n) = (rows.dim, rows.log_density.len());
        let mut out = Losses { losses: vec![0.0; n], ..Losses::default() };
        let mut gradients = vec![0.0; rows.end.len()];
        let context = context_of(self.end, rows.context);
        self.end.energies_and_gradients(rows.end, context, &mut out.losses, &mut gradients)?;
        let of_rows = rows.first..rows.first + n;
        let log_density = match self.gradient {
            Gradient::Path(Some(before)) => before.batch.numbers(before.log_density, &of_rows),
            _ => rows.log_density,
        };
        let width = rows.context.len() / n.max(1);
        for (r, loss) in out.losses.iter_mut().enumerate() {
            let start = (self.start)(&rows.start[r * dim..][..dim], &rows.context[r * width..][..width]);
            *loss = start + log_density[r] + *loss + self.transport_cost * rows.cost[r];
        }
        let weight_of = |i: usize| rows.weights[i / dim];
        out.end = gradients.iter().enumerate().map(|(i, gradient)| weight_of(i) * gradient).collect();
        out.log_density = rows.weights.to_vec();
        if let Gradient::Path(carried) = self.gradient {
            let scores = carried.map_or(rows.score, |before| before.batch.numbers(before.score, &of_rows));
            out.end.iter_mut().zip(scores).enumerate().for_each(|(i, (bar, score))| *bar += weight_of(i) * score);
            if let Some(limit) = self.clip_force {
                let of_rows = out.end.chunks_exact_mut(dim).zip(rows.weights);
                of_rows.for_each(|(force, weight)| shorten(force, weight * limit));
            }
            out.log_density.fill(0.0);
        }
        if self.needs_score() {
            self.add_forces(rows, (context, &gradients), &mut out)?;
        }
        let costs = rows.weights.iter().filter(|_| self.needs_cost()).map(|weight| weight * self.transport_cost);
        out.cost = costs.collect();
        Ok(out)
    }

    fn needs_cost(&self) -> bool {
        self.transport_cost != 0.0
    }

    fn needs_score(&self) -> bool {
        self.force_weight != 0.0
    }

    /// Carried before, it is known.
    fn needs_log_density(&self) -> bool {
        !matches!(self.gradient, Gradient::Path(Some(_)))
    }

    fn concurrent(&self) -> bool {
        self.end.concurrent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::PointEnergy;

    #[test]
    fn forces_are_cut_to_a_length_row_by_row() {
        let energy = PointEnergy::new(2, |x, gradient| {
            gradient.copy_from_slice(&[3.0 * x[0], 4.0 * x[0] + 1.0]);
            Ok(0.0)
        });
        let cotangents = |clip_force| {
            let start = |_: &[f64], _: &[f64]| 0.0;
            let terms = EnergyTerms { gradient: Gradient::Path(None), clip_force, ..EnergyTerms::new(&start, &energy) };
            let end = [1.0, 0.0, 0.1, 0.0, f64::INFINITY, 0.0];
            let rows = Endpoints {
                dim: 2,
                first: 0,
                start: &[0.0; 6],
                end: &end,
                // One unit shorter than the gradient of the energy.
                score: &[0.0, -1.0, 0.0, -1.0, 0.0, -1.0],
                log_density: &[0.0; 3],
                cost: &[0.0; 3],
                weights: &[0.5, 0.5, 0.25],
                context: &[],
            };
            terms.evaluate(&rows).unwrap().end
        };
        let near = |found: &[f64], expected: &[f64]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15);
        let (whole, cut) = (cotangents(None), cotangents(Some(2.0)));
        assert!(near(&whole[..4], &[1.5, 2.0, 0.15, 0.2]), "{whole:?}");
        assert!(near(&cut[..4], &[0.6, 0.8, 0.15, 0.2]), "{cut:?}");
        assert!(!cut[4].is_finite(), "a training goes back from what is not finite: {cut:?}");
    }
}
