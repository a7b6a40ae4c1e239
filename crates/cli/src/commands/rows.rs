//! `maflow score` and `maflow transform`: what a run says of the rows of a file.

use std::io::{self, BufWriter};
use std::path::Path;

use datasets::table::{Column, Context, Format, Kind, ReadOptions, Reader, Storage, TableError, Writer};
use maflow::files::WholeFile;
use maflow::kept::Kept;
use maflow::run::{Found, RowQuantity, Rows};
use maflow::target::TableMap;

use crate::error::CliError;
use crate::output;
use crate::place::Place;
use crate::plan::Rows as RowsPlan;

/// Rows that are worked on at a time.
const BLOCK: usize = 4096;

/// Computes as planned, together with all processes. Each reads all rows, and the first one writes.
pub fn run(plan: RowsPlan, place: &Place) -> Result<(), CliError> {
    let plan = RowsPlan { run: place.shared(plan.run), ..plan };
    let (run, n) = (&plan.run, plan.run.recipe().dimension());
    let kept = Kept::read(run.path(), run.recipe())?;
    let (context, map) = (kept.context(run.recipe()), kept.table);
    let columns = match (plan.wanted, &map) {
        (RowQuantity::LogProb, _) => {
            // Where the Laplacian is estimated, ln p is not exact.
            let probed = run.recipe().probes().map(|_| "probe_error");
            real(["log_density", "integration_error"].into_iter().chain(probed).map(str::to_owned).collect())
        }
        (RowQuantity::Base, _) => real(numbered("z", n)),
        (RowQuantity::FromBase, Some(map)) => map.columns(),
        (RowQuantity::FromBase, None) => real(numbered("x", n)),
    };
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let mut source = Source::open(&plan, map.as_ref(), context, n)?;
    let mut file = place.by_first(|| plan.out.as_ref().map(|(path, _)| WholeFile::create(path)).transpose())?.flatten();
    let (format, out): (_, Box<dyn io::Write + '_>) = match (&plan.out, &mut file) {
        (Some((_, format)), Some(file)) => (*format, Box::new(BufWriter::new(&mut **file))),
        (None, _) if place.is_first() => (Format::Csv, Box::new(io::stdout().lock())),
        _ => (Format::Csv, Box::new(io::sink())),
    };
    let written = Writer::new(columns, format, out)
        .map_err(maflow::Error::from)
        .and_then(|writer| write_found(&plan, place, &mut source, writer));
    let count = match written {
        Err(maflow::Error::Table(TableError::Write(error))) if plan.out.is_none() => {
            return Err(CliError::stdout(error));
        }
        written => written?,
    };
    place.by_first(|| file.map_or(Ok(()), WholeFile::finish))?;
    source.rows.notes().iter().for_each(|note| output::note(note));
    match &plan.out {
        Some((path, _)) => output::line(&format!("{}: {count} rows of {}", path.display(), output::listed(&names))),
        None => Ok(()),
    }
}

/// Computes what is wanted of all rows, and writes it block by block. Returns the number of rows.
fn write_found<W: io::Write>(
    plan: &RowsPlan,
    place: &Place,
    source: &mut Source<'_>,
    mut writer: Writer<W>,
) -> Result<usize, maflow::Error> {
    let (wanted, map) = (plan.wanted, source.map);
    let mut take = |found: Found| {
        let numbers = side_by_side(wanted, found);
        match map.filter(|_| wanted == RowQuantity::FromBase) {
            Some(map) => Ok(writer.push(map.table(numbers)?.values())?),
            None => Ok(writer.push(&numbers)?),
        }
    };
    plan.run.stream(wanted, &mut || source.next(), &mut take)?;
    place.agreed(writer.finish().map_err(maflow::Error::from))
}

/// Columns of real numbers.
fn real(names: Vec<String>) -> Vec<Column> {
    names.into_iter().map(|name| Column { name, kind: Kind::Real, storage: Storage::Float(8) }).collect()
}

/// The rows of a file, each with what the density is conditional on.
struct Source<'a> {
    rows: Reader,
    /// The file of what is given, where it is another.
    given: Option<Reader>,
    /// The temperature of all rows, where one was typed.
    temperature: Option<f64>,
    context: Context,
    map: Option<&'a TableMap>,
    wanted: RowQuantity,
    file: &'a Path,
}

