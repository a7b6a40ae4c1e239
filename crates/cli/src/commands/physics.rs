//! `maflow physics`: what the flow of a lattice model says about that model, and how good it is as a sampler.

use crate::engine::{self, Engine, Work};
use crate::error::CliError;
use crate::physics::model::LatticeModel;
use crate::plan::Physics;
use crate::{model, output, physics};

/// Studies as planned.
pub fn run(plan: Physics) -> Result<(), CliError> {
    let compute = plan.compute;
    let precision = plan.config.train.precision;
    engine::run(&compute, precision, plan)
}

impl Work for Physics {
    type Output = ();

    fn run<E: Engine>(self, engine: &E) -> Result<(), CliError> {
        let lattice = LatticeModel::new(&self.config)?;
        let trained = model::load(engine, &self.config, &self.run)?;
        let report = physics::study(engine.space(), &self.config, &lattice, &trained, self.amounts)?;
        output::line(&if self.json { report.json() } else { report.text() })
    }
}
