//! maflow for Python: the calls of the library with NumPy's arrays in and out, and the program as a function.
//!
//! What a user sees is written in Python (`python/maflow`); this module is private to it. It holds no allocator, no
//! handler of signals and no display of its own.

mod array;
mod energy;
mod error;
mod exact;
mod run;
mod settings;
mod torch;
mod watch;

use pyo3::prelude::*;

/// The extension module `maflow._native`.
#[pymodule]
mod _native {
    use std::ffi::OsString;
    use std::io::Write;

    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::energy::{BuiltIn, CFunction, evaluate};
    #[pymodule_export]
    use crate::exact::{
        Thermodynamics, critical_temperature, critical_temperature_three_way, density_of_states, infinite,
        infinite_three_way, lattice, planar, spontaneous_magnetisation, three_way,
    };
    #[pymodule_export]
    use crate::run::Run;
    #[pymodule_export]
    use crate::torch::interface;

    /// Names of the built-in recipes, with what each says of itself.
    #[pyfunction]
    fn recipes() -> PyResult<Vec<(&'static str, String)>> {
        let described = |built_in: &maflow::recipes::BuiltIn| {
            let recipe = maflow::recipes::load(built_in.name, &[]).map_err(crate::error::raise)?;
            Ok((built_in.name, recipe.description))
        };
        maflow::recipes::BUILT_IN.iter().map(described).collect()
    }

    /// Runs the program with the words of a command line, its own name first; its exit code.
    #[pyfunction]
    fn program(py: Python<'_>, words: Vec<OsString>) -> u8 {
        crate::torch::in_a_shell();
        let code = py.detach(|| {
            let code = cli::run(words);
            // Nothing does so at the end of a Python process. Whoever reads it no longer misses nothing.
            let _ = std::io::stdout().flush();
            code
        });
        crate::torch::in_python();
        code
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::torch::in_python();
        module.add("CUDA_NEEDED", backend_tch::CUDA_NEEDED)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
