//! The same model on this backend and on backend-ndarray: losses, gradients and checkpoints.
#![cfg(set_up)]

mod common;

use backend_ndarray::{Cpu, Particles, Real};
use backend_tch::{Activation, Device, NetworkSettings, Options, Tch, Term};
use common::{emulated, spaces};
use flow_core::conformance::assert_close;
use flow_core::{
    Batch, Centres, Checkpoint, Coordinates, Evaluation, FixedStep, Flow, FreeEnergy, Group, Method,
    NegativeLogLikelihood, Objective, ParticlesSettings, PointEnergy, Potential, Precision, Purpose, RidgeSettings,
    RngKey, Space, Tensor, TimeBasis, TimeFamily, TwoLayerSettings, cut,
};

/// The sizes of one of the paper's two experiments (its Table 2), with fewer rows and steps of the same length.
#[derive(Clone, Copy)]
struct Configuration {
    dim: usize,
    hidden: usize,
    activation: Activation,
    bias: bool,
    width: f64,
    rows: usize,
}

const MNIST: Configuration =
    Configuration { dim: 784, hidden: 1024, activation: Activation::Softplus, bias: true, width: 3.0, rows: 6 };
const ISING: Configuration =
    Configuration { dim: 256, hidden: 512, activation: Activation::LnCosh, bias: false, width: 1.0, rows: 6 };

/// Losses, and the gradient of every parameter.
type Figures = (Vec<f64>, Vec<Vec<f64>>);

fn figures<S: Space>(space: &S, potential: &dyn Potential<S>, of: &Configuration, coordinates: Coordinates) -> Figures {
    let integrator = FixedStep::new(Method::Rk4.tableau(), 5).unwrap();
    let flow = Flow { duration: 0.5, coordinates, ..Flow::new(space, potential, &integrator) };
    let key = RngKey::new(4, Purpose::Train, 0);
    let x = key.normals(0..of.rows, of.dim).iter().map(|x| of.width * x).collect();
    // E = ‖x‖²/2 − Σ ln cosh x.
    let energy = PointEnergy::new(of.dim, |x, gradient| {
        let of_coordinate = |(x, g): (&f64, &mut f64)| {
            *g = x - x.tanh();
            0.5 * x * x - Activation::LnCosh.value(*x)
        };
        Ok(x.iter().zip(gradient).map(of_coordinate).sum())
    });
    let objective: &dyn Objective<S> = match of.activation {
        Activation::Softplus => &NegativeLogLikelihood::default(),
        Activation::LnCosh => &FreeEnergy::new(energy),
    };
    let context = RngKey::new(5, Purpose::Train, 0).normals(0..of.rows, potential.context_dim());
    let batch = Batch::new(x, of.dim).unwrap().with_context(context);
    let outcome = objective.evaluate(&flow, &batch, &Evaluation::new(key).with_gradient()).unwrap();
    (outcome.losses, outcome.gradient.unwrap().iter().map(|g| space.download(g)).collect())
}

fn agree<T: Real>(of: Configuration, tolerance: f64) {
    let Configuration { dim, hidden, activation, bias, .. } = of;
    let cpu = Cpu::<T>::new(1);
    let reference = backend_ndarray::Ridge::new(cpu.clone(), dim, hidden, activation, bias, 7).unwrap();
    for coordinates in [Coordinates::X, Coordinates::Feature] {
        let expected = figures(&cpu, &reference, &of, coordinates);
        let mut on = spaces(T::PRECISION);
        on.extend(emulated(T::PRECISION, T::PRECISION));
        for tch in on {
            let ridge = backend_tch::Ridge::new(tch, dim, hidden, activation, bias, 7).unwrap();
            let before = tch.kernel_launches();
            let found = figures(&tch, &ridge, &of, coordinates);
            let (on, launches) = (tch.device(), tch.kernel_launches());
            assert_eq!(ridge.feature_stages() > 0, coordinates == Coordinates::Feature);
            assert!(launches.is_some() || on == Device::Cpu);
            // 20 evaluations and their pullbacks.
            assert!(launches.zip(before).is_none_or(|(after, before)| after >= before + 40));
            let packs = launches.is_none() && T::PRECISION == Precision::F32 && backend_tch::tch::utils::has_mkl();
            assert_eq!(ridge.packed_stages() > 0, packs);
            assert_close(&format!("{on}, {coordinates:?}: losses"), &found.0, &expected.0, tolerance, 0.0);
            for (parameter, (found, expected)) in ridge.parameters().iter().zip(found.1.iter().zip(&expected.1)) {
                assert_close(
                    &format!("{on}, {coordinates:?}: d/d {}", parameter.name),
                    found,
                    expected,
                    tolerance,
                    0.0,
                );
            }
        }
    }
}

