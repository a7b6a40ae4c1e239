//! Numbers that do not fit are refused in a sentence: never cut short, and never a panic.

use backend_ndarray::Cpu;
use flow_core::conformance::Gaussian;
use flow_core::{
    Batch, Coordinates, Direction, Error, Estimator, Evaluation, FixedStep, Flow, FlowMatching, FlowModel, FreeEnergy,
    Method, Model, NegativeLogLikelihood, Objective, Path, StandardNormal,
};

use super::objective::LogVariance;
use super::{DIM, key, normals, ridge};

/// One number too many for two rows.
const TORN: [f64; 2 * DIM + 1] = [0.5; 2 * DIM + 1];

/// Calls something with a flow of `DIM` coordinates.
fn with_flow<R>(call: impl FnOnce(&Flow<'_, Cpu<f64>>) -> R) -> R {
    let (space, potential) = (Cpu::<f64>::new(1), ridge(&Cpu::new(1), 5));
    let integrator = FixedStep::new(Method::Rk4.tableau(), 2).unwrap();
    call(&Flow { coordinates: Coordinates::X, ..Flow::new(&space, &potential, &integrator) })
}

#[track_caller]
fn assert_shape<T>(result: Result<T, Error>) {
    match result {
        Err(Error::Shape { .. }) => (),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was taken"),
    }
}

fn objectives() -> Vec<Box<dyn Objective<Cpu<f64>>>> {
    let path = FreeEnergy { gradient: Estimator::Path, ..FreeEnergy::new(StandardNormal { dim: DIM }) };
    vec![
        Box::new(NegativeLogLikelihood::default()),
        Box::new(NegativeLogLikelihood { transport_cost: 0.1, log_jacobian: 0.0.into() }),
        Box::new(FreeEnergy::new(StandardNormal { dim: DIM })),
        Box::new(path),
        Box::new(FlowMatching::new(Path::Straight, 3)),
        Box::new(LogVariance),
    ]
}

#[test]
fn rows_that_are_not_whole_are_refused() {
    assert_shape(Batch::new(TORN.to_vec(), DIM));
    assert_shape(Batch::new(TORN.to_vec(), 0));
    with_flow(|flow| {
        let forward = flow.span(Direction::Forward);
        let whole = [0.5; 2 * DIM];
        assert_shape(flow.transport(&TORN, forward, key(0)));
        assert_shape(flow.log_density(&TORN, key(0)));
        assert_shape(flow.scored_samples(&TORN, key(0)));
        assert_shape(flow.transport_score(&TORN, &TORN, forward, key(0)));
        assert_shape(flow.transport_score(&whole, &TORN, forward, key(0)));
        // Whole rows, but not as many.
        assert_shape(flow.transport_score(&whole, &whole[..DIM], forward, key(0)));
        assert_shape(flow.latent_energy(&StandardNormal { dim: DIM }, &TORN, key(0)));
    });
}

#[test]
fn batches_that_do_not_fit_are_refused_by_every_objective() {
    let torn = || Batch { x: TORN.to_vec(), ..normals(2) };
    let bad = [
        ("no rows", normals(0)),
        ("torn rows", torn()),
        ("rows of another length", Batch::new(vec![0.5; 4], DIM + 1).unwrap()),
        ("a context that nobody takes", normals(2).with_context(vec![0.0; 2])),
        ("a weight for one of two rows", normals(2).with_weights(vec![1.0], 1.0)),
        ("a part of a batch whose rest nobody has", normals(2).part(3, 8)),
        ("a part beyond the end", normals(2).part(7, 8)),
    ];
    with_flow(|flow| {
        for (what, batch) in &bad {
            for objective in objectives() {
                for gradient in [false, true] {
                    let how = Evaluation { gradient, ..Evaluation::new(key(0)) };
                    match objective.evaluate(flow, batch, &how) {
                        Err(Error::Shape { .. }) => (),
                        other => panic!("{} of {what}: {:?}", objective.name(), other.map(|found| found.losses)),
                    }
                }
            }
            // Points to be carried may be none.
            if batch.of > 0 {
                assert_shape(flow.log_density_of(batch, key(0)));
            }
        }
        // The same batch whole.
        objectives().iter().for_each(|objective| {
            objective.evaluate(flow, &normals(2), &Evaluation::new(key(0)).with_gradient()).unwrap();
        });
    });
}

#[test]
fn no_points_have_no_figures() {
    with_flow(|flow| {
        let forward = flow.span(Direction::Forward);
        assert_eq!(flow.transport(&[], forward, key(0)).unwrap().x, [0.0; 0]);
        assert_eq!(flow.log_density(&[], key(0)).unwrap(), [0.0; 0]);
        assert_eq!(flow.scored_samples(&[], key(0)).unwrap().score, [0.0; 0]);
        let (energies, gradients) = flow.latent_energy(&StandardNormal { dim: DIM }, &[], key(0)).unwrap();
        assert!(energies.is_empty() && gradients.is_empty());
    });
}

#[test]
fn an_energy_of_another_dimension_is_refused() {
    with_flow(|flow| {
        for dim in [1, DIM - 1, DIM + 1] {
            for gradient in [Estimator::Total, Estimator::Path] {
                let objective = FreeEnergy { gradient, ..FreeEnergy::new(StandardNormal { dim }) };
                let how = Evaluation::new(key(0)).with_gradient();
                assert_shape(objective.evaluate(flow, &normals(DIM + 1), &how));
            }
            assert_shape(flow.latent_energy(&StandardNormal { dim }, &[0.5; DIM * (DIM + 1)], key(0)));
        }
    });
}

#[test]
fn a_model_refuses_what_does_not_fit() {
    let model = |driven: bool| {
        let (space, integrator) = (Cpu::<f64>::new(1), FixedStep::new(Method::Rk4.tableau(), 2).unwrap());
        let gaussian = Gaussian::new(space.clone(), DIM, 0.3);
        let potential = Box::new(if driven { gaussian.driven() } else { gaussian });
        FlowModel::new(space, potential, Box::new(integrator), Box::new(NegativeLogLikelihood::default()))
    };
    let whole = [0.5; 2 * DIM];
    for (driven, x, context) in
        [(false, &TORN[..], &[][..]), (false, &whole, &whole), (true, &whole, &[]), (true, &whole, &TORN)]
    {
        let model = model(driven);
        assert_shape(model.log_prob(x, context, key(0)));
        assert_shape(model.to_base(x, context, key(0)));
        assert_shape(model.from_base(x, context, key(0)));
    }
    assert_shape(model(true).sample(2, &TORN, key(0)));
    assert_shape(model(false).sample(2, &whole, key(0)));
}
