//! The figures of a run: loss curve, samples, the path from the base density to the target, densities in the plane,
//! weights.

mod lattice;
mod particles;
mod samples;
mod table;
mod temperatures;
mod weights;

use std::path::Path;

use flow_core::{Converged, Direction, Purpose, RngKey};
use maflow::flow::TrainedFlow;
use maflow::kept::Units;
use maflow::monitor::Monitor;
use maflow::recipe::{Objective, Recipe, TargetKind};
use maflow::target::{Layout, Samples, Split, Target};
use maflow::{Error, metrics, run_dir};

pub use particles::beside_chains;
pub use samples::tiles;
pub use temperatures::beside_exact;

use crate::plots::{
    ColumnGroup, Content, Densities, LossCurve, Palette, Panel, Point, ReferenceLine, Stacked, Tiles, save_both,
    save_png,
};

/// Test NLL of others on MNIST in logit space, in nats (arXiv:1809.10188, table 1).
const QUOTED: [(&str, f64); 4] =
    [("MADE", 1380.8), ("Real NVP", 1323.2), ("MAF", 1300.5), ("Monge-Ampère flow", 1255.5)];
/// Points of the curve that are drawn at most; of more, means of neighbours are drawn.
const CURVE_POINTS: usize = 2000;
/// Cells of a density map in each direction.
const CELLS: usize = 160;
/// Times at which a path is shown.
const STOPS: usize = 5;
/// The part of the plane that is shown.
const RANGE: (f64, f64) = (-4.5, 4.5);

/// Draws all figures of a run into its folder `plots/` and returns the names of the files. `found` are the losses of
/// its figures, where they were taken before.
///
/// # Errors
/// An integration that fails, or a folder that cannot be written; figures drawn before that are there.
pub fn draw(
    flow: &dyn TrainedFlow,
    recipe: &Recipe,
    target: &dyn Target,
    found: Option<&Converged>,
    run: &Path,
    monitor: &dyn Monitor,
) -> Result<Vec<String>, Error> {
    let folder = run_dir::plots(run);
    std::fs::create_dir_all(&folder).map_err(|source| Error::Io { action: "create", path: folder.clone(), source })?;
    let mut drawn = Vec::new();
    let curves = loss_curves(recipe, target, run)?;
    if !curves.0.is_empty() {
        save_both(&curves, &folder, "loss")?;
        drawn.extend(["loss.png".to_owned(), "loss.svg".to_owned()]);
    }
    let seed = recipe.train.seed;
    let units = Units::of(target);
    let mut save = |name: &str, saved: Result<(), Error>| saved.map(|()| drawn.push(format!("{name}.png")));
    match target.layout() {
        Layout::Picture(..) => {
            save("samples", draw_samples(flow, recipe, &units, (64, 8), &folder))?;
            if let Some(samples) = target.samples() {
                let journey = journey(flow, samples, &units, recipe, seed)?;
                save("journey", save_png(&journey, &folder, "journey"))?;
            }
        }
        // Paths and samples of Monte Carlo are of one temperature.
        Layout::Lattice(..) if recipe.target.temperatures().is_some() => {
            save("samples", draw_samples(flow, recipe, &units, (50, 10), &folder))?;
        }
        Layout::Lattice(..) => {
            save("samples", draw_samples(flow, recipe, &units, (50, 10), &folder))?;
            save("path", save_png(&lattice::path(flow, recipe, &units)?, &folder, "path"))?;
            if let Some(model) = target.lattice_model() {
                let tiles = lattice::beside_clusters(flow, recipe, &units, model)?;
                save("clusters", save_png(&tiles, &folder, "clusters"))?;
            }
        }
        // Only where the flow's coordinates are those of the plane. A table has no known density to compare with.
        Layout::Vector(2) if target.table().is_none() && units.map.is_none() => {
            save("density", save_png(&densities(flow, recipe, target)?, &folder, "density"))?;
            save("path", save_png(&plane_path(flow, recipe)?, &folder, "path"))?;
        }
        Layout::Vector(_) | Layout::Particles(..) => {
            if let Some(table) = target.table() {
                save("columns", save_png(&table::corner(flow, recipe, table, &units)?, &folder, "columns"))?;
            }
        }
    }
    if target.energy().is_some() && recipe.probes().is_none() {
        let drawn = |found: &Converged| save_png(&weights::histogram(found, recipe, target), &folder, "weights");
        let saved = match found {
            Some(found) => drawn(found),
            None => drawn(&flow.figures(target, monitor)?.1),
        };
        save("weights", saved)?;
    }
    Ok(drawn)
}

