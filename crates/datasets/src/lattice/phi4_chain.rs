//! Monte Carlo of the φ⁴ theory: local steps for the sizes of the fields, clusters for their signs.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::whitened_phi4::gaussian_mass;
use super::wolff::{BONDS, chain_rng, neighbours};
use super::{Lattice, Phi4Target};

/// Rounds in which the step is tuned, and rounds that follow with the step that was found.
const THERMALISATION_ROUNDS: usize = 100;

/// Metropolis steps of a site in one sweep.
const HITS: usize = 2;

/// Sweeps of reflections in one round.
const REFLECTIONS: usize = 3;

/// Acceptance that the step is tuned to.
const ACCEPTANCE: f64 = 0.5;

/// Keeps these random numbers apart from those of every other sampler with the same seed.
const KEY: [u8; 8] = *b"phi4    ";

/// A Markov chain whose stationary law is the φ⁴ theory `exp(−S(φ))/Z` of a [`Phi4Target`].
///
/// One round has three parts, each of which leaves the law as it is:
///
/// - a sweep of Metropolis steps, two for each site in turn;
/// - three sweeps of overrelaxation (S. L. Adler, Phys. Rev. D 23, 2901 (1981)): each field is reflected about its mean
///   given its neighbours in the Gaussian of least free energy ([`WhitenedPhi4`](super::WhitenedPhi4)), which is
///   accepted by Metropolis' rule. Near the phase transition these make the chain ten times as fast;
/// - as many Wolff clusters of the embedded Ising model of the signs as have about one lattice in sum (R. C. Brower and
///   P. Tamayo, Phys. Rev. Lett. 62, 1087 (1989)): with all |φ| held fixed, a bond is open with probability `1 −
///   exp(−4κ φ_x φ_y)` where `κ φ_x φ_y > 0`, and all signs within a cluster change. Where two bonds join the same two
///   sites each has its own chance; a bond from a site to itself is a part of the site's mass.
///
/// A chain depends on its seed and its stream alone; chains of different streams are independent. Even streams start
/// from φ = 1 everywhere, odd ones from random signs, so that too short a thermalisation shows as a difference between
/// them.
///
/// ```
/// use datasets::lattice::{Boundary, Phi4Chain, Phi4Target};
///
/// let target = Phi4Target::new(8, 8, Boundary::Periodic, 0.25, 0.022)?;
/// let mut chain = Phi4Chain::new(&target, 1, 0);
/// assert_eq!(chain.field(), [1.0; 64]);
/// chain.thermalise();
/// chain.round();
/// assert!(chain.field().iter().all(|phi| phi.is_finite() && *phi != 1.0));
/// # Ok::<(), datasets::lattice::LatticeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Phi4Chain {
    /// The sites, then one that is always 0: the neighbour of an edge.
    field: Vec<f64>,
    /// The other ends of each site's bonds, those to itself left out.
    neighbours: Vec<[u32; BONDS]>,
    kappa: f64,
    lambda: f64,
    /// Coefficient of φ² in the action of one site: `1 − 2λ − 2κ` times its bonds to itself.
    mass: f64,
    /// The same coefficient in the Gaussian of least free energy.
    gaussian_mass: f64,
    /// Metropolis proposals are uniform within this distance to either side.
    step: f64,
    clusters_per_round: usize,
    rng: ChaCha8Rng,
    /// Sites of the cluster that grows.
    cluster: Vec<u32>,
    in_cluster: Vec<bool>,
}

impl Phi4Chain {
    /// A chain at its start.
    pub fn new(target: &Phi4Target, seed: u64, stream: u64) -> Self {
        let sites = target.sites();
        let mut rng = chain_rng(seed, KEY, stream);
        let mut field = vec![1.0; sites + 1];
        if stream % 2 == 1 {
            field.fill_with(|| if rng.random() { 1.0 } else { -1.0 });
        }
        field[sites] = 0.0;
        let (neighbours, self_bonds) = other_neighbours(target.lattice());
        Self {
            field,
            neighbours,
            kappa: target.kappa(),
            lambda: target.lambda(),
            mass: 1.0 - 2.0 * target.lambda() - 2.0 * target.kappa() * self_bonds as f64,
            gaussian_mass: gaussian_mass(target) - 2.0 * target.kappa() * self_bonds as f64,
            step: 1.0,
            clusters_per_round: 1,
            rng,
            cluster: Vec::with_capacity(sites),
            in_cluster: vec![false; sites + 1],
        }
    }

