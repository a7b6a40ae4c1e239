//! The conformance suite of flow-core on this backend: one line per precision and potential.
#![cfg(set_up)]

mod common;

use backend_tch::tch::{Tensor, nn};
use backend_tch::{Activation, Laplacian, LatticeRidgeSettings, ModulePotential, NetworkSettings, Ridge, Tch, Term};
use common::{devices, spaces};
use flow_core::conformance::{
    Coverage, Gaussian, SolveCoverage, damped, few_particles, gaussian_stays_gaussian, methods_have_their_order,
    path_gradient_has_the_mean_of_the_total, path_gradient_vanishes_at_the_target, points_alone_are_those_with_ln_p,
    potential, reversible_steps, same_field, solves, space,
};
use flow_core::{
    Adaptive, Batch, Block, Centres, Coordinates, Evaluation, FixedStep, Flow, Group, Method, Motion,
    NegativeLogLikelihood, Objective, Potential, Precision, Pullback, Purpose, RidgeSettings, RngKey, Solve, Space,
    Stage, Symmetrised, SymmetryDraw, TimeBasis, TimeFamily, TwoLayerSettings, potentials,
};

fn ridge(on: Tch, dim: usize, hidden: usize, activation: Activation, bias: bool) -> Ridge {
    let mut ridge = Ridge::new(on, dim, hidden, activation, bias, 5).unwrap();
    // First values are small; nonlinear effects, and with them errors, show better at larger ones.
    for parameter in ridge.parameters_mut() {
        on.accumulate(&mut parameter.value, 2.5, &[]);
    }
    ridge
}

/// Cyclic shifts and the reflection x → −x.
fn shifts(dim: u32) -> Group {
    let source: Vec<Vec<u32>> = (0..dim).map(|s| (0..dim).map(|i| (i + s) % dim).collect()).collect();
    let sign = vec![1.0; source.len()];
    Group::new(source, sign).unwrap().with_reflection()
}

fn symmetrised(on: Tch, draw: SymmetryDraw) -> Symmetrised<Tch, Ridge> {
    Symmetrised::new(on, ridge(on, 5, 7, Activation::Softplus, true), shifts(5), draw).unwrap()
}

fn over_orbit(on: Tch) -> Ridge {
    ridge(on, 5, 2, Activation::Softplus, true).over_orbit(shifts(5)).unwrap()
}

/// Amplitudes and offsets that change with time, by as much as they are.
fn in_time(on: Tch, of: Ridge, family: TimeFamily) -> Ridge {
    let mut of = of.with_time(TimeBasis::new(family, 3, 0.8).unwrap());
    for parameter in of.parameters_mut().into_iter().skip(1) {
        let (rows, cols) = on.shape(&parameter.value);
        let values: Vec<f64> = (0..rows * cols).map(|i| 0.5 * ((i * i) as f64).sin()).collect();
        parameter.value = on.upload(rows, cols, &values);
    }
    of
}

fn basis(family: TimeFamily) -> TimeBasis {
    TimeBasis::new(family, 3, 0.8).unwrap()
}

/// Values of some size for all coefficients that start at zero, and uneven ones for the rest.
fn filled<P: Potential<Tch>>(on: Tch, of: Result<P, flow_core::Error>) -> P {
    let mut of = of.unwrap();
    for (key, parameter) in of.parameters_mut().into_iter().enumerate() {
        let (rows, cols) = on.shape(&parameter.value);
        let mut values = on.download(&parameter.value);
        for (i, value) in values.iter_mut().enumerate() {
            let wave = 0.4 * ((i * i + 3 * key + 1) as f64).sin();
            *value = if *value == 0.0 { wave } else { *value * (1.0 + wave) };
        }
        parameter.value = on.upload(rows, cols, &values);
    }
    of
}

fn separable_term(on: Tch, activation: Activation, family: TimeFamily) -> Term {
    let centres = Centres { count: 5, from: -2.0, to: 2.5, sharpness: 0.8 };
    let mut of = filled(on, Term::separable(on, 3, centres, activation, basis(family)));
    on.accumulate(&mut of.parameters_mut()[0].value, 0.5, &[]);
    of
}

fn gained(on: Tch, hidden: usize, activation: Activation, bias: bool) -> Term {
    ridge_term(on, RidgeSettings { hidden, activation, bias, gains: true, context: 0 })
}

fn ridge_term(on: Tch, settings: RidgeSettings) -> Term {
    filled(on, Term::ridge(on, 4, settings, basis(TimeFamily::Polynomial), 5))
}

/// With a context, and offsets and gains only where asked for.
fn ridge_in_context(on: Tch, all: bool) -> Term {
    let activation = Activation::Softplus;
    ridge_term(on, RidgeSettings { hidden: 6, activation, bias: all, gains: all, context: 2 })
}

