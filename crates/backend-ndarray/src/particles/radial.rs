//! Functions of the distance of two particles: Gaussians of its logarithm, with their derivatives by its square.

use flow_core::ParticlesSettings;

use crate::number::Number;

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
    cutoff: Option<Cutoff<T>>,
}

/// The factor `1 − s(u)`, `u = (q − from)/(to − from)` by squares of distances, with the smooth step
/// `s = u⁴ (35 − 84 u + 70 u² − 20 u³)` between 0 and 1: its first three derivatives are zero at both ends.
#[derive(Debug, Clone, Copy)]
struct Cutoff<T> {
    from: T,
    /// 1/(to − from).
    slope: T,
}

impl<T: Number> Cutoff<T> {
    fn new([from, to]: [f64; 2]) -> Self {
        Self { from: T::of(from * from), slope: T::of((to * to - from * from).recip()) }
    }

    /// The factor and its derivatives by q; none where it is 1.
    #[inline(always)]
    fn at(&self, q: T) -> Option<[T; ORDERS]> {
        let (u, slope) = ((q - self.from) * self.slope, self.slope);
        if u <= T::zero() {
            return None;
        }
        if u >= T::one() {
            return Some([T::zero(); ORDERS]);
        }
        let rest = T::one() - u;
        let (u2, cubes) = (u * u, u * u * u * rest * rest * rest);
        // 1 − s(u) = s(1 − u), which keeps its digits where little is left.
        let bent = T::of(35.0) - rest * (T::of(84.0) - rest * (T::of(70.0) - T::of(20.0) * rest));
        let left = rest * rest * rest * rest * bent;
        // s' = 140 (u (1 − u))³.
        let first = T::of(140.0) * cubes;
        let bend = T::of(420.0) * u2 * rest * rest * (rest - u);
        let twist = T::of(840.0) * u * rest * ((rest - u) * (rest - u) - u * rest);
        Some([left, -first * slope, -bend * slope * slope, -twist * slope * slope * slope])
    }
}

impl<T: Number> Gaussians<T> {
    pub(super) fn new(settings: &ParticlesSettings) -> Self {
        let (first, spacing, width) = settings.gaussians();
        let centres = (0..settings.centres).map(|k| T::of(first + spacing * k as f64)).collect();
        let cutoff = settings.cutoff.map(Cutoff::new);
        Self { centres, sharpness: T::of(width.recip()), core: T::of(settings.core.powi(2)), cutoff }
    }

    pub(super) fn count(&self) -> usize {
        self.centres.len()
    }

    /// Writes the Gaussians, times the cutoff where there is one, at each q, K numbers each, into
    /// `out[0]` and their derivatives by q into the others, as far as there is room.
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
            let here = &mut values[of_pair.clone()];
            for (value, centre) in here.iter_mut().zip(&self.centres) {
                let h = s * (xi - *centre);
                *value = T::exponential(-half * h * h);
            }
            // Each with its distance from the centre.
            let here = &values[of_pair.clone()];
            let each = || here.iter().zip(&self.centres).map(|(f, centre)| (s * (xi - *centre), *f));
            let bend = |h: T| s * s * (h * h - T::one());
            if let Some(first) = first.get_mut(of_pair.clone()) {
                first.iter_mut().zip(each()).for_each(|(out, (h, f))| *out = -half * w * s * h * f);
            }
            if let Some(second) = second.get_mut(of_pair.clone()) {
                let factor = T::of(0.25) * w * w;
                let term = |(h, f): (T, T)| factor * f * (bend(h) + T::of(2.0) * s * h);
                second.iter_mut().zip(each()).for_each(|(out, of)| *out = term(of));
            }
            if let Some(third) = third.get_mut(of_pair.clone()) {
                let factor = T::of(0.125) * w * w * w;
                let twist = |h: T| s * s * s * h * (T::of(3.0) - h * h);
                let term = |(h, f): (T, T)| factor * f * (twist(h) - T::of(6.0) * bend(h) - T::of(8.0) * s * h);
                third.iter_mut().zip(each()).for_each(|(out, of)| *out = term(of));
            }
            if let Some(factor) = self.cutoff.and_then(|cutoff| cutoff.at(*q)) {
                cut(
                    factor,
                    [&mut *values, &mut *first, &mut *second, &mut *third].map(|of| of.get_mut(of_pair.clone())),
                );
            }
        }
    }
}

