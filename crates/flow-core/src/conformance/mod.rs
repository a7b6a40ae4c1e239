//! The suite that every backend and potential must pass; tests instantiate it with one line each.
//!
//! Tolerances scale with the unit round-off u of the space: differences of fourth order with a step of order `u^(1/5)`
//! are good to about `u^(4/5)`. Every check panics with the numbers when it fails.

mod captured;
mod fixtures;
mod gaussian;
mod points;
mod potential;
mod reversible;
mod score;
mod solve;
mod space;

pub use captured::captured;
pub use fixtures::{damped, few_particles};
pub use gaussian::{Gaussian, gaussian_stays_gaussian};
pub use points::points_alone_are_those_with_ln_p;
pub use potential::{Coverage, potential, same_field};
pub use reversible::reversible_steps;
pub use score::{
    forward_path_gradient_has_the_mean_of_the_likelihood, path_gradient_has_the_mean_of_the_total,
    path_gradient_vanishes_at_the_target,
};
pub use solve::{SolveCoverage, methods_have_their_order, reversible_methods_have_their_order, solves};
pub use space::space;

use std::ops::Range;

use crate::potential::{Block, Coordinates, Potential, Solve, Stage};
use crate::rng::{Purpose, RngKey};
use crate::space::Space;

/// Where the checks of one evaluation stand in time.
const STAGE: Stage = Stage { t: 0.3, index: 5 };

/// All coordinates a solve can ask for.
const COORDINATES: [Coordinates; 3] = [Coordinates::X, Coordinates::Auto, Coordinates::Feature];

fn key(step: u64) -> RngKey {
    RngKey::new(11, Purpose::Evaluate, step)
}

fn a_solve(rows: usize, coordinates: Coordinates) -> Solve {
    Solve {
        rows,
        block_rows: rows,
        key: key(0),
        coordinates,
        evaluations: Some(STAGE.index as usize + 1),
        laplacians: true,
    }
}

/// Rows of a batch at x as they enter a field: with a context where the potential has one, and with what it draws.
fn block<S: Space>(space: &S, potential: &dyn Potential<S>, solve: &Solve, rows: Range<usize>, x: &[f64]) -> Block<S> {
    let (n, context, draws) = (rows.len(), potential.context_dim(), potential.draw_width(solve));
    let context_of_rows = || {
        let all = context_of(rows.end, context);
        space.upload(n, context, &all[rows.start * context..])
    };
    Block {
        x: space.upload(n, potential.dim(), x),
        context: (context > 0).then(context_of_rows),
        draws: (draws > 0).then(|| space.upload(n, draws, &potential.draw(solve, rows.clone()))),
        times: None,
        rows,
    }
}

/// The context of so many rows, `rows × width`.
fn context_of(rows: usize, width: usize) -> Vec<f64> {
    points(rows, width, 55)
}

/// `rows × dim` normal numbers.
fn points(rows: usize, dim: usize, key: u64) -> Vec<f64> {
    RngKey::new(23, Purpose::Sample, key).normals(0..rows, dim)
}

/// Tolerance of a comparison with differences of fourth order, relative to the scale of what is compared.
fn difference_tolerance<S: Space>(space: &S) -> f64 {
    3e2 * space.round_off().powf(0.8)
}

/// Derivative at 0 of `f` by the five-point formula.
fn derivative<S: Space>(space: &S, mut f: impl FnMut(f64) -> Vec<f64>) -> Vec<f64> {
    let h = 0.3 * space.round_off().powf(0.2);
    let [a, b, c, d] = [-2.0 * h, -h, h, 2.0 * h].map(&mut f);
    (0..a.len()).map(|i| (a[i] - 8.0 * b[i] + 8.0 * c[i] - d[i]) / (12.0 * h)).collect()
}

/// Asserts that two lists of numbers agree to `tolerance`, relative to the greatest of them (or to `floor`, if
/// greater).
///
/// # Panics
/// When they do not, or any is no number.
#[track_caller]
pub fn assert_close(what: &str, got: &[f64], expected: &[f64], tolerance: f64, floor: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(floor, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!(
            (g - e).abs() <= tolerance * scale,
            "{what}: entry {i} is {g}, expected {e} within {tolerance:e} of {scale:e}"
        );
    }
}

/// `x + ε · direction`.
fn moved(x: &[f64], direction: &[f64], epsilon: f64) -> Vec<f64> {
    x.iter().zip(direction).map(|(x, d)| x + epsilon * d).collect()
}

/// Adds `ε · directions` to the parameters.
fn move_parameters<S: Space>(space: &S, potential: &mut dyn Potential<S>, directions: &[S::Array], epsilon: f64) {
    for (parameter, direction) in potential.parameters_mut().into_iter().zip(directions) {
        space.accumulate(&mut parameter.value, 1.0, &[(epsilon, direction)]);
    }
}

/// A random direction for every parameter that leaves the others alone: one list of arrays per parameter.
fn parameter_directions<S: Space>(space: &S, potential: &dyn Potential<S>) -> Vec<(String, Vec<S::Array>)> {
    let parameters = potential.parameters();
    let direction = |chosen: usize| {
        let array = |i: usize| {
            let (rows, cols) = space.shape(&parameters[i].value);
            let values = if i == chosen { points(rows, cols, 100 + i as u64) } else { vec![0.0; rows * cols] };
            space.upload(rows, cols, &values)
        };
        (parameters[chosen].name.clone(), (0..parameters.len()).map(array).collect())
    };
    (0..parameters.len()).map(direction).collect()
}

fn inner<S: Space>(space: &S, a: &[S::Array], b: &[S::Array]) -> f64 {
    a.iter().zip(b).map(|(a, b)| space.dot(a, b)).sum()
}
