//! A trained run, for callers who want its densities, samples and figures.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flow_core::{Alone, BijectorModel, Engine, Estimate, Finish, FlowModel, Mean, Model, Purpose, RngKey, Team};

use crate::backend::{self, BackendJob, Compute};
use crate::error::Error;
use crate::flow::{Open, TrainedFlow};
use crate::integration::Choice;
use crate::kept::{Kept, Units};
use crate::monitor::Monitor;
use crate::physics::report::{AtTemperature, PhysicsReport};
use crate::physics::{self, SampleCounts, Weighted};
use crate::recipe::{Recipe, Setting, TargetKind, Temperature};
use crate::report::Report;
use crate::run_dir;
use crate::target::{self, Target};
use crate::together::{self, agreed, digest, require_same};
use crate::train::{Start, Train};
use crate::trained::{self, Learned, Trained, require_given};

/// A run on the disk. Every call reads its best checkpoint anew, so that it may go on training meanwhile.
///
/// ```
/// use maflow::recipes;
/// use maflow::run::Run;
///
/// let folder = tempfile::tempdir()?;
/// let short = ["train.steps=20", "train.schedule=constant", "evaluate.samples=100"].map(|s| s.parse().unwrap());
/// let run = Run::create(folder.path().join("run"), recipes::load("energy-1", &short)?);
/// run.train(&())?;
///
/// let samples = run.sample(100)?;
/// let ln_p = run.log_prob(&samples)?;
/// assert_eq!((samples.len(), ln_p.values.len()), (100 * 2, 100));
/// assert!(ln_p.integration_errors.iter().all(|error| *error < 0.1));
/// assert!(run.report(&())?.json().contains("free_energy_per_site"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Run {
    path: PathBuf,
    recipe: Recipe,
    compute: Compute,
    data: Option<PathBuf>,
    target: Option<Arc<dyn Target>>,
    team: Arc<dyn Team>,
}

impl Run {
    /// A run of a recipe that [`Run::train`] will begin in a folder. Its numbers are computed by ndarray on all cores.
    pub fn create(path: PathBuf, recipe: Recipe) -> Self {
        Self { path, recipe, compute: Compute::default(), data: None, target: None, team: Arc::new(Alone) }
    }

    /// Opens the run in a folder, with changes to its recipe: for this once, or for as long as it is trained with them.
    /// Its numbers are computed by ndarray on all cores.
    ///
    /// # Errors
    /// [`Error::NoRun`] where there is none, [`Error::Recipe`] for changes that mean nothing.
    pub fn open(path: &Path, settings: &[Setting]) -> Result<Self, Error> {
        Ok(Self::create(path.to_owned(), run_dir::read_recipe(path, settings)?))
    }

    /// The same with its numbers computed elsewhere.
    #[must_use]
    pub fn with_compute(self, compute: Compute) -> Self {
        Self { compute, ..self }
    }

    /// The same with this number of threads.
    #[must_use]
    pub fn with_threads(self, threads: NonZeroUsize) -> Self {
        Self { compute: Compute { threads, ..self.compute }, ..self }
    }

    /// The same with the target of the caller's own that it was trained to.
    #[must_use]
    pub fn with_target(self, target: Arc<dyn Target>) -> Self {
        Self { target: Some(target), ..self }
    }

    /// The same with another recipe, for this once.
    #[must_use]
    pub fn with_recipe(self, recipe: Recipe) -> Self {
        Self { recipe, ..self }
    }

    /// The same with the files of its data set in a folder. Without one, those that can be fetched are.
    #[must_use]
    pub fn with_data(self, folder: PathBuf) -> Self {
        Self { data: Some(folder), ..self }
    }

    /// The same with its work shared by the members of a team, each of which has the run and makes the same calls: a
    /// training, figures, densities, samples, maps and studies. Every member has what one process alone would have, to
    /// the bit where the backend's results do not depend on the number of threads; the first alone writes.
    #[must_use]
    pub fn with_team(self, team: Arc<dyn Team>) -> Self {
        Self { team, ..self }
    }

