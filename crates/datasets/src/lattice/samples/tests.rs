//! Pools of configurations against exact thermodynamics and against the whole distribution of small lattices.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::{Boundary, CRITICAL_TEMPERATURE};
use super::*;

fn lattice(rows: usize, cols: usize, boundary: Boundary) -> Lattice {
    Lattice::new(rows, cols, boundary).unwrap()
}

fn exact(lattice: &Lattice, temperature: f64) -> ising_exact::Thermodynamics {
    let boundary = match lattice.boundary() {
        Boundary::Periodic => ising_exact::Boundary::PERIODIC,
        Boundary::Open => ising_exact::Boundary::OPEN,
    };
    ising_exact::Lattice::new(lattice.cols(), lattice.rows())
        .unwrap()
        .boundary(boundary)
        .thermodynamics(temperature)
        .unwrap()
}

fn assert_within_four_errors(what: &str, found: Estimate, exact: f64) {
    assert!((found.mean - exact).abs() < 4.0 * found.standard_error, "{what}: {found:?} against {exact}");
    // So that the bound above can fail: the error is small.
    assert!(found.standard_error < 0.05 * exact.abs(), "{what}: {found:?}");
}

#[test]
fn energy_and_specific_heat_are_exact() {
    let t_c = CRITICAL_TEMPERATURE;
    for (rows, cols, boundary, temperatures) in [
        (8, 8, Boundary::Periodic, &[1.5, 2.0, t_c, 2.6, 5.0][..]),
        (16, 16, Boundary::Periodic, &[2.0, t_c, 2.6]),
        (9, 5, Boundary::Periodic, &[t_c]),
        (2, 12, Boundary::Periodic, &[1.7, t_c]),
        (8, 8, Boundary::Open, &[1.5, t_c, 4.0]),
        (16, 16, Boundary::Open, &[2.0, t_c]),
        (1, 20, Boundary::Open, &[1.2]),
    ] {
        for &temperature in temperatures {
            let lattice = lattice(rows, cols, boundary);
            let found = IsingSamples::generate(&lattice, temperature, 16_384, 1).unwrap().statistics();
            let exact = exact(&lattice, temperature);
            let what = |name| format!("{name} at {rows}×{cols} {boundary}, T = {temperature}");
            assert_within_four_errors(&what("energy"), found.energy_per_site, exact.energy_per_site);
            assert_within_four_errors(&what("heat"), found.specific_heat_per_site, exact.specific_heat_per_site);
        }
    }
}

#[test]
fn magnetisation_below_the_critical_temperature_is_that_of_yang() {
    // At T = 1.8 the correlation length is about 2 and the difference to the infinite lattice exponentially small in
    // 32.
    let lattice = lattice(32, 32, Boundary::Periodic);
    let found = IsingSamples::generate(&lattice, 1.8, 4096, 2).unwrap().statistics().magnetisation_per_site;
    let exact = ising_exact::spontaneous_magnetisation(1.0, 1.0, 1.8).unwrap();
    assert_within_four_errors("|m|", found, exact);
}

#[test]
fn configurations_are_practically_independent() {
    for side in [8, 32] {
        for temperature in [1.0, 2.0, CRITICAL_TEMPERATURE, 2.5, 10.0] {
            let lattice = lattice(side, side, Boundary::Periodic);
            let found = IsingSamples::generate(&lattice, temperature, 4096, 3).unwrap().statistics();
            for estimate in [found.energy_per_site, found.magnetisation_per_site] {
                let time = estimate.autocorrelation;
                assert!(time.tau < 0.6 + 4.0 * time.standard_error, "{side}, T = {temperature}: {time:?}");
                assert!(time.standard_error < 0.1);
            }
        }
    }
}

/// The number of standard deviations by which χ² of the counts exceeds its mean; states expected less than 10 times are
/// one.
fn chi_square_excess(counts: &[f64], probabilities: &[f64]) -> f64 {
    let draws: f64 = counts.iter().sum();
    let (mut chi_square, mut cells, mut rare) = (0.0, 0, (0.0, 0.0));
    let mut add = |count: f64, expected: f64| {
        chi_square += (count - expected).powi(2) / expected;
        cells += 1;
    };
    for (&count, &p) in counts.iter().zip(probabilities) {
        if draws * p < 10.0 {
            rare = (rare.0 + count, rare.1 + draws * p);
        } else {
            add(count, draws * p);
        }
    }
    if rare.1 > 0.0 {
        add(rare.0, rare.1);
    }
    let freedom = f64::from(cells - 1);
    (chi_square - freedom) / (2.0 * freedom).sqrt()
}

/// The number of the state, spin i up in bit i.
fn state(spins: &[i8]) -> usize {
    spins.iter().enumerate().map(|(i, &s)| usize::from(s == 1) << i).sum()
}

fn probabilities(lattice: &Lattice, temperature: f64) -> Vec<f64> {
    let energy = |state: usize| -> f64 {
        let spin = |site: usize| (state >> site & 1) as f64 * 2.0 - 1.0;
        -lattice.bonds().map(|(i, j)| spin(i) * spin(j)).sum::<f64>()
    };
    let weights: Vec<f64> = (0..1 << lattice.sites()).map(|state| (-energy(state) / temperature).exp()).collect();
    let z: f64 = weights.iter().sum();
    weights.iter().map(|w| w / z).collect()
}

