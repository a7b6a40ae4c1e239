//! Densities and energies in the plane.

use std::ops::Range;
use std::sync::Arc;

use datasets::plane::{PlaneDensity, PlaneEnergy, PlaneTarget};
use flow_core::{Energy, PointEnergy, Purpose, RngKey, Team};

use super::{Known, Samples, Target, reference_seed};
use crate::error::Error;
use crate::monitor::Monitor;
use crate::recipe::Toy;

/// A density in the plane, known by as many samples as are asked for.
#[derive(Debug, Clone, Copy)]
pub struct DensityInPlane(pub PlaneDensity);

impl Target for DensityInPlane {
    fn dimension(&self) -> usize {
        2
    }

    fn samples(&self) -> Option<&dyn Samples> {
        Some(self)
    }

    fn known(&self) -> Option<Known> {
        Some(Known::Entropy(self.0.entropy()))
    }

    fn log_density(&self, x: &[f64]) -> Option<f64> {
        Some(self.0.log_density(x.try_into().ok()?))
    }
}

impl Samples for DensityInPlane {
    fn training(&self, key: RngKey, _seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        for (row, point) in rows.zip(out.chunks_exact_mut(2)) {
            point.copy_from_slice(&self.0.sample(&mut key.row(row as u64)));
        }
        Ok(())
    }
}

/// A density in the plane, known by its energy.
#[derive(Debug, Clone, Copy)]
pub struct EnergyInPlane(pub PlaneEnergy);

impl Target for EnergyInPlane {
    fn dimension(&self) -> usize {
        2
    }

    fn energy(&self) -> Option<Arc<dyn Energy>> {
        let energy = self.0;
        Some(Arc::new(PointEnergy::new(2, move |x, gradient| Ok(energy.energy_and_gradient(x, gradient))).concurrent()))
    }

    fn reference(
        &self,
        seed: u64,
        count: usize,
        _team: &dyn Team,
        _monitor: &dyn Monitor,
    ) -> Option<Result<Vec<f64>, Error>> {
        let key = RngKey::new(reference_seed(seed), Purpose::Sample, 0);
        Some(Ok((0..count as u64).flat_map(|row| self.0.sample(&mut key.row(row))).collect()))
    }

    fn known(&self) -> Option<Known> {
        Some(Known::MinusLogZ(-self.0.log_z()))
    }

    fn log_density(&self, x: &[f64]) -> Option<f64> {
        Some(-self.0.energy_and_gradient(x, &mut [0.0; 2]) - self.0.log_z())
    }
}

/// What a recipe's name stands for.
pub(super) fn named(name: Toy) -> PlaneTarget {
    match name {
        Toy::TwoMoons => PlaneTarget::Density(PlaneDensity::TwoMoons),
        Toy::EightGaussians => PlaneTarget::Density(PlaneDensity::EightGaussians),
        Toy::Rings => PlaneTarget::Density(PlaneDensity::Rings),
        Toy::Pinwheel => PlaneTarget::Density(PlaneDensity::Pinwheel),
        Toy::Checkerboard => PlaneTarget::Density(PlaneDensity::Checkerboard),
        Toy::Energy1 => PlaneTarget::Energy(PlaneEnergy::One),
        Toy::Energy2 => PlaneTarget::Energy(PlaneEnergy::Two),
        Toy::Energy3 => PlaneTarget::Energy(PlaneEnergy::Three),
        Toy::Energy4 => PlaneTarget::Energy(PlaneEnergy::Four),
    }
}
