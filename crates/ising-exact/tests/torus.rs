//! Kaufman's torus against enumeration: every boundary, sign, odd and degenerate size.

use ising_exact::{Boundary, Edge, Error, Lattice, Thermodynamics};
use proptest::prelude::*;

fn assert_close(a: Thermodynamics, b: Thermodynamics, tolerance: f64, what: &str) {
    for (name, a, b) in [
        ("ln Z", a.ln_z, b.ln_z),
        ("f", a.free_energy_per_site, b.free_energy_per_site),
        ("E", a.energy_per_site, b.energy_per_site),
        ("S", a.entropy_per_site, b.entropy_per_site),
        ("C", a.specific_heat_per_site, b.specific_heat_per_site),
    ] {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what} {name}: {a} against {b}");
    }
}

#[test]
fn every_small_torus_agrees_with_enumeration() {
    let closed = [Edge::Periodic, Edge::Antiperiodic];
    let mut compared = 0;
    let mut refused = 0;
    for (m, n) in [(1, 1), (1, 2), (1, 5), (2, 1), (2, 2), (3, 1), (2, 3), (3, 2), (3, 3), (2, 5), (4, 3), (3, 4)] {
        for (jx, jy) in
            [(1.0, 1.0), (1.0, 0.3), (-1.0, 0.7), (0.4, -1.0), (-0.8, -0.8), (0.0, 1.0), (-1.0, 0.0), (0.0, 0.0)]
        {
            for x in closed {
                for y in closed {
                    let lattice = Lattice::new(m, n).unwrap().couplings(jx, jy).unwrap().boundary(Boundary { x, y });
                    let graph = lattice.graph();
                    for t in [0.3, 0.9, 1.7, 2.0 / (1.0 + 2f64.sqrt()).ln(), 3.0, 40.0, 1e6] {
                        let what = format!("{m}x{n} J {jx} {jy} {x:?} {y:?} T {t}");
                        match lattice.thermodynamics(t) {
                            Ok(exact) => {
                                compared += 1;
                                // With a seam both ways up to three digits may go before the lattice is refused.
                                let seams = [(m, jx, x), (n, jy, y)]
                                    .map(|(side, j, edge)| (edge == Edge::Antiperiodic) != (j < 0.0 && side % 2 == 1));
                                let tolerance = if seams == [true; 2] { 1e-10 } else { 1e-12 };
                                assert_close(exact, graph.thermodynamics(t).unwrap(), tolerance, &what);
                            }
                            Err(Error::Cancellation { left, .. }) => {
                                refused += 1;
                                assert!(left < 1e-3 && t < 1.0, "{what}: {left}");
                            }
                            Err(other) => panic!("{what}: {other}"),
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 2500, "{compared} {refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Over twelve orders of magnitude: bounds that physics sets, and the same lattice with x and y exchanged,
    /// whose products run over the other momenta.
    #[test]
    fn any_torus_obeys_its_bounds_and_its_mirror_image(
        m in 1usize..50, n in 1usize..50, exponents in prop::array::uniform3(-3f64..3.0),
        signs in prop::array::uniform4(prop::bool::ANY),
    ) {
        let [jx, jy, t] = exponents.map(|e| 10f64.powf(e));
        let [jx, jy] = [if signs[0] { -jx } else { jx }, if signs[1] { -jy } else { jy }];
        let edge = |anti| if anti { Edge::Antiperiodic } else { Edge::Periodic };
        let (x, y) = (edge(signs[2]), edge(signs[3]));
        let lattice = Lattice::new(m, n).unwrap().couplings(jx, jy).unwrap().boundary(Boundary { x, y });
        let mirror = Lattice::new(n, m).unwrap().couplings(jy, jx).unwrap().boundary(Boundary { x: y, y: x });
        match (lattice.thermodynamics(t), mirror.thermodynamics(t)) {
            (Ok(a), Ok(b)) => {
                let scale = jx.abs() + jy.abs();
                prop_assert!((a.ln_z - b.ln_z).abs() <= 1e-12 * a.ln_z.abs(), "{} {}", a.ln_z, b.ln_z);
                prop_assert!((a.energy_per_site - b.energy_per_site).abs() <= 1e-11 * scale);
                prop_assert!((a.entropy_per_site - b.entropy_per_site).abs() <= 1e-9);
                prop_assert!((a.specific_heat_per_site - b.specific_heat_per_site).abs() <= 1e-8);
                prop_assert!(a.energy_per_site.abs() <= scale * (1.0 + 1e-14));
                prop_assert!((-1e-10..=std::f64::consts::LN_2 + 1e-12).contains(&a.entropy_per_site));
                prop_assert!(a.specific_heat_per_site >= -1e-9);
            }
            (Err(Error::Cancellation { .. }), Err(Error::Cancellation { .. })) => {}
            (a, b) => prop_assert!(false, "{a:?} {b:?}"),
        }
    }
}
