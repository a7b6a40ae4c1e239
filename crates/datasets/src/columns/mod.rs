//! From the columns of a table to coordinates that a flow learns easily, and back, with exact Jacobians.
//!
//! - [`Transform`]: what a column asks for, as text such as `logit(0, 1)` or `dequantise(1) tail`.
//! - [`plan`]: checks a table and chooses a transform for every column by stated rules.
//! - [`Preparation`]: the transforms fitted to training rows: noise, one map per column, and whitening; of columns
//!   given others, location and scale that depend on these.
//! - [`ColumnMap`], [`Columns`], [`Conditional`], [`Composed`]: the maps, each a [`Bijection`](crate::Bijection).
//!
//! ```
//! use datasets::columns::{Preparation, Whitening, plan};
//! use datasets::table::Table;
//! use datasets::Bijection;
//! let rows: Vec<f64> = (0..200).flat_map(|i| [(0.7 * f64::from(i)).sin(), f64::from(i % 7)]).collect();
//! let table = Table::new(&["angle", "count"], rows)?;
//! let plan = plan(&table, &[])?;
//! assert_eq!(plan.transforms[1].to_string(), "dequantise(1)");
//! let fitted = Preparation::fit(&table, &plan.transforms, Whitening::Full, 1)?;
//! let mut noisy = table.values().to_vec();
//! fitted.dequantisation.keyed(&mut noisy);
//! let mut y = noisy.clone();
//! let mut log_jacobians = vec![0.0; table.rows()];
//! fitted.bijection.forward(&mut y, &[], &mut log_jacobians); // ln p(x) = ln p(y) + log_jacobian
//! fitted.bijection.inverse(&mut y, &[], &mut log_jacobians);
//! assert!(y.iter().zip(&noisy).all(|(y, x)| (y - x).abs() < 1e-12));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
mod dependence;
mod dequantise;
mod error;
mod fit;
mod map;
mod plan;
mod quantile;
mod regression;
mod transform;

#[cfg(test)]
mod tests;

pub use dequantise::Dequantisation;
pub use error::{ColumnError, Outside};
pub use fit::{Preparation, Whitening};
pub use map::{ColumnMap, Columns, Composed};
pub use plan::{KURTOSIS_LIMIT, Plan, plan};
pub use quantile::Quantile;
pub use regression::{Conditional, LocationScale, Regression};
pub use transform::{InvalidTransform, MapKind, Transform};

use crate::moments::moments;

/// The fourth moment of the standardised values: 3 for a normal distribution. NaN for a constant.
pub(crate) fn kurtosis(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let (mean, deviation) = moments(values.clone());
    let count = values.clone().count() as f64;
    values.map(|x| ((x - mean) / deviation).powi(4)).sum::<f64>() / count
}

/// The middle of sorted values.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { 0.5 * (sorted[half - 1] + sorted[half]) }
}

/// Names in a sentence: the first few, and how many more.
pub(crate) fn list(names: &[&str]) -> String {
    shorten(&names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>())
}

/// Words in a sentence: the first few, and how many more.
pub(crate) fn shorten(words: &[String]) -> String {
    const SHOWN: usize = 8;
    match words.len().saturating_sub(SHOWN) {
        0 => words.join(", "),
        more => format!("{} and {more} more", words[..SHOWN].join(", ")),
    }
}
