//! An energy seen from the base density: `U(z) = E(x(z)) − ln |dx/dz|`, with its gradient by the adjoint.

use crate::objective::{Block, Ends};
use crate::{Direction, Energy, Error, Flow, RngKey, Space};

impl<S: Space> Flow<'_, S> {
    /// `U(z)` of every row of `z` (`rows × dim`, row by row) and its gradient, laid out like `z`.
    ///
    /// `exp(−U)` is the density of the z whose points x(z) have the density `exp(−E)`: of a flow that fits the energy it is the standard
    /// normal, however rough E may be. `key` keys whatever the potential draws for a solve: the same key, the same function. The
    /// gradient is that of the discrete map, with the Jacobian that the integrator accumulates.
    ///
    /// # Errors
    /// Those of the integrator. Numbers that are not finite are returned, not refused.
    pub fn latent_energy(&self, energy: &dyn Energy, z: &[f64], key: RngKey) -> Result<(Vec<f64>, Vec<f64>), Error> {
        let (space, dim) = (self.space, self.potential.dim());
        let rows = z.len() / dim;
        let field = self.potential.freeze(&self.solve(rows, key)?);
        let ends =
            Ends { direction: Direction::Forward, start: &|_| 0.0, end: energy, transport_cost: 0.0, score: None };
        let blocks = space.map_rows(rows, |range| {
            let start = &z[range.start * dim..range.end * dim];
            let block = Block { flow: self, range, start, weight: 1.0, gradient: true, ends: &ends };
            let (energies, back) = block.solve(&*field)?;
            let (start_bar, _) = back.expect("the gradient was asked for");
            Ok::<_, Error>((energies, space.download(&start_bar)))
        });
        let (mut energies, mut gradient) = (Vec::with_capacity(rows), Vec::with_capacity(z.len()));
        for block in blocks {
            let (of_rows, of_z) = block?;
            energies.extend(of_rows);
            gradient.extend(of_z);
        }
        Ok((energies, gradient))
    }
}
