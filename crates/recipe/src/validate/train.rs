//! Numbers of trainings and of figures.

use flow_core::Schedule;

use super::range::{MOST_SAMPLES, MOST_STEPS, at_least, at_most, fits_toml, out_of_range, positive, rows, within};
use crate::error::RecipeError;
use crate::schema::{Evaluate, FineTune, Train};

impl Train {
    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        rows("train.batch", self.batch, 1)?;
        match (self.epochs, self.steps) {
            (Some(epochs), None) => rows("train.epochs", epochs, 1)?,
            (None, Some(steps)) => at_least("train.steps", steps, 1)?,
            (found, _) => {
                return Err(out_of_range(
                    "train.steps",
                    if found.is_some() { "given beside train.epochs" } else { "not given, nor train.epochs" },
                    "exactly one of train.steps and train.epochs",
                    "the length of the training must be given once",
                ));
            }
        }
        positive("train.learning_rate", self.learning_rate, "1e-3 is a good start")?;
        if let Schedule::Cosine(cosine) = &self.schedule {
            within("train.schedule.final_fraction", cosine.final_fraction, 0.0, 1.0, "0 ends at rest")?;
            if let Some(steps) = self.steps.filter(|steps| cosine.warmup >= *steps as u64) {
                return Err(out_of_range(
                    "train.schedule.warmup",
                    cosine.warmup,
                    format!("fewer than train.steps = {steps}"),
                    "shorten the warm-up or train longer",
                ));
            }
        }
        within("train.weight_decay", self.weight_decay, 0.0, 1e3, "0 turns it off")?;
        for beta in self.betas {
            if !(0.0..1.0).contains(&beta) {
                return Err(out_of_range(
                    "train.betas",
                    format!("{:?}", self.betas),
                    "two numbers from 0 to below 1",
                    "Adam's usual ones are [0.9, 0.999]",
                ));
            }
        }
        if let Some(norm) = self.clip_norm {
            positive("train.clip_norm", norm, "leave it out to turn clipping off")?;
        }
        if let Some(decay) = self.average {
            within("train.average", decay, 0.0, 0.999_999, "0.999 is usual; leave it out to turn the average off")?;
        }
        self.blocks.map_or(Ok(()), |blocks| at_least("train.blocks", blocks, 1))?;
        at_least("train.times", self.times, 1)?;
        self.focus.map_or(Ok(()), |focus| within("train.focus", focus, 1e-6, 1e6, "leave it out for uniform times"))?;
        at_least("train.pool", self.pool, 1)?;
        at_most("train.pool", self.pool, 1 << 24)?;
        if let Some(limit) = self.clip_force {
            positive("train.clip_force", limit, "10 is a good start; leave it out to turn clipping off")?;
        }
        within("train.transport_cost", self.transport_cost, 0.0, 1e12, "0 turns it off")?;
        within("train.force_weight", self.force_weight, 0.0, 1e12, "0 turns it off")?;
        fits_toml("train.seed", self.seed)?;
        at_least("train.checkpoint_every", self.checkpoint_every, 1)?;
        at_least("train.keep", self.keep, 1)?;
        self.patience.map_or(Ok(()), |patience| at_least("train.patience", patience, 1))?;
        self.validation_samples.map_or(Ok(()), |samples| rows("train.validation_samples", samples, 2))?;
        positive("train.watch_tolerance", self.watch_tolerance, "train.watch_every = 0 turns the watch off")
    }
}

impl FineTune {
    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        rows("fine_tune.batch", self.batch, 1)?;
        positive("fine_tune.learning_rate", self.learning_rate, "1e-3 is a good start")?;
        if let Some(norm) = self.clip_norm {
            positive("fine_tune.clip_norm", norm, "leave it out to turn clipping off")?;
        }
        self.average.map_or(Ok(()), |decay| within("fine_tune.average", decay, 0.0, 0.999_999, "0.99 is usual"))
    }
}

impl Evaluate {
    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        if let Some(samples) = self.samples {
            at_least("evaluate.samples", samples, 2)?;
            at_most("evaluate.samples", samples, MOST_SAMPLES)?;
        }
        if let Some(steps) = self.steps {
            at_least("evaluate.steps", steps, 1)?;
            at_most("evaluate.steps", steps, MOST_STEPS)?;
        }
        at_least("evaluate.refinements", self.refinements, 1)?;
        at_most("evaluate.refinements", self.refinements, 10)?;
        within("evaluate.rtol", self.rtol, 1e-15, 1.0, "1e-5 is usual")?;
        within("evaluate.atol", self.atol, 1e-15, 1.0, "1e-5 is usual")
    }
}
