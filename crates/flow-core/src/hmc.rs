//! Hybrid (Hamiltonian) Monte Carlo of many chains at once, for any energy with a gradient.

use crate::batch::rows_of;
use crate::error::Error;
use crate::rng::{Purpose, RngKey};

/// Energies of the points of some chains (`rows × dim`, row by row) and their gradients, laid out like the points. The
/// second argument is the number of the first of these chains: a chain's energy may depend on its number, as one of a
/// flow that draws a symmetry does.
pub type Energies<'a> = dyn FnMut(&[f64], usize) -> Result<(Vec<f64>, Vec<f64>), Error> + 'a;

/// How a hybrid Monte Carlo is run (Duane et al., Phys. Lett. B 195, 216 (1987)).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hmc {
    /// Numbers per point.
    pub dim: usize,
    /// Leapfrog steps of one trajectory.
    pub leapfrog: usize,
    /// Trajectories of every chain on which the step size is tuned. What is measured comes after them, with the step
    /// fixed.
    pub warm_up: usize,
    /// Trajectories of every chain that are measured.
    pub length: usize,
    /// Mean acceptance that the step size is tuned to.
    pub acceptance: f64,
    /// Step size to begin with.
    pub step: f64,
    /// Seed of momenta and decisions.
    pub seed: u64,
    /// Number of this run among those of the same seed: runs of different streams share no random numbers.
    pub stream: u32,
}

/// What a hybrid Monte Carlo found out about itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HmcReport {
    /// The tuned step size.
    pub step: f64,
    /// Mean acceptance of the measured trajectories.
    pub acceptance: f64,
}

/// Points with their energies and gradients, row by row.
#[derive(Clone)]
struct States {
    x: Vec<f64>,
    energy: Vec<f64>,
    gradient: Vec<f64>,
}

