//! Products of many short matrices with one that stays the same, laid out once for all of them.

use std::cell::Cell;

use aligned_vec::{AVec, ConstAlign};
use matrix_units::{Left, Order, Right, Start, Units, WORTH_FROM};
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use std::ops::Range;

use crate::arrays::{column_major, numbers, numbers_mut};
use crate::real::product;
#[cfg(target_arch = "x86_64")]
use crate::transpose::{transpose_f32, transpose_f64};
use crate::{Cpu, Real};

/// Bytes of a line of the caches: panels begin with one, as a vector across two of them is read twice.
const LINE: usize = 64;

/// Bytes of a panel that are asked for ahead of their use, as panels come from the second cache or beyond.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 4096;

/// Numbers from the beginning of a line of the caches on.
pub(crate) type Lines<T> = AVec<T, ConstAlign<LINE>>;

/// Zeros from the beginning of a line of the caches on.
pub(crate) fn lines_of_zeros<T: Real>(count: usize) -> Lines<T> {
    AVec::from_iter(LINE, std::iter::repeat_n(T::zero(), count))
}

/// Adds `left · panel` to a tile: `depth` rows of the panel, `stride` from one column of the left factor to the next,
/// and the tile's own numbers, row by row.
///
/// # Safety
/// `left` is valid for `ROWS` numbers at every of `depth` multiples of the stride, `panel` for `depth` and `tile` for
/// `ROWS` times the width of a panel; the processor has the instructions.
pub type Tile<T> = unsafe fn(depth: usize, left: *const T, stride: usize, panel: *const T, tile: *mut T);

/// `to[j · to_stride + i] ← from[i · from_stride + j]` for `i < lines`, `j < length`.
///
/// # Safety
/// `from` is valid for `length` numbers at each of `lines` multiples of its stride, `to` for `lines` numbers at each of
/// `length` multiples of its own; the processor has AVX.
pub type Transpose<T> =
    unsafe fn(from: *const T, from_stride: usize, to: *mut T, to_stride: usize, lines: usize, length: usize);

/// The tiles of 1, 2, ... rows for the instructions of a processor.
#[derive(Clone, Copy)]
pub struct Tiles<T: 'static> {
    /// Columns of a panel.
    width: usize,
    of_rows: &'static [Tile<T>],
    transpose: Transpose<T>,
}

/// The precisions that have tiles.
pub trait Tiled: Sized + 'static {
    /// Those that this processor can compute, the fastest first: none without vectors and fused multiplication and
    /// addition.
    fn all_tiles() -> Vec<Tiles<Self>>;

    /// The fastest for this processor.
    fn tiles() -> Option<Tiles<Self>> {
        Self::all_tiles().into_iter().next()
    }
}

/// Matrix units, whose numbers are of 32 bits, for one precision.
#[derive(Clone, Copy)]
pub struct InUnits<T: 'static> {
    pub(crate) units: Units,
    /// The same numbers.
    pub(crate) singles: fn(&[T]) -> &[f32],
    /// The same numbers.
    pub(crate) singles_mut: fn(&mut [T]) -> &mut [f32],
}

