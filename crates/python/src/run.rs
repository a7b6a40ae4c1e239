//! Runs of the library for Python: made, opened, asked.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use datasets::columns::Regression;
use datasets::table::Table;
use flow_core::{IndependenceMetropolis, Purpose, RngKey};
use maflow::backend::{self, Backend, Compute};
use maflow::fit::{self, Fit, Planned};
use maflow::kept::Kept;
use maflow::physics::report::AtTemperature;
use maflow::physics::{FORCES, SampleCounts};
use maflow::recipe::{Recipe, Setting, from_table};
use maflow::run::{Found, RowQuantity, Rows};
use maflow::target::{OwnEnergy, TableMap, Target};
use maflow::train::{Start, Train};
use maflow::{Error, recipes, sampling};
use numpy::{PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::{Columns, matrix, vector};
use crate::energy::{self, Given};
use crate::error::raise;
use crate::settings::settings;
use crate::watch::{Listener, Raised, watched};

/// Rows that are worked on between two looks for Ctrl-C.
const BLOCK: usize = 4096;

/// A run in its folder, opened.
#[pyclass(frozen, module = "maflow._native")]
pub struct Run {
    run: maflow::run::Run,
    kept: Kept,
    /// Exceptions of a Python energy.
    raised: Arc<Raised>,
}

/// How a training is made, beside what it is of.
#[derive(FromPyObject)]
struct How {
    settings: Vec<String>,
    out: PathBuf,
    threads: Option<usize>,
    backend: Option<String>,
}

impl How {
    fn settings(&self) -> PyResult<Vec<Setting>> {
        settings(&self.settings)
    }

    /// A recipe that rules have written, with the changes of the caller.
    fn changed(&self, recipe: Recipe) -> PyResult<Recipe> {
        let settings = self.settings()?;
        if settings.is_empty() {
            return Ok(recipe);
        }
        let mut table = toml::Table::try_from(&recipe).map_err(|error| PyValueError::new_err(error.to_string()))?;
        settings.iter().try_for_each(|setting| setting.apply(&mut table)).map_err(|error| raise(error.into()))?;
        let recipe = from_table(table, &recipe.name).map_err(|error| raise(error.into()))?;
        recipe.validate().map_err(|error| raise(error.into()))?;
        Ok(recipe)
    }

    fn compute(&self) -> PyResult<Compute> {
        compute(self.threads, self.backend.as_deref(), None)
    }

    fn train(&self, recipe: Recipe, target: Option<Arc<dyn Target>>) -> PyResult<Train> {
        let (start, compute) = (Start::New(self.out.clone()), self.compute()?);
        backend::require_parts(compute.backend, &recipe).map_err(raise)?;
        Ok(Train { recipe, start, from: None, data: None, compute, target })
    }
}

/// Where numbers are computed: on the backend that is named, else on that of a run, else on ndarray.
fn compute(threads: Option<usize>, named: Option<&str>, of_run: Option<Backend>) -> PyResult<Compute> {
    let known = [Backend::Ndarray, Backend::TchCpu, Backend::TchCuda];
    let backend = match named {
        Some(name) => known.into_iter().find(|backend| backend.name() == name).ok_or_else(|| {
            let known = known.map(Backend::name).join(", ");
            PyValueError::new_err(format!("backend is {name:?}, but must be one of {known}"))
        })?,
        None => of_run.unwrap_or(Backend::Ndarray),
    };
    match threads.map(NonZeroUsize::new) {
        None => Ok(Compute { backend, ..Compute::default() }),
        Some(Some(threads)) => Ok(Compute { backend, threads }),
        Some(None) => Err(PyValueError::new_err("threads is 0, but must be at least 1; leave it out for all cores")),
    }
}

/// A table in memory, and what is made of its columns.
#[derive(FromPyObject)]
struct Data<'py> {
    rows: Columns<'py>,
    validation: Option<Columns<'py>>,
    test: Option<Columns<'py>>,
    given: Vec<String>,
    weights: Option<String>,
    regression: String,
    minutes: Option<f64>,
    steps: Option<usize>,
    seed: u64,
}

