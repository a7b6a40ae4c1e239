//! Explicit Runge-Kutta steps, fixed and adaptive, with their exact discrete adjoint.

use std::sync::Arc;

use crate::cache_key::CacheKey;
use crate::error::Error;
use crate::integrate::{Backward, Integrator, Memory, Solution, SolutionCotangent, SolveOptions, Span};
use crate::potential::{BlockField, FusedUpdate, RecomputeVelocity, Residuals, Stage};
use crate::space::Space;
use crate::tableau::Tableau;

/// The steps of an integration, from which cotangents are pulled back.
struct Tape<S: Space> {
    tableau: Arc<Tableau>,
    steps: Vec<Step<S>>,
}

struct Step<S: Space> {
    /// Where in time it starts, and its length.
    t: f64,
    h: f64,
    first_index: u64,
    record: StepRecord<S>,
}

/// What a step leaves for its pullback.
enum StepRecord<S: Space> {
    Start(S::Array),
    Stages { start: S::Array, records: Vec<StageRecord<S>> },
}

struct StageRecord<S: Space> {
    /// `None` where it is the start of the step, or made again from it and from velocities that the block makes again.
    argument: Option<S::Array>,
    residuals: Residuals<S>,
    velocity: Option<S::Array>,
}

/// A given number of equal steps.
#[derive(Debug, Clone)]
pub struct FixedStep {
    tableau: Arc<Tableau>,
    steps: usize,
}

impl FixedStep {
    /// Integrates with `steps` equal steps.
    ///
    /// # Errors
    /// [`Error::Setting`] when `steps` is zero.
    pub fn new(tableau: Tableau, steps: usize) -> Result<Self, Error> {
        if steps == 0 {
            return Err(Error::setting("steps", steps, "at least 1"));
        }
        Ok(Self { tableau: Arc::new(tableau), steps })
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.steps
    }
}

impl<S: Space> Integrator<S> for FixedStep {
    fn solve(
        &self,
        space: &S,
        block: &mut dyn BlockField<S>,
        start: S::Array,
        span: Span,
        options: SolveOptions,
    ) -> Result<Solution<S>, Error> {
        let h = (span.to - span.from) / self.steps as f64;
        let mut work = Work::new(space, &self.tableau, &start, options);
        let (mut state, mut spare) = (start, None);
        let mut steps = Vec::new();
        for n in 0..self.steps {
            let t = span.from + n as f64 * h;
            let first_index = (n * self.tableau.stages()) as u64;
            let mut record = (options.backward == Some(Memory::Stages)).then(Vec::new);
            let mut after = spare.take().unwrap_or_else(|| space.empty_like(&state));
            work.stages(block, (t, h, first_index), &state, false, Some(&mut after), record.as_mut());
            work.add_figures(h);
            let start = std::mem::replace(&mut state, after);
            if options.backward.is_some() {
                let record = match record {
                    Some(records) => StepRecord::Stages { start, records },
                    None => StepRecord::Start(start),
                };
                steps.push(Step { t, h, first_index, record });
            } else {
                spare = Some(start);
            }
        }
        Ok(work.finish(state, options.backward.map(|_| Tape { tableau: self.tableau.clone(), steps })))
    }

    fn evaluations(&self) -> Option<usize> {
        Some(self.steps * self.tableau.stages())
    }

    fn level(&self) -> u64 {
        self.steps as u64
    }

    fn order(&self) -> f64 {
        self.tableau.order() as f64
    }

    fn at_level(&self, level: u64) -> Box<dyn Integrator<S>> {
        Box::new(Self { tableau: self.tableau.clone(), steps: level.max(1) as usize })
    }

    fn cache_key(&self) -> Option<CacheKey> {
        Some(CacheKey::new().with(self.steps as u64).with_key(&self.tableau.cache_key()))
    }

    fn describe(&self) -> String {
        format!("{} steps of {}", self.steps, self.tableau.name())
    }
}

