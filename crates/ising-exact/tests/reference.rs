//! The torus and the infinite lattice against 50-digit values (tests/data/tables.py says how they were made).

use ising_exact::{Boundary, Edge, Lattice, infinite_lattice, spontaneous_magnetisation};

/// The numbers of a row, parsed from 50 digits to the nearest double.
fn rows(table: &str) -> impl Iterator<Item = Vec<f64>> {
    table.lines().skip(1).map(|line| line.split(',').map(|field| field.parse().unwrap()).collect())
}

fn assert_relative(found: f64, exact: f64, tolerance: f64, what: &str) {
    assert!((found - exact).abs() <= tolerance * exact.abs(), "{what}: {found:e} against {exact:e}");
}

#[test]
fn torus_to_twelve_digits() {
    let mut count = 0;
    for row in rows(include_str!("data/torus.csv")) {
        let size = [row[0] as usize, row[1] as usize];
        let edge = |flag: f64| if flag == 1.0 { Edge::Antiperiodic } else { Edge::Periodic };
        let boundary = Boundary { x: edge(row[4]), y: edge(row[5]) };
        let lattice = Lattice::new(size[0], size[1]).unwrap().couplings(row[2], row[3]).unwrap().boundary(boundary);
        let exact = lattice.thermodynamics(row[6]).unwrap();
        let found = [
            exact.ln_z,
            exact.free_energy_per_site,
            exact.energy_per_site,
            exact.entropy_per_site,
            exact.specific_heat_per_site,
        ];
        for (i, name) in ["ln Z", "f", "E", "S", "C"].into_iter().enumerate() {
            assert_relative(found[i], row[7 + i], 1e-12, &format!("{name} of {:?}", &row[..7]));
        }
        count += 1;
    }
    assert_eq!(count, 437);
}

#[test]
fn infinite_lattice_to_twelve_digits() {
    let mut count = 0;
    for row in rows(include_str!("data/infinite.csv")) {
        let what = |name: &str| format!("{name} of {:?}", &row[..3]);
        let exact = infinite_lattice(row[0], row[1], row[2]).unwrap();
        assert_relative(exact.ln_z_per_site, row[3], 1e-12, &what("ln Z"));
        assert_relative(exact.free_energy_per_site, row[4], 1e-12, &what("f"));
        assert_relative(exact.energy_per_site, row[5], 1e-12, &what("E"));
        assert_relative(exact.entropy_per_site, row[6], 1e-12, &what("S"));
        assert_relative(exact.specific_heat_per_site, row[7], 1e-12, &what("C"));
        let m = spontaneous_magnetisation(row[0], row[1], row[2]).unwrap();
        assert_relative(m, row[8], 1e-12, &what("m"));
        count += 1;
    }
    assert_eq!(count, 39);
}

/// The largest torus is nearly infinite away from T_c.
#[test]
fn large_torus_approaches_the_infinite_lattice() {
    let start = std::time::Instant::now();
    for t in [1.5, 2.2, 2.35, 5.0] {
        let torus = Lattice::square(4096).unwrap().couplings(1.0, -1.0).unwrap().thermodynamics(t).unwrap();
        let limit = infinite_lattice(1.0, 1.0, t).unwrap();
        assert_relative(torus.energy_per_site, limit.energy_per_site, 1e-12, "E");
        assert_relative(torus.specific_heat_per_site, limit.specific_heat_per_site, 1e-12, "C");
    }
    // Milliseconds each; even a slow and busy machine is far below this.
    assert!(start.elapsed().as_secs() < 4, "{:?}", start.elapsed());
}