/// What a picture of [`draw`] shows, by its name.
pub fn caption(name: &str) -> &str {
    match name {
        "loss" => "Loss while training",
        "samples" => "Samples of the flow",
        "journey" => "From data to the base density and back",
        "path" => "From the base density to the target",
        "clusters" => "Samples of the flow beside those of cluster Monte Carlo",
        "density" => "Density of the flow beside that of the data",
        "columns" => "Test rows and samples of the flow, pair by pair of columns",
        "weights" => "Importance weights of samples of the flow",
        other => other,
    }
}

fn draw_samples(
    flow: &dyn TrainedFlow,
    recipe: &Recipe,
    units: &Units,
    (count, columns): (usize, usize),
    folder: &Path,
) -> Result<(), Error> {
    // Of a range of temperatures every column has one.
    let context: Vec<f64> = match recipe.target.temperatures() {
        None => Vec::new(),
        Some([low, high]) => {
            let at = |k: usize| low + (high - low) * (k % columns) as f64 / (columns - 1) as f64;
            (0..count).map(at).collect()
        }
    };
    let mut samples = flow.samples(count, &context)?;
    units.to_user(&mut samples, &context);
    match tiles(recipe, &samples, columns) {
        Some(tiles) if !context.is_empty() => {
            let columns = context[..columns].iter().map(|t| format!("T = {t:.2}")).collect();
            let groups = vec![ColumnGroup { label: String::new(), columns }];
            save_png(&Tiles { groups, ..tiles }, folder, "samples")
        }
        Some(tiles) => save_png(&tiles, folder, "samples"),
        None => Ok(()),
    }
}

/// The losses while training, with the values to compare with; none where nothing was trained.
fn loss_curves(recipe: &Recipe, target: &dyn Target, run: &Path) -> Result<Stacked<LossCurve>, Error> {
    let path = run_dir::metrics(run);
    let rows = if path.exists() { metrics::read(&path)? } else { Vec::new() };
    let objective = recipe.train.objective;
    let apart = objective == Objective::FlowMatching || objective.is_distance();
    let matched = if apart { target.training_steps(&recipe.train)? } else { 0 };
    // The loss of a regression or a distance has no place beside likelihoods and free energies; validations during it
    // do.
    let (first, second) = rows.split_at(rows.partition_point(|row| row.step <= matched));
    let validated: Vec<_> = rows.iter().filter(|row| row.validation.is_some()).cloned().collect();
    let mut curves = Vec::new();
    if !first.is_empty() {
        curves.push(curve_apart(recipe, first, target.sites() as f64));
    }
    // Neither has a divergence from the target, which is above ln Z.
    let tuned = recipe.fine_tune.as_ref().and_then(|tune| tune.objective);
    let (divergences, second) = match tuned.unwrap_or(objective) {
        Objective::ForwardKl => (second, &rows[..0]),
        _ => (&rows[..0], second),
    };
    if !divergences.is_empty() {
        curves.push(divergence_curve(recipe, target, divergences));
    }
    if !(second.is_empty() && validated.is_empty()) {
        curves.push(loss_curve(recipe, target, second, &validated));
    }
    Ok(Stacked(curves))
}

