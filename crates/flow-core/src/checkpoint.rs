//! What a training is resumed from, arrays and state, and the trait of a store for it. There are no files here: the
//! crates above have them.

use crate::error::Error;
use crate::parameter::{Parameter, rows_and_cols};
use crate::space::{Precision, Space};

/// One array with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Precision that the numbers were computed in.
    pub precision: Precision,
    /// The numbers, last index fastest.
    pub values: Vec<f64>,
}

impl Tensor {
    /// The tensor of an array in working precision.
    pub fn from_array<S: Space>(space: &S, name: impl Into<String>, shape: &[usize], array: &S::Array) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), precision: space.precision(), values: space.download(array) }
    }
}

/// What a training must remember beside its arrays.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TrainState {
    /// Gradient steps made.
    pub step: u64,
    /// Steps of the optimiser, which its bias correction needs.
    pub adam_steps: u64,
    /// How finely the model integrates now, see [`Integrator::level`](crate::Integrator::level): steps, for a fixed
    /// step. 0: not at all.
    #[cfg_attr(feature = "serde", serde(rename = "flow_steps"))]
    pub level: u64,
    /// Factor on the learning rate, halved by every roll-back.
    pub learning_rate_scale: f64,
    /// Roll-backs so far.
    pub rollbacks: u32,
    /// Lowest validation figure so far with its integration error added, in nats: the figure at half the step.
    pub best: Option<f64>,
    /// Validations since the one with that figure.
    #[cfg_attr(feature = "serde", serde(default))]
    pub validations_since_best: u64,
    /// Seconds of training so far.
    pub seconds: f64,
}

impl TrainState {
    /// All of it as numbers; NaN for no best.
    fn numbers(&self) -> [f64; 8] {
        let Self { step, adam_steps, level, learning_rate_scale, rollbacks, best, validations_since_best, seconds } =
            *self;
        let [step, adam_steps, level, since] =
            [step, adam_steps, level, validations_since_best].map(|count| count as f64);
        [step, adam_steps, level, learning_rate_scale, rollbacks.into(), best.unwrap_or(f64::NAN), since, seconds]
    }

    /// The state with these [`TrainState::numbers`].
    fn of_numbers(numbers: [f64; 8]) -> Self {
        let [step, adam_steps, level, learning_rate_scale, rollbacks, best, since, seconds] = numbers;
        let [step, adam_steps, level, validations_since_best] =
            [step, adam_steps, level, since].map(|count| count as u64);
        let (rollbacks, best) = (rollbacks as u32, Some(best).filter(|best| !best.is_nan()));
        Self { step, adam_steps, level, learning_rate_scale, rollbacks, best, validations_since_best, seconds }
    }
}

/// Arrays under their names, and the state of the training that they come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// The arrays.
    pub tensors: Vec<Tensor>,
    /// The state; `None` where there was no training.
    pub state: Option<TrainState>,
    /// Where it comes from, for messages: `checkpoint runs/a/step-00000100.safetensors`. Empty for one that was never
    /// stored.
    pub origin: String,
}

impl Checkpoint {
    /// The tensor of a name, checked for its shape and for numbers that are not finite, in the precision of `space`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], or [`Error::Checkpoint`] for numbers that are not finite.
    pub fn array<S: Space>(&self, space: &S, name: &str, shape: &[usize]) -> Result<S::Array, Error> {
        let tensor = self.tensor(name, shape)?;
        if let Some(at) = tensor.values.iter().position(|v| !v.is_finite()) {
            return Err(self.unusable(format!("tensor `{name}` has {} at position {at}", tensor.values[at])));
        }
        let (rows, cols) = rows_and_cols(shape);
        Ok(space.upload(rows, cols, &tensor.values))
    }

