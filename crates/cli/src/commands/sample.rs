//! `maflow sample`: samples of a run as numbers or as a picture.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};

use datasets::table::{Format, Table};
use flow_core::{Flow, Precision, Space};
use maflow::backend::{self, Engine, Work};
use maflow::files::{write_whole, write_whole_with};
use maflow::kept::Units;
use maflow::monitor::Monitor;
use maflow::recipe::TargetKind;
use maflow::target::TableMap;
use maflow::{sampling, target, trained};
use ndarray::IxDyn;
use ndarray_npy::write_zeroed_npy;

use super::rows;
use crate::error::CliError;
use crate::plan::{Sample, SampleFormat};
use crate::progress::Task;
use crate::terminal::Terminal;
use crate::{interrupt, output, pictures, plots};

/// Pictures that one PNG can show.
const MOST_TILES: usize = 1024;
/// Points that one PNG can show.
const MOST_POINTS: usize = 1_000_000;

/// Samples as planned.
pub fn run(plan: Sample) -> Result<(), CliError> {
    if matches!(plan.format, SampleFormat::Npy) {
        // So that no part of a file is left behind; a picture has none before its end.
        interrupt::listen()?;
    }
    let (compute, precision, out) = (plan.compute, plan.recipe.train.precision, plan.out.display().to_string());
    plan.require_few()?;
    let what = backend::run(&compute, precision, plan)?;
    output::line(&format!("{out}: {what}"))
}

impl Work for Sample {
    type Output = String;

    fn run<E: Engine>(self, engine: &E) -> Result<String, maflow::Error> {
        let terminal = Terminal::default();
        let trained = trained::load(engine, &self.recipe, &self.run, &terminal)?;
        let integrator = trained.integrator(&self.recipe)?;
        let flow = trained.flow(engine.space(), &self.recipe, &*integrator);
        let units = target::units(&self.recipe, trained.kept.clone())?;
        match self.format {
            SampleFormat::Npy => self.numbers(&flow, &units, &terminal),
            SampleFormat::Table(format) => self.table(&flow, &units, trained.kept.table.as_ref(), format),
            SampleFormat::Png => self.picture(&flow, &units),
        }
    }
}

impl Sample {
    /// Refuses pictures of more than they can show.
    fn require_few(&self) -> Result<(), CliError> {
        let shape = self.recipe.target.layout().shape();
        if let ([n], SampleFormat::Png) = (&shape[..], self.format)
            && *n != 2
        {
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
    fn numbers<S: Space>(
        &self,
        flow: &Flow<'_, S>,
        units: &Units,
        monitor: &dyn Monitor,
    ) -> Result<String, maflow::Error> {
        let precision = flow.space.precision();
        let shape = [vec![self.count], self.recipe.target.layout().shape()].concat();
        let mut failed = None;
        let written = write_whole_with(&self.out, |file| {
            let header = write_header(file, &shape, precision).map_err(std::io::Error::other)?;
            file.seek(SeekFrom::Start(header))?;
            let mut file = BufWriter::new(file);
            let mut task = Task::start("sampling", sampling::batches(self.count));
            for i in 0..sampling::batches(self.count) {
                let samples = match monitor.cancelled() {
                    true => Err(maflow::Error::Cancelled),
                    false => sampling::batch(flow, self.recipe.train.seed, i, self.count),
                };
                let mut samples = samples.map_err(|error| {
                    failed = Some(error);
                    std::io::Error::other("no more samples")
                })?;
                units.to_user(&mut samples);
                for value in samples {
                    match precision {
                        Precision::F32 => file.write_all(&(value as f32).to_le_bytes())?,
                        Precision::F64 => file.write_all(&value.to_le_bytes())?,
                    }
                }
                task.update(i + 1, "");
            }
            task.finish();
            file.flush()
        });
        match failed {
            Some(error) => return Err(error),
            None => written?,
        }
        Ok(format!("samples of shape {shape:?} in {}", self.meaning()))
    }

    /// What the numbers are.
    fn meaning(&self) -> &'static str {
        match self.recipe.target {
            TargetKind::Mnist(_) => "logit space (pixels are 1/(1 + exp(-x)))",
            TargetKind::Ising(_) => "continuous variables (spins by p(s = 1 | x) = 1/(1 + exp(-2x)))",
            TargetKind::Phi4(_) => "lattice fields",
            TargetKind::Toy(_) => "the plane",
            TargetKind::Table(_) => "the units of the data",
            TargetKind::Own(_) => "the target's own coordinates",
        }
    }

    /// Writes a table with the names of the data.
    fn table<S: Space>(
        &self,
        flow: &Flow<'_, S>,
        units: &Units,
        map: Option<&TableMap>,
        format: Format,
    ) -> Result<String, maflow::Error> {
        let mut samples = sampling::all(flow, self.recipe.train.seed, self.count)?;
        units.to_user(&mut samples);
        let table = match map {
            Some(map) => map.table(samples)?,
            None => Table::new(&rows::numbered("x", flow.potential.dim()), samples)?,
        };
        rows::write(&table, &self.out, format)?;
        Ok(format!("{} samples of {} in {}", self.count, table.names().join(", "), self.meaning()))
    }

    fn picture<S: Space>(&self, flow: &Flow<'_, S>, units: &Units) -> Result<String, maflow::Error> {
        let mut samples = sampling::all(flow, self.recipe.train.seed, self.count)?;
        units.to_user(&mut samples);
        let columns = (self.count as f64).sqrt().ceil() as usize;
        let png = match pictures::tiles(&self.recipe, &samples, columns) {
            Some(tiles) => plots::png(&tiles)?,
            None => plots::png(&pictures::scatter(&self.recipe, &samples))?,
        };
        write_whole(&self.out, &png)?;
        Ok(format!("{} samples", self.count))
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
