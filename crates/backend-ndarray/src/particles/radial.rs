//! Functions of the distance of two particles: Gaussians of its logarithm, with their derivatives by its square.

use flow_core::ParticlesSettings;

use crate::Real;

/// Derivatives of functions of a distance that are ever asked for, by `q = r²`, with the functions themselves.
pub const ORDERS: usize = 4;

/// The K Gaussians `exp(−½ ((ξ − c_k)/σ)²)`, `ξ = ½ ln(q + core²)`.
#[derive(Debug, Clone)]
pub struct Gaussians<T> {
    /// The centres c.
    centres: Vec<T>,
    /// 1/σ.
    sharpness: T,
    /// core².
    core: T,
}

impl<T: Real> Gaussians<T> {
    pub(super) fn new(settings: &ParticlesSettings) -> Self {
        let (first, spacing, width) = settings.gaussians();
        let centres = (0..settings.centres).map(|k| T::of(first + spacing * k as f64)).collect();
        Self { centres, sharpness: T::of(width.recip()), core: T::of(settings.core.powi(2)) }
    }

    pub(super) fn count(&self) -> usize {
        self.centres.len()
    }

    /// Writes the Gaussians at each q, K numbers each, into `out[0]` and their derivatives by q into the others, as far
    /// as there is room.
    ///
    /// By the chain rule from those by ξ, with `w = 1/(q + core²) = 2 dξ/dq`: `w f'/2`, `w² (f'' − 2 f')/4`, `w³ (f'''
    /// − 6 f'' + 8 f')/8`.
    #[inline(always)]
    pub(super) fn of_all(&self, squares: &[T], [values, first, second, third]: [&mut [T]; ORDERS]) {
        let (k, half, s) = (self.centres.len(), T::of(0.5), self.sharpness);
        for (p, q) in squares.iter().enumerate() {
            let of_pair = p * k..(p + 1) * k;
            let shifted = *q + self.core;
            let (xi, w) = (half * shifted.ln(), shifted.recip());
            let values = &mut values[of_pair.clone()];
            for (value, centre) in values.iter_mut().zip(&self.centres) {
                let h = s * (xi - *centre);
                *value = T::exponential(-half * h * h);
            }
            // Each with its distance from the centre.
            let each = || values.iter().zip(&self.centres).map(|(f, centre)| (s * (xi - *centre), *f));
            let bend = |h: T| s * s * (h * h - T::one());
            if let Some(first) = first.get_mut(of_pair.clone()) {
                first.iter_mut().zip(each()).for_each(|(out, (h, f))| *out = -half * w * s * h * f);
            }
            if let Some(second) = second.get_mut(of_pair.clone()) {
                let factor = T::of(0.25) * w * w;
                let term = |(h, f): (T, T)| factor * f * (bend(h) + T::of(2.0) * s * h);
                second.iter_mut().zip(each()).for_each(|(out, of)| *out = term(of));
            }
            if let Some(third) = third.get_mut(of_pair) {
                let factor = T::of(0.125) * w * w * w;
                let twist = |h: T| s * s * s * h * (T::of(3.0) - h * h);
                let term = |(h, f): (T, T)| factor * f * (twist(h) - T::of(6.0) * bend(h) - T::of(8.0) * s * h);
                third.iter_mut().zip(each()).for_each(|(out, of)| *out = term(of));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_core::Activation;

    #[test]
    fn derivatives_are_differences() {
        let settings = ParticlesSettings {
            particles: 2,
            space: 3,
            kinds: Vec::new(),
            centres: 7,
            interval: [0.3, 6.0],
            core: 0.2,
            sums: 0,
            vectors: 0,
            hidden: [0, 0],
            activation: Activation::Softplus,
        };
        let gaussians = Gaussians::<f64>::new(&settings);
        let at = |q: f64| {
            let mut all = [[0.0; 7]; ORDERS];
            gaussians.of_all(&[q], all.each_mut().map(|of| &mut of[..]));
            all
        };
        for q in [0.0, 0.01, 1.0, 9.0, 80.0] {
            let h = 1e-4 * (q + 0.04);
            let (here, steps) = (at(q), [-2.0, -1.0, 1.0, 2.0].map(|s| at(q + s * h)));
            for order in 0..ORDERS - 1 {
                for k in 0..7 {
                    let [a, b, c, d] = [0, 1, 2, 3].map(|i: usize| steps[i][order][k]);
                    let difference = (a - 8.0 * b + 8.0 * c - d) / (12.0 * h);
                    let scale = here[order + 1].iter().fold(1e-9f64, |m, v| m.max(v.abs()));
                    let found = here[order + 1][k];
                    assert!((found - difference).abs() < 1e-8 * scale, "q = {q}, order {order}: {found} {difference}");
                }
            }
        }
        // A distance of an eighth of the interval is seen by a few of them, and all are one at their centres.
        let sum: f64 = at(2.0)[0].iter().sum();
        assert!((sum - 1.3 * (2.0 * std::f64::consts::PI).sqrt()).abs() < 0.05, "{sum}");
    }
}
