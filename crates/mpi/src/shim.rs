//! The functions of the shim (`shim/maflow_mpi.c`): the one place where MPI is loaded and called.

use std::env;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::error::Error;
use crate::launch::SHIM_VARIABLE;

/// The number of the interface that this file is written for.
const INTERFACE: c_int = 1;

/// A number that MPI carries.
pub(crate) trait Number: Copy + Default {
    /// Whether it has 64 bits and not 32.
    const WIDE: c_int;
    /// From 64 bits, which have to fit.
    fn of(value: f64) -> Self;
    /// To 64 bits.
    fn wide(self) -> f64;
    /// The sum, rounded once.
    fn plus(self, other: Self) -> Self;
}

impl Number for f64 {
    const WIDE: c_int = 1;
    fn of(value: f64) -> Self {
        value
    }
    fn wide(self) -> f64 {
        self
    }
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl Number for f32 {
    const WIDE: c_int = 0;
    fn of(value: f64) -> Self {
        value as Self
    }
    fn wide(self) -> f64 {
        self.into()
    }
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

type Text = unsafe extern "C" fn(c_int, *mut c_char) -> c_int;

/// The functions, which stay loaded until the program ends: an MPI has threads of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shim {
    name: Text,
    reason: unsafe extern "C" fn(c_int, c_int, *mut c_char) -> c_int,
    start: unsafe extern "C" fn(*mut c_int) -> c_int,
    gather: unsafe extern "C" fn(c_int, *const c_void, c_int, *mut c_void, *const c_int, *const c_int) -> c_int,
    exchange: unsafe extern "C" fn(
        c_int,
        *const c_void,
        *const c_int,
        *const c_int,
        *mut c_void,
        *const c_int,
        *const c_int,
    ) -> c_int,
    meet: unsafe extern "C" fn() -> c_int,
    met: unsafe extern "C" fn(*mut c_int) -> c_int,
    finish: unsafe extern "C" fn() -> c_int,
    abort: unsafe extern "C" fn(c_int),
}

/// Where this process stands: its rank of so many, among those of its machine, and the rank of the first of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    pub rank: usize,
    pub size: usize,
    pub local_rank: usize,
    pub local_size: usize,
    pub first_here: usize,
}

/// The file of the shim: that which the variable names, else that of the set-up.
pub(crate) fn file() -> PathBuf {
    match env::var_os(SHIM_VARIABLE).filter(|file| !file.is_empty() && file != "none") {
        Some(file) => file.into(),
        None => {
            let cache = dirs::cache_dir().unwrap_or_default();
            cache.join("maflow").join(format!("mpi-{INTERFACE}")).join("maflow_mpi.so")
        }
    }
}

/// Opens a library so that what it needs serves the plugins of an MPI too.
#[cfg(unix)]
fn open(path: &Path) -> Result<Library, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: the initialisers of MPI libraries may run at any time.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.map(Into::into)
}

#[cfg(not(unix))]
fn open(path: &Path) -> Result<Library, libloading::Error> {
    // SAFETY: the initialisers of MPI libraries may run at any time.
    unsafe { Library::new(path) }
}

