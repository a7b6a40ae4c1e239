//! Passes over the numbers of a block of rows, compiled for several generations of vector instructions and chosen at
//! run time.

use std::ops::AddAssign;

use flow_core::{Activation, Scalar};
use multiversion::multiversion;
use tch::kind::Element;
use tch::{Kind, Tensor};

use super::{PullbackOf, SlopesOf};
use crate::tensors::{slice, slice_mut};

/// 32 or 64 bits.
trait Real: Scalar + Element + AddAssign + Into<f64> {
    const ONE: Self;
    fn of(number: f64) -> Self;
    fn forward(pass: Forward<'_, Self>, activation: Activation);
    fn backward(pass: Backward<'_, Self>, activation: Activation);
    fn sum(out: &mut [Self], base: Option<&[Self]>, keep: Self, terms: &[(Self, &[Self])]);
}

macro_rules! real {
    ($t:ty, $versions:ident) => {
        mod $versions {
            use super::{Activation, Backward, Forward, multiversion};

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn forward(pass: Forward<'_, $t>, activation: Activation) {
                match activation {
                    Activation::Softplus => super::forward::<_, true>(pass),
                    Activation::LnCosh => super::forward::<_, false>(pass),
                }
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn backward(pass: Backward<'_, $t>, activation: Activation) {
                match activation {
                    Activation::Softplus => super::backward::<_, true>(pass),
                    Activation::LnCosh => super::backward::<_, false>(pass),
                }
            }

            #[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2+fma", "aarch64+neon"))]
            pub fn sum(out: &mut [$t], base: Option<&[$t]>, keep: $t, terms: &[($t, &[$t])]) {
                super::sum_of(out, base, keep, terms);
            }
        }

        impl Real for $t {
            const ONE: Self = 1.0;

            fn of(number: f64) -> Self {
                number as Self
            }

            fn forward(pass: Forward<'_, Self>, activation: Activation) {
                $versions::forward(pass, activation);
            }

            fn backward(pass: Backward<'_, Self>, activation: Activation) {
                $versions::backward(pass, activation);
            }

            fn sum(out: &mut [Self], base: Option<&[Self]>, keep: Self, terms: &[(Self, &[Self])]) {
                $versions::sum(out, base, keep, terms);
            }
        }
    };
}

real!(f32, single);
real!(f64, double);

/// Numbers that are worked on while they are in the nearest cache.
const CHUNK: usize = 256;

/// f, of kernels that are compiled for each.
#[inline(always)]
const fn activation<const SOFTPLUS: bool>() -> Activation {
    if SOFTPLUS { Activation::Softplus } else { Activation::LnCosh }
}

/// `out ← out + Σ cᵢ · termᵢ`, of equally many numbers each.
#[inline(always)]
fn add<T: Real>(out: &mut [T], terms: &[(T, &[T])], first: usize) {
    for (c, term) in terms {
        let term = &term[first..first + out.len()];
        for (out, term) in out.iter_mut().zip(term) {
            *out += *c * *term;
        }
    }
}

/// `out ← keep · out + base + Σ cᵢ · termᵢ`; `keep = 0` overwrites.
#[inline(always)]
fn sum_of<T: Real>(out: &mut [T], base: Option<&[T]>, keep: T, terms: &[(T, &[T])]) {
    for (i, out) in out.chunks_mut(CHUNK).enumerate() {
        let first = i * CHUNK;
        match base.map(|base| &base[first..first + out.len()]) {
            Some(base) if keep.into() == 0.0 => out.copy_from_slice(base),
            Some(base) => out.iter_mut().zip(base).for_each(|(out, base)| *out = keep * *out + *base),
            None if keep.into() == 0.0 => out.fill(T::ZERO),
            None if keep.into() != 1.0 => out.iter_mut().for_each(|out| *out = keep * *out),
            None => {}
        }
        add(out, terms, first);
    }
}

/// [`crate::Tch::slopes`], once there are slopes.
struct Forward<'a, T> {
    s: &'a [T],
    v: &'a [T],
    curved: &'a [T],
    velocity: Option<&'a mut [T]>,
    laplacian: Option<&'a mut [f64]>,
    update: Option<Update<'a, T>>,
}

/// [`super::Update`].
struct Update<'a, T> {
    out: &'a mut [T],
    base: &'a [T],
    terms: &'a [(T, &'a [T])],
    c: T,
}

