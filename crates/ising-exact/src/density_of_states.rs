//! Density of states of the closed lattice in exact integers.
//!
//! P. D. Beale (Phys. Rev. Lett. 76, 78 (1996)) expands Kaufman's partition function into a polynomial. With u =
//! e^{−2βJ}, `Z = e^{2NβJ} Σ_b g_b u^b`, b the number of unsatisfied bonds, and `Σ_b g_b u^b = ½(AA + AP + PA + PP)`
//! with `AA² = Π_{p,q} [(1+u²)² − 2u(1−u²)(cos φ_p + cos φ_q)]`: each pair of opposite momenta gives one such factor to
//! AA itself, a momentum that is its own opposite the square root `1 − (σ+τ)u − στu²`, σ = cos φ_p, τ = cos φ_q. The
//! four polynomials are multiplied out modulo as many 62-bit primes as 2^N has room for; each prime is 1 modulo 2·size,
//! so that it has the roots of unity that make up the cosines. Since 0 ≤ g_b ≤ 2^N, the Chinese remainders are the
//! numbers themselves.

use num_bigint::BigUint;

use crate::enumeration::log_z_of_levels;
use crate::error::{Error, check_beta};
use crate::lattice::{Edge, Lattice};
use crate::limits::MAX_DOS_SITES;
use crate::modular::{Field, primes};
use crate::thermodynamics::Thermodynamics;

/// Numbers of configurations by energy, exact.
#[derive(Debug, Clone, PartialEq)]
pub struct DensityOfStates {
    sites: usize,
    coupling: f64,
    /// g_b for b = 0..=2N unsatisfied bonds.
    counts: Vec<BigUint>,
}

impl Lattice {
    /// The density of states of a closed lattice whose two couplings have the same absolute value.
    ///
    /// ```
    /// use ising_exact::Lattice;
    /// let states = Lattice::square(4)?.density_of_states()?;
    /// let lowest: Vec<_> = states.levels().take(3).map(|(e, g)| (e, g.to_string())).collect();
    /// assert_eq!(lowest, [(-32.0, "2".into()), (-24.0, "32".into()), (-20.0, "64".into())]);
    /// # Ok::<(), ising_exact::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Boundary`] for open edges, [`Error::Anisotropic`] for different couplings, [`Error::TooManySites`]
    /// beyond [`MAX_DOS_SITES`].
    pub fn density_of_states(&self) -> Result<DensityOfStates, Error> {
        let boundary = self.edges();
        if boundary.x == Edge::Open || boundary.y == Edge::Open {
            return Err(Error::Boundary {
                method: "the density of states",
                boundary: boundary.to_string(),
                remedy: "use periodic, antiperiodic or doubly-antiperiodic",
            });
        }
        let [jx, jy] = self.coupling_constants();
        if jx.abs() != jy.abs() || jx == 0.0 {
            return Err(Error::Anisotropic { x: jx, y: jy });
        }
        if self.sites() > MAX_DOS_SITES {
            return Err(Error::TooManySites {
                method: "the density of states",
                found: self.sites(),
                max: MAX_DOS_SITES,
            });
        }
        // As in the torus: a negative coupling is a seam where the side is odd, and nothing where it is even.
        let seams = [(boundary.x, jx, 0), (boundary.y, jy, 1)]
            .map(|(edge, j, i)| (edge == Edge::Antiperiodic) != (j < 0.0 && self.size()[i] % 2 == 1));
        let counts = counts(self.size(), seams);
        Ok(DensityOfStates { sites: self.sites(), coupling: jx.abs(), counts })
    }
}

impl DensityOfStates {
    /// Number of sites N.
    pub fn sites(&self) -> usize {
        self.sites
    }

    /// The energies that occur and the numbers of their configurations, from the ground state upwards.
    pub fn levels(&self) -> impl Iterator<Item = (f64, &BigUint)> + Clone {
        let energy = |bonds: usize| self.coupling * (2.0 * bonds as f64 - 2.0 * self.sites as f64);
        let levels = self.counts.iter().enumerate().map(move |(b, g)| (energy(b), g));
        levels.filter(|(_, g)| g.bits() > 0)
    }

    /// Thermodynamics from the sum over the levels.
    ///
    /// # Errors
    /// A temperature that is not positive and finite, or a result that overflows.
    pub fn thermodynamics(&self, temperature: f64) -> Result<Thermodynamics, Error> {
        Thermodynamics::at_temperature(temperature, |beta| self.thermodynamics_at_beta(beta))
    }

    /// Thermodynamics at inverse temperature `beta` from the sum over the levels.
    ///
    /// # Errors
    /// As [`DensityOfStates::thermodynamics`].
    pub fn thermodynamics_at_beta(&self, beta: f64) -> Result<Thermodynamics, Error> {
        check_beta("beta", beta)?;
        let levels: Vec<(f64, f64)> = self.levels().map(|(e, g)| (e, ln(g))).collect();
        log_z_of_levels(beta, &levels).at(self.sites, beta)
    }
}

/// ln of a positive integer of any size, to rounding.
fn ln(g: &BigUint) -> f64 {
    let shift = g.bits().saturating_sub(64);
    let leading = (g >> shift).iter_u64_digits().next().unwrap_or(0) as f64;
    leading.ln() + shift as f64 * std::f64::consts::LN_2
}

