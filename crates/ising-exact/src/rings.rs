//! Uniform cylinders and frustrated tori: the transfer matrix from ring to ring, momentum by momentum, in as many
//! digits as it takes.
//!
//! The matrix between two rings of m spins with couplings K along the ring and L between rings is that of free fermions
//! (B. Kaufman, Phys. Rev. 76, 1232 (1949); T. D. Schultz, D. C. Mattis and E. H. Lieb, Rev. Mod. Phys. 36, 856
//! (1964)). Fermions of momenta πk/m with k odd go with an even number of them, those with k even with an odd number; a
//! seam in the ring exchanges the two. A pair of momenta ±q has the two states without and with both fermions. On these
//! a ring is the matrix `A` with `A₀₀ = cosh 2K − sinh 2K cos q` and determinant 1, the bonds between rings are diag(1,
//! t²), t = tanh L. With `τ = 2 (cosh 2K cosh 2L − sinh 2K cos q) / sinh 2L`, `F_{k+1} = τ F_k − F_{k−1}`, F_0 = 0 and
//! F_1 = 1, n rings give
//!
//! - open at the ends: `t^{n−1} (A₀₀ F_n − t F_{n−1})`; the vacuum is the only sector, so that Z is one product;
//! - closed: the trace `tⁿ V_n` over the even states, `V_n = F_{n+1} − F_{n−1}`, and `2tⁿ` over the two odd ones, which
//!   a seam between the rings gives a minus sign. Even and odd parts of the product over all momenta are multiplied out
//!   with positive terms only.
//!
//! So a cylinder, and a torus with one seam (in the ring), are sums of positive terms. With a seam both ways the
//! difference of two sectors is left: up to 2L m / ln 2 bits of it are lost at low temperature, and as many more are
//! carried. What else cancels (in the specific heat at low temperature, where single walls drop out) is found by
//! comparing two precisions.

use crate::axis::{Axis, Ends};
use crate::error::Error;
use crate::jet::Jet;
use crate::thermodynamics::{LogZ, Thermodynamics};
use crate::wide::{FIRST_BITS, Wide, converged, cosines, more_bits, wide};

/// Above this, e^{−2K} and all that it multiplies are below the smallest double.
const LARGEST_K: f64 = 350.0;

/// Work that is not too much: momenta · steps · words^1.6, half a minute or so.
const MOST_WORK: f64 = 5e7;

/// `size[1]` rings of `size[0]` spins, couplings `j[0]` in and `j[1]` between them, positive (or zero in rings of one
/// spin).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rings {
    pub size: [usize; 2],
    pub j: [f64; 2],
    /// Whether one bond of every ring is turned.
    pub seam: bool,
    pub ends: Ends,
    /// An energy that does not depend on the spins.
    pub constant: f64,
}

impl Rings {
    /// Rings along `ring`, one beside the other along `along`.
    pub fn new(ring: Axis, along: Axis) -> Self {
        Self {
            size: [ring.side, along.side],
            j: [ring.j, along.j],
            seam: ring.ends == Ends::Seam,
            ends: along.ends,
            constant: 0.0,
        }
    }

    pub fn thermodynamics(self, beta: f64) -> Result<Thermodynamics, Error> {
        if self.swapped().lost_bits(beta) < self.lost_bits(beta) {
            return self.swapped().thermodynamics(beta);
        }
        let sites = self.size[0] * self.size[1];
        let (affordable, log_z) = (|bits| self.affordable(bits), |bits| self.log_z(beta, bits));
        let found = converged(sites, beta, self.first_bits(beta), affordable, log_z)?;
        found.ok_or_else(|| self.too_cold(beta))
    }

    /// Bits that the difference of the two sectors loses, at most; none where it is no difference. What is left are
    /// walls that also run around the rings; a spin of the ring costs them no more than the tension `2 (L + ½ ln tanh
    /// K)`.
    fn lost_bits(&self, beta: f64) -> f64 {
        let [k, l] = self.j.map(|j| (beta * j).min(LARGEST_K));
        let dual = if self.size[0] == 1 { 0.0 } else { -0.5 * k.tanh().ln() };
        let tension = 2.0 * (l - dual).max(0.0);
        if self.ends == Ends::Seam { tension * self.size[0] as f64 / std::f64::consts::LN_2 } else { 0.0 }
    }

