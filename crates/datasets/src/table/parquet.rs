//! Flat columns of a parquet file: numbers, truth values and text.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::source::{Opened, Whole};
use super::storage::Storage;
use super::{ReadOptions, TableError};

/// A column while it is read.
struct Reading {
    wanted: bool,
    storage: Option<Storage>,
    text: bool,
    known: Vec<String>,
    place: HashMap<String, usize>,
}

/// Reads all rows of a parquet file.
pub(super) fn open(path: &Path, options: &ReadOptions) -> Result<Opened, TableError> {
    let file = path.display().to_string();
    let malformed =
        |error: ParquetError| TableError::Malformed { file: file.clone(), format: "parquet", found: error.to_string() };
    let bytes = File::open(path).map_err(|source| TableError::Read { file: file.clone(), source })?;
    if bytes.metadata().is_ok_and(|about| about.len() == 0) {
        return Err(TableError::Empty { file });
    }
    let length = bytes.metadata().map_or(u64::MAX, |about| about.len());
    let reader = SerializedFileReader::new(bytes).map_err(malformed)?;
    let mut columns = reader.metadata().row_groups().iter().flat_map(RowGroupMetaData::columns);
    if columns.any(|column| !lies_within(column, length)) {
        let found = "a column lies outside of it".to_owned();
        return Err(TableError::Malformed { file: file.clone(), format: "parquet", found });
    }
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<String> = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let wanted = |name: &String| options.columns.as_ref().is_none_or(|chosen| chosen.contains(name));
    let reading = |name: &String| Reading {
        wanted: wanted(name),
        storage: None,
        text: options.text.contains(name),
        known: vec![],
        place: HashMap::new(),
    };
    let mut columns: Vec<Reading> = names.iter().map(reading).collect();
    let mut values = Vec::new();
    for row in reader.get_row_iter(None).map_err(malformed)? {
        for ((name, field), column) in row.map_err(malformed)?.get_column_iter().zip(&mut columns) {
            values.push(match column.wanted {
                true => column.value(&file, name, field)?,
                false => f64::NAN,
            });
        }
    }
    let storages = columns.iter().map(|column| column.storage.unwrap_or(Storage::Float(8))).collect();
    let mut source = Whole::new(names, storages, values);
    source.categories = columns.into_iter().map(|column| column.text.then_some(column.known)).collect();
    Ok(Opened { source: Box::new(source), picture: None, notes: vec![] })
}

/// Whether the bytes of a column lie within a file of `length` bytes: the crate `parquet` takes that for granted.
fn lies_within(column: &ColumnChunkMetaData, length: u64) -> bool {
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    let (Ok(start), Ok(size)) = (u64::try_from(start), u64::try_from(column.compressed_size())) else { return false };
    start.checked_add(size).is_some_and(|end| end <= length)
}

impl Reading {
    /// A value as a number, or the number of its category; NaN where there is none.
    fn value(&mut self, file: &str, name: &str, field: &Field) -> Result<f64, TableError> {
        let (storage, value) = match field {
            Field::Null => return Ok(f64::NAN),
            Field::Bool(v) => (Storage::Bool, f64::from(u8::from(*v))),
            Field::Byte(v) => (Storage::Signed(1), f64::from(*v)),
            Field::Short(v) => (Storage::Signed(2), f64::from(*v)),
            Field::Int(v) => (Storage::Signed(4), f64::from(*v)),
            Field::Long(v) => (Storage::Signed(8), *v as f64),
            Field::UByte(v) => (Storage::Unsigned(1), f64::from(*v)),
            Field::UShort(v) => (Storage::Unsigned(2), f64::from(*v)),
            Field::UInt(v) => (Storage::Unsigned(4), f64::from(*v)),
            Field::ULong(v) => (Storage::Unsigned(8), *v as f64),
            Field::Float16(v) => (Storage::Float(2), v.to_f64()),
            Field::Float(v) => (Storage::Float(4), f64::from(*v)),
            Field::Double(v) => (Storage::Float(8), *v),
            Field::Str(text) => {
                self.text = true;
                return Ok(self.category(text));
            }
            other => {
                let kind = match other {
                    Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => "nested values",
                    Field::Decimal(_) => "decimal numbers of any length",
                    Field::Bytes(_) => "raw bytes",
                    _ => "times",
                };
                let remedy = "; write the column as numbers, or choose others with `columns`";
                return Err(TableError::Element {
                    file: file.to_owned(),
                    found: format!("{kind} in the column {name:?}"),
                    remedy,
                });
            }
        };
        self.storage = Some(storage);
        match self.text {
            true => Ok(self.category(&value.to_string())),
            false => Ok(value),
        }
    }

    fn category(&mut self, text: &str) -> f64 {
        self.storage = Some(Storage::Text);
        let next = self.known.len();
        let place = *self.place.entry(text.to_owned()).or_insert(next);
        if place == next {
            self.known.push(text.to_owned());
        }
        place as f64
    }
}
