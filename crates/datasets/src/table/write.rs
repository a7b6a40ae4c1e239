//! Writes tables. Whole or not at all is the caller's business: a format only fills what takes bytes.

use std::io::{self, Write};

use npyz::{AutoSerialize, WriteOptions, WriterBuilder};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::safetensors::COLUMN_KEY;
use super::{Column, Format, Kind, Table, TableError};

impl Table {
    /// Writes the table; integer columns as integers, reals so that they return bit for bit.
    ///
    /// An `.npy` file has no names, and i64 only where all columns are of integers. An `.npz` file has an array for
    /// each
    /// column, under its name. A `.safetensors` file has one tensor, `table`, and the names in its metadata.
    ///
    /// # Errors
    /// [`TableError::TextWrite`] for text in a format of numbers; [`TableError::Write`]; [`TableError::Option`] for a
    /// format that is not written.
    pub fn write(&self, format: Format, out: impl Write) -> Result<(), TableError> {
        match format {
            Format::Csv => self.write_text(b',', out),
            Format::Tsv => self.write_text(b'\t', out),
            Format::Npy => {
                self.numbers_only("npy")?;
                let integers = self.columns.iter().all(|column| column.kind == Kind::Integer);
                let shape = match self.picture {
                    Some(p) if p.channels == 1 => vec![self.rows(), p.height, p.width],
                    Some(p) => vec![self.rows(), p.height, p.width, p.channels],
                    None => vec![self.rows(), self.columns.len()],
                };
                let pixels = self.picture.is_some();
                write_npy(out, &shape, integers, pixels, &mut self.values.iter().copied())
            }
            Format::Npz => self.write_npz(out),
            Format::Safetensors => self.write_safetensors(out),
            Format::Parquet | Format::Idx => {
                let file = format!("a table as {}", format.name());
                Err(TableError::Option { file, option: "write", format: format.name() })
            }
        }
    }

    fn numbers_only(&self, format: &'static str) -> Result<(), TableError> {
        match self.columns.iter().find(|column| matches!(column.kind, Kind::Text(_))) {
            Some(column) => Err(TableError::TextWrite { name: column.name.clone(), format }),
            None => Ok(()),
        }
    }

    fn write_text(&self, delimiter: u8, out: impl Write) -> Result<(), TableError> {
        let failed = |error: csv::Error| TableError::Write(error.into());
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(out);
        writer.write_record(self.names()).map_err(failed)?;
        for row in self.values.chunks_exact(self.columns.len()) {
            writer
                .write_record(row.iter().zip(&self.columns).map(|(value, column)| cell(*value, column)))
                .map_err(failed)?;
        }
        writer.flush().map_err(TableError::Write)
    }

    fn write_npz(&self, out: impl Write) -> Result<(), TableError> {
        self.numbers_only("npz")?;
        let failed = |error: zip::result::ZipError| TableError::Write(error.into());
        let mut archive = zip::ZipWriter::new_stream(out);
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (place, column) in self.columns.iter().enumerate() {
            archive.start_file(format!("{}.npy", column.name), options.large_file(true)).map_err(failed)?;
            write_npy(&mut archive, &[self.rows()], column.kind == Kind::Integer, false, &mut self.column(place))?;
        }
        archive.finish().map_err(failed)?.flush().map_err(TableError::Write)
    }

    fn write_safetensors(&self, mut out: impl Write) -> Result<(), TableError> {
        self.numbers_only("safetensors")?;
        let bytes: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let failed = |error: safetensors::SafeTensorError| TableError::Write(io::Error::other(error));
        let tensor = TensorView::new(Dtype::F64, vec![self.rows(), self.columns.len()], &bytes).map_err(failed)?;
        let name = |(place, column): (usize, &Column)| (format!("{COLUMN_KEY}{place}"), column.name.clone());
        let names = self.columns.iter().enumerate().map(name).collect();
        let whole = safetensors::serialize([("table", tensor)], Some(names)).map_err(failed)?;
        out.write_all(&whole).and_then(|()| out.flush()).map_err(TableError::Write)
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

/// An array of NumPy of these numbers, row-major.
fn write_npy(
    mut out: impl Write,
    shape: &[usize],
    integers: bool,
    pixels: bool,
    values: &mut dyn Iterator<Item = f64>,
) -> Result<(), TableError> {
    match (pixels, integers) {
        (true, _) => elements(&mut out, shape, values.map(|value| value as u8)),
        (false, true) => elements(&mut out, shape, values.map(|value| value as i64)),
        (false, false) => elements(&mut out, shape, values),
    }
    .and_then(|()| out.flush())
    .map_err(TableError::Write)
}

/// A header, and elements of one type.
fn elements<T: AutoSerialize>(out: &mut dyn Write, shape: &[usize], values: impl Iterator<Item = T>) -> io::Result<()> {
    let shape: Vec<u64> = shape.iter().map(|side| *side as u64).collect();
    let mut writer = WriteOptions::new().default_dtype().shape(&shape).writer(out).begin_nd()?;
    writer.extend(values)?;
    writer.finish()
}
