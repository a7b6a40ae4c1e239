//! The page of all keys of a recipe. Names, types and meanings are the schema's; what is required, defaults and ranges
//! are found by asking the reader of recipes.

use std::fmt::Write;

use flow_core::Method;
use maflow_recipe::{Recipe, RecipeError, Setting, from_table};
use toml::{Table, Value};

use crate::source::{Field, Source};

const HEAD: &str = "\
# Every key of a recipe

This page is generated. Types and meanings are those of the schema; defaults are what the reader of recipes fills in,
and ranges what it answers when it is given values beyond them. A key without a default that is not required is simply
off, or has the value that its meaning names. What contradicts another key is refused too, with both keys in the
sentence. A number without a unit is a pure number.

A section with a `kind` may be written as the bare word where nothing else is to be said: `schedule = \"cosine\"`.
On the command line `--set train.batch=256` changes a key, and terms go by number:
`--set potential.terms.1.kernels=48`. What is left out of a recipe for an energy of your own is filled in by
[stated rules](your-energy.md).
";

/// A section with fixed keys: title, path and the struct that holds it.
const SECTIONS: [(&str, &str, &str); 6] = [
    ("`[flow]`: the integration in training", "flow", "Flow"),
    ("`[train]`: the training", "train", "Train"),
    ("`[train.schedule]`: `kind = \"cosine\"`", "train.schedule", "CosineSchedule"),
    ("`[fine_tune]`: a second training", "fine_tune", "FineTune"),
    ("`[evaluate]`: how figures are taken", "evaluate", "Evaluate"),
    ("`[run]`: what made a run", "run", "RunInfo"),
];

/// A recipe to ask about: `target`, the objective that fits it, and `potential`.
const BASE: [&str; 3] = ["{ kind = 'toy', name = 'rings' }", "nll", "{ kind = 'ridge', hidden = 8 }"];
/// Targets to ask about, by kind, with their objectives.
const TARGETS: [(&str, &str, &str); 9] = [
    ("mnist", "{ kind = 'mnist' }", "nll"),
    ("ising", "{ kind = 'ising', size = 4, size_y = 4 }", "free-energy"),
    ("toy", BASE[0], BASE[1]),
    ("phi4", "{ kind = 'phi4', size = 4, kappa = 0.2, lambda = 0.02 }", "free-energy"),
    ("particles", "{ kind = 'particles', particles = 4, space = 2, pair = 'harmonic' }", "free-energy"),
    ("sets", "{ kind = 'sets', members = 3, stretch = 2.0 }", "nll"),
    ("table", "{ kind = 'table', file = 'a.csv', columns = ['a', 'b'], transforms = ['none', 'none'] }", "nll"),
    ("energy", "{ kind = 'energy', dimension = 4, layout = 'particles', space = 2, library = 'e.so' }", "free-energy"),
    ("own", "{ kind = 'own', dimension = 2, energy = true, samples = true }", "free-energy"),
];
/// Terms: the kind, its required keys, and the kind of target that it is for.
const TERMS: [(&str, &str, &str); 10] = [
    ("lattice-quadratic", "", "ising"),
    ("lattice-ridge", "kernels = 4", "ising"),
    ("quadratic", "", "toy"),
    ("full-quadratic", "", "toy"),
    ("context-quadratic", "", "own"),
    ("separable", "", "toy"),
    ("ridge", "hidden = 8", "toy"),
    ("two-layer", "hidden = [8, 4]", "toy"),
    ("particles", "interval = [1.0, 4.0], core = 0.5, sums = 2, vectors = 2", "particles"),
    ("convolutional", "channels = [2, 2], hidden = 4", "mnist"),
];
/// Models in closed form: the kind and its required keys.
const MODELS: [(&str, &str); 4] = [
    ("made", "hidden = [8]"),
    ("maf", "layers = 2, hidden = [8]"),
    ("real-nvp", "layers = 2, hidden = [8]"),
    ("neural-rg", "layers = 2, hidden = [8]"),
];
/// What else must be said before a key may be there.
const NEEDED: [(&str, &str); 4] = [
    ("flow.normalisation", "flow.segments=2"),
    ("flow.coupling", "flow.method=reversible-rk4"),
    ("train.blur", "train.objective=sinkhorn"),
    ("train.projections", "train.objective=sliced-wasserstein"),
];
/// Types that are read by functions of their own, in words.
const READ: [(&str, &str); 3] = [
    ("FlowMethod", "name of a method"),
    ("Scale", "number, or one for each coordinate"),
    ("Temperature", "`\"critical\"`, a number, or two ends"),
];

