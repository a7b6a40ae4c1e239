//! Element-wise kernels of the separable potential: sums over equally spaced centres from one exponential per number.
//!
//! With the logistic function σ and `u = 1/(1 + y)`, `y = e^{−z}`, softplus has `f' = u`, `f'' = y u²`, and ln cosh,
//! for `y = e^{−2z}`, `f' = (1 − y) u`, `f'' = 4 y u²`. For the arguments `z_k = g(x − c_k)` of one x all `y_k` are one
//! exponential times constants, `y_k = e^{−λg(x − c)} · e^{λg(c_k − c)}`, c the middle of the centres and λ = 1 or 2: a
//! division per centre is all that is left.

use flow_core::Activation;
use multiversion::multiversion;

use crate::number::Number;

/// Centres that share an exponential: so many that the constants stay in range in 32 bits.
pub const GROUP: usize = 16;

/// Rows that are worked on together.
const LANES: usize = 16;

/// Some centres in a row.
#[derive(Debug, Clone)]
pub struct Group<T> {
    /// Their middle c.
    pub middle: T,
    /// `e^{λg(c_k − c)}`; zero for those that are not there.
    pub factors: [T; GROUP],
    /// The number of centres that are there.
    pub count: usize,
}

/// What all kernels have in common. A block is a column-major `rows × N` matrix.
pub struct Points<'a, T> {
    /// `rows × N`.
    pub x: &'a [T],
    /// Rows of the block.
    pub rows: usize,
    /// `λg`.
    pub rate: T,
    /// The greatest `|λg(x − c)|` that is told apart: derivatives are constant to round-off long before.
    pub limit: T,
    /// All centres.
    pub groups: &'a [Group<T>],
    /// Coefficients, N × K, row by row.
    pub alpha: &'a [T],
}

/// The kernels in a working precision.
pub trait SeparableKernels: Sized {
    /// `first ← Σ_k α_ik f'(z_k)` and, where asked for, `second_r += Σ_ik α_ik f''(z_k)`.
    fn slopes(of: Points<'_, Self>, activation: Activation, first: &mut [Self], second: Option<&mut [f64]>);

    /// `out ← first_bar ⊙ Σ_k α_ik f''(z_k) + second_bar_r Σ_k α_ik f'''(z_k)`.
    fn bends(
        of: Points<'_, Self>,
        activation: Activation,
        first_bar: &[Self],
        second_bar: Option<&[Self]>,
        out: &mut [Self],
    );

    /// `out_ik ← Σ_r first_bar_ri f'(z_k) + second_bar_r f''(z_k)`.
    fn shares(
        of: Points<'_, Self>,
        activation: Activation,
        first_bar: &[Self],
        second_bar: Option<&[Self]>,
        out: &mut [Self],
    );
}

impl<T: Number> Points<'_, T> {
    /// Numbers of centres.
    #[inline(always)]
    fn centres(&self) -> usize {
        self.groups.iter().map(|group| group.count).sum()
    }

    /// `e^{−λg(x − c)}` of some rows.
    #[inline(always)]
    fn exponentials(&self, x: &[T; LANES], middle: T) -> [T; LANES] {
        x.map(|x| {
            let z = self.rate * (middle - x);
            // Comparisons that keep NaN.
            let z = if z > self.limit { self.limit } else { z };
            T::exponential(if z < -self.limit { -self.limit } else { z })
        })
    }
}

/// Some rows of a column; lanes beyond the last row hold zeros.
#[inline(always)]
fn lanes<T: Number>(of: &[T]) -> [T; LANES] {
    let mut out = [T::zero(); LANES];
    match <&[T; LANES]>::try_from(of) {
        Ok(of) => out = *of,
        Err(_) => out[..of.len()].copy_from_slice(of),
    }
    out
}

/// The derivative of f of an order from 1 to 3, from `y`.
#[inline(always)]
fn derivative<T: Number, const LN_COSH: bool, const ORDER: usize>(y: T) -> T {
    let u = T::one() / (T::one() + y);
    let slope = if LN_COSH { (T::one() - y) * u } else { u };
    // In this order nothing overflows.
    let bend = if LN_COSH { T::of(4.0) * (y * u) * u } else { (y * u) * u };
    match ORDER {
        1 => slope,
        2 => bend,
        _ if LN_COSH => T::of(-2.0) * slope * bend,
        _ => bend * (T::one() - T::of(2.0) * slope),
    }
}

