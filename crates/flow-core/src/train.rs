//! The training loop: batches, gradient steps, the watch on the integration error, validation, roll-back, checkpoints.
//!
//! Everything random is keyed by (seed, purpose, step), so the state of a training is its parameters, the optimiser's moments and
//! [`TrainState`]: a resumed training equals an uninterrupted one bit for bit, where the space
//! cuts batches into the same blocks.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointFolder, Occasion, Tensor, averaged};
use crate::{
    Adam, AdamSettings, Coordinates, Error, FixedStep, Flow, Integrator, Mean, Memory, Objective, Potential, Purpose,
    RngKey, Schedule, Space, Tableau, clip, global_norm,
};

/// Where batches come from: data, synthetic data, or samples of the base density.
pub trait Batches: Sync {
    /// `rows` rows of numbers, row by row, as a function of the key alone.
    ///
    /// # Errors
    /// Whatever keeps it from giving the batch, as [`Error::Callback`].
    fn batch(&self, key: RngKey, rows: usize) -> Result<Vec<f64>, Error>;
}

/// Samples of the standard normal base density.
#[derive(Debug, Clone, Copy)]
pub struct BaseSamples {
    /// Numbers per row.
    pub dim: usize,
}

impl Batches for BaseSamples {
    fn batch(&self, key: RngKey, rows: usize) -> Result<Vec<f64>, Error> {
        Ok(key.normals(0..rows, self.dim))
    }
}

/// Settings of a training.
#[derive(Debug, Clone)]
pub struct TrainSettings {
    /// Gradient steps made by the trainings that this one goes on from; it starts with a fresh optimiser all the same.
    pub first: u64,
    /// Gradient steps in all, those included.
    pub steps: u64,
    /// Rows per batch.
    pub batch: usize,
    /// Learning rate at its highest.
    pub learning_rate: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// The optimiser.
    pub adam: AdamSettings,
    /// Greatest global norm of a gradient.
    pub clip_norm: Option<f64>,
    /// Decay d of the moving average of the parameters, `average ← d · average + (1 − d) · parameters`, that validations and figures
    /// use (early steps use a smaller d, so that the start is forgotten); none: the parameters themselves.
    pub average: Option<f64>,
    /// Seed of everything random.
    pub seed: u64,
    /// Runge-Kutta method.
    pub tableau: Tableau,
    /// Integration steps at the start.
    pub flow_steps: usize,
    /// Integration steps that the watch may raise them to.
    pub max_flow_steps: usize,
    /// Duration T of the flow.
    pub duration: f64,
    /// Coordinates of the solves.
    pub coordinates: Coordinates,
    /// What gradients keep.
    pub memory: Memory,
    /// Gradient steps between two looks at the integration error; 0: never. Fields that are random in time are not watched.
    pub watch_every: u64,
    /// Integration error of the mean loss, in nats, above which the steps are raised.
    pub watch_tolerance: f64,
    /// Gradient steps between validations; 0: never.
    pub validate_every: u64,
    /// Gradient steps between checkpoints.
    pub checkpoint_every: u64,
    /// Roll-backs after which the training gives up.
    pub max_rollbacks: u32,
}

impl TrainSettings {
    fn check(&self) -> Result<(), Error> {
        let positive = |name, value: f64| match value {
            v if v > 0.0 && v.is_finite() => Ok(()),
            v => Err(Error::setting(name, v, "a positive number")),
        };
        positive("train.learning_rate", self.learning_rate)?;
        positive("flow.time", self.duration)?;
        positive("train.watch_tolerance", self.watch_tolerance)?;
        positive("train.batch", self.batch as f64)?;
        positive("train.steps", self.steps.saturating_sub(self.first) as f64)?;
        positive("train.checkpoint_every", self.checkpoint_every as f64)?;
        if self.max_flow_steps < self.flow_steps {
            let expected = format!("at least flow.steps, {}", self.flow_steps);
            return Err(Error::setting("train.max_flow_steps", self.max_flow_steps, expected));
        }
        if let Some(decay) = self.average.filter(|decay| !(0.0..1.0).contains(decay)) {
            return Err(Error::setting("train.average", decay, "at least 0 and below 1"));
        }
        self.clip_norm.map_or(Ok(()), |norm| positive("train.clip_norm", norm))
    }
}

/// What a training must remember beside its arrays.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Gradient steps made.
    pub step: u64,
    /// Steps of the optimiser, which its bias correction needs.
    pub adam_steps: u64,
    /// Integration steps now.
    pub flow_steps: usize,
    /// Factor on the learning rate, halved by every roll-back.
    pub learning_rate_scale: f64,
    /// Roll-backs so far.
    pub rollbacks: u32,
    /// Lowest validation figure so far.
    pub best: Option<f64>,
    /// Seconds of training so far.
    pub seconds: f64,
}

