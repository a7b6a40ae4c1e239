//! Points carried without ln p: the same as with it, and no Laplacian on their way.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::fixtures::{ROWS, fixed, flow, whole};
use super::{COORDINATES, assert_close, key, points};
use crate::error::Error;
use crate::flow::{Direction, Flow};
use crate::integrate::{Integrator, Solution, SolveOptions, Span};
use crate::potential::{BlockField, FusedUpdate, Motion, Potential, Pullback, Share, Stage};
use crate::reversible::Reversible;
use crate::space::Space;
use crate::tableau::Method;

/// An integrator that counts what it asks of a field.
struct Counting<'a, S> {
    of: &'a dyn Integrator<S>,
    velocities: AtomicUsize,
    laplacians: AtomicUsize,
}

impl<'a, S: Space> Counting<'a, S> {
    fn new(of: &'a dyn Integrator<S>) -> Self {
        Self { of, velocities: AtomicUsize::new(0), laplacians: AtomicUsize::new(0) }
    }

    /// How many velocities and Laplacians of a block there were since the last call.
    fn taken(&self) -> [usize; 2] {
        [&self.velocities, &self.laplacians].map(|count| count.swap(0, Ordering::Relaxed))
    }
}

/// A block whose evaluations are counted.
struct Counted<'a, 'b, S: Space> {
    of: &'a mut (dyn BlockField<S> + 'b),
    counts: [&'a AtomicUsize; 2],
}

impl<S: Space> BlockField<S> for Counted<'_, '_, S> {
    fn evaluate(&mut self, stage: Stage, state: &S::Array, out: Motion<'_, S>) {
        self.evaluate_and_update(stage, state, out, None);
    }

    fn evaluate_and_update(
        &mut self,
        stage: Stage,
        state: &S::Array,
        out: Motion<'_, S>,
        update: Option<FusedUpdate<'_, S>>,
    ) {
        self.counts[0].fetch_add(1, Ordering::Relaxed);
        self.counts[1].fetch_add(usize::from(out.laplacian.is_some()), Ordering::Relaxed);
        self.of.evaluate_and_update(stage, state, out, update);
    }

    fn pullback(&mut self, _stage: Stage, _state: &S::Array, _of: Pullback<'_, S>) {
        unreachable!("points alone do not go back");
    }

    fn enter_pullback(self: Box<Self>, _state_bar: S::Array) -> (S::Array, Vec<Share<S>>) {
        unreachable!("points alone do not go back");
    }
}

impl<S: Space> Integrator<S> for Counting<'_, S> {
    fn solve(
        &self,
        space: &S,
        block: &mut dyn BlockField<S>,
        start: S::Array,
        span: Span,
        options: SolveOptions,
    ) -> Result<Solution<S>, Error> {
        let mut counted = Counted { of: block, counts: [&self.velocities, &self.laplacians] };
        self.of.solve(space, &mut counted, start, span, options)
    }

    fn evaluations(&self) -> Option<usize> {
        self.of.evaluations()
    }

    fn level(&self) -> u64 {
        self.of.level()
    }

    fn order(&self) -> f64 {
        self.of.order()
    }

    fn at_level(&self, level: u64) -> Box<dyn Integrator<S>> {
        self.of.at_level(level)
    }

    fn describe(&self) -> String {
        self.of.describe()
    }
}

/// Checks that points carried without ln p are those carried with it, in all coordinates and both directions, and that
/// no Laplacian is evaluated on their way. [`solves`](super::solves) makes this check too; alone it is for a potential
/// whose Laplacian is an estimate.
///
/// # Panics
/// When a check fails, with the numbers.
pub fn points_alone_are_those_with_ln_p<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let reversible = Reversible::new(Method::Heun.tableau(), 0.5, 3).expect("settings in range");
    let methods: [&dyn Integrator<S>; 2] = [&fixed(Method::Rk4, 3), &reversible];
    let batch = whole(potential, points(ROWS, potential.dim(), 13));
    for (coordinates, method) in COORDINATES.iter().flat_map(|c| methods.map(|method| (*c, method))) {
        let counting = Counting::new(method);
        let flow = Flow { coordinates, ..flow(space, potential, &counting) };
        for direction in [Direction::Forward, Direction::Backward] {
            let with = flow.transport_batch(&batch, flow.span(direction), key(7)).expect("small solves stay finite");
            let [velocities, laplacians] = counting.taken();
            assert!(velocities > 0 && laplacians == velocities, "{laplacians} Laplacians of {velocities}");
            let alone = flow.transport_points(&batch, flow.span(direction), key(7)).expect("small solves stay finite");
            assert_eq!(counting.taken(), [velocities, 0], "velocities and Laplacians of points alone");
            assert_close("points alone", &alone, &with.x, 64.0 * space.round_off(), 1.0);
        }
    }
}