const PURE: &str = "1";
/// The unit of every number, by the end of its path; `1` is a pure number.
const UNITS: [(&str, &str); 100] = [
    ("target mnist.lambda", "1"),
    ("target mnist.split_seed", "1"),
    ("target ising.size", "sites"),
    ("target ising.size_y", "sites"),
    ("target ising.temperature", "J/k_B"),
    ("target phi4.size", "sites"),
    ("target phi4.kappa", "1"),
    ("target phi4.lambda", "1"),
    ("target particles.particles", "particles"),
    ("target particles.space", "dimensions"),
    ("target particles.kinds", "1"),
    ("target particles.strength", "k_B T"),
    ("target sets.members", "vectors"),
    ("target sets.stretch", "1"),
    ("target table.picture", "pixels"),
    ("target table.split_seed", "1"),
    ("target energy.dimension", "numbers"),
    ("target energy.space", "dimensions"),
    ("target energy.kinds", "1"),
    ("target energy.scale", "user's unit"),
    ("target own.dimension", "numbers"),
    ("target own.context", "numbers"),
    ("potential.hidden", "units"),
    ("potential.time_terms", "functions"),
    ("potential.sharpness", "1"),
    ("term.time_terms", "functions"),
    ("term lattice-ridge.kernels", "kernels"),
    ("term lattice-ridge.fall_off", "1"),
    ("term separable.centres", "centres"),
    ("term separable.interval", "flow's coordinate"),
    ("term separable.sharpness", "1"),
    ("term ridge.hidden", "units"),
    ("term ridge.sharpness", "1"),
    ("term ridge.reach", "1"),
    ("term two-layer.hidden", "units"),
    ("term two-layer.probes", "probes"),
    ("term particles.centres", "centres"),
    ("term particles.interval", "distance"),
    ("term particles.core", "distance"),
    ("term particles.cutoff", "distance"),
    ("term particles.sums", "sums"),
    ("term particles.vectors", "vectors"),
    ("term particles.hidden", "units"),
    ("term convolutional.channels", "channels"),
    ("term convolutional.hidden", "units"),
    ("term convolutional.probes", "probes"),
    ("model made.hidden", "units"),
    ("model made.components", "Gaussians"),
    ("model maf.layers", "layers"),
    ("model maf.hidden", "units"),
    ("model maf.components", "Gaussians"),
    ("model real-nvp.layers", "couplings"),
    ("model real-nvp.hidden", "units"),
    ("model neural-rg.layers", "couplings"),
    ("model neural-rg.hidden", "units"),
    ("flow.time", "time"),
    ("flow.steps", "integration steps"),
    ("flow.segments", "segments"),
    ("flow.normalisation", "1"),
    ("flow.coupling", "1"),
    ("train.batch", "rows"),
    ("train.epochs", "epochs"),
    ("train.steps", "gradient steps"),
    ("train.learning_rate", "1"),
    ("train.weight_decay", "1"),
    ("train.betas", "1"),
    ("train.clip_norm", "norm of the gradient"),
    ("train.blocks", "blocks"),
    ("train.average", "1"),
    ("train.clip_force", "1 / flow's coordinate"),
    ("train.transport_cost", "1"),
    ("train.force_weight", "1"),
    ("train.times", "times"),
    ("train.focus", "part of T"),
    ("train.blur", "part of the mean cost"),
    ("train.projections", "directions"),
    ("train.pool", "configurations"),
    ("train.seed", "1"),
    ("train.checkpoint_every", "gradient steps"),
    ("train.keep", "checkpoints"),
    ("train.validate_every", "gradient steps"),
    ("train.patience", "validations"),
    ("train.validation_samples", "rows"),
    ("train.watch_every", "gradient steps"),
    ("train.watch_tolerance", "nats"),
    ("train.max_flow_steps", "integration steps"),
    ("train.max_rollbacks", "returns"),
    ("train.schedule.warmup", "gradient steps"),
    ("train.schedule.final_fraction", "1"),
    ("fine_tune.steps", "gradient steps"),
    ("fine_tune.batch", "rows"),
    ("fine_tune.learning_rate", "1"),
    ("fine_tune.clip_norm", "norm of the gradient"),
    ("fine_tune.average", "1"),
    ("evaluate.samples", "rows"),
    ("evaluate.steps", "integration steps"),
    ("evaluate.rtol", "1"),
    ("evaluate.atol", "flow's coordinate"),
    ("evaluate.refinements", "halvings"),
    ("run.threads", "threads"),
];

