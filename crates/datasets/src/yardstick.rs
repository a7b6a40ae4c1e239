//! Two simple densities, fitted to the rows that a flow is trained on: what it must beat to have learnt anything.

use nalgebra::{DMatrix, DVector};

use crate::columns::{ColumnError, Quantile};
use crate::standardise::Standardisation;

/// Mean and covariance (n × n, divided by the sum of weights) of rows of n numbers, with a weight for each row or none.
///
/// # Panics
/// If there are fewer weights than rows.
pub fn covariance(rows: &[f64], n: usize, weights: Option<&[f64]>) -> (Vec<f64>, Vec<f64>) {
    let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
    let total: f64 = (0..rows.len() / n).map(weight).sum();
    let mut mean = vec![0.0; n];
    for (row, values) in rows.chunks_exact(n).enumerate() {
        mean.iter_mut().zip(values).for_each(|(sum, x)| *sum += weight(row) * x / total);
    }
    let mut covariance = vec![0.0; n * n];
    let mut centred = vec![0.0; n];
    for (row, values) in rows.chunks_exact(n).enumerate() {
        centred.iter_mut().zip(values).zip(&mean).for_each(|((c, x), mean)| *c = x - mean);
        for i in 0..n {
            let scaled = weight(row) * centred[i] / total;
            covariance[i * n..=i * n + i].iter_mut().zip(&centred).for_each(|(sum, c)| *sum += scaled * c);
        }
    }
    for i in 0..n {
        for j in 0..i {
            covariance[j * n + i] = covariance[i * n + j];
        }
    }
    (mean, covariance)
}

/// Checks that there are rows, and a good weight for each.
fn check(rows: &[f64], columns: usize, weights: Option<&[f64]>) -> Result<(), ColumnError> {
    if columns == 0 || rows.is_empty() || !rows.len().is_multiple_of(columns) {
        return Err(ColumnError::Shape { what: "whole rows", expected: 1, found: 0 });
    }
    let Some(weights) = weights else { return Ok(()) };
    let expected = rows.len() / columns;
    if weights.len() != expected {
        return Err(ColumnError::Shape { what: "weights", expected, found: weights.len() });
    }
    let bad = weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0));
    match bad.or((weights.iter().sum::<f64>() == 0.0).then_some(0)) {
        Some(row) => Err(ColumnError::Weight { row: row + 1, value: weights[row] }),
        None => Ok(()),
    }
}

/// The mean over rows of `density`, by their weights where there are any.
fn mean(rows: &[f64], columns: usize, weights: Option<&[f64]>, density: impl Fn(&[f64]) -> f64) -> f64 {
    let densities = rows.chunks_exact(columns).map(density);
    match weights {
        Some(weights) => densities.zip(weights).map(|(d, w)| w * d).sum::<f64>() / weights.iter().sum::<f64>(),
        None => densities.sum::<f64>() / (rows.len() / columns) as f64,
    }
}

/// The normal distribution with the mean and the full covariance of the rows.
///
/// ```
/// use datasets::yardstick::Gaussian;
/// let rows = [1.0, 0.0, -1.0, 0.0, 0.0, 2.0, 0.0, -2.0];
/// let gaussian = Gaussian::fit(&rows, 2, None)?;
/// // Variances 1/2 and 2: at the mean the density is 1/(2π √(1/2 · 2)).
/// assert!((gaussian.log_density(&[0.0, 0.0]) + std::f64::consts::TAU.ln()).abs() < 1e-14);
/// # Ok::<(), datasets::columns::ColumnError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Gaussian {
    mean: Vec<f64>,
    /// Deviations of the columns: the covariance is that of columns divided by them.
    deviations: Vec<f64>,
    /// Lower Cholesky factor of the covariance.
    factor: DMatrix<f64>,
    /// ln of the density at the mean.
    peak: f64,
}

