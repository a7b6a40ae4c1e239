//! Trainings: fits, recipes, and runs that go on.

use std::path::{Path, PathBuf};

use datasets::table::ReadOptions;
use maflow::backend::{self, Backend};
use maflow::fit::Fit;
use maflow::recipe::{Arithmetic, Recipe};
use maflow::train::{Start, Train};
use maflow::{recipes, run_dir};

use super::flags::{compute, compute_on, load, read_options, require_data, require_parent, with_flags};
use super::{FitPlan, Plan};
use crate::args::{FitArgs, GlobalArgs, TrainArgs};
use crate::error::CliError;
use crate::library;

pub(super) fn fit(args: FitArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    if let Some(minutes) = args.minutes.filter(|minutes| !(*minutes > 0.0 && *minutes < 1e5)) {
        return Err(CliError::Usage(format!("--minutes {minutes} must be a positive number below 100000")));
    }
    if global.precision == Some(Arithmetic::Tf32) {
        return Err(CliError::Usage("--precision tf32 is for recipes; leave it out, or give f64".to_owned()));
    }
    let transforms = args.transforms.iter().map(|text| {
        let (column, transform) = text.split_once('=').ok_or_else(|| {
            CliError::Usage(format!("--transform {text} must be COLUMN=TRANSFORMATION, as --transform age=log"))
        })?;
        let transform = transform.parse().map_err(|error| CliError::Usage(format!("--transform {text}: {error}")))?;
        Ok((column.to_owned(), transform))
    });
    let fit = Fit {
        transforms: transforms.collect::<Result<_, CliError>>()?,
        file: args.file,
        validation: args.validation,
        test: args.test,
        given: args.given,
        weights: args.weights,
        regression: args.regression,
        model: args.model,
        read: ReadOptions { columns: args.columns, ..read_options(args.read) },
        minutes: args.minutes,
        steps: None,
        precision: global.precision.unwrap_or_default(),
        seed: global.seed.unwrap_or(0),
    };
    if let Some(out) = &args.out {
        require_parent(out)?;
    }
    // Models in closed form are nowhere else.
    let compute = compute_on(global, fit.model.kind().map(|_| Backend::TchCpu))?;
    fit.model.kind().map_or(Ok(()), |kind| backend::require_model(compute.backend, kind))?;
    Ok(Plan::Fit(Box::new(FitPlan { fit, out: args.out, compute })))
}

pub(super) fn train(args: TrainArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    let base = Path::new(run_dir::RUNS);
    let (mut recipe, start, own) = if args.resume {
        let path = match (&args.out, &args.recipe) {
            (Some(out), _) => out.clone(),
            (None, recipe) => {
                let recipe = recipe.as_deref().unwrap_or(recipes::DEFAULT);
                run_dir::latest(base, &load(recipe, &[])?.name)?
            }
        };
        let before = run_dir::read_recipe(&path, &[])?;
        let typed = args.recipe.as_deref().map(|recipe| require_same_recipe(&before, recipe, &path)).transpose()?;
        let recipe = run_dir::read_recipe(&path, &with_flags(&args.settings, global))?;
        require_same_model(&before, &recipe, &path)?;
        (recipe, Start::Resume(path), typed.as_ref().and_then(library::typed_in))
    } else {
        let settings = with_flags(&args.settings, global);
        let mut recipe = match (&args.recipe, &args.from) {
            (None, Some(run)) => run_dir::read_recipe(run, &settings)?,
            (recipe, _) => load(recipe.as_deref().unwrap_or(recipes::DEFAULT), &settings)?,
        };
        let own = library::typed_in(&recipe).filter(|_| args.recipe.is_some());
        recipe.run = None;
        let start = match args.out {
            Some(out) => Start::New(out),
            None => Start::NewNumbered(base.to_owned()),
        };
        (recipe, start, own)
    };
    require_data(args.data.as_deref(), &recipe)?;
    let compute = compute(global, &recipe)?;
    let (before, new) = match &start {
        Start::Resume(run) => (Some(run), false),
        Start::New(_) | Start::NewNumbered(_) => (args.from.as_ref(), true),
    };
    let typed = args.library.or(own);
    let target = library::for_training(&mut recipe, typed.as_deref(), before.map(PathBuf::as_path), new)?;
    Ok(Plan::Train(Box::new(Train { recipe, start, from: args.from, data: args.data, compute, target })))
}

/// The recipe typed, which is that of the run.
fn require_same_recipe(before: &Recipe, recipe: &str, path: &Path) -> Result<Recipe, CliError> {
    let typed = load(recipe, &[])?;
    match typed.name == before.name {
        true => Ok(typed),
        false => Err(CliError::Usage(format!(
            "{} holds a run of {}, not of {}; leave the recipe out or choose another --out",
            path.display(),
            before.name,
            typed.name
        ))),
    }
}

/// Whether normalisation layers stand between the segments of a flow.
fn has_layers(recipe: &Recipe) -> bool {
    recipe.flow().is_some_and(|flow| flow.normalisation.is_some())
}

/// A resumed run keeps everything that its checkpoints or its random numbers depend on.
fn require_same_model(before: &Recipe, after: &Recipe, path: &Path) -> Result<(), CliError> {
    let (b, a) = (&before.train, &after.train);
    let changed = [
        ("target", before.target != after.target),
        ("potential", before.potential() != after.potential()),
        ("model", before.model() != after.model()),
        ("flow.time", before.flow().map(|flow| flow.time) != after.flow().map(|flow| flow.time)),
        ("flow.segments", before.flow().map(|flow| flow.segments) != after.flow().map(|flow| flow.segments)),
        // Layers are part of the checkpoints; how fast they forget is not.
        ("flow.normalisation", has_layers(before) != has_layers(after)),
        ("train.objective", b.objective != a.objective),
        ("train.batch", b.batch != a.batch),
        ("fine_tune", before.fine_tune != after.fine_tune),
        // Where the second training begins is where the first ended.
        ("train.steps", before.fine_tune.is_some() && (b.steps, b.epochs) != (a.steps, a.epochs)),
        ("train.seed", b.seed != a.seed),
        // TF32 rounds factors of products, on devices that have it; what is kept is of 32 bits either way.
        ("train.precision", b.precision.precision() != a.precision.precision()),
        ("name", before.name != after.name),
    ];
    match changed.iter().find(|(_, changed)| *changed) {
        None => Ok(()),
        Some((key, _)) => Err(maflow::Error::Changed { run: path.to_owned(), key }.into()),
    }
}
