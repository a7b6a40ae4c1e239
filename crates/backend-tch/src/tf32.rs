//! Whether CUDA devices may round 32-bit factors to TF32. libtorch's C interface has no call for it, so its C++ functions are asked.

use std::ffi::c_void;

use libloading::os::unix::Library;

use crate::{Error, error::loader_reason, libtorch};

/// `at::Context& at::globalContext()`.
type GlobalContext = unsafe extern "C" fn() -> *mut c_void;
/// `void at::Context::setAllowTF32…(bool)`: the object is the first argument.
type Set = unsafe extern "C" fn(context: *mut c_void, allow: bool);

/// The names as compilers for Linux write them (Itanium C++ ABI); [`libtorch`] has checked the version they are those of.
const GLOBAL_CONTEXT: &str = "_ZN2at13globalContextEv";
const SET: [&str; 2] = ["_ZN2at7Context18setAllowTF32CuBLASEb", "_ZN2at7Context17setAllowTF32CuDNNEb"];

/// Allows or forbids TF32 in matrix products (libtorch's own default: forbidden) and convolutions (its default: allowed).
/// libtorch has to be loaded.
///
/// # Errors
/// [`Error::CannotLoad`] when libtorch lacks the functions.
pub(crate) fn allow(allow: bool) -> Result<(), Error> {
    let missing = |error: libloading::Error| Error::CannotLoad {
        path: libtorch().map_or_else(|_| "libtorch".into(), |found| found.path),
        reason: loader_reason(&error),
        cuda: false,
    };
    let loaded = Library::this();
    // SAFETY: the type is that of the function of this name in libtorch's header ATen/Context.h.
    let context = unsafe { loaded.get::<GlobalContext>(GLOBAL_CONTEXT) }.map_err(missing)?;
    for name in SET {
        // SAFETY: as above.
        let set = unsafe { loaded.get::<Set>(name) }.map_err(missing)?;
        // SAFETY: the context lives as long as the process; both functions only set a flag in it.
        unsafe { set(context(), allow) };
    }
    Ok(())
}
