//! From the words typed to what will be done: every default filled in, every contradiction found, nothing written yet.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap_complete::Shell;
use datasets::table::{Format, ReadOptions};
use maflow::backend::{self, Backend, Compute};
use maflow::fit::Fit;
use maflow::physics::Amounts;
use maflow::recipe::{Arithmetic, MOST_SAMPLES, Recipe, Setting, Standardise, TargetKind};
use maflow::run::{Run, Wanted};
use maflow::target::DEFAULT_ROWS;
use maflow::train::{Start, Train};
use maflow::transfer::Import;
use maflow::{recipes, run_dir};

use crate::args::{
    Cli, Command, EvaluateArgs, ExportArgs, FitArgs, GlobalArgs, ImportArgs, PhysicsArgs, PlotArgs, ReadArgs,
    ReportArgs, SampleArgs, ScoreArgs, TrainArgs, TransformArgs,
};
use crate::error::CliError;
use crate::library;

/// What will be done.
#[derive(Debug)]
pub enum Plan {
    /// Fit a density to a table.
    Fit(Box<FitPlan>),
    /// Train.
    Train(Box<Train>),
    /// Take the figures of a run.
    Evaluate(Box<Evaluate>),
    /// Say what the flow of a target with an energy says of that target.
    Physics(Box<Physics>),
    /// Find something of the rows of a file.
    Rows(Box<Rows>),
    /// Draw samples from a run.
    Sample(Box<Sample>),
    /// Draw the figures of a run.
    Plot(Box<Plot>),
    /// Write a run as one HTML file.
    Report(Box<ReportPlan>),
    /// Make a run from weights.
    Import(Box<Import>),
    /// Write the weights of a run.
    Export(Box<Export>),
    /// List the recipes, or print the named one.
    Recipes(Option<String>),
    /// Look at this machine, and print JSON or not.
    Doctor(bool),
    /// Print the completions of a shell.
    Completions(Shell),
    /// Write the manual pages into a folder.
    Manual(PathBuf),
}

/// Threads that a system can be expected to start.
const MOST_THREADS: usize = 1024;

/// An evaluation.
#[derive(Debug)]
pub struct Evaluate {
    /// The run, with every flag applied.
    pub run: Run,
    /// Whether to print JSON.
    pub json: bool,
}

/// A study of a target with an energy.
#[derive(Debug)]
pub struct Physics {
    /// The run, with every flag applied.
    pub run: Run,
    /// How much is drawn.
    pub amounts: Amounts,
    /// Whether to print JSON.
    pub json: bool,
}

/// Sampling.
#[derive(Debug)]
pub struct Sample {
    /// The run, with every flag applied.
    pub run: Run,
    /// How many; with a file of contexts, of every row there.
    pub count: usize,
    /// The file with what the density is conditional on, where it is.
    pub given: Option<PathBuf>,
    /// The file.
    pub out: PathBuf,
    /// Its kind.
    pub format: SampleFormat,
}

/// A fit.
#[derive(Debug)]
pub struct FitPlan {
    /// What, and for how long.
    pub fit: Fit,
    /// Where; numbered when left out.
    pub out: Option<PathBuf>,
    /// Where the numbers are computed.
    pub compute: Compute,
}

/// What is found of the rows of a file.
#[derive(Debug)]
pub struct Rows {
    /// The run.
    pub run: Run,
    /// The file.
    pub file: PathBuf,
    /// The file with what the density is conditional on, where it is another.
    pub given: Option<PathBuf>,
    /// How it is read.
    pub read: ReadOptions,
    /// What is wanted.
    pub wanted: Wanted,
    /// Where to, and as what; csv on standard output when left out.
    pub out: Option<(PathBuf, Format)>,
}

/// What samples are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleFormat {
    /// NumPy's format, one row per sample.
    Npy,
    /// A table.
    Table(Format),
    /// A picture.
    Png,
}

/// Figures of a run.
#[derive(Debug)]
pub struct Plot {
    /// The run.
    pub run: Run,
}

/// A run as one HTML file.
#[derive(Debug)]
pub struct ReportPlan {
    /// The run.
    pub run: Run,
    /// The file.
    pub out: PathBuf,
}

/// An export.
#[derive(Debug)]
pub struct Export {
    /// The run directory.
    pub run: PathBuf,
    /// Its recipe.
    pub recipe: Recipe,
    /// The file to write.
    pub out: PathBuf,
}

