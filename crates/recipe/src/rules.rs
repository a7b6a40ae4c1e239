//! Rules that choose a potential and a training where the user does not, and that fill in what a recipe of an energy
//! leaves out.

use toml::{Table, Value};

/// Most coordinates whose correlations are whitened and learned pair by pair.
pub const MOST_PAIRED: usize = 256;

/// By free energy alone, its gradient through the path of the samples.
const FREE_ENERGY: &str = r#"
[flow]
time = 1.0
steps = 8
method = "rk4"

[train]
objective = "free-energy"
gradient = "path"
batch = 256
steps = 1000
learning_rate = 1e-2
schedule = { kind = "cosine", final_fraction = 0.0 }
clip_norm = 100.0
average = 0.99
watch_tolerance = 0.02
"#;

/// By flow matching to samples, and then by free energy.
const FLOW_MATCHING: &str = r#"
[flow]
time = 1.0
steps = 16
method = "rk4"

[train]
objective = "flow-matching"
batch = 256
steps = 4000
learning_rate = 5e-3
times = 4
schedule = { kind = "cosine", final_fraction = 0.0 }
average = 0.999
watch_tolerance = 0.02

[fine_tune]
steps = 400
batch = 256
learning_rate = 1e-3
gradient = "path"
clip_norm = 100.0
average = 0.99
"#;

/// By flow matching to configurations of particles, and then by the divergence from the target: samples of a flow may
/// have particles on top of each other, where an energy has no end, those of the target have none.
const PARTICLES: &str = r#"
[flow]
time = 1.0
steps = 20
method = "rk4"

[train]
objective = "flow-matching"
batch = 256
steps = 8000
learning_rate = 4e-3
schedule = { kind = "cosine", final_fraction = 0.0 }
average = 0.999

[fine_tune]
objective = "forward-kl"
steps = 400
batch = 64
learning_rate = 3e-4
clip_norm = 20.0
average = 0.99
"#;

/// Fills in what a recipe of an energy leaves out, from a library or of the caller's own, key by key but for
/// `[potential]`, which is there in whole or not at all. All other recipes, and those that a run has written, stay as
/// they are.
///
/// The rules: the potential is a quadratic form of all pairs of coordinates (up to 256 of them, beyond coordinate by
/// coordinate) and two layers of hidden units, 64 and 32 up to 3 coordinates, 96 and 48 up to 10, 128 and 64 beyond,
/// with 8 functions of time. Without samples it is trained by free energy, its gradient through the path of the
/// samples, in 1000 steps of 256 points: minutes in the plane. With samples it is trained by flow matching in 4000
/// steps, and then by free energy in 400; coordinates of a library's energy are standardised by the samples, by their
/// full covariance up to 256 coordinates, where no scale is given. Every tenth of the training the free energy of fresh
/// points is looked at, and the best weights are kept.
///
/// Of particles the potential is the term of their distances. With samples it is trained by flow matching in 8000
/// steps, and then by the divergence from the target in 400; nothing is validated, since the energy of fresh points has
/// no end where two of them meet.
pub fn complete(table: &mut Table) {
    let Some(target) = table.get("target").and_then(Value::as_table) else { return };
    let says = |key: &str| target.get(key).and_then(Value::as_bool) == Some(true);
    let own = match target.get("kind").and_then(Value::as_str) {
        Some("energy") => false,
        Some("own") if says("energy") => true,
        _ => return,
    };
    if table.contains_key("run") {
        return;
    }
    let dimension = target.get("dimension").and_then(Value::as_integer).and_then(|n| usize::try_from(n).ok());
    let dimension = dimension.unwrap_or(1);
    let samples = if own { says("samples") } else { target.contains_key("samples") };
    let conditional = target.get("context").and_then(Value::as_integer).is_some_and(|numbers| numbers > 0);
    let stated = table.get("train").and_then(|train| train.get("objective")).and_then(Value::as_str);
    let matching = match stated {
        Some(objective) => objective == "flow-matching",
        // A model in closed form has no velocity to learn.
        None => samples && !table.contains_key("model"),
    };
    let of_particles = target.get("layout").and_then(Value::as_str) == Some("particles");
    let rules = match (matching, of_particles) {
        (true, true) => PARTICLES,
        (true, false) => FLOW_MATCHING,
        (false, _) => FREE_ENERGY,
    };
    let mut rules: Table = rules.parse().expect("the rules are TOML");
    // A gradient through the path is one of the free energy; another objective has none.
    let tuned = |key: &str| table.get("fine_tune").and_then(|tune| tune.get(key)).and_then(Value::as_str);
    if let Some(rule) = rules.get_mut("fine_tune").and_then(Value::as_table_mut) {
        match (tuned("objective"), tuned("gradient")) {
            (Some("forward-kl"), _) => rule.remove("gradient"),
            (None, Some(_)) => rule.remove("objective"),
            _ => None,
        };
    }
    let train = rules["train"].as_table_mut().expect("it is a section");
    pace(train, table.get("train").and_then(Value::as_table));
    if matching && of_particles {
        train.remove("validate_every");
    }
    if samples && !own && !of_particles && !target.contains_key("scale") {
        let standardise = if dimension > MOST_PAIRED { "per-coordinate" } else { "gaussian" };
        rules.insert("target".to_owned(), Table::from_iter([entry("standardise", standardise)]).into());
    }
    if table.contains_key("model") {
        // In closed form: nothing is integrated, and there is no path.
        rules.remove("flow");
        for section in ["train", "fine_tune"] {
            rules.get_mut(section).and_then(Value::as_table_mut).map(|section| section.remove("gradient"));
        }
    } else if !table.contains_key("potential") {
        let terms = if of_particles { vec![particles()] } else { terms(dimension, 2, conditional) };
        let potential = Table::from_iter([entry("kind", "sum"), entry("terms", terms)]);
        rules.insert("potential".to_owned(), potential.into());
    }
    fill(table, rules);
}

