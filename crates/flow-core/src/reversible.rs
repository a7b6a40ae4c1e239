//! Reversible steps made of an explicit Runge-Kutta method by coupling two states, and their adjoint, which
//! reconstructs the states on the way back.

use std::sync::Arc;

use crate::cache_key::CacheKey;
use crate::error::Error;
use crate::integrate::{Backward, Integrator, Solution, SolutionCotangent, SolveOptions, Span};
use crate::potential::BlockField;
use crate::space::Space;
use crate::stages::{Figures, IncrementCotangent, StageRecord, StepAt, StepOutputs, StepPullback, Work, terms};
use crate::tableau::Tableau;

/// A given number of equal reversible steps, made of any explicit Runge-Kutta method (McCallum and Foster,
/// arXiv:2410.11648).
///
/// A second state z goes beside the state y, from the same start. With `Ψ_h(t, x)` for what a step of the method adds
/// to x, one step is
///
/// ```text
/// y ← λ y + (1 − λ) z + Ψ_h(t, z),    z ← z − Ψ_{−h}(t + h, y),
/// ```
///
/// and either line can be undone, up to round-off. So a pullback needs nothing but the pair at the end: memory does not
/// grow with the number of steps, and the gradient is the exact one of the discrete map, as of every integrator here.
/// ln p and the transport cost are part of both states. The order is that of the method, at twice its evaluations.
///
/// The pair is reversible, and not the map from start to end: a solve back begins with z = y again, so that points
/// carried there and back return up to the integration error, as with any method.
///
/// Undoing a step multiplies the round-off in `y − z` by 1/λ. A solve that is asked for its way back is refused where
/// λ^(−steps) times the unit round-off passes 1e-3, see [`Reversible::least_coupling`].
#[derive(Debug, Clone)]
pub struct Reversible {
    tableau: Arc<Tableau>,
    coupling: f64,
    steps: usize,
}

impl Reversible {
    /// The default of λ: 9,700 steps can be undone in single precision.
    pub const COUPLING: f64 = 0.999;

    /// Integrates with `steps` equal steps, whose states are coupled by λ.
    ///
    /// # Errors
    /// [`Error::Setting`] when `steps` is zero, or λ is not above 0 and at most 1.
    pub fn new(tableau: Tableau, coupling: f64, steps: usize) -> Result<Self, Error> {
        Error::at_least_1([("steps", steps)])?;
        if !(coupling > 0.0 && coupling <= 1.0) {
            return Err(Error::setting("coupling", coupling, "a number above 0, at most 1"));
        }
        Ok(Self { tableau: Arc::new(tableau), coupling, steps })
    }

    /// The least λ with which `steps` steps can be undone at this unit round-off, see [`Space::round_off`].
    ///
    /// ```
    /// let single = f64::from(f32::EPSILON) / 2.0;
    /// let least = flow_core::Reversible::least_coupling(1000, single);
    /// assert!((0.9903..0.9904).contains(&least));
    /// ```
    pub fn least_coupling(steps: usize, round_off: f64) -> f64 {
        (round_off / 1e-3).powf(1.0 / steps as f64)
    }

    /// The method that its steps are made of.
    pub(crate) fn tableau(&self) -> &Tableau {
        &self.tableau
    }

    /// The two lines of its steps over a span of time.
    pub(crate) fn halves(&self, span: Span) -> Halves<'_> {
        let h = (span.to - span.from) / self.steps as f64;
        Halves { tableau: &self.tableau, coupling: self.coupling, span, h }
    }
}

impl<S: Space> Integrator<S> for Reversible {
    fn solve(
        &self,
        space: &S,
        block: &mut dyn BlockField<S>,
        start: S::Array,
        span: Span,
        options: SolveOptions,
    ) -> Result<Solution<S>, Error> {
        // The way back undoes ln p too.
        let options = SolveOptions { points_only: options.points_only && options.backward.is_none(), ..options };
        if options.backward.is_some() {
            let least = Self::least_coupling(self.steps, space.round_off());
            if self.coupling < least {
                // Rounded up, so that what is asked for is enough.
                let least = (least * 1e6).ceil() / 1e6;
                let expected = format!("at least {least} for {} steps to be undone in this precision", self.steps);
                return Err(Error::setting("coupling", self.coupling, expected));
            }
        }
        let mut pair = Pair::new(space, start, options);
        let mut work = Work::new(space, &self.tableau, &pair.y, options);
        let mut room = Room::new(space, &pair, options);
        let halves = self.halves(span);
        for n in 0..self.steps {
            halves.advance_y(n, &mut pair, &mut work, &mut room, block);
            if n + 1 < self.steps {
                halves.advance_z(n, &mut pair, &mut work, &mut room, block);
            }
        }
        let Figures { log_density, cost } = pair.of_y.clone();
        let state = pair.y.clone();
        let backward =
            options.backward.map(|_| Box::new(End { integrator: self.clone(), span, pair }) as Box<dyn Backward<S>>);
        Ok(Solution { state, log_density, cost, backward })
    }

