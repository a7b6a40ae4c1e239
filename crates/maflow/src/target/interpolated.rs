//! A smooth function on an interval, by its values at Chebyshev points: known anywhere at once, and on average.

use std::f64::consts::PI;

/// Values at so many points and one more. A function whose nearest pole or branch point is a fortieth of the interval
/// away from it is known to 1e-11 of what is singular about it.
const DEGREE: usize = 512;

/// The polynomial through the values of a function at the extremes of a Chebyshev polynomial.
#[derive(Debug, Clone)]
pub(super) struct Interpolated {
    ends: [f64; 2],
    /// Of the Chebyshev polynomials from degree 0 on.
    coefficients: Vec<f64>,
}

impl Interpolated {
    /// That of a function between two ends; `None` where it has no value at some point.
    pub fn of([low, high]: [f64; 2], function: impl Fn(f64) -> Option<f64>) -> Option<Self> {
        let angle = |j: usize| PI * j as f64 / DEGREE as f64;
        let at = |j: usize| function(0.5 * (low + high) + 0.5 * (high - low) * angle(j).cos());
        let values: Vec<f64> = (0..=DEGREE).map(at).collect::<Option<_>>()?;
        let half_at_the_ends = |j: usize| if j == 0 || j == DEGREE { 0.5 } else { 1.0 };
        let coefficient = |k: usize| {
            // Reducing the product of indices keeps the argument of the cosine small and exact.
            let wave = |j: usize| angle(j * k % (2 * DEGREE)).cos();
            let sum: f64 = values.iter().enumerate().map(|(j, value)| half_at_the_ends(j) * value * wave(j)).sum();
            2.0 / DEGREE as f64 * half_at_the_ends(k) * sum
        };
        Some(Self { ends: [low, high], coefficients: (0..=DEGREE).map(coefficient).collect() })
    }

    /// The value at a place, by Clenshaw's recurrence.
    pub fn at(&self, place: f64) -> f64 {
        let [low, high] = self.ends;
        let u = (2.0 * place - low - high) / (high - low);
        let [first, second] =
            self.coefficients.iter().skip(1).rev().fold([0.0; 2], |[b1, b2], c| [c + 2.0 * u * b1 - b2, b1]);
        self.coefficients[0] + u * first - second
    }

    /// The mean over the interval.
    pub fn mean(&self) -> f64 {
        // That of T_k is 1/(1 − k²) for even k, and zero for odd ones.
        let even = self.coefficients.iter().enumerate().step_by(2);
        even.map(|(k, c)| c / (1.0 - (k * k) as f64)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_with_a_pole_nearby_is_known_with_its_mean() {
        // ln((x − 2)² + 0.05²) has branch points 0.05 beside the middle of the interval, and a mean in closed form.
        let (near, ends) = (0.05_f64, [1.0, 3.0]);
        let function = |x: f64| ((x - 2.0) * (x - 2.0) + near * near).ln();
        let found = Interpolated::of(ends, |x| Some(function(x))).unwrap();
        for x in [1.0, 1.3, 1.99, 2.0, 2.004, 2.7, 3.0] {
            let (value, exact) = (found.at(x), function(x));
            assert!((value - exact).abs() < 1e-10, "{value} at {x}, exact {exact}");
        }
        let exact = (1.0 + near * near).ln() - 2.0 + 2.0 * near * (1.0 / near).atan();
        assert!((found.mean() - exact).abs() < 1e-10, "{} against {exact}", found.mean());
        assert!(Interpolated::of(ends, |x| (x < 2.5).then_some(x)).is_none());
    }
}
