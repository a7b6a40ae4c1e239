//! Affine maps that give data zero mean and unit scale: applied, inverted exactly, and accounted for by their Jacobian.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// Why there is no such map.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StandardisationError {
    /// A mean that is not finite, or a variance that is not finite and positive.
    #[error(
        "the data have a {what} of {value:e} in direction {direction}; standardisation needs finite means and \
         positive variances"
    )]
    Moment {
        /// Mean, variance or deviation.
        what: &'static str,
        /// Number of the coordinate, or of the principal direction.
        direction: usize,
        /// What was found.
        value: f64,
    },
    /// Numbers that do not belong together.
    #[error("a standardisation of {dimension} coordinates cannot have {found} {what}")]
    Shape {
        /// What there is too much or too little of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// Coordinates.
        dimension: usize,
    },
}

/// `y = S⁻¹(x − m)` on rows of N numbers, S symmetric and positive, with `ln |∂y/∂x| = −ln det S`.
///
/// With m and S² the mean and the covariance of x this is the Brenier map from the Gaussian of these moments to the
/// standard normal one: the one affine map that is the gradient of a convex function (Peyré and Cuturi,
/// arXiv:1803.00567, remark 2.31).
///
/// ```
/// use datasets::Standardisation;
/// let map = Standardisation::per_coordinate(vec![1.0, -2.0], vec![4.0, 0.25])?;
/// let mut row = [3.0, -1.0];
/// map.apply(&mut row);
/// assert_eq!(row, [1.0, 2.0]);
/// map.invert(&mut row);
/// assert_eq!(row, [3.0, -1.0]);
/// assert_eq!(map.log_jacobian(), 0.0);
/// # Ok::<(), datasets::StandardisationError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "Parts", into = "Parts"))]
pub struct Standardisation {
    mean: Vec<f64>,
    /// Square roots of the eigenvalues of S².
    deviations: Vec<f64>,
    full: Option<Full>,
}

/// A [`Standardisation`] as files have it.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Parts {
    mean: Vec<f64>,
    deviations: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    directions: Option<Vec<f64>>,
}