    /// Begins the training in the folder, which must be free, and goes on to the end, or until the monitor asks for an
    /// end after a checkpoint.
    ///
    /// # Errors
    /// Whatever is wrong with recipe, data or folder, before anything is written; after that, those of the training
    /// itself.
    pub fn train(&self, monitor: &dyn Monitor) -> Result<Finish, Error> {
        Ok(self.training(Start::New(self.path.clone())).finish_by(&*self.team, monitor)?.0)
    }

    /// Goes on from the newest checkpoint, to the bits that a training without interruption would have come to.
    ///
    /// # Errors
    /// As [`Run::train`]; a folder without a run.
    pub fn resume(&self, monitor: &dyn Monitor) -> Result<Finish, Error> {
        Ok(self.training(Start::Resume(self.path.clone())).finish_by(&*self.team, monitor)?.0)
    }

    fn training(&self, start: Start) -> Train {
        let Self { recipe, data, compute, target, .. } = self.clone();
        Train { recipe, start, from: None, data, compute, target }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its recipe, with the changes.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Where its numbers are computed, and by how many threads.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// The target of the caller's own, where one was handed in.
    pub fn target(&self) -> Option<&Arc<dyn Target>> {
        self.target.as_ref()
    }

    /// ln p of rows of N numbers in the user's coordinates, row by row, each with its integration error. The
    /// integration step is that of the run's figures or, before there are any, chosen on samples of the flow: rows have
    /// no part in it. Rows of a conditional density come with their context, as a pair.
    ///
    /// # Errors
    /// A run without a checkpoint, numbers that are no whole rows, or an integration that fails.
    pub fn log_prob(&self, rows: impl Into<Rows>) -> Result<Found, Error> {
        self.of_rows(RowQuantity::LogProb, rows.into())
    }

    /// The base coordinates of rows of N numbers in the user's units, which are standard normal as far as the flow has
    /// learned them.
    ///
    /// # Errors
    /// As [`Run::log_prob`].
    pub fn to_base(&self, rows: impl Into<Rows>) -> Result<Found, Error> {
        self.of_rows(RowQuantity::Base, rows.into())
    }

    /// Rows in the user's units from base coordinates: the inverse of [`Run::to_base`].
    ///
    /// # Errors
    /// As [`Run::log_prob`].
    pub fn from_base(&self, base: impl Into<Rows>) -> Result<Found, Error> {
        self.of_rows(RowQuantity::FromBase, base.into())
    }

    fn of_rows(&self, wanted: RowQuantity, rows: Rows) -> Result<Found, Error> {
        let (mut given, mut all) = (Some(rows), None);
        self.stream(wanted, &mut || Ok(given.take()), &mut |found| {
            all = Some(found);
            Ok(())
        })?;
        Ok(all.expect("all rows are one block"))
    }

    /// What is wanted of rows that come in blocks, so that there may be more of them than memory holds: `next` gives
    /// blocks of whole rows until there are no more, `out` takes what was found of each. Every member of a team gives
    /// all rows, and gets all that was found.
    ///
    /// # Errors
    /// As [`Run::log_prob`]; those of `next` and `out`; [`Error::Argument`] on a member with other rows than the first.
    pub fn stream(
        &self,
        wanted: RowQuantity,
        next: &mut dyn FnMut() -> Result<Option<Rows>, Error>,
        out: &mut dyn FnMut(Found) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.run(Stream { run: self, wanted, next, out })
    }

    /// The first `count` samples of the run in the user's coordinates, `count × N` row by row.
    ///
    /// # Errors
    /// As [`Run::log_prob`]; a conditional density, see [`Run::sample_given`].
    pub fn sample(&self, count: usize) -> Result<Vec<f64>, Error> {
        let flow = self.flow(&())?;
        match flow.kept().context_dim(&self.recipe) {
            0 => self.samples(&*flow, count, &[]),
            width => Err(no_such_context(0, width)),
        }
    }

    /// A sample for every row of context, `rows × N` row by row.
    ///
    /// # Errors
    /// As [`Run::log_prob`].
    pub fn sample_given(&self, context: &[f64]) -> Result<Vec<f64>, Error> {
        let flow = self.flow(&())?;
        match flow.kept().context_dim(&self.recipe) {
            width if width > 0 && context.len().is_multiple_of(width) => {
                self.samples(&*flow, context.len() / width, context)
            }
            width => Err(no_such_context(context.len(), width)),
        }
    }

    /// The context of every row of a table, whose columns are found by name: categories and numbers as the run has
    /// learned them, or a column `temperature`.
    ///
    /// # Errors
    /// Columns that are not there, or unknown categories; a run that is not conditional on columns.
    pub fn context(&self, table: &datasets::table::Table) -> Result<Vec<f64>, Error> {
        let kept = Kept::read(&self.path, &self.recipe)?;
        let context = kept.context(&self.recipe);
        match (context.width(), &kept.table) {
            (0, None) => Err(Error::Argument(format!("the target of {} is no table", self.path.display()))),
            _ => Ok(context.encode(table)?),
        }
    }

    /// The first `count` samples of the run of a target with an energy, with what each counts for averages over the
    /// target: ln Z is the logarithm of the mean weight.
    ///
    /// ```
    /// use maflow::recipes;
    /// use maflow::run::Run;
    /// let folder = tempfile::tempdir()?;
    /// let short = ["train.steps=20", "train.schedule=constant"].map(|s| s.parse().unwrap());
    /// let run = Run::create(folder.path().join("run"), recipes::load("energy-1", &short)?);
    /// run.train(&())?;
    /// let weighted = run.weighted_samples(1000, &())?;
    /// let largest = weighted.log_weights.iter().copied().fold(f64::MIN, f64::max);
    /// let weights: Vec<f64> = weighted.log_weights.iter().map(|log_weight| (log_weight - largest).exp()).collect();
    /// let mean = |of: &dyn Fn(&[f64]) -> f64| {
    ///     let rows = weighted.points.chunks(2).zip(&weights);
    ///     rows.map(|(x, weight)| weight * of(x)).sum::<f64>() / weights.iter().sum::<f64>()
    /// };
    /// let radius = mean(&|x| x[0].hypot(x[1])); // of a ring of radius 2
    /// assert!((radius - 2.0).abs() < 0.5, "{radius}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Run::physics`].
    pub fn weighted_samples(&self, count: usize, monitor: &dyn Monitor) -> Result<Weighted, Error> {
        self.require_energy()?;
        let kept = agreed(&*self.team, Kept::read(&self.path, &self.recipe))?;
        let target = agreed(&*self.team, self.open_target(&kept, monitor))?;
        self.run(Weigh { run: self, target: &*target, count, monitor })
    }

    /// The figures of the run, with their standard error and integration error.
    ///
    /// # Errors
    /// As [`Run::log_prob`]; data that cannot be had; an end that the monitor asks for.
    pub fn report(&self, monitor: &dyn Monitor) -> Result<Report, Error> {
        let flow = self.flow(monitor)?;
        let target = agreed(&*self.team, self.open_target(flow.kept(), monitor))?;
        Ok(flow.figures(&*target, monitor)?.0)
    }

    /// What the flow of a target with an energy says of that target, and how good it is as a sampler.
    ///
    /// # Errors
    /// As [`Run::report`]; [`Error::NoEnergy`]; [`Error::EstimatedLaplacian`]; a conditional density, see
    /// [`Run::temperatures`].
    pub fn physics(&self, counts: SampleCounts, monitor: &dyn Monitor) -> Result<PhysicsReport, Error> {
        self.require_energy()?;
        let flow = self.flow(monitor)?;
        let target = agreed(&*self.team, self.open_target(flow.kept(), monitor))?;
        flow.physics(&*target, counts, monitor)
    }

    /// The same of a density that is conditional on the temperature, at each of several: those of
    /// [`studied`](target::studied), in rising order. Forces take most of the time of a study; a few of them are enough
    /// for a curve.
    ///
    /// # Errors
    /// As [`Run::physics`]; [`Error::Argument`] where the run was trained on no range of temperatures.
    pub fn temperatures(&self, counts: SampleCounts, monitor: &dyn Monitor) -> Result<Vec<AtTemperature>, Error> {
        let Some(ends) = self.recipe.target.temperatures() else {
            let what = "was not trained on a range of temperatures; ask for its physics at the one that it has";
            return Err(Error::Argument(format!("{} {what}", self.path.display())));
        };
        let temperatures = target::studied(ends);
        let study = |(k, temperature): (usize, f64)| {
            monitor.note(&format!("T = {temperature:.4} ({} of {})", k + 1, temperatures.len()));
            let report = self.at_temperature(temperature)?.physics(counts, monitor)?;
            Ok(AtTemperature { temperature, report })
        };
        temperatures.iter().copied().enumerate().map(study).collect()
    }

    /// The run at one temperature of the range that it was trained on.
    ///
    /// # Errors
    /// [`Error::Argument`] for another target; a temperature outside of the range is told when the run is read.
    pub fn at_temperature(&self, temperature: f64) -> Result<Self, Error> {
        let mut recipe = self.recipe.clone();
        match &mut recipe.target {
            TargetKind::Ising(model) => model.temperature = Temperature::Value(temperature),
            _ => return Err(Error::Argument(format!("the target of {} has no temperature", self.path.display()))),
        }
        Ok(self.clone().with_recipe(recipe))
    }

    /// Before a checkpoint or data are looked for. What a target of the caller's own is, it says itself.
    fn require_energy(&self) -> Result<(), Error> {
        match self.target.is_some() || self.recipe.target.has_energy() {
            true => Ok(()),
            false => Err(Error::NoEnergy(self.recipe.target.words())),
        }
    }

    /// The trained flow, in its own coordinates.
    ///
    /// # Errors
    /// As [`Run::log_prob`].
    pub fn flow(&self, monitor: &dyn Monitor) -> Result<Box<dyn TrainedFlow>, Error> {
        self.run(Open { recipe: &self.recipe, run: &self.path, team: &self.team, monitor })
    }

    /// Samples in the user's coordinates.
    fn samples(&self, flow: &dyn TrainedFlow, count: usize, context: &[f64]) -> Result<Vec<f64>, Error> {
        let mut samples = flow.samples(count, context)?;
        self.units(flow.kept().clone())?.to_user(&mut samples, context);
        Ok(samples)
    }

    /// How a user's numbers become those of the flow, and back, from what the run keeps.
    ///
    /// # Errors
    /// Parameters that no target has.
    ///
    /// # Panics
    /// If the recipe is of a table and `kept` has no columns.
    pub fn units(&self, kept: Kept) -> Result<Units, Error> {
        match &self.target {
            Some(own) => Ok(Units::of(&**own)),
            None => target::units(&self.recipe, kept),
        }
    }

    fn run<W: BackendJob>(&self, work: W) -> Result<W::Output, Error> {
        backend::run(&self.compute, self.recipe.train.precision, work)
    }

    /// The target, whose data are mapped as the run has `kept` it.
    ///
    /// # Errors
    /// Data that cannot be had.
    pub fn open_target(&self, kept: &Kept, monitor: &dyn Monitor) -> Result<Arc<dyn Target>, Error> {
        match &self.target {
            Some(own) => Ok(Arc::clone(own)),
            None => Ok(target::open(&self.recipe, self.data.as_deref(), Some(kept.clone()), monitor)?.into()),
        }
    }

    /// The trained flow at the step of its figures, so that its ln p is converged, and how a user's numbers become its
    /// own.
    fn converged_flow<E: Engine>(&self, space: &E, trained: Trained<E>) -> Result<(FlowModel<E>, Units), Error> {
        let learned = trained.flow_for("an importance weight with its integration error")?;
        let integrator = learned.integrator(&self.recipe.evaluate)?;
        let flow = learned.flow(space, &*integrator).by(&*self.team);
        let level = Choice::by_samples(&flow, &self.recipe, &trained)?.level;
        let integrator = integrator.at_level(level);
        let Trained { learned: Learned::Flow(learned), kept, .. } = trained else { unreachable!("it is a flow") };
        let mut model = learned.into_model(space, integrator);
        model.team = self.team.clone();
        Ok((model, self.units(kept)?))
    }

    /// The same of whatever the run has trained: a map in closed form is as exact as it is.
    fn converged<E: Engine>(&self, space: &E) -> Result<(Box<dyn Model<E>>, Units), Error> {
        match self.trained(space)? {
            Trained { learned: Learned::Map(map), kept, .. } => {
                let model = BijectorModel { team: self.team.clone(), ..trained::map_model(map) };
                Ok((Box::new(model), self.units(kept)?))
            }
            trained => {
                let (model, units) = self.converged_flow(space, trained)?;
                Ok((Box::new(model), units))
            }
        }
    }

    fn trained<E: Engine>(&self, space: &E) -> Result<Trained<E>, Error> {
        together::load(&*self.team, space, &self.recipe, &self.path, &())
    }
}

/// What is to be found of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowQuantity {
    /// ln p in the user's units, one number each.
    LogProb,
    /// The base coordinates of rows in the user's units, N numbers each.
    Base,
    /// Rows in the user's units from base coordinates, N numbers each.
    FromBase,
}

