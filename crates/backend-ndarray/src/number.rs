//! Numbers of the two working precisions, without the kernels that are written for them.

use flow_core::Precision;

/// A number of a working precision: `f32` or `f64`.
pub trait Number: ndarray::NdFloat + fourier::Plans + flow_core::Scalar {
    /// Which of the two.
    const PRECISION: Precision;

    /// Rounds a 64-bit number.
    fn of(value: f64) -> Self;

    /// The number in 64 bits.
    fn wide(self) -> f64;

    /// `exp(z)`, in 32 bits for `z ≤ 87` alone, and at `exp(−87)` from −87 down.
    fn exponential(z: Self) -> Self;
}

impl Number for f32 {
    const PRECISION: Precision = Precision::F32;

    fn of(value: f64) -> Self {
        value as f32
    }

    fn wide(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn exponential(z: Self) -> Self {
        exp_f32(z)
    }
}

impl Number for f64 {
    const PRECISION: Precision = Precision::F64;

    fn of(value: f64) -> Self {
        value
    }

    fn wide(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exponential(z: Self) -> Self {
        z.exp()
    }
}

/// `exp(z)` for `z ≤ 87`, without branches so that it vectorises: `2^n · e^r`, `|r| ≤ ln 2 / 2`,
/// with the Taylor polynomial of degree 7 (truncation below 2e-8 relative) and ln 2 split in two for the reduction.
/// Below −87, where the result would leave the normal numbers, it stays at `exp(−87)`.
#[inline(always)]
pub(crate) fn exp_f32(z: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 · 2^23 rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    // `max` would drop NaN; the comparison keeps it.
    let z = if z < -87.0 { -87.0 } else { z };
    let shifted = z * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (z - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // The low bits of `shifted` hold n; moved to the exponent they make 2^n.
    let power = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    p * power
}