#[test]
fn small_lattices_have_the_enumerated_distribution() {
    for (rows, cols, boundary, temperature) in [
        (1, 2, Boundary::Open, 1.0),
        (1, 2, Boundary::Periodic, 3.0),
        (1, 4, Boundary::Periodic, 1.5),
        (2, 2, Boundary::Periodic, 4.0),
        (2, 2, Boundary::Open, 2.0),
        (2, 4, Boundary::Periodic, 3.0),
        (2, 4, Boundary::Open, 1.5),
        (3, 3, Boundary::Periodic, 3.0),
        (3, 3, Boundary::Open, 2.0),
        (3, 3, Boundary::Periodic, 50.0),
    ] {
        let lattice = lattice(rows, cols, boundary);
        let samples = IsingSamples::generate(&lattice, temperature, 100_000, 4).unwrap();
        let exact = probabilities(&lattice, temperature);
        let mut counts = vec![0.0; exact.len()];
        (0..samples.len()).for_each(|index| counts[state(samples.spins(index))] += 1.0);
        let excess = chi_square_excess(&counts, &exact);
        assert!(excess.abs() < 4.0, "{rows}×{cols} {boundary}, T = {temperature}: {excess}");
        // The judge sees a temperature that is off by five per cent.
        let other = chi_square_excess(&counts, &probabilities(&lattice, 1.05 * temperature));
        assert!(temperature == 50.0 || other > 6.0, "{rows}×{cols} {boundary}, T = {temperature}: {other}");
    }
}

#[test]
fn energies_and_magnetisations_belong_to_their_configurations() {
    for (rows, cols, boundary) in [(2, 3, Boundary::Periodic), (1, 5, Boundary::Periodic), (4, 7, Boundary::Open)] {
        let lattice = lattice(rows, cols, boundary);
        // Not a multiple of the number of chains.
        let samples = IsingSamples::generate(&lattice, 2.0, 101, 5).unwrap();
        assert_eq!((samples.energies().len(), samples.magnetisations().len()), (101, 101));
        for index in 0..101 {
            let spins = samples.spins(index);
            assert!(spins.iter().all(|s| s.abs() == 1));
            let bonds: i32 = lattice.bonds().map(|(i, j)| i32::from(spins[i] * spins[j])).sum();
            assert_eq!(samples.energies()[index], -f64::from(bonds));
            assert_eq!(samples.magnetisations()[index], spins.iter().map(|&s| f64::from(s)).sum::<f64>());
        }
    }
}

#[test]
fn a_pool_depends_on_its_seed_and_not_on_threads() {
    let lattice = lattice(6, 6, Boundary::Periodic);
    let with_threads = |threads, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| IsingSamples::generate(&lattice, 2.2, 200, seed)).unwrap().pool.rows().to_vec()
    };
    let alone = with_threads(1, 6);
    assert!(alone == with_threads(5, 6));
    assert!(alone != with_threads(1, 7));
}

#[test]
fn impossible_pools_are_refused() {
    let lattice = lattice(4, 4, Boundary::Periodic);
    for count in [0, usize::MAX, usize::MAX / 16] {
        let error = IsingSamples::generate(&lattice, 2.0, count, 1).unwrap_err();
        assert_eq!(error, LatticeError::SampleCount { count, sites: 16 });
    }
    let error = IsingSamples::generate(&lattice, 0.0, 1, 1).unwrap_err();
    assert_eq!(error, LatticeError::Temperature { found: 0.0 });
    assert_eq!(IsingSamples::generate(&lattice, 2.0, 1, 1).unwrap().len(), 1);
}

#[test]
fn progress_hears_of_every_configuration() {
    let lattice = lattice(4, 4, Boundary::Periodic);
    let heard = std::sync::Mutex::new(Vec::new());
    let hear = |done| {
        heard.lock().unwrap().push(done);
        ControlFlow::Continue(())
    };
    let told = IsingSamples::generate_with_progress(&lattice, 2.2, 70, 1, &hear).unwrap();
    let mut heard = heard.into_inner().unwrap();
    heard.sort_unstable();
    assert_eq!(heard, (1..=70).collect::<Vec<_>>());
    assert_eq!(told.energies(), IsingSamples::generate(&lattice, 2.2, 70, 1).unwrap().energies());
}

#[test]
fn sampling_stops_when_no_more_is_wanted() {
    let lattice = lattice(4, 4, Boundary::Periodic);
    let heard = AtomicUsize::new(0);
    let enough = |done| {
        heard.fetch_add(1, Ordering::Relaxed);
        if done < 40 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let error = IsingSamples::generate_with_progress(&lattice, 2.2, 100_000, 1, &enough).unwrap_err();
    assert!(matches!(error, LatticeError::Stopped { done: 40.. }), "{error}");
    assert!(heard.into_inner() < 1000, "every thread stops");
}
