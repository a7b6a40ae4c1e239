//! Element-wise kernels, compiled for several generations of vector instructions and chosen at run time.

use std::array::{from_mut, from_ref};

use flow_core::{Activation, MomentStep};
use multiversion::multiversion;

use crate::number::{Number, exp_f32};

/// Element-wise kernels of a ridge potential in a working precision, over blocks of rows.
///
/// A block is a column-major `rows × h` matrix: the numbers of one hidden unit lie together. All derivatives of the
/// activations are functions of the first one, `s = f'(a)`:
/// softplus has `f'' = s(1−s)`, `f''' = f''(1−2s)`; ln cosh has `f'' = 1−s²`, `f''' = −2s f''`.
pub trait Kernels: Sized {
    /// `a ← f'(a)`: the logistic function for softplus, tanh for ln cosh.
    fn slope(activation: Activation, a: &mut [Self]);

    /// `value ← f(a)` and `a ← f'(a)`.
    fn value_and_slope(activation: Activation, a: &mut [Self], value: &mut [Self]);

    /// `out ← s ⊙ v`, and `laplacian_r ← laplacian_r + Σ_j f''_rj (v n)_j` where asked for.
    fn forward(block: ForwardBlock<'_, Self>, activation: Activation);

    /// Pullback of (`k = s ⊙ v`, `l = Σ_j f''_j v_j n_j`) for cotangents `u` of k and `l_bar` of l: `a_bar ← v f'' u +
    /// l_bar v n f'''`, and summed over the rows `b ← Σ a_bar`, `v ← Σ (s u + l_bar n f'')`, `n ← Σ l_bar v f''`.
    fn backward(block: BackwardBlock<'_, Self>, activation: Activation);

    /// As [`flow_core::Space::moment_step`].
    fn moment_step(value: &mut [Self], moments: [&mut [Self]; 2], gradient: &[Self], of: MomentStep);
}

/// The slices of [`Kernels::forward`].
pub struct ForwardBlock<'a, T> {
    /// f'(a), `rows × h`.
    pub s: &'a [T],
    /// Amplitudes, h.
    pub v: &'a [T],
    /// Amplitudes times squared norms of the weight rows, h.
    pub vn: &'a [T],
    /// `rows × h`, overwritten.
    pub out: &'a mut [T],
    /// Rows of the block.
    pub rows: usize,
    /// Per row.
    pub laplacian: Option<&'a mut [f64]>,
}

/// The slices of [`Kernels::backward`].
pub struct BackwardBlock<'a, T> {
    /// f'(a), `rows × h`.
    pub s: &'a [T],
    /// Amplitudes, h.
    pub v: &'a [T],
    /// Squared norms of the weight rows, h.
    pub n: &'a [T],
    /// Cotangent of the forward kernel's output, `rows × h`.
    pub u: &'a [T],
    /// Rows of the block.
    pub rows: usize,
    /// Cotangent of the Laplacian, per row.
    pub l_bar: &'a [T],
    /// Cotangent of a, `rows × h`, overwritten.
    pub a_bar: &'a mut [T],
    /// Sums over the rows, overwritten.
    pub sums: Sums<'a, T>,
}

/// Cotangents of one number per hidden unit, summed over the rows of a block.
pub struct Sums<'a, T> {
    /// Of an offset of a, h.
    pub b: &'a mut [T],
    /// Of v, h.
    pub v: &'a mut [T],
    /// Of n, h.
    pub n: &'a mut [T],
}

/// f, of kernels that are compiled for each.
#[inline(always)]
pub(crate) const fn activation<const LN_COSH: bool>() -> Activation {
    if LN_COSH { Activation::LnCosh } else { Activation::Softplus }
}

/// The cotangent `v (f'' u + bent f''')` of an argument of f, from `s = f'`; u is the cotangent of `v s`, `bent` that
/// of `v f''`.
#[inline(always)]
pub(crate) fn argument_bar<T: Number, const LN_COSH: bool>(s: T, u: T, bent: T, v: T) -> T {
    let f = activation::<LN_COSH>();
    v * (f.curvature(s) * u + bent * f.third(s))
}

