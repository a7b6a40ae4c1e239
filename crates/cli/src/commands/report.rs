//! `maflow report`: a run as one HTML file.

use std::fs;
use std::path::Path;

use maflow::files::write_whole;
use maflow::metrics;
use maflow::recipe::Recipe;
use maflow::run_dir;

use super::train::title;
use crate::error::CliError;
use crate::page::{Page, Picture};
use crate::plan::ReportPlan;
use crate::progress::duration;
use crate::terminal::Terminal;
use crate::{output, pictures, report};

/// Takes the figures, draws the pictures, and writes both as planned.
pub fn run(plan: ReportPlan) -> Result<(), CliError> {
    let (ReportPlan { run, out }, terminal) = (plan, Terminal::default());
    let flow = run.flow(&terminal)?;
    let target = run.open_target(flow.kept(), &terminal)?;
    let (figures, found) = flow.figures(&*target, &terminal)?;
    let drawn = pictures::draw(&*flow, run.recipe(), &*target, Some(&found), run.path(), &terminal)?;
    let rows = report::rows(&figures).into_iter().map(|(name, value)| (name.to_owned(), value));
    let page = Page {
        title: title(run.recipe()),
        about: about(run.path(), run.recipe(), &figures.checkpoint)?,
        figures: rows.collect(),
        json: figures.json(),
        pictures: shown(&drawn, &run_dir::plots(run.path()))?,
        settings: toml::to_string(run.recipe()).map_err(|error| CliError::Failed(error.to_string()))?,
    };
    write_whole(&out, page.html().as_bytes())?;
    output::line(&out.display().to_string())
}

/// Where the run is, and how long it was trained.
fn about(run: &Path, recipe: &Recipe, checkpoint: &str) -> Result<Vec<String>, CliError> {
    let file = run_dir::metrics(run);
    let rows = if file.exists() { metrics::read(&file)? } else { Vec::new() };
    let trained = rows.last().map(|row| format!("Trained for {} steps in {}.", row.step, duration(row.seconds)));
    let backend = recipe.run.as_ref().map(|run| format!(" on {}", run.backend.name())).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let figures = format!("Figures of {checkpoint}, by maflow {version}; the run was made{backend}.");
    Ok(trained.into_iter().chain([figures]).collect())
}

/// The pictures that were drawn, each once: what is there as SVG too is shown as PNG.
fn shown(drawn: &[String], folder: &Path) -> Result<Vec<Picture>, CliError> {
    let names = drawn.iter().filter_map(|name| name.strip_suffix(".png"));
    names
        .map(|name| {
            let file = folder.join(format!("{name}.png"));
            let png =
                fs::read(&file).map_err(|source| maflow::Error::Io { action: "read", path: file.clone(), source })?;
            Ok(Picture { caption: pictures::caption(name).to_owned(), png })
        })
        .collect()
}