/// Rows, row by row, with the context of each where a density is conditional.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// `rows × N`.
    pub points: Vec<f64>,
    /// `rows × k`; empty without context.
    pub context: Vec<f64>,
}

impl Rows {
    fn check(&self, n: usize, width: usize) -> Result<(), Error> {
        let numbers = self.points.len();
        match numbers.is_multiple_of(n) {
            false => Err(Error::Argument(format!("{numbers} numbers are no whole rows of {n}"))),
            true if self.context.len() != numbers / n * width => Err(no_such_context(self.context.len(), width)),
            true => Ok(()),
        }
    }

    /// SHA-256 of all numbers.
    fn digest(&self) -> String {
        digest(self.points.iter().chain(&self.context))
    }
}

fn no_such_context(found: usize, width: usize) -> Error {
    Error::Argument(match width {
        0 => "the density is not conditional, and takes no context; leave it out".to_owned(),
        _ => format!(
            "the density is conditional on {width} numbers a row, and {found} were given; give {width} for every row"
        ),
    })
}

impl From<&[f64]> for Rows {
    fn from(points: &[f64]) -> Self {
        Self { points: points.to_vec(), context: Vec::new() }
    }
}

impl<const N: usize> From<&[f64; N]> for Rows {
    fn from(points: &[f64; N]) -> Self {
        Self::from(&points[..])
    }
}

