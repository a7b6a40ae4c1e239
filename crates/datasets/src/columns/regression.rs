//! Location and scale of columns that depend on a context, found by regression.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use super::ColumnError;
use crate::bijection::Bijection;
use crate::moments::moments;

/// What of the columns depends on the context of a conditional density.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Regression {
    /// Nothing.
    #[default]
    None,
    /// Their location.
    Location,
    /// Their location and their scale.
    LocationScale,
}

/// The location of a column, linear in a context c, and the logarithm of its scale, likewise within bounds.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LocationScale {
    /// The location where c is zero, and its slope by each number of c.
    pub location: Vec<f64>,
    /// The same of the logarithm of the scale; empty where that is zero in every context.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub log_scale: Vec<f64>,
    /// The least and the largest logarithm of the scale of training rows: it stays within them in any other context,
    /// where its exponential could be anything.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub bounds: Option<[f64; 2]>,
}

/// The numbers of a row of context that are not zero, with their places: one-hot categories are mostly zeros.
type Terms = Vec<(usize, f64)>;

fn terms(context: &[f64]) -> impl Iterator<Item = (usize, f64)> {
    context.iter().copied().enumerate().filter(|(_, value)| *value != 0.0)
}

/// The first coefficient, and the others times the numbers of a context.
fn linear(coefficients: &[f64], terms: &Terms) -> f64 {
    coefficients[0] + terms.iter().map(|(place, value)| coefficients[1 + place] * value).sum::<f64>()
}

impl LocationScale {
    /// Location and logarithm of the scale in a context.
    fn at(&self, terms: &Terms) -> (f64, f64) {
        let log_scale = if self.log_scale.is_empty() { 0.0 } else { linear(&self.log_scale, terms) };
        let log_scale = self.bounds.map_or(log_scale, |[least, largest]| log_scale.max(least).min(largest));
        (linear(&self.location, terms), log_scale)
    }

    fn numbers(&self) -> impl Iterator<Item = &f64> {
        self.location.iter().chain(&self.log_scale).chain(self.bounds.iter().flatten())
    }
}

/// `y = (x − m(c))/s(c)` for every column, with `ln |∂y/∂x| = −Σ ln s(c)`.
///
/// m and ln s are linear in c, found by maximum likelihood of normal columns that are independent of each other: a
/// heteroscedastic regression (Harvey, Econometrica 44, 461 (1976)), by turns of weighted least squares and a step of
/// Fisher scoring. With columns at unit deviation the squares of all slopes, halved, are taken off the log-likelihood,
/// so that a category of few rows stays near all others.
///
/// ```
/// use datasets::Bijection;
/// use datasets::columns::{Conditional, LocationScale};
/// let column = LocationScale { location: vec![1.0, 2.0], log_scale: vec![0.0, 1.0], bounds: Some([-1.0, 1.0]) };
/// let map = Conditional::new(vec![column])?;
/// let (mut rows, mut log_jacobians) = ([3.0, 3.0], [0.0; 2]);
/// map.forward(&mut rows, &[0.0, 1.0], &mut log_jacobians); // a number of context for each row
/// assert_eq!((rows, log_jacobians), ([2.0, 0.0], [0.0, -1.0]));
/// # Ok::<(), datasets::columns::ColumnError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Conditional {
    columns: Vec<LocationScale>,
    context_dim: usize,
}

impl Conditional {
    /// From location and scale of each column.
    ///
    /// # Errors
    /// [`ColumnError::Shape`] where they depend on contexts of different widths, [`ColumnError::Coefficients`] where
    /// numbers are not finite.
    pub fn new(columns: Vec<LocationScale>) -> Result<Self, ColumnError> {
        let width = columns.first().map_or(0, |column| column.location.len());
        if width == 0 {
            return Err(ColumnError::Shape { what: "coefficients of a location", expected: 1, found: 0 });
        }
        for column in &columns {
            let scales = Some(column.log_scale.len()).filter(|scales| *scales > 0);
            let mut lengths = [column.location.len()].into_iter().chain(scales);
            if let Some(found) = lengths.find(|length| *length != width) {
                return Err(ColumnError::Shape { what: "coefficients", expected: width, found });
            }
        }
        match columns.iter().position(|column| column.numbers().any(|number| !number.is_finite())) {
            Some(column) => Err(ColumnError::Coefficients { column }),
            None => Ok(Self { columns, context_dim: width - 1 }),
        }
    }

