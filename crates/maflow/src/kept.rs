//! What a run keeps of its data: the maps to the flow's coordinates that were found from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasets::columns::Dequantisation;
use datasets::table::{Categories, Context};
use datasets::{Bijection, Standardisation};
use flow_core::RngKey;

use crate::error::Error;
use crate::recipe::{Recipe, TargetKind};
use crate::standardisation;
use crate::target::{Parts, Table, TableMap, Target, temperatures};

/// The maps of a run.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The standardisation of pictures; the identity where there is none.
    pub standardisation: Standardisation,
    /// The columns of a table.
    pub table: Option<TableMap>,
    /// The folder of a table's rows, where the run keeps them and no file has them.
    pub rows: Option<PathBuf>,
}

impl Kept {
    /// Reads them.
    ///
    /// # Errors
    /// When they are not what the recipe says, or a file is damaged.
    pub fn read(run: &Path, recipe: &Recipe) -> Result<Self, Error> {
        let standardisation = standardisation::read(run, recipe)?;
        let table = match &recipe.target {
            TargetKind::Table(_) => Some(TableMap::read(run)?),
            _ => None,
        };
        Ok(Self { standardisation, rows: table.as_ref().and_then(|_| Parts::folder(run)), table })
    }

    /// Numbers of context per row of the recipe's target.
    pub fn context_dim(&self, recipe: &Recipe) -> usize {
        match (&self.table, &recipe.target) {
            (Some(table), _) => table.context().width(),
            (None, TargetKind::Own(own)) => own.context,
            (None, target) => usize::from(target.temperatures().is_some()),
        }
    }

    /// The columns that the density is conditional on, and how they become its context: those of a table, or the
    /// temperature. None of other densities, and of a target of a caller's own, whose contexts have no names.
    pub fn context(&self, recipe: &Recipe) -> Context {
        match (&self.table, recipe.target.temperatures()) {
            (Some(table), _) => table.context().clone(),
            (None, Some(_)) => {
                let column = "temperature".to_owned();
                Context { columns: vec![Categories::Number { column, mean: 0.0, deviation: 1.0 }] }
            }
            (None, None) => Context::default(),
        }
    }

    /// Contexts like those of the data, `rows × k` row by row: numbers of zero mean and unit scale, and all categories
    /// equally often; temperatures from the whole of a range.
    pub fn typical_context(&self, recipe: &Recipe, rows: usize, key: RngKey) -> Vec<f64> {
        if let Some(ends) = recipe.target.temperatures() {
            return temperatures(ends, key, 0..rows);
        }
        let width = self.context_dim(recipe);
        // Other numbers than those of the base.
        let normals = key.rows_from(rows).normals(0..rows, width);
        match &self.table {
            Some(table) => table.context().typical(normals),
            None => normals,
        }
    }

    /// Keeps those of a target in a run.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(run: &Path, recipe: &Recipe, target: &dyn Target) -> Result<(), Error> {
        standardisation::write(run, recipe, target)?;
        match (&recipe.target, target.table()) {
            (TargetKind::Table(_), Some(table)) => table.keep(run),
            _ => Ok(()),
        }
    }
}

/// How a user's numbers become those of a flow, and back.
#[derive(Debug, Clone, Default)]
pub struct Units {
    /// Noise that makes a density of values that are steps, before the map.
    pub noise: Option<Dequantisation>,
    /// The map; none where the coordinates are the same.
    pub map: Option<Arc<dyn Bijection>>,
}

impl Units {
    /// Those of a target.
    pub fn of(target: &dyn Target) -> Self {
        Self { noise: target.table().map(Table::noise).cloned(), map: target.bijection() }
    }

    /// From a user's rows of n numbers to a flow's, in place, with the context of each where a density is conditional;
    /// with `ln |∂y/∂x|` of each.
    pub fn to_flow(&self, rows: &mut [f64], context: &[f64], n: usize) -> Vec<f64> {
        let mut log_jacobians = vec![0.0; rows.len() / n];
        if let Some(noise) = &self.noise {
            noise.keyed(rows);
        }
        if let Some(map) = &self.map {
            map.forward(rows, context, &mut log_jacobians);
        }
        log_jacobians
    }

    /// From a flow's rows to a user's, in place, with the context of each where a density is conditional.
    pub fn to_user(&self, rows: &mut [f64], context: &[f64]) {
        if let Some(map) = &self.map {
            map.inverse(rows, context, &mut vec![0.0; rows.len() / map.dimension()]);
        }
        if let Some(noise) = &self.noise {
            noise.quantise(rows);
        }
    }
}