impl Data<'_> {
    fn tables(&self) -> PyResult<[Option<Table>; 3]> {
        let names: Vec<&str> = self.rows.names().unwrap_or_default().iter().map(String::as_str).collect();
        let part = |part: &Option<Columns<'_>>, what| part.as_ref().map(|part| part.table(what, &names)).transpose();
        Ok([Some(self.rows.table("x", &[])?), part(&self.validation, "validation")?, part(&self.test, "test")?])
    }

    fn fit(&self) -> PyResult<Fit> {
        Ok(Fit {
            file: "data".into(),
            validation: None,
            test: None,
            given: self.given.clone(),
            weights: self.weights.clone(),
            transforms: Vec::new(),
            regression: self.regression()?,
            model: Default::default(),
            read: Default::default(),
            minutes: self.minutes,
            steps: self.steps,
            precision: Default::default(),
            seed: self.seed,
        })
    }

    fn regression(&self) -> PyResult<Regression> {
        match self.regression.as_str() {
            "none" => Ok(Regression::None),
            "location" => Ok(Regression::Location),
            "location-scale" => Ok(Regression::LocationScale),
            other => Err(PyValueError::new_err(format!(
                "regression is {other:?}, but must be \"none\", \"location\" or \"location-scale\""
            ))),
        }
    }
}

#[pymethods]
impl Run {
    /// Fits a density to a table.
    #[staticmethod]
    fn fit(py: Python<'_>, data: Data<'_>, how: How, listener: Listener) -> PyResult<Self> {
        let ([all, validation, test], fit, compute) = (data.tables()?, data.fit()?, how.compute()?);
        let raised = Arc::new(Raised::default());
        let planned = watched(py, &listener, &raised, |monitor| {
            let all = all.expect("the first is always there");
            let planned = fit.plan_rows(all, validation, test, &compute, monitor)?;
            planned.notes.iter().for_each(|note| monitor.note(note));
            Ok(planned)
        })?;
        let Planned { recipe, target, .. } = planned;
        let train = how.train(how.changed(recipe)?, Some(target))?;
        Self::trained(py, train, &listener, raised)
    }

