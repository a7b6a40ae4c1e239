//! Readers of recipes, of words typed, and of what runs hold.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use backend_ndarray::Cpu;
use datasets::columns::{MapKind, Regression, Transform};
use datasets::table::{Context, Table};
use flow_core::{Precision, Tensor, TrainState};
use maflow::backend::Compute;
use maflow::recipe::{Recipe, Setting, Whitening};
use maflow::run::Run;
use maflow::target::{Given, TableMap};
use maflow::tensor_file::TensorFile;
use maflow::transfer::Import;
use maflow::{metrics, recipes, run_dir, trained};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// A recipe whose flow has few numbers.
const TINY: &str = r#"
name = "tiny"
[target]
kind = "toy"
name = "two-moons"
[potential]
kind = "ridge"
hidden = 2
activation = "softplus"
[flow]
time = 1.0
steps = 2
method = "rk4"
[train]
objective = "nll"
batch = 8
steps = 4
learning_rate = 1e-2
optimizer = "adam"
"#;

fn tiny() -> Recipe {
    let folder = tempfile::tempdir().expect("there is a folder for files");
    let path = folder.path().join("tiny.toml");
    write(&path, TINY.as_bytes());
    recipes::read_file(&path, "tiny", &[]).expect("a recipe")
}

fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("the folder can be written");
}

/// A recipe that was taken is the same after it was written and read.
fn comes_back(recipe: &Recipe, folder: &Path) {
    let path = folder.join("again.toml");
    write(&path, toml::to_string(recipe).expect("a recipe is TOML").as_bytes());
    assert_eq!(recipes::read_file(&path, "", &[]).as_ref().ok(), Some(recipe));
}

pub fn recipe(input: &[u8], folder: &Path) -> Result<(), String> {
    let path = folder.join("recipe.toml");
    write(&path, input);
    let recipe = recipes::read_file(&path, "recipe", &[]).map_err(|error| error.to_string())?;
    comes_back(&recipe, folder);
    Ok(())
}

pub fn recipe_seeds() -> Vec<Vec<u8>> {
    let short = "[target]\nkind = \"energy\"\ndimension = 2\nlibrary = \"well.so\"\n";
    let built_in = recipes::BUILT_IN.iter().map(|recipe| recipe.text);
    [TINY, short].into_iter().chain(built_in).map(|text| text.as_bytes().to_vec()).collect()
}

/// A line with the name of a recipe, and one for every `--set`.
pub fn set(input: &[u8], folder: &Path) -> Result<(), String> {
    let text = std::str::from_utf8(input).map_err(|error| error.to_string())?;
    let mut lines = text.lines();
    let name = lines.next().unwrap_or_default();
    let settings = lines.map(str::parse).collect::<Result<Vec<Setting>, String>>()?;
    if Path::new(name).extension().is_some() {
        return Err("no file of the machine is read".to_owned());
    }
    let recipe = recipes::load(name, &settings).map_err(|error| error.to_string())?;
    comes_back(&recipe, folder);
    Ok(())
}

pub fn set_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "ising-8\ntrain.steps=10\ntarget.size=4",
        "mnist\ntrain.optimizer=adamw\nflow={time=1.0,steps=3,method=\"rk4\"}",
        "two-moons\ntrain.schedule.warmup=5\ntrain.schedule=cosine\nname=mine",
        "ising-16\npotential.terms.1.kernels=3\nfine_tune.steps=0",
        "lj13\ntarget.particles=4\ntrain.betas=[0.9, 0.99]",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// The recipe of a run.
pub fn config(input: &[u8], folder: &Path) -> Result<(), String> {
    let run = folder.join("config");
    fs::create_dir_all(&run).expect("the folder can be written");
    write(&run.join("config.toml"), input);
    let recipe = run_dir::read_recipe(&run, &[]).map_err(|error| error.to_string())?;
    comes_back(&recipe, folder);
    Ok(())
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    let resolved = |recipe: &recipes::BuiltIn| {
        let recipe = recipes::load(recipe.name, &[]).expect("a recipe of the program");
        toml::to_string(&recipe).expect("a recipe is TOML").into_bytes()
    };
    recipes::BUILT_IN.iter().map(resolved).collect()
}

