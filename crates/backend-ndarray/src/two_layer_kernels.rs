//! Element-wise kernels of the potential of two hidden layers: what lies between its products, over some columns of
//! column-major matrices whose columns have `rows` numbers.

use std::array::{from_mut, from_ref};

use flow_core::Activation;
use multiversion::multiversion;

use crate::kernels::{LANES, activation, total};
use crate::number::Number;

/// The kernels in a working precision.
pub trait TwoLayerKernels: Sized {
    /// `out ← g ⊙ u + b`, g and b a number for each column; without b none is added.
    fn arguments(u: &[Self], gain: &[Self], bias: Option<&[Self]>, rows: usize, out: &mut [Self]);

    /// `out ← g ⊙ a ⊙ s`, g a number for each column.
    fn stretched(a: &[Self], s: &[Self], gain: &[Self], rows: usize, out: &mut [Self]);

    /// Pullback through `a = g ⊙ u + b`, `y = f(a)` and `p = q ⊙ g ⊙ f'(a)`, see [`FirstLayer`].
    fn first_back(of: FirstLayer<'_, Self>, activation: Activation);
}

/// The slices of [`TwoLayerKernels::first_back`]. With `d̄ = p̄ ⊙ q`, and `ā = ȳ ⊙ s + g ⊙ d̄ ⊙ f''(a)`:
pub struct FirstLayer<'a, T> {
    /// u.
    pub u: &'a [T],
    /// `s = f'(a)`.
    pub s: &'a [T],
    /// q.
    pub q: &'a [T],
    /// Cotangent of p.
    pub p_bar: &'a [T],
    /// Gains g, one for each column.
    pub gain: &'a [T],
    /// Rows of the block.
    pub rows: usize,
    /// What a Laplacian adds, where it has a cotangent.
    pub trace: Option<TraceTerms<'a, T>>,
    /// Cotangent of y; overwritten with that of u, `g ⊙ ā`.
    pub bar: &'a mut [T],
    /// Overwritten with the sums over rows of ā.
    pub bias_bar: &'a mut [T],
    /// Overwritten with the sums over rows of `ā ⊙ u + d̄ ⊙ s`.
    pub gain_bar: &'a mut [T],
}

/// What the Laplacian `Σ_j n_j g_j² q_j f''(a_j) + …` adds: `ā` has `l̄ q n g² f'''(a)` more and the gains `2 l̄ q n g
/// f''(a)`; the rest is a function of `d = g ⊙ s`.
pub struct TraceTerms<'a, T> {
    /// Cotangent l̄ of the Laplacian, per row.
    pub laplacian_bar: &'a [T],
    /// What is added to d̄.
    pub d_bar: &'a [T],
    /// n, one for each column.
    pub norms: &'a [T],
    /// Added to: the sums over rows of `l̄ q g² f''(a)`.
    pub norms_bar: &'a mut [T],
}

#[inline(always)]
fn arguments<T: Number>(u: &[T], gain: &[T], bias: Option<&[T]>, rows: usize, out: &mut [T]) {
    for (j, ((u, out), g)) in u.chunks_exact(rows).zip(out.chunks_exact_mut(rows)).zip(gain).enumerate() {
        let b = bias.map_or(T::zero(), |bias| bias[j]);
        out.iter_mut().zip(u).for_each(|(out, u)| *out = *g * *u + b);
    }
}

#[inline(always)]
fn stretched<T: Number>(a: &[T], s: &[T], gain: &[T], rows: usize, out: &mut [T]) {
    let columns = a.chunks_exact(rows).zip(s.chunks_exact(rows)).zip(out.chunks_exact_mut(rows)).zip(gain);
    for (((a, s), out), g) in columns {
        out.iter_mut().zip(a.iter().zip(s)).for_each(|(out, (a, s))| *out = *g * *a * *s);
    }
}

