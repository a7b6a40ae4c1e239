//! The continuous Ising target against dense linear algebra, enumeration, quadrature and the exact finite-lattice
//! solution.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::finite_difference::assert_gradient;

const SIZES: [(usize, usize); 12] =
    [(1, 1), (1, 2), (2, 1), (2, 2), (1, 5), (2, 3), (3, 3), (4, 4), (5, 7), (8, 8), (6, 10), (16, 9)];

fn targets(temperatures: &[f64]) -> impl Iterator<Item = IsingTarget> {
    SIZES.into_iter().flat_map(move |(rows, cols)| {
        [Boundary::Periodic, Boundary::Open].into_iter().flat_map(move |boundary| {
            temperatures.iter().map(move |&t| IsingTarget::new(rows, cols, boundary, t).unwrap())
        })
    })
}

fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-2.0..2.0)).collect()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < tolerance, "{what}: {found} against {expected}");
    }
}

#[test]
fn closed_form_spectrum_and_log_det_agree_with_dense() {
    for target in targets(&[0.7, CRITICAL_TEMPERATURE, 20.0]) {
        let dense = target.dense_coupling();
        let mut closed: Vec<f64> =
            target.lattice.adjacency_eigenvalues().map(|a| a / target.temperature + target.alpha).collect();
        closed.sort_by(f64::total_cmp);
        let spectrum = dense.spectrum();
        assert_close(&closed, &spectrum, 1e-10, "spectrum");
        assert!((spectrum[0] - SMALLEST_EIGENVALUE).abs() < 1e-12);
        assert!((dense.log_det().unwrap() - target.log_det_k()).abs() < 1e-10, "{target:?}");
    }
}

#[test]
fn fast_inverse_agrees_with_dense() {
    for target in targets(&[0.7, CRITICAL_TEMPERATURE, 20.0]) {
        let n = target.sites();
        let inverse = target.dense_coupling().inverse().unwrap();
        let x = random(n, 1);
        let dense: Vec<f64> = inverse.chunks_exact(n).map(|row| row.iter().zip(&x).map(|(a, b)| a * b).sum()).collect();
        let mut fast = vec![0.0; n];
        target.apply(CouplingPower::Inverse, &x, &mut fast);
        assert_close(&fast, &dense, 1e-10, "K⁻¹x");
    }
}

#[test]
fn powers_of_k_multiply_as_they_should() {
    for target in targets(&[1.0, CRITICAL_TEMPERATURE]) {
        let n = target.sites();
        let x = random(n, 2);
        let apply = |power, x: &[f64]| {
            let mut out = vec![0.0; n];
            target.apply(power, x, &mut out);
            out
        };
        let k = apply(CouplingPower::One, &x);
        let mut direct: Vec<f64> = x.iter().map(|x| target.alpha * x).collect();
        for (i, j) in target.lattice.bonds() {
            direct[i] += x[j] / target.temperature;
            direct[j] += x[i] / target.temperature;
        }
        assert_close(&k, &direct, 1e-12, "Kx");
        let twice = |power| apply(power, &apply(power, &x));
        assert_close(&twice(CouplingPower::SquareRoot), &k, 1e-12, "K^{1/2} K^{1/2} x");
        let inverse = apply(CouplingPower::Inverse, &x);
        assert_close(&twice(CouplingPower::InverseSquareRoot), &inverse, 1e-11, "K^{-1/2} K^{-1/2} x");
        let back = apply(CouplingPower::InverseSquareRoot, &apply(CouplingPower::SquareRoot, &x));
        assert_close(&back, &x, 1e-12, "K^{-1/2} K^{1/2} x");
        // Positive, not merely some root: xᵀ K^{1/2} x > 0.
        let root = apply(CouplingPower::SquareRoot, &x);
        assert!(root.iter().zip(&x).map(|(a, b)| a * b).sum::<f64>() > 0.0);
    }
}

#[test]
fn gradient_is_that_of_the_energy() {
    for target in targets(&[CRITICAL_TEMPERATURE]) {
        assert_gradient(&random(target.sites(), 3), |x, gradient| target.energy_and_gradient(x, gradient));
    }
}

