//! The training loop: batches, gradient steps, the watch on the integration error, validation, roll-back, checkpoints.
//!
//! Everything random is keyed by (seed, purpose, step), so the state of a training is its parameters, the optimiser's
//! moments and [`TrainState`]: a resumed training equals an uninterrupted one bit for bit, where the space cuts batches
//! into the same blocks.

mod observer;
mod settings;

use std::time::Instant;

pub use observer::{Finish, Observer, StepMetrics, Validation};
pub use settings::TrainSettings;

use crate::batch::Batch;
use crate::checkpoint::{Checkpoint, CheckpointStore, Occasion, Tensor, TrainState, averaged, moment_name};
use crate::data::Batches;
use crate::error::Error;
use crate::evaluation::Evaluation;
use crate::model::Model;
use crate::optimise::{Adam, clip, global_norm};
use crate::parameter::Parameter;
use crate::rng::{Purpose, RngKey};
use crate::space::Space;
use crate::statistics::Mean;
use crate::team::{Alone, Team, Traffic, agreed};

/// A validation of the model as it is.
pub type Validator<'a, M> = dyn FnMut(&M) -> Result<Validation, Error> + 'a;

/// Stands between the gradient and the optimiser, once a step: may change the gradient, one array per parameter.
pub type GradientHook<'a, S> = dyn FnMut(&S, &mut [<S as Space>::Array]) -> Result<(), Error> + 'a;

/// A training under way; the [crate's page](crate) shows one from beginning to end.
pub struct Trainer<'a, S: Space, M: ?Sized> {
    space: S,
    settings: TrainSettings,
    model: &'a mut M,
    batches: &'a dyn Batches,
    store: Option<&'a mut dyn CheckpointStore>,
    team: &'a dyn Team,
    validator: Option<Box<Validator<'a, M>>>,
    gradient_hook: Option<Box<GradientHook<'a, S>>>,
    adam: Adam<S>,
    /// The moving average of the parameters, where there is one.
    average: Option<Vec<S::Array>>,
    state: TrainState,
    /// Where a roll-back leads: the last periodic checkpoint.
    good: Checkpoint,
    warned: bool,
    /// The error of a gradient that was told of last, see [`Model::gradient_error`].
    told_gradient_error: Option<f64>,
}

impl<'a, S: Space, M: Model<S> + ?Sized> Trainer<'a, S, M> {
    /// A training of a model from its present parameters, at step [`TrainSettings::first`]. Nothing is stored or
    /// validated unless asked for.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of range.
    pub fn new(model: &'a mut M, settings: TrainSettings, batches: &'a dyn Batches) -> Result<Self, Error> {
        settings.check(model.level())?;
        let space = model.space().clone();
        let adam = Adam::new(&space, settings.adam, &model.parameters())?;
        let state = TrainState {
            step: settings.first,
            adam_steps: 0,
            level: model.level().unwrap_or(0),
            learning_rate_scale: 1.0,
            rollbacks: 0,
            best: None,
            validations_since_best: 0,
            seconds: 0.0,
        };
        let values = || model.parameters().into_iter().map(|p| p.value.clone()).collect();
        let average = settings.average.map(|_| values());
        let (good, warned) = (Checkpoint::default(), false);
        let (store, team, validator, gradient_hook) = (None, &Alone, None, None);
        let mut trainer = Self {
            space,
            settings,
            model,
            batches,
            store,
            team,
            validator,
            gradient_hook,
            adam,
            average,
            state,
            good,
            warned,
            told_gradient_error: None,
        };
        trainer.good = trainer.checkpoint();
        Ok(trainer)
    }

    /// The same with checkpoints kept in a store.
    #[must_use]
    pub fn with_store(self, store: &'a mut dyn CheckpointStore) -> Self {
        Self { store: Some(store), ..self }
    }

    /// The same with the work shared; every member trains the same model and has the same settings. The first of them
    /// should have the store: what it resumes from is taken up by all, and so are its parameters when the training
    /// begins.
    #[must_use]
    pub fn with_team(self, team: &'a dyn Team) -> Self {
        Self { team, ..self }
    }

    /// The same with a validation every [`TrainSettings::validate_every`] steps.
    #[must_use]
    pub fn with_validator(self, validator: impl FnMut(&M) -> Result<Validation, Error> + 'a) -> Self {
        Self { validator: Some(Box::new(validator)), ..self }
    }

    /// The same with something between every gradient, clipped already, and the optimiser.
    #[must_use]
    pub fn with_gradient_hook(self, hook: impl FnMut(&S, &mut [S::Array]) -> Result<(), Error> + 'a) -> Self {
        Self { gradient_hook: Some(Box::new(hook)), ..self }
    }

    /// Goes on from the end of another training that is validated on the same figure: seconds are counted from its own,
    /// and its best parameters stay the best until there are better ones.
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

