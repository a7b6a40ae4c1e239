//! How the coefficients of a potential depend on time: a short expansion in functions of `t/T`.

use crate::error::Error;

/// Functions of time that coefficients are expanded in: `c(t) = Σ_m c_m b_m(t/T)`, m < M.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeBasis {
    family: TimeFamily,
    terms: usize,
    duration: f64,
}

/// A family of functions of `τ = t/T`; the first of each is the constant 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum TimeFamily {
    /// `cos(mπτ)`.
    #[default]
    Cosine,
    /// The Chebyshev polynomials `T_m(2τ − 1)`: all polynomials of degree below M, well conditioned.
    Polynomial,
}

impl TimeBasis {
    /// The first `terms` functions of a family, for a flow of this duration.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are no terms or the duration T is not positive.
    pub fn new(family: TimeFamily, terms: usize, duration: f64) -> Result<Self, Error> {
        if terms == 0 {
            return Err(Error::setting("time_terms", terms, "at least 1"));
        }
        if !(duration > 0.0 && duration.is_finite()) {
            return Err(Error::setting("duration", duration, "a positive number"));
        }
        Ok(Self { family, terms, duration })
    }

    /// Coefficients that do not change with time.
    pub fn constant() -> Self {
        Self { family: TimeFamily::Cosine, terms: 1, duration: 1.0 }
    }

    /// The number M of functions.
    pub fn terms(&self) -> usize {
        self.terms
    }

    /// `b_m(t/T)` for all m.
    pub fn at(&self, t: f64) -> impl Iterator<Item = f64> + use<> {
        let (tau, family) = (t / self.duration, self.family);
        (0..self.terms).map(move |m| match family {
            TimeFamily::Cosine => (m as f64 * std::f64::consts::PI * tau).cos(),
            TimeFamily::Polynomial => chebyshev(m, 2.0 * tau - 1.0),
        })
    }
}

/// `T_m(z)` by its recurrence, which holds outside of `[−1, 1]` too.
fn chebyshev(m: usize, z: f64) -> f64 {
    (0..m).fold((1.0, z), |(now, next), _| (next, 2.0 * z * next - now)).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_what_they_say() {
        let at = |family, t| TimeBasis::new(family, 4, 2.0).unwrap().at(t).collect::<Vec<_>>();
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-15);
        assert!(close(&at(TimeFamily::Cosine, 0.5), &[1.0, 0.5f64.sqrt(), 0.0, -(0.5f64.sqrt())]));
        // z = −0.5: T_2 = 2z² − 1, T_3 = 4z³ − 3z.
        assert!(close(&at(TimeFamily::Polynomial, 0.5), &[1.0, -0.5, -0.5, 1.0]));
    }

    #[test]
    fn bad_settings_are_refused() {
        assert!(TimeBasis::new(TimeFamily::Cosine, 0, 1.0).is_err());
        assert!(TimeBasis::new(TimeFamily::Cosine, 1, 0.0).is_err());
        assert!(TimeBasis::new(TimeFamily::Cosine, 1, f64::NAN).is_err());
    }
}
