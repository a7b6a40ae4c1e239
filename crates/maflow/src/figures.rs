//! The figures of a trained flow, converged in the integration step.

use flow_core::{Batch, Converged, Mean, NegativeLogLikelihood, Pareto, Purpose, RngKey, Space, Team, Weights};

use crate::error::Error;
use crate::integration::{self, Choice};
use crate::monitor::{Monitor, Task};
use crate::recipe::Recipe;
use crate::report::{Figures, Forward, Report};
use crate::target::{FIGURE_ROWS, FigureRows, Known, Split, Target, reference_seed};
use crate::together::Shared;
use crate::trained::{Carrier, Learned, Trained};
use crate::transport::Transport;

/// What figures are taken of, and by which processes.
pub struct Request<'a, S: Space> {
    /// The backend.
    pub space: &'a S,
    /// The recipe of the run.
    pub recipe: &'a Recipe,
    /// Its target.
    pub target: &'a dyn Target,
    /// What it has learned.
    pub trained: &'a Trained<S>,
    /// The processes that share the rows. Every member has the same run, and each gets all figures.
    pub team: &'a dyn Team,
    /// Hears how far the work is, and may ask for an end.
    pub monitor: &'a dyn Monitor,
}

/// Takes the figures; with the losses that they are made of.
///
/// # Errors
/// More samples than there are, an integration that fails, or an end that the monitor asks for.
pub fn take<S: Space>(request: &Request<'_, S>) -> Result<(Report, Converged), Error> {
    let Request { space, recipe, target, trained, team, monitor } = *request;
    let rows = FigureRows::evaluation(target, recipe.train.seed, recipe.evaluate.samples)?;
    let objective = Shared { objective: target.objective::<S>()?, team };
    let batches = |i| if monitor.cancelled() { Err(Error::Cancelled.into()) } else { Ok(rows.batch(i)?) };
    let taken = Taken { recipe, target, rows: &rows, monitor };
    let learned = match &trained.learned {
        Learned::Flow(learned) => learned,
        Learned::Map(map) => {
            let (task, carrier) = (Task::start(monitor, "evaluating", rows.batches()), Carrier::Map(&**map, team));
            let found =
                carrier.converged(&objective, rows.batches(), batches, 0, |_, batch| task.update(batch + 1, ""))?;
            drop(task);
            let figures = taken.figures(&found, &carrier)?;
            return Ok((report(recipe, target, trained, &found, figures), found));
        }
    };
    let integrator = learned.integrator(&recipe.evaluate)?;
    let flow = learned.flow(space, &*integrator).by(team);
    let task = Task::start(monitor, "evaluating", rows.batches());
    let choice = Choice::make(&flow, &objective, rows.batch(0)?, rows.rows(), recipe, trained)?;
    let coarser = choice.coarser(&*integrator);
    let (flow, most) = (flow.with_integrator(&*coarser), choice.most_from_coarser());
    let found = Carrier::Flow(flow).converged(&objective, rows.batches(), batches, most, |refinement, batch| {
        let finer = if refinement == 0 { String::new() } else { format!("with 1/{} of the step", 1_u64 << refinement) };
        task.update(batch + 1, &finer);
    })?;
    drop(task);
    if team.rank() == 0 {
        integration::keep(trained, recipe, found.level, monitor);
    }
    let fine = Choice { level: found.level, ..choice };
    let (fine, coarse) = (integrator.at_level(fine.level), fine.coarser(&*integrator));
    let [coarse, fine] = [&coarse, &fine].map(|integrator| flow.with_integrator(&**integrator));
    let figures = taken.figures(&found, &Carrier::Flow(coarse))?;
    // Normalisation layers move points at no cost, so that no bound would hold.
    let transport = match recipe.flow().is_some_and(|flow| flow.normalisation.is_some()) {
        true => None,
        false => Transport::measure([&coarse, &fine], reference_seed(recipe.train.seed), monitor)?,
    };
    Ok((Report { transport, ..report(recipe, target, trained, &found, figures) }, found))
}