/// A twentieth of the steps to warm up and a tenth between validations, of the number of steps that is stated.
fn pace(rules: &mut Table, stated: Option<&Table>) {
    let stated = |key: &str| stated.and_then(|train| train.get(key));
    if stated("epochs").is_some() {
        // As many steps as the epochs have, which are validated one by one.
        rules.remove("steps");
        return;
    }
    let steps = stated("steps").and_then(Value::as_integer).or(rules["steps"].as_integer()).unwrap_or(0);
    rules["schedule"].as_table_mut().expect("it is a section").extend([entry("warmup", (steps / 20).clamp(0, 100))]);
    let tenth = (steps / 10).max(1);
    rules.extend([entry("validate_every", tenth), entry("checkpoint_every", tenth)]);
}

/// The terms of a potential for points of `dimension` numbers: a quadratic form; of a `conditional` density, another
/// whose coefficients depend on the context; and two layers of hidden units. Their widths are divided by `divisor`, for
/// few rows or where a step takes long.
pub fn terms(dimension: usize, divisor: i64, conditional: bool) -> Vec<Table> {
    let hidden = match dimension {
        ..=3 => [128, 64],
        4..=10 => [192, 96],
        _ => [256, 128],
    };
    let term = |kind: &str| Table::from_iter([entry("kind", kind), entry("time_terms", 8)]);
    let quadratic = term(if dimension > MOST_PAIRED { "quadratic" } else { "full-quadratic" });
    let given = conditional.then(|| term("context-quadratic"));
    let mut two_layer = term("two-layer");
    two_layer.extend([entry("hidden", hidden.map(|units: i64| Value::Integer(units / divisor)).to_vec())]);
    std::iter::once(quadratic).chain(given).chain([two_layer]).collect()
}

/// The term for particles, in units of the base density, of whose pairs 6 in a thousand begin nearer to each other than
/// the core in the plane: functions of the distance don't change below it.
fn particles() -> Table {
    let [core, far] = [0.15, 9.0];
    let mut term =
        Table::from_iter([entry("kind", "particles"), entry("interval", vec![core, far]), entry("core", core)]);
    term.extend([("centres", 32), ("sums", 16), ("vectors", 16), ("time_terms", 6)].map(|(key, n)| entry(key, n)));
    term
}

fn entry(key: &str, value: impl Into<Value>) -> (String, Value) {
    (key.to_owned(), value.into())
}

