//! One evaluation of a potential against differences.

use super::{
    COORDINATES, STAGE, a_solve, assert_close, block, derivative, difference_tolerance, inner, move_parameters, moved,
    parameter_directions, points,
};
use crate::potential::{BlockField, Coordinates, Motion, Potential, Pullback, Solve, Stage};
use crate::space::Space;

const ROWS: usize = 3;

/// Which optional checks of the suite were made of a potential. Those that do not concern it are left out, and a test
/// asserts the ones that it expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "a test says what it expects to be covered"]
pub struct Coverage {
    /// Its rows may have times of their own.
    pub rows_with_times: bool,
    /// It draws random numbers.
    pub draws: bool,
    /// It takes a context.
    pub context: bool,
}

/// Checks one evaluation of a potential, in all coordinates: gradient, Laplacian, pullback, independence of the rows,
/// repeatability.
///
/// # Panics
/// When a check fails, with the numbers.
pub fn potential<S: Space>(space: &S, potential: &mut dyn Potential<S>) -> Coverage {
    let x = points(ROWS, potential.dim(), 1);
    gradient_is_the_difference_of_the_value(space, potential, &x);
    laplacian_is_the_trace_of_the_differenced_gradient(space, potential, &x);
    rows_are_independent(space, potential, &x);
    for coordinates in COORDINATES {
        same_key_same_bits(space, potential, &x, coordinates);
        pullback_is_the_difference(space, potential, &x, coordinates);
    }
    Coverage {
        rows_with_times: rows_at_times_of_their_own_are_those_alone(space, potential, &x),
        draws: draws_of_rows_are_their_own(potential),
        context: context_matters(space, potential, &x),
    }
}

/// Checks that two potentials of the same parameters are one and the same function, in values, fields and pullbacks: a
/// backend's own kernels against [the operations of a space](crate::potentials), say. `tolerance` is in units of the
/// round-off.
///
/// # Panics
/// When they differ, with the numbers.
pub fn same_field<S: Space>(space: &S, one: &dyn Potential<S>, other: &dyn Potential<S>, tolerance: f64) {
    let names = |of: &dyn Potential<S>| -> Vec<_> {
        of.parameters().iter().map(|p| (p.name.clone(), p.shape.clone(), space.download(&p.value))).collect()
    };
    assert_eq!(names(one), names(other), "the parameters of the two");
    let (x, tolerance) = (points(ROWS, one.dim(), 1), tolerance * space.round_off());
    let both = [one, other].map(|of| {
        let solve = a_solve(ROWS, Coordinates::X);
        let frozen = of.freeze(&solve);
        let value = space.download_column(&frozen.value(STAGE, block(space, of, &solve, 0..ROWS, &x)));
        let (gradient, laplacian) = field(space, of, &x, 0, Coordinates::X);
        let (x_bar, bars) = Pairing::new(space, of, Coordinates::X).pullback(space, of, &x);
        [vec![value, gradient, laplacian, x_bar], bars.iter().map(|bar| space.download(bar)).collect()].concat()
    });
    for (i, (one, other)) in both[0].iter().zip(&both[1]).enumerate() {
        let what =
            ["value", "gradient", "Laplacian", "pullback to x"].get(i).copied().unwrap_or("pullback to a parameter");
        assert_close(what, one, other, tolerance, 1e-3);
    }
}

/// `(∇φ, ∇²φ)` at rows `first..` of a batch of `ROWS`, in terms of x whatever the coordinates: leaving is affine in the
/// state.
fn field<S: Space>(
    space: &S,
    potential: &dyn Potential<S>,
    x: &[f64],
    first: usize,
    coordinates: Coordinates,
) -> (Vec<f64>, Vec<f64>) {
    let rows = x.len() / potential.dim();
    let solve = a_solve(ROWS, coordinates);
    let frozen = potential.freeze(&solve);
    let (mut block, state) = frozen.enter(block(space, potential, &solve, first..first + rows, x));
    let (r, c) = space.shape(&state);
    let (mut velocity, mut laplacian) = (space.zeros(r, c), space.column_zeros(rows));
    block.evaluate(STAGE, &state, Motion { velocity: &mut velocity, laplacian: Some(&mut laplacian), residuals: None });
    let mut ahead = state.clone();
    space.accumulate(&mut ahead, 1.0, &[(1.0, &velocity)]);
    let (here, there) = (space.download(&block.leave(state)), space.download(&block.leave(ahead)));
    (there.iter().zip(&here).map(|(a, b)| a - b).collect(), space.download_column(&laplacian))
}

