//! The figures of a trained flow, converged in the integration step: what `evaluate` prints and a training ends with.

use datasets::mnist::LogitTransform;
use flow_core::{Converged, Mean, Space, converged};

use crate::config::Config;
use crate::error::CliError;
use crate::interrupt;
use crate::model::Trained;
use crate::problem::{Digits, FigureRows, Problem, SIDE};
use crate::progress::Task;
use crate::report::{Figures, Report};

/// Takes the figures.
///
/// # Errors
/// More samples than there are, an integration that fails, or an interrupt.
pub fn take<S: Space>(space: &S, config: &Config, problem: &Problem, trained: &Trained<S>) -> Result<Report, CliError> {
    let rows = FigureRows::evaluation(problem, config.train.seed, config.evaluate.samples)?;
    let integrator = trained.integrator(config)?;
    let flow = trained.flow(space, config, &*integrator);
    // The transport cost is a price of training, not part of any figure.
    let objective = problem.objective::<S>(0.0);
    let mut task = Task::start("evaluating", rows.batches());
    let batches = |i| if interrupt::requested() { Err(CliError::interrupted().into()) } else { Ok(rows.batch(i)) };
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
    Ok(report(config, problem, trained, &rows, found))
}

fn report<S: Space>(
    config: &Config,
    problem: &Problem,
    trained: &Trained<S>,
    rows: &FigureRows<'_>,
    found: Converged,
) -> Report {
    let sites = problem.sites();
    let method = config.evaluate.method.unwrap_or(config.flow.method);
    let first_steps = config.evaluate.steps.unwrap_or(trained.flow_steps);
    let figures = match problem {
        Problem::Energy { .. } => free_energy(&found, problem),
        Problem::Digits(digits) => Figures::Nll {
            nll_nats: found.mean.mean,
            bits_per_dim: Some(bits_per_dim(&found.losses, rows, digits)),
            entropy_nats: None,
            kl_nats: None,
        },
        Problem::Plane(density) => Figures::Nll {
            nll_nats: found.mean.mean,
            bits_per_dim: None,
            entropy_nats: Some(density.entropy()),
            kl_nats: Some(found.mean.mean - density.entropy()),
        },
    };
    Report {
        objective: problem.kind(),
        samples: found.losses.len(),
        steps: (!method.is_adaptive()).then(|| first_steps << found.refinements),
        integrator: found.integrator.clone(),
        standard_error: found.mean.standard_error / sites,
        integration_error: found.integration_error / sites,
        converged: found.is_converged(),
        random_in_time: trained.potential.random_in_time(),
        sites: sites as usize,
        figures,
    }
}

fn free_energy(found: &Converged, problem: &Problem) -> Figures {
    let sites = problem.sites();
    let weights = importance(&found.losses);
    Figures::FreeEnergy {
        free_energy_per_site: found.mean.mean / sites,
        exact_free_energy_per_site: problem.best().map(|exact| exact / sites),
        kl_nats: problem.best().map(|exact| found.mean.mean - exact),
        ess: weights.ess,
        log_z_importance: weights.log_z,
        log_z_importance_error: weights.log_z_error,
    }
}

/// What importance weights `w = e^{−loss}` say, where the loss is `ln p + E`: their mean is Z.
struct Importance {
    log_z: f64,
    log_z_error: f64,
    ess: f64,
}

fn importance(losses: &[f64]) -> Importance {
    // The smallest loss is taken out of all exponents, so that the largest weight is 1.
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let weights: Vec<f64> = losses.iter().map(|loss| (least - loss).exp()).collect();
    let Mean { mean, standard_error } = Mean::of(&weights);
    let squares = weights.iter().map(|w| w * w).sum::<f64>() / weights.len() as f64;
    Importance { log_z: mean.ln() - least, log_z_error: standard_error / mean, ess: mean * mean / squares }
}

/// Mean over pictures of the bits that each takes, with its own Jacobian.
fn bits_per_dim(losses: &[f64], rows: &FigureRows<'_>, digits: &Digits) -> f64 {
    let dimension = SIDE * SIDE;
    let mut losses_left = losses.iter();
    let mut sum = 0.0;
    for i in 0..rows.batches() {
        let (mut batch, _) = rows.batch(i);
        digits.standardisation().invert(&mut batch);
        for (x, loss) in batch.chunks_exact(dimension).zip(&mut losses_left) {
            sum += LogitTransform::bits_per_dim(*loss, digits.transform().log_jacobian(x), dimension);
        }
    }
    sum / losses.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn importance_weights_find_the_normalising_constant() {
        // Two equal weights and one of zero: Z is their mean, and two of three samples count.
        let losses = [1000.0, 1000.0, f64::INFINITY];
        let found = importance(&losses);
        assert!((found.log_z - ((2.0f64 / 3.0).ln() - 1000.0)).abs() < 1e-12);
        assert!((found.ess - 2.0 / 3.0).abs() < 1e-12);
        // Weights 1, 1, 0: standard deviation √(1/3), mean 2/3, three samples.
        assert!((found.log_z_error - (1.0f64 / 3.0).sqrt() / 3.0f64.sqrt() / (2.0 / 3.0)).abs() < 1e-12);
        let perfect = importance(&[-5.0; 10]);
        assert_eq!((perfect.ess, perfect.log_z, perfect.log_z_error), (1.0, 5.0, 0.0));
    }
}
