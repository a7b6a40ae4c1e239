//! An energy that is a C function, in a shared library or at an address: the one place where a user's own machine code
//! is loaded and called.

use std::ffi::{c_int, c_void};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use flow_core::Energy;
use libloading::Library;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::files::hex;
use crate::observable::Observables;
use crate::recipe::EnergyTarget;

/// `maflow_energy` of `include/maflow_energy.h`.
type Function = unsafe extern "C" fn(usize, usize, *const f64, *mut f64, *mut f64, *mut c_void) -> c_int;

/// An energy in a user's coordinates that is a C function, as `include/maflow_energy.h` declares it.
pub struct CFunction {
    function: Function,
    dim: usize,
    /// Where the function's last argument points.
    user_data: usize,
    /// Whose it is and what sets its dimension, for a sentence.
    name: String,
    parameter: &'static str,
    /// Held during a call, where several may not be made at a time.
    turn: Option<Mutex<()>>,
    /// What must not go while the function may be called.
    _owner: Box<dyn Send + Sync>,
}

impl CFunction {
    /// The function at an address, for points of `dim` numbers. It gets `user_data` as a pointer, and is called from
    /// several threads at a time only where it is `thread_safe`.
    ///
    /// # Safety
    /// A function of that signature must be there, and what `user_data` points to, for as long as this value lives.
    /// Code that a compiler makes while the program runs must not be collected.
    pub unsafe fn at(address: usize, dim: usize, user_data: usize, thread_safe: bool) -> Self {
        // SAFETY: the caller promises that a function of this type is at the address.
        let function = unsafe { std::mem::transmute::<*const (), Function>(ptr::with_exposed_provenance(address)) };
        let turn = (!thread_safe).then(Mutex::default);
        let name = format!("the function at {address:#x}");
        Self { function, dim, user_data, name, parameter: "dim", turn, _owner: Box::new(()) }
    }

    /// The same; `owner` lives for as long as the function may be called.
    #[must_use]
    pub fn keeping(self, owner: impl Send + Sync + 'static) -> Self {
        Self { _owner: Box::new(owner), ..self }
    }
}

/// `maflow_observables` of `include/maflow_energy.h`.
type ObservablesFunction = unsafe extern "C" fn(usize, usize, usize, *const f64, *mut f64, *mut c_void) -> c_int;

/// Observables in a user's coordinates that are a C function of a shared library.
pub(crate) struct CObservables {
    function: ObservablesFunction,
    dim: usize,
    names: Vec<String>,
    library: PathBuf,
}

impl Observables for CObservables {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn measure(&self, x: &[f64], values: &mut [f64]) -> Result<(), flow_core::Error> {
        let (rows, count) = (x.len() / self.dim, self.names.len());
        assert_eq!((x.len(), values.len()), (rows * self.dim, rows * count), "whole rows, and their values");
        // SAFETY: the arrays have the lengths that the header states, checked above, and outlive the call. A study
        // measures from one thread, and calls no energy meanwhile.
        let code = unsafe { (self.function)(rows, self.dim, count, x.as_ptr(), values.as_mut_ptr(), ptr::null_mut()) };
        match code {
            0 => Ok(()),
            code => Err(flow_core::Error::Callback(format!(
                "maflow_observables of {} returned {code} for {count} names and points of {} numbers; its author knows \
                 what {code} means, and whether target.observables and target.dimension are right",
                self.library.display(),
                self.dim
            ))),
        }
    }
}

/// The functions of a shared library, and which that is.
pub(crate) struct CLibrary {
    /// The energy.
    pub function: CFunction,
    /// The observables that a recipe names, where it names any.
    pub observables: Option<CObservables>,
    /// The file, by its absolute path.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
}

