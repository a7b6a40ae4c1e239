//! The keys of `[target]` for clusters of particles and sets of vectors.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Equal particles in open space. A row has their coordinates, particle by particle.
///
/// Densities are of labelled particles, on the hyperplane where the centre is fixed, in orthonormal coordinates; the
/// centre is a standard normal of its own, `√n x̄`, in samples too. DW4 has `ln Z` 29.7.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticlesTarget {
    /// Particles n.
    pub particles: usize,
    /// Dimensions of their space: 1, 2 or 3.
    pub space: usize,
    /// The kind of each particle, told apart by any numbers: those of one kind may change places, others may not. All
    /// are equal when left out. The energy is the same for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<usize>,
    /// The energy of two particles.
    pub pair: PairKind,
    /// A file of configurations to learn from, in place of those that `train.pool` draws: an array (rows, n, d) or a
    /// table of n d columns, or frames of `.xyz`. A path from the current folder on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<PathBuf>,
    /// How configurations are paired with points of the base density in flow matching.
    #[serde(default, skip_serializing_if = "Pairing::is_aligned")]
    pub pairs: Pairing,
    /// Factor of the energy of pairs: ε of `lennard-jones`, the stiffness of `harmonic`. Two versions of LJ13
    /// circulate, with ε = 1 and ε = 2.
    #[serde(default = "ParticlesTarget::default_strength")]
    pub strength: f64,
}

impl ParticlesTarget {
    fn default_strength() -> f64 {
        1.0
    }
}

/// Sets of vectors in the plane: every set draws an axis, and its vectors are normal about their mean, `stretch` wide
/// along the axis and 1 across it. One vector says little of the axis, all together say much. The mean of a set is
/// normal with the deviation 1/√n. The entropy is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetsTarget {
    /// Vectors n of a set.
    pub members: usize,
    /// Deviation along the axis of a set.
    pub stretch: f64,
}

/// How configurations of particles are paired with points of the base density.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairing {
    /// Each once, turned and renumbered towards a point: short paths that cross little.
    #[default]
    Aligned,
    /// With any point, drawn anew for every batch: the path of `train.target_forces`.
    Independent,
}

impl Pairing {
    pub(super) fn is_aligned(&self) -> bool {
        *self == Self::Aligned
    }
}

/// Energies of two particles at the distance r.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairKind {
    /// `0.9 (r − 4)⁴ − 4 (r − 4)²`; with four particles in the plane it is DW4.
    DoubleWell,
    /// `r⁻¹² − 2 r⁻⁶`, and `½ Σ_i |x_i − x̄|²` that holds the cluster together.
    LennardJones,
    /// `½ r²`, whose ln Z is known.
    Harmonic,
}
