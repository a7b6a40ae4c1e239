//! Exchangeable data whose entropy is known: sets of vectors in the plane that share an axis.

use std::f64::consts::PI;

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use crate::bessel::log_i0_scaled;
use crate::quadrature::gauss_legendre;

/// Sets of n vectors in the plane. Every set draws an axis for itself, uniformly from all directions; about their mean,
/// its vectors are normal with the deviation s along the axis and 1 across it. The mean is normal with the deviation
/// `1/√n` in each direction, and independent of all else.
///
/// Vectors of a set are exchangeable and depend on each other: one of them says little of the axis, all of them much.
/// With A the scatter `Σ_i (x_i − x̄)(x_i − x̄)ᵀ`, of eigenvalues a ≥ b, and m = n − 1,
///
/// ```text
/// ln p = −m ln(2πs) − ¼ (1 + s⁻²) (a + b) + ln I₀(¼ (1 − s⁻²) (a − b)) + ln N(√n x̄; 0, 1)
/// ```
///
/// in orthonormal coordinates, the average over axes. So the density is the same under permutations, rotations and
/// reflections.
///
/// ```
/// use datasets::sets::SharedAxis;
/// // Without an axis all numbers are standard normal.
/// let round = SharedAxis::new(4, 1.0)?;
/// let normal = 0.5 * (1.0 + (2.0 * std::f64::consts::PI).ln());
/// assert!((round.entropy() - 8.0 * normal).abs() < 1e-9);
/// // What vectors say of each other's axis is missing from a Gaussian of the same covariance.
/// let stretched = SharedAxis::new(4, 4.0)?;
/// assert!(stretched.entropy() < stretched.gaussian_entropy() - 0.8);
/// # Ok::<(), datasets::sets::SetsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedAxis {
    members: usize,
    stretch: f64,
}

/// Why there are no such sets.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("sets of {members} vectors, stretched by {stretch}; there must be 2 to 64, stretched by 1 to 100")]
pub struct SetsError {
    /// Vectors given.
    pub members: usize,
    /// The deviation given.
    pub stretch: f64,
}

/// Nodes of the quadrature in each of three directions.
const NODES: usize = 80;

impl SharedAxis {
    /// Sets of `members` vectors with the deviation `stretch` along their axis.
    ///
    /// # Errors
    /// [`SetsError`] for fewer than 2 vectors or more than 64, or a deviation that is not from 1 to 100.
    pub fn new(members: usize, stretch: f64) -> Result<Self, SetsError> {
        match (2..=64).contains(&members) && (1.0..=100.0).contains(&stretch) {
            true => Ok(Self { members, stretch }),
            false => Err(SetsError { members, stretch }),
        }
    }

    /// Vectors n of a set.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Draws a set into `out`, vector by vector.
    ///
    /// # Panics
    /// If there is not room for just 2 n numbers.
    pub fn sample(&self, rng: &mut impl Rng, out: &mut [f64]) {
        assert_eq!(out.len(), 2 * self.members, "the numbers of a set");
        let (sin, cos) = (PI * rng.random::<f64>()).sin_cos();
        let mut normal = || -> f64 { rng.sample(StandardNormal) };
        for x in out.chunks_exact_mut(2) {
            let (along, across) = (self.stretch * normal(), normal());
            x.copy_from_slice(&[cos * along - sin * across, sin * along + cos * across]);
        }
        let (old, size) = (mean(out), (self.members as f64).sqrt());
        let new = [normal() / size, normal() / size];
        out.iter_mut().enumerate().for_each(|(i, x)| *x += new[i % 2] - old[i % 2]);
    }