#[inline(always)]
fn forward<T: Real, const SOFTPLUS: bool>(pass: Forward<'_, T>) {
    let Forward { s, v, curved, mut velocity, mut laplacian, mut update } = pass;
    let columns = v.len();
    for (r, s) in s.chunks_exact(columns).enumerate() {
        let row = r * columns..(r + 1) * columns;
        if let Some(velocity) = &mut velocity {
            let velocity = &mut velocity[row.clone()];
            for (velocity, (s, v)) in velocity.iter_mut().zip(s.iter().zip(v)) {
                *velocity = *s * *v;
            }
            if let Some(Update { out, base, terms, c }) = &mut update {
                let out = &mut out[row.clone()];
                for (out, (base, velocity)) in out.iter_mut().zip(base[row.clone()].iter().zip(&*velocity)) {
                    *out = *base + *c * *velocity;
                }
                add(out, terms, row.start);
            }
        }
        if let Some(laplacian) = &mut laplacian {
            laplacian[r] =
                s.chunks(CHUNK).zip(curved.chunks(CHUNK)).map(|(s, curved)| trace::<T, SOFTPLUS>(s, curved)).sum();
        }
    }
}

/// `Σ_j curved_j f''_j` of a chunk: short sums in working precision, their sum in 64 bits.
#[inline(always)]
fn trace<T: Real, const SOFTPLUS: bool>(s: &[T], curved: &[T]) -> f64 {
    const LANES: usize = 16;
    let mut lanes = [T::ZERO; LANES];
    let (s, s_rest) = s.as_chunks::<LANES>();
    let (curved, curved_rest) = curved.as_chunks::<LANES>();
    for (s, curved) in s.iter().zip(curved) {
        for l in 0..LANES {
            lanes[l] += activation::<SOFTPLUS>().curvature(s[l]) * curved[l];
        }
    }
    for (lane, (s, curved)) in lanes.iter_mut().zip(s_rest.iter().zip(curved_rest)) {
        *lane += activation::<SOFTPLUS>().curvature(*s) * *curved;
    }
    lanes.into_iter().map(Into::into).sum()
}

/// [`crate::Tch::pullback`].
struct Backward<'a, T> {
    s: &'a [T],
    u: &'a [(T, &'a [T])],
    v: Option<&'a [T]>,
    curved: &'a [T],
    laplacian_bar: Option<&'a [f64]>,
    a_bar: &'a mut [T],
    copy: Option<(&'a [T], &'a mut [T])>,
    b: &'a [T],
    /// One row each.
    amplitudes: Vec<&'a mut [T]>,
    curvatures: Vec<&'a mut [T]>,
    /// One for every row.
    arguments: Vec<&'a mut [T]>,
}

#[inline(always)]
fn backward<T: Real, const SOFTPLUS: bool>(pass: Backward<'_, T>) {
    let Backward { s, u, v, curved, laplacian_bar, a_bar, copy, b, mut amplitudes, mut curvatures, mut arguments } =
        pass;
    let columns = curved.len();
    if let Some((from, to)) = copy {
        to.copy_from_slice(from);
    }
    for first in (0..columns).step_by(CHUNK) {
        let width = CHUNK.min(columns - first);
        let (mut ones, mut products, mut bents) = ([T::ONE; CHUNK], [T::ZERO; CHUNK], [T::ZERO; CHUNK]);
        let curved = &curved[first..first + width];
        if let Some(v) = v {
            ones[..width].copy_from_slice(&v[first..first + width]);
        }
        let (v, products, bents) = (&ones[..width], &mut products[..width], &mut bents[..width]);
        for (r, s) in s.chunks_exact(columns).enumerate() {
            let at = r * columns + first;
            let (s, a_bar) = (&s[first..first + width], &mut a_bar[at..at + width]);
            let mut sum = [T::ZERO; CHUNK];
            let sum = &mut sum[..width];
            add(sum, u, at);
            let l = laplacian_bar.map_or(T::ZERO, |l| T::of(l[r]));
            for i in 0..width {
                let (s, u) = (s[i], sum[i]);
                let f = activation::<SOFTPLUS>();
                let (second, third_by_second) = (f.curvature(s), f.third_by_second(s));
                products[i] += s * u;
                bents[i] += l * second;
                a_bar[i] = second * (u * v[i] + l * curved[i] * third_by_second);
            }
            for (argument, b) in arguments.iter_mut().zip(b) {
                for (argument, a_bar) in argument[at..at + width].iter_mut().zip(&*a_bar) {
                    *argument += *b * *a_bar;
                }
            }
        }
        for (sums, terms) in [(&mut amplitudes, products), (&mut curvatures, bents)] {
            for (sum, b) in sums.iter_mut().zip(b) {
                for (sum, term) in sum[first..first + width].iter_mut().zip(&*terms) {
                    *sum += *b * *term;
                }
            }
        }
    }
}