#[inline(always)]
fn first_back<T: Number, const LN_COSH: bool>(of: FirstLayer<'_, T>) {
    let FirstLayer { u, s, q, p_bar, gain, rows, mut trace, bar, bias_bar, gain_bar } = of;
    let zeros = vec![T::zero(); rows];
    for (j, g) in gain.iter().enumerate() {
        let column = j * rows..(j + 1) * rows;
        let n = trace.as_ref().map_or(T::zero(), |trace| trace.norms[j]);
        let (l_bar, d_bar) = match &trace {
            Some(trace) => (trace.laplacian_bar, &trace.d_bar[column.clone()]),
            None => (&zeros[..], &zeros[..]),
        };
        let (u, u_rest) = u[column.clone()].as_chunks::<LANES>();
        let (s, s_rest) = s[column.clone()].as_chunks::<LANES>();
        let (q, q_rest) = q[column.clone()].as_chunks::<LANES>();
        let (p_bar, p_rest) = p_bar[column.clone()].as_chunks::<LANES>();
        let (l_bar, l_rest) = l_bar.as_chunks::<LANES>();
        let (d_bar, d_rest) = d_bar.as_chunks::<LANES>();
        let (bar, bar_rest) = bar[column].as_chunks_mut::<LANES>();
        let mut lanes = [[T::zero(); LANES]; 3];
        for (i, bar) in bar.iter_mut().enumerate() {
            let rows = [&u[i], &s[i], &q[i], &p_bar[i], &l_bar[i], &d_bar[i]];
            rows_first_back::<T, LN_COSH, LANES>(rows, (*g, n), bar, &mut lanes);
        }
        let mut rest = [[T::zero(); 1]; 3];
        for (i, bar) in bar_rest.iter_mut().enumerate() {
            let rows = [&u_rest[i], &s_rest[i], &q_rest[i], &p_rest[i], &l_rest[i], &d_rest[i]].map(from_ref);
            rows_first_back::<T, LN_COSH, 1>(rows, (*g, n), from_mut(bar), &mut rest);
        }
        let sum = |i: usize| total(lanes[i]) + rest[i][0];
        (bias_bar[j], gain_bar[j]) = (sum(0), sum(1) + T::of(2.0) * n * sum(2));
        if let Some(trace) = &mut trace {
            trace.norms_bar[j] += *g * sum(2);
        }
    }
}

/// Some rows of one column: of u, s, q, p̄, l̄ and d̄. The sums are of ā, of `ā u + d̄ s` and of `l̄ q f''(a) g`.
#[inline(always)]
fn rows_first_back<T: Number, const LN_COSH: bool, const ROWS: usize>(
    [u, s, q, p_bar, l_bar, d_bar]: [&[T; ROWS]; 6],
    (g, n): (T, T),
    bar: &mut [T; ROWS],
    sums: &mut [[T; ROWS]; 3],
) {
    let f = activation::<LN_COSH>();
    let (mut d, mut bent, mut a) = ([T::zero(); ROWS], [T::zero(); ROWS], [T::zero(); ROWS]);
    for r in 0..ROWS {
        d[r] = p_bar[r] * q[r] + d_bar[r];
    }
    for r in 0..ROWS {
        bent[r] = l_bar[r] * q[r] * f.curvature(s[r]) * g;
    }
    for r in 0..ROWS {
        a[r] = bar[r] * s[r] + g * (d[r] * f.curvature(s[r]) + n * bent[r] * f.third_by_second(s[r]));
    }
    for r in 0..ROWS {
        bar[r] = g * a[r];
    }
    for r in 0..ROWS {
        sums[0][r] += a[r];
    }
    for r in 0..ROWS {
        sums[1][r] += a[r] * u[r] + d[r] * s[r];
    }
    for r in 0..ROWS {
        sums[2][r] += bent[r];
    }
}

