//! The centres of the separable potentials of all backends, `φ(x, t) = Σ_i Σ_k α_ik(t) f(g(x_i − c_k))`.

use crate::activation::Activation;
use crate::error::Error;

/// The centres c of a separable potential: `count` equally spaced ones from `from` to `to`, both included, the same for
/// all coordinates.
///
/// f'' is a bump around every centre, of a shape that is the same for softplus and ln cosh; `sharpness` is the ratio of
/// the spacing to its width: the gain is `g = sharpness / (λ · spacing)`, λ = 1 for softplus and 2 for ln cosh. At the
/// default, 2, equal coefficients make a curvature that is constant between the centres to half a percent; sharper
/// bumps leave gaps, blunter ones all look alike.
///
/// ```
/// use flow_core::{Activation, Centres};
/// let centres = Centres::default();
/// assert_eq!((centres.count, centres.from, centres.to, centres.sharpness), (16, -3.0, 3.0, 2.0));
/// assert_eq!((centres.centre(0), centres.centre(15)), (-3.0, 3.0));
/// assert_eq!(centres.gain(Activation::Softplus), 5.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Centres {
    /// Their number K, at least 2.
    pub count: usize,
    /// The first.
    pub from: f64,
    /// The last.
    pub to: f64,
    /// Ratio of their spacing to the width of f'', at most 4.
    pub sharpness: f64,
}

/// 16 centres in [−3, 3]: for data standardised per coordinate.
impl Default for Centres {
    fn default() -> Self {
        Self { count: 16, from: -3.0, to: 3.0, sharpness: 2.0 }
    }
}

impl Centres {
    /// Whether there can be such centres.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are fewer than two, the interval is empty or not finite, or the sharpness is not
    /// in (0, 4].
    pub fn check(&self) -> Result<(), Error> {
        let Self { count, from, to, sharpness } = *self;
        if count < 2 {
            return Err(Error::setting("centres", count, "at least 2"));
        }
        if !(to > from && (to - from).is_finite()) {
            let expected = "two finite numbers, the lower first";
            return Err(Error::setting("interval", format!("[{from}, {to}]"), expected));
        }
        if !(sharpness > 0.0 && sharpness <= 4.0) {
            return Err(Error::setting("sharpness", sharpness, "above 0 and at most 4"));
        }
        Ok(())
    }

    fn spacing(&self) -> f64 {
        (self.to - self.from) / (self.count - 1) as f64
    }

    /// c_k, k from 0.
    pub fn centre(&self, k: usize) -> f64 {
        self.from + k as f64 * self.spacing()
    }

    /// `λg`, the same for every f.
    pub fn rate(&self) -> f64 {
        self.sharpness / self.spacing()
    }

    /// The gain g.
    pub fn gain(&self, activation: Activation) -> f64 {
        self.rate() / activation.decay()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_centres_are_refused() {
        let good = Centres::default();
        assert_eq!(good.check().ok(), Some(()));
        for (bad, name) in [
            (Centres { count: 1, ..good }, "centres"),
            (Centres { to: -3.0, ..good }, "interval"),
            (Centres { from: f64::NAN, ..good }, "interval"),
            (Centres { to: f64::INFINITY, ..good }, "interval"),
            (Centres { sharpness: 0.0, ..good }, "sharpness"),
            (Centres { sharpness: 4.1, ..good }, "sharpness"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(name), "{bad:?}: {error}");
        }
    }
}
