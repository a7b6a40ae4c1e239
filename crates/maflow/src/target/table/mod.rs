//! A table of rows of one's own: from a file that a recipe names, or from memory.

mod map;

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasets::Bijection;
use datasets::columns::{ColumnError, Dequantisation, Transform};
use datasets::split::split;
use datasets::table::{Context, Format, ReadOptions, Table as Rows};
use datasets::yardstick::{Gaussian, Independent};
use flow_core::RngKey;
use sha2::{Digest, Sha256};

pub use map::{Given, TableMap};

use super::epochs::Epochs;
use super::{Layout, Samples, Split, Target};
use crate::error::Error;
use crate::files::{hex, write_table};
use crate::recipe::TableTarget;

/// Rows of numbers for training, validation and test, and the map to the flow's coordinates that was fitted to the
/// training rows.
#[derive(Debug)]
pub struct Table {
    map: TableMap,
    training: Part,
    validation: Part,
    test: Part,
    epochs: Epochs,
    digest: String,
    /// Height and width of the picture that a row is.
    picture: Option<[usize; 2]>,
    /// The rows as they came, where no file has them.
    from_memory: Option<Parts>,
}

/// Rows of one purpose.
#[derive(Debug)]
struct Part {
    /// Row-major, in the user's units, without noise.
    points: Vec<f64>,
    /// Encoded, row-major.
    context: Vec<f64>,
    /// What each row counts; empty where all count alike.
    weights: Vec<f64>,
}

/// The rows of a table in three parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// To learn from.
    pub training: Rows,
    /// For choices during training.
    pub validation: Rows,
    /// For final figures.
    pub test: Rows,
}

impl Parts {
    /// Reads the files of a target. Rows that have no file of their own are split off the training file's, by a hash of
    /// their numbers.
    ///
    /// # Errors
    /// Files that cannot be read, or are no tables of these columns.
    pub fn read(target: &TableTarget) -> Result<Self, Error> {
        let read = |path: &Path| Rows::read(path, &read_options(target));
        let all = read(&target.file)?;
        let validation = target.validation.as_deref().map(read).transpose()?;
        let test = target.test.as_deref().map(read).transpose()?;
        Self::of(all, validation, test, target.split_seed)
    }

    /// Splits off what is not given.
    ///
    /// # Errors
    /// [`Error::Argument`] where there are too few rows for three parts.
    pub fn of(all: Rows, validation: Option<Rows>, test: Option<Rows>, seed: u64) -> Result<Self, Error> {
        let parts = split(all.rows(), seed);
        if parts.test.is_empty() || parts.train.len() < 2 {
            return Err(Error::Argument(format!(
                "{} has {} rows, too few to train, validate and test on; give more",
                all.file(),
                all.rows()
            )));
        }
        // Rows of a part that has a file of its own are there to be learned from.
        let mut training = parts.train;
        let mut part = |given: Option<Rows>, rows: Vec<usize>| match given {
            Some(given) => {
                training.extend(rows);
                given
            }
            None => all.take(&rows),
        };
        let (validation, test) = (part(validation, parts.validation), part(test, parts.test));
        training.sort_unstable();
        Ok(Self { training: all.take(&training), validation, test })
    }

    /// The folder of rows in a run, and the names of the files there without their endings.
    const FOLDER: &str = "rows";
    const NAMES: [&str; 3] = ["training", "validation", "test"];

    /// The folder where a run keeps rows that no file has; `None` where it keeps none.
    pub fn folder(run: &Path) -> Option<PathBuf> {
        Some(run.join(Self::FOLDER)).filter(|folder| folder.is_dir())
    }

    /// Keeps the rows in a run: bit for bit as numbers, and as text where there are categories.
    fn write(&self, run: &Path) -> Result<(), Error> {
        let folder = run.join(Self::FOLDER);
        std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        for (rows, name) in [&self.training, &self.validation, &self.test].into_iter().zip(Self::NAMES) {
            let (format, ending) = match rows.require_numbers() {
                Ok(()) => (Format::Safetensors, "safetensors"),
                Err(_) => (Format::Csv, "csv"),
            };
            write_table(&folder.join(format!("{name}.{ending}")), rows, format)?;
        }
        Ok(())
    }

