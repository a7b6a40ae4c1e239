//! From a file of one's own to a recipe, by stated rules: columns, transformations, potential and training.

mod rules;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use datasets::columns::{MapKind, Regression, Transform, plan};
use datasets::table::{Context, Kind, ReadOptions, Table as Rows};
pub use rules::{FitModel, recipe_for};
use rules::{Form, by_rules};

use crate::backend::Compute;
use crate::error::Error;
use crate::metrics;
use crate::monitor::{Monitor, Task};
use crate::recipe::{Arithmetic, MOST_PAIRED, Recipe, TableTarget, TargetKind, Whitening};
use crate::run::Run;
use crate::run_dir;
use crate::target::{Given, Parts, Split, Table, TableMap, Target, as_they_weigh};

/// What is to be fitted, and for how long.
#[derive(Debug, Clone)]
pub struct Fit {
    /// File with the rows to train on, or with all rows.
    pub file: PathBuf,
    /// File with rows for choices during training.
    pub validation: Option<PathBuf>,
    /// File with rows for final figures.
    pub test: Option<PathBuf>,
    /// Names of the columns that the density is to be conditional on.
    pub given: Vec<String>,
    /// Name of the column that says what each row counts.
    pub weights: Option<String>,
    /// Transformations of columns by name, where the rules are not to choose them.
    pub transforms: Vec<(String, Transform)>,
    /// What of the columns depends on those given before the flow.
    pub regression: Regression,
    /// What is fitted to the rows.
    pub model: FitModel,
    /// How files are read.
    pub read: ReadOptions,
    /// Minutes of training, about; by the rules where they are left out.
    pub minutes: Option<f64>,
    /// Gradient steps, in place of those that fit into the minutes; all of them are made.
    pub steps: Option<usize>,
    /// How numbers are computed with.
    pub precision: Arithmetic,
    /// Seed of every random number.
    pub seed: u64,
}

/// A recipe, and what a user should know of how it was chosen.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The recipe, complete.
    pub recipe: Recipe,
    /// Its target, which has the rows in memory.
    pub target: Arc<Table>,
    /// Sentences.
    pub notes: Vec<String>,
}

/// Steps of the short training that tells how long a step takes.
const TRIAL: usize = 40;
/// The steps that are timed: the first are slower, and after the last one it is validated and stored.
const TIMED: [u64; 2] = [10, 39];
/// The fewest and the most gradient steps.
const STEPS: [f64; 2] = [500.0, 30_000.0];
/// The most rows of a validation, which integrates each of them.
const VALIDATED: usize = 1000;
/// The fewest and the most validations of a training.
const VALIDATIONS: [f64; 2] = [4.0, 20.0];
/// The share of the time that validations may take where there are more than the fewest.
const VALIDATING: f64 = 0.15;
/// Validations in a row without a better one that end a training: a quarter of the most.
const PATIENCE: usize = 5;
/// The share of the time for each of the short trainings that choose between transformations, and of stated steps.
const COMPARING: f64 = 0.1;
/// The fewest and the most steps of such a training by time.
const COMPARED: [f64; 2] = [500.0, 3000.0];
/// Most different whole numbers of a given column that are taken for categories.
const MOST_NUMBERED: usize = 16;
/// Most categories of a given column.
const MOST_CATEGORIES: usize = 1000;

