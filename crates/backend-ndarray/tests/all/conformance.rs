//! The conformance suite of flow-core on this backend: one line per precision and potential.

use backend_ndarray::{
    Activation, Cpu, FullQuadratic, LatticeQuadratic, LatticeRidge, LatticeRidgeSettings, Particles, Quadratic, Real,
    Ridge, Separable, TwoLayer, TwoLayerSettings,
};
use flow_core::conformance::{
    Coverage, Gaussian, SolveCoverage, assert_close, damped, few_particles,
    forward_path_gradient_has_the_mean_of_the_likelihood, gaussian_stays_gaussian, methods_have_their_order,
    path_gradient_has_the_mean_of_the_total, path_gradient_vanishes_at_the_target, points_alone_are_those_with_ln_p,
    potential, reversible_methods_have_their_order, reversible_steps, same_field, solves, space,
};
use flow_core::{
    Adaptive, Batch, Block, Centres, Chain, Coordinates, Direction, Evaluation, FixedStep, Flow, FlowMatching, Group,
    Mean, Method, Motion, NegativeLogLikelihood, Objective, Outcome, Path, Potential, Precision, Purpose, RngKey,
    Solve, Space, Stage, Sum, Symmetrised, SymmetryDraw, TimeBasis, TimeFamily, potentials,
};
use proptest::prelude::*;

fn cpu<T: Real>() -> Cpu<T> {
    Cpu::new(2)
}

fn ridge<T: Real>(dim: usize, hidden: usize, activation: Activation, bias: bool) -> Ridge<T> {
    stronger(Ridge::new(cpu(), dim, hidden, activation, bias, 5).unwrap(), 2.5)
}

/// First values are small; nonlinear effects, and with them errors, show better at larger ones.
fn stronger<T: Real, P: Potential<Cpu<T>>>(mut of: P, factor: f64) -> P {
    for parameter in of.parameters_mut() {
        cpu::<T>().accumulate(&mut parameter.value, factor, &[]);
    }
    of
}

/// Cyclic shifts and the reflection x → −x.
fn shifts(dim: u32) -> Group {
    let source: Vec<Vec<u32>> = (0..dim).map(|s| (0..dim).map(|i| (i + s) % dim).collect()).collect();
    let sign = vec![1.0; source.len()];
    Group::new(source, sign).unwrap().with_reflection()
}

fn symmetrised<T: Real>(draw: SymmetryDraw) -> Symmetrised<Cpu<T>, Ridge<T>> {
    Symmetrised::new(cpu(), ridge(5, 7, Activation::Softplus, true), shifts(5), draw).unwrap()
}

fn over_orbit<T: Real>() -> Ridge<T> {
    ridge(5, 2, Activation::Softplus, true).over_orbit(shifts(5)).unwrap()
}

fn basis(family: TimeFamily) -> TimeBasis {
    TimeBasis::new(family, 3, 0.8).unwrap()
}

/// Values of some size for all coefficients that start at zero, and uneven ones for the rest.
fn filled<T: Real, P: Potential<Cpu<T>>>(mut of: P) -> P {
    for (key, parameter) in of.parameters_mut().into_iter().enumerate() {
        let (rows, cols) = parameter.value.dim();
        let mut values = cpu::<T>().download(&parameter.value);
        for (i, value) in values.iter_mut().enumerate() {
            let wave = 0.4 * ((i * i + 3 * key + 1) as f64).sin();
            *value = if *value == 0.0 { wave } else { *value * (1.0 + wave) };
        }
        parameter.value = cpu::<T>().upload(rows, cols, &values);
    }
    of
}

/// Amplitudes and offsets that change with time, by as much as they are.
fn in_time<T: Real>(of: Ridge<T>) -> Ridge<T> {
    filled(of.with_time(basis(TimeFamily::Cosine)))
}

fn with_gains<T: Real>(of: Ridge<T>) -> Ridge<T> {
    filled(of.with_gains().with_time(basis(TimeFamily::Polynomial)))
}

fn quadratic<T: Real>(linear: bool) -> Quadratic<T> {
    filled(Quadratic::new(cpu(), 4, basis(TimeFamily::Polynomial), linear).unwrap())
}

fn separable<T: Real>(count: usize, activation: Activation, family: TimeFamily) -> Separable<T> {
    separable_of(3, count, activation, family)
}

fn separable_of<T: Real>(dim: usize, count: usize, activation: Activation, family: TimeFamily) -> Separable<T> {
    let centres = Centres { count, from: -2.0, to: 2.5, sharpness: 0.8 };
    let mut of = filled(Separable::new(cpu(), dim, centres, activation, basis(family)).unwrap());
    cpu::<T>().accumulate(&mut of.parameters_mut()[0].value, 0.5, &[]);
    of
}

fn two_layer<T: Real>(
    dim: usize,
    hidden: [usize; 2],
    activation: Activation,
    bias: bool,
    probes: usize,
) -> TwoLayer<T> {
    two_layer_of(dim, TwoLayerSettings { hidden, activation, bias, probes, context: 0 })
}

