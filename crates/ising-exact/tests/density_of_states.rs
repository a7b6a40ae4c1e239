//! The density of states against enumeration, its sum rules, the low-temperature series and Kaufman's ln Z.

use std::collections::BTreeMap;

use ising_exact::{Boundary, Edge, Error, Lattice, MAX_DOS_SITES};
use num_bigint::BigUint;

#[test]
fn counts_of_small_lattices_are_those_of_enumeration() {
    let closed = [Edge::Periodic, Edge::Antiperiodic];
    for (m, n) in [(1, 1), (1, 2), (5, 1), (2, 2), (2, 3), (3, 3), (3, 5), (4, 4), (3, 6), (2, 8)] {
        for (x, y) in closed.into_iter().flat_map(|x| closed.map(|y| (x, y))) {
            for (jx, jy) in [(1.0, 1.0), (-1.0, 1.0), (-0.5, -0.5)] {
                let lattice = Lattice::new(m, n).unwrap().couplings(jx, jy).unwrap().boundary(Boundary { x, y });
                let mut judge = BTreeMap::<i64, u64>::new();
                for energy in lattice.graph().energies().unwrap() {
                    *judge.entry((energy * 2.0) as i64).or_default() += 1;
                }
                let states = lattice.density_of_states().unwrap();
                let found: BTreeMap<i64, u64> =
                    states.levels().map(|(e, g)| ((e * 2.0) as i64, g.try_into().unwrap())).collect();
                assert_eq!(found, judge, "{m}x{n} {x:?} {y:?} J {jx} {jy}");
            }
        }
    }
}

#[test]
fn sum_rules_series_and_kaufman_up_to_32() {
    for (m, n) in [(8, 8), (16, 16), (32, 32), (6, 31), (64, 20)] {
        let lattice = Lattice::new(m, n).unwrap();
        let states = lattice.density_of_states().unwrap();
        let sites = (m * n) as u64;
        let levels: Vec<(f64, &BigUint)> = states.levels().collect();
        let sum: BigUint = levels.iter().map(|(_, g)| *g).sum();
        assert_eq!(sum, BigUint::from(1u8) << sites, "{m}x{n}");
        // One flipped spin, two neighbours, and everything with eight unsatisfied bonds; nothing winds at these
        // energies.
        let ground = -2.0 * sites as f64;
        let count = |unsatisfied: f64| {
            let level = levels.iter().find(|(e, _)| *e == ground + 2.0 * unsatisfied);
            level.map_or(BigUint::ZERO, |(_, g)| (*g).clone())
        };
        assert_eq!(count(0.0), 2u8.into());
        assert_eq!(count(2.0), 0u8.into());
        assert_eq!(count(4.0), (2 * sites).into());
        assert_eq!(count(6.0), (4 * sites).into());
        if m.min(n) > 6 {
            assert_eq!(count(8.0), (sites * sites + 9 * sites).into());
        }
        if m % 2 == 0 && n % 2 == 0 {
            assert!(levels.iter().zip(levels.iter().rev()).all(|(a, b)| a.0 == -b.0 && a.1 == b.1), "{m}x{n}");
        }
        for t in [0.3, 1.0, 2.0, 2.0 / (1.0 + 2f64.sqrt()).ln(), 2.5, 10.0, 1e4] {
            let (kaufman, sum) = (lattice.thermodynamics(t).unwrap(), states.thermodynamics(t).unwrap());
            for (a, b) in [
                (sum.ln_z, kaufman.ln_z),
                (sum.energy_per_site, kaufman.energy_per_site),
                (sum.entropy_per_site, kaufman.entropy_per_site),
                (sum.specific_heat_per_site, kaufman.specific_heat_per_site),
            ] {
                assert!((a - b).abs() < 1e-11 * b.abs(), "{m}x{n} {t}: {a} {b}");
            }
        }
    }
}

/// The torus with two seams, frustrated along x and along y: a sum of positive numbers against a difference of sectors.
#[test]
fn frustrated_torus_at_any_temperature() {
    for (m, n) in [(9, 9), (5, 13), (31, 3)] {
        let lattice = Lattice::new(m, n).unwrap().couplings(-1.0, -1.0).unwrap();
        let states = lattice.density_of_states().unwrap();
        // One frustrated bond in every row and every column.
        let [rows, columns] = [n, m].map(|k| k as f64);
        assert_eq!(states.levels().next().unwrap().0, -2.0 * rows * columns + 2.0 * (rows + columns));
        for t in [0.001, 0.05, 0.2, 0.5, 1.0, 3.0, 1e3] {
            let (a, b) = (states.thermodynamics(t).unwrap(), lattice.thermodynamics(t).unwrap());
            for (a, b) in [
                (a.ln_z, b.ln_z),
                (a.energy_per_site, b.energy_per_site),
                (a.entropy_per_site, b.entropy_per_site),
                (a.specific_heat_per_site, b.specific_heat_per_site),
            ] {
                // At high temperature the energy is what is left of the levels.
                assert!((a - b).abs() <= 1e-12 * a.abs().max(1e-3), "{m}x{n} {t}: {a} {b}");
            }
        }
    }
}

#[test]
fn what_has_no_density_of_states_says_so() {
    let lattice = Lattice::new(3, 3).unwrap();
    assert!(matches!(lattice.boundary(Boundary::OPEN).density_of_states(), Err(Error::Boundary { .. })));
    let uneven = lattice.couplings(1.0, 0.5).unwrap();
    assert_eq!(uneven.density_of_states(), Err(Error::Anisotropic { x: 1.0, y: 0.5 }));
    let large = Lattice::new(65, 64).unwrap().density_of_states();
    assert!(matches!(large, Err(Error::TooManySites { found: 4160, max: MAX_DOS_SITES, .. })));
}