#[inline(always)]
fn forward<T: Number, const LN_COSH: bool>(block: ForwardBlock<'_, T>) {
    let ForwardBlock { s, v, vn, out, rows, laplacian } = block;
    for ((s, out), v) in s.chunks_exact(rows).zip(out.chunks_exact_mut(rows)).zip(v) {
        for (out, s) in out.iter_mut().zip(s) {
            *out = *s * *v;
        }
    }
    let Some(laplacian) = laplacian else { return };
    // Short sums in working precision, long ones in 64 bits.
    const UNITS: usize = 32;
    const LANES: usize = 16;
    for (s, vn) in s.chunks(UNITS * rows).zip(vn.chunks(UNITS)) {
        for first in (0..rows).step_by(LANES) {
            let mut lanes = [T::zero(); LANES];
            let width = LANES.min(rows - first);
            for (s, vn) in s.chunks_exact(rows).zip(vn) {
                let s = &s[first..first + width];
                // A loop of known length is unrolled into registers; the rest of a batch takes the other one.
                if let Ok(s) = <&[T; LANES]>::try_from(s) {
                    for l in 0..LANES {
                        lanes[l] += activation::<LN_COSH>().curvature(s[l]) * *vn;
                    }
                } else {
                    for (lane, s) in lanes.iter_mut().zip(s) {
                        *lane += activation::<LN_COSH>().curvature(*s) * *vn;
                    }
                }
            }
            for (sum, lane) in laplacian[first..].iter_mut().zip(&lanes[..width]) {
                *sum += lane.wide();
            }
        }
    }
}

/// Numbers that are summed side by side: loops of this length become vectors, and their sums stay in registers.
pub(crate) const LANES: usize = 8;

#[inline(always)]
fn backward<T: Number, const LN_COSH: bool>(block: BackwardBlock<'_, T>) {
    let BackwardBlock { s, v, n, u, rows, l_bar, a_bar, sums } = block;
    for (j, (v, n)) in v.iter().zip(n).enumerate() {
        let column = j * rows..(j + 1) * rows;
        let (s, s_rest) = s[column.clone()].as_chunks::<LANES>();
        let (u, u_rest) = u[column.clone()].as_chunks::<LANES>();
        let (l_bar, l_bar_rest) = l_bar[..rows].as_chunks::<LANES>();
        let (a_bar, a_bar_rest) = a_bar[column].as_chunks_mut::<LANES>();
        // Sums of ā, of s u and of l̄ f''.
        let mut lanes = [[T::zero(); LANES]; 3];
        for (((s, u), l_bar), a_bar) in s.iter().zip(u).zip(l_bar).zip(a_bar) {
            rows_backward::<T, LN_COSH, LANES>(s, u, l_bar, (*v, *n), a_bar, &mut lanes);
        }
        let mut rest = [[T::zero(); 1]; 3];
        for (((s, u), l_bar), a_bar) in s_rest.iter().zip(u_rest).zip(l_bar_rest).zip(a_bar_rest) {
            let (s, u, l_bar, a_bar) = (from_ref(s), from_ref(u), from_ref(l_bar), from_mut(a_bar));
            rows_backward::<T, LN_COSH, 1>(s, u, l_bar, (*v, *n), a_bar, &mut rest);
        }
        let sum = |i: usize| total(lanes[i]) + rest[i][0];
        let (a, su, bent) = (sum(0), sum(1), sum(2));
        (sums.b[j], sums.v[j], sums.n[j]) = (a, su + *n * bent, *v * bent);
    }
}

/// Some rows of one hidden unit. Every loop fills one array, which is what the compiler makes vectors of.
#[inline(always)]
fn rows_backward<T: Number, const LN_COSH: bool, const ROWS: usize>(
    s: &[T; ROWS],
    u: &[T; ROWS],
    l_bar: &[T; ROWS],
    (v, n): (T, T),
    a_bar: &mut [T; ROWS],
    sums: &mut [[T; ROWS]; 3],
) {
    let mut a = [T::zero(); ROWS];
    for r in 0..ROWS {
        a[r] = argument_bar::<T, LN_COSH>(s[r], u[r], l_bar[r] * n, v);
    }
    *a_bar = a;
    for r in 0..ROWS {
        sums[0][r] += a[r];
    }
    for r in 0..ROWS {
        sums[1][r] += s[r] * u[r];
    }
    for r in 0..ROWS {
        sums[2][r] += l_bar[r] * activation::<LN_COSH>().curvature(s[r]);
    }
}

