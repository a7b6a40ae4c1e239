//! The keys of a recipe with their defaults: target, potential, flow, training, evaluation.

use std::fmt;

use clap::ValueEnum;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A whole recipe, and the `config.toml` of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Name of the recipe; names the run directory too.
    pub name: String,
    /// One line for `maflow recipes`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What made this file; only in the `config.toml` of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunInfo>,
    /// The density to be fitted.
    pub target: Target,
    /// The scalar potential whose gradient is the velocity.
    pub potential: Potential,
    /// How the ordinary differential equation is solved in training.
    pub flow: Flow,
    /// How the parameters are found.
    pub train: Train,
    /// A second, shorter training that goes on from the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fine_tune: Option<FineTune>,
    /// How the figures of the finished run are taken.
    pub evaluate: Evaluate,
}

/// What made a run: written into its `config.toml`, ignored when that file is used as a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// Version of maflow.
    pub version: String,
    /// Backend the run was made with.
    pub backend: crate::args::Backend,
    /// Threads it was made with.
    pub threads: usize,
}

/// The density to be fitted.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Target {
    /// Handwritten digits in logit space; dimension 784.
    Mnist(MnistTarget),
    /// The continuous formulation of the Ising model; dimension `size * size_y`.
    Ising(IsingTarget),
    /// A density or an energy in the plane; dimension 2.
    Toy(ToyTarget),
    /// The lattice field theory φ⁴ in its (κ, λ) form; dimension `size²`.
    Phi4(Phi4Target),
}

/// MNIST: `x = logit(λ + (1 − 2λ)(k + u)/256)`; of the training file, 50,000 pictures train and 10,000 validate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MnistTarget {
    /// Distance λ kept from 0 and 1 before the logit.
    pub lambda: f64,
    /// Seed of the split into training and validation.
    pub split_seed: u64,
    /// What the files must hold.
    pub content: DataContent,
    /// The affine map that logits go through on their way into the flow; figures and samples are those of the logits all the same.
    pub standardise: Standardise,
}

impl Default for MnistTarget {
    fn default() -> Self {
        Self { lambda: 1e-6, split_seed: 0, content: DataContent::Published, standardise: Standardise::None }
    }
}

/// How data are brought to zero mean and unit scale, by the moments of the training pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standardise {
    /// They are not.
    #[default]
    None,
    /// One mean and one scale for all coordinates.
    Scale,
    /// A mean and a scale for each coordinate.
    PerCoordinate,
    /// The full covariance: `y = Σ^(-1/2) (x − mean)`, the optimal transport between the Gaussians.
    Gaussian,
}

impl Standardise {
    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Scale => "scale",
            Self::PerCoordinate => "per-coordinate",
            Self::Gaussian => "gaussian",
        }
    }
}

/// What the files of a data set must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataContent {
    /// The published data, checked by hash.
    #[default]
    Published,
    /// Any files of the same form (a part of MNIST, Fashion-MNIST); figures are then not comparable with published ones.
    Any,
}

/// Ising model with unit couplings on a square lattice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IsingTarget {
    /// Sites in one direction.
    pub size: usize,
    /// Sites in the other direction; the same when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_y: Option<usize>,
    /// `"critical"` (2/ln(1+√2)) or a number.
    #[serde(default)]
    pub temperature: Temperature,
    /// Boundary of the lattice.
    #[serde(default)]
    pub boundary: Boundary,
    /// Coordinates that the flow works in; figures are those of x either way.
    #[serde(default)]
    pub coordinates: TargetCoordinates,
}

/// Coordinates of a lattice model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetCoordinates {
    /// x, the model's own.
    #[default]
    X,
    /// `y = K^(-1/2) x`, what flow matching needs. Of the continuous Ising model K is the coupling matrix, and y is spins times `K^(1/2)`
    /// plus standard normal noise; of the φ⁴ theory it is the covariance of the Gaussian of least free energy.
    Whitened,
}

impl IsingTarget {
    /// Number of sites.
    pub fn sites(&self) -> usize {
        self.size * self.size_y.unwrap_or(self.size)
    }
}

/// A temperature in units of the coupling.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Temperature {
    /// `2/ln(1+√2)`, where the infinite lattice has its phase transition.
    #[default]
    Critical,
    /// Any other.
    Value(f64),
}

impl Temperature {
    /// The number.
    pub fn value(self) -> f64 {
        match self {
            Self::Critical => 2.0 / std::f64::consts::SQRT_2.ln_1p(),
            Self::Value(t) => t,
        }
    }
}

impl Serialize for Temperature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Critical => serializer.serialize_str("critical"),
            Self::Value(t) => serializer.serialize_f64(*t),
        }
    }
}

impl<'de> Deserialize<'de> for Temperature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrCritical;
        impl Visitor<'_> for NumberOrCritical {
            type Value = Temperature;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("\"critical\" or a number")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Temperature, E> {
                match word {
                    "critical" => Ok(Temperature::Critical),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
            fn visit_f64<E>(self, t: f64) -> Result<Temperature, E> {
                Ok(Temperature::Value(t))
            }
            fn visit_i64<E>(self, t: i64) -> Result<Temperature, E> {
                Ok(Temperature::Value(t as f64))
            }
        }
        deserializer.deserialize_any(NumberOrCritical)
    }
}