    /// Fits a density to an energy.
    #[staticmethod]
    #[pyo3(signature = (function, dim, scale, samples, steps, seed, how, listener))]
    #[allow(clippy::too_many_arguments, reason = "its one caller names them")]
    fn fit_energy(
        py: Python<'_>,
        function: &Bound<'_, PyAny>,
        dim: usize,
        scale: Vec<f64>,
        samples: Option<Columns<'_>>,
        steps: Option<usize>,
        seed: u64,
        how: How,
        listener: Listener,
    ) -> PyResult<Self> {
        let Given { energy, raised } = energy::given(function, dim)?;
        let names: Vec<String> = (0..dim).map(|i| format!("x{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let samples = samples.map(|samples| samples.table("samples", &names)).transpose()?;
        let target = watched(py, &listener, &raised, |_| match samples {
            Some(samples) => OwnEnergy::with_samples(energy, samples, seed),
            None => OwnEnergy::with_scale(energy, scale, seed),
        })?;
        let mut recipe = fit::recipe_for(&target).map_err(raise)?;
        recipe.train.seed = seed;
        if let Some(steps) = steps {
            recipe.train.set_steps(steps);
        }
        let train = how.train(how.changed(recipe)?, Some(Arc::new(target)))?;
        Self::trained(py, train, &listener, raised)
    }

    /// Trains a recipe, from the weights of another run where one is named.
    #[staticmethod]
    fn train(
        py: Python<'_>,
        recipe: &str,
        from_run: Option<PathBuf>,
        data: Option<PathBuf>,
        how: How,
        listener: Listener,
    ) -> PyResult<Self> {
        let recipe = recipes::load(recipe, &how.settings()?).map_err(raise)?;
        let train = Train { from: from_run, data, ..how.train(recipe, None)? };
        Self::trained(py, train, &listener, Arc::default())
    }

    /// Opens the run in a folder, with the energy that it was trained with where one is handed in.
    #[staticmethod]
    fn open(
        path: PathBuf,
        settings: Vec<String>,
        energy: Option<&Bound<'_, PyAny>>,
        threads: Option<usize>,
        backend: Option<&str>,
    ) -> PyResult<Self> {
        let how = How { settings, out: path, threads, backend: None };
        let run = maflow::run::Run::open(&how.out, &how.settings()?).map_err(raise)?;
        let compute = compute(threads, backend, run.recipe().run.as_ref().map(|run| run.backend))?;
        backend::require_parts(compute.backend, run.recipe()).map_err(raise)?;
        let run = run.with_compute(compute);
        let kept = Kept::read(&how.out, run.recipe()).map_err(raise)?;
        let Some(function) = energy else {
            return Ok(Self { run, kept, raised: Arc::default() });
        };
        let Given { energy, raised } = energy::given(function, run.recipe().dimension())?;
        let target = OwnEnergy::of_run(energy, run.recipe(), &kept.standardisation).map_err(raise)?;
        Ok(Self { run: run.with_target(Arc::new(target)), kept, raised })
    }

    /// Goes on from the newest checkpoint, with changes such as more steps.
    fn resume(&self, py: Python<'_>, how: How, listener: Listener) -> PyResult<Self> {
        let recipe = maflow::run::Run::open(&how.out, &how.settings()?).map_err(raise)?.recipe().clone();
        let train = Train { start: Start::Resume(how.out.clone()), ..how.train(recipe, self.run.target().cloned())? };
        Self::trained(py, train, &listener, Arc::clone(&self.raised))
    }

    /// The folder.
    #[getter]
    fn path(&self) -> PathBuf {
        self.run.path().to_owned()
    }

    /// Where its numbers are computed.
    #[getter]
    fn backend(&self) -> &'static str {
        self.run.compute().backend.name()
    }

    /// The recipe as JSON.
    #[getter]
    fn recipe(&self) -> PyResult<String> {
        serde_json::to_string(self.run.recipe()).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// What the target is, in words.
    #[getter]
    fn words(&self) -> &'static str {
        self.run.recipe().target.words()
    }

    /// Numbers per row.
    #[getter]
    fn dimension(&self) -> usize {
        self.run.recipe().dimension()
    }

    /// Names of the columns of a table; none of other targets.
    #[getter]
    fn names(&self) -> Vec<String> {
        self.kept.table.iter().flat_map(TableMap::names).map(str::to_owned).collect()
    }

    /// Names of the columns that the density is conditional on.
    #[getter]
    fn given(&self) -> Vec<String> {
        self.kept.context(self.run.recipe()).names().into_iter().map(str::to_owned).collect()
    }

    /// ln p of rows, and integration errors.
    #[allow(clippy::type_complexity, reason = "two arrays")]
    fn log_prob<'py>(
        &self,
        py: Python<'py>,
        x: Columns<'py>,
        given: Option<Columns<'py>>,
    ) -> PyResult<(Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>)> {
        let found = self.of_rows(py, RowQuantity::LogProb, &x, given.as_ref())?;
        Ok((vector(py, found.values), vector(py, found.integration_errors)))
    }

