//! The φ⁴ lattice field theory in its hopping-parameter (κ, λ) form.

use std::f64::consts::PI;

use super::LatticeError;
use super::geometry::{Boundary, Lattice};

/// The density `exp(−S(φ))/Z` on ℝᴺ with the action (Montvay and Münster, Quantum Fields on a Lattice, chapter 2)
///
/// `S(φ) = Σ_x [−2κ Σ_μ φ_x φ_{x+μ} + (1 − 2λ) φ_x² + λ φ_x⁴]`,
///
/// μ over the two directions, so that each bond of the [`Lattice`] counts once.
///
/// ```
/// use datasets::lattice::{Boundary, Phi4Target};
///
/// let target = Phi4Target::new(8, 8, Boundary::Periodic, 0.25, 0.022)?;
/// let mut gradient = vec![0.0; 64];
/// let action = target.energy_and_gradient(&[1.0; 64], &mut gradient);
/// // Each site has −4κ + (1 − 2λ) + λ.
/// assert!((action / 64.0 - (-1.0 + (1.0 - 0.044) + 0.022)).abs() < 1e-14);
/// # Ok::<(), datasets::lattice::LatticeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Phi4Target {
    lattice: Lattice,
    kappa: f64,
    lambda: f64,
    bonds: Vec<(u32, u32)>,
}

impl Phi4Target {
    /// The target on `rows × cols` sites with hopping parameter `kappa` and quartic coupling `lambda`.
    ///
    /// # Errors
    /// [`LatticeError::Empty`], [`LatticeError::TooLarge`]; [`LatticeError::Phi4`] for numbers that are not finite or a
    /// negative `lambda`; [`LatticeError::Unbounded`] when `lambda` is 0 and the action has no minimum.
    pub fn new(rows: usize, cols: usize, boundary: Boundary, kappa: f64, lambda: f64) -> Result<Self, LatticeError> {
        let lattice = Lattice::new(rows, cols, boundary)?;
        if !(kappa.is_finite() && lambda.is_finite() && lambda >= 0.0) {
            return Err(LatticeError::Phi4 { kappa, lambda });
        }
        let (low, high) = lattice.adjacency_extremes();
        if lambda == 0.0 && (kappa * low).max(kappa * high) >= 1.0 {
            return Err(LatticeError::Unbounded { kappa, limit: if kappa > 0.0 { 1.0 / high } else { -1.0 / low } });
        }
        let bonds = lattice.bonds().map(|(i, j)| (i as u32, j as u32)).collect();
        Ok(Self { lattice, kappa, lambda, bonds })
    }

    /// The lattice.
    pub fn lattice(&self) -> &Lattice {
        &self.lattice
    }

    /// Number of sites N, the dimension of φ.
    pub fn sites(&self) -> usize {
        self.lattice.sites()
    }

    /// The hopping parameter κ.
    pub fn kappa(&self) -> f64 {
        self.kappa
    }

    /// The quartic coupling λ.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// S(φ), with ∇S written to `gradient`.
    ///
    /// # Panics
    /// If `field` or `gradient` does not have N entries.
    pub fn energy_and_gradient(&self, field: &[f64], gradient: &mut [f64]) -> f64 {
        assert_eq!((field.len(), gradient.len()), (self.sites(), self.sites()), "one number for each site");
        let mass = 1.0 - 2.0 * self.lambda;
        let mut sites = 0.0;
        for (&phi, gradient) in field.iter().zip(&mut *gradient) {
            let square = phi * phi;
            sites += square * (mass + self.lambda * square);
            *gradient = 2.0 * phi * (mass + 2.0 * self.lambda * square);
        }
        let mut bonds = 0.0;
        for &(i, j) in &self.bonds {
            let (i, j) = (i as usize, j as usize);
            bonds += field[i] * field[j];
            gradient[i] -= 2.0 * self.kappa * field[j];
            gradient[j] -= 2.0 * self.kappa * field[i];
        }
        sites - 2.0 * self.kappa * bonds
    }

