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
/// and scales see ten more rows for each number of c, so that a category of few rows stays near all others.
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
        if context.is_empty() {
            return Ok(None);
        }
        let scales = regression == Regression::LocationScale;
        let width = context.len() / count;
        let design = Design::new(context, width);
        // Nearly as many numbers of context as rows determine any column of them, which says nothing of the column.
        let enough = regression != Regression::None || 2 * width < count;
        let mut columns = Vec::new();
        for (column, name) in names.iter().enumerate() {
            let mut values: Vec<f64> = rows.iter().skip(column).step_by(n).copied().collect();
            let (mean, deviation) = moments(values.iter().copied());
            values.iter_mut().for_each(|x| *x = (*x - mean) / deviation);
            let determined = || ColumnError::Determined { column: (*name).to_owned() };
            if enough && is_determined(&design, &values) {
                return Err(determined());
            }
            if regression != Regression::None {
                let found = fit_column(&design, &values, scales).ok_or_else(determined)?;
                columns.push(in_units(found, mean, deviation));
            }
        }
        if columns.is_empty() { Ok(None) } else { Self::new(columns).map(Some) }
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

/// Pseudo-rows that the fit of scales adds to the data for every number of a context. In each of them that number alone
/// is one, and the square of the residual is the mean over all rows. Without them a category of few equal values gets a
/// scale under which another value costs hundreds of nats.
const ROWS_BESIDE: f64 = 10.0;
/// Ridge penalty: half of it times the square of every slope is taken off the log-likelihood. Without it the slopes of
/// one-hot categories, which sum to one, are not unique.
const SLOPES: f64 = 1.0;
/// The same penalty per row, in the regression that looks for columns which the context determines; and the standard
/// deviations that such a regression leaves of them at most.
const HARDLY: f64 = 1e-8;
const EXACT: f64 = 1e-7;
/// The mean of `ln χ²` of one degree of freedom, and the part of the mean square below which no logarithm is taken.
const MEAN_LOG_SQUARE: f64 = -1.270_362_845_461_478_2;
const LEAST_SQUARE: f64 = 1e-6;
/// Turns at most, and the gain of the log-likelihood per row that ends them.
const TURNS: usize = 100;
const GAIN: f64 = 1e-8;
/// How often a step that makes things worse is halved.
const HALVINGS: usize = 30;

/// The mean square of what a location leaves of values.
fn mean_square(design: &Design, values: &[f64], location: &[f64]) -> f64 {
    design.squares(values, location, 0.0).iter().sum::<f64>() / values.len() as f64
}

/// Whether values at zero mean and unit deviation are a linear function of the context.
fn is_determined(design: &Design, values: &[f64]) -> bool {
    let free = design.least_squares(values, &design.weights(|_| 1.0, 0.0), HARDLY * values.len() as f64);
    free.is_none_or(|free| {
        let left = mean_square(design, values, &free);
        left.is_nan() || left.sqrt() <= EXACT
    })
}

/// Coefficients for values at zero mean and unit deviation; `None` where their equations have no solution.
fn fit_column(design: &Design, values: &[f64], scales: bool) -> Option<LocationScale> {
    let (ones, rows) = (design.weights(|_| 1.0, 0.0), values.len() as f64);
    let mut location = design.least_squares(values, &ones, SLOPES)?;
    if !scales {
        return Some(LocationScale { location, log_scale: Vec::new(), bounds: None });
    }
    let beside = mean_square(design, values, &location);
    let likelihood = Likelihood { design, weights: design.weights(|_| 1.0, ROWS_BESIDE) };
    let information = design.gram(&design.weights(|_| 2.0, 2.0 * ROWS_BESIDE), SLOPES)?;
    let mut squares = design.squares(values, &location, beside);
    let mut log_scale = likelihood.first_scale(&information, &squares, LEAST_SQUARE * beside);
    let mut before = f64::NEG_INFINITY;
    for _ in 0..TURNS {
        log_scale = likelihood.scoring_step(&information, &squares, log_scale);
        let logs = design.linear(&log_scale);
        location = design.least_squares(values, &design.weights(|row| (-2.0 * logs[row]).exp(), 0.0), SLOPES)?;
        squares = design.squares(values, &location, beside);
        let now = likelihood.of(&squares, &log_scale) - penalty(&location);
        if now - before < GAIN * rows {
            break;
        }
        before = now;
    }
    let found = &design.linear(&log_scale)[..values.len()];
    let bounds = found.iter().fold([f64::MAX, f64::MIN], |[least, largest], log| [least.min(*log), largest.max(*log)]);
    Some(LocationScale { location, log_scale, bounds: Some(bounds) })
}

