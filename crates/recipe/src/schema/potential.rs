//! The keys of `[potential]` and of its terms.

use flow_core::{Activation, SymmetryDraw, TimeBasis, TimeFamily};
use serde::{Deserialize, Serialize};

/// The scalar potential.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Potential {
    /// The paper's: `φ(x) = Σ_j v_j f(w_j·x + b_j)`.
    Ridge(RidgePotential),
    /// A sum of terms whose coefficients depend on time.
    Sum(SumPotential),
}

/// A sum of terms.
///
/// Where the target is a density given a context c, the terms `ridge` and `two-layer` have offsets that are linear in
/// it, `a = g ⊙ (Wx + Uc) + b`, `context-quadratic` has it in its coefficients, and every other term is multiplied by
/// `1 + a(t)·c`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SumPotential {
    /// The terms.
    pub terms: Vec<Term>,
}

/// A term of a sum; its coefficients are expanded in functions of time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Term {
    /// Which, with its own keys.
    #[serde(flatten)]
    pub kind: TermKind,
    /// The functions of time.
    #[serde(flatten)]
    pub time: TermTime,
}

/// The functions of time that a coefficient is expanded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TermTime {
    /// Functions of time M that each coefficient is expanded in; 1: constant in time.
    pub time_terms: usize,
    /// Which functions of `τ = t/T`.
    pub time_family: TimeFamily,
}

impl Default for TermTime {
    fn default() -> Self {
        Self { time_terms: 4, time_family: TimeFamily::default() }
    }
}

impl TermTime {
    /// The functions for flows of this duration.
    ///
    /// # Errors
    /// When there are none.
    pub fn basis(self, duration: f64) -> Result<TimeBasis, flow_core::Error> {
        TimeBasis::new(self.time_family, self.time_terms, duration)
    }
}

/// The kinds of terms.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TermKind {
    /// `½ xᵀ C(t) x` with C the same at every site of a periodic lattice.
    LatticeQuadratic,
    /// `Σ_c v_c(t) Σ_s f(g_c(t) (w_c ⋆ x)_s + b_c(t))` on a periodic lattice.
    LatticeRidge(LatticeRidgeTerm),
    /// `½ Σ_i q_i(t) x_i² + Σ_i l_i(t) x_i`.
    Quadratic(QuadraticTerm),
    /// `½ xᵀ A(t) x`, A symmetric.
    FullQuadratic,
    /// `½ Σ_i q_i(t) x_i² + Σ_i l_i(t) x_i`, q and l linear in the context of a conditional density.
    ContextQuadratic,
    /// `Σ_i Σ_k α_ik(t) f(g (x_i − c_k))` with fixed centres.
    Separable(SeparableTerm),
    /// `Σ_j v_j(t) f(g_j(t) w_j·x + b_j(t))`.
    Ridge(RidgeTerm),
    /// Two hidden layers: `Σ_k v_k(t) f(z_k)`, `z = W₂ f(a) + b₂(t)`, `a = g(t) ⊙ W₁x + b₁(t)`.
    TwoLayer(TwoLayerTerm),
    /// Distances of equal particles: `½ q(t) Σ_i |x_i − x̄|² + Σ_{i<j} P(r_ij, t) + Σ_i F(D_i, |V_i|², t)`.
    Particles(ParticlesTerm),
    /// `⟨x, U(x, t)⟩`, U a small U-shaped convolutional network: pictures on libtorch's backends.
    Convolutional(ConvolutionalTerm),
}

impl TermKind {
    /// Its name in recipes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LatticeQuadratic => "lattice-quadratic",
            Self::LatticeRidge(_) => "lattice-ridge",
            Self::Quadratic(_) => "quadratic",
            Self::FullQuadratic => "full-quadratic",
            Self::ContextQuadratic => "context-quadratic",
            Self::Separable(_) => "separable",
            Self::Ridge(_) => "ridge",
            Self::TwoLayer(_) => "two-layer",
            Self::Particles(_) => "particles",
            Self::Convolutional(_) => "convolutional",
        }
    }

    /// Probes that its Laplacian is estimated with, where it is not exact.
    pub fn probes(&self) -> Option<usize> {
        match self {
            Self::TwoLayer(TwoLayerTerm { probes, .. }) | Self::Convolutional(ConvolutionalTerm { probes, .. }) => {
                (*probes > 0).then_some(*probes)
            }
            _ => None,
        }
    }
}

/// Kernels that cover the whole lattice, moved to every site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatticeRidgeTerm {
    /// Number of kernels.
    pub kernels: usize,
    /// The function f.
    #[serde(default)]
    pub activation: Activation,
    /// Whether there are offsets b.
    #[serde(default = "yes")]
    pub bias: bool,
    /// Whether every kernel is symmetric under rotations by 90° and reflections, and the density with it.
    #[serde(default)]
    pub d4: bool,
    /// Kernels are learned as numbers times `(1 + r)^-fall_off`, r the distance in sites: the larger it is, the more
    /// what is near goes before what is far; 0: all distances alike.
    #[serde(default)]
    pub fall_off: f64,
}

/// Coordinate by coordinate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuadraticTerm {
    /// Whether there is a linear part.
    #[serde(default = "yes")]
    pub linear: bool,
}

