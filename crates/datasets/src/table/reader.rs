//! Rows of a file in blocks, checked one by one; a whole table is all blocks together.

use std::collections::HashSet;
use std::io::Cursor;
use std::path::Path;

use super::format::Input;
use super::source::{Opened, Source, Whole};
use super::storage::Storage;
use super::{Column, Format, Kind, PictureShape, Place, ReadOptions, Table, TableError};
use super::{delimited, npy, safetensors};

/// Whole numbers up to here have no neighbour that f64 cannot tell apart.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Some rows of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Their values, row-major.
    pub values: Vec<f64>,
    /// Their numbers in the file, from 1.
    pub numbers: Vec<u64>,
}

/// Reads a file in blocks of rows, so that one larger than memory can be gone through.
///
/// ```
/// use datasets::table::{ReadOptions, Reader};
/// let mut reader = Reader::from_bytes("points.csv", b"x,y\n1,2\n3,4\n5,6\n".to_vec(), &ReadOptions::default())?;
/// let mut sums = [0.0; 2];
/// while let Some(block) = reader.next_block(2)? {
///     block.values.chunks_exact(2).for_each(|row| (sums[0], sums[1]) = (sums[0] + row[0], sums[1] + row[1]));
/// }
/// assert_eq!(sums, [9.0, 12.0]);
/// # Ok::<(), datasets::table::TableError>(())
/// ```
pub struct Reader {
    file: String,
    source: Box<dyn Source>,
    picks: Vec<usize>,
    drop_missing: bool,
    picture: Option<PictureShape>,
    notes: Vec<String>,
    /// Whether all values of a column so far are whole.
    whole: Vec<bool>,
    dropped: u64,
    row: Vec<f64>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("file", &self.file).field("row", &self.source.row()).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// All of [`TableError`] that say what is wrong with a file before its first row.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self, TableError> {
        #[cfg(feature = "parquet")]
        if options.format.or(Format::of_name(path)) == Some(Format::Parquet) {
            let file = path.display().to_string();
            inapplicable(&file, Format::Parquet, options)?;
            let opened = super::parquet::open(path, options)?;
            return Self::new(file, opened, options);
        }
        Self::from_input(Input::open(path)?, options)
    }

    /// Reads bytes as a file of that name.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: &str, bytes: Vec<u8>, options: &ReadOptions) -> Result<Self, TableError> {
        Self::from_input(Input::new(name.to_owned(), Box::new(Cursor::new(bytes)))?, options)
    }

    /// Rows in memory.
    pub(super) fn from_values(name: &str, names: Vec<String>, values: Vec<f64>) -> Result<Self, TableError> {
        let storages = vec![Storage::Float(8); names.len()];
        let opened = Opened { source: Box::new(Whole::new(names, storages, values)), picture: None, notes: vec![] };
        Self::new(name.to_owned(), opened, &ReadOptions::default())
    }

    fn from_input(input: Input, options: &ReadOptions) -> Result<Self, TableError> {
        let (file, format) = (input.file.clone(), input.format(options.format)?);
        inapplicable(&file, format, options)?;
        let opened = match format {
            Format::Csv | Format::Tsv => delimited::open(input, format, options)?,
            Format::Npy => npy::open_npy(&file, input.reader(), options.flatten)?,
            Format::Npz => npy::open_npz(&file, input.bytes()?, options)?,
            Format::Idx => npy::open_idx(&file, input.reader())?,
            Format::Safetensors => safetensors::open(&file, input.bytes()?, options)?,
            Format::Parquet => return Err(TableError::WithoutParquet { file }),
        };
        Self::new(file, opened, options)
    }

    fn new(file: String, opened: Opened, options: &ReadOptions) -> Result<Self, TableError> {
        let names = opened.source.names();
        let mut seen = HashSet::new();
        if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(TableError::SameName { file, name: name.clone() });
        }
        let position = |name: &String| {
            let unknown =
                || TableError::UnknownColumn { file: file.clone(), name: name.clone(), known: names.join(", ") };
            names.iter().position(|known| known == name).ok_or_else(unknown)
        };
        options.text.iter().try_for_each(|name| position(name).map(drop))?;
        let picks: Vec<usize> = match &options.columns {
            Some(chosen) => chosen.iter().map(position).collect::<Result<_, _>>()?,
            None => (0..names.len()).collect(),
        };
        if picks.is_empty() {
            return Err(TableError::Shape { what: "chosen ones", found: 0, columns: names.len() });
        }
        if let Some(twice) = (1..picks.len()).find(|place| picks[..*place].contains(&picks[*place])) {
            return Err(TableError::SameName { file, name: names[picks[twice]].clone() });
        }
        let picture = opened.picture.filter(|_| picks.iter().copied().eq(0..names.len()));
        let (whole, row) = (vec![true; picks.len()], vec![0.0; picks.len()]);
        let (source, notes, drop_missing) = (opened.source, opened.notes, options.drop_missing);
        Ok(Self { file, source, picks, drop_missing, picture, notes, whole, dropped: 0, row })
    }

    /// The columns that are read. Kinds are those of the rows so far.
    pub fn columns(&self) -> Vec<Column> {
        let column = |(place, pick): (usize, &usize)| Column {
            name: self.source.names()[*pick].clone(),
            storage: self.source.storage(*pick),
            kind: match self.source.categories(*pick) {
                Some(categories) => Kind::Text(categories.to_vec()),
                None if self.whole[place] => Kind::Integer,
                None => Kind::Real,
            },
        };
        self.picks.iter().enumerate().map(column).collect()
    }

    /// How the file is read, in plain sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Rows that were left out so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The next rows, at most `rows` of them; `None` at the end.
    ///
    /// # Errors
    /// All of [`TableError`] that say what is wrong with a row; [`TableError::NoRows`] and [`TableError::AllDropped`]
    /// at the end.
    ///
    /// # Panics
    /// If `rows` is 0.
    pub fn next_block(&mut self, rows: usize) -> Result<Option<Block>, TableError> {
        assert!(rows > 0, "a block has rows");
        let mut block = Block { values: Vec::new(), numbers: Vec::new() };
        while block.numbers.len() < rows && self.source.next(&self.picks, &mut self.row)? {
            if self.admit()? {
                block
                    .values
                    .try_reserve(self.row.len())
                    .map_err(|_| TableError::Memory { file: self.file.clone(), numbers: block.values.len() as u64 })?;
                block.values.extend(&self.row);
                block.numbers.push(self.source.row());
            }
        }
        if !block.numbers.is_empty() {
            return Ok(Some(block));
        }
        let (file, rows) = (self.file.clone(), self.source.row());
        match rows {
            0 => Err(TableError::NoRows { file, columns: self.source.names().join(", ") }),
            _ if self.dropped == rows => Err(TableError::AllDropped { file, rows }),
            _ => Ok(None),
        }
    }

    /// A block that was read here as a table of its own.
    pub fn table(&self, block: Block) -> Table {
        let (file, columns) = (self.file.clone(), self.columns());
        Table { file, columns, values: block.values, numbers: Some(block.numbers), picture: None, notes: vec![] }
    }

    /// Whether the last row is taken.
    fn admit(&mut self) -> Result<bool, TableError> {
        if let Some(bad) = self.row.iter().position(|value| !value.is_finite()) {
            if self.drop_missing {
                self.dropped += 1;
                return Ok(false);
            }
            let (pick, value) = (self.picks[bad], self.row[bad]);
            let column = self.source.names()[pick].clone();
            let (row, line) = (self.source.row(), self.source.line());
            let place = Place { file: self.file.clone(), row, line, column };
            let found = self.source.cell(pick).unwrap_or_else(|| value.to_string());
            return Err(match value.is_nan() {
                true if found.is_empty() => TableError::Missing { place, found: "nothing stands there".to_owned() },
                true => TableError::Missing { place, found: format!("{found:?} stands there") },
                false => TableError::Infinite { place, found },
            });
        }
        for (whole, value) in self.whole.iter_mut().zip(&self.row) {
            *whole &= value.fract() == 0.0 && value.abs() <= LARGEST_WHOLE;
        }
        Ok(true)
    }

    /// All rows as a table.
    pub(super) fn collect(mut self) -> Result<Table, TableError> {
        let (mut values, mut numbers) = (Vec::new(), Vec::new());
        while let Some(block) = self.next_block(4096)? {
            let room = values.try_reserve(block.values.len());
            room.map_err(|_| TableError::Memory { file: self.file.clone(), numbers: values.len() as u64 })?;
            values.extend(block.values);
            numbers.extend(block.numbers);
        }
        let mut columns = self.columns();
        for (place, column) in columns.iter_mut().enumerate() {
            if let Kind::Text(categories) = &mut column.kind {
                sort_categories(categories, &mut values, place, self.picks.len());
            }
        }
        let (mut notes, file) = (self.notes, self.file);
        if self.dropped > 0 {
            let of = self.dropped + numbers.len() as u64;
            notes.push(format!(
                "{file}: {} of {of} rows have missing or infinite values and are left out",
                self.dropped
            ));
        }
        for column in &columns {
            if column.kind == Kind::Integer && matches!(column.storage, Storage::Float(_) | Storage::Bf16) {
                let (name, storage) = (&column.name, column.storage.name());
                notes.push(format!(
                    "{file}: all values of {name:?} are whole, so that it counts as integer, though stored as {storage}"
                ));
            }
        }
        let numbers = (self.dropped > 0).then_some(numbers);
        Ok(Table { file, columns, values, numbers, picture: self.picture, notes })
    }
}

