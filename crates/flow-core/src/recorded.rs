//! Solves that a device repeats on its own: recorded at the second time, from then on without a word of theirs from the host.
//!
//! At the sizes of a training step the host takes longer to ask for a thousand small operations than a device to do them. What a solve
//! asks for is the same at every step of a training but for the numbers that go in, so a device that can is asked once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::objective::Ends;
use crate::score::ones;
use crate::{
    Coordinates, Error, Field, Flow, Memory, Outcome, Scored, Solution, SolutionCotangent, Solve, SolveOptions, Space,
    Span, Tableau, adjoint,
};

/// Work that a device can do again.
pub trait Repeat: Send {
    /// Does it again, with what the arrays that it reads hold now.
    fn repeat(&self);
}

/// A device that records.
pub trait Record<S: Space>: Send + Sync {
    /// Does work that is nothing but operations on arrays, and remembers it. Arrays that are made on the way stay what they are for as
    /// long as what is returned lives.
    fn record(&self, work: &mut dyn FnMut()) -> Box<dyn Repeat>;

    /// Overwrites an array with host numbers, row by row.
    fn refill(&self, array: &mut S::Array, values: &[f64]);

    /// Where an array lies: no two that exist at a time share an address.
    fn address(&self, array: &S::Array) -> usize;

    /// A number for what else is set in the process that operations depend on, and that recorded ones keep to.
    fn mode(&self) -> u64;
}

/// The solves recorded on a device, the last [`Recorder::MOST`] of them.
pub struct Recorder<S: Space> {
    device: Box<dyn Record<S>>,
    known: Mutex<Vec<Known<S>>>,
    repeated: AtomicU64,
}

/// A solve that was seen once, or recorded.
struct Known<S: Space> {
    key: Key,
    recorded: Option<Recorded<S>>,
}

/// What has to be the same for a solve to be the same but for its numbers.
#[derive(PartialEq)]
struct Key {
    mode: u64,
    potential: u64,
    /// Addresses of the parameters.
    parameters: Vec<usize>,
    integrator: String,
    tableau: Tableau,
    span: Span,
    coordinates: Coordinates,
    rows: usize,
    way: Way,
}

/// What a solve is for.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Points, ln p and, where wanted, the transport cost.
    There { cost: bool },
    /// The same, and the gradient by way of what is kept, for cotangents of ln p and, where wanted, of the cost.
    AndBack { tape: Memory, log_density_bar: f64, cost_bar: Option<f64> },
    /// Points, ln p and scores.
    Scored,
}

/// The way there, and back where there is a gradient.
struct Recorded<S: Space> {
    /// Points, and scores where those are carried.
    start: Vec<S::Array>,
    /// What was drawn for the potential, where it was told.
    chosen: Option<S::Array>,
    freeze: Box<dyn Repeat>,
    way: RecordedWay<S>,
}

/// What follows the freezing of the potential.
struct RecordedWay<S: Space> {
    there: Box<dyn Repeat>,
    end: End<S>,
    back: Option<Back<S>>,
    /// Columns that never change, kept for the recorded work to read.
    _constant: Vec<S::Column>,
}

/// What a solve leaves on the device.
struct End<S: Space> {
    x: S::Array,
    log_density: S::Column,
    cost: Option<S::Column>,
    score: Option<S::Array>,
}

struct Back<S: Space> {
    x_bar: S::Array,
    back: Box<dyn Repeat>,
    gradient: Vec<S::Array>,
}

/// A solve, repeated or while it is recorded: losses and cotangents of the end as `meet` finds them, and the gradient.
struct Found<S: Space> {
    arrived: Arrived,
    losses: Vec<f64>,
    gradient: Option<Vec<S::Array>>,
}

/// From the end of a solve to losses and cotangents of x.
type Meet<'a> = &'a dyn Fn(&Arrived) -> (Vec<f64>, Vec<f64>);

