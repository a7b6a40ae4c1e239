//! Orthonormal directions in which particles move and their centre does not.

use crate::number::Number;

/// `(Σ_{j<m} y_j − m y_m)/√(m (m + 1))` for m from 1 to n − 1, Helmert's contrasts, of rows y of n particles.
///
/// Sums of squares stay what they are where the rows add up to zero, as derivatives of functions of distances do.
#[inline(always)]
pub(super) fn contrasts<T: Number>(rows: &[T], width: usize, out: &mut [T]) {
    let mut before = vec![T::zero(); width];
    let each = rows.chunks_exact(width).zip(rows.chunks_exact(width).skip(1)).zip(out.chunks_exact_mut(width));
    for (m, ((last, row), out)) in (1..).zip(each) {
        let (count, factor) = factors::<T>(m);
        for (((out, before), last), y) in out.iter_mut().zip(&mut before).zip(last).zip(row) {
            *before += *last;
            *out = factor * (*before - count * *y);
        }
    }
}

/// The adjoint of [`contrasts`]: rows of n particles from n − 1 rows.
#[inline(always)]
pub(super) fn from_contrasts<T: Number>(contrasts: &[T], width: usize, out: &mut [T]) {
    let mut after = vec![T::zero(); width];
    let (first, rest) = out.split_at_mut(width);
    let each = contrasts.chunks_exact(width).zip(rest.chunks_exact_mut(width)).enumerate();
    for (m, (contrast, out)) in each.rev() {
        let (count, factor) = factors::<T>(m + 1);
        for ((out, after), y) in out.iter_mut().zip(&mut after).zip(contrast) {
            *out = *after - count * factor * *y;
            *after += factor * *y;
        }
    }
    first.copy_from_slice(&after);
}

/// m, and `1/√(m (m + 1))`.
fn factors<T: Number>(m: usize) -> (T, T) {
    let m = m as f64;
    (T::of(m), T::of((m * (m + 1.0)).sqrt().recip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_keep_lengths_of_what_adds_up_to_zero_and_return(
            n in 2usize..7, width in 1usize..4, numbers in prop::collection::vec(-1.0f64..1.0, 18),
        ) {
            let mut rows = numbers[..n * width].to_vec();
            for c in 0..width {
                let mean = rows.iter().skip(c).step_by(width).sum::<f64>() / n as f64;
                rows.iter_mut().skip(c).step_by(width).for_each(|x| *x -= mean);
            }
            let mut found = vec![f64::NAN; (n - 1) * width];
            contrasts(&rows, width, &mut found);
            for c in 0..width {
                let square = |of: &[f64]| of.iter().skip(c).step_by(width).map(|x| x * x).sum::<f64>();
                prop_assert!((square(&rows) - square(&found)).abs() < 1e-13);
            }
            let mut back = vec![f64::NAN; n * width];
            from_contrasts(&found, width, &mut back);
            prop_assert!(rows.iter().zip(&back).all(|(x, y)| (x - y).abs() < 1e-13), "{rows:?} {back:?}");
        }
    }
}
