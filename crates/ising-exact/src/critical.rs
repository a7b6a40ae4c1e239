//! The critical temperature of the infinite lattice: sinh(2J_x/T) sinh(2J_y/T) = 1.

/// T_c of the infinite lattice with couplings of absolute value |J_x|, |J_y|; zero when one of them is zero.
///
/// Equal couplings give `2|J| / ln(1 + √2)` (H. A. Kramers and G. H. Wannier, 1941); others the root of Onsager's
/// `sinh(2J_x/T) sinh(2J_y/T) = 1`, to rounding. Not a number when a coupling is not finite.
///
/// ```
/// let t_c = ising_exact::critical_temperature(1.0, 1.0);
/// assert_eq!(t_c, 2.0 / (1.0 + 2f64.sqrt()).ln());
/// ```
pub fn critical_temperature(coupling_x: f64, coupling_y: f64) -> f64 {
    let (jx, jy) = (coupling_x.abs(), coupling_y.abs());
    if !jx.is_finite() || !jy.is_finite() {
        return f64::NAN;
    }
    let (small, large) = if jx < jy { (jx, jy) } else { (jy, jx) };
    let isotropic = 2.0 / (1.0 + 2f64.sqrt()).ln();
    if small == 0.0 || small == large {
        return if small == 0.0 { 0.0 } else { large * isotropic };
    }
    // In units of the larger coupling; g falls in β and its root lies between 1/T_c of the two isotropic lattices.
    let ratio = small / large;
    let g = |b: f64| (-2.0 * b).exp() - (b * ratio).tanh();
    let (mut low, mut high) = (1.0 / isotropic, 1.0 / (isotropic * ratio));
    // Bisection in the exponent ends when the two numbers are neighbours.
    loop {
        let middle = (low * high).sqrt().clamp(low, high);
        let middle = if middle == low || middle == high { 0.5 * (low + high) } else { middle };
        if middle <= low || middle >= high {
            return large / low;
        }
        if g(middle) > 0.0 { low = middle } else { high = middle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anisotropic_root_satisfies_onsagers_condition() {
        for ratio in [0.999, 0.5, 1e-3, 1e-8, 1e-100] {
            for scale in [1.0, -3.0, 1e-200] {
                let t = critical_temperature(scale, ratio * scale);
                assert_eq!(t, critical_temperature(ratio * scale, scale));
                let (k, l) = ((scale / t).abs(), (ratio * scale / t).abs());
                // ln of the product, with ln sinh 2K = 2K + ln(1 − e^{−4K}) − ln 2 for the strong bond.
                let ln_sinh = |k: f64| 2.0 * k + (-(-4.0 * k).exp_m1()).ln() - std::f64::consts::LN_2;
                let condition = ln_sinh(k) + ln_sinh(l);
                assert!(condition.abs() < 1e-14 * (1.0 + 4.0 * k), "{ratio} {scale}: {condition}");
            }
        }
        assert_eq!(critical_temperature(1.0, 0.0), 0.0);
        assert!(critical_temperature(1.0, f64::NAN).is_nan());
    }
}
