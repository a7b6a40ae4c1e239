//! The term of particles: functions of their distances.

use flow_core::{Activation, Error, ParticlesParameters, ParticlesSettings, TimeBasis};
use tch::Tensor;

use super::{At, Formula, Term, sum_of_rows};
use crate::activation;
use crate::tensors::Tch;

impl Term {
    /// `φ = ½ q Σ_i |x_i − x̄|² + Σ_{i<j} P(r_ij) + Σ_i F(D_i, |V_i|²)` of n particles in d dimensions, rows of n d
    /// numbers, particle by particle: see [`ParticlesSettings`]. The Laplacian is exact; it takes about `n² d h₁
    /// (features + h₂)` multiplications a row.
    ///
    /// Parameters: those of [`ParticlesParameters`].
    ///
    /// # Errors
    /// [`Error::Setting`] for a size that is out of range.
    pub fn particles(space: Tch, settings: ParticlesSettings, basis: TimeBasis, seed: u64) -> Result<Self, Error> {
        let parameters = ParticlesParameters::new(&space, &settings, basis, seed)?.into_vec();
        let dim = settings.particles * settings.space;
        Ok(Self::new(space, dim, basis, parameters, 0, Box::new(Particles::new(space, &settings))))
    }
}

struct Particles {
    /// Particles n.
    n: i64,
    /// Dimensions d of their space.
    d: i64,
    sums: i64,
    vectors: i64,
    activation: Activation,
    /// The centres c of the Gaussians of ξ.
    centres: Tensor,
    /// 1/σ, σ the width of the Gaussians.
    sharpness: f64,
    /// core².
    core: f64,
    cutoff: Option<[f64; 2]>,
    /// For every class of pairs, n × n × 1: 1 where two particles are of it, 0 for all others and for a particle with
    /// itself.
    classes: Vec<Tensor>,
    /// Hidden units of a layer, or features where they are more.
    widest: i64,
}

// SAFETY: as for `Array`: the tensors are private and only read.
unsafe impl Sync for Particles {}

/// Rows of particles with the functions of their distances.
struct Pairs {
    /// `x_i − x_j`, rows × n × n × d.
    e: Tensor,
    /// `q = |x_i − x_j|²`, rows × n × n × 1.
    q: Tensor,
    /// P, then those of the sums, then those of the vectors, rows × n × n × functions, and their derivatives by q, as
    /// many as were asked for. All are zero for a particle with itself.
    functions: Vec<Tensor>,
}

/// F at the features of all particles. Layers are rows × n × h, coefficients 1 or rows × 1 × h.
struct Network<'a> {
    weight1: &'a Tensor,
    weight2: &'a Tensor,
    /// v.
    amplitude: Tensor,
    /// `f'(z₁)`.
    slope1: Tensor,
    z2: Tensor,
    /// `f'(z₂)`.
    slope2: Tensor,
    /// `∂F/∂f(z₁)`.
    of_first: Tensor,
    /// `∂F/∂S`, rows × n × features.
    slopes: Tensor,
}

/// What a particle knows of the others.
struct Features {
    /// `V_i`, rows × n × d × vectors.
    vectors: Tensor,
    /// `D_i, |V_i|²`, rows × n × features.
    values: Tensor,
}

/// The sum over a dimension.
fn sum(of: &Tensor, dim: i64) -> Tensor {
    of.sum_dim_intlist(dim, false, of.kind())
}

impl Particles {
    /// Numbers of a layer of all directions of derivatives that are made at once by a thread that works on rows.
    const NUMBERS: i64 = 1 << 23;

    fn new(space: Tch, settings: &ParticlesSettings) -> Self {
        let (first, spacing, width) = settings.gaussians();
        let centres: Vec<f64> = (0..settings.centres).map(|k| first + spacing * k as f64).collect();
        let [n, d, k, sums, vectors] =
            [settings.particles, settings.space, settings.centres, settings.sums, settings.vectors].map(|c| c as i64);
        let [h1, h2] = settings.hidden;
        Self {
            n,
            d,
            sums,
            vectors,
            activation: settings.activation,
            centres: space.send(&centres, space.kind(), &[k]),
            sharpness: width.recip(),
            core: settings.core.powi(2),
            cutoff: settings.cutoff,
            classes: classes(space, settings),
            widest: h1.max(h2).max(settings.features()).max(1) as i64,
        }
    }

    /// Coordinates, rows × n × d.
    fn positions(&self, at: &At) -> Tensor {
        at.x.reshape([-1, self.n, self.d])
    }