    /// Two steps of the method in each but the last, whose z is not needed.
    fn evaluations(&self) -> Option<usize> {
        Some((2 * self.steps - 1) * self.tableau.stages())
    }

    fn level(&self) -> u64 {
        self.steps as u64
    }

    fn order(&self) -> f64 {
        self.tableau.order() as f64
    }

    fn at_level(&self, level: u64) -> Box<dyn Integrator<S>> {
        Box::new(Self { steps: level.max(1) as usize, ..self.clone() })
    }

    fn cache_key(&self) -> Option<CacheKey> {
        let own = CacheKey::new().with_bits(self.coupling).with(self.steps as u64);
        Some(own.with_key(&self.tableau.cache_key()))
    }

    fn describe(&self) -> String {
        format!("{} steps of reversible-{}", self.steps, self.tableau.name())
    }
}

/// The two states with what is accumulated beside each.
#[derive(Clone)]
pub(crate) struct Pair<S: Space> {
    pub y: S::Array,
    pub z: S::Array,
    pub of_y: Figures<S>,
    pub of_z: Figures<S>,
}

impl<S: Space> Pair<S> {
    pub fn new(space: &S, start: S::Array, options: SolveOptions) -> Self {
        let zeros = || Figures::zeros(space, space.shape(&start).0, options);
        Self { y: start.clone(), z: start.clone(), of_y: zeros(), of_z: zeros() }
    }
}

/// Room for one increment of a state and its figures.
pub(crate) struct Room<S: Space> {
    state: S::Array,
    figures: Figures<S>,
}

impl<S: Space> Room<S> {
    pub fn new(space: &S, pair: &Pair<S>, options: SolveOptions) -> Self {
        Self { state: space.empty_like(&pair.y), figures: Figures::zeros(space, space.shape(&pair.y).0, options) }
    }
}

/// The two lines of a step, and how each is undone. Step n leads from `t_n` to `t_{n+1}`.
pub(crate) struct Halves<'a> {
    tableau: &'a Tableau,
    coupling: f64,
    span: Span,
    h: f64,
}

impl Halves<'_> {
    /// The stages that y is moved by: from z at the start of the step on.
    fn of_y(&self, n: usize) -> StepAt {
        (self.span.from + n as f64 * self.h, self.h, (2 * n * self.tableau.stages()) as u64)
    }

    /// The stages that z is moved by: from y at the end of the step back.
    fn of_z(&self, n: usize) -> StepAt {
        (self.span.from + (n + 1) as f64 * self.h, -self.h, ((2 * n + 1) * self.tableau.stages()) as u64)
    }

    /// `y ← λ (y − z) + (z + Ψ_h(t_n, z))`.
    pub fn advance_y<S: Space>(
        &self,
        n: usize,
        pair: &mut Pair<S>,
        work: &mut Work<'_, S>,
        room: &mut Room<S>,
        block: &mut dyn BlockField<S>,
    ) {
        let (space, coupling) = (work.space, self.coupling);
        work.stages(block, self.of_y(n), &pair.z, false, StepOutputs::after(&mut room.state));
        space.accumulate(&mut pair.y, coupling, &[(-coupling, &pair.z), (1.0, &room.state)]);
        self.increment(self.h, work, room);
        for ((y, z), increment) in pair.of_y.pairs(&pair.of_z).zip(room.figures.columns()) {
            space.column_accumulate(y, coupling, &[(1.0 - coupling, z), (1.0, increment)]);
        }
    }

    /// `z ← z + h Σ b_i k_i` with the stages of `Ψ_{−h}(t_{n+1}, y)`.
    pub fn advance_z<S: Space>(
        &self,
        n: usize,
        pair: &mut Pair<S>,
        work: &mut Work<'_, S>,
        room: &mut Room<S>,
        block: &mut dyn BlockField<S>,
    ) {
        work.stages(block, self.of_z(n), &pair.y, false, StepOutputs { after: None, record: None });
        self.move_z(1.0, pair, work, room);
    }

    /// Undoes [`Halves::advance_y`]; returns what the stages left.
    pub fn undo_y<S: Space>(
        &self,
        n: usize,
        pair: &mut Pair<S>,
        work: &mut Work<'_, S>,
        room: &mut Room<S>,
        block: &mut dyn BlockField<S>,
    ) -> Vec<StageRecord<S>> {
        let (space, inverse) = (work.space, 1.0 / self.coupling);
        let records = work.recorded(block, self.of_y(n), &pair.z, Some(&mut room.state));
        space.accumulate(&mut pair.y, inverse, &[(-inverse, &room.state), (1.0, &pair.z)]);
        self.increment(self.h, work, room);
        for ((y, z), increment) in pair.of_y.pairs(&pair.of_z).zip(room.figures.columns()) {
            space.column_accumulate(y, inverse, &[(-inverse, increment), (1.0 - inverse, z)]);
        }
        records
    }

    /// Undoes [`Halves::advance_z`]; returns what the stages left.
    pub fn undo_z<S: Space>(
        &self,
        n: usize,
        pair: &mut Pair<S>,
        work: &mut Work<'_, S>,
        room: &mut Room<S>,
        block: &mut dyn BlockField<S>,
    ) -> Vec<StageRecord<S>> {
        let records = work.recorded(block, self.of_z(n), &pair.y, None);
        self.move_z(-1.0, pair, work, room);
        records
    }

    /// Moves z by the velocities that are there, forwards or, with a sign of −1, back.
    fn move_z<S: Space>(&self, sign: f64, pair: &mut Pair<S>, work: &mut Work<'_, S>, room: &mut Room<S>) {
        let space = work.space;
        space.accumulate(&mut pair.z, 1.0, &terms(sign * self.h, self.tableau.b(), &work.velocity));
        self.increment(self.h, work, room);
        for (z, increment) in pair.of_z.pairs(&room.figures) {
            space.column_accumulate(z, 1.0, &[(sign, increment)]);
        }
    }

    /// What the velocities that are there add to ln p and the cost.
    fn increment<S: Space>(&self, h: f64, work: &mut Work<'_, S>, room: &mut Room<S>) {
        room.figures.clear(work.space);
        work.add_figures(h, &mut room.figures);
    }
}

