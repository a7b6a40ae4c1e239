//! The kernels on the processor, so that tests see them at work on machines without a CUDA device; the system's C++
//! compiler makes them.

use std::ffi::{OsString, c_int, c_uint, c_void};
use std::process::Command;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use libloading::os::unix::Library;

use super::{Kernels, MOST_TERMS, Module, SOURCE};

/// Threads of a block: two warps, which have to wait for each other as those of a device do.
const THREADS: u32 = 64;

/// The kernels for tensors on the CPU.
///
/// # Panics
/// When they cannot be compiled, with what the compiler says.
pub(crate) fn kernels() -> &'static Kernels {
    static KERNELS: OnceLock<Kernels> = OnceLock::new();
    KERNELS.get_or_init(|| Kernels {
        launch,
        set_current,
        context: null_mut(),
        device: tch::Device::Cpu,
        threads: THREADS,
        single: load(["float", "float"]),
        double: load(["double", "double"]),
        mixed: load(["float", "double"]),
        capability: [0, 0],
        launches: AtomicU64::new(0),
    })
}

/// There is but one.
unsafe extern "C" fn set_current(_context: *mut c_void) -> c_int {
    0
}

/// A kernel, and what runs it: every library has its own.
struct Function {
    run: Run,
    kernel: *mut c_void,
}

/// `run(kernel, blocks, threads of a block, parameters)` of `emulated.cpp`.
type Run = unsafe extern "C" fn(*mut c_void, c_uint, c_uint, *mut c_void) -> c_int;

/// As `cuLaunchKernel`, for a [`Function`].
unsafe extern "C" fn launch(
    function: *mut c_void,
    blocks: c_uint,
    _: c_uint,
    _: c_uint,
    threads: c_uint,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    _: *mut c_void,
    parameters: *mut *mut c_void,
    _: *mut *mut c_void,
) -> c_int {
    // SAFETY: the functions of a module are leaked ones, and there is one pointer to parameters, which are those of the
    // kernel.
    unsafe {
        let function = &*function.cast::<Function>();
        (function.run)(function.kernel, blocks, threads, *parameters)
    }
}

/// The kernels for two kinds of numbers.
fn load([real, wide]: [&str; 2]) -> Module {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = folder.path().join("kernels.so");
    // Written out, as tests may run where the sources are not.
    let source = folder.path().join("emulated.cpp");
    for (name, text) in [("emulated.cpp", include_str!("emulated.cpp")), ("kernels.cu", SOURCE)] {
        std::fs::write(folder.path().join(name), text).expect("room for sources");
    }
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| OsString::from("c++"));
    let output = Command::new(&compiler)
        .args(["-std=c++17", "-O2", "-fPIC", "-shared", "-fno-strict-aliasing"])
        // With it, jumps from stack to stack are taken for mistakes.
        .arg("-U_FORTIFY_SOURCE")
        .args([format!("-DREAL={real}"), format!("-DWIDE={wide}"), format!("-DTHREADS={THREADS}")])
        .arg(format!("-DMOST_TERMS={MOST_TERMS}"))
        .args([source.as_os_str(), "-o".as_ref(), library.as_os_str()])
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be run ({error}): install a C++ compiler", compiler.display()));
    assert!(output.status.success(), "{}: {}", compiler.display(), String::from_utf8_lossy(&output.stderr));
    // SAFETY: the library was just made, of a source without initialisers that matter; its functions have these types.
    unsafe {
        let library = Library::new(&library).expect("what was compiled");
        let run = *library.get::<Run>("run").expect("the source has it");
        let function = |name: &str| {
            let kernel = *library.get::<*mut c_void>(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            std::ptr::from_mut(Box::leak(Box::new(Function { run, kernel }))).cast()
        };
        let module = Module {
            sum: function("emulated_sum"),
            pointwise: function("emulated_pointwise"),
            permute: function("emulated_permute"),
            slopes: function("emulated_slopes"),
            pullback: function("emulated_pullback"),
        };
        std::mem::forget(library);
        module
    }
}