fn gradient_is_the_difference_of_the_value<S: Space>(space: &S, potential: &dyn Potential<S>, x: &[f64]) {
    let dim = potential.dim();
    let solve = a_solve(ROWS, Coordinates::X);
    let frozen = potential.freeze(&solve);
    for coordinates in COORDINATES {
        let (gradient, _) = field(space, potential, x, 0, coordinates);
        let floor = gradient.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for i in 0..dim {
            let difference = derivative(space, |epsilon| {
                let x: Vec<f64> =
                    x.iter().enumerate().map(|(j, x)| if j % dim == i { x + epsilon } else { *x }).collect();
                space.download_column(&frozen.value(STAGE, block(space, potential, &solve, 0..ROWS, &x)))
            });
            let column: Vec<f64> = (0..ROWS).map(|r| gradient[r * dim + i]).collect();
            assert_close("∇φ against differences of φ", &column, &difference, difference_tolerance(space), floor);
        }
    }
}

fn laplacian_is_the_trace_of_the_differenced_gradient<S: Space>(space: &S, potential: &dyn Potential<S>, x: &[f64]) {
    let dim = potential.dim();
    let mut trace = vec![0.0; ROWS];
    let mut scale = 0.0f64;
    for i in 0..dim {
        let column = derivative(space, |epsilon| {
            let x: Vec<f64> = x.iter().enumerate().map(|(j, x)| if j % dim == i { x + epsilon } else { *x }).collect();
            field(space, potential, &x, 0, Coordinates::X).0
        });
        for (r, trace) in trace.iter_mut().enumerate() {
            *trace += column[r * dim + i];
            scale = scale.max(column[r * dim + i].abs());
        }
    }
    for coordinates in COORDINATES {
        let (_, laplacian) = field(space, potential, x, 0, coordinates);
        assert_close("∇²φ against differences of ∇φ", &laplacian, &trace, difference_tolerance(space), scale);
    }
}

fn rows_are_independent<S: Space>(space: &S, potential: &dyn Potential<S>, x: &[f64]) {
    let dim = potential.dim();
    let (gradient, laplacian) = field(space, potential, x, 0, Coordinates::Auto);
    for r in 0..ROWS {
        let (alone, laplacian_alone) = field(space, potential, &x[r * dim..(r + 1) * dim], r, Coordinates::Auto);
        let tolerance = 64.0 * space.round_off();
        assert_close("a row alone", &alone, &gradient[r * dim..(r + 1) * dim], tolerance, 1.0);
        assert_close("a row's Laplacian alone", &laplacian_alone, &laplacian[r..=r], tolerance, 1.0);
    }
}

/// Whether the check was made.
fn rows_at_times_of_their_own_are_those_alone<S: Space>(space: &S, potential: &dyn Potential<S>, x: &[f64]) -> bool {
    let (dim, times) = (potential.dim(), [0.0, 0.3, 0.7]);
    let solve = a_solve(ROWS, Coordinates::X);
    let frozen = potential.freeze(&solve);
    if !frozen.rows_may_have_times() {
        return false;
    }
    let bar = points(ROWS, dim, 2);
    let found = |(mut block, state): (Box<dyn BlockField<S> + '_>, S::Array), t: f64, bar: &[f64]| {
        let (rows, dim) = space.shape(&state);
        let (mut velocity, mut residuals) = (space.zeros(rows, dim), Vec::new());
        let stage = Stage { t, index: 0 };
        block.evaluate(
            stage,
            &state,
            Motion { velocity: &mut velocity, laplacian: None, residuals: Some(&mut residuals) },
        );
        let mut state_bar = space.zeros(rows, dim);
        block.pullback(
            stage,
            &state,
            Pullback {
                residuals: &residuals,
                velocity_bar: &space.upload(rows, dim, bar),
                laplacian_bar: None,
                state_bar: Some(&mut state_bar),
            },
        );
        let (x_bar, share) = block.enter_pullback(state_bar);
        [vec![velocity, x_bar], frozen.gradient(share)].concat().iter().map(|of| space.download(of)).collect::<Vec<_>>()
    };
    let mut together = block(space, potential, &solve, 0..ROWS, x);
    together.times = Some(times.to_vec());
    // At a time that is none of theirs.
    let together = found(frozen.enter(together), -9.0, &bar);
    let mut alone = vec![Vec::new(); together.len()];
    for (r, t) in times.into_iter().enumerate() {
        let of = |numbers: &'_ [f64]| numbers[r * dim..(r + 1) * dim].to_vec();
        let row = found(frozen.enter(block(space, potential, &solve, r..r + 1, &of(x))), t, &of(&bar));
        for (i, (all, row)) in alone.iter_mut().zip(row).enumerate() {
            if i < 2 || all.is_empty() {
                all.extend(row);
            } else {
                all.iter_mut().zip(row).for_each(|(sum, row)| *sum += row);
            }
        }
    }
    for (together, alone) in together.iter().zip(&alone) {
        assert_close("rows at times of their own", together, alone, 256.0 * space.round_off(), 1.0);
    }
    true
}

