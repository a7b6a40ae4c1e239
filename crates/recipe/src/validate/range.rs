//! Ranges of single numbers, with the sentence for one that is out of its range.

use std::fmt::Display;

use crate::error::RecipeError;
use crate::text::readable;

/// The most integration steps that figures and trainings start from.
pub(super) const MOST_STEPS: usize = 1_000_000;
/// The most samples that a command draws: their numbers are counted by 64 bits.
pub const MOST_SAMPLES: usize = 1 << 36;
/// The most numbers that one array of parameters has.
pub(super) const MOST_NUMBERS: usize = 1 << 31;

pub(super) fn out_of_range(
    key: &'static str,
    found: impl Display,
    expected: impl Into<String>,
    remedy: impl Into<String>,
) -> RecipeError {
    let (found, expected) = (readable(&found.to_string()), readable(&expected.into()));
    RecipeError::OutOfRange { key, found, expected, remedy: remedy.into() }
}

pub(super) fn at_least(key: &'static str, found: usize, least: usize) -> Result<(), RecipeError> {
    match found >= least {
        true => Ok(()),
        false => Err(out_of_range(key, found, format!("at least {least}"), "choose a larger number")),
    }
}

pub(super) fn at_most(key: &'static str, found: usize, most: usize) -> Result<(), RecipeError> {
    match found <= most {
        true => Ok(()),
        false => Err(out_of_range(key, found, format!("at most {most}"), "choose a smaller number")),
    }
}

/// A number of rows, or of times through all of them, and no more than any training has.
pub(super) fn rows(key: &'static str, found: usize, least: usize) -> Result<(), RecipeError> {
    at_least(key, found, least)?;
    at_most(key, found, 1 << 24)
}

pub(super) fn lattice(key: &'static str, size: usize) -> Result<(), RecipeError> {
    at_least(key, size, 2)?;
    at_most(key, size, 1024)
}

pub(super) fn within(key: &'static str, found: f64, low: f64, high: f64, remedy: &str) -> Result<(), RecipeError> {
    match (low..=high).contains(&found) {
        true => Ok(()),
        false => Err(out_of_range(key, found, format!("a number from {low} to {high}"), remedy)),
    }
}

pub(super) fn finite(key: &'static str, found: f64) -> Result<(), RecipeError> {
    match found.is_finite() {
        true => Ok(()),
        false => Err(out_of_range(key, found, "a finite number", "choose another value")),
    }
}

pub(super) fn positive(key: &'static str, found: f64, remedy: &str) -> Result<(), RecipeError> {
    match found.is_finite() && found > 0.0 {
        true => Ok(()),
        false => Err(out_of_range(key, found, "a positive number", remedy)),
    }
}

/// TOML's integers have 63 bits.
pub(super) fn fits_toml(key: &'static str, found: u64) -> Result<(), RecipeError> {
    match i64::try_from(found) {
        Ok(_) => Ok(()),
        Err(_) => Err(out_of_range(key, found, format!("at most {}", i64::MAX), "choose a smaller seed")),
    }
}
