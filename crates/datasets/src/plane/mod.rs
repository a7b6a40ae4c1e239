//! Densities and energies in two dimensions, by name: the first tests of any flow.

mod density;
mod energy;

use std::fmt;
use std::str::FromStr;

pub use density::PlaneDensity;
pub use energy::PlaneEnergy;

/// Any two-dimensional target: one to fit from samples, or one to fit from its energy.
///
/// ```
/// use datasets::plane::{PlaneDensity, PlaneTarget};
///
/// let target: PlaneTarget = "two-moons".parse()?;
/// assert_eq!(target, PlaneTarget::Density(PlaneDensity::TwoMoons));
/// let error = "three-moons".parse::<PlaneTarget>().unwrap_err();
/// assert!(error.to_string().contains("two-moons, eight-gaussians"));
/// # Ok::<(), datasets::plane::UnknownPlaneTarget>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlaneTarget {
    /// Has samples and a normalised density.
    Density(PlaneDensity),
    /// Has an energy with gradient and a known normalising constant.
    Energy(PlaneEnergy),
}

impl PlaneTarget {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        PlaneDensity::ALL.into_iter().map(Self::Density).chain(PlaneEnergy::ALL.into_iter().map(Self::Energy))
    }

    /// Its name in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Density(density) => density.name(),
            Self::Energy(energy) => energy.name(),
        }
    }
}

impl fmt::Display for PlaneTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no two-dimensional target has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no two-dimensional target \"{found}\"; there are \
         {}", PlaneTarget::all().map(PlaneTarget::name).collect::<Vec<_>>().join(", "))]
pub struct UnknownPlaneTarget {
    /// The name given.
    pub found: String,
}

impl FromStr for PlaneTarget {
    type Err = UnknownPlaneTarget;

    fn from_str(name: &str) -> Result<Self, UnknownPlaneTarget> {
        Self::all().find(|target| target.name() == name).ok_or_else(|| UnknownPlaneTarget { found: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_are_all_listed_in_the_error() {
        let error = "circles".parse::<PlaneTarget>().unwrap_err().to_string();
        assert_eq!(PlaneTarget::all().count(), 9);
        for target in PlaneTarget::all() {
            assert_eq!(target.to_string().parse(), Ok(target));
            assert!(error.contains(target.name()), "{error}");
        }
    }
}
