//! One direction of a lattice as the methods see it: couplings made positive, and how its lines end.

/// How a line of sites, or of rings, ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Open,
    Closed,
    /// Closed, the bonds between the last and the first turned.
    Seam,
}

/// One direction of a lattice: its sites, a coupling that is not negative, and its ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    pub side: usize,
    pub j: f64,
    pub ends: Ends,
}

impl Axis {
    /// Satisfied less unsatisfied bonds of one line in the ground state.
    pub fn surplus(&self) -> f64 {
        let missing = match self.ends {
            Ends::Open => 1.0,
            Ends::Closed => 0.0,
            Ends::Seam => 2.0,
        };
        self.side as f64 - missing
    }

    /// Energy of the ground state per site.
    pub fn ground_energy(&self) -> f64 {
        -self.j * self.surplus() / self.side as f64
    }
}
