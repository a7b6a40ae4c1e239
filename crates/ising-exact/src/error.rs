//! What can go wrong: wrong sizes, temperatures or couplings, and precision that `f64` cannot give.

/// An error of this crate; the message carries the numbers and the remedy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A side of the lattice is zero or larger than the method allows.
    #[error("{what} side {found} is out of range: give a side from 1 to {max}")]
    Side {
        /// Which side.
        what: &'static str,
        /// The side that was given, in sites.
        found: usize,
        /// The largest side allowed.
        max: usize,
    },
    /// More sites than the method allows.
    #[error("{found} sites are too many for {method}: at most {max} are possible; take a smaller lattice")]
    TooManySites {
        /// What was asked for.
        method: &'static str,
        /// Number of sites given.
        found: usize,
        /// Largest number allowed.
        max: usize,
    },
    /// The temperature (or inverse temperature) is not a positive finite number.
    #[error(
        "{name} {found} is not a positive finite number: give one above zero (for a negative temperature, change the \
         sign of the couplings)"
    )]
    Temperature {
        /// `temperature` or `beta`.
        name: &'static str,
        /// The value given.
        found: f64,
    },
    /// A coupling is infinite or not a number.
    #[error("coupling {found} is not finite: give a finite coupling constant")]
    Coupling {
        /// The value given.
        found: f64,
    },
    /// A list of couplings has the wrong length.
    #[error("{found} {what} given where the lattice has {expected}: give one coupling per bond")]
    BondCount {
        /// Which list.
        what: &'static str,
        /// Entries the lattice needs.
        expected: usize,
        /// Entries given.
        found: usize,
    },
    /// A bond names a spin that does not exist.
    #[error("bond ({from}, {to}) names a spin outside 0..{spins}: number the spins from zero")]
    Bond {
        /// First end of the bond.
        from: usize,
        /// Second end of the bond.
        to: usize,
        /// Number of spins of the graph.
        spins: usize,
    },
    /// The result does not fit in double precision.
    #[error("{what} is beyond double precision at beta {beta}: take a temperature nearer to the couplings")]
    OutOfRange {
        /// The quantity that overflowed.
        what: &'static str,
        /// Inverse temperature.
        beta: f64,
    },
    /// Frustration makes two terms cancel in more digits than can be carried in reasonable time.
    #[error(
        "frustrated terms cancel in their first {lost:.0} digits, more than can be carried: no digit would be left; \
         raise the temperature to {temperature} or above, or take a smaller lattice"
    )]
    Cancellation {
        /// Decimal digits that cancel.
        lost: f64,
        /// A temperature that can be computed.
        temperature: f64,
    },
    /// Two eliminations in opposite order disagree, and the lattice is too large to carry more digits.
    #[error(
        "only {digits:.0} digits of {what} are left after cancellation between frustrated couplings, and more would \
         take too long: raise the temperature or take a smaller lattice", digits = digits_left(*difference)
    )]
    Unstable {
        /// The quantity that differs most.
        what: &'static str,
        /// Relative difference.
        difference: f64,
    },
    /// The density of states counts unsatisfied bonds, so all bonds must be equally strong.
    #[error("couplings {x} and {y} are not equally strong: give two couplings of the same absolute value, not zero")]
    Anisotropic {
        /// J_x.
        x: f64,
        /// J_y.
        y: f64,
    },
    /// One coupling is zero, so that there is no critical temperature to take by default.
    #[error(
        "couplings {x} and {y} leave uncoupled chains, which have no critical temperature to take by default: \
         give a temperature (or beta)"
    )]
    NoCriticalTemperature {
        /// J_x.
        x: f64,
        /// J_y.
        y: f64,
    },
    /// The lattice has no critical temperature to take by default.
    #[error(
        "couplings {}, {} and {} give no critical temperature to take by default: give a temperature (or beta)",
        couplings[0], couplings[1], couplings[2]
    )]
    NoOrder {
        /// J of the three directions.
        couplings: [f64; 3],
    },
    /// A result breaks a bound that holds for every lattice: a defect of this library, found before the result was
    /// given out.
    #[error(
        "{what} came out as {found:e}, outside its bounds from {low:e} to {high:e}, and is withheld: \
         this is a defect of the program, please report it; a slightly different temperature may work"
    )]
    Unphysical {
        /// The quantity.
        what: &'static str,
        /// The value found.
        found: f64,
        /// Its lower bound.
        low: f64,
        /// Its upper bound.
        high: f64,
    },
    /// The method does not cover this boundary.
    #[error("{method} is not available for the {boundary} boundary: {remedy}")]
    Boundary {
        /// What was asked for.
        method: &'static str,
        /// The boundary given.
        boundary: String,
        /// What to do instead.
        remedy: &'static str,
    },
}

/// Decimal digits that a relative difference leaves.
fn digits_left(difference: f64) -> f64 {
    (-difference.log10()).floor().max(0.0)
}

pub(crate) fn check_beta(name: &'static str, value: f64) -> Result<f64, Error> {
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err(Error::Temperature { name, found: value }) }
}

/// β = 1/T, refused where either is not a positive finite number.
pub(crate) fn beta_of(temperature: f64) -> Result<f64, Error> {
    let beta = 1.0 / check_beta("temperature", temperature)?;
    if beta.is_finite() { Ok(beta) } else { Err(Error::Temperature { name: "temperature", found: temperature }) }
}

pub(crate) fn check_coupling(value: f64) -> Result<f64, Error> {
    if value.is_finite() { Ok(value) } else { Err(Error::Coupling { found: value }) }
}

pub(crate) fn check_side(what: &'static str, found: usize, max: usize) -> Result<usize, Error> {
    if (1..=max).contains(&found) { Ok(found) } else { Err(Error::Side { what, found, max }) }
}
