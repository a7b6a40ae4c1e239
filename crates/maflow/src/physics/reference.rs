//! Points that a target has drawn itself, to compare the flow with.

use datasets::chains::CHAINS;
use flow_core::{Batch, Flow, Purpose, RngKey, Space, Team, Weights};

use super::report::{Compared, Particles};
use super::samples::Samples;
use super::subject::Subject;
use crate::error::Error;
use crate::monitor::Monitor;
use crate::target::{CLUSTER_ENERGY, Layout, Measured, Target, reference_seed};

/// The most points of a chain.
const LONGEST: usize = 128;

/// Points of a target that is no lattice, chain by chain.
pub struct Reference {
    points: Vec<f64>,
    /// What was measured of them.
    pub chains: Vec<Measured>,
    /// `ln p + E` of each.
    pub losses: Vec<f64>,
}

impl Reference {
    /// Draws them, about as many as there are samples of the flow, but not more than thousands; `None` of a lattice
    /// model, which has chains of its own, and where there is no sampler.
    ///
    /// # Errors
    /// Those of the sampler, the energy or the integration, or an end that the monitor asks for.
    pub fn of<S: Space>(
        subject: &Subject<'_>,
        flow: &Flow<'_, S>,
        target: &dyn Target,
        (seed, samples): (u64, usize),
        team: &dyn Team,
        monitor: &dyn Monitor,
    ) -> Result<Option<Self>, Error> {
        let length = samples.div_ceil(CHAINS).min(LONGEST);
        let drawn = if subject.model.is_some() { None } else { target.reference(seed, length * CHAINS, team, monitor) };
        let Some(points) = drawn.transpose()? else { return Ok(None) };
        let key = RngKey::new(reference_seed(seed), Purpose::Evaluate, u64::MAX);
        let energies = subject.energies(flow, &points)?.0;
        let ln_p = flow.log_density_of(&Batch::new(points.clone(), subject.dim())?, key)?;
        let losses = ln_p.iter().zip(&energies).map(|(ln_p, energy)| ln_p + energy).collect();
        let measured = subject.measure(flow, &points, Some(&energies), key)?;
        let chain = |c: usize| measured.pick(&(c * length..(c + 1) * length).collect::<Vec<_>>());
        Ok(Some(Self { points, chains: (0..CHAINS).map(chain).collect(), losses }))
    }
}

/// What a picture shows of particles: `None` of any other target.
pub fn particles<S: Space>(
    target: &dyn Target,
    drawn: &Samples<S>,
    reference: Option<&Reference>,
) -> Option<Particles> {
    let Layout::Particles(n, d) = target.layout() else { return None };
    let named = target.named_observables().and_then(|of| of.names().iter().position(|name| name == CLUSTER_ENERGY));
    // Without the noise of the centre, where the target knows how.
    let energies = |of: &Measured| named.map_or(&of.energy, |place| &of.named[place]).clone();
    let weights = Weights::new(&drawn.found.losses);
    let weights = weights.relative();
    let user = |points: &[f64]| {
        let (mut x, mut rows) = (points.to_vec(), vec![0.0; points.len() / (n * d)]);
        if let Some(map) = target.bijection() {
            map.inverse(&mut x, &[], &mut rows);
        }
        x
    };
    let (pairs, rows) = (n * (n - 1) / 2, drawn.points.len() / (n * d));
    let own = reference.map_or(&[][..], |own| &own.points);
    // Points of every chain, not of the first ones alone.
    let apart = (own.len() / (n * d)).div_ceil(rows.max(1)).max(1);
    let spread: Vec<f64> = own.chunks_exact(n * d).step_by(apart).flatten().copied().collect();
    Some(Particles {
        energies: Compared {
            flow: energies(&drawn.measured),
            weights: weights.to_vec(),
            reference: reference.map(|own| own.chains.iter().flat_map(energies).collect()).unwrap_or_default(),
        },
        distances: Compared {
            flow: distances(&user(&drawn.points), n, d),
            weights: weights[..rows].iter().flat_map(|w| std::iter::repeat_n(*w, pairs)).collect(),
            reference: distances(&user(&spread), n, d),
        },
    })
}

/// The distances of all pairs of n particles in d dimensions, configuration by configuration.
fn distances(x: &[f64], n: usize, d: usize) -> Vec<f64> {
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let of_one = |x: &[f64]| {
        let particle = |i: usize| &x[i * d..(i + 1) * d];
        (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).map(|(i, j)| distance(particle(i), particle(j))).collect()
    };
    x.chunks_exact(n * d).flat_map(|x| -> Vec<f64> { of_one(x) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_all_pairs() {
        // A right triangle, and three points on a line.
        let x = [0.0, 0.0, 3.0, 0.0, 0.0, 4.0, 1.0, 1.0, 2.0, 1.0, 4.0, 1.0];
        assert_eq!(distances(&x, 3, 2), [3.0, 4.0, 5.0, 1.0, 3.0, 2.0]);
    }
}