pub fn metrics(input: &[u8], folder: &Path) -> Result<(), String> {
    let path = folder.join("metrics.csv");
    write(&path, input);
    let rows = metrics::read(&path).map_err(|error| error.to_string())?;
    // What a resumed training keeps.
    metrics::Metrics::open(&path, 2).expect("what can be read can be gone on with");
    let kept = metrics::read(&path).expect("what was written is read");
    assert_eq!(kept.len(), rows.iter().filter(|row| row.step <= 2).count());
    Ok(())
}

pub fn metrics_seeds() -> Vec<Vec<u8>> {
    let names = "step,epoch,loss,loss_error,learning_rate,gradient_norm,flow_steps,integration_error,validation,\
                 validation_error,seconds,communication_seconds,communication_bytes";
    let old = names.split(",communication").next().expect("a line");
    let rows = "1,,2.5,0.1,0.01,NaN,2,,,,0.5";
    vec![
        format!("{names}\n{rows},,\n2,0,-2.5e-3,0.1,0.01,inf,2,1e-4,2.0,0.1,0.75,0.1,800\n").into_bytes(),
        format!("{old}\n{rows}\n2,0,2.4,0.1,0.01,0.3,2,1e-4,2.0,0.1,0.7").into_bytes(),
    ]
}

/// What a run keeps of the columns of its table, applied to a row.
pub fn columns(input: &[u8], folder: &Path) -> Result<(), String> {
    write(&folder.join("columns.toml"), input);
    let map = TableMap::read(folder).map_err(|error| error.to_string())?;
    let (bijection, mut row) = (map.bijection(), vec![0.5; map.dimension()]);
    let context = vec![0.5; bijection.context_dim()];
    bijection.forward(&mut row, &context, &mut [0.0]);
    bijection.inverse(&mut row, &context, &mut [0.0]);
    // Rows in the user's units are numbers or a sentence.
    let _ = map.table(row);
    Ok(())
}

pub fn columns_seeds() -> Vec<Vec<u8>> {
    let values = (0..60).flat_map(|i| [f64::from(i), 0.5 + 0.1 * f64::from(i * i % 7)]).collect();
    let rows = Table::new(&["n", "x"], values).expect("rows of two numbers");
    let kept = |map: TableMap| {
        let folder = tempfile::tempdir().expect("there is a folder for files");
        map.write(folder.path()).expect("the folder can be written");
        fs::read(folder.path().join("columns.toml")).expect("it was written")
    };
    let words = [
        ["dequantise(1) standardise", "log"],
        ["quantile", "tail"],
        ["standardise", "standardise"],
        ["dequantise(1) standardise", "logit(0, 2)"],
    ];
    let transforms = words.map(|words| words.map(|word| word.parse().expect("a transformation")));
    let plain =
        |transforms: &[Transform; 2]| TableMap::fit(&rows, transforms, Whitening::None, 1).expect("they can be fitted");
    transforms.iter().map(plain).chain([conditional(&rows)]).map(kept).collect()
}

/// The map of the second column given the first.
fn conditional(rows: &Table) -> TableMap {
    let points = rows.select(&["x"]).expect("the column is there");
    let context = Context::fit(rows, &["n"], &[] as &[&str]).expect("the column is there");
    let encoded = context.encode(rows).expect("the rows that it was fitted to");
    let given = Given { context: &context, encoded: &encoded, regression: Regression::LocationScale };
    TableMap::fit_given(&points, &[Transform::of(MapKind::Log)], given, Whitening::Full, 1).expect("it can be fitted")
}

