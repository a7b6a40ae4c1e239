//! The one rule for the integration step of figures: chosen on a few rows, kept in the run, and used for every row.

use std::path::{Path, PathBuf};

use flow_core::{
    Batch, Direction, Flow, Integrator, NegativeLogLikelihood, Objective, Purpose, RngKey, Space, choose_level,
    three_quarters,
};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files::write_whole;
use crate::monitor::Monitor;
use crate::recipe::{Evaluate, Recipe};
use crate::run_dir;
use crate::target::DEFAULT_ROWS;
use crate::together::{Shared, of_first};
use crate::trained::Trained;

/// Rows that the step is chosen on.
pub const PILOT_ROWS: usize = 256;

/// What a run keeps of the choice, in `integration.toml`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Steps, or one over the relative tolerance.
    level: u64,
    /// SHA-256 of the checkpoint that it was chosen for.
    checkpoint: String,
    /// The settings that it was chosen with.
    evaluate: Evaluate,
}

/// The level of a run's figures, and what led there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The level that figures are taken at.
    pub level: u64,
    /// How often it may still be refined, where all rows show an error that the pilot's few rows did not.
    pub refinements: u32,
}

impl Choice {
    /// Halvings that the recipe allows: where the field is random in time there is no limit of small steps, and one
    /// halving shows by how much figures vary.
    fn most<S: Space>(recipe: &Recipe, flow: &Flow<'_, S>) -> u32 {
        if flow.potential.random_in_time() { 1 } else { recipe.evaluate.refinements as u32 }
    }

    /// The level that the run has kept; else the one chosen on the first of `rows` rows.
    ///
    /// # Errors
    /// An integration that fails.
    pub fn make<S: Space>(
        flow: &Flow<'_, S>,
        objective: &dyn Objective<S>,
        (pilot, key): (Batch, RngKey),
        rows: usize,
        recipe: &Recipe,
        trained: &Trained<S>,
    ) -> Result<Self, Error> {
        if let Some(kept) = Self::kept_by_first(flow, recipe, trained)? {
            return Ok(kept);
        }
        let most = Self::most(recipe, flow);
        // All rows cost no more than some of them where there are no others.
        let level = if rows <= PILOT_ROWS {
            flow.integrator.refined().level()
        } else {
            choose_level(flow, objective, &pilot.first(PILOT_ROWS), key, rows, most)?
        };
        Ok(Self::at(level, flow.integrator, most).unwrap_or(Self { level, refinements: 1 }))
    }

    /// The level that the run has kept; else the one chosen on samples of the flow itself, which data cannot change.
    ///
    /// # Errors
    /// An integration that fails.
    pub fn by_samples<S: Space>(flow: &Flow<'_, S>, recipe: &Recipe, trained: &Trained<S>) -> Result<Self, Error> {
        if let Some(kept) = Self::kept_by_first(flow, recipe, trained)? {
            return Ok(kept);
        }
        let key = RngKey::new(recipe.train.seed, Purpose::Sample, 0);
        let context = trained.kept.typical_context(recipe, PILOT_ROWS, key);
        let base = Batch::new(key.normals(0..PILOT_ROWS, flow.potential.dim()), flow.potential.dim())?;
        let base = base.with_context(context);
        let samples = flow.transport_batch(&base, flow.span(Direction::Forward), key)?.x;
        let objective = Shared { objective: Box::new(NegativeLogLikelihood::default()), team: flow.team };
        Self::make(flow, &objective, (Batch { x: samples, ..base }, key), DEFAULT_ROWS, recipe, trained)
    }

    /// What the run that the first member sees has kept: it decides for all.
    fn kept_by_first<S: Space>(
        flow: &Flow<'_, S>,
        recipe: &Recipe,
        trained: &Trained<S>,
    ) -> Result<Option<Self>, Error> {
        let own = || Ok(Self::kept(flow, recipe, trained).map(|kept| kept.level));
        let level = of_first(flow.team, own)?;
        Ok(level.and_then(|level| Self::at(level, flow.integrator, Self::most(recipe, flow))))
    }

    /// What the run has kept for these weights and these settings.
    fn kept<S: Space>(flow: &Flow<'_, S>, recipe: &Recipe, trained: &Trained<S>) -> Option<Self> {
        let kept: Kept = toml::from_str(&std::fs::read_to_string(file(&trained.run)).ok()?).ok()?;
        let fits = kept.evaluate == recipe.evaluate && Some(kept.checkpoint) == trained.checksum();
        Self::at(kept.level, flow.integrator, Self::most(recipe, flow)).filter(|_| fits)
    }