impl From<&Vec<f64>> for Rows {
    fn from(points: &Vec<f64>) -> Self {
        Self::from(&points[..])
    }
}

/// Points and their contexts.
impl From<(&[f64], &[f64])> for Rows {
    fn from((points, context): (&[f64], &[f64])) -> Self {
        Self { points: points.to_vec(), context: context.to_vec() }
    }
}

/// Some rows, and what was found of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// One number for each row, or N, as [`RowQuantity`] says; row by row.
    pub values: Vec<f64>,
    /// The most that they would change at another integration step, one number for each row.
    pub integration_errors: Vec<f64>,
    /// Standard errors of ln p by the probes of its Laplacian, for each row; empty where the Laplacian is exact.
    pub probe_errors: Vec<f64>,
}

struct Weigh<'a> {
    run: &'a Run,
    target: &'a dyn Target,
    count: usize,
    monitor: &'a dyn Monitor,
}

impl BackendJob for Weigh<'_> {
    type Output = Weighted;

    fn run<E: Engine>(self, space: &E) -> Result<Weighted, Error> {
        let Self { run, target, count, monitor } = self;
        let (model, units) = run.converged_flow(space, run.trained(space)?)?;
        physics::weigh(&model, &units, &run.recipe, target, count, monitor)
    }
}