    /// The rows that a run keeps in a folder.
    fn read_kept(folder: &Path) -> Result<Self, Error> {
        let as_written =
            ReadOptions { delimiter: Some(','), decimal: Some('.'), header: Some(true), ..ReadOptions::default() };
        let read = |name: &str| {
            let (text, numbers) = (folder.join(format!("{name}.csv")), folder.join(format!("{name}.safetensors")));
            match text.exists() {
                true => Rows::read(&text, &as_written),
                false => Rows::read(&numbers, &ReadOptions::default()),
            }
        };
        let [training, validation, test] = Self::NAMES.map(read);
        Ok(Self { training: training?, validation: validation?, test: test? })
    }
}

impl Table {
    /// The target of a recipe, with the map that a run has `kept` or, for a new one, one fitted to the training rows.
    /// The rows are those in the `folder` of a run where it keeps any, else those of the recipe's files.
    ///
    /// # Errors
    /// Files that cannot be read; columns that no density can be fitted to.
    pub fn open(target: &TableTarget, seed: u64, kept: Option<TableMap>, folder: Option<&Path>) -> Result<Self, Error> {
        let parts = folder.map_or_else(|| Parts::read(target), Parts::read_kept)?;
        let map = match kept {
            Some(kept) => kept,
            None => {
                let context = Context::fit(&parts.training, &target.given, &target.categories)?;
                let rows = as_they_weigh(&parts.training, target.weights.as_deref(), seed)?;
                let (points, encoded) = (rows.select(&target.columns)?, context.encode(&rows)?);
                let given = Given { context: &context, encoded: &encoded, regression: target.regression };
                TableMap::fit_given(&points, &transforms(target)?, given, target.whitening, seed)?
            }
        };
        Ok(Self::new(map, &parts, target.weights.as_deref(), seed)?.of_pictures(target.picture))
    }

    /// The same with rows that are pictures of this height and width, where they are.
    #[must_use]
    pub fn of_pictures(self, picture: Option<[usize; 2]>) -> Self {
        Self { picture, ..self }
    }

    /// From rows that were split, their map and, where they do not all count alike, the column that says what each
    /// counts. Epochs are shuffled by `seed`.
    ///
    /// # Errors
    /// Rows that the map does not take; weights that are negative, or all zero.
    pub fn new(map: TableMap, parts: &Parts, weights: Option<&str>, seed: u64) -> Result<Self, Error> {
        let part = |rows: &Rows| {
            let (points, context) = map.split(rows)?;
            let weights = weights.map(|name| weights_of(rows, name)).transpose()?.unwrap_or_default();
            Ok::<_, Error>(Part { points, context, weights })
        };
        let [training, validation, test] = [&parts.training, &parts.validation, &parts.test].map(part);
        let (training, validation, test) = (training?, validation?, test?);
        let mut hash = Sha256::new();
        for part in [&training, &validation, &test] {
            hash.update(part.points.len().to_le_bytes());
            part.points
                .iter()
                .chain(&part.context)
                .chain(&part.weights)
                .for_each(|value| hash.update(value.to_le_bytes()));
        }
        let digest = hex(&hash.finalize());
        let epochs = Epochs::new(parts.training.rows(), seed).weighted(&training.weights);
        Ok(Self { map, training, validation, test, epochs, digest, picture: None, from_memory: None })
    }

    /// The same with the rows that it was made of to be kept by a run, where no file has them.
    #[must_use]
    pub fn kept_by_run(self, parts: Parts) -> Self {
        Self { from_memory: Some(parts), ..self }
    }