/// Resolves the command line.
///
/// # Errors
/// Anything that makes the words typed impossible to follow.
pub fn resolve(cli: Cli) -> Result<Plan, CliError> {
    let global = &cli.global;
    match cli.command {
        None => train(TrainArgs::default(), global),
        Some(Command::Fit(args)) => fit(args, global),
        Some(Command::Train(args)) => train(args, global),
        Some(Command::Evaluate(args)) => evaluate(args, global),
        Some(Command::Physics(args)) => physics(args, global),
        Some(Command::Score(args)) => score(args, global),
        Some(Command::Transform(args)) => transform(args, global),
        Some(Command::Sample(args)) => sample(args, global),
        Some(Command::Plot(args)) => plot(args, global),
        Some(Command::Import(args)) => import(args, global),
        Some(Command::Export(args)) => export(args, global),
        Some(Command::Recipes(args)) => Ok(Plan::Recipes(args.name)),
        Some(Command::Report(args)) => report(args, global),
        Some(Command::Doctor(args)) => Ok(Plan::Doctor(args.json)),
        Some(Command::Completions(args)) => Ok(Plan::Completions(args.shell)),
        Some(Command::Man(args)) => Ok(Plan::Manual(args.folder)),
    }
}

fn fit(args: FitArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
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

/// How a file of a table is read.
fn read_options(args: ReadArgs) -> ReadOptions {
    let ReadArgs { drop_missing, delimiter, decimal, header, array } = args;
    ReadOptions { drop_missing, delimiter, decimal, header, array, ..ReadOptions::default() }
}

/// What a table is written as, by the ending of its file.
fn table_format(out: &Path, or: &str) -> Result<Format, CliError> {
    let ending = out.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    match Format::of_name(out) {
        Some(format @ (Format::Csv | Format::Tsv | Format::Npy | Format::Npz | Format::Safetensors))
            if ending.as_deref() != Some("gz") =>
        {
            Ok(format)
        }
        _ => Err(CliError::Usage(format!(
            "--out {} must end in .csv, .tsv, .npy, .npz or .safetensors (numbers){or}",
            out.display()
        ))),
    }
}

fn score(args: ScoreArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    let ScoreArgs { run, file, given, out, read } = args;
    rows(run, (file, given), out, read, Wanted::LogProb, global)
}

fn transform(args: TransformArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    let wanted = if args.inverse { Wanted::FromBase } else { Wanted::Base };
    rows(args.run, (args.file, args.given), Some(args.out), args.read, wanted, global)
}

fn rows(
    run: PathBuf,
    (file, given): (PathBuf, Option<PathBuf>),
    out: Option<PathBuf>,
    read: ReadArgs,
    wanted: Wanted,
    global: &GlobalArgs,
) -> Result<Plan, CliError> {
    let recipe = run_recipe(&run, &[], global)?;
    let out = match out {
        None => None,
        Some(out) => {
            require_parent(&out)?;
            let format = table_format(&out, "")?;
            Some((out, format))
        }
    };
    require_conditional(given.as_deref(), &recipe)?;
    let run = on_its_backend(run, recipe, global)?;
    Ok(Plan::Rows(Box::new(Rows { run, file, given, read: read_options(read), wanted, out })))
}

fn train(args: TrainArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
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

/// The recipe of that name or in that file.
fn load(recipe: &str, settings: &[Setting]) -> Result<Recipe, CliError> {
    match Path::new(recipe).is_dir() && recipes::built_in(recipe).is_err() {
        true => Err(CliError::Usage(format!(
            "{recipe} is a folder, not a recipe; to go on with a run type: maflow train --resume --out {recipe}"
        ))),
        false => Ok(recipes::load(recipe, settings)?),
    }
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

fn evaluate(args: EvaluateArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    let mut recipe = run_recipe(&args.run, &args.settings, global)?;
    require_data(args.data.as_deref(), &recipe)?;
    let figures = &mut recipe.evaluate;
    figures.method = args.method.or(figures.method);
    figures.samples = args.samples.map(NonZeroUsize::get).or(figures.samples);
    figures.refinements = args.refinements.map_or(figures.refinements, NonZeroUsize::get);
    figures.steps = args.steps.map(NonZeroUsize::get).or(figures.steps);
    steps_are_fixed(args.steps, &recipe, "--method rk4")?;
    recipe.validate()?;
    let run = with_target(on_its_backend(args.run, recipe, global)?, args.data, args.library.as_deref())?;
    Ok(Plan::Evaluate(Box::new(Evaluate { run, json: args.json })))
}

/// Refuses steps for a method that chooses its own.
fn steps_are_fixed(steps: Option<NonZeroUsize>, recipe: &Recipe, other: &str) -> Result<(), CliError> {
    if steps.is_some() && recipe.evaluate.method.is_some_and(|method| method.is_adaptive()) {
        return Err(CliError::Usage(format!(
            "an adaptive method chooses its own steps; leave --steps out, or choose {other}"
        )));
    }
    Ok(())
}

fn physics(args: PhysicsArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    let mut recipe = run_recipe(&args.run, &args.settings, global)?;
    recipe.evaluate.steps = args.steps.map(NonZeroUsize::get).or(recipe.evaluate.steps);
    steps_are_fixed(args.steps, &recipe, "--set evaluate.method=rk4")?;
    recipe.validate()?;
    let samples = args.samples.map(|samples| samples as usize).or(recipe.evaluate.samples).unwrap_or(DEFAULT_ROWS);
    let amounts = Amounts { samples, chain: args.chain as usize, leapfrog: args.leapfrog as usize };
    let run = with_target(on_its_backend(args.run, recipe, global)?, None, args.library.as_deref())?;
    Ok(Plan::Physics(Box::new(Physics { run, amounts, json: args.json })))
}

fn sample(args: SampleArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    let recipe = run_recipe(&args.run, &args.settings, global)?;
    let extension = args.out.extension().map(|ext| ext.to_string_lossy().to_lowercase());
    let format = match extension.as_deref() {
        Some("npy") => SampleFormat::Npy,
        Some("png") => SampleFormat::Png,
        _ => SampleFormat::Table(table_format(&args.out, ", or .png (a picture)")?),
    };
    if args.count.get() > MOST_SAMPLES {
        return Err(CliError::Usage(format!(
            "--count {} is more than can be counted; give at most {MOST_SAMPLES}",
            args.count
        )));
    }
    require_parent(&args.out)?;
    require_conditional(args.given.as_deref(), &recipe)?;
    if args.given.is_none() && recipe.target.is_conditional() {
        return Err(CliError::Usage(format!(
            "the density of {} is conditional{}; give rows of that with --given FILE",
            args.run.display(),
            match &recipe.target {
                TargetKind::Table(table) => format!(" on {}", table.given.join(", ")),
                _ => String::new(),
            }
        )));
    }
    let SampleArgs { run, count, given, out, .. } = args;
    let run = on_its_backend(run, recipe, global)?;
    Ok(Plan::Sample(Box::new(Sample { run, count: count.get(), given, out, format })))
}

/// A file of what a density is conditional on is for those that are.
fn require_conditional(given: Option<&Path>, recipe: &Recipe) -> Result<(), CliError> {
    match given {
        Some(file) if !recipe.target.is_conditional() => Err(CliError::Usage(format!(
            "--given {} has no effect: the density of the run is not conditional; leave it out",
            file.display()
        ))),
        _ => Ok(()),
    }
}

fn plot(args: PlotArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    Ok(Plan::Plot(Box::new(Plot { run: as_it_is(args, global)? })))
}

fn report(args: ReportArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    let out = args.out.unwrap_or_else(|| args.run.run.join("report.html"));
    require_parent(&out)?;
    Ok(Plan::Report(Box::new(ReportPlan { run: as_it_is(args.run, global)?, out })))
}

/// A run with its own settings.
fn as_it_is(args: PlotArgs, global: &GlobalArgs) -> Result<Run, CliError> {
    let recipe = run_recipe(&args.run, &[], global)?;
    require_data(args.data.as_deref(), &recipe)?;
    with_target(on_its_backend(args.run, recipe, global)?, args.data, args.library.as_deref())
}

/// A run on the backend that the flags name.
fn on_its_backend(run: PathBuf, recipe: Recipe, global: &GlobalArgs) -> Result<Run, CliError> {
    let compute = compute(global, &recipe)?;
    Ok(Run::create(run, recipe).with_compute(compute))
}

/// The run with the folder of its data, and with its target where that is an energy from a library that was typed.
fn with_target(run: Run, data: Option<PathBuf>, library: Option<&Path>) -> Result<Run, CliError> {
    let target = library::of_run(run.recipe(), library, run.path())?;
    let run = data.into_iter().fold(run, Run::with_data);
    Ok(target.into_iter().fold(run, Run::with_target))
}

fn import(args: ImportArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    if !args.file.is_file() {
        return Err(CliError::Usage(format!(
            "there is no file {}; give the path of a .safetensors file",
            args.file.display()
        )));
    }
    let mut recipe = load(&args.recipe, &with_flags(&args.settings, global))?;
    recipe.run = None;
    require_plain_data(&recipe, "weights alone do not say by which numbers their data were standardised; choose")?;
    let compute = compute(global, &recipe)?;
    Ok(Plan::Import(Box::new(Import { file: args.file, recipe, out: args.out, compute })))
}

fn export(args: ExportArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    let recipe = run_recipe(&args.run, &[], global)?;
    require_parent(&args.out)?;
    Ok(Plan::Export(Box::new(Export { run: args.run, recipe, out: args.out })))
}

/// The recipe of a run with settings and the global flags applied.
fn run_recipe(run: &Path, settings: &[Setting], global: &GlobalArgs) -> Result<Recipe, CliError> {
    Ok(run_dir::read_recipe(run, &with_flags(settings, global))?)
}

/// The global flags are short for settings, and win over them.
fn with_flags(settings: &[Setting], global: &GlobalArgs) -> Vec<Setting> {
    let seed = global.seed.map(|seed| format!("train.seed={seed}"));
    let precision = global.precision.map(|precision| match precision {
        Arithmetic::F32 => "train.precision=f32".to_owned(),
        Arithmetic::F64 => "train.precision=f64".to_owned(),
        Arithmetic::Tf32 => "train.precision=tf32".to_owned(),
    });
    let flags = [seed, precision].into_iter().flatten();
    let flags = flags.map(|text| text.parse().expect("written just above in the right form"));
    settings.iter().cloned().chain(flags).collect()
}

fn compute(global: &GlobalArgs, recipe: &Recipe) -> Result<Compute, CliError> {
    let compute = compute_on(global, recipe.run.as_ref().map(|run| run.backend))?;
    backend::require_parts(compute.backend, recipe)?;
    if recipe.train.precision == Arithmetic::Tf32 && compute.backend != Backend::TchCuda {
        return Err(CliError::Usage(format!(
            "the precision tf32 is one of NVIDIA GPUs, and {} has none; choose --backend tch-cuda, or --precision f32",
            compute.backend.name()
        )));
    }
    Ok(compute)
}

/// The backend and the threads that the flags name, else those of a run, else ndarray on all cores.
fn compute_on(global: &GlobalArgs, of_run: Option<Backend>) -> Result<Compute, CliError> {
    let backend = global.backend.or(of_run).unwrap_or(Backend::Ndarray);
    backend::require(backend)?;
    if let Some(threads) = global.threads.filter(|threads| threads.get() > MOST_THREADS) {
        return Err(CliError::Usage(format!(
            "--threads {threads} is more than any machine's {MOST_THREADS}; give fewer"
        )));
    }
    Ok(Compute { backend, threads: global.threads.unwrap_or(Compute::default().threads) })
}

/// Files of weights that come or go without the standardisation of their data.
fn require_plain_data(recipe: &Recipe, why: &str) -> Result<(), CliError> {
    match recipe.target.standardise() {
        Standardise::None => Ok(()),
        kind => Err(CliError::Usage(format!(
            "target.standardise is \"{}\", and {why} a run or recipe with target.standardise = \"none\"",
            kind.name()
        ))),
    }
}

/// `--data` is a folder, and the target is one that is read from files.
fn require_data(folder: Option<&Path>, recipe: &Recipe) -> Result<(), CliError> {
    let Some(folder) = folder else { return Ok(()) };
    if !folder.is_dir() {
        return Err(CliError::Usage(format!(
            "--data {} is not a folder; give the folder that holds the data set's files",
            folder.display()
        )));
    }
    match recipe.target.has_files() {
        true => Ok(()),
        false => Err(CliError::Usage(format!(
            "--data {} would not be read: the target of {} has no files; leave --data out",
            folder.display(),
            recipe.name
        ))),
    }
}

fn require_parent(path: &Path) -> Result<(), CliError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => Err(CliError::Usage(format!(
            "the folder {} does not exist; make it or choose another --out",
            parent.display()
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use maflow::recipe::FlowMethod;
    use maflow::run_dir::RunDir;

    fn plan(words: &[&str]) -> Result<Plan, CliError> {
        resolve(Cli::try_parse_from([&["maflow"], words].concat()).unwrap())
    }

    fn train(words: &[&str]) -> Train {
        match plan(words).unwrap() {
            Plan::Train(train) => *train,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_command_trains_the_default_recipe() {
        let plan = train(&[]);
        assert_eq!(plan.recipe.name, recipes::DEFAULT);
        assert_eq!(plan.start, Start::NewNumbered(run_dir::RUNS.into()));
        assert_eq!(plan.compute.backend, Backend::Ndarray);
    }

    #[test]
    fn flags_win_over_settings_and_settings_over_the_recipe() {
        let words = ["train", "mnist", "--set", "train.seed=1", "--set", "flow.steps=7"];
        let plan = train(&[&words[..], &["--seed", "5", "--precision", "f64", "--threads", "3"]].concat());
        assert_eq!((plan.recipe.train.seed, plan.recipe.flow().map(|flow| flow.steps)), (5, Some(7)));
        assert_eq!(plan.recipe.train.precision, Arithmetic::F64);
        assert_eq!(plan.compute.threads.get(), 3);
    }

    #[test]
    fn more_threads_than_a_machine_has_are_refused_by_every_training() {
        for words in [&["train", "rings"][..], &["fit", "data.csv"]] {
            let error = plan(&[words, &["--threads", "5000"]].concat()).unwrap_err();
            assert!(error.to_string().contains("--threads 5000"), "{error}");
            plan(&[words, &["--threads", "3"]].concat()).unwrap();
        }
    }

    #[test]
    fn a_resumed_run_keeps_its_model_but_may_be_trained_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let out = path.to_str().unwrap();
        RunDir::create(&path, &recipes::load("rings", &[]).unwrap()).unwrap();
        let longer = train(&["train", "--resume", "--out", out, "--set", "train.steps=9000"]);
        assert_eq!(longer.recipe.train.steps, Some(9000));
        assert_eq!(longer.start, Start::Resume(path.clone()));
        for (words, key) in [
            (["--set", "potential.hidden=3"], "`potential`"),
            (["--set", "target.name=pinwheel"], "`target`"),
            (["--seed", "77"], "`train.seed`"),
            (["--precision", "f64"], "`train.precision`"),
        ] {
            let words = [&["train", "--resume", "--out", out][..], &words].concat();
            let error = plan(&words).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        let error = plan(&["train", "mnist", "--resume", "--out", out]).unwrap_err();
        assert!(error.to_string().contains("rings, not of mnist"), "{error}");
    }

    #[test]
    fn the_figures_of_a_run_may_use_another_method() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let run = path.to_str().unwrap();
        RunDir::create(&path, &recipes::load("ising-8", &[]).unwrap()).unwrap();
        let words = ["evaluate", run, "--method", "tsit5", "--samples", "500", "--json"];
        let Plan::Evaluate(evaluate) = plan(&words).unwrap() else { panic!("not an evaluation") };
        assert_eq!(evaluate.run.recipe().evaluate.method, Some(FlowMethod::RungeKutta(flow_core::Method::Tsit5)));
        assert_eq!(evaluate.run.recipe().evaluate.samples, Some(500));
        assert!(evaluate.json);
        let error = plan(&["evaluate", run, "--method", "tsit5", "--steps", "9"]).unwrap_err();
        assert!(error.to_string().contains("chooses its own steps"), "{error}");
        let error = plan(&["physics", run, "--set", "evaluate.method=tsit5", "--steps", "9"]).unwrap_err();
        assert!(error.to_string().contains("chooses its own steps"), "{error}");
        let error = plan(&["sample", run, "--count", "9223372036854775807", "--out", "a.npy"]).unwrap_err();
        assert!(error.to_string().contains("at most 68719476736"), "{error}");
        let error = plan(&["sample", run, "--count", "3", "--out", "a.jpg"]).unwrap_err();
        assert!(error.to_string().contains(".npy"), "{error}");
    }
}