/// What figures are taken of.
struct Taken<'a> {
    recipe: &'a Recipe,
    target: &'a dyn Target,
    rows: &'a FigureRows<'a>,
    monitor: &'a dyn Monitor,
}

impl Taken<'_> {
    /// The figures of losses; samples of the target go through the carrier.
    fn figures<S: Space>(&self, found: &Converged, carrier: &Carrier<'_, S>) -> Result<Figures, Error> {
        let Self { recipe, target, rows, monitor } = *self;
        match target.energy() {
            Some(_) => Ok(free_energy(found, target, recipe, forward(carrier, recipe, target, rows.rows(), monitor)?)),
            None => likelihood(found, target, rows),
        }
    }
}

/// The most samples of a target that a flow is judged by.
const REFERENCE_ROWS: usize = 2000;

/// What samples of the target say of a flow, by the integrator's first refinement; `None` where there is no sampler of
/// it.
fn forward<S: Space>(
    carrier: &Carrier<'_, S>,
    recipe: &Recipe,
    target: &dyn Target,
    rows: usize,
    monitor: &dyn Monitor,
) -> Result<Option<Forward>, Error> {
    let (width, rows) = (target.row_width(), rows.min(REFERENCE_ROWS));
    let team = match carrier {
        Carrier::Flow(flow) => flow.team,
        Carrier::Map(_, team) => *team,
    };
    let Some(energy) = target.energy().filter(|_| recipe.probes().is_none()) else { return Ok(None) };
    let Some(points) = target.reference(recipe.train.seed, rows, team, monitor).transpose()? else { return Ok(None) };
    let blocks = points.chunks(FIGURE_ROWS * width).map(|rows| target.batch(rows.to_vec(), width));
    let blocks: Vec<Batch> = blocks.collect::<Result<_, _>>()?;
    let task = Task::start(monitor, "judging by samples of the target", blocks.len() as u64);
    let batch = |i: u64| match monitor.cancelled() {
        true => Err(Error::Cancelled.into()),
        false => {
            let key = RngKey::new(reference_seed(recipe.train.seed), Purpose::Evaluate, i);
            Ok((blocks[i as usize].clone(), key))
        }
    };
    let objective = Shared { objective: Box::new(NegativeLogLikelihood::default()), team };
    let found = carrier.converged(&objective, blocks.len() as u64, batch, 1, |_, batch| task.update(batch + 1, ""))?;
    let mut energies = Vec::with_capacity(rows);
    for block in &blocks {
        energies.extend(block.energies_and_gradients(&energy)?.0);
    }
    // ln p + energy, the flow's loss at the samples.
    let losses: Vec<f64> = energies.iter().zip(&found.losses).map(|(energy, loss)| energy - loss).collect();
    let log_z = target.known().map(|known| -known.value());
    Ok(Some(Forward::of(&losses, log_z, found.integration_error)))
}

impl Forward {
    /// From the flow's losses `ln p + energy` at samples of the target.
    fn of(losses: &[f64], log_z: Option<f64>, integration_error: f64) -> Self {
        let negative: Vec<f64> = losses.iter().map(|loss| -loss).collect();
        let (weights, inverse) = (Weights::new(losses), Weights::new(&negative));
        // Means of w = exp(−loss) and of 1/w, which is that of 1/Z.
        let (log_mean, log_mean_inverse) = (weights.log_z().mean, inverse.log_z().mean);
        let terms: Vec<f64> = match log_z {
            Some(log_z) => negative.iter().map(|negative| negative - log_z).collect(),
            None => losses.iter().map(|loss| log_mean_inverse - loss + (loss - log_mean_inverse).exp() - 1.0).collect(),
        };
        let kl = Mean::of(&terms);
        Self {
            forward_kl_nats: kl.mean,
            forward_kl_error: kl.standard_error,
            forward_kl_integration_error: integration_error,
            forward_ess: (-log_mean - log_mean_inverse).exp(),
            forward_samples: losses.len(),
        }
    }
}

