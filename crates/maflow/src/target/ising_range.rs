//! The Ising model at all temperatures of a range: a density that is conditional on the temperature.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use datasets::Bijection;
use datasets::chains::CHAINS;
use datasets::lattice::{CRITICAL_TEMPERATURE, IsingSamples, IsingTarget, WhitenedIsing, WhitenedIsingRange};
use flow_core::{Alone, Energy, Path, Purpose, RngKey, Team};
use rand::RngExt;

use super::interpolated::Interpolated;
use super::ising::exact_lattice;
use super::pool::shared;
use super::{Known, Layout, Samples, Target, reference_seed};
use crate::error::Error;
use crate::monitor::Monitor;

/// Temperatures that configurations are drawn at, both ends among them.
const SAMPLED: usize = 33;

/// Temperatures that a run is studied at: so many evenly spaced ones, both ends among them, and the critical one.
const STUDIED: usize = 12;

/// The target. Its flow works in `y = K(T)^(-1/2) x` at the temperature T of each row, which is the context.
///
/// The energy at T has a constant in it, by which `−ln Z` is the same at all temperatures: the mean over the range. So
/// a free energy over rows of many temperatures has the scatter of their gaps alone, and importance weights can be
/// compared.
#[derive(Debug)]
pub struct IsingRange {
    map: WhitenedIsingRange,
    model: IsingTarget,
    ends: [f64; 2],
    /// `−ln Z` of the density of x at every temperature, where it is known.
    minus_log_z: Option<Interpolated>,
    count: usize,
    seed: u64,
    pool: OnceLock<Ladder>,
}

impl IsingRange {
    /// The target on the lattice of a model, whose own temperature has no part in it, between two temperatures. It has
    /// about `pool` configurations, drawn from `seed`, to learn from.
    pub fn new(model: IsingTarget, ends: [f64; 2], pool: usize, seed: u64) -> Self {
        let sites = model.sites() as f64;
        let minus_log_z = exact_lattice(&model).and_then(|lattice| {
            Interpolated::of(ends, |t| Some(lattice.continuous(t).ok()?.free_energy_per_site * sites))
        });
        Self {
            map: WhitenedIsingRange::new(model.clone()),
            model,
            ends,
            minus_log_z,
            count: pool,
            seed,
            pool: OnceLock::new(),
        }
    }

    /// Configurations at all temperatures, `count` in all or a few more.
    fn draw(&self, seed: u64, count: usize, team: &dyn Team, monitor: &dyn Monitor) -> Result<Ladder, Error> {
        let [low, high] = self.ends;
        let at = |k: usize| {
            let temperature = low + (high - low) * k as f64 / (SAMPLED - 1) as f64;
            let (per, seed) = (count.div_ceil(SAMPLED), seed ^ (k as u64) << 48);
            let model = self.map.at(temperature).ok_or_else(|| no_temperature(temperature))?;
            let samples = shared(team, monitor, "sampling", [CHAINS, per], |chains, counter| {
                IsingSamples::part(self.model.lattice(), temperature, per, seed, chains, counter)
            })?;
            Ok((model, samples))
        };
        Ok(Ladder((0..SAMPLED).map(at).collect::<Result<_, Error>>()?))
    }

    fn ladder(&self, team: &dyn Team, monitor: &dyn Monitor) -> Result<&Ladder, Error> {
        if let Some(drawn) = self.pool.get() {
            return Ok(drawn);
        }
        let ([low, high], lattice) = (self.ends, self.model.lattice());
        monitor.note(&format!(
            "sampling {} spin configurations of {}×{} at {SAMPLED} temperatures from {low} to {high} (cluster Monte \
             Carlo)",
            self.count,
            lattice.rows(),
            lattice.cols()
        ));
        let drawn = self.draw(self.seed, self.count, team, monitor)?;
        Ok(self.pool.get_or_init(|| drawn))
    }
}

/// Configurations of equally many at each of several temperatures.
#[derive(Debug)]
struct Ladder(Vec<(WhitenedIsing, IsingSamples)>);

/// Temperatures between two ends, one for each of these rows of a batch: evenly spread over the first of them, however
/// many these are, and in the whole uniform at random.
pub fn temperatures([low, high]: [f64; 2], key: RngKey, rows: Range<usize>) -> Vec<f64> {
    let parts = spread(key, rows);
    parts.map(|part| low + (high - low) * part).collect()
}

/// Numbers in [0, 1) that are spread like the multiples of the golden ratio, from a start at random.
fn spread(key: RngKey, rows: Range<usize>) -> impl Iterator<Item = f64> {
    let golden = 0.5 * (5.0_f64.sqrt() - 1.0);
    // The last row, which no batch has.
    let start: f64 = key.row(u64::MAX).random();
    rows.map(move |row| (start + golden * row as f64).fract())
}

