//! Loads libtorch while the program runs.
//!
//! `torch-sys` declares some 2800 C functions and is built here with its feature `doc-only`, so that it neither
//! compiles nor links their definitions; those are in `libtch.so`, which the set-up compiled from the C++ sources of
//! `torch-sys` and of this crate (`interface`). Each function is defined here as a jump through a table, and [`load`]
//! fills the table: what a linker's procedure linkage table does, but only once libtorch is asked for, and with an
//! error to show when it cannot.

use std::{
    env,
    ffi::{CStr, c_char, c_void},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicPtr, Ordering},
    },
};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::{Kind, Tensor};

use crate::cuda::driver;
use crate::device::Device;
use crate::error::{Error, loader_reason};
use crate::libtorch::{libtorch, libtorch_for, take};
use crate::set_up::SetUp;

/// Makes libtorch ready for `device`. It is loaded once per process: later calls are cheap. One that is there already,
/// as where Python has imported torch, is used.
///
/// # Errors
/// That libtorch, or for [`Device::Cuda`] its CUDA part, the driver or a device is missing or unfit, each with its
/// remedy. [`Error::LoadedWithoutCuda`] when CUDA is asked for after the CPU.
pub fn load(device: Device) -> Result<(), Error> {
    static LOADED: Mutex<Option<Device>> = Mutex::new(None);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    match (*loaded, device) {
        (Some(Device::Cuda), _) | (Some(Device::Cpu), Device::Cpu) => return Ok(()),
        (Some(Device::Cpu), Device::Cuda) => {
            // The reason of the first kind, where there is one, says more than that it is too late.
            usable_cuda()?;
            return Err(Error::LoadedWithoutCuda);
        }
        (None, _) => {}
    }
    let found = libtorch_for(device)?;
    let lib = found.path.join("lib");
    if device == Device::Cuda {
        usable_cuda()?;
    }
    open(&lib.join("libtorch_cpu.so"), false)?;
    take(found);
    if device == Device::Cuda {
        open(&lib.join("libtorch_cuda.so"), true)?;
    }
    fill_table().map_err(|error| error.on(device))?;
    choose_vector_functions();
    if device == Device::Cuda && !tch::Cuda::is_available() {
        *loaded = Some(Device::Cpu);
        return Err(Error::NoDevice { reason: "libtorch found none it can use".into() });
    }
    *loaded = Some(device);
    Ok(())
}

/// Lets MKL, where libtorch has it, choose its vector functions for this processor now, on one thread. It does so at
/// the first call of any, and a thread that makes its own first call meanwhile can get a faster kind of the function
/// with half of the digits: seen in one process of a hundred, as `tanh` in 32 bits wrong by 5e-5.
fn choose_vector_functions() {
    let _ = Tensor::ones([64], (Kind::Float, tch::Device::Cpu)).tanh();
}

/// Whether CUDA can be used, as far as can be said without loading libtorch.
fn usable_cuda() -> Result<(), Error> {
    let found = libtorch()?;
    if !found.cuda {
        return Err(Error::NoCudaLibrary { path: found.path });
    }
    driver()?;
    let interface = Interface::of(Device::Cuda)?;
    if interface.path.is_file() { Ok(()) } else { Err(interface.refused("there is no such file".into())) }
}

/// A library of the compiled C interface.
struct Interface {
    path: PathBuf,
    device: Device,
    /// Whether the variable `MAFLOW_LIBTCH` names it.
    by_user: bool,
}

impl Interface {
    /// The file in the variable `MAFLOW_LIBTCH` when it is set, else the one of the set-up, and for CUDA the one beside
    /// it.
    fn of(device: Device) -> Result<Self, Error> {
        let named = env::var_os("MAFLOW_LIBTCH").filter(|path| !path.is_empty());
        let by_user = named.is_some();
        let path = match named {
            Some(path) => path.into(),
            None => SetUp::read().map_err(|error| error.on(device))?.interface,
        };
        let path = if device == Device::Cuda { path.with_file_name("libtch_cuda.so") } else { path };
        Ok(Self { path, device, by_user })
    }

    fn refused(self, reason: String) -> Error {
        let Self { path, device, by_user } = self;
        Error::NoInterface { path, reason, by_user, cuda: device == Device::Cuda }
    }
}

/// Opens the part of the C interface that is for a device, and finds functions in it; libtorch is loaded for that.
///
/// # Errors
/// [`Error::NoInterface`] where it cannot be opened or `find` finds one missing, and those of reading the set-up.
pub(crate) fn in_interface<T>(
    device: Device,
    find: impl FnOnce(&Library) -> Result<T, libloading::Error>,
) -> Result<T, Error> {
    let interface = Interface::of(device)?;
    let found = open_library(&interface.path).and_then(|library| {
        // libtorch keeps threads and registrations of its own, and what is found leads into the library: no part of it
        // is ever unloaded.
        find(&std::mem::ManuallyDrop::new(library))
    });
    found.map_err(|error| interface.refused(loader_reason(&error)))
}

