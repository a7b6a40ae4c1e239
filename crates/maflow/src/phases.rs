//! The settings of a training in the words of flow-core.

use flow_core::{AdamSettings, CosineSchedule, Estimator, Schedule, TrainSettings};

use crate::error::Error;
use crate::recipe::{Objective, Optimizer, Recipe};
use crate::target::Target;

/// One training of a run; a run has one or, where it is fine-tuned, two.
#[derive(Debug)]
pub struct Phase {
    /// Its settings; its steps follow those of the one before.
    pub settings: TrainSettings,
    /// What it minimises; figures are those of the target's own objective all the same.
    pub objective: Objective,
    /// Which gradient of a free energy.
    pub gradient: Estimator,
}

/// The trainings of a run, one after the other.
///
/// # Errors
/// A length in epochs for a target without a finite training set.
pub fn phases(recipe: &Recipe, target: &dyn Target) -> Result<Vec<Phase>, Error> {
    let first = of(recipe, target)?;
    // A likelihood or a free energy is the target's own, whichever of the two was named.
    let objective_of = |named: Option<Objective>| match named {
        None | Some(Objective::Nll | Objective::FreeEnergy) => target.kind(),
        Some(other) => other,
    };
    let tuned = recipe.fine_tune.as_ref().filter(|tune| tune.steps > 0).map(|tune| {
        let settings = TrainSettings {
            first: first.steps,
            steps: first.steps + tune.steps as u64,
            batch: tune.batch,
            learning_rate: tune.learning_rate,
            // A fresh optimiser knows no scale of the gradient yet: its first steps are small.
            schedule: Schedule::Cosine(CosineSchedule { warmup: tune.steps as u64 / 10, final_fraction: 0.0 }),
            adam: AdamSettings { weight_decay: 0.0, ..first.adam },
            clip_norm: tune.clip_norm,
            average: tune.average,
            patience: None,
            ..first.clone()
        };
        Phase { settings, objective: objective_of(tune.objective), gradient: tune.gradient }
    });
    let (gradient, objective) = (recipe.train.gradient, objective_of(Some(recipe.train.objective)));
    Ok(std::iter::once(Phase { settings: first, objective, gradient }).chain(tuned).collect())
}

/// Settings of the training of a target: epochs become steps, and a data set is validated on after each of them by
/// default.
fn of(recipe: &Recipe, target: &dyn Target) -> Result<TrainSettings, Error> {
    let train = &recipe.train;
    let validate_every = match (train.validate_every, target.steps_per_epoch(train.batch)) {
        (0, Some(epoch)) => epoch,
        (steps, _) => steps as u64,
    };
    Ok(TrainSettings { validate_every, ..with_steps(recipe, target.training_steps(train)?) })
}

/// Settings of a training of `steps` steps, whatever the data, without validation.
pub fn with_steps(recipe: &Recipe, steps: u64) -> TrainSettings {
    let train = &recipe.train;
    TrainSettings {
        first: 0,
        steps,
        batch: train.batch,
        learning_rate: train.learning_rate,
        schedule: train.schedule,
        adam: AdamSettings {
            betas: (train.betas[0], train.betas[1]),
            weight_decay: train.weight_decay,
            decoupled: train.optimizer == Optimizer::Adamw,
            ..AdamSettings::default()
        },
        clip_norm: train.clip_norm,
        average: train.average,
        seed: train.seed,
        blocks: train.blocks,
        max_level: train.max_flow_steps.max(recipe.flow().map_or(0, |flow| flow.steps)) as u64,
        watch_every: train.watch_every as u64,
        watch_tolerance: train.watch_tolerance,
        validate_every: 0,
        patience: train.patience.map(|validations| validations as u64),
        checkpoint_every: train.checkpoint_every as u64,
        max_rollbacks: u32::try_from(train.max_rollbacks).unwrap_or(u32::MAX),
    }
}
