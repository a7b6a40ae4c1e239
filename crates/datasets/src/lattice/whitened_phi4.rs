//! The φ⁴ theory in coordinates in which it is a standard normal density, as far as a Gaussian can tell.

use std::fmt;

use super::Phi4Target;
use super::spectral::Modes;

/// Most steps of Newton's method on the gap equation; each of them doubles the digits once it is near.
const NEWTON_STEPS: usize = 200;

/// [`Phi4Target`] in the coordinates `y = K^{-1/2} φ`, K the covariance of the centred Gaussian of least free energy
/// `⟨S⟩ − entropy`.
///
/// That minimum (the Gaussian or Hartree approximation; R. P. Feynman, Statistical Mechanics, section 3.4, for the
/// inequality) has `K = ½ (m² − κA)⁻¹`, A the adjacency matrix of the lattice, with the mass that solves the gap
/// equation
///
/// `m² = 1 − 2λ + 6λ ⟨φ²⟩`, `⟨φ²⟩ = tr K / N`
///
/// (on a periodic lattice; on an open one, where ⟨φ²⟩ is not the same at all sites, the mean over them serves). Because
/// `φᵀ(m² − κA)φ = ½ yᵀy`, what is left of the action is a function of each site:
///
/// `E(y) = S(φ) = ½ yᵀy + Σ_i [λ φ_i⁴ − (m² − 1 + 2λ) φ_i²]`, `φ = K^{1/2} y`.
///
/// Without a quartic term that is `½ yᵀy`. K is applied by Fourier transforms on periodic lattices and by sine modes on
/// open ones.
///
/// ```
/// use datasets::lattice::{Boundary, Phi4Target};
///
/// let target = Phi4Target::new(16, 16, Boundary::Periodic, 0.25, 0.022)?.whitened();
/// let y: Vec<f64> = (0..256).map(|i| (0.1 * f64::from(i)).sin()).collect();
/// let (mut field, mut gradient) = (vec![0.0; 256], vec![0.0; 256]);
/// target.to_physical(&y, &mut field);
/// let energy = target.energy_and_gradient(&y, &mut gradient);
/// // It is the same function of the same point.
/// assert!((energy - target.physical().energy_and_gradient(&field, &mut gradient)).abs() < 1e-10);
/// # Ok::<(), datasets::lattice::LatticeError>(())
/// ```
#[derive(Clone)]
pub struct WhitenedPhi4 {
    physical: Phi4Target,
    mass: f64,
    variance: f64,
    log_det_k: f64,
    modes: Modes,
    /// The table of K^{1/2}.
    root: Vec<f64>,
    /// The table of K^{-1/2}.
    inverse_root: Vec<f64>,
}

impl fmt::Debug for WhitenedPhi4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { physical, mass, variance, log_det_k, .. } = self;
        f.debug_struct("WhitenedPhi4")
            .field("lattice", physical.lattice())
            .field("kappa", &physical.kappa())
            .field("lambda", &physical.lambda())
            .field("mass", mass)
            .field("variance", variance)
            .field("log_det_k", log_det_k)
            .finish_non_exhaustive()
    }
}

impl Phi4Target {
    /// The same target in the coordinates `y = K^{-1/2} φ`.
    pub fn whitened(self) -> WhitenedPhi4 {
        let gap = Gap::of(&self);
        let excess = gap.root();
        // Measured from the largest eigenvalue of κA, so that the softest mode has all its digits.
        let eigenvalue = |a: f64| 0.5 / (excess + (gap.limit - self.kappa() * a));
        let modes = Modes::new(self.lattice());
        let (root, inverse_root) =
            (modes.table(|a| eigenvalue(a).sqrt()), modes.table(|a| eigenvalue(a).sqrt().recip()));
        let eigenvalues = || self.lattice().adjacency_eigenvalues().map(eigenvalue);
        let variance = eigenvalues().sum::<f64>() / self.sites() as f64;
        let log_det_k = eigenvalues().map(f64::ln).sum();
        WhitenedPhi4 { mass: gap.limit + excess, variance, log_det_k, modes, root, inverse_root, physical: self }
    }
}

/// m² of the Gaussian of least free energy.
pub(super) fn gaussian_mass(target: &Phi4Target) -> f64 {
    let gap = Gap::of(target);
    gap.limit + gap.root()
}