/// A recipe that says as little as can be, but for these sections.
fn recipe(target: &str, objective: &str, potential: &str) -> Table {
    format!(
        "target = {target}\npotential = {potential}\nflow = {{ time = 1.0, steps = 4 }}\n\
         train = {{ objective = '{objective}', batch = 8, steps = 10 }}\n\
         fine_tune = {{ steps = 5, batch = 8 }}\nrun = {{ version = '0.1.0', backend = 'ndarray', threads = 2 }}\n"
    )
    .parse()
    .unwrap_or_else(|error| panic!("{target} {potential}: {error}"))
}

fn with(table: &Table, key: &str, value: Value) -> Table {
    let mut table = table.clone();
    Setting { key: key.to_owned(), value }.apply(&mut table).unwrap();
    table
}

fn without(table: &Table, key: &str) -> Table {
    let (path, name) = key.rsplit_once('.').expect("a key is in a section");
    let mut whole = Value::Table(table.clone());
    let section = path.split('.').try_fold(&mut whole, |here, part| match part.parse::<usize>() {
        Ok(number) => here.get_mut(number),
        Err(_) => here.get_mut(part),
    });
    if let Some(Value::Table(section)) = section {
        section.remove(name);
    }
    whole.try_into().expect("it was a table")
}

/// What the recipe has at a key, written out with its defaults.
fn found(recipe: &Recipe, key: &str) -> Option<Value> {
    let mut here = Value::try_from(recipe).unwrap();
    for part in key.split('.') {
        here = match part.parse::<usize>() {
            Ok(number) => here.get(number)?.clone(),
            Err(_) => here.get(part)?.clone(),
        };
    }
    Some(here)
}

/// `required`, or the default where there is one.
fn default_of(source: &Source, base: &Table, key: &str, field: &Field) -> String {
    let left_out = match from_table(without(base, key), "name") {
        Err(RecipeError::Missing { .. }) => return "required".to_owned(),
        Err(error) => panic!("{key}: {error}"),
        Ok(recipe) => recipe,
    };
    if let Some(value) = found(&left_out, key) {
        return format!("`{value}`");
    }
    if field.optional {
        return String::new();
    }
    // Defaults that are not written out: the one value that makes the same recipe.
    let words = source.words(&field.kind).unwrap_or_default().iter().map(|word| Value::String(word.word.clone()));
    let plain = [Value::Boolean(false), Value::Integer(0), Value::Array(Vec::new())];
    let same = |value: &Value| from_table(with(base, key, value.clone()), "name").is_ok_and(|with| with == left_out);
    let value = plain.into_iter().chain(words).find(same);
    format!("`{}`", value.unwrap_or_else(|| panic!("{key}: what is its default?")))
}

