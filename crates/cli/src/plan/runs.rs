//! What is done with a run: figures, rows, samples, pictures, weights.

use std::num::NonZeroUsize;
use std::path::Path;

use maflow::physics::{FORCES, SampleCounts};
use maflow::recipe::{MOST_SAMPLES, Recipe, TargetKind};
use maflow::run::{RowQuantity, Run};
use maflow::target::DEFAULT_ROWS;
use maflow::transfer::Import;

use super::flags::{
    compute, load, on_its_backend, read_options, require_data, require_parent, require_plain_data, run_recipe,
    table_format, with_flags, with_target,
};
use super::{Evaluate, Export, Physics, Plan, Plot, ReportPlan, Rows, Sample, SampleFormat};
use crate::args::{
    EvaluateArgs, ExportArgs, GlobalArgs, ImportArgs, PhysicsArgs, PlotArgs, ReportArgs, SampleArgs, ScoreArgs,
    TransformArgs,
};
use crate::error::CliError;

pub(super) fn evaluate(args: EvaluateArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
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

pub(super) fn physics(args: PhysicsArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    let mut recipe = run_recipe(&args.run, &args.settings, global)?;
    recipe.evaluate.steps = args.steps.map(NonZeroUsize::get).or(recipe.evaluate.steps);
    steps_are_fixed(args.steps, &recipe, "--set evaluate.method=rk4")?;
    recipe.validate()?;
    let samples = args.samples.map(|samples| samples as usize).or(recipe.evaluate.samples).unwrap_or(DEFAULT_ROWS);
    let (chain, leapfrog) = (args.chain as usize, args.leapfrog as usize);
    let counts = SampleCounts { samples, chain, leapfrog, forces: FORCES };
    let run = with_target(on_its_backend(args.run, recipe, global)?, None, args.library.as_deref())?;
    Ok(Plan::Physics(Box::new(Physics { run, counts, json: args.json })))
}

pub(super) fn score(args: ScoreArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    rows(args, RowQuantity::LogProb, global)
}

pub(super) fn transform(args: TransformArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    let wanted = if args.inverse { RowQuantity::FromBase } else { RowQuantity::Base };
    let TransformArgs { run, file, given, out, read, .. } = args;
    rows(ScoreArgs { run, file, given, out: Some(out), read }, wanted, global)
}

fn rows(args: ScoreArgs, wanted: RowQuantity, global: &GlobalArgs) -> Result<Plan, CliError> {
    let ScoreArgs { run, file, given, out, read } = args;
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

pub(super) fn sample(args: SampleArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
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
                target if target.temperatures().is_some() => " on the temperature".to_owned(),
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

pub(super) fn plot(args: PlotArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    Ok(Plan::Plot(Box::new(Plot { run: as_it_is(args, global)? })))
}

pub(super) fn report(args: ReportArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
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

pub(super) fn import(args: ImportArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
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

pub(super) fn export(args: ExportArgs, global: &GlobalArgs) -> Result<Plan, CliError> {
    let recipe = run_recipe(&args.run, &[], global)?;
    require_parent(&args.out)?;
    Ok(Plan::Export(Box::new(Export { run: args.run, recipe, out: args.out })))
}
