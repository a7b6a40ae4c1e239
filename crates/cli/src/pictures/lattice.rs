//! Pictures of lattice models: the path from the base to the target, and the flow's samples beside those of cluster
//! Monte Carlo.

use datasets::Standardisation;
use datasets::lattice::{IsingSamples, Phi4Samples};
use flow_core::{Direction, Flow, Purpose, RngKey, Space};

use super::{STOPS, times};
use crate::config::{Config, Target};
use crate::error::CliError;
use crate::plots::{ColumnGroup, Palette, Tiles};
use crate::problem::{TargetEnergy, reference_seed};
use crate::report::fixed;
use crate::sampling;

/// Points of the base density on their way to configurations. Of an Ising model each site shows the mean `tanh x` of
/// its spin given x, and the last column the spins themselves.
pub fn path<S: Space>(
    flow: &Flow<'_, S>,
    config: &Config,
    standardisation: &Standardisation,
) -> Result<Tiles, CliError> {
    const ROWS: usize = 6;
    let [height, width] = sampling::shape(config)[..] else { unreachable!("a lattice has two sides") };
    let sites = height * width;
    let key = RngKey::new(config.train.seed, Purpose::Sample, u64::MAX - 1);
    let base = key.normals(0..ROWS, sites);
    let mut stops = sampling::journey(flow, &base, Direction::Forward, STOPS, key)?;
    for x in &mut stops {
        sampling::to_physical(config, standardisation, x)?;
    }
    let mut groups = vec![ColumnGroup { label: String::new(), columns: times(flow) }];
    let mut pictures = Vec::new();
    let (note, palette);
    if let Target::Ising(ising) = &config.target {
        let temperature = fixed(ising.temperature.value(), 4);
        note = format!("{height}×{width} Ising model at T = {temperature}: ⟨s|x⟩ = tanh x, and spins");
        palette = Palette::Spins;
        groups.push(ColumnGroup { label: String::new(), columns: vec!["spins".to_owned()] });
        for row in 0..ROWS {
            let place = row * sites..(row + 1) * sites;
            let mean = |x: &Vec<f64>| x[place.clone()].iter().map(|x| (0.5 + 0.5 * x.tanh()) as f32).collect();
            pictures.extend(stops.iter().map(mean));
            let last = &stops[STOPS - 1][place.clone()];
            pictures.push(sampling::spins(last, RngKey::new(config.train.seed, Purpose::Spins, u64::MAX), row as u64));
        }
    } else {
        let reach = stops.iter().flatten().fold(f64::MIN_POSITIVE, |reach, x| reach.max(x.abs()));
        note = format!("colours from {:.2} to {reach:.2}", -reach);
        palette = Palette::Viridis;
        for row in 0..ROWS {
            let field = |x: &Vec<f64>| sampling::shades(&x[row * sites..(row + 1) * sites], reach);
            pictures.extend(stops.iter().map(field));
        }
    }
    let title = "From the base density to the target".to_owned();
    Ok(Tiles { title, note, groups, height, width, pictures, palette })
}

/// Samples of the flow beside those of cluster Monte Carlo; `None` in the plane.
pub fn beside_clusters<S: Space>(
    flow: &Flow<'_, S>,
    config: &Config,
    standardisation: &Standardisation,
    energy: &TargetEnergy,
) -> Result<Option<Tiles>, CliError> {
    const SIDE: usize = 5;
    let seed = config.train.seed;
    let [height, width] = sampling::shape(config)[..] else { return Ok(None) };
    let sites = height * width;
    let mut samples = sampling::all(flow, seed, SIDE * SIDE)?;
    sampling::to_physical(config, standardisation, &mut samples)?;
    let (note, palette, learned, sampled): (_, _, Vec<Vec<f32>>, Vec<Vec<f32>>) = if let Some(model) = energy.ising() {
        let clusters = IsingSamples::generate(model.lattice(), model.temperature(), SIDE * SIDE, reference_seed(seed))?;
        let key = RngKey::new(seed, Purpose::Spins, u64::MAX - 1);
        let shade = |spin: &i8| if *spin > 0 { 1.0 } else { 0.0 };
        let rows = samples.chunks_exact(sites).enumerate();
        (
            format!("{height}×{width} Ising model at T = {:.4}", model.temperature()),
            Palette::Spins,
            rows.map(|(k, x)| sampling::spins(x, key, k as u64)).collect(),
            (0..SIDE * SIDE).map(|k| clusters.spins(k).iter().map(shade).collect()).collect(),
        )
    } else if let Some(model) = energy.phi4() {
        let clusters = Phi4Samples::generate(model, SIDE * SIDE, reference_seed(seed))?;
        let fields: Vec<f64> = (0..SIDE * SIDE).flat_map(|k| clusters.field(k)).map(|&phi| f64::from(phi)).collect();
        let reach = samples.iter().chain(&fields).fold(f64::MIN_POSITIVE, |reach, phi| reach.max(phi.abs()));
        let shades = |fields: &[f64]| fields.chunks_exact(sites).map(|x| sampling::shades(x, reach)).collect();
        let note = format!(
            "{height}×{width} φ⁴ theory, κ = {:?}, λ = {:?}; colours from {:.2} to {reach:.2}",
            model.kappa(),
            model.lambda(),
            -reach
        );
        (note, Palette::Viridis, shades(&samples), shades(&fields))
    } else {
        return Ok(None);
    };
    let rows = learned.chunks(SIDE).zip(sampled.chunks(SIDE));
    let group = |label: &str| ColumnGroup { label: label.to_owned(), ..ColumnGroup::plain(SIDE) };
    Ok(Some(Tiles {
        title: "The flow beside cluster Monte Carlo".to_owned(),
        note,
        groups: vec![group("flow"), group("cluster Monte Carlo")],
        height,
        width,
        pictures: rows.flat_map(|(learned, sampled)| [learned, sampled].concat()).collect(),
        palette,
    }))
}