impl Fit {
    /// Reads the file, checks it, and writes a recipe for it.
    ///
    /// The rules: columns as [`datasets::columns::plan`] chooses them, and whitened. Where independent columns describe
    /// the validation rows better than a Gaussian does, columns mapped to normal ones are tried too: those
    /// transformations are taken that describe these rows better after a tenth of the training. The potential is a full
    /// quadratic form and two layers of hidden units: 128 and 64 up to 3 columns, 192 and 96 up to 10, 256 and 128
    /// beyond, half of that for fewer than 3000 training rows. It is trained by flow matching on batches of 256 rows at
    /// 4 times each (fewer where there are fewer rows), for as many steps as fit into the time beside the validations,
    /// which a short trial tells: 2 minutes up to 3 columns, 4 beyond, or as many as are given. Up to 20 times, as
    /// often as takes about a seventh of the time and 4 times at least, 1000 validation rows are looked at; the best
    /// weights are kept, and five times in a row without better ones end the training.
    ///
    /// Pictures in grey whose side is a multiple of 4 get a convolutional potential on libtorch, as in the recipe
    /// `mnist-conv`; its Laplacian is estimated in figures.
    ///
    /// A model in closed form is trained by likelihood in place of flow matching, its networks of two hidden layers of
    /// 128 units up to 10 columns, 512 up to 256, 1024 beyond, half of that for fewer than 3000 training rows: `made`
    /// with 10 Gaussians for every column given those before it, `maf` of 5 layers, `real-nvp` of 10 couplings.
    ///
    /// Of given columns, text and up to 16 different whole numbers are categories, and everything else is brought to
    /// zero mean and unit scale. The potential then has a quadratic form besides whose coefficients are linear in them.
    /// Location and scale of the other columns depend on them before the flow where [`Fit::regression`] says so (see
    /// [`datasets::columns::Conditional`]).
    ///
    /// # Errors
    /// Files that cannot be read, and columns that no density can be fitted to.
    pub fn plan(&self, compute: &Compute, monitor: &dyn Monitor) -> Result<Planned, Error> {
        let options = self.read_options();
        let read = |path: &PathBuf| Rows::read(path, &options);
        let all = read(&self.file)?;
        let (validation, test) = (self.validation.as_ref().map(read), self.test.as_ref().map(read));
        let absolute = |path: &PathBuf| std::path::absolute(path).map_err(Error::io("find", path));
        // A run is looked at from other folders too.
        let fit = Self {
            file: absolute(&self.file)?,
            validation: self.validation.as_ref().map(absolute).transpose()?,
            test: self.test.as_ref().map(absolute).transpose()?,
            ..self.clone()
        };
        let notes = all.notes().to_vec();
        let parts = Parts::of(all, validation.transpose()?, test.transpose()?, self.seed)?;
        let (recipe, table, more) = fit.plan_parts(&parts, compute, monitor)?;
        Ok(Planned { recipe, target: Arc::new(table), notes: [notes, more].concat() })
    }

    /// The same for rows in memory, which the run then keeps: `file` is a name for them, and nothing is read. Rows for
    /// validation and test are split off where they are not given.
    ///
    /// # Errors
    /// Columns that no density can be fitted to.
    pub fn plan_rows(
        &self,
        all: Rows,
        validation: Option<Rows>,
        test: Option<Rows>,
        compute: &Compute,
        monitor: &dyn Monitor,
    ) -> Result<Planned, Error> {
        let parts = Parts::of(all, validation, test, self.seed)?;
        let (recipe, table, notes) = self.plan_parts(&parts, compute, monitor)?;
        Ok(Planned { recipe, target: Arc::new(table.kept_by_run(parts)), notes })
    }

    fn plan_parts(
        &self,
        parts: &Parts,
        compute: &Compute,
        monitor: &dyn Monitor,
    ) -> Result<(Recipe, Table, Vec<String>), Error> {
        let (started, mut notes) = (Instant::now(), Vec::new());
        let stated: Vec<(&str, Transform)> =
            self.transforms.iter().map(|(name, transform)| (name.as_str(), *transform)).collect();
        self.require_context(&parts.training)?;
        let columns = plan(&self.points(&parts.training)?, &stated)?;
        notes.extend(columns.notes);
        let transforms = columns.transforms;
        let (categories, note) = self.categories(&parts.training)?;
        notes.extend(note);
        let context = Context::fit(&parts.training, &self.given, &categories)?;
        let rows = as_they_weigh(&parts.training, self.weights.as_deref(), self.seed)?;
        let (points, encoded) = (self.points(&rows)?, context.encode(&rows)?);
        drop(rows);
        let data = Data { parts, points: &points, context: &context, encoded: &encoded, categories: &categories };
        let normal = self.mapped_to_normal(&data, &transforms)?;
        let mut chosen = self.candidate(&data, &transforms, compute)?;
        if chosen.convolutional && self.model == FitModel::Flow && !compute.backend.is_libtorch() {
            notes.push(
                "pictures do better with a convolutional potential, which libtorch has: --backend tch-cpu".into(),
            );
        }
        let seconds = 60.0 * self.minutes.unwrap_or_else(|| minutes(points.columns().len()));
        let costs = match self.steps {
            Some(_) => None,
            None => Some(chosen.trial(compute)?),
        };
        if let Some(normal) = normal {
            let other = self.candidate(&data, &normal, compute)?;
            let steps = match (&costs, self.steps) {
                (Some(costs), _) => costs.steps_in(COMPARING * seconds),
                (None, stated) => (COMPARING * stated.unwrap_or_default() as f64).ceil() as usize,
            };
            let (better, note) = better(chosen, other, steps, compute, monitor)?;
            chosen = better;
            notes.push(note);
        }
        let Candidate { mut recipe, table, .. } = chosen;
        let (steps, validations) = match (self.steps, costs) {
            (None, Some(costs)) => costs.in_seconds(seconds - started.elapsed().as_secs_f64()),
            (stated, _) => (stated.unwrap_or_default(), VALIDATIONS[1] as usize),
        };
        pace(&mut recipe, steps, validations);
        recipe.train.patience = self.steps.is_none().then_some(PATIENCE);
        recipe.validate()?;
        let table = Arc::into_inner(table).expect("the trainings have let go of it");
        Ok((recipe, table, notes))
    }