    /// Takes up the newest usable checkpoint of the store. Returns its step (none: there is no checkpoint, the training
    /// starts afresh).
    ///
    /// # Errors
    /// Those of reading a checkpoint, when none can be used.
    pub fn resume(&mut self, observer: &mut dyn Observer) -> Result<Option<u64>, Error> {
        let found = self.newest_and_good(observer);
        let found = agreed(self.team, found)?;
        let Some([newest, good]) = self.of_first_member(found)? else { return Ok(None) };
        self.restore(&newest)?;
        self.good = good;
        observer.rewind(self.state.step)?;
        Ok(Some(self.state.step))
    }

    /// The newest checkpoint of the store, and the one that a roll-back leads to.
    fn newest_and_good(&mut self, observer: &mut dyn Observer) -> Result<Option<[Checkpoint; 2]>, Error> {
        let Some(store) = &mut self.store else { return Ok(None) };
        let Some(newest) = store.newest(false)? else { return Ok(None) };
        newest.warnings.iter().for_each(|warning| observer.note(warning));
        let mut good = newest.checkpoint.clone();
        if newest.occasion == Occasion::Interrupt {
            // A roll-back must lead where it would have led without the interrupt, unless nothing is left of that.
            let periodic = store.newest(true).ok().flatten();
            periodic.iter().flat_map(|periodic| &periodic.warnings).for_each(|warning| observer.note(warning));
            good = periodic.map_or(good, |periodic| periodic.checkpoint);
        }
        Ok(Some([newest.checkpoint, good]))
    }

    /// Checkpoints that the first member has, on every member.
    fn of_first_member(&self, found: Option<[Checkpoint; 2]>) -> Result<Option<[Checkpoint; 2]>, Error> {
        if self.team.size() == 1 {
            return Ok(found);
        }
        let like = self.checkpoint();
        let mine = found.iter().flatten().map(|of| of.numbers(&like)).collect::<Result<Vec<_>, _>>();
        let numbers = self.team.broadcast(agreed(self.team, mine)?.concat())?;
        if numbers.is_empty() {
            return Ok(None);
        }
        let (newest, good) = numbers.split_at(numbers.len() / 2);
        Ok(Some([newest, good].map(|numbers| Checkpoint::of_numbers(numbers, &like))))
    }

    /// Whatever this member begins with, all members begin with what the first has, and go back to the same.
    fn begin_as_first_member(&mut self) -> Result<(), Error> {
        if self.team.size() == 1 {
            return Ok(());
        }
        let mine = (self.team.rank() == 0).then(|| [self.checkpoint(), self.good.clone()]);
        if let Some([now, good]) = self.of_first_member(mine)? {
            self.restore(&now)?;
            self.good = good;
        }
        Ok(())
    }

    fn save(&mut self, occasion: Occasion, checkpoint: &Checkpoint) -> Result<(), Error> {
        let saved = self.store.as_mut().map_or(Ok(()), |store| store.save(occasion, checkpoint));
        agreed(self.team, saved)
    }

    /// The present state is the one to go back to, and is stored.
    fn save_good(&mut self) -> Result<(), Error> {
        let checkpoint = self.checkpoint();
        self.save(Occasion::Periodic, &checkpoint)?;
        self.good = checkpoint;
        Ok(())
    }

    /// Trains to the end, until validations find nothing better any more, or until the observer interrupts.
    ///
    /// # Errors
    /// Those of the model, the batches, the observer and the store; [`Error::TooManyRollbacks`].
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Finish, Error> {
        self.begin_as_first_member()?;
        if self.state.step == self.settings.first {
            self.save_good()?;
        }
        let mut clock = Instant::now();
        let mut traffic = self.team.traffic();
        while self.state.step < self.settings.steps && !self.out_of_patience() {
            if self.team.any(observer.interrupted())? {
                self.save(Occasion::Interrupt, &self.checkpoint())?;
                return Ok(Finish::Interrupted);
            }
            let Some(mut metrics) = self.gradient_step(observer)? else {
                self.roll_back(observer)?;
                continue;
            };
            if self.validator.is_some() && due(self.settings.validate_every, self.state.step, self.settings.steps) {
                metrics.validation = Some(self.validate()?);
            }
            self.state.seconds += clock.elapsed().as_secs_f64();
            clock = Instant::now();
            metrics.seconds = self.state.seconds;
            metrics.traffic = self.team.traffic().since(traffic);
            traffic = self.team.traffic();
            observer.step(&metrics)?;
            let ends_early = self.out_of_patience() && self.state.step < self.settings.steps;
            if ends_early || due(self.settings.checkpoint_every, self.state.step, self.settings.steps) {
                self.save_good()?;
            }
            if ends_early {
                observer.note(&format!(
                    "the last {} validations were no better than the best: the training ends at step {} of {}",
                    self.state.validations_since_best, self.state.step, self.settings.steps
                ));
            }
        }
        Ok(if self.state.step < self.settings.steps { Finish::EarlyStopped } else { Finish::Completed })
    }

