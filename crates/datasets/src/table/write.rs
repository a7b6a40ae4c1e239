//! Writes tables, whole or block by block. That a file is whole or not there at all is the caller's business: a format
//! only fills what takes bytes.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use npyz::{AutoSerialize, WriteOptions, WriterBuilder};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::safetensors::COLUMN_KEY;
use super::{Column, Format, Kind, PictureShape, Table, TableError};

impl Table {
    /// Writes the table; integer columns as integers, reals so that they return bit for bit.
    ///
    /// An `.npy` file has no names, and i64 only where all columns are of integers. An `.npz` file has an array for
    /// each column, under its name. A `.safetensors` file has one tensor, `table`, and the names in its metadata.
    ///
    /// # Errors
    /// [`TableError::TextWrite`] for text in a format of numbers; [`TableError::Write`]; [`TableError::Option`] for a
    /// format that is not written.
    pub fn write(&self, format: Format, out: impl Write) -> Result<(), TableError> {
        let mut writer = Writer { picture: self.picture, ..Writer::new(self.columns.clone(), format, out)? };
        writer.push(&self.values)?;
        writer.finish().map(drop)
    }
}

/// Writes rows that come in blocks, as [`Table::write`] writes them, and holds one block in memory (all of a
/// `.safetensors` file, whose crate wants it in one piece). Formats that begin with the number of rows wait in a
/// temporary file until that is known.
///
/// ```
/// use datasets::table::{Format, Table, Writer};
/// let columns = Table::new(&["x", "n"], vec![0.5, 1.0])?.columns().to_vec();
/// let mut out = Vec::new();
/// let mut writer = Writer::new(columns, Format::Csv, &mut out)?;
/// writer.push(&[0.5, 1.0, 1.5, 2.0])?;
/// writer.push(&[2.5, 3.0])?;
/// assert_eq!(writer.finish()?, 3);
/// assert_eq!(String::from_utf8(out).unwrap(), "x,n\n0.5,1\n1.5,2\n2.5,3\n");
/// # Ok::<(), datasets::table::TableError>(())
/// ```
pub struct Writer<W: Write> {
    columns: Vec<Column>,
    picture: Option<PictureShape>,
    rows: usize,
    to: To<W>,
}

/// Where rows go.
enum To<W: Write> {
    /// To the output at once.
    Text(Box<csv::Writer<W>>),
    /// To a temporary file, row-major, and from there to the output.
    Numbers { format: Format, waiting: BufWriter<File>, out: W },
}

impl<W: Write> Writer<W> {
    /// A writer of rows of these columns.
    ///
    /// # Errors
    /// [`TableError::TextWrite`] for text in a format of numbers; [`TableError::Option`] for a format that is not
    /// written; [`TableError::Write`].
    pub fn new(columns: Vec<Column>, format: Format, out: W) -> Result<Self, TableError> {
        let to = match format {
            Format::Csv | Format::Tsv => {
                let delimiter = if format == Format::Csv { b',' } else { b'\t' };
                let mut text = csv::WriterBuilder::new().delimiter(delimiter).from_writer(out);
                text.write_record(columns.iter().map(|column| &column.name)).map_err(text_failed)?;
                To::Text(Box::new(text))
            }
            Format::Npy | Format::Npz | Format::Safetensors => {
                if let Some(text) = columns.iter().find(|column| matches!(column.kind, Kind::Text(_))) {
                    return Err(TableError::TextWrite { name: text.name.clone(), format: format.name() });
                }
                let waiting = BufWriter::new(tempfile::tempfile().map_err(TableError::Write)?);
                To::Numbers { format, waiting, out }
            }
            Format::Parquet | Format::Idx => {
                let file = format!("a table as {}", format.name());
                return Err(TableError::Option { file, option: "write", format: format.name() });
            }
        };
        Ok(Self { columns, picture: None, rows: 0, to })
    }

    /// Writes whole rows, row-major.
    ///
    /// # Errors
    /// [`TableError::Write`]; [`TableError::Shape`] for rows that are not whole.
    pub fn push(&mut self, values: &[f64]) -> Result<(), TableError> {
        let width = self.columns.len();
        if !values.len().is_multiple_of(width) {
            return Err(TableError::Shape { what: "numbers", found: values.len(), columns: width });
        }
        self.rows += values.len() / width;
        match &mut self.to {
            To::Text(text) => {
                for row in values.chunks_exact(width) {
                    text.write_record(row.iter().zip(&self.columns).map(|(value, column)| cell(*value, column)))
                        .map_err(text_failed)?;
                }
                // Flushed, so that a reader at the other end of a pipe sees whole blocks.
                text.flush().map_err(TableError::Write)
            }
            To::Numbers { waiting, .. } => {
                values.iter().try_for_each(|value| waiting.write_all(&value.to_le_bytes())).map_err(TableError::Write)
            }
        }
    }

