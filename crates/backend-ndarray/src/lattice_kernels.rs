//! Element-wise kernels of the lattice potentials, compiled for several generations of vector instructions.

use flow_core::Activation;
use fourier::Complex;
use multiversion::multiversion;

use crate::kernels::{activation, argument_bar};
use crate::number::Number;

/// Coefficients of two kernels that share a complex field: of its real and of its imaginary part.
pub type Pair<T> = [T; 2];

/// What a field of arguments is multiplied with, and the products that follow from it.
#[derive(Debug, Clone, Copy)]
pub struct Coefficients<T> {
    /// `v g`: amplitude times gain.
    pub v: Pair<T>,
    /// `g ‖w‖²`: gain times squared norm of the kernel.
    pub n: Pair<T>,
}

/// Sums over the sites of one row that the gradient of a pair's coefficients needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoefficientSums<T> {
    /// Cotangent of `v g`.
    pub v: Pair<T>,
    /// Cotangent of `g ‖w‖²`.
    pub n: Pair<T>,
    /// `Σ ā`: cotangent of the offset.
    pub offset: Pair<T>,
    /// `Σ ā a₀`: cotangent of the gain, by way of the argument.
    pub gain: Pair<T>,
}

/// Kernels over complex fields whose real and imaginary parts belong to two kernels; one precision each.
pub trait LatticeKernels: Sized {
    /// `out ← a ⊙ b`.
    fn multiply(out: &mut [Complex<Self>], a: &[Complex<Self>], b: &[Complex<Self>]);

    /// `out ← out + a ⊙ b`.
    fn multiply_add(out: &mut [Complex<Self>], a: &[Complex<Self>], b: &[Complex<Self>]);

    /// `out ← out + conj(a) ⊙ b`.
    fn conjugate_multiply_add(out: &mut [Complex<Self>], a: &[Complex<Self>], b: &[Complex<Self>]);

    /// `a ← g a + b`, part by part.
    fn scale_shift(a: &mut [Pair<Self>], gain: Pair<Self>, offset: Pair<Self>);

    /// `out ← v s`; returns `Σ v n f''` where `curved`.
    fn weigh(
        s: &[Pair<Self>],
        c: Coefficients<Self>,
        out: &mut [Pair<Self>],
        curved: bool,
        activation: Activation,
    ) -> Self;

    /// Pullback of [`LatticeKernels::weigh`] for the cotangents `u` of its output and `l_bar` of its sum: `u` becomes
    /// that of the argument of f, `ā = v (f'' u + l̄ n f''')`. `a0` are the arguments before gain and offset, where the
    /// gain's cotangent is wanted.
    fn weigh_back(
        s: &[Pair<Self>],
        a0: Option<&[Pair<Self>]>,
        c: Coefficients<Self>,
        u: &mut [Pair<Self>],
        l_bar: Self,
        activation: Activation,
    ) -> CoefficientSums<Self>;
}

#[inline(always)]
fn weigh<T: Number, const LN_COSH: bool>(s: &[Pair<T>], c: Coefficients<T>, out: &mut [Pair<T>], curved: bool) -> T {
    for (out, s) in out.iter_mut().zip(s) {
        *out = [c.v[0] * s[0], c.v[1] * s[1]];
    }
    if !curved {
        return T::zero();
    }
    // Several running sums side by side, so that they vectorise.
    const LANES: usize = 8;
    let mut lanes = [[T::zero(); 2]; LANES];
    let chunks = s.chunks_exact(LANES);
    let rest = chunks.remainder();
    for s in chunks {
        for l in 0..LANES {
            for i in 0..2 {
                lanes[l][i] += activation::<LN_COSH>().curvature(s[l][i]);
            }
        }
    }
    for s in rest {
        for i in 0..2 {
            lanes[0][i] += activation::<LN_COSH>().curvature(s[i]);
        }
    }
    let sum = |i: usize| lanes.iter().fold(T::zero(), |sum, lane| sum + lane[i]);
    c.v[0] * c.n[0] * sum(0) + c.v[1] * c.n[1] * sum(1)
}

#[inline(always)]
fn weigh_back<T: Number, const LN_COSH: bool>(
    s: &[Pair<T>],
    a0: Option<&[Pair<T>]>,
    c: Coefficients<T>,
    u: &mut [Pair<T>],
    l_bar: T,
) -> CoefficientSums<T> {
    // Several sites side by side, real and imaginary parts in turn.
    const LANES: usize = 8;
    assert!(s.len() == u.len() && a0.is_none_or(|a0| a0.len() == s.len()), "fields of one size");
    let bent = [l_bar * c.n[0], l_bar * c.n[1]];
    let (mut sums, mut rest_sums) = ([[T::zero(); LANES]; 4], [[T::zero(); 2]; 4]);
    {
        let (s, s_rest) = s.as_flattened().as_chunks::<LANES>();
        let (u, u_rest) = u.as_flattened_mut().as_chunks_mut::<LANES>();
        let (a0, a0_rest) = a0.map_or((None, None), |a0| {
            let (a0, rest) = a0.as_flattened().as_chunks::<LANES>();
            (Some(a0), Some(rest.as_chunks::<2>().0))
        });
        let (v, bent_lanes) = (std::array::from_fn(|l| c.v[l % 2]), std::array::from_fn(|l| bent[l % 2]));
        for (k, (s, u)) in s.iter().zip(u).enumerate() {
            sites_back::<T, LN_COSH, LANES>(s, a0.map(|a0| &a0[k]), (&v, &bent_lanes), u, &mut sums);
        }
        for (k, (s, u)) in s_rest.as_chunks::<2>().0.iter().zip(u_rest.as_chunks_mut::<2>().0).enumerate() {
            sites_back::<T, LN_COSH, 2>(s, a0_rest.map(|a0| &a0[k]), (&c.v, &bent), u, &mut rest_sums);
        }
    }
    let total = |of: usize, part: usize| {
        sums[of].iter().skip(part).step_by(2).fold(rest_sums[of][part], |sum, lane| sum + *lane)
    };
    let both = |of: &dyn Fn(usize) -> T| [of(0), of(1)];
    CoefficientSums {
        v: both(&|i| total(0, i) + bent[i] * total(1, i)),
        n: both(&|i| l_bar * c.v[i] * total(1, i)),
        offset: both(&|i| total(2, i)),
        gain: both(&|i| total(3, i)),
    }
}

