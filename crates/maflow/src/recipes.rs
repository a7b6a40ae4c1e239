//! The recipes: TOML files embedded in the program, or the user's own.

use std::path::Path;

use toml::Table;

use crate::error::Error;
use crate::recipe::{Arithmetic, Recipe, RecipeError, Setting, Train, closest, complete, from_table};

/// What is trained when no recipe is named.
pub const DEFAULT: &str = "ising-16";

/// A recipe that comes with the program.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// The name it is called by.
    pub name: &'static str,
    /// Its TOML.
    pub text: &'static str,
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(BuiltIn { name: $name, text: include_str!(concat!("../recipes/", $name, ".toml")) }),*]
    };
}

/// All built-in recipes, in the order they are listed.
pub const BUILT_IN: &[BuiltIn] = built_in![
    "ising-16",
    "ising-8",
    "ising-32",
    "ising-64",
    "ising-16-paper",
    "ising-16-neural-rg",
    "ising-16-temperatures",
    "phi4-16",
    "phi4-14",
    "dw4",
    "lj13",
    "lj55",
    "exchangeable",
    "mnist",
    "mnist-fast",
    "mnist-deep",
    "mnist-conv",
    "mnist-made",
    "mnist-real-nvp",
    "mnist-maf",
    "two-moons",
    "two-moons-sinkhorn",
    "mnist-sinkhorn",
    "eight-gaussians",
    "rings",
    "pinwheel",
    "checkerboard",
    "energy-1",
    "energy-2",
    "energy-3",
    "energy-4",
];

/// The built-in recipe called `name`.
///
/// # Errors
/// A sentence with the nearest name and the list of all.
pub fn built_in(name: &str) -> Result<&'static BuiltIn, Error> {
    BUILT_IN.iter().find(|recipe| recipe.name == name).ok_or_else(|| {
        let names: Vec<&str> = BUILT_IN.iter().map(|recipe| recipe.name).collect();
        let hint =
            closest(name, names.iter().copied()).map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
        Error::Argument(format!(
            "there is no recipe `{name}`{hint}; the recipes are {}, or give the path of a TOML file",
            names.join(", ")
        ))
    })
}

/// Reads a recipe (a built-in name, or the path of a `.toml` file), applies `settings`, and checks it.
///
/// # Errors
/// An unknown recipe, an unreadable file, or the first thing wrong with its content.
pub fn load(recipe: &str, settings: &[Setting]) -> Result<Recipe, Error> {
    let path = Path::new(recipe);
    if path.extension().is_some_and(|ext| ext == "toml") {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        return read_file(path, &name.unwrap_or_default(), settings);
    }
    let built_in = built_in(recipe)?;
    parse(built_in.text, &format!("the recipe {recipe}"), built_in.name, settings)
}

/// Reads and checks the recipe in `path`, with `settings` applied.
///
/// # Errors
/// An unreadable file, or the first thing wrong with its content.
pub fn read_file(path: &Path, name: &str, settings: &[Setting]) -> Result<Recipe, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    parse(&text, &path.display().to_string(), name, settings)
}

fn parse(text: &str, origin: &str, name: &str, settings: &[Setting]) -> Result<Recipe, Error> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| RecipeError::Syntax {
        origin: origin.to_owned(),
        message: sentence(text, &error),
    })?;
    let described = (!settings.is_empty()).then(|| table.clone());
    // What is left out depends on what is set, and terms can be changed once they are there.
    for setting in settings.iter().filter(|setting| !setting.key.starts_with("potential")) {
        setting.apply(&mut table)?;
    }
    complete(&mut table);
    for setting in settings {
        setting.apply(&mut table)?;
    }
    let mut recipe = from_table(table, name)?;
    recipe.validate()?;
    let described = described.and_then(|mut table| {
        complete(&mut table);
        from_table(table, name).ok()
    });
    if described.is_some_and(|described| described.description == recipe.description && !same(&described, &recipe)) {
        // What is said of sizes and times is of the recipe as it was.
        recipe.description.clear();
    }
    check_name(&recipe.name)?;
    Ok(recipe)
}

/// Whether two recipes are of the same training, but for what its random numbers and their rounding are.
fn same(a: &Recipe, b: &Recipe) -> bool {
    let train = |recipe: &Recipe| Train { seed: 0, precision: Arithmetic::F32, ..recipe.train.clone() };
    (&a.target, &a.density, train(a), &a.fine_tune) == (&b.target, &b.density, train(b), &b.fine_tune)
}

/// The name becomes a folder.
fn check_name(name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    match !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
        true => Ok(()),
        false => Err(Error::Argument(format!(
            "`name` = \"{name}\", expected letters, digits, `-`, `_` and `.`; it names the run directory"
        ))),
    }
}

/// TOML's message in one line, with the line it is about.
fn sentence(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', ", ");
    match error.span() {
        Some(span) => {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            format!("line {line}: {message}")
        }
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_recipe_is_valid_and_survives_a_round_trip() {
        for built_in in BUILT_IN {
            let recipe = load(built_in.name, &[]).unwrap_or_else(|e| panic!("{}: {e}", built_in.name));
            assert_eq!(recipe.name, built_in.name);
            assert!(!recipe.description.is_empty(), "{} says nothing of itself", recipe.name);
            let text = toml::to_string(&recipe).unwrap();
            let again = parse(&text, "the resolved recipe", "", &[]).unwrap();
            assert_eq!(recipe, again, "{}", recipe.name);
        }
        assert!(built_in(DEFAULT).is_ok());
    }

    #[test]
    fn a_changed_recipe_is_not_described_as_what_it_was() {
        let description = |setting: &str| load("ising-16", &[setting.parse().unwrap()]).unwrap().description;
        let whole = load("ising-16", &[]).unwrap().description;
        for changed in ["target.size=4", "potential.terms.1.kernels=3", "train.steps=9000", "fine_tune.steps=0"] {
            assert_eq!(description(changed), "", "{changed}");
        }
        for same in ["train.seed=9", "train.precision=f64", "evaluate.samples=100", "target.size=16"] {
            assert_eq!(description(same), whole, "{same}");
        }
        let settings = ["target.size=4", "description=a small one"].map(|setting| setting.parse().unwrap());
        assert_eq!(load("ising-16", &settings).unwrap().description, "a small one");
    }

    #[test]
    fn the_paper_s_hyperparameters_are_those_of_its_table_2() {
        // The published Ising training minimised the loss per site: its decay counts 256 times against ours.
        for (name, step, steps, hidden, batch, decay) in
            [("mnist", 0.1, 100, 1024, 100, 1e-3), ("ising-16-paper", 0.1, 50, 512, 64, 0.256)]
        {
            let recipe = load(name, &[]).unwrap();
            let crate::recipe::Density::Flow { potential: crate::recipe::Potential::Ridge(ridge), flow } =
                &recipe.density
            else {
                panic!("not the paper's potential")
            };
            assert_eq!(flow.time / flow.steps as f64, step);
            assert_eq!((flow.steps, ridge.hidden), (steps, hidden));
            assert_eq!(recipe.train.batch, batch);
            assert_eq!((recipe.train.learning_rate, recipe.train.weight_decay), (1e-3, decay));
        }
    }
}
