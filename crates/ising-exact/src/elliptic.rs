//! Onsager's closed forms for equal couplings: energy and specific heat by complete elliptic integrals.

use std::f64::consts::{FRAC_PI_2, PI};

use crate::error::{Error, beta_of, check_coupling};

/// Complete elliptic integrals K(k) and E(k) of the first and second kind from the complementary modulus `k' =
/// √(1−k²)`, by the arithmetic-geometric mean (Abramowitz and Stegun, 17.6). K is infinite at k' = 0.
///
/// ```
/// let (first, second) = ising_exact::complete_elliptic_integrals(1.0);
/// assert_eq!((first, second), (std::f64::consts::FRAC_PI_2, std::f64::consts::FRAC_PI_2));
/// ```
pub fn complete_elliptic_integrals(complementary_modulus: f64) -> (f64, f64) {
    let mut b = complementary_modulus.abs();
    if b == 0.0 {
        return (f64::INFINITY, 1.0);
    }
    let mut a = 1.0;
    let mut power = 0.5;
    // Σ 2^{n−1} c_n², c_0 = k, c_{n+1} = (a_n − b_n)/2.
    let mut sum = power * (1.0 - b) * (1.0 + b);
    while (a - b).abs() > f64::EPSILON * a {
        let c = 0.5 * (a - b);
        (a, b) = (0.5 * (a + b), (a * b).sqrt());
        power *= 2.0;
        sum += power * c * c;
    }
    let first = PI / (a + b);
    (first, first * (1.0 - sum))
}

/// The quantities both closed forms share: K coth 2K, κ' = 2 tanh² 2K − 1, κ' K(κ), and K(κ) and E(κ).
struct Closed {
    coth: f64,
    complement: f64,
    first: f64,
    second: f64,
    complement_first: f64,
}

fn closed(k: f64) -> Closed {
    let tanh = (2.0 * k).tanh();
    let complement = 2.0 * tanh * tanh - 1.0;
    let (first, second) = complete_elliptic_integrals(complement);
    let complement_first = if complement == 0.0 { 0.0 } else { complement * first };
    Closed { coth: 1.0 / tanh, complement, first, second, complement_first }
}

/// Onsager's energy per site of the infinite lattice with both couplings `coupling`:
/// `u = −J coth 2K [1 + (2/π) κ' K(κ)]`, κ = 2 sinh 2K / cosh² 2K, κ' = 2 tanh² 2K − 1.
///
/// Digits are lost as T grows (the bracket tends to zero as 1/T²); [`infinite_lattice`](crate::infinite_lattice) loses
/// none.
///
/// # Errors
/// A temperature that is not positive and finite, or a coupling that is not finite.
pub fn onsager_energy(coupling: f64, temperature: f64) -> Result<f64, Error> {
    let j = check_coupling(coupling)?.abs();
    let k = j * beta_of(temperature)?;
    if k == 0.0 {
        return Ok(0.0);
    }
    let Closed { coth, complement_first, .. } = closed(k);
    Ok(-j * coth * (1.0 + complement_first / FRAC_PI_2))
}

/// Onsager's specific heat per site of the infinite lattice with both couplings `coupling`:
/// `C = (2/π)(K coth 2K)² {2K(κ) − 2E(κ) − (1 − κ')[π/2 + κ' K(κ)]}`; infinite at T_c.
///
/// Digits are lost far from T_c; [`infinite_lattice`](crate::infinite_lattice) loses none.
///
/// # Errors
/// As [`onsager_energy`].
pub fn onsager_specific_heat(coupling: f64, temperature: f64) -> Result<f64, Error> {
    let k = check_coupling(coupling)?.abs() * beta_of(temperature)?;
    if k == 0.0 {
        return Ok(0.0);
    }
    let Closed { coth, complement, first, second, complement_first } = closed(k);
    let braces = 2.0 * (first - second) - (1.0 - complement) * (FRAC_PI_2 + complement_first);
    Ok((k * coth).powi(2) * braces / FRAC_PI_2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critical::critical_temperature;
    use crate::infinite::infinite_lattice;

    #[test]
    fn elliptic_integrals_known_to_many_digits() {
        // Abramowitz and Stegun, tables 17.1: m = k² = 0.5 and 0.99.
        for (m, first, second) in [
            (0.5, 1.854_074_677_301_372, 1.350_643_881_047_675_5),
            (0.99, 3.695_637_362_989_875, 1.015_993_545_025_224),
        ] {
            let (k, e) = complete_elliptic_integrals(f64::sqrt(1.0 - m));
            assert!((k - first).abs() < 1e-14 && (e - second).abs() < 1e-14, "{k} {e}");
        }
        // Legendre's relation.
        for complement in [1e-12_f64, 0.3, 0.8] {
            let modulus = ((1.0 - complement) * (1.0 + complement)).sqrt();
            let (k, e) = complete_elliptic_integrals(complement);
            let (k2, e2) = complete_elliptic_integrals(modulus);
            assert!((e * k2 + e2 * k - k * k2 - FRAC_PI_2).abs() < 1e-13 * k);
        }
    }

    /// Two derivations of the infinite lattice: closed forms, and derivatives under the integral.
    #[test]
    fn closed_forms_agree_with_the_integral() {
        let t_c = critical_temperature(1.0, 1.0);
        for t in [1.0, 1.5, 2.0, 2.2, t_c - 1e-6, t_c + 1e-6, 2.3, 2.7, 4.0] {
            for j in [1.0, -1.0] {
                let exact = infinite_lattice(j, 1.0, t).unwrap();
                let (u, c) = (onsager_energy(j, t).unwrap(), onsager_specific_heat(j, t).unwrap());
                assert!((exact.energy_per_site - u).abs() < 1e-13, "{t}: {u}");
                // 1e-6 from T_c the logarithm turns the rounding of T into 1e-10.
                assert!((exact.specific_heat_per_site - c).abs() < 1e-9, "{t}: {c} {}", exact.specific_heat_per_site);
            }
        }
        assert!(infinite_lattice(1.0, 1.0, t_c).unwrap().specific_heat_per_site.is_infinite());
        assert!((onsager_energy(1.0, t_c).unwrap() + 2f64.sqrt()).abs() < 1e-14);
    }
}
