//! Whitened coordinates against dense linear algebra, enumeration of the mixture and quadrature.

use std::f64::consts::PI;

use super::super::{Boundary, CRITICAL_TEMPERATURE, Lattice, up_probability};
use super::*;
use crate::finite_difference::assert_gradient;

fn targets() -> impl Iterator<Item = WhitenedIsing> {
    [(1, 1), (1, 2), (2, 2), (2, 3), (1, 5), (3, 3), (5, 7), (8, 8), (6, 9)].into_iter().flat_map(|(rows, cols)| {
        [(Boundary::Periodic, 1.3), (Boundary::Periodic, CRITICAL_TEMPERATURE), (Boundary::Open, CRITICAL_TEMPERATURE)]
            .map(|(boundary, t)| IsingTarget::new(rows, cols, boundary, t).unwrap().whitened())
    })
}

fn point(n: usize) -> Vec<f64> {
    (0..n).map(|i| 1.7 * (1.3 * i as f64 + 0.4).sin()).collect()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < tolerance, "{found} against {expected}");
    }
}

/// All states as spins, with their weights `exp(Σ_bonds s_i s_j / T)`.
fn states(lattice: &Lattice, temperature: f64) -> Vec<(Vec<i8>, f64)> {
    let spins = |state: u32| (0..lattice.sites()).map(|i| if state >> i & 1 == 1 { 1 } else { -1 }).collect();
    let weight = |spins: &Vec<i8>| {
        (lattice.bonds().map(|(i, j)| f64::from(spins[i] * spins[j])).sum::<f64>() / temperature).exp()
    };
    (0..1 << lattice.sites()).map(spins).map(|spins| (weight(&spins), spins)).map(|(w, s)| (s, w)).collect()
}

#[test]
fn fast_coordinates_agree_with_the_dense_square_root() {
    for target in targets() {
        let n = target.sites();
        let root = target.physical().dense_coupling().square_root().unwrap();
        let y = point(n);
        let dense: Vec<f64> = root.chunks_exact(n).map(|row| row.iter().zip(&y).map(|(a, b)| a * b).sum()).collect();
        let (mut x, mut back) = (vec![0.0; n], vec![0.0; n]);
        target.to_physical(&y, &mut x);
        assert_close(&x, &dense, 1e-10);
        target.to_whitened(&x, &mut back);
        assert_close(&back, &y, 1e-10);
    }
}

#[test]
fn energy_is_that_of_the_physical_target_and_the_gradient_its_own() {
    for target in targets() {
        let n = target.sites();
        let y = point(n);
        let (mut x, mut gradient) = (vec![0.0; n], vec![0.0; n]);
        target.to_physical(&y, &mut x);
        let energy = target.energy_and_gradient(&y, &mut gradient);
        let physical = target.physical().energy_and_gradient(&x, &mut gradient);
        assert!((energy - physical).abs() < 1e-10, "{target:?}: {energy} against {physical}");
        assert_gradient(&y, |y, gradient| target.energy_and_gradient(y, gradient));
    }
}

#[test]
fn density_is_the_mixture_of_unit_gaussians_at_the_centres_of_the_states() {
    for target in targets().filter(|target| target.sites() <= 9) {
        let n = target.sites();
        let states = states(target.physical().lattice(), target.physical().temperature());
        let z_ising: f64 = states.iter().map(|(_, weight)| weight).sum();
        for y in [point(n), vec![0.0; n], vec![1.5; n]] {
            let mut centre = vec![0.0; n];
            let mut mixture = 0.0;
            for (spins, weight) in &states {
                target.centre(spins, &mut centre);
                let square: f64 = y.iter().zip(&centre).map(|(y, c)| (y - c).powi(2)).sum();
                mixture += weight / z_ising * (-0.5 * square).exp();
            }
            let ln_density = mixture.ln() - 0.5 * n as f64 * (2.0 * PI).ln();
            let found = -target.energy_and_gradient(&y, &mut centre) + target.minus_log_z(z_ising.ln());
            assert!((found - ln_density).abs() < 1e-11, "{target:?}: {found} against {ln_density}");
        }
    }
}

#[test]
fn spins_given_y_follow_the_posterior_of_the_mixture() {
    let target = IsingTarget::new(2, 3, Boundary::Periodic, 3.0).unwrap().whitened();
    let (y, mut x, mut centre) = (point(6), vec![0.0; 6], vec![0.0; 6]);
    target.to_physical(&y, &mut x);
    let (mut all, mut up) = (0.0, vec![0.0; 6]);
    for (spins, weight) in states(target.physical().lattice(), 3.0) {
        target.centre(&spins, &mut centre);
        let square: f64 = y.iter().zip(&centre).map(|(y, c)| (y - c).powi(2)).sum();
        let weight = weight * (-0.5 * square).exp();
        all += weight;
        for (up, spin) in up.iter_mut().zip(spins) {
            *up += if spin == 1 { weight } else { 0.0 };
        }
    }
    for (up, x) in up.iter().zip(x) {
        assert!((up / all - up_probability(x)).abs() < 1e-12);
    }
}

#[test]
fn partition_function_is_the_integral() {
    // The trapezoid rule errs by exp(−2π²/h²) on unit Gaussians.
    let (h, half) = (0.4, 40);
    for (boundary, temperature) in [(Boundary::Open, 1.0), (Boundary::Periodic, 2.5)] {
        let target = IsingTarget::new(1, 2, boundary, temperature).unwrap().whitened();
        let mut z = 0.0;
        for i in -half..=half {
            for j in -half..=half {
                let y = [f64::from(i) * h, f64::from(j) * h];
                z += (-target.energy_and_gradient(&y, &mut [0.0; 2])).exp() * h * h;
            }
        }
        let z_ising: f64 = states(target.physical().lattice(), temperature).iter().map(|(_, weight)| weight).sum();
        let exact = target.minus_log_z(z_ising.ln());
        assert!((-z.ln() - exact).abs() < 1e-12, "{boundary}: {} against {exact}", -z.ln());
    }
}
