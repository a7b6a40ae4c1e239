//! Monte Carlo of a cluster: particles moved one at a time, at several temperatures that exchange their configurations.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::Cluster;

/// Temperatures of a chain; the first is that of the target.
const REPLICAS: usize = 5;
/// Sweeps of every replica in one round; a sweep tries to move every particle once.
const SWEEPS: usize = 5;
/// Rounds in which the steps are tuned, and as many again with the steps that were found.
const THERMALISATION_ROUNDS: usize = 400;
/// Acceptance that the steps are tuned to.
const ACCEPTANCE: f64 = 0.4;
/// Keeps these random numbers apart from those of every other sampler with the same seed.
const KEY: [u8; 8] = *b"clusters";

/// A Markov chain whose stationary law is `exp(−U)` of a [`Cluster`] on the hyperplane.
///
/// A round has two parts, each of which leaves the law as it is: Metropolis steps of single particles, and exchanges of
/// whole configurations between neighbouring temperatures (Swendsen and Wang, Phys. Rev. Lett. 57, 2607 (1986)). The
/// inverse temperatures fall from 1 by the factor `1 + √(2/N)`, N the dimension of the hyperplane, so that exchanges of
/// what is nearly harmonic happen often whatever N is.
///
/// A chain depends on its seed and its stream alone; chains of different streams are independent, and begin at random.
///
/// ```
/// use datasets::particles::{Cluster, ClusterChain, PairEnergy};
/// let cluster = Cluster::new(3, 2, PairEnergy::Harmonic { stiffness: 1.0 })?;
/// let mut chain = ClusterChain::new(&cluster, 1, 0);
/// chain.thermalise();
/// chain.round();
/// assert!(chain.energy() > 0.0 && chain.configuration().len() == 6);
/// # Ok::<(), datasets::particles::ClusterError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClusterChain {
    cluster: Cluster,
    replicas: Vec<Replica>,
    rng: ChaCha8Rng,
    rounds: usize,
}

/// A configuration at one temperature.
#[derive(Debug, Clone)]
struct Replica {
    x: Vec<f64>,
    energy: f64,
    inverse_temperature: f64,
    /// Proposals are normal with this deviation in each coordinate.
    step: f64,
}

impl ClusterChain {
    /// A chain at its start.
    pub fn new(cluster: &Cluster, seed: u64, stream: u64) -> Self {
        let mut whole = [0; 32];
        for (slot, word) in whole.chunks_exact_mut(8).zip([seed.to_le_bytes(), KEY, stream.to_le_bytes()]) {
            slot.copy_from_slice(&word);
        }
        let mut rng = ChaCha8Rng::from_seed(whole);
        let hyperplane = ((cluster.particles() - 1) * cluster.space()) as f64;
        let ratio = 1.0 / (1.0 + (2.0 / hyperplane).sqrt());
        let replica = |k: usize| {
            let x: Vec<f64> = StandardNormal.sample_iter(&mut rng).take(cluster.dimension()).collect();
            Replica { energy: cluster.energy(&x), x, inverse_temperature: ratio.powi(k as i32), step: 0.3 }
        };
        Self { cluster: cluster.clone(), replicas: (0..REPLICAS).map(replica).collect(), rng, rounds: 0 }
    }

    /// Tunes the steps, then forgets the start by as many rounds again with the steps held fixed, as they are from then
    /// on.
    pub fn thermalise(&mut self) {
        for _ in 0..THERMALISATION_ROUNDS {
            for (replica, acceptance) in self.move_particles().into_iter().enumerate() {
                self.replicas[replica].step *= 1.0 + 0.5 * (acceptance - ACCEPTANCE);
            }
            self.exchange();
        }
        for _ in 0..THERMALISATION_ROUNDS {
            self.round();
        }
    }

    /// One round.
    pub fn round(&mut self) {
        self.move_particles();
        self.exchange();
    }

    /// Sweeps of all replicas; the part of the steps of each that was accepted.
    fn move_particles(&mut self) -> Vec<f64> {
        let Self { cluster, replicas, rng, .. } = self;
        replicas.iter_mut().map(|replica| replica.sweeps(cluster, rng)).collect()
    }

    /// Proposes to exchange the configurations of neighbouring temperatures, even and odd ones in turn.
    fn exchange(&mut self) {
        self.rounds += 1;
        for k in (self.rounds % 2..self.replicas.len() - 1).step_by(2) {
            let (cold, warm) = self.replicas.split_at_mut(k + 1);
            let (cold, warm) = (&mut cold[k], &mut warm[0]);
            let gain = (cold.inverse_temperature - warm.inverse_temperature) * (cold.energy - warm.energy);
            if gain >= 0.0 || self.rng.random::<f64>() < gain.exp() {
                std::mem::swap(&mut cold.x, &mut warm.x);
                std::mem::swap(&mut cold.energy, &mut warm.energy);
            }
        }
    }

    /// The configuration at the temperature of the target, its centre at the origin.
    pub fn configuration(&self) -> Vec<f64> {
        let mut x = self.replicas[0].x.clone();
        self.cluster.centre(&mut x);
        x
    }

    /// Its energy U.
    pub fn energy(&self) -> f64 {
        self.replicas[0].energy
    }
}

impl Replica {
    fn sweeps(&mut self, cluster: &Cluster, rng: &mut ChaCha8Rng) -> f64 {
        let of_pair = |q| cluster.of_pair(q);
        let accepted: usize = (0..SWEEPS)
            .map(|_| sweep(&mut self.x, cluster.space(), self.step, self.inverse_temperature, rng, of_pair))
            .sum();
        // Not by the changes: those of a start with overlapping particles would leave their round-off behind.
        self.energy = cluster.energy(&self.x);
        accepted as f64 / (SWEEPS * cluster.particles()) as f64
    }
}

/// Tries to move every particle once, by normal numbers of the deviation `step` in each of d coordinates, under the
/// energy `Σ of_pair(r²)` at an inverse temperature; how many moved.
pub(super) fn sweep(
    x: &mut [f64],
    d: usize,
    step: f64,
    inverse_temperature: f64,
    rng: &mut ChaCha8Rng,
    of_pair: impl Fn(f64) -> f64,
) -> usize {
    let mut accepted = 0;
    for i in 0..x.len() / d {
        let mut new = [0.0; 3];
        for (a, new) in new[..d].iter_mut().enumerate() {
            let noise: f64 = StandardNormal.sample(rng);
            *new = x[i * d + a] + step * noise;
        }
        let old = &x[i * d..(i + 1) * d];
        let mut change = 0.0;
        for (_, other) in x.chunks_exact(d).enumerate().filter(|(j, _)| *j != i) {
            let square = |x: &[f64]| x.iter().zip(other).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
            change += of_pair(square(&new[..d])) - of_pair(square(old));
        }
        if change <= 0.0 || rng.random::<f64>() < (-inverse_temperature * change).exp() {
            x[i * d..(i + 1) * d].copy_from_slice(&new[..d]);
            accepted += 1;
        }
    }
    accepted
}
