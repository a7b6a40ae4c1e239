//! The figures of a trained flow, converged in the integration step: what `evaluate` prints and a training ends with.

use datasets::mnist::LogitTransform;
use flow_core::{Converged, Mean, Space, Weights, converged};

use crate::config::Config;
use crate::error::CliError;
use crate::interrupt;
use crate::model::Trained;
use crate::problem::{Digits, FigureRows, Problem, SIDE};
use crate::progress::Task;
use crate::report::{Figures, Report};

/// Takes the figures; with the losses that they are made of.
///
/// # Errors
/// More samples than there are, an integration that fails, or an interrupt.
pub fn take<S: Space>(
    space: &S,
    config: &Config,
    problem: &Problem,
    trained: &Trained<S>,
) -> Result<(Report, Converged), CliError> {
    let rows = FigureRows::evaluation(problem, config.train.seed, config.evaluate.samples)?;
    let integrator = trained.integrator(config)?;
    let flow = trained.flow(space, config, &*integrator);
    let objective = problem.objective::<S>();
    let mut task = Task::start("evaluating", rows.batches());
    let batches = |i| if interrupt::requested() { Err(CliError::interrupted().into()) } else { rows.core_batch(i) };
    // A field that is random in time has no limit of small steps: one halving shows by how much figures vary.
    let random_in_time = trained.potential.random_in_time();
    let refinements = if random_in_time { 1 } else { config.evaluate.refinements };
    let found = converged(&flow, &*objective, rows.batches(), batches, refinements as u32, |refinement, batch| {
        task.update(
            batch + 1,
            &if refinement == 0 { String::new() } else { format!("with 1/{} of the step", 1_u64 << refinement) },
        );
    });
    task.finish();
    let found = found.map_err(|error| if interrupt::requested() { CliError::interrupted() } else { error.into() })?;
    Ok((report(config, problem, trained, &rows, &found), found))
}

fn report<S: Space>(
    config: &Config,
    problem: &Problem,
    trained: &Trained<S>,
    rows: &FigureRows<'_>,
    found: &Converged,
) -> Report {
    let sites = problem.sites();
    let method = config.evaluate.method.unwrap_or(config.flow.method);
    let first_steps = config.evaluate.steps.unwrap_or(trained.flow_steps);
    let figures = match problem {
        Problem::Energy { .. } => free_energy(found, problem, config.potential.probes().is_none()),
        Problem::Digits(digits) => {
            let bits = bits_per_dim(&found.losses, rows, digits);
            Figures::Nll {
                nll_nats: found.mean.mean,
                bits_per_dim: Some(bits.mean),
                bits_per_dim_error: Some(bits.standard_error),
                entropy_nats: None,
                kl_nats: None,
            }
        }
        Problem::Plane(density) => Figures::Nll {
            nll_nats: found.mean.mean,
            bits_per_dim: None,
            bits_per_dim_error: None,
            entropy_nats: Some(density.entropy()),
            kl_nats: Some(found.mean.mean - density.entropy()),
        },
    };
    Report {
        objective: problem.kind(),
        checkpoint: trained.file.display().to_string(),
        samples: found.losses.len(),
        steps: (!method.is_adaptive()).then(|| first_steps << found.refinements),
        integrator: found.integrator.clone(),
        standard_error: found.mean.standard_error / sites,
        integration_error: found.integration_error / sites,
        converged: found.is_converged(),
        random_in_time: trained.potential.random_in_time(),
        laplacian_probes: config.potential.probes(),
        sites: sites as usize,
        figures,
    }
}

fn free_energy(found: &Converged, problem: &Problem, exact_laplacian: bool) -> Figures {
    let sites = problem.sites();
    let weights = exact_laplacian.then(|| Weights::new(&found.losses));
    let log_z = weights.as_ref().map(Weights::log_z);
    Figures::FreeEnergy {
        free_energy_per_site: found.mean.mean / sites,
        exact_free_energy_per_site: problem.best().map(|exact| exact / sites),
        kl_nats: problem.best().map(|exact| found.mean.mean - exact),
        ess: weights.as_ref().map(Weights::ess),
        log_z_importance: log_z.map(|log_z| log_z.mean),
        log_z_importance_error: log_z.map(|log_z| log_z.standard_error),
    }
}

/// Mean over pictures of the bits per pixel that each takes, with its own Jacobian.
fn bits_per_dim(losses: &[f64], rows: &FigureRows<'_>, digits: &Digits) -> Mean {
    let dimension = SIDE * SIDE;
    let mut losses_left = losses.iter();
    let mut bits = Vec::with_capacity(losses.len());
    for i in 0..rows.batches() {
        let (mut batch, _) = rows.batch(i);
        digits.standardisation().invert(&mut batch);
        for (x, loss) in batch.chunks_exact(dimension).zip(&mut losses_left) {
            bits.push(LogitTransform::bits_per_dim(*loss, digits.transform().log_jacobian(x), dimension));
        }
    }
    Mean::of(&bits)
}
