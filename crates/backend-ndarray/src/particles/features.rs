//! What a particle knows of the others: sums and squares of vectors of functions of the distances, with their
//! derivatives and pullbacks, for one configuration.

use super::lanes::Lanes;
use super::radial::ORDERS;
use crate::Real;

/// The most dimensions of space.
const SPACE: usize = 3;
/// Vectors of a particle that are worked on side by side.
const WIDTH: usize = 8;

/// How many particles there are where, and how many features each has.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Particles n.
    pub(super) particles: usize,
    /// Dimensions d of their space.
    pub(super) space: usize,
    /// Sums of each particle.
    pub(super) sums: usize,
    /// Vectors of each particle.
    pub(super) vectors: usize,
}

impl Shape {
    /// Numbers of a configuration.
    pub(super) fn numbers(&self) -> usize {
        self.particles * self.space
    }

    /// Features of a particle.
    pub(super) fn features(&self) -> usize {
        self.sums + self.vectors
    }

    /// Functions of the distance: of pairs, then of the sums, then of the vectors.
    pub(super) fn functions(&self) -> usize {
        1 + self.features()
    }

    /// Number of pairs.
    pub(super) fn pairs(&self) -> usize {
        self.particles * (self.particles - 1) / 2
    }

    /// All pairs with their numbers.
    #[inline(always)]
    pub(super) fn each_pair(self) -> impl Iterator<Item = (usize, usize, usize)> {
        let n = self.particles;
        (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j))).enumerate().map(|(p, (i, j))| (p, i, j))
    }
}

/// One configuration.
pub struct Configuration<'a, T> {
    pub(super) shape: Shape,
    /// Coordinates, particle by particle.
    pub(super) x: &'a [T],
    /// The functions of the distance of every pair and their derivatives by its square, pairs × functions each; those
    /// that are not asked for are empty.
    pub(super) radial: [&'a [T]; ORDERS],
}

/// `u·∇ + λ∇²`.
#[derive(Clone, Copy)]
pub struct Operator<'a, T> {
    /// u, as long as the coordinates.
    pub(super) u: &'a [T],
    /// λ.
    pub(super) lambda: T,
}

/// Features of all particles and what goes into them.
pub struct Features<T> {
    /// Particles × features.
    pub(super) values: Vec<T>,
    /// `V`, particles × d × vectors.
    vectors: Vec<T>,
    /// What an [`Operator`] makes of the features, particles × features; of the vectors, laid out like them; and the
    /// matrices `Σ_j ∂(H e)/∂e`, particles × d × d × vectors. Empty where no operator was applied.
    pub(super) kappa: Vec<T>,
    moved: Vec<T>,
    matrices: Vec<T>,
}

/// Cotangents of what an operator made of the features, and of the features.
#[derive(Clone, Copy)]
pub struct FeaturesBar<'a, T> {
    /// Particles × features.
    pub(super) values: &'a [T],
    pub(super) kappa: &'a [T],
    /// Of the first derivatives of the features, particles × coordinates × features; empty where λ is 0.
    pub(super) tangents: &'a [T],
}

/// Two particles.
struct Pair<T> {
    i: usize,
    j: usize,
    /// `x_i − x_j`.
    e: [T; SPACE],
    /// `u_i − u_j`.
    nu: [T; SPACE],
    /// `|e|²` and `e·ν`.
    q: T,
    e_nu: T,
}

/// Functions of the distance of one pair, by their derivatives.
type Functions<'a, T> = [&'a [T]; ORDERS];