fn two_layer_of<T: Real>(dim: usize, settings: TwoLayerSettings) -> TwoLayer<T> {
    filled(stronger(TwoLayer::new(cpu(), dim, settings, basis(TimeFamily::Cosine), 7).unwrap(), 1.4))
}

fn two_layer_in_context<T: Real>(bias: bool) -> TwoLayer<T> {
    let activation = if bias { Activation::Softplus } else { Activation::LnCosh };
    two_layer_of(3, TwoLayerSettings { hidden: [6, 5], activation, bias, probes: 0, context: 2 })
}

fn ridge_in_context<T: Real>(dim: usize, hidden: usize, bias: bool) -> Ridge<T> {
    filled(ridge(dim, hidden, Activation::Softplus, bias).with_context(2, 5).unwrap())
}

fn context_quadratic<T: Real>(dim: usize) -> potentials::ContextQuadratic<Cpu<T>> {
    filled(potentials::ContextQuadratic::new(cpu(), dim, 2, basis(TimeFamily::Polynomial)).unwrap())
}

/// A potential with a strength by its context.
fn modulated<T: Real>(inner: impl Potential<Cpu<T>> + 'static) -> potentials::Modulated<Cpu<T>> {
    filled(potentials::Modulated::new(cpu(), Box::new(inner), 2, basis(TimeFamily::Cosine)).unwrap())
}

/// A potential whose context is Chebyshev polynomials of one number, or the same for all rows.
fn mapped<T: Real>(map: potentials::ContextMap) -> potentials::MappedContext<Cpu<T>> {
    let inner = modulated(lattice_ridge(2, Activation::LnCosh, false, false));
    potentials::MappedContext::new(cpu(), Box::new(inner), map).unwrap()
}

/// Terms with offsets by the context, one that has none, and one whose strength depends on it.
fn sum_in_context<T: Real>() -> Sum<Cpu<T>> {
    let terms = vec![
        ("quadratic".into(), term(filled(FullQuadratic::new(cpu(), 3, basis(TimeFamily::Cosine)).unwrap()))),
        ("driven".into(), term(context_quadratic(3))),
        ("deep".into(), term(two_layer_in_context(true))),
        ("separable".into(), term(modulated(separable(5, Activation::Softplus, TimeFamily::Cosine)))),
    ];
    Sum::new(cpu(), terms).unwrap()
}

/// A sum of several terms, one of them a sum itself.
fn sum<T: Real>() -> Sum<Cpu<T>> {
    let inner = Sum::new(cpu(), vec![("a".into(), term(ridge(4, 6, Activation::Softplus, true)))]).unwrap();
    let terms = vec![
        ("wide".into(), term(with_gains(ridge(4, 9, Activation::LnCosh, false)))),
        ("gaussian".into(), term(Gaussian::new(cpu(), 4, -0.4))),
        ("inner".into(), term(inner)),
        ("quadratic".into(), term(quadratic(true))),
        ("deep".into(), term(two_layer(4, [3, 2], Activation::Softplus, true, 0))),
        ("separable".into(), term(separable_of(4, 5, Activation::Softplus, TimeFamily::Cosine))),
    ];
    Sum::new(cpu(), terms).unwrap()
}

/// Two segments that differ in their make, of the duration of the suite's flows.
fn chain<T: Real>() -> Chain<Cpu<T>> {
    let segments = vec![term(ridge(5, 7, Activation::Softplus, true)), term(symmetrised(SymmetryDraw::PerSolve))];
    Chain::new(cpu(), segments, 0.8, None).unwrap()
}

/// Several terms, all with the derivative that a loss of forces needs.
fn sum_with_forces<T: Real>() -> Sum<Cpu<T>> {
    let terms = vec![
        ("narrow".into(), term(in_time(ridge(4, 6, Activation::Softplus, true)))),
        ("quadratic".into(), term(quadratic(true))),
    ];
    Sum::new(cpu(), terms).unwrap()
}

/// A term that is pushed along by its context beside one that draws.
fn sum_with_draws_and_context<T: Real>() -> Sum<Cpu<T>> {
    let terms = vec![
        ("drawn".into(), term(symmetrised(SymmetryDraw::PerSolve))),
        ("driven".into(), term(Gaussian::new(cpu(), 5, -0.4).driven())),
        ("probed".into(), term(symmetrised(SymmetryDraw::PerSolve))),
    ];
    Sum::new(cpu(), terms).unwrap()
}

/// The ridge potential that is written over the operations of a space, with gains and in time.
fn generic<T: Real>(dim: usize, hidden: usize, activation: Activation, bias: bool) -> potentials::Ridge<Cpu<T>> {
    let basis = basis(TimeFamily::Polynomial);
    filled(stronger(potentials::Ridge::new(cpu(), (dim, hidden), activation, bias, basis, 5).unwrap(), 1.4))
}

fn term<T: Real>(of: impl Potential<Cpu<T>> + 'static) -> Box<dyn Potential<Cpu<T>>> {
    Box::new(of)
}

