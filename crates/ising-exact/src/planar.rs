//! Planar lattices with a coupling of its own on every bond: open rectangles and cylinders, by elimination of a Pfaffian.
//!
//! Rows are added one by one. The spins of the last row lie on the outer face of what has been added so far, and
//! the correlations of such spins are Pfaffians of the two-point function (J. Groeneveld, R. J. Boel and P. W. Kasteleyn,
//! Physica A 93, 138 (1978)). So the matrix `G_ij = ⟨s_i s_j⟩` of one row, with signs that make it antisymmetric, is all there is to know:
//!
//! - a bond t = tanh K to a new spin above replaces `G_ij` by `t_i G_ij t_j`, and Z by `2 cosh K · Z`;
//! - a bond between neighbours i, j of the row multiplies Z by `cosh K (1 + t G_ij)` and changes G by rank two.
//!
//! The factors `1 + t G_ij` are the pivots of the Kasteleyn matrix, eliminated in this order; each is a ratio of two partition functions, so all
//! are positive, and no pivoting is needed. Between ferromagnetic bonds none is below 1. Under frustration they may be small,
//! and what rounding does then is measured: the lattice is eliminated from both ends, and refused when the two disagree.

use crate::{
    Error, Graph, Thermodynamics,
    error::{beta_of, check_beta, check_coupling, check_side},
    frontier::Frontier,
    lattice::MAX_SIDE,
    thermodynamics::LogZ,
};

/// Largest width of the row that is eliminated: the shorter side of an open lattice, the closed side of a cylinder.
pub const MAX_PLANAR_WIDTH: usize = 256;

/// Largest relative difference between the eliminations from both ends.
const AGREEMENT: f64 = 1e-9;

/// An open rectangle or a cylinder of Ising spins, each bond with its own coupling of any sign,
/// energy `E = −Σ J_ab s_a s_b`.
///
/// ```
/// use ising_exact::PlanarLattice;
/// // 3 × 2 spins: 2 bonds in each of 2 rows, 3 bonds between the rows.
/// let lattice = PlanarLattice::open([3, 2], vec![1.0, -1.0, 0.5, 2.0], vec![1.0, 1.0, -0.3])?;
/// let exact = lattice.thermodynamics(1.5)?;
/// let judge = lattice.graph().thermodynamics(1.5)?;
/// assert!((exact.ln_z - judge.ln_z).abs() < 1e-13);
/// # Ok::<(), ising_exact::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PlanarLattice {
    size: [usize; 2],
    closed: bool,
    along_x: Vec<f64>,
    along_y: Vec<f64>,
}

impl PlanarLattice {
    /// An open lattice of `size[0] × size[1]` sites, site (x, y) numbered `y · size[0] + x`.
    ///
    /// `along_x` holds row after row the `size[0] − 1` couplings between (x, y) and (x+1, y);
    /// `along_y` the `size[0]` couplings between (x, y) and (x, y+1), for y from 0 to `size[1] − 2`.
    ///
    /// # Errors
    /// A side that is out of range, lists of the wrong length, couplings that are not finite.
    pub fn open(size: [usize; 2], along_x: Vec<f64>, along_y: Vec<f64>) -> Result<Self, Error> {
        Self::checked(size, false, along_x, along_y)
    }

    /// A cylinder, closed along x: as [`PlanarLattice::open`], but `size[0]` couplings along x in each row, the last of them
    /// between (size\[0\] − 1, y) and (0, y). A negative last coupling makes that row antiperiodic.
    ///
    /// # Errors
    /// As [`PlanarLattice::open`].
    pub fn cylinder(size: [usize; 2], along_x: Vec<f64>, along_y: Vec<f64>) -> Result<Self, Error> {
        Self::checked(size, true, along_x, along_y)
    }

    fn checked(size: [usize; 2], closed: bool, along_x: Vec<f64>, along_y: Vec<f64>) -> Result<Self, Error> {
        let [m, n] = size;
        for side in size {
            check_side("lattice", side, MAX_SIDE)?;
        }
        let row = if closed { m } else { m - 1 };
        for (what, expected, found) in
            [("couplings along x", row * n, along_x.len()), ("couplings along y", m * (n - 1), along_y.len())]
        {
            if expected != found {
                return Err(Error::BondCount { what, expected, found });
            }
        }
        for &j in along_x.iter().chain(&along_y) {
            check_coupling(j)?;
        }
        Ok(Self { size, closed, along_x, along_y })
    }

