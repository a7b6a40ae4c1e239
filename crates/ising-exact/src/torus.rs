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
        let other = Phase::new([j[1], j[0]], beta);
        let cross = Modes { phase: other, m: size[1] as f64, n: size[0] }.parity(true).walls;
        let (winding, winding_pairs) = modes.winding();
        let [even, odd] = [false, true].map(|odd| modes.parity(odd));
        Self { sites: m * n as f64, phase, cross, winding, winding_pairs, odd, even, scaled }
    }

    fn times_common(&self, linear: f64, logarithm: Jet) -> LogZ {
        LogZ::new(self.sites * self.phase.linear + linear, self.phase.prefactor.scale(self.sites) + logarithm)
    }

    /// ln of the factors common to AA and PA (odd), or to AP and PP (even).
    fn smooth(&self, parity: &Parity) -> Jet {
        let winding = if parity.odd { self.winding } else { -self.winding };
        self.winding_pairs + winding + parity.smooth
    }

    /// ln ½(1−E) for a parity, without the factor of both parities that underflows; `None` where it still does.
    fn ln_half_difference(&self, parity: &Parity) -> Option<Jet> {
        if self.scaled.is_some() { Some(parity.scaled_walls.ln()) } else { parity.ln_half_difference() }
    }

    /// ½(AA + PA + AP ∓ PP).
    fn no_seam(&self) -> LogZ {
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
        self.times_common(0.0, logarithm)
    }

    /// The logarithm of ½(AP ± PP), with its part linear in β, and the quotient of ½(AA − PA) by it.
    fn with_seam(&self) -> Option<(f64, Jet, Jet)> {
        let (odd, even) = (&self.odd, &self.even);
        let smooth = self.smooth(even) + even.ln_product();
        let (linear, larger, denominator) = if self.phase.ordered {
            let difference = self.ln_half_difference(even)?;
            let (linear, exponent) = self.scaled.unwrap_or((0.0, Jet::ZERO));
            (linear, smooth + difference - exponent, difference)
        } else {
            (0.0, smooth + even.ln_half_sum(), even.ln_half_sum())
        };
        let quotient = self.ln_half_difference(odd).map(|d| d + self.cross.scale(2.0) - denominator);
        Some((linear, larger, exponential(quotient)))
    }

    /// ½(AA − PA + AP ± PP): the seam turns the bonds along y.
    fn one_seam(&self) -> LogZ {
        match self.with_seam() {
            Some((linear, larger, quotient)) => self.times_common(linear, larger + quotient.ln_1p()),
            None => LogZ::new(f64::NAN, Jet::ZERO),
        }
    }

    /// ½(−AA + PA + AP ± PP), and the fraction of the larger term that its difference leaves.
    fn two_seams(&self) -> (f64, LogZ) {
        match self.with_seam() {
            Some((linear, larger, quotient)) => {
                let left = -quotient + 1.0;
                (left.v, self.times_common(linear, larger + left.ln()))
            }
            None => (0.0, LogZ::new(f64::NAN, Jet::ZERO)),
        }
    }
}

/// e^x; none is zero, and so is what underflows.
fn exponential(x: Option<Jet>) -> Jet {
    x.filter(|x| x.v > -740.0).map_or(Jet::ZERO, Jet::exp)
}