    /// The choice of a level, where refinements of an integrator lead to it.
    fn at<S: Space>(level: u64, first: &dyn Integrator<S>, most: u32) -> Option<Self> {
        let mut reached = first.level();
        for made in 1..=most {
            reached = reached.saturating_mul(first.level_step());
            if reached == level || (made > 1 && three_quarters(reached) == Some(level)) {
                return Some(Self { level, refinements: most - made });
            }
        }
        None
    }

    /// The integrator whose first refinement has the level of the choice.
    pub fn coarser<S: Space>(self, first: &dyn Integrator<S>) -> Box<dyn Integrator<S>> {
        first.at_level(self.level / first.level_step())
    }

    /// The refinements that are to be made from [`Choice::coarser`] on, at most.
    pub fn most_from_coarser(self) -> u32 {
        1 + self.refinements
    }
}

fn file(run: &Path) -> PathBuf {
    run.join("integration.toml")
}

/// Keeps the level that the figures of a run were converged at, where they were taken with the run's own settings. A
/// run that cannot be written to has its figures all the same.
pub fn keep<S: Space>(trained: &Trained<S>, recipe: &Recipe, level: u64, monitor: &dyn Monitor) {
    // Of one temperature of a range it is not that of the whole.
    let of_run = |own: Recipe| own.evaluate == recipe.evaluate && own.target == recipe.target;
    let own = run_dir::read_recipe(&trained.run, &[]).is_ok_and(of_run);
    let Some(checkpoint) = trained.checksum().filter(|_| own) else { return };
    let kept = Kept { level, checkpoint, evaluate: recipe.evaluate.clone() };
    let text = toml::to_string(&kept).expect("numbers and words are always TOML");
    if let Err(error) = write_whole(&file(&trained.run), text.as_bytes()) {
        monitor.note(&format!("{error}; the integration step is chosen again next time"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Setting;
    use crate::recipes;
    use crate::run::Run;
    use crate::train::{Start, Train};

    /// A flow that five steps integrate badly.
    fn run(folder: &Path) -> Run {
        let short = [
            "train.steps=40",
            "train.schedule=constant",
            "train.learning_rate=0.03",
            "flow.steps=5",
            "train.watch_every=0",
            "evaluate.samples=2000",
            "evaluate.refinements=5",
        ];
        let short = short.map(|setting| setting.parse().unwrap());
        let (recipe, start) = (recipes::load("rings", &short).unwrap(), Start::New(folder.join("run")));
        let done = Train { recipe, start, ..Train::default() }.run(&()).unwrap();
        Run::open(done.run.path(), &[]).unwrap()
    }

    fn level(run: &Run) -> Option<u64> {
        let text = std::fs::read_to_string(file(run.path())).ok()?;
        Some(toml::from_str::<Kept>(&text).unwrap().level)
    }

    #[test]
    fn a_run_keeps_the_step_of_its_figures_and_ln_p_is_taken_at_it() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let rows = run.sample(20).unwrap();
        let before = run.log_prob(&rows).unwrap();
        assert_eq!(level(&run), None, "ln p keeps nothing");
        let report = run.report(&()).unwrap();
        assert!(report.converged && report.steps.unwrap() > 5);
        assert_eq!(level(&run), report.steps.map(|steps| steps as u64));
        // Whatever rows are beside it, the ln p of a row is the same up to round-off.
        let all = run.log_prob(&rows).unwrap();
        let one = run.log_prob(&rows[..2]).unwrap();
        let tolerance = 1e-4;
        assert!((all.values[0] - one.values[0]).abs() < tolerance);
        assert!(all.values.iter().zip(&before.values).all(|(a, b)| (a - b).abs() < 0.05));
        assert!(all.integration_errors.iter().all(|error| *error < 0.05), "{:?}", all.integration_errors);
        // The figures come out the same from what is kept.
        assert_eq!(run.report(&()).unwrap().json(), report.json());
    }

    #[test]
    fn what_was_kept_for_other_settings_or_weights_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        run.report(&()).unwrap();
        let own = level(&run);
        // Other settings have their own choice, and leave that of the run alone.
        let few: Setting = "evaluate.samples=300".parse().unwrap();
        let other = Run::open(run.path(), &[few]).unwrap();
        let other = other.report(&()).unwrap();
        assert!(other.steps.unwrap() as u64 <= own.unwrap(), "fewer rows need no more steps");
        assert_eq!(level(&run), own);
        // A level kept for other weights is not believed.
        let text = std::fs::read_to_string(file(run.path())).unwrap();
        let mut kept: Kept = toml::from_str(&text).unwrap();
        (kept.level, kept.checkpoint) = (10_240, "of other weights".to_owned());
        std::fs::write(file(run.path()), toml::to_string(&kept).unwrap()).unwrap();
        assert_eq!(run.report(&()).unwrap().steps.map(|steps| steps as u64), own);
        assert_eq!(level(&run), own);
    }
}
