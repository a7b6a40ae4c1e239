//! Second-order dual numbers: a value with its first and second derivative in β.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// What a jet is made of: `f64`, or a number of any precision. By reference, since the latter own memory.
pub(crate) trait Number: Clone {
    fn plus(&self, o: &Self) -> Self;
    fn minus(&self, o: &Self) -> Self;
    fn times(&self, o: &Self) -> Self;
    fn over(&self, o: &Self) -> Self;
    /// `c · self`.
    fn scaled(&self, c: f64) -> Self;
    /// `self + c`.
    fn raised(&self, c: f64) -> Self;
    /// Whether the number is above zero; false for one that is not a number.
    fn is_positive(&self) -> bool;
}

impl Number for f64 {
    fn plus(&self, o: &Self) -> Self {
        self + o
    }
    fn minus(&self, o: &Self) -> Self {
        self - o
    }
    fn times(&self, o: &Self) -> Self {
        self * o
    }
    fn over(&self, o: &Self) -> Self {
        self / o
    }
    fn scaled(&self, c: f64) -> Self {
        self * c
    }
    fn raised(&self, c: f64) -> Self {
        self + c
    }
    fn is_positive(&self) -> bool {
        *self > 0.0
    }
}

/// `f(β)`, `f'(β)` and `f''(β)`, carried through arithmetic exactly to rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Jet<R = f64> {
    pub v: R,
    pub d1: R,
    pub d2: R,
}

/// Arithmetic of every precision.
impl<R: Number> Jet<R> {
    pub fn scale(&self, c: f64) -> Self {
        Self { v: self.v.scaled(c), d1: self.d1.scaled(c), d2: self.d2.scaled(c) }
    }

    /// `self + c`, c a constant.
    pub fn shift(&self, c: f64) -> Self {
        Self { v: self.v.raised(c), d1: self.d1.clone(), d2: self.d2.clone() }
    }

    /// `c · self`, c a constant.
    pub fn multiple(&self, c: &R) -> Self {
        Self { v: self.v.times(c), d1: self.d1.times(c), d2: self.d2.times(c) }
    }

    pub fn plus(&self, o: &Self) -> Self {
        Self { v: self.v.plus(&o.v), d1: self.d1.plus(&o.d1), d2: self.d2.plus(&o.d2) }
    }

    pub fn minus(&self, o: &Self) -> Self {
        Self { v: self.v.minus(&o.v), d1: self.d1.minus(&o.d1), d2: self.d2.minus(&o.d2) }
    }

    pub fn times(&self, o: &Self) -> Self {
        Self {
            v: self.v.times(&o.v),
            d1: self.d1.times(&o.v).plus(&self.v.times(&o.d1)),
            d2: self.d2.times(&o.v).plus(&self.d1.times(&o.d1).scaled(2.0)).plus(&self.v.times(&o.d2)),
        }
    }

    pub fn square(&self) -> Self {
        Self {
            v: self.v.times(&self.v),
            d1: self.v.times(&self.d1).scaled(2.0),
            d2: self.d1.times(&self.d1).plus(&self.v.times(&self.d2)).scaled(2.0),
        }
    }

    pub fn over(&self, o: &Self) -> Self {
        // q = self/o solved order by order: no squares or cubes of 1/o that could overflow.
        let v = self.v.over(&o.v);
        let d1 = self.d1.minus(&v.times(&o.d1)).over(&o.v);
        let d2 = self.d2.minus(&d1.times(&o.d1).scaled(2.0)).minus(&v.times(&o.d2)).over(&o.v);
        Self { v, d1, d2 }
    }

    /// `self^n · start`, by repeated squaring.
    pub fn power_times(&self, n: usize, start: Self) -> Self {
        let (mut product, mut base, mut rest) = (start, self.clone(), n);
        while rest > 0 {
            if rest & 1 == 1 {
                product = product.times(&base);
            }
            rest >>= 1;
            if rest > 0 {
                base = base.square();
            }
        }
        product
    }
}

impl Jet {
    pub const ZERO: Self = Self::constant(0.0);

    pub const fn constant(v: f64) -> Self {
        Self { v, d1: 0.0, d2: 0.0 }
    }

    /// `slope · β`, the coupling constant K = βJ.
    pub const fn linear(slope: f64, beta: f64) -> Self {
        Self { v: slope * beta, d1: slope, d2: 0.0 }
    }

    /// Chain rule: `g(self)` from `g`, `g'`, `g''` at the value.
    fn chain(self, g: f64, g1: f64, g2: f64) -> Self {
        Self { v: g, d1: g1 * self.d1, d2: g2 * self.d1 * self.d1 + g1 * self.d2 }
    }

    pub fn exp(self) -> Self {
        let e = self.v.exp();
        self.chain(e, e, e)
    }