/// Kernels of a 2 × 3 lattice with every coefficient away from its first value.
fn lattice_ridge<T: Real>(kernels: usize, activation: Activation, bias: bool, tied: bool) -> LatticeRidge<T> {
    let time = TimeBasis::new(TimeFamily::Cosine, 2, 0.8).unwrap();
    // The rotation by 180° about the origin.
    let half_turn = vec![vec![0, 1, 2, 3, 4, 5], vec![0, 2, 1, 3, 5, 4]];
    let tied = tied.then(|| Group::new(half_turn, vec![1.0; 2]).unwrap());
    let settings =
        LatticeRidgeSettings { shape: (2, 3), kernels, activation, bias, time, tied, fall_off: 1.5, seed: 3 };
    shaken(LatticeRidge::new(&cpu(), settings).unwrap(), 0.4)
}

fn lattice_quadratic<T: Real>() -> LatticeQuadratic<T> {
    let time = TimeBasis::new(TimeFamily::Polynomial, 3, 0.8).unwrap();
    shaken(LatticeQuadratic::new(&cpu(), (2, 3), time).unwrap(), 0.3)
}

/// Particles of so many sums and vectors, with every coefficient away from its first value.
fn particles<T: Real>(shape: (usize, usize), sums: usize, vectors: usize, activation: Activation) -> Particles<T> {
    of_kinds((&[], None), shape, [sums, vectors], activation)
}

/// The same of particles of several kinds, or with a cutoff.
fn of_kinds<T: Real>(
    kinds_and_cutoff: (&[usize], Option<[f64; 2]>),
    shape: (usize, usize),
    features: [usize; 2],
    activation: Activation,
) -> Particles<T> {
    let settings = few_particles(kinds_and_cutoff, shape, features, activation);
    damped(&cpu(), filled(Particles::new(cpu(), settings, basis(TimeFamily::Cosine), 5).unwrap()))
}

/// Adds numbers of about this size to all parameters.
fn shaken<T: Real, P: Potential<Cpu<T>>>(mut of: P, size: f64) -> P {
    for parameter in of.parameters_mut() {
        let (rows, cols) = cpu::<T>().shape(&parameter.value);
        let numbers: Vec<f64> = (0..rows * cols).map(|i| size * ((i * i + 1) as f64).sin()).collect();
        parameter.value += &cpu::<T>().upload(rows, cols, &numbers);
    }
    of
}

/// What of the suite concerns a potential.
#[derive(Clone, Copy)]
struct Concerns {
    evaluation: Coverage,
    smooth_in_time: bool,
    forces: bool,
}

const PLAIN: Concerns = Concerns {
    evaluation: Coverage { rows_with_times: false, draws: false, context: false },
    smooth_in_time: true,
    forces: true,
};
const DRAWS: Concerns = Concerns { evaluation: Coverage { draws: true, ..PLAIN.evaluation }, ..PLAIN };
const IN_CONTEXT: Concerns = Concerns { evaluation: Coverage { context: true, ..PLAIN.evaluation }, ..PLAIN };
const DRAWS_IN_CONTEXT: Concerns = Concerns { evaluation: Coverage { draws: true, ..IN_CONTEXT.evaluation }, ..PLAIN };
/// Without the derivative that a loss of forces needs.
const NO_FORCES: Concerns = Concerns { forces: false, ..PLAIN };
const NO_FORCES_IN_CONTEXT: Concerns = Concerns { forces: false, ..IN_CONTEXT };
const NO_FORCES_BUT_DRAWS: Concerns = Concerns { forces: false, ..DRAWS };
const NO_FORCES_BUT_DRAWS_IN_CONTEXT: Concerns = Concerns { forces: false, ..DRAWS_IN_CONTEXT };
const RANDOM_IN_TIME: Concerns = Concerns { smooth_in_time: false, ..DRAWS };

/// Runs the suite; checks that are silently left out fail here.
fn conforms<T: Real>(mut of: impl Potential<Cpu<T>>, concerns: Concerns) {
    let Concerns { evaluation, smooth_in_time, forces } = concerns;
    assert_eq!(potential(&cpu(), &mut of), evaluation);
    let made = SolveCoverage {
        smooth_in_time,
        map_differenced: smooth_in_time && T::PRECISION == Precision::F64,
        latent_energy: !evaluation.context,
        forces,
    };
    assert_eq!(solves(&cpu(), &mut of), made);
}

macro_rules! conformance {
    ($($name:ident: $potential:expr, $concerns:expr;)*) => {
        $(mod $name {
            use super::*;
            #[test]
            fn double() {
                conforms::<f64>($potential, $concerns);
            }
            #[test]
            fn single() {
                conforms::<f32>($potential, $concerns);
            }
        })*
    };
}