/// A validation figure (lower is better), in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validation {
    /// The figure.
    pub figure: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Its integration error.
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
    /// Integration steps used.
    pub flow_steps: usize,
    /// `mean loss at h/2 − mean loss at h`, where the watch looked.
    pub integration_error: Option<f64>,
    /// Validation after the step, where it was due.
    pub validation: Option<Validation>,
    /// Seconds of training so far, over all resumptions.
    pub seconds: f64,
}

/// Whoever listens to a training.
pub trait Observer {
    /// After every gradient step.
    ///
    /// # Errors
    /// Whatever should stop the training with an error.
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error>;

    /// A sentence worth keeping: raised integration steps, a roll-back, a checkpoint passed over.
    fn note(&mut self, sentence: &str);

    /// After a roll-back or a resumption: metrics after `step` gradient steps no longer hold.
    ///
    /// # Errors
    /// Whatever should stop the training with an error.
    fn rewind(&mut self, step: u64) -> Result<(), Error>;

    /// Asked before every gradient step; `true` writes a checkpoint and ends the training.
    fn interrupted(&self) -> bool {
        false
    }
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// All steps were made.
    Completed,
    /// [`Observer::interrupted`] said so; a checkpoint was written.
    Interrupted,
}

/// A validation of the flow as it is.
pub type Validator<'a, S> = dyn FnMut(&Flow<'_, S>) -> Result<Validation, Error> + 'a;

/// A training under way.
pub struct Trainer<'a, S: Space> {
    space: &'a S,
    settings: TrainSettings,
    potential: &'a mut dyn Potential<S>,
    objective: &'a dyn Objective<S>,
    batches: &'a dyn Batches,
    folder: &'a CheckpointFolder,
    adam: Adam<S>,
    /// The moving average of the parameters, where there is one.
    average: Option<Vec<S::Array>>,
    state: TrainState,
    /// Where a roll-back leads: the last periodic checkpoint.
    good: Checkpoint,
    warned: bool,
}

impl<'a, S: Space> Trainer<'a, S> {
    /// A training from the potential's present parameters, at step [`TrainSettings::first`].
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of range.
    pub fn new(
        space: &'a S,
        settings: TrainSettings,
        potential: &'a mut dyn Potential<S>,
        objective: &'a dyn Objective<S>,
        batches: &'a dyn Batches,
        folder: &'a CheckpointFolder,
    ) -> Result<Self, Error> {
        settings.check()?;
        let adam = Adam::new(space, settings.adam, &potential.parameters())?;
        let state = TrainState {
            step: settings.first,
            adam_steps: 0,
            flow_steps: settings.flow_steps,
            learning_rate_scale: 1.0,
            rollbacks: 0,
            best: None,
            seconds: 0.0,
        };
        let good = Checkpoint::default();
        let values = || potential.parameters().into_iter().map(|p| p.value.clone()).collect();
        let average = settings.average.map(|_| values());
        let mut trainer =
            Self { space, settings, potential, objective, batches, folder, adam, average, state, good, warned: false };
        trainer.good = trainer.checkpoint();
        Ok(trainer)
    }

    /// Goes on from the end of another training that is validated on the same figure: seconds are counted from its own, and its best
    /// parameters stay the best until there are better ones.
    #[must_use]
    pub fn after(mut self, before: &TrainState) -> Self {
        (self.state.seconds, self.state.best) = (before.seconds, before.best);
        self.good = self.checkpoint();
        self
    }

    /// The state now.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// Takes up the newest usable checkpoint of the folder. Returns its step (none: there is no checkpoint, the training starts afresh).
    ///
    /// # Errors
    /// Those of reading a checkpoint, when none can be used.
    pub fn resume(&mut self, observer: &mut dyn Observer) -> Result<Option<u64>, Error> {
        let Some(newest) = self.folder.newest(None)? else { return Ok(None) };
        newest.warnings.iter().for_each(|warning| observer.note(warning));
        if newest.occasion == Occasion::Interrupt {
            // A roll-back must lead where it would have led without the interrupt, unless nothing is left of that.
            let periodic = self.folder.newest(Some(Occasion::Periodic)).ok().flatten();
            periodic.iter().flat_map(|periodic| &periodic.warnings).for_each(|warning| observer.note(warning));
            self.good = periodic.map_or_else(|| newest.checkpoint.clone(), |periodic| periodic.checkpoint);
        } else {
            self.good = newest.checkpoint.clone();
        }
        self.restore(&newest.checkpoint, &newest.path)?;
        observer.rewind(self.state.step)?;
        Ok(Some(self.state.step))
    }

