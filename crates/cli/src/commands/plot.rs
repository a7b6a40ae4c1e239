//! `maflow plot`: the figures of a run.

use maflow::backend::{self, Engine, Work};
use maflow::{run_dir, target, trained};

use crate::error::CliError;
use crate::plan::Plot;
use crate::terminal::Terminal;
use crate::{output, pictures};

/// Draws as planned.
pub fn run(plan: Plot) -> Result<(), CliError> {
    let (compute, precision) = (plan.compute, plan.recipe.train.precision);
    let folder = run_dir::plots(&plan.run);
    let drawn = backend::run(&compute, precision, plan)?;
    let lines: Vec<String> = drawn.iter().map(|name| folder.join(name).display().to_string()).collect();
    output::line(&lines.join("\n"))
}

impl Work for Plot {
    type Output = Vec<String>;

    fn run<E: Engine>(self, engine: &E) -> Result<Vec<String>, maflow::Error> {
        let terminal = Terminal::default();
        let trained = trained::load(engine, &self.recipe, &self.run, &terminal)?;
        let kept = Some(trained.kept.clone());
        let target = target::open(&self.recipe, self.data.as_deref(), kept, &terminal)?;
        pictures::draw(engine.space(), &self.recipe, &*target, &trained, None, &self.run, &terminal)
    }
}
