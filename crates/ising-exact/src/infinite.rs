//! The infinite lattice: Onsager's free energy and its derivatives, and Yang's magnetisation.

use std::f64::consts::PI;

use crate::error::{Error, beta_of, check_coupling};
use crate::jet::{Jet, JetSum};
use crate::phase::Phase;
use crate::thermodynamics::{Bounds, LogZ, Thermodynamics};

/// Below this distance from T_c (in 1 − x − y − xy) rounding hides how far the temperature is from T_c.
pub(crate) const CRITICAL: f64 = 8.0 * f64::EPSILON;

/// Exact thermodynamics per site of the infinite lattice, in units of J = k_B = 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InfiniteLattice {
    /// Temperature T.
    pub temperature: f64,
    /// lim ln Z / N.
    pub ln_z_per_site: f64,
    /// −T ln Z / N.
    pub free_energy_per_site: f64,
    /// ⟨E⟩/N.
    pub energy_per_site: f64,
    /// S/N.
    pub entropy_per_site: f64,
    /// C/N; infinite at T_c (where `f64` cannot tell the temperature from T_c).
    pub specific_heat_per_site: f64,
}

impl InfiniteLattice {
    /// What a cell of the infinite lattice has, however many sites that is.
    pub(crate) fn new(temperature: f64, exact: Thermodynamics) -> Self {
        Self {
            temperature,
            ln_z_per_site: exact.ln_z / exact.sites as f64,
            free_energy_per_site: exact.free_energy_per_site,
            energy_per_site: exact.energy_per_site,
            entropy_per_site: exact.entropy_per_site,
            specific_heat_per_site: exact.specific_heat_per_site,
        }
    }
}

/// Onsager's solution for any two couplings (L. Onsager, Phys. Rev. 65, 117 (1944)).
///
/// The free energy is the integral over one momentum that Kaufman's product turns into, and its derivatives are taken
/// under the integral; [`onsager_energy`](crate::onsager_energy) and
/// [`onsager_specific_heat`](crate::onsager_specific_heat) give the same for equal couplings by elliptic integrals.
///
/// ```
/// use ising_exact::{critical_temperature, infinite_lattice};
/// let exact = infinite_lattice(1.0, 1.0, critical_temperature(1.0, 1.0))?;
/// assert!((exact.ln_z_per_site - 0.929695398341610).abs() < 1e-14);
/// assert!((exact.energy_per_site + 2f64.sqrt()).abs() < 1e-14);
/// # Ok::<(), ising_exact::Error>(())
/// ```
///
/// # Errors
/// A temperature that is not positive and finite, a coupling that is not finite, or a result that overflows.
pub fn infinite_lattice(coupling_x: f64, coupling_y: f64, temperature: f64) -> Result<InfiniteLattice, Error> {
    let beta = beta_of(temperature)?;
    let j = [check_coupling(coupling_x)?.abs(), check_coupling(coupling_y)?.abs()];
    let phase = Phase::new(j, beta);
    let critical = phase.delta.v.abs() < CRITICAL;
    let mut residual = phase.prefactor + integral(&phase).scale(1.0 / (2.0 * PI));
    if critical {
        residual.d2 = 0.0;
    }
    let bounds = Bounds { ground: -(j[0] + j[1]), mean: 0.0, entropy: 0.0 };
    let exact = LogZ::new(phase.linear, residual).at(1, beta)?.within(bounds)?;
    let heat = if critical { f64::INFINITY } else { exact.specific_heat_per_site };
    Ok(InfiniteLattice::new(temperature, Thermodynamics { specific_heat_per_site: heat, ..exact }))
}

/// ∫₀^π ln(1+h) dφ. All singularities lie on the imaginary axis of φ, as near to zero as T is to T_c.
fn integral(phase: &Phase) -> Jet {
    integral_from(PI, |phi| {
        let sin2 = (0.5 * phi).sin().powi(2);
        let cos2 = (0.5 * (PI - phi)).sin().powi(2);
        phase.ln_1p_h(sin2, cos2)
    })
}

/// ∫₀^length f of a function whose singularities lie on the imaginary axis: panels that halve towards zero meet none of
/// them, wherever it is.
pub(crate) fn integral_from(length: f64, f: impl Fn(f64) -> Jet) -> Jet {
    const PANELS: i32 = 60;
    let mut sum = JetSum::new();
    for panel in 0..=PANELS {
        let end = length * 0.5f64.powi(panel);
        let start = if panel == PANELS { 0.0 } else { 0.5 * end };
        let (middle, half) = (0.5 * (start + end), 0.5 * (end - start));
        for (node, weight) in GAUSS_LEGENDRE_16 {
            for x in [middle - half * node, middle + half * node] {
                sum.add(f(x).scale(weight * half));
            }
        }
    }
    sum.total()
}

/// Positive nodes and weights of the 16-point Gauss-Legendre rule on [−1, 1] (Abramowitz and Stegun, table 25.4).
const GAUSS_LEGENDRE_16: [(f64, f64); 8] = [
    (0.095_012_509_837_637_44, 0.189_450_610_455_068_5),
    (0.281_603_550_779_258_9, 0.182_603_415_044_923_58),
    (0.458_016_777_657_227_37, 0.169_156_519_395_002_54),
    (0.617_876_244_402_643_8, 0.149_595_988_816_576_74),
    (0.755_404_408_355_003, 0.124_628_971_255_533_88),
    (0.865_631_202_387_831_8, 0.095_158_511_682_492_79),
    (0.944_575_023_073_232_6, 0.062_253_523_938_647_894),
    (0.989_400_934_991_649_9, 0.027_152_459_411_754_096),
];

/// Yang's spontaneous magnetisation `(1 − 1/(sinh 2K sinh 2L)²)^{1/8}`, zero at and above T_c
/// (C. N. Yang, Phys. Rev. 85, 808 (1952); C. H. Chang, 1952, for two couplings).
///
/// Zero also where `f64` cannot tell the temperature from T_c. With a negative coupling it is the magnetisation of the
/// spins turned so as to make the couplings positive (staggered).
///
/// # Errors
/// A temperature that is not positive and finite, or a coupling that is not finite.
pub fn spontaneous_magnetisation(coupling_x: f64, coupling_y: f64, temperature: f64) -> Result<f64, Error> {
    let beta = beta_of(temperature)?;
    let j = [check_coupling(coupling_x)?.abs(), check_coupling(coupling_y)?.abs()];
    let phase = Phase::new(j, beta);
    let (delta, x, y) = (phase.delta.v, phase.x.v, phase.y.v);
    if !phase.ordered || delta < CRITICAL {
        return Ok(0.0);
    }
    // 1/(sinh 2K sinh 2L) = 4xy/((1−x²)(1−y²)) =: k; (1−x²)(1−y²) − 4xy = δ (1 + x + y − xy).
    let scale = (1.0 - x) * (1.0 + x) * phase.one_minus_y.v * (1.0 + y);
    let one_minus_k = delta * (1.0 + x + y - x * y) / scale;
    let one_plus_k = 1.0 + 4.0 * x * y / scale;
    Ok((one_minus_k * one_plus_k).powf(0.125))
}
