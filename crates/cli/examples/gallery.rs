//! Every kind of figure with made-up numbers: `cargo run -p cli --example gallery FOLDER`, to look at after a change.

use std::f64::consts::TAU;
use std::path::Path;

use cli::plots::{
    ColumnGroup, Content, Densities, LossCurve, Palette, Panel, Point, ReferenceLine, Tiles, save_both, save_png,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "gallery".to_owned());
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    save_both(&ising_loss(), folder, "ising-loss")?;
    save_both(&mnist_loss(), folder, "mnist-loss")?;
    save_png(&spins(), folder, "spins")?;
    save_png(&journey(), folder, "journey")?;
    Ok(save_png(&densities(), folder, "densities")?)
}

/// A small generator of made-up numbers in [0, 1).
fn noise(k: usize) -> f64 {
    ((k as f64 * 12.9898).sin() * 43_758.545_3).rem_euclid(1.0)
}

fn gauss(k: usize) -> f64 {
    (0..12).map(|j| noise(12 * k + j)).sum::<f64>() - 6.0
}

fn ising_loss() -> LossCurve {
    let mean = |k: f64| -2.294 + 0.93 * (-k / 25.0).exp() + 0.06 * (-k / 400.0).exp();
    let training =
        (0..2000).map(|k| Point { x: k as f64, mean: mean(k as f64) + 0.006 * gauss(k), error: 0.008 }).collect();
    LossCurve {
        title: "Variational free energy, critical 16×16 Ising model".to_owned(),
        x_label: "step".to_owned(),
        y_label: "free energy per site".to_owned(),
        training,
        smoothing: 50,
        references: vec![ReferenceLine { label: "exact".to_owned(), value: -2.315_920_858_819 }],
        ..LossCurve::default()
    }
}

fn mnist_loss() -> LossCurve {
    let mean = |x: f64| 1330.0 + 150.0 * (-x / 4.0).exp() + 3000.0 * (-x * 12.0).exp();
    let line = |label: &str, value| ReferenceLine { label: label.to_owned(), value };
    LossCurve {
        title: "Negative log-likelihood, MNIST in logit space".to_owned(),
        x_label: "epoch".to_owned(),
        y_label: "nats".to_owned(),
        training: (0..1500)
            .map(|k| k as f64 / 100.0)
            .enumerate()
            .map(|(k, x)| Point { x, mean: mean(x) + 12.0 * gauss(k), error: 13.0 })
            .collect(),
        smoothing: 51,
        validation: (1..15).map(|k| Point { x: k as f64, mean: mean(k as f64) + 6.0, error: 3.0 }).collect(),
        references: vec![
            line("MADE", 1380.8),
            line("Real NVP", 1323.2),
            line("MAF", 1300.5),
            line("Monge-Ampère flow", 1255.5),
        ],
    }
}

fn blob(k: usize, i: f64, j: f64) -> f64 {
    (0..5)
        .map(|m| {
            let (a, b) = (noise(31 * k + m), noise(57 * k + m));
            (TAU * (i * (1.0 + m as f64) / 16.0 + a)).sin() * (TAU * (j * (1.0 + m as f64) / 16.0 + b)).cos()
        })
        .sum()
}

fn spins() -> Tiles {
    let picture =
        |k: usize| (0..256).map(|s| if blob(k, (s / 16) as f64, (s % 16) as f64) > 0.0 { 1.0 } else { 0.0 }).collect();
    Tiles {
        title: "Spins drawn from the flow".to_owned(),
        note: "critical 16×16 Ising model, p(s = 1 | x) = σ(2x)".to_owned(),
        groups: vec![ColumnGroup::plain(10)],
        height: 16,
        width: 16,
        pictures: (0..50).map(picture).collect(),
        palette: Palette::Spins,
    }
}

fn journey() -> Tiles {
    let times = [10.0, 7.5, 5.0, 2.5, 0.0];
    let back: Vec<f64> = times.iter().rev().copied().collect();
    let column = |t: &f64| format!("t = {t}");
    let picture = |row: usize, t: f64| {
        (0..784)
            .map(|s| {
                let (i, j) = ((s / 28) as f64 - 13.5, (s % 28) as f64 - 13.5);
                let ring = (-((i * i + j * j).sqrt() - 8.0).powi(2) / 6.0).exp();
                let f = t / 10.0;
                (f * ring + (1.0 - f) * (0.5 + 0.2 * gauss(s + 784 * row))) as f32
            })
            .collect::<Vec<f32>>()
    };
    let pictures = (0..6)
        .flat_map(|row| times.iter().chain(&back).map(move |t| (row, *t)))
        .map(|(row, t)| picture(row, t))
        .collect();
    Tiles {
        title: "From pictures to the Gaussian and back".to_owned(),
        note: "rows: test pictures and fresh samples; columns: times of the flow".to_owned(),
        groups: vec![
            ColumnGroup { label: "inference".to_owned(), columns: times.iter().map(column).collect() },
            ColumnGroup { label: "generation".to_owned(), columns: back.iter().map(column).collect() },
        ],
        height: 28,
        width: 28,
        pictures,
        palette: Palette::Grey,
    }
}

fn densities() -> Densities {
    let side = 200;
    let log_density = |width: f64| {
        let values = (0..side * side)
            .map(|k| {
                let at = |k: usize| 8.0 * (k as f64 + 0.5) / side as f64 - 4.0;
                let (x, y) = (at(k % side), at(k / side));
                (0..8)
                    .map(|m| {
                        let angle = TAU * m as f64 / 8.0;
                        let (a, b) = (x - 2.5 * angle.cos(), y - 2.5 * angle.sin());
                        (-(a * a + b * b) / (2.0 * width * width)).exp() / (8.0 * TAU * width * width)
                    })
                    .sum::<f64>()
                    .ln()
            })
            .collect();
        Content::LogDensity { side, values }
    };
    let samples = (0..4000)
        .map(|k| {
            let angle = TAU * (8.0 * noise(k)).floor() / 8.0;
            (2.5 * angle.cos() + 0.25 * gauss(2 * k), 2.5 * angle.sin() + 0.25 * gauss(2 * k + 1))
        })
        .collect();
    let panel = |title: &str, content| Panel { title: title.to_owned(), content };
    Densities {
        title: "Eight Gaussians".to_owned(),
        x_range: (-4.0, 4.0),
        y_range: (-4.0, 4.0),
        panels: vec![
            panel("target", log_density(0.2)),
            panel("flow", log_density(0.25)),
            panel("samples of the flow", Content::Samples(samples)),
        ],
    }
}
