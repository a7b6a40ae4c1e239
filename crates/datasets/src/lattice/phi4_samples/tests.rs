//! Pools of fields against exact two-point functions, quadrature, the Ising model, and their own autocorrelation.

use super::super::{Boundary, DenseCoupling};
use super::*;
use crate::quadrature::integrate_plane;

fn target(rows: usize, cols: usize, boundary: Boundary, kappa: f64, lambda: f64) -> Phi4Target {
    Phi4Target::new(rows, cols, boundary, kappa, lambda).unwrap()
}

/// The mean over a pool of a function of the field.
fn mean(samples: &Phi4Samples, of: impl Fn(&[f64]) -> f64) -> Estimate {
    let field = |index| samples.field(index).iter().map(|&phi| f64::from(phi)).collect::<Vec<f64>>();
    let series: Vec<f64> = (0..samples.len()).map(|index| of(&field(index))).collect();
    Estimate::from_chains(&samples.pool.by_chain(&series))
}

#[track_caller]
fn assert_exact(what: &str, found: Estimate, exact: f64) {
    assert!((found.mean - exact).abs() < 4.0 * found.standard_error, "{what}: {found:?} against {exact}");
    // So that the bound above can fail: the error is small.
    assert!(found.standard_error < 0.02 * exact.abs().max(0.5), "{what}: {found:?}");
}

#[test]
fn free_fields_have_their_exact_two_point_function() {
    for (rows, cols, boundary, kappa) in [
        (1, 1, Boundary::Periodic, 0.15),
        (1, 2, Boundary::Periodic, 0.2),
        (1, 4, Boundary::Periodic, 0.2),
        (2, 2, Boundary::Periodic, 0.22),
        (3, 3, Boundary::Periodic, -0.2),
        (4, 4, Boundary::Periodic, 0.24),
        (3, 4, Boundary::Open, 0.28),
    ] {
        let target = target(rows, cols, boundary, kappa, 0.0);
        let n = target.sites();
        let mut inverse = target.lattice().adjacency();
        for (index, entry) in inverse.iter_mut().enumerate() {
            *entry = 2.0 * (f64::from(u8::from(index / n == index % n)) - kappa * *entry);
        }
        let covariance = DenseCoupling::new(n, &inverse).inverse().unwrap();
        let samples = Phi4Samples::generate(&target, 20_000, 1).unwrap();
        for j in 0..n {
            let what = format!("⟨φ₀φ_{j}⟩ on {rows}×{cols} {boundary}");
            assert_exact(&what, mean(&samples, |field| field[0] * field[j]), covariance[j]);
        }
        assert_exact("action", samples.statistics().action_per_site, 0.5);
    }
}

#[test]
fn two_sites_agree_with_quadrature() {
    for (boundary, kappa, lambda) in [
        (Boundary::Open, 0.3, 0.5),
        (Boundary::Periodic, 0.25, 0.022),
        (Boundary::Periodic, -0.3, 0.2),
        (Boundary::Periodic, 0.4, 3.0),
    ] {
        let target = target(1, 2, boundary, kappa, lambda);
        let weight = |x: [f64; 2]| (-target.energy_and_gradient(&x, &mut [0.0; 2])).exp();
        let over = |of: &dyn Fn([f64; 2]) -> f64| integrate_plane([7.0; 2], 0.04, |x| weight(x) * of(x));
        let z = over(&|_| 1.0);
        let action = over(&|x| target.energy_and_gradient(&x, &mut [0.0; 2])) / z;
        let magnetisation = over(&|x| (x[0] + x[1]).abs()) / z;
        let square = over(&|x| (x[0] + x[1]).powi(2)) / z;
        let samples = Phi4Samples::generate(&target, 40_000, 2).unwrap();
        let what = |name| format!("{name} on {boundary}, κ = {kappa}, λ = {lambda}");
        let found = samples.statistics();
        assert_exact(&what("action"), found.action_per_site, action / 2.0);
        assert_exact(&what("|magnetisation|"), found.magnetisation_per_site, magnetisation / 2.0);
        assert_exact(&what("susceptibility"), found.susceptibility, (square - magnetisation.powi(2)) / 2.0);
        let fourth = over(&|x| x[0].powi(4)) / z;
        assert_exact(&what("⟨φ⁴⟩"), mean(&samples, |x| x[0].powi(4)), fourth);
        assert_exact(&what("⟨φ₀φ₁⟩"), mean(&samples, |x| x[0] * x[1]), over(&|x| x[0] * x[1]) / z);
    }
}

