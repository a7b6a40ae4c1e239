//! A lattice model as physicists measure it: energy, magnetisation and their fluctuations, with the exact values where
//! there are any.

use flow_core::{Mean, RngKey, Team};

use super::{Measured, Observable, Target};
use crate::error::Error;
use crate::monitor::Monitor;

/// A target that is a lattice model.
pub trait LatticeModel: Target {
    /// Its name in reports, as `ising`.
    fn name(&self) -> &'static str;

    /// What is computed of measurements.
    fn observables(&self) -> [Observable; 3];

    /// The exact value of an observable, where it is known.
    fn exact(&self, _observable: &Observable) -> Option<f64> {
        None
    }

    /// Averages over `count` configurations of cluster Monte Carlo, in the order of [`LatticeModel::observables`]. The
    /// members of a team share the chains, and each has the averages.
    ///
    /// # Errors
    /// Those of the sampler, or an end that the monitor asks for.
    fn clusters(&self, seed: u64, count: usize, team: &dyn Team, monitor: &dyn Monitor) -> Result<[Mean; 3], Error>;

    /// Configurations of cluster Monte Carlo, `count × sites` row by row: spins ±1, or fields.
    ///
    /// # Errors
    /// Those of the sampler, or an end that the monitor asks for.
    fn configurations(&self, seed: u64, count: usize, monitor: &dyn Monitor) -> Result<Vec<f64>, Error>;

    /// Measures points in the flow's coordinates, row by row.
    fn measure(&self, points: &[f64], key: RngKey) -> Measured;
}

#[cfg(test)]
mod tests {
    use datasets::lattice::{Boundary, Lattice};
    use flow_core::{Alone, Purpose, Weights};

    use super::*;
    use crate::recipes;
    use crate::target::open;

    fn target(recipe: &str, settings: &[&str]) -> Box<dyn Target> {
        let settings: Vec<_> = settings.iter().map(|s| s.parse().unwrap()).collect();
        open(&recipes::load(recipe, &settings).unwrap(), None, None, &()).unwrap()
    }

    #[test]
    fn spins_under_weights_have_the_enumerated_averages() {
        // Points far from the target's density, brought back by their weights: z ~ N(0, 1.3²) on 2 × 2 sites in
        // whitened coordinates.
        let settings = ["target.size=2", "target.boundary=open", "potential.terms=[{kind=\"quadratic\"}]"];
        let target = target("ising-16", &settings);
        let (model, energy) = (target.lattice_model().unwrap(), target.energy().unwrap());
        let (rows, width) = (200_000, 1.3);
        let key = RngKey::new(1, Purpose::Sample, 0);
        let points: Vec<f64> = key.normals(0..rows, 4).iter().map(|z| width * z).collect();
        let loss = |y: &[f64]| {
            let ln_p = flow_core::standard_normal_log_density(&y.iter().map(|y| y / width).collect::<Vec<_>>());
            ln_p - 4.0 * width.ln() + energy.energy_and_gradient(y, &[], &mut [0.0; 4]).unwrap()
        };
        let losses: Vec<f64> = points.chunks(4).map(loss).collect();
        let weights = Weights::new(&losses);
        let measured = model.measure(&points, RngKey::new(1, Purpose::Spins, 0));
        // Four bonds in a square: by enumeration of 16 states.
        let t = 2.0 / std::f64::consts::SQRT_2.ln_1p();
        let lattice = Lattice::new(2, 2, Boundary::Open).unwrap();
        let (mut z, mut sums) = (0.0, [0.0; 3]);
        for state in 0..16 {
            let s: Vec<i8> = (0..4).map(|i| if state >> i & 1 == 1 { 1 } else { -1 }).collect();
            let e = lattice.spin_energy(&s);
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
            if let Some(known) = model.exact(&observable) {
                assert!((known - exact).abs() < 1e-12, "{known} {exact}");
            }
        }
        let log_z = weights.log_z();
        assert!((log_z.mean - -model.known().unwrap().value()).abs() < 4.0 * log_z.standard_error, "{log_z:?}");
    }

    #[test]
    fn clusters_agree_with_the_exact_values() {
        let target = target("ising-8", &["target.size=4"]);
        let model = target.lattice_model().unwrap();
        let found = model.clusters(3, 1 << 14, &Alone, &()).unwrap();
        for (observable, found) in model.observables().into_iter().zip(found) {
            if let Some(exact) = model.exact(&observable) {
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
            let settings =
                format!("target={{kind=\"phi4\", size=2, kappa=0.15, lambda=0.1, coordinates=\"{coordinates}\"}}");
            let target = target(
                "ising-16",
                &[&settings, "train.objective=\"free-energy\"", "potential.terms=[{kind=\"quadratic\"}]"],
            );
            let (model, energy) = (target.lattice_model().unwrap(), target.energy().unwrap());
            let loss = |y: &[f64]| {
                let energy = energy.energy_and_gradient(y, &[], &mut [0.0; 4]).unwrap();
                flow_core::standard_normal_log_density(y) + energy
            };
            let weights = Weights::new(&points.chunks(4).map(loss).collect::<Vec<_>>());
            let measured = model.measure(&points, key);
            let observables = model.observables().map(|observable| observable.weighted(&weights, &measured));
            (weights.ess(), weights.log_z(), observables, model.clusters(4, 1 << 14, &Alone, &()).unwrap())
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
}
