//! Triangular and honeycomb lattices against enumeration, against one another and against what is known of infinite
//! ones.

use std::f64::consts::LN_2;

use ising_exact::{Boundary, Error, Hexagonal, Lattice, MAX_ENUMERATED, PlanarLattice, Shape, Thermodynamics};
use proptest::prelude::*;

fn difference(a: &Thermodynamics, b: &Thermodynamics) -> f64 {
    [
        (a.ln_z / a.sites as f64, b.ln_z / b.sites as f64),
        (a.energy_per_site, b.energy_per_site),
        (a.entropy_per_site, b.entropy_per_site),
        (a.specific_heat_per_site, b.specific_heat_per_site),
    ]
    .into_iter()
    .fold(0.0, |most: f64, (a, b)| most.max((a - b).abs() / b.abs().max(1.0)))
}

/// All shapes, boundaries and signs on small lattices.
#[test]
fn small_lattices_agree_with_enumeration() {
    let signs = [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [1.0, 0.7, -0.4], [-0.3, 1.2, 0.5], [1.0, -1.0, 0.0]];
    let mut cases = 0;
    for (_, shape) in Shape::NAMED {
        for [m, n] in [[1, 1], [1, 3], [3, 1], [2, 2], [2, 3], [3, 2], [3, 3], [4, 2], [1, 5], [4, 4], [3, 5]] {
            if m * n * shape.sites() > 16 {
                continue;
            }
            for (name, boundary) in Boundary::NAMED {
                for couplings in signs {
                    let lattice = Hexagonal::new(shape, m, n).unwrap().couplings(couplings).unwrap().boundary(boundary);
                    for temperature in [0.4, 1.7, 9.0] {
                        let exact = lattice.thermodynamics(temperature).unwrap();
                        let judge = lattice.graph().thermodynamics(temperature).unwrap();
                        let difference = difference(&exact, &judge);
                        assert!(
                            difference < 2e-12,
                            "{shape} {m} × {n} {name} {couplings:?} at {temperature}: {exact:?} {judge:?}"
                        );
                        cases += 1;
                    }
                }
            }
        }
    }
    assert!(cases > 1500, "{cases}");
}

proptest! {
    #[test]
    fn random_bonds_of_triangles_agree_with_enumeration(
        m in 1usize..5,
        n in 1usize..5,
        closed: bool,
        temperature in 0.5..5.0,
        bonds in proptest::collection::vec(-1.5f64..1.5, 48),
    ) {
        prop_assume!(m * n <= MAX_ENUMERATED);
        let row = if closed { m } else { m - 1 };
        let (along_x, rest) = bonds.split_at(row * n);
        let (along_y, rest) = rest.split_at(m * (n - 1));
        let make = if closed { PlanarLattice::cylinder } else { PlanarLattice::open };
        let lattice = make([m, n], along_x.to_vec(), along_y.to_vec()).unwrap();
        let lattice = lattice.with_diagonals(rest[..row * (n - 1)].to_vec()).unwrap();
        let exact = lattice.thermodynamics(temperature).unwrap();
        let judge = lattice.graph().thermodynamics(temperature).unwrap();
        prop_assert!(difference(&exact, &judge) < 1e-10, "{exact:?} {judge:?}");
    }
}

/// Without bonds across the squares a triangular lattice is the square one.
#[test]
fn squares_are_triangles_without_a_bond() {
    for (_, boundary) in Boundary::NAMED {
        for (temperature, j) in [(0.3, [1.0, 1.0]), (1.1, [-1.0, 0.6]), (2.269, [1.0, 1.0]), (30.0, [0.2, -3.0])] {
            let square = Lattice::new(14, 9).unwrap().couplings(j[0], j[1]).unwrap().boundary(boundary);
            let bent = Hexagonal::triangular(14, 9).unwrap().couplings([j[0], j[1], 0.0]).unwrap().boundary(boundary);
            let (a, b) = (bent.thermodynamics(temperature).unwrap(), square.thermodynamics(temperature).unwrap());
            assert!(difference(&a, &b) < 1e-13, "{boundary} at {temperature}: {a:?} {b:?}");
            // Also where it is small.
            let heats = (a.specific_heat_per_site, b.specific_heat_per_site);
            assert!((heats.0 / heats.1 - 1.0).abs() < 1e-11, "{boundary} at {temperature}: {heats:?}");
        }
    }
}

/// A large torus is the infinite lattice, but where the temperature is critical.
#[test]
#[ignore = "long: scripts/full"]
fn large_lattices_are_infinite() {
    for (_, shape) in Shape::NAMED {
        for couplings in [[1.0; 3], [-1.0; 3], [1.3, 0.4, 0.9], [1.0, 1.0, -0.5]] {
            let lattice = Hexagonal::new(shape, 300, 300).unwrap().couplings(couplings).unwrap();
            for temperature in [0.9, 1.3, 5.0, 40.0] {
                let (finite, exact) =
                    (lattice.thermodynamics(temperature).unwrap(), lattice.infinite(temperature).unwrap());
                // A finite lattice has either of the two states of order.
                let order = if temperature < lattice.critical_temperature() { LN_2 / finite.sites as f64 } else { 0.0 };
                for (a, b) in [
                    (finite.ln_z / finite.sites as f64 - order, exact.ln_z_per_site),
                    (finite.free_energy_per_site + temperature * order, exact.free_energy_per_site),
                    (finite.energy_per_site, exact.energy_per_site),
                    (finite.entropy_per_site - order, exact.entropy_per_site),
                    (finite.specific_heat_per_site, exact.specific_heat_per_site),
                ] {
                    assert!(
                        (a - b).abs() < 1e-12 * b.abs().max(1.0),
                        "{shape} {couplings:?} at {temperature}: {finite:?} {exact:?}"
                    );
                }
            }
        }
    }
}

