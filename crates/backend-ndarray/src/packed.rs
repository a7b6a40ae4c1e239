//! Products of many short matrices with one that stays the same, laid out once for all of them.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use crate::arrays::{column_major, numbers, numbers_mut, zeros};
use crate::cpu::Cpu;
use crate::gemm::product;
use crate::real::Real;
use crate::tiles::{AlignedVec, Tiles, aligned_zeros};

/// A right factor laid out for products with many short left ones.
///
/// Blocks of rows are cut so that a core can take any number of them, which leaves heights that vectors do not divide
/// (25 of a batch of 100). So vectors run along the columns, which belong to the right factor and whose count is large,
/// and the rows of a tile are broadcast. Where the processor has no such tiles, the general product serves.
pub(crate) struct Packed<T: Real> {
    layout: Layout<T>,
    shape: (usize, usize),
}

enum Layout<T: 'static> {
    /// Panels of some columns (zeros beyond the last), each row by row.
    Panels(Tiles<T>, Vec<AlignedVec<T>>),
    /// As it is, for the general product.
    Plain(Array2<T>),
}

impl<T: Real> Packed<T> {
    /// Lays `right` out.
    pub(crate) fn new(space: &Cpu<T>, right: ArrayView2<'_, T>) -> Self {
        T::tiles().map_or_else(|| Self::plain(right), |tiles| Self::tiled(space, right, tiles))
    }

    /// Lays `right` out where it fills at least half a panel, which zeros are multiplied for otherwise.
    pub(crate) fn unless_narrow(space: &Cpu<T>, right: ArrayView2<'_, T>) -> Self {
        match T::tiles().filter(|tiles| 2 * right.ncols() >= tiles.width()) {
            Some(tiles) => Self::tiled(space, right, tiles),
            None => Self::plain(right),
        }
    }

    fn tiled(space: &Cpu<T>, right: ArrayView2<'_, T>, tiles: Tiles<T>) -> Self {
        let (depth, width) = (right.nrows(), tiles.width());
        let panel = |right: ArrayView2<'_, T>| {
            let mut panel = aligned_zeros(depth * width);
            if let Some(numbers) = right.t().to_slice() {
                tiles.transpose((numbers, depth), (&mut panel, width), (right.ncols(), depth));
                return panel;
            }
            for (row, from) in panel.chunks_exact_mut(width).zip(right.rows()) {
                match from.as_slice() {
                    Some(from) => row[..from.len()].copy_from_slice(from),
                    None => row.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
                }
            }
            panel
        };
        let parts: Vec<_> = right.axis_chunks_iter(Axis(1), width).collect();
        let panels = space.install(|| parts.into_par_iter().map(panel).collect());
        Self { layout: Layout::Panels(tiles, panels), shape: right.dim() }
    }

    /// For the general product.
    fn plain(right: ArrayView2<'_, T>) -> Self {
        Self { layout: Layout::Plain(column_major(right)), shape: right.dim() }
    }

    /// Whether the processor has tiles for it.
    pub(crate) fn is_tiled(&self) -> bool {
        !matches!(self.layout, Layout::Plain(_))
    }

    /// Columns of the factor.
    pub(crate) fn columns(&self) -> usize {
        self.shape.1
    }

    /// `left · right`.
    pub(crate) fn of(&self, left: &Array2<T>) -> Array2<T> {
        let mut out = zeros(left.nrows(), self.columns());
        self.product(&mut out, None, left, |_, _| ());
        out
    }

    /// `out ← base + left · right` (`base` zero where there is none), the columns of `out` a few at a time: after them
    /// `then` is called with their range and their numbers, which are in the cache nearest to the processor.
    pub(crate) fn product(
        &self,
        out: &mut Array2<T>,
        base: Option<&Array2<T>>,
        left: &Array2<T>,
        mut then: impl FnMut(Range<usize>, &mut [T]),
    ) {
        let (rows, (depth, columns)) = (left.nrows(), self.shape);
        assert!(left.ncols() == depth && out.dim() == (rows, columns), "{:?} · {:?}", left.dim(), self.shape);
        assert!(base.is_none_or(|base| base.dim() == out.dim()), "a base of the shape of the product");
        if rows == 0 {
            return;
        }
        let (tiles, panels) = match &self.layout {
            Layout::Panels(tiles, panels) => (tiles, panels),
            Layout::Plain(right) => {
                match base {
                    Some(base) => out.assign(base),
                    None => out.fill(T::zero()),
                }
                product(out.view_mut(), 1.0, left.view(), right.view());
                return then(0..columns, numbers_mut(out));
            }
        };
        let (left, base, out) = (numbers(left), base.map(numbers), numbers_mut(out));
        let mut rowwise = vec![T::zero(); rows * tiles.width()];
        for (p, (panel, out)) in panels.iter().zip(out.chunks_mut(rows * tiles.width())).enumerate() {
            let first = p * tiles.width();
            let range = first..first + out.len() / rows;
            let base = base.map(|base| &base[range.start * rows..range.end * rows]);
            tiles.panel(left, panel, base, &mut rowwise, out);
            then(range, out);
        }
    }
}

