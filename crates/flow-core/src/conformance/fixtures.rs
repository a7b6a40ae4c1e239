//! What the checks of whole solves share: a flow, its integrator, a batch, and an energy; and the particles that the
//! backends are checked with.

use super::context_of;
use crate::activation::Activation;
use crate::batch::Batch;
use crate::energy::Energy;
use crate::error::Error;
use crate::flow::Flow;
use crate::integrate::{Integrator, Memory};
use crate::particles::ParticlesSettings;
use crate::potential::{Coordinates, Potential};
use crate::runge_kutta::FixedStep;
use crate::space::Space;
use crate::tableau::Method;
use crate::team::Alone;

/// Rows of a batch.
pub(super) const ROWS: usize = 3;

pub(super) fn fixed(method: Method, steps: usize) -> FixedStep {
    FixedStep::new(method.tableau(), steps).expect("a positive number of steps")
}

pub(super) fn flow<'a, S: Space>(
    space: &'a S,
    potential: &'a dyn Potential<S>,
    integrator: &'a dyn Integrator<S>,
) -> Flow<'a, S> {
    Flow {
        space,
        potential,
        integrator,
        duration: 0.8,
        coordinates: Coordinates::X,
        memory: Memory::Stages,
        team: &Alone,
    }
}

/// `E(x) = Σ_i (x_i⁴/4 + x_i x_{i+1}/2)`: neither even nor quadratic in any coordinate.
pub(super) struct Quartic(pub usize);

impl Energy for Quartic {
    fn dim(&self) -> usize {
        self.0
    }

    fn energies_and_gradients(
        &self,
        x: &[f64],
        _context: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), Error> {
        let n = self.0;
        gradients.fill(0.0);
        for ((energy, x), gradient) in energies.iter_mut().zip(x.chunks(n)).zip(gradients.chunks_mut(n)) {
            *energy = 0.0;
            for i in 0..n {
                let j = (i + 1) % n;
                *energy += x[i].powi(4) / 4.0 + x[i] * x[j] / 2.0;
                gradient[i] += x[i].powi(3) + x[j] / 2.0;
                gradient[j] += x[i] / 2.0;
            }
        }
        Ok(())
    }
}

/// A whole batch, with a context where the potential takes one.
pub(super) fn whole<S: Space>(potential: &dyn Potential<S>, x: Vec<f64>) -> Batch {
    let batch = Batch::new(x, potential.dim()).expect("whole rows");
    let context = context_of(batch.of, potential.context_dim());
    batch.with_context(context)
}

/// A few particles, of several kinds or with a cutoff, of so many sums and vectors.
pub fn few_particles(
    (kinds, cutoff): (&[usize], Option<[f64; 2]>),
    (particles, space): (usize, usize),
    [sums, vectors]: [usize; 2],
    activation: Activation,
) -> ParticlesSettings {
    ParticlesSettings {
        particles,
        space,
        kinds: kinds.to_vec(),
        centres: 3,
        interval: [0.5, 4.0],
        core: 1.2,
        cutoff,
        sums,
        vectors,
        hidden: [5, 4],
        activation,
    }
}

/// A potential of particles with all coefficients but the amplitudes at a quarter of their size: squares of vectors
/// bend so much under coefficients of order one that differences would not be good enough to judge by.
pub fn damped<S: Space, P: Potential<S>>(space: &S, mut of: P) -> P {
    for parameter in of.parameters_mut() {
        let factor = if parameter.name == "amplitude" { 1.0 } else { 0.25 };
        space.accumulate(&mut parameter.value, factor, &[]);
    }
    of
}