conformance! {
    gaussian: Gaussian::new(cpu(), 3, 0.3), PLAIN;
    gaussian_in_a_context: Gaussian::new(cpu(), 3, 0.3).driven(), IN_CONTEXT;
    softplus_with_bias: ridge(4, 6, Activation::Softplus, true), PLAIN;
    softplus_wide: ridge(3, 19, Activation::Softplus, false), PLAIN;
    ln_cosh: ridge(5, 18, Activation::LnCosh, false), PLAIN;
    ln_cosh_with_bias: ridge(4, 3, Activation::LnCosh, true), PLAIN;
    over_an_orbit: over_orbit(), PLAIN;
    in_time_and_narrow: in_time(ridge(4, 6, Activation::Softplus, true)), PLAIN;
    in_time_and_wide: in_time(ridge(3, 9, Activation::LnCosh, true)), PLAIN;
    in_time_over_an_orbit: in_time(over_orbit()), PLAIN;
    gains_and_narrow: with_gains(ridge(4, 6, Activation::LnCosh, true)), PLAIN;
    gains_and_wide: with_gains(ridge(3, 9, Activation::Softplus, false)), PLAIN;
    gains_over_an_orbit: with_gains(over_orbit()), PLAIN;
    gains_without_time: filled(ridge(3, 5, Activation::Softplus, true).with_gains()), PLAIN;
    over_the_operations_of_a_space: generic(4, 6, Activation::Softplus, true), NO_FORCES;
    over_the_operations_of_a_space_and_even: generic(3, 9, Activation::LnCosh, false), NO_FORCES;
    diagonal_quadratic: quadratic(false), PLAIN;
    quadratic_and_linear: quadratic(true), PLAIN;
    full_quadratic: filled(FullQuadratic::new(cpu(), 3, basis(TimeFamily::Cosine)).unwrap()), PLAIN;
    separable_softplus: separable(5, Activation::Softplus, TimeFamily::Cosine), PLAIN;
    separable_ln_cosh: separable(21, Activation::LnCosh, TimeFamily::Polynomial), PLAIN;
    two_layers: two_layer(3, [6, 5], Activation::Softplus, true, 0), NO_FORCES;
    two_even_layers: two_layer(4, [3, 7], Activation::LnCosh, false, 0), NO_FORCES;
    two_layers_of_one_number_with_probes: two_layer(1, [5, 4], Activation::Softplus, true, 3), NO_FORCES_BUT_DRAWS;
    sum_of_terms: sum(), NO_FORCES;
    sum_with_forces: sum_with_forces(), PLAIN;
    sum_with_draws_and_context: sum_with_draws_and_context(), DRAWS_IN_CONTEXT;
    lattice_kernels: lattice_ridge(3, Activation::Softplus, true, false), PLAIN;
    lattice_kernels_even: lattice_ridge(2, Activation::LnCosh, false, false), PLAIN;
    lattice_kernels_tied: lattice_ridge(1, Activation::LnCosh, true, true), PLAIN;
    lattice_fourier: lattice_quadratic(), PLAIN;
    particles_in_pairs: particles((3, 2), 0, 0, Activation::Softplus), NO_FORCES;
    particles_with_sums: particles((4, 1), 2, 0, Activation::LnCosh), NO_FORCES;
    particles_with_vectors: particles((3, 2), 0, 2, Activation::Softplus), NO_FORCES;
    particles_in_space: particles((3, 3), 2, 3, Activation::Softplus), NO_FORCES;
    particles_of_kinds: of_kinds((&[1, 0, 1], None), (3, 2), [1, 2], Activation::Softplus), NO_FORCES;
    // No pair is at an end of it, where the fourth derivative jumps: differences of a Laplacian would see that.
    particles_with_a_cutoff: of_kinds((&[], Some([0.0, 12.0])), (3, 2), [1, 2], Activation::Softplus), NO_FORCES;
    ridge_in_context_narrow: ridge_in_context(4, 6, true), IN_CONTEXT;
    ridge_in_context_wide: ridge_in_context(3, 9, false), IN_CONTEXT;
    gains_in_context: with_gains(ridge_in_context(4, 6, true)), IN_CONTEXT;
    two_layers_in_context: two_layer_in_context(true), NO_FORCES_IN_CONTEXT;
    two_even_layers_in_context: two_layer_in_context(false), NO_FORCES_IN_CONTEXT;
    quadratic_in_context: context_quadratic(3), NO_FORCES_IN_CONTEXT;
    modulated_lattice_kernels: modulated(lattice_ridge(2, Activation::LnCosh, false, false)), NO_FORCES_IN_CONTEXT;
    modulated_with_a_context_of_its_own: modulated(ridge_in_context(3, 9, true)), NO_FORCES_IN_CONTEXT;
    modulated_draws: modulated(symmetrised(SymmetryDraw::PerSolve)), NO_FORCES_BUT_DRAWS_IN_CONTEXT;
    polynomials_of_a_context: mapped(potentials::ContextMap::Chebyshev { from: -3.0, to: 4.0 }), NO_FORCES_IN_CONTEXT;
    fixed_context: mapped(potentials::ContextMap::Fixed(vec![0.4, -0.7])), NO_FORCES;
    sum_in_context: sum_in_context(), NO_FORCES_IN_CONTEXT;
    chain: chain(), DRAWS;
    symmetrised_per_solve: symmetrised(SymmetryDraw::PerSolve), DRAWS;
    symmetrised_per_stage: symmetrised(SymmetryDraw::PerStage), RANDOM_IN_TIME;
}

