//! A training that is stopped after some steps, and goes on to the same bits.

use std::sync::atomic::{AtomicU64, Ordering};

use flow_core::Finish;
use maflow::metrics::Row;
use maflow::monitor::Monitor;
use maflow::recipes;
use maflow::run::Run;

/// Hears of every step, and asks for an end after so many.
struct Patience(AtomicU64);

impl Monitor for Patience {
    fn step(&self, _row: &Row, _validation: Option<f64>) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// Trains a little, and then the rest.
pub fn main() -> Result<(), maflow::Error> {
    let short = ["train.steps=60", "train.schedule=constant", "train.batch=256", "evaluate.samples=1000"];
    let recipe = recipes::load("two-moons", &short.map(|setting| setting.parse().expect("a key and a value")))?;
    let run = Run::create("runs/stopped".into(), recipe);
    assert_eq!(run.train(&Patience(25.into()))?, Finish::Interrupted);
    let later = Run::open(run.path(), &[])?;
    assert_eq!(later.resume(&())?, Finish::Completed);
    println!("{}", later.report(&())?.json());
    Ok(())
}