/// Puts what is missing into a table. A section of another kind than that of the rules has keys of its own.
fn fill(table: &mut Table, rules: Table) {
    for (key, rule) in rules {
        match (table.get_mut(&key), rule) {
            (None, rule) => {
                table.insert(key, rule);
            }
            (Some(Value::Table(there)), Value::Table(rule)) => {
                let (kind, ruled) = (there.get("kind"), rule.get("kind"));
                if kind.is_none() || ruled.is_none() || kind == ruled {
                    fill(there, rule);
                }
            }
            (Some(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(text: &str) -> Table {
        let mut table: Table = text.parse().unwrap();
        complete(&mut table);
        table
    }

    const THREE: &str = "[target]\nkind = 'energy'\ndimension = 2\nlibrary = 'energy.so'\n";

    #[test]
    fn three_lines_are_a_recipe_by_free_energy() {
        let table = completed(THREE);
        let train = &table["train"];
        assert_eq!((train["objective"].as_str(), train["gradient"].as_str()), (Some("free-energy"), Some("path")));
        assert_eq!(
            (train["validate_every"].as_integer(), train["schedule"]["warmup"].as_integer()),
            (Some(100), Some(50))
        );
        assert_eq!(table["potential"]["terms"][1]["hidden"].as_array().unwrap().len(), 2);
        assert!(!table.contains_key("fine_tune") && table["target"].get("standardise").is_none());
        assert_eq!(completed(&toml::to_string(&table).unwrap()), table, "what is complete stays as it is");
    }

    #[test]
    fn energies_of_the_callers_own_have_the_same_rules() {
        let library = completed(&format!("{THREE}samples = 'md.npy'\nscale = 1\n"));
        let own = |more: &str| completed(&format!("[target]\nkind = 'own'\ndimension = 2\n{more}"));
        let both = own("energy = true\nsamples = true\n");
        for section in ["potential", "flow", "train", "fine_tune"] {
            assert_eq!(both[section], library[section], "{section}");
        }
        assert!(both["target"].get("standardise").is_none(), "its map is its own affair");
        let given = own("energy = true\nsamples = false\ncontext = 1\n");
        assert_eq!(given["train"]["objective"].as_str(), Some("free-energy"));
        assert_eq!(given["potential"]["terms"][1]["kind"].as_str(), Some("context-quadratic"));
        assert!(own("energy = false\nsamples = true\n").get("train").is_none());
    }

    #[test]
    fn samples_are_learned_from_first() {
        let with_samples = format!("{THREE}samples = 'md.npy'\n");
        let table = completed(&with_samples);
        assert_eq!(table["train"]["objective"].as_str(), Some("flow-matching"));
        assert_eq!(table["fine_tune"]["gradient"].as_str(), Some("path"));
        assert_eq!(table["target"]["standardise"].as_str(), Some("gaussian"));
        let scaled = completed(&format!("{with_samples}scale = 3\n"));
        assert!(scaled["target"].get("standardise").is_none());
        let forward = completed(&format!("{with_samples}[fine_tune]\nobjective = 'forward-kl'\n"));
        assert!(forward["fine_tune"].get("gradient").is_none() && forward["fine_tune"].get("batch").is_some());
        let alone = completed(&format!("{with_samples}[train]\nobjective = 'free-energy'\n"));
        assert!(alone.get("fine_tune").is_none() && alone["train"]["gradient"].as_str() == Some("path"));
    }

    #[test]
    fn particles_have_a_term_and_a_training_of_their_own() {
        let target = "[target]\nkind = 'energy'\ndimension = 6\nlibrary = 'e.so'\nlayout = 'particles'\nspace = 2\n";
        let energy = completed(target);
        assert_eq!(energy["potential"]["terms"].as_array().unwrap().len(), 1);
        assert_eq!(energy["potential"]["terms"][0]["kind"].as_str(), Some("particles"));
        assert_eq!(energy["train"]["objective"].as_str(), Some("free-energy"));
        let samples = completed(&format!("{target}samples = 'md.xyz'\n"));
        assert_eq!(samples["train"]["objective"].as_str(), Some("flow-matching"));
        assert_eq!(samples["fine_tune"]["objective"].as_str(), Some("forward-kl"));
        assert!(samples["train"].get("validate_every").is_none() && samples["target"].get("standardise").is_none());
        let path = completed(&format!("{target}samples = 'md.xyz'\n[fine_tune]\ngradient = 'path'\n"));
        assert!(path["fine_tune"].get("objective").is_none());
        for table in [energy, samples, path] {
            crate::from_table(table, "mine").unwrap().validate().unwrap();
        }
    }

    #[test]
    fn what_is_stated_is_kept() {
        let stated = "[potential]\nkind = 'ridge'\nhidden = 8\n[train]\nsteps = 40\nschedule = { kind = 'constant' }\n";
        let table = completed(&format!("{THREE}{stated}"));
        assert_eq!(table["potential"].as_table().unwrap().len(), 2);
        assert_eq!(table["train"]["schedule"].as_table().unwrap().len(), 1);
        assert_eq!(
            (table["train"]["steps"].as_integer(), table["train"]["validate_every"].as_integer()),
            (Some(40), Some(4))
        );
        let epochs = completed(&format!("{THREE}samples = 'md.npy'\n[train]\nepochs = 3\n"));
        assert!(epochs["train"].get("steps").is_none());
        // Other recipes, and those that a run has written, are left as they are.
        for whole in ["[target]\nkind = 'toy'\nname = 'rings'\n", &format!("{THREE}[run]\nversion = '0.1.0'\n")] {
            assert_eq!(completed(whole), whole.parse::<Table>().unwrap());
        }
    }
}
