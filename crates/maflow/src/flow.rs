//! A trained flow on any backend, behind one trait: its samples, densities and figures.

use std::path::Path;
use std::sync::Arc;

use flow_core::{
    Batch, Converged, Direction, Engine, Integrator, Precision, RngKey, Team, standard_normal_log_density,
};

use crate::backend::BackendJob;
use crate::error::Error;
use crate::kept::Kept;
use crate::monitor::Monitor;
use crate::physics::report::PhysicsReport;
use crate::physics::{self, SampleCounts};
use crate::recipe::Recipe;
use crate::report::Report;
use crate::target::Target;
use crate::trained::{Carrier, Learned, Trained, require_given};
use crate::{figures, sampling, together};

/// A trained flow, with the steps of its training or those that the recipe says for samples.
///
/// Points are in the flow's coordinates; [`Kept`] and [`target::units`](crate::target::units) lead to a user's. Where
/// the run has a team, its members share the rows: every one asks for the same, and has the whole.
pub trait TrainedFlow {
    /// Its duration T; none where it is a map in closed form.
    fn duration(&self) -> Option<f64>;

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

    /// ln p of points in the flow's coordinates, `rows × dim` row by row: a number for each, in nats. `key` keys what
    /// the potential draws.
    ///
    /// # Errors
    /// When the integration fails.
    fn log_density(&self, x: &[f64], key: RngKey) -> Result<Vec<f64>, Error>;

    /// As [`figures::take`].
    ///
    /// # Errors
    /// As [`figures::take`].
    fn figures(&self, target: &dyn Target, monitor: &dyn Monitor) -> Result<(Report, Converged), Error>;

    /// As [`physics::study`].
    ///
    /// # Errors
    /// As [`physics::study`].
    fn physics(&self, target: &dyn Target, counts: SampleCounts, monitor: &dyn Monitor)
    -> Result<PhysicsReport, Error>;
}

/// Opens the trained flow of a run.
pub(crate) struct Open<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) run: &'a Path,
    pub(crate) team: &'a Arc<dyn Team>,
    pub(crate) monitor: &'a dyn Monitor,
}

impl BackendJob for Open<'_> {
    type Output = Box<dyn TrainedFlow>;

    fn run<E: Engine>(self, space: &E) -> Result<Box<dyn TrainedFlow>, Error> {
        let Self { recipe, run, team, monitor } = self;
        let trained = together::load(&**team, space, recipe, run, monitor)?;
        let integrator = match &trained.learned {
            Learned::Flow(flow) => Some(flow.integrator(&recipe.evaluate)?),
            Learned::Map(_) => None,
        };
        let (space, recipe, team) = (space.clone(), recipe.clone(), team.clone());
        Ok(Box::new(Opened { space, recipe, trained, integrator, team }))
    }
}

/// One on a backend.
struct Opened<E: Engine> {
    space: E,
    recipe: Recipe,
    trained: Trained<E>,
    /// Of a flow.
    integrator: Option<Box<dyn Integrator<E>>>,
    team: Arc<dyn Team>,
}

impl<E: Engine> Opened<E> {
    fn carrier(&self) -> Carrier<'_, E> {
        match (&self.trained.learned, &self.integrator) {
            (Learned::Flow(flow), Some(integrator)) => {
                Carrier::Flow(flow.flow(&self.space, &**integrator).by(&*self.team))
            }
            (Learned::Map(map), _) => Carrier::Map(&**map, &*self.team),
            (Learned::Flow(_), None) => unreachable!("a flow is opened with its integrator"),
        }
    }

    fn request<'a>(&'a self, target: &'a dyn Target, monitor: &'a dyn Monitor) -> figures::Request<'a, E> {
        let Self { space, recipe, trained, team, .. } = self;
        figures::Request { space, recipe, target, trained, team: &**team, monitor }
    }
}

impl<E: Engine> TrainedFlow for Opened<E> {
    fn duration(&self) -> Option<f64> {
        self.recipe.flow().map(|flow| flow.time)
    }

    fn precision(&self) -> Precision {
        self.space.precision()
    }

    fn kept(&self) -> &Kept {
        &self.trained.kept
    }

    fn sample_batch(&self, i: u64, count: usize, context: &[f64]) -> Result<Vec<f64>, Error> {
        if !context.is_empty() {
            require_given(&self.recipe.target, context)?;
            together::require_same(&*self.team, "context", || together::digest(context.iter()))?;
        }
        sampling::batch(&self.carrier(), self.recipe.train.seed, i, count, context)
    }

    fn journey(&self, start: &[f64], direction: Direction, stops: usize, key: RngKey) -> Result<Vec<Vec<f64>>, Error> {
        sampling::journey(&self.carrier(), start, direction, stops, key)
    }

    fn log_density(&self, x: &[f64], key: RngKey) -> Result<Vec<f64>, Error> {
        let carrier = self.carrier();
        let [dim, _] = carrier.dims();
        let base = carrier.carry(&Batch::new(x.to_vec(), dim)?, Direction::Backward, key)?;
        let rows = base.x.chunks_exact(dim).zip(&base.log_density);
        Ok(rows.map(|(z, change)| standard_normal_log_density(z) - change).collect())
    }

    fn figures(&self, target: &dyn Target, monitor: &dyn Monitor) -> Result<(Report, Converged), Error> {
        figures::take(&self.request(target, monitor))
    }

    fn physics(
        &self,
        target: &dyn Target,
        counts: SampleCounts,
        monitor: &dyn Monitor,
    ) -> Result<PhysicsReport, Error> {
        physics::study(&self.request(target, monitor), counts)
    }
}
