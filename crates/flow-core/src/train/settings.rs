//! Settings of a training, with defaults and ranges.

use crate::error::Error;
use crate::optimise::{AdamSettings, Schedule};

/// Settings of a training. The defaults are those of a first try: 1000 steps of 256 rows with Adam at 1e-3, the
/// gradient clipped at 100.
///
/// ```
/// let settings = flow_core::TrainSettings { steps: 200, seed: 7, ..Default::default() };
/// assert_eq!((settings.batch, settings.learning_rate), (256, 1e-3));
/// ```
#[derive(Debug, Clone)]
pub struct TrainSettings {
    /// Gradient steps made by the trainings that this one goes on from; it starts with a fresh optimiser all the same.
    pub first: u64,
    /// Gradient steps in all, those included.
    pub steps: u64,
    /// Rows per batch.
    pub batch: usize,
    /// Blocks that a batch is cut into; `None` leaves it to the space. Where the space computes the same at any number
    /// of threads, the bits of a training depend on this number, and not on how many processes share the work.
    pub blocks: Option<usize>,
    /// Learning rate at its highest.
    pub learning_rate: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// The optimiser.
    pub adam: AdamSettings,
    /// Greatest global norm of a gradient.
    pub clip_norm: Option<f64>,
    /// Decay d of the moving average of the parameters, `average ← d · average + (1 − d) · parameters`, that
    /// validations and figures use (early steps use a smaller d, so that the start is forgotten); none: the parameters
    /// themselves.
    pub average: Option<f64>,
    /// Seed of everything random.
    pub seed: u64,
    /// Level of integration that the watch may raise the model's to: steps, for a fixed step.
    pub max_level: u64,
    /// Gradient steps between two looks at the integration error; 0: never. Fields that are random in time are not
    /// watched.
    pub watch_every: u64,
    /// Integration error of the mean loss, in nats, above which the level is raised.
    pub watch_tolerance: f64,
    /// Gradient steps between validations; 0: never.
    pub validate_every: u64,
    /// Validations in a row without a new best figure after which the training ends early; none: it goes on.
    pub patience: Option<u64>,
    /// Gradient steps between checkpoints.
    pub checkpoint_every: u64,
    /// Roll-backs after which the training gives up.
    pub max_rollbacks: u32,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            first: 0,
            steps: 1000,
            batch: 256,
            blocks: None,
            learning_rate: 1e-3,
            schedule: Schedule::Constant,
            adam: AdamSettings::default(),
            clip_norm: Some(100.0),
            average: None,
            seed: 0,
            max_level: 1024,
            watch_every: 100,
            watch_tolerance: 0.01,
            validate_every: 0,
            patience: None,
            checkpoint_every: 100,
            max_rollbacks: 10,
        }
    }
}

impl TrainSettings {
    pub(super) fn check(&self, level: Option<u64>) -> Result<(), Error> {
        let positive = |name, value: f64| match value {
            v if v > 0.0 && v.is_finite() => Ok(()),
            v => Err(Error::setting(name, v, "a positive number")),
        };
        positive("learning_rate", self.learning_rate)?;
        positive("watch_tolerance", self.watch_tolerance)?;
        positive("batch", self.batch as f64)?;
        positive("steps", self.steps.saturating_sub(self.first) as f64)?;
        positive("checkpoint_every", self.checkpoint_every as f64)?;
        if let Some(level) = level.filter(|level| self.max_level < *level) {
            return Err(Error::setting(
                "max_level",
                self.max_level,
                format!("at least the model's own level, {level}"),
            ));
        }
        for (name, count) in [("blocks", self.blocks.map(|blocks| blocks as u64)), ("patience", self.patience)] {
            if count == Some(0) {
                return Err(Error::setting(name, 0, "at least 1"));
            }
        }
        if let Some(decay) = self.average.filter(|decay| !(0.0..1.0).contains(decay)) {
            return Err(Error::setting("average", decay, "at least 0 and below 1"));
        }
        self.clip_norm.map_or(Ok(()), |norm| positive("clip_norm", norm))
    }
}
