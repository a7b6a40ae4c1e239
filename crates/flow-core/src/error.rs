//! What can go wrong in a flow or a training, with the numbers and the remedy.

/// Errors of flow-core.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A Runge-Kutta tableau that breaks a condition it claims to fulfil.
    #[error("tableau `{name}`: {reason}; correct its coefficients")]
    Tableau {
        /// Name of the method.
        name: String,
        /// The condition and by how much it is missed.
        reason: String,
    },
    /// A setting out of its range.
    #[error("{name} is {value}, but must be {expected}")]
    Setting {
        /// Name of the parameter or field that was set.
        name: &'static str,
        /// Value given.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// An array of the wrong shape.
    #[error(
        "{what} has shape {found:?}, but {expected:?} is needed; check that file and configuration belong together"
    )]
    Shape {
        /// Which array.
        what: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape needed.
        expected: Vec<usize>,
    },
    /// A parameter that a checkpoint lacks.
    #[error("{origin} has no tensor `{name}` (it has {available}); check that file and configuration belong together")]
    MissingTensor {
        /// Where it was looked for.
        origin: String,
        /// The tensor looked for.
        name: String,
        /// Names that the file has.
        available: String,
    },
    /// A loss, gradient or state that is not finite.
    #[error(
        "{what} is not finite{place}; lower the learning rate, take more integration steps or a shorter time of the \
         flow, or check the data for NaN"
    )]
    NonFinite {
        /// What was found not to be finite.
        what: &'static str,
        /// Where, as ` at step 7` (may be empty).
        place: String,
    },
    /// The adaptive step fell below what the precision resolves, or the steps ran out.
    #[error(
        "the adaptive integrator stopped at t = {time:?} after {steps} steps ({reason}); loosen the tolerances (now \
         {relative:e} relative, {absolute:e} absolute) or use a fixed step"
    )]
    Adaptive {
        /// Time reached.
        time: f64,
        /// Steps taken.
        steps: usize,
        /// Why it stopped.
        reason: &'static str,
        /// Relative tolerance.
        relative: f64,
        /// Absolute tolerance.
        absolute: f64,
    },
    /// A symmetry drawn per stage makes the field random in time, which no error control can handle.
    #[error(
        "a symmetry drawn per stage cannot be integrated with an adaptive step; use a fixed-step method or draw it \
         per solve"
    )]
    AdaptivePerStage,
    /// A symmetry drawn per stage makes the field random in time, and the way back of the continuous adjoint has other
    /// stages.
    #[error(
        "a symmetry drawn per stage has no continuous adjoint; draw it per solve or let gradients keep stages or \
         starts of steps"
    )]
    ContinuousPerStage,
    /// Something of flows that are integrated, asked of a model in closed form.
    #[error(
        "{what} needs a flow that is integrated, and this model is in closed form; choose a potential in its place"
    )]
    NeedsFlow {
        /// What was asked for.
        what: &'static str,
    },
    /// A loss of forces needs a derivative that a potential does not bring.
    #[error(
        "force_weight needs the pullback of the score, which this potential, or a term of it, lacks on this backend; \
         set it to 0, or choose quadratic, separable, ridge and lattice terms on ndarray, or terms of a sum but \
         convolutional on libtorch"
    )]
    NoScorePullback,
    /// Training could not go on after repeated roll-backs.
    #[error(
        "training met non-finite numbers {tries} times, the last time at step {step}, although the learning rate was \
         lowered to {learning_rate:e}; start with a lower learning rate or more integration steps"
    )]
    TooManyRollbacks {
        /// Roll-backs made.
        tries: u32,
        /// Step of the last.
        step: u64,
        /// Learning rate reached.
        learning_rate: f64,
    },
    /// A checkpoint that cannot be used.
    #[error("{origin} cannot be used ({reason}); delete it, or resume from an older one")]
    Checkpoint {
        /// Which one.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An error of the [store](crate::CheckpointStore) of checkpoints.
    #[error(transparent)]
    Store(Box<dyn std::error::Error + Send + Sync>),
    /// Another member of the team failed; its own error says why.
    #[error("another member of the team failed")]
    OtherMember,
    /// An error of the caller's own code, as a sentence: of batches, energies, validations or observers.
    #[error("{0}")]
    Callback(String),
}

impl Error {
    /// [`Error::Setting`]: the name of the parameter, what was found, what is expected.
    pub fn setting(name: &'static str, value: impl ToString, expected: impl ToString) -> Self {
        Self::Setting { name, value: value.to_string(), expected: expected.to_string() }
    }

    /// Refuses sizes of zero.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first name whose value is zero.
    pub fn at_least_1<const N: usize>(sizes: [(&'static str, usize); N]) -> Result<(), Self> {
        match sizes.into_iter().find(|(_, value)| *value == 0) {
            Some((name, value)) => Err(Self::setting(name, value, "at least 1")),
            None => Ok(()),
        }
    }
}