    fn out_of_patience(&self) -> bool {
        self.settings.patience.is_some_and(|patience| self.state.validations_since_best >= patience)
    }

    /// This member's rows of the batch of a step.
    fn batch(&self, key: RngKey, how: &Evaluation<'_>) -> Result<Batch, Error> {
        let rows = self.settings.batch;
        let blocks = how.my_blocks(&self.space, rows)?;
        self.batches.batch(key, blocks[0].start..blocks[blocks.len() - 1].end, rows)
    }

    /// One gradient step; `None` when the loss or the gradient is not finite.
    fn gradient_step(&mut self, observer: &mut dyn Observer) -> Result<Option<StepMetrics>, Error> {
        let (step, level) = (self.state.step, self.state.level);
        let key = RngKey::new(self.settings.seed, Purpose::Train, step);
        let how = Evaluation { blocks: self.settings.blocks, ..Evaluation::new(key).by(self.team) };
        let batch = agreed(self.team, self.batch(key, &how))?;
        let mut outcome = self.model.evaluate(&batch, &how.with_gradient())?;
        let loss = Mean::of(&outcome.losses);
        let mut gradient = outcome.gradient.take().expect("the gradient was asked for");
        let gradient_norm = global_norm(&self.space, &gradient);
        if !(loss.mean.is_finite() && gradient_norm.is_finite()) {
            return Ok(None);
        }
        let settings = &self.settings;
        let mut integration_error = None;
        // A field that is random in time has no limit of small steps to be watched.
        let watched = settings.watch_every != 0 && level > 0 && self.model.has_fine_limit();
        if watched && step.is_multiple_of(settings.watch_every) {
            let fine = self.model.evaluate(&batch, &Evaluation { refined: true, ..how })?;
            integration_error = Some(Mean::of(&fine.losses).mean - loss.mean);
        }
        let at_the_start = self.told_gradient_error.is_none();
        if at_the_start || settings.watch_every != 0 && step.is_multiple_of(settings.watch_every) {
            let error = self.model.gradient_error(&gradient, &batch, &how)?;
            self.tell_gradient_error(error, observer);
        }
        let settings = &self.settings;
        if let Some(limit) = settings.clip_norm {
            clip(&self.space, &mut gradient, gradient_norm, limit);
        }
        if let Some(hook) = &mut self.gradient_hook {
            hook(&self.space, &mut gradient)?;
        }
        let schedule = settings.schedule.factor(step - settings.first, settings.steps - settings.first);
        let learning_rate = settings.learning_rate * schedule * self.state.learning_rate_scale;
        self.adam.step(&self.space, learning_rate, self.model.parameters_mut(), gradient);
        self.model.observe(&outcome);
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
            level,
            integration_error,
            validation: None,
            seconds,
            traffic: Traffic::default(),
        }))
    }

    /// Raises the level of integration when the error passes the tolerance.
    fn watch(&mut self, error: f64, observer: &mut dyn Observer) {
        let (now, tolerance, most) = (self.state.level, self.settings.watch_tolerance, self.settings.max_level);
        if error.abs() <= tolerance {
            return;
        }
        let with = self.model.integration();
        let found = format!("integration error {error:+.2e} nats with {with} passes the tolerance {tolerance:.1e}");
        if now < most {
            // What the order of the method asks for, but at most twice as many at a time: far from convergence the
            // order says little, and an error that is no number says nothing.
            let asked = (error.abs() / tolerance).powf(1.0 / self.model.order());
            let factor = if asked.is_finite() { asked.clamp(1.1, 2.0) } else { 2.0 };
            self.state.level = ((now as f64 * factor).ceil() as u64).min(most);
            self.model.set_level(self.state.level);
            observer.note(&format!("{found}: from now on {}", self.model.integration()));
        } else if !self.warned {
            self.warned = true;
            observer.note(&format!("{found}, and no finer integration is allowed: losses carry this error"));
        }
    }

    /// Says how far gradients are from exact ones: at first, and whenever it is twice as much as was said.
    fn tell_gradient_error(&mut self, error: Option<f64>, observer: &mut dyn Observer) {
        let Some(error) = error else { return };
        if self.told_gradient_error.is_some_and(|told| error <= 2.0 * told) {
            return;
        }
        self.told_gradient_error = Some(error);
        let (step, with) = (self.state.step, self.model.integration());
        observer.note(&format!(
            "gradients by the continuous adjoint are off: at step {step} by {error:.1e} of the exact discrete \
             gradient, with {with}"
        ));
    }

    fn update_average(&mut self) {
        let (Some(average), Some(decay)) = (&mut self.average, self.settings.average) else { return };
        let steps = self.state.adam_steps as f64;
        let decay = decay.min((1.0 + steps) / (10.0 + steps));
        for (average, parameter) in average.iter_mut().zip(self.model.parameters()) {
            self.space.accumulate(average, decay, &[(1.0 - decay, &parameter.value)]);
        }
    }

    /// Exchanges the parameters and their average, where there is one.
    fn swap_average(&mut self) {
        for (parameter, average) in self.model.parameters_mut().into_iter().zip(self.average.iter_mut().flatten()) {
            std::mem::swap(&mut parameter.value, average);
        }
    }

    fn validate(&mut self) -> Result<Validation, Error> {
        self.swap_average();
        let validation = self.validator.as_mut().map(|validator| validator(self.model));
        self.swap_average();
        let mine = validation.expect("asked for where there is a validator")?;
        // The members' figures may differ in what they saw; the first one's decides for all.
        let agreed = self.team.broadcast(vec![mine.figure, mine.standard_error, mine.integration_error])?;
        let validation = Validation { figure: agreed[0], standard_error: agreed[1], integration_error: agreed[2] };
        // The figure at half the step counts: too coarse a step can make a figure lower, and would pass for a better
        // flow. A figure that is NaN is never the best, for no other would be below it.
        let figure = validation.figure + validation.integration_error;
        self.state.validations_since_best += 1;
        if figure.is_finite() && self.state.best.is_none_or(|best| figure < best) {
            self.state.best = Some(figure);
            self.state.validations_since_best = 0;
            self.save(Occasion::Best, &self.checkpoint())?;
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
        self.restore(&good)?;
        // The file of the best one does not go back.
        self.state.best = self.state.best.into_iter().chain(best).reduce(f64::min);
        self.state.learning_rate_scale = scale;
        self.state.rollbacks = tries;
        // The state goes back with fewer lives and a lower rate: saved, so that a resumed training knows too.
        self.save_good()?;
        observer.rewind(self.state.step)?;
        observer.note(&format!(
            "loss or gradient not finite after step {step}: back to step {}, learning rate times {scale}",
            self.state.step
        ));
        Ok(())
    }

    /// Parameters, moments and state as a checkpoint.
    pub fn checkpoint(&self) -> Checkpoint {
        let (space, mut tensors) = (&self.space, Vec::new());
        for (i, p) in self.model.parameters().into_iter().enumerate() {
            tensors.push(Tensor::from_array(space, &p.name, &p.shape, &p.value));
            for (moment, array) in [("first", &self.adam.first[i]), ("second", &self.adam.second[i])] {
                tensors.push(Tensor::from_array(space, moment_name(moment, &p.name), &p.shape, array));
            }
            if let Some(average) = &self.average {
                tensors.push(Tensor::from_array(space, averaged(&p.name), &p.shape, &average[i]));
            }
        }
        let buffers = self.model.buffers().into_iter();
        tensors.extend(buffers.map(|p| Tensor::from_array(space, &p.name, &p.shape, &p.value)));
        Checkpoint { tensors, state: Some(self.state), origin: String::new() }
    }

    fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let state = checkpoint.state.ok_or_else(|| checkpoint.unusable("it has no train_state"))?;
        let space = &self.space;
        let read = |name: &dyn Fn(&Parameter<S>) -> String| -> Result<Vec<_>, Error> {
            let array = |p: &Parameter<S>| checkpoint.array(space, &name(p), &p.shape);
            self.model.parameters().into_iter().map(array).collect()
        };
        let [first, second] = ["first", "second"].map(|moment| read(&|p| moment_name(moment, &p.name)));
        let (first, second) = (first?, second?);
        let average = self.average.is_some().then(|| read(&|p| averaged(&p.name))).transpose()?;
        // Buffers first: all are read, or an error leaves everything as it was.
        let mut arrays = self.model.buffers();
        arrays.extend(self.model.parameters());
        let values = arrays.into_iter().map(|p| checkpoint.array(space, &p.name, &p.shape));
        let mut values = values.collect::<Result<Vec<_>, Error>>()?.into_iter();
        self.model.buffers_mut().into_iter().zip(values.by_ref()).for_each(|(p, value)| p.value = value);
        self.model.parameters_mut().into_iter().zip(values).for_each(|(p, value)| p.value = value);
        self.average = average;
        (self.adam.first, self.adam.second, self.adam.steps) = (first, second, state.adam_steps);
        self.model.set_level(state.level);
        self.state = state;
        Ok(())
    }
}

/// Whether something done every `interval` steps is due after `step` of `total`; the last step always counts.
fn due(interval: u64, step: u64, total: u64) -> bool {
    interval != 0 && (step.is_multiple_of(interval) || step == total)
}
