//! The continuous formulation against its own definition: dense matrices and sums over spins.

use ising_exact::{Boundary, Edge, Lattice, SMALLEST_EIGENVALUE, critical_temperature};
use nalgebra::{DMatrix, DVector};

/// `Z = ∫ exp(−½ xᵀK⁻¹x) Π cosh x_i dx = 2^{−N} √det(2πK) Σ_s exp(½ sᵀKs)`, with A filled in bond by bond.
#[test]
fn constants_and_ln_z_follow_from_the_dense_matrix() {
    let edges = [Edge::Open, Edge::Periodic, Edge::Antiperiodic];
    for (m, n) in [(1, 1), (1, 2), (2, 2), (1, 5), (3, 2), (3, 4), (2, 5), (3, 3)] {
        for (x, y) in edges.into_iter().flat_map(|x| edges.map(|y| (x, y))) {
            for (jx, jy) in [(1.0, 1.0), (-0.4, 1.3)] {
                let lattice = Lattice::new(m, n).unwrap().couplings(jx, jy).unwrap().boundary(Boundary { x, y });
                let temperature = 2.5;
                let mut k = DMatrix::<f64>::zeros(m * n, m * n);
                for &(a, b, j) in lattice.graph().bonds() {
                    k[(a, b)] += j / temperature;
                    k[(b, a)] += j / temperature;
                }
                let what = format!("{m}x{n} {x:?} {y:?} {jx} {jy}");
                let found = match lattice.continuous(temperature) {
                    Ok(found) => found,
                    Err(e) => panic!("{what}: {e}"),
                };
                let lowest = k.symmetric_eigenvalues().min();
                assert!((found.alpha - (SMALLEST_EIGENVALUE - lowest)).abs() < 1e-12, "{what}");
                k += DMatrix::identity(m * n, m * n) * found.alpha;
                let log_det: f64 = k.symmetric_eigenvalues().iter().map(|e| e.ln()).sum();
                assert!((found.log_det_k - log_det).abs() < 1e-11, "{what}: {} {log_det}", found.log_det_k);
                let sum: f64 = (0..1u32 << (m * n))
                    .map(|state| {
                        let s = DVector::from_fn(m * n, |i, _| if state >> i & 1 == 0 { 1.0 } else { -1.0 });
                        (0.5 * s.dot(&(&k * &s))).exp()
                    })
                    .sum();
                let sites = (m * n) as f64;
                let ln_z = sum.ln() + 0.5 * log_det + 0.5 * sites * (0.5 * std::f64::consts::PI).ln();
                assert!((found.free_energy_per_site + ln_z / sites).abs() < 1e-12, "{what}");
            }
        }
    }
}

#[test]
fn sixteen_by_sixteen_at_the_critical_temperature() {
    let exact = Lattice::square(16).unwrap().continuous(critical_temperature(1.0, 1.0)).unwrap();
    assert!((exact.free_energy_per_site + 2.315_920_858_819).abs() < 1e-12, "{}", exact.free_energy_per_site);
    assert!((exact.alpha - (0.1 + 2.0 * (1.0 + 2f64.sqrt()).ln())).abs() < 1e-15);
}
