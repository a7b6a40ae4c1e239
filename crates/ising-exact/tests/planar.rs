//! Open lattices and cylinders against enumeration, transfer matrices and the determinant of Kac and Ward.

use ising_exact::{Boundary, Edge, Error, Graph, Lattice, PlanarLattice, Thermodynamics};
use nalgebra::{Complex, DMatrix};
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

/// Scattered couplings in (−1.5, 1.5) from Weyl's sequence, its index squared; no generator is needed for a fixed test
/// lattice.
fn scattered(count: usize, seed: usize) -> Vec<f64> {
    (0..count)
        .map(|i| 3.0 * (((i + 1) * (i + 1) * (2 * seed + 1)) as f64 * 0.618_033_988_749_894_9).fract() - 1.5)
        .collect()
}

fn lattice(size: [usize; 2], closed: bool, along_x: &[f64], along_y: &[f64]) -> PlanarLattice {
    let [m, n] = size;
    let (x, y) = (along_x[..if closed { m * n } else { (m - 1) * n }].to_vec(), along_y[..m * (n - 1)].to_vec());
    if closed { PlanarLattice::cylinder(size, x, y).unwrap() } else { PlanarLattice::open(size, x, y).unwrap() }
}

#[test]
fn uniform_lattices_with_open_edges_agree_with_enumeration() {
    let edges = [Edge::Open, Edge::Periodic, Edge::Antiperiodic];
    for (m, n) in [(1, 1), (1, 4), (4, 1), (2, 2), (2, 3), (3, 2), (3, 4), (4, 3), (5, 2), (2, 6)] {
        for (x, y) in
            edges.into_iter().flat_map(|x| edges.map(|y| (x, y))).filter(|&(x, y)| x == Edge::Open || y == Edge::Open)
        {
            for (jx, jy) in [(1.0, 1.0), (-1.0, 0.6), (0.3, -1.1), (0.0, 1.0)] {
                let lattice = Lattice::new(m, n).unwrap().couplings(jx, jy).unwrap().boundary(Boundary { x, y });
                for t in [0.1, 0.4, 1.0, 2.269, 7.0, 1e5] {
                    let judge = lattice.graph().thermodynamics(t).unwrap();
                    let what = format!("{m}x{n} {x:?} {y:?} J {jx} {jy} T {t}");
                    assert_close(lattice.thermodynamics(t).unwrap(), judge, 1e-12, &what);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_bonds_agree_with_enumeration(
        m in 1usize..=5, n in 1usize..=5, closed: bool, temperature in 0.5f64..5.0,
        along_x in prop::collection::vec(-1.5f64..1.5, 25), along_y in prop::collection::vec(-1.5f64..1.5, 25),
    ) {
        let n = n.min(15 / m);
        let lattice = lattice([m, n], closed, &along_x, &along_y);
        let judge = lattice.graph().thermodynamics(temperature).unwrap();
        let what = format!("{lattice:?} at {temperature}");
        assert_close(lattice.thermodynamics(temperature).unwrap(), judge, 1e-12, &what);
    }

    #[test]
    fn equally_strong_random_signs_agree_with_enumeration(
        closed: bool, temperature in 0.7f64..3.0, signs in prop::collection::vec(prop::bool::ANY, 32),
    ) {
        let j: Vec<f64> = signs.iter().map(|&s| if s { 1.0 } else { -1.0 }).collect();
        let lattice = lattice([4, 4], closed, &j[..16], &j[16..]);
        let judge = lattice.graph().thermodynamics(temperature).unwrap();
        let what = format!("{lattice:?} at {temperature}");
        assert_close(lattice.thermodynamics(temperature).unwrap(), judge, 1e-12, &what);
    }
}

/// ln Z by the transfer matrix over all 2^width states of a row: any bonds, long lattices.
fn transfer_matrix(size: [usize; 2], closed: bool, along_x: &[f64], along_y: &[f64], beta: f64) -> f64 {
    let [m, n] = size;
    let row = if closed { m } else { m - 1 };
    let spin = |state: usize, x: usize| if state >> (x % m) & 1 == 0 { 1.0 } else { -1.0 };
    let mut weights = vec![1.0_f64; 1 << m];
    let mut ln_z = 0.0;
    for y in 0..n {
        if y > 0 {
            for x in 0..m {
                let k = beta * along_y[(y - 1) * m + x];
                let old = weights.clone();
                for (state, w) in weights.iter_mut().enumerate() {
                    *w = k.exp() * old[state] + (-k).exp() * old[state ^ 1 << x];
                }
            }
        }
        for (state, w) in weights.iter_mut().enumerate() {
            *w *=
                (0..row).map(|x| beta * along_x[y * row + x] * spin(state, x) * spin(state, x + 1)).sum::<f64>().exp();
        }
        let sum: f64 = weights.iter().sum();
        ln_z += sum.ln();
        weights.iter_mut().for_each(|w| *w /= sum);
    }
    ln_z
}

#[test]
fn long_lattices_agree_with_transfer_matrices() {
    for (size, closed) in [([8, 40], false), ([8, 40], true), ([3, 200], true), ([9, 9], false)] {
        let (x, y) = (scattered(size[0] * size[1], 1), scattered(size[0] * size[1], 2));
        let lattice = lattice(size, closed, &x, &y);
        for t in [1.0, 2.3, 6.0] {
            let exact = lattice.thermodynamics(t).unwrap();
            let judge = transfer_matrix(size, closed, &x, &y, 1.0 / t);
            assert!((exact.ln_z - judge).abs() < 1e-10 * judge.abs(), "{size:?} {closed} {t}: {} {judge}", exact.ln_z);
        }
    }
}

/// ln Z of an open lattice from the determinant of Kac and Ward over directed bonds: `Z = 2^N Π cosh K · √det(1 − W)`,
/// `W_{e,e'} = tanh K_e e^{iα/2}`, α the angle from bond e to the bond e' that follows it.
fn kac_ward([m, n]: [usize; 2], graph: &Graph, beta: f64) -> f64 {
    let directed: Vec<(usize, usize, f64)> =
        graph.bonds().iter().flat_map(|&(a, b, j)| [(a, b, j), (b, a, j)]).collect();
    let direction = |a: usize, b: usize| match b as isize - a as isize {
        d if d == m as isize => 1,
        1 => 0,
        -1 => 2,
        _ => 3,
    };
    let w = DMatrix::from_fn(directed.len(), directed.len(), |row, column| {
        let ((a, b, j), (c, d, _)) = (directed[row], directed[column]);
        let identity = Complex::new(if row == column { 1.0 } else { 0.0 }, 0.0);
        if b != c || d == a {
            return identity;
        }
        let quarter_turns = [0, 1, 0, -1][(4 + direction(c, d) - direction(a, b)) as usize % 4];
        identity - Complex::from_polar((beta * j).tanh(), std::f64::consts::FRAC_PI_4 * quarter_turns as f64)
    });
    let determinant = w.lu().determinant();
    assert!(determinant.im.abs() < 1e-9 * determinant.re);
    let cosh: f64 = graph.bonds().iter().map(|&(_, _, j)| (beta * j).cosh().ln()).sum();
    (m * n) as f64 * std::f64::consts::LN_2 + cosh + 0.5 * determinant.re.ln()
}

#[test]
fn frustrated_open_lattices_agree_with_kac_and_ward() {
    for size in [[2, 2], [6, 5], [10, 10], [4, 13]] {
        let sites = size[0] * size[1];
        for seed in 1..4 {
            let lattice = lattice(size, false, &scattered(sites, seed), &scattered(sites, seed + 5));
            for t in [0.9, 2.0, 5.0] {
                let exact = lattice.thermodynamics(t).unwrap().ln_z;
                let judge = kac_ward(size, &lattice.graph(), 1.0 / t);
                assert!((exact - judge).abs() < 1e-9 * judge.abs(), "{size:?} {t}: {exact} against {judge}");
            }
        }
    }
}

/// A wide open lattice: bulk, edges and corners. f(L) N + edge 4L + corner follows from three sizes; a fourth must fit.
#[test]
fn large_open_lattices_are_bulk_and_boundary() {
    let ln_z = |l: usize| {
        let lattice = Lattice::square(l).unwrap().boundary(Boundary::OPEN);
        lattice.thermodynamics(4.0).unwrap().ln_z
    };
    let [a, b, c, d] = [32, 36, 40, 44].map(ln_z);
    // Third difference of a quadratic.
    assert!((d - 3.0 * c + 3.0 * b - a).abs() < 1e-9, "{}", d - 3.0 * c + 3.0 * b - a);
    let bulk = ising_exact::infinite_lattice(1.0, 1.0, 4.0).unwrap().ln_z_per_site;
    assert!(((c - 2.0 * b + a) / 32.0 - bulk).abs() < 1e-10);
}

/// Random signs down to temperatures where nothing is left of the pivots in double precision: the digits that it takes
/// are carried (transfer matrices add positive numbers only and lose nothing).
#[test]
fn cold_and_frustrated_lattices_agree_with_transfer_matrices() {
    for seed in 1..=4 {
        let signs = |seed| scattered(5 * 12, seed).into_iter().map(f64::signum).collect::<Vec<_>>();
        let (x, y) = (signs(seed), signs(seed + 20));
        let lattice = lattice([5, 12], seed % 2 == 0, &x, &y);
        for t in [0.05, 0.2, 0.5, 1.0] {
            let exact = lattice.thermodynamics(t).unwrap();
            let judge = transfer_matrix([5, 12], seed % 2 == 0, &x, &y, 1.0 / t);
            assert!((exact.ln_z - judge).abs() < 1e-12 * judge, "{seed} {t}: {} {judge}", exact.ln_z);
        }
    }
}

/// Both ends of a symmetric lattice round in the same way; that must not be taken for agreement.
#[test]
fn symmetric_frustrated_lattices_are_right() {
    let cylinder = PlanarLattice::cylinder([5, 5], vec![-1.0; 25], vec![-1.0; 20]).unwrap();
    let uniform = Lattice::square(5).unwrap().couplings(-1.0, -1.0).unwrap().boundary(Boundary::CYLINDER);
    for t in [0.1, 0.2, 0.4, 0.8, 3.0] {
        let [a, b] = [cylinder.thermodynamics(t).unwrap(), uniform.thermodynamics(t).unwrap()];
        assert_close(a, b, 1e-12, &format!("{t}"));
    }
}

/// Wide cylinders by two methods, where elimination in double precision loses nothing: warm, or without frustration.
#[test]
fn wide_cylinders_agree_with_elimination() {
    let [m, n] = [41, 30];
    for (j, t) in [(1.0, 1.5), (1.0, 2.269), (1.0, 6.0), (-1.0, 3.0), (-1.0, 10.0)] {
        let uniform = Lattice::new(m, n).unwrap().couplings(j, j).unwrap().boundary(Boundary::CYLINDER);
        let eliminated = PlanarLattice::cylinder([m, n], vec![j; m * n], vec![j; m * (n - 1)]).unwrap();
        let [a, b] = [uniform.thermodynamics(t).unwrap(), eliminated.thermodynamics(t).unwrap()];
        assert_close(a, b, 1e-12, &format!("J {j} T {t}"));
    }
}

#[test]
fn what_is_too_cold_and_too_large_says_how_many_digits_are_left() {
    let signs = |seed| scattered(40 * 40, seed).into_iter().map(f64::signum).collect::<Vec<_>>();
    let lattice = lattice([40, 40], false, &signs(3), &signs(4));
    let error = lattice.thermodynamics(0.3).unwrap_err();
    assert!(matches!(error, Error::Unstable { .. }), "{error}");
    assert!(error.to_string().starts_with("only 0 digits of ln Z are left"), "{error}");
    lattice.thermodynamics(2.0).unwrap();
}

#[test]
fn wrong_input_is_named() {
    assert!(matches!(PlanarLattice::open([0, 3], vec![], vec![]), Err(Error::Side { found: 0, .. })));
    let short = PlanarLattice::open([3, 2], vec![1.0; 3], vec![1.0; 3]);
    assert_eq!(short, Err(Error::BondCount { what: "couplings along x", expected: 4, found: 3 }));
    assert!(matches!(PlanarLattice::cylinder([1, 1], vec![f64::NAN], vec![]), Err(Error::Coupling { .. })));
    let wide = Lattice::square(300).unwrap().boundary(Boundary::OPEN);
    assert!(matches!(wide.thermodynamics(2.0), Err(Error::Side { found: 300, max: 256, .. })));
}