/// Opens a library with all it needs, for good; its symbols serve the libraries opened after it.
fn open(path: &Path, cuda: bool) -> Result<(), Error> {
    let refused = |error| Error::CannotLoad { path: path.into(), reason: loader_reason(&error), cuda };
    open_library(path).map(std::mem::forget).map_err(refused)
}

fn open_library(path: &Path) -> Result<Library, libloading::Error> {
    // SAFETY: the initialisers of libtorch register its operators; they may run at any time and on any thread.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }
}

/// One line of the table that the jumps go through.
#[repr(C)]
struct Entry {
    target: AtomicPtr<c_void>,
    name: *const c_char,
}

// SAFETY: `name` points to constant text; `target` is atomic.
unsafe impl Sync for Entry {}

unsafe extern "C" {
    static maflow_tch_table: Entry;
    static maflow_tch_table_end: Entry;
}

/// Lets every jump lead into the C interface.
fn fill_table() -> Result<(), Error> {
    in_interface(Device::Cpu, |library| {
        for entry in table() {
            // SAFETY: the names are the zero-ended texts below.
            let name = unsafe { CStr::from_ptr(entry.name) };
            // SAFETY: the symbol is only used as an address; its type is that of its declaration, in `torch-sys` or in
            // `context.rs`.
            let symbol = unsafe { library.get::<*mut c_void>(name.to_bytes_with_nul()) }?;
            entry.target.store(symbol.into_raw(), Ordering::Release);
        }
        Ok(())
    })
}

/// The table, one entry per function.
fn table() -> &'static [Entry] {
    // SAFETY: the two symbols bound one array of `Entry`s, laid out by the assembly below.
    unsafe {
        let (start, end) = (&raw const maflow_tch_table, &raw const maflow_tch_table_end);
        std::slice::from_raw_parts(start, end.offset_from_unsigned(start))
    }
}

/// Where every jump leads until the table is filled.
extern "C" fn not_loaded() -> ! {
    eprintln!("error: a function of libtorch was called before libtorch was loaded (a defect of this program)");
    std::process::abort()
}

// `stub NAME` defines the function NAME as a jump through its own entry (address, text of the name) of the table.
// The registers and the stack are left as the caller set them, so any signature passes through.
#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    () => {
        r"jmp qword ptr [rip + .Lentry_\name]"
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    () => {
        r"adrp x16, .Lentry_\name
          ldr x16, [x16, :lo12:.Lentry_\name]
          br x16"
    };
}

std::arch::global_asm!(
    r#".macro stub name
           .section .text.maflow_tch, "ax", @progbits
           .globl \name
           .hidden \name
           .type \name, @function
       \name:"#,
    jump!(),
    r#"    .section .data.maflow_tch, "aw", @progbits
       .Lentry_\name:
           .quad {not_loaded}
           .quad .Lname_\name
           .section .rodata.maflow_tch, "a", @progbits
       .Lname_\name:
           .asciz "\name"
       .endm
       .section .data.maflow_tch, "aw", @progbits
       .balign 16
       .globl maflow_tch_table
       .hidden maflow_tch_table
       maflow_tch_table:"#,
    include_str!("loading/functions.s"),
    r#"
       stub maflow_allow_tf32
       stub maflow_same_bits_again
       stub maflow_flush_denormals
       .section .data.maflow_tch, "aw", @progbits
       .globl maflow_tch_table_end
       .hidden maflow_tch_table_end
       maflow_tch_table_end:
           .quad 0, 0
       .purgem stub
       .text"#,
    not_loaded = sym not_loaded,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_function_and_knows_its_name() {
        let names: Vec<_> = table()
            .iter()
            // SAFETY: the names are constant zero-ended texts.
            .map(|entry| unsafe { CStr::from_ptr(entry.name) }.to_str().unwrap())
            .collect();
        let lines = include_str!("loading/functions.s").lines();
        let expected: Vec<_> = lines.filter_map(|line| line.strip_prefix("stub ")).collect();
        let (of_torch_sys, ours) = names.split_at(expected.len());
        assert_eq!(of_torch_sys, expected);
        assert!(of_torch_sys.contains(&"atg_matmul"));
        assert!(ours.len() == 3 && ours.iter().all(|name| name.starts_with("maflow_")), "{ours:?}");
    }

    #[test]
    fn a_missing_library_is_named() {
        let error = open(Path::new("/nonexistent/libtorch_cuda.so"), true).unwrap_err().to_string();
        assert!(
            error.contains("/nonexistent/libtorch_cuda.so") && error.contains("setup-libtorch.sh --cuda` again"),
            "{error}"
        );
    }
}