/// The figures of an energy from the losses of samples of the flow.
pub(crate) fn of_energy<S: Space>(
    recipe: &Recipe,
    target: &dyn Target,
    trained: &Trained<S>,
    found: &Converged,
) -> Report {
    report(recipe, target, trained, found, free_energy(found, target, recipe, None))
}

fn report<S: Space>(
    recipe: &Recipe,
    target: &dyn Target,
    trained: &Trained<S>,
    found: &Converged,
    figures: Figures,
) -> Report {
    let sites = target.sites() as f64;
    let (steps, random_in_time) = match &trained.learned {
        Learned::Flow(flow) => {
            let method = recipe.evaluate.method.unwrap_or(flow.settings.method);
            ((!method.is_adaptive()).then_some(found.level as usize), flow.potential.random_in_time())
        }
        Learned::Map(_) => (None, false),
    };
    Report {
        objective: target.kind(),
        checkpoint: trained.file.display().to_string(),
        samples: found.losses.len(),
        steps,
        integrator: found.integrator.clone(),
        standard_error: found.mean.standard_error / sites,
        integration_error: found.integration_error / sites,
        converged: found.is_converged(),
        random_in_time,
        closed_form: matches!(trained.learned, Learned::Map(_)),
        laplacian_probes: recipe.probes(),
        sites: target.sites(),
        figures,
        transport: None,
    }
}

fn likelihood(found: &Converged, target: &dyn Target, rows: &FigureRows<'_>) -> Result<Figures, Error> {
    let bits = bits_per_dim(&found.losses, rows, target)?;
    let entropy = target.known().map(Known::value);
    let [gaussian, independent] = match target.table() {
        Some(table) => table.yardsticks(Split::Test, rows.rows())?,
        None => [None; 2],
    };
    Ok(Figures::Nll {
        nll_nats: found.mean.mean,
        bits_per_dim: bits.map(|bits| bits.mean),
        bits_per_dim_error: bits.map(|bits| bits.standard_error),
        gaussian_nll_nats: gaussian,
        independent_nll_nats: independent,
        entropy_nats: entropy,
        kl_nats: entropy.map(|entropy| found.mean.mean - entropy),
    })
}

fn free_energy(found: &Converged, target: &dyn Target, recipe: &Recipe, forward: Option<Forward>) -> Figures {
    let sites = target.sites() as f64;
    let exact = target.known().map(Known::value);
    let weights = recipe.probes().is_none().then(|| Weights::new(&found.losses));
    let log_z = weights.as_ref().map(Weights::log_z);
    let pareto = weights.as_ref().and_then(Weights::pareto);
    let reliable = pareto.as_ref().is_some_and(Pareto::is_reliable);
    Figures::FreeEnergy {
        free_energy_per_site: found.mean.mean / sites,
        exact_free_energy_per_site: exact.map(|exact| exact / sites),
        kl_nats: exact.map(|exact| found.mean.mean - exact),
        ess: weights.as_ref().map(Weights::ess),
        log_z_importance: log_z.map(|log_z| log_z.mean),
        log_z_importance_error: log_z.filter(|_| reliable).map(|log_z| log_z.standard_error),
        log_z_psis: pareto.as_ref().map(|pareto| pareto.smoothed.log_z().mean),
        pareto_k: pareto.map(|pareto| pareto.shape).filter(|shape| shape.is_finite()),
        forward,
    }
}