/// How often ln p is found where its Laplacian is estimated by probes, to tell their scatter.
const DRAWS: u64 = 4;

/// ln p of rows in the flow's coordinates; where the Laplacian is estimated, its mean over draws of the probes with its
/// standard error.
fn log_prob<E: Engine>(
    model: &dyn Model<E>,
    (rows, context): (&[f64], &[f64]),
    seed: u64,
    probes: bool,
) -> Result<Found, Error> {
    let drawn = |draw| model.log_prob(rows, context, RngKey::new(seed, Purpose::Evaluate, draw));
    let Estimate { mut values, integration_errors } = drawn(0)?;
    if !probes {
        return Ok(Found { values, integration_errors, ..Found::default() });
    }
    let mut draws = vec![values.clone()];
    for draw in 1..DRAWS {
        draws.push(drawn(draw)?.values);
    }
    let of_row = |row: usize| Mean::of(&draws.iter().map(|values| values[row]).collect::<Vec<_>>());
    let means: Vec<Mean> = (0..values.len()).map(of_row).collect();
    values.iter_mut().zip(&means).for_each(|(value, mean)| *value = mean.mean);
    Ok(Found { values, integration_errors, probe_errors: means.iter().map(|mean| mean.standard_error).collect() })
}

struct Stream<'a, 'b> {
    run: &'a Run,
    wanted: RowQuantity,
    next: &'b mut dyn FnMut() -> Result<Option<Rows>, Error>,
    out: &'b mut dyn FnMut(Found) -> Result<(), Error>,
}