    /// Coordinates from the centre.
    fn centred(&self, at: &At) -> Tensor {
        let x = self.positions(at);
        &x - x.mean_dim(1, true, x.kind())
    }

    /// The coefficients of the functions of one class, K × functions, or rows × K × functions where rows have times of
    /// their own.
    fn coefficients(&self, at: &At) -> Vec<Tensor> {
        let (all, k) = (at.coefficient(1), self.centres.size()[0]);
        let all = all.reshape([all.size()[0], self.classes.len() as i64, -1, k]).transpose(2, 3);
        let all = if all.size()[0] == 1 { all.squeeze_dim(0) } else { all };
        all.unbind(-3)
    }

    /// The functions of all distances and their derivatives by q, up to so many.
    ///
    /// By the chain rule from those by `ξ = ½ ln(q + core²)`, with `w = 1/(q + core²) = 2 dξ/dq`: `w F'/2` and
    /// `w² (F'' − 2 F')/4`, so that nothing is singular where particles meet.
    fn pairs(&self, at: &At, orders: usize) -> Pairs {
        let x = self.positions(at);
        let e = x.unsqueeze(2) - x.unsqueeze(1);
        let q = e.square().sum_dim_intlist(3, true, e.kind());
        let (shifted, s) = (&q + self.core, self.sharpness);
        let (w, h) = (shifted.reciprocal(), (shifted.log() * 0.5 - &self.centres) * s);
        let coefficients = self.coefficients(at);
        let through = |gaussians: &Tensor| {
            let flat = gaussians.flatten(1, 2);
            let of_class = |(of, class): (&Tensor, &Tensor)| {
                let found = flat.matmul(of);
                found.reshape([-1, self.n, self.n, found.size()[2]]) * class
            };
            let found = coefficients.iter().zip(&self.classes).map(of_class).reduce(|sum, of| sum + of);
            found.expect("there are at least two particles")
        };
        let gaussians = (h.square() * -0.5).exp();
        let mut functions = vec![through(&gaussians)];
        if orders > 0 {
            let by_xi = through(&(&h * &gaussians)) * -s;
            functions.push(&w * &by_xi * 0.5);
            if orders > 1 {
                let twice = (through(&(h.square() * gaussians)) - &functions[0]) * (s * s);
                functions.push((twice - by_xi * 2.0) * w.square() * 0.25);
            }
        }
        let functions = match self.cutoff {
            Some(cutoff) => cut(&q, cutoff, functions),
            None => functions,
        };
        Pairs { e, q, functions }
    }

    /// Of functions, P.
    fn of_pairs(&self, functions: &Tensor) -> Tensor {
        functions.narrow(3, 0, 1)
    }

    /// Of functions, those of the sums.
    fn of_sums(&self, functions: &Tensor) -> Tensor {
        functions.narrow(3, 1, self.sums)
    }

    /// Of functions, those of the vectors.
    fn of_vectors(&self, functions: &Tensor) -> Tensor {
        functions.narrow(3, 1 + self.sums, self.vectors)
    }

    fn features(&self, Pairs { e, functions, .. }: &Pairs) -> Features {
        let vectors = e.transpose(2, 3).matmul(&self.of_vectors(&functions[0]));
        let values = Tensor::cat(&[sum(&self.of_sums(&functions[0]), 2), sum(&vectors.square(), 2)], 2);
        Features { vectors, values }
    }

