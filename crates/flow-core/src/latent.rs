//! An energy seen from the base density: `U(z) = E(x(z)) − ln |dx/dz|`, with its gradient by the adjoint.

use crate::batch::Batch;
use crate::boundary::EnergyTerms;
use crate::energy::{Energy, check_widths};
use crate::error::Error;
use crate::evaluation::Evaluation;
use crate::flow::{Direction, Flow};
use crate::integrate::SolveOptions;
use crate::rng::RngKey;
use crate::solve::{Direct, Solver};
use crate::space::{Outputs, Session, Space};

impl<S: Space> Flow<'_, S> {
    /// `U(z)` of every row of `z` (`rows × dim`, row by row) and its gradient, laid out like `z`.
    ///
    /// `exp(−U)` is the density of the z whose points x(z) have the density `exp(−E)`: of a flow that fits the energy
    /// it is the standard normal, however rough E may be. `key` keys whatever the potential draws for a solve: the same
    /// key, the same function. The gradient is that of the discrete map, with the Jacobian that the integrator
    /// accumulates.
    ///
    /// # Errors
    /// Those of the integrator and of the energy; [`Error::Shape`] when the numbers do not fit either. Numbers that are
    /// not finite are returned, not refused.
    pub fn latent_energy(&self, energy: &dyn Energy, z: &[f64], key: RngKey) -> Result<(Vec<f64>, Vec<f64>), Error> {
        let space = self.space;
        check_widths(energy, self.potential.dim(), 0)?;
        let batch = Batch::new(z.to_vec(), self.potential.dim())?;
        if batch.of == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        // Cotangents of the sum over rows, not of the mean.
        let batch = Batch { total_weight: 1.0, ..batch };
        let terms = EnergyTerms::new(&|_, _| 0.0, energy);
        let options = SolveOptions { backward: Some(self.memory.exact()), ..SolveOptions::default() };
        let [energies, gradient] = self.by_members(&batch, Evaluation::new(key), |batch, how| {
            let solver = Solver::new(self, batch, self.span(Direction::Forward), *how)?;
            let field = self.potential.freeze(&solver.solve);
            let blocks = space.map_blocks(solver.blocks.clone(), |rows| {
                let session: &mut dyn Session<S> = &mut Direct(space);
                let (carried, end) = solver.forward(session, Some(&*field), &rows, options)?;
                let losses = solver.losses(&terms, &rows, &end)?;
                let start_bar = solver.pull_back(session, carried, &losses, &mut |start_bar, _| Outputs {
                    arrays: vec![start_bar],
                    columns: Vec::new(),
                })?;
                Ok::<_, Error>((losses.losses, space.download(&start_bar.arrays[0])))
            });
            let mut found = [Vec::new(), Vec::new()];
            for block in blocks {
                let (of_rows, of_z) = block?;
                found[0].extend(of_rows);
                found[1].extend(of_z);
            }
            Ok(found)
        })?;
        Ok((energies, gradient))
    }
}
