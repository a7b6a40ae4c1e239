//! Maps of one column, of all columns side by side, and of maps one after the other.

use super::quantile::Quantile;
use crate::bijection::Bijection;

/// A fitted map of one column: strictly increasing, with its exact derivative.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum ColumnMap {
    /// `y = x`.
    None,
    /// `y = (x − mean)/deviation`.
    Standardise {
        /// Subtracted.
        mean: f64,
        /// Divided by; positive.
        deviation: f64,
    },
    /// `y = ln x`.
    Log,
    /// `y = ln((x − low)/(high − x))`.
    Logit {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// A smooth map to the normal distribution.
    Quantile(Quantile),
    /// `y = asinh((x − centre)/scale)`: linear near the centre, logarithmic far from it.
    Tail {
        /// Where y is 0.
        centre: f64,
        /// Where it turns from linear to logarithmic; positive.
        scale: f64,
    },
}

impl ColumnMap {
    /// Whether the map has a value at x.
    pub fn accepts(&self, x: f64) -> bool {
        match self {
            Self::Log => x > 0.0 && x.is_finite(),
            Self::Logit { low, high } => *low < x && x < *high,
            _ => x.is_finite(),
        }
    }

    /// `(y, ln dy/dx)` at x; y is NaN or infinite where the map [has no value](Self::accepts).
    pub fn apply(&self, x: f64) -> (f64, f64) {
        match self {
            Self::None => (x, 0.0),
            Self::Standardise { mean, deviation } => ((x - mean) / deviation, -deviation.ln()),
            Self::Log => (x.ln(), -x.ln()),
            Self::Logit { low, high } => {
                let (above, below) = ((x - low).ln(), (high - x).ln());
                (above - below, (high - low).ln() - above - below)
            }
            Self::Quantile(quantile) => quantile.forward(x),
            Self::Tail { centre, scale } => {
                let u = (x - centre) / scale;
                (u.asinh(), -scale.ln() - log_hypot(u))
            }
        }
    }

    /// `(x, ln dx/dy)` at y.
    pub fn invert(&self, y: f64) -> (f64, f64) {
        match self {
            Self::None => (y, 0.0),
            Self::Standardise { mean, deviation } => (mean + deviation * y, deviation.ln()),
            Self::Log => (y.exp(), y),
            Self::Logit { low, high } => {
                // From the nearer bound, so that the distance to it keeps its digits.
                let (near, far) = ((-y.abs()).exp(), (-y.abs()).exp().ln_1p());
                let part = (high - low) * near / (1.0 + near);
                (if y < 0.0 { low + part } else { high - part }, (high - low).ln() - y.abs() - 2.0 * far)
            }
            Self::Quantile(quantile) => quantile.inverse(y),
            Self::Tail { centre, scale } => (centre + scale * y.sinh(), scale.ln() + log_cosh(y)),
        }
    }
}

/// `ln √(1 + u²)`, without overflow.
fn log_hypot(u: f64) -> f64 {
    let u = u.abs();
    if u > 1.0 { u.ln() + 0.5 * (u.recip() * u.recip()).ln_1p() } else { 0.5 * (u * u).ln_1p() }
}

/// `ln cosh y`.
fn log_cosh(y: f64) -> f64 {
    y.abs() + (-2.0 * y.abs()).exp().ln_1p() - std::f64::consts::LN_2
}

/// One map for each column.
///
/// ```
/// use datasets::columns::{ColumnMap, Columns};
/// use datasets::Bijection;
/// let maps = Columns::new(vec![ColumnMap::Log, ColumnMap::Logit { low: 0.0, high: 1.0 }]);
/// let (mut row, mut log_jacobian) = ([1.0, 0.5], [0.0]);
/// maps.forward(&mut row, &[], &mut log_jacobian);
/// assert_eq!(row, [0.0, 0.0]);
/// assert!((log_jacobian[0] - 4f64.ln()).abs() < 1e-15);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    maps: Vec<ColumnMap>,
}

