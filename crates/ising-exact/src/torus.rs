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
//! Antiperiodic spins exchange A and P.

use std::f64::consts::{LN_2, PI};

use crate::{
    Error,
    chain::ring,
    density_of_states::MAX_DOS_SITES,
    jet::{Jet, JetSum},
    phase::{Mode, Phase},
    thermodynamics::LogZ,
};

/// Smallest fraction that may be left after the one subtraction that the doubly antiperiodic torus needs.
const SMALLEST_REMAINDER: f64 = 1e-3;

/// A torus with its bonds: `size` sites, couplings `j` along x and y, `anti` where a seam turns the sign.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Torus {
    pub size: [usize; 2],
    pub j: [f64; 2],
    pub anti: [bool; 2],
}

impl Torus {
    pub fn log_z(self, beta: f64) -> Result<LogZ, Error> {
        let Self { size: [m, n], j: [jx, jy], anti: [ax, ay] } = self;
        if m == 1 {
            let self_bonds = if ax { -jx } else { jx } * n as f64;
            let ring = ring(n, jy, ay, beta);
            return Ok(LogZ::new(ring.linear + self_bonds, ring.residual));
        }
        if n == 1 || jx == 0.0 {
            return if n == 1 { self.swapped().log_z(beta) } else { Ok(ring(n, jy, ay, beta).times(m as f64)) };
        }
        if jy == 0.0 {
            return Ok(ring(m, jx, ax, beta).times(n as f64));
        }
        // Turning every other spin makes the couplings positive; an odd side keeps one negative seam.
        let ferro = Self {
            size: self.size,
            j: self.j.map(f64::abs),
            anti: [ax != (jx < 0.0 && m % 2 == 1), ay != (jy < 0.0 && n % 2 == 1)],
        };
        Ok(match ferro.anti {
            [false, false] => ferro.sectors(beta).no_seam(),
            [false, true] => ferro.sectors(beta).one_seam(),
            [true, false] => ferro.swapped().sectors(beta).one_seam(),
            [true, true] => {
                // The two orders lose different numbers of digits where the sides differ.
                let orders = [ferro, ferro.swapped()].map(|torus| torus.sectors(beta).two_seams());
                let (left, log_z) = if orders[0].0 >= orders[1].0 { orders[0] } else { orders[1] };
                if left.is_nan() || left < SMALLEST_REMAINDER {
                    return Err(Error::Cancellation { left: left.max(0.0), dos_sites: MAX_DOS_SITES });
                }
                log_z
            }
        })
    }

    fn sectors(self, beta: f64) -> Sectors {
        Sectors::new(self.size, self.j, beta)
    }

