//! The function f of ridge potentials with its derivatives: the one place for their formulas on the host.

use std::ops::{Add, Mul, Neg, Sub};

/// What the formulas are computed in: `f32` and `f64`.
pub trait Scalar:
    Copy + From<f32> + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Neg<Output = Self>
{
}

impl Scalar for f32 {}
impl Scalar for f64 {}

/// The function `f` of a ridge potential `φ(x) = Σ_j v_j f(w_j·x + b_j)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Activation {
    /// `ln(1 + e^a)`.
    #[default]
    Softplus,
    /// `ln cosh a`, even: without bias the potential is exactly symmetric under `x → −x`.
    LnCosh,
}

impl Activation {
    /// `f(a)`, without overflow.
    pub fn value(self, a: f64) -> f64 {
        match self {
            Self::Softplus => a.max(0.0) + (-a.abs()).exp().ln_1p(),
            Self::LnCosh => a.abs() + (-2.0 * a.abs()).exp().ln_1p() - std::f64::consts::LN_2,
        }
    }

    /// The k-th derivative of f at a, k = 0 to 3, without overflow.
    ///
    /// With `s = f'`: softplus has `f'' = s(1 − s)` and `f''' = f''(1 − 2s)`, ln cosh has `f'' = 1 − s²` and `f''' =
    /// −2s f''`.
    ///
    /// ```
    /// use flow_core::Activation;
    /// assert_eq!(Activation::LnCosh.derivative(1, 0.5), 0.5f64.tanh());
    /// assert_eq!(Activation::Softplus.derivative(2, 0.0), 0.25);
    /// ```
    ///
    /// # Panics
    /// For a derivative above the third.
    pub fn derivative(self, k: u8, a: f64) -> f64 {
        match k {
            0 => self.value(a),
            1 => self.slope(a),
            2 => self.curvature(self.slope(a)),
            3 => self.third(self.slope(a)),
            _ => panic!("derivatives go up to the third, and this is number {k}"),
        }
    }

    fn slope(self, a: f64) -> f64 {
        match self {
            Self::Softplus => 1.0 / (1.0 + (-a).exp()),
            Self::LnCosh => a.tanh(),
        }
    }

    /// `f''` from `s = f'`.
    #[inline(always)]
    pub fn curvature<T: Scalar>(self, s: T) -> T {
        let one = T::from(1.0);
        match self {
            Self::Softplus => s * (one - s),
            // Near |s| = 1 the product keeps the digits that 1 − s² loses.
            Self::LnCosh => (one - s) * (one + s),
        }
    }

    /// `f'''/f''` from `s = f'`.
    #[inline(always)]
    pub fn third_by_second<T: Scalar>(self, s: T) -> T {
        match self {
            Self::Softplus => T::from(1.0) - (s + s),
            Self::LnCosh => -(s + s),
        }
    }

    /// `f'''` from `s = f'`.
    #[inline(always)]
    pub fn third<T: Scalar>(self, s: T) -> T {
        self.curvature(s) * self.third_by_second(s)
    }

    /// λ: the derivatives of f are functions of `e^{−λa}`.
    pub fn decay(self) -> f64 {
        match self {
            Self::Softplus => 1.0,
            Self::LnCosh => 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_differences_and_stay_finite() {
        for f in [Activation::Softplus, Activation::LnCosh] {
            for k in 1..=3 {
                for a in [-3.0, -0.7, 0.0, 0.4, 2.5] {
                    let h = 1e-3;
                    let at = |d: f64| f.derivative(k - 1, a + d * h);
                    let difference = (at(-2.0) - 8.0 * at(-1.0) + 8.0 * at(1.0) - at(2.0)) / (12.0 * h);
                    assert!((f.derivative(k, a) - difference).abs() < 1e-10, "{f:?}, k = {k}, a = {a}");
                }
                assert!([-800.0, 800.0].iter().all(|a| f.derivative(k, *a).is_finite()));
            }
        }
    }
}
