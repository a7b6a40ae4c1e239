//! The flow's use in physics: importance weights, observables, and Markov chains made of the flow.

mod chains;
pub mod report;
mod samples;

use flow_core::{Batch, FreeEnergy, Space};

use crate::error::Error;
use crate::figures;
use crate::integration::Choice;
use crate::monitor::Monitor;
use crate::recipe::{Potential, Recipe};
use crate::report::Report;
use crate::target::{Observable, Target};
use crate::trained::Trained;
use chains::{Coordinates, Walked};
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

/// Sites in all configurations of cluster Monte Carlo.
const CLUSTER_SITES: usize = 1 << 22;

/// What the flow of a lattice model says of that model, and how good it is as a sampler.
///
/// # Errors
/// A target that is no lattice model, a potential whose ln p is an estimate, which importance weights cannot be made
/// of, or an integration that fails.
pub fn study<S: Space>(
    space: &S,
    recipe: &Recipe,
    target: &dyn Target,
    trained: &Trained<S>,
    amounts: Amounts,
    monitor: &dyn Monitor,
) -> Result<PhysicsReport, Error> {
    if let Potential::Sum(sum) = &recipe.potential
        && let Some(term) = sum.terms.iter().position(|term| term.kind.probes().is_some())
    {
        return Err(Error::EstimatedLaplacian { term });
    }
    let model = target.lattice_model().ok_or_else(|| Error::NoLatticeModel(recipe.target.words()))?;
    let energy = model.energy().ok_or(Error::NoLatticeModel("without an energy"))?;
    let of = (model, &*energy);
    let seed = recipe.train.seed;
    let integrator = trained.integrator(recipe)?;
    let flow = trained.flow(space, recipe, &*integrator);
    let objective = FreeEnergy::new(energy.clone());
    let (base, key) = samples::base(seed, 0, amounts.samples, model.sites());
    let pilot = (Batch::new(base, model.sites())?, key);
    let choice = Choice::make(&flow, &objective, pilot, amounts.samples, recipe, trained)?;
    let coarser = choice.coarser(&*integrator);
    let flow = flow.with_integrator(&*coarser);
    let drawn = samples::draw(&flow, of, seed, amounts.samples, choice.most_from_coarser(), monitor)?;
    let flow = flow.with_integrator(&*drawn.integrator);
    let metropolis = chains::independence(&drawn.found.losses, &drawn.measured, seed);
    let hybrid = |coordinates| match amounts.chain {
        0 => Ok(None),
        length => chains::hybrid(&flow, of, coordinates, seed, length, amounts.leapfrog, monitor).map(Some),
    };
    let latent = hybrid(Coordinates::Latent)?;
    let plain = hybrid(Coordinates::Plain)?;
    // At least 2¹⁰ configurations and at most 2¹⁴.
    let clusters = model.clusters(seed, (CLUSTER_SITES / model.sites()).clamp(1 << 10, 1 << 14), monitor)?;
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
    let report = figures::of_energy(recipe, target, trained, &drawn.found);
    Ok(PhysicsReport {
        report: Report { converged: drawn.converged, ..report },
        target: model.name(),
        log_z_integration_error: drawn.log_z_integration_error,
        force_mismatch_per_site: drawn.force,
        observables: model.observables().into_iter().enumerate().map(row).collect(),
        metropolis: metropolis.map(|walked| walked.sampler),
        latent_hybrid: latent.map(|walked| walked.sampler),
        plain_hybrid: plain.map(|walked| walked.sampler),
    })
}
