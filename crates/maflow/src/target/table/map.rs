//! The map from a table's units to a flow's coordinates, and the file in which a run keeps it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasets::columns::{
    ColumnMap, Columns, Conditional, Dequantisation, LocationScale, Preparation, Regression, Transform,
};
use datasets::table::{Column, Context, Kind, Storage, Table as Rows};
use datasets::{Bijection, Standardisation};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files::write_whole;
use crate::recipe::Whitening;

/// The columns of a table with their maps, fitted to training rows, and the columns that the density is conditional on.
#[derive(Debug, Clone)]
pub struct TableMap {
    columns: Vec<KeptColumn>,
    preparation: Arc<Preparation>,
    context: Context,
}

/// What a density is conditional on, of the rows that a map is fitted to.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// How its columns become numbers.
    pub context: &'a Context,
    /// These numbers, row by row.
    pub encoded: &'a [f64],
    /// What of the map depends on them.
    pub regression: Regression,
}

/// A column, as a run keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeptColumn {
    name: String,
    /// Whether its values are written as whole numbers.
    integer: bool,
    transform: String,
    map: ColumnMap,
}

/// `columns.toml` of a run.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Seed of the noise.
    seed: u64,
    columns: Vec<KeptColumn>,
    #[serde(default, skip_serializing_if = "no_context")]
    given: Context,
    /// Location and scale of every column in a context; empty where none depends on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    regression: Vec<LocationScale>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    whitening: Vec<Standardisation>,
}

fn no_context(context: &Context) -> bool {
    context.columns.is_empty()
}

/// All of it in one map.
#[derive(Debug)]
struct Whole(Arc<Preparation>);

impl Bijection for Whole {
    fn dimension(&self) -> usize {
        self.0.bijection.dimension()
    }

    fn context_dim(&self) -> usize {
        self.0.bijection.context_dim()
    }

    fn forward(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]) {
        self.0.bijection.forward(rows, context, log_jacobians);
    }

    fn inverse(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]) {
        self.0.bijection.inverse(rows, context, log_jacobians);
    }

    fn constant_log_jacobian(&self) -> Option<f64> {
        self.0.bijection.constant_log_jacobian()
    }
}

impl TableMap {
    /// Fits one transform to each column of rows; the density is unconditional. `seed` is that of the noise that
    /// figures see.
    ///
    /// # Errors
    /// Columns that a transform cannot be fitted to.
    pub fn fit(rows: &Rows, transforms: &[Transform], whitening: Whitening, seed: u64) -> Result<Self, Error> {
        let nothing = Given { context: &Context::default(), encoded: &[], regression: Regression::None };
        Self::fit_given(rows, transforms, nothing, whitening, seed)
    }

    /// The same for a density that is conditional on other columns of the rows.
    ///
    /// # Errors
    /// As [`TableMap::fit`]; columns that the others determine.
    pub fn fit_given(
        rows: &Rows,
        transforms: &[Transform],
        Given { context, encoded, regression }: Given<'_>,
        whitening: Whitening,
        seed: u64,
    ) -> Result<Self, Error> {
        let preparation = Preparation::fit_given(rows, transforms, (regression, encoded), whitening.into(), seed)?;
        let kept = |((column, transform), map): ((&Column, &Transform), &ColumnMap)| KeptColumn {
            name: column.name.clone(),
            integer: column.kind == Kind::Integer,
            transform: transform.to_string(),
            map: map.clone(),
        };
        let columns = rows.columns().iter().zip(transforms).zip(preparation.columns.maps()).map(kept).collect();
        Ok(Self { columns, preparation: Arc::new(preparation), context: context.clone() })
    }

    /// How the columns that the density is conditional on become numbers; of none where there are none.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Points and contexts of rows, in the user's units and encoded.
    ///
    /// # Errors
    /// Columns that are not there; values that no map takes; categories that are unknown.
    pub fn split(&self, rows: &Rows) -> Result<(Vec<f64>, Vec<f64>), Error> {
        let points = rows.select(&self.names())?;
        self.preparation.check(&points)?;
        Ok((points.values().to_vec(), self.context.encode(rows)?))
    }