/// Tiles for one precision and one set of instructions: two vectors of columns, and as many rows as leave registers for
/// two loads and a broadcast, 6 of 16 and 14 of 32.
#[cfg(target_arch = "x86_64")]
macro_rules! tile {
    ($name:ident, $features:literal, $t:ty, $lanes:literal, $load:ident, $splat:ident, $fused:ident, $store:ident) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize>(
            depth: usize,
            left: *const $t,
            stride: usize,
            panel: *const $t,
            tile: *mut $t,
        ) {
            use std::arch::x86_64::*;
            // SAFETY: within what the caller promises.
            let at = |r: usize| unsafe { tile.add(r * 2 * $lanes) };
            // SAFETY: as above.
            let mut sums: [_; ROWS] = std::array::from_fn(|r| unsafe { [$load(at(r)), $load(at(r).add($lanes))] });
            for k in 0..depth {
                // SAFETY: within what the caller promises.
                unsafe {
                    let (left, panel) = (left.add(k * stride), panel.add(k * 2 * $lanes));
                    for line in 0..2 * $lanes * size_of::<$t>() / LINE {
                        _mm_prefetch::<_MM_HINT_T0>(panel.cast::<i8>().wrapping_add(AHEAD + line * LINE));
                    }
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
                    $store(at(r), sum[0]);
                    $store(at(r).add($lanes), sum[1]);
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tile!(avx2_f32, "avx2,fma", f32, 8, _mm256_loadu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_storeu_ps);
#[cfg(target_arch = "x86_64")]
tile!(avx2_f64, "avx2,fma", f64, 4, _mm256_loadu_pd, _mm256_set1_pd, _mm256_fmadd_pd, _mm256_storeu_pd);
#[cfg(target_arch = "x86_64")]
tile!(avx512_f32, "avx512f", f32, 16, _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_storeu_ps);
#[cfg(target_arch = "x86_64")]
tile!(avx512_f64, "avx512f", f64, 8, _mm512_loadu_pd, _mm512_set1_pd, _mm512_fmadd_pd, _mm512_storeu_pd);

#[cfg(target_arch = "x86_64")]
macro_rules! of_rows {
    ($tile:ident: $($rows:literal)*) => { &[$($tile::<$rows>),*] };
}

#[cfg(target_arch = "x86_64")]
macro_rules! tiled {
    ($t:ty, $avx512:ident, $avx512_width:literal, $avx2:ident, $avx2_width:literal, $transpose:ident) => {
        impl Tiled for $t {
            fn all_tiles() -> Vec<Tiles<Self>> {
                let mut all = Vec::new();
                if is_x86_feature_detected!("avx512f") {
                    let of_rows = of_rows!($avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                    all.push(Tiles { width: $avx512_width, of_rows, transpose: $transpose });
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    let of_rows = of_rows!($avx2: 1 2 3 4 5 6);
                    all.push(Tiles { width: $avx2_width, of_rows, transpose: $transpose });
                }
                all
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tiled!(f32, avx512_f32, 32, avx2_f32, 16, transpose_f32);
#[cfg(target_arch = "x86_64")]
tiled!(f64, avx512_f64, 16, avx2_f64, 8, transpose_f64);

#[cfg(not(target_arch = "x86_64"))]
impl Tiled for f32 {
    fn all_tiles() -> Vec<Tiles<Self>> {
        Vec::new()
    }
}
#[cfg(not(target_arch = "x86_64"))]
impl Tiled for f64 {
    fn all_tiles() -> Vec<Tiles<Self>> {
        Vec::new()
    }
}

/// A right factor laid out for products with many short left ones.
///
/// Blocks of rows are cut so that a core can take any number of them, which leaves heights that vectors do not divide
/// (25 of a batch of 100). So vectors run along the columns, which belong to the right factor and whose count is large,
/// and the rows of a tile are broadcast. Where the processor has no such tiles, the general product serves; where it
/// has matrix units too, they do what is large enough for them.
pub(crate) struct Packed<T: Real> {
    layout: Layout<T>,
    shape: (usize, usize),
}

enum Layout<T: 'static> {
    /// Panel after panel of some columns (zeros beyond the last), each row by row.
    Panels(Tiles<T>, Lines<T>),
    /// For matrix units, as their left factor: our matrices lie column by column, theirs row by row.
    Pieces(InUnits<T>, Left),
    /// As it is, for the general product.
    Plain(Array2<T>),
}

impl<T: Real> Packed<T> {
    /// Lays `right` out for left factors of so many rows.
    pub(crate) fn new(space: &Cpu<T>, right: ArrayView2<'_, T>, rows: usize) -> Self {
        let (depth, columns) = right.dim();
        match T::units() {
            Some(units) if depth.min(columns) >= WORTH_FROM && rows >= ROWS_FROM => Self::in_pieces(right, units),
            _ => T::tiles().map_or_else(|| Self::plain(right), |tiles| Self::tiled(space, right, tiles)),
        }
    }

    fn in_pieces(right: ArrayView2<'_, T>, units: InUnits<T>) -> Self {
        let (depth, columns) = right.dim();
        let mut pieces = Left::default();
        pieces.lay_out((units.singles)(numbers(&column_major(right))), depth, (columns, depth));
        Self { layout: Layout::Pieces(units, pieces), shape: (depth, columns) }
    }

    fn tiled(space: &Cpu<T>, right: ArrayView2<'_, T>, tiles: Tiles<T>) -> Self {
        let (depth, columns) = right.dim();
        let mut panels = lines_of_zeros(depth * columns.next_multiple_of(tiles.width));
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

    /// Whether the processor has tiles for it, or matrix units.
    pub(crate) fn is_laid_out(&self) -> bool {
        !matches!(self.layout, Layout::Plain(_))
    }

    /// Whether its products are those of matrix units.
    pub(crate) fn is_in_pieces(&self) -> bool {
        matches!(self.layout, Layout::Pieces(..))
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
            Layout::Pieces(units, right) => return product_in_pieces(*units, out, base, left, right, then),
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

/// Least rows for matrix units, which take as long for any number up to 32.
const ROWS_FROM: usize = 20;

thread_local! {
    /// Room for the changing factor of this thread's products.
    static PIECES: Cell<Right> = Cell::default();
}

/// [`Packed::product`] by matrix units.
fn product_in_pieces<T: Real>(
    InUnits { units, singles, singles_mut }: InUnits<T>,
    out: &mut Array2<T>,
    base: Option<&Array2<T>>,
    left: &Array2<T>,
    right: &Left,
    mut then: impl FnMut(Range<usize>, &mut [T]),
) {
    let (rows, depth) = left.dim();
    let mut pieces = PIECES.take();
    pieces.lay_out(singles(numbers(left)), rows, (depth, rows));
    let (out, base) = (numbers_mut(out), base.map(|base| singles(numbers(base))));
    for group in 0..right.groups() {
        let columns = right.rows_of(group..group + 1);
        let all = columns.start * rows..columns.end * rows;
        let start = base.map_or(Start::Zeros, |base| Start::Of(&base[all.clone()]));
        let out = &mut out[all];
        let factors = ((right, group..group + 1), (&pieces, 0..pieces.panels()));
        units.multiply(factors.0, factors.1, Order::ByGroup, start, (singles_mut(out), rows));
        then(columns, out);
    }
    PIECES.set(pieces);
}

impl<T: Real> Tiles<T> {
    /// Columns of a panel.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Rows of the greatest tile.
    pub(crate) fn height(&self) -> usize {
        self.of_rows.len()
    }

    /// One tile, `height × width` row by row: `tile_rc ← tile_rc + Σ_k left[k · stride + r] · panel[k · width + c]`,
    /// over the whole panel.
    pub(crate) fn add(&self, height: usize, left: &[T], stride: usize, panel: &[T], tile: &mut [T]) {
        let depth = panel.len() / self.width;
        assert!(depth == 0 || left.len() >= (depth - 1) * stride + height, "a left factor as deep as the panel");
        assert!(tile.len() >= height * self.width, "room for the tile");
        // SAFETY: as just checked, in the left factor `height` numbers follow every of the `depth` multiples of the
        // stride, the panel holds `depth` rows and the tile has its room. The instructions were found when the tiles
        // were chosen.
        unsafe {
            self.of_rows[height - 1](depth, left.as_ptr(), stride, panel.as_ptr(), tile.as_mut_ptr());
        }
    }

    /// `to[j · to_stride + i] ← from[i · from_stride + j]` for `i < lines`, `j < length`.
    pub(crate) fn transpose(
        &self,
        (from, from_stride): (&[T], usize),
        (to, to_stride): (&mut [T], usize),
        (lines, length): (usize, usize),
    ) {
        if lines == 0 || length == 0 {
            return;
        }
        assert!(from.len() >= (lines - 1) * from_stride + length, "as many lines");
        assert!(to_stride >= lines && to.len() >= (length - 1) * to_stride + lines, "room for them");
        // SAFETY: as just checked, all numbers are within the slices. The instructions were found when the tiles were
        // chosen.
        unsafe { (self.transpose)(from.as_ptr(), from_stride, to.as_mut_ptr(), to_stride, lines, length) };
    }

    /// The product with one panel, tile by tile, whose heights differ by one at most. `rowwise` is room for it, row by
    /// row.
    fn panel(&self, rows: usize, left: &[T], panel: &[T], base: Option<&[T]>, rowwise: &mut [T], out: &mut [T]) {
        let count = rows.div_ceil(self.height());
        rowwise.fill(T::zero());
        for i in 0..count {
            let (first, next) = (i * rows / count, (i + 1) * rows / count);
            // Without columns the left factor is empty.
            let left = left.get(first..).unwrap_or_default();
            self.add(next - first, left, rows, panel, &mut rowwise[first * self.width..]);
        }
        let columns = out.len() / rows;
        self.transpose((rowwise, self.width), (out, rows), (rows, columns));
        if let Some(base) = base {
            out.iter_mut().zip(base).for_each(|(out, base)| *out += *base);
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
        assert_eq!(Packed::new(&space, right.view(), rows).is_laid_out(), T::tiles().is_some());
        let transposed = column_major(right.t());
        for right in [right.view(), transposed.t()] {
            for tiles in T::all_tiles() {
                assert_eq!(multiplied(&Packed::tiled(&space, right, tiles), base.as_ref(), &left), plain);
            }
            if let Some(units) = T::units() {
                assert_eq!(multiplied(&Packed::in_pieces(right, units), base.as_ref(), &left), plain);
            }
        }
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
        let in_pieces = f32::units().map(|units| Packed::in_pieces(right.view(), units));
        for packed in
            [Packed::new(&Cpu::new(1), right.view(), 13), Packed::plain(right.view())].into_iter().chain(in_pieces)
        {
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
