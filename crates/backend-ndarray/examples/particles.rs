//! The rate of exact likelihoods of particles: velocity and divergence of a potential of LJ13's size, for
//! `benches/likelihood.py`, which compares them with autograd's.

use std::path::Path;
use std::time::Instant;

use backend_ndarray::{Activation, Cpu, Particles};
use flow_core::{
    Batch, Direction, FixedStep, Flow, Method, ParticlesSettings, Potential, Purpose, RngKey, Space, TimeBasis,
};

// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Usage: `particles ROWS THREADS REPEATS FOLDER`. Prints the seconds of each repetition, and writes into the folder,
/// as 32-bit numbers one after the other, the points, their velocities and divergences, and each parameter by its name.
fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [rows, threads, repeats, folder] = &words[..] else {
        eprintln!("usage: particles ROWS THREADS REPEATS FOLDER");
        std::process::exit(2);
    };
    let number = |word: &String| word.parse::<usize>().unwrap_or_else(|_| panic!("{word} is no number"));
    let (rows, cpu) = (number(rows), Cpu::<f32>::new(number(threads)));
    let settings = ParticlesSettings {
        particles: 13,
        space: 3,
        kinds: Vec::new(),
        centres: 24,
        interval: [0.4, 6.0],
        core: 0.3,
        cutoff: None,
        sums: 16,
        vectors: 16,
        hidden: [64, 64],
        activation: Activation::Softplus,
    };
    let mut potential = Particles::new(cpu.clone(), settings, TimeBasis::constant(), 0).expect("sizes are positive");
    for (k, parameter) in potential.parameters_mut().into_iter().enumerate() {
        let (rows, cols) = parameter.value.dim();
        let noise = RngKey::new(1, Purpose::Initialise, k as u64).normals(0..rows, cols);
        parameter.value += &(cpu.upload(rows, cols, &noise) * 0.05);
    }
    let (n, key) = (potential.dim(), RngKey::new(2, Purpose::Evaluate, 0));
    let x = key.normals(0..rows, n);
    let batch = Batch::new(x.clone(), n).expect("whole rows");
    // One evaluation: a step of Euler's method as long as the flow.
    let once = FixedStep::new(Method::Euler.tableau(), 1).expect("one step");
    let flow = Flow::new(&cpu, &potential, &once);
    let run = || flow.transport_batch(&batch, flow.span(Direction::Forward), key).expect("finite numbers");
    let end = run();
    for _ in 0..number(repeats) {
        let start = Instant::now();
        std::hint::black_box(run());
        println!("{}", start.elapsed().as_secs_f64());
    }
    let velocity: Vec<f64> = end.x.iter().zip(&x).map(|(end, x)| end - x).collect();
    let divergence: Vec<f64> = end.log_density.iter().map(|change| -change).collect();
    let write = |name: &str, numbers: &[f64]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect();
        std::fs::write(Path::new(folder).join(format!("{name}.f32")), bytes).expect("a folder to write to");
    };
    [("x", &x), ("velocity", &velocity), ("divergence", &divergence)]
        .iter()
        .for_each(|(name, numbers)| write(name, numbers));
    potential.parameters().into_iter().for_each(|of| write(&of.name, &cpu.download(&of.value)));
}