/// How a lattice ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boundary {
    /// A torus.
    #[default]
    Periodic,
    /// A sheet.
    Open,
}

/// A density or an energy in the plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToyTarget {
    /// Which one.
    pub name: Toy,
}

/// The densities (by samples) and energies (by formula) in the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Toy {
    /// Two interleaved half circles.
    TwoMoons,
    /// Eight Gaussians on a circle.
    EightGaussians,
    /// Concentric rings.
    Rings,
    /// A pinwheel of five arms.
    Pinwheel,
    /// Every other square of a board.
    Checkerboard,
    /// Energy 1 of Rezende and Mohamed (arXiv:1505.05770, table 1).
    #[serde(rename = "energy-1")]
    Energy1,
    /// Energy 2 of Rezende and Mohamed.
    #[serde(rename = "energy-2")]
    Energy2,
    /// Energy 3 of Rezende and Mohamed.
    #[serde(rename = "energy-3")]
    Energy3,
    /// Energy 4 of Rezende and Mohamed.
    #[serde(rename = "energy-4")]
    Energy4,
}

impl Toy {
    /// Whether it is given by a formula for the energy and not by samples.
    pub fn is_energy(self) -> bool {
        matches!(self, Self::Energy1 | Self::Energy2 | Self::Energy3 | Self::Energy4)
    }
}

/// φ⁴ theory: `S = Σ_x [−2κ Σ_μ φ_x φ_{x+μ} + (1 − 2λ) φ_x² + λ φ_x⁴]` on a periodic square lattice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phi4Target {
    /// Sites in each direction.
    pub size: usize,
    /// Hopping parameter κ.
    pub kappa: f64,
    /// Quartic coupling λ.
    pub lambda: f64,
    /// Coordinates that the flow works in; figures are those of φ, which is x, either way.
    #[serde(default)]
    pub coordinates: TargetCoordinates,
}

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
    /// Probes that the Laplacian is estimated with, drawn once per solve for every row; 0: the exact Laplacian, 784 times as dear as a probe.
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
    /// Sharpness of the first features: first weights and biases are multiplied by it and amplitudes divided by its square,
    /// so that ∇²φ starts as large as without.
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
    /// Once for the whole solution of the differential equation: the order of the method and its adjoint keep their meaning.
    #[default]
    PerSolve,
    /// At each stage, as the paper does: for reproduction.
    PerStage,
    /// Never: the potential is summed over the whole group, and exactly symmetric
    Never,
}

/// How `dx/dt = ∇φ` is solved in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Final time T.
    pub time: f64,
    /// Steps of the method; the integration-error watch may raise them.
    pub steps: usize,
    /// Explicit Runge-Kutta method of fixed step.
    #[serde(default)]
    pub method: Method,
    /// What the adjoint keeps.
    #[serde(default)]
    pub memory: Memory,
    /// Coordinates the equation is solved in.
    #[serde(default)]
    pub coordinates: Coordinates,
}

/// Explicit Runge-Kutta methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// First order.
    Euler,
    /// Second order.
    Midpoint,
    /// Second order.
    Heun,
    /// Third order, Ralston's.
    Ralston3,
    /// Fourth order, the classical one.
    #[default]
    Rk4,
    /// Fourth order, the 3/8 rule.
    Rk38,
    /// Tsitouras 5(4), adaptive; evaluation and sampling only.
    Tsit5,
    /// Dormand-Prince 5(4), adaptive; evaluation and sampling only.
    Dopri5,
}

impl Method {
    /// Whether the step is chosen by error control.
    pub fn is_adaptive(self) -> bool {
        matches!(self, Self::Tsit5 | Self::Dopri5)
    }
}

/// What the adjoint keeps of the way forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// Every stage: fastest.
    #[default]
    Stages,
    /// The start of every step; stages are computed again.
    Recompute,
}

/// Coordinates the equation is solved in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coordinates {
    /// The cheaper of the two.
    #[default]
    Auto,
    /// Those of the data.
    X,
    /// `a = Wx + b`, of the hidden layer.
    Feature,
}

