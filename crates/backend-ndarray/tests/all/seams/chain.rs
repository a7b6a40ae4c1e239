//! Flows of segments with normalisation layers between them: exact densities, exact gradients, and averages that a
//! training goes on with bit for bit.

use std::sync::Arc;

use backend_ndarray::{Activation, Cpu, Real, Ridge};
use flow_core::conformance::Gaussian;
use flow_core::{
    ArrayRows, Batch, Chain, Direction, Error, Evaluation, FixedStep, Flow, FlowModel, Memory, Method, Model,
    NegativeLogLikelihood, Objective, Potential, Reversible, RngKey, Space, Sum, Team, TrainSettings, Trainer,
    standard_normal_log_density,
};

use super::team::together;
use super::{DIM, assert_gradient_is_the_difference, key, normals, ridge};
use crate::kept::Kept;

/// Ridge potentials one after the other, for a flow of duration 1.
fn chain<T: Real>(space: &Cpu<T>, segments: usize, decay: Option<f64>) -> Chain<Cpu<T>> {
    let of = |_| Box::new(ridge(space, 6)) as Box<dyn Potential<Cpu<T>>>;
    Chain::new(space.clone(), (0..segments).map(of).collect(), 1.0, decay).unwrap()
}

/// Sets the averages of the first layer, as if one batch had come by.
fn set_layer<T: Real>(space: &Cpu<T>, of: &mut dyn Potential<Cpu<T>>, mean: &[f64], variance: &[f64]) {
    let dim = mean.len();
    let values = [space.upload(1, dim, mean), space.upload(1, dim, variance), space.upload(1, 1, &[1.0])];
    of.buffers_mut().into_iter().zip(values).for_each(|(buffer, value)| buffer.value = value);
}

fn rk4(steps: usize) -> FixedStep {
    FixedStep::new(Method::Rk4.tableau(), steps).unwrap()
}

fn model<T: Real>(space: &Cpu<T>, potential: impl Potential<Cpu<T>> + 'static, steps: usize) -> FlowModel<Cpu<T>> {
    let objective = Box::new(NegativeLogLikelihood::default());
    FlowModel::new(space.clone(), Box::new(potential), Box::new(rk4(steps)), objective)
}

/// With segments that move nothing a layer is all there is: `x = m + s z`.
#[test]
fn a_layer_alone_is_the_gaussian_that_it_makes() {
    let space = Cpu::<f64>::new(1);
    let still = || Box::new(Gaussian::new(space.clone(), 2, 0.0)) as Box<dyn Potential<Cpu<f64>>>;
    let mut chain = Chain::new(space.clone(), vec![still(), still()], 1.0, Some(0.9)).unwrap();
    let (mean, deviation) = ([0.5, -2.0], [3.0, 0.25]);
    set_layer(&space, &mut chain, &mean, &deviation.map(|s| s * s - 1e-5));
    let model = model(&space, chain, 3);
    let x = [0.1, 0.2, -1.0, -2.5];
    let found = model.log_prob(&x, &[], key(0)).unwrap();
    for (x, ln_p) in x.chunks(2).zip(&found.values) {
        let z: Vec<f64> = (0..2).map(|i| (x[i] - mean[i]) / deviation[i]).collect();
        let exact = standard_normal_log_density(&z) - deviation.iter().map(|s| s.ln()).sum::<f64>();
        assert!((ln_p - exact).abs() < 1e-13, "{ln_p}, exactly {exact}");
    }
    let base = model.to_base(&x, &[], key(0)).unwrap();
    let back = model.from_base(&base.x, &[], key(0)).unwrap();
    for ((x, back), i) in x.iter().zip(&back.x).zip([0, 1].into_iter().cycle()) {
        assert!((x - back).abs() < 1e-14, "coordinate {i}: {x} came back as {back}");
    }
    assert_eq!(base.log_jacobian.iter().map(|j| -j).collect::<Vec<_>>(), back.log_jacobian);
    // The way in two halves, whose common end lies on the boundary, is the whole way.
    let flow = model.flow();
    let halves = |spans: [[f64; 2]; 2]| {
        spans
            .into_iter()
            .fold(x.to_vec(), |x, [from, to]| flow.transport(&x, flow_core::Span { from, to }, key(0)).unwrap().x)
    };
    assert_eq!(halves([[1.0, 0.5], [0.5, 0.0]]), base.x);
    assert_eq!(halves([[0.0, 0.5], [0.5, 1.0]]), flow.transport(&x, flow.span(Direction::Forward), key(0)).unwrap().x);
}

