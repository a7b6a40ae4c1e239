//! What can stand between the program and libtorch, each as one sentence with its remedy.

use std::path::PathBuf;

use crate::command::command;
use crate::device::Device;
use crate::versions::{CUDA_NEEDED, VERSION_NEEDED};

/// Why libtorch, or a device of it, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The set-up was not done.
    #[error(
        "libtorch is not set up: run `{}` once, then the same again, or use `--backend ndarray`",
        command(*.cuda)
    )]
    NotSetUp {
        /// Whether CUDA was asked for.
        cuda: bool,
    },
    /// The set-up was done for another version of the program, or its file is damaged.
    #[error(
        "{file} is of another version of this program: run `{}` again, or use `--backend ndarray`",
        command(*.cuda)
    )]
    OldSetUp {
        /// The file that the set-up wrote.
        file: PathBuf,
        /// Whether CUDA was asked for.
        cuda: bool,
    },
    /// There is no loader of libtorch for this system.
    #[error("{device} is for Linux on x86-64 and arm64: use `--backend ndarray`")]
    NoLoader {
        /// The device asked for.
        device: Device,
    },
    /// The folder that should hold libtorch does not.
    #[error(
        "there is no libtorch in {path} (named by {named_by}): {}run `{}`, or set LIBTORCH to a libtorch \
         {VERSION_NEEDED}",
        if *.named_by == "LIBTORCH" { "unset LIBTORCH and " } else { "" },
        command(false)
    )]
    NotFound {
        /// The folder looked into.
        path: PathBuf,
        /// Who named the folder: `LIBTORCH` or the set-up.
        named_by: &'static str,
    },
    /// libtorch is of another version than the one the program was written for.
    #[error(
        "libtorch in {path} is {found}, {VERSION_NEEDED} is needed: unset LIBTORCH and run `{}`, or set LIBTORCH to a \
         libtorch {VERSION_NEEDED}",
        command(false)
    )]
    WrongVersion {
        /// The folder of libtorch.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Somebody else has loaded another libtorch into this process, which can hold no second one.
    #[error(
        "this process has loaded libtorch {} from {path} before, and {VERSION_NEEDED} is needed: start it anew with \
         torch=={VERSION_NEEDED} there, or use `--backend ndarray`",
        .found.as_deref().unwrap_or("of an unknown version")
    )]
    OtherLoaded {
        /// The folder of that libtorch.
        path: PathBuf,
        /// Its version, where the folder tells.
        found: Option<String>,
    },
    /// The system's loader refused a library.
    #[error(
        "{path} cannot be loaded ({reason}): remove that libtorch, or install its PyTorch anew (`pip install \
         --force-reinstall torch=={VERSION_NEEDED}`), and run `{}` again",
        command(*.cuda)
    )]
    CannotLoad {
        /// The library.
        path: PathBuf,
        /// The loader's own words.
        reason: String,
        /// Whether it is part of the CUDA set.
        cuda: bool,
    },
    /// The system's loader refused the compiled C interface of libtorch.
    #[error(
        "the C interface of libtorch, {path}, cannot be loaded ({reason}): {}run `{}` again",
        if *.by_user { "unset MAFLOW_LIBTCH, which names it, and " } else { "remove it if it is there, and " },
        command(*.cuda)
    )]
    NoInterface {
        /// The library.
        path: PathBuf,
        /// The loader's own words.
        reason: String,
        /// Whether the variable `MAFLOW_LIBTCH` names it.
        by_user: bool,
        /// Whether it is the part for CUDA.
        cuda: bool,
    },
    /// This libtorch has no CUDA part.
    #[error("libtorch in {path} is for the CPU only: run `{}`, or use `--backend tch-cpu`", command(true))]
    NoCudaLibrary {
        /// The folder of libtorch.
        path: PathBuf,
    },
    /// libtorch was loaded for the CPU alone earlier in this process, and looks for CUDA only once.
    #[error("libtorch was loaded without CUDA before: load it for tch-cuda first, in a new process")]
    LoadedWithoutCuda,
    /// There is no NVIDIA driver.
    #[error(
        "there is no NVIDIA driver ({reason}): install one for CUDA {}.{} or newer, or use `--backend tch-cpu`",
        CUDA_NEEDED.0, CUDA_NEEDED.1
    )]
    NoDriver {
        /// The loader's or the driver's own words.
        reason: String,
    },
    /// The driver is for an older CUDA than libtorch.
    #[error(
        "the NVIDIA driver supports CUDA {}.{}, {}.{} is needed: update the driver, or use `--backend tch-cpu`",
        .found.0, .found.1, CUDA_NEEDED.0, CUDA_NEEDED.1
    )]
    DriverTooOld {
        /// The CUDA version the driver supports, major and minor.
        found: (u32, u32),
    },
    /// The driver is there, but no device it could use.
    #[error(
        "the NVIDIA driver sees no CUDA device ({reason}): check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use \
         `--backend tch-cpu`"
    )]
    NoDevice {
        /// The driver's answer.
        reason: String,
    },
    /// The kernels for CUDA devices cannot be compiled or loaded.
    #[error(
        "the kernels for this CUDA device cannot be made ({reason}): run `{}` again, or use `--backend tch-cpu`",
        command(true)
    )]
    NoKernels {
        /// The loader's, the compiler's or the driver's own words.
        reason: String,
    },
}

impl Error {
    /// The same with the remedy for a device, which decides how the set-up is to be done where it was not.
    pub(crate) fn on(mut self, device: Device) -> Self {
        if let Self::NotSetUp { cuda } | Self::OldSetUp { cuda, .. } = &mut self {
            *cuda = device == Device::Cuda;
        }
        self
    }
}

/// The loader's own words: `libloading` keeps them behind its own.
pub(crate) fn loader_reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