/// Where the way back begins.
struct End<S: Space> {
    integrator: Reversible,
    span: Span,
    pair: Pair<S>,
}

impl<S: Space> Backward<S> for End<S> {
    fn pull_back(self: Box<Self>, space: &S, block: &mut dyn BlockField<S>, bar: SolutionCotangent<S>) -> S::Array {
        let Self { integrator, span, pair } = *self;
        let mut way = WayBack::new(space, &integrator, span, pair, bar);
        for n in (0..integrator.steps).rev() {
            way.step_back(n, block);
        }
        way.finish()
    }
}

/// The pair and its cotangents on their way back.
pub(crate) struct WayBack<'a, S: Space> {
    space: &'a S,
    halves: Halves<'a>,
    last: usize,
    pub pair: Pair<S>,
    y_bar: S::Array,
    z_bar: S::Array,
    /// The part of the figures' cotangents that y has; z has the rest.
    share: f64,
    log_density: S::Column,
    cost: Option<S::Column>,
    work: Work<'a, S>,
    room: Room<S>,
    pullback: StepPullback<'a, S>,
}

impl<'a, S: Space> WayBack<'a, S> {
    pub fn new(space: &'a S, integrator: &'a Reversible, span: Span, pair: Pair<S>, bar: SolutionCotangent<S>) -> Self {
        let SolutionCotangent { state: y_bar, log_density, cost } = bar;
        let (rows, cols) = space.shape(&y_bar);
        let options = SolveOptions { cost: cost.is_some(), ..SolveOptions::default() };
        let tableau = integrator.tableau();
        Self {
            space,
            halves: integrator.halves(span),
            last: integrator.steps - 1,
            work: Work::new(space, tableau, &y_bar, options),
            room: Room::new(space, &pair, options),
            pullback: StepPullback::new(space, tableau, &y_bar),
            z_bar: space.zeros(rows, cols),
            pair,
            y_bar,
            share: 1.0,
            log_density,
            cost,
        }
    }

    /// Undoes step n, and pulls the cotangents back through it.
    pub fn step_back(&mut self, n: usize, block: &mut dyn BlockField<S>) {
        let Self { space, halves, last, pair, y_bar, z_bar, share, log_density, cost, work, room, pullback } = self;
        let (h, cost) = (halves.h, cost.as_ref());
        if n < *last {
            let records = halves.undo_z(n, pair, work, room, block);
            let bar =
                IncrementCotangent { h, state: &*z_bar, share: 1.0 - *share, log_density: Some(&*log_density), cost };
            pullback.pull_back(block, halves.of_z(n), &pair.y, &records, bar);
            pullback.add_to(y_bar);
        }
        let records = halves.undo_y(n, pair, work, room, block);
        let bar = IncrementCotangent { h, state: &*y_bar, share: *share, log_density: Some(&*log_density), cost };
        pullback.pull_back(block, halves.of_y(n), &pair.z, &records, bar);
        pullback.add_to(z_bar);
        space.accumulate(z_bar, 1.0, &[(1.0 - halves.coupling, &*y_bar)]);
        space.accumulate(y_bar, halves.coupling, &[]);
        *share *= halves.coupling;
    }

    /// The cotangent of the start, where z = y.
    pub fn finish(self) -> S::Array {
        let mut start_bar = self.y_bar;
        self.space.accumulate(&mut start_bar, 1.0, &[(1.0, &self.z_bar)]);
        start_bar
    }
}
