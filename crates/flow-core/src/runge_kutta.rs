//! Explicit Runge-Kutta steps, fixed and adaptive, with their exact discrete adjoint.

use std::sync::Arc;

use crate::cache_key::CacheKey;
use crate::continuous::ContinuousAdjoint;
use crate::error::Error;
use crate::integrate::{Backward, Integrator, Memory, Solution, SolutionCotangent, SolveOptions, Span};
use crate::potential::BlockField;
use crate::space::Space;
use crate::stages::{Figures, IncrementCotangent, StageRecord, StepOutputs, StepPullback, Work, terms};
use crate::tableau::Tableau;

/// The steps of an integration, from which cotangents are pulled back.
struct Tape<S: Space> {
    tableau: Arc<Tableau>,
    steps: Vec<Step<S>>,
    /// Whether the steps were made without Laplacians.
    points_only: bool,
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
        let mut figures = Figures::zeros(space, space.shape(&start).0, options);
        let (mut state, mut spare) = (start, None);
        let keeps = matches!(options.backward, Some(Memory::Stages | Memory::Recompute));
        let mut steps = Vec::new();
        for n in 0..self.steps {
            let t = span.from + n as f64 * h;
            let first_index = (n * self.tableau.stages()) as u64;
            let mut record = (options.backward == Some(Memory::Stages)).then(Vec::new);
            let mut after = spare.take().unwrap_or_else(|| space.empty_like(&state));
            let out = StepOutputs { after: Some(&mut after), record: record.as_mut() };
            work.stages(block, (t, h, first_index), &state, false, out);
            work.add_figures(h, &mut figures);
            let start = std::mem::replace(&mut state, after);
            if keeps {
                let record = match record {
                    Some(records) => StepRecord::Stages { start, records },
                    None => StepRecord::Start(start),
                };
                steps.push(Step { t, h, first_index, record });
            } else {
                spare = Some(start);
            }
        }
        let tableau = self.tableau.clone();
        let backward: Option<Box<dyn Backward<S>>> = match options.backward {
            None => None,
            Some(Memory::Continuous) => {
                let (state, steps) = (state.clone(), self.steps);
                Some(Box::new(ContinuousAdjoint { tableau, state, span, steps }))
            }
            Some(Memory::Stages | Memory::Recompute) => {
                Some(Box::new(Tape { tableau, steps, points_only: options.points_only }))
            }
        };
        let Figures { log_density, cost } = figures;
        Ok(Solution { state, log_density, cost, backward })
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
    /// Level, absolute and relative tolerance that it was built with: those of another level are made of these alone,
    /// so that the way to a level does not matter.
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
    fn error_norm<S: Space>(
        &self,
        work: &mut Work<'_, S>,
        h: f64,
        [before, after]: [&S::Array; 2],
        log_density: &S::Column,
    ) -> f64 {
        let weights = self.tableau.error().expect("checked when built");
        let space = work.space;
        let mut error = space.column_zeros(space.shape(before).0);
        let mut difference = work.spare.pop().unwrap_or_else(|| space.empty_like(before));
        space.accumulate(&mut difference, 0.0, &terms(h, weights, &work.velocity));
        let state = space.scaled_error(&difference, before, after, self.absolute, self.relative);
        work.spare.push(difference);
        space.column_accumulate(&mut error, 0.0, &terms(h, weights, &work.laplacian));
        let total = space.download_column(log_density);
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
        // ln p has a part in the choice of steps.
        let options = SolveOptions { points_only: false, ..options };
        let mut work = Work::new(space, &self.tableau, &start, options);
        let mut figures = Figures::zeros(space, space.shape(&start).0, options);
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
            work.stages(block, (t, h, first_index), &state, reuse, StepOutputs::after(&mut after));
            tried += 1;
            let error = self.error_norm(&mut work, h, [&state, &after], &figures.log_density);
            if error <= 1.0 {
                if options.backward.is_some() {
                    steps.push(Step { t, h, first_index, record: StepRecord::Start(state.clone()) });
                }
                work.add_figures(h, &mut figures);
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
        let tape = Tape { tableau: self.tableau.clone(), steps, points_only: false };
        let backward = options.backward.map(|_| Box::new(tape) as Box<dyn Backward<S>>);
        let Figures { log_density, cost } = figures;
        Ok(Solution { state, log_density, cost, backward })
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
        // A tolerance that was refined by a factor is the nearest number to one with few digits.
        let [relative, absolute] = [self.relative, self.absolute].map(|x| format!("{x:.2e}").parse().unwrap_or(x));
        format!("{} with rtol {relative:e}, atol {absolute:e}", self.tableau.name())
    }
}

impl<S: Space> Backward<S> for Tape<S> {
    fn pull_back(self: Box<Self>, space: &S, block: &mut dyn BlockField<S>, bar: SolutionCotangent<S>) -> S::Array {
        let Self { tableau, steps, points_only } = *self;
        let SolutionCotangent { state: mut state_bar, log_density, cost } = bar;
        let mut pullback = StepPullback::new(space, &tableau, &state_bar);
        let mut replay = None;
        for Step { t, h, first_index, record } in steps.into_iter().rev() {
            let at = (t, h, first_index);
            let (start, records) = match record {
                StepRecord::Stages { start, records } => (start, records),
                StepRecord::Start(start) => {
                    let options = SolveOptions { backward: None, cost: cost.is_some(), points_only };
                    let work = replay.get_or_insert_with(|| Work::new(space, &tableau, &start, options));
                    let records = work.recorded(block, at, &start, None);
                    (start, records)
                }
            };
            let (state, cost) = (&state_bar, cost.as_ref());
            let log_density = (!points_only).then_some(&log_density);
            let bar = IncrementCotangent { h, state, share: 1.0, log_density, cost };
            pullback.pull_back(block, at, &start, &records, bar);
            pullback.add_to(&mut state_bar);
        }
        state_bar
    }
}
