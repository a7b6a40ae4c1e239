//! Transforms fitted to training rows: noise, one map per column, and whitening.

use super::plan::check_values;
use super::{
    ColumnError, ColumnMap, Columns, Composed, Conditional, Dequantisation, MapKind, Quantile, Regression, Transform,
    median, moments,
};
use crate::bijection::Bijection;
use crate::standardise::Standardisation;
use crate::table::Table;

/// What follows the maps of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Whitening {
    /// Nothing.
    None,
    /// Zero mean and unit deviation of each column.
    Columns,
    /// The same, then zero correlation of columns, by the symmetric square root of their covariance.
    Full,
}

/// All that lies between the values of a user and the coordinates of a flow.
#[derive(Debug)]
pub struct Preparation {
    /// Noise that is added first.
    pub dequantisation: Dequantisation,
    /// The map of each column.
    pub columns: Columns,
    /// Location and scale that depend on a context, where any do.
    pub conditional: Option<Conditional>,
    /// What follows: nothing, one, or two standardisations.
    pub whitening: Vec<Standardisation>,
    /// All of these maps as one.
    pub bijection: Composed,
    transforms: Vec<Transform>,
}

impl Preparation {
    /// Fits one transform for each column to the rows of a table. `seed` is that of the noise.
    ///
    /// # Errors
    /// [`ColumnError::Shape`], [`ColumnError::Outside`], [`ColumnError::NoSpread`] and [`ColumnError::Whitening`].
    pub fn fit(table: &Table, transforms: &[Transform], whitening: Whitening, seed: u64) -> Result<Self, ColumnError> {
        Self::fit_given(table, transforms, (Regression::None, &[]), whitening, seed)
    }

    /// The same of columns whose location and scale may depend on the context of every row, given row by row: after the
    /// transforms, before the whitening.
    ///
    /// # Errors
    /// As [`Preparation::fit`]; [`ColumnError::Determined`].
    pub fn fit_given(
        table: &Table,
        transforms: &[Transform],
        (regression, context): (Regression, &[f64]),
        whitening: Whitening,
        seed: u64,
    ) -> Result<Self, ColumnError> {
        let n = table.columns().len();
        if transforms.len() != n {
            return Err(ColumnError::Shape { what: "transforms", expected: n, found: transforms.len() });
        }
        for (column, transform) in transforms.iter().enumerate() {
            check_values(table, column, *transform)?;
        }
        let dequantisation =
            Dequantisation::new(transforms.iter().map(|transform| transform.dequantise).collect(), seed);
        let mut rows = table.values().to_vec();
        dequantisation.keyed(&mut rows);
        let map = |(column, transform): (usize, &Transform)| {
            let values: Vec<f64> = rows.iter().skip(column).step_by(n).copied().collect();
            fit_map(&values, transform.map).ok_or_else(|| ColumnError::NoSpread {
                column: table.names()[column].to_owned(),
                transform: transform.to_string(),
            })
        };
        let columns = Columns::new(transforms.iter().enumerate().map(map).collect::<Result<_, _>>()?);
        let mut unused = vec![0.0; table.rows()];
        columns.forward(&mut rows, &[], &mut unused);
        let conditional = Conditional::fit(regression, &rows, &table.names(), context)?;
        if let Some(conditional) = &conditional {
            conditional.forward(&mut rows, context, &mut unused);
        }
        let whitening = whiten(&mut rows, n, whitening)?;
        Ok(Self::from_parts(dequantisation, columns, conditional, whitening, transforms.to_vec()))
    }

    /// From parts that were fitted before.
    ///
    /// # Panics
    /// If they are not all of one dimension.
    pub fn from_parts(
        dequantisation: Dequantisation,
        columns: Columns,
        conditional: Option<Conditional>,
        whitening: Vec<Standardisation>,
        transforms: Vec<Transform>,
    ) -> Self {
        assert_eq!(dequantisation.steps().len(), columns.dimension(), "a step or none for each column");
        assert_eq!(transforms.len(), columns.dimension(), "a transform for each column");
        let mut maps: Vec<Box<dyn Bijection>> = vec![Box::new(columns.clone())];
        maps.extend(conditional.iter().map(|map| Box::new(map.clone()) as Box<dyn Bijection>));
        maps.extend(whitening.iter().map(|map| Box::new(map.clone()) as Box<dyn Bijection>));
        Self { dequantisation, columns, conditional, whitening, bijection: Composed::new(maps), transforms }
    }

    /// The transforms that were fitted.
    pub fn transforms(&self) -> &[Transform] {
        &self.transforms
    }

    /// Checks other rows of the same columns: every value must be one that its map takes.
    ///
    /// # Errors
    /// [`ColumnError::Shape`] and [`ColumnError::Outside`].
    pub fn check(&self, table: &Table) -> Result<(), ColumnError> {
        let (expected, found) = (self.transforms.len(), table.columns().len());
        if expected != found {
            return Err(ColumnError::Shape { what: "columns", expected, found });
        }
        (0..found).try_for_each(|column| check_values(table, column, self.transforms[column]))
    }
}

/// The map of a column, or nothing where its values have no spread.
fn fit_map(values: &[f64], kind: MapKind) -> Option<ColumnMap> {
    Some(match kind {
        MapKind::None => ColumnMap::None,
        MapKind::Log => ColumnMap::Log,
        MapKind::Logit { low, high } => ColumnMap::Logit { low, high },
        MapKind::Quantile => ColumnMap::Quantile(Quantile::fit(values, None)?),
        MapKind::Standardise => {
            let (mean, deviation) = moments(values.iter().copied());
            (deviation > 0.0 && deviation.is_finite()).then_some(ColumnMap::Standardise { mean, deviation })?
        }
        MapKind::Tail => {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            let centre = median(&sorted);
            let mut distances: Vec<f64> = sorted.iter().map(|x| (x - centre).abs()).collect();
            distances.sort_by(f64::total_cmp);
            // Where more than half of the values are equal, the mean distance.
            let scale = match median(&distances) {
                0.0 => distances.iter().sum::<f64>() / distances.len() as f64,
                scale => scale,
            };
            (scale > 0.0 && scale.is_finite()).then_some(ColumnMap::Tail { centre, scale })?
        }
    })
}

/// Fits the whitening to rows, and applies it to them.
fn whiten(rows: &mut [f64], n: usize, whitening: Whitening) -> Result<Vec<Standardisation>, ColumnError> {
    if whitening == Whitening::None {
        return Ok(vec![]);
    }
    // Scales first: a covariance of columns of 1e12 and 1e-9 has no digits left for the small ones.
    let each: Vec<(f64, f64)> = (0..n).map(|column| moments(rows.iter().skip(column).step_by(n).copied())).collect();
    let (means, deviations) = each.into_iter().unzip();
    let scales = Standardisation::from_parts(means, deviations, None)?;
    scales.apply(rows);
    if whitening == Whitening::Columns || n == 1 {
        return Ok(vec![scales]);
    }
    let covariance = crate::yardstick::covariance(rows, n, None).1;
    let full = Standardisation::gaussian(vec![0.0; n], &covariance)?;
    full.apply(rows);
    Ok(vec![scales, full])
}
