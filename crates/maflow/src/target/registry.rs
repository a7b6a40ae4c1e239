//! From the words of a recipe to its target: the one place that knows all of them.

use std::path::Path;
use std::sync::Arc;

use datasets::Bijection;
use datasets::lattice::{Boundary, IsingTarget, Phi4Target, WhitenedIsingRange};
use datasets::plane::PlaneTarget;
use datasets::sets::SharedAxis;

use super::{
    DensityInPlane, Digits, EnergyInPlane, Ising, IsingRange, LibraryEnergy, Particles, Phi4, Sets, Table, Target,
    energy, plane,
};
use crate::error::Error;
use crate::kept::{Kept, Units};
use crate::monitor::Monitor;
use crate::recipe::{self, Recipe, TargetCoordinates, TargetKind};

/// Makes ready the target of a recipe. Data come from the folder `data`, or are fetched. Maps that are found from
/// data are those that a run has `kept` or, for a new one, found from the training rows.
///
/// # Errors
/// Parameters that no target has, or data that cannot be had. [`Error::NotLoaded`] for an energy from a library: a
/// recipe's name for it is no reason to run its code.
pub fn open(
    recipe: &Recipe,
    data: Option<&Path>,
    kept: Option<Kept>,
    monitor: &dyn Monitor,
) -> Result<Box<dyn Target>, Error> {
    let (pool, seed) = (recipe.train.pool, recipe.train.seed);
    Ok(match &recipe.target {
        TargetKind::Mnist(mnist) => {
            Box::new(Digits::load(mnist, seed, data, kept.map(|kept| kept.standardisation), monitor)?)
        }
        TargetKind::Ising(model) if model.temperature.range().is_some() => {
            Box::new(IsingRange::new(ising(model)?, model.temperature.ends(), pool, seed))
        }
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
        TargetKind::Particles(particles) => Box::new(Particles::named(particles, pool, seed)?),
        TargetKind::Sets(of) => Box::new(Sets(SharedAxis::new(of.members, of.stretch)?)),
        TargetKind::Table(table) => {
            let (map, rows) = kept.map(|kept| (kept.table, kept.rows)).unwrap_or_default();
            Box::new(Table::open(table, seed, map, rows.as_deref())?)
        }
        TargetKind::Energy(energy) => return Err(LibraryEnergy::not_loaded(energy)),
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

/// How a user's numbers become those of the flow of a recipe, without its data: as a run has kept it.
///
/// # Errors
/// Parameters that no target has.
///
/// # Panics
/// If the recipe is of a table and `kept` has no columns.
pub fn units(recipe: &Recipe, kept: Kept) -> Result<Units, Error> {
    let whitened = |coordinates| coordinates == TargetCoordinates::Whitened;
    let map: Arc<dyn Bijection> = match &recipe.target {
        TargetKind::Ising(model) if model.temperature.range().is_some() => {
            Arc::new(WhitenedIsingRange::new(ising(model)?))
        }
        TargetKind::Ising(model) if whitened(model.coordinates) => Arc::new(ising(model)?.whitened()),
        TargetKind::Phi4(model) if whitened(model.coordinates) => Arc::new(phi4(model)?.whitened()),
        TargetKind::Ising(_)
        | TargetKind::Phi4(_)
        | TargetKind::Particles(_)
        | TargetKind::Sets(_)
        | TargetKind::Mnist(_)
        | TargetKind::Toy(_) => Arc::new(kept.standardisation),
        TargetKind::Table(_) => {
            let table = kept.table.expect("a run of a table has kept its columns");
            return Ok(Units { noise: Some(table.preparation().dequantisation.clone()), map: Some(table.bijection()) });
        }
        TargetKind::Energy(energy) => Arc::new(energy::map_of(energy, &kept.standardisation)?),
        TargetKind::Own(own) if own.standardise.is_some() => Arc::new(kept.standardisation),
        TargetKind::Own(_) => return Err(not_handed_in()),
    };
    Ok(Units { noise: None, map: Some(map) })
}

/// The model at its temperature, of a range at the lower end.
fn ising(model: &recipe::IsingTarget) -> Result<IsingTarget, Error> {
    let (rows, cols) = (model.size, model.size_y.unwrap_or(model.size));
    Ok(IsingTarget::new(rows, cols, model.boundary, model.temperature.ends()[0])?)
}

fn phi4(model: &recipe::Phi4Target) -> Result<Phi4Target, Error> {
    Ok(Phi4Target::new(model.size, model.size, Boundary::Periodic, model.kappa, model.lambda)?)
}
