//! Pictures of lattice models: the path from the base to the target, and the flow's samples beside those of cluster
//! Monte Carlo.

use flow_core::{Direction, Purpose, RngKey};
use maflow::Error;
use maflow::flow::TrainedFlow;
use maflow::kept::Units;
use maflow::recipe::{Recipe, TargetKind};
use maflow::target::LatticeModel;

use super::samples::{ising_model, shades, spins};
use super::{STOPS, times};
use crate::plots::{ColumnGroup, Palette, Tiles};

/// Points of the base density on their way to configurations. Of an Ising model each site shows the mean `tanh x` of
/// its spin given x, and the last column the spins themselves.
pub fn path(flow: &dyn TrainedFlow, recipe: &Recipe, units: &Units) -> Result<Tiles, Error> {
    const ROWS: usize = 6;
    let [height, width] = recipe.target.layout().shape()[..] else { unreachable!("a lattice has two sides") };
    let sites = height * width;
    let key = RngKey::new(recipe.train.seed, Purpose::Sample, u64::MAX - 1);
    let base = key.normals(0..ROWS, sites);
    let mut stops = flow.journey(&base, Direction::Forward, STOPS, key)?;
    for x in &mut stops {
        units.to_user(x, &[]);
    }
    let mut groups = vec![ColumnGroup { label: String::new(), columns: times(flow) }];
    let mut pictures = Vec::new();
    let (note, palette);
    if let TargetKind::Ising(ising) = &recipe.target {
        note = format!("{}: ⟨s|x⟩ = tanh x, and spins", ising_model(ising));
        palette = Palette::Spins;
        groups.push(ColumnGroup { label: String::new(), columns: vec!["spins".to_owned()] });
        for row in 0..ROWS {
            let place = row * sites..(row + 1) * sites;
            let mean = |x: &Vec<f64>| x[place.clone()].iter().map(|x| (0.5 + 0.5 * x.tanh()) as f32).collect();
            pictures.extend(stops.iter().map(mean));
            let last = &stops[stops.len() - 1][place.clone()];
            pictures.push(spins(last, RngKey::new(recipe.train.seed, Purpose::Spins, u64::MAX), row as u64));
        }
    } else {
        let reach = stops.iter().flatten().fold(f64::MIN_POSITIVE, |reach, x| reach.max(x.abs()));
        note = format!("colours from {:.2} to {reach:.2}", -reach);
        palette = Palette::Viridis;
        for row in 0..ROWS {
            let field = |x: &Vec<f64>| shades(&x[row * sites..(row + 1) * sites], reach);
            pictures.extend(stops.iter().map(field));
        }
    }
    let title = "From the base density to the target".to_owned();
    Ok(Tiles { title, note, groups, height, width, pictures, palette })
}

/// Samples of the flow beside those of cluster Monte Carlo.
pub fn beside_clusters(
    flow: &dyn TrainedFlow,
    recipe: &Recipe,
    units: &Units,
    model: &dyn LatticeModel,
) -> Result<Tiles, Error> {
    const SIDE: usize = 5;
    let seed = recipe.train.seed;
    let [height, width] = recipe.target.layout().shape()[..] else { unreachable!("a lattice has two sides") };
    let sites = height * width;
    let mut samples = flow.samples(SIDE * SIDE, &[])?;
    units.to_user(&mut samples, &[]);
    let clusters = model.configurations(seed, SIDE * SIDE, &())?;
    let reach = samples.iter().chain(&clusters).fold(f64::MIN_POSITIVE, |reach, x| reach.max(x.abs()));
    let fields = |x: &[f64]| x.chunks_exact(sites).map(|x| shades(x, reach)).collect();
    let key = RngKey::new(seed, Purpose::Spins, u64::MAX - 1);
    let (note, palette, learned, sampled): (_, _, Vec<Vec<f32>>, Vec<Vec<f32>>) = match &recipe.target {
        TargetKind::Ising(ising) => (
            ising_model(ising),
            Palette::Spins,
            samples.chunks_exact(sites).enumerate().map(|(k, x)| spins(x, key, k as u64)).collect(),
            clusters.chunks_exact(sites).map(|x| shades(x, 1.0)).collect(),
        ),
        TargetKind::Phi4(phi4) => {
            let (kappa, lambda) = (phi4.kappa, phi4.lambda);
            let colours = format!("colours from {:.2} to {reach:.2}", -reach);
            let note = format!("{height}×{width} φ⁴ theory, κ = {kappa:?}, λ = {lambda:?}; {colours}");
            (note, Palette::Viridis, fields(&samples), fields(&clusters))
        }
        TargetKind::Mnist(_)
        | TargetKind::Toy(_)
        | TargetKind::Particles(_)
        | TargetKind::Sets(_)
        | TargetKind::Table(_)
        | TargetKind::Energy(_)
        | TargetKind::Own(_) => {
            let note = format!("{height}×{width}; colours from {:.2} to {reach:.2}", -reach);
            (note, Palette::Viridis, fields(&samples), fields(&clusters))
        }
    };
    let rows = learned.chunks(SIDE).zip(sampled.chunks(SIDE));
    let group = |label: &str| ColumnGroup { label: label.to_owned(), ..ColumnGroup::plain(SIDE) };
    Ok(Tiles {
        title: "The flow beside cluster Monte Carlo".to_owned(),
        note,
        groups: vec![group("flow"), group("cluster Monte Carlo")],
        height,
        width,
        pictures: rows.flat_map(|(learned, sampled)| [learned, sampled].concat()).collect(),
        palette,
    })
}
