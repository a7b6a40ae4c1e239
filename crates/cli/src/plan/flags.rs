//! What several commands have of flags, and sentences for flags that cannot be followed.

use std::path::{Path, PathBuf};

use datasets::table::{Format, ReadOptions};
use maflow::backend::{self, Backend, Compute};
use maflow::recipe::{Arithmetic, Recipe, Setting, Standardise};
use maflow::run::Run;
use maflow::{recipes, run_dir};

use crate::args::{GlobalArgs, ReadArgs};
use crate::error::CliError;
use crate::library;

/// Threads that a system can be expected to start.
const MOST_THREADS: usize = 1024;

/// The recipe of that name or in that file.
pub(super) fn load(recipe: &str, settings: &[Setting]) -> Result<Recipe, CliError> {
    match Path::new(recipe).is_dir() && recipes::built_in(recipe).is_err() {
        true => Err(CliError::Usage(format!(
            "{recipe} is a folder, not a recipe; to go on with a run type: maflow train --resume --out {recipe}"
        ))),
        false => Ok(recipes::load(recipe, settings)?),
    }
}

/// The recipe of a run with settings and the global flags applied.
pub(super) fn run_recipe(run: &Path, settings: &[Setting], global: &GlobalArgs) -> Result<Recipe, CliError> {
    Ok(run_dir::read_recipe(run, &with_flags(settings, global))?)
}

/// The global flags are short for settings, and win over them.
pub(super) fn with_flags(settings: &[Setting], global: &GlobalArgs) -> Vec<Setting> {
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

pub(super) fn compute(global: &GlobalArgs, recipe: &Recipe) -> Result<Compute, CliError> {
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
pub(super) fn compute_on(global: &GlobalArgs, of_run: Option<Backend>) -> Result<Compute, CliError> {
    let backend = global.backend.or(of_run).unwrap_or(Backend::Ndarray);
    backend::require(backend)?;
    if let Some(threads) = global.threads.filter(|threads| threads.get() > MOST_THREADS) {
        return Err(CliError::Usage(format!(
            "--threads {threads} is more than any machine's {MOST_THREADS}; give fewer"
        )));
    }
    Ok(Compute { backend, threads: global.threads.unwrap_or(Compute::default().threads) })
}

/// A run on the backend that the flags name.
pub(super) fn on_its_backend(run: PathBuf, recipe: Recipe, global: &GlobalArgs) -> Result<Run, CliError> {
    let compute = compute(global, &recipe)?;
    Ok(Run::create(run, recipe).with_compute(compute))
}

/// The run with the folder of its data, and with its target where that is an energy from a library that was typed.
pub(super) fn with_target(run: Run, data: Option<PathBuf>, library: Option<&Path>) -> Result<Run, CliError> {
    let target = library::of_run(run.recipe(), library, run.path())?;
    let run = data.into_iter().fold(run, Run::with_data);
    Ok(target.into_iter().fold(run, Run::with_target))
}

/// How a file of a table is read.
pub(super) fn read_options(args: ReadArgs) -> ReadOptions {
    let ReadArgs { drop_missing, delimiter, decimal, header, array } = args;
    ReadOptions { drop_missing, delimiter, decimal, header, array, ..ReadOptions::default() }
}

/// What a table is written as, by the ending of its file.
pub(super) fn table_format(out: &Path, or: &str) -> Result<Format, CliError> {
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

/// Files of weights that come or go without the standardisation of their data.
pub(super) fn require_plain_data(recipe: &Recipe, why: &str) -> Result<(), CliError> {
    match recipe.target.standardise() {
        Standardise::None => Ok(()),
        kind => Err(CliError::Usage(format!(
            "target.standardise is \"{}\", and {why} a run or recipe with target.standardise = \"none\"",
            kind.name()
        ))),
    }
}

/// `--data` is a folder, and the target is one that is read from files.
pub(super) fn require_data(folder: Option<&Path>, recipe: &Recipe) -> Result<(), CliError> {
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

pub(super) fn require_parent(path: &Path) -> Result<(), CliError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => Err(CliError::Usage(format!(
            "the folder {} does not exist; make it or choose another --out",
            parent.display()
        ))),
        _ => Ok(()),
    }
}
