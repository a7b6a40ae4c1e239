//! `maflow plot`: the figures of a run.

use maflow::run::Run;
use maflow::{run_dir, target};

use crate::error::CliError;
use crate::plan::Plot;
use crate::terminal::Terminal;
use crate::{output, pictures};

/// Draws as planned.
pub fn run(plan: Plot) -> Result<(), CliError> {
    let (folder, terminal) = (run_dir::plots(&plan.run), Terminal::default());
    let flow = Run::create(plan.run.clone(), plan.recipe.clone()).with_compute(plan.compute).flow(&terminal)?;
    let target = match plan.target {
        Some(handed_in) => handed_in,
        None => target::open(&plan.recipe, plan.data.as_deref(), Some(flow.kept().clone()), &terminal)?.into(),
    };
    let drawn = pictures::draw(&*flow, &plan.recipe, &*target, None, &plan.run, &terminal)?;
    let lines: Vec<String> = drawn.iter().map(|name| folder.join(name).display().to_string()).collect();
    output::line(&lines.join("\n"))
}