    /// Sites along x and along y.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Number of sites N.
    pub fn sites(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Whether the lattice is closed along x.
    pub fn is_cylinder(&self) -> bool {
        self.closed
    }

    /// Exact thermodynamics at temperature `temperature` (units of J / k_B), in time `N · width²`.
    ///
    /// # Errors
    /// A temperature that is not positive and finite; [`Error::Side`] beyond [`MAX_PLANAR_WIDTH`]; [`Error::OutOfRange`] where a result
    /// overflows; [`Error::Unstable`] where frustration and low temperature leave fewer than nine digits.
    pub fn thermodynamics(&self, temperature: f64) -> Result<Thermodynamics, Error> {
        let found = self.thermodynamics_at_beta(beta_of(temperature)?)?;
        Ok(Thermodynamics { temperature, ..found })
    }

    /// Exact thermodynamics at inverse temperature `beta`.
    ///
    /// # Errors
    /// As [`PlanarLattice::thermodynamics`].
    pub fn thermodynamics_at_beta(&self, beta: f64) -> Result<Thermodynamics, Error> {
        check_beta("beta", beta)?;
        if !self.closed && self.size[0] > self.size[1] {
            return self.transposed().thermodynamics_at_beta(beta);
        }
        check_side("eliminated", self.size[0], MAX_PLANAR_WIDTH)?;
        let unstable = |what, difference| Error::Unstable { what, difference };
        let eliminate = |lattice: &Self| -> Result<Thermodynamics, Error> {
            let log_z = lattice.eliminate(beta).ok_or(unstable("ln Z", 1.0))?;
            log_z.at(self.sites(), beta)
        };
        let (one, other) = (eliminate(self)?, eliminate(&self.reversed())?);
        let sites = self.sites() as f64;
        for (what, a, b) in [
            ("ln Z per site", one.ln_z / sites, other.ln_z / sites),
            ("the energy", one.energy_per_site, other.energy_per_site),
            ("the entropy", one.entropy_per_site, other.entropy_per_site),
            ("the specific heat", one.specific_heat_per_site, other.specific_heat_per_site),
        ] {
            let difference = (a - b).abs() / a.abs().max(1.0);
            if difference > AGREEMENT {
                return Err(unstable(what, difference));
            }
        }
        Ok(one)
    }

    /// One elimination, row by row; `None` when a pivot is not positive.
    fn eliminate(&self, beta: f64) -> Option<LogZ> {
        let [m, n] = self.size;
        let row_length = if self.closed { m } else { m - 1 };
        let mut frontier = Frontier::new(m, beta);
        for y in 0..n {
            if y > 0 {
                frontier.next_row(&self.along_y[(y - 1) * m..y * m]);
            }
            for (x, &j) in self.along_x[y * row_length..(y + 1) * row_length].iter().enumerate() {
                frontier.bond(x, j)?;
            }
        }
        Some(frontier.into_log_z())
    }

    /// The open lattice with x and y exchanged.
    fn transposed(&self) -> Self {
        let [m, n] = self.size;
        let along_x = (0..m).flat_map(|x| (0..n - 1).map(move |y| self.along_y[y * m + x])).collect();
        let along_y = (0..m - 1).flat_map(|x| (0..n).map(move |y| self.along_x[y * (m - 1) + x])).collect();
        Self { size: [n, m], closed: false, along_x, along_y }
    }

    /// The lattice turned by half a turn.
    fn reversed(&self) -> Self {
        let mut turned = self.clone();
        turned.along_x.reverse();
        turned.along_y.reverse();
        if self.closed {
            // The closing bond came first in the turned rows; it belongs last.
            turned.along_x.chunks_mut(self.size[0]).for_each(|row| row.rotate_left(1));
        }
        turned
    }

    /// The lattice as a list of bonds, for [`Graph::thermodynamics`].
    pub fn graph(&self) -> Graph {
        let [m, n] = self.size;
        let row = if self.closed { m } else { m - 1 };
        let along_x = (0..n).flat_map(|y| (0..row).map(move |x| (y * m + x, y * m + (x + 1) % m)));
        let along_y = (0..m * (n - 1)).map(|site| (site, site + m));
        let ends = along_x.zip(&self.along_x).chain(along_y.zip(&self.along_y));
        ends.fold(Graph::new(self.sites()), |graph, ((a, b), &j)| {
            graph.bond(a, b, j).expect("bonds of a checked lattice are valid")
        })
    }
}
