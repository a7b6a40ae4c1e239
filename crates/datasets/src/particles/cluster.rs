//! A cluster of equal particles, its energy in all coordinates, and ln Z where that is known.

use super::{ClusterError, Composition};

/// The energy of two particles at the distance r, in units of the temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PairEnergy {
    /// `strength · [0.9 (r − 4)⁴ − 4 (r − 4)²]`. Of four particles in the plane with the strength 1 this is DW4
    /// (Köhler, Klein and Noé, arXiv:2006.02425, table of the appendix).
    DoubleWell {
        /// Factor of the energy.
        strength: f64,
    },
    /// `ε (r⁻¹² − 2 r⁻⁶)`, and `½ Σ_i |x_i − x̄|²` that holds the cluster together. Two versions of LJ13 circulate:
    /// with ε = 1 (a sum over unordered pairs) and with ε = 2 (the same formula summed over ordered pairs).
    LennardJones {
        /// ε.
        epsilon: f64,
    },
    /// `½ k r²`: a Gaussian, whose ln Z is known.
    Harmonic {
        /// k.
        stiffness: f64,
    },
}

impl PairEnergy {
    /// Its factor: the strength, ε or k.
    pub fn strength(self) -> f64 {
        match self {
            Self::DoubleWell { strength } => strength,
            Self::LennardJones { epsilon } => epsilon,
            Self::Harmonic { stiffness } => stiffness,
        }
    }

    /// The coefficient of `½ Σ_i |x_i − x̄|²` beside it.
    fn trap(self) -> f64 {
        match self {
            Self::LennardJones { .. } => 1.0,
            Self::DoubleWell { .. } | Self::Harmonic { .. } => 0.0,
        }
    }

    /// The energy V as a function of `q = r²`.
    #[inline]
    fn value(self, q: f64) -> f64 {
        match self {
            Self::DoubleWell { strength } => {
                let u2 = (q.sqrt() - 4.0).powi(2);
                strength * u2 * (0.9 * u2 - 4.0)
            }
            Self::LennardJones { epsilon } => {
                let s3 = (1.0 / q).powi(3);
                epsilon * s3 * (s3 - 2.0)
            }
            Self::Harmonic { stiffness } => 0.5 * stiffness * q,
        }
    }

    /// V, with a core as soft as `softness` in [0, 1] says where that of V is hard: finite at q = 0 but for the
    /// softness 0, which leaves V as it is.
    #[inline]
    fn softened(self, q: f64, softness: f64) -> f64 {
        match self {
            // Beutler et al., Chem. Phys. Lett. 222, 529 (1994).
            Self::LennardJones { epsilon } => {
                let s3 = (q.powi(3) + 0.5 * softness).recip();
                epsilon * s3 * (s3 - 2.0)
            }
            Self::DoubleWell { .. } | Self::Harmonic { .. } => self.value(q),
        }
    }

    /// `dV/dq` and `d²V/dq²`.
    fn derivatives(self, q: f64) -> [f64; 2] {
        match self {
            Self::DoubleWell { strength } => {
                let r = q.sqrt();
                let u = r - 4.0;
                // By r; the kink at r = 0 has no derivative, and nobody is ever there.
                let (first, second) = (3.6 * u.powi(3) - 8.0 * u, 10.8 * u * u - 8.0);
                [0.5 * strength * first / r, 0.25 * strength * (second - first / r) / q]
            }
            Self::LennardJones { epsilon } => {
                let s = 1.0 / q;
                let (s3, s4) = (s.powi(3), s.powi(4));
                [6.0 * epsilon * s4 * (1.0 - s3), epsilon * s4 * s * (42.0 * s3 - 24.0)]
            }
            Self::Harmonic { stiffness } => [0.5 * stiffness, 0.0],
        }
    }
}

