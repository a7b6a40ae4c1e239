//! The Ising model in continuous variables (arXiv:1809.10188, equation 8 and appendix B).

use std::fmt;

use rand::{Rng, RngExt};

use super::geometry::{Boundary, Lattice};
use super::spectral::Modes;
use super::{DenseCoupling, LatticeError};

/// The critical temperature of the infinite square lattice, 2/ln(1 + √2).
pub const CRITICAL_TEMPERATURE: f64 = 2.269_185_314_213_022;

/// Smallest eigenvalue of K.
pub const SMALLEST_EIGENVALUE: f64 = 0.1;

/// A power of the coupling matrix K.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CouplingPower {
    /// K.
    One,
    /// K^{1/2}, symmetric and positive.
    SquareRoot,
    /// K⁻¹.
    Inverse,
    /// K^{-1/2}, symmetric and positive.
    InverseSquareRoot,
}

/// The density `exp(−E(x))/Z` on ℝᴺ whose spins, drawn by `p(s_i = 1 | x) = σ(2x_i)`, are those of the Ising model
/// `exp(Σ_bonds s_i s_j / T)`.
///
/// `E(x) = ½ xᵀK⁻¹x − Σ_i ln cosh x_i`, `K = A/T + αI`, A the adjacency matrix of the [`Lattice`], α such that the
/// smallest eigenvalue of K is [`SMALLEST_EIGENVALUE`]. K is applied by Fourier transforms on periodic lattices and by
/// sine modes on open ones; rows can be evaluated from several threads at once.
///
/// ```
/// use datasets::lattice::{Boundary, CRITICAL_TEMPERATURE, IsingTarget};
///
/// let target = IsingTarget::new(16, 16, Boundary::Periodic, CRITICAL_TEMPERATURE)?;
/// let x = vec![0.5; target.sites()];
/// let mut gradient = vec![0.0; target.sites()];
/// let energy = target.energy_and_gradient(&x, &mut gradient);
/// // A constant is an eigenvector of K with eigenvalue 4/T + α.
/// let eigenvalue = 4.0 / CRITICAL_TEMPERATURE + target.alpha();
/// assert!((energy / 256.0 - (0.125 / eigenvalue - 0.5f64.cosh().ln())).abs() < 1e-14);
/// assert!((gradient[7] - (0.5 / eigenvalue - 0.5f64.tanh())).abs() < 1e-14);
/// # Ok::<(), datasets::lattice::LatticeError>(())
/// ```
#[derive(Clone)]
pub struct IsingTarget {
    lattice: Lattice,
    temperature: f64,
    alpha: f64,
    log_det_k: f64,
    modes: Modes,
    /// Tables of K, K^{1/2}, K⁻¹ and K^{-1/2}, in the order of [`CouplingPower`].
    tables: [Vec<f64>; 4],
}

impl fmt::Debug for IsingTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lattice, temperature, alpha, log_det_k, .. } = self;
        f.debug_struct("IsingTarget")
            .field("lattice", lattice)
            .field("temperature", temperature)
            .field("alpha", alpha)
            .field("log_det_k", log_det_k)
            .finish_non_exhaustive()
    }
}

impl IsingTarget {
    /// The target on `rows × cols` sites at `temperature` (coupling and Boltzmann constant are 1).
    ///
    /// # Errors
    /// [`LatticeError::Empty`], [`LatticeError::TooLarge`], or [`LatticeError::Temperature`] when it is not positive
    /// and finite or K overflows.
    pub fn new(rows: usize, cols: usize, boundary: Boundary, temperature: f64) -> Result<Self, LatticeError> {
        let lattice = Lattice::new(rows, cols, boundary)?;
        let modes = Modes::new(&lattice);
        Self::with_modes(lattice, modes, temperature)
    }

    /// The same lattice at another temperature, without its transforms planned anew.
    ///
    /// # Errors
    /// [`LatticeError::Temperature`] as [`IsingTarget::new`].
    pub fn at(&self, temperature: f64) -> Result<Self, LatticeError> {
        Self::with_modes(self.lattice, self.modes.clone(), temperature)
    }

    fn with_modes(lattice: Lattice, modes: Modes, temperature: f64) -> Result<Self, LatticeError> {
        let (low, high) = lattice.adjacency_extremes();
        // Measured from the smallest eigenvalue of A, so that the smallest of K has all its digits at any temperature.
        let eigenvalue = |a: f64| (a - low) / temperature + SMALLEST_EIGENVALUE;
        if !(temperature > 0.0 && temperature.is_finite() && eigenvalue(high).is_finite()) {
            return Err(LatticeError::Temperature { found: temperature });
        }
        let tables = [
            modes.table(eigenvalue),
            modes.table(|a| eigenvalue(a).sqrt()),
            modes.table(|a| eigenvalue(a).recip()),
            modes.table(|a| eigenvalue(a).sqrt().recip()),
        ];
        let log_det_k = lattice.adjacency_eigenvalues().map(|a| eigenvalue(a).ln()).sum();
        Ok(Self { lattice, temperature, alpha: SMALLEST_EIGENVALUE - low / temperature, log_det_k, modes, tables })
    }

