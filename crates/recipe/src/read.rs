//! From a TOML table to a [`Recipe`]: each section by its own type, every error with the whole path of its key.

use flow_core::{CosineSchedule, Schedule};
use serde::de::DeserializeOwned;
use serde_aux::serde_introspection::serde_introspect;
use toml::{Table, Value};

use crate::error::RecipeError;
use crate::schema::{
    Density, Model, Potential, Recipe, RidgePotential, SumPotential, TargetKind, Term, TermKind, TermTime, Train,
};
use crate::text::{closest, readable};

const SECTIONS: [&str; 10] =
    ["name", "description", "run", "target", "model", "potential", "flow", "train", "fine_tune", "evaluate"];

/// Reads a recipe out of a table; `name` is used where the table gives none.
///
/// # Errors
/// The first unknown key, missing key, wrong type or unknown word, with its path.
pub fn from_table(mut table: Table, name: &str) -> Result<Recipe, RecipeError> {
    reject_unknown("", &table, &SECTIONS)?;
    let text = |value: Option<Value>, key: &str| match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_type(key, &other, "a string")),
    };
    let given_name = text(table.remove("name"), "name")?;
    let description = text(table.remove("description"), "description")?;
    let run = match table.remove("run") {
        None => None,
        Some(value) => Some(section("run", as_table("run", value)?)?),
    };
    let mut train = required(&mut table, "train", "a section [train]")?;
    let schedule = match train.remove("schedule") {
        None => Schedule::default(),
        Some(value) => schedule(value)?,
    };
    // A section with kinds inside a section: read apart, so that its errors carry their whole path.
    let mut train: Train = section("train", train)?;
    train.schedule = schedule;
    Ok(Recipe {
        name: given_name.unwrap_or_else(|| name.to_owned()),
        description: description.unwrap_or_default(),
        run,
        target: target(required(&mut table, "target", "a section [target]")?)?,
        density: density(&mut table)?,
        train,
        fine_tune: match table.remove("fine_tune") {
            None => None,
            Some(value) => Some(section("fine_tune", as_table("fine_tune", value)?)?),
        },
        evaluate: match table.remove("evaluate") {
            None => Default::default(),
            Some(value) => section("evaluate", as_table("evaluate", value)?)?,
        },
    })
}

fn target(table: Table) -> Result<TargetKind, RecipeError> {
    const KINDS: [&str; 9] = ["mnist", "ising", "toy", "phi4", "particles", "sets", "table", "energy", "own"];
    let (kind, rest) = kind("target", table, &KINDS)?;
    Ok(match kind {
        "mnist" => TargetKind::Mnist(section("target", rest)?),
        "ising" => TargetKind::Ising(section("target", rest)?),
        "toy" => TargetKind::Toy(section("target", rest)?),
        "phi4" => TargetKind::Phi4(section("target", rest)?),
        "particles" => TargetKind::Particles(section("target", rest)?),
        "sets" => TargetKind::Sets(section("target", rest)?),
        "table" => TargetKind::Table(section("target", rest)?),
        "energy" => TargetKind::Energy(section("target", rest)?),
        _ => TargetKind::Own(section("target", rest)?),
    })
}

/// A section [model], or [potential] and [flow].
fn density(table: &mut Table) -> Result<Density, RecipeError> {
    let Some(given) = table.remove("model") else {
        let potential =
            potential(required(table, "potential", "a section [potential], or one [model] in place of it")?)?;
        return Ok(Density::Flow { potential, flow: section("flow", required(table, "flow", "a section [flow]")?)? });
    };
    if let Some(key) = ["potential", "flow"].into_iter().find(|key| table.contains_key(*key)) {
        return Err(RecipeError::OutOfRange {
            key: "model",
            found: format!("given beside {key}"),
            expected: "a model, or a potential with its flow".to_owned(),
            remedy: format!("take the section [{key}] or the section [model] out"),
        });
    }
    let (kind, rest) = kind("model", as_table("model", given)?, &["made", "maf", "real-nvp", "neural-rg"])?;
    let model = match kind {
        "made" => Model::Made(section("model", rest)?),
        "maf" => Model::Maf(section("model", rest)?),
        "real-nvp" => Model::RealNvp(section("model", rest)?),
        _ => Model::NeuralRg(section("model", rest)?),
    };
    Ok(Density::Model { model })
}

fn potential(mut table: Table) -> Result<Potential, RecipeError> {
    let symmetry = table.remove("symmetry");
    let (kind, mut rest) = kind("potential", table, &["ridge", "sum"])?;
    if kind == "sum" {
        if let Some(value) = symmetry {
            rest.insert("symmetry".to_owned(), value);
        }
        return Ok(Potential::Sum(SumPotential { terms: terms(rest)? }));
    }
    let mut ridge: RidgePotential = section("potential", rest)?;
    if let Some(value) = symmetry {
        let key = "potential.symmetry";
        ridge.symmetry = Some(section(key, as_table(key, value)?)?);
    }
    Ok(Potential::Ridge(ridge))
}

/// The terms of a sum.
fn terms(mut table: Table) -> Result<Vec<Term>, RecipeError> {
    const KINDS: [&str; 10] = [
        "lattice-quadratic",
        "lattice-ridge",
        "quadratic",
        "full-quadratic",
        "context-quadratic",
        "separable",
        "ridge",
        "two-layer",
        "particles",
        "convolutional",
    ];
    let key = "potential.terms";
    let expected = "an array of sections [[potential.terms]]";
    let given = match table.remove("terms") {
        Some(Value::Array(terms)) => terms,
        Some(other) => return Err(wrong_type(key, &other, expected)),
        None => return Err(RecipeError::Missing { key: key.to_owned(), expected: expected.to_owned() }),
    };
    reject_unknown("potential", &table, &[])?;
    given.into_iter().enumerate().map(|(i, value)| term(&format!("{key}.{i}"), value, &KINDS)).collect()
}