    /// Refuses rows of these columns that the maps do not take: a density has no value there.
    ///
    /// # Errors
    /// [`Error::Argument`] with the first of them.
    pub fn require_inside(&self, points: &Rows) -> Result<(), Error> {
        let Some((row, column)) = self.preparation.columns.first_outside(points.values()) else { return Ok(()) };
        Err(Error::Argument(format!(
            "{}: row {} has {:?} = {}, where the density of the run is not defined ({}); leave the row out",
            points.file(),
            points.number(row),
            self.columns[column].name,
            points.row(row)[column],
            self.preparation.transforms()[column]
        )))
    }

    /// Numbers per row.
    pub fn dimension(&self) -> usize {
        self.columns.len()
    }

    /// Names of the columns, in the order of a row's numbers.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// The columns of rows in the user's units; whole numbers where the noise of whole steps is taken off.
    pub fn columns(&self) -> Vec<Column> {
        let whole = |transform: &Transform| transform.dequantise.is_some_and(|step| step.fract() == 0.0);
        let kinds = self.preparation.transforms().iter();
        let kinds = kinds.map(|transform| if whole(transform) { Kind::Integer } else { Kind::Real });
        let column = |(column, kind): (&KeptColumn, Kind)| Column {
            name: column.name.clone(),
            kind,
            storage: Storage::Float(8),
        };
        self.columns.iter().zip(kinds).map(column).collect()
    }

    /// Noise, maps and whitening.
    pub fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    /// From the user's units to the flow's coordinates.
    pub fn bijection(&self) -> Arc<dyn Bijection> {
        Arc::new(Whole(Arc::clone(&self.preparation)))
    }

    /// Rows in the user's units as a table; whole numbers where the data were.
    ///
    /// # Errors
    /// Numbers that are no rows.
    pub fn table(&self, mut rows: Vec<f64>) -> Result<Rows, Error> {
        self.preparation.dequantisation.quantise(&mut rows);
        Ok(Rows::new(&self.names(), rows)?)
    }

    fn file(run: &Path) -> PathBuf {
        run.join("columns.toml")
    }

    /// Keeps it in a run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, run: &Path) -> Result<(), Error> {
        let Preparation { dequantisation, conditional, whitening, .. } = &*self.preparation;
        let kept = Kept {
            seed: dequantisation.seed(),
            columns: self.columns.clone(),
            given: self.context.clone(),
            regression: conditional.as_ref().map(|map| map.columns().to_vec()).unwrap_or_default(),
            whitening: whitening.clone(),
        };
        let text =
            toml::to_string(&kept).map_err(|error| Error::Failed(format!("cannot write the columns: {error}")))?;
        write_whole(&Self::file(run), text.as_bytes())
    }

    /// The map that a run has kept.
    ///
    /// # Errors
    /// When it has none, or its file is damaged.
    pub fn read(run: &Path) -> Result<Self, Error> {
        let path = Self::file(run);
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let bad = |reason: String| Error::Unusable { path: path.clone(), reason };
        let kept: Kept = toml::from_str(&text).map_err(|error| bad(error.message().to_owned()))?;
        let transforms = kept.columns.iter().map(|column| column.transform.parse::<Transform>());
        let transforms = transforms.collect::<Result<Vec<_>, _>>().map_err(|error| bad(error.to_string()))?;
        let steps = transforms.iter().map(|transform| transform.dequantise).collect();
        if let Some(other) = kept.whitening.iter().find(|map| map.dimension() != kept.columns.len()) {
            return Err(bad(format!("it whitens {} columns, but has {}", other.dimension(), kept.columns.len())));
        }
        let conditional = match kept.regression.is_empty() {
            true => None,
            false => Some(Conditional::new(kept.regression).map_err(|error| bad(error.to_string()))?),
        };
        let found = conditional.as_ref().map(|map| (map.dimension(), map.context_dim()));
        let expected = (kept.columns.len(), kept.given.width());
        if let Some((columns, numbers)) = found.filter(|found| *found != expected) {
            return Err(bad(format!(
                "its regression is of {columns} columns on {numbers} numbers, but it has {} columns and {} numbers",
                expected.0, expected.1
            )));
        }
        let maps = Columns::new(kept.columns.iter().map(|column| column.map.clone()).collect());
        let noise = Dequantisation::new(steps, kept.seed);
        let preparation = Preparation::from_parts(noise, maps, conditional, kept.whitening, transforms);
        Ok(Self { columns: kept.columns, preparation: Arc::new(preparation), context: kept.given })
    }
}
