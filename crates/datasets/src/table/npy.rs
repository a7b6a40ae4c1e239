//! Headers of NumPy's arrays, archives of them, and IDX, which is an array too. Nothing is ever evaluated or unpickled.

use std::io::{Cursor, Read};

use npyz::{Endianness, TypeChar, TypeStr};
use py_literal::Value;

use super::array::{ArrayHeader, shape_in_words};
use super::format::cannot_read;
use super::source::{Opened, Whole};
use super::storage::Storage;
use super::{ReadOptions, TableError};

/// The longest header that is believed; those of NumPy are of a few hundred bytes.
const LONGEST_HEADER: u64 = 1 << 20;

/// Most brackets that are open at a time in a header: those of NumPy have three, and thousands keep its parser
/// for longer than a user waits.
const DEEPEST_HEADER: usize = 32;

/// Most brackets that are open at a time, or more.
fn depth(text: &[u8]) -> usize {
    let depths = text.iter().scan(0, |depth: &mut usize, byte| {
        match byte {
            b'(' | b'[' | b'{' => *depth += 1,
            b')' | b']' | b'}' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    });
    depths.max().unwrap_or(0)
}

/// Reads the header of an array of NumPy, and leaves the reader at its first element.
pub(super) fn npy_header(file: &str, reader: &mut impl Read) -> Result<ArrayHeader, TableError> {
    let malformed = |found: String| TableError::Malformed { file: file.to_owned(), format: "npy", found };
    let ended = || malformed("it ends within its header".to_owned());
    // Version 1 has a length of two bytes, later ones of four: read here, since a damaged one may claim gigabytes.
    let mut start = vec![0; 10];
    reader.read_exact(&mut start).map_err(|_| ended())?;
    let mut length = u64::from(u16::from_le_bytes([start[8], start[9]]));
    if start[6] >= 2 {
        let mut more = [0; 2];
        reader.read_exact(&mut more).map_err(|_| ended())?;
        length |= u64::from(u16::from_le_bytes(more)) << 16;
        start.extend(more);
    }
    if length > LONGEST_HEADER {
        return Err(malformed(format!("its header claims {length} bytes")));
    }
    let mut text = Vec::new();
    reader.take(length).read_to_end(&mut text).map_err(|source| cannot_read(file, source))?;
    if (text.len() as u64) < length {
        return Err(ended());
    }
    let nonsense = || malformed("its header describes no array".to_owned());
    if depth(&text) > DEEPEST_HEADER {
        return Err(nonsense());
    }
    let header: Value = String::from_utf8_lossy(&text).trim().parse().map_err(|_| nonsense())?;
    let Value::Dict(entries) = header else { return Err(nonsense()) };
    let entry =
        |name: &str| entries.iter().find(|(key, _)| *key == Value::String(name.to_owned())).map(|(_, value)| value);
    let (Some(descriptor), Some(Value::Boolean(fortran)), Some(Value::Tuple(shape))) =
        (entry("descr"), entry("fortran_order"), entry("shape"))
    else {
        return Err(nonsense());
    };
    let (storage, big_endian) = element(file, descriptor)?;
    let side = |side: &Value| match side {
        Value::Integer(side) => usize::try_from(side).map_err(|_| malformed("its shape overflows".to_owned())),
        _ => Err(nonsense()),
    };
    let shape = shape.iter().map(side).collect::<Result<_, _>>()?;
    Ok(ArrayHeader { storage, big_endian, fortran: *fortran, shape, flat: false })
}

/// How elements of this type are stored, and whether the most significant byte is the first.
fn element(file: &str, descriptor: &Value) -> Result<(Storage, bool), TableError> {
    let words = descriptor.format_ascii().unwrap_or_default();
    let refused = |found: &str, remedy| {
        Err(TableError::Element { file: file.to_owned(), found: format!("{found} ({words})"), remedy })
    };
    let Value::String(descriptor) = descriptor else {
        return refused("records of named fields", "; write the fields as columns of one array, or as .csv");
    };
    let Ok(plain) = descriptor.parse::<TypeStr>() else {
        return refused("elements of an unknown type", "; write a float array instead");
    };
    let storage = match (plain.type_char(), plain.size_field() as usize) {
        (TypeChar::Bool, 1) => Storage::Bool,
        (TypeChar::Int, size @ (1 | 2 | 4 | 8)) => Storage::Signed(size),
        (TypeChar::Uint, size @ (1 | 2 | 4 | 8)) => Storage::Unsigned(size),
        (TypeChar::Float, size @ (2 | 4 | 8)) => Storage::Float(size),
        (TypeChar::Float, _) => return refused("long floating-point numbers", "; write them as float64"),
        (TypeChar::Complex, _) => return refused("complex numbers", "; write real and imaginary parts as columns"),
        (TypeChar::Object, _) => return refused("pickled Python objects", "; write a float array instead"),
        (TypeChar::ByteStr | TypeChar::UnicodeStr, _) => {
            return refused("text", "; write numbers, or text columns as .csv");
        }
        (TypeChar::TimeDelta | TypeChar::DateTime, _) => return refused("times", "; write them as numbers of a unit"),
        _ => return refused("raw bytes", "; write a float array instead"),
    };
    Ok((storage, plain.endianness() == Endianness::Big))
}

/// An array of NumPy, as its file holds it.
pub(super) fn open_npy(file: &str, mut reader: Box<dyn Read + Send>, flat: bool) -> Result<Opened, TableError> {
    let header = ArrayHeader { flat, ..npy_header(file, &mut reader)? };
    let (source, layout) = header.source(file, None, reader)?;
    Ok(Opened { source, picture: layout.picture, notes: layout.note.into_iter().collect() })
}

/// An archive of arrays of NumPy: its only one, the one that is named, or columns that are arrays of one dimension.
pub(super) fn open_npz(file: &str, bytes: Vec<u8>, options: &ReadOptions) -> Result<Opened, TableError> {
    let malformed = |error: zip::result::ZipError| TableError::Malformed {
        file: file.to_owned(),
        format: "npz",
        found: error.to_string(),
    };
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(malformed)?;
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(malformed)?;
        let name = entry.name().map_err(malformed)?.into_owned();
        let Some(short) = name.strip_suffix(".npy") else { continue };
        let inner = format!("{file}, array {short:?}");
        arrays.push((short.to_owned(), index, inner.clone(), npy_header(&inner, &mut entry)));
    }
    let list = || {
        let shape = |header: &Result<ArrayHeader, TableError>| match header {
            Ok(header) => format!("{} of {}", shape_in_words(&header.shape), header.storage.name()),
            Err(_) => "not of numbers".to_owned(),
        };
        let words: Vec<String> =
            arrays.iter().map(|(name, _, _, header)| format!("{name:?} {}", shape(header))).collect();
        if words.is_empty() { "no array".to_owned() } else { words.join(", ") }
    };
    let chosen = match (&options.array, &arrays[..]) {
        (Some(name), _) => arrays
            .iter()
            .position(|(short, ..)| short == name)
            .ok_or_else(|| TableError::UnknownArray { file: file.to_owned(), name: name.clone(), arrays: list() })?,
        (None, [_]) => 0,
        (None, []) => return Err(TableError::Arrays { file: file.to_owned(), arrays: list() }),
        (None, several) => {
            let lengths: Vec<_> = several
                .iter()
                .map(|(.., header)| header.as_ref().ok().filter(|h| h.shape.len() == 1).map(|h| h.shape[0]))
                .collect();
            if lengths[0].is_none() || lengths.iter().any(|length| *length != lengths[0]) {
                return Err(TableError::Arrays { file: file.to_owned(), arrays: list() });
            }
            return columns(file, archive, arrays);
        }
    };
    let (_, index, inner, _) = arrays.swap_remove(chosen);
    let mut content = Vec::new();
    let mut entry = archive.by_index(index).map_err(malformed)?;
    entry.read_to_end(&mut content).map_err(|source| cannot_read(&inner, source))?;
    open_npy(&inner, Box::new(Cursor::new(content)), options.flatten)
}

