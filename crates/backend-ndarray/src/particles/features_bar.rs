//! The way back through the features of particles: cotangents of functions of the distances and of coordinates.

use super::contrasts::from_contrasts;
use super::features::{
    Configuration, Features, Functions, Operator, Pair, SPACE, Shape, WIDTH, add, block, block_mut, dot, times_matrix,
};
use super::lanes::Lanes;
use crate::number::Number;

/// Cotangents of what an operator made of the features, and of the features.
#[derive(Clone, Copy)]
pub struct FeaturesBar<'a, T> {
    /// Particles × features.
    pub(super) values: &'a [T],
    pub(super) kappa: &'a [T],
    /// Of the first derivatives of the features, particles × directions × features; empty where λ is 0.
    pub(super) tangents: &'a [T],
}

impl<T: Number> Configuration<'_, T> {
    /// Pulls back what an operator makes of `Σ P + Σ_i F(S_i)`: adds the cotangents of the functions of the distance
    /// and of their first two derivatives to `radial_bar`, and those of the coordinates to `x_bar` where they are
    /// wanted.
    #[inline(always)]
    pub(super) fn pullback(
        &self,
        features: &Features<T>,
        operator: Operator<'_, T>,
        bar: FeaturesBar<'_, T>,
        radial_bar: [&mut [T]; 3],
        mut x_bar: Option<&mut [T]>,
    ) {
        let tangents = self.by_coordinates(bar.tangents);
        let way = VectorsBar::new(self, features, operator, bar, &tangents);
        let functions = self.shape.functions();
        let mut scratch = vec![T::zero(); self.shape.space * self.shape.vectors];
        let [bar0, bar1, bar2] = radial_bar;
        for (p, i, j) in self.shape.each_pair() {
            let pair = self.pair(i, j, Some(operator.u));
            let of_pair = p * functions..(p + 1) * functions;
            let [bar0, bar1, bar2] = [&mut *bar0, &mut *bar1, &mut *bar2].map(|bar| &mut bar[of_pair.clone()]);
            let mut e_bar = x_bar.is_some().then_some([T::zero(); SPACE]);
            self.pull_sums(
                (p, &pair),
                operator,
                (bar, &tangents),
                [&mut *bar0, &mut *bar1, &mut *bar2],
                e_bar.as_mut(),
            );
            let first = 1 + self.shape.sums;
            let bars = [&mut bar0[first..], &mut bar1[first..], &mut bar2[first..]];
            way.pull(self.of_vectors(p), &pair, &mut scratch, bars, e_bar.as_mut());
            if let (Some(x_bar), Some(e_bar)) = (&mut x_bar, e_bar) {
                let d = self.shape.space;
                for a in 0..d {
                    x_bar[i * d + a] += e_bar[a];
                    x_bar[j * d + a] -= e_bar[a];
                }
            }
        }
    }

    /// The part of [`Configuration::pullback`] that pairs and sums have.
    #[inline(always)]
    fn pull_sums(
        &self,
        (p, pair): (usize, &Pair<T>),
        operator: Operator<'_, T>,
        (bar, tangents): (FeaturesBar<'_, T>, &[T]),
        [bar0, bar1, bar2]: [&mut [T]; 3],
        mut e_bar: Option<&mut [T; SPACE]>,
    ) {
        let Shape { space: d, sums, .. } = self.shape;
        let (width, two, eight) = (self.shape.features(), T::of(2.0), T::of(8.0));
        let (lambda, of) = (operator.lambda, self.functions(p, 0, 1 + sums));
        let once = two * pair.e_nu + T::of(4.0 * d as f64) * lambda;
        for c in 0..=sums {
            // A pair counts once, and a sum for both of its particles.
            let [mut value, mut kappa] = [T::zero(), T::one()];
            let mut eta = [T::zero(); SPACE];
            if c > 0 {
                let [i, j] = [pair.i, pair.j].map(|k| k * width + c - 1);
                (value, kappa) = (bar.values[i] + bar.values[j], bar.kappa[i] + bar.kappa[j]);
                if !tangents.is_empty() {
                    let [of_i, of_j] = [pair.i, pair.j].map(|k| self.relative(tangents, k, pair, c - 1));
                    (0..d).for_each(|a| eta[a] = of_i[a] + of_j[a]);
                }
            }
            let own = [value, two * dot(&pair.e, &eta) + kappa * once, kappa * eight * lambda * pair.q];
            bar0[c] += own[0];
            bar1[c] += own[1];
            bar2[c] += own[2];
            if let Some(e_bar) = &mut e_bar {
                let mut along = of[1][c] * own[0] + of[2][c] * (own[1] + eight * lambda * kappa);
                if lambda != T::zero() {
                    along += of[3][c] * own[2];
                }
                for a in 0..d {
                    let across = of[1][c] * (eta[a] + kappa * pair.nu[a]);
                    e_bar[a] += two * (along * pair.e[a] + across);
                }
            }
        }
    }

    /// Cotangents of first derivatives by all coordinates from those in the directions that leave the centre.
    #[inline(always)]
    fn by_coordinates(&self, of: &[T]) -> Vec<T> {
        let Shape { particles: n, space: d, .. } = self.shape;
        let (width, numbers, directions) = (self.shape.features(), self.shape.numbers(), self.shape.directions());
        if of.is_empty() {
            return Vec::new();
        }
        let mut all = vec![T::zero(); n * numbers * width];
        let particles = all.chunks_exact_mut(numbers * width).zip(of.chunks_exact(directions * width));
        particles.for_each(|(all, of)| from_contrasts(of, d * width, all));
        all
    }

    /// The cotangent of the derivative of a feature of particle k by the relative coordinate of a pair.
    #[inline(always)]
    fn relative(&self, tangents: &[T], k: usize, pair: &Pair<T>, c: usize) -> [T; SPACE] {
        let (width, numbers, d) = (self.shape.features(), self.shape.numbers(), self.shape.space);
        let mut out = [T::zero(); SPACE];
        for (a, out) in out[..d].iter_mut().enumerate() {
            let at = |moved: usize| tangents[(k * numbers + moved * d + a) * width + c];
            *out = at(pair.i) - at(pair.j);
        }
        out
    }
}

