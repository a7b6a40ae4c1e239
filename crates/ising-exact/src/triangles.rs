//! Partition functions of closed and infinite triangular lattices, and of honeycombs, whose every other spin is summed
//! over first.
//!
//! A triangular lattice with couplings K₁, K₂, K₃ is known by four numbers, the weights of an up triangle (each bond
//! belongs to one) whose spins are all equal, or equal along one direction alone:
//!
//! `a = e^{K₁+K₂+K₃}, b = e^{K₁−K₂−K₃}, c = e^{−K₁+K₂−K₃}, d = e^{−K₁−K₂+K₃}`.
//!
//! A spin of the honeycomb with three neighbours leaves the same four numbers when it is summed over, with
//! `a = 2 cosh(K₁+K₂+K₃)` and a sign turned in each of the others. With `s₁ = ½(ab − cd)` and so on, and
//! `p = ¼(a² + b² + c² + d²)`, on a torus of m × n cells
//!
//! `Z = 2^{mn} · ½ (AA + AP + PA − PP)`, `AA² = Π_{θ,φ} [p − s₁ cos θ − s₂ cos φ − s₃ cos(θ−φ)]`,
//!
//! where A and P say whether the momenta along x and along y are odd or even multiples of π/m and π/n (R. M. F.
//! Houtappel, Physica 16, 425 (1950); B. M. McCoy and T. T. Wu, *The Two-Dimensional Ising Model*). A seam turns the
//! minus sign to another sector. The product over θ is done in closed form: with `P = p − s₂ cos φ` and
//! `w = ½(s₁ + s₃ e^{iφ})`
//!
//! `Π_θ [...] = λ^m + μ^m ∓ 2 Re w^m`, `λ + μ = P`, `λμ = |w|²`,
//!
//! which is a polynomial in P and w. Momenta φ and −φ give the same, so that the root is a product over half of them,
//! but for `φ = 0` and π, where it is `((b+d)/2)^m ∓ ((a−c)/2)^m` and `((a+c)/2)^m ∓ ((b−d)/2)^m`. Where sectors
//! cancel, more digits are carried.

use std::f64::consts::PI;

use crate::error::Error;
use crate::infinite::{CRITICAL, integral_from};
use crate::jet::{Jet, Number};
use crate::shape::Shape;
use crate::thermodynamics::{LogZ, Thermodynamics};
use crate::wide::{FIRST_BITS, Wide, converged, cosines};

/// Work that is not too much: momenta · steps · words^1.6, half a minute or so.
const MOST_WORK: f64 = 1e7;

/// Bits, and momenta, beyond which the sum over momenta of an infinite lattice is left for panels in double precision.
const MOST_MOMENTA: usize = 2048;

/// What the four numbers a, b, c, d are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Corners {
    pub shape: Shape,
    pub j: [f64; 3],
}

impl Corners {
    /// Slopes in β of a, b, c, d: exponents, or arguments of a hyperbolic cosine, without their sign.
    fn slopes(&self) -> [f64; 4] {
        let [j1, j2, j3] = self.j;
        match self.shape {
            Shape::Triangular => [j1 + j2 + j3, j1 - j2 - j3, -j1 + j2 - j3, -j1 - j2 + j3],
            Shape::Honeycomb => [j1 + j2 + j3, j1 - j2 + j3, -j1 + j2 + j3, j1 + j2 - j3].map(f64::abs),
        }
    }

    /// The slopes in falling order. That is what turned spins and exchanged directions make of them, which changes
    /// nothing in an infinite lattice.
    fn sorted(&self) -> [f64; 4] {
        let mut slopes = self.slopes();
        slopes.sort_by(|a, b| b.total_cmp(a));
        slopes
    }

    fn number(&self, slope: f64, beta: f64, bits: usize) -> Jet<Wide> {
        let up = Jet::exponential(slope, beta, bits);
        match self.shape {
            Shape::Triangular => up,
            Shape::Honeycomb => up.plus(&Jet::exponential(-slope, beta, bits)),
        }
    }

