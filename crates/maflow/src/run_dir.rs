//! The run directory: `config.toml`, `metrics.csv`, `log.txt`, `checkpoints/`, `plots/`, and the lock that guards them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use datasets::whole_file::{PARTIAL, folder_of, partial};

use crate::error::Error;
use crate::files::write_whole;
use crate::recipe::{Recipe, Setting};
use crate::recipes;

/// Where runs go when no directory is named.
pub const RUNS: &str = "runs";

/// A run directory held by this process: nobody else trains in it while this value lives.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Makes a new run in `path`, which must be free: absent or an empty folder.
    ///
    /// # Errors
    /// When there is something already, or it cannot be written.
    pub fn create(path: &Path, recipe: &Recipe) -> Result<Self, Error> {
        require_free(path)?;
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        Self::fill(path, recipe)
    }

    /// As [`RunDir::create`], with files that `fill` writes: the run is there with them, or not at all.
    ///
    /// # Errors
    /// As [`RunDir::create`], and those of `fill`.
    pub fn create_whole(
        path: &Path,
        recipe: &Recipe,
        fill: impl FnOnce(&Self) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        require_free(path)?;
        // What is renamed onto an empty folder takes its place, though not that of a link to one.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let parent = folder_of(&path);
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        let folder = partial(0o755).tempdir_in(parent).map_err(Error::io("create", &path))?;
        let run = Self::fill(folder.path(), recipe)?;
        fill(&run)?;
        fs::rename(folder.path(), &path).map_err(Error::io("create", &path))?;
        // It is no longer where it would be removed.
        let _ = folder.keep();
        Ok(Self { path, ..run })
    }

    /// Makes a new run in `base/NAME`, or in the first free one of `base/NAME-2`, ... after all runs of that name.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create_next(base: &Path, recipe: &Recipe) -> Result<Self, Error> {
        fs::create_dir_all(base).map_err(Error::io("create", base))?;
        let first = numbers(base, &recipe.name).max().map_or(1, |latest| latest + 1);
        for path in (first..).map(|number| numbered(base, &recipe.name, number)) {
            // Making the folder is what claims the name: two processes never get the same one.
            match fs::create_dir(&path) {
                Ok(()) => return Self::fill(&path, recipe),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", path)(error)),
            }
        }
        unreachable!("the numbered names do not end")
    }

    /// Opens an existing run for more training.
    ///
    /// # Errors
    /// When it is no run, or another process trains in it.
    pub fn resume(path: &Path) -> Result<Self, Error> {
        require_run(path)?;
        let run = Self { path: path.to_owned(), _lock: lock(path)? };
        run.make_folders()?;
        run.remove_partial_files();
        Ok(run)
    }

    fn fill(path: &Path, recipe: &Recipe) -> Result<Self, Error> {
        let run = Self { path: path.to_owned(), _lock: lock(path)? };
        run.make_folders()?;
        run.write_recipe(recipe)?;
        Ok(run)
    }

    fn make_folders(&self) -> Result<(), Error> {
        for folder in [self.checkpoints(), self.plots()] {
            fs::create_dir_all(&folder).map_err(Error::io("create", folder))?;
        }
        Ok(())
    }

    /// Temporary files of a process that was killed while writing. What cannot be removed does no harm.
    fn remove_partial_files(&self) {
        for folder in [self.path.clone(), self.checkpoints(), self.plots()] {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }

    /// Replaces `config.toml`.
    ///
    /// # Errors
    /// When it cannot be written; the old one stays.
    pub fn write_recipe(&self, recipe: &Recipe) -> Result<(), Error> {
        let text =
            toml::to_string(recipe).map_err(|e| Error::Failed(format!("cannot write the recipe as TOML: {e}")))?;
        write_whole(&config_file(&self.path), text.as_bytes())
    }

    /// Adds a line, with the time of the system's clock, to `log.txt`. Nothing else knows of that clock, which may be
    /// set back.
    ///
    /// # Errors
    /// When it cannot be written.
    #[expect(clippy::disallowed_methods, reason = "a line of a log is found again by the time of day")]
    pub fn log(&self, line: &str) -> Result<(), Error> {
        let path = self.path.join("log.txt");
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{now} {line}\n").as_bytes()))
            .map_err(Error::io("write", path))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `checkpoints/`.
    pub fn checkpoints(&self) -> PathBuf {
        checkpoints(&self.path)
    }

    /// `plots/`.
    pub fn plots(&self) -> PathBuf {
        plots(&self.path)
    }

    /// `metrics.csv`.
    pub fn metrics(&self) -> PathBuf {
        metrics(&self.path)
    }
}

/// `checkpoints/` of the run in `path`.
pub fn checkpoints(path: &Path) -> PathBuf {
    path.join("checkpoints")
}

/// `plots/` of the run in `path`.
pub fn plots(path: &Path) -> PathBuf {
    path.join("plots")
}

/// `metrics.csv` of the run in `path`.
pub fn metrics(path: &Path) -> PathBuf {
    path.join("metrics.csv")
}

fn config_file(path: &Path) -> PathBuf {
    path.join("config.toml")
}

fn is_run(path: &Path) -> bool {
    config_file(path).is_file()
}

/// Absent, or an empty folder.
fn require_free(path: &Path) -> Result<(), Error> {
    if is_run(path) {
        return Err(Error::RunExists(path.to_owned()));
    }
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(Error::NotEmpty(path.to_owned())),
            None => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("use", path)(error)),
    }
}

fn require_run(path: &Path) -> Result<(), Error> {
    match is_run(path) {
        true => Ok(()),
        false => Err(Error::NoRun(path.to_owned())),
    }
}

