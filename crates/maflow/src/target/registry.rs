//! From the words of a recipe to its target: the one place that knows all of them.

use std::path::Path;
use std::sync::Arc;

use datasets::lattice::{Boundary, IsingTarget, Phi4Target};
use datasets::plane::PlaneTarget;
use datasets::{Bijection, Standardisation};

use super::{DensityInPlane, Digits, EnergyInPlane, Ising, Phi4, Target, plane};
use crate::error::Error;
use crate::monitor::Monitor;
use crate::recipe::{self, Recipe, TargetCoordinates, TargetKind};

/// Makes ready the target of a recipe. Data come from the folder `data`, or are fetched, and are standardised as a run
/// has `kept` it or, for a new one, by their own moments.
///
/// # Errors
/// Parameters that no target has, or data that cannot be had.
pub fn open(
    recipe: &Recipe,
    data: Option<&Path>,
    kept: Option<Standardisation>,
    monitor: &dyn Monitor,
) -> Result<Box<dyn Target>, Error> {
    let (pool, seed) = (recipe.train.pool, recipe.train.seed);
    Ok(match &recipe.target {
        TargetKind::Mnist(mnist) => Box::new(Digits::load(mnist, seed, data, kept, monitor)?),
        TargetKind::Ising(model) => {
            Box::new(Ising::new(ising(model)?, model.coordinates == TargetCoordinates::Whitened, pool, seed))
        }
        TargetKind::Phi4(model) => {
            Box::new(Phi4::new(phi4(model)?, model.coordinates == TargetCoordinates::Whitened, pool, seed))
        }
        TargetKind::Toy(toy) => match plane::named(toy.name) {
            PlaneTarget::Density(density) => Box::new(DensityInPlane(density)),
            PlaneTarget::Energy(energy) => Box::new(EnergyInPlane(energy)),
        },
        TargetKind::Own(_) => return Err(not_handed_in()),
    })
}

fn not_handed_in() -> Error {
    Error::Argument(
        "target.kind = \"own\" is a target that the program which made the run hands to the library; use that \
         program, or choose another target"
            .to_owned(),
    )
}

/// The map from a user's coordinates to those of the flow of a recipe, without its data: `kept` by a run where it was
/// found from them.
///
/// # Errors
/// Parameters that no target has.
pub fn bijection(recipe: &Recipe, kept: Standardisation) -> Result<Arc<dyn Bijection>, Error> {
    let whitened = |coordinates| coordinates == TargetCoordinates::Whitened;
    Ok(match &recipe.target {
        TargetKind::Ising(model) if whitened(model.coordinates) => Arc::new(ising(model)?.whitened()),
        TargetKind::Phi4(model) if whitened(model.coordinates) => Arc::new(phi4(model)?.whitened()),
        TargetKind::Ising(_) | TargetKind::Phi4(_) | TargetKind::Mnist(_) | TargetKind::Toy(_) => Arc::new(kept),
        TargetKind::Own(_) => return Err(not_handed_in()),
    })
}

fn ising(model: &recipe::IsingTarget) -> Result<IsingTarget, Error> {
    let (rows, cols) = (model.size, model.size_y.unwrap_or(model.size));
    Ok(IsingTarget::new(rows, cols, model.boundary, model.temperature.value())?)
}

fn phi4(model: &recipe::Phi4Target) -> Result<Phi4Target, Error> {
    Ok(Phi4Target::new(model.size, model.size, Boundary::Periodic, model.kappa, model.lambda)?)
}