/// Mean over rows of the bits per number that each takes, with its own Jacobian, where bits mean something.
fn bits_per_dim(losses: &[f64], rows: &FigureRows<'_>, target: &dyn Target) -> Result<Option<Mean>, Error> {
    let (mut bits, mut weights) = (Vec::with_capacity(losses.len()), Vec::new());
    for i in 0..rows.batches() {
        let (batch, _) = rows.batch(i)?;
        let losses = &losses[bits.len()..bits.len() + batch.rows.len()];
        let Some(found) = target.bits_per_dim(&batch.x, losses) else { return Ok(None) };
        bits.extend(found);
        weights.extend(batch.weights);
    }
    Ok(Some(Mean::weighted(&bits, &weights)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ln of the density of a unit Gaussian about a place.
    fn normal(x: f64, place: f64) -> f64 {
        flow_core::standard_normal_log_density(&[x - place])
    }

    /// Losses of a flow that is a Gaussian about 5 of width 1.1, at points; the target is two unit Gaussians at ±5 with
    /// ln Z = 3.
    fn losses(points: &[f64]) -> Vec<f64> {
        let energy = |x: f64| -(0.5 * (normal(x, 5.0).exp() + normal(x, -5.0).exp())).ln() - 3.0;
        let flow = |x: f64| normal(5.0 + (x - 5.0) / 1.1, 5.0) - 1.1f64.ln();
        points.iter().map(|x| flow(*x) + energy(*x)).collect()
    }

    #[test]
    fn a_mode_that_the_flow_never_visits_is_seen_by_samples_of_the_target_alone() {
        let z = RngKey::new(1, Purpose::Sample, 0).normals(0..2000, 1);
        let own: Vec<f64> = z.iter().map(|z| 5.0 + 1.1 * z).collect();
        let weights = Weights::new(&losses(&own));
        // Its own weights are nearly equal, and ln Z is too low by ln 2 with a small error.
        let log_z = weights.log_z();
        assert!(weights.ess() > 0.95 && weights.pareto().unwrap().is_reliable());
        assert!((log_z.mean - (3.0 - 2f64.ln())).abs() < 0.02 && log_z.standard_error < 0.01, "{log_z:?}");
        let samples: Vec<f64> = z.iter().enumerate().map(|(i, z)| z + if i % 2 == 0 { 5.0 } else { -5.0 }).collect();
        let exact = Forward::of(&losses(&samples), Some(3.0), 0.0);
        // Half of the samples lie ten widths away: ½(10/1.1)²/2 and what the widths differ by.
        assert!((exact.forward_kl_nats - 20.0).abs() < 2.0 && exact.forward_ess < 1e-6, "{exact:?}");
        let unknown = Forward::of(&losses(&samples), None, 0.0);
        assert!((unknown.forward_kl_nats - exact.forward_kl_nats).abs() < 0.1, "{unknown:?}");
    }

    #[test]
    fn samples_of_a_good_flow_find_the_divergence_and_the_ess() {
        // N(0, 1) as a flow and N(0, 0.8²) as its target: KL = ln 1.25 + 0.32 − 0.5.
        let key = RngKey::new(2, Purpose::Sample, 0);
        let points: Vec<f64> = key.normals(0..100_000, 1).iter().map(|z| 0.8 * z).collect();
        let losses: Vec<f64> = points.iter().map(|x| normal(*x, 0.0) + 0.5 * (x / 0.8).powi(2)).collect();
        let log_z = (0.8 * (2.0 * std::f64::consts::PI).sqrt()).ln();
        let kl = 1.25f64.ln() + 0.32 - 0.5;
        // 1/∫ q²/p, a Gaussian integral.
        let ess = 0.8 * 0.8 * (2.0 / 0.64 - 1.0_f64).sqrt();
        for log_z in [Some(log_z), None] {
            let found = Forward::of(&losses, log_z, 0.0);
            assert!((found.forward_kl_nats - kl).abs() < 4.0 * found.forward_kl_error, "{found:?}, exact {kl}");
            assert!(found.forward_kl_error < 0.002 && (found.forward_ess - ess).abs() < 0.01, "{found:?}, {ess}");
        }
    }
}
