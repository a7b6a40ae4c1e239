//! Samples as pictures: spins, fields, pixels.

use datasets::lattice::sample_spins;
use flow_core::{Purpose, RngKey};
use maflow::numbers::fixed;
use maflow::recipe::{IsingTarget, Recipe, TargetKind};

use crate::plots::{ColumnGroup, Palette, Tiles};

/// Samples as pictures side by side: spins drawn by `p(s = 1 | x) = σ(2x)`, pixels, or fields; `None` for points of a
/// plane.
pub fn tiles(recipe: &Recipe, samples: &[f64], columns: usize) -> Option<Tiles> {
    let [height, width] = recipe.target.layout().shape()[..] else { return None };
    let pictures = samples.chunks_exact(height * width);
    let (title, note, palette, pictures) = match &recipe.target {
        TargetKind::Toy(_)
        | TargetKind::Particles(_)
        | TargetKind::Sets(_)
        | TargetKind::Energy(_)
        | TargetKind::Own(_) => return None,
        target @ (TargetKind::Mnist(_) | TargetKind::Table(_)) => {
            let pictures = pictures.map(|x| pixels(target, x)).collect();
            ("Pictures drawn from the flow", String::new(), Palette::Grey, pictures)
        }
        TargetKind::Ising(ising) => {
            // The picture's own stream of random numbers, apart from those of the samples themselves.
            let key = RngKey::new(recipe.train.seed, Purpose::Sample, u64::MAX);
            let pictures = pictures.enumerate().map(|(row, x)| spins(x, key, row as u64)).collect();
            let note = format!("{}, p(s = 1 | x) = σ(2x)", ising_model(ising));
            ("Spins drawn from the flow", note, Palette::Spins, pictures)
        }
        TargetKind::Phi4(phi4) => {
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

/// An Ising model and its temperature, in words.
pub fn ising_model(ising: &IsingTarget) -> String {
    let [low, high] = ising.temperature.ends().map(|t| fixed(t, 4));
    let temperature = match ising.temperature.range() {
        None => format!("at T = {low}"),
        Some(_) => format!("at T from {low} to {high}"),
    };
    format!("{}×{} Ising model {temperature}", ising.size, ising.size_y.unwrap_or(ising.size))
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

/// A picture in the units of its target as shades of grey from 0 to 1: logits of MNIST, bytes of a table.
pub fn pixels(target: &TargetKind, x: &[f64]) -> Vec<f32> {
    let shade = |x: &f64| match target {
        TargetKind::Mnist(mnist) => (1.0 / (1.0 + (-x).exp()) - mnist.lambda) / (1.0 - 2.0 * mnist.lambda),
        _ => x / 256.0,
    };
    x.iter().map(|x| shade(x).clamp(0.0, 1.0) as f32).collect()
}