/// `n` equal particles in `d` dimensions with an energy `U(x)` of their distances, and a centre of its own.
///
/// U does not change when the cluster moves, so `exp(−U)` has no integral over all n d coordinates. Its density lives
/// on the hyperplane `Σ_i x_i = 0` of `(n − 1) d` dimensions, in orthonormal coordinates, and that is what `ln Z` is
/// of. A state here is all the same the n d coordinates of the particles, one after the other. The rest of the space,
/// `√n x̄`, is a standard normal, which is independent of the cluster: `E(x) = U(x) + ½ n |x̄|² + ½ d ln 2π` has the
/// same Z, and a flow from a standard normal in n d dimensions whose velocities know differences alone leaves the
/// centre where it is. KL divergence, effective sample size and ln Z are those of the hyperplane. The density of a
/// configuration in the hyperplane alone is `ln p(x) + ½ n |x̄|² + ½ d ln 2π`.
///
/// ```
/// use datasets::particles::{Cluster, PairEnergy};
/// let dw4 = Cluster::new(4, 2, PairEnergy::DoubleWell { strength: 1.0 })?;
/// // All six distances near the outer well.
/// let square = [0.0, 0.0, 4.0, 0.0, 0.0, 4.0, 4.0, 4.0];
/// assert!((dw4.energy(&square) - 2.0 * (0.9 * 7.536 - 4.0 * 2.745)).abs() < 0.01);
/// # Ok::<(), datasets::particles::ClusterError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    of: Composition,
    pair: PairEnergy,
}

impl Cluster {
    /// A cluster of `particles` equal particles in `space` dimensions.
    ///
    /// # Errors
    /// [`ClusterError::Size`] for fewer than 2 particles or a space that has not 1, 2 or 3 dimensions;
    /// [`ClusterError::Strength`] for a strength that is not positive.
    pub fn new(particles: usize, space: usize, pair: PairEnergy) -> Result<Self, ClusterError> {
        Self::of(Composition::new(particles, space)?, pair)
    }

    /// The same with particles of several kinds. The energy does not tell kinds apart; alignment and potentials do.
    ///
    /// # Errors
    /// [`ClusterError::Strength`] for a strength that is not positive.
    pub fn of(of: Composition, pair: PairEnergy) -> Result<Self, ClusterError> {
        let found = pair.strength();
        if !(found > 0.0 && found.is_finite()) {
            return Err(ClusterError::Strength { found });
        }
        Ok(Self { of, pair })
    }

    /// Its particles.
    pub fn composition(&self) -> &Composition {
        &self.of
    }

    /// Particles n.
    pub fn particles(&self) -> usize {
        self.of.particles()
    }

    /// Dimensions d of the space that they are in.
    pub fn space(&self) -> usize {
        self.of.space()
    }

    /// The energy of pairs.
    pub fn pair(&self) -> PairEnergy {
        self.pair
    }

    /// Numbers of a configuration, n d.
    pub fn dimension(&self) -> usize {
        self.of.dimension()
    }

    /// What a pair at `q = r²` has of U: its energy and its share of the trap, as
    /// `Σ_i |x_i − x̄|² = Σ_{i<j} r_ij² / n`.
    #[inline]
    pub(super) fn of_pair(&self, q: f64) -> f64 {
        self.pair.value(q) + 0.5 * self.pair.trap() * q / self.particles() as f64
    }

