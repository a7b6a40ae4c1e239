//! Rows of text: csv, tsv, and numbers between blanks.

use std::collections::HashMap;
use std::io::{self, Read};

use super::dialect::{self, Dialect, Stated};
use super::format::{Input, cannot_read};
use super::source::{Opened, Source};
use super::storage::Storage;
use super::{Format, Place, ReadOptions, TableError};

/// The categories of a column, in order of appearance.
#[derive(Default)]
struct Words {
    known: Vec<String>,
    place: HashMap<String, usize>,
}

/// A file of text.
struct Delimited {
    file: String,
    dialect: Dialect,
    reader: csv::Reader<Box<dyn Read + Send>>,
    record: csv::ByteRecord,
    names: Vec<String>,
    /// Where a column is text.
    words: Vec<Option<Words>>,
    row: u64,
}

/// Opens text: finds how it is written, and reads its header.
pub(super) fn open(input: Input, format: Format, options: &ReadOptions) -> Result<Opened, TableError> {
    let file = input.file.clone();
    let head = lines(&input.head);
    let byte = |sign: Option<char>| sign.and_then(|sign| u8::try_from(sign).ok()).filter(u8::is_ascii);
    for (option, sign) in [("delimiter", options.delimiter), ("decimal", options.decimal)] {
        if sign.is_some() && byte(sign).is_none() {
            return Err(TableError::Option { file, option, format: format.name() });
        }
    }
    let stated = Stated { delimiter: byte(options.delimiter), decimal: byte(options.decimal), header: options.header };
    let mut collapsed = Vec::new();
    // Reading from a slice cannot fail.
    let _ = CollapsedBlanks::new(head).read_to_end(&mut collapsed);
    let dialect = dialect::sniff(head, &collapsed, stated, format == Format::Tsv);
    let sample = dialect::rows(if dialect.delimiter == b' ' { &collapsed } else { head }, dialect.delimiter);
    let Some(first) = sample.first() else { return Err(TableError::Empty { file }) };
    let behind = (!dialect.header).then(|| names_behind_a_mark(head, dialect, first.len())).flatten();
    let named = behind.as_ref().or(dialect.header.then_some(first));
    let names: Vec<String> = (0..first.len())
        .map(|place| match named {
            Some(names) if !names[place].is_empty() => names[place].clone(),
            _ => format!("x{place}"),
        })
        .collect();
    let below = &sample[usize::from(dialect.header)..];
    let words = names.iter().enumerate().map(|(place, name)| {
        let text = options.text.contains(name) || is_text(below, place, dialect.decimal);
        text.then(Words::default)
    });
    let words = words.collect();
    let note = format!(
        "{file}: delimiter {}, decimal {}, {}",
        dialect.delimiter_in_words(),
        if dialect.decimal == b',' { "comma" } else { "point" },
        match named {
            Some(_) => "first line read as names".to_owned(),
            None if names.len() == 1 => "no line of names: the column is called x0".to_owned(),
            None => format!("no line of names: the columns are called x0 to x{}", names.len() - 1),
        }
    );
    let raw: Box<dyn Read + Send> = match dialect.delimiter {
        b' ' => Box::new(CollapsedBlanks::new(input.reader())),
        _ => input.reader(),
    };
    let reader = dialect::builder(dialect.delimiter).from_reader(raw);
    let mut source = Delimited { file, dialect, reader, record: csv::ByteRecord::new(), names, words, row: 0 };
    if dialect.header {
        source.read_record()?;
        source.utf8()?;
    }
    Ok(Opened { source: Box::new(source), picture: None, notes: vec![note] })
}

/// The whole lines of the first bytes, without the mark of UTF-8.
fn lines(head: &[u8]) -> &[u8] {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    match head.iter().rposition(|byte| *byte == b'\n') {
        // A file of one line need not end it.
        Some(end) if head.len() > 1 << 16 => &head[..=end],
        _ => head,
    }
}

/// The names in a first line that begins with `#`, as numpy writes it, where there are as many as columns.
fn names_behind_a_mark(head: &[u8], dialect: Dialect, columns: usize) -> Option<Vec<String>> {
    let line = head.strip_prefix(b"#")?.split(|byte| *byte == b'\n').next()?;
    let (mut collapsed, delimiter) = (Vec::new(), dialect.delimiter);
    let line = match delimiter {
        b' ' => {
            let _ = CollapsedBlanks::new(line).read_to_end(&mut collapsed);
            &collapsed[..]
        }
        _ => line,
    };
    let names = dialect::rows(line, delimiter).into_iter().next()?;
    let words = names.iter().all(|name| dialect::number(name, dialect.decimal).is_none());
    (words && names.len() == columns).then_some(names)
}

