//! What a study measures of points: the observables of a lattice model, or of any other target its energy alone.

use std::sync::Arc;

use datasets::Bijection;
use flow_core::{Energy, RngKey, Space, cut};

use crate::error::Error;
use crate::target::{LatticeModel, Measured, Observable, Target};

/// A target with an energy, and what is measured of it.
pub struct Subject<'a> {
    /// The energy of the flow's coordinates.
    pub energy: Arc<dyn Energy>,
    /// The lattice model that the target is, where it is one.
    pub model: Option<&'a dyn LatticeModel>,
    /// Between a user's coordinates and the flow's.
    map: Option<Arc<dyn Bijection>>,
}

impl<'a> Subject<'a> {
    /// Of a target; `None` where it has no energy.
    pub fn of(target: &'a dyn Target) -> Option<Self> {
        Some(Self { energy: target.energy()?, model: target.lattice_model(), map: target.bijection() })
    }

    /// Numbers per point.
    pub fn dim(&self) -> usize {
        self.energy.dim()
    }

    /// What is computed of measurements.
    pub fn observables(&self) -> Vec<Observable> {
        match self.model {
            Some(model) => model.observables().to_vec(),
            None => vec![
                Observable::mean_energy("energy", "energy", 1.0),
                Observable::variance_of_energy("energy_variance", "variance of energy", 1.0),
            ],
        }
    }

    /// Measures points in the flow's coordinates, whose energies are given where they are known already.
    ///
    /// # Errors
    /// Those of the energy.
    pub fn measure<S: Space>(
        &self,
        space: &S,
        points: &[f64],
        energies: Option<&[f64]>,
        key: RngKey,
    ) -> Result<Measured, Error> {
        if let Some(model) = self.model {
            return Ok(model.measure(points, key));
        }
        let mut energy = match energies {
            Some(known) => known.to_vec(),
            None => self.energies(space, points)?.0,
        };
        // The flow's energy has the log-Jacobian in it, that of the user's coordinates has not.
        if let Some(map) = &self.map {
            map.inverse(&mut points.to_vec(), &mut energy);
        }
        Ok(Measured { energy, magnetisation: Vec::new() })
    }

    /// Energies and gradients of points in the flow's coordinates.
    ///
    /// # Errors
    /// Those of the energy.
    pub fn energies<S: Space>(&self, space: &S, x: &[f64]) -> Result<(Vec<f64>, Vec<f64>), flow_core::Error> {
        let n = self.dim();
        let rows = x.len() / n;
        let blocks = if self.energy.concurrent() { space.blocks(rows) } else { 1 };
        let found = space.map_blocks(cut(rows, blocks), |rows| {
            let (mut energies, mut gradient) = (vec![0.0; rows.len()], vec![0.0; rows.len() * n]);
            let points = &x[rows.start * n..rows.end * n];
            self.energy.energies_and_gradients(points, &[], &mut energies, &mut gradient).map(|()| (energies, gradient))
        });
        let (mut energies, mut gradient) = (Vec::new(), Vec::new());
        for block in found {
            let (of_rows, of_x) = block?;
            energies.extend(of_rows);
            gradient.extend(of_x);
        }
        Ok((energies, gradient))
    }
}
