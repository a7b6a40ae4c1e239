//! What `maflow.setup_torch` compiles, carried along, and the names by which sentences of libtorch call it.

use std::path::PathBuf;

use backend_tch::set_up::{self, Command};
use pyo3::prelude::*;

/// The C++ sources of torch-sys, with their names.
#[cfg(not(without_torch_sys))]
const OF_TORCH_SYS: &[(&str, &str)] = {
    macro_rules! sources {
        ($($name:literal)*) => {
            &[$(($name, include_str!(concat!(env!("TORCH_SYS"), "/", $name)))),*]
        };
    }
    sources!("torch_api.cpp" "torch_api.h" "torch_api_generated.cpp" "torch_api_generated.h" "stb_image.h"
        "stb_image_resize.h" "stb_image_write.h")
};
#[cfg(without_torch_sys)]
const OF_TORCH_SYS: &[(&str, &str)] = &[];

type Sources = Vec<(&'static str, &'static str)>;

/// The C interface of libtorch: the versions of libtorch and of torch-sys that it is for, the sources of both parts
/// with their names, and the file that tells where it is.
#[pyfunction]
pub fn interface() -> (&'static str, &'static str, Sources, Sources, Option<PathBuf>) {
    let (of_torch_sys, added) = (OF_TORCH_SYS.to_vec(), set_up::SOURCES.to_vec());
    (backend_tch::VERSION_NEEDED, set_up::TORCH_SYS, of_torch_sys, added, set_up::file())
}

/// Has sentences tell of `setup_torch`, as typed in Python.
pub fn in_python() {
    set_up::is_done_by(Command { cpu: "maflow.setup_torch()", cuda: "maflow.setup_torch(cuda=True)" });
}

/// The same as typed in a shell.
pub fn in_a_shell() {
    set_up::is_done_by(Command {
        cpu: "python -c 'import maflow; maflow.setup_torch()'",
        cuda: "python -c 'import maflow; maflow.setup_torch(cuda=True)'",
    });
}

/// A sentence with the flag of the command line that chooses a backend as the argument of Python.
pub fn in_arguments(sentence: &str) -> String {
    ["ndarray", "tch-cpu", "tch-cuda"].iter().fold(sentence.to_owned(), |text, name| {
        text.replace(&format!("`--backend {name}`"), &format!("`backend=\"{name}\"`"))
    })
}
