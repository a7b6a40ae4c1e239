//! The closed chain of n spins, the side-1 limit of the torus: Z = (2 cosh K)ⁿ ± (2 sinh K)ⁿ.

use std::f64::consts::LN_2;

use crate::{jet::Jet, thermodynamics::LogZ};

/// ln Z of a ring of `n` spins with coupling `j`; `anti` turns the sign of one bond.
/// A ring of one spin has one bond from the spin to itself.
pub(crate) fn ring(n: usize, j: f64, anti: bool, beta: f64) -> LogZ {
    if n == 1 {
        return LogZ::new(if anti { -j } else { j }, Jet::constant(LN_2));
    }
    let size = n as f64;
    if j == 0.0 {
        return LogZ::new(0.0, Jet::constant(size * LN_2));
    }
    // A ring of negative bonds is one of positive bonds, up to the sign of one bond when n is odd.
    let anti = anti != (j < 0.0 && n % 2 == 1);
    let j = j.abs();
    let k = Jet::linear(j, beta);
    if k.v < 0.44 {
        let winding = k.tanh().ln().scale(size).exp();
        let winding = if anti { -winding } else { winding };
        return LogZ::new(0.0, (k.ln_cosh() + LN_2).scale(size) + winding.ln_1p());
    }
    // Domain walls: e^{nK} [(1+u)ⁿ ± (1−u)ⁿ], u = e^{−2K}, as one cosh or sinh so that odd numbers of walls drop out.
    let u = k.scale(-2.0).exp();
    let pairs = (-u.square()).ln_1p().scale(0.5 * size);
    let w = u.atanh().scale(size);
    if !anti {
        LogZ::new(size * j, pairs + w.ln_cosh() + LN_2)
    } else if u.v == 0.0 {
        LogZ::new((size - 2.0) * j, Jet::constant((2.0 * size).ln()))
    } else {
        let sinh = w + (-(w.scale(-2.0).exp_m1())).ln();
        LogZ::new((size - 2.0) * j, pairs + sinh + k.scale(2.0))
    }
}
