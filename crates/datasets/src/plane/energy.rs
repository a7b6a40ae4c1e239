//! The four two-dimensional energies of Rezende and Mohamed (arXiv:1505.05770, table 1), with gradients and normalising
//! constants.

use std::f64::consts::{FRAC_PI_2, PI};
use std::sync::OnceLock;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Gamma, StandardNormal};

use crate::quadrature::gauss_legendre;

/// A density `exp(−U(z))/Z` on the plane known by its energy.
///
/// With `w₁ = sin(πz₁/2)`, `w₂ = 3 exp(−½((z₁ − 1)/0.6)²)`, `w₃ = 3σ((z₁ − 1)/0.3)` and the confinement `c = ½(z₁/4)⁴`.
/// The published U₂, U₃ and U₄ do not fall off along z₁, so that their Z is infinite; `c` is added to make it finite,
/// and changes little in the pictured range |z₁| ≤ 4.
///
/// ```
/// use datasets::plane::PlaneEnergy;
///
/// let mut gradient = [0.0; 2];
/// let energy = PlaneEnergy::Two.energy_and_gradient(&[1.0, 1.4], &mut gradient);
/// assert!((energy - (0.5 + 0.5 / 256.0)).abs() < 1e-14);
/// assert!((gradient[1] - 0.4 / 0.16).abs() < 1e-14);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlaneEnergy {
    /// `½((‖z‖ − 2)/0.4)² − ln(exp(−½((z₁ − 2)/0.6)²) + exp(−½((z₁ + 2)/0.6)²))`: two opposite pieces of a ring.
    One,
    /// `½((z₂ − w₁)/0.4)² + c`: a wave.
    Two,
    /// `−ln(exp(−½((z₂ − w₁)/0.35)²) + exp(−½((z₂ − w₁ + w₂)/0.35)²)) + c`: a wave that splits and joins.
    Three,
    /// `−ln(exp(−½((z₂ − w₁)/0.4)²) + exp(−½((z₂ − w₁ + w₃)/0.35)²)) + c`: a wave that forks.
    Four,
}

/// Γ(5/4) (OEIS A068467).
const GAMMA_FIVE_QUARTERS: f64 = 0.906_402_477_055_477;

/// ln Z of U₁, once it was asked for: a picture asks at every point.
static RING_LOG_Z: OnceLock<f64> = OnceLock::new();

impl PlaneEnergy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::One, Self::Two, Self::Three, Self::Four];

    /// Its name in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "energy-1",
            Self::Two => "energy-2",
            Self::Three => "energy-3",
            Self::Four => "energy-4",
        }
    }

    /// U(z), with ∇U written to `gradient`.
    ///
    /// # Panics
    /// If `z` or `gradient` does not have two entries.
    pub fn energy_and_gradient(&self, z: &[f64], gradient: &mut [f64]) -> f64 {
        assert_eq!((z.len(), gradient.len()), (2, 2), "a point of the plane");
        let (energy, [d1, d2]) = match self.branches(z[0]) {
            None => ring(z[0], z[1]),
            Some((first_width, second)) => wave(z[0], z[1], second, first_width),
        };
        gradient.copy_from_slice(&[d1, d2]);
        energy
    }

    /// A point of the density: for U₂ to U₄ z₁ by a gamma distribution and z₂ by a Gaussian, for U₁ by rejection.
    pub fn sample<R: Rng + ?Sized>(self, rng: &mut R) -> [f64; 2] {
        if self == Self::One {
            return sample_ring(rng);
        }
        // Of t = z₁/4, which has exp(−½t⁴), ½t⁴ has the gamma distribution of shape ¼.
        let gamma: f64 = Gamma::new(0.25, 1.0).expect("a positive shape").sample(rng);
        let x = 4.0 * (2.0 * gamma).powf(0.25) * if rng.random() { 1.0 } else { -1.0 };
        let (first_width, second) = self.branches(x).expect("a wave has branches");
        // Branches are chosen in proportion to their widths, and there is no second one of infinite width.
        let second_width = if second.width.is_finite() { second.width } else { 0.0 };
        let on_second = rng.random::<f64>() * (first_width + second_width) < second_width;
        let (shift, width) = if on_second { (second.shift, second_width) } else { (0.0, first_width) };
        let normal: f64 = StandardNormal.sample(rng);
        [x, (FRAC_PI_2 * x).sin() - shift + width * normal]
    }

    /// The width of the first branch of a wave, and the second one at z₁; none of the ring U₁.
    fn branches(self, x: f64) -> Option<(f64, Branch)> {
        match self {
            Self::One => None,
            Self::Two => Some((0.4, Branch { shift: 0.0, slope: 0.0, width: f64::INFINITY })),
            Self::Three => {
                let shift = 3.0 * (-0.5 * ((x - 1.0) / 0.6).powi(2)).exp();
                let slope = -shift * (x - 1.0) / 0.36;
                Some((0.35, Branch { shift, slope, width: 0.35 }))
            }
            Self::Four => {
                let sigmoid = 1.0 / (1.0 + (-(x - 1.0) / 0.3).exp());
                let slope = 3.0 * sigmoid * (1.0 - sigmoid) / 0.3;
                Some((0.4, Branch { shift: 3.0 * sigmoid, slope, width: 0.35 }))
            }
        }
    }

    /// ln Z = ln ∫ exp(−U): for U₂ to U₄ in closed form (z₂ is Gaussian given z₁, and z₁ has `exp(−c)`), for U₁ by
    /// quadrature in polar coordinates.
    pub fn log_z(self) -> f64 {
        // ∫ exp(−½(z/4)⁴) dz = 8 · 2^{1/4} Γ(5/4).
        let along = 8.0 * 2f64.powf(0.25) * GAMMA_FIVE_QUARTERS;
        let across = |widths: f64| widths * (2.0 * PI).sqrt();
        match self {
            Self::One => *RING_LOG_Z.get_or_init(|| Self::ring_log_z(128, 256)),
            Self::Two => (along * across(0.4)).ln(),
            Self::Three => (along * across(0.35 + 0.35)).ln(),
            Self::Four => (along * across(0.4 + 0.35)).ln(),
        }
    }

    /// ln Z of U₁: Gauss-Legendre in the radius up to 12 widths beyond the ring, the trapezoid rule in the angle.
    fn ring_log_z(radii: usize, angles: usize) -> f64 {
        const REACH: f64 = 2.0 + 12.0 * 0.4;
        let step = 2.0 * PI / angles as f64;
        let circle = |r: f64| -> f64 {
            (0..angles).map(|i| (step * i as f64).sin_cos()).map(|(sin, cos)| (-ring(r * cos, r * sin).0).exp()).sum()
        };
        let integral: f64 =
            gauss_legendre(radii).iter().map(|&(t, weight)| weight * REACH * t * circle(REACH * t)).sum();
        (REACH * integral * step).ln()
    }
}