impl<T: Real> Configuration<'_, T> {
    #[inline(always)]
    fn pair(&self, i: usize, j: usize, u: Option<&[T]>) -> Pair<T> {
        let d = self.shape.space;
        let difference = |of: &[T]| {
            let mut out = [T::zero(); SPACE];
            (0..d).for_each(|a| out[a] = of[i * d + a] - of[j * d + a]);
            out
        };
        let (e, nu) = (difference(self.x), u.map_or([T::zero(); SPACE], difference));
        Pair { i, j, e, nu, q: dot(&e, &e), e_nu: dot(&e, &nu) }
    }

    /// `q = r²` of every pair.
    pub(super) fn squares(&self) -> impl Iterator<Item = T> {
        self.shape.each_pair().map(|(_, i, j)| self.pair(i, j, None).q)
    }

    /// The functions of pair p from one number to another.
    #[inline(always)]
    fn functions(&self, p: usize, from: usize, to: usize) -> Functions<'_, T> {
        let width = self.shape.functions();
        let of = |order: usize| self.radial[order].get(p * width + from..p * width + to).unwrap_or(&[]);
        [of(0), of(1), of(2), of(3)]
    }

    #[inline(always)]
    fn of_sums(&self, p: usize) -> Functions<'_, T> {
        self.functions(p, 1, 1 + self.shape.sums)
    }

    #[inline(always)]
    fn of_vectors(&self, p: usize) -> Functions<'_, T> {
        self.functions(p, 1 + self.shape.sums, self.shape.functions())
    }

    /// `Σ P` over all pairs.
    pub(super) fn energy(&self) -> T {
        (0..self.shape.pairs()).fold(T::zero(), |sum, p| sum + self.functions(p, 0, 1)[0][0])
    }

    /// The features of all particles.
    #[inline(always)]
    pub(super) fn features(&self) -> Features<T> {
        let Shape { particles: n, space: d, sums, vectors } = self.shape;
        let width = self.shape.features();
        let (mut values, mut v) = (vec![T::zero(); n * width], vec![T::zero(); n * d * vectors]);
        for (p, i, j) in self.shape.each_pair() {
            let e = self.pair(i, j, None).e;
            for k in [i, j] {
                add(&mut values[k * width..k * width + sums], T::one(), self.of_sums(p)[0]);
            }
            let h = self.of_vectors(p)[0];
            for (a, e) in e[..d].iter().enumerate() {
                add(block_mut(&mut v, i * d + a, vectors), *e, h);
                add(block_mut(&mut v, j * d + a, vectors), -*e, h);
            }
        }
        for i in 0..n {
            let squares = &mut values[i * width + sums..(i + 1) * width];
            for a in 0..d {
                squares.iter_mut().zip(block(&v, i * d + a, vectors)).for_each(|(s, v)| *s += *v * *v);
            }
        }
        Features { values, vectors: v, kappa: Vec::new(), moved: Vec::new(), matrices: Vec::new() }
    }

    /// Applies an operator to the features, on top of those that were applied before.
    #[inline(always)]
    pub(super) fn apply(&self, features: &mut Features<T>, operator: Operator<'_, T>) {
        let Shape { particles: n, space: d, sums, vectors } = self.shape;
        let (width, lambda, two) = (self.shape.features(), operator.lambda, T::of(2.0));
        let second = lambda != T::zero();
        let mut kappa = vec![T::zero(); n * width];
        let mut moved = vec![T::zero(); n * d * vectors];
        let mut matrices = vec![T::zero(); if second { n * d * d * vectors } else { 0 }];
        let (first_of, second_of) = (T::of(4.0 * d as f64) * lambda, T::of(8.0) * lambda);
        for (p, i, j) in self.shape.each_pair() {
            let pair = self.pair(i, j, Some(operator.u));
            let (g, h) = (self.of_sums(p), self.of_vectors(p));
            for k in [i, j] {
                let kappa = &mut kappa[k * width..k * width + sums];
                add(kappa, two * pair.e_nu + first_of, g[1]);
                if second {
                    add(kappa, second_of * pair.q, g[2]);
                }
            }
            for a in 0..d {
                for (k, sign) in [(i, T::one()), (j, -T::one())] {
                    let moved = block_mut(&mut moved, k * d + a, vectors);
                    add(moved, sign * pair.nu[a], h[0]);
                    let along = sign * pair.e[a];
                    add(moved, along * (two * pair.e_nu + first_of + T::of(8.0) * lambda), h[1]);
                    if second {
                        add(moved, along * second_of * pair.q, h[2]);
                    }
                }
            }
            if !second {
                continue;
            }
            for k in [i, j] {
                for (a, b) in (0..d).flat_map(|a| (0..d).map(move |b| (a, b))) {
                    let matrix = block_mut(&mut matrices, (k * d + a) * d + b, vectors);
                    add(matrix, two * pair.e[a] * pair.e[b], h[1]);
                    if a == b {
                        add(matrix, T::one(), h[0]);
                    }
                }
                let kappa = &mut kappa[k * width + sums..(k + 1) * width];
                for ((kappa, h0), h1) in kappa.iter_mut().zip(h[0]).zip(h[1]) {
                    *kappa += two * lambda * squared_norm(*h0, *h1, pair.q, d);
                }
            }
        }
        for i in 0..n {
            let kappa = &mut kappa[i * width + sums..(i + 1) * width];
            for a in 0..d {
                let both = block(&features.vectors, i * d + a, vectors).iter().zip(block(&moved, i * d + a, vectors));
                kappa.iter_mut().zip(both).for_each(|(kappa, (v, moved))| *kappa += two * *v * *moved);
            }
            for ab in 0..if second { d * d } else { 0 } {
                let matrix = block(&matrices, i * d * d + ab, vectors);
                kappa.iter_mut().zip(matrix).for_each(|(kappa, m)| *kappa += two * lambda * *m * *m);
            }
        }
        if features.kappa.is_empty() {
            (features.kappa, features.moved, features.matrices) = (kappa, moved, matrices);
            return;
        }
        add(&mut features.kappa, T::one(), &kappa);
        add(&mut features.moved, T::one(), &moved);
        add(&mut features.matrices, T::one(), &matrices);
    }

    /// First derivatives of the features of every particle by all coordinates, particles × coordinates × features.
    #[inline(always)]
    pub(super) fn tangents(&self, features: &Features<T>) -> Vec<T> {
        let Shape { particles: n, space: d, sums, vectors } = self.shape;
        let (width, numbers, two) = (self.shape.features(), self.shape.numbers(), T::of(2.0));
        let mut y = vec![T::zero(); n * numbers * width];
        let mut bent = vec![T::zero(); d * vectors];
        for (p, i, j) in self.shape.each_pair() {
            let pair = self.pair(i, j, None);
            let (g, h) = (self.of_sums(p), self.of_vectors(p));
            for (k, sign) in [(i, T::one()), (j, -T::one())] {
                // By the relative coordinate e.
                times_matrix(&mut bent, h, &pair, &features.vectors[k * d * vectors..(k + 1) * d * vectors], d);
                for a in 0..d {
                    for (moved, factor) in [(i, two), (j, -two)] {
                        let row = block_mut(&mut y, k * numbers + moved * d + a, width);
                        add(&mut row[..sums], factor * pair.e[a], g[1]);
                        add(&mut row[sums..], sign * factor, block(&bent, a, vectors));
                    }
                }
            }
        }
        y
    }

    /// Adds the gradient of `Σ P + Σ_i F(S_i)` to `out`, from `∂F/∂S` of every particle.
    #[inline(always)]
    pub(super) fn add_gradient(&self, features: &Features<T>, slopes: &[T], out: &mut [T]) {
        let Shape { particles: n, space: d, sums, vectors } = self.shape;
        let (width, two) = (self.shape.features(), T::of(2.0));
        // ∂/∂V of every particle.
        let mut of_vectors = features.vectors.clone();
        for (k, v) in of_vectors.chunks_exact_mut(vectors.max(1)).enumerate().take(n * d) {
            let slopes = &slopes[k / d * width + sums..(k / d + 1) * width];
            v.iter_mut().zip(slopes).for_each(|(v, s)| *v *= two * *s);
        }
        for (p, i, j) in self.shape.each_pair() {
            let pair = self.pair(i, j, None);
            let (g, h) = (self.of_sums(p)[1], self.of_vectors(p));
            let [of_i, of_j] = [i, j].map(|k| &slopes[k * width..k * width + sums]);
            let along = g.iter().zip(of_i.iter().zip(of_j)).fold(T::zero(), |sum, (g, (a, b))| sum + *g * (*a + *b));
            let mut along = two * (along + self.functions(p, 0, 1)[1][0]);
            let mut across = [T::zero(); SPACE];
            for (a, across) in across[..d].iter_mut().enumerate() {
                let [of_i, of_j] = [i, j].map(|k| block(&of_vectors, k * d + a, vectors));
                let [direct, bent] = dots([h[0], h[1]], of_i, of_j);
                *across = direct;
                along += two * pair.e[a] * bent;
            }
            for a in 0..d {
                let force = along * pair.e[a] + across[a];
                out[i * d + a] += force;
                out[j * d + a] -= force;
            }
        }
    }

    /// The Laplacian of `Σ P`.
    pub(super) fn pairs_laplacian(&self) -> T {
        let d = T::of(self.shape.space as f64);
        let of_pair = |(p, i, j)| {
            let (of, q) = (self.functions(p, 0, 1), self.pair(i, j, None).q);
            T::of(4.0) * (T::of(2.0) * q * of[2][0] + d * of[1][0])
        };
        self.shape.each_pair().map(of_pair).fold(T::zero(), |sum, of| sum + of)
    }

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
        let way = VectorsBar::new(self, features, operator, bar);
        let functions = self.shape.functions();
        let mut scratch = vec![T::zero(); self.shape.space * self.shape.vectors];
        let [bar0, bar1, bar2] = radial_bar;
        for (p, i, j) in self.shape.each_pair() {
            let pair = self.pair(i, j, Some(operator.u));
            let of_pair = p * functions..(p + 1) * functions;
            let [bar0, bar1, bar2] = [&mut *bar0, &mut *bar1, &mut *bar2].map(|bar| &mut bar[of_pair.clone()]);
            let mut e_bar = x_bar.is_some().then_some([T::zero(); SPACE]);
            self.pull_sums((p, &pair), operator, bar, [&mut *bar0, &mut *bar1, &mut *bar2], e_bar.as_mut());
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
        bar: FeaturesBar<'_, T>,
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
                if !bar.tangents.is_empty() {
                    let [of_i, of_j] = [pair.i, pair.j].map(|k| self.relative(bar.tangents, k, pair, c - 1));
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
    /// Of `V` and of what the operator makes of it, particles × d × vectors.
    vectors: Vec<T>,
    moved: Vec<T>,
}

impl<'a, T: Real> VectorsBar<'a, T> {
    #[inline(always)]
    fn new(
        of: &'a Configuration<'a, T>,
        features: &'a Features<T>,
        operator: Operator<'a, T>,
        bar: FeaturesBar<'a, T>,
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
        let mut way = Self { of, features, operator, bar, vectors: v_bar, moved: moved_bar };
        if !bar.tangents.is_empty() {
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
            let at = |moved: usize| &block(self.bar.tangents, k * numbers + moved * d + a, width)[sums..];
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

/// `‖H I + 2 H' e eᵀ‖²` of the matrix `∂(H e)/∂e` in d dimensions.
#[inline(always)]
fn squared_norm<T: Real>(h0: T, h1: T, q: T, d: usize) -> T {
    let four = T::of(4.0);
    T::of(d as f64) * h0 * h0 + four * h1 * q * (h0 + h1 * q)
}

/// `out ← (H I + 2 H' e eᵀ) v` for every vector, d × vectors.
#[inline(always)]
fn times_matrix<T: Real>(out: &mut [T], h: Functions<'_, T>, pair: &Pair<T>, v: &[T], d: usize) {
    let vectors = h[0].len();
    let mut along = vec![T::zero(); vectors];
    for a in 0..d {
        add(&mut along, T::of(2.0) * pair.e[a], block(v, a, vectors));
    }
    along.iter_mut().zip(h[1]).for_each(|(along, h)| *along *= *h);
    for a in 0..d {
        let out = block_mut(out, a, vectors);
        let terms = block(v, a, vectors).iter().zip(h[0]).zip(&along);
        out.iter_mut().zip(terms).for_each(|(out, ((v, h), along))| *out = *h * *v + pair.e[a] * *along);
    }
}

/// `Σ_c h_c (a_c − b_c)` for two lists h.
#[inline(always)]
fn dots<T: Real>(h: [&[T]; 2], a: &[T], b: &[T]) -> [T; 2] {
    let whole = a.len() / WIDTH * WIDTH;
    let mut sums = [Lanes::<T, WIDTH>::all(T::zero()); 2];
    for c in (0..whole).step_by(WIDTH) {
        let difference = Lanes::<T, WIDTH>::load(&a[c..]) - Lanes::load(&b[c..]);
        sums[0] += Lanes::load(&h[0][c..]) * difference;
        sums[1] += Lanes::load(&h[1][c..]) * difference;
    }
    let rest = |h: &[T]| (whole..a.len()).fold(T::zero(), |sum, c| sum + h[c] * (a[c] - b[c]));
    [sums[0].sum() + rest(h[0]), sums[1].sum() + rest(h[1])]
}

#[inline(always)]
fn times<T: Real>(of: &[T; SPACE], factor: T) -> [T; SPACE] {
    [of[0] * factor, of[1] * factor, of[2] * factor]
}

#[inline(always)]
fn dot<T: Real>(a: &[T; SPACE], b: &[T; SPACE]) -> T {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// `out ← out + factor · of`.
#[inline(always)]
fn add<T: Real>(out: &mut [T], factor: T, of: &[T]) {
    out.iter_mut().zip(of).for_each(|(out, of)| *out += factor * *of);
}

/// Numbers `k · width` to `(k + 1) · width`.
#[inline(always)]
fn block<T>(of: &[T], k: usize, width: usize) -> &[T] {
    &of[k * width..(k + 1) * width]
}

#[inline(always)]
fn block_mut<T>(of: &mut [T], k: usize, width: usize) -> &mut [T] {
    &mut of[k * width..(k + 1) * width]
}
