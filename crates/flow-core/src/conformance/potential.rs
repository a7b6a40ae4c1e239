//! One evaluation of a potential against differences.

use std::ops::Range;

use super::{
    COORDINATES, STAGE, a_solve, assert_close, derivative, difference_tolerance, inner, move_parameters, moved,
    parameter_directions, points,
};
use crate::{BlockField, Coordinates, Field, Potential, Space, Stage};

const ROWS: usize = 3;

/// Checks one evaluation of a potential, in all coordinates: gradient, Laplacian, pullback, independence of the rows, repeatability.
///
/// # Panics
/// When a check fails, with the numbers.
pub fn potential<S: Space>(space: &S, potential: &mut dyn Potential<S>) {
    let x = points(ROWS, potential.dim(), 1);
    gradient_is_the_difference_of_the_value(space, potential, &x);
    laplacian_is_the_trace_of_the_differenced_gradient(space, potential, &x);
    rows_are_independent(space, potential, &x);
    rows_at_times_of_their_own_are_those_alone(space, potential, &x);
    for coordinates in COORDINATES {
        same_key_same_bits(space, potential, &x, coordinates);
        told_what_it_would_draw_it_is_the_same(space, potential, &x, coordinates);
        pullback_is_the_difference(space, potential, &x, coordinates);
    }
}

/// `(∇φ, ∇²φ)` at rows `first..` of a batch of `ROWS`, in terms of x whatever the coordinates: leaving is affine in the state.
fn field<S: Space>(
    space: &S,
    potential: &dyn Potential<S>,
    x: &[f64],
    first: usize,
    coordinates: Coordinates,
) -> (Vec<f64>, Vec<f64>) {
    let (dim, rows) = (potential.dim(), x.len() / potential.dim());
    let frozen = potential.freeze(&a_solve(ROWS, coordinates));
    field_of(space, &*frozen, first..first + rows, space.upload(rows, dim, x))
}

fn field_of<S: Space>(space: &S, frozen: &dyn Field<S>, range: Range<usize>, x: S::Array) -> (Vec<f64>, Vec<f64>) {
    let rows = range.len();
    let (mut chart, state) = frozen.enter(range, x);
    let (r, c) = space.shape(&state);
    let (mut velocity, mut laplacian) = (space.zeros(r, c), space.column_zeros(rows));
    chart.evaluate(STAGE, &state, &mut velocity, Some(&mut laplacian), None);
    let mut ahead = state.clone();
    space.accumulate(&mut ahead, 1.0, &[(1.0, &velocity)]);
    let (here, there) = (space.download(&chart.leave(state)), space.download(&chart.leave(ahead)));
    (there.iter().zip(&here).map(|(a, b)| a - b).collect(), space.download_column(&laplacian))
}

