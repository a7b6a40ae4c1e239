//! What a study measures of points: the observables of a lattice model, or of any other target its energy alone.

use std::sync::Arc;

use datasets::Bijection;
use flow_core::{Batch, Energy, Evaluation, Flow, Purpose, RngKey, Space, Transported, standard_normal_log_density};

use crate::error::Error;
use crate::target::{LatticeModel, Measured, Observable, Observables, Target};

/// A target with an energy, and what is measured of it.
pub struct Subject<'a> {
    /// The energy of the flow's coordinates.
    pub energy: Arc<dyn Energy>,
    /// The lattice model that the target is, where it is one.
    pub model: Option<&'a dyn LatticeModel>,
    /// What the target names beside its energy.
    named: Option<&'a dyn Observables>,
    /// Between a user's coordinates and the flow's.
    map: Option<Arc<dyn Bijection>>,
}

impl<'a> Subject<'a> {
    /// Of a target; `None` where it has no energy.
    pub fn of(target: &'a dyn Target) -> Option<Self> {
        Some(Self {
            energy: target.energy()?,
            model: target.lattice_model(),
            named: target.named_observables(),
            map: target.bijection(),
        })
    }

    /// Numbers per point.
    pub fn dim(&self) -> usize {
        self.energy.dim()
    }

    /// What is computed of measurements.
    pub fn observables(&self) -> Vec<Observable> {
        match self.model {
            Some(model) => model.observables().to_vec(),
            None => {
                let energy = [
                    Observable::mean_energy("energy", "energy", 1.0),
                    Observable::variance_of_energy("energy_variance", "variance of energy", 1.0),
                ];
                let names = self.named.map_or(&[][..], |named| named.names());
                energy.into_iter().chain(names.iter().enumerate().map(|(i, name)| Observable::named(name, i))).collect()
            }
        }
    }

    /// Measures points in the flow's coordinates, whose energies are given where they are known already.
    ///
    /// # Errors
    /// Those of the energy.
    pub fn measure<S: Space>(
        &self,
        flow: &Flow<'_, S>,
        points: &[f64],
        energies: Option<&[f64]>,
        key: RngKey,
    ) -> Result<Measured, Error> {
        if let Some(model) = self.model {
            return Ok(model.measure(points, key));
        }
        let mut energy = match energies {
            Some(known) => known.to_vec(),
            None => self.energies(flow, points)?.0,
        };
        // The flow's energy has the log-Jacobian in it, that of the user's coordinates has not.
        let mut x = points.to_vec();
        if let Some(map) = &self.map {
            map.inverse(&mut x, &[], &mut energy);
        }
        let named = self.named.map(|named| measure(named, &x, energy.len())).transpose()?.unwrap_or_default();
        Ok(Measured { energy, magnetisation: Vec::new(), named })
    }

    /// `ln p + E` of points that a flow has carried from the base, and E alone.
    ///
    /// # Errors
    /// Those of the energy.
    pub fn losses<S: Space>(
        &self,
        flow: &Flow<'_, S>,
        base: &[f64],
        carried: &Transported,
    ) -> Result<(Vec<f64>, Vec<f64>), flow_core::Error> {
        let (energies, _) = self.energies(flow, &carried.x)?;
        let rows = base.chunks_exact(self.dim()).zip(&energies).zip(&carried.log_density);
        let losses = rows.map(|((z, energy), change)| standard_normal_log_density(z) + change + energy).collect();
        Ok((losses, energies))
    }

    /// Energies and gradients of points in the flow's coordinates.
    ///
    /// # Errors
    /// Those of the energy.
    pub fn energies<S: Space>(&self, flow: &Flow<'_, S>, x: &[f64]) -> Result<(Vec<f64>, Vec<f64>), flow_core::Error> {
        let (n, whole) = (self.dim(), Batch::new(x.to_vec(), self.dim())?);
        // Nothing is drawn.
        let how = Evaluation::new(RngKey::new(0, Purpose::Evaluate, 0));
        let [energies, gradients] = flow.by_members(&whole, how, |part, how| {
            let blocks = match self.energy.concurrent() {
                true => how.my_blocks(flow.space, part.of)?,
                false => vec![part.rows.clone()],
            };
            let found = flow.space.map_blocks(blocks, |rows| {
                let points = &x[rows.start * n..rows.end * n];
                let (mut energies, mut gradient) = (vec![0.0; rows.len()], vec![0.0; points.len()]);
                let told = self.energy.energies_and_gradients(points, &[], &mut energies, &mut gradient);
                told.map(|()| [energies, gradient])
            });
            let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
            Ok([0, 1].map(|k| found.iter().flat_map(|block| &block[k]).copied().collect()))
        })?;
        Ok((energies, gradients))
    }
}

/// The series of every named observable at so many points.
fn measure(named: &dyn Observables, x: &[f64], rows: usize) -> Result<Vec<Vec<f64>>, Error> {
    let (names, n) = (named.names(), x.len() / rows.max(1));
    // What is not written is no number, and is found out.
    let mut values = vec![f64::NAN; rows * names.len()];
    named.measure(x, &mut values)?;
    if let Some(i) = values.iter().position(|value| !value.is_finite()) {
        let (row, name) = (i / names.len(), &names[i % names.len()]);
        return Err(Error::Failed(format!(
            "the observable {name:?} is {} at x = {:?}; give it a finite value there, or leave it out",
            values[i],
            &x[row * n..(row + 1) * n]
        )));
    }
    let series = |i| values.iter().skip(i).step_by(names.len()).copied().collect();
    Ok((0..names.len()).map(series).collect())
}