    /// The tensor of a name, checked for its shape.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<&Tensor, Error> {
        let Some(tensor) = self.tensors.iter().find(|t| t.name == name) else {
            let names: Vec<_> = self.tensors.iter().map(|t| t.name.as_str()).collect();
            let (origin, available) = (self.origin(), names.join(", "));
            return Err(Error::MissingTensor { origin, name: name.into(), available });
        };
        if tensor.shape != shape {
            let what = format!("tensor `{name}` of {}", self.origin());
            return Err(Error::Shape { what, found: tensor.shape.clone(), expected: shape.to_vec() });
        }
        Ok(tensor)
    }

    /// Sets parameters from the tensors of the same names; all or, on an error, none of them.
    ///
    /// # Errors
    /// As [`Checkpoint::array`].
    pub fn load_parameters<S: Space>(&self, space: &S, parameters: Vec<&mut Parameter<S>>) -> Result<(), Error> {
        self.load(space, parameters, str::to_owned)
    }

    /// Sets parameters to what figures are taken with: their moving averages where the checkpoint has them, else as
    /// [`Checkpoint::load_parameters`] does.
    ///
    /// # Errors
    /// As [`Checkpoint::array`].
    pub fn load_trained<S: Space>(&self, space: &S, parameters: Vec<&mut Parameter<S>>) -> Result<(), Error> {
        let has = |p: &&mut Parameter<S>| self.tensors.iter().any(|tensor| tensor.name == averaged(&p.name));
        match parameters.iter().all(has) {
            true => self.load(space, parameters, averaged),
            false => self.load_parameters(space, parameters),
        }
    }

    /// The tensors that figures are taken with, by the names of the parameters: their moving averages where the
    /// checkpoint has them, as [`Checkpoint::load_trained`] reads them.
    pub fn trained(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let of_training = |name: &str| name.starts_with(AVERAGE) || name.starts_with(MOMENTS);
        let parameters = self.tensors.iter().filter(move |tensor| !of_training(&tensor.name));
        parameters.map(|tensor| {
            let average = self.tensors.iter().find(|other| other.name == averaged(&tensor.name));
            (tensor.name.as_str(), average.unwrap_or(tensor))
        })
    }

    fn load<S: Space>(
        &self,
        space: &S,
        parameters: Vec<&mut Parameter<S>>,
        stored: impl Fn(&str) -> String,
    ) -> Result<(), Error> {
        let read = |p: &&mut Parameter<S>| self.array(space, &stored(&p.name), &p.shape);
        let arrays = parameters.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        for (parameter, array) in parameters.into_iter().zip(arrays) {
            parameter.value = array;
        }
        Ok(())
    }

    /// The state and the tensors that another checkpoint has, in its order, as numbers alone.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::Checkpoint`] when something is not there.
    pub(crate) fn numbers(&self, like: &Self) -> Result<Vec<f64>, Error> {
        let state = self.state.ok_or_else(|| self.unusable("it has no train_state"))?;
        let mut numbers = state.numbers().to_vec();
        for tensor in &like.tensors {
            numbers.extend(&self.tensor(&tensor.name, &tensor.shape)?.values);
        }
        Ok(numbers)
    }

    /// The checkpoint with these [`Checkpoint::numbers`], which has what `like` has.
    pub(crate) fn of_numbers(numbers: &[f64], like: &Self) -> Self {
        let (state, mut rest) = numbers.split_first_chunk().expect("a state goes first");
        let mut next = |tensor: &Tensor| {
            let (values, behind) = rest.split_at(tensor.values.len());
            rest = behind;
            Tensor { values: values.to_vec(), ..tensor.clone() }
        };
        let tensors = like.tensors.iter().map(&mut next).collect();
        Self { tensors, state: Some(TrainState::of_numbers(*state)), origin: "of the first member of the team".into() }
    }

    /// [`Error::Checkpoint`] with this origin.
    pub fn unusable(&self, reason: impl Into<String>) -> Error {
        Error::Checkpoint { origin: self.origin(), reason: reason.into() }
    }

    fn origin(&self) -> String {
        if self.origin.is_empty() { "in memory".into() } else { self.origin.clone() }
    }
}

