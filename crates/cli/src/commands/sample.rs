//! `maflow sample`: samples of a run as numbers or as a picture.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};

use datasets::Standardisation;
use flow_core::{Flow, Precision, Space};
use ndarray::IxDyn;
use ndarray_npy::write_zeroed_npy;

use crate::engine::{self, Engine, Work};
use crate::error::CliError;
use crate::plan::{Sample, SampleFormat};
use crate::progress::Task;
use crate::{interrupt, model, output, pictures, plots, sampling, write};

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
    let compute = plan.compute;
    let precision = plan.config.train.precision;
    engine::run(&compute, precision, plan)
}

impl Work for Sample {
    type Output = ();

    fn run<E: Engine>(self, engine: &E) -> Result<(), CliError> {
        let trained = model::load(engine, &self.config, &self.run)?;
        let integrator = trained.integrator(&self.config)?;
        let flow = trained.flow(engine.space(), &self.config, &*integrator);
        let what = match self.format {
            SampleFormat::Npy => self.numbers(&flow, &trained.standardisation)?,
            SampleFormat::Png => self.picture(&flow, &trained.standardisation)?,
        };
        output::line(&format!("{}: {what}", self.out.display()))
    }
}

impl Sample {
    /// Writes the numbers batch by batch, so that memory does not grow with their count.
    fn numbers<S: Space>(&self, flow: &Flow<'_, S>, map: &Standardisation) -> Result<String, CliError> {
        let precision = flow.space.precision();
        let shape = [vec![self.count], sampling::shape(&self.config)].concat();
        write::whole_file_with(&self.out, |file| {
            let failed = |error: std::io::Error| CliError::file("write", &self.out, error);
            let header = write_header(file, &shape, precision).map_err(|e| failed(std::io::Error::other(e)))?;
            file.seek(SeekFrom::Start(header)).map_err(failed)?;
            let mut file = BufWriter::new(file);
            let mut task = Task::start("sampling", sampling::batches(self.count));
            for i in 0..sampling::batches(self.count) {
                if interrupt::requested() {
                    return Err(CliError::interrupted());
                }
                let mut samples = sampling::batch(flow, self.config.train.seed, i, self.count)?;
                sampling::to_physical(&self.config, map, &mut samples)?;
                for value in samples {
                    match precision {
                        Precision::F32 => file.write_all(&(value as f32).to_le_bytes()).map_err(failed)?,
                        Precision::F64 => file.write_all(&value.to_le_bytes()).map_err(failed)?,
                    }
                }
                task.update(i + 1, "");
            }
            task.finish();
            file.flush().map_err(failed)
        })?;
        Ok(format!("samples of shape {shape:?} in {}", self.meaning()))
    }

    /// What the numbers are.
    fn meaning(&self) -> &'static str {
        use crate::config::Target;
        match self.config.target {
            Target::Mnist(_) => "logit space (pixels are 1/(1 + exp(-x)))",
            Target::Ising(_) => "continuous variables (spins by p(s = 1 | x) = 1/(1 + exp(-2x)))",
            Target::Phi4(_) => "lattice fields",
            Target::Toy(_) => "the plane",
        }
    }

    fn picture<S: Space>(&self, flow: &Flow<'_, S>, map: &Standardisation) -> Result<String, CliError> {
        let tiled = sampling::shape(&self.config).len() == 2;
        let most = if tiled { MOST_TILES } else { MOST_POINTS };
        if self.count > most {
            return Err(CliError::Usage(format!(
                "a picture shows at most {most} samples of this run, not {}; lower --count, or write numbers to a .npy file",
                self.count
            )));
        }
        let mut samples = sampling::all(flow, self.config.train.seed, self.count)?;
        sampling::to_physical(&self.config, map, &mut samples)?;
        let columns = (self.count as f64).sqrt().ceil() as usize;
        let png = match sampling::tiles(&self.config, &samples, columns) {
            Some(tiles) => plots::png(&tiles)?,
            None => plots::png(&pictures::scatter(&self.config, &samples))?,
        };
        write::whole_file(&self.out, &png)?;
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