    /// The recipe and the target with these transformations.
    fn candidate(&self, data: &Data<'_>, transforms: &[Transform], compute: &Compute) -> Result<Candidate, Error> {
        let Data { parts, points, categories, .. } = *data;
        let target = TableTarget {
            file: self.file.clone(),
            validation: self.validation.clone(),
            test: self.test.clone(),
            columns: points.names().into_iter().map(str::to_owned).collect(),
            transforms: transforms.iter().map(ToString::to_string).collect(),
            given: self.given.clone(),
            categories: categories.to_vec(),
            weights: self.weights.clone(),
            picture: picture(points),
            regression: self.regression,
            whitening: whitening(points),
            split_seed: self.seed,
            drop_missing: self.read.drop_missing,
            delimiter: self.read.delimiter,
            decimal: self.read.decimal,
            header: self.read.header,
            array: self.read.array.clone(),
        };
        let given = data.given(self.regression);
        let map = TableMap::fit_given(points, transforms, given, target.whitening, self.seed)?;
        let table = Table::new(map, parts, self.weights.as_deref(), self.seed)?.of_pictures(target.picture);
        let convolutional = table.layout().suits_convolutions();
        let recipe = self.recipe(target, parts, convolutional && compute.backend.is_libtorch())?;
        Ok(Candidate { recipe, table: Arc::new(table), convolutional })
    }

    /// Nothing can depend on a context that is not there.
    fn require_context(&self, rows: &Rows) -> Result<(), Error> {
        if self.regression == Regression::None || !self.given.is_empty() {
            return Ok(());
        }
        Err(Error::Argument(format!(
            "{}: no column can depend on others by regression where none are given; name some with `given`, or leave \
             `regression` out",
            rows.file()
        )))
    }

    /// Columns that are no part of a point.
    fn beside(&self) -> impl Iterator<Item = &String> {
        self.given.iter().chain(&self.weights)
    }

    /// Files are read with the columns beside the points too.
    fn read_options(&self) -> ReadOptions {
        let columns = self.read.columns.as_ref().map(|columns| {
            let beside = self.beside().filter(|name| !columns.contains(name));
            columns.iter().chain(beside).cloned().collect()
        });
        ReadOptions { columns, ..self.read.clone() }
    }

    /// The columns that the density is one of.
    fn points(&self, rows: &Rows) -> Result<Rows, Error> {
        self.beside().try_for_each(|name| rows.position(name).map(drop))?;
        if let Some(twice) = self.weights.as_ref().filter(|name| self.given.contains(name)) {
            return Err(Error::Argument(format!(
                "{twice:?} cannot weigh the rows and be given too; leave it out of `weights`, or of `given`"
            )));
        }
        let names: Vec<&str> =
            rows.names().into_iter().filter(|name| !self.beside().any(|beside| beside == name)).collect();
        if names.is_empty() {
            return Err(Error::Argument(format!(
                "{} has no columns beside those given ({}); leave one out of `given`",
                rows.file(),
                self.beside().map(String::as_str).collect::<Vec<_>>().join(", ")
            )));
        }
        if let Some((stated, _)) = self.transforms.iter().find(|(name, _)| self.beside().any(|beside| beside == name)) {
            return Err(Error::Argument(format!(
                "{stated:?} is no part of a row's point, and gets no transformation; leave it out of `transform`"
            )));
        }
        Ok(rows.select(&names)?)
    }

