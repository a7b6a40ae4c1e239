//! Triangular or honeycomb.

use std::fmt;
use std::str::FromStr;

use crate::names::{name_of, named};

/// How the bonds of a [`Hexagonal`](crate::Hexagonal) lattice lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Every spin has six neighbours.
    Triangular,
    /// Every spin has three neighbours.
    Honeycomb,
}

impl Shape {
    /// Both, with their names.
    pub const NAMED: [(&'static str, Self); 2] = [("triangular", Self::Triangular), ("honeycomb", Self::Honeycomb)];

    /// Spins of a cell.
    pub fn sites(self) -> usize {
        match self {
            Self::Triangular => 1,
            Self::Honeycomb => 2,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Self::NAMED, self).expect("every shape has a name"))
    }
}

/// The name is not one of [`Shape::NAMED`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown lattice \"{0}\": use triangular or honeycomb")]
pub struct UnknownShape(String);

impl FromStr for Shape {
    type Err = UnknownShape;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        named(&Self::NAMED, name).ok_or_else(|| UnknownShape(name.to_owned()))
    }
}
