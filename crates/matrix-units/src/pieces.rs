//! 32-bit numbers in three pieces of 16 bits, laid out for tiles.

use multiversion::multiversion;

use crate::{DEPTH, SIDE, TILE};

/// The nearest bfloat16, to the even one of two, as the 32-bit number that it is.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // Rounding could make zero of what is no number.
    let rounded = if x.is_nan() { bits | 0x0040_0000 } else { rounded };
    f32::from_bits(rounded & 0xffff_0000)
}

/// `x = x₁ + x₂ + x₃`, exactly but for what is below the least normal number.
#[inline(always)]
fn split(x: f32) -> [f32; 3] {
    let first = nearest(x);
    let second = nearest(x - first);
    [first, second, nearest(x - first - second)]
}

/// Some numbers of one row of a left factor, at most [`DEPTH`]: each piece in a tile of its own, the third one first,
/// and two tiles further the next.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma"))]
pub(crate) fn row(numbers: &[f32], out: &mut [u16]) {
    let high = |piece: f32| (piece.to_bits() >> 16) as u16;
    let (third, rest) = out.split_at_mut(2 * TILE);
    let (second, first) = rest.split_at_mut(2 * TILE);
    let out = third.iter_mut().zip(second).zip(&mut first[..numbers.len()]);
    for (((third, second), first), x) in out.zip(numbers) {
        let pieces = split(*x);
        (*first, *second, *third) = (high(pieces[0]), high(pieces[1]), high(pieces[2]));
    }
}

/// Some rows of a panel, at most [`DEPTH`], with `stride` numbers from one to the next: each piece, the first one
/// first, in two tiles of 16 columns from those given, a row of which holds two rows of the panel, number by number in
/// turn. What lies beyond the columns of a tile is anything.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma"))]
pub(crate) fn rows_in_pairs(numbers: &[f32], stride: usize, tiles: [usize; 2], out: &mut [u16]) {
    for (pair, rows) in numbers.chunks(2 * stride).enumerate() {
        for (tile, first) in tiles.into_iter().enumerate() {
            let (even, odd) = (columns(rows, first), columns(rows, stride + first));
            let mut pieces = [[0u32; SIDE]; 3];
            for c in 0..SIDE {
                let (even, odd) = (split(even[c]), split(odd[c]));
                for i in 0..3 {
                    pieces[i][c] = odd[i].to_bits() | even[i].to_bits() >> 16;
                }
            }
            for (i, pieces) in pieces.iter().enumerate() {
                let to = &mut out[(2 * i + tile) * TILE + pair * DEPTH..][..DEPTH];
                for (to, both) in to.chunks_exact_mut(2).zip(pieces) {
                    (to[0], to[1]) = (*both as u16, (both >> 16) as u16);
                }
            }
        }
    }
}

/// Sixteen numbers from there on, with zeros beyond the last.
#[inline(always)]
fn columns(numbers: &[f32], at: usize) -> [f32; SIDE] {
    if let Some(whole) = numbers.get(at..at + SIDE) {
        return std::array::from_fn(|c| whole[c]);
    }
    std::array::from_fn(|c| numbers.get(at + c).copied().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_are_all_of_a_number(x in proptest::num::f32::NORMAL) {
            prop_assume!(x.abs() < 3.39e38);
            let pieces = split(x);
            let sum: f64 = pieces.iter().map(|piece| f64::from(*piece)).sum();
            // What a third piece cannot hold is less than the least normal number.
            let left = (sum - f64::from(x)).abs();
            prop_assert!(left == 0.0 || x.abs() < 1e-33 && left < f64::from(f32::MIN_POSITIVE), "{x:e} {pieces:?}");
            prop_assert!(pieces[1].abs() <= x.abs() * 2f32.powi(-8) && pieces[2].abs() <= x.abs() * 2f32.powi(-17));
            prop_assert!(pieces.iter().all(|piece| piece.to_bits() & 0xffff == 0));
        }
    }

    #[test]
    fn the_nearest_is_rounded_to_even() {
        // Between 1 and 2 they are 2⁻⁷ apart.
        let cases = [(0.0, 0.0), (0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (0.6, 1.0), (7.4, 7.0)];
        for (x, expected) in cases.map(|(x, expected)| (1.0 + x / 128.0, 1.0 + expected / 128.0)) {
            assert_eq!((nearest(x), nearest(-x)), (expected, -expected));
        }
        assert!([0x7fff_ffff, 0xffff_ffff, 0x7f80_0001].iter().all(|bits| nearest(f32::from_bits(*bits)).is_nan()));
    }
}