    /// 1 + e^{−2 slope β}, by which a number of the honeycomb is more than an exponential.
    fn surplus(&self, slope: f64, beta: f64) -> Jet {
        match self.shape {
            Shape::Triangular => Jet::constant(1.0),
            Shape::Honeycomb => Jet::linear(-2.0 * slope, beta).exp() + 1.0,
        }
    }

    /// b/a, c/a and d/a in falling order.
    fn ratios(&self, beta: f64) -> [Jet; 3] {
        let [a, rest @ ..] = self.sorted();
        rest.map(|slope| Jet::linear(slope - a, beta).exp() * self.surplus(slope, beta) / self.surplus(a, beta))
    }

    /// T_c, where a = b + c + d; zero where there is none.
    pub fn critical_temperature(&self) -> f64 {
        let [a, b, ..] = self.sorted();
        // Each ratio is below 2 e^{−β(a−b)} and falls in β.
        let (mut low, mut high) = (0.0, 6f64.ln() / (a - b));
        if !high.is_finite() {
            return 0.0;
        }
        loop {
            let middle = low + 0.5 * (high - low);
            if middle <= low || middle >= high {
                return high.recip();
            }
            let disordered = self.ratios(middle).iter().map(|ratio| ratio.v).sum::<f64>() > 1.0;
            if disordered { low = middle } else { high = middle }
        }
    }

    /// Thermodynamics of the infinite lattice, for as many sites as a cell has.
    ///
    /// The integral over φ of a periodic function is a sum over equally distant φ, with an error that falls
    /// exponentially in their number; near T_c that takes too many of them.
    pub fn infinite(&self, beta: f64) -> Result<Thermodynamics, Error> {
        let sites = self.shape.sites();
        let log_z = |bits| self.sum_over_momenta(beta, bits);
        if let Some(found) = converged(sites, beta, FIRST_BITS, |bits| bits <= MOST_MOMENTA, log_z)? {
            return Ok(found);
        }
        let (a, ratios) = (self.sorted()[0], self.ratios(beta));
        let critical = (1.0 - ratios.iter().map(|ratio| ratio.v).sum::<f64>()).abs() < CRITICAL;
        let mut residual = self.surplus(a, beta).ln() + integral(ratios).scale(0.5 / PI);
        if critical {
            residual.d2 = 0.0;
        }
        let found = LogZ::new(a, residual).at(sites, beta)?;
        let heat = if critical { f64::INFINITY } else { found.specific_heat_per_site.max(0.0) };
        Ok(Thermodynamics { specific_heat_per_site: heat, ..found })
    }

    /// ln Z of a cell, `ln a + (1/n) Σ ln 2(P + √(P² − |2w|²))/a²` over φ = π(2k+1)/n, 2k + 1 < n, with `bits` bits and
    /// as many momenta n.
    fn sum_over_momenta(&self, beta: f64, bits: usize) -> Option<LogZ> {
        let cosines = cosines(bits, bits);
        let corners = self.sorted().map(|slope| self.number(slope, beta, bits));
        let Field { p, s } = Field::new(&corners);
        let [s1, s2, s3] = &s;
        let squares = s1.square().plus(&s3.square());
        let twice = s1.times(s3).scale(2.0);
        // Powers of a that are left out of every factor.
        let unit = corners[0].square().scale(0.25);
        let mut z = Jet::number(1.0, bits);
        for cosine in cosines.iter().skip(1).step_by(2) {
            let p = p.minus(&s2.multiple(cosine));
            let root = square_root(&p.square().minus(&squares.plus(&twice.multiple(cosine))))?;
            z = z.times(&p.plus(&root).scale(0.5).over(&unit));
        }
        let of_momenta = scaled(z.log_z(beta)?, 1.0 / bits as f64);
        let LogZ { linear, residual } = corners[0].log_z(beta)?;
        Some(LogZ::new(linear + of_momenta.linear, residual + of_momenta.residual))
    }
}