    /// Fits them to rows of columns of these names, row-major, and the contexts of the rows; `None` where nothing is to
    /// depend on these.
    ///
    /// # Errors
    /// [`ColumnError::Determined`] for a column that is a linear function of the context.
    pub fn fit(
        regression: Regression,
        rows: &[f64],
        names: &[&str],
        context: &[f64],
    ) -> Result<Option<Self>, ColumnError> {
        let (n, count) = (names.len(), rows.len() / names.len());
        if regression == Regression::None || context.is_empty() {
            return Ok(None);
        }
        let scales = regression == Regression::LocationScale;
        let design = Design { context, width: context.len() / count };
        let column = |column: usize| {
            let mut values: Vec<f64> = rows.iter().skip(column).step_by(n).copied().collect();
            let (mean, deviation) = moments(values.iter().copied());
            values.iter_mut().for_each(|x| *x = (*x - mean) / deviation);
            let determined = || ColumnError::Determined { column: names[column].to_owned() };
            let found = fit_column(&design, &values, scales).ok_or_else(determined)?;
            Ok::<_, ColumnError>(in_units(found, mean, deviation))
        };
        Self::new((0..n).map(column).collect::<Result<_, _>>()?).map(Some)
    }

    /// Location and scale of each column.
    pub fn columns(&self) -> &[LocationScale] {
        &self.columns
    }

    fn each(
        &self,
        rows: &mut [f64],
        context: &[f64],
        log_jacobians: &mut [f64],
        map: impl Fn(f64, (f64, f64)) -> (f64, f64),
    ) {
        let (n, k, count) = (self.columns.len(), self.context_dim, log_jacobians.len());
        assert_eq!((rows.len(), context.len()), (n * count, k * count), "{n} numbers and {k} of context for every row");
        let mut nonzero = Terms::new();
        for (place, (row, sum)) in rows.chunks_exact_mut(n).zip(log_jacobians).enumerate() {
            nonzero.clear();
            nonzero.extend(terms(&context[place * k..][..k]));
            for (value, column) in row.iter_mut().zip(&self.columns) {
                let (mapped, log_slope) = map(*value, column.at(&nonzero));
                (*value, *sum) = (mapped, *sum + log_slope);
            }
        }
    }
}

impl Bijection for Conditional {
    fn dimension(&self) -> usize {
        self.columns.len()
    }

    fn context_dim(&self) -> usize {
        self.context_dim
    }

    fn forward(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]) {
        self.each(rows, context, log_jacobians, |x, (location, log_scale)| {
            ((x - location) * (-log_scale).exp(), -log_scale)
        });
    }

    fn inverse(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]) {
        self.each(rows, context, log_jacobians, |y, (location, log_scale)| (location + y * log_scale.exp(), log_scale));
    }

    fn constant_log_jacobian(&self) -> Option<f64> {
        self.columns.iter().all(|column| column.log_scale.is_empty()).then_some(0.0)
    }
}

/// From a column at zero mean and unit deviation to its own units.
fn in_units(mut of: LocationScale, mean: f64, deviation: f64) -> LocationScale {
    of.location.iter_mut().for_each(|coefficient| *coefficient *= deviation);
    of.location[0] += mean;
    if let Some(first) = of.log_scale.first_mut() {
        *first += deviation.ln();
        of.bounds.iter_mut().flatten().for_each(|bound| *bound += deviation.ln());
    }
    of
}

/// A part of the mean square that every square is raised by, so that a category whose values are equal keeps a scale.
const LEAST_SQUARE: f64 = 1e-6;
/// What is left of a column that the context determines is at most so many deviations.
const EXACT: f64 = 1e-7;
/// The part of the number of rows that takes the place of [`SLOPES`] when that is looked for: categories follow from each
/// other.
const HARDLY: f64 = 1e-8;
/// What is taken off for the square of every slope, twice.
const SLOPES: f64 = 1.0;
/// The mean of `ln χ²` of one degree of freedom.
const MEAN_LOG_SQUARE: f64 = -1.270_362_845_461_478_2;
/// Turns at most, and the gain of the log-likelihood per row that ends them.
const TURNS: usize = 200;
const GAIN: f64 = 1e-10;
/// How often a step that makes things worse is halved.
const HALVINGS: usize = 30;

/// Coefficients for values at zero mean and unit deviation; `None` where the context determines these.
fn fit_column(design: &Design<'_>, values: &[f64], scales: bool) -> Option<LocationScale> {
    let (ones, rows) = (vec![1.0; values.len()], values.len() as f64);
    let free = design.least_squares(values, &ones, HARDLY * rows)?;
    let mean_square = design.squares(values, &free).iter().sum::<f64>() / rows;
    if mean_square.is_nan() || mean_square.sqrt() <= EXACT {
        return None;
    }
    let mut location = design.least_squares(values, &ones, SLOPES)?;
    if !scales {
        return Some(LocationScale { location, log_scale: Vec::new(), bounds: None });
    }
    let information = design.gram(&vec![2.0; values.len()], SLOPES)?;
    let floor = LEAST_SQUARE * mean_square;
    let raised = |location: &[f64]| -> Vec<f64> {
        design.squares(values, location).into_iter().map(|square| square + floor).collect()
    };
    let mut squares = raised(&location);
    let logarithms: Vec<f64> = squares.iter().map(|square| square.ln() - MEAN_LOG_SQUARE).collect();
    // Half of what a regression of ln x² finds: twice the information on both sides.
    let mut log_scale: Vec<f64> = information.solve(&design.moments(&logarithms)).as_slice().to_vec();
    let mut before = f64::NEG_INFINITY;
    for _ in 0..TURNS {
        log_scale = design.scoring_step(&information, &squares, log_scale);
        let weights: Vec<f64> = design.linear(&log_scale).into_iter().map(|log| (-2.0 * log).exp()).collect();
        location = design.least_squares(values, &weights, SLOPES)?;
        squares = raised(&location);
        let now = design.log_likelihood(&squares, &log_scale) - penalty(&location);
        if now - before < GAIN * rows {
            break;
        }
        before = now;
    }
    let found = design.linear(&log_scale);
    let bounds = found.iter().fold([f64::MAX, f64::MIN], |[least, largest], log| [least.min(*log), largest.max(*log)]);
    Some(LocationScale { location, log_scale, bounds: Some(bounds) })
}

