//! What is wrong with a recipe.

/// What is wrong with a recipe: where, what was found, what is expected and how to go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Not TOML at all.
    #[error("{origin} is not valid TOML: {message}")]
    Syntax {
        /// The file or recipe.
        origin: String,
        /// Line, column and reason.
        message: String,
    },
    /// A key that nothing reads.
    #[error("unknown key `{key}`{} the keys here are {}", did_you_mean(.nearest), .known.join(", "))]
    UnknownKey {
        /// The whole path, e.g. `train.lerning_rate`.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
        /// All keys at that place.
        known: Vec<String>,
    },
    /// A key without which the recipe means nothing.
    #[error("the key `{key}` is missing; expected {expected}")]
    Missing {
        /// The whole path.
        key: String,
        /// What belongs there.
        expected: String,
    },
    /// A value of the wrong type or an unknown word.
    #[error("`{key}`: {message}")]
    WrongType {
        /// The whole path.
        key: String,
        /// Found and expected.
        message: String,
    },
    /// A value out of its range, or one that contradicts another.
    #[error("`{key}` = {found}, expected {expected}; {remedy}")]
    OutOfRange {
        /// The whole path.
        key: &'static str,
        /// The value.
        found: String,
        /// The values that work.
        expected: String,
        /// What to do.
        remedy: String,
    },
}

fn did_you_mean(name: &Option<String>) -> String {
    match name {
        Some(name) => format!(" (did you mean `{name}`?);"),
        None => ";".to_owned(),
    }
}