#[test]
fn spaces() {
    space(&cpu::<f32>());
    space(&cpu::<f64>());
}

#[test]
fn appendix_a() {
    for method in Method::ALL {
        let (steps, tolerance) = ([0, 50_000, 4000, 300, 100, 100][method.tableau().order()], 1e-5);
        gaussian_stays_gaussian(&cpu::<f64>(), &FixedStep::new(method.tableau(), steps).unwrap(), tolerance);
    }
    let fine = FixedStep::new(Method::Rk4.tableau(), 1000).unwrap();
    gaussian_stays_gaussian(&cpu::<f64>(), &fine, 1e-12);
    gaussian_stays_gaussian(&cpu::<f32>(), &FixedStep::new(Method::Rk4.tableau(), 20).unwrap(), 1e-5);
    for method in [Method::Tsit5, Method::Dopri5] {
        let adaptive = Adaptive::new(method.tableau(), 1e-10, 1e-10, 10_000).unwrap();
        gaussian_stays_gaussian(&cpu::<f64>(), &adaptive, 1e-8);
    }
}

/// Appendix A for every context: with `φ = q x²/2 + l x`, q and l linear in c, a Gaussian stays one of width `e^{qT}`
/// about `l (e^{qT} − 1)/q`.
#[test]
fn a_gaussian_whose_mean_and_width_depend_on_the_context() {
    let cpu = cpu::<f64>();
    let mut of = potentials::ContextQuadratic::new(cpu.clone(), 1, 2, TimeBasis::constant()).unwrap();
    let [quadratic, linear] = [[0.3, -0.5], [0.7, 0.2]];
    for (parameter, values) in of.parameters_mut().into_iter().zip([quadratic, linear]) {
        parameter.value = cpu.upload(2, 1, &values);
    }
    let context: Vec<f64> = (0..12).map(|i| (1.7 * f64::from(i)).sin()).collect();
    let x: Vec<f64> = (0..6).map(|i| (0.9 * f64::from(i)).cos() * 2.0).collect();
    let fine = FixedStep::new(Method::Rk4.tableau(), 200).unwrap();
    let flow = Flow { duration: 1.5, ..Flow::new(&cpu, &of, &fine) };
    let batch = Batch::new(x.clone(), 1).unwrap().with_context(context.clone());
    let found = flow.log_density_of(&batch, RngKey::new(0, Purpose::Evaluate, 0)).unwrap();
    for ((found, x), c) in found.iter().zip(&x).zip(context.chunks_exact(2)) {
        let [q, l] = [quadratic, linear].map(|of| of[0] * c[0] + of[1] * c[1]);
        let width = (1.5 * q).exp();
        let z = (x - l * (width - 1.0) / q) / width;
        let exact = -0.5 * z * z - 0.5 * std::f64::consts::TAU.ln() - width.ln();
        assert!((found - exact).abs() < 1e-10, "ln p is {found}, exact {exact}");
    }
}

