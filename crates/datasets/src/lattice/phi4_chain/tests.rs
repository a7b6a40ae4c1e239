//! The chain itself: clusters, bonds, tuning and starts.

use super::super::{Boundary, Estimate};
use super::*;

fn chain(rows: usize, cols: usize, boundary: Boundary, kappa: f64, lambda: f64, stream: u64) -> Phi4Chain {
    Phi4Chain::new(&Phi4Target::new(rows, cols, boundary, kappa, lambda).unwrap(), 1, stream)
}

#[test]
fn a_cluster_changes_connected_signs_and_nothing_else() {
    for (rows, cols, boundary, kappa) in [
        (1, 1, Boundary::Periodic, 0.3),
        (1, 4, Boundary::Periodic, 0.3),
        (2, 3, Boundary::Periodic, 0.4),
        (5, 4, Boundary::Open, 0.5),
        // Frustrated: a cluster then has neighbours of equal and of opposite signs.
        (3, 5, Boundary::Periodic, -0.8),
        (8, 8, Boundary::Periodic, 0.4),
    ] {
        let mut chain = chain(rows, cols, boundary, kappa, 0.3, 1);
        let bonds: Vec<_> = Lattice::new(rows, cols, boundary).unwrap().bonds().collect();
        for _ in 0..300 {
            chain.sweep();
            let before = chain.field().to_vec();
            let size = chain.update_cluster();
            let changed: Vec<usize> = (0..before.len()).filter(|&i| before[i] != chain.field()[i]).collect();
            assert_eq!(changed.len(), size);
            assert!(changed.iter().all(|&i| before[i] == -chain.field()[i]));
            let mut reached = vec![changed[0]];
            let mut at = 0;
            while at < reached.len() {
                for (i, j) in bonds.iter().flat_map(|&(i, j)| [(i, j), (j, i)]) {
                    let open = kappa * before[i] * before[j] > 0.0;
                    if i == reached[at] && open && changed.contains(&j) && !reached.contains(&j) {
                        reached.push(j);
                    }
                }
                at += 1;
            }
            assert_eq!(reached.len(), size);
            assert_eq!(chain.field[before.len()], 0.0);
        }
    }
}

#[test]
fn bonds_are_open_with_their_probability() {
    // One bond between fields a and b has p = 1 − exp(−4κab), two of them 1 − (1 − p)².
    let draws = 40_000;
    let (kappa, a, b) = (0.3f64, 0.7, 0.9);
    for (boundary, bonds) in [(Boundary::Open, 1.0), (Boundary::Periodic, 2.0)] {
        let expected = -(-4.0 * kappa * a * b * bonds).exp_m1();
        let mut chain = chain(1, 2, boundary, kappa, 0.1, 0);
        let mut both = 0;
        for _ in 0..draws {
            chain.field[..2].copy_from_slice(&[a, b]);
            both += chain.update_cluster() - 1;
        }
        let error = (expected * (1.0 - expected) / f64::from(draws)).sqrt();
        let found = both as f64 / f64::from(draws);
        assert!((found - expected).abs() < 4.0 * error, "{boundary}: {found} against {expected}");
    }
}

#[test]
fn the_step_is_tuned_and_then_frozen() {
    for (kappa, lambda) in [(0.25, 0.022), (0.2, 0.0), (0.3, 1e4), (0.3, 1e-4)] {
        let mut chain = chain(8, 8, Boundary::Periodic, kappa, lambda, 0);
        chain.thermalise();
        let (step, clusters) = (chain.step, chain.clusters_per_round);
        let acceptance = (0..200).map(|_| chain.sweep()).sum::<f64>() / 200.0;
        assert!((acceptance - ACCEPTANCE).abs() < 0.1, "λ = {lambda}: {acceptance} at {step}");
        // The weaker the coupling, the better the Gaussian.
        let reflected = (0..50).map(|_| chain.reflect()).sum::<f64>() / 50.0;
        assert!(lambda > 0.1 || reflected > 0.9, "λ = {lambda}: {reflected}");
        let size = (0..2000).map(|_| chain.update_cluster()).sum::<usize>() as f64 / 2000.0;
        let lattices = size * clusters as f64 / 64.0;
        assert!((0.7..2.0).contains(&lattices), "λ = {lambda}: {clusters} clusters of {size}");
        chain.round();
        assert_eq!((step, clusters), (chain.step, chain.clusters_per_round));
    }
}

#[test]
fn both_starts_lead_to_the_same_averages() {
    for (kappa, lambda, boundary) in
        [(0.25, 0.022, Boundary::Periodic), (0.3, 0.022, Boundary::Periodic), (0.5, 2.0, Boundary::Open)]
    {
        let target = Phi4Target::new(8, 8, boundary, kappa, lambda).unwrap();
        // The first actions after thermalisation of many chains: their starts are all they could differ by.
        let actions = |parity: u64| {
            let first = |k: u64| {
                let mut chain = Phi4Chain::new(&target, 1, 2 * k + parity);
                chain.thermalise();
                target.energy_and_gradient(chain.field(), &mut [0.0; 64])
            };
            Estimate::from_chains(&[&(0..100).map(first).collect::<Vec<f64>>()])
        };
        let (cold, hot) = (actions(0), actions(1));
        let error = cold.standard_error.hypot(hot.standard_error);
        assert!((cold.mean - hot.mean).abs() < 4.0 * error, "κ = {kappa}: {cold:?} against {hot:?}");
    }
}

#[test]
fn chains_repeat_and_streams_differ() {
    let run = |stream| {
        let mut chain = chain(6, 6, Boundary::Open, 0.3, 0.1, stream);
        (0..20).for_each(|_| chain.round());
        chain.field
    };
    assert_eq!(run(2), run(2));
    assert_ne!(run(2), run(4));
}
