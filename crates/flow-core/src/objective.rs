//! Objectives: from a flow and a batch to a loss per row and the gradient of its mean.

use std::ops::Range;

use crate::flow::standard_normal_log_density;
use crate::recorded::Arrived;
use crate::score::base_score;
use crate::{Direction, Error, Field, Flow, Integrator, RngKey, SolutionCotangent, SolveOptions, Space, adjoint};

/// What an objective returns.
#[derive(Debug)]
pub struct Outcome<S: Space> {
    /// Loss of every row, in nats.
    pub losses: Vec<f64>,
    /// Gradient of the mean loss, one array per parameter, where it was asked for.
    pub gradient: Option<Vec<S::Array>>,
}

/// Mean of a set of figures with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Its standard error (NaN for fewer than two figures).
    pub standard_error: f64,
}

impl Mean {
    /// Mean and standard error of independent figures.
    pub fn of(figures: &[f64]) -> Self {
        let n = figures.len() as f64;
        let mean = figures.iter().sum::<f64>() / n;
        let variance = figures.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Self { mean, standard_error: (variance / n).sqrt() }
    }
}

/// A loss with its exact gradient, for any potential, integrator and batch.
pub trait Objective<S: Space>: Send + Sync {
    /// Name, as in configurations.
    fn name(&self) -> &'static str;

    /// Losses of the rows of `batch` (`rows × dim`, row by row), and the gradient of their mean where asked for.
    /// `key` keys whatever the potential itself draws for this solve.
    ///
    /// # Errors
    /// Those of the integrator. Non-finite losses are returned, not refused: a training may want to go back.
    fn evaluate(&self, flow: &Flow<'_, S>, batch: &[f64], key: RngKey, gradient: bool) -> Result<Outcome<S>, Error>;
}

/// A function of one point with its gradient, on the host: the negative logarithm of a density, up to a constant.
pub trait Energy: Send + Sync {
    /// Numbers per point.
    fn dim(&self) -> usize;

    /// The energy at `x`; `gradient` (same length) is overwritten.
    fn energy_and_gradient(&self, x: &[f64], gradient: &mut [f64]) -> f64;
}

/// The standard normal density: `E = −ln N(x; 0, I)`.
#[derive(Debug, Clone, Copy)]
pub struct StandardNormal {
    /// Numbers per point.
    pub dim: usize,
}

impl Energy for StandardNormal {
    fn dim(&self) -> usize {
        self.dim
    }

    fn energy_and_gradient(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.copy_from_slice(x);
        -standard_normal_log_density(x)
    }
}

/// Negative log-likelihood of data (eq. 6 of arXiv:1809.10188): batches are data, integrated from T to 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct NegativeLogLikelihood {
    /// Weight of the transport cost `∫½‖∇φ‖² dt` in the loss.
    pub transport_cost: f64,
    /// `ln |∂y/∂x|` of a fixed affine map from the data x to the rows y of the batches: losses are those of x.
    pub log_jacobian: f64,
}

impl<S: Space> Objective<S> for NegativeLogLikelihood {
    fn name(&self) -> &'static str {
        "nll"
    }

    fn evaluate(&self, flow: &Flow<'_, S>, batch: &[f64], key: RngKey, gradient: bool) -> Result<Outcome<S>, Error> {
        let base = StandardNormal { dim: flow.potential.dim() };
        // −ln p(x,T) = −ln N(z) + (ln p(z,0) − ln p(x,T)): nothing of the flow's at the start, the base's energy at the end.
        let ends = Ends {
            direction: Direction::Backward,
            start: &|_| -self.log_jacobian,
            end: &base,
            transport_cost: self.transport_cost,
            score: None,
        };
        simulate(flow, batch, key, gradient, &ends)
    }
}

/// Variational free energy, or reverse Kullback-Leibler divergence (eq. 7): batches are samples of the base density,
/// integrated from 0 to T. The mean loss is at least `−ln Z` of the energy.
pub struct FreeEnergy<E> {
    /// The energy `E(x)` of the target `exp(−E)/Z`.
    pub energy: E,
    /// Weight of the transport cost `∫½‖∇φ‖² dt` in the loss.
    pub transport_cost: f64,
    /// Which gradient of the same loss.
    pub gradient: Estimator,
}

/// An estimate of the gradient of the free energy from samples; both have the same mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Estimator {
    /// The gradient of the samples' mean loss.
    #[default]
    Total,
    /// Through the path of the samples alone: the mean of the other part, the explicit derivative of ln p, is zero and its noise is
    /// left out. The gradient vanishes sample by sample where the model equals the target (Roeder, Wu and Duvenaud, arXiv:1703.09194;
    /// for flows Vaitl et al., arXiv:2206.09016). It needs the score at the end of the path, see [`Flow::transport_score`]: two to three
    /// times the work. A transport cost has its total gradient.
    Path,
}

