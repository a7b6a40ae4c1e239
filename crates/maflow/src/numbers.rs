//! Numbers with their errors, to the digits that mean something.

/// Decimals at which an error shows two significant digits.
fn decimals(error: f64) -> usize {
    match error.abs() {
        error if error > 0.0 && error.is_finite() => (1.0 - error.log10().floor()).clamp(0.0, 12.0) as usize,
        _ => 6,
    }
}

/// A figure with its standard error, both to the digits that mean something. One row alone has no standard error.
pub fn with_error(value: f64, error: f64) -> String {
    let digits = decimals(error);
    match value.is_finite() && error.is_nan() {
        true => format!("{} (without a standard error)", fixed(value, digits)),
        false => format!("{} ± {}", fixed(value, digits), fixed(error, digits)),
    }
}

/// A number with `digits` decimals; from 1e15 on by its power of ten, since nobody counts that many digits.
pub fn fixed(value: f64, digits: usize) -> String {
    match value.is_finite() && value.abs() >= 1e15 {
        true => format!("{value:.3e}"),
        false => format!("{value:.digits$}"),
    }
}

/// A figure with the digits of another's standard error.
pub fn like_error(value: f64, error: f64) -> String {
    fixed(value, decimals(error))
}

/// An error with two significant digits.
pub fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = (1 - value.abs().log10().floor() as i32).max(0) as usize;
    match digits {
        0..=8 => fixed(value, digits),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_two_digits() {
        assert_eq!(short(0.001_234), "0.0012");
        assert_eq!(short(12.7), "13");
        assert_eq!(short(3.4e-12), "3.4e-12");
        assert_eq!(with_error(1255.48, 3.1), "1255.5 ± 3.1");
        assert_eq!(with_error(1.0, 0.0), "1.000000 ± 0.000000");
        assert_eq!(with_error(1.5, f64::NAN), "1.500000 (without a standard error)");
        assert_eq!(with_error(f64::NAN, f64::NAN), "NaN ± NaN");
    }

    #[test]
    fn no_number_fills_a_screen() {
        assert_eq!(with_error(-2e300, 3e299), "-2.000e300 ± 3.000e299");
        assert_eq!([short(1.5e300), like_error(1e40, 0.1)], ["1.500e300", "1.000e40"]);
        assert_eq!(fixed(-123_456_789_012.5, 1), "-123456789012.5");
    }
}
