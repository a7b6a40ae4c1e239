//! Whole solves: order, reversal, the exact adjoint, coordinates, and ln p against the exact log-determinant.

use super::fixtures::{Quartic, ROWS, fixed, flow, whole};
use super::points::points_alone_are_those_with_ln_p;
use super::score::{
    latent_energy_is_differentiated, path_gradient_is_the_same_by_any_way, score_is_the_difference_of_ln_p,
    score_pullback_is_the_difference, scored_evaluation_is_evaluation_and_pullback,
};
use super::{
    COORDINATES, assert_close, derivative, difference_tolerance, inner, key, move_parameters, parameter_directions,
    points,
};
use crate::error::Error;
use crate::evaluation::{Evaluation, Outcome};
use crate::flow::{Direction, Flow};
use crate::integrate::{Integrator, Memory, Span};
use crate::matching::{FlowMatching, Path};
use crate::objective::{Estimator, FreeEnergy, NegativeLogLikelihood, Objective};
use crate::potential::{Coordinates, Potential};
use crate::reversible::Reversible;
use crate::runge_kutta::Adaptive;
use crate::space::{Precision, Space};
use crate::statistics::Mean;
use crate::tableau::Method;

/// Which optional checks of [`solves`] were made of a potential. Those that do not concern it are left out, and a test
/// asserts the ones that it expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a test says what it expects to be covered"]
pub struct SolveCoverage {
    /// Reversal and adaptive steps, which a field that is random in time does not allow.
    pub smooth_in_time: bool,
    /// ln p and its score against differences of the map, in double precision and where the field is smooth in time.
    pub map_differenced: bool,
    /// The energy seen from the base density, which has no context.
    pub latent_energy: bool,
    /// A loss of forces, which needs [`Potential::has_score_pullback`].
    pub forces: bool,
}

/// Checks solves with a potential: adjoint of every method and objective, coordinates, memory, points without ln p,
/// and, where the field is not random in time, reversal, adaptive steps, and ln p and its score against differences of
/// the map. In single precision differences say little: there the adjoint of one method stands for all, and the map is
/// not differenced.
///
/// # Panics
/// When a check fails, with the numbers.
pub fn solves<S: Space>(space: &S, potential: &mut dyn Potential<S>) -> SolveCoverage {
    let double = space.precision() == Precision::F64;
    let methods = if double { &Method::ALL[..] } else { &[Method::Rk4] };
    for method in methods {
        let integrator = fixed(*method, 2);
        for objective in objectives::<S>(potential.dim()) {
            adjoint_is_the_difference(space, potential, &integrator, &*objective);
        }
    }
    for objective in objectives::<S>(potential.dim()) {
        adjoint_is_the_difference(space, potential, &reversible(Method::Heun, 3), &*objective);
    }
    for path in [Path::Straight, Path::Blurred] {
        adjoint_is_the_difference(
            space,
            potential,
            &fixed(Method::Euler, 1),
            &FlowMatching { focus: Some(0.1), ..FlowMatching::new(path, 2) },
        );
    }
    coordinates_and_memory_do_not_matter(space, potential);
    points_alone_are_those_with_ln_p(space, potential);
    scored_evaluation_is_evaluation_and_pullback(space, potential);
    path_gradient_is_the_same_by_any_way(space, potential);
    let smooth_in_time = !potential.random_in_time();
    let made = SolveCoverage {
        smooth_in_time,
        map_differenced: smooth_in_time && double,
        latent_energy: potential.context_dim() == 0,
        forces: potential.has_score_pullback(),
    };
    if made.forces {
        score_pullback_is_the_difference(space, potential);
        forces_are_differentiated(space, potential);
    } else {
        forces_are_refused(space, potential);
    }
    if made.latent_energy {
        latent_energy_is_differentiated(space, potential);
    }
    if made.smooth_in_time {
        forward_and_backward_is_the_identity(space, potential);
        continuous_adjoint_nears_the_exact_one(space, potential);
        adaptive_steps_keep_their_tolerance(space, potential);
    }
    if made.map_differenced {
        log_density_is_the_log_determinant(space, potential);
        score_is_the_difference_of_ln_p(space, potential);
    }
    made
}

