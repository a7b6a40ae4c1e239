//! Transposition by vector instructions: of tiles and panels of [`crate::packed`], and of complex fields.

use std::arch::x86_64::*;

use fourier::Complex;

use crate::number::Number;

/// Square blocks by `$block`, what is left over one by one.
macro_rules! transpose {
    ($name:ident, $t:ty, $side:literal, $block:ident) => {
        #[target_feature(enable = "avx")]
        pub(crate) unsafe fn $name(
            from: *const $t,
            from_stride: usize,
            to: *mut $t,
            to_stride: usize,
            lines: usize,
            length: usize,
        ) {
            let (whole_lines, whole_length) = (lines - lines % $side, length - length % $side);
            let one_by_one = |i: usize, j: usize| {
                // SAFETY: within what the caller promises, for i < lines and j < length.
                unsafe { to.add(j * to_stride + i).write_unaligned(from.add(i * from_stride + j).read_unaligned()) }
            };
            for i in (0..whole_lines).step_by($side) {
                for j in (0..whole_length).step_by($side) {
                    // SAFETY: a whole block is within what the caller promises.
                    unsafe { $block(from.add(i * from_stride + j), from_stride, to.add(j * to_stride + i), to_stride) };
                }
            }
            for i in 0..lines {
                let done = if i < whole_lines { whole_length } else { 0 };
                (done..length).for_each(|j| one_by_one(i, j));
            }
        }
    };
}

transpose!(transpose_f32, f32, 8, block_f32);
transpose!(transpose_f64, f64, 4, block_f64);

/// # Safety
/// Eight numbers at each of eight multiples of either stride.
#[inline]
#[target_feature(enable = "avx")]
unsafe fn block_f32(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    // SAFETY: what the caller promises.
    let line: [__m256; 8] = std::array::from_fn(|i| unsafe { _mm256_loadu_ps(from.add(i * from_stride)) });
    // Halves of four lines and four numbers, transposed, from quarters of two and two.
    let half = |l: [__m256; 4]| {
        let (low, high) = (_mm256_unpacklo_ps(l[0], l[1]), _mm256_unpackhi_ps(l[0], l[1]));
        let (next_low, next_high) = (_mm256_unpacklo_ps(l[2], l[3]), _mm256_unpackhi_ps(l[2], l[3]));
        [
            _mm256_shuffle_ps::<0x44>(low, next_low),
            _mm256_shuffle_ps::<0xEE>(low, next_low),
            _mm256_shuffle_ps::<0x44>(high, next_high),
            _mm256_shuffle_ps::<0xEE>(high, next_high),
        ]
    };
    let upper = half([line[0], line[1], line[2], line[3]]);
    let lower = half([line[4], line[5], line[6], line[7]]);
    for j in 0..4 {
        // SAFETY: what the caller promises.
        unsafe {
            _mm256_storeu_ps(to.add(j * to_stride), _mm256_permute2f128_ps::<0x20>(upper[j], lower[j]));
            _mm256_storeu_ps(to.add((j + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(upper[j], lower[j]));
        }
    }
}

/// # Safety
/// Four numbers at each of four multiples of either stride.
#[inline]
#[target_feature(enable = "avx")]
unsafe fn block_f64(from: *const f64, from_stride: usize, to: *mut f64, to_stride: usize) {
    // SAFETY: what the caller promises.
    let line: [__m256d; 4] = std::array::from_fn(|i| unsafe { _mm256_loadu_pd(from.add(i * from_stride)) });
    let upper = [_mm256_unpacklo_pd(line[0], line[1]), _mm256_unpackhi_pd(line[0], line[1])];
    let lower = [_mm256_unpacklo_pd(line[2], line[3]), _mm256_unpackhi_pd(line[2], line[3])];
    for j in 0..2 {
        // SAFETY: what the caller promises.
        unsafe {
            _mm256_storeu_pd(to.add(j * to_stride), _mm256_permute2f128_pd::<0x20>(upper[j], lower[j]));
            _mm256_storeu_pd(to.add((j + 2) * to_stride), _mm256_permute2f128_pd::<0x31>(upper[j], lower[j]));
        }
    }
}

/// `to[j · rows + i] ← from[i · cols + j]` of complex numbers of two 32-bit ones; says whether it could.
pub(crate) fn complex<T: Number>(from: &[Complex<T>], to: &mut [Complex<T>], rows: usize, cols: usize) -> bool {
    if size_of::<Complex<T>>() != size_of::<f64>() || !is_x86_feature_detected!("avx") {
        return false;
    }
    assert!(from.len() == rows * cols && to.len() == rows * cols, "two matrices of {rows} × {cols}");
    // SAFETY: both are valid for this many pairs of numbers, eight bytes without gaps, which are moved as they are,
    // wherever they begin; the processor has AVX.
    unsafe { transpose_f64(from.as_ptr().cast(), cols, to.as_mut_ptr().cast(), rows, rows, cols) };
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiles::Transpose;
    use proptest::prelude::*;

    fn every_number_is_where_it_belongs<T: Copy + PartialEq + std::fmt::Debug>(
        transpose: Transpose<T>,
        of: impl Fn(usize) -> T,
        (lines, length, gap): (usize, usize, usize),
    ) {
        let (from_stride, to_stride) = (length + gap, lines + gap);
        let from: Vec<T> = (0..lines * from_stride).map(&of).collect();
        let nothing = of(usize::MAX);
        let mut to = vec![nothing; length * to_stride];
        // SAFETY: matrices of these shapes.
        unsafe { transpose(from.as_ptr(), from_stride, to.as_mut_ptr(), to_stride, lines, length) };
        for (at, found) in to.iter().enumerate() {
            let (j, i) = (at / to_stride, at % to_stride);
            assert_eq!(*found, if i < lines { from[i * from_stride + j] } else { nothing });
        }
    }

    #[test]
    fn complex_numbers_are_moved_as_they_are() {
        // Pairs whose bits are no 64-bit number, and would change as one.
        let of = |i: u32| Complex::new(f32::from_bits(i), f32::from_bits(0x7ff4_0000 + i));
        let bits = |z: Complex<f32>| (z.re.to_bits(), z.im.to_bits());
        let from: Vec<_> = (0..35).map(of).collect();
        let mut to = vec![of(0); 35];
        if complex(&from, &mut to, 5, 7) {
            assert!((0..35).all(|at| bits(to[at % 7 * 5 + at / 7]) == bits(from[at])));
        }
        assert!(!complex(&[Complex::new(0.0f64, 0.0); 4], &mut [Complex::new(0.0, 0.0); 4], 2, 2));
    }

    proptest! {
        #[test]
        fn transposition_moves_every_number(lines in 0usize..40, length in 0usize..40, gap in 0usize..3) {
            prop_assume!(is_x86_feature_detected!("avx"));
            every_number_is_where_it_belongs(transpose_f32, |i| i as f32, (lines, length, gap));
            every_number_is_where_it_belongs(transpose_f64, |i| i as f64, (lines, length, gap));
        }
    }
}
