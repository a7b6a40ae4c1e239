//! Arrays of numbers in bytes: how elements are stored, which shapes are tables, and rows of either order.

use std::io::{Cursor, Read};

use super::TableError;
use super::format::cannot_read;
use super::source::{Source, Whole};
use super::storage::{PictureShape, Storage};

/// What a header says of an array.
#[derive(Debug, Clone)]
pub(super) struct ArrayHeader {
    pub storage: Storage,
    pub big_endian: bool,
    /// The first axis is the fastest.
    pub fortran: bool,
    pub shape: Vec<usize>,
    /// Whether all axes after the first are columns.
    pub flat: bool,
}

/// A shape as Python writes it.
pub(super) fn shape_in_words(shape: &[usize]) -> String {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("({}{})", sides.join(", "), if sides.len() == 1 { "," } else { "" })
}

/// An array as a table.
pub(super) struct Layout {
    pub rows: usize,
    pub columns: usize,
    pub picture: Option<PictureShape>,
    pub note: Option<String>,
}

impl ArrayHeader {
    /// Which shapes are tables: two dimensions, one (a column), and pictures of u8 in three or four.
    pub fn layout(&self, file: &str) -> Result<Layout, TableError> {
        let refused = |remedy| {
            let (shape, element) = (shape_in_words(&self.shape), self.storage.name());
            TableError::Dimensions { file: file.to_owned(), shape, element, remedy }
        };
        let picture = |height, width, channels| {
            let columns = usize::checked_mul(height, width).and_then(|pixels| pixels.checked_mul(channels));
            let columns = columns.ok_or_else(|| refused("its size overflows"))?;
            let (picture, rows) = (Some(PictureShape { height, width, channels }), self.shape[0]);
            let of = if channels == 1 { String::new() } else { format!(" of {channels} channels") };
            let note = Some(format!("{file}: {rows} pictures of {height} × {width}{of}"));
            Ok(Layout { rows, columns, picture, note })
        };
        let layout = match (&self.shape[..], self.storage) {
            (&[rows, columns], _) => Layout { rows, columns, picture: None, note: None },
            (&[rows], _) => {
                let note = Some(format!("{file}: an array of one dimension, read as one column of {rows} rows"));
                Layout { rows, columns: 1, picture: None, note }
            }
            ([rows, sides @ ..], _) if self.flat && sides.len() > 1 => {
                let columns = sides.iter().try_fold(1, |all: usize, side| all.checked_mul(*side));
                let columns = columns.ok_or_else(|| refused("its size overflows"))?;
                Layout { rows: *rows, columns, picture: None, note: None }
            }
            (&[_, height, width], Storage::Unsigned(1)) => picture(height, width, 1)?,
            (&[_, height, width, channels], Storage::Unsigned(1)) if channels <= 4 => picture(height, width, channels)?,
            (&[_, _, _, _], Storage::Unsigned(1)) => {
                return Err(refused(
                    "pictures are (count, height, width, channels) with 1 to 4 channels, the channels last",
                ));
            }
            (&[_, _, _, ..], storage) if storage.is_float() => {
                return Err(refused(
                    "flatten it to (rows, columns), or, if it holds pictures, write them as u8 in 0 to 255",
                ));
            }
            _ => {
                return Err(refused(
                    "a table is (rows, columns), pictures are (count, height, width[, channels]) of u8",
                ));
            }
        };
        match (layout.rows, layout.columns) {
            (_, 0) => Err(refused("it has no columns")),
            (0, _) => Err(refused("it has no rows, and one at least is needed")),
            _ => Ok(layout),
        }
    }

