//! Distances between samples of a flow and data as objectives: gradients, teams, and that they are learned by.

use backend_ndarray::Cpu;
use flow_core::{
    Evaluation, FixedStep, Flow, FlowModel, Method, Objective, Potential, Purpose, RngKey, TrainSettings, Trainer,
    WassersteinDistance,
};

use super::{DIM, assert_gradient_is_near_the_difference, key, normals, ridge};

const DISTANCES: [WassersteinDistance; 2] =
    [WassersteinDistance::Sinkhorn { blur: 0.3 }, WassersteinDistance::Sliced { projections: 7 }];

#[test]
fn their_gradient_through_a_flow_is_the_difference() {
    let (space, mut potential, data) = (Cpu::<f64>::new(2), ridge(&Cpu::new(1), 5), normals(12));
    let integrator = FixedStep::new(Method::Heun.tableau(), 3).unwrap();
    let data = flow_core::Batch { x: data.x.iter().map(|x| 1.0 + 2.0 * x).collect(), ..data };
    // Points of the base count all alike, so that the loss is the plain mean of rows.
    // The iterations of the Sinkhorn divergence end with 1e-5 of the mass in wrong places.
    for (distance, tolerance) in DISTANCES.into_iter().zip([1e-5, 1e-9]) {
        let outcome = |potential: &dyn Potential<Cpu<f64>>| {
            let flow = Flow::new(&space, potential, &integrator);
            distance.evaluate(&flow, &data, &Evaluation::new(key(0)).with_gradient())
        };
        let name = Objective::<Cpu<f64>>::name(&distance);
        assert_gradient_is_near_the_difference(name, &mut potential, &data, &outcome, tolerance);
    }
}

#[test]
fn a_flow_learns_a_density_by_either() {
    // Away from the base and wider.
    let x: Vec<f64> = RngKey::new(5, Purpose::Sample, 0).normals(0..2000, DIM).iter().map(|x| 1.5 + 1.5 * x).collect();
    let rows = flow_core::ArrayRows::new(x, DIM).unwrap();
    for distance in DISTANCES {
        let space = Cpu::<f64>::new(2);
        let potential = Box::new(ridge(&space, 12));
        let steps = Box::new(FixedStep::new(Method::Heun.tableau(), 4).unwrap());
        let mut model = FlowModel::new(space, potential, steps, Box::new(distance));
        let settings = TrainSettings { steps: 60, batch: 64, learning_rate: 0.05, ..TrainSettings::default() };
        let loss = |model: &FlowModel<Cpu<f64>>| {
            let batch = flow_core::Batches::batch(&rows, key(3), 0..256, 256).unwrap();
            let losses = distance.evaluate(&model.flow(), &batch, &Evaluation::new(key(3))).unwrap().losses;
            losses.iter().sum::<f64>() / 256.0
        };
        let before = loss(&model);
        Trainer::new(&mut model, settings, &rows).unwrap().run(&mut ()).unwrap();
        let after = loss(&model);
        assert!(after < 0.2 * before && after > 0.0, "{distance:?}: from {before} to {after}");
    }
}