#[test]
fn a_density_through_layers_adds_up_to_1() {
    let space = Cpu::<f64>::new(1);
    let of = |seed| -> Box<dyn Potential<Cpu<f64>>> {
        Box::new(Ridge::new(space.clone(), 1, 5, Activation::Softplus, true, seed).unwrap())
    };
    let mut chain = Chain::new(space.clone(), vec![of(1), of(2), of(3)], 1.0, Some(0.9)).unwrap();
    set_layer(&space, &mut chain, &[0.7], &[2.5]);
    let model = model(&space, chain, 20);
    let step = 0.05;
    let x: Vec<f64> = (-400..=400).map(|i| f64::from(i) * step).collect();
    let ln_p = model.log_prob(&x, &[], key(0)).unwrap().values;
    let sum: f64 = ln_p.iter().map(|ln_p| step * ln_p.exp()).sum();
    assert!((sum - 1.0).abs() < 1e-7, "{sum}");
    let samples = model.sample(50, &[], key(1)).unwrap();
    let again = model.log_prob(&samples.x, &[], key(1)).unwrap().values;
    assert!(samples.log_prob.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-6), "{samples:?} {again:?}");
}

#[test]
fn the_gradient_through_layers_is_the_difference() {
    let space = Cpu::<f64>::new(1);
    let mut chain = chain(&space, 2, Some(0.9));
    set_layer(&space, &mut chain, &[0.3, -0.4, 0.1], &[1.7, 0.5, 0.9]);
    let batch = normals(7);
    let (fixed, reversible) = (rk4(3), Reversible::new(Method::Heun.tableau(), 0.9, 3).unwrap());
    let integrators: [&dyn flow_core::Integrator<Cpu<f64>>; 2] = [&fixed, &reversible];
    for (integrator, memory) in integrators.into_iter().zip([Memory::Stages, Memory::Recompute]) {
        for transport_cost in [0.0, 0.3] {
            let objective = NegativeLogLikelihood { transport_cost, ..NegativeLogLikelihood::default() };
            assert_gradient_is_the_difference("a chain", &mut chain, &batch, &|potential| {
                let flow = Flow { memory, ..Flow::new(&space, potential, integrator) };
                objective.evaluate(&flow, &batch, &Evaluation::new(key(1)).with_gradient())
            });
        }
    }
    // A score is not carried through layers, and a chain with layers is no term.
    let flow = Flow::new(&space, &chain, &fixed);
    assert!(matches!(flow.scored_samples(&[0.0; 3], key(0)), Err(Error::Setting { .. })));
    assert!(Sum::new(space.clone(), vec![("chain".into(), Box::new(chain) as Box<dyn Potential<_>>)]).is_err());
}

#[test]
fn segments_that_do_not_fit_are_refused() {
    let space = Cpu::<f64>::new(1);
    let of = |dim| Box::new(Gaussian::new(space.clone(), dim, 0.1)) as Box<dyn Potential<Cpu<f64>>>;
    let chain = |segments, decay| Chain::new(space.clone(), segments, 1.0, decay);
    assert!(chain(Vec::new(), None).is_err());
    assert!(chain(vec![of(2), of(3)], None).is_err());
    assert!(chain(vec![of(2), of(2)], Some(1.0)).is_err());
}

fn settings(steps: u64) -> TrainSettings {
    TrainSettings { steps, batch: 20, learning_rate: 0.01, watch_every: 0, checkpoint_every: 3, ..Default::default() }
}

/// Rows far from the base density.
fn rows() -> ArrayRows {
    let x = RngKey::new(3, flow_core::Purpose::Sample, 0).normals(0..100, DIM);
    ArrayRows::new(x.iter().map(|x| 5.0 + 2.0 * x).collect(), DIM).unwrap()
}

fn bits(model: &FlowModel<Cpu<f32>>) -> Vec<Vec<u32>> {
    let arrays = Model::parameters(model).into_iter().chain(Model::buffers(model));
    arrays.map(|p| p.value.iter().map(|v| v.to_bits()).collect()).collect()
}