    /// Base coordinates of rows, and integration errors.
    #[allow(clippy::type_complexity, reason = "two arrays")]
    fn to_base<'py>(
        &self,
        py: Python<'py>,
        x: Columns<'py>,
        given: Option<Columns<'py>>,
    ) -> PyResult<(Bound<'py, PyArray2<f64>>, Bound<'py, PyArray1<f64>>)> {
        let found = self.of_rows(py, RowQuantity::Base, &x, given.as_ref())?;
        Ok((matrix(py, found.values, self.dimension())?, vector(py, found.integration_errors)))
    }

    /// Rows from base coordinates, and integration errors.
    #[allow(clippy::wrong_self_convention, reason = "the inverse of to_base, by the name that it has in Python")]
    #[allow(clippy::type_complexity, reason = "two arrays")]
    fn from_base<'py>(
        &self,
        py: Python<'py>,
        z: Columns<'py>,
        given: Option<Columns<'py>>,
    ) -> PyResult<(Bound<'py, PyArray2<f64>>, Bound<'py, PyArray1<f64>>)> {
        let found = self.of_rows(py, RowQuantity::FromBase, &z, given.as_ref())?;
        Ok((matrix(py, found.values, self.dimension())?, vector(py, found.integration_errors)))
    }

    /// Samples: so many, or one for each row that is given.
    fn sample<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        given: Option<Columns<'py>>,
        seed: Option<u64>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let context = self.context(given.as_ref(), None)?;
        let run = self.seeded(seed);
        let silent = Listener::silent();
        let samples = watched(py, &silent, &self.raised, |monitor| {
            let flow = run.flow(monitor)?;
            let mut samples = Vec::new();
            for i in 0..sampling::batches(count) {
                if monitor.cancelled() {
                    return Err(Error::Cancelled);
                }
                samples.extend(flow.sample_batch(i, count, &context)?);
            }
            run.units(self.kept.clone())?.to_user(&mut samples, &context);
            Ok(samples)
        })?;
        matrix(py, samples, self.dimension())
    }

    /// Samples of the flow of an energy, their log-weights, the integration errors of these, and for each of so many
    /// chains of the independence Metropolis algorithm the numbers of the samples that it stands on.
    #[expect(clippy::type_complexity, reason = "a tuple of arrays is what Python takes apart")]
    fn weighted<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        chains: usize,
        seed: Option<u64>,
        listener: Listener,
    ) -> PyResult<(Bound<'py, PyArray2<f64>>, Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>, Vec<Vec<usize>>)>
    {
        let run = self.seeded(seed);
        let seed = run.recipe().train.seed;
        let (found, walked) = watched(py, &listener, &self.raised, |monitor| {
            let found = run.weighted_samples(count, monitor)?;
            let losses: Vec<f64> = found.log_weights.iter().map(|log_weight| -log_weight).collect();
            let key = RngKey::new(seed, Purpose::Chain, u64::MAX);
            let walked = (chains > 0).then(|| IndependenceMetropolis::walk(&losses, chains, key).chains);
            Ok((found, walked.unwrap_or_default()))
        })?;
        let points = matrix(py, found.points, self.dimension())?;
        Ok((points, vector(py, found.log_weights), vector(py, found.integration_errors), walked))
    }

    /// What the flow of an energy says of that, as JSON.
    fn physics(
        &self,
        py: Python<'_>,
        samples: usize,
        chain: usize,
        leapfrog: usize,
        listener: Listener,
    ) -> PyResult<String> {
        let counts = SampleCounts { samples, chain, leapfrog, forces: FORCES };
        watched(py, &listener, &self.raised, |monitor| match self.run.recipe().target.temperatures() {
            Some(_) => Ok(AtTemperature::json(&self.run.temperatures(counts, monitor)?)),
            None => Ok(self.run.physics(counts, monitor)?.json()),
        })
    }

    /// The figures as JSON.
    fn report(&self, py: Python<'_>, listener: Listener) -> PyResult<String> {
        Ok(watched(py, &listener, &self.raised, |monitor| self.run.report(monitor))?.json())
    }
}

impl Run {
    /// The same with another seed for its samples.
    fn seeded(&self, seed: Option<u64>) -> maflow::run::Run {
        let mut recipe = self.run.recipe().clone();
        recipe.train.seed = seed.unwrap_or(recipe.train.seed);
        self.run.clone().with_recipe(recipe)
    }

    /// Trains, and opens what came of it.
    fn trained(py: Python<'_>, train: Train, listener: &Listener, raised: Arc<Raised>) -> PyResult<Self> {
        let (compute, own) = (train.compute, train.target.clone());
        let done = watched(py, listener, &raised, |monitor| train.run(monitor))?;
        let path = done.run.path().to_owned();
        let kept = Kept::read(&path, &done.recipe).map_err(raise)?;
        let run = maflow::run::Run::create(path, done.recipe).with_compute(compute);
        let run = match own {
            Some(own) => run.with_target(own),
            None => run,
        };
        Ok(Self { run, kept, raised })
    }

