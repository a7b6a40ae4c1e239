//! The Ising model in continuous variables, in the coordinates in which it is a mixture of unit Gaussians.

use super::ising::replace_by_tanh;
use super::{CouplingPower, IsingTarget};

/// [`IsingTarget`] in the coordinates `y = K^{-1/2} x`: the density `exp(−E(y))/Z_y` of `K^{1/2} s + ξ`, s the spins of
/// the Ising model and ξ standard normal, with
///
/// `E(y) = ½ yᵀy − Σ_i ln cosh (K^{1/2} y)_i`.
///
/// For `exp(½ sᵀKs) exp(−½ |y − K^{1/2} s|²) = exp(−½ yᵀy + s·K^{1/2} y)`, and the sum over each spin gives a cosh.
/// Spins come back by `p(s_i = 1 | y) = σ(2x_i)` with `x = K^{1/2} y`.
///
/// ```
/// use datasets::lattice::{Boundary, CRITICAL_TEMPERATURE, IsingTarget};
///
/// let target = IsingTarget::new(16, 16, Boundary::Periodic, CRITICAL_TEMPERATURE)?.whitened();
/// let y: Vec<f64> = (0..256).map(|i| (0.1 * f64::from(i)).sin()).collect();
/// let (mut x, mut gradient) = (vec![0.0; 256], vec![0.0; 256]);
/// target.to_physical(&y, &mut x);
/// let energy = target.energy_and_gradient(&y, &mut gradient);
/// // It is the same function of the same point.
/// assert!((energy - target.physical().energy_and_gradient(&x, &mut gradient)).abs() < 1e-10);
/// # Ok::<(), datasets::lattice::LatticeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct WhitenedIsing {
    physical: IsingTarget,
}

impl IsingTarget {
    /// The same target in the coordinates `y = K^{-1/2} x`.
    pub fn whitened(self) -> WhitenedIsing {
        WhitenedIsing { physical: self }
    }
}

impl WhitenedIsing {
    /// The target in the coordinates x.
    pub fn physical(&self) -> &IsingTarget {
        &self.physical
    }

    /// Number of sites N, the dimension of y.
    pub fn sites(&self) -> usize {
        self.physical.sites()
    }

    /// E(y), with ∇E = `y − K^{1/2} tanh(K^{1/2} y)` written to `gradient`.
    ///
    /// # Panics
    /// If `y` or `gradient` does not have N entries.
    pub fn energy_and_gradient(&self, y: &[f64], gradient: &mut [f64]) -> f64 {
        self.to_physical(y, gradient);
        let ln_cosh = replace_by_tanh(gradient);
        self.physical.apply_in_place(CouplingPower::SquareRoot, gradient);
        let mut square = 0.0;
        for (gradient, &y) in gradient.iter_mut().zip(y) {
            *gradient = y - *gradient;
            square += y * y;
        }
        0.5 * square - ln_cosh
    }

    /// `x ← K^{1/2} y`.
    ///
    /// # Panics
    /// If `y` or `x` does not have N entries.
    pub fn to_physical(&self, y: &[f64], x: &mut [f64]) {
        self.physical.apply(CouplingPower::SquareRoot, y, x);
    }

    /// `y ← K^{-1/2} x`.
    ///
    /// # Panics
    /// If `x` or `y` does not have N entries.
    pub fn to_whitened(&self, x: &[f64], y: &mut [f64]) {
        self.physical.apply(CouplingPower::InverseSquareRoot, x, y);
    }

    /// `centre ← K^{1/2} s`, the centre of the Gaussian that belongs to `spins`.
    ///
    /// # Panics
    /// If `spins` or `centre` does not have N entries.
    pub fn centre(&self, spins: &[i8], centre: &mut [f64]) {
        assert_eq!(spins.len(), centre.len(), "one spin for each site");
        for (centre, &spin) in centre.iter_mut().zip(spins) {
            *centre = f64::from(spin);
        }
        self.physical.apply_in_place(CouplingPower::SquareRoot, centre);
    }

    /// `−ln Z_y` from ln Z of the Ising model on the same lattice: `−ln Z_x + ½ ln det K = −ln Z_Ising + (N/2)(ln(2/π)
    /// − α)`.
    pub fn minus_log_z(&self, ln_z_ising: f64) -> f64 {
        self.physical.minus_log_z(ln_z_ising) + 0.5 * self.physical.log_det_k()
    }
}

#[cfg(test)]
mod tests;
