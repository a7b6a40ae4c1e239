//! A density for rows of one's own: ln p of new rows, and samples.

use std::sync::Arc;

use maflow::fit;
use maflow::run::Run;
use maflow::target::Table;

/// Trains in a folder for a moment.
pub fn main() -> Result<(), maflow::Error> {
    let x: Vec<f64> = (0..2000).map(|i| (f64::from(i) * 0.7).sin() + f64::from(i % 2)).collect();
    let target = Arc::new(Table::of_rows(&["height", "mass"], x, 0)?);
    let mut recipe = fit::recipe_for(&*target)?;
    recipe.train.steps = Some(100);
    let run = Run::create("runs/own-data".into(), recipe).with_target(target);
    run.train(&())?;
    let ln_p = run.log_prob(&[0.5, 1.0])?;
    println!("ln p = {:.3}, integration error {:.0e}", ln_p.values[0], ln_p.integration_errors[0]);
    println!("{} samples; {}", run.sample(1000)?.len() / 2, run.report(&())?.json());
    Ok(())
}