/// The gap equation in the distance u of m² from the largest eigenvalue of κA, beyond which K is positive.
struct Gap {
    /// The largest eigenvalue of κA.
    limit: f64,
    /// `limit − (1 − 2λ)`.
    above: f64,
    /// 3λ/N.
    strength: f64,
    /// The distances of the eigenvalues of κA from the largest.
    distances: Vec<f64>,
}

impl Gap {
    fn of(target: &Phi4Target) -> Self {
        let (low, high) = target.lattice().adjacency_extremes();
        let limit = (target.kappa() * low).max(target.kappa() * high);
        Self {
            limit,
            above: limit - (1.0 - 2.0 * target.lambda()),
            strength: 3.0 * target.lambda() / target.sites() as f64,
            distances: target.lattice().adjacency_eigenvalues().map(|a| limit - target.kappa() * a).collect(),
        }
    }

    /// The u > 0 with `g(u) = u + above − strength Σ 1/(u + d) = 0`.
    ///
    /// g rises and is concave, so there is one root and Newton's steps from its left never pass it. With the softest
    /// mode alone in the sum g is larger, and its root, that of a quadratic equation, lies to the left.
    fn root(&self) -> f64 {
        let root = self.above.hypot(2.0 * self.strength.sqrt());
        let mut u =
            if self.above > 0.0 { 2.0 * self.strength / (self.above + root) } else { 0.5 * (root - self.above) };
        for _ in 0..NEWTON_STEPS {
            let (mut value, mut slope) = (u + self.above, 1.0);
            for d in &self.distances {
                let term = self.strength / (u + d);
                value -= term;
                slope += term / (u + d);
            }
            let next = u - value / slope;
            if next <= u * (1.0 + f64::EPSILON) {
                break;
            }
            u = next;
        }
        u
    }
}

impl WhitenedPhi4 {
    /// The target in the coordinates φ.
    pub fn physical(&self) -> &Phi4Target {
        &self.physical
    }

    /// Number of sites N, the dimension of y.
    pub fn sites(&self) -> usize {
        self.physical.sites()
    }

    /// m² of `K = ½ (m² − κA)⁻¹`.
    pub fn mass(&self) -> f64 {
        self.mass
    }

    /// ⟨φ²⟩ = tr K / N.
    pub fn variance(&self) -> f64 {
        self.variance
    }

    /// ln det K, from the closed form of the eigenvalues.
    pub fn log_det_k(&self) -> f64 {
        self.log_det_k
    }

    /// E(y), with ∇E = K^{1/2} ∇S(K^{1/2} y) written to `gradient`.
    ///
    /// # Panics
    /// If `y` or `gradient` does not have N entries.
    pub fn energy_and_gradient(&self, y: &[f64], gradient: &mut [f64]) -> f64 {
        let lambda = self.physical.lambda();
        let shift = self.mass - (1.0 - 2.0 * lambda);
        self.to_physical(y, gradient);
        let mut sites = 0.0;
        for phi in &mut *gradient {
            let square = *phi * *phi;
            sites += square * (lambda * square - shift);
            *phi *= 4.0 * lambda * square - 2.0 * shift;
        }
        self.modes.apply(&self.root, gradient);
        let mut square = 0.0;
        for (gradient, &y) in gradient.iter_mut().zip(y) {
            *gradient += y;
            square += y * y;
        }
        0.5 * square + sites
    }

    /// `field ← K^{1/2} y`.
    ///
    /// # Panics
    /// If `y` or `field` does not have N entries.
    pub fn to_physical(&self, y: &[f64], field: &mut [f64]) {
        self.apply(&self.root, y, field);
    }

    /// `y ← K^{-1/2} field`.
    ///
    /// # Panics
    /// If `field` or `y` does not have N entries.
    pub fn to_whitened(&self, field: &[f64], y: &mut [f64]) {
        self.apply(&self.inverse_root, field, y);
    }

    fn apply(&self, table: &[f64], from: &[f64], to: &mut [f64]) {
        assert_eq!((from.len(), to.len()), (self.sites(), self.sites()), "one number for each site");
        to.copy_from_slice(from);
        self.modes.apply(table, to);
    }
}

#[cfg(test)]
mod tests;