    /// Keeps in a run what that needs of the table later: the map, and rows that no file has.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, run: &Path) -> Result<(), Error> {
        self.from_memory.as_ref().map_or(Ok(()), |parts| parts.write(run))?;
        self.map.write(run)
    }

    /// The target of rows in memory, `rows × names.len()` row by row: checked, split, and transformed by the stated
    /// rules of [`datasets::columns::plan`].
    ///
    /// # Errors
    /// Rows that no density can be fitted to.
    pub fn of_rows(names: &[impl AsRef<str>], rows: Vec<f64>, seed: u64) -> Result<Self, Error> {
        let parts = Parts::of(Rows::new(names, rows)?, None, None, seed)?;
        let transforms: Vec<Transform> = datasets::columns::plan(&parts.training, &[])?.transforms;
        let map = TableMap::fit(&parts.training, &transforms, Default::default(), seed)?;
        Self::new(map, &parts, None, seed)
    }

    /// The map, which a run keeps.
    pub fn map(&self) -> &TableMap {
        &self.map
    }

    /// The noise that makes a density of values that are steps.
    pub fn noise(&self) -> &Dequantisation {
        &self.map.preparation().dequantisation
    }

    /// Rows in the user's units with the noise that figures see.
    fn noisy(&self, rows: &[f64]) -> Vec<f64> {
        let mut rows = rows.to_vec();
        self.noise().keyed(&mut rows);
        rows
    }

    /// Negative log-likelihoods, in nats per row and the user's units, of the first rows of a split: by a Gaussian of
    /// full covariance and by independent columns, both fitted to the training rows. No Gaussian is fitted where its
    /// covariance is singular. Of a conditional density the Gaussian is of points and contexts together, divided by
    /// that of the contexts; independent columns know nothing of what is given.
    ///
    /// # Errors
    /// Columns that independent densities cannot be fitted to.
    pub fn yardsticks(&self, split: Split, rows: usize) -> Result<[Option<f64>; 2], Error> {
        let n = self.dimension();
        let training = self.noisy(&self.training.points);
        let points = self.noisy(&self.part(split).points[..rows * n]);
        let before = self.training.weights();
        let here = self.part(split).weights().map(|weights| &weights[..rows]);
        let weights = [before, here];
        let gaussian = match self.context_dim() {
            0 => gaussian(&training, &points, n, weights)?,
            _ => {
                let context = self.map.context();
                let (before, k) = (context.free(&self.training.context), context.free_width());
                let here = &context.free(&self.part(split).context)[..rows * k];
                let together = |points: &[f64], contexts: &[f64]| beside(points, n, contexts, k);
                let joint = gaussian(&together(&training, &before), &together(&points, here), n + k, weights)?;
                let given = gaussian(&before, here, k, weights)?;
                joint.zip(given).map(|(joint, given)| joint - given)
            }
        };
        let independent = Independent::fit(&training, n, before)?.mean_log_density(&points, here);
        Ok([gaussian, Some(-independent)])
    }

    fn part(&self, split: Split) -> &Part {
        match split {
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// Rows of a part with noise, in the flow's coordinates, and the context of each behind it.
    fn fill(
        &self,
        part: &Part,
        rows: impl Iterator<Item = usize>,
        out: &mut [f64],
        mut noise: impl FnMut(usize, &mut [f64]),
    ) {
        let (n, k) = (self.dimension(), self.context_dim());
        let count = out.len() / (n + k);
        let mut points = Vec::with_capacity(count * n);
        for (row, out) in rows.zip(out.chunks_exact_mut(n + k)) {
            points.extend(&part.points[row * n..][..n]);
            out[n..].copy_from_slice(&part.context[row * k..][..k]);
        }
        points.chunks_exact_mut(n).enumerate().for_each(|(place, point)| noise(place, point));
        let context: Vec<f64> = out.chunks_exact(n + k).flat_map(|row| &row[n..]).copied().collect();
        self.map.preparation().bijection.forward(&mut points, &context, &mut vec![0.0; count]);
        out.chunks_exact_mut(n + k)
            .zip(points.chunks_exact(n))
            .for_each(|(out, point)| out[..n].copy_from_slice(point));
    }
}

/// Mean negative log-likelihood of rows of n numbers under a Gaussian that is fitted to others, both by their weights;
/// none where their covariance is singular.
fn gaussian(
    training: &[f64],
    rows: &[f64],
    n: usize,
    [before, here]: [Option<&[f64]>; 2],
) -> Result<Option<f64>, Error> {
    match Gaussian::fit(training, n, before) {
        Ok(gaussian) => Ok(Some(-gaussian.mean_log_density(rows, here))),
        Err(ColumnError::Singular { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Part {
    fn weights(&self) -> Option<&[f64]> {
        (!self.weights.is_empty()).then_some(&self.weights)
    }
}

/// Rows as often as they weigh, where a column of them says so: what maps are fitted to.
///
/// # Errors
/// Weights that are negative, or all zero.
pub fn as_they_weigh<'a>(rows: &'a Rows, weights: Option<&str>, seed: u64) -> Result<Cow<'a, Rows>, Error> {
    let Some(name) = weights else { return Ok(Cow::Borrowed(rows)) };
    let epochs = Epochs::new(rows.rows(), seed).weighted(&weights_of(rows, name)?);
    let mut places: Vec<usize> = epochs.rows(0..rows.rows() as u64).into_iter().map(|row| row as usize).collect();
    places.sort_unstable();
    Ok(Cow::Owned(rows.take(&places)))
}

/// The weights of rows in a column.
fn weights_of(rows: &Rows, name: &str) -> Result<Vec<f64>, Error> {
    let place = rows.position(name)?;
    rows.select(&[name])?.require_numbers()?;
    let weights: Vec<f64> = rows.column(place).collect();
    let refuse = |what: String| Err(Error::Argument(format!("{}, column {name:?}: {what}", rows.file())));
    match weights.iter().position(|weight| *weight < 0.0) {
        Some(row) => {
            refuse(format!("row {} weighs {}, less than nothing; leave the row out", rows.number(row), weights[row]))
        }
        None if weights.iter().all(|weight| *weight == 0.0) => {
            refuse("no row weighs anything; give weights".to_owned())
        }
        None => Ok(weights),
    }
}

/// Rows of n numbers beside rows of k.
fn beside(left: &[f64], n: usize, right: &[f64], k: usize) -> Vec<f64> {
    left.chunks_exact(n).zip(right.chunks_exact(k)).flat_map(|(left, right)| [left, right].concat()).collect()
}

impl Target for Table {
    fn dimension(&self) -> usize {
        self.map.dimension()
    }

    fn context_dim(&self) -> usize {
        self.map.context().width()
    }

    fn layout(&self) -> Layout {
        match self.picture {
            Some([height, width]) => Layout::Picture(height, width),
            None => Layout::Vector(self.dimension()),
        }
    }

    fn bijection(&self) -> Option<Arc<dyn Bijection>> {
        Some(self.map.bijection())
    }

    fn samples(&self) -> Option<&dyn Samples> {
        Some(self)
    }

    /// Of integers alone, whose noise fills a unit each: an upper bound of the bits that a number takes.
    fn bits_per_dim(&self, _rows: &[f64], losses: &[f64]) -> Option<Vec<f64>> {
        let whole = self.map.preparation().transforms().iter().all(|transform| transform.dequantise == Some(1.0));
        let nats_per_bit = self.dimension() as f64 * std::f64::consts::LN_2;
        whole.then(|| losses.iter().map(|loss| loss / nats_per_bit).collect())
    }

    fn table(&self) -> Option<&Table> {
        Some(self)
    }
}

impl Samples for Table {
    fn training_rows(&self) -> Option<usize> {
        Some(self.training.points.len() / self.dimension())
    }

    fn held_out_rows(&self, split: Split) -> Option<usize> {
        Some(self.part(split).points.len() / self.dimension())
    }

    fn weights(&self, split: Split) -> Option<&[f64]> {
        self.part(split).weights()
    }

    /// Training rows get fresh noise every time: equal rows must not fall on one point.
    fn training(&self, key: RngKey, seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        let places = seen + rows.start as u64..seen + rows.end as u64;
        let indices = self.epochs.rows(places).into_iter().map(|index| index as usize);
        self.fill(&self.training, indices, out, |place, point| {
            self.noise().fresh(point, &mut key.row((rows.start + place) as u64));
        });
        Ok(())
    }

    fn held_out(
        &self,
        split: Split,
        _key: RngKey,
        first: usize,
        rows: Range<usize>,
        out: &mut [f64],
    ) -> Result<(), Error> {
        let rows = first + rows.start..first + rows.end;
        self.fill(self.part(split), rows, out, |_, point| self.noise().keyed(point));
        Ok(())
    }

    fn digest(&self) -> Option<String> {
        Some(self.digest.clone())
    }
}

/// How the files of a table are read.
pub fn read_options(target: &TableTarget) -> ReadOptions {
    ReadOptions {
        delimiter: target.delimiter,
        decimal: target.decimal,
        header: target.header,
        array: target.array.clone(),
        columns: Some([&target.columns[..], &target.given, target.weights.as_slice()].concat()),
        drop_missing: target.drop_missing,
        ..ReadOptions::default()
    }
}

/// The transform of each column.
///
/// # Errors
/// [`Error::Argument`] for words that are none.
fn transforms(target: &TableTarget) -> Result<Vec<Transform>, Error> {
    let parse = |text: &String| text.parse().map_err(|error| Error::Argument(format!("target.transforms: {error}")));
    target.transforms.iter().map(parse).collect()
}
