//! The figures of a trained flow, converged in the integration step.

use flow_core::{Converged, Mean, Space, Weights, converged};

use crate::error::Error;
use crate::integration::{self, Choice};
use crate::monitor::{Monitor, Task};
use crate::recipe::Recipe;
use crate::report::{Figures, Report};
use crate::target::{FigureRows, Known, Split, Target};
use crate::trained::Trained;

/// Takes the figures; with the losses that they are made of.
///
/// # Errors
/// More samples than there are, an integration that fails, or an end that the monitor asks for.
pub fn take<S: Space>(
    space: &S,
    recipe: &Recipe,
    target: &dyn Target,
    trained: &Trained<S>,
    monitor: &dyn Monitor,
) -> Result<(Report, Converged), Error> {
    let rows = FigureRows::evaluation(target, recipe.train.seed, recipe.evaluate.samples)?;
    let integrator = trained.integrator(recipe)?;
    let flow = trained.flow(space, recipe, &*integrator);
    let objective = target.objective::<S>()?;
    let batches = |i| if monitor.cancelled() { Err(Error::Cancelled.into()) } else { Ok(rows.batch(i)?) };
    let task = Task::start(monitor, "evaluating", rows.batches());
    let choice = Choice::make(&flow, &*objective, rows.batch(0)?, rows.rows(), recipe, trained)?;
    let coarser = choice.coarser(&*integrator);
    let (flow, most) = (flow.with_integrator(&*coarser), choice.most_from_coarser());
    let found = converged(&flow, &*objective, rows.batches(), batches, most, |refinement, batch| {
        task.update(
            batch + 1,
            &if refinement == 0 { String::new() } else { format!("with 1/{} of the step", 1_u64 << refinement) },
        );
    })?;
    drop(task);
    integration::keep(trained, recipe, found.level, monitor);
    let figures = match target.energy() {
        Some(_) => free_energy(&found, target, recipe),
        None => likelihood(&found, target, &rows)?,
    };
    Ok((report(recipe, target, trained, &found, figures), found))
}

/// The figures of an energy from the losses of samples of the flow.
pub(crate) fn of_energy<S: Space>(
    recipe: &Recipe,
    target: &dyn Target,
    trained: &Trained<S>,
    found: &Converged,
) -> Report {
    report(recipe, target, trained, found, free_energy(found, target, recipe))
}

fn report<S: Space>(
    recipe: &Recipe,
    target: &dyn Target,
    trained: &Trained<S>,
    found: &Converged,
    figures: Figures,
) -> Report {
    let sites = target.sites() as f64;
    let method = recipe.evaluate.method.unwrap_or(recipe.flow.method);
    Report {
        objective: target.kind(),
        checkpoint: trained.file.display().to_string(),
        samples: found.losses.len(),
        steps: (!method.is_adaptive()).then_some(found.level as usize),
        integrator: found.integrator.clone(),
        standard_error: found.mean.standard_error / sites,
        integration_error: found.integration_error / sites,
        converged: found.is_converged(),
        random_in_time: trained.potential.random_in_time(),
        laplacian_probes: recipe.potential.probes(),
        sites: target.sites(),
        figures,
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

fn free_energy(found: &Converged, target: &dyn Target, recipe: &Recipe) -> Figures {
    let sites = target.sites() as f64;
    let exact = target.known().map(Known::value);
    let weights = recipe.potential.probes().is_none().then(|| Weights::new(&found.losses));
    let log_z = weights.as_ref().map(Weights::log_z);
    Figures::FreeEnergy {
        free_energy_per_site: found.mean.mean / sites,
        exact_free_energy_per_site: exact.map(|exact| exact / sites),
        kl_nats: exact.map(|exact| found.mean.mean - exact),
        ess: weights.as_ref().map(Weights::ess),
        log_z_importance: log_z.map(|log_z| log_z.mean),
        log_z_importance_error: log_z.map(|log_z| log_z.standard_error),
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