impl Shim {
    /// Loads it.
    ///
    /// # Errors
    /// [`Error::NotSetUp`], [`Error::CannotLoad`].
    pub fn load() -> Result<Self, Error> {
        let path = file();
        if !path.is_file() {
            return Err(Error::NotSetUp { path });
        }
        let refused = |reason: String| Error::CannotLoad { path: path.clone(), reason };
        let library = open(&path).map_err(|error| {
            // The loader's own words are behind those of `libloading`.
            refused(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        // SAFETY: the functions of these names have the types that `shim/maflow_mpi.c` gives them, where the number of
        // the interface is that of this file, which is asked for first.
        let shim = unsafe {
            let function = library.get::<unsafe extern "C" fn() -> c_int>(b"maflow_mpi_interface\0");
            let interface = function.map(|function| function()).map_err(|error| refused(error.to_string()))?;
            if interface != INTERFACE {
                return Err(refused(format!("it has interface {interface}, {INTERFACE} is needed")));
            }
            let found = || {
                Ok::<_, libloading::Error>(Self {
                    name: *library.get(b"maflow_mpi_name\0")?,
                    reason: *library.get(b"maflow_mpi_reason\0")?,
                    start: *library.get(b"maflow_mpi_start\0")?,
                    gather: *library.get(b"maflow_mpi_gather\0")?,
                    exchange: *library.get(b"maflow_mpi_exchange\0")?,
                    meet: *library.get(b"maflow_mpi_meet\0")?,
                    met: *library.get(b"maflow_mpi_met\0")?,
                    finish: *library.get(b"maflow_mpi_finish\0")?,
                    abort: *library.get(b"maflow_mpi_abort\0")?,
                })
            };
            found().map_err(|error| refused(error.to_string()))?
        };
        std::mem::forget(library);
        Ok(shim)
    }

    /// The name of the MPI with its version, in a few words.
    pub fn name(&self) -> String {
        // SAFETY: the function fills the room that it is told of.
        let name = text(|room, out| unsafe { (self.name)(room, out) });
        short(&name.unwrap_or_else(|| "an MPI without a name".to_owned()))
    }

    /// Whether a call succeeded, else with MPI's reason.
    fn check(&self, action: &'static str, code: c_int) -> Result<(), Error> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the function fills the room that it is told of.
        let reason = text(|room, out| unsafe { (self.reason)(code, room, out) });
        Err(Error::Failed { action, reason: reason.unwrap_or_else(|| format!("error {code}")) })
    }

    /// Begins MPI on this thread, which is to make all further calls.
    pub fn start(&self) -> Result<Places, Error> {
        let mut places = [0; 5];
        // SAFETY: the function writes five numbers.
        self.check("start", unsafe { (self.start)(places.as_mut_ptr()) })?;
        let [rank, size, local_rank, local_size, first_here] = places.map(|place| place as usize);
        Ok(Places { rank, size, local_rank, local_size, first_here })
    }

    /// The numbers of all members, of which each has so many.
    pub fn gather<T: Number>(&self, mine: &[T], counts: &[usize]) -> Result<Vec<T>, Error> {
        let (counts, starts, total) = layout(counts)?;
        let mut all = vec![T::default(); total];
        let (from, to) = (mine.as_ptr().cast(), all.as_mut_ptr().cast());
        let count = c_int::try_from(mine.len()).map_err(|_| Error::TooMany(mine.len()))?;
        // SAFETY: the arrays have the lengths that the counts say: the caller has told them to every member.
        let code = unsafe { (self.gather)(T::WIDE, from, count, to, counts.as_ptr(), starts.as_ptr()) };
        self.check("gather numbers", code)?;
        Ok(all)
    }

    /// What the members sent to this one, who sends so many of its numbers `to` each and gets so many `from` each.
    pub fn exchange<T: Number>(&self, mine: &[T], to: &[usize], from: &[usize]) -> Result<Vec<T>, Error> {
        let ((counts, starts, sent), (their_counts, their_starts, total)) = (layout(to)?, layout(from)?);
        assert_eq!(sent, mine.len(), "every number goes to somebody");
        let mut theirs = vec![T::default(); total];
        let (out, into) = (mine.as_ptr().cast(), theirs.as_mut_ptr().cast());
        let (counts, starts) = (counts.as_ptr(), starts.as_ptr());
        let (their_counts, their_starts) = (their_counts.as_ptr(), their_starts.as_ptr());
        // SAFETY: the arrays have the lengths that the counts say, on every member.
        let code = unsafe { (self.exchange)(T::WIDE, out, counts, starts, into, their_counts, their_starts) };
        self.check("exchange numbers", code)?;
        Ok(theirs)
    }

    /// Has come to a meeting.
    pub fn meet(&self) -> Result<(), Error> {
        // SAFETY: takes nothing.
        self.check("meet", unsafe { (self.meet)() })
    }

    /// Whether all have come.
    pub fn met(&self) -> Result<bool, Error> {
        let mut all = 0;
        // SAFETY: writes one number.
        self.check("meet", unsafe { (self.met)(&mut all) })?;
        Ok(all != 0)
    }

    /// Ends MPI: all members call it.
    pub fn finish(&self) -> Result<(), Error> {
        // SAFETY: takes nothing; nothing is called afterwards.
        self.check("finish", unsafe { (self.finish)() })
    }

    /// Ends all members.
    pub fn abort(&self, code: u8) {
        // SAFETY: takes a number.
        unsafe { (self.abort)(code.into()) };
    }
}

/// Counts and starts as MPI has them, and the sum of the counts.
fn layout(counts: &[usize]) -> Result<(Vec<c_int>, Vec<c_int>, usize), Error> {
    let total: usize = counts.iter().sum();
    let number = |of: usize| c_int::try_from(of).map_err(|_| Error::TooMany(total));
    let starts = counts.iter().scan(0, |start, count| {
        let this = *start;
        *start += count;
        Some(number(this))
    });
    let starts = starts.collect::<Result<_, _>>()?;
    Ok((counts.iter().map(|count| number(*count)).collect::<Result<_, _>>()?, starts, total))
}

/// What a function of the shim writes into a room.
fn text(fill: impl FnOnce(c_int, *mut c_char) -> c_int) -> Option<String> {
    let mut room = [0 as c_char; 1024];
    let code = fill(room.len() as c_int, room.as_mut_ptr());
    // SAFETY: the function ends what it writes with a zero, and the room is full of zeros before.
    let text = unsafe { CStr::from_ptr(room.as_ptr()) }.to_string_lossy().trim().to_owned();
    (code == 0 && !text.is_empty()).then_some(text)
}

/// The first words of the pages that MPIs call their version.
fn short(name: &str) -> String {
    let line = name.lines().next().unwrap_or_default();
    let words: Vec<&str> = line.split(',').next().unwrap_or_default().split_whitespace().collect();
    words.join(" ").replace("Version: ", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_an_mpi_are_short() {
        let open = "Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4, May 26, 2022";
        assert_eq!(short(open), "Open MPI v4.1.4");
        assert_eq!(short("MPICH Version:      4.0.2\nMPICH Release date: Thu Apr 7"), "MPICH 4.0.2");
        assert_eq!(short("Intel(R) MPI Library 2021.5 for Linux* OS\n"), "Intel(R) MPI Library 2021.5 for Linux* OS");
    }

    #[test]
    fn counts_become_starts_and_too_many_are_refused() {
        assert_eq!(layout(&[2, 0, 3]).unwrap(), (vec![2, 0, 3], vec![0, 2, 2], 5));
        let most = i32::MAX as usize;
        assert!(layout(&[most, 0]).is_ok());
        assert_eq!(layout(&[most, 1, 1]).unwrap_err(), Error::TooMany(most + 2));
        assert_eq!(layout(&[most + 1]).unwrap_err(), Error::TooMany(most + 1));
    }
}
