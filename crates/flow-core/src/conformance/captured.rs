//! Solves that a device captures and replays, against the same solves done operation by operation.

use super::assert_close;
use crate::batch::Batch;
use crate::energy::StandardNormal;
use crate::evaluation::Evaluation;
use crate::flow::Flow;
use crate::integrate::Memory;
use crate::objective::{Estimator, FreeEnergy, NegativeLogLikelihood, Objective};
use crate::potential::{Coordinates, Potential};
use crate::rng::{Purpose, RngKey};
use crate::runge_kutta::FixedStep;
use crate::space::Space;
use crate::tableau::Method;
use crate::team::Alone;

const STEPS: u64 = 5;

/// Compares a space `on` that captures solves with the same space `plain` that does not: losses, densities and
/// gradients of batches of `rows` rows, while batches and parameters change, and how many of the solves were replays.
/// `potential` is on the one, `reference` is the same potential on the other.
///
/// # Panics
/// When a check fails, with the numbers.
pub fn captured<S: Space>(
    (on, potential): (&S, &mut dyn Potential<S>),
    (plain, reference): (&S, &mut dyn Potential<S>),
    coordinates: Coordinates,
    rows: usize,
) {
    assert!(plain.graphs().is_none(), "the reference captures too");
    let graphs = on.graphs().expect("a space that captures");
    let before = graphs.replays();
    for step in 0..STEPS {
        let key = RngKey::new(4, Purpose::Train, step);
        let batch = key.normals(0..rows, potential.dim());
        // The last step keeps something else for its gradients.
        let memory = if step + 1 < STEPS { Memory::Stages } else { Memory::Recompute };
        let ours = figures(on, potential, coordinates, memory, &batch, key);
        let theirs = figures(plain, reference, coordinates, memory, &batch, key);
        assert_close("losses and densities", &ours.0, &theirs.0, 1e3 * on.round_off(), 0.0);
        for (ours, theirs) in ours.1.iter().zip(&theirs.1) {
            assert_close("a gradient", &on.download(ours), &plain.download(theirs), 1e4 * on.round_off(), 0.0);
        }
        let parameters = potential.parameters_mut().into_iter().zip(reference.parameters_mut());
        for ((p, q), (ours, theirs)) in parameters.zip(ours.1.iter().zip(&theirs.1)) {
            on.accumulate(&mut p.value, 1.0, &[(-0.1, ours)]);
            plain.accumulate(&mut q.value, 1.0, &[(-0.1, theirs)]);
        }
    }
    // Every third solve of a kind and later ones: of five with either gradient the last is of a kind of its own, five
    // carry scores, and ten want neither.
    assert_eq!(graphs.replays() - before, 2 + 2 + 3 + 8, "{coordinates:?}");
}

/// Losses and densities of the kinds of solves, and both kinds of gradients one after the other.
fn figures<S: Space>(
    space: &S,
    potential: &dyn Potential<S>,
    coordinates: Coordinates,
    memory: Memory,
    batch: &[f64],
    key: RngKey,
) -> (Vec<f64>, Vec<S::Array>) {
    let integrator = FixedStep::new(Method::Midpoint.tableau(), 2).expect("steps");
    let flow = Flow { space, potential, integrator: &integrator, duration: 0.5, coordinates, memory, team: &Alone };
    let whole = Batch::new(batch.to_vec(), potential.dim()).expect("whole rows");
    let evaluate = |objective: &dyn Objective<S>, gradient| {
        objective
            .evaluate(&flow, &whole, &Evaluation { gradient, ..Evaluation::new(key) })
            .expect("fixed steps do not fail")
    };
    let costly = evaluate(&NegativeLogLikelihood { transport_cost: 0.1, log_jacobian: 0.0.into() }, true);
    let free = evaluate(&NegativeLogLikelihood::default(), false);
    let density = flow.log_density(batch, key).expect("fixed steps do not fail");
    let energy = StandardNormal { dim: potential.dim() };
    let path = evaluate(&FreeEnergy { gradient: Estimator::Path, ..FreeEnergy::new(energy) }, true);
    let gradients = costly.gradient.into_iter().chain(path.gradient).flatten();
    ([costly.losses, free.losses, density, path.losses].concat(), gradients.collect())
}
