//! `maflow sample`: samples of a run as numbers or as a picture.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use datasets::table::{Context, Format, PictureShape, ReadOptions, Table};
use flow_core::Precision;
use maflow::files::{WholeFile, write_table, write_whole};
use maflow::flow::TrainedFlow;
use maflow::kept::Units;
use maflow::monitor::TaskProgress;
use maflow::recipe::TargetKind;
use maflow::sampling;
use maflow::target::{Layout, TableMap};
use ndarray::IxDyn;
use ndarray_npy::write_zeroed_npy;

use super::rows;
use crate::error::CliError;
use crate::place::Place;
use crate::plan::{Sample, SampleFormat};
use crate::{interrupt, output, pictures, plots};

/// Pictures that one PNG can show.
const MOST_TILES: usize = 1024;
/// Points that one PNG can show.
const MOST_POINTS: usize = 1_000_000;

/// Samples as planned, together with all processes. The first one writes.
pub fn run(plan: Sample, place: &Place) -> Result<(), CliError> {
    if matches!(plan.format, SampleFormat::Npy) {
        // Ctrl-C is to leave no part of a file behind. A picture is written at once, at the end.
        interrupt::listen()?;
    }
    plan.require_few()?;
    let plan = Sample { run: place.shared(plan.run), ..plan };
    let flow = plan.run.flow(&*place.monitor())?;
    let (flow, units) = (&*flow, plan.run.units(flow.kept().clone())?);
    let (map, context) = (flow.kept().table.as_ref(), flow.kept().context(plan.run.recipe()));
    let what = if plan.format == SampleFormat::Npy && map.is_none() && plan.given.is_none() {
        plan.numbers(flow, &units, place)?
    } else {
        let given = plan.given.as_deref().map(|path| Given::read(path, &context, plan.count)).transpose()?;
        let samples = plan.samples(flow, &units, given.as_ref())?;
        let written = place.by_first(|| match plan.format {
            SampleFormat::Png => plan.picture(&samples),
            // Samples of a table have its kinds of columns, and stand beside their context.
            SampleFormat::Npy => plan.table(map, samples, given, Format::Npy),
            SampleFormat::Table(format) => plan.table(map, samples, given, format),
        })?;
        written.unwrap_or_default()
    };
    output::line(&format!("{}: {what}", plan.out.display()))
}

/// What samples are conditional on: the columns as they were read, and encoded, for every sample.
struct Given {
    table: Table,
    context: Vec<f64>,
}

impl Given {
    /// Reads the rows of a file, and repeats each `times` times. A temperature is its own row.
    fn read(path: &Path, context: &Context, times: usize) -> Result<Self, maflow::Error> {
        let columns = context.names().into_iter().map(str::to_owned).collect();
        let table = match rows::temperature(path, context) {
            Some(temperature) => Table::new(&[rows::TEMPERATURE], vec![temperature])?,
            None => Table::read(path, &ReadOptions { columns: Some(columns), ..ReadOptions::default() })?,
        };
        let rows: Vec<usize> = (0..table.rows()).flat_map(|row| std::iter::repeat_n(row, times)).collect();
        let table = table.take(&rows);
        let context = context.encode(&table)?;
        Ok(Self { table, context })
    }
}

impl Sample {
    /// Refuses pictures of more than they can show.
    fn require_few(&self) -> Result<(), CliError> {
        let layout = self.run.recipe().target.layout();
        let shape = layout.shape();
        let drawn = !matches!(layout, Layout::Particles(..)) && (shape.len() == 2 || shape == [2]);
        if !drawn && self.format == SampleFormat::Png {
            let n = layout.dimension();
            return Err(CliError::Usage(format!(
                "there is no picture of rows of {n} numbers; write numbers to a .npy file"
            )));
        }
        let most = if shape.len() == 2 { MOST_TILES } else { MOST_POINTS };
        match self.format == SampleFormat::Png && self.count > most {
            false => Ok(()),
            true => Err(CliError::Usage(format!(
                "a picture shows at most {most} samples of this run, not {}; lower --count, or write numbers to a .npy \
                 file",
                self.count
            ))),
        }
    }

    /// Writes the numbers batch by batch, so that memory does not grow with their count.
    fn numbers(&self, flow: &dyn TrainedFlow, units: &Units, place: &Place) -> Result<String, maflow::Error> {
        let (monitor, parts) = (place.monitor(), sampling::batches(self.count));
        let shape = [vec![self.count], self.run.recipe().target.layout().shape()].concat();
        let mut file = place.by_first(|| NumbersFile::create(&self.out, &shape, flow.precision()))?;
        for i in 0..parts {
            if place.team().any(monitor.cancelled())? {
                return Err(maflow::Error::Cancelled);
            }
            let mut samples = flow.sample_batch(i, self.count, &[])?;
            units.to_user(&mut samples, &[]);
            place.by_first(|| file.as_mut().map_or(Ok(()), |file| file.push(&samples)))?;
            monitor.task(&TaskProgress { name: "sampling", done: i + 1, parts, detail: "" });
        }
        monitor.task_ended();
        place.by_first(|| file.map_or(Ok(()), NumbersFile::finish))?;
        Ok(format!("samples of shape {shape:?} in {}", self.meaning()))
    }

