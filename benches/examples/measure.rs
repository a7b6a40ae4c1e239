//! One figure of one backend in a process of its own, so that its peak memory can be told: `benches/compare.py` runs it
//! for every row of its table.

use std::hint::black_box;
use std::time::Instant;

use benches::{Configuration, ISING, MNIST, peak_mebibytes};
use clap::{Parser, ValueEnum};
use flow_core::{Adam, AdamSettings, Coordinates, Memory, Potential, Space, SymmetryDraw};

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures one question on one backend and prints one line: `BACKEND MODEL QUESTION step_s SECONDS cpu_s SECONDS
/// peak_mib MEMORY gflop OPERATIONS` (median seconds, mean seconds of all threads together, which other programs on the
/// machine disturb less, peak resident memory of the process, billions of operations in the matrix products).
#[derive(Parser)]
#[command(name = "measure")]
struct Arguments {
    /// `ndarray`, `tch-cpu` or `tch-cuda`.
    backend: String,
    /// The paper's model: `mnist` or `ising`.
    model: String,
    /// What to measure.
    question: Question,
    /// Repetitions after the first, which does not count.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Threads; 0 leaves the choice to the backend.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Numbers of 32 or 64 bits.
    #[arg(long, default_value = "f32", value_parser = ["f32", "f64"])]
    precision: String,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Question {
    /// Loss, gradient and a step of Adam for one batch.
    TrainingStep,
    /// The loss of one batch.
    Likelihood,
    /// As many samples as a batch has rows.
    Sampling,
    /// One product of two square matrices of 2048 rows: what the machine can do.
    Product,
}

fn main() {
    // SAFETY: nothing has started a thread yet.
    unsafe { cli::memory::keep() };
    if let Some((name, value)) = backend_tch::wait_policy() {
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    let arguments = Arguments::parse();
    let configuration = match arguments.model.as_str() {
        "mnist" => MNIST,
        "ising" => ISING,
        other => fail(&format!("there is no model {other}: mnist or ising")),
    };
    if arguments.question == Question::Product {
        return product(&arguments);
    }
    match (arguments.backend.as_str(), arguments.precision.as_str()) {
        ("ndarray", "f32") => on_ndarray::<f32>(&arguments, &configuration),
        ("ndarray", _) => on_ndarray::<f64>(&arguments, &configuration),
        _ => on_libtorch(&arguments, &configuration),
    }
}

fn on_ndarray<T: backend_ndarray::Real>(arguments: &Arguments, configuration: &Configuration) {
    let cpu = backend_ndarray::Cpu::<T>::new(arguments.threads);
    let (activation, bias) = configuration.activation();
    let Configuration { dim, hidden, .. } = *configuration;
    let ridge = backend_ndarray::Ridge::new(cpu.clone(), dim, hidden, activation, bias, 0);
    measure(arguments, configuration, &cpu, Box::new(ridge.expect("sizes are positive")));
}

fn on_libtorch(arguments: &Arguments, configuration: &Configuration) {
    use backend_tch::{Device, Options, Ridge, Tch};
    use flow_core::Precision;
    let options = Options { threads: arguments.threads, allow_tf32: false };
    let device: Device = arguments.backend.parse().unwrap_or_else(|error: backend_tch::Error| fail(&error.to_string()));
    let precision = if arguments.precision == "f32" { Precision::F32 } else { Precision::F64 };
    let tch = Tch::new(device, precision, options).unwrap_or_else(|error| fail(&error.to_string()));
    let (activation, bias) = configuration.activation();
    let ridge = Ridge::new(tch, configuration.dim, configuration.hidden, activation, bias, 0);
    measure(arguments, configuration, &tch, Box::new(ridge.expect("sizes are positive")));
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1);
}

fn measure<S: Space>(arguments: &Arguments, configuration: &Configuration, space: &S, ridge: Box<dyn Potential<S>>) {
    let mut potential = configuration.model(space, ridge, SymmetryDraw::PerStage);
    let mut adam =
        Adam::new(space, AdamSettings::default(), &potential.parameters()).expect("the default settings are in range");
    let gradient = arguments.question == Question::TrainingStep;
    let batch = configuration.batch();
    let seconds = repeated(arguments.repeats, || {
        if arguments.question == Question::Sampling {
            black_box(configuration.sample(space, &*potential).expect("the solve stays finite"));
            return;
        }
        let outcome = configuration.evaluate(space, &*potential, &batch, Coordinates::Auto, Memory::Stages, gradient);
        let outcome = outcome.expect("the solve stays finite");
        if let Some(gradient) = outcome.gradient {
            adam.step(space, 1e-3, potential.parameters_mut(), gradient);
            // Waits for the device: amplitudes are the last and few.
            potential.parameters().last().map(|amplitude| black_box(space.download(&amplitude.value)));
        }
        black_box(outcome.losses);
    });
    report(arguments, seconds, configuration.giga_operations(gradient));
}

/// The general product of the crate `gemm` on all cores: with libtorch's, measured by the script, what "a large
/// product" means.
fn product(arguments: &Arguments) {
    const SIZE: usize = 2048;
    let (a, b, mut c) = (vec![0.5f32; SIZE * SIZE], vec![0.25f32; SIZE * SIZE], vec![0.0f32; SIZE * SIZE]);
    let stride = SIZE as isize;
    let seconds = repeated(arguments.repeats, || {
        // SAFETY: three column-major square matrices of this size; the result overlaps neither factor.
        unsafe {
            gemm::gemm(
                SIZE,
                SIZE,
                SIZE,
                c.as_mut_ptr(),
                stride,
                1,
                false,
                a.as_ptr(),
                stride,
                1,
                b.as_ptr(),
                stride,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::Rayon(arguments.threads),
            );
        }
        black_box(&c);
    });
    report(arguments, seconds, 2e-9 * (SIZE as f64).powi(3));
}

/// Median seconds of the repetitions after the first, and their mean processor time.
fn repeated(repeats: usize, mut work: impl FnMut()) -> [f64; 2] {
    work();
    let before = processor_seconds();
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    let mut seconds: Vec<_> = (0..repeats.max(1)).map(time).collect();
    let processor = (processor_seconds() - before) / seconds.len() as f64;
    seconds.sort_by(f64::total_cmp);
    [seconds[seconds.len() / 2], processor]
}

fn report(arguments: &Arguments, [seconds, processor]: [f64; 2], giga_operations: f64) {
    let question = arguments.question.to_possible_value().expect("no question is hidden");
    println!(
        "{} {} {} step_s {seconds:.5} cpu_s {processor:.5} peak_mib {:.0} gflop {giga_operations:.2}",
        arguments.backend,
        arguments.model,
        question.get_name(),
        peak_mebibytes().unwrap_or(f64::NAN)
    );
}

/// Seconds that all threads of this process have computed, where the system tells (Linux, in hundredths).
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in parentheses: the 12th and 13th fields are the times in and for this process.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / 100.0 } else { f64::NAN }
}
