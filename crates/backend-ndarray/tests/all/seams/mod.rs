//! What enters flow-core from outside: integrators, objectives, energies, teams and models, each as a user would write
//! it.

mod bijector;
mod chain;
mod distance;
mod energy;
mod integrator;
mod model;
mod objective;
mod shapes;
mod team;

use backend_ndarray::{Activation, Cpu, Real, Ridge};
use flow_core::{Batch, Error, Outcome, Potential, Purpose, RngKey, Space};

const DIM: usize = 3;

fn ridge<T: Real>(space: &Cpu<T>, hidden: usize) -> Ridge<T> {
    let mut ridge = Ridge::new(space.clone(), DIM, hidden, Activation::Softplus, true, 5).unwrap();
    // First values are small; what is not linear shows better at larger ones.
    ridge.parameters_mut().into_iter().for_each(|p| p.value *= T::of(2.5));
    ridge
}

fn key(step: u64) -> RngKey {
    RngKey::new(11, Purpose::Train, step)
}

/// A whole batch of normal points.
fn normals(rows: usize) -> Batch {
    Batch::new(key(7).normals(0..rows, DIM), DIM).unwrap()
}

/// The mean loss of a batch, with its weights.
fn mean(batch: &Batch, losses: &[f64]) -> f64 {
    let weight = |r: usize| batch.weights.get(r).copied().unwrap_or(1.0);
    losses.iter().enumerate().map(|(r, loss)| weight(r) * loss).sum::<f64>() / batch.total_weight
}

/// The outcome of an evaluation with a potential.
type OutcomeOf<'a> = dyn Fn(&dyn Potential<Cpu<f64>>) -> Result<Outcome<Cpu<f64>>, Error> + 'a;

/// Checks the gradient of the mean loss of a batch against differences of fourth order, parameter by parameter.
fn assert_gradient_is_the_difference(
    what: &str,
    potential: &mut dyn Potential<Cpu<f64>>,
    batch: &Batch,
    outcome: &OutcomeOf<'_>,
) {
    assert_gradient_is_near_the_difference(what, potential, batch, outcome, 1e-9);
}

/// The same to a tolerance, relative to the sizes of gradient and direction.
fn assert_gradient_is_near_the_difference(
    what: &str,
    potential: &mut dyn Potential<Cpu<f64>>,
    batch: &Batch,
    outcome: &OutcomeOf<'_>,
    tolerance: f64,
) {
    let space = Cpu::<f64>::new(1);
    let gradient = outcome(potential).unwrap().gradient.expect("asked for");
    for (i, of_parameter) in gradient.iter().enumerate() {
        let (rows, cols) = of_parameter.dim();
        let direction = space.upload(rows, cols, &key(100 + i as u64).normals(0..rows, cols));
        let mut at = |epsilon: f64| {
            space.accumulate(&mut potential.parameters_mut()[i].value, 1.0, &[(epsilon, &direction)]);
            let loss = mean(batch, &outcome(potential).unwrap().losses);
            space.accumulate(&mut potential.parameters_mut()[i].value, 1.0, &[(-epsilon, &direction)]);
            loss
        };
        let h = 1e-3;
        let difference = (at(-2.0 * h) - 8.0 * at(-h) + 8.0 * at(h) - at(2.0 * h)) / (12.0 * h);
        let got = space.dot(of_parameter, &direction);
        let scale = space.dot(of_parameter, of_parameter).sqrt() * space.dot(&direction, &direction).sqrt();
        assert!(scale > 1e-6, "{what}: parameter {i} has no gradient");
        assert!(
            (got - difference).abs() < tolerance * scale,
            "{what}, parameter {i}: {got}, by differences {difference}"
        );
    }
}
