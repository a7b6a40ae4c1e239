//! The keys of `[target]`.

use std::fmt;
use std::path::PathBuf;

use datasets::columns::Regression;
use datasets::lattice::Boundary;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::particles::{Pairing, ParticlesTarget, SetsTarget};
use super::scale::Scale;
use crate::layout::Layout;

/// The density to be fitted.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TargetKind {
    /// Handwritten digits in logit space; dimension 784.
    Mnist(MnistTarget),
    /// The continuous formulation of the Ising model; dimension `size * size_y`.
    Ising(IsingTarget),
    /// A density or an energy in the plane; dimension 2.
    Toy(ToyTarget),
    /// The lattice field theory φ⁴ in its (κ, λ) form; dimension `size²`.
    Phi4(Phi4Target),
    /// Equal particles with an energy of their distances; dimension `particles * space`.
    Particles(ParticlesTarget),
    /// Sets of vectors in the plane, exchangeable data whose entropy is known; dimension `2 * members`.
    Sets(SetsTarget),
    /// A table of rows, from a file.
    Table(TableTarget),
    /// An energy from a C library.
    Energy(EnergyTarget),
    /// A target of the caller's own, which the library is handed.
    Own(OwnTarget),
}

/// A table of rows of numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableTarget {
    /// File with the rows to train on, or with all rows.
    pub file: PathBuf,
    /// File with rows for choices during training; split off `file` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// File with rows for final figures; split off `file` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Names of the columns, in the order of a row's numbers. Columns of a file without names are x0, x1 and so on.
    pub columns: Vec<String>,
    /// What happens to each of these columns: `none`, `standardise`, `log`, `logit(low, high)`, `quantile` or `tail`,
    /// alone or after `dequantise(step)`.
    pub transforms: Vec<String>,
    /// Names of the columns that the density is conditional on: real numbers at zero mean and unit scale, text as
    /// categories, one number for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<String>,
    /// Those of them that are categories though they are written as numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Name of the column that says what each row counts; all count alike when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Height and width of the picture in grey that a row is, row by row; none for a table like any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<[usize; 2]>,
    /// What of the transformed columns depends on those given, by a linear regression on them: their location (the
    /// mean), or also the logarithm of their scale.
    #[serde(default, skip_serializing_if = "is_default")]
    pub regression: Regression,
    /// What follows.
    #[serde(default)]
    pub whitening: Whitening,
    /// Seed of the split where rows are split off.
    #[serde(default)]
    pub split_seed: u64,
    /// Whether rows with a missing value are left out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drop_missing: bool,
    /// What separates values in text, where that is not to be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// The decimal sign in text, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal: Option<char>,
    /// Whether the first line of text has the names, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The array to read where a file has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<String>,
}

pub(super) fn is_false(value: &bool) -> bool {
    !value
}

fn is_default(regression: &Regression) -> bool {
    *regression == Regression::default()
}

/// What follows the transforms of the columns of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whitening {
    /// Nothing.
    None,
    /// Zero mean and unit deviation of each column.
    Columns,
    /// The full covariance: zero correlation too.
    #[default]
    Full,
}

impl From<Whitening> for datasets::columns::Whitening {
    fn from(whitening: Whitening) -> Self {
        match whitening {
            Whitening::None => Self::None,
            Whitening::Columns => Self::Columns,
            Whitening::Full => Self::Full,
        }
    }
}

/// An energy of one's own: a C function in a shared library, as `maflow_energy.h` declares it.
///
/// ```
/// use maflow_recipe::{TargetKind, complete, from_table};
/// let text = "target = { kind = 'energy', dimension = 2, library = 'energy.so' }";
/// let mut table: toml::Table = text.parse()?;
/// complete(&mut table);
/// let recipe = from_table(table, "mine")?;
/// assert!(matches!(recipe.target, TargetKind::Energy(_)));
/// assert_eq!(recipe.train.steps, Some(1000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergyTarget {
    /// Numbers per point.
    pub dimension: usize,
    /// What these numbers are.
    #[serde(default, skip_serializing_if = "PointLayout::is_vector")]
    pub layout: PointLayout,
    /// Dimensions of the space that particles are in: 1, 2 or 3. For `layout = "particles"` alone, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<usize>,
    /// The kind of each particle, told apart by any numbers: those of one kind may change places, others may not. All
    /// are equal when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<usize>,
    /// The shared library; a path from the current folder on.
    pub library: PathBuf,
    /// SHA-256 of the library in hexadecimal digits; a run has that of the library that it was trained with. Another
    /// library is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Size of the base density in the user's units: its samples are `x = scale · z`, z standard normal. One number, or
    /// one for each coordinate; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// A table with samples of the target, one column for each coordinate, to learn from by flow matching. Of particles
    /// also an array (rows, n, d), or frames of `.xyz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<PathBuf>,
    /// Of particles, how samples are paired with points of the base density in flow matching.
    #[serde(default, skip_serializing_if = "Pairing::is_aligned")]
    pub pairs: Pairing,
    /// How coordinates are brought to zero mean and unit scale, by the moments of the samples; in place of `scale`.
    #[serde(default, skip_serializing_if = "Standardise::is_none")]
    pub standardise: Standardise,
    /// Names of the numbers that the library's function `maflow_observables` gives of a point: `maflow physics`
    /// averages them over the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observables: Vec<String>,
}

