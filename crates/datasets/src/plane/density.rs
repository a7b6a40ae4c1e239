//! Five two-dimensional densities to fit from samples, each with its exact density and entropy.
//!
//! Shapes and sizes are those customary since FFJORD (Grathwohl et al., arXiv:1810.01367), with the definitions
//! sharpened where needed so that each density is known: see the variants of [`PlaneDensity`].

use std::f64::consts::{LN_2, PI};
use std::sync::{LazyLock, OnceLock};

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use crate::bessel::log_i0_scaled;
use crate::quadrature::{gauss_legendre, integrate_plane, log_sum_exp};

/// A normalised density on the plane.
///
/// ```
/// use datasets::plane::PlaneDensity;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(0);
/// let x = PlaneDensity::Checkerboard.sample(&mut rng);
/// assert_eq!(PlaneDensity::Checkerboard.log_density(x), -32f64.ln());
/// assert_eq!(PlaneDensity::Checkerboard.entropy(), 32f64.ln());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlaneDensity {
    /// Two interlocking half circles of radius 2, each point moved by Gaussian noise of width 0.2.
    TwoMoons,
    /// Eight Gaussians of width 1/√8 on a circle of radius √8.
    EightGaussians,
    /// Four circles of radius 0.75, 1.5, 2.25 and 3, equally likely, each point moved by Gaussian noise of width 0.08.
    Rings,
    /// Five Gaussians of widths 0.6 and 0.2 on a circle of radius 2, twisted about the origin by the angle
    /// `exp(|x|/2)/4`. (The twist depends on the radius alone, so it keeps areas and the density is exact.)
    Pinwheel,
    /// Uniform on the eight black squares, of side 2, of a checkerboard over [−4, 4]².
    Checkerboard,
}

impl PlaneDensity {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::TwoMoons, Self::EightGaussians, Self::Rings, Self::Pinwheel, Self::Checkerboard];

    /// Its name in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::TwoMoons => "two-moons",
            Self::EightGaussians => "eight-gaussians",
            Self::Rings => "rings",
            Self::Pinwheel => "pinwheel",
            Self::Checkerboard => "checkerboard",
        }
    }

    /// Draws one point.
    pub fn sample(self, rng: &mut impl Rng) -> [f64; 2] {
        match self {
            Self::TwoMoons => moons::sample(rng),
            Self::EightGaussians => gaussians::sample(rng),
            Self::Rings => rings::sample(rng),
            Self::Pinwheel => pinwheel::sample(rng),
            Self::Checkerboard => checkerboard::sample(rng),
        }
    }

    /// ln p(x), normalised; −∞ outside the support.
    pub fn log_density(self, x: [f64; 2]) -> f64 {
        match self {
            Self::TwoMoons => moons::log_density(x),
            Self::EightGaussians => gaussians::log_density(x),
            Self::Rings => rings::log_density(x[0].hypot(x[1])),
            Self::Pinwheel => pinwheel::log_density(x),
            Self::Checkerboard => checkerboard::log_density(x),
        }
    }

    /// The entropy −∫ p ln p in nats, the least value that a mean negative log-likelihood can approach; by quadrature
    /// to about 1e-9, computed once.
    pub fn entropy(self) -> f64 {
        static ENTROPIES: [OnceLock<f64>; 5] = [const { OnceLock::new() }; 5];
        *ENTROPIES[self as usize].get_or_init(|| self.entropy_by_step(1.0))
    }

    /// The entropy with the quadrature step multiplied by `factor`.
    fn entropy_by_step(self, factor: f64) -> f64 {
        match self {
            Self::TwoMoons => integrate_plane([5.4, 3.9], 0.05 * factor, |x| surprise(moons::log_density(x))),
            Self::EightGaussians => integrate_plane([7.2; 2], 0.1 * factor, |x| surprise(gaussians::log_density(x))),
            Self::Rings => rings::entropy(0.01 * factor),
            Self::Pinwheel => {
                let untwisted = |x| surprise(pinwheel::log_density_untwisted(x));
                integrate_plane([9.2; 2], 0.05 * factor, untwisted)
            }
            Self::Checkerboard => -checkerboard::LOG_DENSITY,
        }
    }
}

/// −p ln p.
fn surprise(log_density: f64) -> f64 {
    if log_density == f64::NEG_INFINITY { 0.0 } else { -log_density * log_density.exp() }
}

fn normal(rng: &mut impl Rng) -> f64 {
    rng.sample(StandardNormal)
}

fn rotate([x, y]: [f64; 2], angle: f64) -> [f64; 2] {
    let (sin, cos) = angle.sin_cos();
    [cos * x - sin * y, sin * x + cos * y]
}

fn squared_distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
}

mod moons {
    use super::*;

    const WIDTH: f64 = 0.2;
    /// Enough for 1e-10 up to a distance of 10 from the centre of a moon.
    const NODES: usize = 128;

    /// The point at `angle` in [0, π] of the upper or the lower half circle.
    fn point(lower: bool, angle: f64) -> [f64; 2] {
        let (sin, cos) = angle.sin_cos();
        if lower { [1.0 - 2.0 * cos, 0.5 - 2.0 * sin] } else { [2.0 * cos - 1.0, 2.0 * sin - 0.5] }
    }

    pub fn sample(rng: &mut impl Rng) -> [f64; 2] {
        let [x, y] = point(rng.random(), PI * rng.random::<f64>());
        [x + WIDTH * normal(rng), y + WIDTH * normal(rng)]
    }

