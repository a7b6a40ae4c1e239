//! A cluster of equal particles: its energy, and configurations paired with points of the base density.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use datasets::chains::CHAINS;
use datasets::particles::{AnnealedLogZ, Annealing, Cluster, ClusterSamples, PairEnergy, Pairs};
use flow_core::{Alone, Energy, PointEnergy, Purpose, RngKey, Team};
use rand::RngExt;

use super::pool::shared;
use super::{Known, Layout, Observables, Samples, Target, reference_seed};
use crate::error::Error;
use crate::monitor::Monitor;
use crate::recipe::{PairKind, ParticlesTarget};

/// Chains of the annealing that a study compares with.
const ANNEALED: usize = 512;
/// Places on their path, times n²: for DW4 and LJ13 errors of 0.02 and 0.04 in some seconds.
const PLACES: usize = 350_000;

/// The name of U among the observables: E without the centre.
pub const CLUSTER_ENERGY: &str = "cluster_energy";

/// The target. Its flow works in the coordinates of the particles, with a centre that is a standard normal of its own
/// and takes part in nothing: see [`Cluster`].
#[derive(Debug)]
pub struct Particles {
    cluster: Cluster,
    pool: usize,
    seed: u64,
    pairs: OnceLock<Pairs>,
    observables: [String; 2],
}

impl Particles {
    /// The target of a cluster, with `pool` configurations, drawn from `seed`, to learn from.
    pub fn new(cluster: Cluster, pool: usize, seed: u64) -> Self {
        let observables = [CLUSTER_ENERGY, "square_radius"].map(str::to_owned);
        Self { cluster, pool, seed, pairs: OnceLock::new(), observables }
    }

    /// That of a recipe.
    pub(super) fn named(target: &ParticlesTarget, pool: usize, seed: u64) -> Result<Self, Error> {
        let strength = target.strength;
        let pair = match target.pair {
            PairKind::DoubleWell => PairEnergy::DoubleWell { strength },
            PairKind::LennardJones => PairEnergy::LennardJones { epsilon: strength },
            PairKind::Harmonic => PairEnergy::Harmonic { stiffness: strength },
        };
        Ok(Self::new(Cluster::new(target.particles, target.space, pair)?, pool, seed))
    }

    /// Configurations with their partners, drawn when they are first needed.
    fn pairs(&self, team: &dyn Team, monitor: &dyn Monitor) -> Result<&Pairs, Error> {
        if let Some(pairs) = self.pairs.get() {
            return Ok(pairs);
        }
        let (cluster, n, count) = (&self.cluster, self.cluster.particles(), self.pool);
        monitor.note(&format!("sampling {count} clusters of {n} particles (replica exchange)"));
        let samples = self.configurations(self.seed, count, team, monitor)?;
        let blocks = Pairs::blocks(count);
        let pairs = shared(team, monitor, "aligning", [blocks, count], |blocks, counter| {
            Pairs::part(cluster, &samples, self.seed, blocks, counter)
        })?;
        Ok(self.pairs.get_or_init(|| pairs))
    }

    fn configurations(
        &self,
        seed: u64,
        count: usize,
        team: &dyn Team,
        monitor: &dyn Monitor,
    ) -> Result<ClusterSamples, Error> {
        shared(team, monitor, "sampling", [CHAINS, count], |chains, counter| {
            ClusterSamples::part(&self.cluster, count, seed, chains, counter)
        })
    }
}

impl Target for Particles {
    fn dimension(&self) -> usize {
        self.cluster.dimension()
    }

    fn layout(&self) -> Layout {
        Layout::Particles(self.cluster.particles(), self.cluster.space())
    }

    fn samples(&self) -> Option<&dyn Samples> {
        Some(self)
    }

    fn energy(&self) -> Option<Arc<dyn Energy>> {
        let cluster = self.cluster;
        let energy = move |x: &[f64], gradient: &mut [f64]| Ok(cluster.energy_and_gradient(x, gradient));
        Some(Arc::new(PointEnergy::new(cluster.dimension(), energy).concurrent()))
    }

    fn reference(
        &self,
        seed: u64,
        count: usize,
        team: &dyn Team,
        monitor: &dyn Monitor,
    ) -> Option<Result<Vec<f64>, Error>> {
        let (d, seed) = (self.cluster.space(), reference_seed(seed));
        let drawn = self.configurations(seed, count, team, monitor);
        let with_centres = |samples: ClusterSamples| {
            let size = (self.cluster.particles() as f64).sqrt();
            let centres = RngKey::new(seed, Purpose::Sample, 0).normals(0..count, d);
            let rows = (0..count).zip(centres.chunks_exact(d));
            let moved = |(k, centre): (usize, &[f64])| {
                let x = samples.configuration(k).iter().enumerate();
                x.map(|(i, x)| x + centre[i % d] / size).collect::<Vec<_>>()
            };
            rows.flat_map(moved).collect()
        };
        Some(drawn.map(with_centres))
    }

    fn annealed(&self, seed: u64, team: &dyn Team, monitor: &dyn Monitor) -> Option<Result<Vec<f64>, Error>> {
        let (n, seed) = (self.cluster.particles(), reference_seed(seed));
        let work = Annealing { chains: ANNEALED, places: (PLACES / (n * n)).clamp(2000, 10_000) };
        let done = shared(team, monitor, "annealing", [work.chains, work.chains], |chains, counter| {
            AnnealedLogZ::part(&self.cluster, work, seed, chains, counter)
        });
        // The centre has no share in Z.
        Some(done.map(|found| found.log_weights()))
    }

    fn known(&self) -> Option<Known> {
        self.cluster.log_z().map(|log_z| Known::MinusLogZ(-log_z))
    }

    fn named_observables(&self) -> Option<&dyn Observables> {
        Some(self)
    }
}

/// The energy U of the cluster itself, and the mean square of the distance from its centre.
impl Observables for Particles {
    fn names(&self) -> &[String] {
        &self.observables
    }

    fn measure(&self, x: &[f64], values: &mut [f64]) -> Result<(), flow_core::Error> {
        for (x, values) in x.chunks_exact(self.cluster.dimension()).zip(values.chunks_exact_mut(2)) {
            let mut centred = x.to_vec();
            self.cluster.centre(&mut centred);
            let square: f64 = centred.iter().map(|x| x * x).sum();
            values.copy_from_slice(&[self.cluster.energy(x), square / self.cluster.particles() as f64]);
        }
        Ok(())
    }
}

/// Configurations with their partners.
impl Samples for Particles {
    fn prepare(&self, team: &dyn Team, monitor: &dyn Monitor) -> Result<(), Error> {
        self.pairs(team, monitor).map(drop)
    }

    fn training(&self, key: RngKey, _seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        let (pairs, n) = (self.pairs(&Alone, &())?, self.cluster.dimension());
        for (row, point) in rows.zip(out.chunks_exact_mut(2 * n)) {
            let (base, target) = pairs.pair(key.row(row as u64).random_range(0..pairs.len()));
            point[..n].copy_from_slice(target);
            point[n..].copy_from_slice(base);
        }
        Ok(())
    }

    fn paired(&self) -> bool {
        true
    }
}
