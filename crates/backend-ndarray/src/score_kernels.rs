//! Element-wise kernels of the pullback of a score, compiled for several generations of vector instructions.

use flow_core::Activation;
use multiversion::multiversion;

use crate::kernels::activation;
use crate::lattice_kernels::Pair;
use crate::number::Number;

/// A ridge function `v f(g u + b)` of `u = w·x`, or two of them, whose numbers come in turn.
#[derive(Debug, Clone, Copy)]
pub struct Unit<T> {
    /// v.
    pub amplitude: Pair<T>,
    /// g.
    pub gain: Pair<T>,
    /// `‖w‖²`.
    pub norm: Pair<T>,
}

/// Cotangents of the numbers of a [`Unit`] and of its offset b, summed over points.
#[derive(Debug, Clone, Copy)]
pub struct UnitBars<T> {
    /// Of v.
    pub amplitude: Pair<T>,
    /// Of g.
    pub gain: Pair<T>,
    /// Of b.
    pub offset: Pair<T>,
    /// Of `‖w‖²`.
    pub norm: Pair<T>,
}

/// Kernels over the points of a unit; one precision each.
pub trait ScoreKernels: Sized {
    /// The gradient of `ψ = a·∇φ + l ∇²φ + b·((∇∇φ) s + ∇∇²φ)` at points x of a unit φ, summed over points.
    ///
    /// `fields` are the products of w with x, a, s and b, and become the cotangents of these products. `s` are the
    /// slopes f' at the points, `l` the number l of each.
    fn score_back(
        s: &[Self],
        l: &[Self],
        unit: Unit<Self>,
        fields: [&mut [Self]; 4],
        activation: Activation,
    ) -> UnitBars<Self>;
}

/// Numbers that are worked on side by side: even, so that those of two units stay apart.
const LANES: usize = 8;

/// Sums over points: of the cotangents of v, of g by way of the products, of b, and of `g² ‖w‖²`.
type Lanes<T, const N: usize> = [[T; N]; 4];

#[inline(always)]
fn score_back<T: Number, const LN_COSH: bool>(s: &[T], l: &[T], unit: Unit<T>, fields: [&mut [T]; 4]) -> UnitBars<T> {
    assert!(l.len() == s.len() && fields.iter().all(|field| field.len() == s.len()), "fields of one size");
    let (s, s_rest) = s.as_chunks::<LANES>();
    let (l, l_rest) = l.as_chunks::<LANES>();
    let [(u, u_rest), (p, p_rest), (q, q_rest), (r, r_rest)] = fields.map(|field| field.as_chunks_mut::<LANES>());
    let (mut sums, mut rest) = ([[T::zero(); LANES]; 4], [[[T::zero(); 1]; 4]; 2]);
    let in_lanes = |of: Pair<T>| -> [T; LANES] { std::array::from_fn(|i| of[i % 2]) };
    let of = [unit.amplitude, unit.gain, unit.norm].map(in_lanes);
    for (k, (s, l)) in s.iter().zip(l).enumerate() {
        points_back::<T, LN_COSH, LANES>(s, l, &of, [&mut u[k], &mut p[k], &mut q[k], &mut r[k]], &mut sums);
    }
    let (u, p, q, r) = (
        u_rest.as_chunks_mut::<1>().0,
        p_rest.as_chunks_mut::<1>().0,
        q_rest.as_chunks_mut::<1>().0,
        r_rest.as_chunks_mut::<1>().0,
    );
    for (k, (s, l)) in s_rest.as_chunks::<1>().0.iter().zip(l_rest.as_chunks::<1>().0).enumerate() {
        let of = [unit.amplitude, unit.gain, unit.norm].map(|of| [of[k % 2]]);
        let sums = &mut rest[k % 2];
        points_back::<T, LN_COSH, 1>(s, l, &of, [&mut u[k], &mut p[k], &mut q[k], &mut r[k]], sums);
    }
    let total =
        |of: usize, part: usize| sums[of].iter().skip(part).step_by(2).fold(rest[part][of][0], |sum, lane| sum + *lane);
    let both = |of: &dyn Fn(usize) -> T| [of(0), of(1)];
    let (g, n, two) = (unit.gain, unit.norm, T::of(2.0));
    UnitBars {
        amplitude: both(&|i| total(0, i)),
        gain: both(&|i| total(1, i) + two * g[i] * n[i] * total(3, i)),
        offset: both(&|i| total(2, i)),
        norm: both(&|i| g[i] * g[i] * total(3, i)),
    }
}

