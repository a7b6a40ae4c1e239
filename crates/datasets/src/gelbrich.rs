//! A lower bound of the cost of optimal transport by moments alone.

use nalgebra::DMatrix;

use crate::yardstick::covariance;

/// Gelbrich's bound of the squared Wasserstein distance of two samples, from their means and covariances:
/// `‖m₀ − m₁‖² + tr(Σ₀ + Σ₁ − 2 (Σ₀^½ Σ₁ Σ₀^½)^½) ≤ W₂²` (Gelbrich 1990). Two normal densities are exactly as far
/// apart.
///
/// `x` and `y` have rows of `n` numbers, row by row; their numbers of rows may differ. The bound holds for the samples
/// themselves, however few.
///
/// ```
/// // Variances 1 and 9 about 0 and 4: 4² + (3 − 1)².
/// assert!((datasets::gelbrich(&[-1.0, 1.0], &[1.0, 7.0], 1) - 20.0).abs() < 1e-12);
/// ```
///
/// # Panics
/// If either has no row.
pub fn gelbrich(x: &[f64], y: &[f64], n: usize) -> f64 {
    assert!(x.len() >= n && y.len() >= n, "either has a row");
    let [(x_mean, x_covariance), (y_mean, y_covariance)] = [x, y].map(|rows| covariance(rows, n, None));
    let [x_covariance, y_covariance] = [x_covariance, y_covariance].map(|of| DMatrix::from_row_slice(n, n, &of));
    let apart: f64 = x_mean.iter().zip(&y_mean).map(|(x, y)| (x - y).powi(2)).sum();
    let traces = x_covariance.trace() + y_covariance.trace();
    let root = square_root(x_covariance);
    let product = &root * y_covariance * &root;
    // Round-off may leave an eigenvalue of zero a little below.
    let trace_of_root: f64 = product.symmetric_eigenvalues().iter().map(|value| value.max(0.0).sqrt()).sum();
    apart + traces - 2.0 * trace_of_root
}

/// The symmetric root of a symmetric matrix without negative eigenvalues.
fn square_root(of: DMatrix<f64>) -> DMatrix<f64> {
    let eigen = of.symmetric_eigen();
    let roots = eigen.eigenvalues.map(|value| value.max(0.0).sqrt());
    &eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows whose mean is `mean` and whose covariance is `factor factorᵀ`, exactly: ± √n times each column.
    fn rows(mean: [f64; 2], factor: [[f64; 2]; 2]) -> Vec<f64> {
        let column = |k: usize, sign: f64| [0, 1].map(|i| mean[i] + sign * 2f64.sqrt() * factor[i][k]);
        [column(0, 1.0), column(0, -1.0), column(1, 1.0), column(1, -1.0)].concat()
    }

    #[test]
    fn normal_densities_in_the_plane_have_their_closed_form() {
        let (a, b) = ([[2.0, 0.0], [0.7, 1.5]], [[0.5, 0.0], [-1.1, 0.9]]);
        let found = gelbrich(&rows([1.0, -2.0], a), &rows([0.5, 1.0], b), 2);
        let [a, b] = [a, b].map(|of| nalgebra::Matrix2::from_fn(|i, j| of[i][j])).map(|of| of * of.transpose());
        // Of a 2 × 2 matrix M with positive eigenvalues, tr √M = √(tr M + 2 √det M).
        let product = a * b;
        let root = (product.trace() + 2.0 * product.determinant().sqrt()).sqrt();
        let exact = 0.25 + 9.0 + a.trace() + b.trace() - 2.0 * root;
        assert!((found - exact).abs() < 1e-12, "{found}, exactly {exact}");
    }

    #[test]
    fn moving_apart_and_widening_add_up() {
        let unit = [[1.0, 0.0], [0.0, 1.0]];
        let wide = [[3.0, 0.0], [0.0, 0.5]];
        let found = gelbrich(&rows([0.0; 2], unit), &rows([3.0, 4.0], wide), 2);
        assert!((found - (25.0 + 4.0 + 0.25)).abs() < 1e-12, "{found}");
        // Points of no extent, and the same points.
        assert!((gelbrich(&[1.0, 1.0], &[4.0, 5.0], 2) - 25.0).abs() < 1e-12);
        assert!(gelbrich(&rows([0.0; 2], wide), &rows([0.0; 2], wide), 2).abs() < 1e-12);
    }

    #[test]
    fn it_is_below_the_cost_of_any_pairing() {
        let x: Vec<f64> = (0..60).map(|i| f64::from(i * i % 17) - 5.0).collect();
        let y: Vec<f64> = x.iter().enumerate().map(|(i, x)| x.powi(2) / 4.0 + f64::from(i as u32 % 5)).collect();
        let paired = x.iter().zip(&y).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / 20.0;
        assert!(gelbrich(&x, &y, 3) < paired);
    }
}