#[cfg(feature = "serde")]
impl From<Standardisation> for Parts {
    fn from(map: Standardisation) -> Self {
        let directions = map.directions().map(<[f64]>::to_vec);
        Self { mean: map.mean, deviations: map.deviations, directions }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Parts> for Standardisation {
    type Error = StandardisationError;

    fn try_from(Parts { mean, deviations, directions }: Parts) -> Result<Self, Self::Error> {
        Self::from_parts(mean, deviations, directions.as_deref())
    }
}

/// What S needs when it is not diagonal.
#[derive(Debug, Clone, PartialEq)]
struct Full {
    /// Orthonormal eigenvectors, one per column.
    directions: DMatrix<f64>,
    /// S.
    root: DMatrix<f64>,
    /// S⁻¹.
    inverse: DMatrix<f64>,
}

impl Full {
    fn new(directions: DMatrix<f64>, deviations: &[f64]) -> Self {
        let with = |f: &dyn Fn(f64) -> f64| {
            let scales = DVector::from_iterator(deviations.len(), deviations.iter().map(|d| f(*d)));
            &directions * DMatrix::from_diagonal(&scales) * directions.transpose()
        };
        let (root, inverse) = (with(&|d| d), with(&|d| 1.0 / d));
        Self { directions, root, inverse }
    }
}

impl Standardisation {
    /// The map that changes nothing, not even a bit.
    pub fn identity(dimension: usize) -> Self {
        Self { mean: vec![0.0; dimension], deviations: vec![1.0; dimension], full: None }
    }

    /// One mean and one variance for all coordinates: those of all numbers together, from the mean and the variance of
    /// each coordinate.
    ///
    /// # Errors
    /// Variances that are not positive, or not as many as means.
    pub fn scale(mean: &[f64], variance: &[f64]) -> Result<Self, StandardisationError> {
        let count = mean.len() as f64;
        let common = mean.iter().sum::<f64>() / count;
        let about_it = mean.iter().zip(variance).map(|(mean, variance)| variance + (mean - common).powi(2));
        let variances = vec![about_it.sum::<f64>() / count; variance.len()];
        Self::per_coordinate(vec![common; mean.len()], variances)
    }

    /// From the mean and the variance of each coordinate.
    ///
    /// # Errors
    /// Variances that are not positive, or not as many as means.
    pub fn per_coordinate(mean: Vec<f64>, variance: Vec<f64>) -> Result<Self, StandardisationError> {
        let deviations = variance.iter().map(|v| v.sqrt()).collect();
        check("variance", &variance, |v| v > 0.0)?;
        Self::from_parts(mean, deviations, None)
    }

    /// From the mean and the covariance (N × N, either order: it is symmetric).
    ///
    /// # Errors
    /// Eigenvalues that are not positive, or not N × N numbers.
    pub fn gaussian(mean: Vec<f64>, covariance: &[f64]) -> Result<Self, StandardisationError> {
        let dimension = mean.len();
        square(dimension, "numbers in its covariance", covariance)?;
        check("covariance", covariance, |_| true)?;
        let eigen = SymmetricEigen::new(DMatrix::from_column_slice(dimension, dimension, covariance));
        check("variance", eigen.eigenvalues.as_slice(), |v| v > 0.0)?;
        let deviations = eigen.eigenvalues.iter().map(|v| v.sqrt()).collect();
        Self::from_parts(mean, deviations, Some(eigen.eigenvectors.as_slice()))
    }

    /// From what [`mean`](Self::mean), [`deviations`](Self::deviations) and [`directions`](Self::directions) return.
    ///
    /// # Errors
    /// Deviations that are not positive, or numbers of another dimension.
    pub fn from_parts(
        mean: Vec<f64>,
        deviations: Vec<f64>,
        directions: Option<&[f64]>,
    ) -> Result<Self, StandardisationError> {
        let dimension = mean.len();
        if deviations.len() != dimension {
            let (what, found) = ("deviations", deviations.len());
            return Err(StandardisationError::Shape { what, found, dimension });
        }
        check("mean", &mean, |_| true)?;
        check("deviation", &deviations, |v| v > 0.0)?;
        let full = match directions {
            None => None,
            Some(directions) => {
                square(dimension, "numbers in its directions", directions)?;
                Some(Full::new(DMatrix::from_column_slice(dimension, dimension, directions), &deviations))
            }
        };
        Ok(Self { mean, deviations, full })
    }

    /// The number N of coordinates.
    pub fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// m.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Standard deviations: of the coordinates or, where there are [`directions`](Self::directions), along those.
    pub fn deviations(&self) -> &[f64] {
        &self.deviations
    }

    /// The principal directions, one after the other (N × N numbers), where S is not diagonal.
    pub fn directions(&self) -> Option<&[f64]> {
        self.full.as_ref().map(|full| full.directions.as_slice())
    }

    /// From x to y, in place, for any number of rows of N numbers.
    ///
    /// # Panics
    /// If the last row is not whole.
    pub fn apply(&self, rows: &mut [f64]) {
        assert_eq!(rows.len() % self.dimension(), 0, "rows of {} numbers", self.dimension());
        for row in rows.chunks_exact_mut(self.dimension()) {
            row.iter_mut().zip(&self.mean).for_each(|(x, mean)| *x -= mean);
        }
        match &self.full {
            Some(full) => multiply(&full.inverse, rows),
            None => {
                for row in rows.chunks_exact_mut(self.dimension()) {
                    row.iter_mut().zip(&self.deviations).for_each(|(x, deviation)| *x /= deviation);
                }
            }
        }
    }

    /// From y to x, in place, for any number of rows of N numbers.
    ///
    /// # Panics
    /// If the last row is not whole.
    pub fn invert(&self, rows: &mut [f64]) {
        self.pull_back(rows);
        for row in rows.chunks_exact_mut(self.dimension()) {
            row.iter_mut().zip(&self.mean).for_each(|(x, mean)| *x += mean);
        }
    }

    /// From derivatives by x to those by y, in place, for any number of rows of N numbers: S times each.
    ///
    /// # Panics
    /// If the last row is not whole.
    pub fn pull_back(&self, gradients: &mut [f64]) {
        assert_eq!(gradients.len() % self.dimension(), 0, "rows of {} numbers", self.dimension());
        match &self.full {
            Some(full) => multiply(&full.root, gradients),
            None => {
                for row in gradients.chunks_exact_mut(self.dimension()) {
                    row.iter_mut().zip(&self.deviations).for_each(|(g, deviation)| *g *= deviation);
                }
            }
        }
    }

    /// `ln |∂y/∂x| = −ln det S`: `ln p(x) = ln p(y) + ln |∂y/∂x|`.
    pub fn log_jacobian(&self) -> f64 {
        // 0 − 0 is +0, where the sum of no deviation but ones would be −0.
        0.0 - self.deviations.iter().map(|deviation| deviation.ln()).sum::<f64>()
    }
}

/// Every row times a symmetric matrix.
fn multiply(matrix: &DMatrix<f64>, rows: &mut [f64]) {
    // Rows one after the other are the columns of nalgebra's order.
    let columns = DMatrix::from_column_slice(matrix.nrows(), rows.len() / matrix.nrows(), rows);
    rows.copy_from_slice((matrix * columns).as_slice());
}

/// Whether all values are finite and as they should be.
fn check(what: &'static str, values: &[f64], good: impl Fn(f64) -> bool) -> Result<(), StandardisationError> {
    match values.iter().position(|v| !(v.is_finite() && good(*v))) {
        None => Ok(()),
        Some(direction) => Err(StandardisationError::Moment { what, direction, value: values[direction] }),
    }
}

fn square(dimension: usize, what: &'static str, numbers: &[f64]) -> Result<(), StandardisationError> {
    match numbers.len() == dimension * dimension {
        true => Ok(()),
        false => Err(StandardisationError::Shape { what, found: numbers.len(), dimension }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A covariance `BBᵀ + I/10` of n coordinates from n² numbers.
    fn covariance(numbers: &[f64]) -> Vec<f64> {
        let n = numbers.len().isqrt();
        let b = DMatrix::from_column_slice(n, n, numbers);
        (&b * b.transpose() + DMatrix::identity(n, n) * 0.1).as_slice().to_vec()
    }

    fn diagonal(covariance: &[f64]) -> Vec<f64> {
        let n = covariance.len().isqrt();
        (0..n).map(|i| covariance[i * n + i]).collect()
    }

    /// All kinds of maps from the same moments.
    fn maps(mean: &[f64], covariance: &[f64]) -> Vec<Standardisation> {
        let variance = diagonal(covariance);
        vec![
            Standardisation::scale(mean, &variance).unwrap(),
            Standardisation::per_coordinate(mean.to_vec(), variance).unwrap(),
            Standardisation::gaussian(mean.to_vec(), covariance).unwrap(),
        ]
    }

    fn normal_log_density(y: &[f64]) -> f64 {
        -0.5 * y.iter().map(|y| y * y + std::f64::consts::TAU.ln()).sum::<f64>()
    }

    proptest! {
        #[test]
        fn maps_are_undone_and_their_jacobian_is_that_of_differences(
            numbers in prop::collection::vec(-2.0..2.0f64, 16), mean in prop::collection::vec(-5.0..5.0f64, 4),
            x in prop::collection::vec(-10.0..10.0f64, 12),
        ) {
            for map in maps(&mean, &covariance(&numbers)) {
                let (mut y, n) = (x.clone(), mean.len());
                map.apply(&mut y);
                let mut back = y.clone();
                map.invert(&mut back);
                prop_assert!(back.iter().zip(&x).all(|(b, x)| (b - x).abs() < 1e-11), "{map:?}");
                // One column of the Jacobian per coordinate; differences of an affine map are exact up to round-off.
                let column = |i: usize| {
                    let at = |step: f64| {
                        let mut row = x[..n].to_vec();
                        row[i] += step;
                        map.apply(&mut row);
                        row
                    };
                    at(0.5).into_iter().zip(at(-0.5)).map(|(a, b)| a - b).collect::<Vec<_>>()
                };
                let jacobian = DMatrix::from_column_slice(n, n, &(0..n).flat_map(column).collect::<Vec<_>>());
                prop_assert!((&jacobian - jacobian.transpose()).amax() < 1e-11, "a gradient has a symmetric Jacobian");
                prop_assert!((jacobian.determinant().ln() - map.log_jacobian()).abs() < 1e-9);
                let parts = (map.mean().to_vec(), map.deviations().to_vec(), map.directions());
                prop_assert_eq!(&Standardisation::from_parts(parts.0, parts.1, parts.2).unwrap(), &map);
            }
        }

        /// ln p(x) of a Gaussian by its covariance's Cholesky factors, against that of the standard normal y and the
        /// Jacobian.
        #[test]
        fn a_gaussian_becomes_the_standard_normal_one(
            numbers in prop::collection::vec(-2.0..2.0f64, 16), x in prop::collection::vec(-10.0..10.0f64, 4),
        ) {
            let (covariance, mean) = (covariance(&numbers), [0.3, -1.0, 2.0, 0.0]);
            let map = Standardisation::gaussian(mean.to_vec(), &covariance).unwrap();
            let mut y = x.clone();
            map.apply(&mut y);
            let found = normal_log_density(&y) + map.log_jacobian();
            let factor = DMatrix::from_column_slice(4, 4, &covariance).cholesky().unwrap();
            let centred = DVector::from_iterator(4, x.iter().zip(mean).map(|(x, mean)| x - mean));
            let square = centred.dot(&factor.solve(&centred));
            let exact = -0.5 * (square + 4.0 * std::f64::consts::TAU.ln()) - factor.l().diagonal().map(f64::ln).sum();
            prop_assert!((found - exact).abs() < 1e-9 * exact.abs(), "{found}, exactly {exact}");
        }
    }

    #[test]
    fn the_common_scale_is_that_of_all_numbers_together() {
        // Numbers ±1 around 3 in one coordinate and ±2 around −1 in the other: mean 1, and squares about it 9, 1, 0,
        // 16.
        let map = Standardisation::scale(&[3.0, -1.0], &[1.0, 4.0]).unwrap();
        assert_eq!((map.mean(), map.deviations()), (&[1.0; 2][..], &[6.5f64.sqrt(); 2][..]));
    }

    #[test]
    fn the_identity_changes_no_bit() {
        let map = Standardisation::identity(3);
        let x = [1e-300, -0.1, 1e300];
        let mut y = x;
        map.apply(&mut y);
        assert_eq!(y, x);
        map.invert(&mut y);
        assert_eq!(y, x);
        assert_eq!(map.log_jacobian().to_bits(), 0.0f64.to_bits());
    }

    #[test]
    fn what_is_no_standardisation_is_refused() {
        for bad in [
            Standardisation::per_coordinate(vec![0.0; 2], vec![1.0, 0.0]),
            Standardisation::per_coordinate(vec![0.0; 2], vec![1.0, -1.0]),
            Standardisation::per_coordinate(vec![0.0; 2], vec![1.0; 3]),
            Standardisation::per_coordinate(vec![f64::NAN, 0.0], vec![1.0; 2]),
            Standardisation::scale(&[0.0; 2], &[1.0; 3]),
            Standardisation::gaussian(vec![0.0; 2], &[1.0, 2.0, 2.0, 1.0]),
            Standardisation::gaussian(vec![0.0; 2], &[1.0, f64::NAN, f64::NAN, 1.0]),
            Standardisation::gaussian(vec![0.0; 2], &[1.0; 3]),
            Standardisation::from_parts(vec![0.0; 2], vec![1.0; 2], Some(&[1.0; 3])),
        ] {
            assert!(bad.is_err(), "{bad:?}");
        }
    }
}