/// What a solve found at its end, on the host.
pub(crate) struct Arrived {
    /// `rows × dim`.
    pub x: Vec<f64>,
    /// Change of ln p, per row.
    pub log_density: Vec<f64>,
    /// Transport cost per row, zeros where it was not wanted.
    pub cost: Vec<f64>,
    /// `rows × dim` where it was carried, or nothing.
    pub score: Vec<f64>,
}

impl<S: Space> Recorder<S> {
    /// The most solves that are kept.
    pub const MOST: usize = 8;
    /// The most of them with a gradient, whose memory is many times that of the others.
    pub const MOST_WITH_GRADIENT: usize = 2;

    /// Nothing recorded yet.
    pub fn new(device: Box<dyn Record<S>>) -> Self {
        Self { device, known: Mutex::new(Vec::new()), repeated: AtomicU64::new(0) }
    }

    /// Solves repeated so far: the proof that they were.
    pub fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// The solve of all rows of `batch` over a span of time, without gradient; `None` where it has to be done in the ordinary way.
    pub(crate) fn carry(
        &self,
        flow: &Flow<'_, S>,
        batch: &[f64],
        span: Span,
        solve: &Solve,
    ) -> Result<Option<Arrived>, Error> {
        let way = Way::There { cost: false };
        let found = self.solve(&Asked { flow, start: &[batch], span, solve, way, meet: &|_| Default::default() })?;
        Ok(found.map(|found| found.arrived))
    }

    /// [`Flow::carry_score`]; `None` as above.
    pub(crate) fn carry_score(
        &self,
        flow: &Flow<'_, S>,
        points_and_scores: [&[f64]; 2],
        span: Span,
        solve: &Solve,
    ) -> Result<Option<Scored>, Error> {
        let (start, way) = (&points_and_scores, Way::Scored);
        let found = self.solve(&Asked { flow, start, span, solve, way, meet: &|_| Default::default() })?;
        Ok(found.map(|Found { arrived: Arrived { x, log_density, score, .. }, .. }| Scored { x, log_density, score }))
    }

    /// Losses and gradient of an objective that integrates; `None` as above.
    pub(crate) fn simulate(
        &self,
        flow: &Flow<'_, S>,
        batch: &[f64],
        solve: &Solve,
        gradient: bool,
        ends: &Ends<'_>,
    ) -> Result<Option<Outcome<S>>, Error> {
        let (weight, cost) = (1.0 / solve.rows as f64, ends.transport_cost != 0.0);
        let way = if gradient {
            let cost_bar = cost.then_some(ends.transport_cost * weight);
            Way::AndBack { tape: flow.memory, log_density_bar: ends.log_density_bar(weight), cost_bar }
        } else {
            Way::There { cost }
        };
        let meet = |arrived: &Arrived| ends.meet(batch, 0..batch.len(), arrived, weight);
        let span = flow.span(ends.direction);
        let found = self.solve(&Asked { flow, start: &[batch], span, solve, way, meet: &meet })?;
        Ok(found.map(|Found { losses, gradient, .. }| Outcome { losses, gradient }))
    }

    fn solve(&self, asked: &Asked<'_, '_, S>) -> Result<Option<Found<S>>, Error> {
        let device = &*self.device;
        let Some(key) = asked.key(device) else { return Ok(None) };
        // Another thread's solve does not wait for this one's.
        let Ok(mut known) = self.known.try_lock() else { return Ok(None) };
        let Some(i) = known.iter().position(|known| known.key == key) else {
            if known.len() == Self::MOST {
                known.remove(0);
            }
            known.push(Known { key, recorded: None });
            return Ok(None);
        };
        // The one used last is the last to go.
        let mut this = known.remove(i);
        let found = match &mut this.recorded {
            Some(recorded) => {
                self.repeated.fetch_add(1, Ordering::Relaxed);
                recorded.again(device, asked)
            }
            None => {
                if matches!(asked.way, Way::AndBack { .. }) {
                    make_room(&mut known);
                }
                let (recorded, found) = asked.record(device)?;
                this.recorded = Some(recorded);
                found
            }
        };
        known.push(this);
        Ok(Some(found))
    }
}

