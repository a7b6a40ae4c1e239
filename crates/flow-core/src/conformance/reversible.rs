//! Reversible steps: the pair returns to its start, and the gradient by reconstructed states is that by kept ones.

use super::fixtures::ROWS;
use super::{a_solve, assert_close, block, points};
use crate::integrate::{Integrator, SolutionCotangent, SolveOptions, Span};
use crate::potential::{BlockField, Coordinates, Field, Potential};
use crate::reversible::{Halves, Pair, Reversible, Room, WayBack};
use crate::space::Space;
use crate::stages::Work;
use crate::tableau::Method;

/// What is accumulated beside the states.
const OPTIONS: SolveOptions = SolveOptions { backward: None, cost: true, points_only: false };

/// From the middle to the start, so that times are tried that fall.
const SPAN: Span = Span { from: 0.8, to: 0.0 };

/// Checks reversible steps of several methods and couplings over 10, 100 and 1000 steps: the pair of states with ln p
/// and the transport cost returns to its start, and the gradient made with reconstructed states is the one made with
/// states that were kept. Both up to the round-off that undoing so many steps multiplies.
///
/// # Panics
/// When a check fails, with the numbers.
pub fn reversible_steps<S: Space>(space: &S, potential: &dyn Potential<S>) {
    for (method, coupling, steps) in [
        (Method::Euler, 0.9, 10),
        (Method::Dopri5, 0.8, 10),
        (Method::Heun, 0.99, 100),
        (Method::Rk4, 1.0, 100),
        (Method::Midpoint, 0.995, 1000),
    ] {
        let integrator = Reversible::new(method.tableau(), coupling, steps).expect("settings in range");
        let mut solve = a_solve(ROWS, Coordinates::X);
        solve.evaluations = Integrator::<S>::evaluations(&integrator);
        let field = potential.freeze(&solve);
        let x = points(ROWS, potential.dim(), 17);
        let enter = || field.enter(block(space, potential, &solve, 0..ROWS, &x));
        let what = format!("{} coupled by {coupling}", Integrator::<S>::describe(&integrator));
        // Undoing n steps multiplies round-off by up to λ^(−n), and every step adds its own.
        let tolerance = 8.0 * space.round_off() * (steps as f64).sqrt() * coupling.powi(-(steps as i32));
        let pairs = pair_returns(space, &integrator, enter(), &what, tolerance);
        let gradient = |keep: bool| gradient(space, &integrator, &*field, enter(), &pairs, keep);
        for (of, kept) in gradient(false).into_iter().zip(gradient(true)) {
            assert_close(&format!("gradient by {what}"), &of, &kept, 8.0 * tolerance, 1e-3);
        }
    }
}

/// The pair after every step; checks that it returns.
fn pair_returns<S: Space>(
    space: &S,
    integrator: &Reversible,
    (mut block, start): (Box<dyn BlockField<S> + '_>, S::Array),
    what: &str,
    tolerance: f64,
) -> Vec<Pair<S>> {
    let halves: Halves<'_> = integrator.halves(SPAN);
    let mut pair = Pair::new(space, start.clone(), OPTIONS);
    let mut work = Work::new(space, integrator.tableau(), &start, OPTIONS);
    let mut room = Room::new(space, &pair, OPTIONS);
    let steps = Integrator::<S>::level(integrator) as usize;
    let mut pairs = Vec::with_capacity(steps);
    for n in 0..steps {
        halves.advance_y(n, &mut pair, &mut work, &mut room, &mut *block);
        if n + 1 < steps {
            halves.advance_z(n, &mut pair, &mut work, &mut room, &mut *block);
        }
        pairs.push(pair.clone());
    }
    let scale = space.download(&pair.y).iter().fold(1.0f64, |most, x| most.max(x.abs()));
    for n in (0..steps).rev() {
        if n + 1 < steps {
            halves.undo_z(n, &mut pair, &mut work, &mut room, &mut *block);
        }
        halves.undo_y(n, &mut pair, &mut work, &mut room, &mut *block);
    }
    let start = space.download(&start);
    for (name, state) in [("y", &pair.y), ("z", &pair.z)] {
        assert_close(&format!("{name} of {what}"), &space.download(state), &start, tolerance, scale);
    }
    for (name, column) in pair.of_y.columns().chain(pair.of_z.columns()).enumerate() {
        let zeros = vec![0.0; ROWS];
        let what = format!("figure {name} beside {what}");
        assert_close(&what, &space.download_column(column), &zeros, 8.0 * tolerance, scale.powi(2));
    }
    pairs
}

/// Cotangents of the start and of the parameters, by states that are reconstructed or taken from what was kept.
fn gradient<S: Space>(
    space: &S,
    integrator: &Reversible,
    field: &dyn Field<S>,
    (mut block, _): (Box<dyn BlockField<S> + '_>, S::Array),
    pairs: &[Pair<S>],
    keep: bool,
) -> Vec<Vec<f64>> {
    let end = pairs[pairs.len() - 1].clone();
    let (rows, cols) = space.shape(&end.y);
    let column = |key| space.upload_column(&points(rows, 1, key));
    let bar = SolutionCotangent {
        state: space.upload(rows, cols, &points(rows, cols, 18)),
        log_density: column(19),
        cost: Some(column(20)),
    };
    let mut way = WayBack::new(space, integrator, SPAN, end, bar);
    for n in (0..pairs.len()).rev() {
        if keep {
            way.pair = pairs[n].clone();
        }
        way.step_back(n, &mut *block);
    }
    let (start_bar, shares) = block.enter_pullback(way.finish());
    std::iter::once(&start_bar).chain(&field.gradient(shares)).map(|array| space.download(array)).collect()
}