impl BackendJob for Stream<'_, '_> {
    type Output = ();

    fn run<E: Engine>(mut self, space: &E) -> Result<(), Error> {
        let (model, units) = self.run.converged(space)?;
        let n = model.dim();
        let (seed, probes) = (self.run.recipe.train.seed, self.run.recipe.probes().is_some());
        let key = RngKey::new(seed, Purpose::Evaluate, 0);
        while let Some(rows) = self.next_of_all()? {
            rows.check(n, model.context_dim())?;
            require_given(&self.run.recipe.target, &rows.context)?;
            let Rows { points: mut rows, context } = rows;
            let found = match self.wanted {
                RowQuantity::LogProb => {
                    let log_jacobians = units.to_flow(&mut rows, &context, n);
                    let mut found = log_prob(&*model, (&rows, &context), seed, probes)?;
                    found.values.iter_mut().zip(log_jacobians).for_each(|(value, log_jacobian)| *value += log_jacobian);
                    found
                }
                RowQuantity::Base => {
                    units.to_flow(&mut rows, &context, n);
                    let base = model.to_base(&rows, &context, key)?;
                    Found { values: base.x, integration_errors: base.integration_errors, ..Found::default() }
                }
                RowQuantity::FromBase => {
                    let mut x = model.from_base(&rows, &context, key)?;
                    units.to_user(&mut x.x, &context);
                    Found { values: x.x, integration_errors: x.integration_errors, ..Found::default() }
                }
            };
            agreed(&*self.run.team, (self.out)(found))?;
        }
        Ok(())
    }
}

impl Stream<'_, '_> {
    /// The next rows, which all members have.
    fn next_of_all(&mut self) -> Result<Option<Rows>, Error> {
        let team = &*self.run.team;
        let rows = agreed(team, (self.next)())?;
        require_same(team, "block of rows", || rows.as_ref().map_or_else(String::new, Rows::digest))?;
        Ok(rows)
    }
}
