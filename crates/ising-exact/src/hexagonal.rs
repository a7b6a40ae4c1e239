//! Triangular and honeycomb lattices with uniform couplings along their three directions: sizes, boundary and bonds,
//! and the way to every exact method.

use std::f64::consts::LN_2;

use crate::enumeration::Graph;
use crate::error::{Error, beta_of, check_beta, check_coupling, check_side};
use crate::infinite::InfiniteLattice;
use crate::lattice::{Boundary, Edge};
use crate::limits::MAX_SIDE;
use crate::planar::PlanarLattice;
use crate::shape::Shape;
use crate::thermodynamics::{Bounds, Thermodynamics};
use crate::triangles::{Corners, Torus};

/// `cells[0] × cells[1]` cells of a triangular or honeycomb lattice of Ising spins, in the form of a rhombus, energy
/// `E = −Σ J s s'` over nearest neighbours, with a coupling for each of the three directions of bonds.
///
/// - Triangular: the cell (x, y) is one spin, number `y · cells[0] + x`. J₁ binds it to (x+1, y), J₂ to (x, y+1), and
///   J₃ binds (x+1, y) to (x, y+1).
/// - Honeycomb: the cell (x, y) is the spins A and B, numbers 2c and 2c + 1 where `c = y · cells[0] + x`. B is bound to
///   A of (x+1, y) by J₁, to A of (x, y+1) by J₂ and to A of its own cell by J₃.
///
/// Bonds that leave the lattice are as its [`Boundary`] says; one that leaves it both ways gets both signs. In a
/// direction of one or two cells, closed, spins may be bound to one another several times, or to themselves.
///
/// ```
/// use ising_exact::Hexagonal;
/// // Six equally strong antiferromagnetic bonds cannot all be satisfied: the entropy of the ground state is large.
/// let exact = Hexagonal::triangular(12, 12)?.couplings([-1.0; 3])?.thermodynamics(0.1)?;
/// assert!((exact.energy_per_site + 1.0).abs() < 1e-12);
/// assert!(exact.entropy_per_site > 0.32);
/// # Ok::<(), ising_exact::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hexagonal {
    shape: Shape,
    cells: [usize; 2],
    couplings: [f64; 3],
    boundary: Boundary,
}

impl Hexagonal {
    /// A periodic lattice of `cells_x × cells_y` cells with all couplings 1.
    ///
    /// # Errors
    /// [`Error::Side`] unless both sides are from 1 to [`MAX_SIDE`].
    pub fn new(shape: Shape, cells_x: usize, cells_y: usize) -> Result<Self, Error> {
        let cells = [cells_x, cells_y];
        for side in cells {
            check_side("lattice", side, MAX_SIDE)?;
        }
        Ok(Self { shape, cells, couplings: [1.0; 3], boundary: Boundary::PERIODIC })
    }

    /// A periodic triangular lattice of `size_x × size_y` spins with all couplings 1.
    ///
    /// # Errors
    /// As [`Hexagonal::new`].
    pub fn triangular(size_x: usize, size_y: usize) -> Result<Self, Error> {
        Self::new(Shape::Triangular, size_x, size_y)
    }

    /// A periodic honeycomb lattice of `cells_x × cells_y` cells of two spins with all couplings 1.
    ///
    /// # Errors
    /// As [`Hexagonal::new`].
    pub fn honeycomb(cells_x: usize, cells_y: usize) -> Result<Self, Error> {
        Self::new(Shape::Honeycomb, cells_x, cells_y)
    }

    /// The same lattice with couplings J₁, J₂ and J₃, of either sign.
    ///
    /// # Errors
    /// [`Error::Coupling`] for an infinite coupling or one that is not a number.
    pub fn couplings(self, couplings: [f64; 3]) -> Result<Self, Error> {
        for j in couplings {
            check_coupling(j)?;
        }
        Ok(Self { couplings, ..self })
    }

    /// The same lattice with another boundary.
    #[must_use]
    pub fn boundary(self, boundary: Boundary) -> Self {
        Self { boundary, ..self }
    }