fn context_quadratic(on: Tch) -> potentials::ContextQuadratic<Tch> {
    filled(on, potentials::ContextQuadratic::new(on, 4, 2, basis(TimeFamily::Cosine)))
}

/// Separable functions with a strength by the context.
fn modulated(on: Tch) -> potentials::Modulated<Tch> {
    let inner = Box::new(separable_term(on, Activation::Softplus, TimeFamily::Cosine));
    filled(on, potentials::Modulated::new(on, inner, 2, basis(TimeFamily::Polynomial)))
}

/// The same, written over the operations of a space.
fn over_the_space(on: Tch, hidden: usize, activation: Activation, bias: bool) -> potentials::Ridge<Tch> {
    let basis = basis(TimeFamily::Polynomial);
    filled(on, potentials::Ridge::new(on, (4, hidden), activation, bias, basis, 5))
}

fn two_layer(on: Tch, dim: usize, hidden: [usize; 2], activation: Activation, (bias, probes): (bool, usize)) -> Term {
    two_layer_of(on, dim, TwoLayerSettings { hidden, activation, bias, probes, context: 0 })
}

fn two_layer_in_context(on: Tch, bias: bool) -> Term {
    let activation = Activation::Softplus;
    two_layer_of(on, 4, TwoLayerSettings { hidden: [6, 5], activation, bias, probes: 0, context: 2 })
}

fn two_layer_of(on: Tch, dim: usize, settings: TwoLayerSettings) -> Term {
    let mut of = Term::two_layer(on, dim, settings, basis(TimeFamily::Cosine), 7).unwrap();
    // Small first values leave a Laplacian that is lost in the round-off of differences.
    for parameter in of.parameters_mut() {
        on.accumulate(&mut parameter.value, 1.4, &[]);
    }
    filled(on, Ok(of))
}

/// Kernels of a 2 × 3 lattice.
fn kernels(on: Tch, activation: Activation, bias: bool, tied: Option<&Group>) -> Term {
    let (time, tied) = (basis(TimeFamily::Cosine), tied.cloned());
    let settings =
        LatticeRidgeSettings { shape: (2, 3), kernels: 3, activation, bias, time, tied, fall_off: 1.5, seed: 3 };
    filled(on, Term::lattice_ridge(on, &settings))
}

/// The point reflection of a 2 × 3 lattice.
fn point_reflection() -> Group {
    Group::new(vec![(0..6).collect(), vec![0, 2, 1, 3, 5, 4]], vec![1.0; 2]).unwrap()
}

/// Particles of so many sums and vectors.
fn particles(on: Tch, shape: (usize, usize), features: [usize; 2], activation: Activation) -> Term {
    of_kinds(on, (&[], None), shape, (features, activation))
}

/// The same of particles of several kinds, or with a cutoff.
fn of_kinds(
    on: Tch,
    kinds_and_cutoff: (&[usize], Option<[f64; 2]>),
    shape: (usize, usize),
    (features, activation): ([usize; 2], Activation),
) -> Term {
    let settings = few_particles(kinds_and_cutoff, shape, features, activation);
    damped(&on, filled(on, Term::particles(on, settings, basis(TimeFamily::Cosine), 5)))
}

/// Two dense layers, with time.
fn dense(on: Tch, dim: usize, laplacian: Laplacian) -> ModulePotential {
    let build = |path: &nn::Path| {
        let first = nn::linear(path / "first", dim as i64, 7, Default::default());
        let second = nn::linear(path / "second", 7, 5, Default::default());
        let gain = path.randn("gain", &[5], 0.0, 1.0);
        move |x: &Tensor, t: f64| {
            let hidden = (x.apply(&first) + t).tanh().apply(&second);
            (hidden.softplus() * &gain).sum_dim_intlist(1, false, x.kind())
        }
    };
    ModulePotential::new(on, dim, laplacian, 3, build).unwrap()
}

/// A convolution of pictures of 3 × 3.
fn convolutional(on: Tch) -> ModulePotential {
    let build = |path: &nn::Path| {
        let same = nn::ConvConfig { padding: 1, ..Default::default() };
        let (first, second) = (nn::conv2d(path / "first", 1, 3, 3, same), nn::conv2d(path / "second", 3, 1, 3, same));
        move |x: &Tensor, _t: f64| {
            let picture = x.view([-1, 1, 3, 3]);
            let field = picture.apply(&first).silu().apply(&second);
            // Weak, lest the points run away within a solve.
            (field * picture * 0.1).flat_view().sum_dim_intlist(1, false, x.kind())
        }
    };
    ModulePotential::new(on, 9, Laplacian::Exact, 3, build).unwrap()
}

