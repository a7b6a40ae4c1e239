//! `--set key.path=value`: one change to the table of a recipe, before it is read.

use std::str::FromStr;

use toml::{Table, Value};

use crate::error::RecipeError;
use crate::text::readable;

/// Most parts of a key: more than the deepest section of a recipe has.
const DEEPEST: usize = 16;

/// One `--set`.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The path, e.g. `train.learning_rate`.
    pub key: String,
    /// The new value.
    pub value: Value,
}

impl FromStr for Setting {
    type Err = String;

    /// Reads `key.path=value`. The value is TOML; what is not TOML is a bare word (`train.optimizer=adamw`).
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected key.path=value, e.g. train.learning_rate=3e-4")?;
        let key = key.trim();
        let depth = key.split('.').count();
        if depth > DEEPEST {
            return Err(format!("a key of {depth} parts is none of a recipe; no key has more than {DEEPEST}"));
        }
        if key.is_empty() || key.split('.').any(|part| part.trim().is_empty()) {
            return Err(format!("`{key}` is not a key; expected key.path=value, e.g. train.learning_rate=3e-4"));
        }
        let value = value.trim();
        let value = match format!("value = {value}").parse::<Table>() {
            // A line break in the value must not smuggle in other keys.
            Ok(mut table) if table.len() == 1 => table.remove("value"),
            _ => None,
        }
        .unwrap_or_else(|| Value::String(value.to_owned()));
        Ok(Self { key: key.to_owned(), value })
    }
}

impl Setting {
    /// Applies the change. Whether the key means anything is found when the table is read.
    ///
    /// # Errors
    /// When the path leads through a value that is not a section.
    pub fn apply(&self, table: &mut Table) -> Result<(), RecipeError> {
        let parts: Vec<&str> = self.key.split('.').map(str::trim).collect();
        let (last, sections) = parts.split_last().expect("split gives at least one part");
        let wrong = |message: String| RecipeError::WrongType { key: self.key.clone(), message: readable(&message) };
        let here = descend(table, sections).map_err(wrong)?;
        // The length of a training is given once: the newer of the two words wins.
        match self.key.as_str() {
            "train.steps" => here.remove("epochs"),
            "train.epochs" => here.remove("steps"),
            _ => None,
        };
        here.insert((*last).to_owned(), self.value.clone());
        Ok(())
    }
}

/// The section that a path leads to; missing ones are made, and sections of an array go by their numbers.
fn descend<'a>(table: &'a mut Table, path: &[&str]) -> Result<&'a mut Table, String> {
    let Some((part, rest)) = path.split_first() else { return Ok(table) };
    let next = table.entry((*part).to_owned()).or_insert_with(|| Value::Table(Table::new()));
    if let Value::String(kind) = next {
        // A bare word is short for a section with that kind.
        *next = Value::Table(Table::from_iter([("kind".to_owned(), Value::String(std::mem::take(kind)))]));
    }
    match next {
        Value::Table(table) => descend(table, rest),
        Value::Array(entries) => {
            let count = entries.len();
            let number = rest.first().and_then(|number| number.parse::<usize>().ok());
            match number.and_then(|number| entries.get_mut(number)).and_then(Value::as_table_mut) {
                Some(table) => descend(table, &rest[1..]),
                None => Err(format!("`{part}` has {count} sections; write `{part}.0.key` for a key of the first")),
            }
        }
        other => Err(format!("`{part}` is {other} and has no keys below it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Setting {
        text.parse().unwrap()
    }

    #[test]
    fn values_are_toml_and_bare_words_are_strings() {
        assert_eq!(set("a.b=3").value, Value::Integer(3));
        assert_eq!(set("a.b = 1e-3").value, Value::Float(1e-3));
        assert_eq!(set("a=true").value, Value::Boolean(true));
        assert_eq!(set("a=\"x\"").value, Value::String("x".to_owned()));
        assert_eq!(set("a=ln-cosh").value, Value::String("ln-cosh".to_owned()));
        assert_eq!(set("a=[1, 2]").value.as_array().unwrap().len(), 2);
        assert!(set("a={kind='x'}").value.is_table());
        assert_eq!(set("a=1\nb=2").value, Value::String("1\nb=2".to_owned()));
        for wrong in ["", "a", "=3", "a..b=3", ".=1"] {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
        // A section within a section for every part would end the stack.
        let deep = format!("a{}=1", ".a".repeat(50_000)).parse::<Setting>();
        assert!(deep.unwrap_err().contains("50001 parts"));
    }

    #[test]
    fn sections_are_made_and_short_forms_unfolded() {
        let mut table: Table = "schedule = \"cosine\"".parse().unwrap();
        set("schedule.warmup=5").apply(&mut table).unwrap();
        set("new.section.key=1").apply(&mut table).unwrap();
        assert_eq!(table["schedule"]["kind"].as_str(), Some("cosine"));
        assert_eq!(table["schedule"]["warmup"].as_integer(), Some(5));
        assert_eq!(table["new"]["section"]["key"].as_integer(), Some(1));
    }

    #[test]
    fn sections_of_an_array_have_numbers() {
        let mut table: Table = "[[terms]]\nkernels = 1\n[[terms]]\nkernels = 2".parse().unwrap();
        set("terms.1.kernels=7").apply(&mut table).unwrap();
        let kernels = |i: usize| table["terms"][i]["kernels"].as_integer().unwrap();
        assert_eq!((kernels(0), kernels(1)), (1, 7));
        for wrong in ["terms.2.kernels=7", "terms.kernels=7", "terms.x.kernels=7"] {
            let error = set(wrong).apply(&mut table.clone()).unwrap_err().to_string();
            assert!(error.contains("`terms`"), "{error}");
        }
    }

    #[test]
    fn the_newer_of_steps_and_epochs_wins() {
        let mut table: Table = "[train]\nepochs = 3".parse().unwrap();
        set("train.steps=100").apply(&mut table).unwrap();
        let train = table["train"].as_table().unwrap();
        assert_eq!((train.len(), train["steps"].as_integer()), (1, Some(100)));
    }
}
