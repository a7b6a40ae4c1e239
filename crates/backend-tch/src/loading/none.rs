//! Systems without a loader of libtorch.

use crate::device::Device;
use crate::error::Error;

/// Makes libtorch ready for `device`; there is no loader of it for this system.
///
/// # Errors
/// Always [`Error::NoLoader`].
pub fn load(device: Device) -> Result<(), Error> {
    Err(Error::NoLoader { device })
}
