//! A lattice model as physicists measure it: energy, magnetisation and their fluctuations, with the exact values where
//! there are any.

use datasets::lattice::{
    Estimate, IsingSamples, IsingStatistics, Lattice, LatticeError, Phi4Samples, Phi4Statistics, sample_spins,
};
use flow_core::{Mean, RngKey, Weights};

use crate::config::{Config, Potential, Target};
use crate::error::CliError;
use crate::problem::{self, Problem, TargetEnergy, reference_seed};
use crate::progress::shown;

/// What is measured of configurations, one number each, for the whole lattice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// `−Σ s_i s_j` over the bonds of an Ising model; the action of a φ⁴ theory.
    pub energy: Vec<f64>,
    /// `|Σ_i s_i|` or `|Σ_i φ_i|`.
    pub magnetisation: Vec<f64>,
}

impl Measured {
    /// Adds more configurations.
    pub fn extend(&mut self, more: Self) {
        self.energy.extend(more.energy);
        self.magnetisation.extend(more.magnetisation);
    }
}

/// A mean or a variance of one of the two numbers measured, per site.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observable {
    /// Key in JSON.
    pub key: &'static str,
    /// In words.
    pub words: &'static str,
    of_energy: bool,
    variance: bool,
    factor: f64,
}

impl Observable {
    fn series(self, measured: &Measured) -> &[f64] {
        if self.of_energy { &measured.energy } else { &measured.magnetisation }
    }

    /// From weighted configurations.
    pub fn weighted(self, weights: &Weights, measured: &Measured) -> Mean {
        let of = self.series(measured);
        let found = if self.variance { weights.variance(of) } else { weights.mean(of) };
        Mean { mean: self.factor * found.mean, standard_error: self.factor * found.standard_error }
    }

    /// From Markov chains.
    pub fn of_chains(self, chains: &[Measured]) -> Mean {
        let of: Vec<&[f64]> = chains.iter().map(|chain| self.series(chain)).collect();
        let found = if self.variance { Estimate::variance(&of) } else { Estimate::from_chains(&of) };
        let Estimate { mean, standard_error, .. } = found.scaled(self.factor);
        Mean { mean, standard_error }
    }
}

/// A lattice model.
#[derive(Debug)]
pub struct LatticeModel {
    energy: TargetEnergy,
    lattice: Lattice,
    exact: Option<ising_exact::Thermodynamics>,
    log_z: Option<f64>,
}

impl LatticeModel {
    /// The model of a configuration.
    ///
    /// # Errors
    /// For a target that is no lattice model, and a potential whose ln p is an estimate, which importance weights
    /// cannot be made of.
    pub fn new(config: &Config) -> Result<Self, CliError> {
        let other = |kind| {
            Err(CliError::Usage(format!(
                "physics is for lattice models, and this run's target is {kind}; `maflow evaluate` prints its figures"
            )))
        };
        if let Potential::Sum(sum) = &config.potential
            && let Some(k) = sum.terms.iter().position(|term| term.probes().is_some())
        {
            return Err(CliError::Usage(format!(
                "importance weights need the exact Laplacian, and potential.terms.{k} estimates it; give --set potential.terms.{k}.probes=0"
            )));
        }
        let (rows, cols, boundary, temperature) = match &config.target {
            Target::Mnist(_) => return other("mnist"),
            Target::Toy(_) => return other("a density in the plane"),
            Target::Ising(ising) => {
                let cols = ising.size_y.unwrap_or(ising.size);
                (ising.size, cols, problem::boundary(ising.boundary), Some(ising.temperature.value()))
            }
            Target::Phi4(phi4) => (phi4.size, phi4.size, datasets::lattice::Boundary::Periodic, None),
        };
        let lattice = Lattice::new(rows, cols, boundary)?;
        let exact = temperature.and_then(|temperature| {
            let boundary = match boundary {
                datasets::lattice::Boundary::Periodic => ising_exact::Boundary::PERIODIC,
                datasets::lattice::Boundary::Open => ising_exact::Boundary::OPEN,
            };
            ising_exact::Lattice::new(rows, cols).ok()?.boundary(boundary).thermodynamics(temperature).ok()
        });
        let log_z = Problem::load(config, None, None)?.best().map(|least| -least);
        Ok(Self { energy: TargetEnergy::new(&config.target)?, lattice, exact, log_z })
    }