/// How the parameters are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// What is minimised.
    pub objective: Objective,
    /// Rows of a batch.
    pub batch: usize,
    /// Passes over the training data; give this or `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Optimiser steps; give this or `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Step size of the optimiser.
    #[serde(default = "Train::default_learning_rate")]
    pub learning_rate: f64,
    /// How the learning rate changes.
    #[serde(default)]
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Adam: added to the gradient as L2 decay (PyTorch's `Adam`); AdamW: decoupled.
    #[serde(default)]
    pub weight_decay: f64,
    /// Decay rates of the two moments.
    #[serde(default = "Train::default_betas")]
    pub betas: [f64; 2],
    /// Largest global norm of the gradient; longer ones are scaled to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Decay of the moving average of the parameters that figures are taken with, e.g. 0.999; none when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// Which gradient of the free energy: `"total"`, or `"path"` through the samples alone, with less noise near the target and two to
    /// three times the work.
    #[serde(default)]
    pub gradient: Gradient,
    /// Weight of the transport cost `∫ ½‖∇φ‖² dt` in the loss.
    #[serde(default)]
    pub transport_cost: f64,
    /// Flow matching: times in a batch, drawn stratified.
    #[serde(default = "Train::default_times")]
    pub times: usize,
    /// Flow matching: times are drawn with a density proportional to `1/(1 + focus − t/T)`, the more of them near the data the smaller
    /// it is; uniformly when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focus: Option<f64>,
    /// Flow matching to a lattice model: configurations sampled once, by cluster Monte Carlo, to train on.
    #[serde(default = "Train::default_pool")]
    pub pool: usize,
    /// Floating-point precision.
    #[serde(default)]
    pub precision: Precision,
    /// Seed of every random number.
    #[serde(default)]
    pub seed: u64,
    /// Steps between checkpoints.
    #[serde(default = "Train::default_checkpoint_every")]
    pub checkpoint_every: usize,
    /// Checkpoints kept, besides the best on validation.
    #[serde(default = "Train::default_keep")]
    pub keep: usize,
    /// Steps between validations; 0 for one at the end of each epoch (or none without epochs).
    #[serde(default)]
    pub validate_every: usize,
    /// Rows of a validation; all that there are, or 2000 where there is no end of them, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_samples: Option<usize>,
    /// Steps between two looks at the integration error; 0 for never.
    #[serde(default = "Train::default_watch_every")]
    pub watch_every: usize,
    /// Integration error in nats above which the flow gets more steps.
    #[serde(default = "Train::default_watch_tolerance")]
    pub watch_tolerance: f64,
    /// Most integration steps that the watch may ask for.
    #[serde(default = "Train::default_max_flow_steps")]
    pub max_flow_steps: usize,
    /// Returns to the last good state, after a loss or gradient that is not finite, before giving up.
    #[serde(default = "Train::default_max_rollbacks")]
    pub max_rollbacks: usize,
}

impl Train {
    fn default_learning_rate() -> f64 {
        1e-3
    }
    fn default_times() -> usize {
        16
    }
    fn default_pool() -> usize {
        1 << 16
    }
    fn default_betas() -> [f64; 2] {
        [0.9, 0.999]
    }
    fn default_checkpoint_every() -> usize {
        100
    }
    fn default_keep() -> usize {
        3
    }
    fn default_watch_every() -> usize {
        100
    }
    fn default_watch_tolerance() -> f64 {
        0.1
    }
    fn default_max_flow_steps() -> usize {
        1000
    }
    fn default_max_rollbacks() -> usize {
        10
    }
}

/// A training that goes on from the first, by the target's own objective: likelihood of data, free energy of an energy.
/// Its learning rate rises for a tenth of the steps and falls to zero like half a cosine; what it doesn't name is as in `train`, without weight decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTune {
    /// Optimiser steps; 0 leaves it out.
    pub steps: usize,
    /// Rows of a batch.
    pub batch: usize,
    /// Step size of the optimiser at the start.
    #[serde(default = "Train::default_learning_rate")]
    pub learning_rate: f64,
    /// Largest global norm of the gradient; longer ones are scaled to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Decay of the moving average of the parameters; none when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// Which gradient of the free energy, as in `train`.
    #[serde(default)]
    pub gradient: Gradient,
}

/// An estimate of the free energy's gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gradient {
    /// That of the samples' mean loss.
    #[default]
    Total,
    /// Through the path of the samples alone.
    Path,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Negative log-likelihood of data (equation 6 of the paper).
    Nll,
    /// Variational free energy of an energy function (equation 7).
    FreeEnergy,
    /// Regression on the velocity of a path from the base to samples of the target, without integration.
    FlowMatching,
}

/// How the learning rate changes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Schedule {
    /// Not at all.
    #[default]
    Constant,
    /// A linear rise, then half a cosine down.
    Cosine(CosineSchedule),
}

/// Warm-up and cosine decay.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosineSchedule {
    /// Steps of the linear rise.
    pub warmup: usize,
    /// Learning rate at the end, as a fraction of the largest.
    pub final_fraction: f64,
}

/// The optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Weight decay added to the gradient.
    #[default]
    Adam,
    /// Decoupled weight decay.
    Adamw,
}

/// Floating-point precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single
    #[default]
    F32,
    /// Double
    F64,
    /// Single, with matrix products rounded to the 10 bits of TF32: for NVIDIA GPUs (tch-cuda) only
    Tf32,
}

/// How figures are taken and samples drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluate {
    /// Samples drawn, or data points used; the whole test set or 10,000 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// Integration steps to start from; those at the end of training when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Method; `flow.method` when left out. May be adaptive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Relative tolerance of an adaptive method.
    pub rtol: f64,
    /// Absolute tolerance of an adaptive method.
    pub atol: f64,
    /// Halvings of the step at most, until the figure stands still.
    pub refinements: usize,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self { samples: None, steps: None, method: None, rtol: 1e-5, atol: 1e-5, refinements: 3 }
    }
}