    fn of_rows(
        &self,
        py: Python<'_>,
        wanted: RowQuantity,
        x: &Columns<'_>,
        given: Option<&Columns<'_>>,
    ) -> PyResult<Found> {
        let (table, context) = self.points(wanted, x, given)?;
        let (n, count) = (self.dimension(), table.rows());
        let width = context.len() / count.max(1);
        let mut found = Found { values: Vec::with_capacity(count * n), ..Found::default() };
        watched(py, &Listener::silent(), &self.raised, |monitor| {
            let mut first = 0;
            let mut next = || {
                if monitor.cancelled() {
                    return Err(Error::Cancelled);
                }
                let rows = first..(first + BLOCK).min(count);
                first = rows.end;
                let points = table.values()[rows.start * n..rows.end * n].to_vec();
                let context = context[rows.start * width..rows.end * width].to_vec();
                Ok((!rows.is_empty()).then_some(Rows { points, context }))
            };
            self.run.stream(wanted, &mut next, &mut |block: Found| {
                found.values.extend(block.values);
                found.integration_errors.extend(block.integration_errors);
                found.probe_errors.extend(block.probe_errors);
                Ok(())
            })
        })?;
        Ok(found)
    }

    /// Rows and their contexts, checked.
    fn points(&self, wanted: RowQuantity, x: &Columns<'_>, given: Option<&Columns<'_>>) -> PyResult<(Table, Vec<f64>)> {
        let n = self.dimension();
        let numbered: Vec<String> = (0..n).map(|i| format!("x{i}")).collect();
        let numbered: Vec<&str> = numbered.iter().map(String::as_str).collect();
        let Some(map) = &self.kept.table else {
            let table = x.table("x", &numbered)?;
            let context = self.context_of(given, &table)?;
            if table.columns().len() != n {
                return Err(raise(Error::Argument(format!(
                    "x has {} columns, but the flow has {n} numbers per row; give one column for each",
                    table.columns().len()
                ))));
            }
            return Ok((table, context));
        };
        let names = map.names();
        let table = x.table("x", if wanted == RowQuantity::FromBase { &numbered } else { &names })?;
        let context = self.context(given, Some(&table))?;
        if wanted == RowQuantity::FromBase {
            return Ok((table, context));
        }
        let points = table.select(&names).map_err(|error| raise(error.into()))?;
        map.require_inside(&points).map_err(raise)?;
        Ok((points, context))
    }

    /// The context of rows that have none of its columns beside them.
    fn context_of(&self, given: Option<&Columns<'_>>, rows: &Table) -> PyResult<Vec<f64>> {
        let context = self.context(given, None)?;
        match given.map(Columns::rows) {
            Some(found) if found != rows.rows() => Err(uneven(found, rows.rows())),
            _ => Ok(context),
        }
    }

    /// The context of rows, which may stand beside them.
    fn context(&self, given: Option<&Columns<'_>>, beside: Option<&Table>) -> PyResult<Vec<f64>> {
        if let (Some(found), Some(rows)) = (given.map(Columns::rows), beside.map(Table::rows))
            && found != rows
        {
            return Err(uneven(found, rows));
        }
        let context = Some(self.kept.context(self.run.recipe())).filter(|context| context.width() > 0);
        match (context, given, beside) {
            (None, None, _) => Ok(Vec::new()),
            (None, Some(_), _) => {
                Err(PyValueError::new_err("the density is not conditional, and takes no context; leave `given` out"))
            }
            (Some(context), Some(given), _) => {
                let table = given.table("given", &context.names())?;
                context.encode(&table).map_err(|error| raise(error.into()))
            }
            (Some(context), None, Some(table)) if context.names().iter().all(|name| table.position(name).is_ok()) => {
                context.encode(table).map_err(|error| raise(error.into()))
            }
            (Some(context), None, _) => Err(PyValueError::new_err(format!(
                "the density is conditional on {}; give a row of these for every row, as `given`",
                context.names().join(", ")
            ))),
        }
    }
}

fn uneven(found: usize, rows: usize) -> PyErr {
    PyValueError::new_err(format!("given has {found} rows, but x has {rows}; give one for every row of x"))
}
