//! Products of many short matrices with one that stays the same, laid out once for all of them.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use std::ops::Range;

use crate::arrays::{column_major, numbers, numbers_mut};
use crate::real::product;
use crate::{Cpu, Real};

/// Rows of the greatest tile: with two vectors of columns, twelve sums that stay in registers, two loads and six broadcasts
/// per twelve multiplications, on processors with 16 registers and with 32.
pub(crate) const TILE_ROWS: usize = 6;

/// The most columns of a tile, those of two vectors of 64 bytes of 32-bit numbers.
pub(crate) const MOST_COLUMNS: usize = 32;

/// Adds `left · panel` of one tile: `depth` rows of the panel, `stride` from one column of the left factor to the next, and the
/// tile's own numbers, row by row, overwritten.
///
/// # Safety
/// `left` is valid for `ROWS` numbers at every of `depth` multiples of the stride, `panel` for `depth` and `tile` for `ROWS` times
/// the width of a panel; the processor has the instructions.
pub type Tile<T> = unsafe fn(depth: usize, left: *const T, stride: usize, panel: *const T, tile: *mut T);

/// The tiles of 1, 2, ... rows for the instructions of a processor.
#[derive(Clone, Copy)]
pub struct Tiles<T: 'static> {
    /// Columns of a panel.
    width: usize,
    of_rows: [Tile<T>; TILE_ROWS],
}

/// The precisions that have tiles.
pub trait Tiled: Sized + 'static {
    /// Those for this processor, if it has vector instructions with fused multiplication and addition.
    fn tiles() -> Option<Tiles<Self>>;
}

