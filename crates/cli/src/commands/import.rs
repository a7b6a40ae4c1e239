//! `maflow import`: a run made from weights trained elsewhere, to be evaluated, sampled or trained further.

use std::path::Path;

use flow_core::checkpoint::{Checkpoint, CheckpointFolder, Occasion, Tensor};
use flow_core::train::{BaseSamples, Trainer};
use flow_core::{Error, NegativeLogLikelihood, Parameter, Potential, Space};

use crate::engine::{self, Engine, Work};
use crate::error::CliError;
use crate::plan::Import;
use crate::run_dir::RunDir;
use crate::torch_names::{NAMES, torch_shape};
use crate::{model, output, settings};

/// Imports as planned.
pub fn run(plan: Import) -> Result<(), CliError> {
    let compute = plan.compute;
    let precision = plan.config.train.precision;
    engine::run(&compute, precision, plan)
}

impl Work for Import {
    type Output = ();

    fn run<E: Engine>(mut self, engine: &E) -> Result<(), CliError> {
        let mut potential = model::potential(engine, &self.config)?;
        // All is read and checked before the run directory is made.
        let weights = Checkpoint::read(&self.file).map_err(|error| match error {
            Error::Checkpoint { path, reason } => CliError::Failed(format!(
                "{} has no weights that can be imported ({reason}); write them anew, as finite numbers of 32 or 64 bits in safetensors",
                path.display()
            )),
            error => error.into(),
        })?;
        let weights = renamed(weights, &potential.parameters(), &self.file)?;
        weights.load_parameters(engine.space(), potential.parameters_mut(), &self.file)?;
        self.config.run = Some(self.compute.run_info());
        let run = RunDir::create(&self.out, &self.config)?;
        let folder = CheckpointFolder::open(&run.checkpoints(), self.config.train.keep)?;
        let first = first_checkpoint(engine.space(), &mut *potential, &self, &folder)?;
        folder.save(0, Occasion::Periodic, &first)?;
        run.log(&format!("imported from {}", self.file.display()))?;
        let path = run.path().display();
        output::line(&format!("{path}: a run of {} with the weights of {}", self.config.name, self.file.display()))?;
        output::line(&format!("next: maflow evaluate {path}    or train further: maflow train --resume --out {path}"))
    }
}

/// What a training that starts from these parameters would save first: only a trainer knows.
fn first_checkpoint<S: Space>(
    space: &S,
    potential: &mut dyn Potential<S>,
    plan: &Import,
    folder: &CheckpointFolder,
) -> Result<Checkpoint, CliError> {
    let (settings, batches) = (settings::with_steps(&plan.config, 1), BaseSamples { dim: potential.dim() });
    let objective = NegativeLogLikelihood::default();
    Ok(Trainer::new(space, settings, potential, &objective, &batches, folder)?.checkpoint())
}

/// The tensors of the file under our names and in our shapes: exactly those that the potential has.
fn renamed<S: Space>(file: Checkpoint, parameters: &[&Parameter<S>], path: &Path) -> Result<Checkpoint, CliError> {
    let is_torch = file.tensors.iter().any(|tensor| NAMES.iter().any(|(_, torch)| *torch == tensor.name));
    let wanted: Vec<(&Parameter<S>, String, Vec<usize>)> = parameters
        .iter()
        .map(|parameter| {
            let torch = NAMES.iter().find(|(ours, _)| is_torch && *ours == parameter.name);
            match torch {
                Some((ours, torch)) => (*parameter, (*torch).to_owned(), torch_shape(ours, &parameter.shape)),
                None => (*parameter, parameter.name.clone(), parameter.shape.clone()),
            }
        })
        .collect();
    if let Some(extra) = file.tensors.iter().find(|tensor| wanted.iter().all(|(_, name, _)| *name != tensor.name)) {
        let names: Vec<&str> = wanted.iter().map(|(_, name, _)| name.as_str()).collect();
        return Err(CliError::Failed(format!(
            "{} has a tensor `{}`, but the recipe's potential has only {}; choose the recipe that the weights belong to, or change it with --set",
            path.display(),
            extra.name,
            names.join(", ")
        )));
    }
    let mut tensors = Vec::new();
    for (parameter, name, shape) in wanted {
        let Some(tensor) = file.tensors.iter().find(|tensor| tensor.name == name) else {
            let names: Vec<&str> = file.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            return Err(Error::MissingTensor { path: path.into(), name, available: names.join(", ") }.into());
        };
        if tensor.shape != shape {
            let what = format!("tensor `{name}` of {}", path.display());
            return Err(Error::Shape { what, found: tensor.shape.clone(), expected: shape }.into());
        }
        tensors.push(Tensor { name: parameter.name.clone(), shape: parameter.shape.clone(), ..tensor.clone() });
    }
    Ok(Checkpoint { tensors, ..Checkpoint::default() })
}