#[test]
fn energy_is_its_definition_and_does_not_overflow() {
    let target = IsingTarget::new(40, 30, Boundary::Periodic, CRITICAL_TEMPERATURE).unwrap();
    let n = target.sites();
    let x = random(n, 4);
    let mut inverse = vec![0.0; n];
    target.apply(CouplingPower::Inverse, &x, &mut inverse);
    let plain: f64 = x.iter().zip(&inverse).map(|(x, kx)| 0.5 * x * kx - x.cosh().ln()).sum();
    let mut gradient = vec![0.0; n];
    let energy = target.energy_and_gradient(&x, &mut gradient);
    assert!((energy - plain).abs() < 1e-12 * plain.abs(), "{energy} against {plain}");
    for i in 0..n {
        assert!((gradient[i] - (inverse[i] - x[i].tanh())).abs() < 1e-15 * 8.0);
    }

    let eigenvalue = 4.0 / CRITICAL_TEMPERATURE + target.alpha();
    for size in [1e3, 1e6, 1e100] {
        let energy = target.energy_and_gradient(&vec![-size; n], &mut gradient);
        let exact = n as f64 * (0.5 * size * size / eigenvalue - size + 2f64.ln());
        assert!((energy - exact).abs() < 1e-12 * exact, "{energy} against {exact}");
        assert!((gradient[0] - (1.0 - size / eigenvalue)).abs() < 1e-12 * size);
    }
    assert!(target.energy_and_gradient(&vec![f64::NAN; n], &mut gradient).is_nan());
}

