//! `maflow train`: from a recipe or a run's last checkpoint to a trained flow, its figures and its pictures.

use flow_core::Finish;
use maflow::backend::Compute;
use maflow::metrics;
use maflow::recipe::Recipe;
use maflow::run::Run;
use maflow::target::Layout;
use maflow::train::{Done, Train};

use crate::error::CliError;
use crate::place::Place;
use crate::progress::duration;
use crate::terminal::Terminal;
use crate::{interrupt, output, pictures, report};

/// Trains as planned, together with all processes. The first one takes the figures.
pub fn run(mut plan: Train, place: &Place) -> Result<(), CliError> {
    interrupt::listen()?;
    // The others sleep while figures are taken: those may have all cores.
    let compute = plan.compute;
    if let Some(threads) = place.threads {
        plan.compute.threads = threads;
    }
    let Some(done) = plan.run_by(place.team(), &*place.monitor())? else { return Ok(()) };
    let path = done.run.path().display().to_string();
    if done.finish == Finish::Interrupted {
        return Err(CliError::Interrupted(format!("interrupted; to go on type: maflow train --resume --out {path}")));
    }
    let drawn = match summary(&done, compute) {
        Err(CliError::Interrupted(_)) => {
            return Err(CliError::Interrupted(format!(
                "interrupted, but the training is complete; for its figures type: maflow evaluate {path}"
            )));
        }
        drawn => drawn?,
    };
    output::line(&format!("  {path}/plots/  {}", drawn.join("  ")))?;
    // There is no picture of rows of many numbers.
    let samples = match done.recipe.target.layout() {
        Layout::Particles(..) => "--count 1000 --out samples.npy",
        Layout::Vector(n) if n != 2 => "--count 1000 --out samples.csv",
        _ => "--count 64 --out samples.png",
    };
    let next = match done.recipe.target.temperatures() {
        Some(_) => format!("physics {path}"),
        None => format!("sample {path} {samples}"),
    };
    output::line(&format!("  next: maflow {next}"))
}

/// Takes the figures and draws the pictures of the trained flow. Returns the names of the pictures: they are drawn even
/// where the reader of the figures has gone.
fn summary(done: &Done, compute: Compute) -> Result<Vec<String>, CliError> {
    let (Done { run, recipe, target, .. }, terminal) = (done, Terminal::default());
    let trained = Run::create(run.path().to_owned(), recipe.clone()).with_compute(compute).with_target(target.clone());
    let flow = trained.flow(&terminal)?;
    let (report, found) = flow.figures(&**target, &terminal)?;
    let report = report::text(&report);
    let rows = metrics::read(&run.metrics())?;
    let seconds = rows.last().map_or(0.0, |row| row.seconds);
    let trained_for = format!("{} steps in {}", rows.last().map_or(0, |row| row.step), duration(seconds));
    run.log(&format!("trained: {trained_for}\n{report}"))?;
    let told = output::line(&format!("\n{} · {trained_for}\n\n{report}\n", title(recipe)));
    let drawn = pictures::draw(&*flow, recipe, &**target, Some(&found), run.path(), &terminal)?;
    told.map(|()| drawn)
}

/// What was trained, in one line.
pub(super) fn title(recipe: &Recipe) -> String {
    match recipe.description.is_empty() {
        true => recipe.name.clone(),
        false => format!("{}: {}", recipe.name, recipe.description),
    }
}