/// Steps chosen so that the estimated error per step stays below `absolute + relative · |state|`,
/// for every row's root mean square, and likewise for every row's change of ln p.
///
/// Its tape holds the starts of the accepted steps, so that its pullback is the exact derivative on the mesh that was
/// taken.
#[derive(Debug, Clone)]
pub struct Adaptive {
    tableau: Arc<Tableau>,
    absolute: f64,
    relative: f64,
    max_steps: usize,
    level: u64,
    /// Level, absolute and relative tolerance that it was built with: those of another level are made of these alone, so that the way to
    /// a level does not matter.
    built: (u64, f64, f64),
}

impl Adaptive {
    /// Integrates with an embedded pair within the given tolerances and number of tried steps.
    ///
    /// # Errors
    /// [`Error::Setting`] when the method has no error estimate or a tolerance is not positive.
    pub fn new(tableau: Tableau, absolute: f64, relative: f64, max_steps: usize) -> Result<Self, Error> {
        if tableau.error().is_none() {
            return Err(Error::setting(
                "method",
                tableau.name(),
                "an embedded pair (tsit5 or dopri5) for adaptive steps",
            ));
        }
        for (name, value) in [("absolute tolerance", absolute), ("relative tolerance", relative)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::setting(name, value, "a positive number"));
            }
        }
        let level = ((1.0 / relative).round() as u64).max(1);
        let built = (level, absolute, relative);
        Ok(Self { tableau: Arc::new(tableau), absolute, relative, max_steps, level, built })
    }

    fn stopped(&self, time: f64, steps: usize, reason: &'static str) -> Error {
        Error::Adaptive { time, steps, reason, relative: self.relative, absolute: self.absolute }
    }

    /// Error of the step just evaluated, in units of the tolerances.
    fn error_norm<S: Space>(&self, work: &mut Work<'_, S>, h: f64, before: &S::Array, after: &S::Array) -> f64 {
        let weights = self.tableau.error().expect("checked when built");
        let (space, mut error) = (work.space, work.space.column_zeros(work.rows));
        let mut difference = work.spare.pop().unwrap_or_else(|| space.empty_like(before));
        space.accumulate(&mut difference, 0.0, &terms(h, weights, &work.velocity));
        let state = space.scaled_error(&difference, before, after, self.absolute, self.relative);
        work.spare.push(difference);
        space.column_accumulate(&mut error, 0.0, &terms(h, weights, &work.laplacian));
        let total = space.download_column(&work.log_density);
        let log_density = space
            .download_column(&error)
            .iter()
            .zip(total)
            .map(|(e, l)| e.abs() / (self.absolute + self.relative * l.abs()))
            .fold(0.0, nan_max);
        nan_max(state, log_density)
    }
}

/// The greater number, or NaN where either is.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

impl<S: Space> Integrator<S> for Adaptive {
    fn solve(
        &self,
        space: &S,
        block: &mut dyn BlockField<S>,
        start: S::Array,
        span: Span,
        options: SolveOptions,
    ) -> Result<Solution<S>, Error> {
        let length = span.to - span.from;
        let mut work = Work::new(space, &self.tableau, &start, options);
        let mut after = start.clone();
        let mut state = start;
        let (mut t, mut h) = (span.from, 0.01 * length);
        let (mut steps, mut tried, mut reuse) = (Vec::new(), 0, false);
        while t != span.to {
            if tried == self.max_steps {
                return Err(self.stopped(t, tried, "too many steps"));
            }
            if h.abs() < 16.0 * f64::EPSILON * span.from.abs().max(span.to.abs()) {
                return Err(self.stopped(t, tried, "the step became too small"));
            }
            let last = (span.to - t).abs() <= h.abs() * (1.0 + 1e-9);
            if last {
                h = span.to - t;
            }
            let first_index = (tried * self.tableau.stages()) as u64;
            work.stages(block, (t, h, first_index), &state, reuse, Some(&mut after), None);
            tried += 1;
            let error = self.error_norm(&mut work, h, &state, &after);
            if error <= 1.0 {
                if options.backward.is_some() {
                    steps.push(Step { t, h, first_index, record: StepRecord::Start(state.clone()) });
                }
                work.add_figures(h);
                std::mem::swap(&mut state, &mut after);
                reuse = work.hand_over_last_stage();
                t = if last { span.to } else { t + h };
            } else {
                reuse = work.first_is_valid;
            }
            h *= if error.is_nan() {
                0.1
            } else {
                (0.9 * error.powf(-1.0 / self.tableau.order() as f64)).clamp(0.2, 5.0)
            };
        }
        Ok(work.finish(state, options.backward.map(|_| Tape { tableau: self.tableau.clone(), steps })))
    }

