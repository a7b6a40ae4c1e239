//! Means and covariances of the logits of pictures, with the average over the dequantisation noise taken exactly.

use nalgebra::DMatrix;

use super::{LogitTransform, Pictures};
use crate::quadrature::gauss_legendre;

/// Grey levels of a pixel.
const LEVELS: usize = 256;
/// Points of the rule for one grey level.
const POINTS: usize = 64;
/// Pictures whose products are summed at a time.
const CHUNK: usize = 1000;

impl LogitTransform {
    /// Mean and variance over the noise u of `x = logit(λ + (1 − 2λ)(k + u)/256)`, for every grey level k.
    pub fn level_moments(&self) -> [(f64, f64); LEVELS] {
        let rule = gauss_legendre(POINTS);
        let mut moments = [(0.0, 0.0); LEVELS];
        for k in 0..LEVELS / 2 {
            // Near black the logarithm is steep at u = 0: u = s⁴ puts the points there.
            let average = |f: &dyn Fn(f64) -> f64| -> f64 {
                rule.iter().map(|(s, weight)| weight * 4.0 * s.powi(3) * f(self.logit(k as f64 + s.powi(4)))).sum()
            };
            let mean = average(&|x| x);
            let variance = average(&|x| (x - mean).powi(2));
            moments[k] = (mean, variance);
            // White is black with the sign turned.
            moments[LEVELS - 1 - k] = (-mean, variance);
        }
        moments
    }

    /// The logit of a brightness from 0 to 256.
    fn logit(&self, brightness: f64) -> f64 {
        let span = 1.0 - 2.0 * self.lambda();
        let part = |brightness: f64| self.lambda() + span * brightness / LEVELS as f64;
        (part(brightness) / part(LEVELS as f64 - brightness)).ln()
    }
}

impl Pictures {
    /// Mean and variance of the logit of every pixel, over all pictures and the noise.
    pub fn logit_moments(&self, transform: LogitTransform) -> (Vec<f64>, Vec<f64>) {
        let (levels, count) = (transform.level_moments(), self.len() as f64);
        let mut histograms = vec![[0_u32; LEVELS]; self.pixels_per_picture];
        for picture in self.pixels.chunks_exact(self.pixels_per_picture) {
            for (histogram, &level) in histograms.iter_mut().zip(picture) {
                histogram[usize::from(level)] += 1;
            }
        }
        let of_pixel = |histogram: &[u32; LEVELS]| {
            let average = |f: &dyn Fn((f64, f64)) -> f64| {
                let terms = histogram.iter().zip(levels);
                terms.map(|(times, level)| f64::from(*times) * f(level)).sum::<f64>() / count
            };
            let mean = average(&|(mean, _)| mean);
            (mean, average(&|(level, variance)| variance + (level - mean).powi(2)))
        };
        histograms.iter().map(of_pixel).unzip()
    }

    /// Mean and covariance (N × N numbers) of the logits, over all pictures and the noise.
    pub fn logit_covariance(&self, transform: LogitTransform) -> (Vec<f64>, Vec<f64>) {
        let (levels, n) = (transform.level_moments(), self.pixels_per_picture);
        let (mean, variance) = self.logit_moments(transform);
        let mut sum = DMatrix::<f64>::zeros(n, n);
        for pictures in self.pixels.chunks(CHUNK * n) {
            let levels = pictures.iter().map(|level| levels[usize::from(*level)].0);
            let centred = levels.zip(mean.iter().cycle()).map(|(level, mean)| level - mean).collect();
            let centred = DMatrix::from_vec(n, pictures.len() / n, centred);
            sum.gemm(1.0, &centred, &centred.transpose(), 1.0);
        }
        sum /= self.len() as f64;
        // Noise of different pixels is independent: it adds to the diagonal alone.
        variance.iter().enumerate().for_each(|(i, variance)| sum[(i, i)] = *variance);
        (mean, sum.as_slice().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn level_moments_are_those_of_many_draws() {
        let (transform, draws) = (LogitTransform::MNIST, 40_000);
        let moments = transform.level_moments();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for level in [0_u8, 1, 128, 254, 255] {
            let mut x = vec![0.0; draws];
            transform.forward(&vec![level; draws], &mut rng, &mut x);
            let mean = x.iter().sum::<f64>() / draws as f64;
            let powers = |power: i32| x.iter().map(|x| (x - mean).powi(power)).sum::<f64>() / draws as f64;
            let (exact_mean, exact_variance) = moments[usize::from(level)];
            let (variance, fourth) = (powers(2), powers(4));
            // Four standard errors of each.
            assert!((mean - exact_mean).abs() < 4.0 * (variance / draws as f64).sqrt(), "{level}: mean {mean}");
            let error = ((fourth - variance * variance) / draws as f64).sqrt();
            assert!((variance - exact_variance).abs() < 4.0 * error, "{level}: {variance}, exactly {exact_variance}");
        }
        // The rule itself: ∫ ln(λ + c u) du = [w ln w − w]/c, w from λ to λ + c, and the same for 1 − y.
        let (lambda, c) = (1e-6, (1.0 - 2e-6) / 256.0);
        let antiderivative = |w: f64| w * w.ln() - w;
        let exact = (antiderivative(lambda + c) - antiderivative(lambda)) / c
            - (antiderivative(1.0 - lambda) - antiderivative(1.0 - lambda - c)) / c;
        assert!((moments[0].0 - exact).abs() < 1e-10, "{}, exactly {exact}", moments[0].0);
    }

    #[test]
    fn pictures_have_the_moments_of_their_levels() {
        let pixels: Vec<u8> = vec![0, 255, 7, 0, 10, 7, 3, 0, 7, 3, 200, 7];
        let pictures = Pictures { pixels, pixels_per_picture: 3 };
        let levels = LogitTransform::MNIST.level_moments();
        let (mean, variance) = pictures.logit_moments(LogitTransform::MNIST);
        let (same_mean, covariance) = pictures.logit_covariance(LogitTransform::MNIST);
        assert_eq!(mean, same_mean);
        let level = |p: usize, i: usize| levels[usize::from(pictures.pixels[3 * p + i])];
        let average = |f: &dyn Fn(usize) -> f64| (0..4).map(f).sum::<f64>() / 4.0;
        for i in 0..3 {
            assert!((mean[i] - average(&|p| level(p, i).0)).abs() < 1e-12);
            for j in 0..3 {
                let product = average(&|p| (level(p, i).0 - mean[i]) * (level(p, j).0 - mean[j]));
                let noise = if i == j { average(&|p| level(p, i).1) } else { 0.0 };
                assert!((covariance[3 * i + j] - product - noise).abs() < 1e-12, "{i}, {j}");
            }
        }
        // The third pixel is the same in all pictures: noise is all it has.
        assert!(variance[2] > 0.0 && (variance[2] - levels[7].1).abs() < 1e-15);
    }
}