#[test]
fn a_sum_over_a_group_takes_no_context() {
    assert!(over_orbit::<f64>().with_context(2, 0).is_err());
    assert!(ridge_in_context::<f64>(5, 3, true).over_orbit(shifts(5)).is_err());
    let other = Box::new(ridge_in_context::<f64>(3, 4, true));
    assert!(potentials::Modulated::new(cpu(), other, 3, TimeBasis::constant()).is_err());
    let started = potentials::Modulated::new(cpu(), Box::new(quadratic::<f64>(false)), 3, basis(TimeFamily::Cosine));
    let started = started.unwrap().starting_with(1);
    assert_eq!(cpu::<f64>().download(&started.parameters()[0].value), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let of = |map| potentials::MappedContext::new(cpu(), Box::new(ridge_in_context::<f64>(3, 4, true)), map);
    assert!(of(potentials::ContextMap::Fixed(vec![1.0])).is_err());
    assert!(of(potentials::ContextMap::Chebyshev { from: 2.0, to: 2.0 }).is_err());
}

#[test]
fn gradients_through_the_path() {
    path_gradient_vanishes_at_the_target(&cpu::<f32>());
    path_gradient_vanishes_at_the_target(&cpu::<f64>());
    path_gradient_has_the_mean_of_the_total(&cpu(), &ridge::<f64>(1, 4, Activation::Softplus, true));
    path_gradient_has_the_mean_of_the_total(&cpu(), &in_time(ridge::<f64>(1, 1, Activation::LnCosh, true)));
    let separable = separable_of::<f64>(1, 5, Activation::Softplus, TimeFamily::Cosine);
    path_gradient_has_the_mean_of_the_total(&cpu(), &separable);
    forward_path_gradient_has_the_mean_of_the_likelihood(&cpu(), &separable);
    forward_path_gradient_has_the_mean_of_the_likelihood(&cpu(), &ridge::<f64>(1, 4, Activation::Softplus, true));
}

#[test]
fn the_transport_cost_of_widening_is_its_closed_form() {
    let (cpu, rate, duration) = (cpu::<f64>(), 0.6, 1.5);
    let potential = Gaussian::new(cpu.clone(), 3, rate);
    let integrator = FixedStep::new(Method::Rk4.tableau(), 50).unwrap();
    let flow = Flow { duration, ..Flow::new(&cpu, &potential, &integrator) };
    let key = RngKey::new(0, Purpose::Sample, 0);
    let batch = Batch::new(key.normals(0..20, 3), 3).unwrap();
    let moved = flow.transport_cost(&batch, flow.span(Direction::Forward), key).unwrap();
    let width = (rate * duration).exp();
    // Points z e^(λt) at velocities λ z e^(λt): ∫ ½ λ² ‖z‖² e^(2λt) dt.
    let square = |z: &[f64]| z.iter().map(|z| z * z).sum::<f64>();
    let exact: Vec<f64> = batch.x.chunks(3).map(|z| 0.25 * rate * square(z) * (width * width - 1.0)).collect();
    assert_close("cost", &moved.cost, &exact, 1e-7, 1.0);
    let ends: Vec<f64> = batch.x.iter().map(|z| width * z).collect();
    assert_close("ends", &moved.x, &ends, 1e-7, 1.0);
}

#[test]
fn orders() {
    methods_have_their_order(&cpu(), &Gaussian::<Cpu<f64>>::new(cpu(), 3, -1.0), &Method::ALL);
    let ridge = ridge::<f64>(3, 12, Activation::Softplus, true);
    let all_but_tsit5: Vec<_> = Method::ALL.into_iter().filter(|m| *m != Method::Tsit5).collect();
    methods_have_their_order(&cpu(), &ridge, &all_but_tsit5);
    methods_have_their_order(&cpu(), &symmetrised::<f64>(SymmetryDraw::PerSolve), &all_but_tsit5);
}

#[test]
fn orders_of_reversible_steps() {
    reversible_methods_have_their_order(&cpu(), &ridge::<f64>(3, 12, Activation::Softplus, true), &REVERSIBLE);
    reversible_methods_have_their_order(&cpu(), &Gaussian::<Cpu<f64>>::new(cpu(), 3, -1.0), &REVERSIBLE);
}

const REVERSIBLE: [Method; 5] = [Method::Euler, Method::Midpoint, Method::Heun, Method::Ralston3, Method::Rk4];

#[test]
fn reversible_steps_are_undone() {
    fn undone<T: Real>() {
        reversible_steps(&cpu(), &ridge::<T>(3, 9, Activation::Softplus, true));
        reversible_steps(&cpu(), &two_layer::<T>(3, [4, 3], Activation::LnCosh, true, 2));
        reversible_steps(&cpu(), &symmetrised::<T>(SymmetryDraw::PerStage));
        reversible_steps(&cpu(), &sum_with_draws_and_context::<T>());
    }
    undone::<f32>();
    undone::<f64>();
}

/// Losses and gradient of a whole batch.
fn with_gradient<T: Real>(
    objective: &dyn Objective<Cpu<T>>,
    flow: &Flow<'_, Cpu<T>>,
    x: &[f64],
    key: RngKey,
) -> Outcome<Cpu<T>> {
    let batch = Batch::new(x.to_vec(), flow.potential.dim()).unwrap();
    objective.evaluate(flow, &batch, &Evaluation::new(key).with_gradient()).unwrap()
}

fn a_solve(rows: usize, batch: u64, coordinates: Coordinates) -> Solve {
    let key = RngKey::new(0, Purpose::Evaluate, batch);
    Solve { rows, block_rows: rows, key, coordinates, evaluations: Some(1), laplacians: true }
}

/// The two ridge potentials, in values, fields and pullbacks: with the same seed they are one function.
#[test]
fn the_ridge_over_a_space_is_the_one_with_kernels() {
    fn compare<T: Real>((dim, hidden): (usize, usize), activation: Activation, bias: bool) {
        let fused = Ridge::<T>::new(cpu(), dim, hidden, activation, bias, 5).unwrap();
        let fused = filled(stronger(fused.with_gains().with_time(basis(TimeFamily::Polynomial)), 1.4));
        same_field(&cpu(), &fused, &generic(dim, hidden, activation, bias), 512.0);
    }
    for (activation, bias) in [(Activation::Softplus, true), (Activation::LnCosh, false)] {
        for shape in [(4, 6), (3, 37)] {
            compare::<f32>(shape, activation, bias);
            compare::<f64>(shape, activation, bias);
        }
    }
}

/// Loss and gradient of one batch of each objective.
fn outcomes(threads: usize, (dim, hidden): (usize, usize)) -> Vec<(Vec<f64>, Vec<ndarray::Array2<f32>>)> {
    let space = Cpu::<f32>::new(threads);
    let ridge = Ridge::new(space.clone(), dim, hidden, Activation::Softplus, true, 1).unwrap();
    let integrator = FixedStep::new(Method::Rk4.tableau(), 4).unwrap();
    let key = RngKey::new(1, Purpose::Train, 0);
    let batch = key.normals(0..100, dim);
    let outcome = |coordinates| {
        let flow = Flow { coordinates, ..Flow::new(&space, &ridge, &integrator) };
        let outcome = with_gradient(&NegativeLogLikelihood::default(), &flow, &batch, key);
        (outcome.losses, outcome.gradient.unwrap())
    };
    let out = [Coordinates::X, Coordinates::Auto].map(outcome).to_vec();
    assert!(ridge.feature_stages() > 0, "{hidden} < 2 · {dim}, but the solve did not run in feature space");
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // In either coordinates 4 steps of 4 stages of 4 blocks.
        assert_eq!(ridge.tiled_stages(), 2 * 4 * 4 * 4, "the products did not run in tiles");
    }
    out
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    // The second shape has several panels of columns in either product.
    for shape in [(12, 20), (70, 90)] {
        let one = outcomes(1, shape);
        assert_eq!(one, outcomes(2, shape));
        assert_eq!(one, outcomes(5, shape));
    }
}

