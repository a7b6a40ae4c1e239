//! Numbers of any precision, and thermodynamics computed with more and more digits until enough of them stand.

use dashu_float::FBig;

use crate::error::Error;
use crate::jet::{Jet, Number};
use crate::thermodynamics::{LogZ, Thermodynamics};

/// A binary number whose mantissa is as long as the longer of its operands.
pub(crate) type Wide = FBig;

/// Digits of the first try, in bits.
pub(crate) const FIRST_BITS: usize = 128;

/// Beyond this many bits nothing is lost any more that a double could show: the range of its exponents, and a mantissa.
const RANGE_BITS: usize = 1200;

/// What is smaller than this is given as zero: the smallest doubles have no full mantissa.
const SMALLEST: f64 = 1e-290;

/// Two precisions must agree so far, relatively, before the higher is believed.
const AGREEMENT: f64 = 1e-14;

/// A number with `bits` bits.
pub(crate) fn wide(value: f64, bits: usize) -> Wide {
    let exact = FBig::try_from(value).expect("numbers of a checked lattice are finite");
    exact.with_precision(bits).value()
}

/// cos(πk/m) for k = 0..=m. The recurrence loses 2 log₂ m bits.
pub(crate) fn cosines(m: usize, bits: usize) -> Vec<Wide> {
    let first = wide(1.0, bits).cos_unit(2 * m);
    let mut cosines = vec![wide(1.0, bits), first.clone()];
    for k in 1..m {
        let next = (&first * &cosines[k]).scaled(2.0) - &cosines[k - 1];
        cosines.push(next);
    }
    cosines
}

impl Number for Wide {
    fn plus(&self, o: &Self) -> Self {
        self + o
    }
    fn minus(&self, o: &Self) -> Self {
        self - o
    }
    fn times(&self, o: &Self) -> Self {
        self * o
    }
    fn over(&self, o: &Self) -> Self {
        self / o
    }
    fn scaled(&self, c: f64) -> Self {
        self * wide(c, self.precision())
    }
    fn raised(&self, c: f64) -> Self {
        self + wide(c, self.precision())
    }
    fn is_positive(&self) -> bool {
        *self > Self::ZERO
    }
}

impl Jet<Wide> {
    pub fn number(value: f64, bits: usize) -> Self {
        let zero = wide(0.0, bits);
        Self { v: wide(value, bits), d1: zero.clone(), d2: zero }
    }

    /// e^{slope · β}.
    pub fn exponential(slope: f64, beta: f64, bits: usize) -> Self {
        let slope = wide(slope, bits);
        // e⁰ is 1 without a number of bits.
        let v = (&slope * wide(beta, bits)).exp().with_precision(bits).value();
        let d1 = &v * &slope;
        let d2 = &d1 * &slope;
        Self { v, d1, d2 }
    }

    /// ln of a partition function; `None` unless it is positive.
    pub fn log_z(&self, beta: f64) -> Option<LogZ> {
        /// Enough for the difference of ln Z and β⟨E⟩ at any β that is computed here.
        const BITS: usize = 256;
        if !self.v.is_positive() {
            return None;
        }
        let d1 = &self.d1 / &self.v;
        let d2 = &self.d2 / &self.v - &d1 * &d1;
        // With all of −⟨E⟩ in the linear part the residual is the entropy, which nothing is subtracted from.
        let linear = d1.to_f64().value();
        let (v, first) = (self.v.clone().with_precision(BITS).value(), d1.with_precision(BITS).value());
        let entropy = v.ln() - wide(beta, BITS) * &first;
        let rest = (first - wide(linear, BITS)).to_f64().value();
        Some(LogZ::new(linear, Jet { v: entropy.to_f64().value() + beta * rest, d1: rest, d2: d2.to_f64().value() }))
    }
}

/// The next number of bits to try.
pub(crate) fn more_bits(bits: usize) -> usize {
    (bits + (bits / 2).min(RANGE_BITS)).next_multiple_of(64)
}

/// Thermodynamics of a partition function that is computed with as many bits as are asked for: first `first_bits`, then
/// more until two results agree. Cancellation of any kind shows as a difference, whatever it comes from.
///
/// `affordable` says which numbers of bits are not too many; `None` where they are, or where the partition function
/// never gets positive.
pub(crate) fn converged(
    sites: usize,
    beta: f64,
    first_bits: usize,
    affordable: impl Fn(usize) -> bool,
    log_z: impl Fn(usize) -> Option<LogZ>,
) -> Result<Option<Thermodynamics>, Error> {
    let mut bits = first_bits;
    let mut last: Option<Thermodynamics> = None;
    if !affordable(more_bits(bits)) {
        return Ok(None);
    }
    while affordable(bits) {
        let all_seen = bits >= first_bits + RANGE_BITS;
        let found = match log_z(bits).map(|log_z| log_z.at(sites, beta)).transpose() {
            // What is left by cancellation may be anything.
            Err(_) if !all_seen => None,
            found => found?,
        };
        if let (Some(a), Some(b)) = (&last, &found) {
            // Zero may be a rounding error, and nearly zero is one, as long as the precision does not reach the
            // smallest doubles.
            let not_zero = b.energy_per_site != 0.0 && b.specific_heat_per_site != 0.0;
            let floor = if all_seen { SMALLEST / AGREEMENT } else { f64::MIN_POSITIVE };
            if (all_seen || not_zero) && a.difference(b, floor).1 <= AGREEMENT {
                return Ok(found.map(without_noise));
            }
        }
        last = found;
        bits = more_bits(bits);
    }
    Ok(None)
}

fn without_noise(found: Thermodynamics) -> Thermodynamics {
    let clean = |x: f64| if x.abs() < SMALLEST { 0.0 } else { x };
    Thermodynamics {
        energy_per_site: clean(found.energy_per_site),
        specific_heat_per_site: clean(found.specific_heat_per_site),
        ..found
    }
}
