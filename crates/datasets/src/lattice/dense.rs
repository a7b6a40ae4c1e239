//! A coupling matrix as a dense symmetric matrix: spectrum, inverse, square root and log-determinant by nalgebra. It
//! costs N³. Tests compare the fast forms with it, and it serves for matrices that have no fast form.

use nalgebra::{Cholesky, DMatrix};

/// A dense symmetric N×N matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct DenseCoupling {
    matrix: DMatrix<f64>,
}

impl DenseCoupling {
    /// From its `n × n` entries, row-major; only the lower triangle is read.
    ///
    /// # Panics
    /// If there are not `n²` entries.
    pub fn new(n: usize, entries: &[f64]) -> Self {
        assert_eq!(entries.len(), n * n, "a square matrix");
        Self { matrix: DMatrix::from_row_slice(n, n, entries) }
    }

    /// Its eigenvalues, smallest first.
    pub fn spectrum(&self) -> Vec<f64> {
        let mut values: Vec<f64> = self.matrix.symmetric_eigenvalues().iter().copied().collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// Its inverse, row-major, or `None` when it is not positive definite.
    pub fn inverse(&self) -> Option<Vec<f64>> {
        // A symmetric matrix reads the same by rows and by columns.
        self.cholesky().map(|factor| factor.inverse().as_slice().to_vec())
    }

    /// The logarithm of its determinant, or `None` when it is not positive definite.
    pub fn log_det(&self) -> Option<f64> {
        self.cholesky().map(|factor| 2.0 * factor.l_dirty().diagonal().iter().map(|d| d.ln()).sum::<f64>())
    }

    /// Its symmetric positive square root, row-major, or `None` when it is not positive definite.
    pub fn square_root(&self) -> Option<Vec<f64>> {
        let mut eigen = self.matrix.clone().symmetric_eigen();
        let positive = eigen.eigenvalues.iter().all(|&value| value > 0.0);
        eigen.eigenvalues.apply(|value| *value = value.sqrt());
        positive.then(|| eigen.recompose().as_slice().to_vec())
    }

    fn cholesky(&self) -> Option<Cholesky<f64, nalgebra::Dyn>> {
        Cholesky::new(self.matrix.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_by_two_in_closed_form() {
        // [[3, 1], [1, 3]] has eigenvalues 2 and 4 and inverse [[3, -1], [-1, 3]]/8.
        let coupling = DenseCoupling::new(2, &[3.0, 1.0, 1.0, 3.0]);
        for (found, exact) in coupling.spectrum().iter().zip([2.0, 4.0]) {
            assert!((found - exact).abs() < 1e-14);
        }
        for (found, exact) in coupling.inverse().unwrap().iter().zip([0.375, -0.125, -0.125, 0.375]) {
            assert!((found - exact).abs() < 1e-15);
        }
        assert!((coupling.log_det().unwrap() - 8f64.ln()).abs() < 1e-14);
        // Its square root has eigenvalues 2 and √2: (2 ± √2)/2.
        let (sum, difference) = (1.0 + 0.5f64.sqrt(), 1.0 - 0.5f64.sqrt());
        for (found, exact) in coupling.square_root().unwrap().iter().zip([sum, difference, difference, sum]) {
            assert!((found - exact).abs() < 1e-14);
        }
    }

    #[test]
    fn an_indefinite_matrix_has_neither_inverse_nor_log_det_nor_root() {
        let coupling = DenseCoupling::new(2, &[1.0, 2.0, 2.0, 1.0]);
        assert_eq!((coupling.inverse(), coupling.log_det(), coupling.square_root()), (None, None, None));
    }
}
