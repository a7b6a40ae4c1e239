//! A trained run, for callers who want its densities, samples and figures.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasets::{Bijection, Standardisation};
use flow_core::{Estimate, FlowModel, Model, Purpose, RngKey, Space};

use crate::backend::{self, Compute, Engine, Work};
use crate::error::Error;
use crate::integration::Choice;
use crate::monitor::Monitor;
use crate::physics::Amounts;
use crate::physics::report::PhysicsReport;
use crate::recipe::{Recipe, Setting};
use crate::report::Report;
use crate::target::{self, BijectionOf, Layout, Target};
use crate::trained::{self, Trained};
use crate::{figures, physics, run_dir, sampling};

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
        Ok(Self::of(path.to_owned(), run_dir::read_config(path, settings)?))
    }

    /// The run in a folder, used with this recipe in place of its own. Its numbers are computed by ndarray on all
    /// cores.
    pub fn of(path: PathBuf, recipe: Recipe) -> Self {
        Self { path, recipe, compute: Compute::default(), target: None }
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

    /// ln p of rows of N numbers in the user's coordinates, row by row, each with its integration error. The
    /// integration step is that of the run's figures or, before there are any, chosen on samples of the flow: rows have
    /// no part in it.
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

    /// What the flow of a lattice model says of that model, and how good it is as a sampler.
    ///
    /// # Errors
    /// As [`Run::report`]; [`Error::NoLatticeModel`]; [`Error::EstimatedLaplacian`].
    pub fn physics(&self, amounts: Amounts, monitor: &dyn Monitor) -> Result<PhysicsReport, Error> {
        self.run(Study { run: self, amounts, monitor })
    }

    fn run<W: Work>(&self, work: W) -> Result<W::Output, Error> {
        backend::run(&self.compute, self.recipe.train.precision, work)
    }

    /// The target, whose data are standardised as the run has kept it.
    fn open_target(
        &self,
        data: Option<&Path>,
        kept: &Standardisation,
        monitor: &dyn Monitor,
    ) -> Result<Arc<dyn Target>, Error> {
        match &self.target {
            Some(own) => Ok(Arc::clone(own)),
            None => Ok(target::open(&self.recipe, data, Some(kept.clone()), monitor)?.into()),
        }
    }

    /// The trained flow.
    fn flow<E: Engine>(&self, engine: &E, at: At) -> Result<ReadyFlow<E::Space>, Error> {
        let trained = trained::load(engine, &self.recipe, &self.path, &())?;
        let mut integrator = trained.integrator(&self.recipe)?;
        if let At::Figures = at {
            let flow = trained.flow(engine.space(), &self.recipe, &*integrator);
            let level = Choice::by_samples(&flow, &self.recipe, &trained)?.level;
            integrator = integrator.at_level(level);
        }
        let Trained { potential, standardisation, .. } = trained;
        let map = match &self.target {
            Some(own) => Box::new(BijectionOf(Arc::clone(own))),
            None => target::bijection(&self.recipe, standardisation)?,
        };
        Ok(ReadyFlow { model: trained::flow_model(engine.space(), &self.recipe, potential, integrator), map })
    }
}

/// How finely a trained flow is integrated.
enum At {
    /// As in training, or as the recipe says for samples.
    Training,
    /// So that its ln p is converged.
    Figures,
}

/// A flow, and the map from the user's coordinates to its own.
struct ReadyFlow<S: Space> {
    model: FlowModel<S>,
    map: Box<dyn Bijection>,
}

struct LogProb<'a> {
    run: &'a Run,
    rows: &'a [f64],
}

impl Work for LogProb<'_> {
    type Output = Estimate;

    fn run<E: Engine>(self, engine: &E) -> Result<Estimate, Error> {
        let ReadyFlow { model, map } = self.run.flow(engine, At::Figures)?;
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
        let ReadyFlow { model, map } = self.run.flow(engine, At::Training)?;
        let mut samples = sampling::all(&model.flow(), self.run.recipe.train.seed, self.count)?;
        sampling::to_physical(Some(&*map), &mut samples);
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
        let Run { recipe, path, .. } = self.run;
        let trained = trained::load(engine, recipe, path, self.monitor)?;
        let target = self.run.open_target(self.data, &trained.standardisation, self.monitor)?;
        Ok(figures::take(engine.space(), recipe, &*target, &trained, self.monitor)?.0)
    }
}

struct Study<'a> {
    run: &'a Run,
    amounts: Amounts,
    monitor: &'a dyn Monitor,
}

impl Work for Study<'_> {
    type Output = PhysicsReport;

    fn run<E: Engine>(self, engine: &E) -> Result<PhysicsReport, Error> {
        let Run { recipe, path, .. } = self.run;
        let other = Error::NoLatticeModel(recipe.target.words());
        // Before a checkpoint or data are looked for. What a target of the caller's own is, it says itself.
        if self.run.target.is_none() && !matches!(recipe.target.layout(), Layout::Lattice(..)) {
            return Err(other);
        }
        let trained = trained::load(engine, recipe, path, self.monitor)?;
        let target = self.run.open_target(None, &trained.standardisation, self.monitor)?;
        let model = target.lattice_model().ok_or(other)?;
        physics::study(engine.space(), recipe, model, &trained, self.amounts, self.monitor)
    }
}