pub(super) fn slopes(mut a: Tensor, of: SlopesOf<'_>) -> Tensor {
    for offsets in of.base.into_iter().chain(of.moving) {
        let _ = a.g_add_(offsets);
    }
    let _ = match of.activation {
        Activation::Softplus => a.sigmoid_(),
        Activation::LnCosh => a.tanh_(),
    };
    match a.kind() {
        Kind::Float => forward_of::<f32>(&a, of),
        _ => forward_of::<f64>(&a, of),
    }
    a
}

fn forward_of<T: Real>(s: &Tensor, of: SlopesOf<'_>) {
    let terms = of.update.as_ref().map_or(Vec::new(), |update| numbers::<T>(update.terms));
    let pass = Forward {
        s: slice(s),
        v: slice(of.v),
        curved: slice(of.curved),
        velocity: of.velocity.map(slice_mut),
        laplacian: of.laplacian.map(slice_mut),
        update: of.update.map(|to| Update {
            out: slice_mut(to.out),
            base: slice(to.base),
            terms: &terms,
            c: T::of(to.c),
        }),
    };
    T::forward(pass, of.activation);
}

pub(super) fn pullback(s: &Tensor, of: PullbackOf<'_>) {
    match s.kind() {
        Kind::Float => backward_of::<f32>(s, of),
        _ => backward_of::<f64>(s, of),
    }
}

fn backward_of<T: Real>(s: &Tensor, of: PullbackOf<'_>) {
    fn sums<T: Real>(of: &mut [Tensor]) -> Vec<&mut [T]> {
        of.iter_mut().map(slice_mut).collect()
    }
    let (u, b) = (numbers(of.u), of.b.iter().map(|b| T::of(*b)).collect::<Vec<_>>());
    let pass = Backward {
        s: slice(s),
        u: &u,
        v: of.v.map(slice),
        curved: slice(of.curved),
        laplacian_bar: of.laplacian_bar.map(slice),
        a_bar: slice_mut(of.a_bar),
        copy: of.copy.map(|(from, to)| (slice(from), slice_mut(to))),
        b: &b,
        amplitudes: sums(of.amplitudes),
        curvatures: sums(of.curvatures),
        arguments: sums(of.arguments),
    };
    T::backward(pass, of.activation);
}

fn numbers<'a, T: Real>(terms: &[(f64, &'a Tensor)]) -> Vec<(T, &'a [T])> {
    terms.iter().map(|(c, term)| (T::of(*c), slice(term))).collect()
}

/// `out ← keep · out + base + Σ cᵢ · termᵢ` in one pass. Does nothing and says `false` where that is no sum of equally
/// many numbers of one kind that lie next to each other on the CPU.
pub(crate) fn sum(out: &mut Tensor, base: Option<&Tensor>, keep: f64, terms: &[(f64, &Tensor)]) -> bool {
    let (kind, count) = (out.kind(), out.numel());
    let fits =
        |of: &Tensor| of.is_contiguous() && of.device() == tch::Device::Cpu && of.kind() == kind && of.numel() == count;
    if !(fits(out) && base.is_none_or(fits) && terms.iter().all(|(_, term)| fits(term))) {
        return false;
    }
    match kind {
        Kind::Float => f32::sum(slice_mut(out), base.map(slice), keep as f32, &numbers(terms)),
        Kind::Double => f64::sum(slice_mut(out), base.map(slice), keep, &numbers(terms)),
        _ => return false,
    }
    true
}
