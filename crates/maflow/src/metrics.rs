//! `metrics.csv`: one row per optimiser step; a torn last line (power cut, `kill -9`) is ignored.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files::write_whole;

/// One row. Losses are in the unit of the run's figures: nats, or per site for lattices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Gradient steps made, this one included.
    pub step: u64,
    /// Passes over the data begun, counted from 0; empty without a finite data set.
    pub epoch: Option<u64>,
    /// Mean loss of the batch.
    pub loss: f64,
    /// Its standard error.
    pub loss_error: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global norm of the gradient, before clipping.
    pub gradient_norm: f64,
    /// Steps of the integrator.
    pub flow_steps: u64,
    /// Change of the loss when the step is halved, in the unit of the loss; empty where it was not measured.
    pub integration_error: Option<f64>,
    /// Validation figure; empty where it was not taken.
    pub validation: Option<f64>,
    /// Standard error of the validation figure.
    pub validation_error: Option<f64>,
    /// Seconds since training began (time between runs left out).
    pub seconds: f64,
    /// Seconds of the step that the first of several processes spent on what they exchange, waiting for others
    /// included; empty for one alone.
    #[serde(default)]
    pub communication_seconds: Option<f64>,
    /// Bytes of numbers that came to it from the others in that time.
    #[serde(default)]
    pub communication_bytes: Option<u64>,
}

/// The file open for more rows.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens `path` to go on after `step`: later rows, of a past that a checkpoint has taken back, are dropped.
    /// Step 0 begins a new file, as does one that is gone.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path, step: u64) -> Result<Self, Error> {
        let mut kept = match step {
            0 => Vec::new(),
            _ if !path.exists() => Vec::new(),
            _ => read(path)?,
        };
        kept.retain(|row| row.step <= step);
        write_whole(path, &encode(&kept, true, path)?)?;
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io("write", path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn push(&mut self, row: &Row) -> Result<(), Error> {
        let line = encode(std::slice::from_ref(row), false, &self.path)?;
        self.file.write_all(&line).map_err(Error::io("write", &self.path))
    }
}

/// All whole rows of the file.
///
/// # Errors
/// When it cannot be read, or a line is not a row.
pub fn read(path: &Path) -> Result<Vec<Row>, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    csv::Reader::from_reader(whole.as_bytes())
        .into_deserialize()
        .collect::<Result<Vec<Row>, csv::Error>>()
        .map_err(|error| Error::Failed(format!("{} is damaged: {error}; repair or delete that line", path.display())))
}

/// CSV of the rows, with or without the line of names.
fn encode(rows: &[Row], header: bool, path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |error: String| Error::Failed(format!("cannot write {}: {error}", path.display()));
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    if header {
        writer.write_record(NAMES).map_err(|e| failed(e.to_string()))?;
    }
    for row in rows {
        writer.serialize(row).map_err(|e| failed(e.to_string()))?;
    }
    writer.into_inner().map_err(|e| failed(e.to_string()))
}

const NAMES: [&str; 13] = [
    "step",
    "epoch",
    "loss",
    "loss_error",
    "learning_rate",
    "gradient_norm",
    "flow_steps",
    "integration_error",
    "validation",
    "validation_error",
    "seconds",
    "communication_seconds",
    "communication_bytes",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64) -> Row {
        Row {
            step,
            epoch: None,
            loss: -2.0 - 1.0 / 3.0 / step as f64,
            loss_error: 0.1,
            learning_rate: 1e-3,
            gradient_norm: f64::NAN,
            flow_steps: 10,
            integration_error: step.is_multiple_of(2).then_some(1e-4),
            validation: None,
            validation_error: None,
            seconds: 0.5 * step as f64,
            communication_seconds: None,
            communication_bytes: step.is_multiple_of(2).then_some(8 * step),
        }
    }

    fn same(a: &Row, b: &Row) -> bool {
        format!("{a:?}") == format!("{b:?}")
    }

    #[test]
    fn rows_come_back_bit_for_bit_and_a_torn_line_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.csv");
        let mut metrics = Metrics::open(&path, 0).unwrap();
        (1..=5).for_each(|step| metrics.push(&row(step)).unwrap());
        metrics.file.write_all(b"6,,-2.3").unwrap();
        let rows = read(&path).unwrap();
        assert_eq!(rows.len(), 5);
        assert!(rows.iter().zip(1..).all(|(found, step)| same(found, &row(step))), "{rows:?}");
    }

    #[test]
    fn a_resumed_file_equals_an_uninterrupted_one() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, resumed) = (dir.path().join("whole.csv"), dir.path().join("resumed.csv"));
        let mut metrics = Metrics::open(&whole, 0).unwrap();
        (1..=8).for_each(|step| metrics.push(&row(step)).unwrap());
        let mut metrics = Metrics::open(&resumed, 0).unwrap();
        (1..=6).for_each(|step| metrics.push(&row(step)).unwrap());
        metrics.file.write_all(b"7,,-").unwrap();
        let mut metrics = Metrics::open(&resumed, 4).unwrap();
        (5..=8).for_each(|step| metrics.push(&row(step)).unwrap());
        assert_eq!(std::fs::read(whole).unwrap(), std::fs::read(resumed).unwrap());
    }

    #[test]
    fn damage_names_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.csv");
        let mut metrics = Metrics::open(&path, 0).unwrap();
        metrics.push(&row(1)).unwrap();
        metrics.file.write_all(b"nonsense\n").unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("line: 3"), "{message}");
    }
}
