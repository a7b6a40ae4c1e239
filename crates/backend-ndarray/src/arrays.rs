//! Small helpers on matrices in the layout of [`Cpu`](crate::Cpu): column-major, without gaps.

use ndarray::{Array2, ArrayView1, ArrayView2, ShapeBuilder};

use crate::number::Number;

/// A matrix of zeros.
pub(crate) fn zeros<T: Number>(rows: usize, cols: usize) -> Array2<T> {
    Array2::zeros((rows, cols).f())
}

/// A matrix of one row.
pub(crate) fn row_of<T: Number>(numbers: Vec<T>) -> Array2<T> {
    Array2::from_shape_vec((1, numbers.len()).f(), numbers).expect("one row of this length")
}

/// The numbers of one of our own matrices, column by column.
pub(crate) fn numbers<T>(matrix: &Array2<T>) -> &[T] {
    assert!(matrix.t().is_standard_layout(), "column-major");
    matrix.as_slice_memory_order().expect("our own matrices are contiguous")
}

/// The numbers of one of our own matrices, column by column.
pub(crate) fn numbers_mut<T>(matrix: &mut Array2<T>) -> &mut [T] {
    assert!(matrix.t().is_standard_layout(), "column-major");
    matrix.as_slice_memory_order_mut().expect("our own matrices are contiguous")
}

/// A copy in column-major order.
pub(crate) fn column_major<T: Number>(of: ArrayView2<'_, T>) -> Array2<T> {
    let mut out = zeros(of.nrows(), of.ncols());
    out.assign(&of);
    out
}

/// The sum of every column.
pub(crate) fn column_sums<T: Number>(of: &Array2<T>) -> Vec<T> {
    of.columns().into_iter().map(|column| column.sum()).collect()
}

/// The inner product of every column of one matrix with that of another.
pub(crate) fn column_dots<T: Number>(a: &Array2<T>, b: &Array2<T>) -> Vec<T> {
    a.columns().into_iter().zip(b.columns()).map(|(a, b)| a.dot(&b)).collect()
}

/// One column of one of our own matrices.
pub(crate) fn column<T>(matrix: &Array2<T>, j: usize) -> &[T] {
    let rows = matrix.nrows();
    &numbers(matrix)[j * rows..(j + 1) * rows]
}

/// A copy with every column times its own factor.
pub(crate) fn scaled<T: Number>(of: &Array2<T>, factors: &[T]) -> Array2<T> {
    let mut out = of.clone();
    for_columns(numbers_mut(&mut out), of.nrows(), factors, |out, factor| *out *= factor);
    out
}

/// The inner product of two lists.
pub(crate) fn dot<T: Number>(a: &[T], b: &[T]) -> T {
    ArrayView1::from(a).dot(&ArrayView1::from(b))
}

/// Element-wise product of two lists.
pub(crate) fn times<T: Number>(a: &[T], b: &[T]) -> Vec<T> {
    a.iter().zip(b).map(|(a, b)| *a * *b).collect()
}

/// Work on every number of some columns of `rows` numbers, with the number of its column.
pub(crate) fn for_columns<T: Number>(matrix: &mut [T], rows: usize, numbers: &[T], mut work: impl FnMut(&mut T, T)) {
    for (column, number) in matrix.chunks_exact_mut(rows.max(1)).zip(numbers) {
        column.iter_mut().for_each(|value| work(value, *number));
    }
}
