//! A monitor that stops a training, for tests of how it goes on.

use std::sync::atomic::{AtomicU64, Ordering};

use maflow::metrics::Row;
use maflow::monitor::Monitor;

/// Asks for an end after so many steps.
pub struct Patience(pub AtomicU64);

impl Monitor for Patience {
    fn step(&self, _row: &Row, _validation: Option<f64>) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}