/// Some sites of [`weigh_back`]; the sums are of `s u`, `f''`, ā and `ā a₀`. Every loop fills one array, which is what
/// the compiler makes vectors of.
#[inline(always)]
fn sites_back<T: Number, const LN_COSH: bool, const LANES: usize>(
    s: &[T; LANES],
    a0: Option<&[T; LANES]>,
    (v, bent): (&[T; LANES], &[T; LANES]),
    u: &mut [T; LANES],
    sums: &mut [[T; LANES]; 4],
) {
    let mut a = [T::zero(); LANES];
    for l in 0..LANES {
        a[l] = argument_bar::<T, LN_COSH>(s[l], u[l], bent[l], v[l]);
    }
    for l in 0..LANES {
        sums[0][l] += s[l] * u[l];
    }
    for l in 0..LANES {
        sums[1][l] += activation::<LN_COSH>().curvature(s[l]);
    }
    for l in 0..LANES {
        sums[2][l] += a[l];
    }
    if let Some(a0) = a0 {
        for l in 0..LANES {
            sums[3][l] += a0[l] * a[l];
        }
    }
    *u = a;
}

/// One set of kernels per precision, compiled for each generation of vector instructions.
macro_rules! kernels {
    ($t:ty, $module:ident) => {
        mod $module {
            use super::{CoefficientSums, Coefficients, Complex, Pair, multiversion};

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn multiply(out: &mut [Complex<$t>], a: &[Complex<$t>], b: &[Complex<$t>]) {
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    *out = Complex::new(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re);
                }
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn multiply_add(out: &mut [Complex<$t>], a: &[Complex<$t>], b: &[Complex<$t>]) {
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    out.re += a.re * b.re - a.im * b.im;
                    out.im += a.re * b.im + a.im * b.re;
                }
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn conjugate_multiply_add(out: &mut [Complex<$t>], a: &[Complex<$t>], b: &[Complex<$t>]) {
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    out.re += a.re * b.re + a.im * b.im;
                    out.im += a.re * b.im - a.im * b.re;
                }
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn scale_shift(a: &mut [Pair<$t>], gain: Pair<$t>, offset: Pair<$t>) {
                for a in a {
                    *a = [gain[0] * a[0] + offset[0], gain[1] * a[1] + offset[1]];
                }
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn weigh<const LN_COSH: bool>(
                s: &[Pair<$t>],
                c: Coefficients<$t>,
                out: &mut [Pair<$t>],
                curved: bool,
            ) -> $t {
                super::weigh::<$t, LN_COSH>(s, c, out, curved)
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn weigh_back<const LN_COSH: bool>(
                s: &[Pair<$t>],
                a0: Option<&[Pair<$t>]>,
                c: Coefficients<$t>,
                u: &mut [Pair<$t>],
                l_bar: $t,
            ) -> CoefficientSums<$t> {
                super::weigh_back::<$t, LN_COSH>(s, a0, c, u, l_bar)
            }
        }

        impl LatticeKernels for $t {
            fn multiply(out: &mut [Complex<Self>], a: &[Complex<Self>], b: &[Complex<Self>]) {
                $module::multiply(out, a, b);
            }

            fn multiply_add(out: &mut [Complex<Self>], a: &[Complex<Self>], b: &[Complex<Self>]) {
                $module::multiply_add(out, a, b);
            }

            fn conjugate_multiply_add(out: &mut [Complex<Self>], a: &[Complex<Self>], b: &[Complex<Self>]) {
                $module::conjugate_multiply_add(out, a, b);
            }

            fn scale_shift(a: &mut [Pair<Self>], gain: Pair<Self>, offset: Pair<Self>) {
                $module::scale_shift(a, gain, offset);
            }

            fn weigh(
                s: &[Pair<Self>],
                c: Coefficients<Self>,
                out: &mut [Pair<Self>],
                curved: bool,
                activation: Activation,
            ) -> Self {
                match activation {
                    Activation::Softplus => $module::weigh::<false>(s, c, out, curved),
                    Activation::LnCosh => $module::weigh::<true>(s, c, out, curved),
                }
            }

            fn weigh_back(
                s: &[Pair<Self>],
                a0: Option<&[Pair<Self>]>,
                c: Coefficients<Self>,
                u: &mut [Pair<Self>],
                l_bar: Self,
                activation: Activation,
            ) -> CoefficientSums<Self> {
                match activation {
                    Activation::Softplus => $module::weigh_back::<false>(s, a0, c, u, l_bar),
                    Activation::LnCosh => $module::weigh_back::<true>(s, a0, c, u, l_bar),
                }
            }
        }
    };
}

kernels!(f32, single);
kernels!(f64, double);
