//! The keys of `[potential]` and of its terms.

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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SumPotential {
    /// The terms.
    pub terms: Vec<Term>,
}

/// A term of a sum; its coefficients are expanded in functions of time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Term {
    /// `½ xᵀ C(t) x` with C the same at every site of a periodic lattice.
    LatticeQuadratic(LatticeQuadraticTerm),
    /// `Σ_c v_c(t) Σ_s f(g_c(t) (w_c ⋆ x)_s + b_c(t))` on a periodic lattice.
    LatticeRidge(LatticeRidgeTerm),
    /// `½ Σ_i q_i(t) x_i² + Σ_i l_i(t) x_i`.
    Quadratic(QuadraticTerm),
    /// `½ xᵀ A(t) x`, A symmetric.
    FullQuadratic(FullQuadraticTerm),
    /// `Σ_i Σ_k α_ik(t) f(g (x_i − c_k))` with fixed centres.
    Separable(SeparableTerm),
    /// `Σ_j v_j(t) f(g_j(t) w_j·x + b_j(t))`.
    Ridge(RidgeTerm),
    /// Two hidden layers: `Σ_k v_k(t) f(z_k)`, `z = W₂ f(a) + b₂(t)`, `a = g(t) ⊙ W₁x + b₁(t)`.
    TwoLayer(TwoLayerTerm),
    /// `⟨x, U(x, t)⟩`, U a small U-shaped convolutional network: pictures on libtorch's backends.
    Convolutional(ConvolutionalTerm),
}

impl Term {
    /// The functions of time that its coefficients are expanded in, and their number.
    pub fn time(&self) -> (TimeFamily, usize) {
        match self {
            Self::LatticeQuadratic(term) => (term.time_family, term.time_terms),
            Self::LatticeRidge(term) => (term.time_family, term.time_terms),
            Self::Quadratic(term) => (term.time_family, term.time_terms),
            Self::FullQuadratic(term) => (term.time_family, term.time_terms),
            Self::Separable(term) => (term.time_family, term.time_terms),
            Self::Ridge(term) => (term.time_family, term.time_terms),
            Self::TwoLayer(term) => (term.time_family, term.time_terms),
            Self::Convolutional(term) => (term.time_family, term.time_terms),
        }
    }

    /// Its kind, as in configurations.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::LatticeQuadratic(_) => "lattice-quadratic",
            Self::LatticeRidge(_) => "lattice-ridge",
            Self::Quadratic(_) => "quadratic",
            Self::FullQuadratic(_) => "full-quadratic",
            Self::Separable(_) => "separable",
            Self::Ridge(_) => "ridge",
            Self::TwoLayer(_) => "two-layer",
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

/// A quadratic form that is diagonal in Fourier space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatticeQuadraticTerm {
    /// Functions of time M that each coefficient is expanded in; 1: constant in time.
    #[serde(default = "four")]
    pub time_terms: usize,
    /// Which functions.
    #[serde(default)]
    pub time_family: TimeFamily,
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
    /// Functions of time M that each coefficient is expanded in; 1: constant in time.
    #[serde(default = "four")]
    pub time_terms: usize,
    /// Which functions.
    #[serde(default)]
    pub time_family: TimeFamily,
}

/// Coordinate by coordinate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuadraticTerm {
    /// Whether there is a linear part.
    #[serde(default = "yes")]
    pub linear: bool,
    /// Functions of time M that each coefficient is expanded in; 1: constant in time.
    #[serde(default = "four")]
    pub time_terms: usize,
    /// Which functions.
    #[serde(default)]
    pub time_family: TimeFamily,
}

/// All pairs of coordinates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullQuadraticTerm {
    /// Functions of time M that each coefficient is expanded in; 1: constant in time.
    #[serde(default = "four")]
    pub time_terms: usize,
    /// Which functions.
    #[serde(default)]
    pub time_family: TimeFamily,
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
    /// Functions of time M that each coefficient is expanded in; 1: constant in time.
    #[serde(default = "four")]
    pub time_terms: usize,
    /// Which functions.
    #[serde(default)]
    pub time_family: TimeFamily,
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
    /// Functions of time M that each coefficient is expanded in; 1: constant in time.
    #[serde(default = "four")]
    pub time_terms: usize,
    /// Which functions.
    #[serde(default)]
    pub time_family: TimeFamily,
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
    /// Functions of time M that each coefficient is expanded in; 1: constant in time.
    #[serde(default = "four")]
    pub time_terms: usize,
    /// Which functions.
    #[serde(default)]
    pub time_family: TimeFamily,
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
    /// Functions of time M that each coefficient is expanded in; 1: constant in time.
    #[serde(default = "four")]
    pub time_terms: usize,
    /// Which functions.
    #[serde(default)]
    pub time_family: TimeFamily,
}

/// Functions of `τ = t/T` that coefficients are expanded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeFamily {
    /// `cos(mπτ)`.
    #[default]
    Cosine,
    /// Chebyshev polynomials in τ.
    Polynomial,
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
            Self::Sum(sum) => sum.terms.iter().filter_map(Term::probes).min(),
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

fn four() -> usize {
    4
}

/// The function f of the hidden layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `ln(1 + e^a)`.
    #[default]
    Softplus,
    /// `ln cosh a`: even, so that without bias the density is exactly symmetric under x → −x.
    LnCosh,
}

/// Symmetry of the potential: one element of the group is drawn per row of the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Symmetry {
    /// Generators of the group.
    pub group: Vec<Generator>,
    /// When an element is drawn.
    #[serde(default)]
    pub draw: Draw,
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

/// When an element of the symmetry group is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// Once for the whole solution of the differential equation: the order of the method and its adjoint keep their
    /// meaning.
    #[default]
    PerSolve,
    /// At each stage, as the paper does: for reproduction.
    PerStage,
    /// Never: the potential is summed over the whole group, and exactly symmetric
    Never,
}
