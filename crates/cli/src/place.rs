//! The place of this process among those that mpirun or srun has started with it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use flow_core::{Alone, Team};
use maflow::monitor::Monitor;
use maflow::run::Run;
use maflow::together::{agreed, by_first};
use mpi::World;

use crate::terminal::{Silent, Terminal};

/// This process as one of several, or alone.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// All of them, where there are several.
    pub world: Option<Arc<World>>,
    /// Threads for work that all do at a time, where the user names no number: this process' share of the cores.
    pub threads: Option<NonZeroUsize>,
}

impl Place {
    /// All processes.
    pub fn team(&self) -> &dyn Team {
        self.world.as_deref().map_or(&Alone, |world| world)
    }

    /// Whether this process alone speaks and writes.
    pub fn is_first(&self) -> bool {
        self.team().rank() == 0
    }

    /// What this process made, if every process made something.
    ///
    /// # Errors
    /// Its own, or that another failed.
    pub fn agreed<T>(&self, made: Result<T, maflow::Error>) -> Result<T, maflow::Error> {
        agreed(self.team(), made)
    }

    /// What the first process makes, `None` on the others; where it cannot, no process goes on.
    ///
    /// # Errors
    /// As [`Place::agreed`].
    pub fn by_first<T>(&self, make: impl FnOnce() -> Result<T, maflow::Error>) -> Result<Option<T>, maflow::Error> {
        by_first(self.team(), make)
    }

    /// What hears how far the work is: the first process shows it.
    pub fn monitor(&self) -> Box<dyn Monitor> {
        if self.is_first() { Box::new(Terminal::default()) } else { Box::new(Silent) }
    }

    /// A run whose work all processes share.
    pub fn shared(&self, run: Run) -> Run {
        let run = self.threads.into_iter().fold(run, Run::with_threads);
        self.world.iter().fold(run, |run, world| run.with_team(world.clone()))
    }
}
