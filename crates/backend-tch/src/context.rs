//! Settings of libtorch that its C interface has no call for, so its C++ functions are asked: TF32, the same bits
//! again, denormal numbers.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

use libloading::os::unix::Library;

use crate::{Error, error::lacks};

/// `at::Context& at::globalContext()`.
type GlobalContext = unsafe extern "C" fn() -> *mut c_void;
/// `void at::Context::setAllowTF32…(bool)`, `void at::Context::setDeterministicCuDNN(bool)` and
/// `bool at::Context::setFlushDenormal(bool)`, whose answer is not looked at: the object is the first argument.
type Set = unsafe extern "C" fn(context: *mut c_void, on: bool);

/// The names as compilers for Linux write them (Itanium C++ ABI); [`libtorch`](crate::libtorch) has checked the version
/// they are those of.
const GLOBAL_CONTEXT: &str = "_ZN2at13globalContextEv";
const SET_TF32: [&str; 2] = ["_ZN2at7Context18setAllowTF32CuBLASEb", "_ZN2at7Context17setAllowTF32CuDNNEb"];
const SET_DETERMINISTIC: [&str; 1] = ["_ZN2at7Context21setDeterministicCuDNNEb"];
const SET_FLUSH_DENORMAL: [&str; 1] = ["_ZN2at7Context16setFlushDenormalEb"];

/// Allows or forbids TF32 in matrix products (libtorch's own default: forbidden) and convolutions (its default:
/// allowed). libtorch has to be loaded.
///
/// # Errors
/// [`Error::CannotLoad`] when libtorch lacks the functions.
pub(crate) fn allow_tf32(allow: bool) -> Result<(), Error> {
    set(&SET_TF32, allow)?;
    TF32.store(allow, Ordering::Relaxed);
    Ok(())
}

/// What [`allow_tf32`] was last told.
static TF32: AtomicBool = AtomicBool::new(false);

/// Whether TF32 is allowed.
pub(crate) fn tf32() -> bool {
    TF32.load(Ordering::Relaxed)
}

/// Lets CUDA devices do convolutions by methods alone that give the same bits for the same numbers. libtorch has to be
/// loaded.
///
/// # Errors
/// [`Error::CannotLoad`] when libtorch lacks the function.
pub(crate) fn same_bits_again() -> Result<(), Error> {
    set(&SET_DETERMINISTIC, true)
}

/// Makes this thread, and the threads of libtorch that it starts, treat denormal numbers as zero: saturated sigmoids
/// produce them by the million, and each costs a hundred cycles or more. libtorch has to be loaded.
///
/// # Errors
/// [`Error::CannotLoad`] when libtorch lacks the function.
pub(crate) fn flush_denormals() -> Result<(), Error> {
    set(&SET_FLUSH_DENORMAL, true)
}

fn set(names: &[&str], on: bool) -> Result<(), Error> {
    let missing = |error| lacks(&error, false);
    let loaded = Library::this();
    // SAFETY: the type is that of the function of this name in libtorch's header ATen/Context.h.
    let context = unsafe { loaded.get::<GlobalContext>(GLOBAL_CONTEXT) }.map_err(missing)?;
    for name in names {
        // SAFETY: as above.
        let set = unsafe { loaded.get::<Set>(*name) }.map_err(missing)?;
        // SAFETY: the context lives as long as the process; the functions only set a flag in it or in this thread's
        // processor.
        unsafe { set(context(), on) };
    }
    Ok(())
}
