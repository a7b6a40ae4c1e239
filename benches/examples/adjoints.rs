//! What gradients cost by each way back through the integration, and how far each is from the exact one of its map.

use std::hint::black_box;
use std::time::Instant;

use backend_ndarray::{Cpu, Real, Ridge};
use benches::{Configuration, How, ISING, MNIST, peak_mebibytes};
use clap::{Parser, ValueEnum};
use flow_core::{
    Adam, AdamSettings, Coordinates, FixedStep, Integrator, Memory, Method, Potential, Reversible, Space, SymmetryDraw,
};

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the gradient of one batch of a model of the paper by one way back, on ndarray in 32 bits, and prints one
/// line: `MODEL WAY STEPS step_s SECONDS peak_mib MEMORY`. The symmetry of the Ising model is drawn per solve. With
/// `--errors N` it makes N steps of Adam first, and prints by every way how far the gradient is from the exact one of
/// the same map, which is computed in 64 bits: `MODEL WAY STEPS gradient_error PART`.
#[derive(Parser)]
#[command(name = "adjoints")]
struct Arguments {
    /// The paper's model: `mnist` or `ising`.
    model: String,
    /// The way back.
    #[arg(default_value = "stages")]
    way: Way,
    /// Integration steps; those of the model by default, and half as many reversible ones, at equal evaluations.
    #[arg(long)]
    steps: Option<usize>,
    /// Repetitions after the first, which does not count.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Errors after so many steps of Adam, instead of seconds and memory.
    #[arg(long, value_name = "N")]
    errors: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Way {
    /// Residuals of all stages are kept.
    Stages,
    /// Starts of steps are kept.
    Recompute,
    /// Reversible steps; nothing but the end is kept.
    Reversible,
    /// The continuous adjoint; nothing but the end is kept.
    Continuous,
}

impl Way {
    fn name(self) -> String {
        self.to_possible_value().expect("no way is hidden").get_name().to_owned()
    }

    fn memory(self) -> Memory {
        match self {
            Self::Stages | Self::Reversible => Memory::Stages,
            Self::Recompute => Memory::Recompute,
            Self::Continuous => Memory::Continuous,
        }
    }

    fn steps(self, arguments: &Arguments, configuration: &Configuration) -> usize {
        let halved = if self == Self::Reversible { configuration.steps / 2 } else { configuration.steps };
        arguments.steps.unwrap_or(halved)
    }

    fn integrator<S: Space>(self, steps: usize) -> Box<dyn Integrator<S>> {
        let tableau = Method::Rk4.tableau();
        match self {
            Self::Reversible => {
                Box::new(Reversible::new(tableau, Reversible::COUPLING, steps).expect("settings in range"))
            }
            _ => Box::new(FixedStep::new(tableau, steps).expect("at least one step")),
        }
    }
}

fn main() {
    let arguments = Arguments::parse();
    let configuration = match arguments.model.as_str() {
        "mnist" => MNIST,
        "ising" => ISING,
        other => {
            eprintln!("error: there is no model {other}: mnist or ising");
            std::process::exit(1);
        }
    };
    match arguments.errors {
        Some(steps) => errors(&arguments, &configuration, steps),
        None => measure(&arguments, &configuration),
    }
}

fn model<T: Real>(configuration: &Configuration) -> (Cpu<T>, Box<dyn Potential<Cpu<T>>>) {
    let cpu = Cpu::<T>::new(0);
    let (activation, bias) = configuration.activation();
    let ridge = Ridge::new(cpu.clone(), configuration.dim, configuration.hidden, activation, bias, 0);
    let potential = configuration.model(&cpu, Box::new(ridge.expect("sizes are positive")), SymmetryDraw::PerSolve);
    (cpu, potential)
}

fn gradient<S: Space>(
    configuration: &Configuration,
    (space, potential): (&S, &dyn Potential<S>),
    integrator: &dyn Integrator<S>,
    memory: Memory,
) -> Vec<S::Array> {
    let batch = configuration.batch();
    let how = How { coordinates: Coordinates::Auto, memory, gradient: true };
    let outcome = configuration.evaluate_by(space, potential, &batch, integrator, how);
    outcome.expect("the solve stays finite").gradient.expect("asked for")
}

fn measure(arguments: &Arguments, configuration: &Configuration) {
    let (cpu, potential) = model::<f32>(configuration);
    let steps = arguments.way.steps(arguments, configuration);
    let integrator = arguments.way.integrator(steps);
    let work = || {
        let start = Instant::now();
        black_box(gradient(configuration, (&cpu, &*potential), &*integrator, arguments.way.memory()));
        start.elapsed().as_secs_f64()
    };
    work();
    let mut seconds: Vec<f64> = (0..arguments.repeats.max(1)).map(|_| work()).collect();
    seconds.sort_by(f64::total_cmp);
    let (median, peak) = (seconds[seconds.len() / 2], peak_mebibytes().unwrap_or(f64::NAN));
    println!("{} {} {steps} step_s {median:.4} peak_mib {peak:.0}", arguments.model, arguments.way.name());
}

fn errors(arguments: &Arguments, configuration: &Configuration, prepare: usize) {
    let (cpu, mut potential) = model::<f32>(configuration);
    let settings = AdamSettings::default();
    let mut adam = Adam::new(&cpu, settings, &potential.parameters()).expect("the default settings are in range");
    let integrator = Way::Stages.integrator(configuration.steps);
    for _ in 0..prepare {
        let gradient = gradient(configuration, (&cpu, &*potential), &*integrator, Memory::Stages);
        adam.step(&cpu, 1e-2, potential.parameters_mut(), gradient);
    }
    let (double, mut exact) = model::<f64>(configuration);
    for (to, from) in exact.parameters_mut().into_iter().zip(potential.parameters()) {
        let (rows, cols) = cpu.shape(&from.value);
        to.value = double.upload(rows, cols, &cpu.download(&from.value));
    }
    for way in Way::value_variants() {
        let steps = way.steps(arguments, configuration);
        let found = gradient(configuration, (&cpu, &*potential), &*way.integrator(steps), way.memory());
        let memory = way.memory().exact();
        let exact = gradient(configuration, (&double, &*exact), &*way.integrator(steps), memory);
        let (mut off, mut length) = (0.0, 0.0);
        for (found, exact) in found.iter().zip(&exact) {
            for (found, exact) in cpu.download(found).iter().zip(double.download(exact)) {
                off += (found - exact).powi(2);
                length += exact * exact;
            }
        }
        println!("{} {} {steps} gradient_error {:.1e}", arguments.model, way.name(), (off / length).sqrt());
    }
}