#[test]
fn mnist_in_double_precision() {
    agree::<f64>(MNIST, 1e-10);
}

#[test]
fn mnist_in_single_precision() {
    agree::<f32>(MNIST, 1e-4);
}

/// Products of many panels of columns, in one block here and in four for the other backend.
#[test]
fn a_larger_batch_in_single_precision() {
    agree::<f32>(Configuration { dim: 520, hidden: 530, rows: 40, ..MNIST }, 1e-4);
    agree::<f32>(Configuration { dim: 520, hidden: 530, rows: 40, ..ISING }, 1e-4);
}

#[test]
fn ising_in_double_precision() {
    agree::<f64>(ISING, 1e-10);
}

#[test]
fn ising_in_single_precision() {
    agree::<f32>(ISING, 1e-4);
}

#[test]
fn coefficients_in_time_in_double_precision() {
    let cases = [(6, 8, MNIST, TimeFamily::Polynomial), (5, 14, ISING, TimeFamily::Cosine)];
    for (dim, hidden, of, family) in cases {
        let of = Configuration { dim, hidden, ..of };
        let Configuration { activation, bias, .. } = of;
        let basis = TimeBasis::new(family, 4, 0.5).unwrap();
        let cpu = Cpu::<f64>::new(1);
        let mut reference =
            backend_ndarray::Ridge::new(cpu.clone(), dim, hidden, activation, bias, 7).unwrap().with_time(basis);
        for coordinates in [Coordinates::X, Coordinates::Feature] {
            for tch in spaces(Precision::F64) {
                let free = backend_tch::Ridge::new(tch, dim, hidden, activation, bias, 7).unwrap();
                let mut ridge = free.with_time(basis);
                for (ours, theirs) in ridge.parameters_mut().into_iter().zip(reference.parameters_mut()).skip(1) {
                    assert_eq!((&ours.name, &ours.shape), (&theirs.name, &theirs.shape));
                    assert!(tch.download(&ours.value)[hidden..].iter().all(|v| *v == 0.0));
                    // Every term of its own size, so that none can be taken for another.
                    let values: Vec<f64> = (0..4 * hidden).map(|i| 0.4 * (1.7 * i as f64).sin()).collect();
                    ours.value = tch.upload(4, hidden, &values);
                    theirs.value = cpu.upload(4, hidden, &values);
                }
                let expected = figures(&cpu, &reference, &of, coordinates);
                let found = figures(&tch, &ridge, &of, coordinates);
                assert_close("losses", &found.0, &expected.0, 1e-12, 0.0);
                for (found, expected) in found.1.iter().zip(&expected.1) {
                    assert_close("a gradient", found, expected, 1e-12, 0.0);
                }
            }
        }
    }
}

/// Fills the parameters of a term and of its reference alike, and compares solves, whose figures and gradients have to
/// be the same.
fn same_term(
    tch: Tch,
    mut term: backend_tch::Term,
    cpu: &Cpu<f64>,
    reference: Box<dyn Potential<Cpu<f64>>>,
    strength: f64,
) {
    let mut reference = reference;
    assert_eq!(term.dim(), reference.dim());
    assert_eq!(term.parameters().len(), reference.parameters().len());
    for (key, (ours, theirs)) in term.parameters_mut().into_iter().zip(reference.parameters_mut()).enumerate() {
        assert_eq!((&ours.name, &ours.shape), (&theirs.name, &theirs.shape));
        let first = cpu.download(&theirs.value);
        assert_close("first values", &tch.download(&ours.value), &first, 1e-15, 0.0);
        let wave = |i: usize| strength * ((i * i + 3 * key + 1) as f64).sin();
        let values: Vec<f64> = first.iter().enumerate().map(|(i, v)| v + wave(i)).collect();
        let (rows, cols) = cpu.shape(&theirs.value);
        ours.value = tch.upload(rows, cols, &values);
        theirs.value = cpu.upload(rows, cols, &values);
    }
    for configuration in [MNIST, ISING] {
        let of = Configuration { dim: term.dim(), width: 1.0, ..configuration };
        let (found, expected) =
            (figures(&tch, &term, &of, Coordinates::Auto), figures(cpu, &*reference, &of, Coordinates::Auto));
        assert_close("losses", &found.0, &expected.0, 1e-11, 0.0);
        for (parameter, (found, expected)) in term.parameters().iter().zip(found.1.iter().zip(&expected.1)) {
            assert_close(&parameter.name, found, expected, 1e-11, 0.0);
        }
    }
}

