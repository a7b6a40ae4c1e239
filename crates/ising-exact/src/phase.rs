//! The variables and the integrand of Kaufman's products in one phase, shared by the torus and the infinite lattice.

use std::f64::consts::LN_2;

use crate::jet::Jet;

/// x and y with x + y + xy ≤ 1: (tanh K, tanh L) above T_c, the dual (e^{−2L}, e^{−2K}) below.
///
/// Z is `e^{N(linear β + prefactor)}` times half the signed sum of the four sectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phase {
    pub ordered: bool,
    pub linear: f64,
    pub prefactor: Jet,
    pub x: Jet,
    pub y: Jet,
    pub one_minus_y: Jet,
    /// δ = 1 − x − y − xy, the distance from T_c.
    pub delta: Jet,
}

/// One momentum: ln(1+h) and γ = −ln r.
pub(crate) struct Mode {
    pub ln_1p_h: Jet,
    pub gamma: Jet,
}

impl Phase {
    /// Couplings must not be negative.
    pub fn new(j: [f64; 2], beta: f64) -> Self {
        let [k, l] = j.map(|j| Jet::linear(j, beta));
        let [u, v] = [k, l].map(|k| k.scale(-2.0).exp());
        if u.v <= l.v.tanh() {
            let one_minus_y = -k.scale(-2.0).exp_m1();
            let delta = (l.tanh() - u) * (v + 1.0);
            return Self { ordered: true, delta, linear: j[0] + j[1], prefactor: Jet::ZERO, x: v, y: u, one_minus_y };
        }
        let mut linear = 0.0;
        let mut prefactor = Jet::constant(LN_2);
        for (k, j) in [k, l].into_iter().zip(j) {
            // ln cosh K = K + ln(1 + e^{−2K}) − ln 2, with K in the linear part where it is not small.
            if k.v < 0.5 {
                prefactor += k.ln_cosh();
            } else {
                linear += j;
                prefactor += k.scale(-2.0).exp().ln_1p() + -LN_2;
            }
        }
        let one_minus_y = v.scale(2.0) / (v + 1.0);
        let y = l.tanh();
        let delta = (v - k.tanh()) * (y + 1.0);
        Self { ordered: false, linear, prefactor, x: k.tanh(), y, one_minus_y, delta }
    }

    /// D₋ and h D₋ at the momentum whose half has these sin² and cos²; `edge` at momenta 0 and π, where h = 0.
    fn products(&self, sin2: f64, cos2: f64, edge: bool) -> (Jet, Jet) {
        let Self { x, y, one_minus_y, .. } = *self;
        let d_minus = one_minus_y.square() + y.scale(4.0 * sin2);
        let mixed = (x * y).square().scale(64.0 * sin2 * cos2);
        if edge || mixed.v == 0.0 {
            return (d_minus, Jet::ZERO);
        }
        // D₋ − x²D₊, a sum of two terms that are not negative.
        let difference = self.delta * (one_minus_y + x * (y + 1.0)) + (y * (x.square() + 1.0)).scale(4.0 * sin2);
        (d_minus, mixed.scale(0.5) / (difference + (difference.square() + mixed).sqrt()))
    }

    /// ln(1+h) alone.
    pub fn ln_1p_h(&self, sin2: f64, cos2: f64) -> Jet {
        let (d_minus, hd) = self.products(sin2, cos2, false);
        (hd / d_minus).ln_1p()
    }

    pub fn mode(&self, sin2: f64, cos2: f64, edge: bool) -> Mode {
        let Self { x, y, one_minus_y, .. } = *self;
        let (d_minus, hd) = self.products(sin2, cos2, edge);
        let scale = one_minus_y * (y + 1.0);
        let gap = one_minus_y * self.delta + y.scale(4.0 * sin2) + hd;
        Mode { ln_1p_h: (hd / d_minus).ln_1p(), gamma: (gap / (x * scale)).ln_1p() }
    }
}