    /// How its bonds lie.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Cells along x and along y.
    pub fn cells(&self) -> [usize; 2] {
        self.cells
    }

    /// Number of spins N.
    pub fn sites(&self) -> usize {
        self.cells[0] * self.cells[1] * self.shape.sites()
    }

    /// J₁, J₂ and J₃.
    pub fn coupling_constants(&self) -> [f64; 3] {
        self.couplings
    }

    /// How the lattice ends.
    pub fn edges(&self) -> Boundary {
        self.boundary
    }

    /// Exact thermodynamics at temperature `temperature` (units of J / k_B).
    ///
    /// # Errors
    /// A temperature that is not positive and finite; [`Error::OutOfRange`] where a result overflows; of a lattice with
    /// an open edge those of [`PlanarLattice::thermodynamics`]; of a closed one [`Error::Unstable`] where more digits
    /// cancel than can be carried; [`Error::Unphysical`] for a result that cannot be right.
    pub fn thermodynamics(&self, temperature: f64) -> Result<Thermodynamics, Error> {
        Thermodynamics::at_temperature(temperature, |beta| self.thermodynamics_at_beta(beta))
    }

    /// Exact thermodynamics at inverse temperature `beta`.
    ///
    /// # Errors
    /// As [`Hexagonal::thermodynamics`].
    pub fn thermodynamics_at_beta(&self, beta: f64) -> Result<Thermodynamics, Error> {
        check_beta("beta", beta)?;
        match self.boundary {
            Boundary { y: Edge::Open, .. } => self.planar()?.thermodynamics_at_beta(beta),
            Boundary { x: Edge::Open, .. } => self.exchanged().planar()?.thermodynamics_at_beta(beta),
            Boundary { x, y } => {
                let seams = [x, y].map(|edge| edge == Edge::Antiperiodic);
                let torus = Torus { corners: self.corners(), cells: self.cells, seams, sites: self.sites() };
                torus.thermodynamics(beta)?.within(self.bounds())
            }
        }
    }

    /// Exact thermodynamics per site of the infinite lattice, by the integral over one momentum that the products of
    /// the finite ones turn into (R. M. F. Houtappel, Physica 16, 425 (1950)). Boundary and size play no part.
    ///
    /// Good to a relative 10⁻¹², but where temperature and distance from T_c are both small, as in the
    /// antiferromagnetic triangular lattice, which is critical at T = 0: what is exponentially small there is good to
    /// 10⁻¹³ alone.
    ///
    /// ```
    /// use ising_exact::Hexagonal;
    /// let lattice = Hexagonal::honeycomb(1, 1)?;
    /// let exact = lattice.infinite(lattice.critical_temperature())?;
    /// assert!((exact.energy_per_site + 2.0 / 3f64.sqrt()).abs() < 1e-14);
    /// # Ok::<(), ising_exact::Error>(())
    /// ```
    ///
    /// # Errors
    /// A temperature that is not positive and finite, or a result that overflows.
    pub fn infinite(&self, temperature: f64) -> Result<InfiniteLattice, Error> {
        let beta = beta_of(temperature)?;
        let bounds = Bounds { ground: self.least_energy(), mean: 0.0, entropy: 0.0 };
        let exact = self.corners().infinite(beta)?.within(bounds)?;
        Ok(InfiniteLattice::new(temperature, exact))
    }

    /// T_c of the infinite lattice; zero where it has none, as with a frustrated triangle whose weakest bond is no
    /// weaker than another, or where two directions (one, on the honeycomb) have no bonds.
    ///
    /// Equal couplings give `4J / ln 3` (triangular, J > 0) and `2|J| / ln(2 + √3)` (honeycomb).
    ///
    /// ```
    /// use ising_exact::Hexagonal;
    /// let t_c = Hexagonal::triangular(1, 1)?.critical_temperature();
    /// assert!((t_c - 4.0 / 3f64.ln()).abs() < 1e-14);
    /// # Ok::<(), ising_exact::Error>(())
    /// ```
    pub fn critical_temperature(&self) -> f64 {
        self.corners().critical_temperature()
    }