/// What is expected, in the words of the reader, where the values at a key are these.
fn refusals(base: &Table, key: &str, values: Vec<Value>) -> Vec<String> {
    let mut expected = Vec::new();
    for value in values {
        let refused = match from_table(with(base, key, value), "name") {
            Ok(recipe) => recipe.validate().err(),
            Err(_) => None,
        };
        if let Some(RecipeError::OutOfRange { key: of, expected: words, .. }) = refused
            && (key.replace("terms.0.", "terms.") == of || key.ends_with("time_terms") && of.ends_with("time_terms"))
        {
            // The value of the other key is that of the recipe which was asked about.
            let words = words
                .split(" = ")
                .next()
                .unwrap_or_default()
                .replace("the 2 columns", "the columns")
                .replace("a number from ", "");
            if !expected.contains(&words) {
                expected.push(words);
            }
        }
    }
    expected
}

fn range_of(base: &Table, key: &str, kind: &str) -> String {
    let (int, float) = (Value::Integer, Value::Float);
    let pair = |value: Value| Value::Array(vec![value.clone(), value]);
    let needed = NEEDED.iter().find(|(of, _)| *of == key);
    let base = match needed {
        Some((_, setting)) => {
            let mut base = base.clone();
            setting.parse::<Setting>().unwrap().apply(&mut base).unwrap();
            base
        }
        None => base.clone(),
    };
    let found = match kind {
        "usize" | "u64" => refusals(&base, key, vec![int(0), int(i64::MAX)]),
        "Vec<usize>" => {
            let list = |numbers: &[i64]| Value::Array(numbers.iter().map(|number| int(*number)).collect());
            refusals(&base, key, vec![list(&[]), list(&[0]), list(&[i64::MAX])])
        }
        "[usize; 2]" => refusals(&base, key, vec![pair(int(0)), pair(int(i64::MAX))]),
        "f64" | "Scale" | "Temperature" => refusals(&base, key, vec![float(f64::NAN)]),
        "[f64; 2]" => refusals(&base, key, vec![pair(float(f64::NAN))]),
        _ => Vec::new(),
    };
    found.join(", ")
}

/// The type in words.
fn type_of(source: &Source, kind: &str) -> String {
    match kind {
        "usize" | "u64" => "whole number".to_owned(),
        "f64" => "number".to_owned(),
        "bool" => "`true` or `false`".to_owned(),
        "String" => "text".to_owned(),
        "char" => "one character".to_owned(),
        "PathBuf" => "path".to_owned(),
        "[usize; 2]" => "two whole numbers".to_owned(),
        "[f64; 2]" => "two numbers".to_owned(),
        "Vec<String>" => "list of texts".to_owned(),
        "Vec<usize>" => "list of whole numbers".to_owned(),
        _ => match (READ.iter().find(|(of, _)| *of == kind), kind.strip_prefix("Vec<")) {
            (Some((_, words)), _) => (*words).to_owned(),
            (None, Some(_)) => "list of words".to_owned(),
            (None, None) if source.words(kind).is_some() => "word".to_owned(),
            _ => panic!("the type {kind} has no words yet"),
        },
    }
}

fn unit_of(path: &str, kind: &str) -> &'static str {
    let unit = UNITS.iter().find(|(of, _)| path == *of).map(|(_, unit)| *unit);
    let number =
        ["usize", "u64", "f64", "[usize; 2]", "[f64; 2]", "Vec<usize>", "Scale", "Temperature"].contains(&kind);
    match (number, unit) {
        (true, Some(PURE)) | (false, None) => "",
        (true, Some(unit)) => unit,
        (true, None) => panic!("UNITS: what is the unit of {path}?"),
        (false, Some(_)) => panic!("UNITS: {path} is no number"),
    }
}

/// The methods that a key may name.
fn methods(key: &str) -> String {
    let names = |of: &[Method]| of.iter().map(|method| format!("`{}`", method.name())).collect::<Vec<_>>();
    let adaptive: Vec<Method> = Method::ALL.into_iter().filter(|method| method.is_adaptive()).collect();
    format!(
        "\nMethods of `{key}`: {}; and each of them after `reversible-`. By themselves {} choose their steps by an \
         estimate of their error, and serve `evaluate.method` alone; after `fixed-` they take equal steps.\n",
        names(&Method::ALL).join(", "),
        names(&adaptive).join(" and ")
    )
}