impl Hmc {
    /// Walks one chain from every row of `start`. `visit` sees all points after each measured trajectory; `progress`
    /// hears of every trajectory, those of the warm-up included.
    ///
    /// Step sizes vary by a fifth from trajectory to trajectory, to avoid resonance with a periodic orbit. A trajectory
    /// that meets an energy or a gradient that is not finite, or that an adaptive integrator gave up on, is rejected;
    /// the other chains go on.
    ///
    /// # Errors
    /// Those of the energies and of `visit`; [`Error::Shape`] when the start does not make whole rows;
    /// [`Error::Setting`] when an energy at the start is not finite.
    pub fn run(
        &self,
        energies: &mut Energies<'_>,
        start: Vec<f64>,
        visit: &mut dyn FnMut(&[f64]) -> Result<(), Error>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<HmcReport, Error> {
        rows_of("the starts of the chains", &start, self.dim)?;
        let (energy, gradient) = energies(&start, 0)?;
        if let Some(bad) = energy.iter().find(|e| !e.is_finite()) {
            return Err(Error::setting("the energy at the start of a chain", bad, "finite"));
        }
        let mut states = States { x: start, energy, gradient };
        let mut tuning = Tuning { log_step: self.step.ln(), sum: 0.0, summed: 0 };
        for n in 0..self.warm_up {
            let acceptance = self.trajectory(energies, &mut states, tuning.log_step.exp(), n)?;
            tuning.learn(n, self.warm_up, acceptance - self.acceptance);
            progress(n + 1);
        }
        let step = tuning.step();
        let mut sum = 0.0;
        for n in self.warm_up..self.warm_up + self.length {
            sum += self.trajectory(energies, &mut states, step, n)?;
            visit(&states.x)?;
            progress(n + 1);
        }
        Ok(HmcReport { step, acceptance: sum / self.length as f64 })
    }

    /// One trajectory of every chain; the mean probability of acceptance.
    fn trajectory(&self, energies: &mut Energies<'_>, at: &mut States, step: f64, n: usize) -> Result<f64, Error> {
        let rows = at.energy.len();
        let key = RngKey::new(self.seed, Purpose::Chain, u64::from(self.stream) << 32 | n as u64);
        let step = step * (1.0 + 0.2 * key.uniform(u64::MAX, 1)[0]);
        let mut momentum = key.noise(0..rows, self.dim);
        let kinetic = |momentum: &[f64]| -> Vec<f64> {
            momentum.chunks_exact(self.dim).map(|p| 0.5 * p.iter().map(|p| p * p).sum::<f64>()).collect()
        };
        let before = kinetic(&momentum);
        let mut new = at.clone();
        let kick = |momentum: &mut [f64], gradient: &[f64], size: f64| {
            momentum.iter_mut().zip(gradient).for_each(|(p, g)| *p -= size * g);
        };
        kick(&mut momentum, &new.gradient, 0.5 * step);
        // Chains whose trajectory is rejected whatever comes: a step without a finite gradient cannot be taken back.
        let mut broken = vec![false; rows];
        for k in 0..self.leapfrog {
            new.x.iter_mut().zip(&momentum).for_each(|(x, p)| *x += step * p);
            // A chain that is broken stands still where it began, so that it cannot break others.
            for (r, _) in broken.iter().enumerate().filter(|(_, broken)| **broken) {
                let place = r * self.dim..(r + 1) * self.dim;
                new.x[place.clone()].copy_from_slice(&at.x[place]);
            }
            (new.energy, new.gradient) = energies_of_each(energies, &new.x, 0, self.dim)?;
            for (r, gradient) in new.gradient.chunks_exact_mut(self.dim).enumerate() {
                broken[r] |= !(new.energy[r].is_finite() && gradient.iter().all(|g| g.is_finite()));
                if broken[r] {
                    gradient.fill(0.0);
                }
            }
            kick(&mut momentum, &new.gradient, if k + 1 < self.leapfrog { step } else { 0.5 * step });
        }
        let after = kinetic(&momentum);
        let mut sum = 0.0;
        for r in 0..rows {
            let change = new.energy[r] + after[r] - at.energy[r] - before[r];
            let probability = if broken[r] || change.is_nan() { 0.0 } else { (-change).exp().min(1.0) };
            sum += probability;
            let uniform = 0.5 + 0.5 * key.uniform(r as u64, 1)[0];
            if uniform < probability {
                let place = r * self.dim..(r + 1) * self.dim;
                at.x[place.clone()].copy_from_slice(&new.x[place.clone()]);
                at.gradient[place.clone()].copy_from_slice(&new.gradient[place]);
                at.energy[r] = new.energy[r];
            }
        }
        Ok(sum / rows as f64)
    }
}

/// Energies and gradients of all points; where an integrator gave up on all of them together, of each point alone, NaN
/// for those that it gives up on then.
fn energies_of_each(
    energies: &mut Energies<'_>,
    x: &[f64],
    first: usize,
    dim: usize,
) -> Result<(Vec<f64>, Vec<f64>), Error> {
    match energies(x, first) {
        Err(Error::Adaptive { .. } | Error::NonFinite { .. }) if x.len() > dim => {
            let mut all = (Vec::new(), Vec::new());
            for (chain, x) in x.chunks_exact(dim).enumerate() {
                let (energy, gradient) = energies_of_each(energies, x, first + chain, dim)?;
                all.0.extend(energy);
                all.1.extend(gradient);
            }
            Ok(all)
        }
        Err(Error::Adaptive { .. } | Error::NonFinite { .. }) => Ok((vec![f64::NAN], vec![f64::NAN; dim])),
        found => found,
    }
}

/// Stochastic approximation (Robbins and Monro 1951) of the step size at which trajectories are accepted as often as
/// wanted.
struct Tuning {
    log_step: f64,
    /// Sum over the second half of the warm-up, whose mean is used.
    sum: f64,
    summed: usize,
}

impl Tuning {
    fn learn(&mut self, n: usize, of: usize, excess: f64) {
        self.log_step += excess / (1.0 + n as f64 / 10.0).sqrt();
        if 2 * n >= of {
            self.sum += self.log_step;
            self.summed += 1;
        }
    }