impl<S: Space, E: Energy> Objective<S> for FreeEnergy<E> {
    fn name(&self) -> &'static str {
        "free-energy"
    }

    fn evaluate(&self, flow: &Flow<'_, S>, batch: &[f64], key: RngKey, gradient: bool) -> Result<Outcome<S>, Error> {
        let scored = match self.gradient {
            Estimator::Path if gradient => {
                Some(flow.carry_score(batch, &base_score(batch), flow.span(Direction::Forward), key)?)
            }
            _ => None,
        };
        let ends = Ends {
            direction: Direction::Forward,
            start: &standard_normal_log_density,
            end: &self.energy,
            transport_cost: self.transport_cost,
            score: scored.as_ref().map(|scored| &*scored.score),
        };
        simulate(flow, batch, key, gradient, &ends)
    }
}

/// What distinguishes one simulating objective from another:
/// `loss = start(x at the start) + change of ln p + end(x at the end) + weight · transport cost`.
pub(crate) struct Ends<'a> {
    pub direction: Direction,
    pub start: &'a (dyn Fn(&[f64]) -> f64 + Sync),
    pub end: &'a dyn Energy,
    pub transport_cost: f64,
    /// For the gradient through the path alone: ∇ ln p at the end of every row of the batch. It takes the place of what ln p depends
    /// on along the way.
    pub score: Option<&'a [f64]>,
}

impl Ends<'_> {
    /// Losses of rows that started from `start` (`rows × dim`, these numbers of the batch), and the cotangents of where they arrived for the
    /// weight of a row.
    pub fn meet(&self, start: &[f64], numbers: Range<usize>, arrived: &Arrived, weight: f64) -> (Vec<f64>, Vec<f64>) {
        let (dim, mut x_bar) = (self.end.dim(), vec![0.0; start.len()]);
        let points = start.chunks_exact(dim).zip(arrived.x.chunks_exact(dim)).zip(x_bar.chunks_exact_mut(dim));
        let figures = arrived.log_density.iter().zip(&arrived.cost);
        let losses = points.zip(figures).map(|(((start, x), x_bar), (change, cost))| {
            let end = self.end.energy_and_gradient(x, x_bar);
            x_bar.iter_mut().for_each(|g| *g *= weight);
            (self.start)(start) + change + end + self.transport_cost * cost
        });
        let losses = losses.collect();
        if let Some(score) = self.score {
            x_bar.iter_mut().zip(&score[numbers]).for_each(|(bar, score)| *bar += weight * score);
        }
        (losses, x_bar)
    }

    /// The cotangent of a row's change of ln p: none of what the score stands for.
    pub fn log_density_bar(&self, weight: f64) -> f64 {
        if self.score.is_some() { 0.0 } else { weight }
    }
}

/// The one body of all objectives that integrate.
fn simulate<S: Space>(
    flow: &Flow<'_, S>,
    batch: &[f64],
    key: RngKey,
    gradient: bool,
    ends: &Ends<'_>,
) -> Result<Outcome<S>, Error> {
    let dim = flow.potential.dim();
    let rows = batch.len() / dim;
    let mut solve = flow.solve(rows, key)?;
    if ends.transport_cost != 0.0 {
        // The cost is a norm of ∇φ, which only plain coordinates have as their velocity.
        solve.coordinates = crate::Coordinates::X;
    }
    if let Some(recorder) = flow.space.recorder()
        && let Some(outcome) = recorder.simulate(flow, batch, &solve, gradient, ends)?
    {
        return Ok(outcome);
    }
    let field = flow.potential.freeze(&solve);
    let blocks = flow.space.map_rows(rows, |range| {
        let start = &batch[range.start * dim..range.end * dim];
        let block = Block { flow, range, start, weight: 1.0 / rows as f64, gradient, ends };
        block.solve(&*field).map(|(losses, back)| (losses, back.map(|(_, share)| share)))
    });
    gather(flow.space, &*field, blocks)
}

/// The losses of all blocks in their order, and the gradient from the sum of their shares.
pub(crate) fn gather<S: Space>(
    space: &S,
    field: &dyn Field<S>,
    blocks: Vec<BlockResult<S>>,
) -> Result<Outcome<S>, Error> {
    let mut losses = Vec::new();
    let mut sums: Option<Vec<S::Array>> = None;
    for block in blocks {
        let (block_losses, share) = block?;
        losses.extend(block_losses);
        match (&mut sums, share) {
            (Some(sums), Some(share)) => add_share(space, sums, &share),
            (sums, share) => *sums = share,
        }
    }
    Ok(Outcome { losses, gradient: sums.map(|sums| field.gradient(sums)) })
}

/// Adds one share of the gradient to a sum of others.
pub(crate) fn add_share<S: Space>(space: &S, sums: &mut [S::Array], share: &[S::Array]) {
    for (sum, term) in sums.iter_mut().zip(share) {
        space.accumulate(sum, 1.0, &[(1.0, term)]);
    }
}

