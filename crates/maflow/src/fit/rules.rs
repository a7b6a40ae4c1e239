//! Recipes by stated rules: for a table, and for a target of the caller's own.

use toml::Value;

use crate::error::Error;
use crate::recipe::{OwnTarget, Recipe, TargetKind, complete, from_table, terms};
use crate::target::Target;

/// What is fitted to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FitModel {
    /// A flow along the gradient of a potential.
    #[default]
    Flow,
    /// A masked autoregressive network with a mixture of Gaussians for every column.
    Made,
    /// A masked autoregressive flow.
    Maf,
    /// Real NVP.
    RealNvp,
}

impl FitModel {
    /// The kind of `[model]` that it is; none of a flow.
    pub fn kind(self) -> Option<&'static str> {
        match self {
            Self::Flow => None,
            Self::Made => Some("made"),
            Self::Maf => Some("maf"),
            Self::RealNvp => Some("real-nvp"),
        }
    }

    /// Its section for `n` columns, its networks smaller by a divisor where there are few rows.
    fn section(self, n: usize, divisor: i64) -> Option<toml::Table> {
        let units = match n {
            ..=10 => 128,
            11..=256 => 512,
            _ => 1024,
        };
        let (key, number) = match self {
            Self::Flow => return None,
            Self::Made => ("components", 10),
            Self::Maf => ("layers", 5),
            Self::RealNvp => ("layers", 10),
        };
        let hidden = Value::from(vec![units / divisor; 2]);
        let kind = Value::from(self.kind()?);
        Some(
            [("kind", kind), ("hidden", hidden), (key, Value::Integer(number))]
                .map(|(k, v)| (k.to_owned(), v))
                .into_iter()
                .collect(),
        )
    }
}

/// The parts of a recipe that no rule changes.
const TEMPLATE: &str = r#"
[potential]
kind = "sum"
terms = []

[flow]
time = 1.0
steps = 16
method = "rk4"

[train]
objective = "flow-matching"
focus = 0.1
batch = 256
steps = 5000
learning_rate = 5e-3
times = 4
optimizer = "adam"
average = 0.999
schedule = { kind = "cosine", warmup = 100, final_fraction = 0.0 }
"#;

/// The same for square pictures on libtorch.
const PICTURES: &str = r#"
[potential]
kind = "sum"
terms = [
    { kind = "quadratic", time_terms = 5 },
    { kind = "separable", centres = 16, interval = [-3.0, 3.0], time_terms = 5 },
    { kind = "convolutional", channels = [32, 64], hidden = 400, probes = 1, time_terms = 5 },
]

[flow]
time = 1.0
steps = 10
method = "rk4"

[train]
objective = "flow-matching"
focus = 0.1
batch = 256
steps = 5000
learning_rate = 8e-3
times = 4
optimizer = "adam"
clip_norm = 1.0
average = 0.998
watch_every = 0
schedule = { kind = "cosine", warmup = 100, final_fraction = 0.0 }
"#;

/// The same for models in closed form, by likelihood.
const MODELS: &str = r#"
[train]
objective = "nll"
batch = 256
steps = 5000
learning_rate = 1e-3
optimizer = "adam"
clip_norm = 10.0
average = 0.999
watch_every = 0
schedule = { kind = "cosine", warmup = 100, final_fraction = 0.0 }
"#;

/// A recipe for a target of the caller's own, to be changed at will. One with an energy has the rules of [`complete`];
/// one with samples alone the potential of [`Fit::plan`](super::Fit::plan), and 5000 steps of flow matching.
///
/// ```
/// use maflow::fit;
/// use maflow::target::{Table, Target};
/// let rows: Vec<f64> = (0..400).map(|i| (f64::from(i) * 0.7).sin()).collect();
/// let target = Table::of_rows(&["x", "y"], rows, 0)?;
/// let recipe = fit::recipe_for(&target)?;
/// assert_eq!((recipe.dimension(), recipe.train.steps), (2, Some(5000)));
/// # Ok::<(), maflow::Error>(())
/// ```
///
/// # Errors
/// A target that has neither samples nor an energy.
pub fn recipe_for(target: &dyn Target) -> Result<Recipe, Error> {
    let (samples, energy) = (target.samples().is_some(), target.energy().is_some());
    if !samples && !energy {
        return Err(Error::Argument("the target has neither samples nor an energy to learn from".to_owned()));
    }
    let own = OwnTarget {
        dimension: target.dimension(),
        energy,
        samples,
        context: target.context_dim(),
        standardise: target.standardise(),
    };
    let kind = TargetKind::Own(own);
    let rows = target.training_rows();
    let recipe = if energy {
        let mut table = toml::Table::from_iter([("target".to_owned(), written(&kind)?)]);
        complete(&mut table);
        table["train"]["batch"] = batch(rows);
        from_table(table, "own")?
    } else {
        by_rules("own", kind, rows, Form::default())?
    };
    recipe.validate()?;
    Ok(recipe)
}

/// 256 rows to a batch, or all there are.
fn batch(rows: Option<usize>) -> Value {
    Value::Integer(rows.unwrap_or(256).min(256) as i64)
}

fn written(target: &TargetKind) -> Result<Value, Error> {
    Value::try_from(target).map_err(|error| Error::Failed(format!("cannot write the target: {error}")))
}

/// What a recipe by the rules is made of.
#[derive(Clone, Copy, Default)]
pub(super) struct Form {
    pub model: FitModel,
    /// Whether a flow has a convolutional potential.
    pub convolutional: bool,
}

/// A recipe for a target with `rows` training rows, where their number is finite.
pub(super) fn by_rules(name: &str, target: TargetKind, rows: Option<usize>, form: Form) -> Result<Recipe, Error> {
    let (n, conditional) = (target.layout().dimension(), target.is_conditional());
    let divisor = if rows.is_some_and(|rows| rows < 3000) { 2 } else { 1 };
    let template = match form {
        Form { model: FitModel::Flow, convolutional: true } => PICTURES,
        Form { model: FitModel::Flow, convolutional: false } => TEMPLATE,
        _ => MODELS,
    };
    let mut table: toml::Table = template.parse().expect("the templates are TOML");
    table.insert("target".to_owned(), written(&target)?);
    if let Some(model) = form.model.section(n, divisor) {
        table.insert("model".to_owned(), model.into());
    } else if !form.convolutional {
        table["potential"]["terms"] = terms(n, divisor, conditional).into();
    }
    table["train"]["batch"] = batch(rows);
    Ok(from_table(table, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_have_a_valid_recipe_of_every_model_for_any_number_of_columns() {
        for model in [FitModel::Flow, FitModel::Made, FitModel::Maf, FitModel::RealNvp] {
            for (dimension, context) in [(2, 0), (5, 3), (300, 0)] {
                let own = OwnTarget { dimension, energy: false, samples: true, context, standardise: None };
                let form = Form { model, convolutional: false };
                let recipe = by_rules("own", TargetKind::Own(own), Some(5000), form).unwrap();
                recipe.validate().unwrap_or_else(|error| panic!("{model:?}, {dimension}: {error}"));
                assert_eq!(recipe.model().map(crate::recipe::Model::name), model.kind());
            }
        }
        let own = OwnTarget { dimension: 1, energy: false, samples: true, context: 0, standardise: None };
        let form = Form { model: FitModel::RealNvp, convolutional: false };
        let refused = by_rules("own", TargetKind::Own(own), None, form).unwrap().validate().unwrap_err();
        assert!(refused.to_string().contains("at least 2 coordinates"), "{refused}");
    }
}
