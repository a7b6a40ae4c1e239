//! A rectangular lattice: sites, bonds, adjacency matrix and its eigenvalues.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use super::LatticeError;

/// What lies beyond the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Boundary {
    /// The opposite edge.
    #[default]
    Periodic,
    /// Nothing.
    Open,
}

/// A boundary that is neither `periodic` nor `open`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the boundary is \"{found}\"; it must be periodic or open")]
pub struct UnknownBoundary {
    /// The name given.
    pub found: String,
}

impl FromStr for Boundary {
    type Err = UnknownBoundary;

    fn from_str(name: &str) -> Result<Self, UnknownBoundary> {
        match name {
            "periodic" => Ok(Self::Periodic),
            "open" => Ok(Self::Open),
            _ => Err(UnknownBoundary { found: name.to_owned() }),
        }
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Periodic => "periodic",
            Self::Open => "open",
        })
    }
}

/// A lattice of `rows × cols` sites, site `(r, c)` numbered `r·cols + c`, each bound to its right and lower neighbour.
///
/// With periodic boundary a side of 2 has two bonds between the same two sites (adjacency entry 2), and a side of 1
/// binds each site to itself (diagonal entry 2, so that `½ sᵀAs` still counts that bond once): the convention in which
/// the eigenvalues are `2 cos(2πk/rows) + 2 cos(2πl/cols)` and the Onsager-Kaufman partition function holds for every
/// size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lattice {
    rows: usize,
    cols: usize,
    boundary: Boundary,
}

