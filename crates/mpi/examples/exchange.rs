//! How long the calls of a training take between the processes of mpirun: a number of each to all, and a sum in the
//! order of the blocks, one block each. The first process prints lines of names and numbers, for `benches/cluster.py`.
//!
//!     cargo build --release -p maflow-mpi --example exchange
//!     mpirun -n 2 target/release/examples/exchange

use std::time::Instant;

use flow_core::{Error, Precision, Team};
use mpi::{Launch, World};

/// Numbers of a block's share of a gradient.
const LENGTHS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Repetitions of a call, of which the median counts.
const REPETITIONS: usize = 21;

fn main() {
    let launch = Launch::of_environment().expect("start it by mpirun or srun");
    let world = World::start(&launch).unwrap_or_else(|error| panic!("{error}"));
    let size = world.size();
    let tell = |what: &str, length: usize, seconds: f64| {
        if world.rank() == 0 {
            println!("ranks {size} {what} {length} seconds {seconds:e}");
        }
    };
    tell("of-each", 1, median(&world, || world.of_each(1.0)));
    for length in LENGTHS {
        let mine = [vec![1.0; length]];
        tell("sum", length, median(&world, || world.sum(&mine, Precision::F32)));
    }
    world.finish().expect("all have come to the end");
}

/// Median seconds of a call that all make at the same time.
fn median<T>(world: &World, call: impl Fn() -> Result<T, Error>) -> f64 {
    let time = |_| {
        world.of_each(0.0).expect("all are there");
        let begun = Instant::now();
        call().expect("all are there");
        begun.elapsed().as_secs_f64()
    };
    let mut seconds: Vec<f64> = (0..REPETITIONS).map(time).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[REPETITIONS / 2]
}
