//! `maflow physics`: what the flow of a target with an energy says about that target, and how good it is as a sampler.

use maflow::physics::report::Particles;
use maflow::run::Run;
use maflow::{Error, run_dir};

use crate::error::CliError;
use crate::place::Place;
use crate::plan::Physics;
use crate::plots::save_png;
use crate::{output, physics_report, pictures};

/// Studies as planned, together with all processes. The first one prints.
pub fn run(plan: Physics, place: &Place) -> Result<(), CliError> {
    let run = place.shared(plan.run);
    let report = run.physics(plan.counts, &*place.monitor())?;
    output::line(&if plan.json { report.json() } else { physics_report::text(&report) })?;
    let Some(particles) = report.particles.as_ref().filter(|_| place.is_first()) else { return Ok(()) };
    match draw(&run, particles) {
        Ok(picture) => output::note(&format!("drawn: {picture}")),
        // The figures are there all the same.
        Err(error) => output::note(&format!("the picture of the particles is not drawn: {error}")),
    }
    Ok(())
}

/// Draws particles of the flow beside those of the target's own chains into the folder of the run's pictures, and
/// returns the path of the picture.
fn draw(run: &Run, particles: &Particles) -> Result<String, Error> {
    let folder = run_dir::plots(run.path());
    std::fs::create_dir_all(&folder).map_err(|source| Error::Io { action: "create", path: folder.clone(), source })?;
    save_png(&pictures::beside_chains(particles, &run.recipe().name), &folder, "particles")?;
    Ok(folder.join("particles.png").display().to_string())
}