    /// Given columns of whole numbers that are taken for categories, and a sentence on all that are given.
    fn categories(&self, rows: &Rows) -> Result<(Vec<String>, Option<String>), Error> {
        let (mut categories, mut words) = (Vec::new(), Vec::new());
        for name in &self.given {
            let place = rows.position(name)?;
            let mut distinct: Vec<f64> = rows.column(place).collect();
            distinct.sort_by(f64::total_cmp);
            distinct.dedup();
            let (kind, count) = (&rows.columns()[place].kind, distinct.len());
            let refuse = |why: String| {
                Err(Error::Argument(format!(
                    "{}: the given column {name:?} {why}; leave it out of `given`",
                    rows.file()
                )))
            };
            if count < 2 {
                return refuse("has the same value in all training rows, which nothing can depend on".to_owned());
            }
            let text = matches!(kind, Kind::Text(_));
            if text && count > MOST_CATEGORIES {
                return refuse(format!("has {count} categories, and at most {MOST_CATEGORIES} are taken"));
            }
            let numbered = *kind == Kind::Integer && count <= MOST_NUMBERED;
            categories.extend(numbered.then(|| name.clone()));
            words.push(match text || numbered {
                true => format!("{name:?} ({count} categories)"),
                false => format!("{name:?} (a number)"),
            });
        }
        let note =
            (!words.is_empty()).then(|| format!("{}: the density is conditional on {}", rows.file(), words.join(", ")));
        Ok((categories, note))
    }

    /// Transformations that map every column to a normal one, so that the flow has the dependences alone to learn:
    /// worth a try where independent columns describe the validation rows better than a Gaussian does.
    fn mapped_to_normal(&self, data: &Data<'_>, transforms: &[Transform]) -> Result<Option<Vec<Transform>>, Error> {
        let Data { parts, points, .. } = *data;
        let map = TableMap::fit_given(points, transforms, data.given(Regression::None), Whitening::None, self.seed)?;
        let [gaussian, independent] = Table::new(map, parts, self.weights.as_deref(), self.seed)?
            .yardsticks(Split::Validation, parts.validation.rows())?;
        let (Some(gaussian), Some(independent)) = (gaussian, independent) else { return Ok(None) };
        if independent >= gaussian {
            return Ok(None);
        }
        let mut mapped = transforms.to_vec();
        for (transform, name) in mapped.iter_mut().zip(points.names()) {
            let stated = self.transforms.iter().any(|(column, _)| column == name);
            if !stated && matches!(transform.map, MapKind::Standardise | MapKind::Tail) {
                transform.map = MapKind::Quantile;
            }
        }
        Ok((mapped != transforms).then_some(mapped))
    }

    fn recipe(&self, target: TableTarget, parts: &Parts, convolutional: bool) -> Result<Recipe, Error> {
        let name = self.file.file_stem().map_or("table".to_owned(), |stem| name_of(&stem.to_string_lossy()));
        let form = Form { model: self.model, convolutional };
        let mut recipe = by_rules(&name, TargetKind::Table(target), Some(parts.training.rows()), form)?;
        recipe.train.validation_samples = Some(VALIDATED);
        recipe.train.precision = self.precision;
        recipe.train.seed = self.seed;
        recipe.description = format!("fitted to {}", self.file.display());
        Ok(recipe)
    }
}

/// The full covariance is whitened where there are enough rows to know it.
fn whitening(rows: &Rows) -> Whitening {
    let n = rows.columns().len();
    let known = n <= MOST_PAIRED && rows.rows() >= 4 * n && rows.picture().is_none();
    if known { Whitening::Full } else { Whitening::Columns }
}

/// Height and width of rows that are pictures in grey.
fn picture(rows: &Rows) -> Option<[usize; 2]> {
    rows.picture().filter(|picture| picture.channels == 1).map(|picture| [picture.height, picture.width])
}

/// A file's name as that of a recipe: letters, digits, `-` and `_`, without an ending.
fn name_of(stem: &str) -> String {
    let stem = stem.split('.').next().unwrap_or_default();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    if name.is_empty() { "table".to_owned() } else { name }
}

/// Default minutes of training for this many columns.
fn minutes(columns: usize) -> f64 {
    if columns <= 3 { 2.0 } else { 4.0 }
}

/// Seconds that parts of a training take here.
struct Trial {
    /// A gradient step.
    step: f64,
    /// A validation.
    validation: f64,
}

impl Trial {
    /// Steps of a short training with one validation that fit into a time.
    fn steps_in(&self, seconds: f64) -> usize {
        let [fewest, most] = COMPARED;
        ((seconds - self.validation) / self.step).clamp(fewest, most) as usize
    }