/// Tiles for one precision and one set of instructions.
#[cfg(target_arch = "x86_64")]
macro_rules! tile {
    ($name:ident, $features:literal, $t:ty, $lanes:literal, $zero:ident, $load:ident, $splat:ident, $fused:ident, $store:ident) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize>(
            depth: usize,
            left: *const $t,
            stride: usize,
            panel: *const $t,
            tile: *mut $t,
        ) {
            use std::arch::x86_64::*;
            let mut sums = [[$zero(); 2]; ROWS];
            for k in 0..depth {
                // SAFETY: within what the caller promises.
                unsafe {
                    let (left, panel) = (left.add(k * stride), panel.add(k * 2 * $lanes));
                    let right = [$load(panel), $load(panel.add($lanes))];
                    for (r, sum) in sums.iter_mut().enumerate() {
                        let left = $splat(*left.add(r));
                        *sum = [$fused(left, right[0], sum[0]), $fused(left, right[1], sum[1])];
                    }
                }
            }
            for (r, sum) in sums.iter().enumerate() {
                // SAFETY: as above.
                unsafe {
                    $store(tile.add(r * 2 * $lanes), sum[0]);
                    $store(tile.add(r * 2 * $lanes + $lanes), sum[1]);
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tile!(
    avx2_f32,
    "avx2,fma",
    f32,
    8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_storeu_ps
);
#[cfg(target_arch = "x86_64")]
tile!(
    avx2_f64,
    "avx2,fma",
    f64,
    4,
    _mm256_setzero_pd,
    _mm256_loadu_pd,
    _mm256_set1_pd,
    _mm256_fmadd_pd,
    _mm256_storeu_pd
);
#[cfg(target_arch = "x86_64")]
tile!(
    avx512_f32,
    "avx512f",
    f32,
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_storeu_ps
);
#[cfg(target_arch = "x86_64")]
tile!(
    avx512_f64,
    "avx512f",
    f64,
    8,
    _mm512_setzero_pd,
    _mm512_loadu_pd,
    _mm512_set1_pd,
    _mm512_fmadd_pd,
    _mm512_storeu_pd
);

#[cfg(target_arch = "x86_64")]
macro_rules! tiled {
    ($t:ty, $avx512:ident, $avx512_width:literal, $avx2:ident, $avx2_width:literal) => {
        impl Tiled for $t {
            fn tiles() -> Option<Tiles<Self>> {
                if is_x86_feature_detected!("avx512f") {
                    let of_rows = [$avx512::<1>, $avx512::<2>, $avx512::<3>, $avx512::<4>, $avx512::<5>, $avx512::<6>];
                    return Some(Tiles { width: $avx512_width, of_rows });
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    let of_rows = [$avx2::<1>, $avx2::<2>, $avx2::<3>, $avx2::<4>, $avx2::<5>, $avx2::<6>];
                    return Some(Tiles { width: $avx2_width, of_rows });
                }
                None
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tiled!(f32, avx512_f32, 32, avx2_f32, 16);
#[cfg(target_arch = "x86_64")]
tiled!(f64, avx512_f64, 16, avx2_f64, 8);

#[cfg(not(target_arch = "x86_64"))]
impl Tiled for f32 {
    fn tiles() -> Option<Tiles<Self>> {
        None
    }
}
#[cfg(not(target_arch = "x86_64"))]
impl Tiled for f64 {
    fn tiles() -> Option<Tiles<Self>> {
        None
    }
}

/// A right factor laid out for products with many short left ones.
///
/// Blocks of rows are cut so that a core can take any number of them, which leaves heights that vectors do not divide (25 of a batch
/// of 100). So vectors run along the columns, which belong to the right factor and whose count is large, and the rows of a tile are
/// broadcast. Where the processor has no such tiles, the general product serves.
pub(crate) struct Packed<T: Real> {
    layout: Layout<T>,
    shape: (usize, usize),
}

enum Layout<T: 'static> {
    /// Panel after panel of some columns (zeros beyond the last), each row by row.
    Panels(Tiles<T>, Vec<T>),
    /// As it is, for the general product.
    Plain(Array2<T>),
}

impl<T: Real> Packed<T> {
    /// Lays `right` out, on all threads.
    pub(crate) fn new(space: &Cpu<T>, right: ArrayView2<'_, T>) -> Self {
        let Some(tiles) = T::tiles() else { return Self::plain(right) };
        let (depth, columns) = right.dim();
        let mut panels = vec![T::zero(); depth * columns.next_multiple_of(tiles.width)];
        let lay_out = |(panel, right): (&mut [T], ArrayView2<'_, T>)| {
            for (row, from) in panel.chunks_exact_mut(tiles.width).zip(right.rows()) {
                row.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
        };
        let from: Vec<_> = right.axis_chunks_iter(Axis(1), tiles.width).collect();
        space.install(|| panels.par_chunks_exact_mut((depth * tiles.width).max(1)).zip(from).for_each(lay_out));
        Self { layout: Layout::Panels(tiles, panels), shape: (depth, columns) }
    }

    /// For the general product.
    fn plain(right: ArrayView2<'_, T>) -> Self {
        Self { layout: Layout::Plain(column_major(right)), shape: right.dim() }
    }

    /// Whether the processor has tiles for it.
    pub(crate) fn is_tiled(&self) -> bool {
        matches!(self.layout, Layout::Panels(..))
    }

    /// `out ← base + left · right` (`base` zero where there is none), the columns of `out` a few at a time: after them `then` is called
    /// with their range and their numbers, which are in the cache nearest to the processor.
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
        let mut rowwise = vec![T::zero(); rows * tiles.width];
        for (p, out) in out.chunks_mut(rows * tiles.width).enumerate() {
            let panel = &panels[p * depth * tiles.width..(p + 1) * depth * tiles.width];
            let first = p * tiles.width;
            let range = first..first + out.len() / rows;
            let base = base.map(|base| &base[range.start * rows..range.end * rows]);
            tiles.panel(rows, left, panel, base, &mut rowwise, out);
            then(range, out);
        }
    }
}

impl<T: Real> Tiles<T> {
    /// Columns of a panel.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// One tile, `height × width` row by row: `tile_rc ← Σ_k left[k · stride + r] · panel[k · width + c]`, over the whole panel.
    pub(crate) fn tile(&self, height: usize, left: &[T], stride: usize, panel: &[T], tile: &mut [T]) {
        let depth = panel.len() / self.width;
        assert!(depth == 0 || left.len() >= (depth - 1) * stride + height, "a left factor as deep as the panel");
        assert!(tile.len() >= height * self.width, "room for the tile");
        // SAFETY: as just checked, in the left factor `height` numbers follow every of the `depth` multiples of the stride, the panel
        // holds `depth` rows and the tile has its room. The instructions were found when the tiles were chosen.
        unsafe {
            self.of_rows[height - 1](depth, left.as_ptr(), stride, panel.as_ptr(), tile.as_mut_ptr());
        }
    }

    /// The product with one panel, tile by tile, whose heights differ by one at most. `rowwise` is room for it, row by row.
    fn panel(&self, rows: usize, left: &[T], panel: &[T], base: Option<&[T]>, rowwise: &mut [T], out: &mut [T]) {
        let count = rows.div_ceil(TILE_ROWS);
        for i in 0..count {
            let (first, next) = (i * rows / count, (i + 1) * rows / count);
            // Without columns the left factor is empty.
            let left = left.get(first..).unwrap_or_default();
            self.tile(next - first, left, rows, panel, &mut rowwise[first * self.width..]);
        }
        let column = |j: usize| rowwise[j..].iter().step_by(self.width);
        for (j, out) in out.chunks_exact_mut(rows).enumerate() {
            match base {
                Some(base) => {
                    let terms = base[j * rows..(j + 1) * rows].iter().zip(column(j));
                    out.iter_mut().zip(terms).for_each(|(out, (base, value))| *out = *base + *value);
                }
                None => out.iter_mut().zip(column(j)).for_each(|(out, value)| *out = *value),
            }
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
    use crate::arrays::zeros;
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
        let packed = Packed::new(&space, right.view());
        assert_eq!(packed.is_tiled(), T::tiles().is_some());
        assert_eq!(multiplied(&packed, base.as_ref(), &left), plain);
        let transposed = column_major(right.t());
        assert_eq!(multiplied(&Packed::new(&space, transposed.t()), base.as_ref(), &left), plain);
    }

    proptest! {
        #[test]
        fn packed_products_equal_the_general_one(rows in 0usize..40, depth in 0usize..40, cols in 0usize..70, base: bool) {
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
