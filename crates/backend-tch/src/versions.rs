//! The versions that this crate was written for.

/// The version of libtorch that the pinned `tch` was written for.
pub const VERSION_NEEDED: &str = "2.11.0";

/// The CUDA version, major and minor, that the libtorch of the set-up was built with.
pub const CUDA_NEEDED: (u32, u32) = (13, 0);
