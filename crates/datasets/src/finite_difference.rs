//! Differences that the tests of this crate compare every analytic gradient with.

/// Asserts that the gradient of `energy` at `x` equals central differences of fourth order.
pub(crate) fn assert_gradient(x: &[f64], energy: impl Fn(&[f64], &mut [f64]) -> f64) {
    let mut gradient = vec![0.0; x.len()];
    energy(x, &mut gradient);
    let value = |i: usize, step: f64| {
        let mut x = x.to_vec();
        x[i] += step;
        energy(&x, &mut vec![0.0; x.len()])
    };
    let h = 2e-4;
    for (i, &analytic) in gradient.iter().enumerate() {
        let near = (value(i, h) - value(i, -h)) / (2.0 * h);
        let far = (value(i, 2.0 * h) - value(i, -2.0 * h)) / (4.0 * h);
        let difference = (4.0 * near - far) / 3.0;
        let scale = analytic.abs().max(1.0);
        assert!((analytic - difference).abs() < 1e-8 * scale, "entry {i} at {x:?}: {analytic} against {difference}");
    }
}