impl<'a> Source<'a> {
    /// Opens the files. Columns of data are found by their names; base coordinates, and columns of a run without names,
    /// are there in order.
    fn open(plan: &'a RowsPlan, map: Option<&'a TableMap>, context: Context, n: usize) -> Result<Self, CliError> {
        let (wanted, given) = (plan.wanted, context.names());
        let of_given = plan.given.as_deref();
        let temperature = of_given.and_then(|path| temperature(path, &context));
        let of_given = of_given.filter(|_| temperature.is_none());
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let beside = if plan.given.is_none() { &given[..] } else { &[] };
        let columns =
            map.filter(|_| wanted != RowQuantity::FromBase).map(|map| owned(&[&map.names()[..], beside].concat()));
        let open = |path: &Path, columns| {
            let options = ReadOptions { columns, ..plan.read.clone() };
            Reader::open(path, &options).map_err(maflow::Error::from)
        };
        let rows = open(&plan.file, columns)?;
        let of_given = of_given.map(|path| open(path, Some(owned(&given)))).transpose()?;
        let found = rows.columns().iter().filter(|column| !beside.contains(&column.name.as_str())).count();
        if found != n {
            return Err(CliError::Usage(format!(
                "{} has {found} columns, but the run has {n} numbers per row; leave the others out of the file",
                plan.file.display()
            )));
        }
        Ok(Self { rows, given: of_given, temperature, context, map, wanted, file: &plan.file })
    }

    /// The next rows with their contexts.
    fn next(&mut self) -> Result<Option<Rows>, maflow::Error> {
        let Some(block) = self.rows.next_block(BLOCK)? else {
            return match self.given.as_mut().map(|given| given.next_block(1)).transpose()?.flatten() {
                Some(_) => Err(uneven(self.file)),
                None => Ok(None),
            };
        };
        let count = block.numbers.len();
        if self.map.is_none() && self.given.is_none() && (self.context.width() == 0 || self.temperature.is_some()) {
            let context = self.temperature.map(|temperature| vec![temperature; count]).unwrap_or_default();
            return Ok(Some(Rows { points: block.values, context }));
        }
        let table = self.rows.table(block);
        let given = match &mut self.given {
            None => None,
            Some(reader) => {
                let block = reader.next_block(count)?.filter(|block| block.numbers.len() == count);
                Some(reader.table(block.ok_or_else(|| uneven(self.file))?))
            }
        };
        let context = self.context.encode(given.as_ref().unwrap_or(&table))?;
        let map = self.map.filter(|_| self.wanted != RowQuantity::FromBase);
        let names = match map {
            None => {
                let given = self.context.names();
                table.names().into_iter().filter(|name| self.given.is_some() || !given.contains(name)).collect()
            }
            Some(map) => map.names(),
        };
        let points = table.select(&names)?;
        map.map_or(Ok(()), |map| map.require_inside(&points))?;
        Ok(Some(Rows { points: points.values().to_vec(), context }))
    }
}

/// The column of what the density of a range of temperatures is conditional on.
pub const TEMPERATURE: &str = "temperature";

/// The temperature that was typed in place of a file of them.
pub fn temperature(typed: &Path, context: &Context) -> Option<f64> {
    let one = context.names() == [TEMPERATURE] && !typed.exists();
    typed.to_str().filter(|_| one)?.parse().ok()
}

fn uneven(file: &Path) -> maflow::Error {
    maflow::Error::Argument(format!(
        "the file of --given has not as many rows as {}; give one row of it for every row",
        file.display()
    ))
}

/// What was found, one row of numbers for each row.
fn side_by_side(wanted: RowQuantity, found: Found) -> Vec<f64> {
    match wanted {
        RowQuantity::LogProb => {
            let of_row = |row: usize| {
                let probed = found.probe_errors.get(row).copied();
                [found.values[row], found.integration_errors[row]].into_iter().chain(probed)
            };
            (0..found.values.len()).flat_map(of_row).collect()
        }
        RowQuantity::Base | RowQuantity::FromBase => found.values,
    }
}

/// Names of columns that have none of their own.
pub fn numbered(letter: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{letter}{i}")).collect()
}