/// The words that a key may be, each of which the reader takes.
fn words_of(source: &Source, base: &Table, key: &str, field: &Field) -> String {
    if field.kind == "FlowMethod" {
        return methods(&field.name);
    }
    let list = field.kind.strip_prefix("Vec<").and_then(|of| of.strip_suffix('>'));
    let Some(words) = source.words(list.unwrap_or(&field.kind)) else { return String::new() };
    if READ.iter().any(|(of, _)| *of == field.kind) {
        return String::new();
    }
    let mut out = format!("\nWords of `{}`:\n\n", field.name);
    for word in words {
        let value = Value::String(word.word.clone());
        let value = if list.is_some() { Value::Array(vec![value]) } else { value };
        from_table(with(base, key, value), "name").unwrap_or_else(|error| panic!("{key}: {error}"));
        writeln!(out, "- `{}`: {}", word.word, word.doc).unwrap();
    }
    out
}

/// A table of the keys of a struct at a path; `unit_path` names the section in the table of units.
fn keys(source: &Source, base: &Table, path: &str, unit_path: &str, of: &str) -> String {
    let mut out = String::from("\n| key | type | default | unit | range | meaning |\n|---|---|---|---|---|---|\n");
    let mut words = String::new();
    // Sections of their own follow.
    let apart = ["Schedule", "Symmetry"];
    for field in source.fields(of).1 {
        if apart.contains(&field.kind.as_str()) {
            continue;
        }
        let key = format!("{path}.{}", field.name);
        let unit = unit_of(&format!("{unit_path}.{}", field.name), &field.kind);
        let (kind, default) = (type_of(source, &field.kind), default_of(source, base, &key, field));
        let range = range_of(base, &key, &field.kind);
        let doc = field.doc.replace('|', "\\|");
        writeln!(out, "| `{}` | {kind} | {default} | {unit} | {range} | {doc} |", field.name).unwrap();
        words += &words_of(source, base, &key, field);
    }
    out + &words
}

fn targets(source: &Source) -> String {
    let mut out = String::from("\n## `[target]`: the density to be fitted\n\n`kind` is one of these:\n");
    for kind in source.words("TargetKind").expect("targets have kinds") {
        let (_, target, objective) =
            TARGETS.iter().find(|(of, ..)| *of == kind.word).unwrap_or_else(|| panic!("no recipe for {}", kind.word));
        let (base, of) = (recipe(target, objective, BASE[2]), kind.holds.as_ref().expect("targets have keys"));
        let doc = source.fields(of).0;
        write!(out, "\n### `target.kind = \"{}\"`\n\n{} {doc}\n", kind.word, kind.doc).unwrap();
        out += &keys(source, &base, "target", &format!("target {}", kind.word), of);
    }
    out
}

fn potentials(source: &Source) -> String {
    let mut out = String::from("\n## `[potential]`: the scalar potential\n");
    let ising = |potential: &str| recipe(TARGETS[1].1, "free-energy", potential);
    let ridge = ising("{ kind = 'ridge', hidden = 8, symmetry = { group = ['z2'] } }");
    let kinds = source.words("Potential").expect("potentials have kinds");
    assert_eq!(kinds.iter().map(|kind| &*kind.word).collect::<Vec<_>>(), ["ridge", "sum"], "a new kind of potential");
    write!(out, "\n### `potential.kind = \"ridge\"`\n\n{}\n", kinds[0].doc).unwrap();
    out += &keys(source, &ridge, "potential", "potential", "RidgePotential");
    write!(out, "\n### `[potential.symmetry]`: of a ridge\n\n{}\n", source.fields("Symmetry").0).unwrap();
    out += &keys(source, &ridge, "potential.symmetry", "symmetry", "Symmetry");
    write!(out, "\n### `potential.kind = \"sum\"`\n\n{} {}\n", kinds[1].doc, source.fields("SumPotential").0).unwrap();
    out += "Each term is a section `[[potential.terms]]` with a `kind`, and with the functions of time that its\n\
            coefficients are expanded in:\n";
    let quadratic = recipe(BASE[0], BASE[1], "{ kind = 'sum', terms = [{ kind = 'quadratic' }] }");
    out += &keys(source, &quadratic, "potential.terms.0", "term", "TermTime");
    for kind in source.words("TermKind").expect("terms have kinds") {
        let (word, required, target) =
            TERMS.iter().find(|(of, ..)| *of == kind.word).unwrap_or_else(|| panic!("no recipe for {}", kind.word));
        write!(out, "\n### Term `{word}`\n\n{}\n", kind.doc).unwrap();
        let Some(of) = &kind.holds else { continue };
        let (_, target, objective) = TARGETS.iter().find(|(of, ..)| of == target).expect("a kind of target");
        let comma = if required.is_empty() { "" } else { ", " };
        let term = format!("{{ kind = 'sum', terms = [{{ kind = '{word}'{comma}{required} }}] }}");
        let base = recipe(target, objective, &term);
        writeln!(out, "\n{}", source.fields(of).0).unwrap();
        out += &keys(source, &base, "potential.terms.0", &format!("term {word}"), of);
    }
    out
}

