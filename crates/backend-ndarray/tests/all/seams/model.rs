//! A flow as a model: densities, samples and maps, each with its integration error.

use backend_ndarray::Cpu;
use flow_core::conformance::Gaussian;
use flow_core::{FixedStep, FlowModel, Method, Model, NegativeLogLikelihood, Potential, standard_normal_log_density};

use super::{DIM, key, normals, ridge};

const ROWS: usize = 20;

fn model(potential: Box<dyn Potential<Cpu<f64>>>, steps: usize) -> FlowModel<Cpu<f64>> {
    let integrator = FixedStep::new(Method::Rk4.tableau(), steps).unwrap();
    FlowModel::new(Cpu::new(1), potential, Box::new(integrator), Box::new(NegativeLogLikelihood::default()))
}

fn of_ridge(steps: usize) -> FlowModel<Cpu<f64>> {
    model(Box::new(ridge(&Cpu::new(1), 8)), steps)
}

/// Checks that figures differ from the exact ones by less than their errors, which say something.
fn assert_covered(what: &str, figures: &[f64], exact: &[f64], errors: &[f64]) {
    for ((figure, exact), error) in figures.iter().zip(exact).zip(errors) {
        let off = (figure - exact).abs();
        assert!(off <= *error, "{what}: {figure} ± {error:e}, exactly {exact}");
        assert!((1e-9..0.05).contains(error), "{what}: an error of {error:e}");
    }
    assert_eq!((figures.len(), errors.len()), (exact.len(), exact.len()));
}

#[test]
fn integration_errors_cover_the_difference_to_a_fine_solution() {
    let x = normals(ROWS).x;
    let fine = of_ridge(200);
    for steps in [4, 8, 16] {
        let coarse = of_ridge(steps);
        let [found, exact] = [&coarse, &fine].map(|model| model.log_prob(&x, &[], key(0)).unwrap());
        assert_covered("ln p", &found.values, &exact.values, &found.integration_errors);
        for to_base in [true, false] {
            let map = |model: &FlowModel<Cpu<f64>>| match to_base {
                true => model.to_base(&x, &[], key(0)).unwrap(),
                false => model.from_base(&x, &[], key(0)).unwrap(),
            };
            let [found, exact] = [map(&coarse), map(&fine)];
            let of_coordinates: Vec<f64> = found.integration_errors.iter().flat_map(|error| [*error; DIM]).collect();
            assert_covered("a map", &found.x, &exact.x, &of_coordinates);
            assert_covered("a Jacobian", &found.log_jacobian, &exact.log_jacobian, &found.integration_errors);
        }
        let [found, exact] = [&coarse, &fine].map(|model| model.sample(ROWS, &[], key(0)).unwrap());
        assert_covered("ln p of samples", &found.log_prob, &exact.log_prob, &found.integration_errors);
    }
    // A single step has no coarser neighbour.
    let one = of_ridge(1).log_prob(&x, &[], key(0)).unwrap();
    let two = of_ridge(2).log_prob(&x, &[], key(0)).unwrap();
    let change = one.values.iter().zip(&two.values).map(|(a, b)| (a - b).abs());
    assert!(one.integration_errors.iter().copied().eq(change), "by the next finer one");
}

#[test]
fn maps_are_each_others_inverse_within_their_errors() {
    let (model, x) = (of_ridge(4), normals(ROWS).x);
    let there = model.to_base(&x, &[], key(0)).unwrap();
    let back = model.from_base(&there.x, &[], key(0)).unwrap();
    for r in 0..ROWS {
        let error = there.integration_errors[r] + back.integration_errors[r];
        let row = r * DIM..(r + 1) * DIM;
        let off = back.x[row.clone()].iter().zip(&x[row]).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
        assert!(0.0 < off && off <= error && error < 0.05, "row {r} is off by {off:e}, with an error of {error:e}");
        let jacobians = there.log_jacobian[r] + back.log_jacobian[r];
        assert!(jacobians.abs() <= error, "row {r}: {jacobians:e}, with an error of {error:e}");
        assert!(there.log_jacobian[r].abs() > 10.0 * error, "Jacobians that are not those of the identity");
    }
}

#[test]
fn densities_of_samples_maps_and_points_are_one() {
    let model = of_ridge(4);
    let samples = model.sample(ROWS, &[], key(0)).unwrap();
    let ln_p = model.log_prob(&samples.x, &[], key(0)).unwrap();
    let base = model.to_base(&samples.x, &[], key(0)).unwrap();
    for r in 0..ROWS {
        let error = samples.integration_errors[r] + ln_p.integration_errors[r];
        assert!((samples.log_prob[r] - ln_p.values[r]).abs() <= error);
        let z = &base.x[r * DIM..(r + 1) * DIM];
        assert_eq!(standard_normal_log_density(z) + base.log_jacobian[r], ln_p.values[r]);
    }
    // Other keys, other samples; the same key, the same ones, however many.
    assert_ne!(model.sample(ROWS, &[], key(1)).unwrap().x, samples.x);
    assert_eq!(model.sample(2, &[], key(0)).unwrap().x, samples.x[..2 * DIM]);
}

#[test]
fn a_context_says_how_many_samples_there_are_and_where() {
    let (rate, context) = (0.4f64, key(8).normals(0..ROWS, DIM));
    let model = model(Box::new(Gaussian::new(Cpu::new(1), DIM, rate).driven()), 50);
    assert_eq!((model.dim(), model.context_dim()), (DIM, DIM));
    let samples = model.sample(7, &context, key(0)).unwrap();
    let base = model.to_base(&samples.x, &context, key(0)).unwrap();
    // x = e^{λ} z + c (e^{λ} − 1)/λ.
    let width = rate.exp();
    for ((x, z), c) in samples.x.iter().zip(key(0).normals(0..ROWS, DIM)).zip(&context) {
        assert!((x - (width * z + c * (width - 1.0) / rate)).abs() < 1e-7);
    }
    assert_eq!(samples.log_prob.len(), ROWS);
    let off = base.x.iter().zip(key(0).normals(0..ROWS, DIM)).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
    assert!(off < 1e-7, "{off:e}");
}
