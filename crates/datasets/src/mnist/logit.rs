//! From pixels to logit space and back, with the Jacobian that makes densities comparable.
//!
//! A pixel `k` in 0..=255 becomes `x = logit(y)`, `y = λ + (1 − 2λ)(k + u)/256`, `u` uniform in [0, 1)
//! (Papamakarios, Pavlakou, Murray, arXiv:1705.07057, section E; λ = 1e-6 for MNIST).

use std::f64::consts::LN_2;

use rand::{Rng, RngExt};

/// λ is not inside (0, ½), so that the logit of a black or white pixel would not be finite.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the logit offset lambda is {found}; it must lie strictly between 0 and 0.5 (MNIST: 1e-6)")]
pub struct InvalidLambda {
    /// The value given.
    pub found: f64,
}

/// The map between pixels and logit space for one λ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitTransform {
    lambda: f64,
}

impl LogitTransform {
    /// λ = 1e-6, the one of published MNIST figures.
    pub const MNIST: Self = Self { lambda: 1e-6 };

    /// # Errors
    /// [`InvalidLambda`] unless 0 < λ < ½.
    pub fn new(lambda: f64) -> Result<Self, InvalidLambda> {
        if lambda > 0.0 && lambda < 0.5 { Ok(Self { lambda }) } else { Err(InvalidLambda { found: lambda }) }
    }

    /// The offset λ.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// Dequantises one picture with fresh noise from `rng` (one number for each pixel, in order) and writes its logits
    /// to `out`. Returns `Σ_i ln((1 − 2λ)/(y_i(1 − y_i)))`, the logarithm of the Jacobian from `(k + u)/256` to `x`.
    ///
    /// # Panics
    /// If `pixels` and `out` differ in length.
    pub fn forward(&self, pixels: &[u8], rng: &mut impl Rng, out: &mut [f64]) -> f64 {
        assert_eq!(pixels.len(), out.len(), "one logit for each pixel");
        let span = 1.0 - 2.0 * self.lambda;
        let mut log_products = 0.0;
        // One logarithm for the products of so many pixels: above the smallest number for any λ that is not absurd.
        const TOGETHER: usize = 8;
        for (out, pixels) in out.chunks_mut(TOGETHER).zip(pixels.chunks(TOGETHER)) {
            let mut product = 1.0;
            for (x, &pixel) in out.iter_mut().zip(pixels) {
                let u: f64 = rng.random();
                let k = f64::from(pixel);
                // Both ends are measured from their own side: 1 − y would lose the digits of a nearly white pixel.
                let y = self.lambda + span * (k + u) / 256.0;
                let rest = self.lambda + span * ((256.0 - k) - u) / 256.0;
                // The smaller over the larger, so that the mirror image of a picture has exactly the opposite logits.
                *x = if y < rest { (y / rest).ln() } else { -(rest / y).ln() };
                product *= y * rest;
            }
            log_products += product.ln();
        }
        pixels.len() as f64 * span.ln() - log_products
    }

    /// The same `Σ_i ln((1 − 2λ)/(y_i(1 − y_i)))` from logits alone.
    pub fn log_jacobian(&self, x: &[f64]) -> f64 {
        // −ln(y(1−y)) = ln(1 + e^x) + ln(1 + e^−x) = |x| + 2 ln(1 + e^−|x|).
        let log_products: f64 = x.iter().map(|x| x.abs() + 2.0 * (-x.abs()).exp().ln_1p()).sum();
        x.len() as f64 * (1.0 - 2.0 * self.lambda).ln() + log_products
    }

