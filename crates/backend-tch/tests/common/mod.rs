//! What the tests share: the devices of this machine.
#![allow(dead_code, reason = "no program that shares this wants all of it")]

use backend_tch::{Device, Options, Tch};
use flow_core::Precision;

/// The spaces to test in a precision: those of [`devices`], and the one [`emulated`] that makes its products in 64
/// bits.
pub fn spaces(precision: Precision) -> Vec<Tch> {
    let mut spaces = devices(precision);
    spaces.extend(emulated(precision, Precision::F64));
    spaces
}

/// The CPU in place of a CUDA device that makes its products in such a precision; none where there has to be a CUDA
/// device.
pub fn emulated(precision: Precision, products: Precision) -> Option<Tch> {
    let wanted = std::env::var_os("MAFLOW_TEST_CUDA").is_none();
    wanted.then(|| Tch::emulated(precision, products).unwrap_or_else(|error| panic!("{error}")))
}

/// The same with captured solves, and products in 64 bits.
pub fn emulated_with_graphs(precision: Precision) -> Option<Tch> {
    let wanted = std::env::var_os("MAFLOW_TEST_CUDA").is_none();
    wanted.then(|| Tch::emulated_with_graphs(precision, Precision::F64).unwrap_or_else(|error| panic!("{error}")))
}

/// The devices to test in a precision: the CPU, and CUDA where it can be used.
///
/// # Panics
/// When libtorch cannot be used; with the variable `MAFLOW_TEST_CUDA`, when CUDA cannot.
pub fn devices(precision: Precision) -> Vec<Tch> {
    let options = Options { threads: 1, allow_tf32: false };
    let of = |device| Tch::new(device, precision, options);
    // CUDA first: once loaded for the CPU alone, libtorch cannot be given CUDA in the same process.
    let cuda = of(Device::Cuda);
    if let Err(error) = &cuda {
        assert!(std::env::var_os("MAFLOW_TEST_CUDA").is_none(), "{error}");
        eprintln!("not on CUDA: {error}");
    }
    let cpu = of(Device::Cpu).unwrap_or_else(|error| panic!("{error}"));
    [cpu].into_iter().chain(cuda).collect()
}
