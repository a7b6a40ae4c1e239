//! `maflow score` and `maflow transform`: what a run says of the rows of a file.

use std::io::{self, Write};
use std::path::Path;

use datasets::table::{Block, Format, ReadOptions, Reader, Table};
use maflow::files::write_whole_with;
use maflow::kept::Kept;
use maflow::run::{Found, Run, Wanted};
use maflow::target::TableMap;

use crate::error::CliError;
use crate::output;
use crate::plan::Rows;

/// Rows that are worked on at a time.
const BLOCK: usize = 4096;

/// Finds as planned.
pub fn run(plan: Rows) -> Result<(), CliError> {
    let n = plan.recipe.dimension();
    let map = Kept::read(&plan.run, &plan.recipe)?.table;
    let data: Vec<String> = match &map {
        Some(map) => map.names().into_iter().map(str::to_owned).collect(),
        None => numbered("x", n),
    };
    let columns = match plan.wanted {
        Wanted::LogProb => vec!["log_density".to_owned(), "integration_error".to_owned()],
        Wanted::Base => numbered("z", n),
        Wanted::FromBase => data.clone(),
    };
    // Columns of data are found by their names; a file without names has them in order.
    let by_name = map.is_some() && plan.wanted != Wanted::FromBase;
    let options = ReadOptions { columns: by_name.then_some(data), ..plan.read };
    let mut reader = Reader::open(&plan.file, &options).map_err(maflow::Error::from)?;
    let found_columns = reader.columns().len();
    if found_columns != n {
        return Err(CliError::Usage(format!(
            "{} has {found_columns} columns, but the run has {n} numbers per row; leave the others out of the file",
            plan.file.display()
        )));
    }
    let run = Run::create(plan.run, plan.recipe).with_compute(plan.compute);
    let mut all = Vec::new();
    let mut direct = plan.out.is_none().then(|| io::stdout().lock());
    if let Some(out) = &mut direct {
        writeln!(out, "{}", columns.join(",")).map_err(CliError::stdout)?;
    }
    let mut told = Ok(());
    let (wanted, file) = (plan.wanted, plan.file);
    let mut next = || {
        let Some(block) = reader.next_block(BLOCK)? else { return Ok(None) };
        if let Some(map) = map.as_ref().filter(|_| by_name) {
            inside(map, &block, &file)?;
        }
        Ok(Some(block.values))
    };
    let mut take = |found: Found| {
        let numbers = side_by_side(wanted, found);
        match &mut direct {
            None => all.extend(numbers),
            Some(out) => {
                for row in numbers.chunks_exact(columns.len()) {
                    let cells: Vec<String> = row.iter().map(|value| format!("{value:?}")).collect();
                    if let Err(error) = writeln!(out, "{}", cells.join(",")) {
                        told = Err(CliError::stdout(error));
                        return Err(maflow::Error::Cancelled);
                    }
                }
            }
        }
        Ok(())
    };
    let streamed = run.stream(wanted, &mut next, &mut take);
    told?;
    streamed?;
    reader.notes().iter().for_each(|note| output::note(note));
    let Some((path, format)) = plan.out else { return Ok(()) };
    let count = all.len() / columns.len();
    let table = match (&map, wanted) {
        (Some(map), Wanted::FromBase) => map.table(all)?,
        _ => Table::new(&columns, all).map_err(maflow::Error::from)?,
    };
    write(&table, &path, format)?;
    output::line(&format!("{}: {count} rows of {}", path.display(), columns.join(", ")))
}

/// Refuses rows that the maps of the columns do not take.
fn inside(map: &TableMap, block: &Block, file: &Path) -> Result<(), maflow::Error> {
    let Some((row, column)) = map.preparation().columns.first_outside(&block.values) else { return Ok(()) };
    Err(maflow::Error::Argument(format!(
        "{}: row {} has {:?} = {}, where the density of the run is not defined ({}); leave the row out",
        file.display(),
        block.numbers[row],
        map.names()[column],
        block.values[row * map.dimension() + column],
        map.preparation().transforms()[column]
    )))
}

/// What was found, one row of numbers for each row.
fn side_by_side(wanted: Wanted, found: Found) -> Vec<f64> {
    match wanted {
        Wanted::LogProb => {
            found.values.iter().zip(&found.integration_errors).flat_map(|(value, error)| [*value, *error]).collect()
        }
        Wanted::Base | Wanted::FromBase => found.values,
    }
}

/// Names of columns that have none of their own.
pub fn numbered(letter: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{letter}{i}")).collect()
}

/// Writes a table whole or not at all.
pub fn write(table: &Table, path: &Path, format: Format) -> Result<(), maflow::Error> {
    write_whole_with(path, |file| {
        let mut out = io::BufWriter::new(file);
        table.write(format, &mut out).map_err(io::Error::other)?;
        out.flush()
    })
}
