//! The flow's use in physics: importance weights, observables, and Markov chains made of the flow.

pub mod chains;
pub mod model;
pub mod report;
pub mod samples;

use flow_core::Space;

use crate::config::Config;
use crate::error::CliError;
use crate::model::Trained;
use chains::{Coordinates, Walked};
use model::{LatticeModel, Observable};
use report::{Figure, PhysicsReport, Row};

/// How much is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    /// Samples of the flow.
    pub samples: usize,
    /// States of each chain of the hybrid Monte Carlo; 0: none.
    pub chain: usize,
    /// Leapfrog steps of a trajectory.
    pub leapfrog: usize,
}

/// Everything that `maflow physics` prints.
///
/// # Errors
/// A target that is no lattice model, or an integration that fails.
pub fn study<S: Space>(
    space: &S,
    config: &Config,
    model: &LatticeModel,
    trained: &Trained<S>,
    amounts: Amounts,
) -> Result<PhysicsReport, CliError> {
    let seed = config.train.seed;
    let integrator = trained.integrator(config)?;
    let flow = trained.flow(space, config, &*integrator);
    // A field that is random in time has no limit of small steps: one halving shows by how much figures vary.
    let refinements = if trained.potential.random_in_time() { 1 } else { config.evaluate.refinements };
    let drawn = samples::draw(&flow, model, seed, amounts.samples, refinements as u32)?;
    let flow = flow.with_integrator(&*drawn.integrator);
    let metropolis = chains::independence(&drawn.losses, &drawn.measured, seed);
    let hybrid = |coordinates| match amounts.chain {
        0 => Ok(None),
        length => chains::hybrid(&flow, model, coordinates, seed, length, amounts.leapfrog).map(Some),
    };
    let latent = hybrid(Coordinates::Latent)?;
    let plain = hybrid(Coordinates::Plain)?;
    let (clusters, _) = model.clusters(seed)?;
    let row = |(i, observable): (usize, Observable)| {
        let of =
            |walked: &Option<Walked>| walked.as_ref().map(|walked| Figure::plain(observable.of_chains(&walked.chains)));
        Row {
            observable,
            flow: drawn.flow[i],
            weighted: drawn.weighted[i],
            exact: model.exact(observable),
            clusters: Figure::plain(clusters[i]),
            metropolis: of(&metropolis),
            latent_hybrid: of(&latent),
            plain_hybrid: of(&plain),
        }
    };
    Ok(PhysicsReport {
        target: model.name(),
        sites: model.sites(),
        samples: amounts.samples,
        integrator: drawn.integrator.describe(),
        adaptive: config.evaluate.method.is_some_and(|method| method.is_adaptive()),
        converged: drawn.converged,
        log_z: drawn.log_z,
        log_z_exact: model.exact_log_z(),
        ess: drawn.ess,
        force_mismatch_per_site: drawn.force,
        observables: model.observables().into_iter().enumerate().map(row).collect(),
        metropolis: metropolis.map(|walked| walked.sampler),
        latent_hybrid: latent.map(|walked| walked.sampler),
        plain_hybrid: plain.map(|walked| walked.sampler),
    })
}
