//! Weights trained elsewhere: what a safetensors file holds, under the names and in the shapes of a potential.

use std::collections::BTreeSet;
use std::path::Path;

use flow_core::{Checkpoint, Precision, Tensor};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::error::Error;
use crate::torch_names::{NAMES, torch_shape};

/// The constant that PyTorch's second layer adds to a potential, which has no part in its gradient.
const CONSTANT: &str = "fc2.bias";

/// Names of a file that a sentence lists at most.
const MOST_NAMES: usize = 20;

/// The weights of a potential, found in a file.
#[derive(Debug)]
pub struct Weights {
    /// Its parameters under our names, all finite.
    pub parameters: Checkpoint,
    /// What the reader of the file should know: a prefix that was taken off its names, tensors that were left out.
    pub notes: Vec<String>,
}

/// One tensor of a file.
struct Entry {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    /// Its numbers, where they are floating-point numbers of 16 to 64 bits.
    values: Option<Vec<f64>>,
}

/// Name and shape of a tensor that is looked for.
type RowQuantity = (String, Vec<usize>);

/// One way to name the parameters, with a prefix before all of them.
struct Naming<'a> {
    wanted: &'a [RowQuantity],
    prefix: String,
    /// How many of them the file has.
    found: usize,
}

impl Weights {
    /// Finds the parameters of the given names and shapes in a file, under these names or PyTorch's, all behind one
    /// prefix or none. They will be held in this precision.
    ///
    /// # Errors
    /// A file that cannot be read, one without these parameters or with more, and numbers that are not finite.
    pub fn read(path: &Path, parameters: &[RowQuantity], precision: Precision) -> Result<Self, Error> {
        let entries = entries(path)?;
        let layouts = layouts(parameters);
        let (wanted, prefix) = naming(path, &entries, &layouts)?;
        let mut tensors = Vec::new();
        let mut used = Vec::new();
        for ((ours, shape), (name, torch_shape)) in parameters.iter().zip(wanted) {
            let name = format!("{prefix}{name}");
            let entry = entries.iter().find(|entry| entry.name == name).expect("a naming is chosen that has them all");
            if entry.shape != *torch_shape {
                let what = format!("tensor `{name}` of {}", path.display());
                let (found, expected) = (entry.shape.clone(), torch_shape.clone());
                return Err(flow_core::Error::Shape { what, found, expected }.into());
            }
            let values = entry.numbers(path, precision)?;
            tensors.push(Tensor { name: ours.clone(), shape: shape.clone(), precision, values });
            used.push(name);
        }
        let outputs = wanted.iter().find(|(name, _)| name == "fc2.weight").map(|(_, shape)| shape[0]);
        let constant = format!("{prefix}{CONSTANT}");
        let mut left_out = Vec::new();
        for extra in entries.iter().filter(|entry| !used.contains(&entry.name)) {
            left_out.push(match outputs {
                Some(outputs) if extra.name == constant && extra.shape == [outputs] => {
                    format!("`{constant}` (a constant added to the potential moves nothing)")
                }
                _ if is_whole(extra.dtype) => format!("`{}` (of type {:?})", extra.name, extra.dtype),
                _ => return Err(too_many(path, extra, wanted, &prefix)),
            });
        }
        let mut notes = Vec::new();
        if !prefix.is_empty() {
            notes.push(format!("the prefix `{prefix}` of the names in {} is left off", path.display()));
        }
        if !left_out.is_empty() {
            notes.push(format!("left out of {}: {}", path.display(), left_out.join(", ")));
        }
        Ok(Self { parameters: Checkpoint { tensors, ..Checkpoint::default() }, notes })
    }
}

impl Entry {
    /// The numbers, which must be there and finite in the precision in which they will be held.
    fn numbers(&self, path: &Path, precision: Precision) -> Result<Vec<f64>, Error> {
        let (name, path) = (&self.name, path.display());
        let values = self.values.clone().ok_or_else(|| {
            Error::Failed(format!(
                "tensor `{name}` of {path} has numbers of type {:?}; write them as F16, BF16, F32 or F64",
                self.dtype
            ))
        })?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::Failed(format!(
                "tensor `{name}` of {path} has {} at position {at}, and no flow can be made of that; take the weights \
                 from an earlier point of their training, where all of them are finite",
                values[at]
            )));
        }
        let too_large = |value: &f64| precision == Precision::F32 && !(*value as f32).is_finite();
        if let Some(at) = values.iter().position(too_large) {
            return Err(Error::NeedsF64(format!(
                "tensor `{name}` of {path} has {:e} at position {at}, more than 32 bits can hold",
                values[at]
            )));
        }
        Ok(values)
    }
}

