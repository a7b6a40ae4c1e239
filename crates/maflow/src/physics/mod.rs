//! The flow's use in physics: importance weights, observables, and Markov chains made of the flow.

mod bennett;
mod chains;
mod reference;
pub mod report;
mod samples;
mod subject;
mod weighted;

use flow_core::{Batch, FreeEnergy, Space};

use crate::error::Error;
use crate::figures::{self, Request};
use crate::integration::Choice;
use crate::recipe::{Potential, Recipe};
use crate::report::Report;
use crate::target::{Observable, Target};
use crate::together::Shared;
use chains::{ChainRun, Coordinates, Hybrid};
use reference::Reference;
use report::{Annealed, Figure, PhysicsReport, Row};
use subject::Subject;
pub use weighted::{Weighted, weigh};

/// How much is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleCounts {
    /// Samples of the flow.
    pub samples: usize,
    /// States of each chain of the hybrid Monte Carlo; 0: none.
    pub chain: usize,
    /// Leapfrog steps of a trajectory.
    pub leapfrog: usize,
    /// Samples of the flow at most that forces are compared at; usually [`FORCES`].
    pub forces: usize,
}

/// Samples that the force mismatch is averaged over, where nothing else is said.
pub const FORCES: usize = 1000;

/// Sites in all configurations of cluster Monte Carlo.
const CLUSTER_SITES: usize = 1 << 22;

/// Importance weights cannot be made of a ln p that is an estimate.
///
/// # Errors
/// A potential whose Laplacian is estimated.
fn require_exact_laplacian(recipe: &Recipe) -> Result<(), Error> {
    let Some(Potential::Sum(sum)) = recipe.potential() else { return Ok(()) };
    match sum.terms.iter().position(|term| term.kind.probes().is_some()) {
        Some(term) => Err(Error::EstimatedLaplacian { term }),
        None => Ok(()),
    }
}

/// A study is one of a density, and a conditional one has many.
///
/// # Errors
/// A target with a context.
fn require_no_context(target: &dyn Target) -> Result<(), Error> {
    match target.context_dim() {
        0 => Ok(()),
        _ => Err(Error::Argument(
            "the density is conditional, and importance weights are of one context; of a range of temperatures choose \
             one by target.temperature"
                .to_owned(),
        )),
    }
}

/// What the flow of a target with an energy says of that target, and how good it is as a sampler. Of a lattice model
/// that is its observables, of any other target its energy and those that it names. The members of a team, who have the
/// same run, share samples and chains, and each has all figures.
///
/// # Errors
/// A target without an energy, a potential whose ln p is an estimate, which importance weights cannot be made
/// of, or an integration that fails.
pub fn study<S: Space>(request: &Request<'_, S>, counts: SampleCounts) -> Result<PhysicsReport, Error> {
    let Request { space, recipe, target, trained, team, monitor } = *request;
    require_exact_laplacian(recipe)?;
    require_no_context(target)?;
    let subject = Subject::of(target).ok_or_else(|| Error::NoEnergy(recipe.target.words()))?;
    let n = subject.dim();
    let seed = recipe.train.seed;
    let learned = trained.flow_for("a study of physics")?;
    let integrator = learned.integrator(&recipe.evaluate)?;
    let flow = learned.flow(space, &*integrator).by(team);
    let objective = Shared { objective: Box::new(FreeEnergy::new(subject.energy.clone())), team };
    let (base, key) = samples::base(seed, 0, counts.samples, n);
    let pilot = (Batch::new(base, n)?, key);
    let choice = Choice::make(&flow, &objective, pilot, counts.samples, recipe, trained)?;
    let coarser = choice.coarser(&*integrator);
    let flow = flow.with_integrator(&*coarser);
    let drawn = samples::draw(&flow, &subject, seed, counts, choice.most_from_coarser(), monitor)?;
    let flow = flow.with_integrator(&*drawn.integrator);
    let metropolis = chains::independence(&drawn.found.losses, &drawn.measured, seed);
    let SampleCounts { chain: length, leapfrog, .. } = counts;
    let hybrid = |coordinates| match length {
        0 => Ok(None),
        _ => chains::hybrid(&flow, &subject, Hybrid { coordinates, seed, length, leapfrog }, monitor).map(Some),
    };
    let latent = hybrid(Coordinates::Latent)?;
    let plain = hybrid(Coordinates::Plain)?;
    // At least 2¹⁰ configurations and at most 2¹⁴.
    let configurations = (CLUSTER_SITES / n).clamp(1 << 10, 1 << 14);
    let clusters = subject.model.map(|model| model.clusters(seed, configurations, team, monitor)).transpose()?;
    let reference = Reference::of(&subject, &flow, target, (seed, counts.samples), team, monitor)?;
    let annealed = target.annealed(seed, team, monitor).transpose()?;
    let row = |(i, observable): (usize, Observable)| {
        let of = |walked: &Option<ChainRun>| {
            walked.as_ref().map(|walked| Figure::plain(observable.of_chains(&walked.chains)))
        };
        Row {
            flow: drawn.flow[i],
            weighted: drawn.weighted[i],
            exact: subject.model.and_then(|model| model.exact(&observable)),
            clusters: clusters.map(|clusters| Figure::plain(clusters[i])),
            reference: reference.as_ref().map(|own| Figure::plain(observable.of_chains(&own.chains))),
            metropolis: of(&metropolis),
            latent_hybrid: of(&latent),
            plain_hybrid: of(&plain),
            observable,
        }
    };
    let report = figures::of_energy(recipe, target, trained, &drawn.found);
    Ok(PhysicsReport {
        report: Report { converged: drawn.converged, ..report },
        target: subject.model.map_or("energy", |model| model.name()),
        log_z_integration_error: drawn.log_z_integration_error,
        annealing: annealed.as_deref().map(Annealed::of),
        log_z_bar: reference.as_ref().map(|own| Figure::plain(bennett::log_z(&drawn.found.losses, &own.losses))),
        force_mismatch_per_site: drawn.force,
        observables: subject.observables().into_iter().enumerate().map(row).collect(),
        metropolis: metropolis.map(|walked| walked.sampler),
        latent_hybrid: latent.map(|walked| walked.sampler),
        plain_hybrid: plain.map(|walked| walked.sampler),
        particles: reference::particles(target, &drawn, reference.as_ref()),
    })
}
