//! Rows of directional derivatives, an entry for each unit of a layer, times factors of the units.

use crate::number::Number;

/// Adds the squares of all rows.
#[inline(always)]
pub(super) fn add_squares<T: Number>(rows: &[T], squares: &mut [T]) {
    for row in rows.chunks_exact(squares.len()) {
        squares.iter_mut().zip(row).for_each(|(square, t)| *square += *t * *t);
    }
}

/// Appends `factors ⊙ row` of every row to `out`.
#[inline(always)]
pub(super) fn scale_rows<T: Number>(rows: &[T], factors: &[T], out: &mut Vec<T>) {
    for row in rows.chunks_exact(factors.len()) {
        out.extend(row.iter().zip(factors).map(|(t, factor)| *t * *factor));
    }
}

/// The way back of `slopes ⊙ row` and of the squares of rows, from the cotangents `bars` of the former and twice those
/// of the latter, `factors`: the cotangents of the rows, `slopes ⊙ bar + factors ⊙ row`. Adds the sum of `bar ⊙ row` to
/// `along`.
#[inline(always)]
pub(super) fn pull_bend<T: Number>(bars: &mut [T], rows: &[T], slopes: &[T], factors: &[T], along: &mut [T]) {
    let units = slopes.len();
    for (bar, row) in bars.chunks_exact_mut(units).zip(rows.chunks_exact(units)) {
        along.iter_mut().zip(bar.iter().zip(row)).for_each(|(along, (bar, t))| *along += *bar * *t);
        let terms = row.iter().zip(slopes.iter().zip(factors));
        bar.iter_mut().zip(terms).for_each(|(bar, (t, (s, factor)))| *bar = *s * *bar + *factor * *t);
    }
}