impl Gaussian {
    /// From rows of `columns` numbers, row-major, and a weight for each row or none.
    ///
    /// # Errors
    /// [`ColumnError::Shape`], [`ColumnError::Weight`], and [`ColumnError::Whitening`] where the covariance is
    /// singular.
    pub fn fit(rows: &[f64], columns: usize, weights: Option<&[f64]>) -> Result<Self, ColumnError> {
        check(rows, columns, weights)?;
        let means = covariance_diagonal(rows, columns, weights);
        let (mean, deviations): (Vec<f64>, Vec<f64>) = means.into_iter().unzip();
        // Scales first, so that columns of very different units keep their digits.
        let map = Standardisation::from_parts(mean.clone(), deviations.clone(), None)?;
        let mut scaled = rows.to_vec();
        map.apply(&mut scaled);
        let (_, covariance) = covariance(&scaled, columns, weights);
        let cholesky = DMatrix::from_column_slice(columns, columns, &covariance).cholesky();
        // Below this, a column is determined by others but for round-off.
        let regular = |factor: &DMatrix<f64>| factor.diagonal().iter().all(|d| *d > 1e-7);
        let factor = cholesky.map(|cholesky| cholesky.unpack()).filter(regular);
        let factor = factor.ok_or(ColumnError::Singular { columns })?;
        let log_det: f64 = factor.diagonal().iter().chain(&deviations).map(|d| d.ln()).sum();
        let peak = -0.5 * columns as f64 * std::f64::consts::TAU.ln() - log_det;
        Ok(Self { mean, deviations, factor, peak })
    }

    /// `ln p` of a row, in the units of the rows.
    ///
    /// # Panics
    /// If the row has another number of columns.
    pub fn log_density(&self, row: &[f64]) -> f64 {
        assert_eq!(row.len(), self.mean.len(), "a row of as many columns");
        let scaled =
            row.iter().zip(&self.mean).zip(&self.deviations).map(|((x, mean), deviation)| (x - mean) / deviation);
        let mut white = DVector::from_iterator(row.len(), scaled);
        // The diagonal of a Cholesky factor is positive.
        self.factor.solve_lower_triangular_mut(&mut white);
        self.peak - 0.5 * white.norm_squared()
    }

    /// The mean of `ln p` over rows, row-major, with a weight for each row or none.
    ///
    /// # Panics
    /// If the last row is not whole.
    pub fn mean_log_density(&self, rows: &[f64], weights: Option<&[f64]>) -> f64 {
        mean(rows, self.mean.len(), weights, |row| self.log_density(row))
    }
}

/// Mean and deviation of each column.
fn covariance_diagonal(rows: &[f64], n: usize, weights: Option<&[f64]>) -> Vec<(f64, f64)> {
    let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
    let total: f64 = (0..rows.len() / n).map(weight).sum();
    let moment = |column: usize| {
        let values = || rows.iter().skip(column).step_by(n).enumerate();
        let first = rows[column];
        // About the first value, so that large means cost no digits.
        let mean = first + values().map(|(row, x)| weight(row) * (x - first)).sum::<f64>() / total;
        (mean, (values().map(|(row, x)| weight(row) * (x - mean).powi(2)).sum::<f64>() / total).sqrt())
    };
    (0..n).map(moment).collect()
}

/// Independent columns, each with the density of its [`Quantile`] map to the normal distribution.
///
/// What a flow gains over it is what it knows of the dependence of columns; what it gains over a product of normal
/// distributions would be less telling.
#[derive(Debug, Clone)]
pub struct Independent {
    columns: Vec<Quantile>,
}

impl Independent {
    /// From rows of `columns` numbers, row-major, and a weight for each row or none.
    ///
    /// # Errors
    /// [`ColumnError::Shape`], [`ColumnError::Weight`], and [`ColumnError::NoSpread`] for a column of equal values.
    pub fn fit(rows: &[f64], columns: usize, weights: Option<&[f64]>) -> Result<Self, ColumnError> {
        check(rows, columns, weights)?;
        let fit = |column: usize| {
            let values: Vec<f64> = rows.iter().skip(column).step_by(columns).copied().collect();
            let none = || ColumnError::NoSpread { column: format!("x{column}"), transform: "quantile".to_owned() };
            Quantile::fit(&values, weights).ok_or_else(none)
        };
        Ok(Self { columns: (0..columns).map(fit).collect::<Result<_, _>>()? })
    }

    /// `ln p` of a row, in the units of the rows.
    ///
    /// # Panics
    /// If the row has another number of columns.
    pub fn log_density(&self, row: &[f64]) -> f64 {
        assert_eq!(row.len(), self.columns.len(), "a row of as many columns");
        let column = |(x, map): (&f64, &Quantile)| {
            let (y, log_slope) = map.forward(*x);
            log_slope - 0.5 * (y * y + std::f64::consts::TAU.ln())
        };
        row.iter().zip(&self.columns).map(column).sum()
    }

    /// The mean of `ln p` over rows, row-major, with a weight for each row or none.
    ///
    /// # Panics
    /// If the last row is not whole.
    pub fn mean_log_density(&self, rows: &[f64], weights: Option<&[f64]>) -> f64 {
        mean(rows, self.columns.len(), weights, |row| self.log_density(row))
    }
}

#[cfg(test)]
mod tests;
