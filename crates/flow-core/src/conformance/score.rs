//! The score along the flow, the gradients made of it, and energies seen from the base density.

use super::fixtures::{Quartic, ROWS, fixed, flow, whole};
use super::{COORDINATES, Gaussian, assert_close, derivative, difference_tolerance, inner, key, points};
use crate::energy::{Energy, PointEnergy, standard_normal_log_density};
use crate::flow::{Direction, Flow};
use crate::objective::{Estimator, FreeEnergy, Objective};
use crate::potential::Potential;
use crate::score::base_score;
use crate::solve::Evaluation;
use crate::space::Space;
use crate::tableau::Method;

/// Checks the score that a flow carries against differences of ln p, in plain coordinates whatever the flow's own are.
pub(super) fn score_is_the_difference_of_ln_p<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let dim = potential.dim();
    // As fine as the differences are: there and back differ by the error of the method.
    let integrator = fixed(Method::Rk4, 120);
    let flow = flow(space, potential, &integrator);
    let z = points(ROWS, dim, 13);
    let (batch, span) = (whole(potential, z.clone()), flow.span(Direction::Forward));
    let there = flow.transport_batch(&batch, span, key(7)).expect("small solves stay finite");
    for coordinates in COORDINATES {
        let got = Flow { coordinates, ..flow }
            .carry_score(&batch, &base_score(&z), span, &Evaluation::new(key(7)))
            .expect("small solves stay finite");
        assert_close("points carried with their score", &got.x, &there.x, 64.0 * space.round_off(), 1.0);
        let tolerance = 64.0 * space.round_off();
        assert_close("ln p carried with the score", &got.log_density, &there.log_density, tolerance, 1.0);
        for i in 0..dim {
            let expected = derivative(space, |epsilon| {
                let mut x = there.x.clone();
                x.iter_mut().skip(i).step_by(dim).for_each(|x| *x += epsilon);
                flow.log_density_of(&whole(potential, x), key(7)).expect("small solves stay finite")
            });
            let score: Vec<f64> = got.score.iter().copied().skip(i).step_by(dim).collect();
            let tolerance = 1e-7f64.max(10.0 * difference_tolerance(space));
            assert_close("score against differences of ln p", &score, &expected, tolerance, 1.0);
        }
    }
}

/// Checks the energy seen from the base density, and its gradient by the adjoint, against its definition and
/// differences.
pub(super) fn latent_energy_is_differentiated<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let dim = potential.dim();
    let integrator = fixed(Method::Rk4, 2);
    let energy = Quartic(dim);
    // Near the middle: far out a quartic energy is too steep for differences.
    let z: Vec<f64> = points(ROWS, dim, 15).iter().map(|z| 0.25 * z).collect();
    for coordinates in COORDINATES {
        let flow = Flow { coordinates, ..flow(space, potential, &integrator) };
        let latent = |z: &[f64]| flow.latent_energy(&energy, z, key(10)).expect("small solves stay finite");
        let (energies, gradient) = latent(&z);
        let end = flow.transport(&z, flow.span(Direction::Forward), key(10)).expect("small solves stay finite");
        let rows = end.x.chunks_exact(dim).zip(&end.log_density);
        let expected: Vec<f64> = rows
            .map(|(x, change)| {
                energy.energy_and_gradient(x, &[], &mut vec![0.0; dim]).expect("it never fails") + change
            })
            .collect();
        assert_close("energy seen from the base", &energies, &expected, 64.0 * space.round_off(), 1.0);
        for i in 0..dim {
            let expected = derivative(space, |epsilon| {
                let mut z = z.clone();
                z.iter_mut().skip(i).step_by(dim).for_each(|z| *z += epsilon);
                latent(&z).0
            });
            let got: Vec<f64> = gradient.iter().copied().skip(i).step_by(dim).collect();
            // Differences have the round-off of the energies themselves.
            let scale = energies.iter().chain(&gradient).fold(1.0f64, |m, v| m.max(v.abs()));
            assert_close("its gradient", &got, &expected, difference_tolerance(space), scale);
        }
    }
}

