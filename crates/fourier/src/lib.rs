//! Plans of Fourier transforms for both precisions, compiled once for all that use them.
//!
//! The planners of rustfft are generic, so a crate that makes one compiles every transform of every vector unit again,
//! and so does every test and program over a generic backend. That is most of a minute for each precision. Nothing here
//! is generic, so it happens in this crate alone.

use std::sync::Arc;

pub use realfft::num_complex::Complex;
pub use realfft::num_traits::Zero;
pub use realfft::{ComplexToReal, RealToComplex};
pub use rustfft::{Fft, FftNum};

use realfft::RealFftPlanner;
use rustfft::FftPlanner;

/// A transform of complex numbers and its inverse; neither divides by the length.
pub type Pair<T> = (Arc<dyn Fft<T>>, Arc<dyn Fft<T>>);

/// A precision that has transforms.
pub trait Plans: FftNum {
    /// The transforms of each of these lengths.
    fn complex<const N: usize>(lengths: [usize; N]) -> [Pair<Self>; N] {
        let mut pairs = Self::pairs(&lengths).into_iter();
        std::array::from_fn(|_| pairs.next().expect("one for each length"))
    }

    /// The transforms of each of these lengths, in a list.
    fn pairs(lengths: &[usize]) -> Vec<Pair<Self>>;
}

macro_rules! plans {
    ($($real:ty),*) => {
        $(impl Plans for $real {
            #[inline(never)]
            fn pairs(lengths: &[usize]) -> Vec<Pair<Self>> {
                let mut planner = FftPlanner::new();
                let pair = |&length| (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
                lengths.iter().map(pair).collect()
            }
        })*
    };
}

plans!(f32, f64);

/// The transform of so many real numbers to half as many complex ones, and its inverse, which does not divide by the
/// length.
#[inline(never)]
pub fn real(length: usize) -> (Arc<dyn RealToComplex<f64>>, Arc<dyn ComplexToReal<f64>>) {
    let mut planner = RealFftPlanner::new();
    (planner.plan_fft_forward(length), planner.plan_fft_inverse(length))
}