/// A solve that is asked for.
struct Asked<'a, 'f, S: Space> {
    flow: &'a Flow<'f, S>,
    /// Points, and scores where those are carried.
    start: &'a [&'a [f64]],
    span: Span,
    solve: &'a Solve,
    way: Way,
    meet: Meet<'a>,
}

impl<S: Space> Asked<'_, '_, S> {
    /// What to know the solve by; `None` where it cannot be recorded.
    fn key(&self, device: &dyn Record<S>) -> Option<Key> {
        let Flow { potential, integrator, .. } = *self.flow;
        integrator.evaluations().filter(|_| self.solve.rows > 0)?;
        Some(Key {
            mode: device.mode(),
            potential: potential.identity().or_else(|| Some(potential.chooses()?.told_identity()))?,
            parameters: potential.parameters().into_iter().map(|p| device.address(&p.value)).collect(),
            integrator: integrator.describe(),
            tableau: integrator.tableau().clone(),
            span: self.span,
            coordinates: self.solve.coordinates,
            rows: self.solve.rows,
            way: self.way,
        })
    }

    /// What the potential draws, where it can be told.
    fn chosen(&self) -> Option<Vec<f64>> {
        Some(self.flow.potential.chooses()?.choose(self.solve, self.flow.integrator.evaluations()?))
    }

    /// Records the solve while it is done.
    fn record(&self, device: &dyn Record<S>) -> Result<(Recorded<S>, Found<S>), Error> {
        let (Flow { space, potential, .. }, rows) = (*self.flow, self.solve.rows);
        let start: Vec<_> = self.start.iter().map(|values| space.upload(rows, potential.dim(), values)).collect();
        let chosen = self.chosen().map(|values| space.upload(rows, values.len() / rows, &values));
        let mut field = None;
        let freeze = device.record(&mut || {
            field = Some(match potential.chooses().zip(chosen.as_ref()) {
                Some((chooses, chosen)) => chooses.freeze_with(self.solve, chosen),
                None => potential.freeze(self.solve),
            });
        });
        let field = field.expect("the work was done");
        let (way, found) = match self.way {
            Way::Scored => self.record_scored(device, &*field, &start)?,
            Way::There { cost } => self.record_solve(device, &*field, &start[0], SolveOptions { tape: None, cost })?,
            Way::AndBack { tape, cost_bar, .. } => {
                let wanted = SolveOptions { tape: Some(tape), cost: cost_bar.is_some() };
                self.record_solve(device, &*field, &start[0], wanted)?
            }
        };
        drop(field);
        Ok((Recorded { start, chosen, freeze, way }, found))
    }

    /// Points with their scores.
    fn record_scored(
        &self,
        device: &dyn Record<S>,
        field: &dyn Field<S>,
        start: &[S::Array],
    ) -> Result<(RecordedWay<S>, Found<S>), Error> {
        let (space, rows) = (self.flow.space, self.solve.rows);
        let (ones, mut end) = (ones(space, rows), None);
        let there = device.record(&mut || {
            let start = [start[0].clone(), start[1].clone()];
            end = Some(self.flow.carry_scored_block(field, 0..rows, start, ones.clone(), self.span));
        });
        let ([x, score], log_density) = end.expect("the work was done")?;
        let end = End { x, log_density, cost: None, score: Some(score) };
        let found = Found { arrived: end.fetch(space), losses: Vec::new(), gradient: None };
        Ok((RecordedWay { there, end, back: None, _constant: vec![ones] }, found))
    }

