//! Whitened coordinates of the Ising model at any temperature: the matrix of the map is that of the row's own.

use super::{IsingTarget, WhitenedIsing};

/// `y = K(T)^{-1/2} x`, with a temperature T for every row: what a density that is conditional on the temperature works
/// in. A row whose temperature is none becomes NaN.
///
/// ```
/// use datasets::Bijection;
/// use datasets::lattice::{Boundary, IsingTarget, WhitenedIsingRange};
///
/// let target = IsingTarget::new(4, 4, Boundary::Periodic, 2.0)?;
/// let range = WhitenedIsingRange::new(target.clone());
/// let (mut row, mut own, mut log_jacobian) = (vec![0.3; 16], vec![0.3; 16], [0.0]);
/// range.forward(&mut row, &[2.5], &mut log_jacobian);
/// target.at(2.5)?.whitened().forward(&mut own, &[], &mut log_jacobian);
/// assert_eq!(row, own);
/// # Ok::<(), datasets::lattice::LatticeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct WhitenedIsingRange {
    any: IsingTarget,
}

impl WhitenedIsingRange {
    /// That of the lattice of a target; its temperature has no part in it.
    pub fn new(any: IsingTarget) -> Self {
        Self { any }
    }

    /// Number of sites N, the dimension of y.
    pub fn sites(&self) -> usize {
        self.any.sites()
    }

    /// The target at a temperature; `None` where it is none.
    pub fn at(&self, temperature: f64) -> Option<WhitenedIsing> {
        Some(self.any.at(temperature).ok()?.whitened())
    }
}