impl EnergyTarget {
    /// How the numbers of a point are laid out, with their sizes.
    pub fn row_layout(&self) -> Layout {
        match (self.layout, self.space) {
            (PointLayout::Particles, Some(space)) => Layout::Particles(self.dimension / space, space),
            _ => Layout::Vector(self.dimension),
        }
    }
}

/// What the numbers of a point are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointLayout {
    /// Coordinates side by side.
    #[default]
    Vector,
    /// Positions of particles in open space, particle by particle. The energy is the same when all are moved together,
    /// and its density that of the hyperplane where the centre is fixed, as of `kind = "particles"`.
    Particles,
}

impl PointLayout {
    /// Whether they are coordinates side by side.
    fn is_vector(&self) -> bool {
        *self == Self::Vector
    }
}

/// What a recipe has to know of a target of the caller's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnTarget {
    /// Numbers per row.
    pub dimension: usize,
    /// Whether it is known by its energy.
    pub energy: bool,
    /// Whether it has samples to learn from.
    pub samples: bool,
    /// Numbers per row that the density is conditional on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub context: usize,
    /// The kind of affine map that leads from the caller's coordinates to the flow's, where the run keeps it: densities
    /// and samples then need no target. Left out where the map is the target's own affair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standardise: Option<Standardise>,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl TargetKind {
    /// Whether the flow works in the whitened coordinates of a lattice model.
    pub fn whitened(&self) -> bool {
        match self {
            Self::Ising(ising) => ising.coordinates == TargetCoordinates::Whitened,
            Self::Phi4(phi4) => phi4.coordinates == TargetCoordinates::Whitened,
            Self::Mnist(_)
            | Self::Toy(_)
            | Self::Particles(_)
            | Self::Sets(_)
            | Self::Table(_)
            | Self::Energy(_)
            | Self::Own(_) => false,
        }
    }

    /// Sites in either direction and the boundary, where it is a lattice.
    pub fn lattice(&self) -> Option<(usize, usize, Boundary)> {
        match self {
            Self::Ising(ising) => Some((ising.size, ising.size_y.unwrap_or(ising.size), ising.boundary)),
            Self::Phi4(phi4) => Some((phi4.size, phi4.size, Boundary::Periodic)),
            Self::Mnist(_)
            | Self::Toy(_)
            | Self::Particles(_)
            | Self::Sets(_)
            | Self::Table(_)
            | Self::Energy(_)
            | Self::Own(_) => None,
        }
    }

    /// What it is, in words for a sentence.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Mnist(_) => "mnist",
            Self::Ising(_) => "an Ising model",
            Self::Toy(_) => "a density in the plane",
            Self::Phi4(_) => "a φ⁴ theory",
            Self::Particles(_) => "a cluster of particles",
            Self::Sets(_) => "sets of vectors",
            Self::Table(_) => "a table of rows",
            Self::Energy(_) => "an energy from a library",
            Self::Own(_) => "one of a program of its own",
        }
    }

    /// How the numbers of one of its samples are laid out.
    pub fn layout(&self) -> Layout {
        match self {
            Self::Mnist(_) => Layout::Picture(28, 28),
            Self::Ising(ising) => Layout::Lattice(ising.size, ising.size_y.unwrap_or(ising.size)),
            Self::Toy(_) => Layout::Vector(2),
            Self::Phi4(phi4) => Layout::Lattice(phi4.size, phi4.size),
            Self::Particles(of) => Layout::Particles(of.particles, of.space),
            Self::Sets(of) => Layout::Particles(of.members, 2),
            Self::Table(TableTarget { picture: Some([height, width]), .. }) => Layout::Picture(*height, *width),
            Self::Table(table) => Layout::Vector(table.columns.len()),
            Self::Energy(energy) => energy.row_layout(),
            Self::Own(own) => Layout::Vector(own.dimension),
        }
    }

    /// The kind of each particle of a cluster, told apart by numbers; empty where all are equal.
    pub fn kinds(&self) -> &[usize] {
        match self {
            Self::Particles(of) => &of.kinds,
            Self::Energy(of) => &of.kinds,
            _ => &[],
        }
    }

    /// Whether it is a density given something.
    pub fn is_conditional(&self) -> bool {
        match self {
            Self::Table(table) => !table.given.is_empty(),
            Self::Own(own) => own.context > 0,
            Self::Ising(_) => self.temperatures().is_some(),
            Self::Mnist(_) | Self::Toy(_) | Self::Phi4(_) | Self::Particles(_) | Self::Sets(_) | Self::Energy(_) => {
                false
            }
        }
    }

    /// The ends of the range of temperatures that its density is conditional on, where it is.
    pub fn temperatures(&self) -> Option<[f64; 2]> {
        match self {
            Self::Ising(ising) => ising.temperature.range(),
            _ => None,
        }
    }

    /// Whether it is known by its energy.
    pub fn has_energy(&self) -> bool {
        match self {
            Self::Ising(_) | Self::Phi4(_) | Self::Particles(_) | Self::Energy(_) => true,
            Self::Toy(toy) => toy.name.is_energy(),
            Self::Own(own) => own.energy,
            Self::Mnist(_) | Self::Sets(_) | Self::Table(_) => false,
        }
    }

    /// Whether it is read from files.
    pub fn has_files(&self) -> bool {
        matches!(self, Self::Mnist(_))
    }

    /// How its data are brought to zero mean and unit scale.
    pub fn standardise(&self) -> Standardise {
        match self {
            Self::Mnist(mnist) => mnist.standardise,
            Self::Energy(energy) => energy.standardise,
            Self::Own(own) => own.standardise.unwrap_or_default(),
            Self::Ising(_) | Self::Toy(_) | Self::Phi4(_) | Self::Particles(_) | Self::Sets(_) | Self::Table(_) => {
                Standardise::None
            }
        }
    }
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
    /// The affine map that logits go through on their way into the flow; figures and samples are those of the logits
    /// all the same.
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
    /// Whether they are not.
    fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Its name in recipes.
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
    /// Any files of the same form (a part of MNIST, Fashion-MNIST); figures are then not comparable with published
    /// ones.
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
    /// `"critical"` (2/ln(1+√2)), a number, or two: the ends of a range, on which the density is then conditional.
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
    /// `y = K^(-1/2) x`, what flow matching needs. Of the continuous Ising model K is the coupling matrix, and y is
    /// spins times `K^(1/2)` plus standard normal noise; of the φ⁴ theory it is the covariance of the Gaussian of least
    /// free energy.
    Whitened,
}