#[test]
fn terms_in_double_precision() {
    use backend_ndarray::{
        FullQuadratic, LatticeQuadratic, LatticeRidge, LatticeRidgeSettings, Quadratic, Separable, TwoLayer,
    };
    let cpu = Cpu::<f64>::new(1);
    let basis = TimeBasis::new(TimeFamily::Cosine, 3, 0.5).unwrap();
    for tch in spaces(Precision::F64) {
        let same =
            |term: Result<Term, _>, reference, strength| same_term(tch, term.unwrap(), &cpu, reference, strength);
        for linear in [false, true] {
            let reference = Quadratic::new(cpu.clone(), 5, basis, linear).unwrap();
            same(Term::quadratic(tch, 5, basis, linear), Box::new(reference), 0.4);
        }
        let reference = FullQuadratic::new(cpu.clone(), 4, basis).unwrap();
        same(Term::full_quadratic(tch, 4, basis), Box::new(reference), 0.3);
        for activation in [Activation::Softplus, Activation::LnCosh] {
            let centres = Centres { count: 6, from: -2.0, to: 2.5, sharpness: 1.5 };
            let reference = Separable::new(cpu.clone(), 3, centres, activation, basis).unwrap();
            same(Term::separable(tch, 3, centres, activation, basis), Box::new(reference), 0.1);

            let bias = activation == Activation::Softplus;
            let reference = backend_ndarray::Ridge::new(cpu.clone(), 4, 7, activation, bias, 2).unwrap();
            let reference = reference.with_gains().with_time(basis);
            let settings = RidgeSettings { hidden: 7, activation, bias, gains: true, context: 0 };
            same(Term::ridge(tch, 4, settings, basis, 2), Box::new(reference), 0.3);
            let reference = backend_ndarray::Ridge::new(cpu.clone(), 4, 7, activation, bias, 2).unwrap();
            let reference = reference.with_time(basis).with_context(3, 2).unwrap();
            let settings = RidgeSettings { gains: false, context: 3, ..settings };
            same(Term::ridge(tch, 4, settings, basis, 2), Box::new(reference), 0.3);

            for (probes, context) in [(0, 0), (2, 0), (0, 3)] {
                let settings = TwoLayerSettings { hidden: [6, 4], activation, bias, probes, context };
                let reference = TwoLayer::new(cpu.clone(), 5, settings, basis, 3).unwrap();
                same(Term::two_layer(tch, 5, settings, basis, 3), Box::new(reference), 0.2);
            }
        }
        for shape in [(3, 4), (2, 5)] {
            let reference = LatticeQuadratic::new(&cpu, shape, basis).unwrap();
            same(Term::lattice_quadratic(tch, shape, basis), Box::new(reference), 0.3);
        }
        // The reflection of both axes through the origin.
        let reflection = (0..9).map(|i| (3 - i / 3) % 3 * 3 + (3 - i % 3) % 3).collect();
        let tied = Group::new(vec![(0..9).collect(), reflection], vec![1.0; 2]).unwrap();
        for (shape, kernels, activation, bias, tied, fall_off) in [
            ((3, 4), 3, Activation::Softplus, true, None, 1.0),
            ((2, 5), 2, Activation::LnCosh, false, None, 0.0),
            ((3, 3), 2, Activation::LnCosh, true, Some(&tied), 2.0),
        ] {
            let tied = tied.cloned();
            let settings =
                LatticeRidgeSettings { shape, kernels, activation, bias, time: basis, tied, fall_off, seed: 6 };
            let reference = LatticeRidge::new(&cpu, settings.clone()).unwrap();
            same(Term::lattice_ridge(tch, &settings), Box::new(reference), 0.2);
        }
    }
}

