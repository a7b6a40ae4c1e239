//! Every boundary, sign and parity of the sides from T = 0.05 to 100 against two judges that count states by energy and
//! add positive numbers only, so that they lose no digits: enumeration up to 20 spins, and a transfer matrix on strips
//! up to width 12.

use std::{collections::BTreeMap, thread};

use ising_exact::{Boundary, Edge, Lattice, Thermodynamics};

const EDGES: [Edge; 3] = [Edge::Open, Edge::Periodic, Edge::Antiperiodic];
const SIGNS: [(f64, f64); 4] = [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)];
const TEMPERATURES: [f64; 7] = [0.05, 0.17, 0.5, 1.3, 2.269, 10.0, 100.0];

/// What every result must reach, relatively; for an energy near zero, an absolute 10⁻¹⁵ of the couplings.
const TOLERANCE: f64 = 1e-12;

/// Numbers of states by their numbers of bonds along x and along y, satisfied less unsatisfied at positive couplings.
type Levels = Vec<([i32; 2], f64)>;

/// ln Z, E/N, S/N and C/N from the levels: energies are measured from the ground state, the variance from the mean.
fn thermodynamics(levels: &Levels, sites: usize, (jx, jy): (f64, f64), temperature: f64) -> [f64; 4] {
    let beta = 1.0 / temperature;
    let energy = |[x, y]: [i32; 2]| -(jx * f64::from(x) + jy * f64::from(y));
    let ground = levels.iter().map(|l| energy(l.0)).fold(f64::INFINITY, f64::min);
    // In units of a bond, so that the differences of equal couplings are exact.
    let terms = || {
        levels.iter().map(|&(bonds, count)| {
            let excess = energy(bonds) - ground;
            (excess, count * (-beta * excess).exp())
        })
    };
    let z: f64 = terms().map(|(_, w)| w).sum();
    let mean = terms().map(|(e, w)| e * w).sum::<f64>() / z;
    let variance = terms().map(|(e, w)| (e - mean).powi(2) * w).sum::<f64>() / z;
    let n = sites as f64;
    [z.ln() - beta * ground, (ground + mean) / n, (z.ln() + beta * mean) / n, beta * beta * variance / n]
}

/// All states of a small lattice, one flipped spin after the other (Gray code).
fn enumerate([m, n]: [usize; 2], boundary: Boundary) -> Levels {
    let mut bonds: Vec<[Vec<(usize, i32)>; 2]> = vec![Default::default(); m * n];
    let mut satisfied = [0i32; 2];
    for (axis, edge) in [boundary.x, boundary.y].into_iter().enumerate() {
        for (x, y) in (0..n).flat_map(|y| (0..m).map(move |x| (x, y))) {
            let (last, to) =
                if axis == 0 { (x + 1 == m, y * m + (x + 1) % m) } else { (y + 1 == n, (y + 1) % n * m + x) };
            let sign = if last { edge.sign() as i32 } else { 1 };
            let from = y * m + x;
            satisfied[axis] += sign;
            if from != to && sign != 0 {
                bonds[from][axis].push((to, sign));
                bonds[to][axis].push((from, sign));
            }
        }
    }
    let mut spins = vec![1i32; m * n];
    let mut counts = BTreeMap::from([(satisfied, 1u32)]);
    for state in 1u32..1 << (m * n) {
        let flipped = state.trailing_zeros() as usize;
        for axis in [0, 1] {
            let field: i32 = bonds[flipped][axis].iter().map(|&(to, sign)| sign * spins[to]).sum();
            satisfied[axis] -= 2 * spins[flipped] * field;
        }
        spins[flipped] = -spins[flipped];
        *counts.entry(satisfied).or_default() += 1;
    }
    counts.into_iter().map(|(bonds, count)| (bonds, f64::from(count))).collect()
}