/// Cotangents of the vectors, of what an operator makes of them, and of their matrices.
struct VectorsBar<'a, T> {
    of: &'a Configuration<'a, T>,
    features: &'a Features<T>,
    operator: Operator<'a, T>,
    bar: FeaturesBar<'a, T>,
    /// Of the first derivatives of the features by all coordinates; empty where λ is 0.
    tangents: &'a [T],
    /// Of `V` and of what the operator makes of it, particles × d × vectors.
    vectors: Vec<T>,
    moved: Vec<T>,
}

impl<'a, T: Number> VectorsBar<'a, T> {
    #[inline(always)]
    fn new(
        of: &'a Configuration<'a, T>,
        features: &'a Features<T>,
        operator: Operator<'a, T>,
        bar: FeaturesBar<'a, T>,
        tangents: &'a [T],
    ) -> Self {
        let Shape { space: d, sums, vectors, .. } = of.shape;
        let (width, two) = (of.shape.features(), T::of(2.0));
        let (mut v_bar, mut moved_bar) = (features.vectors.clone(), features.vectors.clone());
        for k in 0..of.shape.numbers() {
            let features_of = k / d * width + sums..(k / d + 1) * width;
            let (values, kappa) = (&bar.values[features_of.clone()], &bar.kappa[features_of]);
            let moved = block(&features.moved, k, vectors);
            let both = block_mut(&mut v_bar, k, vectors).iter_mut().zip(block_mut(&mut moved_bar, k, vectors));
            for (c, (v, moved_bar)) in both.enumerate() {
                *moved_bar = two * kappa[c] * *v;
                *v = two * (values[c] * *v + kappa[c] * moved[c]);
            }
        }
        let mut way = Self { of, features, operator, bar, tangents, vectors: v_bar, moved: moved_bar };
        if !tangents.is_empty() {
            way.add_tangents();
        }
        way
    }

    /// What the first derivatives `2 T V` give back to V: `2 Σ_j T_j η_j`.
    #[inline(always)]
    fn add_tangents(&mut self) {
        let Shape { space: d, vectors, .. } = self.of.shape;
        let two = T::of(2.0);
        let (mut eta, mut bent) = (vec![T::zero(); d * vectors], vec![T::zero(); d * vectors]);
        for (p, i, j) in self.of.shape.each_pair() {
            let pair = self.of.pair(i, j, None);
            for (k, sign) in [(i, T::one()), (j, -T::one())] {
                self.relative(k, &pair, &mut eta);
                times_matrix(&mut bent, self.of.of_vectors(p), &pair, &eta, d);
                add(&mut self.vectors[k * d * vectors..(k + 1) * d * vectors], sign * two, &bent);
            }
        }
    }

    /// Cotangents of the derivatives of the squares of particle k by the relative coordinate of a pair, d × vectors.
    #[inline(always)]
    fn relative(&self, k: usize, pair: &Pair<T>, out: &mut [T]) {
        let Shape { space: d, sums, vectors, .. } = self.of.shape;
        let (width, numbers) = (self.of.shape.features(), self.of.shape.numbers());
        for a in 0..d {
            let at = |moved: usize| &block(self.tangents, k * numbers + moved * d + a, width)[sums..];
            let (of_i, of_j) = (at(pair.i), at(pair.j));
            let out = block_mut(out, a, vectors);
            out.iter_mut().zip(of_i.iter().zip(of_j)).for_each(|(out, (i, j))| *out = *i - *j);
        }
    }

