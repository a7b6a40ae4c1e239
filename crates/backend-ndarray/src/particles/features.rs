//! What a particle knows of the others: sums and squares of vectors of functions of the distances, with their
//! derivatives and pullbacks, for one configuration.

use super::contrasts::contrasts;
use super::lanes::Lanes;
use super::radial::ORDERS;
use crate::number::Number;

/// The most dimensions of space.
pub(super) const SPACE: usize = 3;
/// Vectors of a particle that are worked on side by side.
pub(super) const WIDTH: usize = 8;

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

    /// Directions in which the particles move and their centre does not.
    pub(super) fn directions(&self) -> usize {
        (self.particles - 1) * self.space
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
    pub(super) vectors: Vec<T>,
    /// What an [`Operator`] makes of the features, particles × features; of the vectors, laid out like them; and the
    /// matrices `Σ_j ∂(H e)/∂e`, particles × d × d × vectors. Empty where no operator was applied.
    pub(super) kappa: Vec<T>,
    pub(super) moved: Vec<T>,
    pub(super) matrices: Vec<T>,
}

/// Two particles.
pub(super) struct Pair<T> {
    pub(super) i: usize,
    pub(super) j: usize,
    /// `x_i − x_j`.
    pub(super) e: [T; SPACE],
    /// `u_i − u_j`.
    pub(super) nu: [T; SPACE],
    /// `|e|²` and `e·ν`.
    pub(super) q: T,
    pub(super) e_nu: T,
}

/// Functions of the distance of one pair, by their derivatives.
pub(super) type Functions<'a, T> = [&'a [T]; ORDERS];

impl<T: Number> Configuration<'_, T> {
    #[inline(always)]
    pub(super) fn pair(&self, i: usize, j: usize, u: Option<&[T]>) -> Pair<T> {
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
    pub(super) fn functions(&self, p: usize, from: usize, to: usize) -> Functions<'_, T> {
        let width = self.shape.functions();
        let of = |order: usize| self.radial[order].get(p * width + from..p * width + to).unwrap_or(&[]);
        [of(0), of(1), of(2), of(3)]
    }

    #[inline(always)]
    pub(super) fn of_sums(&self, p: usize) -> Functions<'_, T> {
        self.functions(p, 1, 1 + self.shape.sums)
    }

    #[inline(always)]
    pub(super) fn of_vectors(&self, p: usize) -> Functions<'_, T> {
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
            if second {
                self.add_second_derivatives(p, &pair, lambda, &mut matrices, &mut kappa);
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

    /// What `λ∇²` adds for pair p: the matrices `∂(H e)/∂e` of both particles, and the squares of their norms.
    #[inline(always)]
    fn add_second_derivatives(&self, p: usize, pair: &Pair<T>, lambda: T, matrices: &mut [T], kappa: &mut [T]) {
        let Shape { space: d, sums, vectors, .. } = self.shape;
        let (h, width, two) = (self.of_vectors(p), self.shape.features(), T::of(2.0));
        for k in [pair.i, pair.j] {
            for (a, b) in (0..d).flat_map(|a| (0..d).map(move |b| (a, b))) {
                let matrix = block_mut(matrices, (k * d + a) * d + b, vectors);
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

    /// Writes first derivatives of the features of every particle in all directions that leave the centre, particles ×
    /// directions × features.
    #[inline(always)]
    pub(super) fn tangents(&self, features: &Features<T>, out: &mut [T]) {
        let Shape { particles: n, space: d, sums, vectors } = self.shape;
        let (width, numbers, two) = (self.shape.features(), self.shape.numbers(), T::of(2.0));
        // By all coordinates.
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
        for (y, out) in y.chunks_exact(numbers * width).zip(out.chunks_exact_mut(self.shape.directions() * width)) {
            contrasts(y, d * width, out);
        }
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
}

/// Coordinates from the centre.
pub(super) fn from_centre<T: Number>(x: &[T], d: usize) -> Vec<T> {
    let particles = T::of((x.len() / d) as f64);
    let mut centre = vec![T::zero(); d];
    x.chunks_exact(d).for_each(|x| centre.iter_mut().zip(x).for_each(|(c, x)| *c += *x / particles));
    x.iter().enumerate().map(|(i, x)| *x - centre[i % d]).collect()
}

/// `‖H I + 2 H' e eᵀ‖²` of the matrix `∂(H e)/∂e` in d dimensions.
#[inline(always)]
fn squared_norm<T: Number>(h0: T, h1: T, q: T, d: usize) -> T {
    let four = T::of(4.0);
    T::of(d as f64) * h0 * h0 + four * h1 * q * (h0 + h1 * q)
}

/// `out ← (H I + 2 H' e eᵀ) v` for every vector, d × vectors.
#[inline(always)]
pub(super) fn times_matrix<T: Number>(out: &mut [T], h: Functions<'_, T>, pair: &Pair<T>, v: &[T], d: usize) {
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
fn dots<T: Number>(h: [&[T]; 2], a: &[T], b: &[T]) -> [T; 2] {
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
pub(super) fn dot<T: Number>(a: &[T; SPACE], b: &[T; SPACE]) -> T {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// `out ← out + factor · of`.
#[inline(always)]
pub(super) fn add<T: Number>(out: &mut [T], factor: T, of: &[T]) {
    out.iter_mut().zip(of).for_each(|(out, of)| *out += factor * *of);
}

/// Numbers `k · width` to `(k + 1) · width`.
#[inline(always)]
pub(super) fn block<T>(of: &[T], k: usize, width: usize) -> &[T] {
    &of[k * width..(k + 1) * width]
}

#[inline(always)]
pub(super) fn block_mut<T>(of: &mut [T], k: usize, width: usize) -> &mut [T] {
    &mut of[k * width..(k + 1) * width]
}
