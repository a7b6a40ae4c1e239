//! Weights that come from other programs, as runs, and the weights of runs for other programs.

use std::path::{Path, PathBuf};

use flow_core::{BaseSamples, Engine, Occasion, Tensor, Trainer};

use crate::backend::{self, BackendJob, Compute};
use crate::checkpoint::CheckpointFolder;
use crate::error::Error;
use crate::monitor::Monitor;
use crate::recipe::{Potential, Recipe};
use crate::run_dir::RunDir;
use crate::tensor_file::TensorFile;
use crate::torch_names::{NAMES, torch_shape};
use crate::trained::{self, Learned};
use crate::weights::Weights;
use crate::{phases, standardisation};

/// Weights to be made a run, which can be evaluated, sampled or trained further.
#[derive(Debug)]
pub struct Import {
    /// The weights, a safetensors file.
    pub file: PathBuf,
    /// The recipe they belong to.
    pub recipe: Recipe,
    /// The run directory to make.
    pub out: PathBuf,
    /// Where the numbers are computed.
    pub compute: Compute,
}

impl Import {
    /// Makes the run. All is read and checked before that.
    ///
    /// # Errors
    /// Weights that do not fit the recipe, or a folder that is taken.
    pub fn run(self, monitor: &dyn Monitor) -> Result<RunDir, Error> {
        let (compute, precision) = (self.compute, self.recipe.train.precision);
        backend::run(&compute, precision, Monitored { import: self, monitor })
    }
}

struct Monitored<'a> {
    import: Import,
    monitor: &'a dyn Monitor,
}

impl BackendJob for Monitored<'_> {
    type Output = RunDir;

    fn run<E: Engine>(self, space: &E) -> Result<RunDir, Error> {
        let Import { file, mut recipe, out, compute } = self.import;
        // A temperature is one number, whatever the training.
        if recipe.target.is_conditional() && recipe.target.temperatures().is_none() {
            let what = "weights of a density that is conditional on columns of a file cannot be imported: only a \
                        training finds the width of its context";
            return Err(Error::Argument(what.to_owned()));
        }
        let mut learned = Learned::first(space, &recipe, 0)?;
        let arrays = learned.parameters().into_iter().chain(learned.buffers());
        let wanted: Vec<_> = arrays.map(|p| (p.name.clone(), p.shape.clone())).collect();
        let Weights { parameters, notes } = Weights::read(&file, &wanted, space.precision())?;
        parameters.load_parameters(space, learned.parameters_mut())?;
        parameters.load_parameters(space, learned.buffers_mut())?;
        recipe.run = Some(compute.run_info());
        // What a training that starts from these parameters would save first: only a trainer knows.
        let mut model = learned.into_model(space)?;
        let (settings, batches) = (phases::with_steps(&recipe, 1), BaseSamples { dim: recipe.dimension() });
        let checkpoint = Trainer::new(&mut *model, settings, &batches)?.checkpoint();
        // Without its checkpoint it would be resumed from weights that nobody has imported.
        RunDir::create_whole(&out, &recipe, |run| {
            CheckpointFolder::open(&run.checkpoints(), recipe.train.keep)?.write(Occasion::Periodic, &checkpoint)?;
            run.log(&format!("imported from {}", file.display()))?;
            for note in &notes {
                self.monitor.note(note);
                run.log(note)?;
            }
            Ok(())
        })
    }
}

/// What was exported.
#[derive(Debug)]
pub struct Exported {
    /// Name and shape of every tensor.
    pub tensors: Vec<(String, Vec<usize>)>,
    /// The checkpoint they come from.
    pub checkpoint: PathBuf,
    /// Whether the density has a symmetry that weights do not hold.
    pub symmetric: bool,
}

/// Writes the weights of a run to a safetensors file: a ridge potential's under the names of PyTorch's two linear
/// layers, those of every other potential under our own. Where the run's data are standardised, the map is there too,
/// as `standardisation.mean`, `standardisation.deviations` and perhaps `standardisation.directions`.
///
/// # Errors
/// Weights that are not finite; a file that cannot be written.
pub fn export(run: &Path, recipe: &Recipe, out: &Path, monitor: &dyn Monitor) -> Result<Exported, Error> {
    let (checkpoint, file) = trained::checkpoint(run, monitor)?;
    let mut tensors = Vec::new();
    for (ours, tensor) in checkpoint.trained() {
        require_finite(tensor, &file, run)?;
        let torch =
            NAMES.iter().find(|(name, _)| matches!(recipe.potential(), Some(Potential::Ridge(_))) && *name == ours);
        let (name, shape) = match torch {
            Some((_, torch)) => ((*torch).to_owned(), torch_shape(ours, &tensor.shape)),
            None => (ours.to_owned(), tensor.shape.clone()),
        };
        tensors.push(Tensor { name, shape, ..tensor.clone() });
    }
    tensors.extend(standardisation::tensors(run, recipe)?.into_iter().map(|tensor| {
        let name = format!("standardisation.{}", tensor.name);
        Tensor { name, ..tensor }
    }));
    let named = tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
    TensorFile { tensors, ..TensorFile::default() }.write(out)?;
    Ok(Exported {
        tensors: named,
        checkpoint: file,
        symmetric: recipe.potential().is_some_and(|of| of.symmetry().is_some()),
    })
}

/// Weights that are not finite are of no use to anyone.
fn require_finite(tensor: &Tensor, file: &Path, run: &Path) -> Result<(), Error> {
    match tensor.values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(Error::Failed(format!(
            "the weights of {} are not exported: `{}` in {} has {value}; delete that checkpoint if there is \
             an older one, or train anew with a lower train.learning_rate",
            run.display(),
            tensor.name,
            file.display()
        ))),
    }
}
