//! Samples of a flow as samples of the target: importance weights, and the Markov chain that proposes them.

mod pareto;

use rand::RngExt;

use crate::rng::RngKey;
use crate::statistics::Mean;

pub use pareto::Pareto;

/// Importance weights `w = e^{−loss}`, where the loss is `ln p(x) + E(x)` at a sample x of p: their mean is Z, and
/// under them averages are those of `exp(−E)/Z`.
///
/// ```
/// use flow_core::Weights;
/// // Two equal weights and one of zero: two of three samples count.
/// let weights = Weights::new(&[1.0, 1.0, f64::INFINITY]);
/// assert!((weights.ess() - 2.0 / 3.0).abs() < 1e-15);
/// assert_eq!(weights.mean(&[3.0, 5.0, 100.0]).mean, 4.0);
/// ```
#[derive(Debug, Clone)]
pub struct Weights {
    /// The least loss, taken out of all exponents: the largest weight is 1.
    least: f64,
    weights: Vec<f64>,
    sum: f64,
}

impl Weights {
    /// The weights of losses that are not NaN.
    pub fn new(losses: &[f64]) -> Self {
        let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
        let weights: Vec<f64> = losses.iter().map(|loss| (least - loss).exp()).collect();
        let sum = weights.iter().sum();
        Self { least, weights, sum }
    }

    /// Equal weights: averages over the flow itself.
    pub fn equal(samples: usize) -> Self {
        Self { least: 0.0, weights: vec![1.0; samples], sum: samples as f64 }
    }

    /// All of them in units of the largest, sample by sample.
    pub fn relative(&self) -> &[f64] {
        &self.weights
    }

    /// `ln Z` with its standard error.
    pub fn log_z(&self) -> Mean {
        let Mean { mean, standard_error } = Mean::of(&self.weights);
        Mean { mean: mean.ln() - self.least, standard_error: standard_error / mean }
    }

    /// Effective sample size `(Σw)²/(n Σw²)`, as a fraction of the n samples.
    pub fn ess(&self) -> f64 {
        self.sum * self.sum / (self.squares() * self.weights.len() as f64)
    }

    fn squares(&self) -> f64 {
        self.weights.iter().map(|w| w * w).sum()
    }

    /// The mean `Σ w o / Σ w` of an observable o, one number per sample in `of`, with its standard error to leading
    /// order, `√(Σ w² (o − mean)²)/Σ w`.
    ///
    /// The error is as good as the weights: where few of them carry the sum, it is too small.
    pub fn mean(&self, of: &[f64]) -> Mean {
        let mean = self.average(of.iter().copied());
        Mean { mean, standard_error: self.error(of.iter().map(|o| o - mean)) }
    }

    /// The variance under the weights of an observable, one number per sample in `of`, with its standard error to
    /// leading order. The bias of taking the mean from the same samples is corrected.
    pub fn variance(&self, of: &[f64]) -> Mean {
        let mean = self.average(of.iter().copied());
        let variance = self.average(of.iter().map(|o| (o - mean).powi(2)));
        let error = self.error(of.iter().map(|o| (o - mean).powi(2) - variance));
        // With equal weights n/(n − 1).
        let factor = 1.0 / (1.0 - self.squares() / (self.sum * self.sum));
        Mean { mean: factor * variance, standard_error: factor * error }
    }

    fn average(&self, of: impl Iterator<Item = f64>) -> f64 {
        self.weights.iter().zip(of).map(|(w, o)| w * o).sum::<f64>() / self.sum
    }

    fn error(&self, deviations: impl Iterator<Item = f64>) -> f64 {
        self.weights.iter().zip(deviations).map(|(w, d)| (w * d).powi(2)).sum::<f64>().sqrt() / self.sum
    }
}

/// Chains of the Metropolis algorithm whose proposals are independent samples of the flow.
#[derive(Debug, Clone, PartialEq)]
pub struct IndependenceMetropolis {
    /// For every chain the numbers of the samples that it stands on, step by step.
    pub chains: Vec<Vec<usize>>,
    /// Mean acceptance of the proposals.
    pub acceptance: f64,
}

