//! Planar lattices with a coupling of its own on every bond: open rectangles and cylinders, of squares or of triangles,
//! by elimination of a Pfaffian.
//!
//! Rows are added one by one. The spins of the last row lie on the outer face of what has been added so far, and the
//! correlations of such spins are Pfaffians of the two-point function (J. Groeneveld, R. J. Boel and P. W. Kasteleyn,
//! Physica A 93, 138 (1978)). So the matrix `G_ij = ⟨s_i s_j⟩` of one row, with signs that make it antisymmetric, is
//! all there is to know:
//!
//! - a bond t = tanh K to a new spin above replaces `G_ij` by `t_i G_ij t_j`, and Z by `2 cosh K · Z`;
//! - a bond between neighbours i, j of the row (one of them may be of the row below, which makes triangles) multiplies
//!   Z by `cosh K (1 + t G_ij)` and changes G by rank two.
//!
//! The factors `1 + t G_ij` are the pivots of the Kasteleyn matrix, eliminated in this order; each is a ratio of two
//! partition functions, so all are positive, and no pivoting is needed. Between ferromagnetic bonds none is below 1.
//! Under frustration they may be small, and what rounding does then is measured: the lattice is eliminated from both
//! ends, and where the two disagree with more and more digits.
//!
//! An open ferromagnet at low temperature is eliminated as its dual: its domain walls are the even subgraphs of the
//! lattice of its faces, with e^{−2K} in the place of tanh K. So the smallest specific heat keeps its digits.

use std::f64::consts::LN_2;

use crate::enumeration::Graph;
use crate::error::{Error, check_beta, check_coupling, check_side};
use crate::frontier::Frontier;
use crate::jet::{Jet, JetSum, Number};
use crate::limits::{MAX_PLANAR_WIDTH, MAX_SIDE};
use crate::thermodynamics::{Bounds, LogZ, Thermodynamics};
use crate::wide::{FIRST_BITS, Wide, converged};

/// Largest relative difference between the eliminations from both ends that is taken for no loss at all.
const AGREEMENT: f64 = 1e-12;

/// The same where more digits would take too long, between numbers or, where these are smaller than 1, absolutely.
const COARSE_AGREEMENT: f64 = 1e-9;

/// Work that is not too much with many digits: sites · width² · words^1.6, half a minute or so.
const MOST_WORK: f64 = 5e6;

/// Largest coupling, in units of T, for which more digits are tried: no number of them would do beyond.
const LARGEST_K: f64 = 1e5;

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
    /// Empty where there are none.
    diagonals: Vec<f64>,
}

/// A number from −½ to ½ for every number, by Weyl's sequence.
fn shift(x: f64) -> f64 {
    (x * 0.618_033_988_749_894_9).fract() - 0.5
}

/// t = tanh βJ as a function of J.
fn tanh_at(beta: f64) -> impl Fn(f64) -> Jet {
    move |j| Jet::linear(j, beta).tanh()
}

