//! A free energy, ln Z and samples for an energy of one's own.

use std::sync::Arc;

use flow_core::{Energy, PointEnergy};
use maflow::target::Target;
use maflow::{fit, run::Run};

/// Two wells in x, a spring in y: `(x² − 1)² + y²/2`.
#[derive(Debug)]
pub struct DoubleWell;

impl Target for DoubleWell {
    fn dimension(&self) -> usize {
        2
    }

    fn energy(&self) -> Option<Arc<dyn Energy>> {
        Some(Arc::new(PointEnergy::new(2, |x, gradient| {
            gradient.copy_from_slice(&[4.0 * x[0] * (x[0] * x[0] - 1.0), x[1]]);
            Ok((x[0] * x[0] - 1.0).powi(2) + 0.5 * x[1] * x[1])
        })))
    }
}

/// Trains in a folder for a moment.
pub fn main() -> Result<(), maflow::Error> {
    let mut recipe = fit::recipe_for(&DoubleWell)?;
    recipe.train.steps = Some(50);
    let run = Run::create("runs/own-energy".into(), recipe).with_target(Arc::new(DoubleWell));
    run.train(&())?;
    println!("{}", run.report(&())?.json());
    Ok(())
}
