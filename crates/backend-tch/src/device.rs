//! The two devices libtorch runs on here, and their names on the command line.

use std::fmt;

/// Where libtorch keeps and works on its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor: `tch-cpu`.
    Cpu,
    /// The first CUDA device: `tch-cuda`.
    Cuda,
}

impl Device {
    /// Every device, the processor first.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Cuda];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "tch-cpu",
            Self::Cuda => "tch-cuda",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(loader)]
impl From<Device> for tch::Device {
    fn from(device: Device) -> Self {
        match device {
            Device::Cpu => Self::Cpu,
            Device::Cuda => Self::Cuda(0),
        }
    }
}
