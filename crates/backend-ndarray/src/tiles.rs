//! Tiles: products of a few rows with a panel of columns, in the vector instructions of the processor.

use aligned_vec::{AVec, ConstAlign};

use crate::number::Number;
#[cfg(target_arch = "x86_64")]
use crate::transpose::{transpose_f32, transpose_f64};

/// Bytes of a line of the caches: panels begin with one, as a vector across two of them is read twice.
const LINE: usize = 64;

/// Bytes of a panel that are asked for ahead of their use, as panels come from the second cache or beyond.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 4096;

/// Numbers from the beginning of a line of the caches on.
pub(crate) type AlignedVec<T> = AVec<T, ConstAlign<LINE>>;

/// Zeros from the beginning of a line of the caches on.
pub(crate) fn aligned_zeros<T: Number>(count: usize) -> AlignedVec<T> {
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

impl<T: Number> Tiles<T> {
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
    /// row: as many rows as the product has.
    pub(crate) fn panel(&self, left: &[T], panel: &[T], base: Option<&[T]>, rowwise: &mut [T], out: &mut [T]) {
        let rows = rowwise.len() / self.width;
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