impl IndependenceMetropolis {
    /// Cuts the samples of the given losses into chains of equal length (a rest is left out) and walks each: it starts
    /// on the first sample of its share and moves to the next with probability `min(1, w'/w)`. The stationary law is
    /// that of the target.
    ///
    /// # Panics
    /// If there are fewer than two samples to a chain.
    pub fn walk(losses: &[f64], chains: usize, key: RngKey) -> Self {
        let length = losses.len() / chains;
        assert!(length > 1, "a chain needs at least two samples");
        let mut accepted = 0;
        let walk = |chain: usize| {
            let mut rng = key.row(chain as u64);
            let first = chain * length;
            let mut at = first;
            (first..first + length)
                .map(|proposal| {
                    let uniform: f64 = rng.random();
                    // Where both weights are zero the ratio is NaN, and there is nothing to lose.
                    let stays = uniform >= (losses[at] - losses[proposal]).exp();
                    if proposal > first && !stays {
                        at = proposal;
                        accepted += 1;
                    }
                    at
                })
                .collect()
        };
        let walked = (0..chains).map(walk).collect();
        Self { chains: walked, acceptance: accepted as f64 / (chains * (length - 1)) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, Normal};

    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn weights_find_the_normalising_constant() {
        // Two equal weights and one of zero: Z is their mean.
        let weights = Weights::new(&[1000.0, 1000.0, f64::INFINITY]);
        let log_z = weights.log_z();
        assert!((log_z.mean - ((2.0f64 / 3.0).ln() - 1000.0)).abs() < 1e-12);
        // Weights 1, 1, 0: standard deviation √(1/3), mean 2/3, three samples.
        assert!((log_z.standard_error - (1.0f64 / 3.0).sqrt() / 3.0f64.sqrt() / (2.0 / 3.0)).abs() < 1e-12);
        let perfect = Weights::new(&[-5.0; 10]);
        assert_eq!((perfect.ess(), perfect.log_z().mean, perfect.log_z().standard_error), (1.0, 5.0, 0.0));
        let (equal, known) = (Weights::equal(4).mean(&[1.0, 2.0, 3.0, 4.0]), Mean::of(&[1.0, 2.0, 3.0, 4.0]));
        assert_eq!(equal.mean, known.mean);
        // Without the factor n/(n − 1), which is of higher order.
        assert!((equal.standard_error - known.standard_error * (3.0f64 / 4.0).sqrt()).abs() < 1e-15);
        assert!((Weights::equal(4).variance(&[1.0, 2.0, 3.0, 4.0]).mean - 5.0 / 3.0).abs() < 1e-15);
    }

    /// Samples of N(0, 1) as samples of N(0.5, 0.8²), with their losses.
    fn narrower(count: usize, step: u64) -> (Vec<f64>, Vec<f64>) {
        let normal = Normal::new(0.0, 1.0).expect("a positive width");
        let x: Vec<f64> = normal.sample_iter(RngKey::new(1, Purpose::Sample, step).row(0)).take(count).collect();
        let losses = x.iter().map(|x| -0.5 * x * x + 0.5 * ((x - 0.5) / 0.8).powi(2)).collect();
        (x, losses)
    }

    #[test]
    fn errors_are_the_scatter_of_the_estimates() {
        let exact = [0.5, 0.64, (0.8f64).ln()];
        let mut pulls = [const { Vec::new() }; 3];
        for step in 0..300 {
            let (x, losses) = narrower(500, step);
            let weights = Weights::new(&losses);
            // Of densities without their common factor: ln Z of exp(−E) beside N(0, 1) is ln 0.8.
            for ((found, exact), pulls) in
                [weights.mean(&x), weights.variance(&x), weights.log_z()].into_iter().zip(exact).zip(&mut pulls)
            {
                pulls.push((found.mean - exact) / found.standard_error);
            }
        }
        for pulls in pulls {
            let scatter = Mean::of(&pulls.iter().map(|p| p * p).collect::<Vec<_>>());
            assert!(Mean::of(&pulls).mean.abs() < 0.25, "{pulls:?}");
            // Four standard errors, and a tenth for what errors are wrong by at this size.
            assert!((scatter.mean - 1.0).abs() < 4.0 * scatter.standard_error + 0.1, "{scatter:?}");
        }
    }

    #[test]
    fn the_chain_walks_on_the_target() {
        let (x, losses) = narrower(80_000, 1000);
        let walk = IndependenceMetropolis::walk(&losses, 8, RngKey::new(2, Purpose::Chain, 0));
        assert!(walk.chains.iter().all(|chain| chain.len() == 10_000));
        let states: Vec<f64> = walk.chains.iter().flatten().map(|i| x[*i]).collect();
        let Mean { mean, standard_error } = Mean::of(&states);
        let variance = Mean::of(&states.iter().map(|x| (x - 0.5).powi(2)).collect::<Vec<_>>());
        // The proposal is close to the target: correlations widen the errors by less than two.
        assert!((mean - 0.5).abs() < 6.0 * standard_error, "{mean} ± {standard_error}");
        assert!((variance.mean - 0.64).abs() < 6.0 * variance.standard_error, "{variance:?}");
        // Far from either end: neither always nor never.
        assert!((0.5..0.9).contains(&walk.acceptance), "{}", walk.acceptance);
        // Equal weights accept everything, and a chain stays where the weight is infinitely better.
        assert_eq!(IndependenceMetropolis::walk(&[1.0; 6], 2, RngKey::new(2, Purpose::Chain, 0)).acceptance, 1.0);
        let stuck = IndependenceMetropolis::walk(&[-1e9, 0.0, 0.0], 1, RngKey::new(2, Purpose::Chain, 0));
        assert_eq!((stuck.chains, stuck.acceptance), (vec![vec![0, 0, 0]], 0.0));
    }
}