    fn step(&self) -> f64 {
        if self.summed == 0 { self.log_step.exp() } else { (self.sum / self.summed as f64).exp() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Mean;

    /// `½ (x/σ)²` for the widths 1 and 0.3, plus x₀⁴/4 in the first coordinate.
    fn energies(x: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let row = |x: &[f64]| 0.5 * x[0] * x[0] + 0.25 * x[0].powi(4) + 0.5 * (x[1] / 0.3).powi(2);
        let gradient = |x: &[f64]| [x[0] + x[0].powi(3), x[1] / 0.09];
        (x.chunks(2).map(row).collect(), x.chunks(2).flat_map(gradient).collect())
    }

    fn run(step: f64) -> (HmcReport, Vec<f64>) {
        let (dim, leapfrog, acceptance) = (2, 5, 0.8);
        let hybrid = Hmc { dim, leapfrog, warm_up: 200, length: 500, acceptance, step, seed: 3, stream: 0 };
        let mut seen = Vec::new();
        let mut steps = 0;
        let report = hybrid.run(
            &mut |x, _| Ok(energies(x)),
            vec![0.5; 2 * 64],
            &mut |x| {
                seen.extend_from_slice(x);
                Ok(())
            },
            &mut |_| steps += 1,
        );
        assert_eq!(steps, 700);
        (report.unwrap(), seen)
    }

    #[test]
    fn moments_and_acceptance_are_right_wherever_the_step_begins() {
        // ⟨x₀²⟩ by the trapezoid rule.
        let nodes = (-800..=800).map(|k| f64::from(k) * 0.01);
        let (z, square) = nodes.fold((0.0, 0.0), |(z, square), x| {
            let w = (-0.5 * x * x - 0.25 * x.powi(4)).exp();
            (z + w, square + w * x * x)
        });
        for step in [0.01, 0.2, 3.0] {
            let (report, seen) = run(step);
            assert!((report.acceptance - 0.8).abs() < 0.05, "{report:?}");
            for (i, exact) in [square / z, 0.09].into_iter().enumerate() {
                // Means over chains are independent of each other.
                let of_chain = |chain: usize| {
                    let of: Vec<f64> = seen.iter().skip(2 * chain + i).step_by(2 * 64).map(|x| x * x).collect();
                    assert_eq!(of.len(), 500);
                    Mean::of(&of).mean
                };
                let found = Mean::of(&(0..64).map(of_chain).collect::<Vec<_>>());
                assert!((found.mean - exact).abs() < 4.0 * found.standard_error, "{i}: {found:?}, exact {exact}");
                assert!(found.standard_error < 0.03 * exact, "{found:?}");
            }
        }
    }

    #[test]
    fn impossible_energies_are_rejected_or_refused() {
        let hybrid =
            Hmc { dim: 1, leapfrog: 3, warm_up: 0, length: 20, acceptance: 0.8, step: 0.5, seed: 1, stream: 1 };
        // A box: outside there is nothing.
        let wall = |x: &[f64]| {
            let energy = x.iter().map(|x| if x.abs() < 1.0 { 0.0 } else { f64::NAN }).collect();
            (energy, vec![0.0; x.len()])
        };
        let mut inside = true;
        let mut see = |x: &[f64]| {
            inside &= x.iter().all(|x| x.abs() < 1.0);
            Ok(())
        };
        let report = hybrid.run(&mut |x, _| Ok(wall(x)), vec![0.0; 8], &mut see, &mut |_| ()).unwrap();
        assert!(inside && report.acceptance > 0.0 && report.acceptance < 1.0, "{report:?}");
        let refused = hybrid.run(&mut |x, _| Ok(wall(x)), vec![2.0; 8], &mut |_| Ok(()), &mut |_| ());
        assert!(refused.unwrap_err().to_string().contains("start of a chain"));
    }

    /// What a chain meets in part of its well.
    #[derive(Clone, Copy, PartialEq)]
    enum Gap {
        /// Nothing: the energies are those of the well everywhere.
        None,
        /// An integrator gives up.
        GivesUp,
        /// The energy is NaN, and the gradient as if nothing were.
        NoEnergy,
        /// The gradient is NaN, and the energy as if nothing were.
        NoGradient,
    }

    /// Points after each of 60 trajectories of three chains, each in a parabola of its own, and whether the first chain
    /// met the gap in the middle of its parabola. A trajectory is long enough to come out on the other side.
    fn chains_beside_a_gap(gap: Gap) -> Vec<(Vec<f64>, bool)> {
        let hybrid =
            Hmc { dim: 1, leapfrog: 20, warm_up: 0, length: 60, acceptance: 0.8, step: 0.1, seed: 5, stream: 0 };
        let met = std::cell::Cell::new(false);
        let mut energies = |x: &[f64], first: usize| {
            let in_gap = |x: f64| gap != Gap::None && (0.2..0.4).contains(&x);
            met.set(met.get() || x.iter().any(|x| in_gap(*x)));
            for (i, x) in x.iter().enumerate() {
                assert_eq!((x / 10.0).round() as usize, first + i, "a chain is asked for under another number");
            }
            if gap == Gap::GivesUp && x.iter().any(|x| in_gap(*x)) {
                let reason = "the step became too small";
                return Err(Error::Adaptive { time: 0.5, steps: 9, reason, relative: 1e-6, absolute: 1e-6 });
            }
            let off = |x: f64| x - 10.0 * (x / 10.0).round();
            let energy = |x: &f64| if gap == Gap::NoEnergy && in_gap(*x) { f64::NAN } else { 0.5 * off(*x).powi(2) };
            let gradient = |x: &f64| if gap == Gap::NoGradient && in_gap(*x) { f64::NAN } else { off(*x) };
            Ok((x.iter().map(energy).collect(), x.iter().map(gradient).collect()))
        };
        let mut seen = Vec::new();
        let mut visit = |x: &[f64]| {
            seen.push((x.to_vec(), met.replace(false)));
            Ok(())
        };
        hybrid.run(&mut energies, vec![0.0, 10.0, 20.0], &mut visit, &mut |_| ()).unwrap();
        seen
    }

    #[test]
    fn a_trajectory_through_a_gap_is_rejected_and_touches_no_other_chain() {
        let undisturbed = chains_beside_a_gap(Gap::None);
        for gap in [Gap::GivesUp, Gap::NoEnergy, Gap::NoGradient] {
            let (mut before, mut met, mut moved) = (0.0, 0, 0);
            for ((x, in_gap), (expected, _)) in chains_beside_a_gap(gap).into_iter().zip(&undisturbed) {
                assert_eq!(x[1..], expected[1..], "the gap of one chain moved another");
                assert!(!in_gap || x[0] == before, "a trajectory from {before} through the gap ended on {}", x[0]);
                met += u32::from(in_gap);
                moved += u32::from(x[0] != before);
                before = x[0];
            }
            assert!(met > 10 && moved > 5, "{met} trajectories met the gap, {moved} moved");
        }
    }

    #[test]
    fn numbers_that_make_no_whole_points_are_refused() {
        let hybrid = Hmc { dim: 2, leapfrog: 1, warm_up: 0, length: 1, acceptance: 0.8, step: 0.5, seed: 1, stream: 1 };
        let refused = hybrid.run(&mut |x, _| Ok(energies(x)), vec![0.0; 3], &mut |_| Ok(()), &mut |_| ());
        assert!(matches!(refused, Err(Error::Shape { .. })), "{refused:?}");
    }
}