/// Reads the recipe of a run, with `settings` applied.
///
/// # Errors
/// When `path` is no run, or its recipe cannot be used.
pub fn read_recipe(path: &Path, settings: &[Setting]) -> Result<Recipe, Error> {
    require_run(path)?;
    recipes::read_file(&config_file(path), "run", settings)
}

/// The latest run of a recipe among `base/NAME`, `base/NAME-2`, ...: that with the greatest number, whichever are gone.
///
/// # Errors
/// When there is none.
pub fn latest(base: &Path, name: &str) -> Result<PathBuf, Error> {
    let newest = numbers(base, name).max().map(|number| numbered(base, name, number));
    newest.ok_or_else(|| Error::NoRunOf { name: name.to_owned(), folder: base.to_owned() })
}

fn numbered(base: &Path, name: &str, number: u64) -> PathBuf {
    if number == 1 { base.join(name) } else { base.join(format!("{name}-{number}")) }
}

/// The numbers of the runs of this name, in any order. A run of `ising-8` is none of a recipe named `ising`.
fn numbers(base: &Path, name: &str) -> impl Iterator<Item = u64> {
    let (base, name) = (base.to_owned(), name.to_owned());
    fs::read_dir(&base).into_iter().flatten().flatten().filter_map(move |entry| {
        let folder = entry.file_name().into_string().ok()?;
        let number = match folder.strip_prefix(&name)? {
            "" => 1,
            rest => rest.strip_prefix('-')?.parse().ok()?,
        };
        let of_that_name = entry.path() == numbered(&base, &name, number) && is_run(&entry.path());
        // A damaged recipe is no reason to take another run: that of its folder's name is told of when it is
        // read.
        let recipe = || fs::read_to_string(config_file(&entry.path())).ok()?.parse::<toml::Table>().ok();
        let another = || recipe().is_some_and(|recipe| recipe.get("name").and_then(|of| of.as_str()) != Some(&name));
        (of_that_name && !another()).then_some(number)
    })
}

fn lock(path: &Path) -> Result<File, Error> {
    let file = path.join("lock");
    let handle =
        OpenOptions::new().create(true).truncate(false).write(true).open(&file).map_err(Error::io("create", &file))?;
    match handle.try_lock() {
        Ok(()) => Ok(handle),
        Err(TryLockError::WouldBlock) => Err(Error::Busy(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", file)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        recipes::load("ising-8", &[]).unwrap()
    }

    #[test]
    fn a_run_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/run");
        let run = RunDir::create(&path, &recipe()).unwrap();
        run.log("started").unwrap();
        run.log("went on").unwrap();
        assert_eq!(read_recipe(&path, &[]).unwrap(), recipe());
        let log = fs::read_to_string(path.join("log.txt")).unwrap();
        assert_eq!(log.lines().count(), 2);
        assert!(log.lines().next().unwrap().ends_with("Z started"), "{log}");
        let error = RunDir::create(&path, &recipe()).unwrap_err();
        assert!(matches!(error, Error::RunExists(_)), "{error}");
    }

    #[test]
    fn a_whole_run_is_there_with_its_files_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let entries = || fs::read_dir(dir.path()).unwrap().count();
        let failed = RunDir::create_whole(&path, &recipe(), |run| {
            assert!(!path.exists() && is_run(run.path()));
            Err(Error::Failed("no more".to_owned()))
        });
        assert!(failed.is_err() && entries() == 0, "{failed:?}");
        // Into an empty folder too.
        fs::create_dir(&path).unwrap();
        let run = RunDir::create_whole(&path, &recipe(), |run| run.log("filled")).unwrap();
        assert!(run.path().join("log.txt").exists() && is_run(&path) && entries() == 1);
        assert!(matches!(RunDir::resume(&path), Err(Error::Busy(_))), "it is held under its new name");
        assert!(matches!(RunDir::create_whole(&path, &recipe(), |_| Ok(())), Err(Error::RunExists(_))));
    }

    #[test]
    fn two_processes_do_not_train_in_the_same_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let first = RunDir::create(&path, &recipe()).unwrap();
        let error = RunDir::resume(&path).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        drop(first);
        RunDir::resume(&path).unwrap();
    }

    #[test]
    fn free_names_are_numbered_and_the_latest_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("runs");
        assert!(latest(&base, "ising-8").is_err());
        for expected in ["ising-8", "ising-8-2", "ising-8-3"] {
            let run = RunDir::create_next(&base, &recipe()).unwrap();
            assert_eq!(run.path(), base.join(expected));
            assert_eq!(latest(&base, "ising-8").unwrap(), run.path());
        }
        // Neither a gap nor the run of another recipe confuses the two.
        fs::remove_dir_all(base.join("ising-8-2")).unwrap();
        let other = Recipe { name: "ising".into(), ..recipe() };
        assert!(latest(&base, "ising").is_err());
        assert_eq!(RunDir::create_next(&base, &other).unwrap().path(), base.join("ising"));
        assert_eq!(latest(&base, "ising-8").unwrap(), base.join("ising-8-3"));
        assert_eq!(RunDir::create_next(&base, &recipe()).unwrap().path(), base.join("ising-8-4"));
        fs::write(base.join("ising-8-4/config.toml"), "name = ").unwrap();
        assert_eq!(latest(&base, "ising-8").unwrap(), base.join("ising-8-4"));
    }

    #[test]
    fn what_is_no_run_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
        assert!(matches!(RunDir::create(dir.path(), &recipe()).unwrap_err(), Error::NotEmpty(_)));
        assert!(matches!(RunDir::resume(dir.path()).unwrap_err(), Error::NoRun(_)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
