//! How does the cost of a training step grow with dimension, hidden units, rows, steps and threads? Exponents fitted to
//! measured times, beside those that the arithmetic has, and a picture.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use backend_ndarray::{Cpu, Ridge};
use benches::{Configuration, How, MNIST};
use clap::Parser;
use flow_core::{Coordinates, Memory};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Times training steps of the paper's kind of potential on backend-ndarray (32 bits) while one size is changed, and
/// fits `seconds = c · size^exponent`.
#[derive(Parser)]
struct Arguments {
    /// The picture, an SVG.
    #[arg(long, default_value = "target/scaling.svg")]
    plot: PathBuf,
    /// Repetitions of every time; the least counts.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Smaller sizes: under a minute on two cores.
    #[arg(long)]
    quick: bool,
    /// Threads, where they are not what is changed; 0: one per core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// One size changed, all others fixed.
struct Series {
    name: &'static str,
    coordinates: Coordinates,
    /// The exponent of the matrix products. Where they do not grow with the size, or not alone, it is that of the
    /// greatest part.
    expected: f64,
    cases: Vec<(f64, Configuration, usize)>,
}

/// Measured seconds over a size.
struct Measured {
    series: Series,
    points: Vec<(f64, f64)>,
}

impl Measured {
    /// Least squares of the logarithms: the exponent and its standard error.
    fn exponent(&self) -> (f64, f64) {
        let logs: Vec<_> = self.points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
        let n = logs.len() as f64;
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
        let width = mean(&|p| (p.0 - x).powi(2)) * n;
        let exponent = mean(&|p| (p.0 - x) * (p.1 - y)) * n / width;
        let rest = mean(&|p| (p.1 - y - exponent * (p.0 - x)).powi(2)) * n;
        (exponent, (rest / (n - 2.0).max(1.0) / width).sqrt())
    }
}

fn series(quick: bool, threads: usize) -> Vec<Series> {
    let base = if quick {
        Configuration { dim: 512, hidden: 512, batch: 128, steps: 8, duration: 1.0, ..MNIST }
    } else {
        Configuration { dim: 784, hidden: 1024, batch: 128, steps: 20, duration: 2.0, ..MNIST }
    };
    let sizes = |around: usize| [around / 4, around / 2, around, 2 * around];
    let of = |name, coordinates, expected, sizes: &[usize], change: fn(&mut Configuration, usize)| {
        let case = |size: &usize| {
            let mut configuration = base;
            change(&mut configuration, *size);
            (*size as f64, configuration, threads)
        };
        Series { name, coordinates, expected, cases: sizes.iter().map(case).collect() }
    };
    let hidden: fn(&mut Configuration, usize) = |c, size| c.hidden = size;
    let dim: fn(&mut Configuration, usize) = |c, size| c.dim = size;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let counts = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n <= cores);
    vec![
        of("hidden units, feature space", Coordinates::Feature, 2.0, &sizes(base.hidden), hidden),
        of("hidden units, in x", Coordinates::X, 1.0, &sizes(base.hidden), hidden),
        of("dimension, feature space", Coordinates::Feature, 0.0, &sizes(base.dim), dim),
        of("dimension, in x", Coordinates::X, 1.0, &sizes(base.dim), dim),
        of("rows", Coordinates::Feature, 1.0, &sizes(2 * base.batch), |c, size| c.batch = size),
        of("steps", Coordinates::Feature, 1.0, &sizes(base.steps), |c, size| c.steps = size),
        Series {
            name: "threads",
            coordinates: Coordinates::Feature,
            expected: -1.0,
            cases: counts.map(|n| (n as f64, base, n)).collect(),
        },
    ]
}

fn measure(series: Series, repeats: usize) -> Measured {
    let seconds = |(size, configuration, threads): &(f64, Configuration, usize)| {
        let cpu = Cpu::<f32>::new(*threads);
        let (activation, bias) = configuration.activation();
        let ridge = Ridge::new(cpu.clone(), configuration.dim, configuration.hidden, activation, bias, 0);
        let (ridge, batch) = (ridge.expect("sizes are positive"), configuration.batch());
        let time = |_| {
            let start = Instant::now();
            let how = How { coordinates: series.coordinates, memory: Memory::Stages, gradient: true };
            let outcome = configuration.evaluate(&cpu, &ridge, &batch, how);
            std::hint::black_box(outcome.expect("the solve stays finite"));
            start.elapsed().as_secs_f64()
        };
        (*size, (0..=repeats).map(time).fold(f64::INFINITY, f64::min))
    };
    let points = series.cases.iter().map(seconds).collect();
    Measured { series, points }
}

fn draw<DB: DrawingBackend>(
    root: &DrawingArea<DB, plotters::coord::Shift>,
    all: &[Measured],
) -> Result<(), Box<dyn Error>>
where
    DB::ErrorType: 'static,
{
    root.fill(&WHITE)?;
    for (area, measured) in root.split_evenly((2, all.len().div_ceil(2))).iter().zip(all) {
        let points = &measured.points;
        // The expected slope, through the last point.
        let (last_x, last_y) = points[points.len() - 1];
        let line = points.iter().map(|p| (p.0, last_y * (p.0 / last_x).powf(measured.series.expected)));
        let range = |values: Vec<f64>| {
            values.iter().copied().fold(f64::INFINITY, f64::min) / 1.3..values.into_iter().fold(0.0, f64::max) * 1.3
        };
        let x = range(points.iter().map(|p| p.0).collect());
        let y = range(points.iter().copied().chain(line.clone()).map(|p| p.1).collect());
        // Without a power of ten in its range an axis has no labels.
        let below = 10f64.powf(y.end.log10().floor());
        let y = y.start.min(0.9 * below)..y.end;
        let (exponent, _) = measured.exponent();
        let title = format!("{}: {exponent:.2} ({})", measured.series.name, measured.series.expected);
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 15))
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(56)
            .build_cartesian_2d(x.log_scale(), y.log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .label_style((FONT, 11))
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.3} s"))
            .draw()?;
        chart.draw_series(LineSeries::new(line, RGBColor(150, 150, 150)))?;
        chart.draw_series(points.iter().map(|p| Circle::new(*p, 4, BLUE.filled())))?;
    }
    root.present()?;
    Ok(())
}

const FONT: &str = "DejaVu Sans";

fn plot(path: &PathBuf, all: &[Measured]) -> Result<(), Box<dyn Error>> {
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the font is not one")?;
    draw(&SVGBackend::new(path, (1200, 620)).into_drawing_area(), all)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut all = Vec::new();
    println!("{:30} {:>8} {:>18}  seconds at size", "size", "expected", "fitted");
    for series in series(arguments.quick, arguments.threads) {
        let measured = measure(series, arguments.repeats);
        let (exponent, error) = measured.exponent();
        let fitted = if measured.points.len() > 1 { format!("{exponent:.2} ± {error:.2}") } else { "-".into() };
        let points: Vec<_> = measured.points.iter().map(|(size, seconds)| format!("{seconds:.4} at {size}")).collect();
        println!("{:30} {:8} {fitted:>18}  {}", measured.series.name, measured.series.expected, points.join(", "));
        if measured.points.len() > 1 {
            all.push(measured);
        }
    }
    if let Some(folder) = arguments.plot.parent() {
        std::fs::create_dir_all(folder)?;
    }
    plot(&arguments.plot, &all)?;
    println!("picture: {}", arguments.plot.display());
    Ok(())
}