    /// F, where there are features.
    fn network<'a>(&self, at: &'a At, features: &Features) -> Option<Network<'a>> {
        let [_, _, weight1, _, weight2, ..] = at.parameters else { return None };
        let coefficient = |place| at.coefficient(place).unsqueeze(1);
        let (f, amplitude) = (self.activation, coefficient(6));
        let z1 = features.values.matmul(&weight1.tr()) + coefficient(3);
        let z2 = activation::value(f, &z1).matmul(&weight2.tr()) + coefficient(5);
        let [slope1, slope2] = [&z1, &z2].map(|z| activation::slope(f, z));
        let of_first = (&slope2 * &amplitude).matmul(weight2);
        let slopes = (&of_first * &slope1).matmul(weight1);
        Some(Network { weight1, weight2, amplitude, slope1, z2, slope2, of_first, slopes })
    }

    /// `∇φ` and where asked for `∇²φ` of some rows.
    fn of_rows(&self, at: &At, laplacian: bool) -> (Tensor, Option<Tensor>) {
        let pairs = self.pairs(at, if laplacian { 2 } else { 1 });
        let features = self.features(&pairs);
        let network = self.network(at, &features);
        let quadratic = at.coefficient(0);
        let mut velocity = quadratic.unsqueeze(1) * self.centred(at);
        let mut along = self.of_pairs(&pairs.functions[1]).squeeze_dim(3);
        if let Some(network) = &network {
            let (bent, direct) = self.forces(&pairs, &features, network);
            (along, velocity) = (along + bent, velocity + direct);
        }
        let velocity = velocity + sum(&(along.unsqueeze(3) * &pairs.e), 2) * 2.0;
        let trace = || {
            let of_quadratic = at.for_every_row(&(&quadratic * ((self.n - 1) * self.d) as f64));
            let of_functions = self.laplacians(&pairs);
            let of_pairs = sum_of_rows(&self.of_pairs(&of_functions)) * 0.5;
            let many = network.as_ref().map(|network| {
                let of_features = self.laplacians_of_features(&pairs, &features, &of_functions);
                sum_of_rows(&(&network.slopes * of_features)) + self.curvature(&pairs, &features, network)
            });
            let few = of_quadratic + of_pairs;
            if let Some(many) = many { few + many } else { few }
        };
        (velocity.flatten(1, -1), laplacian.then(trace))
    }

    /// What the features add to the force on every particle: factors of `2 (x_i − x_j)`, rows × n × n, and the rest,
    /// rows × n × d.
    fn forces(&self, pairs: &Pairs, features: &Features, network: &Network) -> (Tensor, Tensor) {
        let [of_sums, of_vectors] = [(0, self.sums), (self.sums, self.vectors)]
            .map(|(from, count)| network.slopes.narrow(2, from, count).unsqueeze(2));
        let [h, bent] = [0, 1].map(|order| self.of_vectors(&pairs.functions[order]));
        // ∂F/∂V.
        let of_v = &features.vectors * &of_vectors * 2.0;
        let of_i = sum(&(self.of_sums(&pairs.functions[1]) * of_sums), 3) + sum(&(bent * pairs.e.matmul(&of_v)), 3);
        // Of `Σ_j H (∂F/∂V_i − ∂F/∂V_j)` each part for itself: no array of all differences is made.
        let own = sum(&(sum(&h, 2).unsqueeze(2) * &of_v), 3);
        let others = h.flatten(2, 3).matmul(&of_v.transpose(2, 3).flatten(1, 2));
        (&of_i + of_i.transpose(1, 2), own - others)
    }

    /// The Laplacians of functions of the distance, by the coordinates of both particles.
    fn laplacians(&self, Pairs { q, functions, .. }: &Pairs) -> Tensor {
        &functions[2] * q * 8.0 + &functions[1] * (4 * self.d) as f64
    }

    /// Those of the features: of `V_i` by that of `H e`, and of its square by the squares of all first derivatives too.
    fn laplacians_of_features(&self, pairs: &Pairs, features: &Features, of_functions: &Tensor) -> Tensor {
        let Pairs { e, q, functions } = pairs;
        let [h, bent] = [0, 1].map(|order| self.of_vectors(&functions[order]));
        let of_v = e.transpose(2, 3).matmul(&(self.of_vectors(of_functions) + &bent * 8.0));
        // |H I + 2 H' e eᵀ|², of the coordinates of the other particle.
        let turned = &bent * q;
        let of_others = h.square() * self.d as f64 + &turned * (&h + &turned) * 4.0;
        // The sum of these matrices, of the particle's own.
        let squares = (e.unsqueeze(4) * e.unsqueeze(3)).flatten(3, 4).transpose(2, 3);
        let unit = Tensor::eye(self.d, (e.kind(), e.device())).reshape([-1, 1]);
        let matrices = squares.matmul(&bent) * 2.0 + unit * sum(&h, 2).unsqueeze(2);
        let first = sum(&of_others, 2) + sum(&matrices.square(), 2);
        let of_squares = (sum(&(&features.vectors * of_v), 2) + first) * 2.0;
        Tensor::cat(&[sum(&self.of_sums(of_functions), 2), of_squares], 2)
    }

    /// First derivatives of the features of every particle by all coordinates of the others, and by its own: rows × n ×
    /// (n + 1) d × features.
    fn tangents(&self, Pairs { e, functions, .. }: &Pairs, features: &Features) -> Tensor {
        let [h, bent] = [0, 1].map(|order| self.of_vectors(&functions[order]));
        let along = e.unsqueeze(4);
        let of_sums = &along * self.of_sums(&functions[1]).unsqueeze(3);
        let bent = (bent * e.matmul(&features.vectors)).unsqueeze(3) * along * 2.0;
        let of_squares = h.unsqueeze(3) * features.vectors.unsqueeze(2) + bent;
        let of_own = Tensor::cat(&[of_sums, of_squares], 4) * 2.0;
        Tensor::cat(&[-of_own.flatten(2, 3), sum(&of_own, 2)], 2)
    }

    /// `Σ F''` of the first derivatives of the features, for every row.
    fn curvature(&self, pairs: &Pairs, features: &Features, network: &Network) -> Tensor {
        let f = self.activation;
        let first = self.tangents(pairs, features).matmul(&network.weight1.tr());
        let second = (&first * network.slope1.unsqueeze(2)).matmul(&network.weight2.tr());
        let [squares1, squares2] = [first, second].map(|of| sum(&of.square(), 2));
        let inner = &network.of_first * activation::curvature(f, &network.slope1) * squares1;
        let outer = activation::curvature(f, &network.slope2) * &network.amplitude * squares2;
        sum_of_rows(&inner) + sum_of_rows(&outer)
    }
}

