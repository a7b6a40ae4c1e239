//! From a file of one's own to a recipe, by stated rules: columns, transformations, potential and training.

use std::path::PathBuf;
use std::sync::Arc;

use datasets::columns::{MapKind, Transform, plan};
use datasets::table::{Context, Kind, ReadOptions, Table as Rows};
use flow_core::Estimator;
use toml::Value;

use crate::backend::Compute;
use crate::error::Error;
use crate::metrics;
use crate::recipe::{
    Arithmetic, FineTune, MOST_PAIRED, Objective, OwnTarget, Recipe, TableTarget, TargetKind, Whitening, from_table,
    terms,
};
use crate::run::Run;
use crate::run_dir;
use crate::target::{Parts, Split, Table, TableMap, Target, as_they_weigh};

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

/// The parts of a recipe that no rule changes.
const TEMPLATE: &str = r#"
[potential]
kind = "sum"
terms = []

[flow]
time = 1.0
steps = 16
method = "rk4"

[train]
objective = "flow-matching"
batch = 256
steps = 5000
learning_rate = 5e-3
times = 4
optimizer = "adam"
average = 0.999
schedule = { kind = "cosine", warmup = 100, final_fraction = 0.0 }
"#;

/// The same for square pictures on libtorch.
const PICTURES: &str = r#"
[potential]
kind = "sum"
terms = [
    { kind = "quadratic", time_terms = 5 },
    { kind = "separable", centres = 16, interval = [-3.0, 3.0], time_terms = 5 },
    { kind = "convolutional", channels = [32, 64], hidden = 400, probes = 1, time_terms = 5 },
]

[flow]
time = 1.0
steps = 10
method = "rk4"

[train]
objective = "flow-matching"
focus = 0.1
batch = 256
steps = 5000
learning_rate = 8e-3
times = 4
optimizer = "adam"
clip_norm = 1.0
average = 0.998
watch_every = 0
schedule = { kind = "cosine", warmup = 100, final_fraction = 0.0 }
"#;

/// Steps of the short training that tells how long a step takes.
const TRIAL: usize = 40;
/// The steps that are timed: the first are slower, and after the last one it is validated and stored.
const TIMED: [u64; 2] = [10, 39];
/// The fewest and the most gradient steps.
const STEPS: [f64; 2] = [100.0, 30_000.0];
/// The most rows of a validation, which integrates each of them.
const VALIDATED: usize = 1000;
/// The fewest and the most validations of a training.
const VALIDATIONS: [f64; 2] = [4.0, 20.0];
/// The share of the time that validations may take where there are more than the fewest.
const VALIDATING: f64 = 0.15;
/// Validations in a row without a better one that end a training: a quarter of the most.
const PATIENCE: usize = 5;
/// Most different whole numbers of a given column that are taken for categories.
const MOST_NUMBERED: usize = 16;
/// Most categories of a given column.
const MOST_CATEGORIES: usize = 1000;

impl Fit {
    /// Reads the file, checks it, and writes a recipe for it.
    ///
    /// The rules: columns as [`datasets::columns::plan`] chooses them; where independent columns describe the
    /// validation rows better than a Gaussian does, mapped to normal ones; and whitened. The potential is a full
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
    /// Of given columns, text and up to 16 different whole numbers are categories, and everything else is brought to zero
    /// mean and unit scale. The potential then has a quadratic form besides whose coefficients are linear in them.
    ///
    /// # Errors
    /// Files that cannot be read, and columns that no density can be fitted to.
    pub fn plan(&self, compute: &Compute) -> Result<Planned, Error> {
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
        let (recipe, table, more) = fit.plan_parts(&parts, compute)?;
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
    ) -> Result<Planned, Error> {
        let parts = Parts::of(all, validation, test, self.seed)?;
        let (recipe, table, notes) = self.plan_parts(&parts, compute)?;
        Ok(Planned { recipe, target: Arc::new(table.kept_by_run(parts)), notes })
    }