    /// The lattice.
    pub fn lattice(&self) -> &Lattice {
        &self.lattice
    }

    /// Number of sites N, the dimension of x.
    pub fn sites(&self) -> usize {
        self.lattice.sites()
    }

    /// The temperature T.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// The shift α of `K = A/T + αI`.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// ln det K, from the closed form of the eigenvalues.
    pub fn log_det_k(&self) -> f64 {
        self.log_det_k
    }

    /// K as a dense matrix, for checks at small N.
    pub fn dense_coupling(&self) -> DenseCoupling {
        let n = self.sites();
        let mut k = self.lattice.adjacency();
        for (index, entry) in k.iter_mut().enumerate() {
            *entry = *entry / self.temperature + if index / n == index % n { self.alpha } else { 0.0 };
        }
        DenseCoupling::new(n, &k)
    }

    /// E(x), with ∇E written to `gradient`.
    ///
    /// # Panics
    /// If `x` or `gradient` does not have N entries.
    pub fn energy_and_gradient(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
        self.apply(CouplingPower::Inverse, x, gradient);
        let quadratic: f64 = x.iter().zip(&*gradient).map(|(x, kx)| x * kx).sum();
        0.5 * quadratic - subtract_tanh(x, gradient)
    }

    /// `out ← K^power x`.
    ///
    /// # Panics
    /// If `x` or `out` does not have N entries.
    pub fn apply(&self, power: CouplingPower, x: &[f64], out: &mut [f64]) {
        assert_eq!((x.len(), out.len()), (self.sites(), self.sites()), "one number for each site");
        out.copy_from_slice(x);
        self.apply_in_place(power, out);
    }

    /// `x ← K^power x`.
    ///
    /// # Panics
    /// If `x` does not have N entries.
    pub fn apply_in_place(&self, power: CouplingPower, x: &mut [f64]) {
        assert_eq!(x.len(), self.sites(), "one number for each site");
        self.modes.apply(&self.tables[power as usize], x);
    }

    /// −ln Z of the continuous density from ln Z of the Ising model on the same lattice (the sum over its 2ᴺ states of
    /// `exp(Σ_bonds s_i s_j / T)`): `−ln Z_Ising − ½ ln det K + (N/2)(ln(2/π) − α)`.
    pub fn minus_log_z(&self, ln_z_ising: f64) -> f64 {
        let n = self.sites() as f64;
        -ln_z_ising - 0.5 * self.log_det_k + 0.5 * n * (std::f64::consts::FRAC_2_PI.ln() - self.alpha)
    }
}

/// Draws spins given continuous variables: `spins[i]` is 1 with probability `σ(2x_i)`, else −1; one number of `rng` for
/// each site.
///
/// # Panics
/// If `x` and `spins` differ in length.
pub fn sample_spins(x: &[f64], rng: &mut impl Rng, spins: &mut [i8]) {
    assert_eq!(x.len(), spins.len(), "one spin for each site");
    for (spin, &x) in spins.iter_mut().zip(x) {
        *spin = if rng.random::<f64>() < up_probability(x) { 1 } else { -1 };
    }
}

/// `p(s = 1 | x) = σ(2x)`.
pub fn up_probability(x: f64) -> f64 {
    1.0 / (1.0 + (-2.0 * x).exp())
}

/// Subtracts tanh x_i from `gradient` and returns Σ ln cosh x_i, finite for any finite x.
fn subtract_tanh(x: &[f64], gradient: &mut [f64]) -> f64 {
    let mut sum = LnCoshSum::default();
    for (&x, gradient) in x.iter().zip(gradient) {
        *gradient -= sum.add(x);
    }
    sum.total()
}

/// Replaces each x_i by tanh x_i and returns Σ ln cosh x_i, finite for any finite x.
pub(super) fn replace_by_tanh(x: &mut [f64]) -> f64 {
    let mut sum = LnCoshSum::default();
    for x in x {
        *x = sum.add(*x);
    }
    sum.total()
}

/// Σ ln cosh x with few logarithms: with e = exp(−2|x|), cosh x = exp(|x|)(1 + e)/2, and the factors (1 + e)/2 lie
/// between ½ and 1, so that 512 of them can be multiplied before one logarithm.
struct LnCoshSum {
    sum: f64,
    product: f64,
    factors: u32,
}

impl Default for LnCoshSum {
    fn default() -> Self {
        Self { sum: 0.0, product: 1.0, factors: 0 }
    }
}

impl LnCoshSum {
    /// Adds ln cosh x; tanh x, which needs the same exponential.
    #[inline]
    fn add(&mut self, x: f64) -> f64 {
        let e = (-2.0 * x.abs()).exp();
        self.sum += x.abs();
        self.product *= 0.5 + 0.5 * e;
        self.factors += 1;
        if self.factors == 512 {
            *self = Self { sum: self.total(), ..Self::default() };
        }
        ((1.0 - e) / (1.0 + e)).copysign(x)
    }

    fn total(&self) -> f64 {
        self.sum + self.product.ln()
    }
}

#[cfg(test)]
mod tests;
