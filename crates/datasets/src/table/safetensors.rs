//! Tensors of a safetensors file: the only one, or the one that is named.

use std::io::Cursor;

use safetensors::{Dtype, SafeTensors};

use super::array::{ArrayHeader, shape_in_words};
use super::source::Opened;
use super::storage::Storage;
use super::{ReadOptions, TableError};

/// Under this key and a number the metadata may hold the name of a column.
pub(super) const COLUMN_KEY: &str = "column.";

pub(super) fn open(file: &str, bytes: Vec<u8>, options: &ReadOptions) -> Result<Opened, TableError> {
    let malformed = |error: safetensors::SafeTensorError| TableError::Malformed {
        file: file.to_owned(),
        format: "safetensors",
        found: error.to_string(),
    };
    let tensors = SafeTensors::deserialize(&bytes).map_err(malformed)?;
    let mut names = tensors.names();
    names.sort_unstable();
    let list = || {
        let shape = |name: &str| tensors.tensor(name).map_or(String::new(), |tensor| shape_in_words(tensor.shape()));
        names.iter().map(|name| format!("{name:?} {}", shape(name))).collect::<Vec<_>>().join(", ")
    };
    let name = match (&options.array, &names[..]) {
        (Some(name), _) if names.contains(&name.as_str()) => name.as_str(),
        (Some(name), _) => {
            return Err(TableError::UnknownArray { file: file.to_owned(), name: name.clone(), arrays: list() });
        }
        (None, [only]) => only,
        (None, _) => return Err(TableError::Arrays { file: file.to_owned(), arrays: list() }),
    };
    let tensor = tensors.tensor(name).map_err(malformed)?;
    let storage = match tensor.dtype() {
        Dtype::BOOL => Storage::Bool,
        Dtype::U8 => Storage::Unsigned(1),
        Dtype::U16 => Storage::Unsigned(2),
        Dtype::U32 => Storage::Unsigned(4),
        Dtype::U64 => Storage::Unsigned(8),
        Dtype::I8 => Storage::Signed(1),
        Dtype::I16 => Storage::Signed(2),
        Dtype::I32 => Storage::Signed(4),
        Dtype::I64 => Storage::Signed(8),
        Dtype::F16 => Storage::Float(2),
        Dtype::F32 => Storage::Float(4),
        Dtype::F64 => Storage::Float(8),
        Dtype::BF16 => Storage::Bf16,
        other => {
            let found = format!("elements of type {other:?}");
            return Err(TableError::Element { file: file.to_owned(), found, remedy: "; write a tensor of f32 or f64" });
        }
    };
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(malformed)?;
    let columns = metadata.metadata().as_ref().and_then(|named| {
        let count = named.keys().filter(|key| key.starts_with(COLUMN_KEY)).count();
        (0..count).map(|place| named.get(&format!("{COLUMN_KEY}{place}")).cloned()).collect()
    });
    let header =
        ArrayHeader { storage, big_endian: false, fortran: false, shape: tensor.shape().to_vec(), flat: false };
    let content = Box::new(Cursor::new(tensor.data().to_vec()));
    let (source, layout) = header.source(file, columns, content)?;
    Ok(Opened { source, picture: layout.picture, notes: layout.note.into_iter().collect() })
}