    /// Trains to the end, or until the observer interrupts.
    ///
    /// # Errors
    /// Those of the objective, the batches, the observer and the file system; [`Error::TooManyRollbacks`].
    pub fn run(&mut self, observer: &mut dyn Observer, validator: &mut Validator<'_, S>) -> Result<Finish, Error> {
        if self.state.step == self.settings.first {
            self.folder.save(self.state.step, Occasion::Periodic, &self.good)?;
        }
        let mut clock = Instant::now();
        while self.state.step < self.settings.steps {
            if observer.interrupted() {
                self.folder.save(self.state.step, Occasion::Interrupt, &self.checkpoint())?;
                return Ok(Finish::Interrupted);
            }
            let Some(mut metrics) = self.gradient_step(observer)? else {
                self.roll_back(observer)?;
                continue;
            };
            if due(self.settings.validate_every, self.state.step, self.settings.steps) {
                metrics.validation = Some(self.validate(validator)?);
            }
            self.state.seconds += clock.elapsed().as_secs_f64();
            clock = Instant::now();
            metrics.seconds = self.state.seconds;
            observer.step(&metrics)?;
            if due(self.settings.checkpoint_every, self.state.step, self.settings.steps) {
                self.good = self.checkpoint();
                self.folder.save(self.state.step, Occasion::Periodic, &self.good)?;
            }
        }
        Ok(Finish::Completed)
    }

    /// One gradient step; `None` when the loss or the gradient is not finite.
    fn gradient_step(&mut self, observer: &mut dyn Observer) -> Result<Option<StepMetrics>, Error> {
        let Self { space, settings, .. } = self;
        let (step, flow_steps) = (self.state.step, self.state.flow_steps);
        let key = RngKey::new(settings.seed, Purpose::Train, step);
        let batch = self.batches.batch(key, settings.batch)?;
        let integrator = FixedStep::new(settings.tableau.clone(), flow_steps)?;
        let flow = flow(*space, settings, &*self.potential, &integrator);
        let outcome = self.objective.evaluate(&flow, &batch, key, true)?;
        let loss = Mean::of(&outcome.losses);
        let mut gradient = outcome.gradient.expect("the gradient was asked for");
        let gradient_norm = global_norm(*space, &gradient);
        if !(loss.mean.is_finite() && gradient_norm.is_finite()) {
            return Ok(None);
        }
        let mut integration_error = None;
        // A field that is random in time has no limit of small steps to be watched.
        let watched = settings.watch_every != 0 && !self.potential.random_in_time();
        if watched && step.is_multiple_of(settings.watch_every) {
            let finer = Integrator::<S>::refined(&integrator);
            let fine = self.objective.evaluate(&flow.with_integrator(&*finer), &batch, key, false)?;
            integration_error = Some(Mean::of(&fine.losses).mean - loss.mean);
        }
        if let Some(limit) = settings.clip_norm {
            clip(*space, &mut gradient, gradient_norm, limit);
        }
        let schedule = settings.schedule.factor(step - settings.first, settings.steps - settings.first);
        let learning_rate = settings.learning_rate * schedule * self.state.learning_rate_scale;
        self.adam.step(self.space, learning_rate, self.potential.parameters_mut(), gradient);
        self.state.step += 1;
        self.state.adam_steps = self.adam.steps;
        self.update_average();
        if let Some(error) = integration_error {
            self.watch(error, observer);
        }
        let (step, seconds) = (self.state.step, self.state.seconds);
        Ok(Some(StepMetrics {
            step,
            loss,
            gradient_norm,
            learning_rate,
            flow_steps,
            integration_error,
            validation: None,
            seconds,
        }))
    }

    /// Raises the number of integration steps when the error passes the tolerance.
    fn watch(&mut self, error: f64, observer: &mut dyn Observer) {
        let (now, tolerance, most) =
            (self.state.flow_steps, self.settings.watch_tolerance, self.settings.max_flow_steps);
        if error.abs() <= tolerance {
            return;
        }
        let found = format!("integration error {error:+.2e} nats at {now} steps passes the tolerance {tolerance:.1e}");
        if now < most {
            // What the order of the method asks for, but at most twice as many at a time: far from convergence the order says little, and
            // an error that is no number says nothing.
            let asked = (error.abs() / tolerance).powf(1.0 / self.settings.tableau.order() as f64);
            let factor = if asked.is_finite() { asked.clamp(1.1, 2.0) } else { 2.0 };
            self.state.flow_steps = ((now as f64 * factor).ceil() as usize).min(most);
            observer.note(&format!("{found}: from now on {} steps", self.state.flow_steps));
        } else if !self.warned {
            self.warned = true;
            observer.note(&format!("{found}, and train.max_flow_steps allows no more: losses carry this error"));
        }
    }

    fn update_average(&mut self) {
        let (Some(average), Some(decay)) = (&mut self.average, self.settings.average) else { return };
        let steps = self.state.adam_steps as f64;
        let decay = decay.min((1.0 + steps) / (10.0 + steps));
        for (average, parameter) in average.iter_mut().zip(self.potential.parameters()) {
            self.space.accumulate(average, decay, &[(1.0 - decay, &parameter.value)]);
        }
    }

