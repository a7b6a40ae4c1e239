//! Energies from C libraries. A library is loaded where the user names it, on the command line or in a recipe of the
//! user's own, and never because a run names it. Below, such a library is *typed*.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use maflow::kept::Kept;
use maflow::recipe::{EnergyTarget, Recipe, TargetKind};
use maflow::target::{LibraryEnergy, Target};

use crate::error::CliError;

/// The library that a recipe of the user's own names; `None` for the recipe of a run.
pub fn typed_in(recipe: &Recipe) -> Option<PathBuf> {
    match &recipe.target {
        TargetKind::Energy(energy) if recipe.run.is_none() => Some(energy.library.clone()),
        _ => None,
    }
}

/// The target of a training whose energy is in a typed library; `None` for all other targets. `before` is the run that
/// it goes on from. The recipe of a `new` training gets the path and the SHA-256 of the library.
///
/// # Errors
/// A library that was not typed, or that is none; a flag without effect.
pub fn for_training(
    recipe: &mut Recipe,
    typed: Option<&Path>,
    before: Option<&Path>,
    new: bool,
) -> Result<Option<Arc<dyn Target>>, CliError> {
    let seed = recipe.train.seed;
    let Some((energy, library)) = wanted(recipe, typed)? else { return Ok(None) };
    let kept = before.map(|run| Kept::read(run, recipe)).transpose()?.map(|kept| kept.standardisation);
    let target = LibraryEnergy::for_training(energy, library, kept, seed)?;
    if new {
        recipe.target = TargetKind::Energy(target.named(energy)?);
    }
    Ok(Some(Arc::new(target)))
}

/// The target for the figures of a run whose energy is in a typed library; `None` for all other targets.
///
/// # Errors
/// As [`for_training`].
pub fn of_run(recipe: &Recipe, typed: Option<&Path>, run: &Path) -> Result<Option<Arc<dyn Target>>, CliError> {
    let Some((energy, library)) = wanted(recipe, typed)? else { return Ok(None) };
    let kept = Kept::read(run, recipe)?.standardisation;
    Ok(Some(Arc::new(LibraryEnergy::of_run(energy, library, &kept)?)))
}

/// The energy, and the library that was typed.
fn wanted<'a>(recipe: &'a Recipe, typed: Option<&'a Path>) -> Result<Option<(&'a EnergyTarget, &'a Path)>, CliError> {
    match (&recipe.target, typed) {
        (TargetKind::Energy(energy), Some(library)) => Ok(Some((energy, library))),
        (TargetKind::Energy(energy), None) => {
            let (library, sha256) = (energy.library.clone(), energy.sha256.clone());
            Err(maflow::Error::NotLoaded { library, sha256 }.into())
        }
        (_, None) => Ok(None),
        (target, Some(library)) => Err(CliError::Usage(format!(
            "--library {} would not be loaded: the target of {} is {}; leave --library out",
            library.display(),
            recipe.name,
            target.words()
        ))),
    }
}
