//! The thermodynamic quantities of a finite lattice, from ln Z and its two derivatives in β.

use std::f64::consts::LN_2;

use crate::error::{Error, beta_of};
use crate::jet::Jet;

/// Exact thermodynamics of a lattice at one temperature, in units of J = k_B = 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thermodynamics {
    /// Number of sites N.
    pub sites: usize,
    /// Temperature T.
    pub temperature: f64,
    /// Inverse temperature β = 1/T.
    pub beta: f64,
    /// ln Z of the whole lattice.
    pub ln_z: f64,
    /// −T ln Z / N.
    pub free_energy_per_site: f64,
    /// ⟨E⟩/N = −(∂ ln Z/∂β)/N.
    pub energy_per_site: f64,
    /// S/N = (ln Z + β⟨E⟩)/N.
    pub entropy_per_site: f64,
    /// C/N = β² (∂² ln Z/∂β²)/N.
    pub specific_heat_per_site: f64,
}

/// What every lattice obeys at every temperature, per site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Energy of the ground state, or less.
    pub ground: f64,
    /// Energy at infinite temperature.
    pub mean: f64,
    /// Entropy of the ground state, or less.
    pub entropy: f64,
}

impl Thermodynamics {
    /// What `at_beta` finds, with the temperature as it was given.
    pub(crate) fn at_temperature(
        temperature: f64,
        at_beta: impl FnOnce(f64) -> Result<Self, Error>,
    ) -> Result<Self, Error> {
        Ok(Self { temperature, ..at_beta(beta_of(temperature)?)? })
    }

    /// That of several lattices without a bond between them.
    pub(crate) fn copies(self, copies: usize) -> Result<Self, Error> {
        Self { sites: self.sites * copies, ln_z: self.ln_z * copies as f64, ..self }.finite()
    }

    /// The quantity in which two results differ most, and by how much, relative to it or to `floor` where that is
    /// larger.
    pub(crate) fn difference(&self, o: &Self, floor: f64) -> (&'static str, f64) {
        let all = [
            ("ln Z per site", self.ln_z / self.sites as f64, o.ln_z / o.sites as f64),
            ("the energy", self.energy_per_site, o.energy_per_site),
            ("the entropy", self.entropy_per_site, o.entropy_per_site),
            ("the specific heat", self.specific_heat_per_site, o.specific_heat_per_site),
        ];
        let relative = |(what, a, b): (&'static str, f64, f64)| (what, (a - b).abs() / a.abs().max(b.abs()).max(floor));
        all.map(relative).into_iter().fold(("", 0.0), |most, next| if next.1 > most.1 { next } else { most })
    }

    fn finite(self) -> Result<Self, Error> {
        for (what, x) in [
            ("ln Z", self.ln_z),
            ("the free energy", self.free_energy_per_site),
            ("the energy", self.energy_per_site),
            ("the entropy", self.entropy_per_site),
            ("the specific heat", self.specific_heat_per_site),
        ] {
            if !x.is_finite() {
                return Err(Error::OutOfRange { what, beta: self.beta });
            }
        }
        Ok(self)
    }

    /// Nothing that breaks a bound leaves the library. Where a rounding of β⟨E⟩ is large, so is that of the entropy.
    pub(crate) fn within(self, bounds: Bounds) -> Result<Self, Error> {
        let Bounds { ground, mean, entropy } = bounds;
        let slack = 1e-12 * ground.abs().max(mean.abs());
        let rounding = 1e-12 + self.beta * slack;
        for (what, found, low, high) in [
            ("the energy per site", self.energy_per_site, ground - slack, mean + slack),
            ("the entropy per site", self.entropy_per_site, entropy - rounding, LN_2 + rounding),
            ("the specific heat per site", self.specific_heat_per_site, 0.0, f64::INFINITY),
        ] {
            if !(low..=high).contains(&found) {
                return Err(Error::Unphysical { what, found, low, high });
            }
        }
        Ok(self)
    }
}

/// ln Z = linear · β + residual(β): the linear part (minus an energy) leaves the entropy exactly, and
/// is kept apart so that nothing is lost to cancellation at low temperature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogZ {
    pub linear: f64,
    pub residual: Jet,
}

impl LogZ {
    pub fn new(linear: f64, residual: Jet) -> Self {
        Self { linear, residual }
    }

    /// The same with an energy that does not depend on the spins. Added here, it may cancel the other without a loss of
    /// digits.
    pub fn with_energy(self, energy: f64) -> Self {
        Self { linear: self.linear - energy, ..self }
    }

    pub fn at(self, sites: usize, beta: f64) -> Result<Thermodynamics, Error> {
        let n = sites as f64;
        let Jet { v, d1, d2 } = self.residual;
        let ln_z = self.linear * beta + v;
        let all = Thermodynamics {
            sites,
            temperature: 1.0 / beta,
            beta,
            ln_z,
            free_energy_per_site: -ln_z / (beta * n),
            energy_per_site: -(self.linear + d1) / n,
            entropy_per_site: (v - beta * d1) / n,
            specific_heat_per_site: beta * (beta * d2) / n,
        };
        all.finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program printed once for a frustrated cylinder, and what is right.
    #[test]
    fn what_cannot_be_is_withheld() {
        let beta = 5.0;
        let exact = |energy: f64, entropy: f64, heat: f64| {
            let n = 25.0;
            let residual = Jet { v: n * entropy, d1: 0.0, d2: n * heat / (beta * beta) };
            LogZ::new(-n * energy, residual).at(25, beta).unwrap()
        };
        let bounds = Bounds { ground: -1.4, mean: 0.0, entropy: LN_2 / 25.0 };
        assert!(exact(-1.39997094, 0.09226321, 0.0014528).within(bounds).is_ok());
        for (energy, entropy, heat, quantity) in [
            (-1.41, 0.09, 0.001, "the energy per site"),
            (0.01, 0.69, 0.001, "the energy per site"),
            (-1.4, -0.01, 0.001, "the entropy per site"),
            (-1.4, 0.02, 0.001, "the entropy per site"),
            (-0.1, 0.7, 0.001, "the entropy per site"),
            (-1.4, 0.09, -1e-9, "the specific heat per site"),
        ] {
            match exact(energy, entropy, heat).within(bounds) {
                Err(Error::Unphysical { what, .. }) => assert_eq!(what, quantity),
                other => panic!("{energy} {entropy} {heat}: {other:?}"),
            }
        }
    }
}