/// Loss and gradient of a regression with a sum of terms: products of all blocks are done together.
fn regression(threads: usize) -> (Vec<f64>, Vec<ndarray::Array2<f32>>) {
    let (space, potential) = (Cpu::<f32>::new(threads), sum::<f32>());
    let integrator = FixedStep::new(Method::Euler.tableau(), 1).unwrap();
    let key = RngKey::new(1, Purpose::Train, 0);
    let flow = Flow { duration: 0.8, ..Flow::new(&space, &potential, &integrator) };
    let objective = FlowMatching::new(Path::Straight, 9);
    let outcome = with_gradient(&objective, &flow, &key.normals(0..100, 4), key);
    (outcome.losses, outcome.gradient.unwrap())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit_of_a_regression() {
    // The terms' own pools do the products at the end; they have two threads each.
    let one = regression(1);
    assert_eq!(one, regression(3));
}

#[test]
fn feature_space_is_taken_where_it_pays() {
    for (dim, hidden, pays) in [(4, 7, true), (4, 8, false), (4, 9, false)] {
        let ridge = ridge::<f64>(dim, hidden, Activation::LnCosh, false);
        let field = ridge.freeze(&a_solve(1, 0, Coordinates::Auto));
        let (mut block, state) = field.enter(Block::new(0..1, cpu::<f64>().zeros(1, dim)));
        let mut velocity = state.clone();
        block.evaluate(
            Stage { t: 0.0, index: 0 },
            &state,
            Motion { velocity: &mut velocity, laplacian: None, residuals: None },
        );
        assert_eq!(ridge.feature_stages(), u64::from(pays));
    }
}

#[test]
fn a_sum_over_an_orbit_is_symmetric() {
    let (cpu, group, potential) = (cpu::<f64>(), shifts(5), over_orbit::<f64>());
    let field = potential.freeze(&a_solve(1, 0, Coordinates::X));
    let value = |x: &[f64]| field.value(Stage { t: 0.0, index: 0 }, Block::new(0..1, cpu.upload(1, 5, x)))[0];
    let x = [0.3, -1.2, 0.8, 2.0, -0.4];
    for g in 0..group.order() {
        let (source, sign) = group.element(g);
        let turned: Vec<f64> = source.iter().map(|&i| sign * x[i as usize]).collect();
        assert!((value(&turned) - value(&x)).abs() < 1e-13);
    }
    assert!((value(&[1.0, 0.0, 0.0, 0.0, 0.0]) - value(&x)).abs() > 1e-3, "the potential is no constant");
}

#[test]
fn the_regression_is_on_the_velocity_of_the_path() {
    let (dim, rows, rate, duration) = (3, 6, 0.7, 2.0);
    let (space, potential) = (cpu::<f64>(), Gaussian::new(cpu(), dim, rate));
    let integrator = FixedStep::new(Method::Euler.tableau(), 1).unwrap();
    let flow = Flow { duration, ..Flow::new(&space, &potential, &integrator) };
    let key = RngKey::new(4, Purpose::Train, 2);
    let target = RngKey::new(5, Purpose::Train, 0).normals(0..rows, dim);
    let losses = |path| with_gradient(&FlowMatching::new(path, 3), &flow, &target, key).losses;
    let (base, times) = (key.noise(0..rows, dim), key.stratified(3));
    for (r, (straight, blurred)) in losses(Path::Straight).into_iter().zip(losses(Path::Blurred)).enumerate() {
        let tau = times[r / 2];
        let of_row = |loss: &dyn Fn(f64, f64) -> f64| {
            (0..dim).map(|i| loss(target[r * dim + i], base[r * dim + i])).sum::<f64>()
        };
        let expected = of_row(&|x, xi| (rate * (tau * x + (1.0 - tau) * xi) - (x - xi) / duration).powi(2));
        assert!((straight - expected).abs() < 1e-12);
        let expected = of_row(&|x, xi| (rate * (tau * x + xi) - x / duration).powi(2));
        assert!((blurred - expected).abs() < 1e-12);
    }
}

#[test]
fn terms_of_a_sum_must_fit_and_have_names_of_their_own() {
    let of = |dim| term(ridge::<f64>(dim, 2, Activation::Softplus, false));
    assert!(Sum::new(cpu::<f64>(), vec![]).is_err());
    assert!(Sum::new(cpu(), vec![("a".into(), of(2)), ("b".into(), of(3))]).is_err());
    assert!(Sum::new(cpu(), vec![("a".into(), of(2)), ("a".into(), of(2))]).is_err());
    let sum = Sum::new(cpu(), vec![("a".into(), of(2)), ("b".into(), of(2))]).unwrap();
    let names: Vec<_> = sum.parameters().iter().map(|p| p.name.clone()).collect();
    assert_eq!(names, ["a.weight", "a.amplitude", "b.weight", "b.amplitude"]);
}

/// A potential of two layers whose Laplacian is estimated.
fn estimated(probes: usize) -> TwoLayer<f64> {
    two_layer(4, [6, 5], Activation::Softplus, true, probes)
}

/// `∇²φ` of some rows, with the probes of a batch.
fn laplacian(of: &TwoLayer<f64>, x: &[f64], batch: u64) -> Vec<f64> {
    let rows = x.len() / of.dim();
    let solve = a_solve(rows, batch, Coordinates::X);
    let (field, width) = (of.freeze(&solve), of.draw_width(&solve));
    let draws = (width > 0).then(|| cpu::<f64>().upload(rows, width, &of.draw(&solve, 0..rows)));
    let x = cpu::<f64>().upload(rows, of.dim(), x);
    let (mut block, state) = field.enter(Block { draws, ..Block::new(0..rows, x) });
    let (mut velocity, mut laplacian) = (state.clone(), vec![0.0; rows]);
    block.evaluate(
        Stage { t: 0.3, index: 0 },
        &state,
        Motion { velocity: &mut velocity, laplacian: Some(&mut laplacian), residuals: None },
    );
    laplacian
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn points_of_an_estimated_density_need_no_estimate(
        dim in 1usize..6, hidden in prop::array::uniform2(1usize..9), probes in 0usize..3, bias: bool,
    ) {
        points_alone_are_those_with_ln_p(&cpu(), &two_layer::<f64>(dim, hidden, Activation::Softplus, bias, probes));
        points_alone_are_those_with_ln_p(&cpu(), &two_layer::<f32>(dim, hidden, Activation::LnCosh, bias, probes));
    }
}

#[test]
fn probes_estimate_the_laplacian_without_bias() {
    let x = RngKey::new(1, Purpose::Sample, 0).normals(0..3, 4);
    let exact = laplacian(&estimated(0), &x, 0);
    for probes in [1, 8] {
        let of = estimated(probes);
        let key: Vec<Vec<f64>> = (0..2000).map(|batch| laplacian(&of, &x, batch)).collect();
        for (r, exact) in exact.iter().enumerate() {
            let of_row = Mean::of(&key.iter().map(|draw| draw[r]).collect::<Vec<_>>());
            assert!(of_row.standard_error > 1e-6, "an estimate has an error");
            let error = (of_row.mean - exact).abs() / of_row.standard_error;
            assert!(error < 4.0, "{probes} probes: {error} standard errors from {exact}");
        }
    }
    // Rows have probes of their own: equal rows get different figures.
    let twice = [&x[..4], &x[..4]].concat();
    let figures = laplacian(&estimated(1), &twice, 0);
    assert!((figures[0] - figures[1]).abs() > 1e-9);
}

#[test]
fn the_gradient_of_an_estimated_likelihood_is_its_difference() {
    let (space, mut of) = (cpu::<f64>(), estimated(3));
    let key = RngKey::new(2, Purpose::Train, 5);
    let batch = key.normals(0..18, 4);
    let integrator = FixedStep::new(Method::Heun.tableau(), 3).unwrap();
    let outcome = |of: &TwoLayer<f64>| {
        let flow = Flow { duration: 0.8, ..Flow::new(&space, of, &integrator) };
        with_gradient(&NegativeLogLikelihood::default(), &flow, &batch, key)
    };
    let gradient = outcome(&of).gradient.unwrap();
    for (i, gradient) in gradient.iter().enumerate() {
        let (rows, cols) = gradient.dim();
        let direction = space.upload(rows, cols, &RngKey::new(3, Purpose::Sample, i as u64).normals(0..rows, cols));
        let mut at = |epsilon: f64| {
            let move_by = |of: &mut TwoLayer<f64>, epsilon| {
                space.accumulate(&mut of.parameters_mut()[i].value, 1.0, &[(epsilon, &direction)]);
            };
            move_by(&mut of, epsilon);
            let loss = Mean::of(&outcome(&of).losses).mean;
            move_by(&mut of, -epsilon);
            loss
        };
        let h = 1e-3;
        let difference = (at(-2.0 * h) - 8.0 * at(-h) + 8.0 * at(h) - at(2.0 * h)) / (12.0 * h);
        let got = space.dot(gradient, &direction);
        let scale = space.dot(gradient, gradient).sqrt() * space.dot(&direction, &direction).sqrt();
        assert!((got - difference).abs() < 1e-9 * scale, "parameter {i}: {got}, by differences {difference}");
    }
}
