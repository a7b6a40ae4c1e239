//! What the NVIDIA driver says, asked directly: libtorch itself only answers "CUDA: yes or no".

use std::ffi::c_int;

use libloading::Library;

use crate::error::{Error, loader_reason};
use crate::versions::CUDA_NEEDED;

/// A driver that can serve libtorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The newest CUDA version it supports, major and minor.
    pub cuda: (u32, u32),
    /// The number of devices it sees, at least one.
    pub devices: usize,
}

/// Asks the NVIDIA driver for its version and its devices, without libtorch.
///
/// The three functions are those of the CUDA driver API, sections "Initialization", "Version Management" and
/// "Device Management"; each returns 0 on success.
///
/// # Errors
/// [`Error::NoDriver`], [`Error::DriverTooOld`] or [`Error::NoDevice`].
pub fn driver() -> Result<Driver, Error> {
    type Init = unsafe extern "C" fn(flags: u32) -> c_int;
    type Get = unsafe extern "C" fn(out: *mut c_int) -> c_int;
    let no_driver = |error: libloading::Error| Error::NoDriver { reason: loader_reason(&error) };

    // SAFETY: libcuda.so.1 is the NVIDIA driver's own library; loading it runs nothing but its initialisers.
    let library = unsafe { Library::new("libcuda.so.1") }.map_err(no_driver)?;
    // SAFETY: the signature is that of `cuInit` in the driver API.
    let init = unsafe { library.get::<Init>("cuInit") }.map_err(no_driver)?;
    // SAFETY: the signature is that of `cuDriverGetVersion` in the driver API.
    let version = unsafe { library.get::<Get>("cuDriverGetVersion") }.map_err(no_driver)?;
    // SAFETY: the signature is that of `cuDeviceGetCount` in the driver API.
    let count = unsafe { library.get::<Get>("cuDeviceGetCount") }.map_err(no_driver)?;

    let ask = |function: &Get| {
        let mut answer = 0;
        // SAFETY: both functions of this type write one `int` to the pointer, which outlives the call.
        match unsafe { function(&mut answer) } {
            0 => Ok(answer),
            code => Err(code),
        }
    };
    let version =
        ask(&version).map_err(|code| Error::NoDriver { reason: format!("cuDriverGetVersion: error {code}") })?;
    // SAFETY: `cuInit` takes a flag that has to be 0.
    let init = unsafe { init(0) };
    let count = if init == 0 { ask(&count) } else { Err(init) };
    // The driver keeps threads of its own; it stays loaded.
    std::mem::forget(library);
    judge(version, count)
}

/// `version` as the driver gives it (1000 major + 10 minor), `count` the number of devices or the driver's error code.
fn judge(version: c_int, count: Result<c_int, c_int>) -> Result<Driver, Error> {
    let version = u32::try_from(version).unwrap_or(0);
    let cuda = (version / 1000, version % 1000 / 10);
    if cuda < CUDA_NEEDED {
        return Err(Error::DriverTooOld { found: cuda });
    }
    match count {
        Ok(devices) if devices > 0 => Ok(Driver { cuda, devices: devices.unsigned_abs() as usize }),
        Ok(_) => Err(Error::NoDevice { reason: "it counts none".into() }),
        Err(code) => Err(Error::NoDevice { reason: format!("its error {code}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_driver_is_told_from_a_missing_device() {
        assert_eq!(judge(12_040, Ok(1)), Err(Error::DriverTooOld { found: (12, 4) }));
        assert_eq!(judge(0, Err(100)), Err(Error::DriverTooOld { found: (0, 0) }));
        assert!(matches!(judge(13_000, Ok(0)), Err(Error::NoDevice { .. })));
        assert!(matches!(judge(13_020, Err(100)), Err(Error::NoDevice { reason }) if reason.contains("100")));
        assert_eq!(judge(13_020, Ok(2)), Ok(Driver { cuda: (13, 2), devices: 2 }));
    }
}