    fn swapped(self) -> Self {
        let Self { size: [m, n], j: [jx, jy], anti: [ax, ay] } = self;
        Self { size: [n, m], j: [jy, jx], anti: [ay, ax] }
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
        let zero = self.mode(0);
        let [mut smooth, mut pairs, mut walls, mut scaled] = [JetSum::new(); 4];
        let mut critical = None;
        for k in (usize::from(odd)..=self.n).step_by(2) {
            // ±φ are two momenta except at 0 and π.
            let weight = if k == 0 || k == self.n { 1.0 } else { 2.0 };
            let mode = self.mode(k);
            smooth.add(mode.ln_1p_h.scale(0.5 * m * weight));
            scaled.add((zero.gamma_plus_ln_x - mode.gamma_plus_ln_x).scale(m).exp().scale(weight));
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
        Parity {
            odd,
            smooth: smooth.total(),
            pairs: pairs.total(),
            walls: walls.total(),
            scaled_walls: scaled.total(),
            critical,
        }
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
    /// Σ (r_q/r_0)^m.
    scaled_walls: Jet,
    /// −mγ of q = 0 where r_0^m is of order one; it passes through zero at T_c.
    critical: Option<Jet>,
}

impl Parity {
    /// ln ½[Π(1+r^m) + Π(1−r^m)].
    fn ln_half_sum(&self) -> Jet {
        match self.critical {
            Some(exponent) => self.critical_half(exponent, 1.0),
            None => self.pairs + self.walls.ln_cosh(),
        }
    }

    /// ln ½[Π(1+r^m) − Π(1−r^m)]; `None` where it underflows.
    fn ln_half_difference(&self) -> Option<Jet> {
        match self.critical {
            Some(exponent) => Some(self.critical_half(exponent, -1.0)),
            None if self.walls.v > 0.0 => {
                let sinh = self.walls + (-self.walls.scale(-2.0).exp_m1()).ln() + -LN_2;
                Some(self.pairs + sinh)
            }
            None => None,
        }
    }

    fn critical_half(&self, exponent: Jet, sign: f64) -> Jet {
        let plus = exponent.exp() + 1.0;
        let minus = -exponent.exp_m1() * self.walls.scale(-2.0).exp();
        self.pairs + self.walls + (plus + minus.scale(sign)).scale(0.5).ln()
    }
}

/// The products of all four sectors, for positive couplings.
struct Sectors {
    sites: f64,
    phase: Phase,
    winding: Jet,
    winding_pairs: Jet,
    odd: Parity,
    even: Parity,
    /// (m ln x, m(γ₀ + ln x)) in the ordered phase where r_0^m is below rounding; m ln x by its coefficient of β.
    scaled: Option<(f64, Jet)>,
}

impl Sectors {
    /// Couplings positive and not zero, sides of two sites or more.
    fn new(size: [usize; 2], j: [f64; 2], beta: f64) -> Self {
        let phase = Phase::new(j, beta);
        let (m, n) = (size[0] as f64, size[1]);
        let modes = Modes { phase, m, n };
        let zero = modes.mode(0);
        let negligible = zero.gamma.v.is_nan() || m * zero.gamma.v > 40.0;
        let scaled = (phase.ordered && negligible).then(|| (-2.0 * m * j[1], zero.gamma_plus_ln_x.scale(m)));
        let (winding, winding_pairs) = modes.winding();
        let [even, odd] = [false, true].map(|odd| modes.parity(odd));
        Self { sites: m * n as f64, phase, winding, winding_pairs, odd, even, scaled }
    }

    fn times_common(&self, linear: f64, logarithm: Jet) -> LogZ {
        LogZ::new(self.sites * self.phase.linear + linear, self.phase.prefactor.scale(self.sites) + logarithm)
    }

    /// ln ½(AA + PA) or ln ½(AP + PP), up to the sign that PP takes below T_c.
    fn plus(&self, parity: &Parity) -> Jet {
        self.smooth(parity) + parity.ln_half_sum()
    }

    /// ln ½(AA − PA) or ln ½(AP − PP), with its part linear in β; `None` where it underflows beside the other terms.
    fn minus(&self, parity: &Parity) -> Option<(f64, Jet)> {
        let (linear, logarithm) = match self.scaled {
            Some((linear, exponent)) => (linear, parity.scaled_walls.ln() - exponent),
            None => (0.0, parity.ln_half_difference()?),
        };
        Some((linear, self.smooth(parity) + logarithm))
    }

    fn smooth(&self, parity: &Parity) -> Jet {
        let winding = if parity.odd { self.winding } else { -self.winding };
        self.winding_pairs + winding + parity.smooth
    }

    /// ½(AA + PA + AP ∓ PP).
    fn no_seam(&self) -> LogZ {
        let logarithm = if self.phase.ordered {
            // e^a + e^b as 2 e^{(a+b)/2} cosh((a−b)/2): odd numbers of winding walls drop out before they are rounded.
            let mean = self.winding_pairs
                + (self.odd.smooth + self.even.smooth + self.odd.ln_half_sum() + self.even.ln_half_sum()).scale(0.5);
            let half = self.winding
                + (self.odd.smooth - self.even.smooth + self.odd.ln_half_sum() - self.even.ln_half_sum()).scale(0.5);
            mean + half.ln_cosh() + LN_2
        } else {
            sum_of_exponentials(self.plus(&self.odd), self.minus(&self.even).map(|(_, b)| b))
        };
        self.times_common(0.0, logarithm)
    }

    /// ½(AA − PA + AP ± PP): the seam turns the bonds along y.
    fn one_seam(&self) -> LogZ {
        let odd = self.minus(&self.odd);
        if !self.phase.ordered {
            return self.times_common(0.0, sum_of_exponentials(self.plus(&self.even), odd.map(|(_, a)| a)));
        }
        match (self.minus(&self.even), odd) {
            (Some((linear, b)), Some((_, a))) => self.times_common(linear, sum_of_exponentials(b, Some(a))),
            _ => LogZ::new(f64::NAN, Jet::ZERO),
        }
    }

    /// ½(−AA + PA + AP ± PP), and the fraction of the larger term that its difference leaves.
    fn two_seams(&self) -> (f64, LogZ) {
        let larger = if self.phase.ordered { self.minus(&self.even) } else { Some((0.0, self.plus(&self.even))) };
        let (Some((linear, b)), smaller) = (larger, self.minus(&self.odd)) else {
            return (0.0, LogZ::new(f64::NAN, Jet::ZERO));
        };
        let Some((_, a)) = smaller else {
            return (1.0, self.times_common(linear, b));
        };
        let left = -(a - b).exp_m1();
        (left.v, self.times_common(linear, b + left.ln()))
    }
}

/// ln(e^a + e^b) for a ≥ b or nearly so; no b is e^b = 0.
fn sum_of_exponentials(a: Jet, b: Option<Jet>) -> Jet {
    match b {
        Some(b) if b.v - a.v > -740.0 => a + (b - a).exp().ln_1p(),
        _ => a,
    }
}