/// Some points of [`score_back`]. With `p, q, r` for g times the products of w with a, s and b, and `n = g²‖w‖²`,
///
/// ```text
/// ψ = v (f' p + f'' (l n + r q) + f''' r n).
/// ```
///
/// Every loop fills one array, which is what the compiler makes vectors of.
#[inline(always)]
fn points_back<T: Number, const LN_COSH: bool, const N: usize>(
    s: &[T; N],
    l: &[T; N],
    [v, g, norm]: &[[T; N]; 3],
    fields: [&mut [T; N]; 4],
    sums: &mut Lanes<T, N>,
) {
    let (two, four, six) = (T::of(2.0), T::of(4.0), T::of(6.0));
    let each = |of: &dyn Fn(usize) -> T| -> [T; N] { std::array::from_fn(of) };
    let [u, p, q, r] = fields;
    // ln cosh: f'''' = f''(4 − 6f''); softplus: f''(1 − 6f'').
    let (slope, last) = if LN_COSH { (T::zero(), four) } else { (T::one(), T::one()) };
    let f2 = each(&|i| activation::<LN_COSH>().curvature(s[i]));
    let f3 = each(&|i| f2[i] * (slope - two * s[i]));
    let f4 = each(&|i| f2[i] * (last - six * f2[i]));
    let n = each(&|i| g[i] * g[i] * norm[i]);
    let [gp, gq, gr] = [&*p, &*q, &*r].map(|of| each(&|i| g[i] * of[i]));
    let both = each(&|i| l[i] * n[i] + gr[i] * gq[i]);
    let bent = each(&|i| gr[i] * n[i]);
    let a_bar = each(&|i| v[i] * (f2[i] * gp[i] + f3[i] * both[i] + f4[i] * bent[i]));
    let p_bar = each(&|i| v[i] * s[i]);
    let q_bar = each(&|i| v[i] * gr[i] * f2[i]);
    let r_bar = each(&|i| v[i] * (gq[i] * f2[i] + n[i] * f3[i]));
    for i in 0..N {
        sums[0][i] += s[i] * gp[i] + f2[i] * both[i] + f3[i] * bent[i];
    }
    for i in 0..N {
        sums[1][i] += a_bar[i] * u[i] + p_bar[i] * p[i] + q_bar[i] * q[i] + r_bar[i] * r[i];
    }
    for i in 0..N {
        sums[2][i] += a_bar[i];
    }
    for i in 0..N {
        sums[3][i] += v[i] * (l[i] * f2[i] + gr[i] * f3[i]);
    }
    for (field, bar) in [u, p, q, r].into_iter().zip([a_bar, p_bar, q_bar, r_bar]) {
        *field = each(&|i| g[i] * bar[i]);
    }
}

/// One kernel per precision, compiled for each generation of vector instructions.
macro_rules! kernels {
    ($t:ty, $module:ident) => {
        mod $module {
            use super::{Unit, UnitBars, multiversion};

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn score_back<const LN_COSH: bool>(
                s: &[$t],
                l: &[$t],
                unit: Unit<$t>,
                fields: [&mut [$t]; 4],
            ) -> UnitBars<$t> {
                super::score_back::<$t, LN_COSH>(s, l, unit, fields)
            }
        }

        impl ScoreKernels for $t {
            fn score_back(
                s: &[Self],
                l: &[Self],
                unit: Unit<Self>,
                fields: [&mut [Self]; 4],
                activation: Activation,
            ) -> UnitBars<Self> {
                match activation {
                    Activation::Softplus => $module::score_back::<false>(s, l, unit, fields),
                    Activation::LnCosh => $module::score_back::<true>(s, l, unit, fields),
                }
            }
        }
    };
}

kernels!(f32, single);
kernels!(f64, double);