    /// The way there, and back where there is a tape.
    fn record_solve(
        &self,
        device: &dyn Record<S>,
        field: &dyn Field<S>,
        start: &S::Array,
        wanted: SolveOptions,
    ) -> Result<(RecordedWay<S>, Found<S>), Error> {
        let (Flow { space, integrator, .. }, rows) = (*self.flow, self.solve.rows);
        let mut end = None;
        let there = device.record(&mut || {
            let (mut chart, state) = field.enter(0..rows, start.clone());
            let passage = integrator.flow(space, &mut *chart, state, self.span, wanted);
            end = Some(passage.map(|passage| {
                let x = chart.leave(passage.state.clone());
                (chart, passage, x)
            }));
        });
        let (chart, Solution { state, log_density, cost, tape, .. }, x) = end.expect("the work was done")?;
        let end = End { x, log_density, cost, score: None };
        let arrived = end.fetch(space);
        let (losses, x_bar) = (self.meet)(&arrived);
        let (mut constant, mut back) = (Vec::new(), None);
        if let (Some(tape), Way::AndBack { log_density_bar, cost_bar, .. }) = (tape, self.way) {
            let x_bar = space.upload(rows, self.flow.potential.dim(), &x_bar);
            let column = |of: f64| space.upload_column(&vec![of; rows]);
            constant = std::iter::once(log_density_bar).chain(cost_bar).map(column).collect();
            let (mut rest, mut gradient) = (Some((chart, tape)), Vec::new());
            let recorded = device.record(&mut || {
                let (mut chart, tape) = rest.take().expect("the work is done once");
                let bar = SolutionCotangent {
                    state: chart.leave_pullback(&state, x_bar.clone()),
                    log_density: constant[0].clone(),
                    cost: constant.get(1).cloned(),
                };
                let state_bar = adjoint(space, integrator.tableau(), &mut *chart, tape, bar);
                gradient = field.gradient(chart.enter_pullback(state_bar).1);
            });
            back = Some(Back { x_bar, back: recorded, gradient });
        }
        let gradient = back.as_ref().map(|back| back.gradient.clone());
        Ok((RecordedWay { there, end, back, _constant: constant }, Found { arrived, losses, gradient }))
    }
}

/// Lets go of the oldest solves with a gradient until there may be one more.
fn make_room<S: Space>(known: &mut Vec<Known<S>>) {
    let with_gradient = |known: &Known<S>| known.recorded.as_ref().is_some_and(|recorded| recorded.way.back.is_some());
    while known.iter().filter(|known| with_gradient(known)).count() >= Recorder::<S>::MOST_WITH_GRADIENT {
        let oldest = known.iter().position(with_gradient).expect("there are some");
        known.remove(oldest);
    }
}

impl<S: Space> Recorded<S> {
    fn again(&mut self, device: &dyn Record<S>, asked: &Asked<'_, '_, S>) -> Found<S> {
        let chosen = asked.chosen();
        debug_assert_eq!(self.chosen.is_some(), chosen.is_some(), "the key says whether something is drawn");
        let arrays = self.start.iter_mut().chain(&mut self.chosen);
        for (array, values) in arrays.zip(asked.start.iter().copied().chain(chosen.as_deref())) {
            device.refill(array, values);
        }
        self.freeze.repeat();
        self.way.there.repeat();
        let arrived = self.way.end.fetch(asked.flow.space);
        let (losses, x_bar) = (asked.meet)(&arrived);
        let gradient = self.way.back.as_mut().map(|back| {
            device.refill(&mut back.x_bar, &x_bar);
            back.back.repeat();
            back.gradient.clone()
        });
        Found { arrived, losses, gradient }
    }
}

impl<S: Space> End<S> {
    /// Waits for the device.
    fn fetch(&self, space: &S) -> Arrived {
        let arrived = Arrived::fetch(space, &self.x, &self.log_density, self.cost.as_ref());
        Arrived { score: self.score.as_ref().map_or_else(Vec::new, |score| space.download(score)), ..arrived }
    }
}

impl Arrived {
    /// Waits for the device. There is no score.
    pub fn fetch<S: Space>(space: &S, x: &S::Array, log_density: &S::Column, cost: Option<&S::Column>) -> Self {
        let (x, log_density) = (space.download(x), space.download_column(log_density));
        let cost = cost.map_or_else(|| vec![0.0; log_density.len()], |cost| space.download_column(cost));
        Self { x, log_density, cost, score: Vec::new() }
    }
}