    /// Writes what waits; the number of rows.
    ///
    /// # Errors
    /// [`TableError::Write`].
    pub fn finish(self) -> Result<usize, TableError> {
        let Self { columns, picture, rows, to } = self;
        match to {
            To::Text(mut text) => text.flush().map_err(TableError::Write)?,
            To::Numbers { format, waiting, mut out } => {
                let file = waiting.into_inner().map_err(|error| TableError::Write(error.into_error()))?;
                let mut waiting = Waiting { file, columns, rows };
                match format {
                    Format::Npz => waiting.write_npz(&mut out),
                    Format::Safetensors => waiting.write_safetensors(&mut out),
                    _ => waiting.write_npy(picture, &mut out),
                }?;
                out.flush().map_err(TableError::Write)?;
            }
        }
        Ok(rows)
    }
}

fn text_failed(error: csv::Error) -> TableError {
    TableError::Write(error.into())
}

/// All rows, in a temporary file.
struct Waiting {
    file: File,
    columns: Vec<Column>,
    rows: usize,
}

impl Waiting {
    /// From the first number on.
    fn numbers(&mut self) -> io::Result<impl Iterator<Item = io::Result<f64>> + '_> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::with_capacity(1 << 16, &self.file);
        Ok((0..self.rows * self.columns.len()).map(move |_| {
            let mut bytes = [0; 8];
            reader.read_exact(&mut bytes)?;
            Ok(f64::from_le_bytes(bytes))
        }))
    }

    fn write_npy(&mut self, picture: Option<PictureShape>, out: &mut dyn Write) -> Result<(), TableError> {
        let integers = self.columns.iter().all(|column| column.kind == Kind::Integer);
        let shape = match picture {
            Some(p) if p.channels == 1 => vec![self.rows, p.height, p.width],
            Some(p) => vec![self.rows, p.height, p.width, p.channels],
            None => vec![self.rows, self.columns.len()],
        };
        self.numbers()
            .and_then(|mut numbers| match (picture.is_some(), integers) {
                (true, _) => elements(out, &shape, &mut numbers, |value| value as u8),
                (false, true) => elements(out, &shape, &mut numbers, |value| value as i64),
                (false, false) => elements(out, &shape, &mut numbers, |value| value),
            })
            .map_err(TableError::Write)
    }

    fn write_npz(&mut self, out: &mut dyn Write) -> Result<(), TableError> {
        let failed = |error: zip::result::ZipError| TableError::Write(error.into());
        let mut archive = zip::ZipWriter::new_stream(out);
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        let (shape, columns) = ([self.rows], self.columns.clone());
        for (place, column) in columns.iter().enumerate() {
            archive.start_file(format!("{}.npy", column.name), options.large_file(true)).map_err(failed)?;
            let written = self.numbers().and_then(|numbers| {
                let mut numbers = numbers.skip(place).step_by(columns.len());
                match &column.kind {
                    Kind::Integer => elements(&mut archive, &shape, &mut numbers, |value| value as i64),
                    _ => elements(&mut archive, &shape, &mut numbers, |value| value),
                }
            });
            written.map_err(TableError::Write)?;
        }
        archive.finish().map(drop).map_err(failed)
    }

    fn write_safetensors(&mut self, out: &mut dyn Write) -> Result<(), TableError> {
        let failed = |error: safetensors::SafeTensorError| TableError::Write(io::Error::other(error));
        let mut bytes = Vec::new();
        let read = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.read_to_end(&mut bytes));
        read.map_err(TableError::Write)?;
        let tensor = TensorView::new(Dtype::F64, vec![self.rows, self.columns.len()], &bytes).map_err(failed)?;
        let name = |(place, column): (usize, &Column)| (format!("{COLUMN_KEY}{place}"), column.name.clone());
        let names = self.columns.iter().enumerate().map(name).collect();
        let whole = safetensors::serialize([("table", tensor)], Some(names)).map_err(failed)?;
        out.write_all(&whole).map_err(TableError::Write)
    }
}

/// A value as text: shortest that returns the same bits.
fn cell(value: f64, column: &Column) -> String {
    match &column.kind {
        Kind::Text(categories) => categories[value as usize].clone(),
        // The largest whole number is within i64.
        Kind::Integer => (value as i64).to_string(),
        Kind::Real => format!("{value:?}"),
    }
}

/// An array of NumPy: a header, and elements of one type.
fn elements<T: AutoSerialize>(
    out: &mut dyn Write,
    shape: &[usize],
    numbers: &mut dyn Iterator<Item = io::Result<f64>>,
    element: impl Fn(f64) -> T,
) -> io::Result<()> {
    let shape: Vec<u64> = shape.iter().map(|side| *side as u64).collect();
    let mut writer = WriteOptions::new().default_dtype().shape(&shape).writer(out).begin_nd()?;
    for number in numbers {
        writer.push(&element(number?))?;
    }
    writer.finish()
}