    /// The lattice as a list of bonds, for [`Graph::thermodynamics`].
    pub fn graph(&self) -> Graph {
        self.bonds().fold(Graph::new(self.sites()), |graph, (a, b, j)| {
            graph.bond(a, b, j).expect("sites and couplings of a lattice are valid")
        })
    }

    /// The bonds that are there: both spins and the coupling, with the sign of the boundary.
    fn bonds(&self) -> impl Iterator<Item = (usize, usize, f64)> {
        let [m, n] = self.cells;
        (0..n).flat_map(move |y| (0..m).map(move |x| [x, y])).flat_map(|place| self.bonds_of(place))
    }

    /// Those of one cell.
    fn bonds_of(&self, [x, y]: [usize; 2]) -> impl Iterator<Item = (usize, usize, f64)> {
        let [m, n] = self.cells;
        let edge = |last: bool, edge: Edge| if last { edge.sign() } else { 1.0 };
        let (along_x, along_y) = (edge(x + 1 == m, self.boundary.x), edge(y + 1 == n, self.boundary.y));
        let cell = |x: usize, y: usize| (y % n) * m + x % m;
        let [here, right, above] = [cell(x, y), cell(x + 1, y), cell(x, y + 1)];
        let [j1, j2, j3] = self.couplings;
        let bonds = match self.shape {
            Shape::Triangular => {
                [(here, right, j1 * along_x), (here, above, j2 * along_y), (right, above, j3 * along_x * along_y)]
            }
            Shape::Honeycomb => {
                let b = 2 * here + 1;
                [(b, 2 * right, j1 * along_x), (b, 2 * above, j2 * along_y), (b, 2 * here, j3)]
            }
        };
        bonds.into_iter().filter(|&(.., j)| j != 0.0)
    }

    /// The lattice with x and y exchanged.
    fn exchanged(&self) -> Self {
        let ([m, n], [j1, j2, j3], Boundary { x, y }) = (self.cells, self.couplings, self.boundary);
        Self { shape: self.shape, cells: [n, m], couplings: [j2, j1, j3], boundary: Boundary { x: y, y: x } }
    }

    /// A lattice that is open along y, as one of squares and bonds across them. A row of the honeycomb is A, B, A, B,
    /// and its bonds to the next row go across every other face.
    fn planar(&self) -> Result<PlanarLattice, Error> {
        let ([m, n], [j1, j2, j3]) = (self.cells, self.couplings);
        let open = self.boundary.x == Edge::Open;
        // `count` times what a row holds; its last leaves the lattice.
        let rows = |count: usize, mut row: Vec<f64>| {
            match row.pop() {
                Some(last) if !open => row.push(last * self.boundary.x.sign()),
                _ => {}
            }
            row.repeat(count)
        };
        let planar = if open { PlanarLattice::open } else { PlanarLattice::cylinder };
        match self.shape {
            Shape::Triangular => {
                planar([m, n], rows(n, vec![j1; m]), vec![j2; m * (n - 1)])?.with_diagonals(rows(n - 1, vec![j3; m]))
            }
            Shape::Honeycomb => planar([2 * m, n], rows(n, [j3, j1].repeat(m)), vec![0.0; 2 * m * (n - 1)])?
                .with_diagonals(rows(n - 1, [j2, 0.0].repeat(m))),
        }
    }

    fn corners(&self) -> Corners {
        Corners { shape: self.shape, j: self.couplings }
    }

    /// Energy per site if every bond were satisfied.
    fn least_energy(&self) -> f64 {
        -self.couplings.iter().map(|j| j.abs()).sum::<f64>() / self.shape.sites() as f64
    }

    fn bounds(&self) -> Bounds {
        let sites = self.sites() as f64;
        // Only where a side is one cell is a spin bound to itself.
        let own = if self.cells.contains(&1) {
            self.bonds().filter(|(a, b, _)| a == b).map(|bond| bond.2).sum()
        } else {
            0.0
        };
        Bounds { ground: self.least_energy(), mean: -own / sites, entropy: LN_2 / sites }
    }
}