impl Lattice {
    /// # Errors
    /// [`LatticeError::Empty`] for a side of 0, [`LatticeError::TooLarge`] beyond 2³² − 1 sites.
    pub fn new(rows: usize, cols: usize, boundary: Boundary) -> Result<Self, LatticeError> {
        if rows == 0 || cols == 0 {
            return Err(LatticeError::Empty { rows, cols });
        }
        match rows.checked_mul(cols).map(u32::try_from) {
            Some(Ok(_)) => Ok(Self { rows, cols, boundary }),
            _ => Err(LatticeError::TooLarge { rows, cols }),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// What lies beyond the edge.
    pub fn boundary(&self) -> Boundary {
        self.boundary
    }

    /// Number of sites N.
    pub fn sites(&self) -> usize {
        self.rows * self.cols
    }

    /// Every bond once, as a pair of sites: for each site in order that to its right, then that below.
    pub fn bonds(&self) -> impl Iterator<Item = (usize, usize)> {
        let Self { rows, cols, boundary } = *self;
        let next = move |at: usize, side: usize| match boundary {
            Boundary::Periodic => Some((at + 1) % side),
            Boundary::Open => (at + 1 < side).then_some(at + 1),
        };
        (0..rows * cols).flat_map(move |site| {
            let (r, c) = (site / cols, site % cols);
            let right = next(c, cols).map(|c| (site, r * cols + c));
            let below = next(r, rows).map(|r| (site, r * cols + c));
            right.into_iter().chain(below)
        })
    }

    /// `−Σ_bonds s_i s_j` of spins 1 and −1.
    ///
    /// # Panics
    /// If there is not one spin for each site.
    pub fn spin_energy(&self, spins: &[i8]) -> f64 {
        assert_eq!(spins.len(), self.sites(), "one spin for each site");
        -self.bonds().map(|(i, j)| f64::from(spins[i] * spins[j])).sum::<f64>()
    }

    /// The adjacency matrix A, row-major N×N; `½ sᵀAs` is the sum of `s_i s_j` over the bonds.
    pub fn adjacency(&self) -> Vec<f64> {
        let n = self.sites();
        let mut a = vec![0.0; n * n];
        for (i, j) in self.bonds() {
            a[i * n + j] += 1.0;
            a[j * n + i] += 1.0;
        }
        a
    }

    /// The N eigenvalues of A from their closed form, mode `(k, l)` at `k·cols + l`.
    pub fn adjacency_eigenvalues(&self) -> impl Iterator<Item = f64> {
        let across = chain_eigenvalues(self.cols, self.boundary);
        chain_eigenvalues(self.rows, self.boundary)
            .into_iter()
            .flat_map(move |a| across.clone().into_iter().map(move |b| a + b))
    }

    /// The smallest and the largest eigenvalue of A.
    pub fn adjacency_extremes(&self) -> (f64, f64) {
        let ends = |side| {
            chain_eigenvalues(side, self.boundary)
                .into_iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
        };
        let ((low_r, high_r), (low_c, high_c)) = (ends(self.rows), ends(self.cols));
        (low_r + low_c, high_r + high_c)
    }
}

/// Eigenvalues of the adjacency matrix of a ring (Fourier modes) or an open chain (sine modes) of `side` sites.
pub(super) fn chain_eigenvalues(side: usize, boundary: Boundary) -> Vec<f64> {
    let angle = |mode: usize| match boundary {
        Boundary::Periodic => 2.0 * PI * mode as f64 / side as f64,
        Boundary::Open => PI * (mode + 1) as f64 / (side + 1) as f64,
    };
    (0..side).map(|mode| 2.0 * angle(mode).cos()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(lattice: Lattice, site: usize) -> Vec<f64> {
        let n = lattice.sites();
        lattice.adjacency()[site * n..(site + 1) * n].to_vec()
    }

    #[test]
    fn short_sides_follow_the_stated_convention() {
        let lattice = |rows, cols, boundary| Lattice::new(rows, cols, boundary).unwrap();
        assert_eq!(row(lattice(1, 1, Boundary::Periodic), 0), [4.0]);
        assert_eq!(row(lattice(1, 3, Boundary::Periodic), 0), [2.0, 1.0, 1.0]);
        assert_eq!(row(lattice(2, 2, Boundary::Periodic), 0), [0.0, 2.0, 2.0, 0.0]);
        assert_eq!(row(lattice(1, 1, Boundary::Open), 0), [0.0]);
        assert_eq!(row(lattice(2, 2, Boundary::Open), 3), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(row(lattice(3, 4, Boundary::Periodic), 0), [0., 1., 0., 1., 1., 0., 0., 0., 1., 0., 0., 0.]);
        assert_eq!(row(lattice(3, 4, Boundary::Open), 0), [0., 1., 0., 0., 1., 0., 0., 0., 0., 0., 0., 0.]);
    }

    #[test]
    fn bond_counts() {
        for (rows, cols) in [(1, 1), (1, 5), (2, 3), (4, 7)] {
            let count = |boundary| Lattice::new(rows, cols, boundary).unwrap().bonds().count();
            assert_eq!(count(Boundary::Periodic), 2 * rows * cols);
            assert_eq!(count(Boundary::Open), rows * (cols - 1) + cols * (rows - 1));
        }
    }

    #[test]
    fn energies_of_spins_are_those_of_the_chain() {
        for (rows, cols, boundary) in [(1, 1, Boundary::Periodic), (2, 3, Boundary::Periodic), (3, 4, Boundary::Open)] {
            let lattice = Lattice::new(rows, cols, boundary).unwrap();
            let chain = super::super::WolffChain::new(&lattice, 3.0, 1, 1).unwrap();
            assert_eq!(lattice.spin_energy(chain.spins()), chain.energy());
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for (rows, cols) in [(0, 4), (4, 0), (0, 0)] {
            assert_eq!(Lattice::new(rows, cols, Boundary::Open), Err(LatticeError::Empty { rows, cols }));
        }
        for (rows, cols) in [(usize::MAX, 2), (1 << 16, 1 << 16)] {
            assert_eq!(Lattice::new(rows, cols, Boundary::Open), Err(LatticeError::TooLarge { rows, cols }));
        }
    }

    #[test]
    fn boundary_names_go_both_ways() {
        for boundary in [Boundary::Periodic, Boundary::Open] {
            assert_eq!(boundary.to_string().parse(), Ok(boundary));
        }
        assert!("closed".parse::<Boundary>().unwrap_err().to_string().contains("periodic or open"));
    }
}