fn check_bonds(what: &'static str, expected: usize, couplings: &[f64]) -> Result<(), Error> {
    let found = couplings.len();
    if expected != found {
        return Err(Error::BondCount { what, expected, found });
    }
    couplings.iter().try_for_each(|&j| check_coupling(j).map(drop))
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

    /// A cylinder, closed along x: as [`PlanarLattice::open`], but `size[0]` couplings along x in each row, the last of
    /// them between (size\[0\] − 1, y) and (0, y). A negative last coupling makes that row antiperiodic.
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
        let lattice = Self { size, closed, along_x, along_y, diagonals: Vec::new() };
        check_bonds("couplings along x", lattice.row_length() * n, &lattice.along_x)?;
        check_bonds("couplings along y", m * (n - 1), &lattice.along_y)?;
        Ok(lattice)
    }

    /// The same lattice with a bond across every face, between (x+1, y) and (x, y+1): row after row as many couplings
    /// as along x, for y from 0 to `size[1] − 2`. On a cylinder the last of each row is between (0, y) and (size\[0\] −
    /// 1, y+1).
    ///
    /// ```
    /// use ising_exact::PlanarLattice;
    /// // Two triangles: a square of four bonds and one diagonal.
    /// let lattice = PlanarLattice::open([2, 2], vec![1.0, 1.0], vec![1.0, 1.0])?.with_diagonals(vec![-1.0])?;
    /// let judge = lattice.graph().thermodynamics(1.5)?;
    /// assert!((lattice.thermodynamics(1.5)?.ln_z - judge.ln_z).abs() < 1e-14);
    /// # Ok::<(), ising_exact::Error>(())
    /// ```
    ///
    /// # Errors
    /// A list of the wrong length, couplings that are not finite.
    pub fn with_diagonals(self, diagonals: Vec<f64>) -> Result<Self, Error> {
        check_bonds("couplings across faces", self.row_length() * (self.size[1] - 1), &diagonals)?;
        Ok(Self { diagonals, ..self })
    }

    /// Bonds along x in a row, and across the faces between two rows.
    fn row_length(&self) -> usize {
        if self.closed { self.size[0] } else { self.size[0] - 1 }
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
    /// A temperature that is not positive and finite; [`Error::Side`] beyond [`MAX_PLANAR_WIDTH`];
    /// [`Error::OutOfRange`] where a result overflows; [`Error::Unstable`] where frustration and low temperature leave
    /// fewer than nine digits of a lattice that is too large for more; [`Error::Unphysical`] for a result that cannot
    /// be right.
    pub fn thermodynamics(&self, temperature: f64) -> Result<Thermodynamics, Error> {
        Thermodynamics::at_temperature(temperature, |beta| self.thermodynamics_at_beta(beta))
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
        let sites = self.sites();
        let square = !self.closed && self.diagonals.is_empty();
        let ferromagnet = square && self.bonds().all(|j| j >= 0.0);
        let found = match ferromagnet.then(|| self.eliminate_ferromagnet(beta)).flatten() {
            Some(log_z) => log_z.at(sites, beta)?,
            None => self.eliminate_from_both_ends(beta)?,
        };
        found.within(self.bounds())
    }

    fn bonds(&self) -> impl Iterator<Item = f64> + Clone {
        self.along_x.iter().chain(&self.along_y).chain(&self.diagonals).copied()
    }

    fn bounds(&self) -> Bounds {
        let sites = self.sites() as f64;
        // In a row of one site a bond from a site to itself has one energy only.
        let own = if self.closed && self.size[0] == 1 { self.along_x.iter().sum() } else { 0.0 };
        let others: f64 = self.bonds().map(f64::abs).sum();
        Bounds { ground: -others / sites, mean: -own / sites, entropy: LN_2 / sites }
    }

    fn eliminate_from_both_ends(&self, beta: f64) -> Result<Thermodynamics, Error> {
        let at = |log_z: Option<LogZ>| log_z.map(|log_z| log_z.at(self.sites(), beta)).transpose();
        let plain = tanh_at(beta);
        let shaken = |j: f64| plain(j).scale(1.0 + f64::EPSILON * shift(j.to_bits() as f64));
        let (one, other) = (at(self.eliminate(beta, &plain)), at(self.reversed().jittered().eliminate(beta, shaken)));
        // What overflows by cancellation may be had with more digits.
        let found = |one: &Result<Option<Thermodynamics>, Error>| one.as_ref().ok().copied().flatten();
        let both = found(&one).zip(found(&other));
        let difference = |floor| both.as_ref().map_or(("ln Z", 1.0), |(one, other)| one.difference(other, floor));
        if difference(f64::MIN_POSITIVE).1 <= AGREEMENT {
            return Ok(both.expect("they agree").0);
        }
        let (width, sites) = (self.size[0] as f64, self.sites() as f64);
        let strongest = beta * self.bonds().fold(0.0, |most: f64, j| most.max(j.abs()));
        let affordable =
            |bits| strongest < LARGEST_K && sites * width * width * (bits as f64 / 64.0).powf(1.6) < MOST_WORK;
        let log_z = |bits| self.eliminate_wide(beta, bits);
        if let Some(found) = converged(self.sites(), beta, FIRST_BITS, affordable, log_z)? {
            return Ok(found);
        }
        one.and(other)?;
        let (what, difference) = difference(1.0);
        match both {
            Some((one, _)) if difference <= COARSE_AGREEMENT => {
                Ok(Thermodynamics { specific_heat_per_site: one.specific_heat_per_site.max(0.0), ..one })
            }
            _ => Err(Error::Unstable { what, difference }),
        }
    }

    /// The sum over even subgraphs of products of t, row by row, as its factors `1 + factor`; `None` when one is not
    /// positive.
    fn subgraphs<R: Number>(
        &self,
        zero: &Jet<R>,
        t: impl Fn(f64) -> Jet<R>,
        mut factor: impl FnMut(Jet<R>),
    ) -> Option<()> {
        let [m, n] = self.size;
        let row_length = self.row_length();
        let parted = self.closed && !self.diagonals.is_empty();
        let mut frontier = Frontier::new(m + usize::from(parted), zero);
        for y in 0..n {
            if y > 0 {
                let up: Vec<Jet<R>> = self.along_y[(y - 1) * m..y * m].iter().map(|&j| t(j)).collect();
                if self.diagonals.is_empty() {
                    frontier.next_row(&up);
                } else {
                    let across = &self.diagonals[(y - 1) * row_length..y * row_length];
                    let across: Vec<Option<Jet<R>>> = across.iter().map(|&j| (j != 0.0).then(|| t(j))).collect();
                    self.next_row_of_triangles(&mut frontier, zero, &up, &across, &mut factor)?;
                }
            }
            for (x, &j) in self.along_x[y * row_length..(y + 1) * row_length].iter().enumerate() {
                // A bond from a spin to itself is no part of a subgraph.
                if j != 0.0 && m > 1 {
                    factor(frontier.bond([x, (x + 1) % m], &t(j))?);
                }
            }
        }
        Some(())
    }

    /// The next row where bonds cross the faces below it: each is made between a new spin and the old one beside it.
    fn next_row_of_triangles<R: Number>(
        &self,
        frontier: &mut Frontier<R>,
        zero: &Jet<R>,
        up: &[Jet<R>],
        across: &[Option<Jet<R>>],
        factor: &mut impl FnMut(Jet<R>),
    ) -> Option<()> {
        let m = self.size[0];
        for (x, t) in up.iter().enumerate() {
            match (x, self.closed) {
                // On a cylinder the first old spin is bound to the last new one, and stays until that has come.
                (0, true) => frontier.part_first(t),
                (0, false) => frontier.replace(0, t),
                _ => {
                    if let Some(across) = &across[x - 1] {
                        factor(frontier.bond([x - 1, x], across)?);
                    }
                    frontier.replace(x, t);
                }
            }
        }
        if self.closed {
            if let Some(across) = &across[m - 1] {
                factor(frontier.bond([m - 1, m], across)?);
            }
            frontier.free_last(zero);
        }
        Some(())
    }

    /// Minus the energy of bonds from a spin to itself, and all other bonds.
    fn split(&self) -> (f64, impl Iterator<Item = f64>) {
        let own = self.closed && self.size[0] == 1;
        let skip = if own { self.along_x.len() } else { 0 };
        (self.bonds().take(skip).sum(), self.bonds().skip(skip))
    }

    /// One elimination in double precision, with t as a function of a coupling.
    fn eliminate(&self, beta: f64, t: impl Fn(f64) -> Jet) -> Option<LogZ> {
        let mut log_z = JetSum::new();
        log_z.add(Jet::constant(self.sites() as f64 * LN_2));
        let (mut linear, bonds) = self.split();
        for j in bonds {
            let strength = Jet::linear(j.abs(), beta);
            if strength.v < 0.5 {
                log_z.add(strength.ln_cosh());
            } else {
                linear += j.abs();
                log_z.add(strength.scale(-2.0).exp().ln_1p() + -LN_2);
            }
        }
        self.subgraphs(&Jet::ZERO, t, |tg| log_z.add(tg.ln_1p()))?;
        Some(LogZ::new(linear, log_z.total()))
    }

    /// One elimination with numbers of `bits` bits.
    fn eliminate_wide(&self, beta: f64, bits: usize) -> Option<LogZ> {
        let hyperbolic = |j: f64| {
            let [plus, minus] = [j, -j].map(|j| Jet::<Wide>::exponential(j, beta, bits));
            (plus.plus(&minus), plus.minus(&minus))
        };
        let (own, bonds) = self.split();
        let one = Jet::number(1.0, bits);
        // 2^N Π cosh K = 2^{N − bonds} Π 2 cosh K.
        let (mut z, mut count) = (Jet::number(2.0, bits).power_times(self.sites(), one.clone()), 0);
        for j in bonds {
            z = z.times(&hyperbolic(j).0);
            count += 1;
        }
        z = Jet::number(0.5, bits).power_times(count, z);
        let t = |j| {
            let (two_cosh, two_sinh) = hyperbolic(j);
            two_sinh.over(&two_cosh)
        };
        self.subgraphs(&Jet::number(0.0, bits), t, |tg| z = z.times(&tg.shift(1.0)))?;
        Some(z.log_z(beta)?.with_energy(-own))
    }

    /// One elimination of an open lattice with couplings that are not negative: of itself at high temperature, of its
    /// dual at low.
    fn eliminate_ferromagnet(&self, beta: f64) -> Option<LogZ> {
        let sum = |f: &dyn Fn(f64) -> f64| -> f64 { self.bonds().map(f).sum() };
        let cold = sum(&|j| (-2.0 * beta * j).exp()) < sum(&|j| (beta * j).tanh());
        if cold && self.size[0] > 1 { self.eliminate_dual(beta) } else { self.eliminate(beta, tanh_at(beta)) }
    }

    /// `Z = 2 e^{Σ K} Σ Π e^{−2K}` over domain walls, the even subgraphs of the dual lattice. Its spins stand in
    /// columns between those of the lattice; the face outside is column 0, first row and last row at once: spins that t
    /// = 1 makes one.
    fn eliminate_dual(&self, beta: f64) -> Option<LogZ> {
        let [m, n] = self.size;
        let one = Jet::constant(1.0);
        let wall = |&j: &f64| Jet::linear(-2.0 * j, beta).exp();
        let mut log_z = JetSum::new();
        log_z.add(Jet::constant(LN_2));
        let mut frontier = Frontier::new(m, &one);
        for y in 0..n {
            let across = self.along_x[y * (m - 1)..(y + 1) * (m - 1)].iter().map(wall);
            frontier.next_row(&std::iter::once(one).chain(across).collect::<Vec<_>>());
            let row: Vec<Jet> = match y + 1 < n {
                true => self.along_y[y * m..(y + 1) * m].iter().map(wall).collect(),
                false => vec![one; m - 1],
            };
            for (x, t) in row.iter().enumerate() {
                log_z.add(frontier.bond([x, (x + 1) % m], t)?.ln_1p());
            }
        }
        Some(LogZ::new(self.bonds().sum(), log_z.total()))
    }

    /// The lattice with its couplings changed in their last digits, so that a symmetric lattice does not round in the
    /// same way twice. A cold bond hides that in its tanh, which is changed in its own last digit.
    fn jittered(mut self) -> Self {
        let bonds = self.along_x.iter_mut().chain(&mut self.along_y).chain(&mut self.diagonals);
        for (i, j) in bonds.enumerate() {
            *j *= 1.0 + 8.0 * f64::EPSILON * shift(i as f64);
        }
        self
    }

    /// The open lattice with x and y exchanged.
    fn transposed(&self) -> Self {
        let [m, n] = self.size;
        let along_x = (0..m).flat_map(|x| (0..n - 1).map(move |y| self.along_y[y * m + x])).collect();
        let along_y = (0..m - 1).flat_map(|x| (0..n).map(move |y| self.along_x[y * (m - 1) + x])).collect();
        // A bond across a face is one across the face of the exchanged lattice.
        let rows = if self.diagonals.is_empty() { 0 } else { n - 1 };
        let diagonals = (0..m - 1).flat_map(|x| (0..rows).map(move |y| self.diagonals[y * (m - 1) + x])).collect();
        Self { size: [n, m], closed: false, along_x, along_y, diagonals }
    }

    /// The lattice turned by half a turn.
    fn reversed(&self) -> Self {
        let mut turned = self.clone();
        turned.along_x.reverse();
        turned.along_y.reverse();
        turned.diagonals.reverse();
        if self.closed {
            // The closing bond came first in the turned rows; it belongs last.
            for bonds in [&mut turned.along_x, &mut turned.diagonals] {
                bonds.chunks_mut(self.size[0]).for_each(|row| row.rotate_left(1));
            }
        }
        turned
    }

    /// The lattice as a list of bonds, for [`Graph::thermodynamics`].
    pub fn graph(&self) -> Graph {
        let [m, n] = self.size;
        let row = self.row_length();
        let along_x = (0..n).flat_map(|y| (0..row).map(move |x| (y * m + x, y * m + (x + 1) % m)));
        let along_y = (0..m * (n - 1)).map(|site| (site, site + m));
        let across = (0..n - 1).flat_map(|y| (0..row).map(move |x| (y * m + (x + 1) % m, (y + 1) * m + x)));
        let ends = along_x.zip(&self.along_x).chain(along_y.zip(&self.along_y)).chain(across.zip(&self.diagonals));
        ends.fold(Graph::new(self.sites()), |graph, ((a, b), &j)| {
            graph.bond(a, b, j).expect("bonds of a checked lattice are valid")
        })
    }
}
