//! The activation f of ridge functions and its derivatives, in operations that libtorch can differentiate.
//!
//! The formulas are those of [`Activation::derivative`].

use flow_core::Activation;
use tch::Tensor;

/// `f(a)`, without overflow.
pub(crate) fn value(f: Activation, a: &Tensor) -> Tensor {
    match f {
        Activation::Softplus => -(-a).log_sigmoid(),
        // ln cosh a = a + softplus(−2a) − ln 2.
        Activation::LnCosh => a - (a * 2.0).log_sigmoid() - std::f64::consts::LN_2,
    }
}

/// `f'(a)`.
pub(crate) fn slope(f: Activation, a: &Tensor) -> Tensor {
    match f {
        Activation::Softplus => a.sigmoid(),
        Activation::LnCosh => a.tanh(),
    }
}

/// `f''(a)` from `s = f'(a)`.
pub(crate) fn curvature(f: Activation, s: &Tensor) -> Tensor {
    match f {
        Activation::Softplus => s * (s.ones_like() - s),
        Activation::LnCosh => s.ones_like() - s.square(),
    }
}

/// `f'''(a)` from `s = f'(a)`.
fn third(f: Activation, s: &Tensor) -> Tensor {
    match f {
        Activation::Softplus => curvature(f, s) * (s * -2.0 + 1.0),
        Activation::LnCosh => curvature(f, s) * s * -2.0,
    }
}

/// The k-th derivative of f at a, k = 0 to 3.
///
/// # Panics
/// For a derivative above the third.
pub(crate) fn derivative(f: Activation, k: u8, a: &Tensor) -> Tensor {
    match k {
        0 => value(f, a),
        1 => slope(f, a),
        2 => curvature(f, &slope(f, a)),
        3 => third(f, &slope(f, a)),
        _ => panic!("derivatives go up to the third, and this is number {k}"),
    }
}
