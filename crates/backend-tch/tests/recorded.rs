//! Solves that a CUDA device repeats on its own: in a program apart, as solves of other threads are not recorded meanwhile.
#![cfg(maflow_tch)]

mod common;

use backend_tch::{Activation, Network, Tch, Term};
use common::spaces;
use flow_core::conformance::recorded;
use flow_core::{Coordinates, Group, Potential, Precision, Space, Symmetrised, SymmetryDraw, TimeBasis, TimeFamily};

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
        (Coordinates::Feature, &|tch| Box::new(ridge(tch))),
        (Coordinates::Feature, &|tch| Box::new(ridge(tch).with_time(basis))),
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
        (Coordinates::Feature, &|tch| Box::new(turned(tch, ridge(tch), SymmetryDraw::PerSolve))),
        (Coordinates::X, &|tch| {
            let of = Term::lattice_ridge(tch, &kernels).unwrap();
            Box::new(turned(tch, of, SymmetryDraw::PerStage))
        }),
    ];
    for tch in [Precision::F64, Precision::F32].into_iter().flat_map(spaces) {
        if tch.recorder().is_none() {
            continue;
        }
        let plain = tch.without_recordings();
        for (coordinates, make) in makes {
            recorded((&tch, &mut *make(tch)), (&plain, &mut *make(plain)), coordinates, 6);
        }
    }
}