fn models(source: &Source) -> String {
    let mut out = String::from("\n## `[model]`: a model in closed form, in place of `[potential]` and `[flow]`\n");
    out += "\nIt integrates nothing, so that no figure of it has an integration error. On libtorch's backends.\n";
    for kind in source.words("Model").expect("models have kinds") {
        let (word, required) =
            MODELS.iter().find(|(of, _)| *of == kind.word).unwrap_or_else(|| panic!("no recipe for {}", kind.word));
        let lattice = *word == "neural-rg";
        let (target, objective) = if lattice { (TARGETS[1].1, TARGETS[1].2) } else { (BASE[0], BASE[1]) };
        let mut base = recipe(target, objective, BASE[2]);
        base.retain(|section, _| section != "potential" && section != "flow");
        let model: Table = format!("model = {{ kind = '{word}', {required} }}").parse().unwrap();
        base.extend(model);
        let of = kind.holds.as_ref().expect("models have keys");
        write!(out, "\n### `model.kind = \"{word}\"`\n\n{} {}\n", kind.doc, source.fields(of).0).unwrap();
        out += &keys(source, &base, "model", &format!("model {word}"), of);
    }
    out
}

#[test]
fn the_page_of_keys_is_that_of_the_schema() {
    let source = Source::read();
    let base = recipe(BASE[0], BASE[1], BASE[2]);
    let mut page = HEAD.to_owned();
    page += "\n## At the top\n\n| key | type | default | meaning |\n|---|---|---|---|\n";
    let (texts, sections): (Vec<_>, Vec<_>) =
        source.fields("Recipe").1.iter().partition(|field| field.kind == "String");
    for Field { name, .. } in sections {
        // A density is a section [model], or [potential] and [flow].
        let told = ["target", "density"].contains(&&**name) || SECTIONS.iter().any(|(_, path, _)| path == name);
        assert!(told, "SECTIONS: the page has nothing of [{name}]");
    }
    for field in texts {
        writeln!(page, "| `{}` | text | | {} |", field.name, field.doc).unwrap();
    }
    page += &targets(&source);
    page += &potentials(&source);
    page += &models(&source);
    for (title, path, of) in SECTIONS {
        let base = match path {
            "train.schedule" => with(&base, path, Value::String("cosine".to_owned())),
            _ => base.clone(),
        };
        write!(page, "\n## {title}\n\n{}\n", source.fields(of).0).unwrap();
        page += &keys(&source, &base, path, path, of);
        if path == "train" {
            page += "\n`schedule` is `\"constant\"`, the default, or `\"cosine\"`:\n";
        }
    }
    for (path, _) in UNITS {
        let name = path.rsplit('.').next().expect("a path has a part");
        assert!(page.contains(&format!("| `{name}` |")), "UNITS: there is no key {path}");
    }
    crate::same_page("keys.md", &page);
}
