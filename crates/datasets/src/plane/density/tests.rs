//! Densities against their integral, their samples and their entropy.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

/// Points of a grid fine and wide enough for every feature, with the probability each stands for.
fn grid(density: PlaneDensity) -> Vec<([f64; 2], f64)> {
    // The checkerboard is constant on squares: its grid divides them, with the points in the middle of cells.
    let (half, h, offset) = match density {
        PlaneDensity::TwoMoons => ([5.0, 3.5], 0.05, 0.0),
        PlaneDensity::EightGaussians => ([6.0; 2], 0.1, 0.0),
        PlaneDensity::Rings => ([3.8; 2], 0.02, 0.0),
        PlaneDensity::Pinwheel => ([6.5; 2], 0.02, 0.0),
        PlaneDensity::Checkerboard => ([4.0; 2], 0.02, 0.01),
    };
    let steps = half.map(|half| (half / h) as i32);
    let at = |i: i32| f64::from(i) * h + offset;
    (-steps[1]..=steps[1])
        .flat_map(|j| (-steps[0]..=steps[0]).map(move |i| [at(i), at(j)]))
        .map(|x| (x, density.log_density(x).exp() * h * h))
        .collect()
}

#[test]
fn densities_integrate_to_one() {
    for density in PlaneDensity::ALL {
        let mass: f64 = grid(density).iter().map(|(_, p)| p).sum();
        // The twist of the pinwheel winds ever faster outwards: a square grid resolves it less well than the others.
        let tolerance = if density == PlaneDensity::Pinwheel { 1e-6 } else { 1e-10 };
        assert!((mass - 1.0).abs() < tolerance, "{density:?}: {mass}");
    }
}

#[test]
fn entropies_are_converged_in_the_step() {
    for density in PlaneDensity::ALL {
        let (coarse, fine) = (density.entropy(), density.entropy_by_step(0.5));
        assert!((coarse - fine).abs() < 1e-9, "{density:?}: {coarse} and {fine}");
    }
}

#[test]
fn samples_follow_the_density() {
    // The mean of −ln p over samples is the entropy, and the means of some functions that tell mirror images apart are
    // those of the density, all within 4.5 standard errors.
    let functions: [fn([f64; 2]) -> f64; 6] = [
        |[x, _]| x,
        |[_, y]| y,
        |[x, y]| x * y,
        |[x, y]| x * x + 0.5 * y * y,
        |[x, y]| (3.0 * x + y).cos(),
        |[x, y]| (x - 2.0 * y).sin() * x,
    ];
    let count = 100_000;
    for density in PlaneDensity::ALL {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let samples: Vec<[f64; 2]> = (0..count).map(|_| density.sample(&mut rng)).collect();
        let compare = |values: Vec<f64>, exact: f64, what: &str| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
            let error = (variance / values.len() as f64).sqrt().max(1e-12);
            assert!((mean - exact).abs() < 4.5 * error, "{density:?}, {what}: {mean} ± {error} against {exact}");
        };
        compare(samples.iter().map(|&x| -density.log_density(x)).collect(), density.entropy(), "entropy");
        let grid = grid(density);
        for (i, f) in functions.iter().enumerate() {
            let exact = grid.iter().map(|&(x, p)| p * f(x)).sum();
            compare(samples.iter().map(|&x| f(x)).collect(), exact, &format!("function {i}"));
        }
    }
}

#[test]
fn separated_gaussians_have_nearly_the_entropy_of_one_and_a_choice() {
    // H < ln 8 + ln(2πe σ²), and by little as neighbours are 6 widths apart.
    let bound = 8f64.ln() + (2.0 * PI * 0.125).ln() + 1.0;
    let gap = bound - PlaneDensity::EightGaussians.entropy();
    assert!(gap > 0.0 && gap < 0.03, "{gap}");
}

#[test]
fn moon_density_is_the_blurred_arc() {
    // Against a plain mean over 20,000 midpoints of angle, itself good to about 1e-7 far away where the ends of the arc
    // count.
    for x in [[1.0, 0.5], [-0.3, 0.1], [3.2, -0.4], [-4.0, 3.0], [6.0, -6.0]] {
        let steps = 20_000;
        let terms = (0..2 * steps).map(|i| {
            let (sin, cos) = (PI * (f64::from(i / 2) + 0.5) / f64::from(steps)).sin_cos();
            let point =
                if i % 2 == 0 { [2.0 * cos - 1.0, 2.0 * sin - 0.5] } else { [1.0 - 2.0 * cos, 0.5 - 2.0 * sin] };
            -0.5 * squared_distance(x, point) / 0.04
        });
        let plain = log_sum_exp(terms) - f64::from(2 * steps).ln() - (2.0 * PI * 0.04).ln();
        let found = PlaneDensity::TwoMoons.log_density(x);
        assert!((found - plain).abs() < 1e-6, "{x:?}: {found} against {plain}");
    }
}

#[test]
fn checkerboard_squares_alternate() {
    let log_density = |x| PlaneDensity::Checkerboard.log_density(x);
    for (x, black) in
        [([-3.0, -3.0], true), ([-1.0, -3.0], false), ([-1.0, -1.0], true), ([1.0, 1.0], true), ([3.0, 1.0], false)]
    {
        assert_eq!(log_density(x).is_finite(), black, "{x:?}");
    }
    for x in [[4.0, 4.0], [5.0, 5.0], [f64::NAN, 0.0], [-4.1, -3.0]] {
        assert_eq!(log_density(x), f64::NEG_INFINITY);
    }
}

#[test]
fn densities_stay_finite_far_away() {
    for density in [PlaneDensity::TwoMoons, PlaneDensity::EightGaussians, PlaneDensity::Rings, PlaneDensity::Pinwheel] {
        for x in [[0.0, 0.0], [30.0, -40.0]] {
            assert!(density.log_density(x).is_finite(), "{density:?} at {x:?}");
        }
    }
}
