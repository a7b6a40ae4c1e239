//! What a training tells of itself while it runs, and how it ended.

use crate::error::Error;
use crate::statistics::Mean;
use crate::team::Traffic;

/// A validation figure, in nats: the lower with its integration error added, the better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validation {
    /// The figure.
    pub figure: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Its integration error: what half the step adds to it.
    pub integration_error: f64,
}

/// What one gradient step showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepMetrics {
    /// Gradient steps made, this one included.
    pub step: u64,
    /// Mean loss of the batch before the step, in nats, with its standard error.
    pub loss: Mean,
    /// Global norm of the gradient, before clipping.
    pub gradient_norm: f64,
    /// Learning rate used.
    pub learning_rate: f64,
    /// Level of integration used: steps, for a fixed step; 0 for a model that does not integrate.
    pub level: u64,
    /// `mean loss at h/2 − mean loss at h`, where the watch looked.
    pub integration_error: Option<f64>,
    /// Validation after the step, where it was due.
    pub validation: Option<Validation>,
    /// Seconds of training so far, over all resumptions.
    pub seconds: f64,
    /// What this member exchanged with the others of its team for the step, validation included.
    pub traffic: Traffic,
}

/// A listener to a training. All methods are optional: `()` listens to nothing.
///
/// ```
/// use flow_core::{Error, Observer, StepMetrics};
///
/// /// Keeps the losses, and ends a training that is good enough.
/// struct UntilBelow { loss: f64, losses: Vec<f64> }
///
/// impl Observer for UntilBelow {
///     fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
///         self.losses.push(metrics.loss.mean);
///         Ok(())
///     }
///     fn interrupted(&self) -> bool { self.losses.last().is_some_and(|loss| *loss < self.loss) }
/// }
///
/// assert!(!UntilBelow { loss: 1.0, losses: vec![0.5, 1.5] }.interrupted());
/// assert!(UntilBelow { loss: 1.0, losses: vec![1.5, 0.5] }.interrupted());
/// ```
pub trait Observer {
    /// After every gradient step.
    ///
    /// # Errors
    /// Whatever should stop the training with an error.
    fn step(&mut self, _metrics: &StepMetrics) -> Result<(), Error> {
        Ok(())
    }

    /// A sentence worth keeping: finer integration, a roll-back, a checkpoint passed over.
    fn note(&mut self, _sentence: &str) {}

    /// After a roll-back or a resumption: metrics after `step` gradient steps no longer hold.
    ///
    /// # Errors
    /// Whatever should stop the training with an error.
    fn rewind(&mut self, _step: u64) -> Result<(), Error> {
        Ok(())
    }

    /// Asked before every gradient step; `true` stores a checkpoint and ends the training.
    fn interrupted(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// All steps were made.
    Completed,
    /// Validations found nothing better any more, see [`TrainSettings::patience`](super::TrainSettings::patience).
    EarlyStopped,
    /// [`Observer::interrupted`] said so; a checkpoint was written.
    Interrupted,
}