/// Products of functions with a factor, by Leibniz' rule, from the derivatives of both, as far as there are any.
#[inline(always)]
fn cut<T: Number>([c, c1, c2, c3]: [T; ORDERS], mut of: [Option<&mut [T]>; ORDERS]) {
    let (two, three) = (T::of(2.0), T::of(3.0));
    for k in 0..of[0].as_ref().map_or(0, |values| values.len()) {
        let [f, f1, f2, f3] = of.each_ref().map(|of| of.as_ref().map_or(T::zero(), |of| of[k]));
        let product =
            [c * f, c * f1 + c1 * f, c * f2 + two * c1 * f1 + c2 * f, c * f3 + three * (c1 * f2 + c2 * f1) + c3 * f];
        for (of, product) in of.iter_mut().zip(product) {
            if let Some(of) = of {
                of[k] = product;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_core::Activation;

    /// Seven Gaussians with their derivatives.
    fn all_of(gaussians: &Gaussians<f64>, q: f64) -> [[f64; 7]; ORDERS] {
        let mut all = [[0.0; 7]; ORDERS];
        gaussians.of_all(&[q], all.each_mut().map(|of| &mut of[..]));
        all
    }

    #[test]
    fn a_cutoff_ends_all_functions_smoothly() {
        let [from, to] = [1.5, 4.0];
        let cutoff = Cutoff::<f64>::new([from, to]);
        assert!(cutoff.at(from * from).is_none());
        assert_eq!(cutoff.at(to * to), Some([0.0; ORDERS]));
        // With three continuous derivatives: all of them begin and end at zero.
        let (first, last) = (cutoff.at(2.25 + 1e-6).unwrap(), cutoff.at(16.0 - 1e-6).unwrap());
        assert!((first[0] - 1.0).abs() < 1e-12 && last[0].abs() < 1e-12);
        for order in 1..ORDERS {
            assert!(first[order].abs() < 1e-5 && last[order].abs() < 1e-5, "{first:?} {last:?}");
        }
        assert!((cutoff.at(0.5 * (2.25 + 16.0)).unwrap()[0] - 0.5).abs() < 1e-12);
    }

    #[test]
    fn derivatives_are_differences() {
        let settings = ParticlesSettings {
            particles: 2,
            space: 3,
            kinds: Vec::new(),
            centres: 7,
            interval: [0.3, 6.0],
            core: 0.2,
            cutoff: None,
            sums: 0,
            vectors: 0,
            hidden: [0, 0],
            activation: Activation::Softplus,
        };
        for cutoff in [None, Some([1.5, 4.0])] {
            let gaussians = Gaussians::<f64>::new(&ParticlesSettings { cutoff, ..settings.clone() });
            let at = |q: f64| all_of(&gaussians, q);
            for q in [0.0, 0.01, 1.0, 2.3, 3.0, 9.0, 15.9, 80.0] {
                let h = 1e-4 * (q + 0.04);
                let (here, steps) = (at(q), [-2.0, -1.0, 1.0, 2.0].map(|s| at(q + s * h)));
                for order in 0..ORDERS - 1 {
                    for k in 0..7 {
                        let [a, b, c, d] = [0, 1, 2, 3].map(|i: usize| steps[i][order][k]);
                        let difference = (a - 8.0 * b + 8.0 * c - d) / (12.0 * h);
                        let scale = here[order + 1].iter().fold(1e-9f64, |m, v| m.max(v.abs()));
                        let found = here[order + 1][k];
                        assert!((found - difference).abs() < 1e-8 * scale, "{q}, order {order}: {found} {difference}");
                    }
                }
            }
        }
        let at = |q| all_of(&Gaussians::<f64>::new(&settings), q);
        // A distance of an eighth of the interval is seen by a few of them, and all are one at their centres.
        let sum: f64 = at(2.0)[0].iter().sum();
        assert!((sum - 1.3 * (2.0 * std::f64::consts::PI).sqrt()).abs() < 0.05, "{sum}");
    }
}