    /// Steps and validations that fit into a time.
    fn in_seconds(&self, seconds: f64) -> (usize, usize) {
        let [fewest, most] = VALIDATIONS;
        let validations = (VALIDATING * seconds / self.validation).clamp(fewest, most).floor();
        let [fewest, most] = STEPS;
        let steps = ((seconds - validations * self.validation) / self.step).clamp(fewest, most);
        (steps as usize, validations as usize)
    }
}

/// Gives a recipe its steps and validations.
fn pace(recipe: &mut Recipe, steps: usize, validations: usize) {
    let train = &mut recipe.train;
    train.set_steps(steps);
    train.validate_every = steps.div_ceil(validations);
    train.checkpoint_every = (steps / 10).max(1);
}

/// What the recipe of a fit is made of.
#[derive(Clone, Copy)]
struct Data<'a> {
    parts: &'a Parts,
    points: &'a Rows,
    context: &'a Context,
    /// The context of every point.
    encoded: &'a [f64],
    categories: &'a [String],
}

impl Data<'_> {
    fn given(&self, regression: Regression) -> Given<'_> {
        Given { context: self.context, encoded: self.encoded, regression }
    }
}

/// A recipe before its steps are known, with its target.
struct Candidate {
    recipe: Recipe,
    table: Arc<Table>,
    /// Whether the rows are pictures that a convolutional potential takes.
    convolutional: bool,
}

impl Candidate {
    /// A few steps of the training and one validation.
    fn trial(&self, compute: &Compute) -> Result<Trial, Error> {
        let rows = self.shortly(TRIAL, compute, &())?;
        let seconds = |step: u64| rows.iter().find(|row| row.step == step).map(|row| row.seconds);
        match [TIMED[0], TIMED[1], TRIAL as u64].map(seconds) {
            [Some(from), Some(to), Some(end)] => {
                let step = (to - from) / (TIMED[1] - TIMED[0]) as f64;
                Ok(Trial { step, validation: (end - to - step).max(0.0) })
            }
            _ => Err(no_metrics()),
        }
    }

    /// The negative log-likelihood of validation rows after a training of `steps` steps.
    fn after(&self, steps: usize, compute: &Compute, monitor: &dyn Monitor) -> Result<f64, Error> {
        let rows = self.shortly(steps, compute, &Unheard(monitor))?;
        if monitor.cancelled() {
            return Err(Error::Cancelled);
        }
        let found = rows.last().and_then(|row| row.validation).ok_or_else(no_metrics)?;
        // A candidate whose likelihood is NaN is worse than any other.
        Ok(if found.is_nan() { f64::INFINITY } else { found })
    }

    /// The metrics of a training of `steps` steps that is validated at its end, with weights averaged over about its
    /// last fifth. It runs in a temporary folder.
    fn shortly(&self, steps: usize, compute: &Compute, monitor: &dyn Monitor) -> Result<Vec<metrics::Row>, Error> {
        let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
        let mut recipe = self.recipe.clone();
        recipe.train.set_steps(steps);
        recipe.train.validate_every = steps;
        recipe.train.average = Some(1.0 - 5.0 / steps.max(10) as f64);
        let run = Run::create(folder.path().join("trial"), recipe);
        let run = run.with_compute(*compute).with_target(self.table.clone());
        run.train(monitor)?;
        metrics::read(&run_dir::metrics(run.path()))
    }
}

/// A candidate or the one whose columns are mapped to normal ones: whichever describes validation rows better after a
/// short training. With a sentence that says so.
fn better(
    plain: Candidate,
    mapped: Candidate,
    steps: usize,
    compute: &Compute,
    monitor: &dyn Monitor,
) -> Result<(Candidate, String), Error> {
    let task = Task::start(monitor, "trying transformations", 2);
    let without = plain.after(steps, compute, monitor)?;
    task.update(1, "quantile");
    let with = mapped.after(steps, compute, monitor)?;
    let (chosen, verb) = if with < without { (mapped, "are") } else { (plain, "are not") };
    let note = format!(
        "columns {verb} mapped to normal ones (quantile): after {steps} steps validation rows have {with:.2} nats with \
         that, and {without:.2} without"
    );
    Ok((chosen, note))
}

fn no_metrics() -> Error {
    Error::Failed("a short training has left no metrics; try again".to_owned())
}

/// The monitor of a trial training: it passes nothing on to the caller's monitor, but ends the trial where that asks
/// for an end.
struct Unheard<'a>(&'a dyn Monitor);

impl Monitor for Unheard<'_> {
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}
