//! `maflow import`: a run made from weights trained elsewhere, to be evaluated, sampled or trained further.

use flow_core::{BaseSamples, Occasion, Space, Trainer};
use maflow::checkpoint::CheckpointFolder;

use crate::engine::{self, Engine, Work};
use crate::error::CliError;
use crate::plan::Import;
use crate::run_dir::RunDir;
use crate::weights::Weights;
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
        let wanted: Vec<_> = potential.parameters().iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
        let Weights { parameters, notes } = Weights::read(&self.file, &wanted, engine.space().precision())?;
        parameters.load_parameters(engine.space(), potential.parameters_mut())?;
        self.config.run = Some(self.compute.run_info());
        let run = RunDir::create(&self.out, &self.config)?;
        let folder = CheckpointFolder::open(&run.checkpoints(), self.config.train.keep)?;
        // What a training that starts from these parameters would save first: only a trainer knows.
        let mut model = settings::model(engine.space(), &self.config, potential)?;
        let (settings, batches) = (settings::with_steps(&self.config, 1), BaseSamples { dim: self.config.dimension() });
        folder.write(Occasion::Periodic, &Trainer::new(&mut model, settings, &batches)?.checkpoint())?;
        run.log(&format!("imported from {}", self.file.display()))?;
        for note in notes {
            output::note(&note);
            run.log(&note)?;
        }
        let path = run.path().display();
        output::line(&format!("{path}: a run of {} with the weights of {}", self.config.name, self.file.display()))?;
        output::line(&format!("next: maflow evaluate {path}    or train further: maflow train --resume --out {path}"))
    }
}