#[test]
fn rows_from_several_threads_are_those_from_one() {
    for boundary in [Boundary::Periodic, Boundary::Open] {
        let target = IsingTarget::new(12, 10, boundary, 2.0).unwrap();
        let row = |seed| {
            let mut gradient = vec![0.0; 120];
            let energy = target.energy_and_gradient(&random(120, seed), &mut gradient);
            (energy.to_bits(), gradient.iter().map(|d| d.to_bits()).collect::<Vec<_>>())
        };
        let alone: Vec<_> = (0..64).map(row).collect();
        let together = std::thread::scope(|scope| {
            let quarters: Vec<_> =
                (0..4).map(|q| scope.spawn(move || (16 * q..16 * q + 16).map(row).collect::<Vec<_>>())).collect();
            quarters.into_iter().flat_map(|quarter| quarter.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(alone == together, "{boundary}");
    }
}

/// ln of the sum of `exp(Σ_bonds s_i s_j / T)` over all states.
fn enumerate(lattice: &Lattice, temperature: f64) -> f64 {
    let n = lattice.sites();
    let weight = |state: u32| {
        let spin = |site: usize| f64::from(state >> site & 1) * 2.0 - 1.0;
        (lattice.bonds().map(|(i, j)| spin(i) * spin(j)).sum::<f64>() / temperature).exp()
    };
    (0..1u32 << n).map(weight).sum::<f64>().ln()
}

/// ∫ f(x) exp(−E(x)) dx over the box of half-width `half` points of distance `h`, for each of the `functions`.
fn integrate<const F: usize>(
    target: &IsingTarget,
    h: f64,
    half: i32,
    functions: impl Fn(&[f64]) -> [f64; F],
) -> [f64; F] {
    let n = target.sites();
    let side = 2 * half as usize + 1;
    let (mut x, mut gradient) = (vec![0.0; n], vec![0.0; n]);
    let mut sums = [0.0; F];
    for point in 0..side.pow(n as u32) {
        let mut rest = point;
        for x in &mut x {
            *x = (rest % side) as f64 * h - f64::from(half) * h;
            rest /= side;
        }
        let weight = (-target.energy_and_gradient(&x, &mut gradient)).exp() * h.powi(n as i32);
        for (sum, value) in sums.iter_mut().zip(functions(&x)) {
            *sum += weight * value;
        }
    }
    sums
}

#[test]
fn continuous_partition_function_integrates_to_the_enumerated_one() {
    // The trapezoid rule on Gaussians of variance s² ≥ 0.1 errs by exp(−2π²s²/h²): 1e-13 at h = 0.25.
    for (rows, cols, boundary, temperature, half) in [
        (1, 1, Boundary::Open, 1.0, 40),
        (1, 1, Boundary::Periodic, 1.0, 40),
        (1, 2, Boundary::Open, 1.0, 60),
        (2, 1, Boundary::Periodic, 1.5, 60),
        (1, 3, Boundary::Periodic, 3.0, 40),
        (2, 2, Boundary::Open, 10.0, 20),
        (2, 2, Boundary::Periodic, 20.0, 20),
    ] {
        let target = IsingTarget::new(rows, cols, boundary, temperature).unwrap();
        let [z] = integrate(&target, 0.25, half, |_| [1.0]);
        let exact = target.minus_log_z(enumerate(target.lattice(), temperature));
        assert!((-z.ln() - exact).abs() < 1e-11, "{target:?}: {} against {exact}", -z.ln());
    }
}

#[test]
fn spins_have_the_correlations_of_the_ising_model() {
    // One open bond: ⟨s₁s₂⟩ = tanh(1/T), and given x the spins are independent with means tanh x.
    let target = IsingTarget::new(1, 2, Boundary::Open, 1.3).unwrap();
    let mean = |x: f64| 2.0 * up_probability(x) - 1.0;
    let [z, product] = integrate(&target, 0.2, 60, |x| [1.0, mean(x[0]) * mean(x[1])]);
    assert!((product / z - (1.0 / 1.3f64).tanh()).abs() < 1e-12);
}

#[test]
fn drawn_spins_follow_their_probabilities() {
    let x = [-40.0, -0.7, 0.0, 0.4, 40.0];
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut up = [0; 5];
    let mut spins = [0i8; 5];
    let draws = 40_000;
    for _ in 0..draws {
        sample_spins(&x, &mut rng, &mut spins);
        for (up, spin) in up.iter_mut().zip(spins) {
            assert!(spin == 1 || spin == -1);
            *up += i32::from(spin == 1);
        }
    }
    assert_eq!((up[0], up[4]), (0, draws));
    for (x, up) in x.iter().zip(up) {
        let p = up_probability(*x);
        let deviation = (f64::from(up) - p * f64::from(draws)).abs();
        assert!(deviation <= 4.0 * (f64::from(draws) * p * (1.0 - p)).sqrt(), "x = {x}: {up} of {draws}");
    }
}

/// ln Z of the periodic m×n Ising model (Kaufman, Phys. Rev. 76, 1232 (1949), equation 39), for sizes without overflow.
fn kaufman(m: usize, n: usize, temperature: f64) -> f64 {
    let two_beta = 2.0 / temperature;
    let gamma = |l: usize| match l {
        0 => two_beta + (0.5 * two_beta).tanh().ln(),
        _ => {
            let c = two_beta.cosh() / two_beta.tanh() - (std::f64::consts::PI * l as f64 / n as f64).cos();
            c.acosh()
        }
    };
    let half = |l| 0.5 * m as f64 * gamma(l);
    let odd = |f: fn(f64) -> f64| (0..n).map(|r| 2.0 * f(half(2 * r + 1))).product::<f64>();
    let even = |f: fn(f64) -> f64| (0..n).map(|r| 2.0 * f(half(2 * r))).product::<f64>();
    let sum = odd(f64::cosh) + odd(f64::sinh) + even(f64::cosh) + even(f64::sinh);
    0.5 * (m * n) as f64 * (2.0 * two_beta.sinh()).ln() + (0.5 * sum).ln()
}

#[test]
fn known_free_energy_per_site_at_the_critical_point() {
    let small = Lattice::new(3, 4, Boundary::Periodic).unwrap();
    assert!((kaufman(3, 4, 1.9) - enumerate(&small, 1.9)).abs() < 1e-11, "the judge itself");
    assert_eq!(CRITICAL_TEMPERATURE, 2.0 / (1.0 + 2f64.sqrt()).ln());
    let target = IsingTarget::new(16, 16, Boundary::Periodic, CRITICAL_TEMPERATURE).unwrap();
    let per_site = target.minus_log_z(kaufman(16, 16, CRITICAL_TEMPERATURE)) / 256.0;
    assert!((per_site + 2.315920858819).abs() < 1e-12, "{per_site:.15}");
}

#[test]
fn bad_parameters_are_refused() {
    for found in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-308] {
        match IsingTarget::new(4, 4, Boundary::Periodic, found).unwrap_err() {
            LatticeError::Temperature { found: reported } => {
                assert_eq!(reported.to_bits(), found.to_bits())
            }
            other => panic!("{other}"),
        }
    }
    let error = IsingTarget::new(0, 4, Boundary::Periodic, 1.0).unwrap_err();
    assert!(error.to_string().contains("0×4"), "{error}");
}