    /// ln p of a set, normalised.
    ///
    /// # Panics
    /// If there are not 2 n numbers.
    pub fn log_density(&self, x: &[f64]) -> f64 {
        assert_eq!(x.len(), 2 * self.members, "the numbers of a set");
        let centre = mean(x);
        let mut scatter = [0.0; 3];
        for x in x.chunks_exact(2) {
            let [a, b] = [x[0] - centre[0], x[1] - centre[1]];
            scatter = [scatter[0] + a * a, scatter[1] + b * b, scatter[2] + a * b];
        }
        let of_centre = -(2.0 * PI).ln() - 0.5 * self.members as f64 * (centre[0].powi(2) + centre[1].powi(2));
        of_centre + self.constant() - self.shrink() * (scatter[0] + scatter[1]) + self.log_of_axes(scatter)
    }

    /// The entropy in nats, the least value that a mean negative log-likelihood can approach; by quadrature to about
    /// 1e-9.
    pub fn entropy(&self) -> f64 {
        self.entropy_by(NODES)
    }

    /// The entropy of the normal density with the same means and covariances: what is reached without knowing that the
    /// vectors of a set share an axis.
    pub fn gaussian_entropy(&self) -> f64 {
        let normal = |variance: f64| 1.0 + (2.0 * PI * variance).ln();
        self.degrees() * normal(0.5 * (1.0 + self.stretch.powi(2))) + normal(1.0)
    }

    /// m.
    fn degrees(&self) -> f64 {
        (self.members - 1) as f64
    }

    fn constant(&self) -> f64 {
        -self.degrees() * (2.0 * PI * self.stretch).ln()
    }

    /// ¼ (1 + s⁻²).
    fn shrink(&self) -> f64 {
        0.25 * (1.0 + self.stretch.powi(-2))
    }

    /// `ln I₀` of the scatter's elements 11, 22 and 12.
    fn log_of_axes(&self, [a, b, c]: [f64; 3]) -> f64 {
        let z = 0.25 * (1.0 - self.stretch.powi(-2)) * (a - b).hypot(2.0 * c);
        z + log_i0_scaled(z)
    }

    /// Of a set whose axis is the first direction, the scatter is that of normal numbers: `a = s² r²`, `c = s r t` and
    /// `b = t² + q²`, with r of the chi distribution of m degrees of freedom, q of that of m − 1, and t normal
    /// (Bartlett). The mean of `ln I₀` is an integral over these three.
    fn entropy_by(&self, nodes: usize) -> f64 {
        let m = self.members - 1;
        let (rs, qs, ts) = (chi(m, nodes), chi(m - 1, nodes), chi(1, nodes));
        let s = self.stretch;
        let mut mean = 0.0;
        for (r, of_r) in &rs {
            for (t, of_t) in &ts {
                for (q, of_q) in &qs {
                    let scatter = [(s * r).powi(2), t * t + q * q, s * r * t];
                    mean += of_r * of_t * of_q * self.log_of_axes(scatter);
                }
            }
        }
        let of_centre = 1.0 + (2.0 * PI).ln();
        of_centre - self.constant() + self.shrink() * m as f64 * (1.0 + s * s) - mean
    }
}

/// The mean of a set.
fn mean(x: &[f64]) -> [f64; 2] {
    let of = |a: usize| x.iter().skip(a).step_by(2).sum::<f64>() / (x.len() / 2) as f64;
    [of(0), of(1)]
}

