//! `maflow recipes`: the list of built-in recipes, or the TOML of one.

use crate::error::CliError;
use crate::output;
use maflow::recipes::{BUILT_IN, DEFAULT, built_in, load};

/// Lists all recipes, or prints the one named.
pub fn print(name: Option<&str>) -> Result<(), CliError> {
    if let Some(name) = name {
        return output::line(built_in(name)?.text.trim_end());
    }
    let width = BUILT_IN.iter().map(|recipe| recipe.name.len()).max().unwrap_or(0);
    let lines = BUILT_IN.iter().map(|recipe| {
        let default = if recipe.name == DEFAULT { " [default]" } else { "" };
        Ok::<_, maflow::Error>(format!("{:width$}  {}{default}", recipe.name, load(recipe.name, &[])?.description))
    });
    output::line(&lines.collect::<Result<Vec<_>, maflow::Error>>()?.join("\n"))
}
