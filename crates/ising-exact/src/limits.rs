//! How large a system each method takes.

/// Largest side of a lattice.
pub const MAX_SIDE: usize = 4096;

/// Largest width of the row that is eliminated: the shorter side of an open lattice, the closed side of a cylinder.
pub const MAX_PLANAR_WIDTH: usize = 256;

/// Largest number of sites whose density of states is computed (64 × 64, or 4096 × 1).
pub const MAX_DOS_SITES: usize = 4096;

/// Largest number of spins that is enumerated.
pub const MAX_ENUMERATED: usize = 20;
