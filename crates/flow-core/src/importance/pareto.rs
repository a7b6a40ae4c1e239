//! Pareto-smoothed importance sampling: how heavy the tail of importance weights is, and the weights without its noise.

use super::Weights;

/// Tails of fewer weights than this tell no shape.
const FEWEST: usize = 5;

/// What the largest weights tell of the others that were not drawn, see [`Weights::pareto`].
#[derive(Debug, Clone)]
pub struct Pareto {
    /// Shape k of the generalised Pareto distribution of the largest weights: weights have moments below 1/k alone. −∞
    /// where the largest are all equal.
    pub shape: f64,
    /// The weights with the largest replaced by the distribution's quantiles, at most the largest of all.
    pub smoothed: Weights,
}

impl Pareto {
    /// The greatest shape at which averages of so many samples and their errors are reliable: `min(1 − 1/log₁₀ n, 0.7)`
    /// (Vehtari, Simpson, Gelman, Yao and Gabry, arXiv:1507.02646).
    pub fn greatest_shape(samples: usize) -> f64 {
        (1.0 - 1.0 / (samples as f64).log10()).min(0.7)
    }

    /// Whether averages under the weights and their errors are reliable, as far as the weights can tell: what was never
    /// drawn has none.
    pub fn is_reliable(&self) -> bool {
        self.shape <= Self::greatest_shape(self.smoothed.weights.len())
    }
}

impl Weights {
    /// Fits a generalised Pareto distribution to the largest weights, `min(n/5, 3√n)` of them; `None` where those are
    /// fewer than five (arXiv:1507.02646), or where fewer than five carry more than all others.
    ///
    /// ```
    /// use flow_core::Weights;
    /// // Losses whose weights have the tail of 1/u, u uniform: the mean of such weights is infinite.
    /// let losses: Vec<f64> = (0..2000).map(|i| ((f64::from(i) + 0.5) / 2000.0).ln()).collect();
    /// let pareto = Weights::new(&losses).pareto().expect("enough of them");
    /// assert!((pareto.shape - 1.0).abs() < 0.15 && !pareto.is_reliable());
    /// ```
    pub fn pareto(&self) -> Option<Pareto> {
        let n = self.weights.len();
        let tail = (n as f64 / 5.0).min(3.0 * (n as f64).sqrt()).ceil() as usize;
        if tail < FEWEST {
            return None;
        }
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| self.weights[*a].total_cmp(&self.weights[*b]));
        let cutoff = self.weights[order[n - tail - 1]];
        let largest = &order[n - tail..];
        let above: Vec<f64> = largest.iter().map(|i| self.weights[*i] - cutoff).filter(|above| *above > 0.0).collect();
        if above.len() < FEWEST {
            // A few that outweigh all others are no tail: the next sample may outweigh them.
            if above.iter().sum::<f64>() > 0.5 * self.sum {
                return None;
            }
            return Some(Pareto { shape: f64::NEG_INFINITY, smoothed: self.clone() });
        }
        let (shape, scale) = fit(&above);
        let mut smoothed = self.weights.clone();
        for (j, i) in largest.iter().enumerate() {
            let quantile = scale * quantile(shape, (j as f64 + 0.5) / tail as f64);
            smoothed[*i] = (cutoff + quantile).min(self.weights[order[n - 1]]);
        }
        let sum = smoothed.iter().sum();
        Some(Pareto { shape, smoothed: Self { weights: smoothed, sum, least: self.least } })
    }
}

/// The quantile of a probability of the generalised Pareto distribution of scale 1.
fn quantile(shape: f64, probability: f64) -> f64 {
    let exponential = -(-probability).ln_1p();
    if shape.abs() < 1e-12 { exponential } else { (shape * exponential).exp_m1() / shape }
}

