//! A trained run, for callers who want its densities, samples and figures.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasets::Bijection;
use flow_core::{Estimate, FlowModel, Model, NegativeLogLikelihood, Purpose, RngKey};

use crate::backend::{self, Compute, Engine, Work};
use crate::error::Error;
use crate::monitor::Monitor;
use crate::recipe::{Recipe, Setting};
use crate::report::Report;
use crate::target::{self, BijectionOf, Target};
use crate::trained::{self, Trained};
use crate::{figures, run_dir, sampling, standard};

/// A run on the disk. Every call reads its best checkpoint anew, so that it may go on training meanwhile.
///
/// ```
/// use maflow::backend::Compute;
/// use maflow::run::Run;
/// use maflow::train::{Start, Train};
/// use maflow::recipes;
///
/// let folder = tempfile::tempdir()?;
/// let short = ["train.steps=20", "train.schedule=constant", "evaluate.samples=100"].map(|s| s.parse().unwrap());
/// let (recipe, start) = (recipes::load("energy-1", &short)?, Start::New(folder.path().join("run")));
/// let done = Train { recipe, start, ..Train::default() }.run(&())?;
///
/// let run = Run::open(done.run.path(), &[])?;
/// let samples = run.sample(100)?;
/// let ln_p = run.log_prob(&samples)?;
/// assert_eq!((samples.len(), ln_p.values.len()), (100 * 2, 100));
/// assert!(ln_p.integration_errors.iter().all(|error| *error < 0.1));
/// assert!(run.report(None, &())?.json().contains("free_energy_per_site"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Run {
    path: PathBuf,
    recipe: Recipe,
    compute: Compute,
    target: Option<Arc<dyn Target>>,
}

impl Run {
    /// Opens the run in a folder, with changes to its recipe for this once. Its numbers are computed by ndarray on all
    /// cores.
    ///
    /// # Errors
    /// [`Error::NoRun`] where there is none, [`Error::Recipe`] for changes that mean nothing.
    pub fn open(path: &Path, settings: &[Setting]) -> Result<Self, Error> {
        let recipe = run_dir::read_config(path, settings)?;
        Ok(Self { path: path.to_owned(), recipe, compute: Compute::default(), target: None })
    }

    /// The same with its numbers computed elsewhere.
    #[must_use]
    pub fn with_compute(self, compute: Compute) -> Self {
        Self { compute, ..self }
    }

    /// The same with the target of the caller's own that it was trained to.
    #[must_use]
    pub fn with_target(self, target: Arc<dyn Target>) -> Self {
        Self { target: Some(target), ..self }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its recipe, with the changes.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// ln p of rows of N numbers in the user's coordinates, row by row, each with its integration error.
    ///
    /// # Errors
    /// A run without a checkpoint, numbers that are no whole rows, or an integration that fails.
    pub fn log_prob(&self, rows: &[f64]) -> Result<Estimate, Error> {
        self.run(LogProb { run: self, rows })
    }

    /// The first `count` samples of the run in the user's coordinates, `count × N` row by row.
    ///
    /// # Errors
    /// As [`Run::log_prob`].
    pub fn sample(&self, count: usize) -> Result<Vec<f64>, Error> {
        self.run(Draw { run: self, count })
    }

    /// The figures of the run, with their standard error and integration error. Data come from the folder `data`, or
    /// are fetched, where the target has files.
    ///
    /// # Errors
    /// As [`Run::log_prob`]; data that cannot be had; an end that the monitor asks for.
    pub fn report(&self, data: Option<&Path>, monitor: &dyn Monitor) -> Result<Report, Error> {
        self.run(Figures { run: self, data, monitor })
    }

    fn run<W: Work>(&self, work: W) -> Result<W::Output, Error> {
        backend::run(&self.compute, self.recipe.train.precision, work)
    }

    /// The map from the user's coordinates to the flow's.
    fn bijection(&self) -> Result<Box<dyn Bijection>, Error> {
        match &self.target {
            Some(own) => Ok(Box::new(BijectionOf(Arc::clone(own)))),
            None => target::bijection(&self.recipe, standard::read(&self.path, &self.recipe)?),
        }
    }

    /// The flow as it was trained, ready for figures.
    fn flow<E: Engine>(&self, engine: &E) -> Result<FlowModel<E::Space>, Error> {
        let trained = trained::load(engine, &self.recipe, &self.path, &())?;
        let integrator = trained.integrator(&self.recipe)?;
        let Trained { potential, .. } = trained;
        let objective = Box::new(NegativeLogLikelihood::default());
        let mut model = FlowModel::new(engine.space().clone(), potential, integrator, objective);
        let flow = &self.recipe.flow;
        (model.duration, model.coordinates) = (flow.time, trained::coordinates(flow.coordinates));
        Ok(model)
    }
}

struct LogProb<'a> {
    run: &'a Run,
    rows: &'a [f64],
}

impl Work for LogProb<'_> {
    type Output = Estimate;

    fn run<E: Engine>(self, engine: &E) -> Result<Estimate, Error> {
        let (model, map) = (self.run.flow(engine)?, self.run.bijection()?);
        let n = map.dimension();
        if !self.rows.len().is_multiple_of(n) {
            return Err(Error::Argument(format!("{} numbers are no whole rows of {n}", self.rows.len())));
        }
        let mut rows = self.rows.to_vec();
        let mut log_jacobians = vec![0.0; rows.len() / n];
        map.forward(&mut rows, &mut log_jacobians);
        let key = RngKey::new(self.run.recipe.train.seed, Purpose::Evaluate, 0);
        let mut found = model.log_prob(&rows, &[], key)?;
        found.values.iter_mut().zip(log_jacobians).for_each(|(value, log_jacobian)| *value += log_jacobian);
        Ok(found)
    }
}

struct Draw<'a> {
    run: &'a Run,
    count: usize,
}

impl Work for Draw<'_> {
    type Output = Vec<f64>;

    fn run<E: Engine>(self, engine: &E) -> Result<Vec<f64>, Error> {
        let (model, map) = (self.run.flow(engine)?, self.run.bijection()?);
        let mut samples = sampling::all(&model.flow(), self.run.recipe.train.seed, self.count)?;
        sampling::to_physical(&*map, &mut samples);
        Ok(samples)
    }
}

struct Figures<'a> {
    run: &'a Run,
    data: Option<&'a Path>,
    monitor: &'a dyn Monitor,
}

impl Work for Figures<'_> {
    type Output = Report;

    fn run<E: Engine>(self, engine: &E) -> Result<Report, Error> {
        let Run { recipe, path, target, .. } = self.run;
        let target = match target {
            Some(own) => Arc::clone(own),
            None => target::open(recipe, self.data, Some(standard::read(path, recipe)?), self.monitor)?.into(),
        };
        let trained = trained::load(engine, recipe, path, self.monitor)?;
        Ok(figures::take(engine.space(), recipe, &*target, &trained, self.monitor)?.0)
    }
}