    /// `ising` or `phi4`.
    pub fn name(&self) -> &'static str {
        if self.energy.phi4().is_some() { "phi4" } else { "ising" }
    }

    /// That of an Ising model.
    fn temperature(&self) -> Option<f64> {
        self.energy.ising().map(|ising| ising.temperature())
    }

    /// The energy whose density the flow fits.
    pub fn energy(&self) -> &TargetEnergy {
        &self.energy
    }

    /// Sites N.
    pub fn sites(&self) -> usize {
        self.lattice.sites()
    }

    /// `ln Z` of the density that the flow fits, where it is known.
    pub fn exact_log_z(&self) -> Option<f64> {
        self.log_z
    }

    /// What is computed of measurements.
    pub fn observables(&self) -> [Observable; 3] {
        let n = self.sites() as f64;
        let of = |key, words, of_energy, variance, factor| Observable { key, words, of_energy, variance, factor };
        let magnetisation = of("magnetisation_per_site", "|magnetisation| per site", false, false, 1.0 / n);
        match self.temperature() {
            Some(t) => [
                of("energy_per_site", "energy per site", true, false, 1.0 / n),
                magnetisation,
                of("specific_heat_per_site", "specific heat per site", true, true, 1.0 / (n * t * t)),
            ],
            None => [
                of("action_per_site", "action per site", true, false, 1.0 / n),
                magnetisation,
                of("susceptibility", "susceptibility", false, true, 1.0 / n),
            ],
        }
    }

    /// The exact value of an observable, where it is known.
    pub fn exact(&self, observable: Observable) -> Option<f64> {
        match observable.key {
            "energy_per_site" => self.exact.map(|exact| exact.energy_per_site),
            "specific_heat_per_site" => self.exact.map(|exact| exact.specific_heat_per_site),
            _ => None,
        }
    }

    /// Averages by cluster Monte Carlo in the order of [`LatticeModel::observables`], with the number of
    /// configurations.
    ///
    /// # Errors
    /// Those of the sampler.
    pub fn clusters(&self, seed: u64) -> Result<([Mean; 3], usize), LatticeError> {
        /// Sites in all configurations; they are at least 2¹⁰ and at most 2¹⁴.
        const SITES: usize = 1 << 22;
        let count = (SITES / self.sites()).clamp(1 << 10, 1 << 14);
        let means = if let Some(target) = self.energy.phi4() {
            let samples = shown("sampling", count, |progress| {
                Phi4Samples::generate_with_progress(target, count, reference_seed(seed), progress)
            })?;
            let Phi4Statistics { action_per_site, magnetisation_per_site, susceptibility } = samples.statistics();
            [action_per_site, magnetisation_per_site, susceptibility]
        } else {
            let temperature = self.temperature().expect("what is no φ⁴ theory is an Ising model");
            let samples = shown("sampling", count, |progress| {
                IsingSamples::generate_with_progress(&self.lattice, temperature, count, reference_seed(seed), progress)
            })?;
            let IsingStatistics { energy_per_site, specific_heat_per_site, magnetisation_per_site } =
                samples.statistics();
            [energy_per_site, magnetisation_per_site, specific_heat_per_site]
        };
        Ok((means.map(|e| Mean { mean: e.mean, standard_error: e.standard_error }), count))
    }

    /// Measures points in the flow's coordinates, row by row. Spins of an Ising model are drawn by `p(s_i = 1 | x) =
    /// σ(2x_i)`, one configuration for each point from its row of `key`: they carry the weight of their point, and
    /// averages over them have no bias.
    pub fn measure(&self, points: &[f64], key: RngKey) -> Measured {
        let n = self.sites();
        let (mut x, mut gradient, mut spins) = (vec![0.0; n], vec![0.0; n], vec![0i8; n]);
        let mut out = Measured::default();
        for (row, point) in points.chunks_exact(n).enumerate() {
            self.energy.to_physical(point, &mut x);
            if let Some(target) = self.energy.phi4() {
                out.energy.push(target.energy_and_gradient(&x, &mut gradient));
                out.magnetisation.push(x.iter().sum::<f64>().abs());
                continue;
            }
            sample_spins(&x, &mut key.row(row as u64), &mut spins);
            out.energy.push(self.lattice.spin_energy(&spins));
            out.magnetisation.push(spins.iter().map(|s| f64::from(*s)).sum::<f64>().abs());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use flow_core::Purpose;

    use super::*;
    use crate::recipes;

    fn model(recipe: &str, settings: &[&str]) -> LatticeModel {
        let settings: Vec<_> = settings.iter().map(|s| s.parse().unwrap()).collect();
        LatticeModel::new(&recipes::load(recipe, &settings).unwrap()).unwrap()
    }

    #[test]
    fn spins_under_weights_have_the_enumerated_averages() {
        // Points far from the target's density, brought back by their weights: z ~ N(0, 1.3²) on 2 × 2 sites in
        // whitened coordinates.
        let model =
            model("ising-16", &["target.size=2", "target.boundary=open", "potential.terms=[{kind=\"quadratic\"}]"]);
        let (rows, width) = (200_000, 1.3);
        let key = RngKey::new(1, Purpose::Sample, 0);
        let points: Vec<f64> = key.normals(0..rows, 4).iter().map(|z| width * z).collect();
        let loss = |y: &[f64]| {
            let ln_p = flow_core::standard_normal_log_density(&y.iter().map(|y| y / width).collect::<Vec<_>>());
            ln_p - 4.0 * width.ln() + model.energy().at(y, &mut [0.0; 4])
        };
        let losses: Vec<f64> = points.chunks(4).map(loss).collect();
        let weights = Weights::new(&losses);
        let measured = model.measure(&points, RngKey::new(1, Purpose::Spins, 0));
        // Four bonds in a square: by enumeration of 16 states.
        let t = model.temperature().unwrap();
        let (mut z, mut sums) = (0.0, [0.0; 3]);
        for state in 0..16 {
            let s: Vec<i8> = (0..4).map(|i| if state >> i & 1 == 1 { 1 } else { -1 }).collect();
            let e = model.lattice.spin_energy(&s);
            let w = (-e / t).exp();
            z += w;
            let m = s.iter().map(|s| f64::from(*s)).sum::<f64>().abs();
            for (sum, of) in sums.iter_mut().zip([e, m, e * e]) {
                *sum += w * of;
            }
        }
        let [e, m, e2] = sums.map(|sum| sum / z);
        let exact = [e / 4.0, m / 4.0, (e2 - e * e) / (4.0 * t * t)];
        for (observable, exact) in model.observables().into_iter().zip(exact) {
            let found = observable.weighted(&weights, &measured);
            let pull = (found.mean - exact) / found.standard_error;
            assert!(pull.abs() < 4.0 && found.standard_error < 0.01, "{}: {found:?}, exact {exact}", observable.key);
            // Without the weights it would be seen.
            let raw = observable.weighted(&Weights::equal(rows), &measured);
            assert!((raw.mean - exact).abs() > 8.0 * raw.standard_error, "{}: {raw:?}", observable.key);
            if let Some(known) = model.exact(observable) {
                assert!((known - exact).abs() < 1e-12, "{known} {exact}");
            }
        }
        let log_z = weights.log_z();
        assert!((log_z.mean - model.exact_log_z().unwrap()).abs() < 4.0 * log_z.standard_error, "{log_z:?}");
    }

    #[test]
    fn clusters_agree_with_the_exact_values() {
        let model = model("ising-8", &["target.size=4"]);
        let (found, count) = model.clusters(3).unwrap();
        assert_eq!(count, 1 << 14);
        for (observable, found) in model.observables().into_iter().zip(found) {
            if let Some(exact) = model.exact(observable) {
                assert!((found.mean - exact).abs() < 4.0 * found.standard_error, "{}: {found:?}", observable.key);
            }
        }
    }

    #[test]
    fn a_field_theory_has_the_same_figures_in_either_coordinates() {
        // Points from unit Gaussians, brought to the target's density by their weights.
        let rows = 200_000;
        let key = RngKey::new(2, Purpose::Sample, 0);
        let points = key.normals(0..rows, 4);
        let [plain, whitened] = ["x", "whitened"].map(|coordinates| {
            let target =
                format!("target={{kind=\"phi4\", size=2, kappa=0.15, lambda=0.1, coordinates=\"{coordinates}\"}}");
            let model = model(
                "ising-16",
                &[&target, "train.objective=\"free-energy\"", "potential.terms=[{kind=\"quadratic\"}]"],
            );
            let loss = |y: &[f64]| {
                let energy = model.energy().at(y, &mut [0.0; 4]);
                flow_core::standard_normal_log_density(y) + energy
            };
            let weights = Weights::new(&points.chunks(4).map(loss).collect::<Vec<_>>());
            let measured = model.measure(&points, key);
            let observables = model.observables().map(|observable| observable.weighted(&weights, &measured));
            (weights.ess(), weights.log_z(), observables, model.clusters(4).unwrap().0)
        });
        let agree = |what: &str, a: Mean, b: Mean| {
            let error = a.standard_error.hypot(b.standard_error);
            assert!((a.mean - b.mean).abs() < 4.0 * error && error < 0.02, "{what}: {a:?}, {b:?}");
        };
        agree("ln Z", plain.1, whitened.1);
        for i in 0..3 {
            agree("observable", plain.2[i], plain.3[i]);
            agree("observable in whitened coordinates", whitened.2[i], whitened.3[i]);
        }
        // In them a unit Gaussian is nearly the target.
        assert!(whitened.0 > 0.95 && plain.0 < 0.9, "{} {}", whitened.0, plain.0);
    }

    #[test]
    fn what_is_no_lattice_model_is_refused() {
        let refused = |recipe: &str| LatticeModel::new(&recipes::load(recipe, &[]).unwrap()).unwrap_err().to_string();
        assert!(refused("two-moons").contains("maflow evaluate"), "{}", refused("two-moons"));
        assert!(refused("mnist").contains("mnist"));
    }
}
