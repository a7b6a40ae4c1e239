//! Which backend is how fast? The same work on every backend, device and precision of this build and machine, in one
//! run: field, pullback, likelihood, training step and sampling of the paper's two models; one table at the end.
//!
//! Identifiers end in `backend-precision`, so that `-- f32` or `-- ising` measures a part.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use backend_ndarray::{Cpu, Real};
use benches::{Configuration, How, ISING, MNIST, a_solve, block};
use criterion::{BenchmarkId, Criterion};
use flow_core::{Batch, Coordinates, Memory, Motion, Potential, Precision, Pullback, Space, Stage, SymmetryDraw, cut};

/// Evaluations or pullbacks per measurement, so that entering the field does not count.
const STAGES: u64 = 20;

/// What was measured: the question with its model, the backend, and seconds per iteration of every sample.
type Measured = RefCell<Vec<(String, String, Vec<f64>)>>;

/// Evaluations of the field, or one and then pullbacks, for a whole batch.
fn stages<S: Space>(space: &S, potential: &dyn Potential<S>, batch: &Batch, pullback: bool) {
    let stage = Stage { t: 0.0, index: 0 };
    let solve = a_solve(space, batch.of, Coordinates::Auto);
    let field = potential.freeze(&solve);
    space.map_blocks(cut(batch.of, space.blocks(batch.of)), |range| {
        let laplacian_bar = space.upload_column(&vec![1.0; range.len()]);
        let mut laplacian = space.column_zeros(range.len());
        let (mut block, state) = field.enter(block(space, potential, &solve, range, batch));
        let (mut velocity, mut state_bar) = (state.clone(), state.clone());
        let mut residuals = Vec::new();
        block.evaluate(
            stage,
            &state,
            Motion { velocity: &mut velocity, laplacian: Some(&mut laplacian), residuals: Some(&mut residuals) },
        );
        for _ in 0..STAGES {
            if pullback {
                block.pullback(
                    stage,
                    &state,
                    Pullback {
                        residuals: &residuals,
                        velocity_bar: &velocity,
                        laplacian_bar: Some(&laplacian_bar),
                        state_bar: Some(&mut state_bar),
                    },
                );
            } else {
                block.evaluate(
                    stage,
                    &state,
                    Motion { velocity: &mut velocity, laplacian: Some(&mut laplacian), residuals: None },
                );
            }
        }
        // Waits for the device.
        space.dot(&velocity, &state_bar)
    });
}

/// All questions on one backend.
fn measure<S: Space>(
    criterion: &mut Criterion,
    measured: &Measured,
    backend: &str,
    space: &S,
    ridge: impl Fn(&Configuration) -> Box<dyn Potential<S>>,
) {
    for configuration in [ISING, MNIST] {
        let potential = configuration.model(space, ridge(&configuration), SymmetryDraw::PerStage);
        let batch = configuration.batch();
        let mut ask = |question: &str, work: &dyn Fn()| {
            let mut seconds = Vec::new();
            let mut group = criterion.benchmark_group(question);
            group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
            group.bench_function(BenchmarkId::new(configuration.name, backend), |bencher| {
                bencher.iter_custom(|iterations| {
                    let start = Instant::now();
                    (0..iterations).for_each(|_| work());
                    let elapsed = start.elapsed();
                    seconds.push(elapsed.as_secs_f64() / iterations as f64);
                    elapsed
                });
            });
            group.finish();
            if !seconds.is_empty() {
                let row = format!("{question}/{}", configuration.name);
                measured.borrow_mut().push((row, backend.to_owned(), seconds));
            }
        };
        ask("field-20-stages", &|| stages(space, &*potential, &batch, false));
        ask("pullback-20-stages", &|| stages(space, &*potential, &batch, true));
        for (question, gradient) in [("likelihood", false), ("training-step", true)] {
            ask(question, &|| {
                let how = How { coordinates: Coordinates::Auto, memory: Memory::Stages, gradient };
                let outcome = configuration.evaluate(space, &*potential, &batch, how);
                let outcome = outcome.expect("the solve stays finite");
                // Waits for the device.
                outcome.gradient.iter().flatten().for_each(|g| {
                    std::hint::black_box(space.dot(g, g));
                });
            });
        }
        ask("sampling", &|| {
            configuration.sample(space, &*potential).expect("the solve stays finite");
        });
    }
}

fn on_ndarray<T: Real>(criterion: &mut Criterion, measured: &Measured) {
    let cpu = Cpu::<T>::new(0);
    let name = if T::PRECISION == Precision::F32 { "ndarray-f32" } else { "ndarray-f64" };
    measure(criterion, measured, name, &cpu, |of| {
        let (activation, bias) = of.activation();
        let ridge = backend_ndarray::Ridge::new(cpu.clone(), of.dim, of.hidden, activation, bias, 0);
        Box::new(ridge.expect("sizes are positive"))
    });
}

fn on_libtorch(criterion: &mut Criterion, measured: &Measured) {
    use backend_tch::{Device, Options, Ridge, Tch};
    // CUDA first: once loaded for the CPU alone, libtorch cannot be given CUDA in the same process.
    for device in [Device::Cuda, Device::Cpu] {
        let settings = [("f32", Precision::F32, false), ("tf32", Precision::F32, true), ("f64", Precision::F64, false)];
        for (name, precision, allow_tf32) in settings {
            if allow_tf32 && device == Device::Cpu {
                continue;
            }
            match Tch::new(device, precision, Options { threads: 0, allow_tf32 }) {
                Err(error) => eprintln!("{device}-{name} is left out: {error}"),
                Ok(tch) => measure(criterion, measured, &format!("{device}-{name}"), &tch, |of| {
                    let (activation, bias) = of.activation();
                    let ridge = Ridge::new(tch, of.dim, of.hidden, activation, bias, 0);
                    Box::new(ridge.expect("sizes are positive"))
                }),
            }
        }
    }
}

/// Medians in milliseconds: one line per question and model, one column per backend.
fn table(mut measured: Vec<(String, String, Vec<f64>)>) -> String {
    let distinct = |of: fn(&(String, String, Vec<f64>)) -> &String| {
        let mut names: Vec<String> = Vec::new();
        for entry in &measured {
            if !names.contains(of(entry)) {
                names.push(of(entry).clone());
            }
        }
        names
    };
    let (questions, backends) = (distinct(|m| &m.0), distinct(|m| &m.1));
    let mut lines = vec![format!("{:26}", "median, milliseconds")];
    backends.iter().for_each(|backend| lines[0] += &format!("{backend:>15}"));
    for question in questions {
        let mut line = format!("{question:26}");
        for backend in &backends {
            let entry = measured.iter_mut().find(|(q, b, _)| *q == question && b == backend);
            line += &entry.map_or(format!("{:>15}", "-"), |(_, _, seconds)| {
                seconds.sort_by(f64::total_cmp);
                format!("{:15.2}", 1e3 * seconds[seconds.len() / 2])
            });
        }
        lines.push(line);
    }
    lines.join("\n")
}

fn main() {
    if let Some((name, value)) = backend_tch::wait_policy() {
        // SAFETY: nothing has started a thread yet.
        unsafe { std::env::set_var(name, value) };
    }
    let (mut criterion, measured) = (Criterion::default().configure_from_args(), Measured::default());
    on_libtorch(&mut criterion, &measured);
    on_ndarray::<f32>(&mut criterion, &measured);
    on_ndarray::<f64>(&mut criterion, &measured);
    criterion.final_summary();
    let measured = measured.into_inner();
    if !measured.is_empty() {
        println!("\n{}", table(measured));
    }
}
