//! The rectangular lattice with uniform couplings: its sizes, boundary and bonds, and the way to every exact method.

use std::{f64::consts::LN_2, fmt, str::FromStr};

use crate::axis::{Axis, Ends};
use crate::chain;
use crate::enumeration::Graph;
use crate::error::{Error, check_beta, check_coupling, check_side};
use crate::limits::{MAX_DOS_SITES, MAX_SIDE};
use crate::names::{name_of, named};
use crate::planar::PlanarLattice;
use crate::rings::Rings;
use crate::thermodynamics::{Bounds, Thermodynamics};
use crate::torus::Torus;

/// Largest relative difference between a torus and its mirror image that is taken for no loss.
const AGREEMENT: f64 = 1e-12;

/// How one direction of the lattice ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edge {
    /// No bond between the last and the first site.
    Open,
    /// The last site is bound to the first.
    Periodic,
    /// The last site is bound to the first with the opposite sign.
    Antiperiodic,
}

impl Edge {
    /// Sign of the bond between the last and the first site; 0 when there is none.
    pub fn sign(self) -> f64 {
        match self {
            Self::Open => 0.0,
            Self::Periodic => 1.0,
            Self::Antiperiodic => -1.0,
        }
    }
}

/// How the lattice ends along x and along y.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Boundary {
    /// Along x.
    pub x: Edge,
    /// Along y.
    pub y: Edge,
}

impl Boundary {
    /// A torus.
    pub const PERIODIC: Self = Self { x: Edge::Periodic, y: Edge::Periodic };
    /// Free spins on all four sides.
    pub const OPEN: Self = Self { x: Edge::Open, y: Edge::Open };
    /// Periodic along x, open along y.
    pub const CYLINDER: Self = Self { x: Edge::Periodic, y: Edge::Open };
    /// Antiperiodic along x, periodic along y: forces a domain wall along y.
    pub const ANTIPERIODIC: Self = Self { x: Edge::Antiperiodic, y: Edge::Periodic };
    /// Antiperiodic along both.
    pub const DOUBLY_ANTIPERIODIC: Self = Self { x: Edge::Antiperiodic, y: Edge::Antiperiodic };
    /// Antiperiodic along x, open along y.
    pub const ANTIPERIODIC_CYLINDER: Self = Self { x: Edge::Antiperiodic, y: Edge::Open };

    /// The boundaries that have names, with their names.
    pub const NAMED: [(&'static str, Self); 6] = [
        ("periodic", Self::PERIODIC),
        ("open", Self::OPEN),
        ("cylinder", Self::CYLINDER),
        ("antiperiodic", Self::ANTIPERIODIC),
        ("doubly-antiperiodic", Self::DOUBLY_ANTIPERIODIC),
        ("antiperiodic-cylinder", Self::ANTIPERIODIC_CYLINDER),
    ];
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name_of(&Self::NAMED, self) {
            Some(name) => f.write_str(name),
            None => write!(f, "{:?} along x, {:?} along y", self.x, self.y),
        }
    }
}

/// The name is not one of [`Boundary::NAMED`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown boundary \"{0}\": use periodic, open, cylinder, antiperiodic, doubly-antiperiodic or antiperiodic-cylinder"
)]
pub struct UnknownBoundary(String);

impl FromStr for Boundary {
    type Err = UnknownBoundary;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        named(&Self::NAMED, name).ok_or_else(|| UnknownBoundary(name.to_owned()))
    }
}

/// A rectangular lattice of `size[0] × size[1]` Ising spins, energy `E = −J_x Σ s s' − J_y Σ s s'` over nearest
/// neighbours.
///
/// Site (x, y) has number `y · size[0] + x`. A closed direction of two sites has two bonds between the same
/// two sites; a closed direction of one site has one bond from each site to itself, worth −J at any spin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lattice {
    size: [usize; 2],
    couplings: [f64; 2],
    boundary: Boundary,
}

impl Lattice {
    /// A periodic lattice of `size_x × size_y` sites with both couplings 1.
    ///
    /// # Errors
    /// [`Error::Side`] unless both sides are from 1 to [`MAX_SIDE`].
    pub fn new(size_x: usize, size_y: usize) -> Result<Self, Error> {
        for side in [size_x, size_y] {
            check_side("lattice", side, MAX_SIDE)?;
        }
        Ok(Self { size: [size_x, size_y], couplings: [1.0; 2], boundary: Boundary::PERIODIC })
    }

    /// The periodic lattice of `side × side` sites with both couplings 1.
    ///
    /// # Errors
    /// As [`Lattice::new`].
    pub fn square(side: usize) -> Result<Self, Error> {
        Self::new(side, side)
    }

    /// The same lattice with couplings J_x and J_y, of either sign.
    ///
    /// # Errors
    /// [`Error::Coupling`] for an infinite coupling or one that is not a number.
    pub fn couplings(self, x: f64, y: f64) -> Result<Self, Error> {
        Ok(Self { couplings: [check_coupling(x)?, check_coupling(y)?], ..self })
    }

    /// The same lattice with another boundary.
    #[must_use]
    pub fn boundary(self, boundary: Boundary) -> Self {
        Self { boundary, ..self }
    }