    /// Exchanges the parameters and their average, where there is one.
    fn swap_average(&mut self) {
        for (parameter, average) in self.potential.parameters_mut().into_iter().zip(self.average.iter_mut().flatten()) {
            std::mem::swap(&mut parameter.value, average);
        }
    }

    fn validate(&mut self, validator: &mut Validator<'_, S>) -> Result<Validation, Error> {
        let integrator = FixedStep::new(self.settings.tableau.clone(), self.state.flow_steps)?;
        self.swap_average();
        let validation = validator(&flow(self.space, &self.settings, &*self.potential, &integrator));
        self.swap_average();
        let validation = validation?;
        // A figure that is no number is never the best: no other would be below it.
        if validation.figure.is_finite() && self.state.best.is_none_or(|best| validation.figure < best) {
            self.state.best = Some(validation.figure);
            self.folder.save_best(&self.checkpoint())?;
        }
        Ok(validation)
    }

    fn roll_back(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        let (step, tries) = (self.state.step, self.state.rollbacks + 1);
        let scale = self.state.learning_rate_scale * 0.5;
        if tries > self.settings.max_rollbacks {
            let learning_rate = self.settings.learning_rate * self.state.learning_rate_scale;
            return Err(Error::TooManyRollbacks { tries, step, learning_rate });
        }
        let (good, best) = (std::mem::take(&mut self.good), self.state.best);
        self.restore(&good, Path::new("in memory"))?;
        // The file of the best one does not go back.
        self.state.best = self.state.best.into_iter().chain(best).reduce(f64::min);
        self.state.learning_rate_scale = scale;
        self.state.rollbacks = tries;
        // The state goes back with fewer lives and a lower rate: saved, so that a resumed training knows too.
        self.good = self.checkpoint();
        self.folder.save(self.state.step, Occasion::Periodic, &self.good)?;
        observer.rewind(self.state.step)?;
        observer.note(&format!(
            "loss or gradient not finite after step {step}: back to step {}, learning rate times {scale}",
            self.state.step
        ));
        Ok(())
    }

    /// Parameters, moments and state as a checkpoint.
    pub fn checkpoint(&self) -> Checkpoint {
        let mut tensors = Vec::new();
        for (i, p) in self.potential.parameters().into_iter().enumerate() {
            tensors.push(Tensor::from_array(self.space, &p.name, &p.shape, &p.value));
            for (moment, array) in [("first", &self.adam.first[i]), ("second", &self.adam.second[i])] {
                tensors.push(Tensor::from_array(self.space, format!("adam.{moment}.{}", p.name), &p.shape, array));
            }
            if let Some(average) = &self.average {
                tensors.push(Tensor::from_array(self.space, averaged(&p.name), &p.shape, &average[i]));
            }
        }
        let state = serde_json::to_string(&self.state).expect("a plain struct of numbers serialises");
        Checkpoint { tensors, metadata: HashMap::from([("train_state".to_string(), state)]) }
    }

    fn restore(&mut self, checkpoint: &Checkpoint, path: &Path) -> Result<(), Error> {
        let bad = |reason: String| Error::Checkpoint { path: path.into(), reason };
        let state = checkpoint.train_state(path)?.ok_or_else(|| bad("it has no train_state".into()))?;
        let moments = |moment: &str| -> Result<Vec<_>, Error> {
            let read = |p: &crate::Parameter<S>| {
                checkpoint.array(self.space, &format!("adam.{moment}.{}", p.name), &p.shape, path)
            };
            self.potential.parameters().into_iter().map(read).collect()
        };
        let (first, second) = (moments("first")?, moments("second")?);
        let read = |p: &crate::Parameter<S>| checkpoint.array(self.space, &averaged(&p.name), &p.shape, path);
        let average = self.average.is_some().then(|| self.potential.parameters().into_iter().map(read).collect());
        self.average = average.transpose()?;
        checkpoint.load_parameters(self.space, self.potential.parameters_mut(), path)?;
        (self.adam.first, self.adam.second, self.adam.steps) = (first, second, state.adam_steps);
        self.state = state;
        Ok(())
    }
}

/// Whether something done every `interval` steps is due after `step` of `total`; the last step always counts.
fn due(interval: u64, step: u64, total: u64) -> bool {
    interval != 0 && (step.is_multiple_of(interval) || step == total)
}

fn flow<'b, S: Space>(
    space: &'b S,
    settings: &TrainSettings,
    potential: &'b dyn Potential<S>,
    integrator: &'b FixedStep,
) -> Flow<'b, S> {
    let (duration, coordinates, memory) = (settings.duration, settings.coordinates, settings.memory);
    Flow { space, potential, integrator, duration, coordinates, memory }
}
