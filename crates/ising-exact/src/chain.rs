//! Chains of spins without frustration, which uncoupled rows of a lattice are: open, `Z = 2 (2 cosh K)^{n−1}`, and
//! closed, `Z = (2 cosh K)ⁿ + (2 sinh K)ⁿ`.

use std::f64::consts::LN_2;

use crate::jet::Jet;
use crate::thermodynamics::LogZ;

/// ln Z of an open chain of `n` spins with a coupling that is not negative.
pub(crate) fn open(n: usize, j: f64, beta: f64) -> LogZ {
    let k = Jet::linear(j, beta);
    let bonds = (n - 1) as f64;
    if k.v < 0.5 {
        return LogZ::new(0.0, (k.ln_cosh() + LN_2).scale(bonds) + LN_2);
    }
    LogZ::new(bonds * j, k.scale(-2.0).exp().ln_1p().scale(bonds) + LN_2)
}

/// ln Z of a ring of `n` spins, two or more, with a positive coupling.
pub(crate) fn ring(n: usize, j: f64, beta: f64) -> LogZ {
    let size = n as f64;
    let k = Jet::linear(j, beta);
    if k.v < 0.44 {
        let winding = k.tanh().ln().scale(size).exp();
        return LogZ::new(0.0, (k.ln_cosh() + LN_2).scale(size) + winding.ln_1p());
    }
    // Domain walls: e^{nK} [(1+u)ⁿ + (1−u)ⁿ], u = e^{−2K}, as one cosh so that odd numbers of walls drop out.
    let u = k.scale(-2.0).exp();
    let pairs = (-(u * u)).ln_1p().scale(0.5 * size);
    LogZ::new(size * j, pairs + u.atanh().scale(size).ln_cosh() + LN_2)
}