/// √x; `None` where it is not positive.
fn square_root(x: &Jet<Wide>) -> Option<Jet<Wide>> {
    if !x.v.is_positive() {
        return None;
    }
    let v = x.v.sqrt();
    let d1 = x.d1.over(&v).scaled(0.5);
    let d2 = x.d2.scaled(0.5).minus(&d1.times(&d1)).over(&v);
    Some(Jet { v, d1, d2 })
}

fn scaled(log_z: LogZ, c: f64) -> LogZ {
    LogZ::new(log_z.linear * c, log_z.residual.scale(c))
}

/// ∫₀^π ln 2(P + √(P² − |2w|²)) dφ for a = 1, in double precision. Singularities lie beside φ = 0, π, or where
/// P² − |2w|² is least.
fn integral([b, c, d]: [Jet; 3]) -> Jet {
    let s = [b - c * d, c - b * d, d - b * c].map(|x| x.scale(0.5));
    let squares = b.square() + c.square() + d.square();
    let p = (squares + 1.0).scale(0.25);
    // P² − |2w|² = q₀ + q₁ v + q₂ v², v = 1 − cos φ: near T_c the first is the square of what vanishes there.
    let [from_zero, at_pi] = [-b - c - d + 1.0, b - c + d + 1.0];
    let q0 = (from_zero * at_pi).square().scale(0.0625);
    let q1 = (s[1] * (p - s[1]) + s[0] * s[2]).scale(2.0);
    let q2 = s[1].square();
    let integrand = |phi: f64| {
        let v = 2.0 * (0.5 * phi).sin().powi(2);
        let x = (q0 + q1.scale(v) + q2.scale(v * v)).scale(4.0);
        let twice_p = squares.scale(0.5) - s[1].scale(2.0 * phi.cos());
        let root = if x.v > 0.0 { x.sqrt() } else { Jet::ZERO };
        (twice_p + (x + -0.25) / (root + 0.5)).ln_1p()
    };
    let least = -0.5 * q1.v / q2.v;
    let ends = if least > 0.0 && least < 2.0 { vec![0.0, (1.0 - least).acos(), PI] } else { vec![0.0, PI] };
    let mut sum = Jet::ZERO;
    for pair in ends.windows(2) {
        let half = 0.5 * (pair[1] - pair[0]);
        sum += integral_from(half, |x| integrand(pair[0] + x)) + integral_from(half, |x| integrand(pair[1] - x));
    }
    sum
}

/// p and s₁, s₂, s₃.
struct Field {
    p: Jet<Wide>,
    s: [Jet<Wide>; 3],
}

impl Field {
    fn new([a, b, c, d]: &[Jet<Wide>; 4]) -> Self {
        let s = |x: &Jet<Wide>, y: &Jet<Wide>, z: &Jet<Wide>| a.times(x).minus(&y.times(z)).scale(0.5);
        let p = a.square().plus(&b.square()).plus(&c.square()).plus(&d.square()).scale(0.25);
        Self { p, s: [s(b, c, d), s(c, b, d), s(d, b, c)] }
    }
}

/// A complex number with two derivatives in β.
#[derive(Clone)]
struct Complex {
    re: Jet<Wide>,
    im: Jet<Wide>,
}

impl Complex {
    fn times(&self, o: &Self) -> Self {
        Self {
            re: self.re.times(&o.re).minus(&self.im.times(&o.im)),
            im: self.re.times(&o.im).plus(&self.im.times(&o.re)),
        }
    }
}

/// A torus of `cells[0] × cells[1]` cells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Torus {
    pub corners: Corners,
    pub cells: [usize; 2],
    /// Whether the bonds that leave the lattice along x, along y, are turned.
    pub seams: [bool; 2],
    pub sites: usize,
}

