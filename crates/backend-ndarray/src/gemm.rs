//! The general matrix product on one thread.

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::number::Number;

/// `out ← keep · out + a · b` on one thread; `keep = 0` overwrites.
pub(crate) fn product<T: Number>(mut out: ArrayViewMut2<'_, T>, keep: f64, a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) {
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
        fn products_equal_the_plain_loop(
            m in 1usize..9, k in 1usize..9, n in 1usize..9, keep in -1i8..2, transpose: bool,
        ) {
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
