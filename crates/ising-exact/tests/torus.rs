//! Kaufman's torus against enumeration: every boundary, sign, odd and degenerate size.

use ising_exact::{Boundary, Edge, Error, Lattice, Thermodynamics};

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
