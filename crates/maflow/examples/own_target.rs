//! A target of one's own: as many samples as are asked for, in units of their own.

use std::ops::Range;
use std::sync::Arc;

use datasets::{Bijection, Standardisation};
use flow_core::RngKey;
use maflow::target::{Samples, Target};
use maflow::{Error, fit, run::Run};

/// Points on a circle of radius 5, with noise of deviation 1 across it.
#[derive(Debug)]
struct Circle(Arc<Standardisation>);

impl Target for Circle {
    fn dimension(&self) -> usize {
        2
    }

    fn bijection(&self) -> Option<Arc<dyn Bijection>> {
        Some(self.0.clone())
    }

    fn samples(&self) -> Option<&dyn Samples> {
        Some(self)
    }
}

impl Samples for Circle {
    fn training(&self, key: RngKey, _seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        for (x, z) in out.chunks_exact_mut(2).zip(key.normals(rows, 3).chunks_exact(3)) {
            let (angle, radius) = (z[0].atan2(z[1]), 5.0 + z[2]);
            x.copy_from_slice(&[radius * angle.cos(), radius * angle.sin()]);
        }
        self.0.apply(out);
        Ok(())
    }
}

/// Trains in a folder for a moment.
pub fn main() -> Result<(), Error> {
    let scale = Standardisation::per_coordinate(vec![0.0; 2], vec![13.0; 2]).expect("variances are positive");
    let target = Arc::new(Circle(Arc::new(scale)));
    let mut recipe = fit::recipe_for(&*target)?;
    recipe.train.steps = Some(100);
    let run = Run::create("runs/own-target".into(), recipe).with_target(target);
    run.train(&())?;
    println!("{}", run.report(&())?.json());
    Ok(())
}
