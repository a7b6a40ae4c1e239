//! Solves that a device captures and replays, on the emulated device and on CUDA: in a program apart, as nothing is
//! captured on CUDA while another thread is in a session.
#![cfg(set_up)]

mod common;

use backend_tch::{Activation, LatticeRidgeSettings, NetworkSettings, Ridge, Tch, Term};
use common::{devices, emulated_with_graphs};
use flow_core::conformance::captured;
use flow_core::{
    Coordinates, Group, Potential, Precision, Space, Sum, Symmetrised, SymmetryDraw, TimeBasis, TimeFamily,
    TwoLayerSettings,
};

fn basis() -> TimeBasis {
    TimeBasis::new(TimeFamily::Cosine, 2, 1.0).unwrap()
}

fn ridge(on: Tch) -> Ridge {
    Ridge::new(on, 16, 10, Activation::Softplus, true, 7).unwrap()
}

fn lattice(on: Tch) -> Term {
    let settings = LatticeRidgeSettings {
        shape: (4, 4),
        kernels: 3,
        activation: Activation::LnCosh,
        bias: true,
        time: basis(),
        tied: None,
        fall_off: 1.0,
        seed: 6,
    };
    Term::lattice_ridge(on, &settings).unwrap()
}

fn u_shaped(on: Tch, probes: usize) -> Term {
    Term::convolutional(on, NetworkSettings { side: 4, channels: [3, 4], hidden: 5, probes }, basis(), 3).unwrap()
}

fn two_layer(on: Tch, probes: usize) -> Term {
    let activation = Activation::LnCosh;
    let settings = TwoLayerSettings { hidden: [6, 5], activation, bias: true, probes, context: 0 };
    Term::two_layer(on, 16, settings, basis(), 3).unwrap()
}

fn symmetrised<P: Potential<Tch>>(on: Tch, of: P, draw: SymmetryDraw) -> Symmetrised<Tch, P> {
    let shift = |s| (0..16u32).map(|i| (i + s) % 16).collect();
    let group = Group::new((0..16).map(shift).collect(), vec![1.0; 16]).unwrap().with_reflection();
    Symmetrised::new(on, of, group, draw).unwrap()
}

fn sum(on: Tch, terms: Vec<Box<dyn Potential<Tch>>>) -> Sum<Tch> {
    Sum::new(on, terms.into_iter().enumerate().map(|(k, term)| (format!("term{k}"), term)).collect()).unwrap()
}

type Make = fn(Tch) -> Box<dyn Potential<Tch>>;

const POTENTIALS: [(Coordinates, Make); 12] = [
    (Coordinates::X, |on| Box::new(ridge(on))),
    (Coordinates::Feature, |on| Box::new(ridge(on))),
    (Coordinates::Feature, |on| Box::new(ridge(on).with_time(basis()))),
    (Coordinates::X, |on| Box::new(lattice(on))),
    (Coordinates::X, |on| Box::new(sum(on, vec![Box::new(ridge(on)), Box::new(two_layer(on, 0))]))),
    // What is drawn is an input.
    (Coordinates::X, |on| Box::new(two_layer(on, 2))),
    (Coordinates::X, |on| Box::new(symmetrised(on, ridge(on), SymmetryDraw::PerStage))),
    (Coordinates::X, |on| Box::new(symmetrised(on, ridge(on), SymmetryDraw::PerSolve))),
    (Coordinates::Feature, |on| Box::new(symmetrised(on, ridge(on), SymmetryDraw::PerSolve))),
    (Coordinates::X, |on| Box::new(symmetrised(on, lattice(on), SymmetryDraw::PerStage))),
    (Coordinates::X, |on| Box::new(symmetrised(on, two_layer(on, 1), SymmetryDraw::PerSolve))),
    (Coordinates::X, |on| {
        let symmetrised = symmetrised(on, ridge(on), SymmetryDraw::PerSolve);
        Box::new(sum(on, vec![Box::new(symmetrised), Box::new(two_layer(on, 1))]))
    }),
];

/// Convolutions take the processor so long that they are left to devices.
const CONVOLUTIONS: [(Coordinates, Make); 2] =
    [(Coordinates::X, |on| Box::new(u_shaped(on, 0))), (Coordinates::X, |on| Box::new(u_shaped(on, 2)))];

#[test]
fn captured_solves_are_those_asked_for_operation_by_operation() {
    let check = |on: Tch, potentials: &[(Coordinates, Make)]| {
        let plain = on.without_graphs();
        for (coordinates, make) in potentials {
            captured((&on, &mut *make(on)), (&plain, &mut *make(plain)), *coordinates, 6);
        }
    };
    for precision in [Precision::F64, Precision::F32] {
        for on in devices(precision).into_iter().filter(|on| on.graphs().is_some()) {
            check(on, &POTENTIALS);
            check(on, &CONVOLUTIONS);
        }
        emulated_with_graphs(precision).into_iter().for_each(|on| check(on, &POTENTIALS));
    }
}