    /// Points of both half circles with the logarithms of their weights in the mean over the angle, by Gauss-Legendre.
    static ARCS: LazyLock<Vec<([f64; 2], f64)>> = LazyLock::new(|| {
        let rule = gauss_legendre(NODES);
        let arc = |lower| rule.iter().map(move |&(t, weight)| (point(lower, PI * t), (0.5 * weight).ln()));
        arc(false).chain(arc(true)).collect()
    });

    pub fn log_density(x: [f64; 2]) -> f64 {
        let variance = WIDTH * WIDTH;
        let terms = ARCS.iter().map(|&(point, log_weight)| log_weight - 0.5 * squared_distance(x, point) / variance);
        log_sum_exp(terms) - (2.0 * PI * variance).ln()
    }
}

mod gaussians {
    use super::*;

    const VARIANCE: f64 = 0.125;

    fn centre(k: u32) -> [f64; 2] {
        rotate([8f64.sqrt(), 0.0], f64::from(k) * PI / 4.0)
    }

    static CENTRES: LazyLock<[[f64; 2]; 8]> = LazyLock::new(|| std::array::from_fn(|k| centre(k as u32)));

    pub fn sample(rng: &mut impl Rng) -> [f64; 2] {
        let [x, y] = CENTRES[rng.random_range(0..8usize)];
        [x + VARIANCE.sqrt() * normal(rng), y + VARIANCE.sqrt() * normal(rng)]
    }

    pub fn log_density(x: [f64; 2]) -> f64 {
        let terms = CENTRES.iter().map(|&centre| -0.5 * squared_distance(x, centre) / VARIANCE);
        log_sum_exp(terms) - (8.0 * 2.0 * PI * VARIANCE).ln()
    }
}

mod rings {
    use super::*;

    const RADII: [f64; 4] = [0.75, 1.5, 2.25, 3.0];
    const WIDTH: f64 = 0.08;

    pub fn sample(rng: &mut impl Rng) -> [f64; 2] {
        let radius = RADII[rng.random_range(0..4usize)];
        let [x, y] = rotate([radius, 0.0], 2.0 * PI * rng.random::<f64>());
        [x + WIDTH * normal(rng), y + WIDTH * normal(rng)]
    }

    /// A circle of radius R blurred by a Gaussian of width σ: `exp(−(r − R)²/2σ²) e^{−z} I₀(z)/(2πσ²)`, `z = rR/σ²`.
    pub fn log_density(r: f64) -> f64 {
        let variance = WIDTH * WIDTH;
        let terms =
            RADII.iter().map(|radius| -0.5 * (r - radius).powi(2) / variance + log_i0_scaled(r * radius / variance));
        log_sum_exp(terms) - (4.0 * 2.0 * PI * variance).ln()
    }

    pub fn entropy(h: f64) -> f64 {
        // The density at the origin is 1e-19 of the largest, so the trapezoid rule does not notice that end.
        let steps = (4.0 / h).ceil() as i32;
        let shell = |r: f64| 2.0 * PI * r * surprise(log_density(r));
        (0..=steps).map(|i| shell(f64::from(i) * h)).sum::<f64>() * h
    }
}

mod pinwheel {
    use super::*;

    const ARMS: u32 = 5;
    const RADIUS: f64 = 2.0;
    const RADIAL_WIDTH: f64 = 0.6;
    const TANGENTIAL_WIDTH: f64 = 0.2;

    fn twist([x, y]: [f64; 2]) -> f64 {
        0.25 * (0.5 * x.hypot(y)).exp()
    }

    pub fn sample(rng: &mut impl Rng) -> [f64; 2] {
        let arm = f64::from(rng.random_range(0..ARMS)) * 2.0 * PI / f64::from(ARMS);
        let x = [RADIUS + RADIAL_WIDTH * normal(rng), TANGENTIAL_WIDTH * normal(rng)];
        rotate(x, arm + twist(x))
    }

    pub fn log_density(x: [f64; 2]) -> f64 {
        log_density_untwisted(rotate(x, -twist(x)))
    }

    pub fn log_density_untwisted(x: [f64; 2]) -> f64 {
        let terms = (0..ARMS).map(|arm| {
            let [along, across] = rotate(x, -f64::from(arm) * 2.0 * PI / f64::from(ARMS));
            -0.5 * (((along - RADIUS) / RADIAL_WIDTH).powi(2) + (across / TANGENTIAL_WIDTH).powi(2))
        });
        log_sum_exp(terms) - (f64::from(ARMS) * 2.0 * PI * RADIAL_WIDTH * TANGENTIAL_WIDTH).ln()
    }
}

mod checkerboard {
    use super::*;

    /// −ln 32, the area being 8 squares of side 2.
    pub const LOG_DENSITY: f64 = -5.0 * LN_2;

    pub fn sample(rng: &mut impl Rng) -> [f64; 2] {
        let (column, half) = (rng.random_range(0..4u32), rng.random_range(0..2u32));
        let row = 2 * half + column % 2;
        [column, row].map(|square| 2.0 * (f64::from(square) + rng.random::<f64>()) - 4.0)
    }

    pub fn log_density([x, y]: [f64; 2]) -> f64 {
        let inside = |x: f64| (-4.0..4.0).contains(&x);
        let black = ((0.5 * x).floor() + (0.5 * y).floor()) % 2.0 == 0.0;
        if inside(x) && inside(y) && black { LOG_DENSITY } else { f64::NEG_INFINITY }
    }
}

#[cfg(test)]
mod tests;
