//! Exchangeable data whose entropy is known.

use std::ops::Range;

use datasets::sets::SharedAxis;
use flow_core::RngKey;

use super::{Known, Layout, Samples, Target};
use crate::error::Error;

/// Sets of vectors, known by as many as are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Sets(pub SharedAxis);

impl Target for Sets {
    fn dimension(&self) -> usize {
        2 * self.0.members()
    }

    fn layout(&self) -> Layout {
        Layout::Particles(self.0.members(), 2)
    }

    fn samples(&self) -> Option<&dyn Samples> {
        Some(self)
    }

    fn known(&self) -> Option<Known> {
        Some(Known::Entropy(self.0.entropy()))
    }

    fn log_density(&self, x: &[f64]) -> Option<f64> {
        (x.len() == self.dimension()).then(|| self.0.log_density(x))
    }
}

impl Samples for Sets {
    fn training(&self, key: RngKey, _seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        for (row, set) in rows.zip(out.chunks_exact_mut(self.dimension())) {
            self.0.sample(&mut key.row(row as u64), set);
        }
        Ok(())
    }
}
