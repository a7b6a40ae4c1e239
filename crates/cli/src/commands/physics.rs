//! `maflow physics`: what the flow of a lattice model says about that model, and how good it is as a sampler.

use maflow::backend::{self, Engine, Work};
use maflow::{physics, standard, target, trained};

use crate::error::CliError;
use crate::plan::Physics;
use crate::terminal::Terminal;
use crate::{output, physics_report};

/// Studies as planned.
pub fn run(plan: Physics) -> Result<(), CliError> {
    let (json, compute, precision) = (plan.json, plan.compute, plan.config.train.precision);
    let report = backend::run(&compute, precision, plan)?;
    output::line(&if json { report.json() } else { physics_report::text(&report) })
}

impl Work for Physics {
    type Output = physics::report::PhysicsReport;

    fn run<E: Engine>(self, engine: &E) -> Result<Self::Output, maflow::Error> {
        let (config, terminal) = (&self.config, Terminal::default());
        if !config.target.is_lattice() {
            return Err(maflow::Error::NoLatticeModel(config.target.words()));
        }
        let target = target::open(config, None, Some(standard::read(&self.run, config)?), &terminal)?;
        let model = physics::lattice_model(&*target, config)?;
        let trained = trained::load(engine, config, &self.run, &terminal)?;
        physics::study(engine.space(), config, model, &trained, self.amounts, &terminal)
    }
}
