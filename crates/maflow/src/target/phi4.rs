//! The φ⁴ theory on a periodic lattice, plain or whitened.

use std::ops::Range;
use std::sync::Arc;

use datasets::Bijection;
use datasets::chains::CHAINS;
use datasets::lattice::{Phi4Samples, Phi4Statistics, Phi4Target, WhitenedPhi4};
use flow_core::{Alone, Energy, Mean, PointEnergy, RngKey, Team};

use super::pool::{Pool, pick, shared};
use super::{LatticeModel, Layout, Measured, Observable, Samples, Target, reference_seed};
use crate::error::Error;
use crate::monitor::Monitor;
use crate::observable::mean;

/// The target. Its flow works in φ, or in `K^(-1/2) φ`, where samples are nearly normal.
#[derive(Debug)]
pub struct Phi4 {
    physical: Phi4Target,
    whitened: Option<Whitened>,
}

#[derive(Debug)]
struct Whitened {
    model: WhitenedPhi4,
    pool: Pool<Phi4Samples>,
}

impl Phi4 {
    /// The target whose flow works in φ, or in whitened coordinates; there it has `pool` configurations, drawn from
    /// `seed`, to learn from.
    pub fn new(physical: Phi4Target, whitened: bool, pool: usize, seed: u64) -> Self {
        let whitened =
            whitened.then(|| Whitened { model: physical.clone().whitened(), pool: Pool::new("fields", pool, seed) });
        Self { physical, whitened }
    }

    /// Fields that no training has seen.
    fn fresh(&self, seed: u64, count: usize, team: &dyn Team, monitor: &dyn Monitor) -> Result<Phi4Samples, Error> {
        shared(team, monitor, "sampling", [CHAINS, count], |chains, counter| {
            Phi4Samples::part(&self.physical, count, reference_seed(seed), chains, counter)
        })
    }

    fn fields<'a>(
        &'a self,
        whitened: &'a Whitened,
        team: &dyn Team,
        monitor: &dyn Monitor,
    ) -> Result<&'a Phi4Samples, Error> {
        whitened.pool.get(self.physical.lattice(), team, monitor, |count, seed, chains, counter| {
            Phi4Samples::part(&self.physical, count, seed, chains, counter)
        })
    }
}

impl Target for Phi4 {
    fn dimension(&self) -> usize {
        self.physical.sites()
    }

    fn layout(&self) -> Layout {
        Layout::Lattice(self.physical.lattice().rows(), self.physical.lattice().cols())
    }

    fn bijection(&self) -> Option<Arc<dyn Bijection>> {
        self.whitened.as_ref().map(|whitened| Arc::new(whitened.model.clone()) as Arc<dyn Bijection>)
    }

    fn samples(&self) -> Option<&dyn Samples> {
        self.whitened.is_some().then_some(self as &dyn Samples)
    }

    fn energy(&self) -> Option<Arc<dyn Energy>> {
        let n = self.physical.sites();
        Some(match &self.whitened {
            Some(whitened) => {
                // ln p(φ) = ln p(y) − ½ ln det K: with the constant, figures are those of the density of φ.
                let (model, shift) = (whitened.model.clone(), 0.5 * whitened.model.log_det_k());
                Arc::new(PointEnergy::new(n, move |y, g| Ok(model.energy_and_gradient(y, g) - shift)).concurrent())
            }
            None => {
                let model = self.physical.clone();
                Arc::new(PointEnergy::new(n, move |x, g| Ok(model.energy_and_gradient(x, g))).concurrent())
            }
        })
    }

    fn reference(
        &self,
        seed: u64,
        count: usize,
        team: &dyn Team,
        monitor: &dyn Monitor,
    ) -> Option<Result<Vec<f64>, Error>> {
        let n = self.physical.sites();
        let points = |samples: Phi4Samples| {
            let mut points = vec![0.0; count * n];
            for (k, point) in points.chunks_exact_mut(n).enumerate() {
                let field: Vec<f64> = samples.field(k).iter().map(|phi| f64::from(*phi)).collect();
                match &self.whitened {
                    Some(whitened) => whitened.model.to_whitened(&field, point),
                    None => point.copy_from_slice(&field),
                }
            }
            points
        };
        Some(self.fresh(seed, count, team, monitor).map(points))
    }

    fn sites(&self) -> usize {
        self.physical.sites()
    }

    fn lattice_model(&self) -> Option<&dyn LatticeModel> {
        Some(self)
    }
}

/// Fields in whitened coordinates, `K^(-1/2) φ`.
impl Samples for Phi4 {
    fn prepare(&self, team: &dyn Team, monitor: &dyn Monitor) -> Result<(), Error> {
        match &self.whitened {
            Some(whitened) => self.fields(whitened, team, monitor).map(drop),
            None => Ok(()),
        }
    }

    fn training(&self, key: RngKey, _seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        let Some(whitened) = &self.whitened else {
            return Err(Error::Argument("fields are samples in whitened coordinates alone".to_owned()));
        };
        let samples = self.fields(whitened, &Alone, &())?;
        let mut field = vec![0.0; self.physical.sites()];
        pick(key, rows, self.physical.sites(), samples.len(), out, |index, y| {
            field.iter_mut().zip(samples.field(index)).for_each(|(to, from)| *to = f64::from(*from));
            whitened.model.to_whitened(&field, y);
        });
        Ok(())
    }
}

impl LatticeModel for Phi4 {
    fn name(&self) -> &'static str {
        "phi4"
    }

    fn observables(&self) -> [Observable; 3] {
        let n = self.physical.sites() as f64;
        [
            Observable::mean_energy("action_per_site", "action per site", 1.0 / n),
            Observable::mean_magnetisation("magnetisation_per_site", "|magnetisation| per site", 1.0 / n),
            Observable::variance_of_magnetisation("susceptibility", "susceptibility", 1.0 / n),
        ]
    }

    fn configurations(&self, seed: u64, count: usize, monitor: &dyn Monitor) -> Result<Vec<f64>, Error> {
        let samples = self.fresh(seed, count, &Alone, monitor)?;
        Ok((0..count).flat_map(|k| samples.field(k)).map(|&phi| f64::from(phi)).collect())
    }

    fn clusters(&self, seed: u64, count: usize, team: &dyn Team, monitor: &dyn Monitor) -> Result<[Mean; 3], Error> {
        let samples = self.fresh(seed, count, team, monitor)?;
        let Phi4Statistics { action_per_site, magnetisation_per_site, susceptibility } = samples.statistics();
        Ok([action_per_site, magnetisation_per_site, susceptibility].map(mean))
    }

    fn measure(&self, points: &[f64], _key: RngKey) -> Measured {
        let n = self.physical.sites();
        let (mut field, mut gradient) = (vec![0.0; n], vec![0.0; n]);
        let mut out = Measured::default();
        for point in points.chunks_exact(n) {
            match &self.whitened {
                Some(whitened) => whitened.model.to_physical(point, &mut field),
                None => field.copy_from_slice(point),
            }
            out.energy.push(self.physical.energy_and_gradient(&field, &mut gradient));
            out.magnetisation.push(field.iter().sum::<f64>().abs());
        }
        out
    }
}
