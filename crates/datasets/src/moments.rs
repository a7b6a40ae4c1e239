//! Mean and deviation of numbers of any scale.

/// Mean and standard deviation (divided by the number of values).
pub(crate) fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    // The rest of the first mean: what rounding left, which matters where the mean is far larger than the deviation.
    let rest = values.clone().map(|x| x - mean).sum::<f64>() / count;
    let mean = mean + rest;
    (mean, (values.map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_mean_costs_no_digits() {
        let values = || (0..1000).map(|i| f64::from(i % 5) - 2.0);
        for (mean, scale) in [(0.0, 1.0), (1e15, 1e12), (-3e-9, 1e-9), (1e6, 1e-3)] {
            let (found, deviation) = moments(values().map(|x| mean + scale * x));
            assert!((found - mean).abs() < 1e-15 * mean.abs() + 1e-15 * scale);
            assert!((deviation / scale - 2f64.sqrt()).abs() < 1e-6, "{deviation}");
        }
    }
}