/// Whether the potential draws: what a row draws is then its own, whichever rows are asked for.
fn draws_of_rows_are_their_own<S: Space>(potential: &dyn Potential<S>) -> bool {
    let solve = a_solve(ROWS, Coordinates::X);
    let width = potential.draw_width(&solve);
    let all = potential.draw(&solve, 0..ROWS);
    assert_eq!(all.len(), ROWS * width, "as many draws as the potential says");
    for r in 0..ROWS {
        assert_eq!(potential.draw(&solve, r..r + 1), all[r * width..(r + 1) * width], "the draws of row {r}");
        let from = Solve { key: solve.key.rows_from(r), ..solve };
        assert_eq!(potential.draw(&from, 0..ROWS - r), all[r * width..], "the draws from row {r} on");
    }
    width > 0
}

/// Whether the potential takes a context: its field then depends on it, row by row.
fn context_matters<S: Space>(space: &S, potential: &dyn Potential<S>, x: &[f64]) -> bool {
    let (solve, dim) = (a_solve(ROWS, Coordinates::X), potential.dim());
    let frozen = potential.freeze(&solve);
    let mut moved = block(space, potential, &solve, 0..ROWS, x);
    let Some(context) = &mut moved.context else { return false };
    let mut numbers = space.download(context);
    // The last row's alone.
    numbers[(ROWS - 1) * potential.context_dim()] += 0.5;
    *context = space.upload(ROWS, potential.context_dim(), &numbers);
    let velocity = |block| {
        let (mut block, state) = frozen.enter(block);
        let mut velocity = space.empty_like(&state);
        block.evaluate(STAGE, &state, Motion { velocity: &mut velocity, laplacian: None, residuals: None });
        space.download(&velocity)
    };
    let (before, after) = (velocity(block(space, potential, &solve, 0..ROWS, x)), velocity(moved));
    let others = (ROWS - 1) * dim;
    assert_eq!(before[..others], after[..others], "the context of one row moved others");
    assert_ne!(before[others..], after[others..], "the context changes nothing");
    true
}

fn same_key_same_bits<S: Space>(space: &S, potential: &dyn Potential<S>, x: &[f64], coordinates: Coordinates) {
    let first = field(space, potential, x, 0, coordinates);
    assert_eq!(first, field(space, potential, x, 0, coordinates), "the same key gave other numbers");
}

/// `⟨cotangents, (velocity, ∇²φ)⟩` at the entry state of x, with its cotangents of x and of the parameters where asked
/// for.
struct Pairing {
    velocity_bar: Vec<f64>,
    laplacian_bar: Vec<f64>,
    coordinates: Coordinates,
}

impl Pairing {
    fn new<S: Space>(space: &S, potential: &dyn Potential<S>, coordinates: Coordinates) -> Self {
        let solve = a_solve(ROWS, coordinates);
        let frozen = potential.freeze(&solve);
        let (_, state) = frozen.enter(block(space, potential, &solve, 0..ROWS, &vec![0.0; ROWS * potential.dim()]));
        let (_, width) = space.shape(&state);
        Self { velocity_bar: points(ROWS, width, 2), laplacian_bar: points(1, ROWS, 3), coordinates }
    }