#[test]
fn strong_quartic_coupling_is_the_ising_model() {
    // For λ → ∞ each φ becomes ±1, with the weight exp(2κ Σ_bonds s s'): the temperature is 1/2κ, deviations are of
    // order 1/λ.
    for (side, kappa) in [(4, 0.2), (8, 0.22), (2, 0.1)] {
        let target = target(side, side, Boundary::Periodic, kappa, 1e5);
        let samples = Phi4Samples::generate(&target, 20_000, 3).unwrap();
        let bonds: Vec<_> = target.lattice().bonds().collect();
        let energy = mean(&samples, |field| -bonds.iter().map(|&(i, j)| field[i] * field[j]).sum::<f64>());
        let exact = ising_exact::Lattice::square(side).unwrap().thermodynamics(0.5 / kappa).unwrap();
        assert_exact(
            &format!("energy at κ = {kappa}"),
            energy.scaled(1.0 / target.sites() as f64),
            exact.energy_per_site,
        );
    }
}

#[test]
fn configurations_are_practically_independent() {
    // In the symmetric phase, near the transition, beyond it, and where signs are all that is left.
    for (side, kappa, lambda) in [(16, 0.25, 0.022), (16, 0.27, 0.022), (16, 0.3, 0.022), (16, 0.33, 1.0)] {
        let samples = Phi4Samples::generate(&target(side, side, Boundary::Periodic, kappa, lambda), 4096, 4).unwrap();
        let found = samples.statistics();
        let squares = mean(&samples, |field| field.iter().map(|phi| phi * phi).sum());
        for estimate in [found.action_per_site, found.magnetisation_per_site, squares] {
            let time = estimate.autocorrelation;
            assert!(time.tau < 0.6 + 4.0 * time.standard_error, "κ = {kappa}, λ = {lambda}: {time:?}");
            assert!(time.standard_error < 0.1);
        }
    }
}

#[test]
fn actions_and_magnetisations_belong_to_their_fields() {
    for (rows, cols, boundary) in [(2, 3, Boundary::Periodic), (1, 5, Boundary::Periodic), (4, 7, Boundary::Open)] {
        let target = target(rows, cols, boundary, 0.24, 0.1);
        // Not a multiple of the number of chains.
        let samples = Phi4Samples::generate(&target, 101, 5).unwrap();
        assert_eq!((samples.len(), samples.actions().len(), samples.magnetisations().len()), (101, 101, 101));
        let mut up = 0;
        for index in 0..101 {
            let field: Vec<f64> = samples.field(index).iter().map(|&phi| f64::from(phi)).collect();
            let action = target.energy_and_gradient(&field, &mut vec![0.0; field.len()]);
            assert!((action - samples.actions()[index]).abs() < 1e-5 * field.len() as f64);
            let magnetisation: f64 = field.iter().sum();
            assert!((magnetisation - samples.magnetisations()[index]).abs() < 1e-5);
            up += usize::from(magnetisation > 0.0);
        }
        assert!((20..=80).contains(&up), "{up} of 101");
    }
}

#[test]
fn a_pool_depends_on_its_seed_and_not_on_threads() {
    let target = target(6, 6, Boundary::Periodic, 0.25, 0.1);
    let with_threads = |threads, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Phi4Samples::generate(&target, 100, seed)).unwrap().pool.rows().to_vec()
    };
    let alone = with_threads(1, 6);
    assert!(alone == with_threads(5, 6));
    assert!(alone != with_threads(1, 7));
}

#[test]
fn impossible_pools_are_refused() {
    let target = target(4, 4, Boundary::Periodic, 0.2, 0.1);
    for count in [0, usize::MAX, usize::MAX / 16] {
        let error = Phi4Samples::generate(&target, count, 1).unwrap_err();
        assert_eq!(error, LatticeError::SampleCount { count, sites: 16 });
    }
    assert_eq!(Phi4Samples::generate(&target, 1, 1).unwrap().len(), 1);
}
