//! Markov chains made of the flow, and plain hybrid Monte Carlo to compare them with.

use datasets::lattice::AutocorrelationTime;
use flow_core::{Batch, Direction, Energies, Flow, Hmc, IndependenceMetropolis, Purpose, RngKey, Space};

use super::report::{Sampler, Time};
use super::subject::Subject;
use crate::error::Error;
use crate::monitor::{Monitor, Task};
use crate::target::Measured;

/// Chains of a hybrid Monte Carlo.
const CHAINS: usize = 32;
/// Fewest samples of a chain of the independence Metropolis algorithm, and the most chains.
const WALK: (usize, usize) = (250, 32);
/// Mean acceptance that step sizes are tuned to.
const ACCEPTANCE: f64 = 0.8;
/// Step size that the tuning begins with.
const FIRST_STEP: f64 = 0.2;

/// Chains as they were measured, and what is told of them.
pub struct ChainRun {
    /// The measured part of every chain.
    pub chains: Vec<Measured>,
    /// Figures.
    pub sampler: Sampler,
}

fn chain_run(chains: Vec<Measured>, acceptance: f64, hybrid: Option<(f64, usize)>) -> ChainRun {
    let time = |of: fn(&Measured) -> &[f64]| {
        let series: Vec<&[f64]> = chains.iter().map(of).collect();
        let found = AutocorrelationTime::from_chains(&series);
        Time::new(found.tau, found.standard_error, series[0].len())
    };
    let magnetic = !chains[0].magnetisation.is_empty();
    let sampler = Sampler {
        chains: chains.len(),
        length: chains[0].energy.len(),
        acceptance,
        step_size: hybrid.map(|(step, _)| step),
        leapfrog_steps: hybrid.map(|(_, steps)| steps),
        autocorrelation_energy: time(|m| &m.energy),
        autocorrelation_magnetisation: magnetic.then(|| time(|m| &m.magnetisation)),
    };
    ChainRun { chains, sampler }
}

/// Independence Metropolis over samples that were drawn already; the first tenth of every chain is left out.
/// `None` where they are too few for a chain.
pub fn independence(losses: &[f64], measured: &Measured, seed: u64) -> Option<ChainRun> {
    let chains = (losses.len() / WALK.0).min(WALK.1);
    if chains == 0 {
        return None;
    }
    let walk = IndependenceMetropolis::walk(losses, chains, RngKey::new(seed, Purpose::Chain, u64::MAX));
    let of_chain = |chain: &Vec<usize>| measured.pick(&chain[chain.len() / 10..]);
    Some(chain_run(walk.chains.iter().map(of_chain).collect(), walk.acceptance, None))
}

/// Where a hybrid Monte Carlo walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinates {
    /// The base density's, on the energy `E(x(z)) − ln |dx/dz|`.
    Latent,
    /// The target's own.
    Plain,
}

/// How a hybrid Monte Carlo walks.
#[derive(Debug, Clone, Copy)]
pub struct Hybrid {
    /// Where.
    pub coordinates: Coordinates,
    /// Of all that it draws.
    pub seed: u64,
    /// States of each chain.
    pub length: usize,
    /// Leapfrog steps of a trajectory.
    pub leapfrog: usize,
}

/// Hybrid Monte Carlo of 32 chains from samples of the flow; a quarter of `length` more trajectories tune the step
/// size.
///
/// # Errors
/// An integration that fails.
pub fn hybrid<S: Space>(
    flow: &Flow<'_, S>,
    subject: &Subject<'_>,
    how: Hybrid,
    monitor: &dyn Monitor,
) -> Result<ChainRun, Error> {
    let Hybrid { coordinates, seed, length, leapfrog } = how;
    let (n, latent) = (subject.dim(), coordinates == Coordinates::Latent);
    let key = RngKey::new(seed, Purpose::Chain, u64::MAX - 1);
    let forward = |z: &[f64]| flow.transport_points(&Batch::new(z.to_vec(), n)?, flow.span(Direction::Forward), key);
    let base = key.normals(0..CHAINS, n);
    let start = if latent { base } else { forward(&base)? };
    let mut energies: Box<Energies<'_>> = if latent {
        Box::new(|z, first| flow.latent_energy(&*subject.energy, z, key.rows_from(first)))
    } else {
        Box::new(|x, _| subject.energies(flow, x))
    };
    let warm_up = (length / 4).max(20);
    let run = Hmc {
        dim: n,
        leapfrog,
        warm_up,
        length,
        acceptance: ACCEPTANCE,
        step: FIRST_STEP,
        seed,
        stream: u32::from(latent),
    };
    let name = if latent { "hybrid Monte Carlo in z" } else { "hybrid Monte Carlo in x" };
    let task = Task::start(monitor, name, (warm_up + length) as u64);
    let (mut chains, mut seen) = (vec![Measured::default(); CHAINS], 0);
    let mut visit = |points: &[f64]| -> Result<(), flow_core::Error> {
        let spins = RngKey::new(seed, Purpose::Spins, (1 + u64::from(latent)) << 32 | seen);
        let there = if latent { Some(forward(points)?) } else { None };
        let measured = subject.measure(flow, there.as_deref().unwrap_or(points), None, spins)?;
        seen += 1;
        chains.iter_mut().enumerate().for_each(|(i, chain)| chain.extend(measured.pick(&[i])));
        Ok(())
    };
    let mut progress = |done: usize| task.update(done as u64, if done <= warm_up { "tuning the step" } else { "" });
    let report = run.run(&mut *energies, start, &mut visit, &mut progress);
    drop(task);
    let report = report?;
    Ok(chain_run(chains, report.acceptance, Some((report.step, leapfrog))))
}