/// One convolution of pictures of 1 × 2: each number more asks for more Laplacians, and more differences of them.
fn shallow(on: Tch) -> ModulePotential {
    let build = |path: &nn::Path| {
        let layer = nn::conv2d(path, 1, 1, 3, nn::ConvConfig { padding: 1, ..Default::default() });
        move |x: &Tensor, t: f64| {
            let picture = x.view([-1, 1, 1, 2]);
            let field = (picture.apply(&layer) + t).silu();
            (field * picture * 0.2).flat_view().sum_dim_intlist(1, false, x.kind())
        }
    };
    ModulePotential::new(on, 2, Laplacian::Exact, 3, build).unwrap()
}

/// Convolutions wide enough for libtorch to choose layouts of its own.
fn wide(on: Tch) -> ModulePotential {
    let build = |path: &nn::Path| {
        let same = nn::ConvConfig { padding: 2, ..Default::default() };
        let (first, second) = (nn::conv2d(path / "first", 2, 16, 5, same), nn::conv2d(path / "second", 16, 1, 5, same));
        move |x: &Tensor, t: f64| {
            let picture = x.view([-1, 1, 12, 12]);
            let input = Tensor::cat(&[&picture, &picture.full_like(t)], 1);
            (input.apply(&first).silu().apply(&second) * picture).flat_view().sum_dim_intlist(1, false, x.kind())
        }
    };
    ModulePotential::new(on, 144, Laplacian::Exact, 3, build).unwrap()
}

/// A U-shaped network for pictures of 4 × 4.
fn u_shaped(on: Tch, probes: usize) -> Term {
    let network = NetworkSettings { side: 4, channels: [2, 3], hidden: 5, probes };
    filled(on, Term::convolutional(on, network, basis(TimeFamily::Cosine), 3))
}

/// `Σ_i g_i tanh(k_i x_i)`: its Hessian is diagonal, so that random signs give the exact trace.
fn separable_module(on: Tch) -> ModulePotential {
    let build = |path: &nn::Path| {
        let (gain, inner) = (path.randn("gain", &[4], 0.0, 1.0), path.randn("inner", &[4], 0.0, 1.0));
        move |x: &Tensor, _t: f64| ((x * &inner).tanh() * &gain).sum_dim_intlist(1, false, x.kind())
    };
    ModulePotential::new(on, 4, Laplacian::Hutchinson { probes: 2 }, 3, build).unwrap()
}

/// What of the suite concerns a potential.
#[derive(Clone, Copy)]
struct Concerns {
    evaluation: Coverage,
    smooth_in_time: bool,
    forces: bool,
}

impl Concerns {
    /// With the derivative that a loss of forces needs, as every term has it.
    fn with_forces(self) -> Self {
        Self { forces: true, ..self }
    }
}

const PLAIN: Concerns = Concerns {
    evaluation: Coverage { rows_with_times: false, draws: false, context: false },
    smooth_in_time: true,
    forces: false,
};
const TIMES: Concerns = Concerns { evaluation: Coverage { rows_with_times: true, ..PLAIN.evaluation }, ..PLAIN };
const DRAWS: Concerns = Concerns { evaluation: Coverage { draws: true, ..PLAIN.evaluation }, ..PLAIN };
const CONTEXT: Concerns = Concerns { evaluation: Coverage { context: true, ..PLAIN.evaluation }, ..PLAIN };
const TIMES_IN_CONTEXT: Concerns = Concerns { evaluation: Coverage { context: true, ..TIMES.evaluation }, ..PLAIN };
const RANDOM_IN_TIME: Concerns = Concerns { smooth_in_time: false, ..DRAWS };

/// On a device the rows of every term may have times of their own. On a processor those of a term that fills its caches
/// may not.
fn times_on_a_device(on: Tch) -> Concerns {
    (if on.kernel_launches().is_some() { TIMES } else { PLAIN }).with_forces()
}

/// Checks that the suite covers of the solves on a space what it should.
fn solves_cover(on: Tch, of: &mut dyn Potential<Tch>, concerns: Concerns) {
    let Concerns { evaluation, smooth_in_time, forces } = concerns;
    let map_differenced = smooth_in_time && on.precision() == Precision::F64;
    let expected = SolveCoverage { smooth_in_time, map_differenced, latent_energy: !evaluation.context, forces };
    assert_eq!(solves(&on, of), expected, "{on:?}");
}

/// Runs the checks of one evaluation on all spaces; checks that are silently left out fail here.
fn evaluated<P: Potential<Tch>>(of: impl Fn(Tch) -> P, concerns: impl Fn(Tch) -> Concerns) {
    for on in [Precision::F64, Precision::F32].into_iter().flat_map(spaces) {
        assert_eq!(potential(&on, &mut of(on)), concerns(on).evaluation, "{on:?}");
    }
}