/// `left · right` of a packed factor in a matrix of its own.
#[cfg(test)]
fn multiplied<T: Real>(packed: &Packed<T>, base: Option<&Array2<T>>, left: &Array2<T>) -> Array2<T> {
    let mut out = crate::arrays::zeros(left.nrows(), packed.shape.1);
    out.fill(T::of(f64::NAN));
    packed.product(&mut out, base, left, |_, _| ());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matrix<T: Real>(rows: usize, cols: usize, key: usize) -> Array2<T> {
        let mut out = zeros(rows, cols);
        out.indexed_iter_mut().for_each(|((i, j), v)| *v = T::of(((i * 7 + j * 3 + key) % 11) as f64 - 5.0));
        out
    }

    fn same_as_the_general_product<T: Real>(rows: usize, depth: usize, cols: usize, with_base: bool) {
        let (left, right) = (matrix::<T>(rows, depth, 1), matrix::<T>(depth, cols, 4));
        let base = with_base.then(|| matrix(rows, cols, 9));
        let space = Cpu::<T>::new(2);
        // Small integers: sums are exact in any order.
        let plain = multiplied(&Packed::plain(right.view()), base.as_ref(), &left);
        assert_eq!(Packed::new(&space, right.view()).is_tiled(), T::tiles().is_some());
        let transposed = column_major(right.t());
        for right in [right.view(), transposed.t()] {
            for tiles in T::all_tiles() {
                assert_eq!(multiplied(&Packed::tiled(&space, right, tiles), base.as_ref(), &left), plain);
            }
            assert_eq!(multiplied(&Packed::unless_narrow(&space, right), base.as_ref(), &left), plain);
        }
    }

    proptest! {
        #[test]
        fn packed_products_equal_the_general_one(
            rows in 0usize..40, depth in 0usize..40, cols in 0usize..70, base: bool,
        ) {
            same_as_the_general_product::<f32>(rows, depth, cols, base);
            same_as_the_general_product::<f64>(rows, depth, cols, base);
        }
    }

    #[test]
    fn every_column_is_handed_on_once_and_finished() {
        let (left, right) = (matrix::<f32>(13, 20, 0), matrix::<f32>(20, 100, 2));
        for packed in [Packed::new(&Cpu::new(1), right.view()), Packed::plain(right.view())] {
            let expected = multiplied(&packed, None, &left);
            let (mut out, mut next) = (zeros(13, 100), 0);
            packed.product(&mut out, None, &left, |columns, numbers| {
                assert_eq!(columns.start, next);
                let of_columns = &crate::arrays::numbers(&expected)[columns.start * 13..columns.end * 13];
                assert_eq!(numbers, of_columns);
                next = columns.end;
            });
            assert_eq!(next, 100);
        }
    }
}