fn objectives<S: Space>(dim: usize) -> Vec<Box<dyn Objective<S>>> {
    [0.0, 0.7]
        .into_iter()
        .flat_map(|transport_cost| -> [Box<dyn Objective<S>>; 2] {
            [
                Box::new(NegativeLogLikelihood { transport_cost, ..NegativeLogLikelihood::default() }),
                Box::new(FreeEnergy { transport_cost, ..FreeEnergy::new(Quartic(dim)) }),
            ]
        })
        .collect()
}

/// A free energy with a loss of forces that is as large.
fn forces(dim: usize) -> FreeEnergy<Quartic> {
    FreeEnergy { force_weight: 0.6, ..FreeEnergy::new(Quartic(dim)) }
}

fn forces_are_differentiated<S: Space>(space: &S, potential: &mut dyn Potential<S>) {
    let objective = forces(potential.dim());
    let reversible = reversible(Method::Heun, 3);
    let integrators: [&dyn Integrator<S>; 3] = [&fixed(Method::Rk4, 2), &fixed(Method::Midpoint, 3), &reversible];
    for integrator in integrators {
        adjoint_is_the_difference(space, potential, integrator, &objective);
    }
    let (integrator, host) = (fixed(Method::Rk4, 5), |outcome: Outcome<S>| -> (Vec<f64>, Vec<Vec<f64>>) {
        let gradient = outcome.gradient.expect("asked for");
        (outcome.losses, gradient.iter().map(|g| space.download(g)).collect())
    });
    let plain = flow(space, potential, &integrator);
    let outcome = |memory, coordinates| host(evaluate(&Flow { memory, coordinates, ..plain }, &objective, true));
    let stages = outcome(Memory::Stages, Coordinates::X);
    for coordinates in COORDINATES {
        assert_eq!(stages, outcome(Memory::Recompute, coordinates), "a score is carried in plain coordinates");
    }
    // The path gradient differs from the total one by what has the mean zero, and by nothing of the forces.
    let of = |force_weight, gradient| {
        let objective = FreeEnergy { force_weight, gradient, ..FreeEnergy::new(Quartic(potential.dim())) };
        host(evaluate(&plain, &objective, true)).1.concat()
    };
    let [total, path] = [Estimator::Total, Estimator::Path].map(|gradient| {
        let (with, without) = (of(0.6, gradient), of(0.0, gradient));
        with.iter().zip(without).map(|(with, without)| with - without).collect::<Vec<_>>()
    });
    let scale = of(0.6, Estimator::Total).iter().fold(0.0f64, |most, g| most.max(g.abs()));
    assert_close("the forces of either gradient", &path, &total, 2e3 * space.round_off(), scale);
}

/// A potential without the derivative that a loss of forces needs says so.
fn forces_are_refused<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let integrator = fixed(Method::Rk4, 2);
    let batch = whole(potential, points(ROWS, potential.dim(), 7));
    let flow = flow(space, potential, &integrator);
    let found = forces(potential.dim()).evaluate(&flow, &batch, &Evaluation::new(key(2)).with_gradient());
    assert!(matches!(found, Err(Error::NoScorePullback)), "a gradient of forces from nowhere");
}

fn evaluate<S: Space>(flow: &Flow<'_, S>, objective: &dyn Objective<S>, gradient: bool) -> Outcome<S> {
    let batch = whole(flow.potential, points(ROWS, flow.potential.dim(), 7));
    let how = Evaluation { gradient, ..Evaluation::new(key(2)) };
    objective.evaluate(flow, &batch, &how).expect("small solves stay finite")
}

fn adjoint_is_the_difference<S: Space>(
    space: &S,
    potential: &mut dyn Potential<S>,
    integrator: &dyn Integrator<S>,
    objective: &dyn Objective<S>,
) {
    let gradient = evaluate(&flow(space, potential, integrator), objective, true).gradient.expect("asked for");
    for (name, direction) in parameter_directions(space, potential) {
        let expected = derivative(space, |epsilon| {
            move_parameters(space, potential, &direction, epsilon);
            let losses = evaluate(&flow(space, potential, integrator), objective, false).losses;
            move_parameters(space, potential, &direction, -epsilon);
            vec![Mean::of(&losses).mean]
        });
        let got = inner(space, &gradient, &direction);
        let scale = inner(space, &gradient, &gradient).sqrt() * inner(space, &direction, &direction).sqrt();
        let method = integrator.describe();
        let what = format!("adjoint of {} with {method} to `{name}`", objective.name());
        assert_close(&what, &[got], &expected, difference_tolerance(space), scale);
    }
}

