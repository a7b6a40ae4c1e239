//! The Ising model in continuous variables (eq. 8 of arXiv:1809.10188), plain or whitened.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use datasets::Bijection;
use datasets::chains::CHAINS;
use datasets::lattice::{Boundary, IsingSamples, IsingStatistics, IsingTarget, Lattice, WhitenedIsing, sample_spins};
use flow_core::{Alone, Energy, Mean, Path, PointEnergy, Purpose, RngKey, Team};

use super::pool::{Pool, pick, shared};
use super::{Known, LatticeModel, Layout, Measured, Observable, Samples, Target, reference_seed};
use crate::error::Error;
use crate::monitor::Monitor;
use crate::observable::mean;

/// The target. Its flow works in `x`, or in `y = K^(-1/2) x`, where samples are spins and noise.
#[derive(Debug)]
pub struct Ising {
    /// With its map to whitened coordinates.
    model: WhitenedIsing,
    whitened: bool,
    minus_log_z: Option<f64>,
    thermodynamics: OnceLock<Option<ising_exact::Thermodynamics>>,
    pool: Pool<IsingSamples>,
}

impl Ising {
    /// The target whose flow works in x, or in whitened coordinates; there it has `pool` configurations, drawn from
    /// `seed`, to learn from.
    pub fn new(model: IsingTarget, whitened: bool, pool: usize, seed: u64) -> Self {
        let minus_log_z = exact_lattice(&model).and_then(|lattice| {
            let exact = lattice.continuous(model.temperature()).ok()?;
            Some(exact.free_energy_per_site * model.sites() as f64)
        });
        let pool = Pool::new("spin configurations", pool, seed);
        Self { model: model.whitened(), whitened, minus_log_z, thermodynamics: OnceLock::new(), pool }
    }

    /// The model in the coordinates x.
    pub fn physical(&self) -> &IsingTarget {
        self.model.physical()
    }

    /// Spins that no training has seen.
    fn fresh(&self, seed: u64, count: usize, team: &dyn Team, monitor: &dyn Monitor) -> Result<IsingSamples, Error> {
        let (lattice, temperature) = (self.physical().lattice(), self.physical().temperature());
        shared(team, monitor, "sampling", [CHAINS, count], |chains, counter| {
            IsingSamples::part(lattice, temperature, count, reference_seed(seed), chains, counter)
        })
    }

    fn spins(&self, team: &dyn Team, monitor: &dyn Monitor) -> Result<&IsingSamples, Error> {
        let (lattice, temperature) = (self.physical().lattice(), self.physical().temperature());
        self.pool.get(lattice, team, monitor, |count, seed, chains, counter| {
            IsingSamples::part(lattice, temperature, count, seed, chains, counter)
        })
    }
}

/// The same lattice in the words of ising-exact.
pub(super) fn exact_lattice(model: &IsingTarget) -> Option<ising_exact::Lattice> {
    let boundary = match model.lattice().boundary() {
        Boundary::Periodic => ising_exact::Boundary::PERIODIC,
        Boundary::Open => ising_exact::Boundary::OPEN,
    };
    Some(ising_exact::Lattice::new(model.lattice().rows(), model.lattice().cols()).ok()?.boundary(boundary))
}

impl Target for Ising {
    fn dimension(&self) -> usize {
        self.model.sites()
    }

    fn layout(&self) -> Layout {
        Layout::Lattice(self.physical().lattice().rows(), self.physical().lattice().cols())
    }

    fn bijection(&self) -> Option<Arc<dyn Bijection>> {
        self.whitened.then(|| Arc::new(self.model.clone()) as Arc<dyn Bijection>)
    }

    fn samples(&self) -> Option<&dyn Samples> {
        self.whitened.then_some(self as &dyn Samples)
    }

    fn energy(&self) -> Option<Arc<dyn Energy>> {
        let (model, n) = (self.model.clone(), self.model.sites());
        Some(if self.whitened {
            // ln p(x) = ln p(y) − ½ ln det K: with the constant, figures are those of the density of x.
            let shift = 0.5 * model.physical().log_det_k();
            Arc::new(PointEnergy::new(n, move |y, g| Ok(model.energy_and_gradient(y, g) - shift)).concurrent())
        } else {
            Arc::new(PointEnergy::new(n, move |x, g| Ok(model.physical().energy_and_gradient(x, g))).concurrent())
        })
    }

    /// Unit Gaussians about the centres of spin configurations, as whitened coordinates have them.
    fn reference(
        &self,
        seed: u64,
        count: usize,
        team: &dyn Team,
        monitor: &dyn Monitor,
    ) -> Option<Result<Vec<f64>, Error>> {
        let n = self.model.sites();
        let points = |samples: IsingSamples| {
            let mut points = RngKey::new(reference_seed(seed), Purpose::Sample, 0).normals(0..count, n);
            let mut centre = vec![0.0; n];
            for (k, point) in points.chunks_exact_mut(n).enumerate() {
                self.model.centre(samples.spins(k), &mut centre);
                point.iter_mut().zip(&centre).for_each(|(y, centre)| *y += centre);
                if !self.whitened {
                    let y = point.to_vec();
                    self.model.to_physical(&y, point);
                }
            }
            points
        };
        Some(self.fresh(seed, count, team, monitor).map(points))
    }

