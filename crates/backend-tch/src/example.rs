// The first example of the crate's documentation, and the program that a test builds outside of the workspace.
use backend_tch::{Activation, Device, Options, Ridge, Tch};
use flow_core::{ArrayRows, FixedStep, FlowModel, Method, Model, NegativeLogLikelihood, Precision};
use flow_core::{Purpose, RngKey, TrainSettings, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let x: Vec<f64> = (0..2000).map(|i| (f64::from(i) * 0.7).sin() + f64::from(i % 2)).collect();
    let tch = match Tch::new(Device::Cpu, Precision::F32, Options::default()) {
        Ok(tch) => tch,
        Err(error) => return Ok(println!("{error}")), // one sentence, with the remedy
    };
    let potential = Ridge::new(tch, 2, 16, Activation::Softplus, true, 0)?;
    let steps = FixedStep::new(Method::Rk4.tableau(), 4)?;
    let loss = NegativeLogLikelihood::default();
    let mut model = FlowModel::new(tch, Box::new(potential), Box::new(steps), Box::new(loss));
    let settings = TrainSettings { steps: 50, batch: 64, ..Default::default() };
    Trainer::new(&mut model, settings, &ArrayRows::new(x, 2)?)?.run(&mut ())?;
    let ln_p = model.log_prob(&[0.5, 1.0], &[], RngKey::new(0, Purpose::Evaluate, 0))?;
    println!("ln p = {:.3}, integration error {:.0e}", ln_p.values[0], ln_p.integration_errors[0]);
    Ok(())
}
