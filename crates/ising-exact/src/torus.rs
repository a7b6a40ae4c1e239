//! Kaufman's partition function of the m×n torus, arranged so that nothing cancels at any temperature.
//!
//! With x = tanh K, y = tanh L the torus is a sum of four Pfaffians (B. Kaufman, Phys. Rev. 76, 1232 (1949);
//! B. M. McCoy and T. T. Wu, *The Two-Dimensional Ising Model*, chapter IV),
//! `Z = (2 cosh K cosh L)^{mn} · ½ (AA + AP + PA − PP)`, where A and P say whether the fermions are antiperiodic
//! or periodic along x and along y, and
//!
//! `AA² = Π_{p,q} [(1+x²)(1+y²) − 2x(1−y²) cos φ_p − 2y(1−x²) cos φ_q]`.
//!
//! The product over p is done in closed form. Writing D∓ = 1 ∓ 2y cos φ_q + y²,
//! `Π_p [...] = λ_q^m (1 ± r_q^m)²`, `λ_q = D₋ (1 + h_q)`, `r_q = x(1−y²)/λ_q`,
//! `h_q D₋ = ½[√((D₋ − x²D₊)² + 16x²y² sin²φ_q) − (D₋ − x²D₊)]`,
//! and `Π_q D₋ = (1 ± yⁿ)²`: everything left is positive and small where x and y are small.
//! Below T_c the same products are taken in the dual variables x = e^{−2L}, y = e^{−2K}, where
//! `Z = e^{mn(K+L)} · ½ (AA + AP + PA + PP)`; so x + y + xy ≤ 1 always.

use std::f64::consts::{LN_2, PI};

use crate::jet::{Jet, JetSum};
use crate::phase::{Mode, Phase};
use crate::thermodynamics::LogZ;

/// A torus without frustration: sides of two sites or more, couplings positive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Torus {
    pub size: [usize; 2],
    pub j: [f64; 2],
}

impl Torus {
    pub fn log_z(self, beta: f64) -> LogZ {
        Sectors::new(self.size, self.j, beta).log_z()
    }
}

/// The variables of the products, and the lattice they run over.
struct Modes {
    phase: Phase,
    m: f64,
    n: usize,
}

impl Modes {
    /// m artanh yⁿ and (m/2) ln(1 − y²ⁿ).
    fn winding(&self) -> (Jet, Jet) {
        let Self { phase: Phase { y, one_minus_y, .. }, m, n } = *self;
        let ln_y = if y.v < 0.5 { y.ln() } else { (-one_minus_y).ln_1p() };
        let exponent = ln_y.scale(n as f64);
        if exponent.v.is_nan() || exponent.v < -740.0 {
            return (Jet::ZERO, Jet::ZERO);
        }
        let power = exponent.exp();
        if power.v < 0.5 {
            (power.atanh().scale(m), (-power.square()).ln_1p().scale(0.5 * m))
        } else {
            let (plus, minus) = (power.ln_1p(), (-exponent.exp_m1()).ln());
            ((plus - minus).scale(0.5 * m), (plus + minus).scale(0.5 * m))
        }
    }

    fn mode(&self, k: usize) -> Mode {
        // sin² and cos² of φ/2 for φ = πk/n.
        let unit = PI / (2.0 * self.n as f64);
        let [sin2, cos2] = [k, self.n - k].map(|k| (unit * k as f64).sin().powi(2));
        self.phase.mode(sin2, cos2, k == 0 || k == self.n)
    }

    fn parity(&self, odd: bool) -> Parity {
        let m = self.m;
        let [mut smooth, mut pairs, mut walls] = [JetSum::new(); 3];
        let mut critical = None;
        for k in (usize::from(odd)..=self.n).step_by(2) {
            // ±φ are two momenta except at 0 and π.
            let weight = if k == 0 || k == self.n { 1.0 } else { 2.0 };
            let mode = self.mode(k);
            smooth.add(mode.ln_1p_h.scale(0.5 * m * weight));
            let exponent = mode.gamma.scale(-m);
            if exponent.v < -740.0 {
                continue;
            }
            if k == 0 && exponent.v > -0.7 {
                critical = Some(exponent);
                continue;
            }
            let r_to_m = exponent.exp();
            pairs.add((-r_to_m.square()).ln_1p().scale(0.5 * weight));
            walls.add(r_to_m.atanh().scale(weight));
        }
        Parity { odd, smooth: smooth.total(), pairs: pairs.total(), walls: walls.total(), critical }
    }
}

