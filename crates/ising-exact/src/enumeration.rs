//! Any graph of up to 20 spins by summing over all its configurations: the judge of every other method.

use crate::error::{Error, check_beta, check_coupling};
use crate::jet::{Jet, Neumaier};
use crate::limits::MAX_ENUMERATED;
use crate::thermodynamics::{LogZ, Thermodynamics};

/// Ising spins on the sites of any graph, energy `E = −Σ J_ab s_a s_b` over its bonds.
///
/// ```
/// use ising_exact::Graph;
/// // A frustrated triangle: six of the eight states have energy −1, two have +3.
/// let triangle = Graph::new(3).bond(0, 1, -1.0)?.bond(1, 2, -1.0)?.bond(2, 0, -1.0)?;
/// let beta = 0.7_f64;
/// let z = 6.0 * beta.exp() + 2.0 * (-3.0 * beta).exp();
/// assert!((triangle.thermodynamics(1.0 / beta)?.ln_z - z.ln()).abs() < 1e-14);
/// # Ok::<(), ising_exact::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    spins: usize,
    bonds: Vec<(usize, usize, f64)>,
}

impl Graph {
    /// `spins` free spins.
    pub fn new(spins: usize) -> Self {
        Self { spins, bonds: Vec::new() }
    }

    /// The graph with one bond more. Several bonds between the same spins add up; a bond from a spin to itself is worth
    /// −J.
    ///
    /// # Errors
    /// [`Error::Bond`] for a spin that does not exist, [`Error::Coupling`] for a coupling that is not finite.
    pub fn bond(mut self, a: usize, b: usize, coupling: f64) -> Result<Self, Error> {
        if a >= self.spins || b >= self.spins {
            return Err(Error::Bond { from: a, to: b, spins: self.spins });
        }
        self.bonds.push((a, b, check_coupling(coupling)?));
        Ok(self)
    }

    /// Number of spins.
    pub fn spins(&self) -> usize {
        self.spins
    }

    /// The bonds (a, b, J).
    pub fn bonds(&self) -> &[(usize, usize, f64)] {
        &self.bonds
    }

    /// The energies of all 2ⁿ configurations; bit i of the index set means spin i is down.
    ///
    /// # Errors
    /// [`Error::TooManySites`] beyond [`MAX_ENUMERATED`] spins.
    pub fn energies(&self) -> Result<Vec<f64>, Error> {
        if self.spins > MAX_ENUMERATED {
            return Err(Error::TooManySites { method: "enumeration", found: self.spins, max: MAX_ENUMERATED });
        }
        let energy = |state: u32| -> f64 {
            let bond = |&(a, b, j): &(usize, usize, f64)| {
                if (state >> a ^ state >> b) & 1 == 0 { -j } else { j }
            };
            self.bonds.iter().map(bond).sum()
        };
        Ok((0..1u32 << self.spins).map(energy).collect())
    }

    /// Exact thermodynamics by enumeration.
    ///
    /// # Errors
    /// As [`Graph::energies`], and for a temperature that is not positive and finite.
    pub fn thermodynamics(&self, temperature: f64) -> Result<Thermodynamics, Error> {
        Thermodynamics::at_temperature(temperature, |beta| self.thermodynamics_at_beta(beta))
    }

    /// Exact thermodynamics by enumeration at inverse temperature `beta`.
    ///
    /// # Errors
    /// As [`Graph::thermodynamics`].
    pub fn thermodynamics_at_beta(&self, beta: f64) -> Result<Thermodynamics, Error> {
        check_beta("beta", beta)?;
        let levels: Vec<(f64, f64)> = self.energies()?.into_iter().map(|e| (e, 0.0)).collect();
        log_z_of_levels(beta, &levels).at(self.spins, beta)
    }
}

/// ln Z of levels (energy, ln of the number of states): measured from the ground state, the variance about the mean.
pub(crate) fn log_z_of_levels(beta: f64, levels: &[(f64, f64)]) -> LogZ {
    let ground = levels.iter().map(|l| l.0).fold(f64::INFINITY, f64::min);
    let exponent = |&(energy, ln_states): &(f64, f64)| ln_states - beta * (energy - ground);
    let largest = levels.iter().map(exponent).fold(f64::NEG_INFINITY, f64::max);
    let sum = |f: &dyn Fn(f64) -> f64| {
        let mut sum = Neumaier::default();
        for level in levels {
            sum.add(f(level.0 - ground) * (exponent(level) - largest).exp());
        }
        sum.total()
    };
    let z = sum(&|_| 1.0);
    let energy = sum(&|e| e) / z;
    let variance = sum(&|e| (e - energy).powi(2)) / z;
    LogZ::new(-ground, Jet { v: largest + z.ln(), d1: -energy, d2: variance })
}