/// Losses of a block's rows and, where asked for, its share of the gradient.
pub(crate) type BlockResult<S> = Result<(Vec<f64>, Option<Vec<<S as Space>::Array>>), Error>;

/// One block of rows on its way there and, for the gradient, back.
pub(crate) struct Block<'a, 'f, S: Space> {
    pub flow: &'a Flow<'f, S>,
    pub range: Range<usize>,
    pub start: &'a [f64],
    pub weight: f64,
    pub gradient: bool,
    pub ends: &'a Ends<'a>,
}

/// Losses of a block's rows and, where asked for, what came back: the cotangent of the start by way of everything but the start's own
/// term, and the share of the gradient.
type Solved<S> = (Vec<f64>, Option<(<S as Space>::Array, Vec<<S as Space>::Array>)>);

impl<S: Space> Block<'_, '_, S> {
    /// There and back.
    pub fn solve(self, field: &dyn Field<S>) -> Result<Solved<S>, Error> {
        let (flow, space, ends, rows) = (self.flow, self.flow.space, self.ends, self.range.len());
        let dim = flow.potential.dim();
        let numbers = self.range.start * dim..self.range.end * dim;
        let (mut chart, state) = field.enter(self.range, space.upload(rows, dim, self.start));
        let wanted = SolveOptions { tape: self.gradient.then_some(flow.memory), cost: ends.transport_cost != 0.0 };
        let passage = flow.integrator.flow(space, &mut *chart, state, flow.span(ends.direction), wanted)?;
        let x = chart.leave(passage.state.clone());
        let arrived = Arrived::fetch(space, &x, &passage.log_density, passage.cost.as_ref());
        let (losses, x_bar) = ends.meet(self.start, numbers, &arrived, self.weight);
        let Some(tape) = passage.tape else { return Ok((losses, None)) };
        let log_density_bar = ends.log_density_bar(self.weight);
        let state = chart.leave_pullback(&passage.state, space.upload(rows, dim, &x_bar));
        let bar = SolutionCotangent {
            state,
            log_density: space.upload_column(&vec![log_density_bar; rows]),
            cost: wanted.cost.then(|| space.upload_column(&vec![self.weight * ends.transport_cost; rows])),
        };
        let state_bar = adjoint(space, flow.integrator.tableau(), &mut *chart, tape, bar);
        Ok((losses, Some(chart.enter_pullback(state_bar))))
    }
}

/// A figure that is converged in the integration step, or says by how much it is not.
#[derive(Debug, Clone)]
pub struct Converged {
    /// Losses of all rows with the finest integrator.
    pub losses: Vec<f64>,
    /// Their mean and standard error.
    pub mean: Mean,
    /// Change of the mean from the second finest to the finest integrator.
    pub integration_error: f64,
    /// The finest integrator, in words.
    pub integrator: String,
    /// Times that the step was halved.
    pub refinements: u32,
}

impl Converged {
    /// Whether the change is below a tenth of the standard error.
    pub fn is_converged(&self) -> bool {
        self.integration_error.abs() <= 0.1 * self.mean.standard_error
    }
}

/// Evaluates an objective at ever finer integrators (half the step each time)
/// until the change of the mean is below a tenth of its standard error, or `max_refinements` halvings are made (at least one is).
///
/// `batches` gives batch number i, and is called again for every refinement; memory does not grow with the number of rows
/// but for one loss per row. `progress` is told after every batch (refinement, batch).
///
/// # Errors
/// Those of the objective and of `batches`; [`Error::NonFinite`] when a loss is not finite.
pub fn converged<S: Space>(
    flow: &Flow<'_, S>,
    objective: &dyn Objective<S>,
    count: u64,
    mut batches: impl FnMut(u64) -> Result<(Vec<f64>, RngKey), Error>,
    max_refinements: u32,
    mut progress: impl FnMut(u32, u64),
) -> Result<Converged, Error> {
    let mut at = |integrator: &dyn Integrator<S>, refinement: u32| -> Result<Vec<f64>, Error> {
        let mut losses = Vec::new();
        for i in 0..count {
            let (batch, key) = batches(i)?;
            losses.extend(objective.evaluate(&flow.with_integrator(integrator), &batch, key, false)?.losses);
            progress(refinement, i);
        }
        if losses.iter().all(|v| v.is_finite()) {
            Ok(losses)
        } else {
            Err(Error::NonFinite { what: "a loss", place: format!(" with {}", integrator.describe()) })
        }
    };
    let mut coarse = Mean::of(&at(flow.integrator, 0)?);
    let mut integrator = flow.integrator.refined();
    let mut refinements = 1;
    loop {
        let losses = at(&*integrator, refinements)?;
        let mean = Mean::of(&losses);
        let integration_error = (mean.mean - coarse.mean).abs();
        let out = Converged { losses, mean, integration_error, integrator: integrator.describe(), refinements };
        if out.is_converged() || refinements >= max_refinements {
            return Ok(out);
        }
        coarse = mean;
        integrator = integrator.refined();
        refinements += 1;
    }
}
