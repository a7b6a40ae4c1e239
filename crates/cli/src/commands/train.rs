//! `maflow train`: from a recipe or a run's last checkpoint to a trained flow, its figures and its pictures.

use flow_core::{Converged, Finish};
use maflow::backend::{self, Engine, Work};
use maflow::recipe::Recipe;
use maflow::report::Report;
use maflow::target::Layout;
use maflow::train::{Done, Train};
use maflow::{figures, metrics, trained};

use crate::error::CliError;
use crate::progress::duration;
use crate::terminal::Terminal;
use crate::{interrupt, output, pictures, report};

/// Trains as planned.
pub fn run(plan: Train) -> Result<(), CliError> {
    interrupt::listen()?;
    let compute = plan.compute;
    let done = plan.run(&Terminal::default())?;
    let path = done.run.path().display().to_string();
    if done.finish == Finish::Interrupted {
        return Err(CliError::Interrupted(format!("interrupted; to go on type: maflow train --resume --out {path}")));
    }
    let precision = done.recipe.train.precision;
    let mut told = Ok(());
    let drawn = backend::run(&compute, precision, Summary { done: &done, told: &mut told });
    if let Err(maflow::Error::Cancelled) = drawn {
        return Err(CliError::Interrupted(format!(
            "interrupted, but the training is complete; for its figures type: maflow evaluate {path}"
        )));
    }
    let drawn = drawn?;
    told?;
    output::line(&format!("  {path}/plots/  {}", drawn.join("  ")))?;
    // There is no picture of rows of many numbers.
    let samples = match done.recipe.target.layout() {
        Layout::Vector(n) if n != 2 => "--count 1000 --out samples.csv",
        _ => "--count 64 --out samples.png",
    };
    output::line(&format!("  next: maflow sample {path} {samples}"))
}

/// Figures and pictures of the trained flow.
struct Summary<'a> {
    done: &'a Done,
    /// Whether the figures could be printed. Pictures are there even where nobody reads them.
    told: &'a mut Result<(), CliError>,
}

impl Work for Summary<'_> {
    type Output = Vec<String>;

    fn run<E: Engine>(self, engine: &E) -> Result<Vec<String>, maflow::Error> {
        let (Done { run, recipe, target, .. }, terminal) = (self.done, Terminal::default());
        let trained = trained::load(engine, recipe, run.path(), &terminal)?;
        let (report, found): (Report, Converged) =
            figures::take(engine.space(), recipe, &**target, &trained, &terminal)?;
        let report = report::text(&report);
        let rows = metrics::read(&run.metrics())?;
        let seconds = rows.last().map_or(0.0, |row| row.seconds);
        let trained_for = format!("{} steps in {}", rows.last().map_or(0, |row| row.step), duration(seconds));
        run.log(&format!("trained: {trained_for}\n{report}"))?;
        *self.told = output::line(&format!("\n{} · {trained_for}\n\n{report}\n", title(recipe)));
        pictures::draw(engine.space(), recipe, &**target, &trained, Some(&found), run.path(), &terminal)
    }
}

fn title(recipe: &Recipe) -> String {
    match recipe.description.is_empty() {
        true => recipe.name.clone(),
        false => format!("{}: {}", recipe.name, recipe.description),
    }
}
