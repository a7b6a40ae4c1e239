//! The shape and the first parameters of potentials of equal particles, which all backends share.

use crate::activation::Activation;
use crate::error::Error;
use crate::parameter::{Parameter, rows_and_cols};
use crate::rng::{Purpose, RngKey};
use crate::space::Space;
use crate::time::TimeBasis;

/// The shape of a potential of equal particles that knows their distances alone:
/// `φ = ½ q Σ_i |x_i − x̄|² + Σ_{i<j} P(r_ij) + Σ_i F(D_i, |V_i|²)`.
///
/// `D_ic = Σ_j G_c(r_ij)` are sums over the other particles, `V_ic = Σ_j H_c(r_ij) (x_i − x_j)` vectors, and F has two
/// hidden layers, `F(S) = Σ_k v_k f(z_k)`, `z = W₂ f(W₁ S + b₁) + b₂`. The functions P, G and H are sums of Gaussians
/// of `ξ = ½ ln(r² + core²)`, equally spaced in ξ, so that they are smooth where particles meet. A potential of this
/// form is the same wherever the cluster is, however it is turned or reflected, and whichever particle is which.
///
/// Particles of several kinds have functions of their own for every two kinds; those of one kind may still change
/// places.
#[derive(Debug, Clone, PartialEq)]
pub struct ParticlesSettings {
    /// Particles n.
    pub particles: usize,
    /// Dimensions d of their space.
    pub space: usize,
    /// The kind of each particle, told apart by any numbers; empty: all are equal.
    pub kinds: Vec<usize>,
    /// Gaussians K of a function of the distance.
    pub centres: usize,
    /// The distances of the first and the last Gaussian.
    pub interval: [f64; 2],
    /// The distance below which functions no longer change.
    pub core: f64,
    /// The distance from which all functions fall to zero, and that from which they are zero, where they are to: with
    /// three continuous derivatives, as many as the pullback of the Laplacian takes.
    pub cutoff: Option<[f64; 2]>,
    /// Sums D of each particle.
    pub sums: usize,
    /// Vectors V of each particle.
    pub vectors: usize,
    /// Hidden units of F.
    pub hidden: [usize; 2],
    /// f, of both layers.
    pub activation: Activation,
}

/// Widths of the Gaussians in units of their spacing: sums of them with equal coefficients are constant between the
/// centres to one part in 10¹⁴.
const WIDTH: f64 = 1.3;

impl ParticlesSettings {
    /// Whether there can be such a potential.
    ///
    /// # Errors
    /// [`Error::Setting`] for what is out of range.
    pub fn check(&self) -> Result<(), Error> {
        let [from, to] = self.interval;
        if self.particles < 2 {
            return Err(Error::setting("particles", self.particles, "at least 2"));
        }
        if !(1..=3).contains(&self.space) {
            return Err(Error::setting("the dimensions of space", self.space, "1, 2 or 3"));
        }
        if !(self.kinds.is_empty() || self.kinds.len() == self.particles) {
            let expected = format!("one for each of the {} particles, or none", self.particles);
            return Err(Error::setting("the number of kinds", self.kinds.len(), &expected));
        }
        if self.centres < 2 {
            return Err(Error::setting("centres", self.centres, "at least 2"));
        }
        if !(from >= 0.0 && to > from && to.is_finite()) {
            let expected = "two distances, the lower first";
            return Err(Error::setting("interval", format!("[{from}, {to}]"), expected));
        }
        if !(self.core > 0.0 && self.core.is_finite()) {
            return Err(Error::setting("core", self.core, "a positive distance"));
        }
        if let Some([from, to]) = self.cutoff
            && !(from >= 0.0 && to > from && to.is_finite())
        {
            let expected = "two distances, the lower first";
            return Err(Error::setting("cutoff", format!("[{from}, {to}]"), expected));
        }
        if self.features() > 0 && self.hidden.contains(&0) {
            return Err(Error::setting("hidden", format!("{:?}", self.hidden), "at least 1 in each layer"));
        }
        Ok(())
    }

    /// Whether rows of `dim` numbers are rows of these particles.
    ///
    /// # Errors
    /// [`Error::Shape`] where they are not.
    pub fn check_rows(&self, dim: usize) -> Result<(), Error> {
        let found = self.particles * self.space;
        if found == dim {
            return Ok(());
        }
        Err(Error::Shape { what: "the potential of particles".to_owned(), found: vec![found], expected: vec![dim] })
    }

    /// Numbers that F takes of each particle.
    pub fn features(&self) -> usize {
        self.sums + self.vectors
    }

    /// Functions of the distance of two particles: P, then G, then H.
    pub fn functions(&self) -> usize {
        1 + self.features()
    }