/// The levels of a strip of `n` rows of `m` spins with couplings of one strength: for each state of a row, the numbers
/// of states of all rows so far by unsatisfied bonds. A strip that is closed along y starts once from every state.
#[allow(clippy::too_many_lines, reason = "a judge that is read as one piece")]
fn transfer([m, n]: [usize; 2], boundary: Boundary, signs: (f64, f64)) -> Levels {
    let row_bonds = if boundary.x == Edge::Open { m - 1 } else { m };
    let closing = usize::from(boundary.y != Edge::Open);
    let bonds = row_bonds * n + m * (n - 1 + closing);
    let states = 1usize << m;
    let unsatisfied_in_row = |state: usize| -> usize {
        let bond = |x: usize| {
            let seam = x + 1 == m && boundary.x == Edge::Antiperiodic;
            ((state >> x ^ state >> ((x + 1) % m)) & 1 == 1) != (seam != (signs.0 < 0.0))
        };
        (0..row_bonds).filter(|&x| bond(x)).count()
    };
    let flips = |sign: f64| usize::from(sign < 0.0);
    let mut total = vec![0.0; bonds + 1];
    let starts: Vec<Option<usize>> = if closing == 1 { (0..states).map(Some).collect() } else { vec![None] };
    for start in starts {
        let mut counts: Vec<Vec<f64>> = (0..states)
            .map(|state| {
                let mut levels = vec![0.0; bonds + 1];
                if start.is_none_or(|s| s == state) {
                    levels[unsatisfied_in_row(state)] = 1.0;
                }
                levels
            })
            .collect();
        let mut reached = row_bonds;
        let add = |levels: &mut [f64], other: &[f64], same: usize, turned: usize, reached: usize| {
            // The new spin equal to the old one, and unequal.
            let mut new = vec![0.0; levels.len()];
            for b in 0..=reached {
                new[b + same] += levels[b];
                new[b + turned] += other[b];
            }
            levels.copy_from_slice(&new);
        };
        for _ in 1..n {
            for x in 0..m {
                let same = flips(signs.1);
                for state in (0..states).filter(|s| s >> x & 1 == 0) {
                    let [mut a, mut b] = [state, state | 1 << x].map(|s| std::mem::take(&mut counts[s]));
                    let old = a.clone();
                    add(&mut a, &b, same, 1 - same, reached);
                    add(&mut b, &old, same, 1 - same, reached);
                    (counts[state], counts[state | 1 << x]) = (a, b);
                }
                reached += 1;
            }
            for (state, levels) in counts.iter_mut().enumerate() {
                levels.rotate_right(unsatisfied_in_row(state));
            }
            reached += row_bonds;
        }
        for (state, levels) in counts.iter().enumerate() {
            let last = match start {
                None => 0,
                Some(start) => {
                    let turned = (boundary.y == Edge::Antiperiodic) != (signs.1 < 0.0);
                    let differ = (state ^ start).count_ones() as usize;
                    if turned { m - differ } else { differ }
                }
            };
            for b in 0..=bonds - last {
                total[b + last] += levels[b];
            }
        }
    }
    // All bonds count along x: they are equally strong, and `signs` is in the numbers already.
    let satisfied = |unsatisfied: usize| [bonds as i32 - 2 * unsatisfied as i32, 0];
    total.into_iter().enumerate().filter(|&(_, g)| g > 0.0).map(|(b, g)| (satisfied(b), g)).collect()
}

/// Cases and worst relative errors of ln Z, E, S and C, by boundary and signs.
#[derive(Default)]
struct Record(BTreeMap<(String, String), (usize, [f64; 4])>);

impl Record {
    fn add(&mut self, lattice: &Lattice, temperature: f64, judge: [f64; 4]) {
        let what = format!("{lattice:?} T {temperature}");
        let found = lattice.thermodynamics(temperature).unwrap_or_else(|error| panic!("{what}: {error}"));
        let Thermodynamics { ln_z, energy_per_site, entropy_per_site, specific_heat_per_site, .. } = found;
        let found = [ln_z, energy_per_site, entropy_per_site, specific_heat_per_site];
        let [jx, jy] = lattice.coupling_constants();
        let sign = |j: f64| if j < 0.0 { '-' } else { '+' };
        let entry = self.0.entry((lattice.edges().to_string(), format!("{}{}", sign(jx), sign(jy)))).or_default();
        entry.0 += 1;
        for (i, name) in ["ln Z", "E", "S", "C"].into_iter().enumerate() {
            let (a, b) = (found[i], judge[i]);
            // An energy that is the difference of bonds of opposite signs cannot be better than a rounding error of
            // these.
            let floor = if name == "E" { 1e-3 * (jx.abs() + jy.abs()) } else { f64::MIN_POSITIVE };
            let vanishes = a == 0.0 && b < 1e-290;
            let error = if vanishes { 0.0 } else { (a - b).abs() / b.abs().max(floor) };
            assert!(error <= TOLERANCE, "{what}: {name} {a:e} against {b:e}");
            entry.1[i] = entry.1[i].max(error);
        }
    }