/// U₁ and its gradient.
fn ring(x: f64, y: f64) -> (f64, [f64; 2]) {
    let radius = x.hypot(y);
    let (plus, minus) = ((x - 2.0) / 0.6, (x + 2.0) / 0.6);
    let (log_sum, weight) = two_terms(-0.5 * plus * plus, -0.5 * minus * minus);
    // At the origin the norm has no gradient; 0 is the mean over all directions.
    let pull = if radius > 0.0 { (radius - 2.0) / (0.16 * radius) } else { 0.0 };
    let energy = 0.5 * ((radius - 2.0) / 0.4).powi(2) - log_sum;
    (energy, [pull * x + (weight * plus + (1.0 - weight) * minus) / 0.6, pull * y])
}

/// A point of the density of U₁: z₁ by a Gaussian about either end of the ring, z₂ uniformly as far as 12 widths beyond
/// the ring, where its density is exp(−72), accepted with the ring's part.
fn sample_ring<R: Rng + ?Sized>(rng: &mut R) -> [f64; 2] {
    const REACH: f64 = 2.0 + 12.0 * 0.4;
    loop {
        let normal: f64 = StandardNormal.sample(rng);
        let x = if rng.random() { 2.0 } else { -2.0 } + 0.6 * normal;
        let y = rng.random_range(-REACH..REACH);
        let ring = (-0.5 * ((x.hypot(y) - 2.0) / 0.4).powi(2)).exp();
        if rng.random::<f64>() < ring {
            return [x, y];
        }
    }
}

/// The second branch of a wave: `z₂ = w₁ − shift` with a Gaussian of `width`; absent if the width is infinite.
struct Branch {
    shift: f64,
    slope: f64,
    width: f64,
}

/// U₂, U₃ and U₄ and their gradients: Gaussians of widths `first_width` and `second.width` about the two branches, and
/// c.
fn wave(x: f64, y: f64, second: Branch, first_width: f64) -> (f64, [f64; 2]) {
    let (sin, cos) = (FRAC_PI_2 * x).sin_cos();
    let slope = FRAC_PI_2 * cos;
    let a = (y - sin) / first_width;
    let b = (y - sin + second.shift) / second.width;
    let (log_sum, weight) =
        if second.width.is_finite() { two_terms(-0.5 * a * a, -0.5 * b * b) } else { (-0.5 * a * a, 1.0) };
    let (pull_a, pull_b) = (weight * a / first_width, (1.0 - weight) * b / second.width);
    let confinement = 0.5 * (x / 4.0).powi(4);
    let d1 = -slope * pull_a + (second.slope - slope) * pull_b + 0.5 * (x / 4.0).powi(3);
    (confinement - log_sum, [d1, pull_a + pull_b])
}

