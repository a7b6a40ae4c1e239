//! Samples of a trained flow, batch by batch, and their way to a picture.

use datasets::Standardisation;
use datasets::lattice::sample_spins;
use flow_core::{Direction, Flow, Purpose, RngKey, Space, Span};

use crate::config::{Config, Target};
use crate::error::CliError;
use crate::plots::{ColumnGroup, Palette, Tiles};
use crate::problem::{FIGURE_ROWS, SIDE, TargetEnergy};
use crate::report::fixed;

/// Batch number `i` of `count` samples, `rows × dim` row by row: the same numbers however many are asked for.
///
/// # Errors
/// When the integration fails.
pub fn batch<S: Space>(flow: &Flow<'_, S>, seed: u64, i: u64, count: usize) -> Result<Vec<f64>, CliError> {
    let rows = FIGURE_ROWS.min(count - i as usize * FIGURE_ROWS);
    let key = RngKey::new(seed, Purpose::Sample, i);
    let base = key.normals(0..rows, flow.potential.dim());
    Ok(flow.transport(&base, flow.span(Direction::Forward), key)?.x)
}

/// From the coordinates that the flow works in to those of the target's samples, in place.
///
/// # Errors
/// Parameters that no target has.
pub fn to_physical(config: &Config, standardisation: &Standardisation, samples: &mut [f64]) -> Result<(), CliError> {
    standardisation.invert(samples);
    if config.target.whitened() {
        let target = TargetEnergy::new(&config.target)?;
        let mut x = vec![0.0; config.dimension()];
        for row in samples.chunks_exact_mut(config.dimension()) {
            target.to_physical(row, &mut x);
            row.copy_from_slice(&x);
        }
    }
    Ok(())
}

/// Number of batches that `count` samples come in.
pub fn batches(count: usize) -> u64 {
    count.div_ceil(FIGURE_ROWS) as u64
}

/// The first `count` samples at once.
///
/// # Errors
/// As [`batch`].
pub fn all<S: Space>(flow: &Flow<'_, S>, seed: u64, count: usize) -> Result<Vec<f64>, CliError> {
    let mut samples = Vec::with_capacity(count * flow.potential.dim());
    for i in 0..batches(count) {
        samples.extend(batch(flow, seed, i, count)?);
    }
    Ok(samples)
}

/// How one sample is laid out: the shape of the lattice or picture, or its 2 coordinates.
pub fn shape(config: &Config) -> Vec<usize> {
    match &config.target {
        Target::Mnist(_) => vec![SIDE, SIDE],
        Target::Ising(ising) => vec![ising.size, ising.size_y.unwrap_or(ising.size)],
        Target::Phi4(phi4) => vec![phi4.size, phi4.size],
        Target::Toy(_) => vec![2],
    }
}

/// Samples as pictures side by side: spins drawn by `p(s = 1 | x) = σ(2x)`, pixels, or fields; `None` for points of a
/// plane.
pub fn tiles(config: &Config, samples: &[f64], columns: usize) -> Option<Tiles> {
    let [height, width] = shape(config)[..] else { return None };
    let pictures = samples.chunks_exact(height * width);
    let (title, note, palette, pictures) = match &config.target {
        Target::Toy(_) => return None,
        Target::Mnist(mnist) => {
            let pictures = pictures.map(|x| pixels(x, mnist.lambda)).collect();
            ("Digits drawn from the flow", String::new(), Palette::Grey, pictures)
        }
        Target::Ising(ising) => {
            // The picture's own stream of random numbers, apart from those of the samples themselves.
            let key = RngKey::new(config.train.seed, Purpose::Sample, u64::MAX);
            let pictures = pictures.enumerate().map(|(row, x)| spins(x, key, row as u64)).collect();
            let temperature = fixed(ising.temperature.value(), 4);
            let note = format!("{height}×{width} Ising model at T = {temperature}, p(s = 1 | x) = σ(2x)");
            ("Spins drawn from the flow", note, Palette::Spins, pictures)
        }
        Target::Phi4(phi4) => {
            let reach = samples.iter().fold(f64::MIN_POSITIVE, |reach, x| reach.max(x.abs()));
            let field = |x: &[f64]| shades(x, reach);
            let note =
                format!("κ = {:?}, λ = {:?}; colours from {:.2} to {:.2}", phi4.kappa, phi4.lambda, -reach, reach);
            ("Fields drawn from the flow", note, Palette::Viridis, pictures.map(field).collect())
        }
    };
    let groups = vec![ColumnGroup::plain(columns)];
    Some(Tiles { title: title.to_owned(), note, groups, height, width, pictures, palette })
}

/// A field as shades from 0 to 1, its zero in the middle.
pub fn shades(x: &[f64], reach: f64) -> Vec<f32> {
    x.iter().map(|x| (0.5 + 0.5 * x / reach) as f32).collect()
}

/// Spins drawn by `p(s = 1 | x) = σ(2x)` from a row of a key, as shades 0 and 1.
pub fn spins(x: &[f64], key: RngKey, row: u64) -> Vec<f32> {
    let mut spins = vec![0_i8; x.len()];
    sample_spins(x, &mut key.row(row), &mut spins);
    spins.into_iter().map(|spin| if spin > 0 { 1.0 } else { 0.0 }).collect()
}

/// Logits as shades of grey from 0 to 1.
pub fn pixels(x: &[f64], lambda: f64) -> Vec<f32> {
    x.iter().map(|x| ((1.0 / (1.0 + (-x).exp()) - lambda) / (1.0 - 2.0 * lambda)).clamp(0.0, 1.0) as f32).collect()
}

/// Points on their way through the flow: at each of `stops` equally spaced times, the start and the end included.
///
/// # Errors
/// When the integration fails.
pub fn journey<S: Space>(
    flow: &Flow<'_, S>,
    start: &[f64],
    direction: Direction,
    stops: usize,
    key: RngKey,
) -> Result<Vec<Vec<f64>>, CliError> {
    let Span { from, to } = flow.span(direction);
    let time = |k: usize| from + (to - from) * k as f64 / (stops - 1) as f64;
    let mut places = vec![start.to_vec()];
    for k in 1..stops {
        let span = Span { from: time(k - 1), to: time(k) };
        let next = flow.transport(&places[k - 1], span, key)?.x;
        places.push(next);
    }
    Ok(places)
}
