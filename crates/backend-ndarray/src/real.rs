//! The two working precisions, and matrix products in them.

use flow_core::Precision;
use matrix_units::Units;
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::packed::InUnits;

/// A working precision: `f32` or `f64`.
pub trait Real:
    ndarray::NdFloat
    + fourier::Plans
    + crate::kernels::Kernels
    + crate::lattice_kernels::LatticeKernels
    + crate::packed::Tiled
    + crate::particles::ParticleKernels
    + crate::score_kernels::ScoreKernels
    + crate::separable_kernels::SeparableKernels
{
    /// Its name.
    const PRECISION: Precision;

    /// Rounds a 64-bit number.
    fn of(value: f64) -> Self;

    /// The number in 64 bits.
    fn wide(self) -> f64;

    /// The matrix units of this processor, if it has any for this precision.
    fn units() -> Option<InUnits<Self>>;
}

impl Real for f32 {
    const PRECISION: Precision = Precision::F32;

    fn of(value: f64) -> Self {
        value as f32
    }

    fn wide(self) -> f64 {
        f64::from(self)
    }

    fn units() -> Option<InUnits<Self>> {
        Units::of_this_processor().map(|units| InUnits { units, singles: |of| of, singles_mut: |of| of })
    }
}

impl Real for f64 {
    const PRECISION: Precision = Precision::F64;

    fn of(value: f64) -> Self {
        value
    }

    fn wide(self) -> f64 {
        self
    }

    fn units() -> Option<InUnits<Self>> {
        None
    }
}

/// `out ← keep · out + a · b` on one thread; `keep = 0` overwrites.
pub(crate) fn product<T: Real>(mut out: ArrayViewMut2<'_, T>, keep: f64, a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) {
    let ((m, k), n) = (a.dim(), b.ncols());
    assert!(b.nrows() == k && out.dim() == (m, n), "product of {:?} and {:?} into {:?}", a.dim(), b.dim(), out.dim());
    let (out_strides, a_strides, b_strides) = (strides(out.strides()), strides(a.strides()), strides(b.strides()));
    // SAFETY: the pointers and strides are those of live views whose shapes were just checked; `out` is borrowed
    // mutably, so it overlaps neither factor.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            out_strides.1,
            out_strides.0,
            keep != 0.0,
            a.as_ptr(),
            a_strides.1,
            a_strides.0,
            b.as_ptr(),
            b_strides.1,
            b_strides.0,
            T::of(keep),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn strides(of: &[isize]) -> (isize, isize) {
    (of[0], of[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_equal_the_plain_loop(m in 1usize..9, k in 1usize..9, n in 1usize..9, keep in -1i8..2, transpose: bool) {
            let a = Array2::from_shape_fn((m, k), |(i, j)| (i * 7 + j * 3) as f64 % 5.0 - 2.0);
            let b = Array2::from_shape_fn((n, k), |(i, j)| (i * 5 + j * 11) as f64 % 7.0 - 3.0);
            let b = if transpose { b.t().as_standard_layout().into_owned() } else { b.reversed_axes() };
            let mut out = Array2::from_elem((m, n), 2.0);
            if keep == 0 { out.fill(f64::NAN); }
            product(out.view_mut(), f64::from(keep), a.view(), b.view());
            for ((i, j), value) in out.indexed_iter() {
                let sum: f64 = (0..k).map(|l| a[[i, l]] * b[[l, j]]).sum();
                prop_assert_eq!(*value, f64::from(keep) * 2.0 + sum);
            }
        }
    }
}