/// Shape and scale of the generalised Pareto distribution of positive numbers in ascending order: the mean over a
/// posterior of b = −k/σ on a grid of likely values (Zhang and Stephens, Technometrics 51, 316 (2009)), with the shape
/// drawn towards ½ as ten more numbers would (arXiv:1507.02646, appendix C).
fn fit(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let points = 30 + n.sqrt() as usize;
    let quartile = x[(n / 4.0 + 0.5) as usize - 1];
    let at = |i: usize| (1.0 - (points as f64 / (i as f64 + 0.5)).sqrt()) / (3.0 * quartile) + 1.0 / x[x.len() - 1];
    let shape = |b: f64| x.iter().map(|x| (-b * x).ln_1p()).sum::<f64>() / n;
    let profile = |b: f64| {
        let k = shape(b);
        n * ((-b / k).ln() - k - 1.0)
    };
    let grid: Vec<f64> = (0..points).map(at).collect();
    let likelihoods: Vec<f64> = grid.iter().map(|b| profile(*b)).collect();
    let most = likelihoods.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = likelihoods.iter().map(|l| (l - most).exp()).collect();
    let total: f64 = weights.iter().sum();
    let b = grid.iter().zip(&weights).map(|(b, weight)| b * weight).sum::<f64>() / total;
    let k = shape(b);
    ((n * k + 10.0 * 0.5) / (n + 10.0), -k / b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Losses of weights that are quantiles of a distribution with the tail u^(−k).
    fn losses(k: f64, count: usize) -> Vec<f64> {
        (0..count).map(|i| k * ((i as f64 + 0.5) / count as f64).ln()).collect()
    }

    #[test]
    fn shapes_are_those_of_the_tails() {
        for (k, tolerance) in [(0.2, 0.07), (0.5, 0.07), (0.9, 0.1)] {
            let pareto = Weights::new(&losses(k, 10_000)).pareto().unwrap();
            assert!((pareto.shape - k).abs() < tolerance, "{k}: {}", pareto.shape);
            assert_eq!(pareto.is_reliable(), k < 0.7);
        }
        assert!((Pareto::greatest_shape(100) - 0.5).abs() < 1e-15);
        assert_eq!(Pareto::greatest_shape(1_000_000), 0.7);
    }

    /// The same by ArviZ 0.23 (`psislw`), which breaks off small posterior weights.
    #[test]
    fn shapes_and_smoothed_means_are_those_of_an_independent_program() {
        for (k, count, shape, log_mean) in [
            (0.4, 1000, 0.410_320_208_804_826_9, 0.508_040_576_598_011),
            (0.9, 500, 0.826_413_622_098_4, 1.649_618_370_8),
        ] {
            let pareto = Weights::new(&losses(k, count)).pareto().unwrap();
            assert!((pareto.shape - shape).abs() < 1e-10, "{k}: {} {shape}", pareto.shape);
            let found = pareto.smoothed.log_z().mean;
            assert!((found - log_mean).abs() < 1e-9, "{k}: {found} {log_mean}");
        }
    }

    #[test]
    fn smoothing_keeps_what_is_reliable_and_lowers_what_is_not() {
        // The tail 1/√u has the mean 2.
        let weights = Weights::new(&losses(0.5, 10_000));
        let smoothed = weights.pareto().unwrap().smoothed.log_z().mean;
        assert!((smoothed - weights.log_z().mean).abs() < 0.01 && (smoothed - 2f64.ln()).abs() < 0.02, "{smoothed}");
        // One weight that carries everything counts as the distribution's quantile does.
        let mut spoiled = losses(0.1, 1000);
        spoiled.push(-30.0);
        let weights = Weights::new(&spoiled);
        let pareto = weights.pareto().unwrap();
        assert!(!pareto.is_reliable() && pareto.smoothed.log_z().mean < weights.log_z().mean, "{}", pareto.shape);
    }

    #[test]
    fn few_and_equal_weights() {
        assert!(Weights::new(&losses(0.5, 20)).pareto().is_none());
        let equal = Weights::equal(1000).pareto().unwrap();
        assert!(equal.is_reliable() && equal.shape == f64::NEG_INFINITY);
        assert_eq!(equal.smoothed.log_z().mean, 0.0);
        // One that carries everything, where all others vanish in 64 bits.
        let losses: Vec<f64> = (0..200).map(|i| 1e9 * f64::from(i)).collect();
        assert!(Weights::new(&losses).pareto().is_none());
    }
}