    fn evaluations(&self) -> Option<usize> {
        None
    }

    /// One over the relative tolerance.
    fn level(&self) -> u64 {
        self.level
    }

    fn order(&self) -> f64 {
        1.0
    }

    fn at_level(&self, level: u64) -> Box<dyn Integrator<S>> {
        let (built, absolute, relative) = self.built;
        let (level, factor) = (level.max(1), level.max(1) as f64 / built as f64);
        Box::new(Self { absolute: absolute / factor, relative: relative / factor, level, ..self.clone() })
    }

    fn level_step(&self) -> u64 {
        10
    }

    fn describe(&self) -> String {
        format!("{} with rtol {:e}, atol {:e}", self.tableau.name(), self.relative, self.absolute)
    }
}

/// `(h · w_i, array_i)` for all non-zero weights.
fn terms<'a, A>(h: f64, weights: &[f64], arrays: &'a [A]) -> Vec<(f64, &'a A)> {
    weights.iter().zip(arrays).filter(|(w, _)| **w != 0.0).map(|(w, a)| (h * w, a)).collect()
}

/// Evaluation `i` of the step of length h at t.
fn stage(tableau: &Tableau, i: usize, t: f64, h: f64, first_index: u64) -> Stage {
    Stage { t: t + tableau.c()[i] * h, index: first_index + i as u64 }
}

/// Velocities, Laplacians and scratch of one block of rows.
struct Work<'a, S: Space> {
    space: &'a S,
    tableau: &'a Tableau,
    rows: usize,
    velocity: Vec<S::Array>,
    /// Room for arguments that are not kept.
    spare: Vec<S::Array>,
    laplacian: Vec<S::Column>,
    log_density: S::Column,
    squares: Option<(S::Column, S::Column)>,
    keep_velocity: bool,
    first_is_valid: bool,
}

impl<'a, S: Space> Work<'a, S> {
    fn new(space: &'a S, tableau: &'a Tableau, state: &S::Array, options: SolveOptions) -> Self {
        let (rows, cols) = space.shape(state);
        Self {
            space,
            tableau,
            rows,
            spare: Vec::new(),
            velocity: (0..tableau.stages()).map(|_| space.zeros(rows, cols)).collect(),
            laplacian: (0..tableau.stages()).map(|_| space.column_zeros(rows)).collect(),
            log_density: space.column_zeros(rows),
            squares: options.cost.then(|| (space.column_zeros(rows), space.column_zeros(rows))),
            keep_velocity: options.cost,
            first_is_valid: false,
        }
    }