/// The sum of all lanes.
#[inline(always)]
pub(crate) fn total<T: Number>(l: [T; LANES]) -> T {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

/// Rounded as the operations are that it stands for.
#[inline(always)]
fn moment_step<T: Number>(value: &mut [T], [first, second]: [&mut [T]; 2], gradient: &[T], of: MomentStep) {
    let [keep1, keep2] = of.betas.map(T::of);
    let [take1, take2] = of.betas.map(|beta| T::of(1.0 - beta));
    let [rate, scale, epsilon] = [of.rate, of.scale, of.epsilon].map(T::of);
    for ((value, g), (first, second)) in value.iter_mut().zip(gradient).zip(first.iter_mut().zip(second)) {
        *first = if of.betas[0] == 0.0 { take1 * *g } else { keep1 * *first + take1 * *g };
        *second = if of.betas[1] == 0.0 { take2 * *g * *g } else { keep2 * *second + take2 * *g * *g };
        *value += rate * *first / ((scale * *second).sqrt() + epsilon);
    }
}

/// One set of kernels per precision, compiled for each generation of vector instructions.
macro_rules! kernels {
    ($t:ty, $module:ident, $slope:path, $value_and_slope:path) => {
        mod $module {
            use super::{BackwardBlock, ForwardBlock, MomentStep, multiversion};

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn slope<const LN_COSH: bool>(a: &mut [$t]) {
                for a in a {
                    *a = $slope(*a, LN_COSH);
                }
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn value_and_slope<const LN_COSH: bool>(a: &mut [$t], value: &mut [$t]) {
                for (a, value) in a.iter_mut().zip(value) {
                    (*value, *a) = $value_and_slope(*a, LN_COSH);
                }
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn forward<const LN_COSH: bool>(block: ForwardBlock<'_, $t>) {
                super::forward::<$t, LN_COSH>(block);
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn backward<const LN_COSH: bool>(block: BackwardBlock<'_, $t>) {
                super::backward::<$t, LN_COSH>(block);
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn moment_step(value: &mut [$t], moments: [&mut [$t]; 2], gradient: &[$t], of: MomentStep) {
                super::moment_step(value, moments, gradient, of);
            }
        }

        impl Kernels for $t {
            fn slope(activation: Activation, a: &mut [Self]) {
                match activation {
                    Activation::Softplus => $module::slope::<false>(a),
                    Activation::LnCosh => $module::slope::<true>(a),
                }
            }

            fn value_and_slope(activation: Activation, a: &mut [Self], value: &mut [Self]) {
                match activation {
                    Activation::Softplus => $module::value_and_slope::<false>(a, value),
                    Activation::LnCosh => $module::value_and_slope::<true>(a, value),
                }
            }

            fn forward(block: ForwardBlock<'_, Self>, activation: Activation) {
                match activation {
                    Activation::Softplus => $module::forward::<false>(block),
                    Activation::LnCosh => $module::forward::<true>(block),
                }
            }

            fn backward(block: BackwardBlock<'_, Self>, activation: Activation) {
                match activation {
                    Activation::Softplus => $module::backward::<false>(block),
                    Activation::LnCosh => $module::backward::<true>(block),
                }
            }

            fn moment_step(value: &mut [Self], moments: [&mut [Self]; 2], gradient: &[Self], of: MomentStep) {
                $module::moment_step(value, moments, gradient, of);
            }
        }
    };
}

kernels!(f32, single, super::slope_f32, super::value_and_slope_f32);
kernels!(f64, double, super::slope_f64, super::value_and_slope_f64);

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
    let e = exp_f32(if ln_cosh { -2.0 * a.abs() } else { -a.abs() });
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

#[inline(always)]
fn value_and_slope_f64(a: f64, ln_cosh: bool) -> (f64, f64) {
    let f = if ln_cosh { Activation::LnCosh } else { Activation::Softplus };
    (f.value(a), slope_f64(a, ln_cosh))
}

/// As [`Activation::value`], with `ln(1 + e) = 2 artanh(e / (2 + e))` by its series: the argument is at most a third,
/// the first term left out below 2e-9 relative.
#[inline(always)]
fn value_and_slope_f32(a: f32, ln_cosh: bool) -> (f32, f32) {
    let e = exp_f32(if ln_cosh { -2.0 * a.abs() } else { -a.abs() });
    let t = e / (2.0 + e);
    let q = t * t;
    let p = 1.0 / 15.0;
    let p = p * q + 1.0 / 13.0;
    let p = p * q + 1.0 / 11.0;
    let p = p * q + 1.0 / 9.0;
    let p = p * q + 1.0 / 7.0;
    let p = p * q + 1.0 / 5.0;
    let p = p * q + 1.0 / 3.0;
    let logarithm = 2.0 * (t * q * p + t);
    // Comparisons that keep NaN, where `max` would drop it.
    let value = if ln_cosh {
        a.abs() + (logarithm - std::f32::consts::LN_2)
    } else if a < 0.0 {
        logarithm
    } else {
        a + logarithm
    };
    (value, slope_f32(a, ln_cosh))
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
    fn fast_values_are_the_plain_ones_to_a_few_units_of_the_last_place() {
        let points: Vec<f32> = (-200_000..=200_000).map(|i| i as f32 * 4e-4).collect();
        for activation in [Activation::Softplus, Activation::LnCosh] {
            let (mut slopes, mut alone, mut values) = (points.clone(), points.clone(), points.clone());
            f32::value_and_slope(activation, &mut slopes, &mut values);
            f32::slope(activation, &mut alone);
            assert_eq!(slopes, alone);
            for (a, value) in points.iter().zip(&values) {
                let exact = activation.value(f64::from(*a));
                // ln cosh is near zero a difference of numbers near ln 2.
                let scale = if activation == Activation::LnCosh { exact.max(1.0) } else { exact };
                let error = (f64::from(*value) - exact).abs() / scale;
                assert!(error < 4.0 * f64::from(f32::EPSILON), "{activation:?} at {a}: {value}, exactly {exact}");
            }
        }
        let (mut a, mut value) = ([f32::NAN, f32::INFINITY, f32::NEG_INFINITY], [0.0; 3]);
        f32::value_and_slope(Activation::Softplus, &mut a, &mut value);
        assert!(value[0].is_nan() && value[1] == f32::INFINITY && value[2] < 1e-37);
    }

    #[test]
    fn pullbacks_of_a_block_are_the_formulas_and_their_sums() {
        let number = |i: usize, key: usize| ((i * 31 + key * 17) % 23) as f64 / 23.0;
        let (v, n) = ([0.3, -0.7, 1.1], [1.5, 2.0, 0.5]);
        let cases = [1, 7, 8, 25].map(|rows| [(rows, Activation::Softplus), (rows, Activation::LnCosh)]);
        for (rows, activation) in cases.into_iter().flatten() {
            let (s, u): (Vec<_>, Vec<_>) = (0..rows * 3).map(|i| (number(i, 1), number(i, 2) - 0.5)).unzip();
            let l_bar: Vec<f64> = (0..rows).map(|r| number(r, 3)).collect();
            let (mut a_bar, mut found) = (vec![f64::NAN; rows * 3], [[f64::NAN; 3]; 3]);
            let [b_sum, v_sum, n_sum] = &mut found;
            let sums = Sums { b: b_sum, v: v_sum, n: n_sum };
            f64::backward(
                BackwardBlock { s: &s, v: &v, n: &n, u: &u, rows, l_bar: &l_bar, a_bar: &mut a_bar, sums },
                activation,
            );
            for j in 0..3 {
                let mut expected = [0.0; 3];
                for r in 0..rows {
                    let (s, u, l) = (s[j * rows + r], u[j * rows + r], l_bar[r]);
                    let (f2, f3) = match activation {
                        Activation::Softplus => (s - s * s, (s - s * s) * (1.0 - 2.0 * s)),
                        Activation::LnCosh => (1.0 - s * s, -2.0 * s * (1.0 - s * s)),
                    };
                    let a = v[j] * f2 * u + l * v[j] * n[j] * f3;
                    assert!((a_bar[j * rows + r] - a).abs() < 1e-14, "{activation:?}, row {r} of {rows}");
                    let terms = [a, s * u + l * n[j] * f2, l * v[j] * f2];
                    expected.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
                }
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found[j] - expected).abs() < 1e-13, "{activation:?}, {rows} rows");
                }
            }
        }
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
