//! Samples of the flow with their weights, at ever finer steps until the figures stand still.

use flow_core::{Converged, Direction, Flow, Integrator, Mean, Purpose, RngKey, Space, Weights};

use super::SampleCounts;
use super::report::Figure;
use super::subject::Subject;
use crate::error::Error;
use crate::monitor::{Monitor, Task};
use crate::sampling;
use crate::target::Measured;

/// Samples at the finest step that was needed.
pub struct Samples<S: Space> {
    /// `ln p + E` of every sample, with the mean's change from the next coarser step.
    pub found: Converged,
    /// What was measured of it.
    pub measured: Measured,
    /// The first of the samples, in the flow's coordinates.
    pub points: Vec<f64>,
    /// The finest integrator.
    pub integrator: Box<dyn Integrator<S>>,
    /// Whether no figure changed by more than a tenth of its standard error at the last halving of the step.
    pub converged: bool,
    /// Change of `ln Z` by importance from the next coarser step.
    pub log_z_integration_error: f64,
    /// Averages over the flow, in the order of [`Subject::observables`].
    pub flow: Vec<Figure>,
    /// The same under the weights.
    pub weighted: Vec<Figure>,
    /// `‖∇ ln p + ∇E‖²` per site.
    pub force: Figure,
}

/// Draws samples with steps of the flow's integrator and finer ones, halved at most `most_refinements` times.
///
/// # Errors
/// An integration that fails.
pub fn draw<S: Space>(
    flow: &Flow<'_, S>,
    of: &Subject<'_>,
    seed: u64,
    SampleCounts { samples: count, forces, .. }: SampleCounts,
    most_refinements: u32,
    monitor: &dyn Monitor,
) -> Result<Samples<S>, Error> {
    let mut coarse = at(flow, of, seed, count, 0, monitor)?;
    let mut integrators = vec![flow.integrator.refined()];
    let mut fine = at(&flow.with_integrator(&*integrators[0]), of, seed, count, 1, monitor)?;
    while !fine.near(&coarse) && (integrators.len() as u32) < most_refinements {
        let integrator = integrators[integrators.len() - 1].refined();
        coarse = fine;
        fine = at(&flow.with_integrator(&*integrator), of, seed, count, integrators.len() as u32 + 1, monitor)?;
        integrators.push(integrator);
    }
    let integrator = integrators.pop().expect("one refinement was made at least");
    let before = integrators.last().map_or(flow.integrator, |integrator| &**integrator);
    let (converged, mean) = (fine.near(&coarse), Mean::of(&fine.losses));
    let figure = |fine: Mean, coarse: Mean| Figure::new(fine, (fine.mean - coarse.mean).abs());
    let figures = |fine: Vec<Mean>, coarse: Vec<Mean>| {
        fine.into_iter().zip(coarse).map(|(fine, coarse)| figure(fine, coarse)).collect()
    };
    let [fine_force, coarse_force] =
        [&*integrator, before].map(|with| force(&flow.with_integrator(with), of, seed, count.min(forces)));
    Ok(Samples {
        log_z_integration_error: (fine.log_z.mean - coarse.log_z.mean).abs(),
        flow: figures(fine.flow, coarse.flow),
        weighted: figures(fine.weighted, coarse.weighted),
        force: figure(fine_force?, coarse_force?),
        found: Converged {
            mean,
            integration_error: (mean.mean - Mean::of(&coarse.losses).mean).abs(),
            losses: fine.losses,
            integrator: integrator.describe(),
            level: integrator.level(),
        },
        measured: fine.measured,
        points: fine.points,
        integrator,
        converged,
    })
}

/// Samples at one step size.
struct SamplesAtStep {
    losses: Vec<f64>,
    measured: Measured,
    points: Vec<f64>,
    log_z: Mean,
    flow: Vec<Mean>,
    weighted: Vec<Mean>,
}

impl SamplesAtStep {
    fn figures(&self) -> impl Iterator<Item = Mean> {
        [Mean::of(&self.losses), self.log_z].into_iter().chain(self.flow.iter().chain(&self.weighted).copied())
    }

    /// Whether no figure differs from that of a coarser step by more than a tenth of its standard error.
    fn near(&self, coarse: &Self) -> bool {
        self.figures().zip(coarse.figures()).all(|(a, b)| (a.mean - b.mean).abs() <= 0.1 * a.standard_error)
    }
}

fn at<S: Space>(
    flow: &Flow<'_, S>,
    of: &Subject<'_>,
    seed: u64,
    count: usize,
    refinement: u32,
    monitor: &dyn Monitor,
) -> Result<SamplesAtStep, Error> {
    let batches = sampling::batches(count);
    let task = Task::start(monitor, "drawing samples", batches);
    let message = if refinement == 0 { String::new() } else { format!("with 1/{} of the step", 1_u64 << refinement) };
    let (n, mut losses, mut measured) = (of.dim(), Vec::with_capacity(count), Measured::default());
    let mut points = Vec::new();
    for i in 0..batches {
        if monitor.cancelled() {
            return Err(Error::Cancelled);
        }
        let (base, key) = base(seed, i, count, n);
        let end = flow.transport(&base, flow.span(Direction::Forward), key)?;
        let (of_batch, energies) = of.losses(flow, &base, &end)?;
        losses.extend(of_batch);
        measured.extend(of.measure(flow, &end.x, Some(&energies), RngKey::new(seed, Purpose::Spins, i))?);
        if i == 0 {
            points = end.x;
        }
        task.update(i + 1, &message);
    }
    let (weights, equal) = (Weights::new(&losses), Weights::equal(losses.len()));
    let figures = |weights: &Weights| -> Vec<Mean> {
        of.observables().into_iter().map(|observable| observable.weighted(weights, &measured)).collect()
    };
    let (flow, weighted) = (figures(&equal), figures(&weights));
    Ok(SamplesAtStep { log_z: weights.log_z(), flow, weighted, losses, measured, points })
}

/// Batch `i` of the base density: the same rows that `maflow evaluate` takes.
pub fn base(seed: u64, i: u64, count: usize, dim: usize) -> (Vec<f64>, RngKey) {
    sampling::base(seed, Purpose::Evaluate, i, count, dim)
}

/// `‖∇ ln p + ∇E‖²` per site at the first samples.
fn force<S: Space>(flow: &Flow<'_, S>, of: &Subject<'_>, seed: u64, count: usize) -> Result<Mean, Error> {
    let n = of.dim();
    let sites = if of.model.is_some() { n } else { 1 };
    let (base, key) = base(seed, 0, count, n);
    let scored = flow.scored_samples(&base, key)?;
    let (_, gradients) = of.energies(flow, &scored.x)?;
    let rows = gradients.chunks_exact(n).zip(scored.score.chunks_exact(n));
    let square = |(gradient, score): (&[f64], &[f64])| {
        score.iter().zip(gradient).map(|(s, g)| (s + g).powi(2)).sum::<f64>() / sites as f64
    };
    Ok(Mean::of(&rows.map(square).collect::<Vec<_>>()))
}