/// Runs the checks of whole solves on some spaces.
fn solved<P: Potential<Tch>>(spaces: &[Tch], of: impl Fn(Tch) -> P, concerns: impl Fn(Tch) -> Concerns) {
    for on in spaces {
        solves_cover(*on, &mut of(*on), concerns(*on));
    }
}

/// The space on which every potential is solved in `cargo test`: the last, a device or one played by the CPU.
fn one_space() -> Tch {
    *spaces(Precision::F32).last().unwrap()
}

/// All spaces but [`one_space`].
fn other_spaces() -> Vec<Tch> {
    let mut others = spaces(Precision::F32);
    others.pop();
    others.extend(spaces(Precision::F64));
    others
}

// A solve asks libtorch for thousands of operations, each of which takes it microseconds. So `cargo test` makes whole
// solves on one space, in single precision, where one method stands for all, and of one potential of each make: what
// else there is differs from these in its evaluations, which are checked of all.
macro_rules! conformance {
    ($($(#[$long:meta])? $name:ident: $potential:expr => $concerns:expr;)*) => {
        $(mod $name {
            use super::*;
            #[test]
            fn evaluated() {
                super::evaluated($potential, $concerns);
            }
            #[test]
            $(#[$long])?
            fn solved() {
                super::solved(&[one_space()], $potential, $concerns);
            }
            #[test]
            #[ignore = "long: scripts/full"]
            fn solved_on_other_spaces() {
                super::solved(&other_spaces(), $potential, $concerns);
            }
        })*
    };
}

conformance! {
    gaussian_in_a_context: |on| Gaussian::new(on, 3, 0.3).driven() => |_| CONTEXT.with_forces();
    softplus_with_bias: |on| ridge(on, 4, 6, Activation::Softplus, true) => |_| TIMES;
    symmetrised_per_solve: |on| symmetrised(on, SymmetryDraw::PerSolve) => |_| DRAWS;
    over_an_orbit: over_orbit => |_| TIMES;
    in_time_and_wide: |on| in_time(on, ridge(on, 3, 9, Activation::LnCosh, true), TimeFamily::Polynomial) => |_| PLAIN;
    #[ignore = "long: scripts/full"]
    separable: |on| separable_term(on, Activation::Softplus, TimeFamily::Cosine) => |_| TIMES.with_forces();
    two_layer_softplus: |on| two_layer(on, 4, [6, 5], Activation::Softplus, (true, 0)) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    ridge_in_context: |on| ridge_in_context(on, true) => |_| TIMES_IN_CONTEXT.with_forces();
    #[ignore = "long: scripts/full"]
    modulated: modulated => |_| CONTEXT;
    #[ignore = "long: scripts/full"]
    particles_in_pairs: |on| particles(on, (3, 2), [0, 0], Activation::Softplus) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    particles_with_sums: |on| particles(on, (4, 1), [2, 0], Activation::LnCosh) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    particles_in_space: |on| particles(on, (3, 3), [2, 3], Activation::Softplus) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    particles_of_kinds: |on| of_kinds(on, (&[1, 0, 1], None), (3, 2), ([1, 2], Activation::Softplus))
        => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    particles_with_a_cutoff: |on| of_kinds(on, (&[], Some([0.0, 12.0])), (3, 2), ([1, 2], Activation::Softplus))
        => |_| TIMES.with_forces();
    lattice_kernels_tied: |on| kernels(on, Activation::LnCosh, true, Some(&point_reflection())) => times_on_a_device;
    #[ignore = "long: scripts/full"]
    dense_module: |on| dense(on, 2, Laplacian::Exact) => |_| PLAIN;
    #[ignore = "long: scripts/full"]
    gaussian: |on| Gaussian::new(on, 3, 0.3) => |_| PLAIN.with_forces();
    #[ignore = "long: scripts/full"]
    softplus_wide: |on| ridge(on, 3, 19, Activation::Softplus, false) => |_| TIMES;
    #[ignore = "long: scripts/full"]
    ln_cosh: |on| ridge(on, 5, 18, Activation::LnCosh, false) => |_| TIMES;
    #[ignore = "long: scripts/full"]
    ln_cosh_with_bias: |on| ridge(on, 4, 3, Activation::LnCosh, true) => |_| TIMES;
    #[ignore = "long: scripts/full"]
    symmetrised_per_stage: |on| symmetrised(on, SymmetryDraw::PerStage) => |_| RANDOM_IN_TIME;
    #[ignore = "long: scripts/full"]
    in_time_and_narrow: |on| in_time(on, ridge(on, 4, 6, Activation::Softplus, true), TimeFamily::Cosine) => |_| PLAIN;
    #[ignore = "long: scripts/full"]
    in_time_over_an_orbit: |on| in_time(on, over_orbit(on), TimeFamily::Cosine) => |_| PLAIN;
    #[ignore = "long: scripts/full"]
    quadratic: |on| filled(on, Term::quadratic(on, 4, basis(TimeFamily::Polynomial), false)) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    quadratic_and_linear:
        |on| filled(on, Term::quadratic(on, 4, basis(TimeFamily::Cosine), true)) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    full_quadratic:
        |on| filled(on, Term::full_quadratic(on, 3, basis(TimeFamily::Polynomial))) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    separable_even: |on| separable_term(on, Activation::LnCosh, TimeFamily::Polynomial) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    gained_ridge: |on| gained(on, 6, Activation::Softplus, true) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    gained_ridge_even: |on| gained(on, 9, Activation::LnCosh, false) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    ridge_over_the_space: |on| over_the_space(on, 6, Activation::Softplus, true) => |_| PLAIN;
    #[ignore = "long: scripts/full"]
    two_layer_even: |on| two_layer(on, 4, [3, 7], Activation::LnCosh, (false, 0)) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    ridge_of_the_context_alone: |on| ridge_in_context(on, false) => |_| TIMES_IN_CONTEXT.with_forces();
    #[ignore = "long: scripts/full"]
    two_layer_in_context: |on| two_layer_in_context(on, true) => |_| TIMES_IN_CONTEXT.with_forces();
    #[ignore = "long: scripts/full"]
    two_layer_of_the_context_alone: |on| two_layer_in_context(on, false) => |_| TIMES_IN_CONTEXT.with_forces();
    #[ignore = "long: scripts/full"]
    quadratic_in_context: context_quadratic => |_| CONTEXT;
    #[ignore = "long: scripts/full"]
    lattice_quadratic:
        |on| filled(on, Term::lattice_quadratic(on, (2, 3), basis(TimeFamily::Cosine))) => |_| TIMES.with_forces();
    #[ignore = "long: scripts/full"]
    lattice_kernels: |on| kernels(on, Activation::Softplus, true, None) => times_on_a_device;
    #[ignore = "long: scripts/full"]
    lattice_kernels_even: |on| kernels(on, Activation::LnCosh, false, None) => times_on_a_device;
    #[ignore = "long: scripts/full"]
    separable_module_with_probes: separable_module => |_| DRAWS;
}

// One potential of each make: a solve in feature space, and then over the operations of a space and a term.
#[test]
fn a_ridge_solved_in_double_precision() {
    solved(&spaces(Precision::F64), |on| ridge(on, 4, 6, Activation::Softplus, true), |_| TIMES);
}

#[test]
#[ignore = "long: scripts/full"]
fn two_more_potentials_solved_in_double_precision() {
    let on = &spaces(Precision::F64)[..];
    solved(on, |on| Gaussian::new(on, 3, 0.3), |_| PLAIN.with_forces());
    solved(on, |on| gained(on, 6, Activation::Softplus, true), |_| TIMES.with_forces());
}

/// Of one coordinate the estimate by probes is exact.
#[test]
fn a_term_with_probes_evaluated() {
    for on in [Precision::F64, Precision::F32].into_iter().flat_map(spaces) {
        let mut term = two_layer(on, 1, [6, 5], Activation::Softplus, (true, 2));
        assert_eq!(potential(&on, &mut term), Coverage { draws: true, ..TIMES.evaluation });
    }
}

#[test]
fn the_ridge_over_the_space_is_the_one_of_this_backend() {
    for on in [Precision::F64, Precision::F32].into_iter().flat_map(spaces) {
        for (activation, bias) in [(Activation::Softplus, true), (Activation::LnCosh, false)] {
            same_field(&on, &over_the_space(on, 6, activation, bias), &gained(on, 6, activation, bias), 256.0);
        }
    }
}

fn evaluate_convolutions(precision: Precision) {
    for on in devices(precision) {
        assert_eq!(potential(&on, &mut convolutional(on)), PLAIN.evaluation);
        assert_eq!(potential(&on, &mut u_shaped(on, 0)), TIMES.evaluation);
    }
}

// Convolutions cost milliseconds where other potentials cost microseconds. So whole solves are checked of one layer
// alone, and those of two layers in single precision against double. libtorch does them, on its devices.
#[test]
fn convolutions_evaluated() {
    evaluate_convolutions(Precision::F64);
}

#[test]
#[ignore = "long: scripts/full"]
fn convolutions_evaluated_in_single_precision() {
    evaluate_convolutions(Precision::F32);
}

#[test]
#[ignore = "long: scripts/full"]
fn a_convolution_solved() {
    solved(&devices(Precision::F32), shallow, |_| PLAIN);
}

#[test]
#[ignore = "long: scripts/full"]
fn a_convolution_solved_in_double_precision() {
    solved(&devices(Precision::F64), shallow, |_| PLAIN);
}

#[test]
fn convolutions_solved_in_single_precision() {
    let outcome = |on: Tch, potential: &dyn Potential<Tch>| {
        let integrator = FixedStep::new(Method::Rk4.tableau(), 10).unwrap();
        let flow = Flow { duration: 0.8, ..Flow::new(&on, potential, &integrator) };
        let key = RngKey::new(9, Purpose::Train, 0);
        let batch = Batch::new(key.normals(0..5, potential.dim()), potential.dim()).unwrap();
        let how = Evaluation::new(key).with_gradient();
        let found = NegativeLogLikelihood::default().evaluate(&flow, &batch, &how).unwrap();
        let gradient = found.gradient.unwrap();
        [vec![found.losses], gradient.iter().map(|g| on.download(g)).collect()].concat()
    };
    type Model = fn(Tch) -> Box<dyn Potential<Tch>>;
    let models: [Model; 2] = [|on| Box::new(convolutional(on)), |on| Box::new(u_shaped(on, 2))];
    for model in models {
        for (single, double) in devices(Precision::F32).into_iter().zip(devices(Precision::F64)) {
            for (found, expected) in outcome(single, &*model(single)).iter().zip(&outcome(double, &*model(double))) {
                let scale = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                let worst = found.iter().zip(expected).fold(0.0f64, |m, (f, e)| m.max((f - e).abs()));
                assert!(worst > 0.0 && worst <= 1e-5 * scale, "{worst:e} of {scale:e}");
            }
        }
    }
}

#[test]
fn every_operation() {
    for precision in [Precision::F32, Precision::F64] {
        spaces(precision).iter().for_each(space);
    }
}

#[test]
fn gradients_through_the_path() {
    for on in spaces(Precision::F64) {
        path_gradient_vanishes_at_the_target(&on);
        path_gradient_has_the_mean_of_the_total(&on, &ridge(on, 1, 4, Activation::Softplus, true));
    }
}

#[test]
fn appendix_a() {
    for on in spaces(Precision::F64) {
        let fine = FixedStep::new(Method::Rk4.tableau(), 1000).unwrap();
        gaussian_stays_gaussian(&on, &fine, 1e-12);
        let adaptive = Adaptive::new(Method::Tsit5.tableau(), 1e-10, 1e-10, 10_000).unwrap();
        gaussian_stays_gaussian(&on, &adaptive, 1e-8);
    }
    for on in spaces(Precision::F32) {
        gaussian_stays_gaussian(&on, &FixedStep::new(Method::Rk4.tableau(), 20).unwrap(), 1e-5);
    }
}

#[test]
fn orders() {
    for on in spaces(Precision::F64) {
        methods_have_their_order(&on, &Gaussian::new(on, 3, -1.0), &Method::ALL);
        let all_but_tsit5: Vec<_> = Method::ALL.into_iter().filter(|m| *m != Method::Tsit5).collect();
        methods_have_their_order(&on, &ridge(on, 3, 12, Activation::Softplus, true), &all_but_tsit5);
        methods_have_their_order(&on, &symmetrised(on, SymmetryDraw::PerSolve), &all_but_tsit5);
    }
}

#[test]
fn reversible_steps_are_undone() {
    for on in devices(Precision::F64) {
        reversible_steps(&on, &symmetrised(on, SymmetryDraw::PerStage));
    }
}

#[test]
#[ignore = "long: scripts/full"]
fn reversible_steps_are_undone_in_every_space() {
    for on in [Precision::F32, Precision::F64].into_iter().flat_map(spaces) {
        reversible_steps(&on, &ridge(on, 3, 9, Activation::Softplus, true));
        reversible_steps(&on, &symmetrised(on, SymmetryDraw::PerStage));
    }
}

#[test]
fn all_but_modules_can_be_captured() {
    let on = devices(Precision::F64)[0];
    let of = |potential: &dyn Potential<Tch>| potential.cache_key();
    assert!(of(&ridge(on, 5, 7, Activation::Softplus, true)).is_some());
    assert!([0, 2].into_iter().all(|probes| of(&u_shaped(on, probes)).is_some()));
    for draw in [SymmetryDraw::PerSolve, SymmetryDraw::PerStage] {
        assert!(of(&symmetrised(on, draw)).is_some());
        let twice = Symmetrised::new(on, symmetrised(on, draw), shifts(5), draw).unwrap();
        assert!(of(&twice).is_some());
        let sum = |term: Box<dyn Potential<Tch>>| flow_core::Sum::new(on, vec![("term".into(), term)]).unwrap();
        assert!(of(&sum(Box::new(twice))).is_some());
        assert!(of(&sum(Box::new(dense(on, 4, Laplacian::Exact)))).is_none());
    }
    // No two of them have the same, not even one that was changed.
    let one = ridge(on, 5, 7, Activation::Softplus, true);
    let key = of(&one);
    assert_ne!(key, of(&one.with_time(basis(TimeFamily::Cosine))));
}

/// A solve of so many rows at a key, in x.
fn a_solve(rows: usize, key: RngKey) -> Solve {
    Solve { rows, block_rows: rows, key, coordinates: Coordinates::X, evaluations: Some(1), laplacians: true }
}

/// All rows of a solve at x, with what the potential draws for them.
fn block(on: &Tch, of: &dyn Potential<Tch>, solve: &Solve, x: &[f64]) -> Block<Tch> {
    let (rows, width) = (0..solve.rows, of.draw_width(solve));
    let draws = (width > 0).then(|| on.upload(solve.rows, width, &of.draw(solve, rows.clone())));
    Block { draws, ..Block::new(rows, on.upload(solve.rows, of.dim(), x)) }
}

#[test]
fn feature_space_is_taken_where_it_pays() {
    for (dim, hidden, pays) in [(4, 7, true), (4, 8, false), (4, 9, false)] {
        for on in spaces(Precision::F64) {
            let ridge = ridge(on, dim, hidden, Activation::LnCosh, false);
            let solve = a_solve(1, RngKey::new(0, Purpose::Evaluate, 0));
            let field = ridge.freeze(&Solve { coordinates: Coordinates::Auto, ..solve });
            let (mut block, state) = field.enter(block(&on, &ridge, &solve, &vec![0.0; dim]));
            let mut velocity = state.clone();
            block.evaluate(
                Stage { t: 0.0, index: 0 },
                &state,
                Motion { velocity: &mut velocity, laplacian: None, residuals: None },
            );
            assert_eq!(ridge.feature_stages(), u64::from(pays));
        }
    }
}

/// ∇²φ of a batch of equal rows at the key of a step, one figure per row.
fn laplacian(on: &Tch, of: &dyn Potential<Tch>, rows: usize, step: u64) -> Vec<f64> {
    let x: Vec<f64> = [0.4, -0.3, 0.8, 0.1].into_iter().cycle().take(of.dim()).collect::<Vec<_>>().repeat(rows);
    let solve = a_solve(rows, RngKey::new(1, Purpose::Train, step));
    let field = of.freeze(&solve);
    let (mut block, state) = field.enter(block(on, of, &solve, &x));
    let (mut velocity, mut laplacian) = (on.zeros(rows, of.dim()), on.column_zeros(rows));
    block.evaluate(
        Stage { t: 0.2, index: 0 },
        &state,
        Motion { velocity: &mut velocity, laplacian: Some(&mut laplacian), residuals: None },
    );
    on.download_column(&laplacian)
}

#[test]
fn probes_are_right_on_average_and_stay_during_a_solve() {
    type With = fn(Tch, usize) -> Box<dyn Potential<Tch>>;
    let with: [With; 2] = [
        |on, probes| {
            let laplacian = if probes > 0 { Laplacian::Hutchinson { probes } } else { Laplacian::Exact };
            Box::new(dense(on, 4, laplacian))
        },
        |on, probes| Box::new(u_shaped(on, probes)),
    ];
    for on in spaces(Precision::F64) {
        for with in with {
            let exact = laplacian(&on, &*with(on, 0), 1, 0)[0];
            let estimate = &*with(on, 3);
            let found = laplacian(&on, estimate, 2000, 0);
            let mean = found.iter().sum::<f64>() / 2000.0;
            let variance = found.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1999.0;
            let standard_error = (variance / 2000.0).sqrt();
            assert!(standard_error > 0.0, "rows have probes of their own");
            assert!((mean - exact).abs() < 4.0 * standard_error, "{mean} ± {standard_error}, exact {exact}");
            assert_eq!(laplacian(&on, estimate, 7, 3), laplacian(&on, estimate, 7, 3));
            assert_ne!(laplacian(&on, estimate, 7, 3), laplacian(&on, estimate, 7, 4));
        }
    }
}

#[test]
fn points_of_an_estimated_density_need_no_estimate() {
    for on in spaces(Precision::F64).into_iter().chain(spaces(Precision::F32)) {
        for probes in [1, 2] {
            points_alone_are_those_with_ln_p(&on, &u_shaped(on, probes));
            points_alone_are_those_with_ln_p(&on, &dense(on, 4, Laplacian::Hutchinson { probes }));
        }
    }
}

/// The cotangents of the point and of all parameters for a fixed one of the velocity, with the residuals of the
/// evaluation or without. No Laplacians, and no probes of them.
fn matching_pullback(on: &Tch, of: &dyn Potential<Tch>, remembers: bool) -> Vec<Vec<f64>> {
    let (rows, dim) = (16, of.dim());
    let key = RngKey::new(1, Purpose::Train, 0);
    let solve = Solve { laplacians: false, ..a_solve(rows, key) };
    assert_eq!(of.draw_width(&solve), 0);
    let field = of.freeze(&solve);
    let (mut block, state) = field.enter(block(on, of, &solve, &key.normals(0..rows, dim)));
    let (mut velocity, stage, mut residuals) = (on.zeros(rows, dim), Stage { t: 0.2, index: 0 }, Vec::new());
    block.evaluate(
        stage,
        &state,
        Motion { velocity: &mut velocity, laplacian: None, residuals: remembers.then_some(&mut residuals) },
    );
    let (bar, mut state_bar) = (on.upload(rows, dim, &key.noise(0..rows, dim)), on.zeros(rows, dim));
    // Twice: residuals stay good, and shares add up.
    for _ in 0..2 {
        block.pullback(
            stage,
            &state,
            Pullback {
                residuals: &residuals,
                velocity_bar: &bar,
                laplacian_bar: None,
                state_bar: Some(&mut state_bar),
            },
        );
    }
    let (x_bar, share) = block.enter_pullback(state_bar);
    [x_bar].into_iter().chain(field.gradient(share)).map(|bar| on.download(&bar)).collect()
}

#[test]
fn a_pullback_shares_the_graph_of_its_evaluation() {
    for on in [devices(Precision::F64), devices(Precision::F32)].concat() {
        let (term, module, wide) = (u_shaped(on, 1), dense(on, 4, Laplacian::Exact), wide(on));
        let tolerance = 1e3 * on.round_off();
        let of: [&dyn Potential<Tch>; 3] = [&term, &module, &wide];
        for of in of {
            let (shared, computed_again) = (matching_pullback(&on, of, true), matching_pullback(&on, of, false));
            for (shared, expected) in shared.iter().zip(&computed_again) {
                let scale = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                assert!(scale > 0.0 && shared.iter().zip(expected).all(|(s, e)| (s - e).abs() <= tolerance * scale));
            }
        }
        assert_eq!((term.kept_graphs(), module.kept_graphs(), wide.kept_graphs()), (2, 2, 2));
    }
}

#[test]
fn the_gradient_through_probes_is_that_of_the_estimate() {
    for on in spaces(Precision::F64) {
        let mut of = dense(on, 4, Laplacian::Hutchinson { probes: 2 });
        let integrator = FixedStep::new(Method::Rk4.tableau(), 3).unwrap();
        let key = RngKey::new(9, Purpose::Train, 0);
        let batch = Batch::new(key.normals(0..5, 4), 4).unwrap();
        let outcome = |of: &ModulePotential| {
            let flow = Flow { duration: 0.7, ..Flow::new(&on, of, &integrator) };
            let how = Evaluation::new(key).with_gradient();
            NegativeLogLikelihood::default().evaluate(&flow, &batch, &how).unwrap()
        };
        let gradient = outcome(&of).gradient.unwrap();
        let step = 1e-4;
        for (i, direction) in gradient.iter().enumerate() {
            let mut moved = |by: f64| {
                on.accumulate(&mut of.parameters_mut()[i].value, 1.0, &[(by, direction)]);
                let mean = outcome(&of).losses.iter().sum::<f64>() / 5.0;
                on.accumulate(&mut of.parameters_mut()[i].value, 1.0, &[(-by, direction)]);
                mean
            };
            let difference = (moved(step) - moved(-step)) / (2.0 * step);
            let expected = on.dot(direction, direction);
            assert!((difference - expected).abs() <= 1e-6 * expected.max(1e-3), "{i}: {expected}, {difference}");
        }
    }
}

#[test]
fn pictures_that_cannot_be_halved_twice_are_refused() {
    for on in spaces(Precision::F32) {
        let network = NetworkSettings { side: 6, channels: [2, 3], hidden: 5, probes: 1 };
        let error = Term::convolutional(on, network, basis(TimeFamily::Cosine), 3).unwrap_err().to_string();
        assert!(error.contains("6") && error.contains("multiple of 4"), "{error}");
    }
}

#[test]
fn a_module_that_is_no_potential_is_refused() {
    for on in spaces(Precision::F32) {
        let total = |_: &nn::Path| |x: &Tensor, _t: f64| x.sum(x.kind());
        let error = ModulePotential::new(on, 3, Laplacian::Exact, 0, total).unwrap_err().to_string();
        assert!(error.contains("[2]"), "{error}");
        let none = Laplacian::Hutchinson { probes: 0 };
        let error = ModulePotential::new(on, 3, none, 0, total).unwrap_err().to_string();
        assert!(error.contains("at least 1"), "{error}");
    }
}