    /// The class of every pair i < j, row by row: pairs of the same two kinds are of one. Classes are numbered in the
    /// order of their first pairs.
    pub fn classes(&self) -> Vec<usize> {
        let kind = |i: usize| self.kinds.get(i).copied().unwrap_or(0);
        let mut known: Vec<[usize; 2]> = Vec::new();
        let of_pair = |(i, j)| {
            let mut both = [kind(i), kind(j)];
            both.sort_unstable();
            known.iter().position(|of| *of == both).unwrap_or_else(|| {
                known.push(both);
                known.len() - 1
            })
        };
        let n = self.particles;
        (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).map(of_pair).collect()
    }

    /// `ξ` of the first Gaussian, the spacing of the centres, and the width.
    pub fn gaussians(&self) -> (f64, f64, f64) {
        let xi = |r: f64| 0.5 * (r * r + self.core * self.core).ln();
        let [from, to] = self.interval.map(xi);
        let spacing = (to - from) / (self.centres - 1) as f64;
        (from, spacing, WIDTH * spacing)
    }
}

/// The parameters of a potential of particles; the same seed gives the same numbers on every backend, to working
/// precision.
///
/// Pairs and the quadratic part start at zero, weights, offsets and amplitudes as those of PyTorch's linear layers, and
/// the functions of sums and vectors so that features are of order one; all that depends on time starts at zero.
#[derive(Debug)]
pub struct ParticlesParameters<S: Space> {
    /// `quadratic`, q, M × 1.
    pub quadratic: Parameter<S>,
    /// `radial`, the coefficients of the functions of the distance, M × (classes (1 + features)) × K, class by class.
    pub radial: Parameter<S>,
    /// Those of F, where there are features.
    pub network: Option<ParticlesNetwork<S>>,
}

/// The parameters of F.
#[derive(Debug)]
pub struct ParticlesNetwork<S: Space> {
    /// `layer1.weight`, h₁ × features.
    pub weight1: Parameter<S>,
    /// `layer1.bias`, M × h₁.
    pub bias1: Parameter<S>,
    /// `layer2.weight`, h₂ × h₁.
    pub weight2: Parameter<S>,
    /// `layer2.bias`, M × h₂.
    pub bias2: Parameter<S>,
    /// `amplitude`, M × h₂.
    pub amplitude: Parameter<S>,
}

impl<S: Space> ParticlesParameters<S> {
    /// First values.
    ///
    /// # Errors
    /// [`Error::Setting`] for what is out of range.
    pub fn new(space: &S, settings: &ParticlesSettings, basis: TimeBasis, seed: u64) -> Result<Self, Error> {
        settings.check()?;
        let classes = settings.classes().iter().max().map_or(1, |last| last + 1);
        let (k, functions) = (settings.centres, classes * settings.functions());
        let shape = [basis.terms(), functions, k];
        let (rows, cols) = rows_and_cols(&shape);
        let mut radial = RngKey::new(seed, Purpose::Initialise, 0).normals(0..1, functions * k);
        let (first, spacing, _) = settings.gaussians();
        // About three Gaussians overlap at any distance, and n − 1 particles add up.
        let size = (3.0 * (settings.particles - 1) as f64).sqrt().recip();
        for (function, coefficients) in radial.chunks_exact_mut(k).enumerate() {
            for (i, coefficient) in coefficients.iter_mut().enumerate() {
                *coefficient *= match function % settings.functions() {
                    0 => 0.0,
                    c if c <= settings.sums => size,
                    // Vectors are as long as the distance.
                    _ => size * (-(first + spacing * i as f64)).exp(),
                };
            }
        }
        radial.resize(rows * cols, 0.0);
        let radial =
            Parameter { name: "radial".into(), shape: shape.to_vec(), value: space.upload(rows, cols, &radial) };
        let quadratic = Parameter::zeros(space, "quadratic", &[basis.terms(), 1]);
        let network = (settings.features() > 0).then(|| ParticlesNetwork::new(space, settings, basis, seed));
        Ok(Self { quadratic, radial, network })
    }

    /// All of them, in the order of files.
    pub fn into_vec(self) -> Vec<Parameter<S>> {
        let network =
            self.network.into_iter().flat_map(|of| [of.weight1, of.bias1, of.weight2, of.bias2, of.amplitude]);
        [self.quadratic, self.radial].into_iter().chain(network).collect()
    }
}

impl<S: Space> ParticlesNetwork<S> {
    fn new(space: &S, settings: &ParticlesSettings, basis: TimeBasis, seed: u64) -> Self {
        let ([h1, h2], features) = (settings.hidden, settings.features());
        let uniform =
            |which, name, shape: &[usize], fan_in| Parameter::uniform(space, name, shape, fan_in, seed, which);
        let timed = |which, name, size, fan_in| uniform(which, name, &[size], fan_in).in_time(space, basis.terms());
        Self {
            weight1: uniform(1, "layer1.weight", &[h1, features], features),
            bias1: timed(2, "layer1.bias", h1, features),
            weight2: uniform(3, "layer2.weight", &[h2, h1], h1),
            bias2: timed(4, "layer2.bias", h2, h1),
            amplitude: timed(5, "amplitude", h2, h2),
        }
    }
}