/// One term: the keys of its kind, and those of its functions of time.
fn term(path: &str, value: Value, kinds: &[&'static str]) -> Result<Term, RecipeError> {
    let (kind, mut rest) = kind(path, as_table(path, value)?, kinds)?;
    let of_time = serde_introspect::<TermTime>();
    let time = of_time.iter().filter_map(|key| rest.remove_entry(*key)).collect();
    let time = section(path, time)?;
    // An unknown key is told all that there are.
    fn own<T: DeserializeOwned>(path: &str, table: Table, of_time: &[&str]) -> Result<T, RecipeError> {
        reject_unknown(path, &table, &[serde_introspect::<T>(), of_time].concat())?;
        section(path, table)
    }
    let none = |table| reject_unknown(path, table, of_time);
    let kind = match kind {
        "lattice-quadratic" => none(&rest).map(|()| TermKind::LatticeQuadratic)?,
        "lattice-ridge" => TermKind::LatticeRidge(own(path, rest, of_time)?),
        "quadratic" => TermKind::Quadratic(own(path, rest, of_time)?),
        "full-quadratic" => none(&rest).map(|()| TermKind::FullQuadratic)?,
        "context-quadratic" => none(&rest).map(|()| TermKind::ContextQuadratic)?,
        "separable" => TermKind::Separable(own(path, rest, of_time)?),
        "ridge" => TermKind::Ridge(own(path, rest, of_time)?),
        "two-layer" => TermKind::TwoLayer(own(path, rest, of_time)?),
        "particles" => TermKind::Particles(own(path, rest, of_time)?),
        _ => TermKind::Convolutional(own(path, rest, of_time)?),
    };
    Ok(Term { kind, time })
}

fn schedule(value: Value) -> Result<Schedule, RecipeError> {
    let table = as_table("train.schedule", value)?;
    let (kind, rest) = kind("train.schedule", table, &["constant", "cosine"])?;
    Ok(match kind {
        "constant" => {
            reject_unknown("train.schedule", &rest, &[])?;
            Schedule::Constant
        }
        _ => Schedule::Cosine(section::<CosineSchedule>("train.schedule", rest)?),
    })
}

/// Takes `kind` out of a section and the known word it names.
fn kind(path: &str, mut table: Table, kinds: &[&'static str]) -> Result<(&'static str, Table), RecipeError> {
    let key = format!("{path}.kind");
    let expected = format!("one of {}", quoted(kinds));
    let word = match table.remove("kind") {
        None => return Err(RecipeError::Missing { key, expected }),
        Some(Value::String(word)) => word,
        Some(other) => return Err(wrong_type(&key, &other, &expected)),
    };
    match kinds.iter().find(|k| **k == word) {
        Some(kind) => Ok((kind, table)),
        None => Err(RecipeError::WrongType { message: format!("found \"{word}\", expected {expected}"), key }),
    }
}

/// Reads one section that has no kinds.
fn section<T: DeserializeOwned>(path: &str, table: Table) -> Result<T, RecipeError> {
    let known = serde_introspect::<T>();
    reject_unknown(path, &table, known)?;
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let inner = error.path().to_string();
        let message = error.inner().message().trim().to_owned();
        match missing_field(&message) {
            Some(field) => RecipeError::Missing { key: join(path, field), expected: "a value".to_owned() },
            None => RecipeError::WrongType {
                key: if inner == "." { path.to_owned() } else { join(path, &inner) },
                message: plain_words(&message),
            },
        }
    })
}

/// Serde's message without the names of Rust's types.
fn plain_words(message: &str) -> String {
    readable(message)
        .replace("invalid type: ", "found ")
        .replace("invalid value: ", "found ")
        .replace("unknown variant `", "found `")
        .replace("expected usize", "expected a whole number from 0")
        .replace("expected u64", "expected a whole number from 0")
        .replace("expected f64", "expected a number")
}

/// The name in serde's "missing field `name`".
fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

fn reject_unknown(path: &str, table: &Table, known: &[&str]) -> Result<(), RecipeError> {
    let known: Vec<&str> = known.to_vec();
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(RecipeError::UnknownKey {
            key: join(path, key),
            nearest: closest(key, known.iter().copied()).map(|k| join(path, k)),
            known: match known.is_empty() {
                true => vec!["none".to_owned()],
                false => known.iter().map(|k| (*k).to_owned()).collect(),
            },
        }),
    }
}

fn required(table: &mut Table, key: &str, expected: &str) -> Result<Table, RecipeError> {
    match table.remove(key) {
        Some(value) => as_table(key, value),
        None => Err(RecipeError::Missing { key: key.to_owned(), expected: expected.to_owned() }),
    }
}

/// A section; a bare word is short for a section with that `kind`.
fn as_table(key: &str, value: Value) -> Result<Table, RecipeError> {
    match value {
        Value::Table(table) => Ok(table),
        word @ Value::String(_) => Ok(Table::from_iter([("kind".to_owned(), word)])),
        other => Err(wrong_type(key, &other, "a section")),
    }
}

fn wrong_type(key: &str, found: &Value, expected: &str) -> RecipeError {
    RecipeError::WrongType {
        key: key.to_owned(),
        message: readable(&format!("found {} {found}, expected {expected}", found.type_str())),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ")
}