    /// The pixel whose interval holds the logit `x`; what lies outside all intervals goes to the nearest (black or
    /// white). NaN becomes 0.
    pub fn pixel(&self, x: f64) -> u8 {
        let y = if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) };
        let level = 256.0 * (y - self.lambda) / (1.0 - 2.0 * self.lambda);
        // `as` saturates: below 0 and NaN to 0, above 255 to 255.
        level.floor() as u8
    }

    /// [`pixel`](Self::pixel) of each logit.
    ///
    /// # Panics
    /// If `x` and `out` differ in length.
    pub fn inverse(&self, x: &[f64], out: &mut [u8]) {
        assert_eq!(x.len(), out.len(), "one pixel for each logit");
        for (pixel, &x) in out.iter_mut().zip(x) {
            *pixel = self.pixel(x);
        }
    }

    /// Bits per dimension of one picture: `(nll − log_jacobian)/(D ln 2) + 8`, with `nll` in nats in logit space,
    /// `log_jacobian` as [`forward`](Self::forward) returns it, and D the number of pixels.
    pub fn bits_per_dim(nll: f64, log_jacobian: f64, dimension: usize) -> f64 {
        (nll - log_jacobian) / (dimension as f64 * LN_2) + 8.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// A generator whose uniform numbers are all `u` = `word`/2^64 rounded down to 53 bits.
    struct Constant(u64);

    impl rand::TryRng for Constant {
        type Error = std::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok((self.0 >> 32) as u32)
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Ok(self.0)
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            for (byte, word) in bytes.iter_mut().zip(self.0.to_le_bytes().iter().cycle()) {
                *byte = *word;
            }
            Ok(())
        }
    }

    #[test]
    fn every_pixel_comes_back() {
        let pixels: Vec<u8> = (0..=255).collect();
        for lambda in [1e-9, 1e-6, 0.05] {
            let transform = LogitTransform::new(lambda).unwrap();
            for seed in 0..50 {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let (mut x, mut back) = (vec![0.0; 256], vec![0; 256]);
                transform.forward(&pixels, &mut rng, &mut x);
                transform.inverse(&x, &mut back);
                assert_eq!(back, pixels, "λ = {lambda}, seed {seed}");
            }
        }
    }

    #[test]
    fn both_ends_are_exact_mirror_images_and_finite() {
        // u = 0 at black is the lowest logit, u = 1/2 is its own mirror image.
        let transform = LogitTransform::MNIST;
        let mut x = [0.0; 2];
        transform.forward(&[0, 255], &mut Constant(0), &mut x);
        assert!((x[0] - (1e-6f64.ln() - (-1e-6f64).ln_1p())).abs() < 1e-14 * x[0].abs());
        transform.forward(&[0, 255], &mut Constant(1 << 63), &mut x);
        assert_eq!(x[0], -x[1]);
        // The largest u below one at white: 1 − y = λ + (1−2λ) 2^-53/256.
        transform.forward(&[255, 255], &mut Constant(u64::MAX), &mut x);
        let rest = 1e-6 + (1.0 - 2e-6) * 2f64.powi(-53) / 256.0;
        let exact = (-rest).ln_1p() - rest.ln();
        assert!((x[0] - exact).abs() < 1e-14 * exact, "{} against {exact}", x[0]);
    }

    #[test]
    fn jacobian_is_the_derivative() {
        // dx/dv with v = (k + u)/256, by central differences in u.
        let transform = LogitTransform::MNIST;
        for pixel in [0u8, 1, 77, 128, 254, 255] {
            let at = |u: f64| {
                let mut x = [0.0];
                let log_jacobian = transform.forward(&[pixel], &mut Constant((u * 2f64.powi(64)) as u64), &mut x);
                (x[0], log_jacobian)
            };
            let h = 1e-4;
            let slope = 256.0 * (at(0.5 + h).0 - at(0.5 - h).0) / (2.0 * h);
            assert!((slope.ln() - at(0.5).1).abs() < 1e-6, "pixel {pixel}");
        }
    }

    #[test]
    fn uniform_noise_costs_eight_bits() {
        // If (k+u)/256 is uniform, its density is 1, so the logit density is exactly exp(−log_jacobian): 8 bits for a
        // pixel.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let pixels: Vec<u8> = (0..=255).rev().collect();
        let mut x = vec![0.0; 256];
        let log_jacobian = LogitTransform::MNIST.forward(&pixels, &mut rng, &mut x);
        assert!((LogitTransform::bits_per_dim(log_jacobian, log_jacobian, 256) - 8.0).abs() < 1e-15);
        // One nat a pixel more is 1/ln 2 bits more.
        let more = LogitTransform::bits_per_dim(log_jacobian + 256.0, log_jacobian, 256);
        assert!((more - 8.0 - 1.0 / LN_2).abs() < 1e-12);
    }

    #[test]
    fn far_logits_are_clamped() {
        for (x, pixel) in [(-1e9, 0), (-20.0, 0), (20.0, 255), (1e9, 255), (f64::NAN, 0), (0.0, 128)] {
            assert_eq!(LogitTransform::MNIST.pixel(x), pixel, "{x}");
        }
    }

    #[test]
    fn lambda_outside_its_interval_is_refused() {
        for found in [0.0, -1e-6, 0.5, 1.0, f64::NAN, f64::INFINITY] {
            let error = LogitTransform::new(found).unwrap_err();
            assert!(error.to_string().contains("between 0 and 0.5"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn two_ways_to_the_jacobian_agree(
            pixels in prop::collection::vec(any::<u8>(), 1..50), seed: u64, exponent in -9.0..-1.0f64,
        ) {
            let transform = LogitTransform::new(10f64.powf(exponent)).unwrap();
            let mut x = vec![0.0; pixels.len()];
            let while_mapping = transform.forward(&pixels, &mut ChaCha8Rng::seed_from_u64(seed), &mut x);
            let afterwards = transform.log_jacobian(&x);
            let scale = while_mapping.abs().max(1.0) * pixels.len() as f64;
            prop_assert!((while_mapping - afterwards).abs() < 1e-13 * scale);
        }
    }
}