/// A temperature in units of the coupling.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Temperature {
    /// `2/ln(1+√2)`, where the infinite lattice has its phase transition.
    #[default]
    Critical,
    /// Any other.
    Value(f64),
    /// All between two, the lower first: the density is conditional on the temperature.
    Range([f64; 2]),
}

impl Temperature {
    /// The lowest and the highest; twice the same where there is but one.
    pub fn ends(self) -> [f64; 2] {
        match self {
            Self::Critical => [2.0 / std::f64::consts::SQRT_2.ln_1p(); 2],
            Self::Value(t) => [t; 2],
            Self::Range(ends) => ends,
        }
    }

    /// The ends of a range; `None` of one temperature.
    pub fn range(self) -> Option<[f64; 2]> {
        match self {
            Self::Range(ends) => Some(ends),
            Self::Critical | Self::Value(_) => None,
        }
    }
}

impl Serialize for Temperature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Critical => serializer.serialize_str("critical"),
            Self::Value(t) => serializer.serialize_f64(*t),
            Self::Range(ends) => ends.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Temperature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrCritical;
        impl<'de> Visitor<'de> for NumberOrCritical {
            type Value = Temperature;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("\"critical\" or a number, or the two ends of a range")
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
            fn visit_seq<A: de::SeqAccess<'de>>(self, ends: A) -> Result<Temperature, A::Error> {
                Ok(Temperature::Range(Deserialize::deserialize(de::value::SeqAccessDeserializer::new(ends))?))
            }
        }
        deserializer.deserialize_any(NumberOrCritical)
    }
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
