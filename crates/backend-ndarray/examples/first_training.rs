//! A flow trained on rows of one's own: the README's example.

use backend_ndarray::{Activation, Cpu, Ridge};
use flow_core::{
    ArrayRows, FixedStep, FlowModel, Method, Model, NegativeLogLikelihood, Purpose, RngKey, TrainSettings, Trainer,
};

/// Trains, and prints the log-density of a new row.
pub fn main() -> Result<(), flow_core::Error> {
    let x: Vec<f64> = (0..2000).map(|i| (f64::from(i) * 0.7).sin() + f64::from(i % 2)).collect();
    let cpu = Cpu::<f64>::new(0);
    let potential = Ridge::new(cpu.clone(), 2, 16, Activation::Softplus, true, 0)?;
    let steps = FixedStep::new(Method::Rk4.tableau(), 4)?;
    let loss = NegativeLogLikelihood::default();
    let mut model = FlowModel::new(cpu, Box::new(potential), Box::new(steps), Box::new(loss));
    let settings = TrainSettings { steps: 50, batch: 64, ..Default::default() };
    Trainer::new(&mut model, settings, &ArrayRows::new(x, 2)?)?.run(&mut ())?;
    let ln_p = model.log_prob(&[0.5, 1.0], &[], RngKey::new(0, Purpose::Evaluate, 0))?;
    println!("ln p = {:.3}, integration error {:.0e}", ln_p.values[0], ln_p.integration_errors[0]);
    Ok(())
}