/// Energies at T_c, and the entropy of the ground state of the antiferromagnet (G. H. Wannier, Phys. Rev. 79, 357
/// (1950); the value in Phys. Rev. B 7, 5017 (1973)).
#[test]
fn infinite_lattices_have_the_published_values() {
    let triangular = Hexagonal::triangular(1, 1).unwrap();
    let honeycomb = Hexagonal::honeycomb(1, 1).unwrap();
    assert!((triangular.critical_temperature() - 4.0 / 3f64.ln()).abs() < 1e-14);
    assert!((honeycomb.critical_temperature() - 2.0 / (2.0 + 3f64.sqrt()).ln()).abs() < 1e-14);
    for (lattice, energy) in [(triangular, -2.0), (honeycomb, -2.0 / 3f64.sqrt())] {
        let t_c = lattice.critical_temperature();
        let exact = lattice.infinite(t_c).unwrap();
        assert!((exact.energy_per_site - energy).abs() < 1e-13, "{exact:?}");
        assert_eq!(exact.specific_heat_per_site, f64::INFINITY);
        // The logarithm of the distance, with the same amplitude on both sides.
        let heat = |factor: f64| lattice.infinite(t_c * (1.0 + factor)).unwrap().specific_heat_per_site;
        let [above, below, nearer] = [1e-6, -1e-6, 1e-8].map(heat);
        assert!((above - below).abs() < 1e-3 * above, "{above} {below}");
        assert!(nearer > above + 1.0, "{nearer} {above}");
    }
    let frustrated = triangular.couplings([-1.0; 3]).unwrap();
    assert_eq!(frustrated.critical_temperature(), 0.0);
    let cold = frustrated.infinite(0.05).unwrap();
    assert!((cold.entropy_per_site - 0.323_065_947_219_450_5).abs() < 1e-12, "{cold:?}");
    assert!((cold.energy_per_site + 1.0).abs() < 1e-13, "{cold:?}");
}

#[test]
fn critical_temperatures_of_any_couplings() {
    let t_c = |shape, j| Hexagonal::new(shape, 1, 1).unwrap().couplings(j).unwrap().critical_temperature();
    let square = ising_exact::critical_temperature(1.0, 0.3);
    assert!((t_c(Shape::Triangular, [0.3, 0.0, 1.0]) / square - 1.0).abs() < 1e-14);
    // Turned spins change two signs; the honeycomb has no frustration.
    assert_eq!(t_c(Shape::Triangular, [-1.0, 0.4, -0.7]), t_c(Shape::Triangular, [0.4, 1.0, 0.7]));
    assert_eq!(t_c(Shape::Honeycomb, [-1.0, 0.4, 0.7]), t_c(Shape::Honeycomb, [0.4, 1.0, 0.7]));
    for (shape, j) in [
        (Shape::Triangular, [1.0, 0.0, 0.0]),
        (Shape::Triangular, [-1.0, -1.0, -1.0]),
        (Shape::Triangular, [1.0, 1.0, -1.0]),
        (Shape::Triangular, [0.0; 3]),
        (Shape::Honeycomb, [1.0, 1.0, 0.0]),
    ] {
        assert_eq!(t_c(shape, j), 0.0, "{shape} {j:?}");
    }
    // The frustrated lattice orders where its weakest bond is weaker: s₁s₂ + s₂s₃ + s₃s₁ = 1, s = sinh 2K.
    let t = t_c(Shape::Triangular, [1.0, 1.0, -0.5]);
    let [s, weak] = [2.0 / t, -1.0 / t].map(f64::sinh);
    assert!((s * s + 2.0 * s * weak - 1.0).abs() < 1e-13);
}

/// From where nothing but the ground state is left to where nothing is ordered; also what is exponentially small.
#[test]
fn no_temperature_is_too_cold_or_too_hot() {
    for (shape, [m, n]) in [(Shape::Triangular, [4, 4]), (Shape::Triangular, [3, 5]), (Shape::Honeycomb, [3, 2])] {
        // Sums of couplings that the judge does not round.
        for couplings in [[1.0; 3], [-1.0; 3], [1.0, 0.75, -0.75]] {
            for (_, boundary) in Boundary::NAMED {
                let lattice = Hexagonal::new(shape, m, n).unwrap().couplings(couplings).unwrap().boundary(boundary);
                for temperature in [0.02, 0.1, 1e4] {
                    let (exact, judge) = (
                        lattice.thermodynamics(temperature).unwrap(),
                        lattice.graph().thermodynamics(temperature).unwrap(),
                    );
                    let heats = (exact.specific_heat_per_site, judge.specific_heat_per_site);
                    assert!(
                        difference(&exact, &judge) < 2e-12 && (heats.0 - heats.1).abs() <= 1e-9 * heats.1,
                        "{shape} {m} × {n} {couplings:?} {boundary} at {temperature}: {exact:?} {judge:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn wrong_input_is_named() {
    assert!(matches!(Hexagonal::triangular(0, 3), Err(Error::Side { found: 0, .. })));
    let lattice = Hexagonal::honeycomb(2, 2).unwrap();
    assert!(matches!(lattice.couplings([1.0, f64::NAN, 1.0]), Err(Error::Coupling { .. })));
    assert!(matches!(lattice.thermodynamics(-1.0), Err(Error::Temperature { .. })));
    let open = PlanarLattice::open([3, 2], vec![1.0; 4], vec![1.0; 3]).unwrap();
    assert!(matches!(open.with_diagonals(vec![1.0; 3]), Err(Error::BondCount { expected: 2, found: 3, .. })));
    assert_eq!(
        "square".parse::<Shape>().unwrap_err().to_string(),
        "unknown lattice \"square\": use triangular or honeycomb"
    );
}