    /// Evaluates the stages of one step, and the state `after` it where that is wanted; with `reuse` the first velocity
    /// is already there.
    fn stages(
        &mut self,
        block: &mut dyn BlockField<S>,
        (t, h, first_index): (f64, f64, u64),
        start: &S::Array,
        reuse: bool,
        mut after: Option<&mut S::Array>,
        mut record: Option<&mut Vec<StageRecord<S>>>,
    ) {
        let (space, tableau) = (self.space, self.tableau);
        let keep = record.is_some() && block.recompute_velocity().is_none();
        let mut argument = None;
        if reuse && tableau.stages() > 1 {
            let of_second = terms(h, &tableau.a(1)[..1], &self.velocity);
            space.combine(
                argument.insert(self.spare.pop().unwrap_or_else(|| space.empty_like(start))),
                start,
                &of_second,
            );
        }
        for i in usize::from(reuse)..tableau.stages() {
            let (earlier, later) = self.velocity.split_at_mut(i);
            // What comes of this velocity: the argument of the next stage, or the state after the step.
            let last = i + 1 == tableau.stages();
            let weights = if last { tableau.b() } else { tableau.a(i + 1) };
            let spare = if keep || last { None } else { self.spare.pop() };
            let mut next = (!last).then(|| spare.unwrap_or_else(|| space.empty_like(start)));
            let terms = terms(h, &weights[..i], earlier);
            let update = |out| FusedUpdate { space, out, base: start, terms: &terms, c: h * weights[i] };
            let update = if last { after.as_deref_mut() } else { next.as_mut() }.map(update);
            let mut residuals = record.is_some().then(Vec::new);
            let (stage, laplacian) = (stage(tableau, i, t, h, first_index), Some(&mut self.laplacian[i]));
            let from = argument.as_ref().unwrap_or(start);
            block.evaluate_and_update(stage, from, &mut later[0], laplacian, residuals.as_mut(), update);
            let mut used = std::mem::replace(&mut argument, next);
            if let (Some(record), Some(residuals)) = (record.as_deref_mut(), residuals) {
                let velocity = self.keep_velocity.then(|| later[0].clone());
                record.push(StageRecord { argument: used.take_if(|_| keep), residuals, velocity });
            }
            self.spare.extend(used);
        }
        self.first_is_valid = true;
    }

    /// Adds the step's share of ln p and transport cost.
    fn add_figures(&mut self, h: f64) {
        self.space.column_accumulate(&mut self.log_density, 1.0, &terms(-h, self.tableau.b(), &self.laplacian));
        if let Some((cost, square)) = &mut self.squares {
            for (b, velocity) in self.tableau.b().iter().zip(&self.velocity) {
                self.space.row_dot(square, velocity, velocity);
                self.space.column_accumulate(cost, 1.0, &[(0.5 * h.abs() * b, square)]);
            }
        }
    }

    /// Makes the last stage the first of the next step where the method allows it; says whether it did.
    fn hand_over_last_stage(&mut self) -> bool {
        let last = self.tableau.stages() - 1;
        let hand_over = self.tableau.first_same_as_last();
        if hand_over {
            self.velocity.swap(0, last);
            self.laplacian.swap(0, last);
        }
        self.first_is_valid = hand_over;
        hand_over
    }

    fn finish(self, state: S::Array, tape: Option<Tape<S>>) -> Solution<S> {
        let backward = tape.map(|tape| Box::new(tape) as Box<dyn Backward<S>>);
        Solution { state, log_density: self.log_density, cost: self.squares.map(|(cost, _)| cost), backward }
    }
}

/// Work space for the arguments of stages that were not kept.
struct Recomputed<'a, S: Space> {
    space: &'a S,
    tableau: &'a Tableau,
    velocity: Vec<S::Array>,
    argument: Vec<S::Array>,
}

impl<'a, S: Space> Recomputed<'a, S> {
    fn new(space: &'a S, tableau: &'a Tableau, state: &S::Array) -> Self {
        let (rows, cols) = space.shape(state);
        let arrays = || (1..tableau.stages()).map(|_| space.zeros(rows, cols)).collect();
        Self { space, tableau, velocity: arrays(), argument: arrays() }
    }