    fn plan_parts(&self, parts: &Parts, compute: &Compute) -> Result<(Recipe, Table, Vec<String>), Error> {
        let mut notes = Vec::new();
        let stated: Vec<(&str, Transform)> =
            self.transforms.iter().map(|(name, transform)| (name.as_str(), *transform)).collect();
        let points = self.points(&parts.training)?;
        let columns = plan(&points, &stated)?;
        let points = as_they_weigh(points, &parts.training, self.weights.as_deref(), self.seed)?;
        notes.extend(columns.notes);
        let mut transforms = columns.transforms;
        let (categories, note) = self.categories(&parts.training)?;
        notes.extend(note);
        let context = Context::fit(&parts.training, &self.given, &categories)?;
        notes.extend(self.flatten(parts, &points, &context, &mut transforms)?);
        let target = TableTarget {
            file: self.file.clone(),
            validation: self.validation.clone(),
            test: self.test.clone(),
            columns: points.names().into_iter().map(str::to_owned).collect(),
            transforms: transforms.iter().map(ToString::to_string).collect(),
            given: self.given.clone(),
            categories,
            weights: self.weights.clone(),
            picture: picture(&points),
            whitening: whitening(&points),
            split_seed: self.seed,
            drop_missing: self.read.drop_missing,
            delimiter: self.read.delimiter,
            decimal: self.read.decimal,
            header: self.read.header,
            array: self.read.array.clone(),
        };
        let map = TableMap::fit(&points, &transforms, target.whitening, self.seed)?.given(context);
        let table = Table::new(map, parts, self.weights.as_deref(), self.seed)?.of_pictures(target.picture);
        let table = Arc::new(table);
        let convolutional = table.layout().suits_convolutions();
        let libtorch = compute.backend.is_libtorch();
        if convolutional && !libtorch {
            notes.push(
                "pictures do better with a convolutional potential, which libtorch has: --backend tch-cpu".into(),
            );
        }
        let mut recipe = self.recipe(target, parts, convolutional && libtorch)?;
        let (steps, validations) = match self.steps {
            Some(steps) => (steps, VALIDATIONS[1] as usize),
            None => {
                let minutes = self.minutes.unwrap_or_else(|| minutes(points.columns().len()));
                trial(&recipe, Arc::clone(&table), compute)?.in_seconds(60.0 * minutes)
            }
        };
        pace(&mut recipe, steps, validations);
        recipe.train.patience = self.steps.is_none().then_some(PATIENCE);
        recipe.validate()?;
        let table = Arc::into_inner(table).expect("the trial has let go of it");
        Ok((recipe, table, notes))
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

    /// Maps every column to a normal one where independent columns describe the validation rows better than a Gaussian
    /// does: the flow then has the dependences alone to learn. Says so.
    fn flatten(
        &self,
        parts: &Parts,
        points: &Rows,
        context: &Context,
        transforms: &mut [Transform],
    ) -> Result<Option<String>, Error> {
        let map = TableMap::fit(points, transforms, Whitening::None, self.seed)?.given(context.clone());
        let [gaussian, independent] = Table::new(map, parts, self.weights.as_deref(), self.seed)?
            .yardsticks(Split::Validation, parts.validation.rows())?;
        let (Some(gaussian), Some(independent)) = (gaussian, independent) else { return Ok(None) };
        if independent >= gaussian {
            return Ok(None);
        }
        for (transform, name) in transforms.iter_mut().zip(points.names()) {
            let stated = self.transforms.iter().any(|(column, _)| column == name);
            if !stated && matches!(transform.map, MapKind::Standardise | MapKind::Tail) {
                transform.map = MapKind::Quantile;
            }
        }
        Ok(Some(format!(
            "independent columns describe the validation rows better than a Gaussian does ({independent:.2} against \
             {gaussian:.2} nats): columns are mapped to normal ones (quantile)"
        )))
    }

    fn recipe(&self, target: TableTarget, parts: &Parts, convolutional: bool) -> Result<Recipe, Error> {
        let name = self.file.file_stem().map_or("table".to_owned(), |stem| name_of(&stem.to_string_lossy()));
        let mut recipe = by_rules(&name, TargetKind::Table(target), Some(parts.training.rows()), convolutional)?;
        recipe.train.validation_samples = Some(VALIDATED);
        recipe.train.precision = self.precision;
        recipe.train.seed = self.seed;
        recipe.description = format!("fitted to {}", self.file.display());
        Ok(recipe)
    }
}

/// A recipe for a target of the caller's own, to be changed at will. The potential is that of [`Fit::plan`]; a target
/// with samples is trained by flow matching in 5000 steps, and where it has an energy too then by free energy in 400; one
/// with an energy alone by free energy in 2000, with layers half as wide.
///
/// ```
/// use maflow::fit;
/// use maflow::target::{Table, Target};
/// let rows: Vec<f64> = (0..400).map(|i| (f64::from(i) * 0.7).sin()).collect();
/// let target = Table::of_rows(&["x", "y"], rows, 0)?;
/// let recipe = fit::recipe_for(&target)?;
/// assert_eq!((recipe.dimension(), recipe.train.steps), (2, Some(5000)));
/// # Ok::<(), maflow::Error>(())
/// ```
///
/// # Errors
/// A target that has neither samples nor an energy.
pub fn recipe_for(target: &dyn Target) -> Result<Recipe, Error> {
    let (samples, energy) = (target.samples().is_some(), target.energy().is_some());
    if !samples && !energy {
        return Err(Error::Argument("the target has neither samples nor an energy to learn from".to_owned()));
    }
    let own = OwnTarget {
        dimension: target.dimension(),
        energy,
        samples,
        context: target.context_dim(),
        standardise: target.standardise(),
    };
    let mut recipe = by_rules("own", TargetKind::Own(own), target.training_rows(), false)?;
    if !samples {
        recipe.flow.steps = 8;
        recipe.train.objective = Objective::FreeEnergy;
        recipe.train.gradient = Estimator::Path;
        recipe.train.learning_rate = 1e-2;
        recipe.train.average = Some(0.99);
        recipe.train.steps = Some(2000);
    } else if energy {
        recipe.fine_tune = Some(FineTune {
            steps: 400,
            batch: recipe.train.batch,
            learning_rate: 1e-3,
            clip_norm: Some(100.0),
            average: Some(0.99),
            gradient: Estimator::Path,
        });
    }
    recipe.validate()?;
    Ok(recipe)
}

/// A recipe for a target with so many training rows, where there is an end of them.
fn by_rules(name: &str, target: TargetKind, rows: Option<usize>, convolutional: bool) -> Result<Recipe, Error> {
    let (n, conditional) = (target.layout().dimension(), target.is_conditional());
    // By free energy every step integrates, and its gradient takes several times the work.
    let by_energy = matches!(&target, TargetKind::Own(own) if own.energy && !own.samples);
    let divisor = if by_energy || rows.is_some_and(|rows| rows < 3000) { 2 } else { 1 };
    let written =
        Value::try_from(&target).map_err(|error| Error::Failed(format!("cannot write the target: {error}")))?;
    let template = if convolutional { PICTURES } else { TEMPLATE };
    let mut table: toml::Table = template.parse().expect("the templates are TOML");
    table.insert("target".to_owned(), written);
    if !convolutional {
        table["potential"]["terms"] = terms(n, divisor, conditional).into();
    }
    table["train"]["batch"] = Value::Integer(rows.unwrap_or(256).min(256) as i64);
    Ok(from_table(table, name)?)
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

/// Minutes of training of so many columns where nobody says otherwise.
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

/// A few steps of the training and one validation, in a folder that is gone afterwards.
fn trial(recipe: &Recipe, target: Arc<Table>, compute: &Compute) -> Result<Trial, Error> {
    let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
    let mut recipe = recipe.clone();
    recipe.train.steps = Some(TRIAL);
    recipe.train.validate_every = TRIAL;
    let run = Run::create(folder.path().join("trial"), recipe);
    let run = run.with_compute(*compute).with_target(target);
    run.train(&())?;
    let rows = metrics::read(&run_dir::metrics(run.path()))?;
    let seconds = |step: u64| rows.iter().find(|row| row.step == step).map(|row| row.seconds);
    match [TIMED[0], TIMED[1], TRIAL as u64].map(seconds) {
        [Some(from), Some(to), Some(end)] => {
            let step = (to - from) / (TIMED[1] - TIMED[0]) as f64;
            Ok(Trial { step, validation: (end - to - step).max(0.0) })
        }
        _ => Err(Error::Failed("the trial has left no metrics; try again".to_owned())),
    }
}
