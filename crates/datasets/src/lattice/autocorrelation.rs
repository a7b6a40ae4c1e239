//! Averages over Markov chains with errors that know of their autocorrelation.

/// The window is this many times the autocorrelation time: Sokal's advice for decays that are not purely exponential.
const WINDOW: f64 = 6.0;

/// The integrated autocorrelation time `τ = ½ + Σ_{t≥1} ρ(t)` of a stationary series: n numbers are worth `n/2τ`
/// independent ones.
///
/// The sum ends at the smallest window `M ≥ 6 max(τ(M), ½)`, and the standard error is `τ √(2(2M+1)/n)` (N. Madras and
/// A. Sokal, J. Stat. Phys. 50, 109 (1988), appendix C; A. Sokal, Monte Carlo methods in statistical mechanics:
/// foundations and new algorithms, in Functional Integration, NATO ASI B 361 (1997), section 3). That presumes
/// correlations that are positive in the main: of a series that alternates the window may cut too much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AutocorrelationTime {
    /// τ, in steps of the series; ½ for independent numbers, and for numbers that are all equal.
    pub tau: f64,
    /// Standard error of τ. As large as τ itself when the chains are too short for their correlation.
    pub standard_error: f64,
    /// The last lag that was summed.
    pub window: usize,
}

impl AutocorrelationTime {
    /// From independent chains of one stationary process; correlations are taken within chains, the mean over all.
    ///
    /// ```
    /// use datasets::lattice::AutocorrelationTime;
    /// use rand::{RngExt, SeedableRng};
    ///
    /// // Every number twice: half of the neighbours are equal, ρ(1) = ½, so τ = 1.
    /// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    /// let series: Vec<f64> = (0..10_000).flat_map(|_| [rng.random(); 2]).collect();
    /// let time = AutocorrelationTime::from_chains(&[&series[..10_000], &series[10_000..]]);
    /// assert!((time.tau - 1.0).abs() < 4.0 * time.standard_error && time.standard_error < 0.1);
    /// ```
    ///
    /// # Panics
    /// If there is no number at all.
    pub fn from_chains(chains: &[&[f64]]) -> Self {
        Self::of_deviations(chains, mean(chains))
    }

    fn of_deviations(chains: &[&[f64]], mean: f64) -> Self {
        let n = count(chains);
        let longest = chains.iter().map(|chain| chain.len()).max().unwrap_or(0);
        let variance = covariance(chains, mean, 0);
        let (mut tau, mut window) = (0.5f64, 0);
        while variance > 0.0 && (window as f64) < WINDOW * tau.max(0.5) && window + 1 < longest {
            window += 1;
            tau += covariance(chains, mean, window) / variance;
        }
        Self { tau, standard_error: tau.abs() * (2.0 * (2 * window + 1) as f64 / n as f64).sqrt(), window }
    }
}

/// The mean of a stationary series with its standard error `√(2τ σ²/n)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Its standard error; infinite for a single number. An autocorrelation time below ½ is taken as ½.
    pub standard_error: f64,
    /// The autocorrelation time of the series.
    pub autocorrelation: AutocorrelationTime,
}

impl Estimate {
    /// From independent chains of one stationary process.
    ///
    /// # Panics
    /// If there is no number at all.
    pub fn from_chains(chains: &[&[f64]]) -> Self {
        let (n, mean) = (count(chains) as f64, mean(chains));
        let autocorrelation = AutocorrelationTime::of_deviations(chains, mean);
        let standard_error = if n < 2.0 {
            f64::INFINITY
        } else {
            let variance = covariance(chains, mean, 0) * n / (n - 1.0);
            (2.0 * autocorrelation.tau.max(0.5) * variance / n).sqrt()
        };
        Self { mean, standard_error, autocorrelation }
    }

    /// The variance of the process, from the squares of the deviations from the mean.
    ///
    /// # Panics
    /// If there is no number at all.
    pub fn variance(chains: &[&[f64]]) -> Self {
        let first = Self::from_chains(chains);
        let squares: Vec<Vec<f64>> =
            chains.iter().map(|chain| chain.iter().map(|x| (x - first.mean).powi(2)).collect()).collect();
        let squares: Vec<&[f64]> = squares.iter().map(Vec::as_slice).collect();
        // The squares sum to too little, because the mean is that of the same numbers.
        let lost = 2.0 * first.autocorrelation.tau.max(0.5) / count(chains) as f64;
        Self::from_chains(&squares).scaled(1.0 / (1.0 - lost.min(0.5)))
    }