fn gradient_is_the_difference_of_the_value<S: Space>(space: &S, potential: &dyn Potential<S>, x: &[f64]) {
    let dim = potential.dim();
    let frozen = potential.freeze(&a_solve(ROWS, Coordinates::X));
    for coordinates in COORDINATES {
        let (gradient, _) = field(space, potential, x, 0, coordinates);
        let floor = gradient.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for i in 0..dim {
            let difference = derivative(space, |epsilon| {
                let x: Vec<f64> =
                    x.iter().enumerate().map(|(j, x)| if j % dim == i { x + epsilon } else { *x }).collect();
                space.download_column(&frozen.value(0..ROWS, STAGE, &space.upload(ROWS, dim, &x)))
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

fn rows_at_times_of_their_own_are_those_alone<S: Space>(space: &S, potential: &dyn Potential<S>, x: &[f64]) {
    let (dim, times) = (potential.dim(), [0.0, 0.3, 0.7]);
    let frozen = potential.freeze(&a_solve(ROWS, Coordinates::X));
    let bar = points(ROWS, dim, 2);
    let found = |(mut chart, state): (Box<dyn BlockField<S> + '_>, S::Array), t: f64, bar: &[f64]| {
        let (rows, dim) = space.shape(&state);
        let (mut velocity, mut residuals) = (space.zeros(rows, dim), Vec::new());
        let stage = Stage { t, index: 0 };
        chart.evaluate(stage, &state, &mut velocity, None, Some(&mut residuals));
        let mut state_bar = space.zeros(rows, dim);
        chart.pullback(stage, &state, &residuals, &space.upload(rows, dim, bar), None, Some(&mut state_bar));
        let (x_bar, share) = chart.enter_pullback(state_bar);
        [vec![velocity, x_bar], frozen.gradient(share)].concat().iter().map(|of| space.download(of)).collect::<Vec<_>>()
    };
    // At a time that is none of theirs.
    let Some(entered) = frozen.enter_at(0..ROWS, &space.upload(ROWS, dim, x), &times) else { return };
    let together = found(entered, -9.0, &bar);
    let mut alone = vec![Vec::new(); together.len()];
    for (r, t) in times.into_iter().enumerate() {
        let of = |numbers: &'_ [f64]| numbers[r * dim..(r + 1) * dim].to_vec();
        let row = found(frozen.enter(r..r + 1, space.upload(1, dim, &of(x))), t, &of(&bar));
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
}

fn same_key_same_bits<S: Space>(space: &S, potential: &dyn Potential<S>, x: &[f64], coordinates: Coordinates) {
    let first = field(space, potential, x, 0, coordinates);
    assert_eq!(first, field(space, potential, x, 0, coordinates), "the same key gave other numbers");
}

fn told_what_it_would_draw_it_is_the_same<S: Space>(
    space: &S,
    potential: &dyn Potential<S>,
    x: &[f64],
    coordinates: Coordinates,
) {
    let Some(chooses) = potential.chooses() else { return };
    let solve = a_solve(ROWS, coordinates);
    let chosen = chooses.choose(&solve, STAGE.index as usize + 1);
    let chosen = space.upload(ROWS, chosen.len() / ROWS, &chosen);
    let told = chooses.freeze_with(&solve, &chosen);
    let x_array = || space.upload(ROWS, potential.dim(), x);
    let found = field_of(space, &*told, 0..ROWS, x_array());
    assert_eq!(found, field(space, potential, x, 0, coordinates), "told what to draw, a field is another");
    let value = |frozen: &dyn Field<S>| space.download_column(&frozen.value(0..ROWS, STAGE, &x_array()));
    let frozen = potential.freeze(&solve);
    assert_eq!(value(&*told), value(&*frozen), "told what to draw, a value is another");
    let pairing = Pairing::new(space, potential, coordinates);
    let pullback = |of: &dyn Field<S>| {
        let (x_bar, gradient) = pairing.pullback_of(space, of, x_array());
        (x_bar, gradient.iter().map(|array| space.download(array)).collect::<Vec<_>>())
    };
    assert_eq!(pullback(&*told), pullback(&*frozen), "told what to draw, a pullback is another");
    let leave_bar = |of: &dyn Field<S>| {
        let (mut chart, state) = of.enter(0..ROWS, x_array());
        space.download(&chart.leave_pullback(&state, x_array()))
    };
    assert_eq!(leave_bar(&*told), leave_bar(&*frozen), "told what to draw, the end is another");
}

/// `⟨cotangents, (velocity, ∇²φ)⟩` at the entry state of x, with its cotangents of x and of the parameters where asked for.
struct Pairing {
    velocity_bar: Vec<f64>,
    laplacian_bar: Vec<f64>,
    coordinates: Coordinates,
}

impl Pairing {
    fn new<S: Space>(space: &S, potential: &dyn Potential<S>, coordinates: Coordinates) -> Self {
        let frozen = potential.freeze(&a_solve(ROWS, coordinates));
        let (_, state) = frozen.enter(0..ROWS, space.zeros(ROWS, potential.dim()));
        let (_, width) = space.shape(&state);
        Self { velocity_bar: points(ROWS, width, 2), laplacian_bar: points(1, ROWS, 3), coordinates }
    }

    fn value<S: Space>(&self, space: &S, potential: &dyn Potential<S>, x: &[f64]) -> f64 {
        let frozen = potential.freeze(&a_solve(ROWS, self.coordinates));
        let (mut chart, state) = frozen.enter(0..ROWS, space.upload(ROWS, potential.dim(), x));
        let (rows, width) = space.shape(&state);
        let (mut velocity, mut laplacian) = (space.zeros(rows, width), space.column_zeros(rows));
        chart.evaluate(STAGE, &state, &mut velocity, Some(&mut laplacian), None);
        let velocity_part = space.dot(&velocity, &space.upload(rows, width, &self.velocity_bar));
        let laplacian_part = space.download_column(&laplacian).into_iter().zip(&self.laplacian_bar).map(|(a, b)| a * b);
        velocity_part + laplacian_part.sum::<f64>()
    }

    fn pullback<S: Space>(&self, space: &S, potential: &dyn Potential<S>, x: &[f64]) -> (Vec<f64>, Vec<S::Array>) {
        let frozen = potential.freeze(&a_solve(ROWS, self.coordinates));
        self.pullback_of(space, &*frozen, space.upload(ROWS, potential.dim(), x))
    }

    fn pullback_of<S: Space>(&self, space: &S, frozen: &dyn Field<S>, x: S::Array) -> (Vec<f64>, Vec<S::Array>) {
        let (mut chart, state) = frozen.enter(0..ROWS, x);
        let (rows, width) = space.shape(&state);
        let (mut velocity, mut laplacian) = (space.zeros(rows, width), space.column_zeros(rows));
        let mut residuals = Vec::new();
        chart.evaluate(STAGE, &state, &mut velocity, Some(&mut laplacian), Some(&mut residuals));
        let velocity_bar = space.upload(rows, width, &self.velocity_bar);
        let laplacian_bar = space.upload_column(&self.laplacian_bar);
        let mut state_bar = space.upload(rows, width, &vec![f64::NAN; rows * width]);
        chart.pullback(STAGE, &state, &residuals, &velocity_bar, Some(&laplacian_bar), Some(&mut state_bar));
        let (x_bar, share) = chart.enter_pullback(state_bar);
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
    let expected = derivative(space, |epsilon| vec![pairing.value(space, potential, &moved(x, &direction, epsilon))]);
    let got = x_bar.iter().zip(&direction).map(|(a, b)| a * b).sum();
    let tolerance = difference_tolerance(space);
    // A sum of many terms of either sign: its scale is that of its terms, not its own.
    let scale = norm(&x_bar) * norm(&direction);
    assert_close("pullback to x", &[got], &expected, tolerance, scale);
    for (name, direction) in parameter_directions(space, potential) {
        let expected = derivative(space, |epsilon| {
            move_parameters(space, potential, &direction, epsilon);
            let value = pairing.value(space, potential, x);
            move_parameters(space, potential, &direction, -epsilon);
            vec![value]
        });
        let got = inner(space, &gradient, &direction);
        let scale = inner(space, &gradient, &gradient).sqrt() * inner(space, &direction, &direction).sqrt();
        assert_close(&format!("pullback to `{name}` ({coordinates:?})"), &[got], &expected, tolerance, scale);
    }
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}
