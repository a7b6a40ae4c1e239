//! The backends by their names.

/// Where the numbers are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// Pure Rust on the CPU.
    Ndarray,
    /// libtorch on the CPU.
    TchCpu,
    /// libtorch on an NVIDIA GPU.
    TchCuda,
}

impl Backend {
    /// Whether it is one of libtorch.
    pub fn is_libtorch(self) -> bool {
        matches!(self, Self::TchCpu | Self::TchCuda)
    }

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndarray => "ndarray",
            Self::TchCpu => "tch-cpu",
            Self::TchCuda => "tch-cuda",
        }
    }
}
