//! Solves that a CUDA device repeats on its own: in a program apart, as solves of other threads are not recorded meanwhile.
#![cfg(maflow_tch)]

mod common;

use backend_tch::{Activation, Network, Tch, Term};
use common::spaces;
use flow_core::conformance::assert_close;
use flow_core::{
    Coordinates, Draws, Estimator, FixedStep, Flow, FreeEnergy, Group, Memory, Method, NegativeLogLikelihood,
    Objective, Potential, Precision, Purpose, Space, StandardNormal, Symmetrised, SymmetryDraw, TimeBasis, TimeFamily,
};

const ROWS: usize = 6;

/// A device that records solves, against the same device asked for every operation: losses, gradients and densities, while parameters
/// and batches change.
#[test]
fn recorded_solves_are_those_asked_for_operation_by_operation() {
    let basis = TimeBasis::new(TimeFamily::Cosine, 2, 1.0).unwrap();
    let network = Network { side: 4, channels: [3, 4], hidden: 5, probes: 0 };
    let kernels = backend_tch::LatticeRidgeSettings {
        shape: (4, 4),
        kernels: 3,
        activation: Activation::LnCosh,
        bias: true,
        time: basis,
        tied: None,
        fall_off: 1.0,
        seed: 6,
    };
    type Make<'a> = &'a dyn Fn(Tch) -> Box<dyn Potential<Tch>>;
    let ridge = |tch| backend_tch::Ridge::new(tch, 16, 10, Activation::Softplus, true, 7).unwrap();
    fn turned<P: Potential<Tch>>(tch: Tch, of: P, draw: SymmetryDraw) -> Symmetrised<Tch, P> {
        let shift = |s| (0..16u32).map(|i| (i + s) % 16).collect();
        let group = Group::new((0..16).map(shift).collect(), vec![1.0; 16]).unwrap().with_reflection();
        Symmetrised::new(tch, of, group, draw).unwrap()
    }
    let makes: [(Coordinates, Make); 10] = [
        (Coordinates::X, &|tch| Box::new(ridge(tch))),
        (Coordinates::Own, &|tch| Box::new(ridge(tch))),
        (Coordinates::Own, &|tch| Box::new(ridge(tch).with_time(basis))),
        (Coordinates::X, &|tch| Box::new(Term::lattice_ridge(tch, &kernels).unwrap())),
        (Coordinates::X, &|tch| Box::new(Term::convolutional(tch, network, basis, 3).unwrap())),
        (Coordinates::X, &|tch| {
            let quadratic = Term::quadratic(tch, 16, basis, true).unwrap();
            let terms: Vec<(String, Box<dyn Potential<Tch>>)> =
                vec![("ridge".into(), Box::new(ridge(tch))), ("quadratic".into(), Box::new(quadratic))];
            Box::new(flow_core::Sum::new(tch, terms).unwrap())
        }),
        (Coordinates::X, &|tch| Box::new(turned(tch, ridge(tch), SymmetryDraw::PerStage))),
        (Coordinates::X, &|tch| Box::new(turned(tch, ridge(tch), SymmetryDraw::PerSolve))),
        (Coordinates::Own, &|tch| Box::new(turned(tch, ridge(tch), SymmetryDraw::PerSolve))),
        (Coordinates::X, &|tch| {
            let of = Term::lattice_ridge(tch, &kernels).unwrap();
            Box::new(turned(tch, of, SymmetryDraw::PerStage))
        }),
    ];
    for tch in [Precision::F64, Precision::F32].into_iter().flat_map(spaces) {
        let Some(recorder) = tch.recorder() else { continue };
        let plain = tch.without_recordings();
        for (coordinates, make) in makes {
            let (mut potential, mut reference) = (make(tch), make(plain));
            let before = recorder.repeated();
            for step in 0..5 {
                let integrator = FixedStep::new(Method::Midpoint.tableau(), 2).unwrap();
                let memory = if step < 4 { Memory::Stages } else { Memory::Starts };
                let draws = Draws::new(4, Purpose::Train, step);
                let batch = draws.normals(0..ROWS, 16);
                let objective = NegativeLogLikelihood { transport_cost: 0.1, log_jacobian: 0.0 };
                let found = |space: &Tch, potential: &dyn Potential<Tch>| {
                    let flow = Flow { space, potential, integrator: &integrator, duration: 0.5, coordinates, memory };
                    let outcome = objective.evaluate(&flow, &batch, draws, true).unwrap();
                    let free = NegativeLogLikelihood::default().evaluate(&flow, &batch, draws, false).unwrap();
                    let energy = StandardNormal { dim: 16 };
                    let path = FreeEnergy { energy, transport_cost: 0.0, gradient: Estimator::Path };
                    let path = path.evaluate(&flow, &batch, draws, true).unwrap();
                    let losses = [outcome.losses, free.losses, flow.log_density(&batch, draws).unwrap(), path.losses];
                    let gradients = outcome.gradient.into_iter().chain(path.gradient).flatten();
                    (losses.concat(), gradients.collect::<Vec<_>>())
                };
                let (ours, theirs) = (found(&tch, &*potential), found(&plain, &*reference));
                assert_close("losses", &ours.0, &theirs.0, 1e3 * tch.round_off(), 0.0);
                for (ours, theirs) in ours.1.iter().zip(&theirs.1) {
                    let tolerance = 1e4 * tch.round_off();
                    assert_close("a gradient", &tch.download(ours), &plain.download(theirs), tolerance, 0.0);
                }
                let parameters = potential.parameters_mut().into_iter().zip(reference.parameters_mut());
                for ((p, q), (ours, theirs)) in parameters.zip(ours.1.iter().zip(&theirs.1)) {
                    tch.accumulate(&mut p.value, 1.0, &[(-0.1, ours)]);
                    plain.accumulate(&mut q.value, 1.0, &[(-0.1, theirs)]);
                }
            }
            // The third solve of a kind and later ones: two with either gradient, as the last keeps something else for it, three of scores,
            // and eight of ten without either.
            assert_eq!(recorder.repeated() - before, 2 + 2 + 3 + 8, "{coordinates:?}");
        }
    }
}