    /// The same on the way from a standard normal cluster, `½ Σ_i |x_i − x̄|²` at λ = 0, to U at λ = 1: the mean of
    /// both that λ weighs, the core of U soft in between.
    #[inline]
    pub(super) fn of_pair_between(&self, q: f64, lambda: f64) -> f64 {
        let normal = 0.5 * q / self.particles() as f64;
        (1.0 - lambda) * normal + lambda * (self.pair.softened(q, 1.0 - lambda) + self.pair.trap() * normal)
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let n = self.particles();
        (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j)))
    }

    /// `q = r²` of two particles, at the places of their first coordinates.
    #[inline]
    pub(super) fn square(x: &[f64], i: usize, j: usize, d: usize) -> f64 {
        (0..d).map(|a| (x[i * d + a] - x[j * d + a]).powi(2)).sum()
    }

    /// U, which has nothing of the centre.
    ///
    /// # Panics
    /// If `x` does not have n d numbers.
    pub fn energy(&self, x: &[f64]) -> f64 {
        assert_eq!(x.len(), self.dimension(), "the coordinates of all particles");
        self.pairs().map(|(i, j)| self.of_pair(Self::square(x, i, j, self.space()))).sum()
    }

    /// The energy on the way from a standard normal cluster, as a sum over pairs: U at λ = 1, and otherwise with a core
    /// that is soft.
    pub(super) fn energy_between(&self, x: &[f64], lambda: f64) -> f64 {
        self.pairs().map(|(i, j)| self.of_pair_between(Self::square(x, i, j, self.space()), lambda)).sum()
    }

    /// E, with the centre in it, and its gradient.
    ///
    /// # Panics
    /// If `x` or `gradient` does not have n d numbers.
    pub fn energy_and_gradient(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
        assert_eq!((x.len(), gradient.len()), (self.dimension(), self.dimension()), "the coordinates of all particles");
        let (n, d) = (self.particles(), self.space());
        gradient.fill(0.0);
        let mut energy = 0.5 * d as f64 * std::f64::consts::TAU.ln();
        for (i, j) in self.pairs() {
            let q = Self::square(x, i, j, d);
            energy += self.of_pair(q);
            let slope = 2.0 * self.pair.derivatives(q)[0] + self.pair.trap() / n as f64;
            for a in 0..d {
                let force = slope * (x[i * d + a] - x[j * d + a]);
                gradient[i * d + a] += force;
                gradient[j * d + a] -= force;
            }
        }
        for a in 0..d {
            let centre = x.iter().skip(a).step_by(d).sum::<f64>() / n as f64;
            energy += 0.5 * n as f64 * centre * centre;
            gradient.iter_mut().skip(a).step_by(d).for_each(|g| *g += centre);
        }
        energy
    }

    /// `∇²U`: over many configurations its mean is that of `|∇U|²`, and the mean of `x·∇U` is `(n − 1) d`, which tells
    /// whether they are in equilibrium.
    ///
    /// # Panics
    /// If `x` does not have n d numbers.
    pub fn laplacian(&self, x: &[f64]) -> f64 {
        assert_eq!(x.len(), self.dimension(), "the coordinates of all particles");
        let (n, d) = (self.particles() as f64, self.space() as f64);
        let of_pair = |(i, j)| {
            let q = Self::square(x, i, j, self.space());
            let [first, second] = self.pair.derivatives(q);
            2.0 * (4.0 * q * second + 2.0 * d * first)
        };
        self.pairs().map(of_pair).sum::<f64>() + self.pair.trap() * (n - 1.0) * d
    }

    /// `ln Z = ln ∫ exp(−U)` over the hyperplane, where it is known: of harmonic pairs, and of two particles by
    /// quadrature over their distance.
    pub fn log_z(&self) -> Option<f64> {
        let (n, d) = (self.particles() as f64, self.space() as f64);
        let tau = std::f64::consts::TAU;
        match self.pair {
            // ½ k Σ r² = ½ k n |y|² of (n − 1) d orthonormal coordinates.
            PairEnergy::Harmonic { stiffness } => Some(0.5 * (n - 1.0) * d * (tau / (n * stiffness)).ln()),
            _ if self.particles() == 2 => {
                // y = (x₁ − x₂)/√2, so that r = √2 |y|; the midpoint rule, whose error is below h²/10.
                let h = 1e-3;
                let at = |k: u32| {
                    let rho = h * (f64::from(k) + 0.5);
                    rho.powi(self.space() as i32 - 1) * (-self.of_pair(2.0 * rho * rho)).exp()
                };
                let sphere = [2.0, tau, 2.0 * tau][self.space() - 1];
                Some((sphere * h * (0..20_000).map(at).sum::<f64>()).ln())
            }
            _ => None,
        }
    }

    /// Moves the centre to the origin.
    pub fn centre(&self, x: &mut [f64]) {
        self.of.centre(x);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::finite_difference::assert_gradient;

    pub(crate) fn kinds() -> [Cluster; 4] {
        [
            Cluster::new(4, 2, PairEnergy::DoubleWell { strength: 1.0 }).unwrap(),
            Cluster::new(5, 3, PairEnergy::LennardJones { epsilon: 2.0 }).unwrap(),
            Cluster::new(3, 1, PairEnergy::LennardJones { epsilon: 1.0 }).unwrap(),
            Cluster::new(4, 3, PairEnergy::Harmonic { stiffness: 0.7 }).unwrap(),
        ]
    }

    /// Particles along a line, none near another.
    fn somewhere(of: &Cluster) -> Vec<f64> {
        let d = of.space();
        let coordinate =
            |i: usize| 0.2 * (1.7 * i as f64).sin() + if i.is_multiple_of(d) { 1.2 * (i / d) as f64 } else { 0.0 };
        (0..of.dimension()).map(coordinate).collect()
    }

    #[test]
    fn gradients_and_laplacians_are_differences() {
        for cluster in kinds() {
            let x = somewhere(&cluster);
            assert_gradient(&x, |x, g| cluster.energy_and_gradient(x, g));
            let h = 1e-4;
            let mut trace = 0.0;
            for i in 0..x.len() {
                let slope = |step: f64| {
                    let (mut x, mut g) = (x.clone(), vec![0.0; x.len()]);
                    x[i] += step;
                    cluster.energy_and_gradient(&x, &mut g);
                    g[i]
                };
                trace += (slope(h) - slope(-h)) / (2.0 * h);
            }
            // The centre adds one for each dimension.
            let expected = cluster.laplacian(&x) + cluster.space() as f64;
            assert!((trace - expected).abs() < 1e-5 * expected.abs().max(1.0), "{cluster:?}: {trace} {expected}");
        }
    }

    #[test]
    fn a_cluster_may_be_moved_turned_and_renumbered() {
        for cluster in kinds() {
            let (x, d) = (somewhere(&cluster), cluster.space());
            let energy = cluster.energy(&x);
            let mut other: Vec<f64> = x.iter().map(|x| 0.7 - x).collect();
            other.rotate_left(d);
            assert!((cluster.energy(&other) - energy).abs() < 1e-10 * energy.abs().max(1.0), "{cluster:?}");
            let mut gradient = vec![0.0; x.len()];
            let mut centred = x.clone();
            cluster.centre(&mut centred);
            let with_centre = cluster.energy_and_gradient(&centred, &mut gradient);
            let constant = 0.5 * d as f64 * std::f64::consts::TAU.ln();
            assert!((with_centre - energy - constant).abs() < 1e-10 * energy.abs().max(1.0));
        }
    }

    #[test]
    fn two_particles_are_a_quadrature_that_the_harmonic_ones_confirm() {
        for space in 1..=3 {
            let known = Cluster::new(2, space, PairEnergy::Harmonic { stiffness: 0.7 }).unwrap();
            // The same sum by hand: |y| has the weight of a sphere.
            let h = 1e-3;
            let sphere = [2.0, std::f64::consts::TAU, 2.0 * std::f64::consts::TAU][space - 1];
            let at = |k: u32| {
                let rho = h * (f64::from(k) + 0.5);
                rho.powi(space as i32 - 1) * (-0.5 * 0.7 * 2.0 * rho * rho).exp()
            };
            let sum = (sphere * h * (0..20_000).map(at).sum::<f64>()).ln();
            assert!((known.log_z().unwrap() - sum).abs() < 1e-6, "{space}");
        }
    }

    #[test]
    fn what_is_no_cluster_is_refused() {
        let pair = PairEnergy::Harmonic { stiffness: 1.0 };
        for (particles, space) in [(1, 2), (3, 0), (3, 4)] {
            assert_eq!(Cluster::new(particles, space, pair), Err(ClusterError::Size { particles, space }));
        }
        for found in [0.0, -1.0, f64::INFINITY] {
            let refused = Cluster::new(3, 3, PairEnergy::LennardJones { epsilon: found });
            assert_eq!(refused, Err(ClusterError::Strength { found }));
        }
        assert!(Cluster::new(3, 3, PairEnergy::LennardJones { epsilon: f64::NAN }).is_err());
    }
}