/// Whether most values of a column are words.
fn is_text(rows: &[Vec<String>], place: usize, decimal: u8) -> bool {
    let cells = || rows.iter().filter_map(|row| row.get(place)).filter(|cell| !dialect::is_missing(cell));
    let words = cells().filter(|cell| dialect::number(cell, decimal).is_none()).count();
    2 * words > cells().count()
}

/// The first characters of a cell.
fn short(cell: &str) -> String {
    match cell.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}

impl Delimited {
    fn read_record(&mut self) -> Result<bool, TableError> {
        self.reader.read_byte_record(&mut self.record).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(source) => cannot_read(&self.file, source),
            other => TableError::Read { file: self.file.clone(), source: io::Error::other(format!("{other:?}")) },
        })
    }

    fn line_number(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    fn utf8(&self) -> Result<(), TableError> {
        let good = self.record.iter().all(|field| std::str::from_utf8(field).is_ok());
        let bad = || TableError::Encoding { file: self.file.clone(), line: self.line_number() };
        good.then_some(()).ok_or_else(bad)
    }

    /// The value of a cell: a number, the number of a category, or NaN for none.
    fn value(&mut self, column: usize) -> Result<f64, TableError> {
        let cell = std::str::from_utf8(&self.record[column]);
        let cell = cell.map_err(|_| TableError::Encoding { file: self.file.clone(), line: self.line_number() })?;
        if dialect::is_missing(cell) {
            return Ok(f64::NAN);
        }
        match &mut self.words[column] {
            None => dialect::number(cell, self.dialect.decimal).ok_or_else(|| {
                let (row, line) = (self.row, Some(self.line_number()));
                let place = Place { file: self.file.clone(), row, line, column: self.names[column].clone() };
                TableError::Text { place, found: short(cell) }
            }),
            Some(words) => {
                if let Some(place) = words.place.get(cell) {
                    return Ok(*place as f64);
                }
                let place = words.known.len();
                words.known.push(cell.to_owned());
                words.place.insert(cell.to_owned(), place);
                Ok(place as f64)
            }
        }
    }
}

impl Source for Delimited {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn storage(&self, _column: usize) -> Storage {
        Storage::Text
    }

    fn categories(&self, column: usize) -> Option<&[String]> {
        self.words[column].as_ref().map(|words| &words.known[..])
    }

    fn next(&mut self, picks: &[usize], row: &mut [f64]) -> Result<bool, TableError> {
        if !self.read_record()? {
            return Ok(false);
        }
        self.row += 1;
        if self.record.len() != self.names.len() {
            return Err(TableError::Ragged {
                file: self.file.clone(),
                row: self.row,
                line: self.line_number(),
                expected: self.names.len(),
                found: self.record.len(),
                delimiter: self.dialect.delimiter_in_words(),
            });
        }
        for (value, pick) in row.iter_mut().zip(picks) {
            *value = self.value(*pick)?;
        }
        Ok(true)
    }

    fn row(&self) -> u64 {
        self.row
    }

    fn line(&self) -> Option<u64> {
        Some(self.line_number())
    }

    fn cell(&self, column: usize) -> Option<String> {
        Some(short(&String::from_utf8_lossy(&self.record[column])))
    }
}

/// Text in which any number of blanks is one space, and none begins or ends a line.
struct CollapsedBlanks<R> {
    inner: R,
    raw: Vec<u8>,
    ready: Vec<u8>,
    /// How much of `ready` is passed on.
    passed: usize,
    /// A blank was read and not yet passed on.
    pending: bool,
    at_start: bool,
}

impl<R: Read> CollapsedBlanks<R> {
    fn new(inner: R) -> Self {
        Self { inner, raw: vec![0; 1 << 14], ready: vec![], passed: 0, pending: false, at_start: true }
    }

    /// Fills `ready` again; false at the end.
    fn more(&mut self) -> io::Result<bool> {
        let read = self.inner.read(&mut self.raw)?;
        (self.passed, self.ready) = (0, Vec::with_capacity(2 * read));
        for &byte in &self.raw[..read] {
            match byte {
                b' ' | b'\t' => self.pending = !self.at_start,
                b'\n' | b'\r' => {
                    self.ready.push(byte);
                    (self.pending, self.at_start) = (false, true);
                }
                _ => {
                    if std::mem::take(&mut self.pending) {
                        self.ready.push(b' ');
                    }
                    self.ready.push(byte);
                    self.at_start = false;
                }
            }
        }
        Ok(read > 0)
    }
}

impl<R: Read> Read for CollapsedBlanks<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.passed == self.ready.len() {
            if !self.more()? {
                return Ok(0);
            }
        }
        let count = out.len().min(self.ready.len() - self.passed);
        out[..count].copy_from_slice(&self.ready[self.passed..self.passed + count]);
        self.passed += count;
        Ok(count)
    }
}
