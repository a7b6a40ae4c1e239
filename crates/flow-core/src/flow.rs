//! A flow: a potential, an integrator and a duration.

use crate::integrate::{Integrator, Memory, Span};
use crate::potential::{Coordinates, Potential};
use crate::space::Space;
use crate::team::{Alone, Team};

/// Which way through a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the base density at t = 0 to the model at t = T.
    Forward,
    /// From the model at t = T to the base density at t = 0.
    Backward,
}

/// A potential with the way it is integrated: the normalising flow itself.
pub struct Flow<'a, S: Space> {
    /// The backend.
    pub space: &'a S,
    /// The potential φ.
    pub potential: &'a dyn Potential<S>,
    /// The integrator.
    pub integrator: &'a dyn Integrator<S>,
    /// The duration T.
    pub duration: f64,
    /// The coordinates that solves may use.
    pub coordinates: Coordinates,
    /// What gradients keep.
    pub memory: Memory,
    /// The processes that share the rows of whole batches, in everything but objectives: these use the team of their
    /// [`Evaluation`](crate::Evaluation). Every member makes the same calls, and gets what one process alone would get.
    pub team: &'a dyn Team,
}

// By hand: a derive would ask for `S: Copy`, which the references do not need.
impl<S: Space> Clone for Flow<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S: Space> Copy for Flow<'_, S> {}

impl<'a, S: Space> Flow<'a, S> {
    /// A flow of duration 1 in whatever coordinates are cheapest, whose gradients keep the residuals of every stage, of
    /// this process alone.
    pub fn new(space: &'a S, potential: &'a dyn Potential<S>, integrator: &'a dyn Integrator<S>) -> Self {
        let (coordinates, memory) = (Coordinates::Auto, Memory::Stages);
        Self { space, potential, integrator, duration: 1.0, coordinates, memory, team: &Alone }
    }

    /// The same flow with another integrator.
    pub fn with_integrator<'b>(&self, integrator: &'b dyn Integrator<S>) -> Flow<'b, S>
    where
        'a: 'b,
    {
        Flow { integrator, ..*self }
    }

    /// The same flow with the rows of whole batches shared.
    pub fn by<'b>(&self, team: &'b dyn Team) -> Flow<'b, S>
    where
        'a: 'b,
    {
        Flow { team, ..*self }
    }

    /// The times from and to which a direction leads.
    pub fn span(&self, direction: Direction) -> Span {
        match direction {
            Direction::Forward => Span { from: 0.0, to: self.duration },
            Direction::Backward => Span { from: self.duration, to: 0.0 },
        }
    }
}