/// Everything that a file holds, by name.
fn entries(path: &Path) -> Result<Vec<Entry>, Error> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| {
        Error::Failed(format!(
            "{} is truncated or no safetensors file ({error}); write the weights anew, with `save_file` of safetensors",
            path.display()
        ))
    })?;
    let mut entries: Vec<Entry> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let values = numbers(view.dtype(), view.data());
            Entry { name, shape: view.shape().to_vec(), dtype: view.dtype(), values }
        })
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The numbers of a tensor; none where they are not floating-point numbers of 16 to 64 bits.
fn numbers(dtype: Dtype, data: &[u8]) -> Option<Vec<f64>> {
    fn decoded<const N: usize>(data: &[u8], decode: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks().0.iter().map(|bytes| decode(*bytes)).collect()
    }
    match dtype {
        Dtype::F16 => Some(decoded(data, |bytes| f16::from_le_bytes(bytes).to_f64())),
        Dtype::BF16 => Some(decoded(data, |bytes| bf16::from_le_bytes(bytes).to_f64())),
        Dtype::F32 => Some(decoded(data, |bytes| f64::from(f32::from_le_bytes(bytes)))),
        Dtype::F64 => Some(decoded(data, f64::from_le_bytes)),
        _ => None,
    }
}

/// Counters and flags, which are no weights.
fn is_whole(dtype: Dtype) -> bool {
    use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, BOOL | U8 | I8 | U16 | I16 | U32 | I32 | U64 | I64)
}

/// The names and shapes that parameters can have in a file: PyTorch's, where all of them have some there, and ours.
fn layouts(parameters: &[RowQuantity]) -> Vec<Vec<RowQuantity>> {
    let torch = |(name, shape): &RowQuantity| {
        let (ours, torch) = NAMES.iter().find(|(ours, _)| ours == name)?;
        Some(((*torch).to_owned(), torch_shape(ours, shape)))
    };
    let torch: Option<Vec<RowQuantity>> = parameters.iter().map(torch).collect();
    torch.into_iter().chain([parameters.to_vec()]).collect()
}

/// The layout and the prefix under which the file has all that is looked for.
fn naming<'a>(
    path: &Path,
    entries: &[Entry],
    layouts: &'a [Vec<RowQuantity>],
) -> Result<(&'a [RowQuantity], String), Error> {
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let namings: Vec<Naming<'_>> = layouts
        .iter()
        .flat_map(|wanted| prefixes(entries, wanted).into_iter().map(move |prefix| (wanted, prefix)))
        .map(|(wanted, prefix)| {
            let found = wanted.iter().filter(|(name, _)| has(&format!("{prefix}{name}"))).count();
            Naming { wanted, prefix, found }
        })
        .collect();
    let mut whole = namings.iter().filter(|naming| naming.found == naming.wanted.len());
    let Some(first) = whole.next() else { return Err(not_found(path, entries, layouts, &namings)) };
    // Prefixes are in order: the empty one is the first.
    match whole.find(|other| !first.prefix.is_empty() && std::ptr::eq(other.wanted, first.wanted)) {
        None => Ok((first.wanted, first.prefix.clone())),
        Some(second) => Err(Error::Failed(format!(
            "{} has the weights of several models, under the prefixes `{}` and `{}`; write those of one into \
             a file of their own",
            path.display(),
            first.prefix,
            second.prefix
        ))),
    }
}

/// What stands before a name that is looked for, in any name of the file: nothing, or words that end in a dot.
fn prefixes(entries: &[Entry], wanted: &[RowQuantity]) -> BTreeSet<String> {
    let before = |entry: &Entry, name: &str| entry.name.strip_suffix(name).map(str::to_owned);
    let found = entries.iter().flat_map(|entry| wanted.iter().filter_map(move |(name, _)| before(entry, name)));
    found.filter(|prefix| prefix.is_empty() || prefix.ends_with('.')).collect()
}

fn not_found(path: &Path, entries: &[Entry], layouts: &[Vec<RowQuantity>], namings: &[Naming<'_>]) -> Error {
    let listed = |wanted: &Vec<RowQuantity>| {
        let each: Vec<String> = wanted.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
        each.join(", ")
    };
    // Our short names stand at the end of many others: behind a prefix they say little.
    let telling = namings.iter().filter(|naming| naming.prefix.is_empty() || naming.wanted[0].0.starts_with("fc1."));
    let missing = telling.max_by_key(|naming| naming.found).and_then(|near| {
        let names = near.wanted.iter().map(|(name, _)| format!("{}{name}", near.prefix));
        names.into_iter().find(|name| entries.iter().all(|entry| entry.name != *name))
    });
    let lacks = missing.map_or("none of the names looked for".to_owned(), |name| format!("no tensor `{name}`"));
    let mut names: Vec<String> = entries.iter().take(MOST_NAMES).map(|entry| entry.name.clone()).collect();
    if entries.len() > MOST_NAMES {
        names.push(format!("and {} more", entries.len() - MOST_NAMES));
    }
    Error::Failed(format!(
        "{} has {lacks} (it has {}); looked for are {}, with any one prefix; rename its tensors, or choose the \
         recipe that they belong to",
        path.display(),
        if names.is_empty() { "no tensors".to_owned() } else { names.join(", ") },
        layouts.iter().map(listed).collect::<Vec<_>>().join(" or ")
    ))
}

fn too_many(path: &Path, extra: &Entry, wanted: &[RowQuantity], prefix: &str) -> Error {
    let names: Vec<String> = wanted.iter().map(|(name, _)| format!("{prefix}{name}")).collect();
    Error::Failed(format!(
        "{} has a tensor `{}`, but the recipe's potential has only {}; choose the recipe that the weights belong \
         to, or change it",
        path.display(),
        extra.name,
        names.join(", ")
    ))
}
