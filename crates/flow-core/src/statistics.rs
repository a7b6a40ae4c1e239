//! Means of independent figures.

/// Mean of a set of figures with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Its standard error (NaN for fewer than two figures).
    pub standard_error: f64,
}

impl Mean {
    /// Mean and standard error of independent figures.
    pub fn of(figures: &[f64]) -> Self {
        let n = figures.len() as f64;
        let mean = figures.iter().sum::<f64>() / n;
        let variance = figures.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Self { mean, standard_error: (variance / n).sqrt() }
    }
    /// The same with a weight for each figure; all weigh the same where `weights` is empty. The standard error is that
    /// of independent figures with fixed weights: it is larger where few heavy figures carry the mean.
    pub fn weighted(figures: &[f64], weights: &[f64]) -> Self {
        if weights.is_empty() {
            return Self::of(figures);
        }
        let (n, total) = (figures.len() as f64, weights.iter().sum::<f64>());
        let mean = figures.iter().zip(weights).map(|(v, w)| v * w).sum::<f64>() / total;
        let scatter = figures.iter().zip(weights).map(|(v, w)| (w * (v - mean)).powi(2)).sum::<f64>();
        Self { mean, standard_error: (scatter * n / (n - 1.0)).sqrt() / total }
    }
}

/// Standard error of a figure by the jackknife (Tukey, Ann. Math. Stat. 29, 614 (1958)). Of some groups of equal size,
/// `without` has the figure with each group left out in turn.
pub fn jackknife(without: &[f64]) -> f64 {
    let groups = without.len() as f64;
    let mean = without.iter().sum::<f64>() / groups;
    ((groups - 1.0) / groups * without.iter().map(|figure| (figure - mean).powi(2)).sum::<f64>()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_left_out_in_turn_gives_the_error_of_a_mean() {
        // Means without each of three numbers: the jackknife of a mean is its standard error.
        let x = [1.0, 2.0, 6.0];
        let without = [0, 1, 2].map(|i| (9.0 - x[i]) / 2.0);
        assert!((jackknife(&without) - Mean::of(&x).standard_error).abs() < 1e-15);
    }

    #[test]
    fn equal_weights_are_none_and_a_double_one_is_two_figures() {
        let figures = [1.0, 4.0, -2.0, 0.5];
        let (plain, equal) = (Mean::of(&figures), Mean::weighted(&figures, &[3.0; 4]));
        assert!((plain.mean - equal.mean).abs() < 1e-14);
        assert!((plain.standard_error - equal.standard_error).abs() < 1e-14);
        assert_eq!(Mean::weighted(&figures, &[]), plain);
        let twice = Mean::weighted(&figures, &[2.0, 1.0, 1.0, 1.0]);
        assert!((twice.mean - Mean::of(&[1.0, 1.0, 4.0, -2.0, 0.5]).mean).abs() < 1e-14);
        // What weighs nothing tells nothing.
        assert!(Mean::weighted(&[1.0, 5.0, 9.0], &[0.0, 1.0, 1.0]).mean == 7.0);
    }
}
