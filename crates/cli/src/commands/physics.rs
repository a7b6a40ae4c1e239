//! `maflow physics`: what the flow of a target with an energy says about that target, and how good it is as a sampler.

use maflow::physics::SampleCounts;
use maflow::physics::report::AtTemperature;
use maflow::run::Run;
use maflow::{Error, run_dir};

use crate::error::CliError;
use crate::place::Place;
use crate::plan::Physics;
use crate::plots::{Figure, save_png};
use crate::{output, physics_report, pictures};

/// Studies as planned, together with all processes. The first one prints.
pub fn run(plan: Physics, place: &Place) -> Result<(), CliError> {
    let run = place.shared(plan.run);
    if run.recipe().target.temperatures().is_some() {
        return range(&run, plan.counts, plan.json, place);
    }
    let report = run.physics(plan.counts, &*place.monitor())?;
    output::line(&if plan.json { report.json() } else { physics_report::text(&report) })?;
    let Some(particles) = report.particles.as_ref().filter(|_| place.is_first()) else { return Ok(()) };
    say(draw(&run, "particles", || Ok(pictures::beside_chains(particles, &run.recipe().name))));
    Ok(())
}

/// Samples whose forces are compared at each temperature of a range.
const RANGE_FORCES: usize = 100;

/// Studies a run of a range of temperatures at several of them.
fn range(run: &Run, counts: SampleCounts, json: bool, place: &Place) -> Result<(), CliError> {
    let counts = SampleCounts { chain: 0, forces: RANGE_FORCES, ..counts };
    let found = run.temperatures(counts, &*place.monitor())?;
    output::line(&if json { AtTemperature::json(&found) } else { physics_report::of_temperatures(&found) })?;
    if place.is_first() {
        say(draw(run, "temperatures", || pictures::beside_exact(run, &found)));
    }
    Ok(())
}

/// Says where a picture is. Without it the figures are there all the same.
fn say(drawn: Result<String, Error>) {
    match drawn {
        Ok(picture) => output::note(&format!("drawn: {picture}")),
        Err(error) => output::note(&format!("the picture is not drawn: {error}")),
    }
}

/// Draws a picture into the folder of the run's pictures, and returns its path.
fn draw<F: Figure>(run: &Run, name: &str, picture: impl FnOnce() -> Result<F, Error>) -> Result<String, Error> {
    let folder = run_dir::plots(run.path());
    std::fs::create_dir_all(&folder).map_err(|source| Error::Io { action: "create", path: folder.clone(), source })?;
    save_png(&picture()?, &folder, name)?;
    Ok(folder.join(format!("{name}.png")).display().to_string())
}
