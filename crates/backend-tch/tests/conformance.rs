//! The conformance suite of flow-core on this backend: one line per precision and potential.
#![cfg(maflow_tch)]

mod common;

use backend_tch::tch::{Tensor, nn};
use backend_tch::{Activation, Laplacian, LatticeRidgeSettings, ModulePotential, Network, Ridge, Tch, Term};
use common::{devices, spaces};
use flow_core::conformance::{
    Gaussian, gaussian_stays_gaussian, methods_have_their_order, path_gradient_has_the_mean_of_the_total,
    path_gradient_vanishes_at_the_target, potential, solves, space,
};
use flow_core::{
    Adaptive, Centres, Coordinates, FixedStep, Flow, Group, Memory, Method, NegativeLogLikelihood, Objective,
    Potential, Precision, Purpose, RngKey, Solve, Space, Stage, Symmetrised, SymmetryDraw, TimeBasis, TimeFamily,
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
fn filled(on: Tch, of: Result<Term, flow_core::Error>) -> Term {
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
    filled(on, Term::gained_ridge(on, 4, hidden, activation, bias, basis(TimeFamily::Polynomial), 5))
}

fn two_layer(on: Tch, hidden: [usize; 2], activation: Activation, bias: bool) -> Term {
    let mut of = Term::two_layer(on, 4, hidden, activation, (bias, 0), basis(TimeFamily::Cosine), 7).unwrap();
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

/// Two dense layers, with time.
fn dense(on: Tch, laplacian: Laplacian) -> ModulePotential {
    let build = |path: &nn::Path| {
        let first = nn::linear(path / "first", 4, 7, Default::default());
        let second = nn::linear(path / "second", 7, 5, Default::default());
        let gain = path.randn("gain", &[5], 0.0, 1.0);
        move |x: &Tensor, t: f64| {
            let hidden = (x.apply(&first) + t).tanh().apply(&second);
            (hidden.softplus() * &gain).sum_dim_intlist(1, false, x.kind())
        }
    };
    ModulePotential::new(on, 4, laplacian, 3, build).unwrap()
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

/// One convolution of pictures of 2 × 2.
fn shallow(on: Tch) -> ModulePotential {
    let build = |path: &nn::Path| {
        let layer = nn::conv2d(path, 1, 1, 3, nn::ConvConfig { padding: 1, ..Default::default() });
        move |x: &Tensor, t: f64| {
            let picture = x.view([-1, 1, 2, 2]);
            let field = (picture.apply(&layer) + t).silu();
            (field * picture * 0.2).flat_view().sum_dim_intlist(1, false, x.kind())
        }
    };
    ModulePotential::new(on, 4, Laplacian::Exact, 3, build).unwrap()
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
    let network = Network { side: 4, channels: [2, 3], hidden: 5, probes };
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

fn conforms<P: Potential<Tch>>(precision: Precision, of: impl Fn(Tch) -> P) {
    for on in spaces(precision) {
        let mut of = of(on);
        potential(&on, &mut of);
        solves(&on, &mut of);
    }
}

macro_rules! conformance {
    ($($name:ident: $potential:expr;)*) => {
        $(mod $name {
            use super::*;
            #[test]
            fn double() {
                conforms(Precision::F64, $potential);
            }
            #[test]
            fn single() {
                conforms(Precision::F32, $potential);
            }
        })*
    };
}

conformance! {
    gaussian: |on| Gaussian::new(on, 3, 0.3);
    softplus_with_bias: |on| ridge(on, 4, 6, Activation::Softplus, true);
    softplus_wide: |on| ridge(on, 3, 19, Activation::Softplus, false);
    ln_cosh: |on| ridge(on, 5, 18, Activation::LnCosh, false);
    ln_cosh_with_bias: |on| ridge(on, 4, 3, Activation::LnCosh, true);
    symmetrised_per_solve: |on| symmetrised(on, SymmetryDraw::PerSolve);
    symmetrised_per_stage: |on| symmetrised(on, SymmetryDraw::PerStage);
    over_an_orbit: over_orbit;
    in_time_and_narrow: |on| in_time(on, ridge(on, 4, 6, Activation::Softplus, true), TimeFamily::Cosine);
    in_time_and_wide: |on| in_time(on, ridge(on, 3, 9, Activation::LnCosh, true), TimeFamily::Polynomial);
    in_time_over_an_orbit: |on| in_time(on, over_orbit(on), TimeFamily::Cosine);
    quadratic: |on| filled(on, Term::quadratic(on, 4, basis(TimeFamily::Polynomial), false));
    quadratic_and_linear: |on| filled(on, Term::quadratic(on, 4, basis(TimeFamily::Cosine), true));
    full_quadratic: |on| filled(on, Term::full_quadratic(on, 3, basis(TimeFamily::Polynomial)));
    separable: |on| separable_term(on, Activation::Softplus, TimeFamily::Cosine);
    separable_even: |on| separable_term(on, Activation::LnCosh, TimeFamily::Polynomial);
    gained_ridge: |on| gained(on, 6, Activation::Softplus, true);
    gained_ridge_even: |on| gained(on, 9, Activation::LnCosh, false);
    two_layer: |on| two_layer(on, [6, 5], Activation::Softplus, true);
    two_layer_even: |on| two_layer(on, [3, 7], Activation::LnCosh, false);
    lattice_quadratic: |on| filled(on, Term::lattice_quadratic(on, (2, 3), basis(TimeFamily::Cosine)));
    lattice_kernels: |on| kernels(on, Activation::Softplus, true, None);
    lattice_kernels_even: |on| kernels(on, Activation::LnCosh, false, None);
    lattice_kernels_tied: |on| kernels(on, Activation::LnCosh, true, Some(&point_reflection()));
    dense_module: |on| dense(on, Laplacian::Exact);
    separable_module_with_probes: separable_module;
}

// Convolutions cost milliseconds where other potentials cost microseconds: one evaluation of two layers is checked in both
// precisions, whole solves of one layer in double precision, and those of two layers in single precision against double. libtorch does
// them, on its devices.
#[test]
fn convolutions_evaluated() {
    for precision in [Precision::F64, Precision::F32] {
        for on in devices(precision) {
            potential(&on, &mut convolutional(on));
            potential(&on, &mut u_shaped(on, 0));
        }
    }
}

#[test]
fn a_convolution_solved() {
    devices(Precision::F64).iter().for_each(|on| solves(on, &mut shallow(*on)));
}

#[test]
fn convolutions_solved_in_single_precision() {
    let outcome = |on: Tch, potential: &dyn Potential<Tch>| {
        let integrator = FixedStep::new(Method::Rk4.tableau(), 10).unwrap();
        let flow = Flow {
            space: &on,
            potential,
            integrator: &integrator,
            duration: 0.8,
            coordinates: Coordinates::Auto,
            memory: Memory::Stages,
        };
        let key = RngKey::new(9, Purpose::Train, 0);
        let batch = key.normals(0..5, potential.dim());
        let found = NegativeLogLikelihood::default().evaluate(&flow, &batch, key, true).unwrap();
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
fn what_draws_in_secret_is_not_recorded() {
    for on in spaces(Precision::F64) {
        let known = |of: &dyn Potential<Tch>| [of.identity().is_some(), of.chooses().is_some()];
        assert_eq!(known(&ridge(on, 5, 7, Activation::Softplus, true)), [true, false]);
        for draw in [SymmetryDraw::PerSolve, SymmetryDraw::PerStage] {
            assert_eq!(known(&symmetrised(on, draw)), [false, true]);
            let twice = Symmetrised::new(on, symmetrised(on, draw), shifts(5), draw).unwrap();
            assert_eq!(known(&twice), [false, false]);
            let sum = flow_core::Sum::new(on, vec![("turned".into(), Box::new(symmetrised(on, draw)))]).unwrap();
            assert_eq!(known(&sum), [false, false]);
        }
        assert_eq!(known(&u_shaped(on, 0)), [true, false]);
        assert_eq!(known(&u_shaped(on, 2)), [false, false]);
    }
}

#[test]
fn feature_space_is_taken_where_it_pays() {
    for (dim, hidden, pays) in [(4, 7, true), (4, 8, false), (4, 9, false)] {
        for on in spaces(Precision::F64) {
            let ridge = ridge(on, dim, hidden, Activation::LnCosh, false);
            let solve = Solve { rows: 1, key: RngKey::new(0, Purpose::Evaluate, 0), coordinates: Coordinates::Auto };
            let field = ridge.freeze(&solve);
            let (mut chart, state) = field.enter(0..1, on.zeros(1, dim));
            let mut velocity = state.clone();
            chart.evaluate(Stage { t: 0.0, index: 0 }, &state, &mut velocity, None, None);
            assert_eq!(ridge.feature_stages(), u64::from(pays));
        }
    }
}

/// ∇²φ of a batch of equal rows at the key of a step, one figure per row.
fn laplacian(on: &Tch, of: &dyn Potential<Tch>, rows: usize, step: u64) -> Vec<f64> {
    let x: Vec<f64> = [0.4, -0.3, 0.8, 0.1].into_iter().cycle().take(of.dim()).collect::<Vec<_>>().repeat(rows);
    let solve = Solve { rows, key: RngKey::new(1, Purpose::Train, step), coordinates: Coordinates::X };
    let field = of.freeze(&solve);
    let (mut chart, state) = field.enter(0..rows, on.upload(rows, of.dim(), &x));
    let (mut velocity, mut laplacian) = (on.zeros(rows, of.dim()), on.column_zeros(rows));
    chart.evaluate(Stage { t: 0.2, index: 0 }, &state, &mut velocity, Some(&mut laplacian), None);
    on.download_column(&laplacian)
}

#[test]
fn probes_are_right_on_average_and_stay_during_a_solve() {
    type With = fn(Tch, usize) -> Box<dyn Potential<Tch>>;
    let with: [With; 2] = [
        |on, probes| {
            let laplacian = if probes > 0 { Laplacian::Hutchinson { probes } } else { Laplacian::Exact };
            Box::new(dense(on, laplacian))
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

/// The cotangents of the point and of all parameters for a fixed one of the velocity, with the residuals of the evaluation or without.
fn matching_pullback(on: &Tch, of: &dyn Potential<Tch>, remembers: bool) -> Vec<Vec<f64>> {
    let (rows, dim) = (16, of.dim());
    let key = RngKey::new(1, Purpose::Train, 0);
    let field = of.freeze(&Solve { rows, key, coordinates: Coordinates::X });
    let (mut chart, state) = field.enter(0..rows, on.upload(rows, dim, &key.normals(0..rows, dim)));
    let (mut velocity, stage, mut residuals) = (on.zeros(rows, dim), Stage { t: 0.2, index: 0 }, Vec::new());
    chart.evaluate(stage, &state, &mut velocity, None, remembers.then_some(&mut residuals));
    let (bar, mut state_bar) = (on.upload(rows, dim, &key.noise(0..rows, dim)), on.zeros(rows, dim));
    // Twice: a residuals stays good, and shares add up.
    for _ in 0..2 {
        chart.pullback(stage, &state, &residuals, &bar, None, Some(&mut state_bar));
    }
    let (x_bar, share) = chart.enter_pullback(state_bar);
    [x_bar].into_iter().chain(field.gradient(share)).map(|bar| on.download(&bar)).collect()
}

#[test]
fn a_pullback_shares_the_graph_of_its_evaluation() {
    for on in [devices(Precision::F64), devices(Precision::F32)].concat() {
        let (term, module, wide) = (u_shaped(on, 1), dense(on, Laplacian::Exact), wide(on));
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
        let mut of = dense(on, Laplacian::Hutchinson { probes: 2 });
        let integrator = FixedStep::new(Method::Rk4.tableau(), 3).unwrap();
        let key = RngKey::new(9, Purpose::Train, 0);
        let batch = key.normals(0..5, 4);
        let outcome = |of: &ModulePotential| {
            let flow = Flow {
                space: &on,
                potential: of,
                integrator: &integrator,
                duration: 0.7,
                coordinates: Coordinates::Auto,
                memory: Memory::Stages,
            };
            NegativeLogLikelihood::default().evaluate(&flow, &batch, key, true).unwrap()
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
        let network = Network { side: 6, channels: [2, 3], hidden: 5, probes: 1 };
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