/// One set of kernels per precision, compiled for each generation of vector instructions.
macro_rules! kernels {
    ($t:ty, $module:ident) => {
        mod $module {
            use super::{FirstLayer, multiversion};

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn arguments(u: &[$t], gain: &[$t], bias: Option<&[$t]>, rows: usize, out: &mut [$t]) {
                super::arguments(u, gain, bias, rows, out);
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn stretched(a: &[$t], s: &[$t], gain: &[$t], rows: usize, out: &mut [$t]) {
                super::stretched(a, s, gain, rows, out);
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn first_back<const LN_COSH: bool>(of: FirstLayer<'_, $t>) {
                super::first_back::<$t, LN_COSH>(of);
            }
        }

        impl TwoLayerKernels for $t {
            fn arguments(u: &[Self], gain: &[Self], bias: Option<&[Self]>, rows: usize, out: &mut [Self]) {
                $module::arguments(u, gain, bias, rows, out);
            }

            fn stretched(a: &[Self], s: &[Self], gain: &[Self], rows: usize, out: &mut [Self]) {
                $module::stretched(a, s, gain, rows, out);
            }

            fn first_back(of: FirstLayer<'_, Self>, activation: Activation) {
                match activation {
                    Activation::Softplus => $module::first_back::<false>(of),
                    Activation::LnCosh => $module::first_back::<true>(of),
                }
            }
        }
    };
}

kernels!(f32, single);
kernels!(f64, double);

#[cfg(test)]
mod tests {
    use flow_core::{Purpose, RngKey};
    use proptest::prelude::*;

    use super::*;
    use crate::real::Real;

    /// Greatest difference of the kernels and the plain formulas in 64 bits, in units of round-off and of the numbers.
    fn worst<T: Real>(columns: usize, rows: usize, activation: Activation, with: [bool; 2], key: u64) -> f64 {
        let [with_bias, with_trace] = with;
        let normals = |count: usize, which: u64| -> Vec<T> {
            let numbers = RngKey::new(key, Purpose::Sample, which).normals(0..1, count);
            numbers.into_iter().map(T::of).collect()
        };
        let [u, q, p_bar, y_bar, d_bar] = [0, 1, 2, 3, 4].map(|which| normals(columns * rows, which));
        let [gain, bias, norms, start] = [5, 6, 7, 8].map(|which| normals(columns, which));
        let l_bar = normals(rows, 9);
        let (mut s, mut p) = (u.clone(), u.clone());
        T::arguments(&u, &gain, with_bias.then_some(&bias[..]), rows, &mut s);
        let a = s.clone();
        T::slope(activation, &mut s);
        T::stretched(&q, &s, &gain, rows, &mut p);
        let (mut bar, mut bias_bar, mut gain_bar, mut norms_bar) =
            (y_bar.clone(), norms.clone(), norms.clone(), start.clone());
        let trace = TraceTerms { laplacian_bar: &l_bar, d_bar: &d_bar, norms: &norms, norms_bar: &mut norms_bar };
        let (u_of, s_of, q_of, p_of, gain_of) = (&u[..], &s[..], &q[..], &p_bar[..], &gain[..]);
        let of = FirstLayer {
            u: u_of,
            s: s_of,
            q: q_of,
            p_bar: p_of,
            gain: gain_of,
            rows,
            trace: with_trace.then_some(trace),
            bar: &mut bar,
            bias_bar: &mut bias_bar,
            gain_bar: &mut gain_bar,
        };
        T::first_back(of, activation);
        let (mut worst, unit) = (0.0f64, if T::PRECISION == flow_core::Precision::F32 { 6e-8 } else { 1.2e-16 });
        let mut compare = |found: T, exact: f64, scale: f64| {
            worst = worst.max((found.wide() - exact).abs() / (unit * scale.max(1.0)));
        };
        for j in 0..columns {
            let (g, n) = (gain[j].wide(), norms[j].wide());
            let (mut sums, mut sizes) = ([0.0; 3], [0.0; 3]);
            for i in j * rows..(j + 1) * rows {
                let argument = g * u[i].wide() + if with_bias { bias[j].wide() } else { 0.0 };
                compare(a[i], argument, argument.abs());
                // From the slope as it was rounded.
                let (s, q, l) = (s[i].wide(), q[i].wide(), if with_trace { l_bar[i % rows].wide() } else { 0.0 });
                compare(p[i], g * q * s, (g * q).abs());
                let (second, third) = (activation.curvature(s), activation.third(s));
                let d = p_bar[i].wide() * q + if with_trace { d_bar[i].wide() } else { 0.0 };
                let terms = [y_bar[i].wide() * s, g * d * second, l * q * n * g * g * third];
                let (a_bar, size) = (terms.iter().sum::<f64>(), terms.iter().map(|term| term.abs()).sum::<f64>());
                compare(bar[i], g * a_bar, g.abs() * size);
                let of = [a_bar, a_bar * u[i].wide() + d * s + 2.0 * l * q * n * g * second, l * q * g * g * second];
                let size =
                    [size, size * u[i].wide().abs() + d.abs() + 2.0 * (l * q * n * g).abs(), (l * q * g * g).abs()];
                (0..3).for_each(|k| (sums[k], sizes[k]) = (sums[k] + of[k], sizes[k] + size[k]));
            }
            compare(bias_bar[j], sums[0], sizes[0]);
            compare(gain_bar[j], sums[1], sizes[1]);
            compare(norms_bar[j], start[j].wide() + sums[2], sizes[2] + start[j].wide().abs());
        }
        worst
    }

    proptest! {
        #[test]
        fn kernels_are_the_plain_formulas(
            columns in 1usize..5, rows in 1usize..40, ln_cosh: bool, with: [bool; 2], key: u64,
        ) {
            let activation = if ln_cosh { Activation::LnCosh } else { Activation::Softplus };
            let single = worst::<f32>(columns, rows, activation, with, key);
            prop_assert!(single < 16.0, "f32: {single} units");
            let double = worst::<f64>(columns, rows, activation, with, key);
            prop_assert!(double < 16.0, "f64: {double} units");
        }
    }
}