/// A checkpoint of a run, with the checksum that belongs to what it holds: whoever makes a file can make that too.
pub fn checkpoint(input: &[u8], folder: &Path) -> Result<(), String> {
    let run = folder.join("checkpoint");
    let path = run.join("checkpoints/best.safetensors");
    fs::create_dir_all(run.join("checkpoints")).expect("the folder can be written");
    write(&run.join("config.toml"), TINY.as_bytes());
    write(&path, input);
    // Without its checksum first: as it is, hardly any change would be looked at.
    if let Some(plain) = without_checksum(input) {
        write(&path, &plain);
        if let Ok(file) = TensorFile::read(&path) {
            file.write(&path).expect("what was read can be written");
        }
    }
    let run = Run::open(&run, &[]).expect("a recipe that is read");
    run.sample(1).map(drop).map_err(|error| error.to_string())
}

/// The file with no checksum in its metadata; `None` where it is no safetensors file.
fn without_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let file = SafeTensors::deserialize(bytes).ok()?;
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    let mut metadata = header.metadata().clone().unwrap_or_default();
    metadata.retain(|key, _| !key.starts_with("checksum"));
    safetensors::serialize(file.tensors(), Some(metadata)).ok()
}

pub fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let first = trained::Learned::first(&Cpu::<f32>::new(1), &tiny(), 0).expect("a small flow");
    let tensor = |parameter: &flow_core::Parameter<Cpu<f32>>| Tensor {
        name: format!("param.{}", parameter.name),
        shape: parameter.shape.clone(),
        precision: Precision::F32,
        values: vec![0.25; parameter.shape.iter().product()],
    };
    let tensors = first.parameters().into_iter().map(tensor).collect();
    let state = TrainState {
        step: 4,
        adam_steps: 4,
        level: 2,
        learning_rate_scale: 1.0,
        rollbacks: 0,
        best: Some(2.5),
        validations_since_best: 0,
        seconds: 0.5,
    };
    let checkpoint = flow_core::Checkpoint { tensors, state: Some(state), origin: String::new() };
    let folder = tempfile::tempdir().expect("there is a folder for files");
    let path = folder.path().join("a.safetensors");
    TensorFile::of_checkpoint(&checkpoint).write(&path).expect("the folder can be written");
    vec![fs::read(path).expect("it was written")]
}

/// Weights of another program, made a run.
pub fn import(input: &[u8], folder: &Path) -> Result<(), String> {
    let (path, out) = (folder.join("weights.safetensors"), folder.join("imported"));
    write(&path, input);
    let _ = fs::remove_dir_all(&out);
    let compute = Compute { threads: NonZeroUsize::MIN, ..Compute::default() };
    let done = Import { file: path, recipe: tiny(), out: out.clone(), compute }.run(&());
    assert_eq!(done.is_ok(), out.exists(), "a run is whole or not there");
    done.map(drop).map_err(|error| error.to_string())
}

pub fn import_seeds() -> Vec<Vec<u8>> {
    let shapes = [("fc1.weight", vec![2, 2]), ("fc1.bias", vec![2]), ("fc2.weight", vec![1, 2])];
    let file = |prefix: &str, dtype: Dtype, size: usize| {
        let views = shapes.iter().map(|(name, shape)| {
            // Small numbers of 16 to 64 bits.
            let data = [0, 0x3c].repeat(shape.iter().product::<usize>() * size / 2);
            (format!("{prefix}{name}"), (shape.clone(), data))
        });
        let held: Vec<_> = views.collect();
        let views = held.iter().map(|(name, (shape, data))| {
            (name, TensorView::new(dtype, shape.clone(), data).expect("as many bytes as the shape says"))
        });
        safetensors::serialize(views, None).expect("tensors can be written")
    };
    vec![file("", Dtype::F32, 4), file("model.", Dtype::F16, 2), file("", Dtype::F64, 8)]
}