#[test]
fn particles_in_double_precision() {
    let cpu = Cpu::<f64>::new(1);
    let basis = TimeBasis::new(TimeFamily::Cosine, 3, 0.5).unwrap();
    let settings = ParticlesSettings {
        particles: 5,
        space: 3,
        kinds: Vec::new(),
        centres: 6,
        interval: [0.4, 5.0],
        core: 0.3,
        cutoff: None,
        sums: 3,
        vectors: 2,
        hidden: [7, 5],
        activation: Activation::Softplus,
    };
    let in_plane = ParticlesSettings { particles: 4, space: 2, activation: Activation::LnCosh, ..settings.clone() };
    for settings in [
        ParticlesSettings { kinds: vec![7, 2, 7, 2, 2], ..settings },
        ParticlesSettings { cutoff: Some([0.5, 3.0]), ..in_plane.clone() },
        ParticlesSettings { sums: 0, vectors: 0, hidden: [0, 0], ..in_plane.clone() },
        ParticlesSettings { sums: 0, ..in_plane.clone() },
        ParticlesSettings { vectors: 0, ..in_plane },
    ] {
        for tch in spaces(Precision::F64) {
            let reference = Particles::new(cpu.clone(), settings.clone(), basis, 3).unwrap();
            same_term(tch, Term::particles(tch, settings.clone(), basis, 3).unwrap(), &cpu, Box::new(reference), 0.1);
        }
    }
}

#[test]
fn sums_over_orbits_in_double_precision() {
    let of = Configuration { dim: 6, hidden: 3, ..MNIST };
    // Cyclic shifts and the reflection x → −x.
    let shifts = |dim: u32| (0..dim).map(|s| (0..dim).map(|i| (i + s) % dim).collect()).collect::<Vec<Vec<u32>>>();
    let group = || Group::new(shifts(6), vec![1.0; 6]).unwrap().with_reflection();
    let cpu = Cpu::<f64>::new(1);
    let reference = backend_ndarray::Ridge::new(cpu.clone(), 6, 3, of.activation, true, 7).unwrap();
    let expected = figures(&cpu, &reference.over_orbit(group()).unwrap(), &of, Coordinates::Auto);
    for tch in spaces(Precision::F64) {
        let ridge = backend_tch::Ridge::new(tch, 6, 3, of.activation, true, 7).unwrap().over_orbit(group()).unwrap();
        let found = figures(&tch, &ridge, &of, Coordinates::Auto);
        assert_close("losses", &found.0, &expected.0, 1e-12, 0.0);
        for (found, expected) in found.1.iter().zip(&expected.1) {
            assert_close("a gradient", found, expected, 1e-12, 0.0);
        }
    }
}

fn checkpoint<S: Space>(space: &S, potential: &dyn Potential<S>) -> Checkpoint {
    let tensor = |p: &flow_core::Parameter<S>| Tensor::from_array(space, &*p.name, &p.shape, &p.value);
    Checkpoint { tensors: potential.parameters().into_iter().map(tensor).collect(), ..Checkpoint::default() }
}

#[test]
fn checkpoints_move_between_backends() {
    let of = Configuration { dim: 9, hidden: 12, ..MNIST };
    let cpu = Cpu::<f64>::new(1);
    let ridge = |seed| backend_ndarray::Ridge::new(cpu.clone(), 9, 12, of.activation, true, seed).unwrap();
    let first = ridge(1);
    let there = checkpoint(&cpu, &first);
    let expected = figures(&cpu, &first, &of, Coordinates::Auto);
    for tch in spaces(Precision::F64) {
        let mut second = backend_tch::Ridge::new(tch, 9, 12, of.activation, true, 2).unwrap();
        assert_ne!(figures(&tch, &second, &of, Coordinates::Auto).0, expected.0);
        there.load_parameters(&tch, second.parameters_mut()).unwrap();
        let found = figures(&tch, &second, &of, Coordinates::Auto);
        assert_close("losses there", &found.0, &expected.0, 1e-13, 0.0);
        let back = checkpoint(&tch, &second);
        assert_eq!(back, there);
        let mut third = ridge(3);
        back.load_parameters(&cpu, third.parameters_mut()).unwrap();
        assert_eq!(figures(&cpu, &third, &of, Coordinates::Auto), expected);
    }
}