    fn first_bits(&self, beta: f64) -> usize {
        FIRST_BITS + self.lost_bits(beta) as usize
    }

    fn affordable(&self, bits: usize) -> bool {
        let [m, n] = self.size;
        m as f64 * f64::from(n.ilog2() + 2) * (bits as f64 / 64.0).powf(1.6) < MOST_WORK
    }

    /// The error for a torus that takes too many bits, with the lowest temperature that does not, rounded up to two
    /// digits.
    fn too_cold(&self, beta: f64) -> Error {
        let (mut warm, mut cold) = (0.0, beta);
        for _ in 0..60 {
            let middle = 0.5 * (warm + cold);
            let possible = self.affordable(more_bits(self.first_bits(middle)));
            if possible { warm = middle } else { cold = middle }
        }
        let digits = 10f64.powf(1.0 - (1.0 / warm).log10().floor());
        let temperature = (digits / warm).ceil() / digits;
        Error::Cancellation { lost: self.lost_bits(beta) * std::f64::consts::LOG10_2, temperature }
    }

    /// A torus with a seam both ways with x and y exchanged; anything else as it is.
    fn swapped(self) -> Self {
        let Self { size: [m, n], j: [jx, jy], .. } = self;
        if self.ends == Ends::Seam && m > 1 { Self { size: [n, m], j: [jy, jx], ..self } } else { self }
    }

    /// ln Z from numbers of `bits` bits; `None` where so few leave nothing positive.
    fn log_z(&self, beta: f64, bits: usize) -> Option<LogZ> {
        let j = self.j.map(|j| j.min(LARGEST_K / beta));
        let weights = Weights::new(j, beta, bits)?;
        let z = match self.ends {
            Ends::Open => weights.cylinder(self.size, self.seam),
            Ends::Closed => weights.torus(self.size, self.seam, 1.0),
            Ends::Seam => weights.torus(self.size, self.seam, -1.0),
        };
        // Bonds that were too strong for any excitation are so in the ground state alone.
        let ground: f64 = [0, 1].map(|i| (self.j[i] - j[i]) * self.surplus()[i]).iter().sum();
        Some(z.log_z(beta)?.with_energy(self.constant - ground))
    }

    /// Satisfied less unsatisfied bonds of the ground state, in the rings and between them.
    fn surplus(&self) -> [f64; 2] {
        let [m, n] = self.size;
        let ring = Axis { side: m, j: self.j[0], ends: if self.seam { Ends::Seam } else { Ends::Closed } };
        let along = Axis { side: n, j: self.j[1], ends: self.ends };
        [ring.surplus() * n as f64, along.surplus() * m as f64]
    }
}

/// What the momenta have in common.
struct Weights {
    bits: usize,
    /// e^K and e^{−K}.
    e: [Jet<Wide>; 2],
    /// cosh 2K and sinh 2K.
    two_k: [Jet<Wide>; 2],
    /// 2 cosh L and 2 sinh L.
    two_l: [Jet<Wide>; 2],
    /// 2 sinh 2L.
    two_sinh_2l: Jet<Wide>,
    /// τ = τ₀ − τ₁ cos q.
    tau: [Jet<Wide>; 2],
}

impl Weights {
    /// `None` where so few bits do not tell tanh L from zero.
    fn new(j: [f64; 2], beta: f64, bits: usize) -> Option<Self> {
        let [e, f] = j.map(|j| [j, -j].map(|slope| Jet::exponential(slope, beta, bits)));
        let sum_and_difference = |[a, b]: &[Jet<Wide>; 2]| [a.plus(b), a.minus(b)];
        let two_k = sum_and_difference(&e.each_ref().map(Jet::square)).map(|x| x.scale(0.5));
        let two_l = sum_and_difference(&f);
        let [two_cosh_2l, two_sinh_2l] = sum_and_difference(&f.each_ref().map(Jet::square));
        // Below this the difference is rounding.
        let resolved = wide(0.5, bits).powi((bits as i64 - 64).into());
        if two_l[1].v < resolved {
            return None;
        }
        let tau = [two_k[0].times(&two_cosh_2l).scale(2.0), two_k[1].scale(4.0)].map(|x| x.over(&two_sinh_2l));
        Some(Self { bits, e, two_k, two_l, two_sinh_2l, tau })
    }

