//! `maflow export`: the weights of a run with PyTorch's names.

use std::path::Path;

use flow_core::{Error, Tensor};
use maflow::tensor_file::TensorFile;

use crate::error::CliError;
use crate::plan::Export;
use crate::torch_names::{NAMES, torch_shape};
use crate::{model, output};

/// Exports as planned.
pub fn run(plan: Export) -> Result<(), CliError> {
    let (checkpoint, file) = model::checkpoint(&plan.run)?;
    let crate::config::Potential::Ridge(ridge) = &plan.config.potential else {
        return Err(CliError::Usage(format!(
            "{} has a sum of terms, for which PyTorch's two linear layers have no names; its weights are in {}",
            plan.run.display(),
            file.display()
        )));
    };
    let mut tensors = Vec::new();
    for (ours, torch) in NAMES {
        let named = |name: &str| checkpoint.tensors.iter().find(|tensor| tensor.name == name);
        // What figures are taken with is what goes out.
        let found = named(&format!("average.{ours}")).or_else(|| named(ours));
        match found {
            Some(tensor) => {
                require_finite(tensor, &file, &plan.run)?;
                let shape = torch_shape(ours, &tensor.shape);
                tensors.push(Tensor { name: torch.to_owned(), shape, ..tensor.clone() });
            }
            None if ours == "bias" && !ridge.bias => {}
            None => {
                let names: Vec<&str> = checkpoint.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
                return Err(Error::MissingTensor {
                    origin: file.display().to_string(),
                    name: ours.to_owned(),
                    available: names.join(", "),
                }
                .into());
            }
        }
    }
    let names: Vec<String> = tensors.iter().map(|tensor| format!("{} {:?}", tensor.name, tensor.shape)).collect();
    TensorFile { tensors, ..TensorFile::default() }.write(&plan.out)?;
    if ridge.symmetry.is_some() {
        output::note(&format!(
            "the density of {} is that of these weights with the symmetry in [potential.symmetry] of its config.toml, which weights do not hold",
            plan.run.display()
        ));
    }
    output::line(&format!("{}: {} of {}", plan.out.display(), names.join(", "), file.display()))
}

/// Weights that are not finite are of no use to anyone.
fn require_finite(tensor: &Tensor, file: &Path, run: &Path) -> Result<(), CliError> {
    match tensor.values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(CliError::Failed(format!(
            "the weights of {} are not exported: `{}` in {} has {value}; delete that checkpoint if there is \
             an older one, or train anew with a lower train.learning_rate",
            run.display(),
            tensor.name,
            file.display()
        ))),
    }
}
