//! A trained flow on whichever backend it is, for everyone who wants its samples, densities and figures.

use std::path::Path;
use std::sync::Arc;

use flow_core::{Converged, Direction, Engine, Flow, Integrator, Precision, RngKey, Team};

use crate::backend::Work;
use crate::error::Error;
use crate::kept::Kept;
use crate::monitor::Monitor;
use crate::physics::report::PhysicsReport;
use crate::physics::{self, Amounts};
use crate::recipe::Recipe;
use crate::report::Report;
use crate::target::Target;
use crate::trained::Trained;
use crate::{figures, sampling, together};

/// A trained flow, with the steps of its training or those that the recipe says for samples.
///
/// Points are in the flow's coordinates; [`Kept`] and [`target::units`](crate::target::units) lead to a user's. Where the
/// run has a team, its members share the rows: every one asks for the same, and has the whole.
pub trait TrainedFlow {
    /// Its duration T.
    fn duration(&self) -> f64;

    /// The precision of its numbers.
    fn precision(&self) -> Precision;

    /// What the run keeps of its data.
    fn kept(&self) -> &Kept;

    /// As [`sampling::batch`].
    ///
    /// # Errors
    /// When the integration fails.
    fn sample_batch(&self, i: u64, count: usize, context: &[f64]) -> Result<Vec<f64>, Error>;

    /// The first `count` samples at once, `count × dim` row by row, as [`TrainedFlow::sample_batch`] has them.
    ///
    /// # Errors
    /// When the integration fails.
    fn samples(&self, count: usize, context: &[f64]) -> Result<Vec<f64>, Error> {
        let batches = (0..sampling::batches(count)).map(|i| self.sample_batch(i, count, context));
        Ok(batches.collect::<Result<Vec<_>, Error>>()?.concat())
    }

    /// As [`sampling::journey`].
    ///
    /// # Errors
    /// When the integration fails.
    fn journey(&self, start: &[f64], direction: Direction, stops: usize, key: RngKey) -> Result<Vec<Vec<f64>>, Error>;

    /// ln p of points.
    ///
    /// # Errors
    /// When the integration fails.
    fn log_density(&self, x: &[f64], key: RngKey) -> Result<Vec<f64>, Error>;

    /// As [`figures::take`].
    ///
    /// # Errors
    /// As there.
    fn figures(&self, target: &dyn Target, monitor: &dyn Monitor) -> Result<(Report, Converged), Error>;

    /// As [`physics::study`].
    ///
    /// # Errors
    /// As there.
    fn physics(&self, target: &dyn Target, amounts: Amounts, monitor: &dyn Monitor) -> Result<PhysicsReport, Error>;
}

/// Opens the trained flow of a run.
pub(crate) struct Open<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) run: &'a Path,
    pub(crate) team: &'a Arc<dyn Team>,
    pub(crate) monitor: &'a dyn Monitor,
}

impl Work for Open<'_> {
    type Output = Box<dyn TrainedFlow>;

    fn run<E: Engine>(self, space: &E) -> Result<Box<dyn TrainedFlow>, Error> {
        let Self { recipe, run, team, monitor } = self;
        let trained = together::load(&**team, space, recipe, run, monitor)?;
        let integrator = trained.integrator(recipe)?;
        let (space, recipe, team) = (space.clone(), recipe.clone(), team.clone());
        Ok(Box::new(Opened { space, recipe, trained, integrator, team }))
    }
}

/// One on a backend.
struct Opened<E: Engine> {
    space: E,
    recipe: Recipe,
    trained: Trained<E>,
    integrator: Box<dyn Integrator<E>>,
    team: Arc<dyn Team>,
}

impl<E: Engine> Opened<E> {
    fn flow(&self) -> Flow<'_, E> {
        self.trained.flow(&self.space, &self.recipe, &*self.integrator).by(&*self.team)
    }
}

impl<E: Engine> TrainedFlow for Opened<E> {
    fn duration(&self) -> f64 {
        self.recipe.flow.time
    }

    fn precision(&self) -> Precision {
        self.space.precision()
    }

    fn kept(&self) -> &Kept {
        &self.trained.kept
    }

    fn sample_batch(&self, i: u64, count: usize, context: &[f64]) -> Result<Vec<f64>, Error> {
        if !context.is_empty() {
            together::require_same(&*self.team, "context", || together::digest(context.iter()))?;
        }
        sampling::batch(&self.flow(), self.recipe.train.seed, i, count, context)
    }

    fn journey(&self, start: &[f64], direction: Direction, stops: usize, key: RngKey) -> Result<Vec<Vec<f64>>, Error> {
        sampling::journey(&self.flow(), start, direction, stops, key)
    }

    fn log_density(&self, x: &[f64], key: RngKey) -> Result<Vec<f64>, Error> {
        Ok(self.flow().log_density(x, key)?)
    }

    fn figures(&self, target: &dyn Target, monitor: &dyn Monitor) -> Result<(Report, Converged), Error> {
        figures::take(&self.space, &self.recipe, target, &self.trained, &*self.team, monitor)
    }

    fn physics(&self, target: &dyn Target, amounts: Amounts, monitor: &dyn Monitor) -> Result<PhysicsReport, Error> {
        physics::study(&self.space, &self.recipe, target, &self.trained, amounts, &*self.team, monitor)
    }
}