/// A batch in several blocks of rows on the CPU, each on a thread of its own, and as one.
#[test]
fn blocks_of_rows_on_their_own_threads_give_what_one_gives() {
    // Where there is CUDA, it has to come first.
    drop(spaces(Precision::F64));
    let on = |threads| Tch::new(Device::Cpu, Precision::F64, Options { threads, allow_tf32: false }).unwrap();
    let (several, one) = (on(3), on(3).with_whole_batches());
    let heights = |space: Tch| space.map_blocks(cut(50, space.blocks(50)), |rows| rows.len());
    assert_eq!((heights(several), heights(one)), (vec![16, 17, 17], vec![50]));
    assert_eq!([0, 7, 16, 23].map(|rows| several.blocks(rows)), [0, 1, 2, 2]);
    let basis = TimeBasis::new(TimeFamily::Cosine, 2, 1.0).unwrap();
    let network = NetworkSettings { side: 4, channels: [3, 4], hidden: 5, probes: 1 };
    let (activation, time) = (Activation::LnCosh, basis);
    let kernels = backend_tch::LatticeRidgeSettings {
        shape: (2, 3),
        kernels: 3,
        activation,
        bias: true,
        time,
        tied: None,
        fall_off: 1.0,
        seed: 6,
    };
    let activation = Activation::Softplus;
    let deep = TwoLayerSettings { hidden: [6, 4], activation, bias: true, probes: 1, context: 0 };
    type Make<'a> = &'a dyn Fn(Tch) -> Box<dyn Potential<Tch>>;
    let makes: [(usize, Make); 4] = [
        (6, &|tch| Box::new(backend_tch::Ridge::new(tch, 6, 10, Activation::LnCosh, true, 7).unwrap())),
        (5, &|tch| Box::new(Term::two_layer(tch, 5, deep, basis, 3).unwrap())),
        (6, &|tch| Box::new(Term::lattice_ridge(tch, &kernels).unwrap())),
        (16, &|tch| Box::new(Term::convolutional(tch, network, basis, 3).unwrap())),
    ];
    for (dim, make) in makes {
        let mut potential = make(one);
        // Amplitudes that start at zero would hide the rest.
        for (k, parameter) in potential.parameters_mut().into_iter().enumerate() {
            let (rows, cols) = one.shape(&parameter.value);
            parameter.value = one.upload(
                rows,
                cols,
                &(0..rows * cols).map(|i| (i as f64 + k as f64).sin() / 4.0).collect::<Vec<_>>(),
            );
        }
        let found = [several, one].map(|space| {
            let integrator = FixedStep::new(Method::Rk4.tableau(), 3).unwrap();
            let flow = Flow { duration: 0.5, ..Flow::new(&space, &*potential, &integrator) };
            let key = RngKey::new(4, Purpose::Train, 0);
            let (batch, how) =
                (Batch::new(key.normals(0..50, dim), dim).unwrap(), Evaluation::new(key).with_gradient());
            let outcome = NegativeLogLikelihood::default().evaluate(&flow, &batch, &how).unwrap();
            let gradient: Vec<_> = outcome.gradient.unwrap().iter().flat_map(|g| space.download(g)).collect();
            assert!(gradient.iter().any(|g| *g != 0.0));
            [outcome.losses, gradient]
        });
        for (several, one) in found[0].iter().zip(&found[1]) {
            assert_close(&format!("{dim} numbers"), several, one, 1e-12, 0.0);
        }
    }
}

#[test]
fn denormal_numbers_count_as_zero_where_blocks_are_worked_on() {
    drop(spaces(Precision::F32));
    let tch = Tch::new(Device::Cpu, Precision::F32, Options { threads: 2, allow_tf32: false }).unwrap();
    let survivors = |rows: std::ops::Range<usize>| {
        let small = tch.upload(rows.len(), 1, &vec![1e-37; rows.len()]);
        let mut out = tch.zeros(rows.len(), 1);
        tch.accumulate(&mut out, 0.0, &[(1e-5, &small)]);
        assert!(tch.download(&small).iter().all(|x| *x > 0.9e-37), "normal numbers stay");
        tch.download(&out).iter().filter(|x| **x != 0.0).count()
    };
    assert_eq!(tch.map_blocks(vec![0..8, 8..16], survivors), [0, 0]);
}
