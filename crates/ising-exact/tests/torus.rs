//! Closed lattices with zero couplings against enumeration, and any lattice against its mirror image.

use ising_exact::{Boundary, Edge, Lattice, Thermodynamics};
use proptest::prelude::*;

const EDGES: [Edge; 3] = [Edge::Open, Edge::Periodic, Edge::Antiperiodic];

fn assert_close(a: Thermodynamics, b: Thermodynamics, tolerance: f64, what: &str) {
    for (name, a, b) in [
        ("ln Z", a.ln_z, b.ln_z),
        ("f", a.free_energy_per_site, b.free_energy_per_site),
        ("E", a.energy_per_site, b.energy_per_site),
        ("S", a.entropy_per_site, b.entropy_per_site),
        ("C", a.specific_heat_per_site, b.specific_heat_per_site),
    ] {
        assert!((a - b).abs() <= tolerance * b.abs().max(1e-3), "{what} {name}: {a} against {b}");
    }
}

/// Rings and chains without a bond between them, for every boundary.
#[test]
fn uncoupled_lattices_agree_with_enumeration() {
    let mut compared = 0;
    for (m, n) in [(1, 1), (1, 2), (1, 5), (2, 1), (2, 2), (3, 1), (2, 3), (3, 2), (3, 3), (2, 5), (4, 3), (3, 4)] {
        for (jx, jy) in [(0.0, 1.0), (-1.0, 0.0), (0.0, -0.7), (0.4, 0.0), (0.0, 0.0)] {
            for (x, y) in EDGES.into_iter().flat_map(|x| EDGES.map(|y| (x, y))) {
                let lattice = Lattice::new(m, n).unwrap().couplings(jx, jy).unwrap().boundary(Boundary { x, y });
                let graph = lattice.graph();
                for t in [0.05, 0.3, 0.9, 1.7, 3.0, 40.0] {
                    let what = format!("{m}x{n} J {jx} {jy} {x:?} {y:?} T {t}");
                    assert_close(lattice.thermodynamics(t).unwrap(), graph.thermodynamics(t).unwrap(), 1e-12, &what);
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 12 * 5 * 9 * 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Over twelve orders of magnitude: the same lattice with x and y exchanged, which is computed over the other
    /// momenta (the library itself refuses what is beyond the bounds that physics sets).
    #[test]
    fn any_lattice_is_its_mirror_image(
        m in 1usize..14, n in 1usize..14, exponents in prop::array::uniform3(-3f64..3.0),
        signs in prop::array::uniform2(prop::bool::ANY), edges in prop::array::uniform2(0usize..3),
    ) {
        let [jx, jy, t] = exponents.map(|e| 10f64.powf(e));
        let [jx, jy] = [if signs[0] { -jx } else { jx }, if signs[1] { -jy } else { jy }];
        let [x, y] = edges.map(|edge| EDGES[edge]);
        let lattice = Lattice::new(m, n).unwrap().couplings(jx, jy).unwrap().boundary(Boundary { x, y });
        let mirror = Lattice::new(n, m).unwrap().couplings(jy, jx).unwrap().boundary(Boundary { x: y, y: x });
        let [a, b] = [lattice, mirror].map(|lattice| lattice.thermodynamics(t).unwrap());
        let scale = jx.abs() + jy.abs();
        prop_assert!((a.ln_z - b.ln_z).abs() <= 1e-12 * a.ln_z.abs(), "{} {}", a.ln_z, b.ln_z);
        prop_assert!((a.energy_per_site - b.energy_per_site).abs() <= 1e-12 * scale);
        prop_assert!((a.entropy_per_site - b.entropy_per_site).abs() <= 1e-12 * a.entropy_per_site);
        let [c, d] = [a, b].map(|exact| exact.specific_heat_per_site);
        prop_assert!((c - d).abs() <= 1e-11 * c.max(1e-290), "{c} {d}");
    }
}
