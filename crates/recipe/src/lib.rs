//! The recipe of a training: a TOML file read into typed, validated values, every key with one meaning and one name.
//!
//! The way of a recipe: TOML text -> table -> `--set` applied to the table, and what may be left out filled in by
//! [`complete`] -> [`Recipe`] -> [`Recipe::validate`].

mod backend;
mod error;
mod layout;
mod read;
mod rules;
mod schema;
mod set;
mod text;
mod validate;

pub use backend::Backend;
pub use error::RecipeError;
pub use layout::Layout;
pub use read::from_table;
pub use rules::{MOST_PAIRED, complete, terms};
pub use schema::*;
pub use set::Setting;
pub use text::{closest, readable};
pub use validate::MOST_SAMPLES;
