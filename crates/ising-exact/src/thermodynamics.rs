//! The thermodynamic quantities of a finite lattice, from ln Z and its two derivatives in β.

use crate::{Error, jet::Jet};

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

    pub fn times(self, copies: f64) -> Self {
        Self { linear: self.linear * copies, residual: self.residual.scale(copies) }
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
            specific_heat_per_site: beta * beta * d2 / n,
        };
        for (what, x) in [
            ("ln Z", all.ln_z),
            ("the free energy", all.free_energy_per_site),
            ("the energy", all.energy_per_site),
            ("the entropy", all.entropy_per_site),
            ("the specific heat", all.specific_heat_per_site),
        ] {
            if !x.is_finite() {
                return Err(Error::OutOfRange { what, beta });
            }
        }
        Ok(all)
    }
}