impl Columns {
    /// From the map of each column.
    pub fn new(maps: Vec<ColumnMap>) -> Self {
        Self { maps }
    }

    /// The map of each column.
    pub fn maps(&self) -> &[ColumnMap] {
        &self.maps
    }

    /// The row and the column (from 0) of the first value where its map has none.
    pub fn first_outside(&self, rows: &[f64]) -> Option<(usize, usize)> {
        let place = rows.iter().enumerate().position(|(at, x)| !self.maps[at % self.maps.len()].accepts(*x))?;
        Some((place / self.maps.len(), place % self.maps.len()))
    }

    fn each(&self, rows: &mut [f64], log_jacobians: &mut [f64], map: impl Fn(&ColumnMap, f64) -> (f64, f64)) {
        let n = self.maps.len();
        assert_eq!(rows.len(), n * log_jacobians.len(), "{n} numbers for every log-Jacobian");
        for (row, sum) in rows.chunks_exact_mut(n).zip(log_jacobians) {
            for (value, column) in row.iter_mut().zip(&self.maps) {
                let (mapped, log_slope) = map(column, *value);
                (*value, *sum) = (mapped, *sum + log_slope);
            }
        }
    }
}

impl Bijection for Columns {
    fn dimension(&self) -> usize {
        self.maps.len()
    }

    fn forward(&self, rows: &mut [f64], _context: &[f64], log_jacobians: &mut [f64]) {
        self.each(rows, log_jacobians, ColumnMap::apply);
    }

    fn inverse(&self, rows: &mut [f64], _context: &[f64], log_jacobians: &mut [f64]) {
        self.each(rows, log_jacobians, ColumnMap::invert);
    }

    fn constant_log_jacobian(&self) -> Option<f64> {
        self.maps.iter().try_fold(0.0, |sum, map| match map {
            ColumnMap::None => Some(sum),
            ColumnMap::Standardise { deviation, .. } => Some(sum - deviation.ln()),
            _ => None,
        })
    }
}

/// A table of one column.
impl Bijection for ColumnMap {
    fn dimension(&self) -> usize {
        1
    }

    fn forward(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]) {
        Columns::new(vec![self.clone()]).forward(rows, context, log_jacobians);
    }

    fn inverse(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]) {
        Columns::new(vec![self.clone()]).inverse(rows, context, log_jacobians);
    }

    fn constant_log_jacobian(&self) -> Option<f64> {
        Columns::new(vec![self.clone()]).constant_log_jacobian()
    }
}

/// Maps one after the other: the first is the nearest to the user's coordinates.
#[derive(Debug)]
pub struct Composed {
    maps: Vec<Box<dyn Bijection>>,
}

impl Composed {
    /// From maps of one dimension, all with the same context where they depend on one.
    ///
    /// # Panics
    /// If there is none, or their dimensions differ.
    pub fn new(maps: Vec<Box<dyn Bijection>>) -> Self {
        assert!(!maps.is_empty(), "at least one map");
        let dimension = maps[0].dimension();
        assert!(maps.iter().all(|map| map.dimension() == dimension), "maps of {dimension} numbers");
        Self { maps }
    }

    /// The maps, from the user's side.
    pub fn maps(&self) -> &[Box<dyn Bijection>] {
        &self.maps
    }
}

impl Bijection for Composed {
    fn dimension(&self) -> usize {
        self.maps[0].dimension()
    }

    fn context_dim(&self) -> usize {
        self.maps.iter().map(|map| map.context_dim()).max().unwrap_or_default()
    }

    fn forward(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]) {
        self.maps.iter().for_each(|map| map.forward(rows, context, log_jacobians));
    }

    fn inverse(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]) {
        self.maps.iter().rev().for_each(|map| map.inverse(rows, context, log_jacobians));
    }

    fn constant_log_jacobian(&self) -> Option<f64> {
        self.maps.iter().try_fold(0.0, |sum, map| map.constant_log_jacobian().map(|value| sum + value))
    }
}