type Archive = zip::ZipArchive<Cursor<Vec<u8>>>;
type Entry = (String, usize, String, Result<ArrayHeader, TableError>);

/// Arrays of one dimension and one length, each a column with the name of the array.
fn columns(file: &str, mut archive: Archive, arrays: Vec<Entry>) -> Result<Opened, TableError> {
    let (mut names, mut storages, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for (name, index, inner, header) in arrays {
        let header = header?;
        let mut entry = archive.by_index(index).map_err(|error| TableError::Malformed {
            file: file.to_owned(),
            format: "npz",
            found: error.to_string(),
        })?;
        npy_header(&inner, &mut entry)?;
        let (storage, mut content) = (header.storage, Vec::new());
        entry.read_to_end(&mut content).map_err(|source| cannot_read(&inner, source))?;
        let (mut source, _) = header.source(&inner, None, Box::new(Cursor::new(content)))?;
        let mut column = Vec::new();
        let mut value = [0.0];
        while source.next(&[0], &mut value)? {
            column.push(value[0]);
        }
        names.push(name);
        storages.push(storage);
        numbers.push(column);
    }
    let rows = numbers.first().map_or(0, Vec::len);
    let values = (0..rows).flat_map(|row| numbers.iter().map(move |column| column[row])).collect();
    let notes = vec![format!("{file}: {} arrays of one dimension, read as columns", names.len())];
    Ok(Opened { source: Box::new(Whole::new(names, storages, values)), picture: None, notes })
}

/// An IDX file: two zeros, the type of the elements, the number of axes, and a big-endian length for each.
pub(super) fn open_idx(file: &str, mut reader: Box<dyn Read + Send>) -> Result<Opened, TableError> {
    let malformed =
        |found: &str| TableError::Malformed { file: file.to_owned(), format: "IDX", found: found.to_owned() };
    let mut word = || {
        let mut word = [0; 4];
        reader.read_exact(&mut word).map(|()| word).map_err(|_| malformed("it ends within its header"))
    };
    let [zero, also, element, axes] = word()?;
    let storage = match (zero, also, element) {
        (0, 0, 0x08) => Storage::Unsigned(1),
        (0, 0, 0x09) => Storage::Signed(1),
        (0, 0, 0x0b) => Storage::Signed(2),
        (0, 0, 0x0c) => Storage::Signed(4),
        (0, 0, 0x0d) => Storage::Float(4),
        (0, 0, 0x0e) => Storage::Float(8),
        _ => return Err(malformed("its first bytes name no type of elements")),
    };
    let shape =
        (0..axes).map(|_| word().map(|side| u32::from_be_bytes(side) as usize)).collect::<Result<Vec<_>, _>>()?;
    let header = ArrayHeader { storage, big_endian: true, fortran: false, shape, flat: false };
    let (source, layout) = header.source(file, None, reader)?;
    Ok(Opened { source, picture: layout.picture, notes: layout.note.into_iter().collect() })
}