fn coordinates_and_memory_do_not_matter<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let integrator = fixed(Method::Rk4, 5);
    let plain = flow(space, potential, &integrator);
    let host = |outcome: Outcome<S>| -> (Vec<f64>, Vec<Vec<f64>>) {
        let gradient = outcome.gradient.expect("asked for");
        (outcome.losses, gradient.iter().map(|g| space.download(g)).collect())
    };
    for objective in objectives::<S>(potential.dim()) {
        let (losses, gradient) = host(evaluate(&plain, &*objective, true));
        for coordinates in COORDINATES {
            let outcome = |memory| host(evaluate(&Flow { coordinates, memory, ..plain }, &*objective, true));
            let stages = outcome(Memory::Stages);
            assert_eq!(stages, outcome(Memory::Recompute), "what the tape keeps changed the numbers");
            let tolerance = 2e3 * space.round_off();
            assert_close("loss in other coordinates", &stages.0, &losses, tolerance, 1.0);
            for (got, expected) in stages.1.iter().zip(&gradient) {
                assert_close("gradient in other coordinates", got, expected, tolerance, 1e-3);
            }
        }
    }
}

/// Reversible steps whose second state soon forgets where it started, so that few steps show what many do.
fn reversible(method: Method, steps: usize) -> Reversible {
    Reversible::new(method.tableau(), 0.5, steps).expect("settings in range")
}

fn forward_and_backward_is_the_identity<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let integrators: [&dyn Integrator<S>; 2] = [&fixed(Method::Rk4, 60), &reversible(Method::Rk4, 60)];
    let x = points(ROWS, potential.dim(), 8);
    let ways = COORDINATES.map(|coordinates| integrators.map(|integrator| (coordinates, integrator)));
    for (coordinates, integrator) in ways.into_iter().flatten() {
        let flow = Flow { coordinates, ..flow(space, potential, integrator) };
        let there = flow
            .transport_batch(&whole(potential, x.clone()), flow.span(Direction::Forward), key(3))
            .expect("small solves stay finite");
        let back = flow
            .transport_batch(&whole(potential, there.x), flow.span(Direction::Backward), key(3))
            .expect("small solves stay finite");
        let tolerance = 1e-7f64.max(1e3 * space.round_off());
        assert_close("there and back", &back.x, &x, tolerance, 1.0);
        let change: Vec<f64> = there.log_density.iter().map(|l| -l).collect();
        assert_close("ln p there and back", &back.log_density, &change, tolerance, 1.0);
    }
}

/// The gradient by the continuous adjoint nears the one of the discrete map like `h^order`, with and without the
/// transport cost, for a method with a stage of weight zero too.
fn continuous_adjoint_nears_the_exact_one<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let numbers = |flow: &Flow<'_, S>, objective: &dyn Objective<S>| -> Vec<f64> {
        let gradient = evaluate(flow, objective, true).gradient.expect("asked for");
        gradient.iter().flat_map(|array| space.download(array)).collect()
    };
    for (objective, method) in
        objectives::<S>(potential.dim()).iter().zip([Method::Rk4, Method::Midpoint].iter().cycle())
    {
        let [coarse, fine] = [32, 64].map(|steps| {
            let integrator = fixed(*method, steps);
            let exact = flow(space, potential, &integrator);
            let continuous = Flow { memory: Memory::Continuous, ..exact };
            let [exact, continuous] = [exact, continuous].map(|flow| numbers(&flow, &**objective));
            let length = exact.iter().map(|x| x * x).sum::<f64>().sqrt();
            let off = exact.iter().zip(&continuous).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            off / length
        });
        let (order, floor) = (method.tableau().order() as i32, 1e3 * space.round_off());
        let what = format!("continuous adjoint of {} with {}: {coarse:e}, {fine:e}", objective.name(), method.name());
        assert!(fine <= 1.3 * coarse * 0.5f64.powi(order) + floor && coarse < 0.5, "{what}");
    }
}