/// Adds `Σ_k α_k f^{(ORDER)}(z_k)` of a group to every lane.
#[inline(always)]
fn add<T: Number, const LN_COSH: bool, const ORDER: usize>(
    sum: &mut [T; LANES],
    e: &[T; LANES],
    factors: &[T],
    alpha: &[T],
) {
    let mut local = [T::zero(); LANES];
    for (factor, alpha) in factors.iter().zip(alpha) {
        for l in 0..LANES {
            local[l] += *alpha * derivative::<T, LN_COSH, ORDER>(e[l] * *factor);
        }
    }
    for l in 0..LANES {
        sum[l] += local[l];
    }
}

/// The same of two orders at once, which share their division.
#[inline(always)]
fn add_both<T: Number, const LN_COSH: bool, const LOW: usize, const HIGH: usize>(
    [low, high]: [&mut [T; LANES]; 2],
    e: &[T; LANES],
    factors: &[T],
    alpha: &[T],
) {
    let (mut local, mut above) = ([T::zero(); LANES], [T::zero(); LANES]);
    for (factor, alpha) in factors.iter().zip(alpha) {
        for l in 0..LANES {
            let y = e[l] * *factor;
            local[l] += *alpha * derivative::<T, LN_COSH, LOW>(y);
            above[l] += *alpha * derivative::<T, LN_COSH, HIGH>(y);
        }
    }
    for l in 0..LANES {
        low[l] += local[l];
        high[l] += above[l];
    }
}

#[inline(always)]
fn slopes<T: Number, const LN_COSH: bool>(of: Points<'_, T>, first: &mut [T], mut second: Option<&mut [f64]>) {
    let k = of.centres();
    let columns = of.x.chunks_exact(of.rows).zip(first.chunks_exact_mut(of.rows)).zip(of.alpha.chunks_exact(k));
    for ((x, first), alpha) in columns {
        for (part, (x, first)) in x.chunks(LANES).zip(first.chunks_mut(LANES)).enumerate() {
            let (x, mut slopes, mut bends, mut at) = (lanes(x), [T::zero(); LANES], [T::zero(); LANES], 0);
            for group in of.groups {
                let (e, alpha) = (of.exponentials(&x, group.middle), &alpha[at..at + group.count]);
                match second {
                    Some(_) => {
                        add_both::<T, LN_COSH, 1, 2>([&mut slopes, &mut bends], &e, &group.factors, alpha);
                    }
                    None => add::<T, LN_COSH, 1>(&mut slopes, &e, &group.factors, alpha),
                }
                at += group.count;
            }
            first.copy_from_slice(&slopes[..first.len()]);
            if let Some(second) = &mut second {
                second[part * LANES..].iter_mut().zip(bends).for_each(|(sum, bend)| *sum += bend.wide());
            }
        }
    }
}

#[inline(always)]
fn bends<T: Number, const LN_COSH: bool>(of: Points<'_, T>, first_bar: &[T], second_bar: Option<&[T]>, out: &mut [T]) {
    let k = of.centres();
    let columns = of.x.chunks_exact(of.rows).zip(first_bar.chunks_exact(of.rows));
    for (((x, first_bar), out), alpha) in columns.zip(out.chunks_exact_mut(of.rows)).zip(of.alpha.chunks_exact(k)) {
        for start in (0..of.rows).step_by(LANES) {
            let range = start..of.rows.min(start + LANES);
            let (x, mut bends, mut twists, mut at) =
                (lanes(&x[range.clone()]), [T::zero(); LANES], [T::zero(); LANES], 0);
            for group in of.groups {
                let (e, alpha) = (of.exponentials(&x, group.middle), &alpha[at..at + group.count]);
                match second_bar {
                    Some(_) => {
                        add_both::<T, LN_COSH, 2, 3>([&mut bends, &mut twists], &e, &group.factors, alpha);
                    }
                    None => add::<T, LN_COSH, 2>(&mut bends, &e, &group.factors, alpha),
                }
                at += group.count;
            }
            for (r, l) in range.zip(0..) {
                let second_bar = second_bar.map_or(T::zero(), |bar| bar[r]);
                out[r] = first_bar[r] * bends[l] + second_bar * twists[l];
            }
        }
    }
}