#[test]
fn the_first_batch_is_the_layer_of_the_second() {
    let space = Cpu::<f64>::new(1);
    let still = || Box::new(Gaussian::new(space.clone(), DIM, 0.0)) as Box<dyn Potential<Cpu<f64>>>;
    let mut model = model(&space, Chain::new(space.clone(), vec![still(), still()], 1.0, Some(0.5)).unwrap(), 2);
    let how = Evaluation::new(key(0));
    let batch = normals(30);
    let found =
        |model: &FlowModel<Cpu<f64>>, batch: &Batch| Model::evaluate(model, batch, &how.with_gradient()).unwrap();
    let first = found(&model, &batch);
    assert!(Model::evaluate(&model, &batch, &how).unwrap().moments.is_empty(), "figures teach a layer nothing");
    Model::observe(&mut model, &first);
    let moment = |power: i32| -> Vec<f64> {
        (0..DIM).map(|i| batch.x.iter().skip(i).step_by(DIM).map(|x| x.powi(power)).sum::<f64>() / 30.0).collect()
    };
    let (mean, square) = (moment(1), moment(2));
    let [layer_mean, layer_variance] = [0, 1].map(|i| space.download(&Model::buffers(&model)[i].value));
    for i in 0..DIM {
        assert!((layer_mean[i] - mean[i]).abs() < 1e-14);
        assert!((layer_variance[i] - (square[i] - mean[i] * mean[i])).abs() < 1e-13);
    }
    // The second batch goes through the layer of the first, and half of it comes into the average.
    let twice = Batch::new(batch.x.iter().map(|x| 2.0 * x).collect(), DIM).unwrap();
    let second = found(&model, &twice);
    assert!((second.moments[0].mean[0] - 2.0 * mean[0]).abs() < 1e-14, "moments are of what comes to a layer");
    Model::observe(&mut model, &second);
    let averaged = space.download(&Model::buffers(&model)[0].value)[0];
    assert!((averaged - 1.5 * mean[0]).abs() < 1e-14, "{averaged}");
}

#[test]
fn a_training_with_layers_goes_on_bit_for_bit_at_any_number_of_threads_and_members() {
    let rows = rows();
    let train = |threads: usize, steps: u64, store: &mut Kept, team: &dyn Team| -> Vec<Vec<u32>> {
        let space = Cpu::<f32>::new(threads);
        let mut model = model(&space, chain(&space, 2, Some(0.9)), 3);
        let settings = TrainSettings { blocks: Some(2), ..settings(steps) };
        let mut trainer = Trainer::new(&mut model, settings, &rows).unwrap().with_store(store).with_team(team);
        trainer.resume(&mut ()).unwrap();
        trainer.run(&mut ()).unwrap();
        drop(trainer);
        bits(&model)
    };
    let whole = train(1, 7, &mut Kept::default(), &flow_core::Alone);
    assert_eq!(whole, train(2, 7, &mut Kept::default(), &flow_core::Alone), "at two threads");
    let mut store = Kept::default();
    train(1, 3, &mut store, &flow_core::Alone);
    assert_eq!(whole, train(1, 7, &mut store, &flow_core::Alone), "resumed after three steps");
    for bits in together(2, |team| train(1, 7, &mut Kept::default(), team)) {
        assert_eq!(whole, bits, "by two members");
    }
    // Data are around 5, and so is what the layer has learned of them, after the last segment has moved them.
    assert!(f32::from_bits(whole[whole.len() - 3][0]).abs() > 1.0, "the layer has learned");
}

#[test]
fn layers_make_far_data_near() {
    let rows = rows();
    let last = |decay: Option<f64>| {
        let space = Cpu::<f32>::new(1);
        let mut model = model(&space, chain(&space, 2, decay), 4);
        model.team = Arc::new(flow_core::Alone);
        Trainer::new(&mut model, settings(60), &rows).unwrap().run(&mut ()).unwrap();
        let x = rows_of(&rows);
        let ln_p = model.log_prob(&x, &[], key(0)).unwrap().values;
        -ln_p.iter().sum::<f64>() / ln_p.len() as f64
    };
    let [without, with] = [None, Some(0.9)].map(last);
    assert!(with < without - 1.0, "{with} nats with layers, {without} without");
}

/// The rows that a training sees.
fn rows_of(rows: &ArrayRows) -> Vec<f64> {
    flow_core::Batches::batch(rows, key(0), 0..100, 100).unwrap().x
}
