//! Solves that a device repeats on its own: recorded at the second time, from then on without a word of theirs from the host.
//!
//! At the sizes of a training step the host takes longer to ask for a thousand small operations than a device to do them. What a solve
//! asks for is the same at every step of a training but for the numbers that go in, so a device that can is asked once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::objective::Ends;
use crate::{Coordinates, Error, Flow, Memory, Outcome, PassageBar, Solve, Space, Span, Wanted, adjoint};

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
    potential: u64,
    /// Addresses of the parameters.
    parameters: Vec<usize>,
    integrator: String,
    span: Span,
    coordinates: Coordinates,
    rows: usize,
    cost: bool,
    /// What is kept for the gradient, where there is one.
    tape: Option<Memory>,
}

/// The way there, and back where there is a gradient.
struct Recorded<S: Space> {
    start: S::Array,
    freeze: Box<dyn Repeat>,
    there: Box<dyn Repeat>,
    x: S::Array,
    log_density: S::Column,
    cost: Option<S::Column>,
    back: Option<Back<S>>,
}

struct Back<S: Space> {
    x_bar: S::Array,
    /// Cotangents that never change, kept for the recorded work to read.
    _constant: (S::Column, Option<S::Column>),
    back: Box<dyn Repeat>,
    gradient: Vec<S::Array>,
}

/// What a solve found at its end, on the host.
pub(crate) struct Arrived {
    /// `rows × dim`.
    pub x: Vec<f64>,
    /// Change of ln p, per row.
    pub log_density: Vec<f64>,
    /// Transport cost per row, zeros where it was not wanted.
    pub cost: Vec<f64>,
}