    /// The pairing, and the magnitude of its terms.
    fn value<S: Space>(&self, space: &S, potential: &dyn Potential<S>, x: &[f64]) -> (f64, f64) {
        let solve = a_solve(ROWS, self.coordinates);
        let frozen = potential.freeze(&solve);
        let (mut block, state) = frozen.enter(block(space, potential, &solve, 0..ROWS, x));
        let (rows, width) = space.shape(&state);
        let (mut velocity, mut laplacian) = (space.zeros(rows, width), space.column_zeros(rows));
        block.evaluate(
            STAGE,
            &state,
            Motion { velocity: &mut velocity, laplacian: Some(&mut laplacian), residuals: None },
        );
        let (velocity, laplacian) = (space.download(&velocity), space.download_column(&laplacian));
        let velocities = velocity.iter().zip(&self.velocity_bar);
        let terms: Vec<f64> = velocities.chain(laplacian.iter().zip(&self.laplacian_bar)).map(|(a, b)| a * b).collect();
        (terms.iter().sum(), terms.iter().map(|term| term.abs()).sum())
    }

    fn pullback<S: Space>(&self, space: &S, potential: &dyn Potential<S>, x: &[f64]) -> (Vec<f64>, Vec<S::Array>) {
        let solve = a_solve(ROWS, self.coordinates);
        let frozen = potential.freeze(&solve);
        let (mut block, state) = frozen.enter(block(space, potential, &solve, 0..ROWS, x));
        let (rows, width) = space.shape(&state);
        let (mut velocity, mut laplacian) = (space.zeros(rows, width), space.column_zeros(rows));
        let mut residuals = Vec::new();
        block.evaluate(
            STAGE,
            &state,
            Motion { velocity: &mut velocity, laplacian: Some(&mut laplacian), residuals: Some(&mut residuals) },
        );
        let velocity_bar = space.upload(rows, width, &self.velocity_bar);
        let laplacian_bar = space.upload_column(&self.laplacian_bar);
        let mut state_bar = space.upload(rows, width, &vec![f64::NAN; rows * width]);
        block.pullback(
            STAGE,
            &state,
            Pullback {
                residuals: &residuals,
                velocity_bar: &velocity_bar,
                laplacian_bar: Some(&laplacian_bar),
                state_bar: Some(&mut state_bar),
            },
        );
        let (x_bar, share) = block.enter_pullback(state_bar);
        (space.download(&x_bar), frozen.gradient(share))
    }
}

fn pullback_is_the_difference<S: Space>(
    space: &S,
    potential: &mut dyn Potential<S>,
    x: &[f64],
    coordinates: Coordinates,
) {
    let pairing = Pairing::new(space, potential, coordinates);
    let (x_bar, gradient) = pairing.pullback(space, potential, x);
    let direction = points(ROWS, potential.dim(), 4);
    let expected = derivative(space, |epsilon| vec![pairing.value(space, potential, &moved(x, &direction, epsilon)).0]);
    let got = x_bar.iter().zip(&direction).map(|(a, b)| a * b).sum();
    let tolerance = difference_tolerance(space);
    // A sum of many terms of either sign: its scale is that of its terms, not its own.
    let scale = norm(&x_bar) * norm(&direction);
    assert_close("pullback to x", &[got], &expected, tolerance, scale);
    // Differences have the round-off of the pairing itself, a few units of the last place of its terms.
    let floor = 0.05 * pairing.value(space, potential, x).1;
    for (i, (name, direction)) in parameter_directions(space, potential).into_iter().enumerate() {
        let expected = derivative(space, |epsilon| {
            move_parameters(space, potential, &direction, epsilon);
            let value = pairing.value(space, potential, x).0;
            move_parameters(space, potential, &direction, -epsilon);
            vec![value]
        });
        let got = inner(space, &gradient, &direction);
        // Of this parameter alone: one with a small share of the gradient must be right too.
        let own = space.dot(&gradient[i], &gradient[i]).sqrt() * inner(space, &direction, &direction).sqrt();
        let scale = own.max(floor);
        assert_close(&format!("pullback to `{name}` ({coordinates:?})"), &[got], &expected, tolerance, scale);
    }
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}
