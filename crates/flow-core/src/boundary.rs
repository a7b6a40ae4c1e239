//! Boundary terms: what an objective makes of the ends of a solve, row by row, and the cotangents that this sends back.

use crate::batch::Batch;
use crate::energy::Energy;
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
    /// Where they arrived, likewise.
    pub end: &'a [f64],
    /// Change of ln p on the way, per row.
    pub log_density: &'a [f64],
    /// Transport cost `∫ ½‖∇φ‖² |dt|`, per row; zeros where [`BoundaryTerms::needs_cost`] does not say that it is
    /// wanted.
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
    /// Cotangent of where every row arrived, `rows × dim`.
    pub end: Vec<f64>,
    /// Cotangent of every row's change of ln p.
    pub log_density: Vec<f64>,
    /// Cotangent of every row's transport cost; empty where the cost is not wanted.
    pub cost: Vec<f64>,
}

/// The part of an objective that integrates which is its own: losses from the ends of a solve, with cotangents.
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
///     dim: 1, first: 0, start: &[0.0, 1.0], end: &[2.0, 1.0], log_density: &[0.0; 2], cost: &[0.0; 2],
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

    /// Whether [`BoundaryTerms::evaluate`] may be called from several threads at a time. If not, blocks take turns, and
    /// `evaluate` must not itself wait for work of the threads of the space.
    fn concurrent(&self) -> bool {
        false
    }
}

/// `loss = start(x at the start) + change of ln p + energy(x at the end) + weight · transport cost`: likelihoods and
/// free energies.
pub(crate) struct EnergyTerms<'a> {
    pub start: &'a (dyn Fn(&[f64]) -> f64 + Sync),
    pub end: &'a dyn Energy,
    pub transport_cost: f64,
    /// For the gradient through the path alone: ∇ ln p at the end of every row of this part of the batch. It takes the
    /// place of what ln p depends on along the way.
    pub score: Option<(&'a Batch, &'a [f64])>,
}

impl BoundaryTerms for EnergyTerms<'_> {
    fn evaluate(&self, rows: &Endpoints<'_>) -> Result<Losses, Error> {
        let (dim, n) = (rows.dim, rows.log_density.len());
        let (mut losses, mut end_bar) = (vec![0.0; n], vec![0.0; rows.end.len()]);
        // An energy without context may be fitted by a flow that has one.
        let context = if self.end.context_dim() == 0 { &[] } else { rows.context };
        self.end.energies_and_gradients(rows.end, context, &mut losses, &mut end_bar)?;
        for (r, loss) in losses.iter_mut().enumerate() {
            let start = (self.start)(&rows.start[r * dim..(r + 1) * dim]);
            *loss = start + rows.log_density[r] + *loss + self.transport_cost * rows.cost[r];
            end_bar[r * dim..(r + 1) * dim].iter_mut().for_each(|g| *g *= rows.weights[r]);
        }
        let mut log_density = rows.weights.to_vec();
        if let Some((batch, score)) = self.score {
            let of_rows = batch.numbers(score, &(rows.first..rows.first + n)).chunks_exact(dim);
            for ((bar, score), weight) in end_bar.chunks_exact_mut(dim).zip(of_rows).zip(rows.weights) {
                bar.iter_mut().zip(score).for_each(|(bar, score)| *bar += weight * score);
            }
            log_density.fill(0.0);
        }
        let costs = rows.weights.iter().filter(|_| self.needs_cost()).map(|weight| weight * self.transport_cost);
        Ok(Losses { losses, end: end_bar, log_density, cost: costs.collect() })
    }

    fn needs_cost(&self) -> bool {
        self.transport_cost != 0.0
    }

    fn concurrent(&self) -> bool {
        self.end.concurrent()
    }
}