    /// Adds the cotangents of the functions of one pair, and of its relative coordinate.
    #[inline(always)]
    fn pull(
        &self,
        h: Functions<'_, T>,
        pair: &Pair<T>,
        scratch: &mut [T],
        mut bars: [&mut [T]; 3],
        mut e_bar: Option<&mut [T; SPACE]>,
    ) {
        let vectors = self.of.shape.vectors;
        for (k, sign) in [(pair.i, T::one()), (pair.j, -T::one())] {
            // Seen from its own side a pair has the opposite e and ν.
            let [e, nu] = [times(&pair.e, sign), times(&pair.nu, sign)];
            if self.operator.lambda != T::zero() {
                self.relative(k, pair, scratch);
            }
            let side = Side { k, sign, e, nu, q: pair.q, e_nu: pair.e_nu, eta: scratch };
            let whole = vectors / WIDTH * WIDTH;
            for c in (0..whole).step_by(WIDTH) {
                self.pull_lanes::<WIDTH>(&h, &side, c, &mut bars, e_bar.as_deref_mut());
            }
            for c in whole..vectors {
                self.pull_lanes::<1>(&h, &side, c, &mut bars, e_bar.as_deref_mut());
            }
        }
    }

    /// The same for some vectors of one of the two particles.
    #[inline(always)]
    fn pull_lanes<const W: usize>(
        &self,
        h: &Functions<'_, T>,
        side: &Side<'_, T>,
        c: usize,
        [bar0, bar1, bar2]: &mut [&mut [T]; 3],
        e_bar: Option<&mut [T; SPACE]>,
    ) {
        let Shape { space: d, sums, vectors, .. } = self.of.shape;
        let (lambda, Side { k, sign, e, nu, q, e_nu, eta }) = (self.operator.lambda, *side);
        let [two, four, eight] = [2.0, 4.0, 8.0].map(T::of);
        let second = lambda != T::zero();
        let none = Lanes::<T, W>::all(T::zero());
        let at = |of: &[T], first: usize| {
            let mut out = [none; SPACE];
            (0..d).for_each(|a| out[a] = Lanes::load(&of[(first + a) * vectors + c..]));
            out
        };
        let along = |direction: &[T; SPACE], of: &[Lanes<T, W>; SPACE]| {
            of[0] * direction[0] + of[1] * direction[1] + of[2] * direction[2]
        };
        let (v, v_bar, moved_bar) =
            (at(&self.features.vectors, k * d), at(&self.vectors, k * d), at(&self.moved, k * d));
        let kappa = Lanes::<T, W>::load(&self.bar.kappa[k * self.of.shape.features() + sums + c..]);
        let (mut eta_of, mut turned, mut inside) = ([none; SPACE], [none; SPACE], along(&nu, &moved_bar));
        if second {
            eta_of = at(eta, 0);
            eta_of.iter_mut().for_each(|eta| *eta = *eta * sign);
            let theta = kappa * (four * lambda);
            for a in 0..d {
                let row = at(&self.features.matrices, (k * d + a) * d);
                turned[a] = theta * along(&e, &row);
                inside += theta * row[a] + eta_of[a] * v[a] * two;
            }
        }
        let (e_v, e_eta, e_moved) = (along(&e, &v), along(&e, &eta_of), along(&e, &moved_bar));
        let lengthwise = e_eta * e_v * two + e_moved * e_nu + along(&e, &turned);
        let norm = kappa * (two * lambda);
        let (h0, h1) = (Lanes::<T, W>::load(&h[0][c..]), Lanes::<T, W>::load(&h[1][c..]));
        let slope = T::of((4 * d + 8) as f64);
        let own0 = along(&e, &v_bar) + inside + norm * (h0 * (two * T::of(d as f64)) + h1 * (four * q));
        let own1 = lengthwise * two + norm * (h0 * (four * q) + h1 * (eight * q * q)) + e_moved * (lambda * slope);
        let own2 = e_moved * (lambda * eight * q);
        own0.add_to(&mut bar0[c..]);
        own1.add_to(&mut bar1[c..]);
        own2.add_to(&mut bar2[c..]);
        let Some(e_bar) = e_bar else { return };
        let h2 = Lanes::<T, W>::load(&h[2][c..]);
        let (mut by_q, mut of_moved) = (h1 * own0 + h2 * own1, none);
        if second {
            let h3 = Lanes::<T, W>::load(&h[3][c..]);
            by_q += h3 * own2 + norm * h1 * (h0 + h1 * (two * q)) * four + e_moved * h2 * (eight * lambda);
            of_moved = (h2 * (eight * q) + h1 * slope) * lambda;
        }
        for a in 0..d {
            let across = (eta_of[a] * e_v + v[a] * e_eta + turned[a]) * two;
            let across = across + moved_bar[a] * e_nu + e_moved * nu[a];
            let own = by_q * (two * e[a]) + h0 * v_bar[a] + h1 * across * two + of_moved * moved_bar[a];
            e_bar[a] += sign * own.sum();
        }
    }
}

/// A pair as one of its particles sees it.
#[derive(Clone, Copy)]
struct Side<'a, T> {
    /// The particle.
    k: usize,
    /// 1 for the first particle of the pair, −1 for the second.
    sign: T,
    e: [T; SPACE],
    nu: [T; SPACE],
    q: T,
    e_nu: T,
    /// Cotangents of the first derivatives by the pair's relative coordinate, d × vectors; without λ they mean nothing.
    eta: &'a [T],
}

#[inline(always)]
fn times<T: Number>(of: &[T; SPACE], factor: T) -> [T; SPACE] {
    [of[0] * factor, of[1] * factor, of[2] * factor]
}
