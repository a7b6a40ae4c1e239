//! The two devices libtorch runs on here, and their names on the command line.

use std::{fmt, str::FromStr};

use crate::Error;

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

impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|device| device.name() == name)
            .ok_or_else(|| Error::UnknownDevice { found: name.into() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for device in Device::ALL {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
    }

    #[test]
    fn other_names_are_refused_with_the_known_ones() {
        for name in ["", "tch", "cuda", "TCH-CPU", "tch-cuda:1"] {
            let message = name.parse::<Device>().unwrap_err().to_string();
            assert!(message.contains("tch-cpu") && message.contains("tch-cuda"), "{message}");
        }
    }
}