/// Nodes of the chi distribution, of density proportional to `r^{k−1} exp(−r²/2)`, with weights that sum to 1. Of no
/// degrees of freedom it is 0.
fn chi(degrees: usize, nodes: usize) -> Vec<(f64, f64)> {
    if degrees == 0 {
        return vec![(0.0, 1.0)];
    }
    // The density has died away 9 from its mode, which is at √(k − 1).
    let (power, mode) = ((degrees - 1) as f64, ((degrees - 1) as f64).sqrt());
    let (from, to) = ((mode - 9.0).max(0.0), mode + 9.0);
    let log_density = |r: f64| if power == 0.0 { -0.5 * r * r } else { power * r.ln() - 0.5 * r * r };
    let most = log_density(mode);
    let node = |(u, weight): (f64, f64)| {
        let r = from + (to - from) * u;
        (r, weight * (log_density(r) - most).exp())
    };
    let mut all: Vec<_> = gauss_legendre(nodes).into_iter().map(node).collect();
    let sum: f64 = all.iter().map(|(_, weight)| weight).sum();
    all.iter_mut().for_each(|(_, weight)| *weight /= sum);
    all
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::quadrature::integrate_plane;

    fn drawn(of: SharedAxis, count: usize) -> Vec<Vec<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let one = |_| {
            let mut x = vec![0.0; 2 * of.members()];
            of.sample(&mut rng, &mut x);
            x
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn the_density_of_two_vectors_integrates_to_one_and_to_the_entropy() {
        let of = SharedAxis::new(2, 3.0).unwrap();
        // The mean stays at the origin, where its density is 1/2π; the difference over √2 is the other coordinate.
        let at = |y: [f64; 2]| {
            let [a, b] = y.map(|y| y / 2f64.sqrt());
            of.log_density(&[a, b, -a, -b]) + (2.0 * PI).ln()
        };
        let mass = integrate_plane([30.0; 2], 0.1, |y| at(y).exp());
        assert!((mass - 1.0).abs() < 1e-10, "{mass}");
        let entropy = integrate_plane([30.0; 2], 0.1, |y| -at(y) * at(y).exp()) + 1.0 + (2.0 * PI).ln();
        assert!((of.entropy() - entropy).abs() < 1e-9, "{} {entropy}", of.entropy());
    }

    #[test]
    fn entropies_are_converged_in_the_nodes() {
        for (members, stretch) in [(2, 4.0), (3, 1.5), (4, 4.0), (9, 100.0), (64, 2.0)] {
            let of = SharedAxis::new(members, stretch).unwrap();
            let (coarse, fine) = (of.entropy(), of.entropy_by(NODES + 40));
            assert!((coarse - fine).abs() < 1e-8, "{members}, {stretch}: {coarse} {fine}");
        }
    }

    #[test]
    fn the_mean_of_minus_ln_p_is_the_entropy_and_covariances_are_those_of_the_gaussian() {
        for (members, stretch) in [(2, 4.0), (4, 4.0), (7, 2.0)] {
            let of = SharedAxis::new(members, stretch).unwrap();
            let rows = drawn(of, 40_000);
            let within = |what: &str, values: Vec<f64>, exact: f64| {
                let count = values.len() as f64;
                let mean = values.iter().sum::<f64>() / count;
                let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0);
                let error = (variance / count).sqrt();
                assert!((mean - exact).abs() < 4.0 * error, "{what} of {members}: {mean} ± {error}, not {exact}");
            };
            within("−ln p", rows.iter().map(|x| -of.log_density(x)).collect(), of.entropy());
            // Of a Gaussian of the same covariances: half the number of directions, whichever they are.
            let spread = |x: &Vec<f64>| {
                let centre = mean(x);
                let square: f64 = x.iter().enumerate().map(|(i, x)| (x - centre[i % 2]).powi(2)).sum();
                square / (0.5 * (1.0 + stretch * stretch)) + members as f64 * (centre[0].powi(2) + centre[1].powi(2))
            };
            within("spread", rows.iter().map(spread).collect(), 2.0 * members as f64);
        }
    }

    #[test]
    fn ln_p_tells_neither_order_nor_direction() {
        let of = SharedAxis::new(3, 4.0).unwrap();
        for x in drawn(of, 20) {
            let (here, (sin, cos)) = (of.log_density(&x), 0.7f64.sin_cos());
            let mut other = x.clone();
            other.rotate_left(2);
            let turned: Vec<f64> =
                other.chunks_exact(2).flat_map(|x| [cos * x[0] + sin * x[1], sin * x[0] - cos * x[1]]).collect();
            assert!((of.log_density(&turned) - here).abs() < 1e-12 * here.abs());
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for (members, stretch) in [(1, 2.0), (65, 2.0), (4, 0.5), (4, f64::NAN), (4, 101.0)] {
            let error = SharedAxis::new(members, stretch).unwrap_err().to_string();
            assert!(error.contains(&members.to_string()), "{error}");
        }
    }
}
