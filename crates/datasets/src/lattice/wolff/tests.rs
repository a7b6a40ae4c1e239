//! The chain itself: bookkeeping, limits of the temperature, starts, and its stationary law cluster by cluster.

use super::super::{Boundary, CRITICAL_TEMPERATURE, Estimate};
use super::*;

fn chain(rows: usize, cols: usize, boundary: Boundary, temperature: f64, stream: u64) -> WolffChain {
    WolffChain::new(&Lattice::new(rows, cols, boundary).unwrap(), temperature, 1, stream).unwrap()
}

#[test]
fn an_update_flips_one_connected_cluster_of_equal_spins() {
    for (rows, cols, boundary) in
        [(1, 1, Boundary::Periodic), (2, 3, Boundary::Periodic), (5, 4, Boundary::Open), (9, 9, Boundary::Periodic)]
    {
        let mut chain = chain(rows, cols, boundary, 2.0, 1);
        for _ in 0..500 {
            let before = chain.spins().to_vec();
            let size = chain.update();
            let flipped: Vec<usize> = (0..before.len()).filter(|&i| before[i] != chain.spins()[i]).collect();
            assert_eq!(flipped.len(), size);
            assert!(flipped.iter().all(|&i| before[i] == before[flipped[0]]));
            let mut reached = vec![flipped[0]];
            let mut at = 0;
            while at < reached.len() {
                for (i, j) in Lattice::new(rows, cols, boundary).unwrap().bonds() {
                    for (from, to) in [(i, j), (j, i)] {
                        if from == reached[at] && flipped.contains(&to) && !reached.contains(&to) {
                            reached.push(to);
                        }
                    }
                }
                at += 1;
            }
            assert_eq!(reached.len(), size);
            assert_eq!(chain.magnetisation(), chain.spins().iter().map(|&s| i64::from(s)).sum::<i64>());
        }
    }
}

#[test]
fn limits_of_the_temperature() {
    // Towards 0 every bond within a cluster is open, towards infinity none is.
    for temperature in [f64::MIN_POSITIVE, 1e-3] {
        let mut cold = chain(6, 5, Boundary::Open, temperature, 0);
        assert_eq!((cold.update(), cold.energy()), (30, -49.0));
    }
    let mut hot = chain(6, 5, Boundary::Open, f64::MAX, 0);
    assert!((0..100).all(|_| hot.update() == 1));
    for found in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let lattice = Lattice::new(3, 3, Boundary::Open).unwrap();
        let error = WolffChain::new(&lattice, found, 1, 0).unwrap_err();
        assert!(matches!(error, LatticeError::Temperature { .. }) && error.to_string().contains("positive"));
    }
}

#[test]
fn bonds_are_open_with_their_probability() {
    // From all spins up, the cluster on one open bond has two sites with p = 1 − exp(−2/T), on a double bond with 1 −
    // (1 − p)².
    let draws = 40_000;
    for (boundary, expected) in
        [(Boundary::Open, 1.0 - (-2f64 / 3.0).exp()), (Boundary::Periodic, 1.0 - (-4f64 / 3.0).exp())]
    {
        let mut chain = chain(1, 2, boundary, 3.0, 0);
        let mut both = 0;
        for _ in 0..draws {
            chain.spins[..2].fill(1);
            both += chain.update() - 1;
        }
        let error = (expected * (1.0 - expected) / f64::from(draws)).sqrt();
        let found = both as f64 / f64::from(draws);
        assert!((found - expected).abs() < 4.0 * error, "{boundary}: {found} against {expected}");
    }
}

#[test]
fn both_starts_lead_to_the_same_averages() {
    for (temperature, boundary) in
        [(1.2, Boundary::Periodic), (CRITICAL_TEMPERATURE, Boundary::Periodic), (CRITICAL_TEMPERATURE, Boundary::Open)]
    {
        // The first energies after thermalisation of many chains: their starts are all they could differ by.
        let energies = |parity: u64| {
            let first = |k: u64| {
                let mut chain = chain(16, 16, boundary, temperature, 2 * k + parity);
                chain.thermalise();
                chain.energy()
            };
            Estimate::from_chains(&[&(0..400).map(first).collect::<Vec<f64>>()])
        };
        let (cold, hot) = (energies(0), energies(1));
        let error = cold.standard_error.hypot(hot.standard_error);
        assert!((cold.mean - hot.mean).abs() < 4.0 * error, "T = {temperature}: {cold:?} against {hot:?}");
    }
}

#[test]
fn cluster_sizes_and_energies_along_a_chain_are_exact() {
    // Mean cluster size = N⟨m²⟩: a site is in the cluster of another with probability ⟨s_i s_j⟩.
    let mut chain = chain(8, 8, Boundary::Periodic, 2.4, 0);
    chain.thermalise();
    let (mut differences, mut energies) = (Vec::new(), Vec::new());
    for _ in 0..100_000 {
        let square = (chain.magnetisation() as f64).powi(2) / 64.0;
        differences.push(chain.update() as f64 - square);
        energies.push(chain.energy() / 64.0);
    }
    let difference = Estimate::from_chains(&[&differences]);
    assert!(
        difference.mean.abs() < 4.0 * difference.standard_error && difference.standard_error < 0.1,
        "{difference:?}"
    );
    let energy = Estimate::from_chains(&[&energies]);
    let exact = ising_exact::Lattice::square(8).unwrap().thermodynamics(2.4).unwrap().energy_per_site;
    assert!((energy.mean - exact).abs() < 4.0 * energy.standard_error, "{energy:?} against {exact}");
    // Successive clusters are correlated, and the estimator sees it.
    assert!(energy.autocorrelation.tau > 1.0, "{energy:?}");
}

#[test]
fn chains_repeat_and_streams_differ() {
    let run = |stream| {
        let mut chain = chain(8, 8, Boundary::Open, 2.3, stream);
        (0..50).map(|_| chain.update()).collect::<Vec<_>>()
    };
    assert_eq!(run(2), run(2));
    assert_ne!(run(2), run(4));
}
