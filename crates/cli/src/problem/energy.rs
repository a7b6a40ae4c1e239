//! The energies and densities of `datasets` by the names of a configuration, and their exact values.

use datasets::lattice::{self, IsingTarget, Phi4Target, WhitenedIsing, WhitenedPhi4};
use datasets::plane::{PlaneDensity, PlaneEnergy, PlaneTarget};
use flow_core::{Energy, Error};

use crate::config::{Boundary, Target, TargetCoordinates, Toy};
use crate::error::CliError;

/// An energy to be fitted.
#[derive(Debug, Clone)]
pub enum TargetEnergy {
    /// The Ising model in continuous variables.
    Ising(IsingTarget),
    /// The same in whitened coordinates.
    WhitenedIsing(WhitenedIsing),
    /// The φ⁴ theory.
    Phi4(Phi4Target),
    /// The same in whitened coordinates.
    WhitenedPhi4(WhitenedPhi4),
    /// In the plane.
    Plane(PlaneEnergy),
}

impl TargetEnergy {
    /// The energy of a target.
    ///
    /// # Errors
    /// Parameters that no target has.
    pub fn new(target: &Target) -> Result<Self, CliError> {
        Ok(match target {
            Target::Ising(ising) => {
                let (rows, cols) = (ising.size, ising.size_y.unwrap_or(ising.size));
                let target = IsingTarget::new(rows, cols, boundary(ising.boundary), ising.temperature.value())?;
                match ising.coordinates {
                    TargetCoordinates::X => Self::Ising(target),
                    TargetCoordinates::Whitened => Self::WhitenedIsing(target.whitened()),
                }
            }
            Target::Phi4(phi4) => {
                let periodic = lattice::Boundary::Periodic;
                let target = Phi4Target::new(phi4.size, phi4.size, periodic, phi4.kappa, phi4.lambda)?;
                match phi4.coordinates {
                    TargetCoordinates::X => Self::Phi4(target),
                    TargetCoordinates::Whitened => Self::WhitenedPhi4(target.whitened()),
                }
            }
            Target::Toy(toy) => match plane(toy.name) {
                PlaneTarget::Energy(energy) => Self::Plane(energy),
                PlaneTarget::Density(_) => unreachable!("densities are fitted by likelihood"),
            },
            Target::Mnist(_) => unreachable!("data are fitted by likelihood"),
        })
    }

    /// The Ising model, in whichever coordinates.
    pub fn ising(&self) -> Option<&IsingTarget> {
        match self {
            Self::Ising(target) => Some(target),
            Self::WhitenedIsing(target) => Some(target.physical()),
            Self::Phi4(_) | Self::WhitenedPhi4(_) | Self::Plane(_) => None,
        }
    }

    /// The φ⁴ theory, in whichever coordinates.
    pub fn phi4(&self) -> Option<&Phi4Target> {
        match self {
            Self::Phi4(target) => Some(target),
            Self::WhitenedPhi4(target) => Some(target.physical()),
            Self::Ising(_) | Self::WhitenedIsing(_) | Self::Plane(_) => None,
        }
    }

    /// From a point in the coordinates that the flow works in to `x`, the same in those of the target's samples.
    pub fn to_physical(&self, point: &[f64], x: &mut [f64]) {
        match self {
            Self::WhitenedIsing(target) => target.to_physical(point, x),
            Self::WhitenedPhi4(target) => target.to_physical(point, x),
            Self::Ising(_) | Self::Phi4(_) | Self::Plane(_) => x.copy_from_slice(point),
        }
    }
}

impl Energy for TargetEnergy {
    fn dim(&self) -> usize {
        match self {
            Self::Ising(target) => target.sites(),
            Self::WhitenedIsing(target) => target.sites(),
            Self::Phi4(target) => target.sites(),
            Self::WhitenedPhi4(target) => target.sites(),
            Self::Plane(_) => 2,
        }
    }

    fn energies_and_gradients(
        &self,
        x: &[f64],
        _context: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), Error> {
        let points = x.chunks_exact(self.dim()).zip(gradients.chunks_exact_mut(self.dim()));
        for (energy, (x, gradient)) in energies.iter_mut().zip(points) {
            *energy = self.at(x, gradient);
        }
        Ok(())
    }

    fn concurrent(&self) -> bool {
        true
    }
}

impl TargetEnergy {
    /// The energy of one point and its gradient, which is overwritten.
    pub fn at(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
        match self {
            Self::Ising(target) => target.energy_and_gradient(x, gradient),
            // ln p(x) = ln p(y) − ½ ln det K: with the constant, figures are those of the density of x.
            Self::WhitenedIsing(target) => {
                target.energy_and_gradient(x, gradient) - 0.5 * target.physical().log_det_k()
            }
            Self::Phi4(target) => target.energy_and_gradient(x, gradient),
            Self::WhitenedPhi4(target) => target.energy_and_gradient(x, gradient) - 0.5 * target.log_det_k(),
            Self::Plane(target) => target.energy_and_gradient(x, gradient),
        }
    }
}

/// The lattice's boundary in the words of `datasets`.
pub fn boundary(boundary: Boundary) -> lattice::Boundary {
    match boundary {
        Boundary::Periodic => lattice::Boundary::Periodic,
        Boundary::Open => lattice::Boundary::Open,
    }
}

fn plane(name: Toy) -> PlaneTarget {
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

/// The density of that name.
pub(super) fn density(name: Toy) -> PlaneDensity {
    match plane(name) {
        PlaneTarget::Density(density) => density,
        PlaneTarget::Energy(_) => unreachable!("energies are fitted by free energy"),
    }
}

/// `−ln Z` of the target, where an exact method knows it (open lattices: up to a width of 256).
pub(super) fn exact(target: &Target) -> Option<f64> {
    match target {
        Target::Ising(ising) => {
            let boundary = match ising.boundary {
                Boundary::Periodic => ising_exact::Boundary::PERIODIC,
                Boundary::Open => ising_exact::Boundary::OPEN,
            };
            let lattice = ising_exact::Lattice::new(ising.size, ising.size_y.unwrap_or(ising.size)).ok()?;
            let exact = lattice.boundary(boundary).continuous(ising.temperature.value()).ok()?;
            Some(exact.free_energy_per_site * ising.sites() as f64)
        }
        Target::Toy(toy) => match plane(toy.name) {
            PlaneTarget::Energy(energy) => Some(-energy.log_z()),
            PlaneTarget::Density(_) => None,
        },
        Target::Mnist(_) | Target::Phi4(_) => None,
    }
}