/// g_b for b = 0..=2N on the torus with these seams.
fn counts([m, n]: [usize; 2], [seam_x, seam_y]: [bool; 2]) -> Vec<BigUint> {
    let sites = m * n;
    let order = lcm(2 * m as u64, 2 * n as u64);
    // The product of the primes must exceed 2^N; each is above 2^61.
    let fields: Vec<Field> = primes(order).take(sites / 61 + 1).map(Field::new).collect();
    debug_assert!(fields.iter().all(|f| f.prime > 1 << 61));
    let residues: Vec<Vec<u64>> = fields
        .iter()
        .map(|field| {
            let root = field.root_of_unity(order);
            let mut sum = vec![0; 2 * sites + 1];
            for (odd_x, odd_y) in [(false, false), (false, true), (true, false), (true, true)] {
                let sector = sector(field, root, order, [m, n], [odd_x, odd_y]);
                // Seams exchange A and P: the sector that counts with a minus sign above T_c moves from PP to another,
                // and PP itself is negative below T_c.
                let negative = ((odd_x == seam_x && odd_y == seam_y) as u8 + (!odd_x && !odd_y) as u8) % 2 == 1;
                for (s, c) in sum.iter_mut().zip(sector) {
                    *s = if negative { field.sub(*s, c) } else { field.add(*s, c) };
                }
            }
            let half = field.inverse(field.enter(2));
            sum.iter().map(|&s| field.leave(field.mul(s, half))).collect()
        })
        .collect();
    chinese_remainders(&fields, &residues)
}

/// One Pfaffian as a polynomial of degree 2N in u, coefficients in Montgomery form.
fn sector(field: &Field, root: u64, order: u64, size: [usize; 2], odd: [bool; 2]) -> Vec<u64> {
    let [m, n] = size;
    // 2 cos φ = w + 1/w for φ = πk/side; w = root^(order k / 2 side).
    let twice_cosine = |k: usize, side: usize| {
        let w = field.pow(root, order / (2 * side as u64) * k as u64);
        field.add(w, field.inverse(w))
    };
    let momenta = [0, 1].map(|i| {
        let ks = (usize::from(odd[i])..2 * size[i]).step_by(2);
        ks.map(|k| (k, twice_cosine(k, size[i]))).collect::<Vec<_>>()
    });
    let mut product = vec![0; 2 * m * n + 1];
    product[0] = field.enter(1);
    let mut degree = 0;
    for &(p, cos_p) in &momenta[0] {
        for &(q, cos_q) in &momenta[1] {
            let opposite = ((2 * m - p) % (2 * m), (2 * n - q) % (2 * n));
            if opposite == (p, q) {
                multiply_quadratic(field, &mut product, degree, p == 0, q == 0);
                degree += 2;
            } else if (p, q) < opposite {
                multiply_quartic(field, &mut product, degree, field.add(cos_p, cos_q));
                degree += 4;
            }
        }
    }
    product
}

/// product ← product · [(1+u²)² − s u(1−u²)] = product · (1 − s u + 2u² + s u³ + u⁴).
fn multiply_quartic(field: &Field, product: &mut [u64], degree: usize, s: u64) {
    for i in (0..=degree + 4).rev() {
        let at = |back: usize| if back <= i { product[i - back] } else { 0 };
        let even = field.add(field.add(at(0), at(4)), field.add(at(2), at(2)));
        product[i] = field.add(even, field.mul(s, field.sub(at(3), at(1))));
    }
}

/// product ← product · (1 − (σ+τ)u − στu²), σ and τ 1 (`plus`) or −1.
fn multiply_quadratic(field: &Field, product: &mut [u64], degree: usize, plus_x: bool, plus_y: bool) {
    for i in (0..=degree + 2).rev() {
        let at = |back: usize| if back <= i { product[i - back] } else { 0 };
        let (one, two) = (at(1), at(2));
        product[i] = match (plus_x, plus_y) {
            (true, true) => field.sub(field.sub(at(0), field.add(one, one)), two),
            (false, false) => field.sub(field.add(at(0), field.add(one, one)), two),
            _ => field.add(at(0), two),
        };
    }
}

/// The integers below the product of the primes that have these residues (Garner's algorithm),
/// `residues[prime][index]`.
fn chinese_remainders(fields: &[Field], residues: &[Vec<u64>]) -> Vec<BigUint> {
    let inverses: Vec<Vec<u64>> = fields
        .iter()
        .enumerate()
        .map(|(i, field)| fields[..i].iter().map(|f| field.inverse(field.enter(f.prime))).collect())
        .collect();
    let number = |index: usize| {
        // Mixed-radix digits: value = d_0 + p_0 (d_1 + p_1 (d_2 + ...)).
        let mut digits: Vec<u64> = Vec::with_capacity(fields.len());
        for (i, field) in fields.iter().enumerate() {
            let residue = field.enter(residues[i][index]);
            let digit = digits
                .iter()
                .zip(&inverses[i])
                .fold(residue, |r, (&d, &inverse)| field.mul(field.sub(r, field.enter(d)), inverse));
            digits.push(field.leave(digit));
        }
        digits.iter().zip(fields).rev().fold(BigUint::ZERO, |value, (&d, f)| value * f.prime + d)
    };
    (0..residues[0].len()).map(number).collect()
}

fn lcm(a: u64, b: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    a / gcd(a, b) * b
}