/// A function of one variable for every coordinate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeparableTerm {
    /// Number of centres K, equally spaced in `interval`.
    #[serde(default = "SeparableTerm::default_centres")]
    pub centres: usize,
    /// The first and the last centre.
    #[serde(default = "SeparableTerm::default_interval")]
    pub interval: [f64; 2],
    /// Ratio of the centres' spacing to the width of f''.
    #[serde(default = "SeparableTerm::default_sharpness")]
    pub sharpness: f64,
    /// The function f.
    #[serde(default)]
    pub activation: Activation,
}

impl SeparableTerm {
    fn default_centres() -> usize {
        16
    }
    fn default_interval() -> [f64; 2] {
        [-3.0, 3.0]
    }
    fn default_sharpness() -> f64 {
        2.0
    }
}

/// One hidden layer with gains and offsets that depend on time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RidgeTerm {
    /// Width h of the hidden layer.
    pub hidden: usize,
    /// The function f.
    #[serde(default)]
    pub activation: Activation,
    /// Whether there are offsets b.
    #[serde(default = "yes")]
    pub bias: bool,
    /// Whether there are gains g.
    #[serde(default = "yes")]
    pub gains: bool,
    /// Sharpness of the first features, as for `potential.kind = "ridge"`.
    #[serde(default = "unit")]
    pub sharpness: f64,
    /// How far from the origin the first features lie: first offsets are multiplied by it.
    #[serde(default = "unit")]
    pub reach: f64,
}

/// Two hidden layers with gains and offsets that depend on time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwoLayerTerm {
    /// Widths of the hidden layers.
    pub hidden: [usize; 2],
    /// The function f of both layers.
    #[serde(default)]
    pub activation: Activation,
    /// Whether the first layer has offsets.
    #[serde(default = "yes")]
    pub bias: bool,
    /// Probes that the Laplacian is estimated with, drawn once per solve for every row; 0: the exact Laplacian.
    #[serde(default)]
    pub probes: usize,
}

/// Functions of the distances of equal particles, exactly symmetric under permutations, rotations, reflections and
/// translations: pairs, and a function F of two layers for each particle, of sums `D_i = Σ_j G(r_ij)` and of the
/// squares of vectors `V_i = Σ_j H(r_ij) (x_i − x_j)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticlesTerm {
    /// Gaussians of the logarithm of the distance that every function of it is made of.
    #[serde(default = "ParticlesTerm::default_centres")]
    pub centres: usize,
    /// The distances of the first and the last of them.
    pub interval: [f64; 2],
    /// The distance below which functions no longer change.
    pub core: f64,
    /// The distance from which all functions fall to zero, and that from which they are zero, with three continuous
    /// derivatives. Left out: they reach as far as their Gaussians.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutoff: Option<[f64; 2]>,
    /// Sums of each particle; 0 with no vectors: pairs alone.
    pub sums: usize,
    /// Vectors of each particle.
    pub vectors: usize,
    /// Widths of the hidden layers of F.
    #[serde(default = "ParticlesTerm::default_hidden")]
    pub hidden: [usize; 2],
    /// The function f of both layers.
    #[serde(default)]
    pub activation: Activation,
}

impl ParticlesTerm {
    fn default_centres() -> usize {
        24
    }
    fn default_hidden() -> [usize; 2] {
        [64, 64]
    }
}

/// A U-shaped convolutional network with a dense layer at a quarter of the resolution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvolutionalTerm {
    /// Channels at half and at a quarter of the resolution.
    pub channels: [usize; 2],
    /// Units of the dense layer.
    pub hidden: usize,
    /// Probes that the Laplacian is estimated with, drawn once per solve for every row; 0: the exact Laplacian, 784
    /// times as dear as a probe.
    #[serde(default = "one")]
    pub probes: usize,
}

impl Potential {
    /// Symmetry that the potential is averaged over, if any.
    pub fn symmetry(&self) -> Option<&Symmetry> {
        match self {
            Self::Ridge(ridge) => ridge.symmetry.as_ref(),
            Self::Sum(_) => None,
        }
    }

    /// The fewest probes that the Laplacian of a term is estimated with, where one is not exact.
    pub fn probes(&self) -> Option<usize> {
        match self {
            Self::Ridge(_) => None,
            Self::Sum(sum) => sum.terms.iter().filter_map(|term| term.kind.probes()).min(),
        }
    }
}

/// One hidden layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RidgePotential {
    /// Width h of the hidden layer.
    pub hidden: usize,
    /// The function f.
    #[serde(default)]
    pub activation: Activation,
    /// Whether b is trained (true) or left out (false).
    #[serde(default = "yes")]
    pub bias: bool,
    /// Terms M of the amplitudes' time dependence `Σ_m v_m cos(mπt/T)`, m < M; 1: constant in time, as in the paper.
    #[serde(default = "one")]
    pub time_terms: usize,
    /// Sharpness of the first features: first weights and biases are multiplied by it and amplitudes divided by its
    /// square, so that ∇²φ starts as large as without.
    #[serde(default = "unit")]
    pub sharpness: f64,
    /// Symmetry under a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symmetry: Option<Symmetry>,
}

fn yes() -> bool {
    true
}

fn unit() -> f64 {
    1.0
}

fn one() -> usize {
    1
}

/// Symmetry of the potential: one element of the group is drawn per row of the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Symmetry {
    /// Generators of the group.
    pub group: Vec<Generator>,
    /// When an element is drawn.
    #[serde(default)]
    pub draw: SymmetryDraw,
}

/// Generators of a symmetry group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// Translations of a periodic lattice.
    Translations,
    /// Exchange of the two directions.
    Transpose,
    /// Rotations by 90° and reflections.
    D4,
    /// x → −x.
    Z2,
}