/// `ln(eᵃ + eᵇ)` and the share `eᵃ/(eᵃ + eᵇ)` of the first.
fn two_terms(a: f64, b: f64) -> (f64, f64) {
    let high = a.max(b);
    let low = (-(a - b).abs()).exp();
    let share = 1.0 / (1.0 + low);
    (high + low.ln_1p(), if a >= b { share } else { 1.0 - share })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::finite_difference::assert_gradient;
    use crate::quadrature::integrate_plane;

    fn energy(u: PlaneEnergy, z: [f64; 2]) -> f64 {
        u.energy_and_gradient(&z, &mut [0.0; 2])
    }

    #[test]
    fn gradients_are_those_of_the_energies() {
        for u in PlaneEnergy::ALL {
            for i in 0..200 {
                // A spiral over the plane, away from the origin where U₁ has a kink.
                let (r, angle) = (0.1 + 0.03 * f64::from(i), 2.4 * f64::from(i));
                assert_gradient(&[r * angle.cos(), r * angle.sin()], |z, gradient| u.energy_and_gradient(z, gradient));
            }
        }
    }

    #[test]
    fn values_from_the_formulas() {
        // U₁(2, 0) = −ln(1 + exp(−½(4/0.6)²)); U₃(1, 1) and U₄(1, 1) with w₁ = 1, w₂ = 3, w₃ = 1.5.
        let c = 0.5 / 256.0;
        let cases = [
            (PlaneEnergy::One, [2.0, 0.0], -(-0.5 * (4.0f64 / 0.6).powi(2)).exp().ln_1p()),
            (PlaneEnergy::One, [0.0, 0.0], 12.5 - 2f64.ln() + 0.5 / 0.09),
            (PlaneEnergy::Two, [-1.0, 0.0], 0.5 / 0.16 + c),
            (PlaneEnergy::Three, [1.0, 1.0], c - (-0.5 * (3.0f64 / 0.35).powi(2)).exp().ln_1p()),
            (PlaneEnergy::Four, [1.0, 1.0], c - (-0.5 * (1.5f64 / 0.35).powi(2)).exp().ln_1p()),
            (PlaneEnergy::Two, [4.0, 0.0], 0.5),
        ];
        for (u, z, exact) in cases {
            assert!((energy(u, z) - exact).abs() < 1e-13, "{u:?} at {z:?}");
        }
    }

    #[test]
    fn normalising_constants_are_the_integrals_over_the_plane() {
        for u in PlaneEnergy::ALL {
            let log_integral = |h| integrate_plane([14.0, 8.0], h, |z| (-energy(u, z)).exp()).ln();
            let (coarse, fine) = (log_integral(0.04), log_integral(0.02));
            // The kink of U₁ at the origin, of size exp(−17), limits the square grid.
            let tolerance = if u == PlaneEnergy::One { 1e-8 } else { 1e-11 };
            assert!((coarse - fine).abs() < tolerance, "{u:?} not converged: {coarse} and {fine}");
            assert!((u.log_z() - fine).abs() < tolerance, "{u:?}: {} against {fine}", u.log_z());
        }
        let refined = PlaneEnergy::ring_log_z(200, 400);
        assert!((PlaneEnergy::One.log_z() - refined).abs() < 1e-12);
    }

    #[test]
    fn samples_have_the_averages_of_the_densities() {
        let averages: [fn([f64; 2]) -> f64; 5] =
            [|[x, _]| x, |[_, y]| y, |[x, _]| x * x, |[_, y]| y * y, |[x, y]| (3.0 * x).cos() * (y - 0.5).tanh()];
        for (seed, u) in PlaneEnergy::ALL.into_iter().enumerate() {
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed as u64);
            let samples: Vec<[f64; 2]> = (0..40_000).map(|_| u.sample(&mut rng)).collect();
            for (i, average) in averages.into_iter().enumerate() {
                let exact = integrate_plane([14.0, 8.0], 0.04, |z| (-energy(u, z) - u.log_z()).exp() * average(z));
                let of: Vec<f64> = samples.iter().map(|z| average(*z)).collect();
                let mean = of.iter().sum::<f64>() / of.len() as f64;
                let variance = of.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / of.len() as f64;
                let error = (variance / of.len() as f64).sqrt();
                assert!((mean - exact).abs() < 4.0 * error, "{u:?}, average {i}: {mean} ± {error}, exact {exact}");
            }
        }
    }

    #[test]
    fn far_points_are_finite() {
        for u in PlaneEnergy::ALL {
            for z in [[0.0, 0.0], [1e3, -1e3], [-1e6, 1e6], [0.0, 1e8]] {
                let mut gradient = [f64::NAN; 2];
                assert!(u.energy_and_gradient(&z, &mut gradient).is_finite(), "{u:?} at {z:?}");
                assert!(gradient.iter().all(|d| d.is_finite()), "{u:?} at {z:?}: {gradient:?}");
            }
        }
    }
}