impl CLibrary {
    /// Loads a library, which stays loaded until the program ends: it may have threads of its own.
    ///
    /// Its code runs from here on, with all that this process may do. So `library` is to be a file that the user has
    /// named, never one that a run or other data name. The SHA-256 that a target states is compared before that.
    ///
    /// # Errors
    /// [`Error::Library`] for a file that is none, or that lacks a function; [`Error::OtherLibrary`].
    pub fn load(library: &Path, target: &EnergyTarget) -> Result<Self, Error> {
        let (dim, expected) = (target.dimension, target.sha256.as_deref());
        let path = std::path::absolute(library).map_err(Error::io("find", library))?;
        let refused = |reason: String| Error::Library { library: path.clone(), reason };
        let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => refused("there is no such file".to_owned()),
            _ => refused(error.to_string()),
        })?;
        let sha256 = hex(&Sha256::digest(bytes));
        if let Some(expected) = expected.filter(|expected| !expected.eq_ignore_ascii_case(&sha256)) {
            return Err(Error::OtherLibrary { library: path, found: sha256, expected: expected.to_owned() });
        }
        let opened = open(&path).map_err(|error| refused(reason(&error)))?;
        // SAFETY: that the function of this name has this type is what the header asks of the library.
        let function = unsafe { opened.get::<Function>(b"maflow_energy\0") };
        let function = *function.map_err(|_| {
            let how = "maflow_energy.h declares it; in C++ it needs extern \"C\"";
            refused(format!("it has no function maflow_energy ({how})"))
        })?;
        // SAFETY: likewise.
        let thread_safe = unsafe { opened.get::<unsafe extern "C" fn() -> c_int>(b"maflow_energy_is_thread_safe\0") };
        // SAFETY: likewise; it takes nothing and returns a number.
        let concurrent = thread_safe.is_ok_and(|thread_safe| unsafe { thread_safe() } == 1);
        let observables = match &target.observables[..] {
            [] => None,
            names => {
                // SAFETY: likewise.
                let function = unsafe { opened.get::<ObservablesFunction>(b"maflow_observables\0") };
                let function = *function.map_err(|_| {
                    let why = "it has no function maflow_observables, whose numbers target.observables names";
                    refused(why.to_owned())
                })?;
                Some(CObservables { function, dim, names: names.to_vec(), library: path.clone() })
            }
        };
        std::mem::forget(opened);
        let name = format!("maflow_energy of {}", path.display());
        let turn = (!concurrent).then(Mutex::default);
        let parameter = "target.dimension";
        let function = CFunction { function, dim, user_data: 0, name, parameter, turn, _owner: Box::new(()) };
        Ok(Self { function, observables, path, sha256 })
    }
}

/// Opens a library with all its functions looked up at once, so that what it lacks is told of here and not by a call.
fn open(path: &Path) -> Result<Library, libloading::Error> {
    #[cfg(unix)]
    {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // SAFETY: its initialisers run. Whoever named the file answers for its code.
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map(Into::into)
    }
    #[cfg(not(unix))]
    {
        // SAFETY: as above.
        unsafe { Library::new(path) }
    }
}

/// The loader's own words: `libloading` keeps them behind its own.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

impl Energy for CFunction {
    fn dim(&self) -> usize {
        self.dim
    }

    fn energies_and_gradients(
        &self,
        x: &[f64],
        _context: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), flow_core::Error> {
        let (rows, numbers) = (energies.len(), energies.len() * self.dim);
        for (what, found) in [("the points of an energy", x.len()), ("the gradients of an energy", gradients.len())] {
            if found != numbers {
                return Err(flow_core::Error::Shape {
                    what: what.to_owned(),
                    found: vec![found],
                    expected: vec![numbers],
                });
            }
        }
        // What the function forgets to write is no number, and is found out.
        energies.fill(f64::NAN);
        gradients.fill(f64::NAN);
        let _turn = self.turn.as_ref().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        // SAFETY: the arrays have the lengths that the header states, checked above, and outlive the call. Several
        // calls are made at a time only where the library has said that they may be.
        let code = unsafe {
            let (energies, gradients) = (energies.as_mut_ptr(), gradients.as_mut_ptr());
            let user_data = ptr::with_exposed_provenance_mut::<c_void>(self.user_data);
            (self.function)(rows, self.dim, x.as_ptr(), energies, gradients, user_data)
        };
        match code {
            0 => Ok(()),
            code => Err(flow_core::Error::Callback(format!(
                "{} returned {code} for points of {} numbers; its author knows what {code} means, and whether {} is \
                 right",
                self.name, self.dim, self.parameter
            ))),
        }
    }

    fn concurrent(&self) -> bool {
        self.turn.is_none()
    }
}
