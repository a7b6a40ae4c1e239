//! Element-wise kernels, compiled for several generations of vector instructions and chosen at run time.

use multiversion::multiversion;

use crate::{Activation, Real};

/// Element-wise kernels of a ridge potential in a working precision, over slices of one row.
///
/// All derivatives of the activations are functions of the first one, `s = f'(a)`:
/// softplus has `f'' = s(1−s)`, `f''' = f''(1−2s)`; ln cosh has `f'' = 1−s²`, `f''' = −2s f''`.
pub trait Kernels: Sized {
    /// `a ← f'(a)`: the logistic function for softplus, tanh for ln cosh.
    fn slope(activation: Activation, a: &mut [Self]);

    /// `out ← s ⊙ v`; returns `Σ_j f''_j (v n)_j`.
    fn forward(activation: Activation, s: &[Self], v: &[Self], vn: &[Self], out: &mut [Self]) -> f64;

    /// Pullback of (`k = s ⊙ v`, `l = Σ_j f''_j v_j n_j`) for cotangents `u` of k and `l_bar` of l:
    /// `a_bar ← v f'' u + l_bar v n f'''`, `v_bar += s u + l_bar n f''`, `n_bar += l_bar v f''`.
    fn backward(row: BackwardRow<'_, Self>, activation: Activation, l_bar: Self);
}

/// The slices of [`Kernels::backward`], all of one length.
pub struct BackwardRow<'a, T> {
    /// f'(a).
    pub s: &'a [T],
    /// Amplitudes.
    pub v: &'a [T],
    /// Squared norms of the weight rows.
    pub n: &'a [T],
    /// Cotangent of the forward kernel's output.
    pub u: &'a [T],
    /// Cotangent of a, overwritten.
    pub a_bar: &'a mut [T],
    /// Cotangent of v, added to.
    pub v_bar: &'a mut [T],
    /// Cotangent of n, added to.
    pub n_bar: &'a mut [T],
}

const LANES: usize = 16;

#[inline(always)]
fn curvature<T: Real, const LN_COSH: bool>(s: T) -> T {
    if LN_COSH { (T::one() - s) * (T::one() + s) } else { s * (T::one() - s) }
}

#[inline(always)]
fn forward<T: Real, const LN_COSH: bool>(s: &[T], v: &[T], vn: &[T], out: &mut [T]) -> f64 {
    let n = s.len();
    let (v, vn, out) = (&v[..n], &vn[..n], &mut out[..n]);
    // Partial sums in lanes: one running sum would forbid vector instructions.
    let mut lanes = [T::zero(); LANES];
    let whole = n - n % LANES;
    for start in (0..whole).step_by(LANES) {
        for (l, sum) in lanes.iter_mut().enumerate() {
            let j = start + l;
            out[j] = s[j] * v[j];
            *sum = *sum + curvature::<T, LN_COSH>(s[j]) * vn[j];
        }
    }
    let mut sum: f64 = lanes.iter().map(|l| l.wide()).sum();
    for j in whole..n {
        out[j] = s[j] * v[j];
        sum += (curvature::<T, LN_COSH>(s[j]) * vn[j]).wide();
    }
    sum
}

#[inline(always)]
fn backward<T: Real, const LN_COSH: bool>(row: BackwardRow<'_, T>, l_bar: T) {
    let len = row.s.len();
    let (s, v, n, u) = (row.s, &row.v[..len], &row.n[..len], &row.u[..len]);
    let (a_bar, v_bar, n_bar) = (&mut row.a_bar[..len], &mut row.v_bar[..len], &mut row.n_bar[..len]);
    let two = T::of(2.0);
    for j in 0..len {
        let f2 = curvature::<T, LN_COSH>(s[j]);
        let f3 = if LN_COSH { -two * s[j] * f2 } else { f2 * (T::one() - two * s[j]) };
        a_bar[j] = v[j] * (f2 * u[j] + l_bar * n[j] * f3);
        v_bar[j] = v_bar[j] + (s[j] * u[j] + l_bar * n[j] * f2);
        n_bar[j] = n_bar[j] + l_bar * v[j] * f2;
    }
}