impl<S: Space> Recorder<S> {
    /// The most solves that are kept.
    pub const MOST: usize = 6;

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
        let end = |_: &Arrived| (Vec::new(), Vec::new());
        Ok(self.solve(flow, batch, span, solve, None, end)?.map(|(arrived, ..)| arrived))
    }

    /// Losses and gradient of an objective that integrates; `None` where they have to be found in the ordinary way.
    pub(crate) fn simulate(
        &self,
        flow: &Flow<'_, S>,
        batch: &[f64],
        solve: &Solve,
        gradient: bool,
        ends: &Ends<'_>,
    ) -> Result<Option<Outcome<S>>, Error> {
        if ends.score.is_some() {
            return Ok(None);
        }
        let (weight, span) = (1.0 / solve.rows as f64, flow.span(ends.direction));
        let cost = (ends.transport_cost != 0.0).then_some(ends.transport_cost * weight);
        let back = Some(Way { cost, gradient, weight });
        let end = |arrived: &Arrived| ends.meet(batch, arrived, weight);
        let found = self.solve(flow, batch, span, solve, back, end)?;
        Ok(found.map(|(_, losses, gradient)| Outcome { losses, gradient }))
    }

    #[allow(clippy::type_complexity, reason = "named parts would be used once")]
    fn solve(
        &self,
        flow: &Flow<'_, S>,
        batch: &[f64],
        span: Span,
        solve: &Solve,
        way: Option<Way>,
        end: impl Fn(&Arrived) -> (Vec<f64>, Vec<f64>),
    ) -> Result<Option<(Arrived, Vec<f64>, Option<Vec<S::Array>>)>, Error> {
        let way = way.unwrap_or(Way { cost: None, gradient: false, weight: 0.0 });
        let Some(potential) = flow.potential.identity().filter(|_| !flow.integrator.adaptive() && solve.rows > 0)
        else {
            return Ok(None);
        };
        // Another thread's solve does not wait for this one's.
        let Ok(mut known) = self.known.try_lock() else { return Ok(None) };
        let key = Key {
            potential,
            parameters: flow.potential.parameters().iter().map(|p| self.device.address(&p.value)).collect(),
            integrator: flow.integrator.describe(),
            span,
            coordinates: solve.coordinates,
            rows: solve.rows,
            cost: way.cost.is_some(),
            tape: way.gradient.then_some(flow.memory),
        };
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
                recorded.again(&*self.device, flow.space, batch, end)
            }
            None => {
                let (recorded, found) = self.first(flow, batch, span, solve, way, end)?;
                this.recorded = Some(recorded);
                found
            }
        };
        known.push(this);
        Ok(Some(found))
    }

    /// Records a solve while it is done.
    #[allow(clippy::type_complexity, reason = "as above")]
    fn first(
        &self,
        flow: &Flow<'_, S>,
        batch: &[f64],
        span: Span,
        solve: &Solve,
        way: Way,
        end: impl Fn(&Arrived) -> (Vec<f64>, Vec<f64>),
    ) -> Result<(Recorded<S>, (Arrived, Vec<f64>, Option<Vec<S::Array>>)), Error> {
        let (space, rows, dim) = (flow.space, solve.rows, flow.potential.dim());
        let wanted = Wanted { tape: way.gradient.then_some(flow.memory), cost: way.cost.is_some() };
        let start = space.upload(rows, dim, batch);
        let mut field = None;
        let freeze = self.device.record(&mut || field = Some(flow.potential.freeze(solve)));
        let field = field.expect("the work was done");
        let mut found = None;
        let there = self.device.record(&mut || {
            let (mut chart, state) = field.enter(0..rows, start.clone());
            let passage = flow.integrator.flow(space, &mut *chart, state, span, wanted);
            found = Some(passage.map(|passage| {
                let x = chart.leave(passage.state.clone());
                (chart, passage, x)
            }));
        });
        let (chart, passage, x) = found.expect("the work was done")?;
        let arrived = Arrived::fetch(space, &x, &passage.log_density, passage.cost.as_ref());
        let (losses, x_bar) = end(&arrived);
        let back = passage.tape.map(|tape| {
            let column = |of: f64| space.upload_column(&vec![of; rows]);
            let x_bar = space.upload(rows, dim, &x_bar);
            let constant = (column(way.weight), way.cost.map(column));
            let (mut rest, mut gradient) = (Some((chart, tape)), Vec::new());
            let back = self.device.record(&mut || {
                let (mut chart, tape) = rest.take().expect("the work is done once");
                let state = chart.leave_pullback(&passage.state, x_bar.clone());
                let (log_density, cost) = constant.clone();
                let bar = PassageBar { state, log_density, cost };
                let state_bar = adjoint(space, flow.integrator.tableau(), &mut *chart, tape, bar);
                gradient = field.gradient(chart.enter_pullback(state_bar).1);
            });
            Back { x_bar, _constant: constant, back, gradient }
        });
        let gradient = back.as_ref().map(|back| back.gradient.clone());
        let (log_density, cost) = (passage.log_density, passage.cost);
        Ok((Recorded { start, freeze, there, x, log_density, cost, back }, (arrived, losses, gradient)))
    }
}

/// What is wanted of a solve, and the cotangents of its figures.
#[derive(Clone, Copy)]
struct Way {
    /// Of the transport cost, where that is wanted.
    cost: Option<f64>,
    gradient: bool,
    /// Of ln p.
    weight: f64,
}

impl<S: Space> Recorded<S> {
    #[allow(clippy::type_complexity, reason = "as above")]
    fn again(
        &mut self,
        device: &dyn Record<S>,
        space: &S,
        batch: &[f64],
        end: impl Fn(&Arrived) -> (Vec<f64>, Vec<f64>),
    ) -> (Arrived, Vec<f64>, Option<Vec<S::Array>>) {
        device.refill(&mut self.start, batch);
        self.freeze.repeat();
        self.there.repeat();
        let arrived = Arrived::fetch(space, &self.x, &self.log_density, self.cost.as_ref());
        let (losses, x_bar) = end(&arrived);
        let gradient = self.back.as_mut().map(|back| {
            device.refill(&mut back.x_bar, &x_bar);
            back.back.repeat();
            back.gradient.clone()
        });
        (arrived, losses, gradient)
    }
}

impl Arrived {
    /// Waits for the device.
    pub fn fetch<S: Space>(space: &S, x: &S::Array, log_density: &S::Column, cost: Option<&S::Column>) -> Self {
        let (x, log_density) = (space.download(x), space.download_column(log_density));
        let cost = cost.map_or_else(|| vec![0.0; log_density.len()], |cost| space.download_column(cost));
        Self { x, log_density, cost }
    }
}