/// Losses of the target's own objective, with the validations.
fn loss_curve(recipe: &Recipe, target: &dyn Target, rows: &[metrics::Row], validated: &[metrics::Row]) -> LossCurve {
    let epoch = target.steps_per_epoch(recipe.train.batch);
    let x = |step: u64| step as f64 / epoch.unwrap_or(1) as f64;
    let training = bundled(rows, x);
    let validation = validated.iter().filter_map(|row| {
        Some(Point { x: x(row.step), mean: row.validation?, error: row.validation_error.unwrap_or(0.0) })
    });
    let sites = target.sites();
    let known = target.known();
    let best = known.map(|known| ReferenceLine { label: known.word().to_owned(), value: known.value() / sites as f64 });
    let best: Vec<ReferenceLine> = best.into_iter().collect();
    let (title, y_label, references) = match (&recipe.target, target.energy().is_some()) {
        (TargetKind::Mnist(_), _) => {
            let quoted = QUOTED.map(|(label, value)| ReferenceLine { label: label.to_owned(), value });
            ("Negative log-likelihood, MNIST in logit space", "nats", quoted.to_vec())
        }
        (_, false) => ("Negative log-likelihood", "nats", best),
        (_, true) if sites > 1 => ("Variational free energy", "free energy per site", best),
        (_, true) => ("Variational free energy", "nats", best),
    };
    LossCurve {
        title: format!("{title}: {}", recipe.name),
        x_label: if epoch.is_some() { "epoch" } else { "step" }.to_owned(),
        y_label: y_label.to_owned(),
        smoothing: (training.len() / 40).max(1),
        training,
        validation: validation.collect(),
        references,
    }
}

/// The divergence of the flow from the target, above ln Z where that is known.
fn divergence_curve(recipe: &Recipe, target: &dyn Target, rows: &[metrics::Row]) -> LossCurve {
    let training = bundled(rows, |step| step as f64);
    let log_z = target.known().map(|known| ReferenceLine { label: "ln Z".to_owned(), value: -known.value() });
    LossCurve {
        title: format!("Forward KL divergence: {}", recipe.name),
        x_label: "step".to_owned(),
        y_label: "ln Z and the divergence, nats".to_owned(),
        smoothing: (training.len() / 40).max(1),
        training,
        validation: Vec::new(),
        references: log_z.into_iter().collect(),
    }
}

/// Losses as at most [`CURVE_POINTS`] points: of more rows, means of neighbours.
fn bundled(rows: &[metrics::Row], x: impl Fn(u64) -> f64) -> Vec<Point> {
    let point = |rows: &[metrics::Row]| {
        let n = rows.len() as f64;
        let mean = rows.iter().map(|row| row.loss).sum::<f64>() / n;
        let error = rows.iter().map(|row| row.loss_error.powi(2)).sum::<f64>().sqrt() / n;
        Point { x: x(rows[rows.len() - 1].step), mean, error }
    };
    rows.chunks(rows.len().div_ceil(CURVE_POINTS).max(1)).map(point).collect()
}

/// The loss of a training by flow matching.
fn curve_apart(recipe: &Recipe, rows: &[metrics::Row], sites: f64) -> LossCurve {
    let (title, loss) = match recipe.train.objective {
        Objective::Sinkhorn => ("Sinkhorn divergence", "divergence of samples and data"),
        Objective::SlicedWasserstein => ("Sliced Wasserstein", "distance of samples and data"),
        _ => ("Flow matching", "mean square error of the velocity"),
    };
    let training = bundled(rows, |step| step as f64);
    LossCurve {
        title: format!("{title}: {}", recipe.name),
        x_label: "step".to_owned(),
        y_label: format!("{loss}{}", if sites == 1.0 { "" } else { ", per site" }),
        smoothing: (training.len() / 40).max(1),
        training,
        validation: Vec::new(),
        references: Vec::new(),
    }
}