    pub fn exp_m1(self) -> Self {
        let e = self.v.exp();
        self.chain(self.v.exp_m1(), e, e)
    }

    pub fn ln(self) -> Self {
        // Not by 1/v and 1/v²: they overflow where v is near underflow.
        let d1 = self.d1 / self.v;
        Self { v: self.v.ln(), d1, d2: self.d2 / self.v - d1 * d1 }
    }

    pub fn ln_1p(self) -> Self {
        let r = 1.0 / (1.0 + self.v);
        self.chain(self.v.ln_1p(), r, -r * r)
    }

    pub fn sqrt(self) -> Self {
        let s = self.v.sqrt();
        self.chain(s, 0.5 / s, -0.25 / (s * self.v))
    }

    pub fn tanh(self) -> Self {
        let t = self.v.tanh();
        let c = self.v.cosh().recip();
        let sech2 = c * c;
        self.chain(t, sech2, -2.0 * t * sech2)
    }

    pub fn atanh(self) -> Self {
        let r = 1.0 / ((1.0 - self.v) * (1.0 + self.v));
        self.chain(self.v.atanh(), r, 2.0 * self.v * r * r)
    }

    pub fn ln_cosh(self) -> Self {
        let w = self.v.abs();
        let value = if w < 1.0 {
            0.5 * w.sinh().powi(2).ln_1p()
        } else {
            w + (-2.0 * w).exp().ln_1p() - std::f64::consts::LN_2
        };
        let c = w.cosh().recip();
        self.chain(value, self.v.tanh(), c * c)
    }
}

impl<R: Number> Add for Jet<R> {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        self.plus(&o)
    }
}

impl AddAssign for Jet {
    fn add_assign(&mut self, o: Self) {
        *self = *self + o;
    }
}

impl Add<f64> for Jet {
    type Output = Self;
    fn add(self, c: f64) -> Self {
        self.shift(c)
    }
}

impl<R: Number> Sub for Jet<R> {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        self.minus(&o)
    }
}

impl<R: Number> Neg for Jet<R> {
    type Output = Self;
    fn neg(self) -> Self {
        self.scale(-1.0)
    }
}

impl<R: Number> Mul for Jet<R> {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        self.times(&o)
    }
}

impl<R: Number> Div for Jet<R> {
    type Output = Self;
    fn div(self, o: Self) -> Self {
        self.over(&o)
    }
}

/// A compensated (Neumaier) sum of jets: the error does not grow with the number of terms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JetSum {
    parts: [Neumaier; 3],
}

impl JetSum {
    pub fn new() -> Self {
        Self { parts: [Neumaier::default(); 3] }
    }

    pub fn add(&mut self, j: Jet) {
        self.parts[0].add(j.v);
        self.parts[1].add(j.d1);
        self.parts[2].add(j.d2);
    }

    pub fn total(&self) -> Jet {
        let [v, d1, d2] = self.parts.map(|p| p.total());
        Jet { v, d1, d2 }
    }
}

/// Neumaier's compensated sum of numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Neumaier {
    sum: f64,
    lost: f64,
}

impl Neumaier {
    pub fn add(&mut self, x: f64) {
        let t = self.sum + x;
        self.lost += if self.sum.abs() >= x.abs() { (self.sum - t) + x } else { (x - t) + self.sum };
        self.sum = t;
    }

    pub fn total(&self) -> f64 {
        self.sum + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each function against the derivatives of its composition with 0.3 + 0.7β + 0.2β², known in closed form.
    #[test]
    fn functions_obey_the_chain_rule() {
        let x = Jet { v: 0.3, d1: 0.7, d2: 0.4 };
        let close = |a: Jet, b: Jet| {
            for (p, q) in [(a.v, b.v), (a.d1, b.d1), (a.d2, b.d2)] {
                assert!((p - q).abs() <= 4e-15 * q.abs().max(1.0), "{a:?} {b:?}");
            }
        };
        close(x.exp().ln(), x);
        close(x.exp_m1().ln_1p(), x);
        close(x.tanh().atanh(), x);
        close(x.square().sqrt(), x);
        close(Jet::constant(1.0) / (Jet::constant(1.0) / x), x);
        close(x.exp() * (-x).exp(), Jet::constant(1.0));
        close(x / x, Jet::constant(1.0));
        let cosh = (x.exp() + (-x).exp()).scale(0.5);
        close(x.ln_cosh(), cosh.ln());
        close(x.tanh(), (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()));
        let big = x + 3.0;
        close(big.ln_cosh(), (big.exp() + (-big).exp()).scale(0.5).ln());
    }

    #[test]
    fn compensation_keeps_what_a_plain_sum_loses() {
        let mut s = Neumaier::default();
        for x in [1.0, 1e100, 1.0, -1e100] {
            s.add(x);
        }
        assert_eq!(s.total(), 2.0);
    }
}