/// What is taken off the log-likelihood for slopes.
fn penalty(coefficients: &[f64]) -> f64 {
    0.5 * SLOPES * coefficients[1..].iter().map(|slope| slope * slope).sum::<f64>()
}

/// The contexts of a regression: those of the rows, and behind them every number on its own at one.
struct Design {
    context: Vec<f64>,
    width: usize,
    rows: usize,
}

impl Design {
    fn new(context: &[f64], width: usize) -> Self {
        let alone = (0..width * width).map(|place| f64::from(u8::from(place % (width + 1) == 0)));
        Self { context: context.iter().copied().chain(alone).collect(), width, rows: context.len() / width }
    }

    fn each(&self, mut row: impl FnMut(usize, &Terms)) {
        let mut nonzero = Terms::new();
        for (place, context) in self.context.chunks_exact(self.width).enumerate() {
            nonzero.clear();
            nonzero.extend(terms(context));
            row(place, &nonzero);
        }
    }

    /// A weight for every row, and one for each of those behind them.
    fn weights(&self, of_row: impl Fn(usize) -> f64, beside: f64) -> Vec<f64> {
        (0..self.rows).map(of_row).chain(std::iter::repeat_n(beside, self.width)).collect()
    }

    /// A linear function of every context.
    fn linear(&self, coefficients: &[f64]) -> Vec<f64> {
        let mut out = Vec::with_capacity(self.rows + self.width);
        self.each(|_, terms| out.push(linear(coefficients, terms)));
        out
    }

    /// Squares of what a location leaves of values, and a square for each of the rows behind them.
    fn squares(&self, values: &[f64], location: &[f64], beside: f64) -> Vec<f64> {
        let mut squares = self.linear(location);
        squares.iter_mut().zip(values).for_each(|(location, value)| *location = (value - *location).powi(2));
        squares[self.rows..].fill(beside);
        squares
    }

    /// The sum over rows of a value times the numbers g of the row, a one and its context.
    fn moments(&self, values: &[f64]) -> DVector<f64> {
        let mut out = DVector::zeros(1 + self.width);
        self.each(|row, terms| {
            // There may be fewer values than rows: the others count nothing.
            let value = values.get(row).copied().unwrap_or_default();
            out[0] += value;
            terms.iter().for_each(|(place, number)| out[1 + place] += value * number);
        });
        out
    }

    /// The Cholesky factor of `Σ weight · g gᵀ`, with `slopes` added on the diagonal for every slope.
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
}

/// The likelihood of squares under scales, with what counts beside the data.
struct Likelihood<'a> {
    design: &'a Design,
    weights: Vec<f64>,
}

impl Likelihood<'_> {
    /// Its logarithm, less what is taken off for slopes.
    fn of(&self, squares: &[f64], log_scale: &[f64]) -> f64 {
        let logs = self.design.linear(log_scale).into_iter().zip(squares);
        let terms = logs.zip(&self.weights).map(|((log, x), weight)| weight * (-log - 0.5 * x * (-2.0 * log).exp()));
        terms.sum::<f64>() - penalty(log_scale)
    }

    /// Where to begin: a regression of the logarithms of squares.
    fn first_scale(&self, information: &Cholesky<f64, Dyn>, squares: &[f64], least: f64) -> Vec<f64> {
        // A square of the data is that of a normal number, and its logarithm lower than that of its mean.
        let bias = |row: usize| if row < self.design.rows { MEAN_LOG_SQUARE } else { 0.0 };
        let logs = squares.iter().enumerate().map(|(row, x)| self.weights[row] * (x.max(least).ln() - bias(row)));
        information.solve(&self.design.moments(&logs.collect::<Vec<_>>())).as_slice().to_vec()
    }

    /// A step of Fisher scoring of the scale, halved until it makes nothing worse.
    fn scoring_step(&self, information: &Cholesky<f64, Dyn>, squares: &[f64], log_scale: Vec<f64>) -> Vec<f64> {
        let logs = self.design.linear(&log_scale).into_iter().zip(squares);
        let excess = logs.zip(&self.weights).map(|((log, x), weight)| weight * (x * (-2.0 * log).exp() - 1.0));
        let mut gradient = self.design.moments(&excess.collect::<Vec<_>>());
        gradient.iter_mut().zip(&log_scale).skip(1).for_each(|(by, slope)| *by -= SLOPES * slope);
        let mut step = information.solve(&gradient);
        let before = self.of(squares, &log_scale);
        for _ in 0..HALVINGS {
            let there: Vec<f64> = log_scale.iter().zip(&step).map(|(from, step)| from + step).collect();
            if self.of(squares, &there) >= before {
                return there;
            }
            step *= 0.5;
        }
        log_scale
    }
}