    /// ln Z of the free field: with λ = 0, `S = φᵀ(I − κA)φ` and `ln Z = (N/2) ln π − ½ ln det(I − κA)`. `None` for a
    /// positive λ.
    pub fn free_field_log_z(&self) -> Option<f64> {
        (self.lambda == 0.0).then(|| {
            let log_det: f64 = self.lattice.adjacency_eigenvalues().map(|a| (-self.kappa * a).ln_1p()).sum();
            0.5 * (self.sites() as f64 * PI.ln() - log_det)
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::super::DenseCoupling;
    use super::*;
    use crate::finite_difference::assert_gradient;

    #[test]
    fn gradient_is_that_of_the_action() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (rows, cols) in [(1, 1), (1, 2), (2, 2), (3, 5), (6, 4)] {
            for boundary in [Boundary::Periodic, Boundary::Open] {
                for (kappa, lambda) in [(0.2, 0.0), (0.3, 0.022), (-0.4, 1.5)] {
                    let target = Phi4Target::new(rows, cols, boundary, kappa, lambda).unwrap();
                    let x: Vec<f64> = (0..rows * cols).map(|_| rng.random_range(-1.5..1.5)).collect();
                    assert_gradient(&x, |x, gradient| target.energy_and_gradient(x, gradient));
                }
            }
        }
    }

    #[test]
    fn free_action_is_the_quadratic_form_whose_determinant_is_used() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for (rows, cols, boundary) in [(4, 4, Boundary::Periodic), (3, 5, Boundary::Open), (1, 2, Boundary::Periodic)] {
            let target = Phi4Target::new(rows, cols, boundary, 0.21, 0.0).unwrap();
            let n = target.sites();
            // The columns of the Hessian are the gradients at the unit vectors.
            let mut hessian = vec![0.0; n * n];
            for (i, column) in hessian.chunks_exact_mut(n).enumerate() {
                let mut unit = vec![0.0; n];
                unit[i] = 1.0;
                target.energy_and_gradient(&unit, column);
            }
            let x: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
            let form: f64 = (0..n * n).map(|k| 0.5 * x[k / n] * hessian[k] * x[k % n]).sum();
            assert!((target.energy_and_gradient(&x, &mut vec![0.0; n]) - form).abs() < 1e-13);

            let log_det = DenseCoupling::new(n, &hessian).log_det().unwrap();
            let exact = 0.5 * (n as f64 * (2.0 * PI).ln() - log_det);
            assert!((target.free_field_log_z().unwrap() - exact).abs() < 1e-12);
        }
    }

    /// ∫∫ exp(−S) over two sites by the trapezoid rule, exponentially accurate for such integrands.
    fn two_sites(target: &Phi4Target) -> f64 {
        let (h, half) = (0.05, 240);
        let mut sum = 0.0;
        for i in -half..=half {
            for j in -half..=half {
                let x = [f64::from(i) * h, f64::from(j) * h];
                sum += (-target.energy_and_gradient(&x, &mut [0.0; 2])).exp();
            }
        }
        sum * h * h
    }

    #[test]
    fn two_free_sites_integrate_to_the_determinant() {
        for boundary in [Boundary::Periodic, Boundary::Open] {
            let target = Phi4Target::new(1, 2, boundary, 0.2, 0.0).unwrap();
            assert!((two_sites(&target).ln() - target.free_field_log_z().unwrap()).abs() < 1e-12);
        }
    }

    #[test]
    fn strong_quartic_coupling_is_the_ising_model() {
        // For λ → ∞ each φ becomes ±1: ⟨φ₁φ₂⟩ of one open bond becomes tanh 2κ, and for λ ≥ 10⁴ it is within 1/λ of it.
        let target = Phi4Target::new(1, 2, Boundary::Open, 0.3, 1e4).unwrap();
        let h = 2e-4;
        let (mut z, mut product) = (0.0, 0.0);
        for signs in [[1.0, 1.0], [1.0, -1.0]] {
            for i in -200..=200 {
                for j in -200..=200 {
                    let x = [signs[0] * (1.0 + f64::from(i) * h), signs[1] * (1.0 + f64::from(j) * h)];
                    // The action at its bottom is −λ for each site.
                    let weight = (-target.energy_and_gradient(&x, &mut [0.0; 2]) - 2e4).exp();
                    z += weight;
                    product += weight * x[0] * x[1];
                }
            }
        }
        assert!((product / z - 0.6f64.tanh()).abs() < 1e-4, "{}", product / z);
    }

    #[test]
    fn bad_parameters_are_refused() {
        let new = |kappa, lambda| Phi4Target::new(4, 4, Boundary::Periodic, kappa, lambda).unwrap_err();
        for (kappa, lambda) in [(f64::NAN, 0.1), (0.1, f64::NAN), (f64::INFINITY, 0.1), (0.1, -0.1)] {
            assert!(matches!(new(kappa, lambda), LatticeError::Phi4 { .. }));
        }
        assert_eq!(new(0.25, 0.0), LatticeError::Unbounded { kappa: 0.25, limit: 0.25 });
        assert_eq!(new(-0.3, 0.0), LatticeError::Unbounded { kappa: -0.3, limit: 0.25 });
        assert_eq!(
            Phi4Target::new(0, 4, Boundary::Open, 0.1, 0.1).unwrap_err(),
            LatticeError::Empty { rows: 0, cols: 4 }
        );
    }
}
