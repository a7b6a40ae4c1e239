//! One figure of one backend in a process of its own, so that its peak memory can be told: `benches/compare.py` runs it
//! for every row of its table.

use std::hint::black_box;
use std::time::Instant;

use benches::{Configuration, How, ISING, MNIST, peak_mebibytes};
use clap::{Parser, ValueEnum};
use flow_core::{
    Adam, AdamSettings, Batch, Coordinates, Direction, Engine, Evaluation, FlowMatching, Memory, NegativeLogLikelihood,
    Objective, Path, Potential, Purpose, RngKey, Space, SymmetryDraw,
};
use maflow::Error;
use maflow::backend::{self, BackendJob, Compute};
use maflow::recipe::{Arithmetic, Backend, Recipe};
use maflow::recipes;
use maflow::trained::Learned;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures one question on one backend and prints one line: `BACKEND MODEL QUESTION step_s SECONDS cpu_s SECONDS
/// peak_mib MEMORY gflop OPERATIONS` (median seconds, mean seconds of all threads together, which other programs on the
/// machine disturb less, peak resident memory of the process, and, of the paper's models, billions of operations in the
/// matrix products).
#[derive(Parser)]
#[command(name = "measure")]
struct Arguments {
    /// `ndarray`, `tch-cpu` or `tch-cuda`.
    backend: String,
    /// The paper's model, `mnist` or `ising`, or a recipe that learns by flow matching, as `mnist-fast`: its potential
    /// with its first parameters, its batches and its steps.
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
    /// As many samples as a batch has rows, without their densities.
    Sampling,
    /// One product of two square matrices of 2048 rows: what the machine can do.
    Product,
}

fn main() {
    if let Some((name, value)) = backend_tch::wait_policy() {
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    let arguments = Arguments::parse();
    if arguments.question == Question::Product {
        return product(&arguments);
    }
    let configuration = match arguments.model.as_str() {
        "mnist" => MNIST,
        "ising" => ISING,
        recipe => return of_recipe(&arguments, recipe).unwrap_or_else(|error| fail(&error.to_string())),
    };
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
    let device = Device::ALL.into_iter().find(|device| device.name() == arguments.backend);
    let device = device.unwrap_or_else(|| fail("the backend is ndarray, tch-cpu or tch-cuda"));
    let precision = if arguments.precision == "f32" { Precision::F32 } else { Precision::F64 };
    let tch = Tch::new(device, precision, options).unwrap_or_else(|error| fail(&error.to_string()));
    let (activation, bias) = configuration.activation();
    let ridge = Ridge::new(tch, configuration.dim, configuration.hidden, activation, bias, 0);
    measure(arguments, configuration, &tch, Box::new(ridge.expect("sizes are positive")));
}

/// The potential of a recipe on whichever backend.
fn of_recipe(arguments: &Arguments, name: &str) -> Result<(), Error> {
    let recipe = recipes::load(name, &[])?;
    let backends = [Backend::Ndarray, Backend::TchCpu, Backend::TchCuda];
    let Some(backend) = backends.into_iter().find(|backend| backend.name() == arguments.backend) else {
        fail(&format!("there is no backend {}: ndarray, tch-cpu or tch-cuda", arguments.backend));
    };
    let mut compute = Compute { backend, ..Compute::default() };
    compute.threads = arguments.threads.try_into().unwrap_or(compute.threads);
    let precision = if arguments.precision == "f32" { Arithmetic::F32 } else { Arithmetic::F64 };
    backend::require_parts(backend, &recipe)?;
    backend::run(&compute, precision, RecipeJob { arguments, recipe: &recipe })
}

struct RecipeJob<'a> {
    arguments: &'a Arguments,
    recipe: &'a Recipe,
}

impl BackendJob for RecipeJob<'_> {
    type Output = ();

    fn run<E: Engine>(self, space: &E) -> Result<(), Error> {
        let Self { arguments, recipe } = self;
        let Learned::Flow(mut learned) = Learned::first(space, recipe, 0)? else {
            fail(&format!("{} is a map in closed form", recipe.name));
        };
        let (key, dim) = (RngKey::new(0, Purpose::Train, 0), recipe.dimension());
        let batch = Batch::new(key.normals(0..recipe.train.batch, dim), dim)?;
        let matching =
            FlowMatching { focus: recipe.train.focus, ..FlowMatching::new(Path::Straight, recipe.train.times) };
        let mut adam = Adam::new(space, AdamSettings::default(), &learned.potential.parameters())?;
        let integrator = learned.integrator(&recipe.evaluate)?;
        let seconds = repeated(arguments.repeats, || {
            let flow = learned.flow(space, &*integrator);
            let solved = match arguments.question {
                Question::TrainingStep => {
                    let outcome = matching.evaluate(&flow, &batch, &Evaluation::new(key).with_gradient());
                    let gradient = outcome.expect("the first parameters are finite").gradient.expect("it is asked for");
                    adam.step(space, 1e-3, learned.potential.parameters_mut(), gradient);
                    // Waits for the device.
                    learned.potential.parameters().last().map(|last| space.download(&last.value)).unwrap_or_default()
                }
                Question::Sampling => {
                    let sampled = flow.transport_points(&batch, flow.span(Direction::Forward), key);
                    sampled.expect("the first parameters are finite")
                }
                _ => {
                    let outcome = NegativeLogLikelihood::default().evaluate(&flow, &batch, &Evaluation::new(key));
                    outcome.expect("the first parameters are finite").losses
                }
            };
            black_box(solved);
        });
        report(arguments, seconds, None);
        Ok(())
    }
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
        let how = How { coordinates: Coordinates::Auto, memory: Memory::Stages, gradient };
        let outcome = configuration.evaluate(space, &*potential, &batch, how);
        let outcome = outcome.expect("the solve stays finite");
        if let Some(gradient) = outcome.gradient {
            adam.step(space, 1e-3, potential.parameters_mut(), gradient);
            // Waits for the device: amplitudes are the last and few.
            potential.parameters().last().map(|amplitude| black_box(space.download(&amplitude.value)));
        }
        black_box(outcome.losses);
    });
    report(arguments, seconds, Some(configuration.giga_operations(gradient)));
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
    report(arguments, seconds, Some(2e-9 * (SIZE as f64).powi(3)));
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

fn report(arguments: &Arguments, [seconds, processor]: [f64; 2], giga_operations: Option<f64>) {
    let counted = giga_operations.map_or(String::new(), |count| format!(" gflop {count:.2}"));
    let question = arguments.question.to_possible_value().expect("no question is hidden");
    println!(
        "{} {} {} step_s {seconds:.5} cpu_s {processor:.5} peak_mib {:.0}{counted}",
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