    /// Sites along x and along y.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Number of sites N.
    pub fn sites(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// J_x and J_y.
    pub fn coupling_constants(&self) -> [f64; 2] {
        self.couplings
    }

    /// How the lattice ends.
    pub fn edges(&self) -> Boundary {
        self.boundary
    }

    /// Exact thermodynamics at temperature `temperature` (units of J / k_B).
    ///
    /// # Errors
    /// A temperature that is not positive and finite; [`Error::OutOfRange`] where a result overflows; [`Error::Side`]
    /// for an open lattice whose shorter side is beyond [`MAX_PLANAR_WIDTH`](crate::MAX_PLANAR_WIDTH);
    /// [`Error::Cancellation`] on a torus that is large, cold and frustrated along x and along y; [`Error::Unphysical`]
    /// for a result that cannot be right.
    pub fn thermodynamics(&self, temperature: f64) -> Result<Thermodynamics, Error> {
        Thermodynamics::at_temperature(temperature, |beta| self.thermodynamics_at_beta(beta))
    }

    /// Exact thermodynamics at inverse temperature `beta`.
    ///
    /// # Errors
    /// As [`Lattice::thermodynamics`].
    pub fn thermodynamics_at_beta(&self, beta: f64) -> Result<Thermodynamics, Error> {
        check_beta("beta", beta)?;
        self.by_best_method(beta)?.within(self.bounds())
    }

    fn by_best_method(&self, beta: f64) -> Result<Thermodynamics, Error> {
        let [x, y] = self.axes();
        let sites = self.sites();
        if x.j == 0.0 || y.j == 0.0 {
            let (line, copies) = if y.j == 0.0 { (x, y.side) } else { (y, x.side) };
            return line.thermodynamics(self.self_energy(), beta)?.copies(copies);
        }
        let rings = |ring, along| Rings::new(ring, along).thermodynamics(beta);
        match (x.ends, y.ends) {
            (Ends::Closed, Ends::Closed) => {
                // The products of the mirror image run over the other momenta; where couplings that differ much cost
                // digits, they differ.
                let [m, n] = self.size;
                let torus = |size, j| Torus { size, j }.log_z(beta).at(sites, beta);
                let (one, mirror) = (torus([m, n], [x.j, y.j])?, torus([n, m], [y.j, x.j])?);
                if one.difference(&mirror, f64::MIN_POSITIVE).1 <= AGREEMENT { Ok(one) } else { rings(x, y) }
            }
            (Ends::Open, Ends::Open) => {
                let [m, n] = self.size;
                PlanarLattice::open(self.size, vec![x.j; (m - 1) * n], vec![y.j; m * (n - 1)])?
                    .thermodynamics_at_beta(beta)
            }
            (Ends::Seam, Ends::Seam) => match rings(x, y) {
                Err(Error::Cancellation { .. }) if x.j == y.j && sites <= MAX_DOS_SITES => {
                    self.density_of_states()?.thermodynamics_at_beta(beta)
                }
                found => found,
            },
            (_, Ends::Open) | (Ends::Seam, _) => rings(x, y),
            (Ends::Open, _) | (_, Ends::Seam) => rings(y, x),
        }
    }

    /// Both directions as the methods see them: turning every other spin makes the couplings positive,
    /// which leaves one negative bond in rings of odd length.
    fn axes(&self) -> [Axis; 2] {
        let edges = [self.boundary.x, self.boundary.y];
        std::array::from_fn(|i| {
            let (side, j, edge) = (self.size[i], self.couplings[i], edges[i]);
            // No bond but from a site to itself, or two bonds between two sites that cancel.
            if j == 0.0 || side == 1 || side == 2 && edge == Edge::Antiperiodic {
                return Axis { side, j: 0.0, ends: Ends::Open };
            }
            let turned = (edge == Edge::Antiperiodic) != (j < 0.0 && side % 2 == 1);
            let ends = match edge {
                Edge::Open => Ends::Open,
                _ if turned => Ends::Seam,
                _ => Ends::Closed,
            };
            Axis { side, j: j.abs(), ends }
        })
    }

    /// Energy per site of the bonds from a site to itself.
    fn self_energy(&self) -> f64 {
        let edges = [self.boundary.x, self.boundary.y];
        [0, 1].map(|i| if self.size[i] == 1 { 0.0 - self.couplings[i] * edges[i].sign() } else { 0.0 }).iter().sum()
    }

    /// Every frustrated ring has one unsatisfied bond in the ground state: a domain wall with one bond in each of them
    /// exists.
    fn bounds(&self) -> Bounds {
        let mean = self.self_energy();
        let ground: f64 = self.axes().iter().map(Axis::ground_energy).sum();
        Bounds { ground: mean + ground, mean, entropy: LN_2 / self.sites() as f64 }
    }

    /// The lattice as a list of bonds, for [`Graph::thermodynamics`].
    pub fn graph(&self) -> Graph {
        let [m, n] = self.size;
        let [jx, jy] = self.couplings;
        let mut graph = Graph::new(self.sites());
        let site = |x: usize, y: usize| (y % n) * m + x % m;
        for y in 0..n {
            for x in 0..m {
                let sign = |last: bool, edge: Edge| if last { edge.sign() } else { 1.0 };
                for (j, to) in [
                    (jx * sign(x + 1 == m, self.boundary.x), site(x + 1, y)),
                    (jy * sign(y + 1 == n, self.boundary.y), site(x, y + 1)),
                ] {
                    if j != 0.0 {
                        graph = graph.bond(site(x, y), to, j).expect("sites and couplings of a lattice are valid");
                    }
                }
            }
        }
        graph
    }
}

impl Axis {
    /// Thermodynamics of one chain along this direction, with the energy per site of bonds that the spins have to
    /// themselves.
    fn thermodynamics(self, self_energy: f64, beta: f64) -> Result<Thermodynamics, Error> {
        let Self { side, j, ends } = self;
        let constant = self_energy * side as f64;
        let log_z = match ends {
            Ends::Open => chain::open(side, j, beta),
            Ends::Closed => chain::ring(side, j, beta),
            Ends::Seam => {
                let single = Self { side: 1, j: 0.0, ends: Ends::Closed };
                return Rings { constant, ..Rings::new(single, self) }.thermodynamics(beta);
            }
        };
        log_z.with_energy(constant).at(side, beta)
    }
}
