//! The continuous formulation of the Ising model: N real variables whose density can be written down.
//!
//! With A the matrix of couplings and `K = A/T + αI` positive definite, a Gaussian integral turns the spins into
//! `E(x) = ½ xᵀK⁻¹x − Σ ln cosh x_i` (S.-H. Li and L. Wang, Phys. Rev. Lett. 121, 260601 (2018)), with
//! `−ln Z = −ln Z_Ising − ½ ln det K + (N/2)(ln(2/π) − α)`.

use std::f64::consts::PI;

use crate::error::Error;
use crate::jet::Neumaier;
use crate::lattice::{Edge, Lattice};
use crate::thermodynamics::Thermodynamics;

/// Smallest eigenvalue of K, which fixes α.
pub const SMALLEST_EIGENVALUE: f64 = 0.1;

/// The constants of the continuous formulation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Continuous {
    /// α of K = A/T + αI, such that the smallest eigenvalue of K is [`SMALLEST_EIGENVALUE`].
    pub alpha: f64,
    /// ln det K of the whole lattice.
    pub log_det_k: f64,
    /// −ln Z/N of the continuous variables (not multiplied by T).
    pub free_energy_per_site: f64,
}

impl Lattice {
    /// The constants of the continuous formulation, and its exact −ln Z per site.
    ///
    /// A has an entry J for every bond in each of its two places: 2J between the two sites of a closed direction
    /// of two sites, 2J on the diagonal for a closed direction of one site.
    ///
    /// ```
    /// use ising_exact::{Lattice, critical_temperature};
    /// let exact = Lattice::square(16)?.continuous(critical_temperature(1.0, 1.0))?;
    /// assert!((exact.free_energy_per_site + 2.315920858819).abs() < 1e-12);
    /// # Ok::<(), ising_exact::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Lattice::thermodynamics`].
    pub fn continuous(&self, temperature: f64) -> Result<Continuous, Error> {
        Ok(self.continuous_from(&self.thermodynamics(temperature)?))
    }

    /// The same where the thermodynamics of this lattice is known already, so that it is not computed twice.
    pub fn continuous_from(&self, ising: &Thermodynamics) -> Continuous {
        let &Thermodynamics { beta, ln_z, .. } = ising;
        let [along_x, along_y] = self.spectra(beta);
        let smallest = |s: &[(f64, f64)]| s.iter().map(|p| p.0).fold(f64::INFINITY, f64::min);
        let lowest = smallest(&along_x) + smallest(&along_y);
        let mut log_det = Neumaier::default();
        for &(b, wb) in &along_y {
            for &(a, wa) in &along_x {
                // Measured from the smallest eigenvalue, which is exact by definition.
                log_det.add(wa * wb * ((a + b - lowest) + SMALLEST_EIGENVALUE).ln());
            }
        }
        let sites = self.sites() as f64;
        let alpha = SMALLEST_EIGENVALUE - lowest;
        let log_det_k = log_det.total();
        let per_site = -(ln_z + 0.5 * log_det_k) / sites + 0.5 * ((2.0 / PI).ln() - alpha);
        Continuous { alpha, log_det_k, free_energy_per_site: per_site }
    }

    /// Eigenvalues of A/T along x and along y, each with its multiplicity; the spectrum of A/T is all sums of one of
    /// each.
    fn spectra(&self, beta: f64) -> [Vec<(f64, f64)>; 2] {
        let edges = [self.edges().x, self.edges().y];
        std::array::from_fn(|i| {
            let (size, k) = (self.size()[i], beta * self.coupling_constants()[i]);
            // 2J cos(πj/d): momenta πj/L with j even or odd on a ring (±), standing waves πj/(L+1) on an open line.
            let (first, step, denominator, count) = match edges[i] {
                Edge::Periodic => (0, 2, size, size),
                Edge::Antiperiodic => (1, 2, size, size),
                Edge::Open => (1, 1, size + 1, size),
            };
            let open = edges[i] == Edge::Open;
            (first..=count)
                .step_by(step)
                .map(|j| {
                    let single = open || j == 0 || j == size;
                    let cosine = (PI * (denominator as f64 / 2.0 - j as f64) / denominator as f64).sin();
                    (2.0 * k * cosine, if single { 1.0 } else { 2.0 })
                })
                .collect()
        })
    }
}
