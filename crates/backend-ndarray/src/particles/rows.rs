//! Rows of directional derivatives, an entry for each unit of a layer, times factors of the units.

use crate::number::Number;

/// Appends `slopes ⊙ row` of every row to `bent`, and adds the squares of the rows to `squares`.
#[inline(always)]
pub(super) fn bend<T: Number>(rows: &[T], slopes: &[T], bent: &mut Vec<T>, squares: &mut [T]) {
    for row in rows.chunks_exact(slopes.len()) {
        squares.iter_mut().zip(row).for_each(|(square, t)| *square += *t * *t);
        bent.extend(row.iter().zip(slopes).map(|(t, s)| *t * *s));
    }
}

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

/// The way back of [`bend`] from the cotangents `bars` of bent rows to those of the rows, `slopes ⊙ bar + factors ⊙
/// row`. Adds the sum of `bar ⊙ row` to `along`.
#[inline(always)]
pub(super) fn pull_bend<T: Number>(bars: &mut [T], rows: &[T], slopes: &[T], factors: &[T], along: &mut [T]) {
    let units = slopes.len();
    for (bar, row) in bars.chunks_exact_mut(units).zip(rows.chunks_exact(units)) {
        along.iter_mut().zip(bar.iter().zip(row)).for_each(|(along, (bar, t))| *along += *bar * *t);
        let terms = row.iter().zip(slopes.iter().zip(factors));
        bar.iter_mut().zip(terms).for_each(|(bar, (t, (s, factor)))| *bar = *s * *bar + *factor * *t);
    }
}