/// Sums over the momenta φ_q of one parity.
struct Parity {
    /// φ_q = 2π(q+½)/n (A along y) rather than 2πq/n (P).
    odd: bool,
    /// (m/2) Σ ln(1+h_q).
    smooth: Jet,
    /// ½ Σ ln(1 − r_q^{2m}), without the critical mode.
    pairs: Jet,
    /// Σ artanh r_q^m, without the critical mode.
    walls: Jet,
    /// −mγ of q = 0 where r_0^m is of order one; it passes through zero at T_c.
    critical: Option<Jet>,
}

impl Parity {
    /// E = Π (1−r^m)/(1+r^m).
    fn quotient(&self) -> Jet {
        let quotient = self.walls.scale(-2.0).exp();
        match self.critical {
            Some(exponent) => -exponent.exp_m1() / (exponent.exp() + 1.0) * quotient,
            None => quotient,
        }
    }

    /// ln Π(1+r^m).
    fn ln_product(&self) -> Jet {
        let regular = self.pairs + self.walls;
        self.critical.map_or(regular, |exponent| regular + (exponent.exp() + 1.0).ln())
    }

    /// ln ½(1+E).
    fn ln_half_sum(&self) -> Jet {
        match self.critical {
            Some(_) => (self.quotient() + 1.0).scale(0.5).ln(),
            None => self.walls.scale(-2.0).exp_m1().scale(0.5).ln_1p(),
        }
    }

    /// ln ½(1−E); `None` where it underflows.
    fn ln_half_difference(&self) -> Option<Jet> {
        let difference = match self.critical {
            Some(_) => -self.quotient() + 1.0,
            None => -self.walls.scale(-2.0).exp_m1(),
        };
        (difference.v > 0.0).then(|| difference.scale(0.5).ln())
    }

    /// ln ½[Π(1+r^m) + Π(1−r^m)], in which single walls drop out before they are rounded.
    fn ln_even_walls(&self) -> Jet {
        match self.critical {
            Some(_) => self.ln_product() + self.ln_half_sum(),
            None => self.pairs + self.walls.ln_cosh(),
        }
    }
}

/// The products of all four sectors, for positive couplings.
struct Sectors {
    sites: f64,
    phase: Phase,
    /// Σ artanh of the walls along the other direction, between antiperiodic momenta: ½ ln (AA/AP).
    cross: Jet,
    winding: Jet,
    winding_pairs: Jet,
    odd: Parity,
    even: Parity,
}

impl Sectors {
    /// Couplings positive and not zero, sides of two sites or more.
    fn new(size: [usize; 2], j: [f64; 2], beta: f64) -> Self {
        let phase = Phase::new(j, beta);
        let (m, n) = (size[0] as f64, size[1]);
        let modes = Modes { phase, m, n };
        let other = Phase::new([j[1], j[0]], beta);
        let cross = Modes { phase: other, m: size[1] as f64, n: size[0] }.parity(true).walls;
        let (winding, winding_pairs) = modes.winding();
        let [even, odd] = [false, true].map(|odd| modes.parity(odd));
        Self { sites: m * n as f64, phase, cross, winding, winding_pairs, odd, even }
    }

    /// ln of the factors common to AA and PA (odd), or to AP and PP (even).
    fn smooth(&self, parity: &Parity) -> Jet {
        let winding = if parity.odd { self.winding } else { -self.winding };
        self.winding_pairs + winding + parity.smooth
    }

    /// ½(AA + PA + AP ∓ PP).
    fn log_z(&self) -> LogZ {
        let (odd, even) = (&self.odd, &self.even);
        let logarithm = if self.phase.ordered {
            // e^a + e^b as 2 e^{(a+b)/2} cosh((a−b)/2): odd numbers of winding walls drop out before they are rounded.
            let mean =
                self.winding_pairs + (odd.smooth + even.smooth + odd.ln_even_walls() + even.ln_even_walls()).scale(0.5);
            let half = self.cross + (odd.ln_half_sum() - even.ln_half_sum()).scale(0.5);
            mean + half.ln_cosh() + LN_2
        } else {
            let larger = self.smooth(odd) + odd.ln_even_walls();
            let smaller = even.ln_half_difference().map(|d| d - self.cross.scale(2.0) - odd.ln_half_sum());
            larger + exponential(smaller).ln_1p()
        };
        LogZ::new(self.sites * self.phase.linear, self.phase.prefactor.scale(self.sites) + logarithm)
    }
}

/// e^x; none is zero, and so is what underflows.
fn exponential(x: Option<Jet>) -> Jet {
    x.filter(|x| x.v > -740.0).map_or(Jet::ZERO, Jet::exp)
}