/// What the names of moving averages begin with.
const AVERAGE: &str = "average.";
/// What the names of the optimiser's moments begin with.
const MOMENTS: &str = "adam.";

/// The name that the moving average of a parameter is stored under.
pub(crate) fn averaged(name: &str) -> String {
    format!("{AVERAGE}{name}")
}

/// The name that a moment of a parameter is stored under.
pub(crate) fn moment_name(moment: &str, name: &str) -> String {
    format!("{MOMENTS}{moment}.{name}")
}

/// What a checkpoint is stored for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// At a set interval.
    Periodic,
    /// Because the training was interrupted.
    Interrupt,
    /// Because its validation figure, with the integration error added, is the lowest so far.
    Best,
}

/// A checkpoint that was found in a store.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its content.
    pub checkpoint: Checkpoint,
    /// What it was stored for.
    pub occasion: Occasion,
    /// Why newer ones were passed over, in sentences.
    pub warnings: Vec<String>,
}

/// Where a training keeps its checkpoints: a folder, a database, or nowhere ([`NoStore`]).
///
/// ```
/// use flow_core::{Checkpoint, CheckpointStore, Error, Occasion, Stored};
///
/// /// The last of either kind, in memory.
/// #[derive(Default)]
/// struct Last { periodic: Option<Checkpoint>, interrupt: Option<Checkpoint> }
///
/// impl CheckpointStore for Last {
///     fn save(&mut self, occasion: Occasion, checkpoint: &Checkpoint) -> Result<(), Error> {
///         match occasion {
///             Occasion::Periodic => (self.periodic, self.interrupt) = (Some(checkpoint.clone()), None),
///             Occasion::Interrupt => self.interrupt = Some(checkpoint.clone()),
///             Occasion::Best => (),
///         }
///         Ok(())
///     }
///     fn newest(&mut self, periodic: bool) -> Result<Option<Stored>, Error> {
///         let stored = |of: &Option<Checkpoint>, occasion| {
///             of.clone().map(|checkpoint| Stored { checkpoint, occasion, warnings: Vec::new() })
///         };
///         let interrupt = if periodic { None } else { stored(&self.interrupt, Occasion::Interrupt) };
///         Ok(interrupt.or_else(|| stored(&self.periodic, Occasion::Periodic)))
///     }
/// }
///
/// let mut last = Last::default();
/// last.save(Occasion::Periodic, &Checkpoint::default())?;
/// last.save(Occasion::Interrupt, &Checkpoint::default())?;
/// assert_eq!(last.newest(false)?.map(|stored| stored.occasion), Some(Occasion::Interrupt));
/// assert_eq!(last.newest(true)?.map(|stored| stored.occasion), Some(Occasion::Periodic));
/// # Ok::<(), Error>(())
/// ```
pub trait CheckpointStore {
    /// Keeps a checkpoint.
    ///
    /// # Errors
    /// Whatever keeps it from doing so, as [`Error::Store`]. What was kept before is then still there.
    fn save(&mut self, occasion: Occasion, checkpoint: &Checkpoint) -> Result<(), Error>;

    /// The newest checkpoint that can be used, periodic or of an interrupt; or, with `periodic`, the newest periodic
    /// one. `None` when there is none at all.
    ///
    /// # Errors
    /// When there are some, but none can be used.
    fn newest(&mut self, periodic: bool) -> Result<Option<Stored>, Error>;
}

/// A store that keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStore;

impl CheckpointStore for NoStore {
    fn save(&mut self, _occasion: Occasion, _checkpoint: &Checkpoint) -> Result<(), Error> {
        Ok(())
    }

    fn newest(&mut self, _periodic: bool) -> Result<Option<Stored>, Error> {
        Ok(None)
    }
}