    fn known(&self) -> Option<Known> {
        self.minus_log_z.map(Known::MinusLogZ)
    }

    fn sites(&self) -> usize {
        self.model.sites()
    }

    fn lattice_model(&self) -> Option<&dyn LatticeModel> {
        Some(self)
    }
}

/// The centres `K^(1/2) s` of the unit Gaussians that belong to spin configurations s.
impl Samples for Ising {
    fn prepare(&self, team: &dyn Team, monitor: &dyn Monitor) -> Result<(), Error> {
        self.spins(team, monitor).map(drop)
    }

    fn training(&self, key: RngKey, _seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        let samples = self.spins(&Alone, &())?;
        pick(key, rows, self.model.sites(), samples.len(), out, |index, centre| {
            self.model.centre(samples.spins(index), centre);
        });
        Ok(())
    }

    fn path(&self) -> Path {
        Path::Blurred
    }
}

impl LatticeModel for Ising {
    fn name(&self) -> &'static str {
        "ising"
    }

    fn observables(&self) -> [Observable; 3] {
        let (n, t) = (self.model.sites() as f64, self.physical().temperature());
        [
            Observable::mean_energy("energy_per_site", "energy per site", 1.0 / n),
            Observable::mean_magnetisation("magnetisation_per_site", "|magnetisation| per site", 1.0 / n),
            Observable::variance_of_energy("specific_heat_per_site", "specific heat per site", 1.0 / (n * t * t)),
        ]
    }

    fn exact(&self, observable: &Observable) -> Option<f64> {
        let found = || exact_lattice(self.physical())?.thermodynamics(self.physical().temperature()).ok();
        let exact = (*self.thermodynamics.get_or_init(found))?;
        match &*observable.key {
            "energy_per_site" => Some(exact.energy_per_site),
            "specific_heat_per_site" => Some(exact.specific_heat_per_site),
            _ => None,
        }
    }

    fn configurations(&self, seed: u64, count: usize, monitor: &dyn Monitor) -> Result<Vec<f64>, Error> {
        let samples = self.fresh(seed, count, &Alone, monitor)?;
        Ok((0..count).flat_map(|k| samples.spins(k)).map(|&spin| f64::from(spin)).collect())
    }

    fn clusters(&self, seed: u64, count: usize, team: &dyn Team, monitor: &dyn Monitor) -> Result<[Mean; 3], Error> {
        let samples = self.fresh(seed, count, team, monitor)?;
        let IsingStatistics { energy_per_site, specific_heat_per_site, magnetisation_per_site } = samples.statistics();
        Ok([energy_per_site, magnetisation_per_site, specific_heat_per_site].map(mean))
    }

    /// Spins are drawn by `p(s_i = 1 | x) = σ(2x_i)`, one configuration for each point from its row of `key`: they
    /// carry the weight of their point, and averages over them have no bias.
    fn measure(&self, points: &[f64], key: RngKey) -> Measured {
        let n = self.model.sites();
        let lattice: &Lattice = self.physical().lattice();
        let (mut x, mut spins) = (vec![0.0; n], vec![0i8; n]);
        let mut out = Measured::default();
        for (row, point) in points.chunks_exact(n).enumerate() {
            if self.whitened {
                self.model.to_physical(point, &mut x);
            } else {
                x.copy_from_slice(point);
            }
            sample_spins(&x, &mut key.row(row as u64), &mut spins);
            out.energy.push(lattice.spin_energy(&spins));
            out.magnetisation.push(spins.iter().map(|s| f64::from(*s)).sum::<f64>().abs());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_value_is_that_of_the_same_target() {
        // ising-exact and datasets derive the constants of the continuous formulation independently.
        for (rows, cols, boundary, temperature) in
            [(4, 4, "periodic", 2.0), (3, 5, "open", 1.3), (2, 6, "periodic", 3.1)]
        {
            let model = IsingTarget::new(rows, cols, boundary.parse().unwrap(), temperature).unwrap();
            let lattice = ising_exact::Lattice::new(rows, cols)
                .unwrap()
                .boundary(boundary.parse::<ising_exact::Boundary>().unwrap());
            let ln_z_ising = lattice.thermodynamics(temperature).unwrap().ln_z;
            let expected = model.minus_log_z(ln_z_ising);
            let target = Ising::new(model, false, 1, 0);
            assert_eq!(target.sites(), rows * cols);
            let difference = expected - target.known().unwrap().value();
            assert!(difference.abs() < 1e-10, "{rows}×{cols} {boundary}: {difference:e}");
        }
    }
}
