//! A Bessel function that densities on circles have.

use std::f64::consts::PI;

/// `ln(e^{−z} I₀(z))` for z ≥ 0: the power series (DLMF 10.25.2), or for large z the asymptotic one (DLMF 10.40.1).
pub(crate) fn log_i0_scaled(z: f64) -> f64 {
    let series = |ratio: &dyn Fn(f64) -> f64| {
        let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
        while term > 1e-17 * sum {
            term *= ratio(k);
            sum += term;
            k += 1.0;
        }
        sum.ln()
    };
    if z < 40.0 {
        series(&|k| (0.5 * z / k).powi(2)) - z
    } else {
        series(&|k| (2.0 * k - 1.0).powi(2) / (8.0 * k * z)) - 0.5 * (2.0 * PI * z).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_bessel_function_is_its_integral() {
        // e^{−z} I₀(z) is the mean of exp(z(cos θ − 1)); the trapezoid rule on a circle converges exponentially.
        for z in [0.0, 0.3, 5.0, 39.9, 40.1, 300.0, 2000.0] {
            let points = 1000;
            let at = |i: i32| (z * ((2.0 * PI * f64::from(i) / f64::from(points)).cos() - 1.0)).exp();
            let mean = (0..points).map(at).sum::<f64>() / f64::from(points);
            assert!((log_i0_scaled(z) - mean.ln()).abs() < 1e-13, "z = {z}");
        }
    }
}
