//! NVIDIA's run-time compiler, from the libraries that libtorch brings.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::error::loader_reason;
use crate::libtorch;

type Program = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Get = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;

/// The compiler, which stays loaded for the rest of the process.
pub(super) struct Nvrtc(ManuallyDrop<Library>);

impl Nvrtc {
    /// # Errors
    /// In words: why there is no compiler.
    pub(super) fn open() -> Result<Self, String> {
        let words = |error: libloading::Error| loader_reason(&error);
        let lib = libtorch().map_err(|error| error.to_string())?.path.join("lib");
        // NVRTC looks for these by name alone; what is loaded is found.
        if let Some(builtins) = find(&lib, "libnvrtc-builtins.so") {
            std::mem::forget(open(&builtins).map_err(words)?);
        }
        // Linked to the NVRTC that this libtorch was built for.
        Ok(Self(ManuallyDrop::new(open(&lib.join("libcaffe2_nvrtc.so")).map_err(words)?)))
    }

    /// The machine code of a source in CUDA C++.
    ///
    /// # Errors
    /// In words: what the compiler has to say of the source.
    pub(super) fn compile(&self, source: &str, options: &[String]) -> Result<Vec<u8>, String> {
        let (nvrtc, words) = (&self.0, |error: libloading::Error| loader_reason(&error));
        let text = |text: &str| CString::new(text).expect("no zeros in sources and options");
        let (source, options) = (text(source), options.iter().map(|option| text(option)).collect::<Vec<_>>());
        let options: Vec<_> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: the types are those of the header nvrtc.h; sizes are asked for before what has them, and all pointers
        // are to what lives until the call returns.
        unsafe {
            let create = nvrtc.get::<Create>("nvrtcCreateProgram").map_err(words)?;
            let compile = nvrtc.get::<Compile>("nvrtcCompileProgram").map_err(words)?;
            let destroy = nvrtc.get::<Destroy>("nvrtcDestroyProgram").map_err(words)?;
            let read = |program, size: &str, get: &str| {
                let (size, get) = (nvrtc.get::<Size>(size).map_err(words)?, nvrtc.get::<Get>(get).map_err(words)?);
                let mut bytes = 0;
                super::checked("the size of what NVRTC made", size(program, &mut bytes))?;
                let mut out = vec![0; bytes];
                super::checked("what NVRTC made", get(program, out.as_mut_ptr().cast()))?;
                Ok::<Vec<u8>, String>(out)
            };
            let mut program = null_mut();
            let name = c"kernels.cu";
            let answer = create(&mut program, source.as_ptr(), name.as_ptr(), 0, null(), null());
            super::checked("nvrtcCreateProgram", answer)?;
            let answer = compile(program, options.len() as c_int, options.as_ptr());
            let out = if answer == 0 {
                read(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
            } else {
                let log = read(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?;
                let log = CStr::from_bytes_until_nul(&log).map(CStr::to_string_lossy).unwrap_or_default().into_owned();
                Err(format!("nvrtcCompileProgram: error {answer}: {}", log.trim()))
            };
            super::checked("nvrtcDestroyProgram", destroy(&mut program))?;
            out
        }
    }
}

fn open(path: &Path) -> Result<Library, libloading::Error> {
    // SAFETY: the initialisers of these libraries may run at any time and on any thread.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }
}

/// A library whose name begins so, beside libtorch or in the folders of NVIDIA's packages beside it.
fn find(lib: &Path, name: &str) -> Option<PathBuf> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let nvidia = entries(&lib.join("../../nvidia")).map(|package| package.join("lib"));
    let folders = std::iter::once(lib.to_owned()).chain(nvidia);
    let named = |path: &PathBuf| path.file_name().is_some_and(|of| of.to_string_lossy().starts_with(name));
    folders.flat_map(|folder| entries(&folder).collect::<Vec<_>>()).find(named)
}