/// What is taken off the log-likelihood for slopes.
fn penalty(coefficients: &[f64]) -> f64 {
    0.5 * SLOPES * coefficients[1..].iter().map(|slope| slope * slope).sum::<f64>()
}

/// Rows of a regression: a one and the numbers of a context.
struct Design<'a> {
    context: &'a [f64],
    width: usize,
}

impl Design<'_> {
    fn each(&self, mut row: impl FnMut(usize, &Terms)) {
        let mut nonzero = Terms::new();
        for (place, context) in self.context.chunks_exact(self.width).enumerate() {
            nonzero.clear();
            nonzero.extend(terms(context));
            row(place, &nonzero);
        }
    }

    /// A linear function of every row's context.
    fn linear(&self, coefficients: &[f64]) -> Vec<f64> {
        let mut out = Vec::with_capacity(self.context.len() / self.width);
        self.each(|_, terms| out.push(linear(coefficients, terms)));
        out
    }

    /// Squares of what a location leaves.
    fn squares(&self, values: &[f64], location: &[f64]) -> Vec<f64> {
        self.linear(location).into_iter().zip(values).map(|(location, value)| (value - location).powi(2)).collect()
    }

    /// The sum over rows of a value times the numbers of the row.
    fn moments(&self, values: &[f64]) -> DVector<f64> {
        let mut out = DVector::zeros(1 + self.width);
        self.each(|row, terms| {
            out[0] += values[row];
            terms.iter().for_each(|(place, number)| out[1 + place] += values[row] * number);
        });
        out
    }

    /// The factor of `Σ weight · g gᵀ` of the numbers g of rows, with so much more for the square of every slope.
    fn gram(&self, weights: &[f64], slopes: f64) -> Option<Cholesky<f64, Dyn>> {
        let mut out = DMatrix::zeros(1 + self.width, 1 + self.width);
        self.each(|row, terms| {
            let weight = weights[row];
            out[(0, 0)] += weight;
            for (i, (place, number)) in terms.iter().enumerate() {
                out[(1 + place, 0)] += weight * number;
                // The lower half alone, which the factor is made of.
                terms[..=i].iter().for_each(|(other, by)| out[(1 + place, 1 + other)] += weight * number * by);
            }
        });
        (1..=self.width).for_each(|slope| out[(slope, slope)] += slopes);
        out.cholesky()
    }

    /// The location of least weighted squares.
    fn least_squares(&self, values: &[f64], weights: &[f64], slopes: f64) -> Option<Vec<f64>> {
        let weighted: Vec<f64> = values.iter().zip(weights).map(|(value, weight)| value * weight).collect();
        Some(self.gram(weights, slopes)?.solve(&self.moments(&weighted)).as_slice().to_vec())
    }

    /// The log-likelihood of squares under scales, less what is taken off for their slopes.
    fn log_likelihood(&self, squares: &[f64], log_scale: &[f64]) -> f64 {
        let of_row = |(log, square): (f64, &f64)| -log - 0.5 * square * (-2.0 * log).exp();
        self.linear(log_scale).into_iter().zip(squares).map(of_row).sum::<f64>() - penalty(log_scale)
    }

    /// A step of Fisher scoring of the scale, halved until it makes nothing worse.
    fn scoring_step(&self, information: &Cholesky<f64, Dyn>, squares: &[f64], log_scale: Vec<f64>) -> Vec<f64> {
        let excess = self.linear(&log_scale).into_iter().zip(squares).map(|(log, x)| x * (-2.0 * log).exp() - 1.0);
        let mut gradient = self.moments(&excess.collect::<Vec<_>>());
        gradient.iter_mut().zip(&log_scale).skip(1).for_each(|(by, slope)| *by -= SLOPES * slope);
        let mut step = information.solve(&gradient);
        let before = self.log_likelihood(squares, &log_scale);
        for _ in 0..HALVINGS {
            let there: Vec<f64> = log_scale.iter().zip(&step).map(|(from, step)| from + step).collect();
            if self.log_likelihood(squares, &there) >= before {
                return there;
            }
            step *= 0.5;
        }
        log_scale
    }
}