    /// Tunes the step of the Metropolis algorithm and the number of clusters of a round, then forgets the start by as
    /// many rounds again with both held fixed, as they are from then on.
    pub fn thermalise(&mut self) {
        let sites = self.sites();
        let (mut clusters, mut sum) = (0, 0);
        for round in 0..THERMALISATION_ROUNDS {
            let acceptance = self.local();
            self.step *= 1.0 + acceptance - ACCEPTANCE;
            // The first half is still near the start.
            if round == THERMALISATION_ROUNDS / 2 {
                (clusters, sum) = (0, 0);
            }
            let mut of_round = 0;
            while of_round < sites {
                of_round += self.update_cluster();
                clusters += 1;
            }
            sum += of_round;
        }
        self.clusters_per_round = (sites * clusters).div_ceil(sum);
        for _ in 0..THERMALISATION_ROUNDS {
            self.round();
        }
    }

    /// One round.
    pub fn round(&mut self) {
        self.local();
        for _ in 0..self.clusters_per_round {
            self.update_cluster();
        }
    }

    /// The part of a round that moves site by site; the acceptance of its Metropolis steps.
    fn local(&mut self) -> f64 {
        let acceptance = self.sweep();
        for _ in 0..REFLECTIONS {
            self.reflect();
        }
        acceptance
    }

    /// Metropolis steps at every site in turn; the part of them that was accepted.
    fn sweep(&mut self) -> f64 {
        let mut accepted = 0usize;
        for site in 0..self.sites() {
            let pull = self.pull(site);
            let (mut phi, mut before) = (self.field[site], self.action(self.field[site], pull));
            for _ in 0..HITS {
                let proposal = phi + self.step * (2.0 * self.rng.random::<f64>() - 1.0);
                let after = self.action(proposal, pull);
                if after <= before || self.rng.random::<f64>() < (before - after).exp() {
                    (phi, before) = (proposal, after);
                    accepted += 1;
                }
            }
            self.field[site] = phi;
        }
        accepted as f64 / (HITS * self.sites()) as f64
    }

    /// Proposes at every site in turn to reflect the field about its mean given the neighbours in the Gaussian of least
    /// free energy; the part of these that was accepted.
    fn reflect(&mut self) -> f64 {
        let mut accepted = 0usize;
        for site in 0..self.sites() {
            let pull = self.pull(site);
            let proposal = pull / self.gaussian_mass - self.field[site];
            let change = self.action(proposal, pull) - self.action(self.field[site], pull);
            if change <= 0.0 || self.rng.random::<f64>() < (-change).exp() {
                self.field[site] = proposal;
                accepted += 1;
            }
        }
        accepted as f64 / self.sites() as f64
    }

    /// `2κ Σ φ` over the neighbours of a site.
    fn pull(&self, site: usize) -> f64 {
        2.0 * self.kappa * self.neighbours[site].iter().map(|&site| self.field[site as usize]).sum::<f64>()
    }

    /// What the action has of a site with the field `phi` under such a pull.
    fn action(&self, phi: f64, pull: f64) -> f64 {
        phi * (phi * (self.mass + self.lambda * phi * phi) - pull)
    }

    /// Changes the signs of one cluster and returns its size.
    fn update_cluster(&mut self) -> usize {
        let Self { field, neighbours, kappa, rng, cluster, in_cluster, .. } = self;
        let seed = rng.random_range(0..neighbours.len() as u32);
        cluster.clear();
        cluster.push(seed);
        in_cluster[seed as usize] = true;
        let mut seen = 0;
        while let Some(&site) = cluster.get(seen) {
            let strength = -4.0 * *kappa * field[site as usize];
            for neighbour in neighbours[site as usize] {
                let exponent = strength * field[neighbour as usize];
                // Where κ φ φ' ≤ 0 the bond is closed, whatever its random number.
                if exponent < 0.0 && !in_cluster[neighbour as usize] && rng.random::<f64>() >= exponent.exp() {
                    in_cluster[neighbour as usize] = true;
                    cluster.push(neighbour);
                }
            }
            seen += 1;
        }
        for &site in &*cluster {
            field[site as usize] *= -1.0;
            in_cluster[site as usize] = false;
        }
        cluster.len()
    }

    /// Number of sites N.
    pub fn sites(&self) -> usize {
        self.neighbours.len()
    }

    /// The field φ at each site.
    pub fn field(&self) -> &[f64] {
        &self.field[..self.sites()]
    }

    /// Random bits of the chain's own.
    pub(super) fn rng(&mut self) -> &mut impl Rng {
        &mut self.rng
    }
}

/// The neighbours of each site but itself, N where there is none, and the number of bonds that each site has with
/// itself.
fn other_neighbours(lattice: &Lattice) -> (Vec<[u32; BONDS]>, usize) {
    let mut neighbours = neighbours(lattice);
    let mut ends = 0;
    for (site, around) in neighbours.iter_mut().enumerate() {
        for other in around.iter_mut().filter(|other| **other as usize == site) {
            *other = lattice.sites() as u32;
            ends += 1;
        }
    }
    // A bond is seen from both its ends, and every site has as many as any other.
    (neighbours, ends / 2 / lattice.sites())
}

#[cfg(test)]
mod tests;