/// Checks that both estimators of the free energy's gradient have the same mean over the base density, by quadrature:
/// on a potential of one coordinate.
///
/// # Panics
/// When they differ by more than the integration error, with the numbers, or row by row by less.
pub fn path_gradient_has_the_mean_of_the_total<S: Space>(space: &S, potential: &dyn Potential<S>) {
    assert_eq!(potential.dim(), 1, "a potential of one coordinate");
    let integrator = fixed(Method::Rk4, 40);
    let flow = flow(space, potential, &integrator);
    // The trapezoid rule is exponentially accurate for such integrands.
    let step = 0.3;
    let nodes: Vec<f64> = (-20..=20).map(|k| step * f64::from(k)).collect();
    let gradient = |gradient: Estimator, z: f64| -> Vec<f64> {
        let objective = FreeEnergy { energy: Quartic(1), transport_cost: 0.0, gradient };
        let outcome = objective
            .evaluate(&flow, &whole(potential, vec![z]), &Evaluation::new(key(8)).with_gradient())
            .expect("small solves stay finite");
        outcome.gradient.expect("asked for").iter().flat_map(|g| space.download(g)).collect()
    };
    let mut means = [Vec::new(), Vec::new()];
    let mut apart = 0.0;
    for &z in &nodes {
        let of_row = [Estimator::Total, Estimator::Path].map(|estimator| gradient(estimator, z));
        let weight = step * standard_normal_log_density(&[z]).exp();
        for (mean, of_row) in means.iter_mut().zip(&of_row) {
            mean.resize(of_row.len(), 0.0);
            mean.iter_mut().zip(of_row).for_each(|(mean, g)| *mean += weight * g);
        }
        let [total, path] = of_row;
        apart += weight * total.iter().zip(&path).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    }
    let [total, path] = means;
    let scale = total.iter().map(|g| g * g).sum::<f64>().sqrt();
    let tolerance = 2e-6f64.max(1e3 * space.round_off());
    assert_close("mean of the path gradient", &path, &total, tolerance, scale);
    assert!(apart.sqrt() > 1e-2 * scale, "the estimators differ by {:e} of {scale:e} only", apart.sqrt());
}

/// Checks that the gradient through the path vanishes for every sample where the model is the target, and that the
/// total gradient does not: on the Gaussian of appendix A.
///
/// # Panics
/// When either fails, with the numbers.
pub fn path_gradient_vanishes_at_the_target<S: Space>(space: &S) {
    let (dim, rate) = (3, 0.4);
    let potential = Gaussian::new(space.clone(), dim, rate);
    let integrator = fixed(Method::Rk4, 40);
    let flow = flow(space, &potential, &integrator);
    let width = (rate * flow.duration).exp();
    let roots = [Estimator::Total, Estimator::Path].map(|gradient| {
        // A Gaussian of that width.
        let wide = PointEnergy::new(dim, |x, gradient| {
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g = x / width.powi(2));
            Ok(0.5 * x.iter().map(|x| (x / width).powi(2)).sum::<f64>())
        });
        let objective = FreeEnergy { gradient, ..FreeEnergy::new(wide) };
        let squares = points(20, dim, 14)
            .chunks_exact(dim)
            .map(|z| {
                let outcome = objective
                    .evaluate(&flow, &whole(&potential, z.to_vec()), &Evaluation::new(key(9)).with_gradient())
                    .expect("small solves stay finite");
                let gradient = outcome.gradient.expect("asked for");
                inner(space, &gradient, &gradient)
            })
            .sum::<f64>();
        (squares / 20.0).sqrt()
    });
    let [total, path] = roots;
    assert!(path < 1e-7f64.max(1e2 * space.round_off()), "path gradient of the exact model: {path:e}");
    assert!(total > 0.5, "total gradient of the exact model: {total:e}");
}
