//! The gap equation, the coordinates against dense linear algebra, and what the Gaussian promises.

use std::f64::consts::PI;

use super::super::{Boundary, DenseCoupling};
use super::*;
use crate::finite_difference::assert_gradient;

/// Symmetric and broken, free, weak and strong, with and without short sides.
fn targets() -> impl Iterator<Item = WhitenedPhi4> {
    [(1, 1), (1, 2), (2, 2), (2, 3), (1, 5), (3, 3), (5, 7), (8, 8)].into_iter().flat_map(|(rows, cols)| {
        [
            (Boundary::Periodic, 0.2, 0.0),
            (Boundary::Periodic, 0.25, 0.022),
            (Boundary::Periodic, 0.6, 0.022),
            (Boundary::Periodic, -0.3, 1.5),
            (Boundary::Periodic, 0.3, 100.0),
            (Boundary::Open, 0.3, 0.1),
        ]
        .map(|(boundary, kappa, lambda)| Phi4Target::new(rows, cols, boundary, kappa, lambda).unwrap().whitened())
    })
}

fn point(n: usize) -> Vec<f64> {
    (0..n).map(|i| 1.7 * (1.3 * i as f64 + 0.4).sin()).collect()
}

/// `2(m² − κA)` = K⁻¹.
fn dense_inverse(target: &WhitenedPhi4) -> Vec<f64> {
    let n = target.sites();
    let mut inverse = target.physical().lattice().adjacency();
    for (index, entry) in inverse.iter_mut().enumerate() {
        let mass = if index / n == index % n { target.mass() } else { 0.0 };
        *entry = 2.0 * (mass - target.physical().kappa() * *entry);
    }
    inverse
}

fn product(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
}

#[track_caller]
fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < tolerance * expected.abs().max(1.0), "{what}: {found} against {expected}");
    }
}

#[test]
fn gap_equation_and_coordinates_are_those_of_the_dense_matrix() {
    for target in targets() {
        let n = target.sites();
        let what = format!("{target:?}");
        let inverse = DenseCoupling::new(n, &dense_inverse(&target));
        let k = inverse.inverse().unwrap();
        let variance = (0..n).map(|i| k[i * n + i]).sum::<f64>() / n as f64;
        let lambda = target.physical().lambda();
        assert_close(&what, &[target.variance()], &[variance], 1e-9);
        assert_close(&what, &[target.mass()], &[1.0 - 2.0 * lambda + 6.0 * lambda * variance], 1e-9);
        assert_close(&what, &[target.log_det_k()], &[-inverse.log_det().unwrap()], 1e-9);

        let y = point(n);
        let (mut field, mut back) = (vec![0.0; n], vec![0.0; n]);
        target.to_physical(&y, &mut field);
        let root = DenseCoupling::new(n, &k).square_root().unwrap();
        assert_close(&what, &field, &product(&root, &y), 1e-9);
        target.to_whitened(&field, &mut back);
        assert_close(&what, &back, &y, 1e-10);
    }
}

#[test]
fn the_gap_equation_is_solved_to_round_off_from_weak_to_strong_coupling() {
    for side in [1, 2, 16, 64] {
        for (kappa, lambda) in
            [(0.0, 0.1), (0.25, 1e-9), (0.25, 0.022), (0.2499, 1e-6), (0.3, 1e-6), (2.0, 0.01), (-0.3, 1e4), (0.3, 1e8)]
        {
            let target = Phi4Target::new(side, side, Boundary::Periodic, kappa, lambda).unwrap().whitened();
            let residual = target.mass() - (1.0 - 2.0 * lambda) - 6.0 * lambda * target.variance();
            let scale = target.mass().abs() + 1.0 + 2.0 * lambda + 6.0 * lambda * target.variance();
            // A sum of N numbers has round-off of its own.
            let round_off = f64::EPSILON * (10.0 + target.sites() as f64);
            assert!(residual.abs() < round_off * scale, "{target:?}: {residual:e}");
            // The lattice's softest mode is stable.
            assert!(target.mass() > 4.0 * kappa.abs() || (side == 1 && target.mass() > 4.0 * kappa), "{target:?}");
        }
    }
}

#[test]
fn energy_is_the_action_and_the_gradient_its_own() {
    for target in targets() {
        let n = target.sites();
        let y = point(n);
        let (mut field, mut gradient) = (vec![0.0; n], vec![0.0; n]);
        target.to_physical(&y, &mut field);
        let energy = target.energy_and_gradient(&y, &mut gradient);
        let action = target.physical().energy_and_gradient(&field, &mut gradient);
        assert!((energy - action).abs() < 1e-11 * action.abs().max(1.0), "{target:?}: {energy} against {action}");
        assert_gradient(&y, |y, gradient| target.energy_and_gradient(y, gradient));
    }
}

#[test]
fn the_free_field_becomes_standard_normal() {
    for (rows, cols, boundary) in [(1, 1, Boundary::Periodic), (4, 6, Boundary::Periodic), (3, 5, Boundary::Open)] {
        let free = Phi4Target::new(rows, cols, boundary, 0.24, 0.0).unwrap();
        let log_z = free.free_field_log_z().unwrap();
        let target = free.whitened();
        let n = target.sites();
        let (y, mut gradient) = (point(n), vec![0.0; n]);
        let energy = target.energy_and_gradient(&y, &mut gradient);
        assert!((energy - 0.5 * y.iter().map(|y| y * y).sum::<f64>()).abs() < 1e-13, "{energy}");
        assert_close("gradient", &gradient, &y, 1e-13);
        // ln Z_φ = ln Z_y + ½ ln det K.
        let expected = 0.5 * n as f64 * (2.0 * PI).ln() + 0.5 * target.log_det_k();
        assert!((log_z - expected).abs() < 1e-11, "{log_z} against {expected}");
    }
}

#[test]
fn no_other_mass_has_less_free_energy() {
    // ⟨S⟩ of a centred Gaussian is N[(1 − 2λ)v + 3λv²] − κ tr AK with v = ⟨φ²⟩; its entropy ½ ln det K but for a
    // constant.
    for target in targets().filter(|target| target.physical().lattice().boundary() == Boundary::Periodic) {
        let (lattice, n) = (target.physical().lattice(), target.sites() as f64);
        let (kappa, lambda) = (target.physical().kappa(), target.physical().lambda());
        let free_energy = |mass: f64| {
            let k = |a: f64| 0.5 / (mass - kappa * a);
            let v = lattice.adjacency_eigenvalues().map(k).sum::<f64>() / n;
            let hopping: f64 = lattice.adjacency_eigenvalues().map(|a| kappa * a * k(a)).sum();
            let entropy = 0.5 * lattice.adjacency_eigenvalues().map(|a| k(a).ln()).sum::<f64>();
            n * ((1.0 - 2.0 * lambda) * v + 3.0 * lambda * v * v) - hopping - entropy
        };
        let limit = Gap::of(&target.physical).limit;
        let best = free_energy(target.mass());
        for factor in [0.9, 0.99, 1.01, 1.1] {
            let other = free_energy(limit + factor * (target.mass() - limit));
            assert!(other > best, "{target:?}: {other} at {factor} times the distance, {best}");
        }
    }
}
