//! A cluster of particles: its energy, and configurations paired with points of the base density.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use datasets::chains::CHAINS;
use datasets::particles::{AnnealedLogZ, Annealing, Cluster, ClusterSamples, Composition, PairEnergy};
use flow_core::{Alone, Energy, PointEnergy, Purpose, RngKey, Team};

use super::partners::{self, Partners};
use super::pool::shared;
use super::{Known, Layout, Observables, Samples, Target, reference_seed};
use crate::error::Error;
use crate::files::sha256_of;
use crate::monitor::Monitor;
use crate::recipe::{PairKind, Pairing, ParticlesTarget};

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
    /// Where configurations to learn from are, of which otherwise a pool is drawn.
    file: Option<PathBuf>,
    partners: Partners,
    observables: [String; 2],
}

impl Particles {
    /// The target of a cluster, with `pool` configurations, drawn from `seed`, to learn from.
    pub fn new(cluster: Cluster, pool: usize, seed: u64) -> Self {
        let observables = [CLUSTER_ENERGY, "square_radius"].map(str::to_owned);
        let partners = Partners::new(cluster.composition().clone(), Pairing::default(), seed);
        Self { cluster, pool, seed, file: None, partners, observables }
    }

    /// The same, its configurations paired with points of the base density in this way.
    #[must_use]
    pub fn paired(self, pairing: Pairing) -> Self {
        Self { partners: Partners::new(self.cluster.composition().clone(), pairing, self.seed), ..self }
    }

    /// The same, learned from the configurations in a file, which [`datasets::particles::read_positions`] reads when
    /// they are first needed.
    #[must_use]
    pub fn with_samples(self, file: PathBuf) -> Self {
        Self { file: Some(file), ..self }
    }

    /// That of a recipe.
    pub(super) fn named(target: &ParticlesTarget, pool: usize, seed: u64) -> Result<Self, Error> {
        let strength = target.strength;
        let pair = match target.pair {
            PairKind::DoubleWell => PairEnergy::DoubleWell { strength },
            PairKind::LennardJones => PairEnergy::LennardJones { epsilon: strength },
            PairKind::Harmonic => PairEnergy::Harmonic { stiffness: strength },
        };
        let of = Composition::new(target.particles, target.space)?.with_kinds(&target.kinds)?;
        let target_of = Self::new(Cluster::of(of, pair)?, pool, seed).paired(target.pairs);
        Ok(target.samples.iter().cloned().fold(target_of, Self::with_samples))
    }

    /// Configurations to learn from, from the file or drawn.
    fn to_learn_from(&self, team: &dyn Team, monitor: &dyn Monitor) -> Result<ClusterSamples, Error> {
        let (of, pool) = (self.cluster.composition(), self.pool);
        let Some(file) = &self.file else {
            monitor.note(&format!("sampling {pool} clusters of {} particles (replica exchange)", of.particles()));
            return self.configurations(self.seed, pool, team, monitor);
        };
        let samples = ClusterSamples::given(of, partners::read(file, of)?)?;
        monitor.note(&format!(
            "{} configurations of {} particles in {}",
            samples.len(),
            of.particles(),
            file.display()
        ));
        Ok(samples)
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
        let (cluster, n) = (self.cluster.clone(), self.cluster.dimension());
        let energy = move |x: &[f64], gradient: &mut [f64]| Ok(cluster.energy_and_gradient(x, gradient));
        Some(Arc::new(PointEnergy::new(n, energy).concurrent()))
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
        self.partners.prepare(team, monitor, || self.to_learn_from(team, monitor))
    }

    fn training(&self, key: RngKey, _seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        self.partners.write(key, rows, out, || self.to_learn_from(&Alone, &()))
    }

    fn paired(&self) -> bool {
        true
    }

    fn digest(&self) -> Option<String> {
        self.file.as_deref().and_then(sha256_of)
    }
}