    /// What the numbers are.
    fn meaning(&self) -> &'static str {
        match self.run.recipe().target {
            TargetKind::Mnist(_) => "logit space (pixels are 1/(1 + exp(-x)))",
            TargetKind::Ising(_) => "continuous variables (spins by p(s = 1 | x) = 1/(1 + exp(-2x)))",
            TargetKind::Phi4(_) => "lattice fields",
            TargetKind::Particles(_) => "positions of particles, their centre a normal of deviation 1/√n",
            TargetKind::Sets(_) => "the units of the vectors",
            TargetKind::Toy(_) => "the plane",
            TargetKind::Table(_) => "the units of the data",
            TargetKind::Energy(_) => "the units of the energy",
            TargetKind::Own(_) => "the target's own coordinates",
        }
    }

    /// Writes a table with the names of the data, where there are any.
    fn table(
        &self,
        map: Option<&TableMap>,
        samples: Vec<f64>,
        given: Option<Given>,
        format: Format,
    ) -> Result<String, maflow::Error> {
        let table = match map {
            Some(map) => match self.run.recipe().target.layout() {
                Layout::Picture(height, width) => {
                    map.table(samples)?.of_pictures(PictureShape { height, width, channels: 1 })?
                }
                _ => map.table(samples)?,
            },
            None => Table::new(&rows::numbered("x", self.run.recipe().dimension()), samples)?,
        };
        let what = output::listed(&table.names());
        let table = match given {
            Some(given) => given.table.beside(&table)?,
            None => table,
        };
        write_table(&self.out, &table, format)?;
        Ok(format!("{} samples of {what} in {}", table.rows(), self.meaning()))
    }

    /// All samples at once, in the user's units.
    fn samples(&self, flow: &dyn TrainedFlow, units: &Units, given: Option<&Given>) -> Result<Vec<f64>, maflow::Error> {
        let count = given.map_or(self.count, |given| given.table.rows());
        let context = given.map_or(&[][..], |given| &given.context);
        let mut samples = flow.samples(count, context)?;
        units.to_user(&mut samples, context);
        Ok(samples)
    }

    /// Draws samples.
    fn picture(&self, samples: &[f64]) -> Result<String, maflow::Error> {
        let columns = (self.count as f64).sqrt().ceil() as usize;
        let png = match pictures::tiles(self.run.recipe(), samples, columns) {
            Some(tiles) => plots::png(&tiles)?,
            None => plots::png(&pictures::scatter(self.run.recipe(), samples))?,
        };
        write_whole(&self.out, &png)?;
        Ok(format!("{} samples", samples.len() / self.run.recipe().dimension()))
    }
}

/// A file of NumPy's format under way, one batch of numbers after the other.
struct NumbersFile<'a> {
    file: WholeFile,
    path: &'a Path,
    precision: Precision,
}

impl<'a> NumbersFile<'a> {
    fn create(path: &'a Path, shape: &[usize], precision: Precision) -> Result<Self, maflow::Error> {
        let mut file = WholeFile::create(path)?;
        let header = write_header(&file, shape, precision).map_err(io::Error::other);
        let begun = header.and_then(|header| file.seek(SeekFrom::Start(header)));
        begun.map_err(|source| maflow::Error::Io { action: "write", path: path.to_owned(), source })?;
        Ok(Self { file, path, precision })
    }

    fn push(&mut self, numbers: &[f64]) -> Result<(), maflow::Error> {
        let bytes: Vec<u8> = match self.precision {
            Precision::F32 => numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect(),
            Precision::F64 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        };
        let path = || self.path.to_owned();
        self.file.write_all(&bytes).map_err(|source| maflow::Error::Io { action: "write", path: path(), source })
    }

    fn finish(self) -> Result<(), maflow::Error> {
        self.file.finish()
    }
}

/// Writes NumPy's header for an array of zeros and returns where its numbers begin.
fn write_header(
    file: &File,
    shape: &[usize],
    precision: Precision,
) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let bytes = match precision {
        Precision::F32 => {
            write_zeroed_npy::<f32, _>(file, IxDyn(shape))?;
            4
        }
        Precision::F64 => {
            write_zeroed_npy::<f64, _>(file, IxDyn(shape))?;
            8
        }
    };
    let numbers: usize = shape.iter().product();
    Ok(file.metadata()?.len() - (numbers * bytes) as u64)
}
