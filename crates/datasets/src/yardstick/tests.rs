//! Densities against closed forms, and against what weights mean.

use super::*;

#[test]
fn the_gaussian_is_that_of_its_moments() {
    // Mean (1, 2), covariance [[2, 1], [1, 1]] by four points m ± √2 L e, L the Cholesky factor.
    let (mean, factor) = ([1e6, 2.0], [[2f64.sqrt(), 0.0], [0.5f64.sqrt(), 0.5f64.sqrt()]]);
    let point = |axis: usize, sign: f64| {
        let scale = sign * 2f64.sqrt();
        [mean[0] + scale * factor[0][axis], mean[1] + scale * factor[1][axis]]
    };
    let rows = [point(0, 1.0), point(0, -1.0), point(1, 1.0), point(1, -1.0)].concat();
    let gaussian = Gaussian::fit(&rows, 2, None).unwrap();
    // Σ⁻¹ = [[1, −1], [−1, 2]], det Σ = 1.
    for (a, b) in [(0.0, 0.0), (1.0, -0.5), (-3.0, 2.0)] {
        let exact = -0.5 * (a * a - 2.0 * a * b + 2.0 * b * b) - std::f64::consts::TAU.ln();
        let found = gaussian.log_density(&[mean[0] + a, mean[1] + b]);
        assert!((found - exact).abs() < 1e-8, "{found} {exact}");
    }
    let at_rows = -1.0 - std::f64::consts::TAU.ln();
    assert!((gaussian.mean_log_density(&rows, None) - at_rows).abs() < 1e-8);
}

#[test]
fn weights_count_as_repetitions_and_units_as_jacobians() {
    let rows: Vec<f64> = (0..60).flat_map(|i| [(1.7 * f64::from(i)).sin(), (2.9 * f64::from(i)).cos().exp()]).collect();
    let weights: Vec<f64> = (0..60).map(|i| f64::from(i % 4)).collect();
    let repeated: Vec<f64> = rows.chunks_exact(2).zip(&weights).flat_map(|(row, w)| row.repeat(*w as usize)).collect();
    let (a, b) = (Gaussian::fit(&rows, 2, Some(&weights)).unwrap(), Gaussian::fit(&repeated, 2, None).unwrap());
    assert!((a.log_density(&[0.1, 1.2]) - b.log_density(&[0.1, 1.2])).abs() < 1e-12);
    let scaled: Vec<f64> = rows.chunks_exact(2).flat_map(|row| [1e12 * row[0] + 1e15, 1e-9 * row[1]]).collect();
    let jacobian = 1e12f64.ln() + 1e-9f64.ln();
    let (a, b) = (Gaussian::fit(&rows, 2, None).unwrap(), Gaussian::fit(&scaled, 2, None).unwrap());
    assert!((a.mean_log_density(&rows, None) - b.mean_log_density(&scaled, None) - jacobian).abs() < 1e-6);
    let (a, b) = (Independent::fit(&rows, 2, None).unwrap(), Independent::fit(&scaled, 2, None).unwrap());
    assert!((a.mean_log_density(&rows, None) - b.mean_log_density(&scaled, None) - jacobian).abs() < 1e-6);
}

#[test]
fn independent_columns_find_the_entropy_of_their_distribution() {
    // Evenly spaced quantiles of an exponential distribution, whose entropy is 1, beside a uniform one, whose is ln 2.
    let rows: Vec<f64> = (0..4000)
        .flat_map(|i| {
            let share = (f64::from(i) + 0.5) / 4000.0;
            [-(-share).ln_1p(), 2.0 * ((share * 1e4 * std::f64::consts::SQRT_2) % 1.0)]
        })
        .collect();
    let independent = Independent::fit(&rows, 2, None).unwrap();
    let found = independent.mean_log_density(&rows, None);
    let exact = -1.0 - 2f64.ln();
    assert!((found - exact).abs() < 0.03, "{found}, exactly {exact}");
    // It is a density: its integral over one column, the other at a place, is the density of that other.
    let one = Independent::fit(&rows.iter().step_by(2).copied().collect::<Vec<_>>(), 1, None).unwrap();
    let h = 1e-3;
    let mass: f64 = (-5000..20_000).map(|i| one.log_density(&[f64::from(i) * h]).exp() * h).sum();
    assert!((mass - 1.0).abs() < 1e-3, "{mass}");
    let gaussian = Gaussian::fit(&rows, 2, None).unwrap();
    assert!(found > gaussian.mean_log_density(&rows, None));
    // A row that weighs three times as much as another.
    let [first, second] = [&rows[..2], &rows[2..4]].map(|row| gaussian.log_density(row));
    let weighted = gaussian.mean_log_density(&rows[..4], Some(&[0.5, 1.5]));
    assert!((weighted - (0.25 * first + 0.75 * second)).abs() < 1e-12);
}

#[test]
fn what_has_no_density_is_refused() {
    let line: Vec<f64> = (0..10).flat_map(|i| [f64::from(i), 2.0 * f64::from(i)]).collect();
    assert!(matches!(Gaussian::fit(&[1.0; 6], 2, None), Err(ColumnError::Whitening(_))));
    assert!(matches!(Independent::fit(&[1.0; 6], 2, None), Err(ColumnError::NoSpread { .. })));
    assert!(matches!(Gaussian::fit(&line, 2, None), Err(ColumnError::Singular { columns: 2 })));
    for weights in [vec![-1.0; 10], vec![0.0; 10], vec![f64::NAN; 10]] {
        assert!(matches!(Gaussian::fit(&line, 2, Some(&weights)), Err(ColumnError::Weight { row: 1, .. })));
    }
    assert!(matches!(Gaussian::fit(&line, 2, Some(&[1.0])), Err(ColumnError::Shape { expected: 10, found: 1, .. })));
    assert!(Gaussian::fit(&[], 2, None).is_err() && Gaussian::fit(&line, 3, None).is_err());
}