impl Torus {
    pub fn thermodynamics(&self, beta: f64) -> Result<Thermodynamics, Error> {
        let [m, n] = self.cells;
        let work = n as f64 * f64::from(m.ilog2() + 2);
        let affordable = |bits: usize| work * (bits as f64 / 64.0).powf(1.6) < MOST_WORK;
        let found = converged(self.sites, beta, FIRST_BITS, affordable, |bits| self.log_z(beta, bits))?;
        found.ok_or(Error::Unstable { what: "ln Z", difference: 1.0 })
    }

    fn log_z(&self, beta: f64, bits: usize) -> Option<LogZ> {
        let [m, n] = self.cells;
        let corners = self.corners.slopes().map(|slope| self.corners.number(slope, beta, bits));
        let cosines = cosines(2 * n, bits);
        let mut z = Jet::number(0.0, bits);
        for odd in [false, true] {
            for (odd_along_x, sector) in [false, true].into_iter().zip(self.sectors(&corners, odd, &cosines)) {
                let minus = [odd_along_x, odd] == self.seams;
                z = if minus { z.minus(&sector) } else { z.plus(&sector) };
            }
        }
        let two = Jet::number(2.0, bits);
        two.power_times(m * n, z.scale(0.5)).log_z(beta)
    }

    /// The products of even and of odd momenta along x, for odd momenta along y or even ones.
    fn sectors(&self, corners: &[Jet<Wide>; 4], odd: bool, cosines: &[Wide]) -> [Jet<Wide>; 2] {
        let [m, n] = self.cells;
        let [a, b, c, d] = corners;
        let one = Jet::number(1.0, cosines[0].precision());
        let Field { p, s: [s1, s2, s3] } = Field::new(corners);
        let mut sectors = [one.clone(), one.clone()];
        let mut multiply = |sum: &Jet<Wide>, less: &Jet<Wide>| {
            sectors = [sectors[0].times(&sum.minus(less)), sectors[1].times(&sum.plus(less))];
        };
        for k in (usize::from(odd)..=n).step_by(2) {
            if k == 0 || k == n {
                let (u, w) = if k == 0 { (b.plus(d), a.minus(c)) } else { (a.plus(c), b.minus(d)) };
                let [u, w] = [u, w].map(|x| x.scale(0.5).power_times(m, one.clone()));
                multiply(&u, &w);
                continue;
            }
            let (cosine, sine) = (&cosines[2 * k], &cosines[n.abs_diff(2 * k)]);
            let w = Complex { re: s1.plus(&s3.multiple(cosine)).scale(0.5), im: s3.multiple(sine).scale(0.5) };
            let [sum, power] = powers(&p.minus(&s2.multiple(cosine)), &w, m, &one);
            multiply(&sum, &power.scale(2.0));
        }
        sectors
    }
}

/// `λ^m + μ^m` for λ + μ = `p` and λμ = |w|², and `Re w^m`, by doubling.
fn powers(p: &Jet<Wide>, w: &Complex, m: usize, one: &Jet<Wide>) -> [Jet<Wide>; 2] {
    let norm = w.re.square().plus(&w.im.square());
    // V_k, V_{k+1} and (λμ)^k.
    let (mut v, mut next, mut q) = (one.scale(2.0), p.clone(), one.clone());
    let mut power = Complex { re: one.clone(), im: one.minus(one) };
    for bit in (0..usize::BITS - m.leading_zeros()).rev() {
        let between = v.times(&next).minus(&q.times(p));
        let odd = m >> bit & 1 == 1;
        power = power.times(&power);
        if odd {
            let last = q.times(&norm);
            (v, next) = (between, next.square().minus(&last.scale(2.0)));
            q = q.times(&last);
            power = power.times(w);
        } else {
            (v, next) = (v.square().minus(&q.scale(2.0)), between);
            q = q.square();
        }
    }
    [v, power.re]
}
