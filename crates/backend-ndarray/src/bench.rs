//! Products of short matrices with one that stays the same, for the bench that compares them with other crates.

use ndarray::{Array2, ArrayView2};

use crate::cpu::Cpu;
use crate::packed::Packed;
use crate::real::Real;

/// A right factor, laid out for products with short left ones as a ridge potential has them.
pub struct RightFactor<T: Real>(Packed<T>);

impl<T: Real> RightFactor<T> {
    /// Lays the factor out.
    pub fn new(space: &Cpu<T>, right: ArrayView2<'_, T>) -> Self {
        Self(Packed::new(space, right))
    }

    /// `out ← left · right` of matrices in column-major order, on the calling thread.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    pub fn product(&self, out: &mut Array2<T>, left: &Array2<T>) {
        self.0.product(out, None, left, |_, _| ());
    }
}