/// Brings categories into the order of the alphabet, and the numbers in a column with them.
fn sort_categories(categories: &mut Vec<String>, values: &mut [f64], column: usize, columns: usize) {
    let mut order: Vec<usize> = (0..categories.len()).collect();
    order.sort_by(|a, b| categories[*a].cmp(&categories[*b]));
    let mut place = vec![0.0; order.len()];
    order.iter().enumerate().for_each(|(sorted, old)| place[*old] = sorted as f64);
    values.iter_mut().skip(column).step_by(columns).for_each(|value| *value = place[*value as usize]);
    *categories = order.iter().map(|old| std::mem::take(&mut categories[*old])).collect();
}

/// Refuses options that have no effect on a format.
fn inapplicable(file: &str, format: Format, options: &ReadOptions) -> Result<(), TableError> {
    let text = format.is_text();
    let arrays = matches!(format, Format::Npz | Format::Safetensors);
    let given = [
        ("delimiter", options.delimiter.is_some() && !text),
        ("decimal", options.decimal.is_some() && !text),
        ("header", options.header.is_some() && !text),
        ("text", !(options.text.is_empty() || text || format == Format::Parquet)),
        ("array", options.array.is_some() && !arrays),
    ];
    match given.iter().find(|(_, idle)| *idle) {
        Some((option, _)) => Err(TableError::Option { file: file.to_owned(), option, format: format.name() }),
        None => Ok(()),
    }
}