/// Test pictures on their way to the Gaussian, and fresh numbers from the Gaussian on their way to pictures.
fn journey(
    flow: &dyn TrainedFlow,
    samples: &dyn Samples,
    units: &Units,
    recipe: &Recipe,
    seed: u64,
) -> Result<Tiles, Error> {
    const MOST: usize = 6;
    let rows = samples.held_out_rows(Split::Test).map_or(MOST, |rows| rows.min(MOST));
    let key = RngKey::new(seed, Purpose::Sample, u64::MAX - 1);
    let [height, width] = recipe.target.layout().shape()[..] else { unreachable!("a picture has two sides") };
    let n = height * width;
    let mut data = vec![0.0; rows * n];
    samples.held_out(Split::Test, key, 0, 0..rows, &mut data)?;
    let base = key.normals(0..rows, n);
    let mut inference = flow.journey(&data, Direction::Backward, STOPS, key)?;
    let mut generation = flow.journey(&base, Direction::Forward, STOPS, key)?;
    inference.iter_mut().chain(&mut generation).for_each(|x| units.to_user(x, &[]));
    let mut pictures = Vec::new();
    for place in (0..rows).map(|row| row * n..(row + 1) * n) {
        pictures
            .extend(inference.iter().chain(&generation).map(|x| samples::pixels(&recipe.target, &x[place.clone()])));
    }
    let times = times(flow);
    let note = match flow.duration() {
        Some(_) => {
            "left: test pictures on their way to the base density; right: fresh samples of it on their way to pictures"
        }
        // Two columns on either side have no room for more words.
        None => "left: test pictures to the base density; right: from fresh samples of it",
    };
    Ok(Tiles {
        title: "From pictures to the Gaussian and back".to_owned(),
        note: note.to_owned(),
        groups: vec![
            ColumnGroup { label: "inference".to_owned(), columns: times.iter().rev().cloned().collect() },
            ColumnGroup { label: "generation".to_owned(), columns: times },
        ],
        height,
        width,
        pictures,
        palette: Palette::Grey,
    })
}

/// The times at which a path is shown, in words. A map in closed form has no path, but two ends.
fn times(flow: &dyn TrainedFlow) -> Vec<String> {
    match flow.duration() {
        Some(duration) => (0..STOPS).map(|k| format!("t = {}", duration * k as f64 / (STOPS - 1) as f64)).collect(),
        None => ["base", "model"].map(str::to_owned).to_vec(),
    }
}

/// Points of the base density on their way to the target.
fn plane_path(flow: &dyn TrainedFlow, recipe: &Recipe) -> Result<Densities, Error> {
    let key = RngKey::new(recipe.train.seed, Purpose::Sample, u64::MAX - 1);
    let stops = flow.journey(&key.normals(0..2000, 2), Direction::Forward, STOPS, key)?;
    let panels = times(flow).into_iter().zip(&stops).map(|(title, x)| Panel { title, content: points(x) }).collect();
    let title = format!("{}: from the base density to the target", recipe.name);
    Ok(Densities { title, x_range: RANGE, y_range: RANGE, panels })
}

/// The target's density, the flow's, and samples of the flow.
fn densities(flow: &dyn TrainedFlow, recipe: &Recipe, target: &dyn Target) -> Result<Densities, Error> {
    let at = |k: usize| RANGE.0 + (RANGE.1 - RANGE.0) * (k as f64 + 0.5) / CELLS as f64;
    let cells: Vec<[f64; 2]> = (0..CELLS * CELLS).map(|k| [at(k % CELLS), at(k / CELLS)]).collect();
    let key = RngKey::new(recipe.train.seed, Purpose::Sample, u64::MAX);
    let learned = flow.log_density(cells.as_flattened(), key)?;
    let samples = flow.samples(4000, &[])?;
    let known: Option<Vec<f64>> = cells.iter().map(|x| target.log_density(x)).collect();
    let panel = |title: &str, content| Panel { title: title.to_owned(), content };
    Ok(Densities {
        title: recipe.name.clone(),
        x_range: RANGE,
        y_range: RANGE,
        panels: known
            .map(|values| panel("target, ln p", Content::LogDensity { side: CELLS, values }))
            .into_iter()
            .chain([
                panel("flow, ln p", Content::LogDensity { side: CELLS, values: learned }),
                panel("samples of the flow", points(&samples)),
            ])
            .collect(),
    })
}

/// Points of a plane as a panel.
pub fn points(samples: &[f64]) -> Content {
    Content::Samples(samples.chunks_exact(2).map(|x| (x[0], x[1])).collect())
}

/// Points of a plane as a figure of their own.
pub fn scatter(recipe: &Recipe, samples: &[f64]) -> Densities {
    let panel = Panel { title: format!("{} samples of the flow", samples.len() / 2), content: points(samples) };
    Densities { title: recipe.name.clone(), x_range: RANGE, y_range: RANGE, panels: vec![panel] }
}