    /// The rows of an array whose bytes `reader` gives from the first.
    ///
    /// `names` are those of the columns, where they are known.
    pub fn source(
        self,
        file: &str,
        names: Option<Vec<String>>,
        mut reader: Box<dyn Read + Send>,
    ) -> Result<(Box<dyn Source>, Layout), TableError> {
        let layout = self.layout(file)?;
        let memory = |numbers: u64| TableError::Memory { file: file.to_owned(), numbers };
        let numbers = layout.rows.checked_mul(layout.columns).ok_or_else(|| memory(u64::MAX))?;
        let expected = numbers.checked_mul(self.storage.size()).ok_or_else(|| memory(u64::MAX))?;
        let in_order = !self.fortran || layout.columns == 1;
        // A header may claim anything: nothing is made for columns before a row of them is there.
        let needed = if in_order { layout.columns * self.storage.size() } else { expected };
        let mut raw = Vec::new();
        reader.by_ref().take(needed as u64).read_to_end(&mut raw).map_err(|source| cannot_read(file, source))?;
        if raw.len() < needed {
            return Err(truncated(file, expected, raw.len(), 0));
        }
        let names = names
            .filter(|names| names.len() == layout.columns)
            .unwrap_or_else(|| (0..layout.columns).map(|place| format!("x{place}")).collect());
        if in_order {
            let (file, row) = (file.to_owned(), vec![0; needed]);
            let reader = Box::new(Cursor::new(raw).chain(reader));
            let rows = InOrder { file, header: self, names, reader, row, rows: layout.rows, done: 0, expected };
            return Ok((Box::new(rows), layout));
        }
        let values = self.first_axis_fastest(raw, &layout);
        Ok((Box::new(Whole::new(names, vec![self.storage; layout.columns], values)), layout))
    }

    /// Row-major numbers of an array in Fortran's order.
    fn first_axis_fastest(&self, mut raw: Vec<u8>, layout: &Layout) -> Vec<f64> {
        let size = self.storage.size();
        // Where each column begins: its places in the axes after the first, the last of which is the slowest here.
        let offsets: Vec<usize> = (0..layout.columns)
            .map(|mut column| {
                let mut places = vec![0; self.shape.len()];
                for axis in (1..self.shape.len()).rev() {
                    places[axis] = column % self.shape[axis];
                    column /= self.shape[axis];
                }
                places.iter().zip(&self.shape).rev().fold(0, |offset, (place, side)| offset * side + place)
            })
            .collect();
        if self.big_endian {
            raw.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        let number = |at: usize| self.storage.decode(&raw[at * size..(at + 1) * size]);
        (0..layout.rows).flat_map(|row| offsets.iter().map(move |offset| offset + row)).map(number).collect()
    }
}

fn truncated(file: &str, expected: usize, found: usize, rows: usize) -> TableError {
    TableError::Truncated { file: file.to_owned(), expected: expected as u64, found: found as u64, rows: rows as u64 }
}

/// Rows one after the other, read as they are asked for.
struct InOrder {
    file: String,
    header: ArrayHeader,
    names: Vec<String>,
    reader: Box<dyn Read + Send>,
    /// The bytes of a row.
    row: Vec<u8>,
    rows: usize,
    done: usize,
    /// Bytes of all rows.
    expected: usize,
}

impl Source for InOrder {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn storage(&self, _column: usize) -> Storage {
        self.header.storage
    }

    fn next(&mut self, picks: &[usize], row: &mut [f64]) -> Result<bool, TableError> {
        if self.done == self.rows {
            return Ok(false);
        }
        let mut read = 0;
        while read < self.row.len() {
            match self.reader.read(&mut self.row[read..]) {
                Ok(0) => {
                    return Err(truncated(&self.file, self.expected, self.done * self.row.len() + read, self.done));
                }
                Ok(more) => read += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(cannot_read(&self.file, source)),
            }
        }
        let (storage, size) = (self.header.storage, self.header.storage.size());
        if self.header.big_endian {
            self.row.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        for (value, pick) in row.iter_mut().zip(picks) {
            *value = storage.decode(&self.row[pick * size..(pick + 1) * size]);
        }
        self.done += 1;
        Ok(true)
    }

    fn row(&self) -> u64 {
        self.done as u64
    }
}