    /// The same of `factor` times the series.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { mean: self.mean * factor, standard_error: self.standard_error * factor.abs(), ..self }
    }
}

fn count(chains: &[&[f64]]) -> usize {
    let n = chains.iter().map(|chain| chain.len()).sum();
    assert!(n > 0, "a mean needs at least one number");
    n
}

fn mean(chains: &[&[f64]]) -> f64 {
    chains.iter().copied().flatten().sum::<f64>() / count(chains) as f64
}

/// Mean product of deviations that are `lag` steps apart.
fn covariance(chains: &[&[f64]], mean: f64, lag: usize) -> f64 {
    let (mut sum, mut pairs) = (0.0, 0);
    for chain in chains.iter().filter(|chain| chain.len() > lag) {
        sum += chain.iter().zip(&chain[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
        pairs += chain.len() - lag;
    }
    sum / pairs as f64
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    /// A Gaussian process of unit variance with ρ(t) = φᵗ, hence τ = ½ (1 + φ)/(1 − φ), about 3.
    fn autoregressive(phi: f64, chains: usize, length: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
        let step = (1.0 - phi * phi).sqrt();
        let mut chain = || {
            let mut x = normal();
            (0..length)
                .map(|_| {
                    x = phi * x + step * normal();
                    3.0 + x
                })
                .collect()
        };
        (0..chains).map(|_| chain()).collect()
    }

    fn slices(chains: &[Vec<f64>]) -> Vec<&[f64]> {
        chains.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn autoregressive_processes_have_their_known_time() {
        for (seed, phi) in [(1, 0.0), (2, 0.5), (3, 0.9), (4, 0.98)] {
            for (chains, length) in [(1, 400_000), (40, 10_000)] {
                let series = autoregressive(phi, chains, length, seed);
                let time = AutocorrelationTime::from_chains(&slices(&series));
                let exact = 0.5 * (1.0 + phi) / (1.0 - phi);
                // The cut of the sum loses about exp(−6) of it.
                let tolerance = 4.0 * time.standard_error + 0.003 * exact;
                assert!((time.tau - exact).abs() < tolerance, "φ = {phi}: {time:?} against {exact}");
                assert!(time.standard_error < 0.06 * exact.max(1.0), "φ = {phi}: {time:?}");
            }
        }
    }

    #[test]
    fn errors_of_means_and_variances_are_the_scatter_of_the_means_and_variances() {
        // For a Gaussian process the squares have ρ(t)² and variance 2; τ is that of φ².
        let phi: f64 = 0.8;
        let (length, repeats) = (4000, 400);
        let (mut means, mut variances) = (Vec::new(), Vec::new());
        for seed in 0..repeats {
            let series = autoregressive(phi, 4, length / 4, 100 + seed);
            means.push(Estimate::from_chains(&slices(&series)));
            variances.push(Estimate::variance(&slices(&series)));
        }
        for (estimates, exact) in [(means, 3.0), (variances, 1.0)] {
            let pulls: Vec<f64> = estimates.iter().map(|e| (e.mean - exact) / e.standard_error).collect();
            let n = pulls.len() as f64;
            let mean = pulls.iter().sum::<f64>() / n;
            let scatter = pulls.iter().map(|p| p * p).sum::<f64>() / n;
            // Four standard errors of 400 unit normals; the errors themselves are known to some per cent.
            assert!(mean.abs() < 0.2, "{mean}");
            assert!((scatter - 1.0).abs() < 0.3, "{scatter}");
        }
    }

    #[test]
    fn degenerate_series_have_no_nan() {
        let constant = Estimate::from_chains(&[&[2.0; 10]]);
        assert_eq!((constant.mean, constant.standard_error, constant.autocorrelation.tau), (2.0, 0.0, 0.5));
        let single = Estimate::from_chains(&[&[2.0]]);
        assert_eq!((single.mean, single.standard_error), (2.0, f64::INFINITY));
        assert_eq!(Estimate::variance(&[&[2.0]]).mean, 0.0);
        // Alternation claims no smaller error than independence.
        let series: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let alternating = Estimate::from_chains(&[&series]);
        assert!(alternating.autocorrelation.tau < 0.0);
        assert!((alternating.standard_error - (0.25 / 99.0f64).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn chains_shorter_than_their_correlation_admit_it() {
        let series: Vec<f64> = (0..100).map(f64::from).collect();
        let time = AutocorrelationTime::from_chains(&[&series[..50], &series[50..]]);
        assert!(time.standard_error > 0.5 * time.tau, "{time:?}");
    }
}
