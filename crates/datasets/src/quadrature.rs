//! Numerical integration of smooth functions: the trapezoid rule where it converges exponentially, Gauss-Legendre
//! elsewhere.

use nalgebra::{DMatrix, SymmetricEigen};

/// Nodes and weights of the `n`-point Gauss-Legendre rule on [0, 1], from the eigenvalues of the Jacobi matrix
/// (Golub and Welsch, Math. Comp. 23, 221 (1969)).
pub(crate) fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let jacobi = DMatrix::from_fn(n, n, |i, j| {
        let k = i.max(j) as f64;
        if i.abs_diff(j) == 1 { k / (4.0 * k * k - 1.0).sqrt() } else { 0.0 }
    });
    let SymmetricEigen { eigenvalues, eigenvectors } = SymmetricEigen::new(jacobi);
    let first = eigenvectors.row(0);
    eigenvalues.iter().zip(first.iter()).map(|(node, v)| (0.5 + 0.5 * node, v * v)).collect()
}

/// ∫∫ `f` over the plane by the trapezoid rule of step `h` on `[−half, half]` in each direction; the integrand must
/// have died away there. For integrands analytic in a strip the error falls exponentially in 1/h (Trefethen and
/// Weideman, SIAM Rev. 56, 385 (2014)).
pub(crate) fn integrate_plane(half: [f64; 2], h: f64, f: impl Fn([f64; 2]) -> f64) -> f64 {
    let steps = half.map(|half| (half / h).ceil() as i32);
    let row = |j: i32| (-steps[0]..=steps[0]).map(|i| f([f64::from(i) * h, f64::from(j) * h])).sum::<f64>();
    (-steps[1]..=steps[1]).map(row).sum::<f64>() * h * h
}

/// `ln Σ exp(v)`, safe against overflow; −∞ for no terms or terms all −∞.
pub(crate) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + values.map(|value| (value - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauss_legendre_is_exact_for_polynomials_up_to_twice_its_order() {
        for n in [1, 2, 5, 128] {
            let rule = gauss_legendre(n);
            for power in [0, 1, 2 * n - 1] {
                let sum: f64 = rule.iter().map(|(x, w)| w * x.powi(power as i32)).sum();
                assert!((sum - 1.0 / (power + 1) as f64).abs() < 1e-14, "n = {n}, power {power}: {sum}");
            }
        }
        // One power more is not integrated exactly.
        let sum: f64 = gauss_legendre(2).iter().map(|(x, w)| w * x.powi(4)).sum();
        assert!((sum - 0.2).abs() > 1e-3);
    }

    #[test]
    fn a_gaussian_over_the_plane() {
        let gaussian = |[x, y]: [f64; 2]| (-0.5 * (x * x + 4.0 * y * y)).exp();
        assert!((integrate_plane([9.0, 5.0], 0.25, gaussian) - std::f64::consts::PI).abs() < 1e-13);
    }

    #[test]
    fn log_sum_exp_keeps_large_and_small_terms() {
        let lse = |values: &[f64]| log_sum_exp(values.iter().copied());
        assert!((lse(&[1000.0, 1000.0]) - (1000.0 + 2f64.ln())).abs() < 1e-12);
        assert!((lse(&[-1000.0, -1001.0]) - (-1000.0 + (-1f64).exp().ln_1p())).abs() < 1e-12);
        assert_eq!(lse(&[f64::NEG_INFINITY; 2]), f64::NEG_INFINITY);
    }
}