fn adaptive_steps_keep_their_tolerance<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let x = points(ROWS, potential.dim(), 9);
    let reference = fixed(Method::Rk4, 200);
    let span = Span { from: 0.8, to: 0.0 };
    let exact = flow(space, potential, &reference)
        .transport_batch(&whole(potential, x.clone()), span, key(4))
        .expect("small solves stay finite");
    let tolerance = 1e-7f64.max(1e2 * space.round_off());
    for method in [Method::Tsit5, Method::Dopri5] {
        let adaptive = Adaptive::new(method.tableau(), tolerance, tolerance, 10_000).expect("an embedded pair");
        let got = flow(space, potential, &adaptive)
            .transport_batch(&whole(potential, x.clone()), span, key(4))
            .expect("small solves stay finite");
        assert_close("adaptive end point", &got.x, &exact.x, 30.0 * tolerance, 1.0);
        assert_close("adaptive ln p", &got.log_density, &exact.log_density, 30.0 * tolerance, 1.0);
        let objective = NegativeLogLikelihood::default();
        let gradient = |integrator: &dyn Integrator<S>| {
            let outcome = evaluate(&flow(space, potential, integrator), &objective, true);
            outcome.gradient.expect("asked for").iter().flat_map(|g| space.download(g)).collect::<Vec<_>>()
        };
        assert_close("adaptive gradient", &gradient(&adaptive), &gradient(&reference), 300.0 * tolerance, 1.0);
    }
}

/// ln p against the exact log-determinant of the map that the solve really applies, whose Jacobian is taken by
/// differences.
fn log_density_is_the_log_determinant<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let dim = potential.dim();
    let integrator = fixed(Method::Rk4, 60);
    let flow = flow(space, potential, &integrator);
    let span = flow.span(Direction::Forward);
    let x = points(1, dim, 10);
    let map = |x: &[f64]| {
        flow.transport_batch(&whole(potential, x.to_vec()), span, key(5)).expect("small solves stay finite")
    };
    let mut jacobian = nalgebra::DMatrix::zeros(dim, dim);
    for i in 0..dim {
        let column = derivative(space, |epsilon| {
            let mut x = x.clone();
            x[i] += epsilon;
            map(&x).x
        });
        jacobian.set_column(i, &nalgebra::DVector::from_vec(column));
    }
    let exact = -jacobian.determinant().abs().ln();
    let tolerance = 1e-7f64.max(10.0 * difference_tolerance(space));
    assert_close("ln p against the log-determinant", &map(&x).log_density, &[exact], tolerance, 1.0);
}

/// Checks that methods converge with their order on this potential: end points, ln p and score, each observed order
/// within 0.2, extrapolated once to small steps. Only meaningful in 64 bits, and on a potential whose next term of the
/// error expansion is not much greater than the leading one (for Tsit5, whose leading term is made small,
/// [`Gaussian`](super::Gaussian)).
///
/// # Panics
/// When an observed order is off, with the numbers.
pub fn methods_have_their_order<S: Space>(space: &S, potential: &dyn Potential<S>, methods: &[Method]) {
    have_order(space, potential, methods, |method, steps| Box::new(fixed(method, steps)));
}

/// The same of reversible steps made of these methods.
///
/// # Panics
/// When an observed order is off, with the numbers.
pub fn reversible_methods_have_their_order<S: Space>(space: &S, potential: &dyn Potential<S>, methods: &[Method]) {
    have_order(space, potential, methods, |method, steps| Box::new(reversible(method, steps)));
}

fn have_order<S: Space>(
    space: &S,
    potential: &dyn Potential<S>,
    methods: &[Method],
    with_steps: impl Fn(Method, usize) -> Box<dyn Integrator<S>>,
) {
    let x = points(ROWS, potential.dim(), 12);
    let solve = |integrator: &dyn Integrator<S>| -> Vec<f64> {
        let flow = Flow { duration: 1.0, ..flow(space, potential, integrator) };
        let end = flow.scored_samples(&x, key(6)).expect("small solves stay finite");
        end.x.into_iter().chain(end.log_density).chain(end.score).collect()
    };
    // Nearer by (32/300)⁵ = 1e-5 than the nearest of what is compared with it, by order 5 with 32 steps.
    let exact = solve(&fixed(Method::Dopri5, 300));
    for method in methods {
        // Steps at which the leading terms rule and round-off is far: fewer for higher orders.
        let steps = [0, 320, 80, 20, 10, 8][method.tableau().order()];
        let errors = [1, 2, 4].map(|factor| {
            let found = solve(&*with_steps(*method, factor * steps));
            found.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        });
        let slope = |i: usize| (errors[i] / errors[i + 1]).log2();
        // The slope nears the order in proportion to the step.
        let (order, expected) = (2.0 * slope(1) - slope(0), method.tableau().order() as f64);
        let what = with_steps(*method, steps).describe();
        assert!((order - expected).abs() < 0.2, "{what}: errors {errors:?}, order {order}");
    }
}