/// One set of kernels per precision, compiled for each generation of vector instructions.
macro_rules! kernels {
    ($t:ty, $module:ident, $slope:path) => {
        mod $module {
            use super::{BackwardRow, multiversion};

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn slope<const LN_COSH: bool>(a: &mut [$t]) {
                for a in a {
                    *a = $slope(*a, LN_COSH);
                }
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn forward<const LN_COSH: bool>(s: &[$t], v: &[$t], vn: &[$t], out: &mut [$t]) -> f64 {
                super::forward::<$t, LN_COSH>(s, v, vn, out)
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn backward<const LN_COSH: bool>(row: BackwardRow<'_, $t>, l_bar: $t) {
                super::backward::<$t, LN_COSH>(row, l_bar)
            }
        }

        impl Kernels for $t {
            fn slope(activation: Activation, a: &mut [Self]) {
                match activation {
                    Activation::Softplus => $module::slope::<false>(a),
                    Activation::LnCosh => $module::slope::<true>(a),
                }
            }

            fn forward(activation: Activation, s: &[Self], v: &[Self], vn: &[Self], out: &mut [Self]) -> f64 {
                match activation {
                    Activation::Softplus => $module::forward::<false>(s, v, vn, out),
                    Activation::LnCosh => $module::forward::<true>(s, v, vn, out),
                }
            }

            fn backward(row: BackwardRow<'_, Self>, activation: Activation, l_bar: Self) {
                match activation {
                    Activation::Softplus => $module::backward::<false>(row, l_bar),
                    Activation::LnCosh => $module::backward::<true>(row, l_bar),
                }
            }
        }
    };
}

kernels!(f32, single, super::slope_f32);
kernels!(f64, double, super::slope_f64);

#[inline(always)]
fn slope_f64(a: f64, ln_cosh: bool) -> f64 {
    if ln_cosh {
        return a.tanh();
    }
    // Either branch is free of overflow and of cancellation.
    let e = (-a.abs()).exp();
    if a >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

#[inline(always)]
fn slope_f32(a: f32, ln_cosh: bool) -> f32 {
    // One exponential serves both: σ(a) = 1/(1 + e^−a), tanh(a) = (1 − e^−2a)/(1 + e^−2a).
    let e = exp_of_negative(if ln_cosh { -2.0 * a.abs() } else { -a.abs() });
    let r = 1.0 / (1.0 + e);
    if ln_cosh {
        let t = (1.0 - e) * r;
        if a >= 0.0 { t } else { -t }
    } else if a >= 0.0 {
        r
    } else {
        e * r
    }
}

/// `exp(z)` for `z ≤ 0`, without branches so that it vectorises: `2^n · e^r`, `|r| ≤ ln 2 / 2`,
/// with the Taylor polynomial of degree 7 (truncation below 2e-8 relative) and ln 2 split in two for the reduction.
/// Below −87, where the result would leave the normal numbers, it stays at `exp(−87)`.
#[inline(always)]
fn exp_of_negative(z: f32) -> f32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Greatest error of the fast f32 kernel against f64, in units of `scale(exact)`.
    fn worst(activation: Activation, scale: impl Fn(f64) -> f64) -> f64 {
        let points: Vec<f32> = (-200_000..=200_000).map(|i| i as f32 * 4e-4).collect();
        let mut fast = points.clone();
        f32::slope(activation, &mut fast);
        let mut exact: Vec<f64> = points.iter().map(|x| f64::from(*x)).collect();
        f64::slope(activation, &mut exact);
        fast.iter().zip(&exact).map(|(f, e)| (f64::from(*f) - e).abs() / scale(*e)).fold(0.0, f64::max)
    }

    #[test]
    fn fast_slopes_are_the_plain_ones_to_a_few_units_of_the_last_place() {
        let unit = f64::from(f32::EPSILON);
        let softplus = worst(Activation::Softplus, |exact| exact);
        assert!(softplus < 4.0 * unit, "logistic function: relative error {softplus:e}");
        let ln_cosh = worst(Activation::LnCosh, |_| 1.0);
        assert!(ln_cosh < 2.0 * unit, "tanh: absolute error {ln_cosh:e}");
    }

    #[test]
    fn double_precision_slopes_are_right() {
        let mut x = [1.0f64];
        f64::slope(Activation::Softplus, &mut x);
        assert!((x[0] - std::f64::consts::E / (1.0 + std::f64::consts::E)).abs() < 2e-16);
        let mut x = [2.0f64.ln()];
        f64::slope(Activation::LnCosh, &mut x);
        assert!((x[0] - 0.6).abs() < 2e-16);
    }

    #[test]
    fn extremes_are_what_they_should_be() {
        let start = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -500.0, 500.0, 0.0];
        let mut x = start;
        f32::slope(Activation::Softplus, &mut x);
        assert!(x[0].is_nan() && x[1] == 1.0 && x[2] < 1e-37 && x[3] < 1e-37 && x[4] == 1.0 && x[5] == 0.5);
        let mut x = start;
        f32::slope(Activation::LnCosh, &mut x);
        assert!(x[0].is_nan() && x[1..] == [1.0, -1.0, -1.0, 1.0, 0.0]);
        let mut x = start.map(f64::from);
        f64::slope(Activation::Softplus, &mut x);
        assert!(x[0].is_nan() && x[1] == 1.0 && x[2] == 0.0 && x[3] > 0.0 && x[4] == 1.0 && x[5] == 0.5);
    }
}
