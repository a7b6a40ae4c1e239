//! What stands in place of the loop over tiles where there are no matrix units.

use crate::{Factors, Kernel, Sums};

pub(crate) fn permitted() -> bool {
    false
}

pub(crate) struct Loop;

impl Kernel for Loop {
    fn product(&self, factors: &Factors<'_>, _sums: Sums<'_>) {
        // All that the loop would look at.
        let Factors { height, widths, left, right, next } = factors;
        let sizes = (left.len(), right.len(), next.len());
        unreachable!("there are no units for tiles of {height} × {widths:?} and pieces of {sizes:?}");
    }
}