#[inline(always)]
fn shares<T: Number, const LN_COSH: bool>(of: Points<'_, T>, first_bar: &[T], second_bar: Option<&[T]>, out: &mut [T]) {
    let k = of.centres();
    let columns = of.x.chunks_exact(of.rows).zip(first_bar.chunks_exact(of.rows));
    for ((x, first_bar), out) in columns.zip(out.chunks_exact_mut(k)) {
        out.fill(T::zero());
        for start in (0..of.rows).step_by(LANES) {
            let range = start..of.rows.min(start + LANES);
            let (x, mut at) = (lanes(&x[range.clone()]), 0);
            for group in of.groups {
                let e = of.exponentials(&x, group.middle);
                // Lanes are centres here, so that the sum over rows needs none across lanes.
                let mut sum = [T::zero(); GROUP];
                for (r, e) in range.clone().zip(e) {
                    let (first_bar, factors) = (first_bar[r], &group.factors);
                    let Some(second_bar) = second_bar else {
                        for (sum, factor) in sum.iter_mut().zip(factors) {
                            *sum += first_bar * derivative::<T, LN_COSH, 1>(e * *factor);
                        }
                        continue;
                    };
                    for (sum, factor) in sum.iter_mut().zip(factors) {
                        let y = e * *factor;
                        *sum +=
                            first_bar * derivative::<T, LN_COSH, 1>(y) + second_bar[r] * derivative::<T, LN_COSH, 2>(y);
                    }
                }
                out[at..at + group.count].iter_mut().zip(sum).for_each(|(out, sum)| *out += sum);
                at += group.count;
            }
        }
    }
}

/// One set of kernels per precision, compiled for each generation of vector instructions.
macro_rules! kernels {
    ($t:ty, $module:ident) => {
        mod $module {
            use super::{Points, multiversion};

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn slopes<const LN_COSH: bool>(of: Points<'_, $t>, first: &mut [$t], second: Option<&mut [f64]>) {
                super::slopes::<$t, LN_COSH>(of, first, second);
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn bends<const LN_COSH: bool>(
                of: Points<'_, $t>,
                first_bar: &[$t],
                second_bar: Option<&[$t]>,
                out: &mut [$t],
            ) {
                super::bends::<$t, LN_COSH>(of, first_bar, second_bar, out);
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn shares<const LN_COSH: bool>(
                of: Points<'_, $t>,
                first_bar: &[$t],
                second_bar: Option<&[$t]>,
                out: &mut [$t],
            ) {
                super::shares::<$t, LN_COSH>(of, first_bar, second_bar, out);
            }
        }

        impl SeparableKernels for $t {
            fn slopes(of: Points<'_, Self>, activation: Activation, first: &mut [Self], second: Option<&mut [f64]>) {
                match activation {
                    Activation::Softplus => $module::slopes::<false>(of, first, second),
                    Activation::LnCosh => $module::slopes::<true>(of, first, second),
                }
            }

            fn bends(
                of: Points<'_, Self>,
                activation: Activation,
                first_bar: &[Self],
                second_bar: Option<&[Self]>,
                out: &mut [Self],
            ) {
                match activation {
                    Activation::Softplus => $module::bends::<false>(of, first_bar, second_bar, out),
                    Activation::LnCosh => $module::bends::<true>(of, first_bar, second_bar, out),
                }
            }

            fn shares(
                of: Points<'_, Self>,
                activation: Activation,
                first_bar: &[Self],
                second_bar: Option<&[Self]>,
                out: &mut [Self],
            ) {
                match activation {
                    Activation::Softplus => $module::shares::<false>(of, first_bar, second_bar, out),
                    Activation::LnCosh => $module::shares::<true>(of, first_bar, second_bar, out),
                }
            }
        }
    };
}

kernels!(f32, single);
kernels!(f64, double);