    fn merge(mut self, other: Self) -> Self {
        for (key, (cases, worst)) in other.0 {
            let entry = self.0.entry(key).or_default();
            entry.0 += cases;
            entry.1 = std::array::from_fn(|i| entry.1[i].max(worst[i]));
        }
        self
    }

    fn print(&self, judge: &str) -> usize {
        println!("{judge}: cases and worst relative errors of ln Z, E, S, C");
        for ((boundary, signs), (cases, [z, e, s, c])) in &self.0 {
            println!("{boundary:<40} {signs} {cases:>6}  {z:.1e} {e:.1e} {s:.1e} {c:.1e}");
        }
        self.0.values().map(|entry| entry.0).sum()
    }
}

/// Runs the sweep of every boundary, on as many threads as there are boundaries.
fn sweep(judge: &str, one: impl Fn(Boundary, &mut Record) + Sync) -> usize {
    let boundaries = EDGES.into_iter().flat_map(|x| EDGES.map(|y| Boundary { x, y }));
    let record = thread::scope(|scope| {
        let run = |boundary| {
            let mut record = Record::default();
            one(boundary, &mut record);
            record
        };
        let threads: Vec<_> = boundaries.map(|boundary| scope.spawn(move || run(boundary))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).fold(Record::default(), Record::merge)
    });
    record.print(judge)
}

fn lattice(size: [usize; 2], boundary: Boundary, (jx, jy): (f64, f64)) -> Lattice {
    Lattice::new(size[0], size[1]).unwrap().couplings(jx, jy).unwrap().boundary(boundary)
}

/// Every lattice of at most so many spins against enumeration; the number of cases.
fn lattices_agree_with_enumeration(spins: usize) -> usize {
    let cases = sweep("enumeration", |boundary, record| {
        for (m, n) in (1..=spins).flat_map(|m| (1..=spins / m).map(move |n| (m, n))) {
            let levels = enumerate([m, n], boundary);
            for (jx, jy) in SIGNS.into_iter().flat_map(|(x, y)| [(x, y), (x, 0.6 * y)]) {
                // Every other temperature of unequal couplings.
                for temperature in TEMPERATURES.into_iter().step_by(if jx.abs() == jy.abs() { 1 } else { 2 }) {
                    let judge = thermodynamics(&levels, m * n, (jx, jy), temperature);
                    record.add(&lattice([m, n], boundary, (jx, jy)), temperature, judge);
                }
            }
        }
    });
    println!("{cases} cases");
    cases
}

#[test]
fn every_lattice_up_to_16_spins_agrees_with_enumeration() {
    let cases = lattices_agree_with_enumeration(16);
    assert!(cases > 15_000, "{cases}");
}

#[test]
#[ignore = "long: scripts/full"]
fn every_lattice_up_to_20_spins_agrees_with_enumeration() {
    let cases = lattices_agree_with_enumeration(20);
    assert!(cases > 20_000, "{cases}");
}

/// Strips of at most such a width against transfer matrices; the number of cases.
fn strips_agree_with_transfer_matrices(widest: usize) -> usize {
    let cases = sweep("transfer matrix", |boundary, record| {
        let open = [[3, 40], [5, 24], [6, 31], [7, 20], [9, 14], [11, 9], [12, 8]];
        let closed = [[3, 24], [4, 15], [5, 11], [6, 9]];
        let sizes: &[[usize; 2]] = if boundary.y == Edge::Open { &open } else { &closed };
        for &[m, n] in sizes.iter().filter(|[m, _]| *m <= widest) {
            for signs in SIGNS {
                let levels = transfer([m, n], boundary, signs);
                for temperature in TEMPERATURES {
                    let judge = thermodynamics(&levels, m * n, (1.0, 1.0), temperature);
                    record.add(&lattice([m, n], boundary, signs), temperature, judge);
                    let turned = Boundary { x: boundary.y, y: boundary.x };
                    record.add(&lattice([n, m], turned, (signs.1, signs.0)), temperature, judge);
                }
            }
        }
    });
    println!("{cases} cases");
    cases
}

#[test]
fn strips_up_to_width_9_agree_with_transfer_matrices() {
    let cases = strips_agree_with_transfer_matrices(9);
    assert!(cases > 2000, "{cases}");
}

#[test]
#[ignore = "long: scripts/full"]
fn strips_up_to_width_12_agree_with_transfer_matrices() {
    let cases = strips_agree_with_transfer_matrices(12);
    assert!(cases > 2500, "{cases}");
}