impl Formula for Particles {
    fn value(&self, at: &At) -> Tensor {
        let pairs = self.pairs(at, 0);
        let few = (sum_of_rows(&(at.coefficient(0).unsqueeze(1) * self.centred(at).square()))
            + sum_of_rows(&self.of_pairs(&pairs.functions[0])))
            * 0.5;
        match self.network(at, &self.features(&pairs)) {
            Some(of) => few + sum_of_rows(&(activation::value(self.activation, &of.z2) * of.amplitude)),
            None => few,
        }
    }

    fn field(&self, at: &At, laplacian: bool) -> (Tensor, Option<Tensor>) {
        if !laplacian {
            return self.of_rows(at, false);
        }
        let most = Self::NUMBERS / (self.n * (self.n + 1) * self.d * self.widest);
        let parts = at.x.split(most.max(1), 0);
        let (velocities, traces): (Vec<_>, Vec<_>) = parts
            .iter()
            .map(|x| {
                let (velocity, trace) = self.of_rows(&At { x, ..*at }, true);
                (velocity, trace.expect("it was asked for"))
            })
            .unzip();
        (Tensor::cat(&velocities, 0), Some(Tensor::cat(&traces, 0)))
    }
}

/// The masks of [`Particles::classes`].
fn classes(space: Tch, settings: &ParticlesSettings) -> Vec<Tensor> {
    let (n, of_pairs) = (settings.particles, settings.classes());
    let pairs: Vec<_> = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).collect();
    let mask = |class| {
        let mut mask = vec![0.0; n * n];
        for ((i, j), _) in pairs.iter().zip(&of_pairs).filter(|(_, of)| **of == class) {
            (mask[i * n + j], mask[j * n + i]) = (1.0, 1.0);
        }
        space.send(&mask, space.kind(), &[n as i64, n as i64, 1])
    };
    (0..=of_pairs.iter().copied().max().unwrap_or(0)).map(mask).collect()
}

/// Functions of q and their derivatives, times `1 − s(u)`, `u = (q − from²)/(to² − from²)` between 0 and 1, with the
/// smooth step `s = u⁴ (35 − 84 u + 70 u² − 20 u³)`.
fn cut(q: &Tensor, [from, to]: [f64; 2], of: Vec<Tensor>) -> Vec<Tensor> {
    let slope = (to * to - from * from).recip();
    let u = ((q - from * from) * slope).clamp(0.0, 1.0);
    let rest: Tensor = 1.0 - &u;
    // 1 − s(u) = s(1 − u), which keeps its digits where little is left.
    let bent = &rest * (&rest * (&rest * -20.0 + 70.0) - 84.0) + 35.0;
    let c = rest.square().square() * bent;
    let both = u * &rest;
    // s' = 140 (u (1 − u))³.
    let c1 = || both.square() * &both * (-140.0 * slope);
    let c2 = || both.square() * (&rest * 2.0 - 1.0) * (-420.0 * slope * slope);
    let product = |order| match order {
        0 => &c * &of[0],
        1 => &c * &of[1] + c1() * &of[0],
        _ => &c * &of[2] + c1() * &of[1] * 2.0 + c2() * &of[0],
    };
    (0..of.len()).map(product).collect()
}