    fn one(&self) -> Jet<Wide> {
        Jet::number(1.0, self.bits)
    }

    fn tau(&self, cosine: &Wide) -> Jet<Wide> {
        self.tau[0].minus(&self.tau[1].multiple(cosine))
    }

    /// F_n and F_{n+1}, by doubling.
    fn fibonacci(&self, tau: &Jet<Wide>, n: usize) -> [Jet<Wide>; 2] {
        let (mut f, mut g) = (Jet::number(0.0, self.bits), self.one());
        for bit in (0..usize::BITS - n.leading_zeros()).rev() {
            let even = f.times(&g.scale(2.0).minus(&tau.times(&f)));
            let odd = g.square().minus(&f.square());
            (f, g) = if n >> bit & 1 == 1 {
                let next = tau.times(&odd).minus(&even);
                (odd, next)
            } else {
                (even, odd)
            };
        }
        [f, g]
    }

    /// V_n, by doubling: `V_{k+l} = V_k V_l − V_{k−l}`, V_0 = 2, V_1 = τ.
    fn trace(&self, tau: &Jet<Wide>, n: usize) -> Jet<Wide> {
        let (mut v, mut next) = (Jet::number(2.0, self.bits), tau.clone());
        for bit in (0..usize::BITS - n.leading_zeros()).rev() {
            let between = v.times(&next).minus(tau);
            (v, next) = if n >> bit & 1 == 1 {
                (between, next.square().shift(-2.0))
            } else {
                (v.square().shift(-2.0), between)
            };
        }
        v
    }

    /// Z of n rings with open ends.
    fn cylinder(&self, [m, n]: [usize; 2], seam: bool) -> Jet<Wide> {
        let [two_cosh_l, two_sinh_l] = &self.two_l;
        let t = two_sinh_l.over(two_cosh_l);
        let mut z = Jet::number(2.0, self.bits).power_times(m, self.one());
        let mut pairs = 0;
        let cosines = cosines(m, self.bits);
        for k in (usize::from(!seam)..=m).step_by(2) {
            if k == 0 || k == m {
                z = self.e[usize::from(k == 0)].power_times(n, two_cosh_l.power_times(n - 1, z));
                continue;
            }
            let [f, g] = self.fibonacci(&self.tau(&cosines[k]), n - 1);
            let a = self.two_k[0].minus(&self.two_k[1].multiple(&cosines[k]));
            z = z.times(&a.times(&g).minus(&t.times(&f)));
            pairs += 1;
        }
        self.two_sinh_2l.power_times((n - 1) * pairs, z)
    }

    /// Z of n rings closed to a torus; `sign` is that of the bonds between the last ring and the first.
    fn torus(&self, [m, n]: [usize; 2], seam: bool, sign: f64) -> Jet<Wide> {
        let cosines = cosines(m, self.bits);
        let [of_even, of_odd] = [false, true].map(|odd| self.sector([m, n], odd, &cosines));
        let [[even, _], [_, odd]] = if seam { [of_even, of_odd] } else { [of_odd, of_even] };
        even.plus(&odd.scale(sign))
    }

    /// The traces over even and over odd numbers of fermions with momenta πk/m, k odd or even.
    fn sector(&self, [m, n]: [usize; 2], odd_momenta: bool, cosines: &[Wide]) -> [Jet<Wide>; 2] {
        let [mut even, mut odd] = [self.one(), Jet::number(0.0, self.bits)];
        let mut pairs = 0;
        for k in (usize::from(odd_momenta)..=m).step_by(2) {
            let [without, with] = if k == 0 || k == m {
                // The one momentum alone, without and with its fermion.
                let [without, with] = if k == 0 { [1, 0] } else { [0, 1] };
                [(without, 0), (with, 1)].map(|(i, l)| self.e[i].times(&self.two_l[l]).power_times(n, self.one()))
            } else {
                pairs += 1;
                [self.trace(&self.tau(&cosines[k]), n), Jet::number(2.0, self.bits)]
            };
            (even, odd) = (even.times(&without).plus(&odd.times(&with)), odd.times(&without).plus(&even.times(&with)));
        }
        [even, odd].map(|z| self.two_sinh_2l.power_times(n * pairs, z))
    }
}