    /// The arguments of all stages of a step, from its start and the velocities that the block makes again.
    fn arguments<'b>(
        &'b mut self,
        recompute: &dyn RecomputeVelocity<S>,
        (t, h, first_index): (f64, f64, u64),
        start: &'b S::Array,
        records: &[StageRecord<S>],
    ) -> Vec<&'b S::Array> {
        for (i, argument) in (1..).zip(&mut self.argument) {
            let stage = stage(self.tableau, i - 1, t, h, first_index);
            recompute.velocity(stage, &records[i - 1].residuals, &mut self.velocity[i - 1]);
            self.space.combine(argument, start, &terms(h, self.tableau.a(i), &self.velocity));
        }
        std::iter::once(start).chain(&self.argument).collect()
    }
}

impl<S: Space> Backward<S> for Tape<S> {
    /// ln p and the cost never feed back into the state, so every explicit method needs the field's pullback alone.
    fn pull_back(self: Box<Self>, space: &S, block: &mut dyn BlockField<S>, bar: SolutionCotangent<S>) -> S::Array {
        let Self { tableau, steps } = *self;
        let tableau = &*tableau;
        let stages = tableau.stages();
        let SolutionCotangent { state: mut state_bar, log_density, cost } = bar;
        let (rows, cols) = space.shape(&state_bar);
        let mut velocity_bar = space.zeros(rows, cols);
        // Of every stage of a step, made anew where the length of the step changes.
        let mut laplacian_bar: Vec<_> = (0..stages).map(|_| space.column_zeros(rows)).collect();
        let mut length = f64::NAN;
        let mut argument_bar: Vec<_> = (0..stages).map(|_| space.zeros(rows, cols)).collect();
        let (mut replay, mut recomputed) = (None, None);
        for Step { t, h, first_index, record } in steps.into_iter().rev() {
            let (start, records) = match record {
                StepRecord::Stages { start, records } => (start, records),
                StepRecord::Start(start) => {
                    let options = SolveOptions { backward: None, cost: cost.is_some() };
                    let work = replay.get_or_insert_with(|| Work::new(space, tableau, &start, options));
                    let mut records = Vec::with_capacity(stages);
                    work.stages(block, (t, h, first_index), &start, false, None, Some(&mut records));
                    (start, records)
                }
            };
            let arguments =
                match block.recompute_velocity() {
                    None => records.iter().map(|record| record.argument.as_ref().unwrap_or(&start)).collect(),
                    Some(recompute) => recomputed
                        .get_or_insert_with(|| Recomputed::new(space, tableau, &start))
                        .arguments(recompute, (t, h, first_index), &start, &records),
                };
            if h != length {
                for (b, bar) in tableau.b().iter().zip(&mut laplacian_bar) {
                    space.column_accumulate(bar, 0.0, &[(-h * b, &log_density)]);
                }
                length = h;
            }
            for i in (0..stages).rev() {
                let b = tableau.b()[i];
                // Velocity i enters the step with weight h·b_i and the argument of every later stage j with h·a_ji.
                let (earlier, later) = argument_bar.split_at_mut(i + 1);
                let later = (i + 1..stages).map(|j| h * tableau.a(j)[i]).zip(&*later);
                let into: Vec<_> =
                    std::iter::once((h * b, &state_bar)).chain(later).filter(|(c, _)| *c != 0.0).collect();
                let (stage, argument, record) = (stage(tableau, i, t, h, first_index), arguments[i], &records[i]);
                let (l_bar, room, out) = (Some(&laplacian_bar[i]), &mut velocity_bar, Some(&mut earlier[i]));
                if let (Some(cost), Some(velocity)) = (&cost, &record.velocity) {
                    space.accumulate(room, 0.0, &into);
                    space.accumulate_scaled_rows(room, h.abs() * b, cost, velocity);
                    block.pullback(stage, argument, &record.residuals, room, l_bar, out);
                } else {
                    block.pullback_of_sum(space, stage, argument, &record.residuals, &into, room, l_bar, out);
                }
            }
            let all: Vec<_> = argument_bar.iter().map(|a| (1.0, a)).collect();
            space.accumulate(&mut state_bar, 1.0, &all);
        }
        state_bar
    }
}