/// The temperatures that a run of a range is studied at, in rising order.
pub fn studied([low, high]: [f64; 2]) -> Vec<f64> {
    let even = (0..STUDIED).map(|k| low + (high - low) * k as f64 / (STUDIED - 1) as f64);
    let critical = (low < CRITICAL_TEMPERATURE && CRITICAL_TEMPERATURE < high).then_some(CRITICAL_TEMPERATURE);
    let mut all: Vec<f64> = even.chain(critical).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

fn no_temperature(found: f64) -> Error {
    Error::Argument(format!("the temperature is {found}, but must be positive and finite"))
}

impl Target for IsingRange {
    fn dimension(&self) -> usize {
        self.model.sites()
    }

    fn context_dim(&self) -> usize {
        1
    }

    fn layout(&self) -> Layout {
        Layout::Lattice(self.model.lattice().rows(), self.model.lattice().cols())
    }

    fn bijection(&self) -> Option<Arc<dyn Bijection>> {
        Some(Arc::new(self.map.clone()))
    }

    fn samples(&self) -> Option<&dyn Samples> {
        Some(self)
    }

    fn energy(&self) -> Option<Arc<dyn Energy>> {
        Some(Arc::new(RangeEnergy { map: self.map.clone(), minus_log_z: self.minus_log_z.clone() }))
    }

    fn contexts(&self, key: RngKey, rows: Range<usize>) -> Vec<f64> {
        temperatures(self.ends, key, rows)
    }

    /// Unit Gaussians about the centres of spin configurations, equally many at each of several temperatures.
    fn reference(
        &self,
        seed: u64,
        count: usize,
        team: &dyn Team,
        monitor: &dyn Monitor,
    ) -> Option<Result<Vec<f64>, Error>> {
        let n = self.model.sites();
        let points = |Ladder(ladder): Ladder| {
            let noise = RngKey::new(reference_seed(seed), Purpose::Sample, 0).normals(0..count, n);
            let mut points = Vec::with_capacity(count * (n + 1));
            let mut centre = vec![0.0; n];
            for (k, noise) in noise.chunks_exact(n).enumerate() {
                let (model, samples) = &ladder[k % SAMPLED];
                model.centre(samples.spins(k / SAMPLED), &mut centre);
                points.extend(noise.iter().zip(&centre).map(|(noise, centre)| noise + centre));
                points.push(model.physical().temperature());
            }
            points
        };
        Some(self.draw(reference_seed(seed), count, team, monitor).map(points))
    }

    fn known(&self) -> Option<Known> {
        self.minus_log_z.as_ref().map(|known| Known::MinusLogZ(known.mean()))
    }

    fn sites(&self) -> usize {
        self.model.sites()
    }
}

/// The centres `K(T)^(1/2) s` of the unit Gaussians that belong to spin configurations s, and their temperatures.
impl Samples for IsingRange {
    fn prepare(&self, team: &dyn Team, monitor: &dyn Monitor) -> Result<(), Error> {
        self.ladder(team, monitor).map(drop)
    }

    fn training(&self, key: RngKey, _seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        let Ladder(ladder) = self.ladder(&Alone, &())?;
        let n = self.model.sites();
        let steps = spread(key, rows.clone()).map(|part| (part * SAMPLED as f64) as usize);
        for ((row, step), point) in rows.zip(steps).zip(out.chunks_exact_mut(n + 1)) {
            let (model, samples) = &ladder[step];
            let index = key.row(row as u64).random_range(0..samples.len());
            model.centre(samples.spins(index), &mut point[..n]);
            point[n] = model.physical().temperature();
        }
        Ok(())
    }

    fn path(&self) -> Path {
        Path::Blurred
    }
}

/// The energy of y at the temperature of its row, with constants: that of the density of x, and what makes `−ln Z` the
/// same at all temperatures.
struct RangeEnergy {
    map: WhitenedIsingRange,
    minus_log_z: Option<Interpolated>,
}

impl Energy for RangeEnergy {
    fn dim(&self) -> usize {
        self.map.sites()
    }

    fn context_dim(&self) -> usize {
        1
    }

    fn energies_and_gradients(
        &self,
        y: &[f64],
        temperatures: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), flow_core::Error> {
        let (n, rows) = (self.dim(), energies.len());
        if temperatures.len() != rows {
            let (found, expected) = (vec![temperatures.len()], vec![rows, 1]);
            return Err(flow_core::Error::Shape { what: "the temperatures".into(), found, expected });
        }
        let known = self.minus_log_z.as_ref().map(|known| (known, known.mean()));
        let points = y.chunks_exact(n).zip(gradients.chunks_exact_mut(n));
        for ((energy, temperature), (y, gradient)) in energies.iter_mut().zip(temperatures).zip(points) {
            let model = self.map.at(*temperature).ok_or_else(|| no_temperature(*temperature))?;
            let level = known.map_or(0.0, |(known, mean)| mean - known.at(*temperature));
            *energy = model.energy_and_gradient(y, gradient) - 0.5 * model.physical().log_det_k() + level;
        }
        Ok(())
    }

    fn concurrent(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use datasets::lattice::Boundary;

    use super::*;

    const ENDS: [f64; 2] = [1.8, 3.0];

    fn target(rows: usize, cols: usize) -> IsingRange {
        IsingRange::new(IsingTarget::new(rows, cols, Boundary::Periodic, 2.0).unwrap(), ENDS, 3300, 5)
    }

    fn energy(target: &IsingRange, y: &[f64], t: f64) -> (f64, Vec<f64>) {
        let mut gradient = vec![0.0; y.len()];
        (target.energy().unwrap().energy_and_gradient(y, &[t], &mut gradient).unwrap(), gradient)
    }

    #[test]
    fn at_every_temperature_it_is_the_energy_of_that_temperature_at_the_level_of_all() {
        let target = target(3, 4);
        let y: Vec<f64> = (0..12).map(|i| 1.3 * (1.7 * f64::from(i)).sin()).collect();
        for t in [1.8, 2.05, CRITICAL_TEMPERATURE, 3.0] {
            let one = super::super::Ising::new(target.model.at(t).unwrap(), true, 1, 0);
            let mut gradient = vec![0.0; 12];
            let of_one = one.energy().unwrap().energy_and_gradient(&y, &[], &mut gradient).unwrap();
            let (found, of_range) = energy(&target, &y, t);
            let known = |of: &dyn Target| of.known().unwrap().value();
            assert!((found - known(&target) - (of_one - known(&one))).abs() < 1e-9, "T = {t}");
            assert_eq!(of_range, gradient);
            // The gradient is that of the energy.
            for i in 0..12 {
                let moved = |by: f64| {
                    let mut y = y.clone();
                    y[i] += by;
                    energy(&target, &y, t).0
                };
                let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((difference - of_range[i]).abs() < 1e-8, "T = {t}, coordinate {i}");
            }
        }
        assert!(target.energy().unwrap().energy_and_gradient(&y, &[-1.0], &mut [0.0; 12]).is_err());
        assert!(target.energy().unwrap().energy_and_gradient(&y, &[], &mut [0.0; 12]).is_err());
    }

    #[test]
    fn temperatures_are_spread_over_the_range_in_any_part_of_a_batch() {
        let key = RngKey::new(3, Purpose::Train, 7);
        let all = temperatures(ENDS, key, 0..256);
        assert_eq!(temperatures(ENDS, key, 100..110), all[100..110]);
        assert!(all.iter().all(|t| (ENDS[0]..ENDS[1]).contains(t)));
        for part in all.chunks(32) {
            let mean = part.iter().sum::<f64>() / 32.0;
            assert!((mean - 2.4).abs() < 0.05, "{mean}");
        }
        assert_ne!(temperatures(ENDS, RngKey::new(3, Purpose::Train, 8), 0..1), all[..1]);
        let mean = (0..4000).map(|k| temperatures(ENDS, RngKey::new(3, Purpose::Train, k), 5..6)[0]).sum::<f64>();
        assert!((mean / 4000.0 - 2.4).abs() < 4.0 * 1.2 / 12f64.sqrt() / 4000f64.sqrt(), "each of them is uniform");
    }

    #[test]
    fn training_rows_are_centres_of_spins_at_their_temperatures() {
        let target = target(4, 4);
        let (key, width) = (RngKey::new(1, Purpose::Train, 0), 17);
        let mut rows = vec![0.0; 660 * width];
        target.training(key, 0, 0..660, &mut rows).unwrap();
        let mut counts = std::collections::BTreeMap::new();
        for row in rows.chunks(width) {
            let (t, mut spins) = (row[16], row[..16].to_vec());
            *counts.entry((1000.0 * t).round() as u64).or_insert(0) += 1;
            // K^(1/2) s goes to s.
            let centre = spins.clone();
            target.map.at(t).unwrap().to_whitened(&centre, &mut spins);
            assert!(spins.iter().all(|s| (s.abs() - 1.0).abs() < 1e-9), "{spins:?}");
        }
        assert!(counts.len() == SAMPLED && counts.values().all(|count| (18..=22).contains(count)), "{counts:?}");
        let mut part = vec![0.0; 5 * width];
        target.training(key, 0, 20..25, &mut part).unwrap();
        assert_eq!(part, rows[20 * width..25 * width]);
    }

    #[test]
    fn reference_points_have_the_partition_functions_of_their_temperatures() {
        // With the base density for a flow, E[exp(−ln p − E)] = 1/Z over points of the target.
        let target = target(2, 2);
        let points = target.reference(4, 66_000, &Alone, &()).unwrap().unwrap();
        let inverse = |row: &[f64]| {
            let (y, t) = row.split_at(4);
            (flow_core::standard_normal_log_density(y) + energy(&target, y, t[0]).0).exp()
        };
        let values: Vec<f64> = points.chunks(5).map(inverse).collect();
        let (found, known) = (flow_core::Mean::of(&values), target.known().unwrap().value());
        assert!((found.mean / known.exp() - 1.0).abs() < 4.0 * found.standard_error / known.exp(), "{found:?}");
    }

    #[test]
    fn a_study_has_the_ends_and_the_critical_temperature() {
        let all = studied(ENDS);
        assert_eq!((all.len(), all[0], all[12]), (13, 1.8, 3.0));
        assert!(all.contains(&CRITICAL_TEMPERATURE) && all.is_sorted());
        assert_eq!(studied([3.0, 4.0]).len(), 12);
    }
}
