//! `maflow plot`: the figures of a run.

use maflow::run_dir;

use crate::error::CliError;
use crate::plan::Plot;
use crate::terminal::Terminal;
use crate::{output, pictures};

/// Draws as planned.
pub fn run(plan: Plot) -> Result<(), CliError> {
    let (run, terminal) = (plan.run, Terminal::default());
    let (folder, flow) = (run_dir::plots(run.path()), run.flow(&terminal)?);
    let target = run.open_target(flow.kept(), &terminal)?;
    let drawn = pictures::draw(&*flow, run.recipe(), &*target, None, run.path(), &terminal)?;
    let lines: Vec<String> = drawn.iter().map(|name| folder.join(name).display().to_string()).collect();
    output::line(&lines.join("\n"))
}
