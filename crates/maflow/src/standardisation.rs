//! The standardisation of a run's data: found from the training pictures when a training begins, and kept in the run
//! from then on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use datasets::Standardisation;
use flow_core::{Precision, Tensor};

use crate::error::Error;
use crate::recipe::{Recipe, Standardise};
use crate::target::Target;
use crate::tensor_file::TensorFile;

/// Its file in a run directory.
fn file(run: &Path) -> PathBuf {
    run.join("standardisation.safetensors")
}

/// Keeps the standardisation in a run.
///
/// # Errors
/// When it cannot be written.
pub fn write(run: &Path, recipe: &Recipe, target: &dyn Target) -> Result<(), Error> {
    target.standardisation().map_or(Ok(()), |map| write_map(run, recipe, map))
}

fn write_map(run: &Path, recipe: &Recipe, map: &Standardisation) -> Result<(), Error> {
    let kind = recipe.target.standardise();
    if kind == Standardise::None {
        return Ok(());
    }
    let metadata = HashMap::from([("standardise".to_owned(), kind.name().to_owned())]);
    TensorFile { tensors: parts(map), metadata, ..TensorFile::default() }.write(&file(run))
}

/// The standardisation of a run as `mean`, `deviations` and perhaps `directions`; nothing where there is none.
///
/// # Errors
/// As [`read`].
pub fn tensors(run: &Path, recipe: &Recipe) -> Result<Vec<Tensor>, Error> {
    match recipe.target.standardise() {
        Standardise::None => Ok(Vec::new()),
        _ => Ok(parts(&read(run, recipe)?)),
    }
}

fn parts(map: &Standardisation) -> Vec<Tensor> {
    let tensor = |name: &str, shape: &[usize], values: &[f64]| Tensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        precision: Precision::F64,
        values: values.to_vec(),
    };
    let n = map.dimension();
    let directions = map.directions().map(|directions| tensor("directions", &[n, n], directions));
    let tensors = [tensor("mean", &[n], map.mean()), tensor("deviations", &[n], map.deviations())];
    tensors.into_iter().chain(directions).collect()
}

/// The standardisation that a run was trained with; the identity where there was none.
///
/// # Errors
/// When it is not what the recipe says, or its file is damaged.
pub fn read(run: &Path, recipe: &Recipe) -> Result<Standardisation, Error> {
    let (path, wanted) = (file(run), recipe.target.standardise().name());
    let kept = if path.exists() { Some(TensorFile::read(&path)?) } else { None };
    let found = kept.as_ref().and_then(|kept| kept.metadata.get("standardise")).map_or("none", String::as_str);
    if found != wanted {
        return Err(Error::Argument(format!(
            "the weights of {} belong to data standardised by \"{found}\" (it keeps that in {}), not \"{wanted}\"; \
             set target.standardise = \"{found}\"",
            run.display(),
            path.display()
        )));
    }
    let Some(kept) = kept else { return Ok(Standardisation::identity(recipe.dimension())) };
    let bad = |reason: String| Error::Unusable { path: path.clone(), reason };
    let values = |name: &str| kept.tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.values);
    let numbers = |name: &str| values(name).cloned().ok_or_else(|| bad(format!("it has no tensor `{name}`")));
    let directions = values("directions").map(Vec::as_slice);
    let map = Standardisation::from_parts(numbers("mean")?, numbers("deviations")?, directions)
        .map_err(|error| bad(error.to_string()))?;
    if map.dimension() != recipe.dimension() {
        let reason = format!("it is for {} coordinates, not {}", map.dimension(), recipe.dimension());
        return Err(bad(reason));
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipes;

    fn recipe(standardise: &str) -> Recipe {
        let setting = format!("target.standardise={standardise}").parse().unwrap();
        recipes::load("mnist", &[setting]).unwrap()
    }

    #[test]
    fn what_was_kept_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let (mean, deviations) = (vec![0.1; 784], (1..=784).map(|i| 1.0 / f64::from(i)).collect::<Vec<_>>());
        let directions: Vec<f64> = (0..784 * 784).map(|i| if i % 785 == 0 { 1.0 } else { 0.0 }).collect();
        for (kind, directions) in [("per-coordinate", None), ("gaussian", Some(&directions[..]))] {
            let map = Standardisation::from_parts(mean.clone(), deviations.clone(), directions).unwrap();
            write_map(folder.path(), &recipe(kind), &map).unwrap();
            assert_eq!(read(folder.path(), &recipe(kind)).unwrap(), map);
            // Neither another kind nor none is taken for it.
            for other in ["none", "scale"] {
                let error = read(folder.path(), &recipe(other)).unwrap_err();
                assert!(error.to_string().contains(&format!("standardised by \"{kind}\"")), "{error}");
            }
        }
    }

    #[test]
    fn runs_without_one_have_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Standardisation::identity(784);
        write_map(folder.path(), &recipe("none"), &identity).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(read(folder.path(), &recipe("none")).unwrap(), identity);
        let error = read(folder.path(), &recipe("scale")).unwrap_err();
        assert!(error.to_string().contains("standardised by \"none\""), "{error}");
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let small = Standardisation::identity(3);
        write_map(folder.path(), &recipe("scale"), &small).unwrap();
        let error = read(folder.path(), &recipe("scale")).unwrap_err();
        assert!(error.to_string().contains("for 3 coordinates, not 784"), "{error}");
        std::fs::write(file(folder.path()), "cut short").unwrap();
        assert!(read(folder.path(), &recipe("scale")).is_err());
    }
}
