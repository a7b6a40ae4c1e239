//! Maps in closed form: what each coordinate depends on, Jacobians, inverses and gradients, against differences in 64
//! bits.
#![cfg(set_up)]

mod common;

use backend_tch::{BijectorSettings, Layers, Tch};
use common::spaces;
use flow_core::{
    Batch, Bijector, BijectorModel, Direction, Energy, Evaluation, FreeEnergy, Model, NegativeLogLikelihood, Objective,
    PointEnergy, Precision, Purpose, RngKey, Space, Trainable,
};

const DIM: usize = 5;
const ROWS: usize = 3;

fn key(seed: u64) -> RngKey {
    RngKey::new(seed, Purpose::Train, 0)
}

fn autoregressive(layers: usize, components: usize) -> BijectorSettings {
    BijectorSettings::Autoregressive { layers, hidden: vec![24, 18], components }
}

fn all() -> [BijectorSettings; 4] {
    let coupling = BijectorSettings::Coupling { layers: 3, hidden: vec![7] };
    [autoregressive(1, 0), autoregressive(0, 3), autoregressive(2, 4), coupling]
}

/// A map whose every parameter differs from what it begins with, those that masks hide included.
fn map(space: Tch, dim: usize, context: usize, settings: &BijectorSettings) -> Layers {
    let mut map = Layers::new(space, dim, context, settings, 1).unwrap();
    for (i, parameter) in map.parameters_mut().into_iter().enumerate() {
        let size = parameter.shape.iter().product();
        let (rows, cols) = space.shape(&parameter.value);
        let change = space.upload(rows, cols, &key(100 + i as u64).normals(0..1, size));
        space.accumulate(&mut parameter.value, 1.0, &[(0.15, &change)]);
    }
    map
}

fn model(space: Tch, dim: usize, context: usize, settings: &BijectorSettings) -> BijectorModel<Tch> {
    BijectorModel::new(Box::new(map(space, dim, context, settings)), Box::new(NegativeLogLikelihood::default()))
}

/// `∂ to_base / ∂x` of the first row, row by row, by central differences.
fn jacobian(model: &BijectorModel<Tch>, x: &[f64], context: &[f64]) -> Vec<Vec<f64>> {
    let n = model.dim();
    let at = |j: usize, h: f64| {
        let mut x = x.to_vec();
        x[j] += h;
        model.to_base(&x, context, key(0)).unwrap().x
    };
    let h = 1e-5;
    let columns: Vec<[Vec<f64>; 2]> = (0..n).map(|j| [at(j, h), at(j, -h)]).collect();
    (0..n).map(|i| columns.iter().map(|[above, below]| (above[i] - below[i]) / (2.0 * h)).collect()).collect()
}

/// `ln |det|` by elimination with pivots.
fn log_determinant(mut a: Vec<Vec<f64>>) -> f64 {
    let n = a.len();
    let mut sum = 0.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).unwrap();
        a.swap(k, pivot);
        sum += a[k][k].abs().ln();
        for i in k + 1..n {
            let factor = a[i][k] / a[k][k];
            let row = a[k].clone();
            a[i].iter_mut().zip(&row).for_each(|(a, b)| *a -= factor * b);
        }
    }
    sum
}

/// The greatest `|∂z_i/∂x_j|` over some points: at a single one all units that know a coordinate may be at rest.
fn dependence(model: &BijectorModel<Tch>) -> Vec<Vec<f64>> {
    let points = key(2).normals(0..6, DIM);
    let all: Vec<_> = points.chunks_exact(DIM).map(|x| jacobian(model, x, &[])).collect();
    let greatest = |i: usize, j: usize| all.iter().fold(0.0f64, |most, jacobian| most.max(jacobian[i][j].abs()));
    (0..DIM).map(|i| (0..DIM).map(|j| greatest(i, j)).collect()).collect()
}

#[test]
fn a_coordinate_depends_on_those_before_it_alone() {
    for space in spaces(Precision::F64) {
        for settings in [autoregressive(1, 0), autoregressive(0, 3)] {
            let depends = dependence(&model(space, DIM, 0, &settings));
            for (i, row) in depends.iter().enumerate() {
                let of = |range: &[f64]| range.iter().filter(|derivative| **derivative > 0.0).count();
                assert_eq!((of(&row[..=i]), of(&row[i + 1..])), (i + 1, 0), "{settings:?}, z{i}: {row:?}");
            }
        }
        // Two layers know all coordinates, as the second has them in the reverse order.
        let both = dependence(&model(space, DIM, 0, &autoregressive(2, 0)));
        assert!(both.iter().flatten().all(|derivative| *derivative > 0.0), "{both:?}");
    }
}

#[test]
fn a_coupling_keeps_every_other_coordinate() {
    for space in spaces(Precision::F64) {
        let model = model(space, DIM, 0, &BijectorSettings::Coupling { layers: 1, hidden: vec![6] });
        let x = key(2).normals(0..1, DIM);
        let base = model.to_base(&x, &[], key(0)).unwrap();
        for (i, (z, x)) in base.x.iter().zip(&x).enumerate() {
            assert_eq!(z == x, i % 2 == 1, "coordinate {i}");
        }
        let jacobian = jacobian(&model, &x, &[]);
        let depends = |i: usize, j: usize| jacobian[i][j].abs() > 1e-9;
        assert!(depends(0, 1) && depends(2, 3) && !depends(0, 2) && !depends(1, 0) && !depends(1, 3));
    }
}

#[test]
fn jacobians_are_those_of_differences_and_inverses_lead_back() {
    for space in spaces(Precision::F64) {
        for (settings, width) in all().into_iter().flat_map(|settings| [(settings.clone(), 0), (settings, 2)]) {
            let model = model(space, DIM, width, &settings);
            let (x, context) = (key(3).normals(0..ROWS, DIM), key(4).normals(0..ROWS, width));
            let base = model.to_base(&x, &context, key(0)).unwrap();
            for r in 0..ROWS {
                let context = &context[r * width..(r + 1) * width];
                let exact = log_determinant(jacobian(&model, &x[r * DIM..(r + 1) * DIM], context));
                let off = (base.log_jacobian[r] - exact).abs();
                assert!(off < 1e-7 && exact.abs() > 1e-3, "{settings:?}: {exact} is off by {off:e}");
            }
            let back = model.from_base(&base.x, &context, key(0)).unwrap();
            let off = back.x.iter().zip(&x).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
            assert!(off < 1e-10, "{settings:?}: points are off by {off:e}");
            for (there, back) in base.log_jacobian.iter().zip(&back.log_jacobian) {
                assert!((there + back).abs() < 1e-9, "{settings:?}: {there} and {back}");
            }
            assert_eq!(back.integration_errors, vec![0.0; ROWS]);
            if width > 0 {
                let other: Vec<f64> = context.iter().map(|c| c + 1.0).collect();
                let moved = model.to_base(&x, &other, key(0)).unwrap().x;
                assert!(moved[0] != base.x[0] || moved[1] != base.x[1], "{settings:?} does not heed its context");
            }
        }
    }
}

/// Checks the gradient of an objective against differences in a few numbers of every parameter.
fn check_gradient(space: Tch, settings: &BijectorSettings, [dim, width]: [usize; 2], objective: &dyn Objective<Tch>) {
    let mut model = model(space, dim, width, settings);
    let batch = Batch::new(key(5).normals(0..8, dim), dim).unwrap();
    let batch = batch.with_context(key(6).normals(0..8, width));
    let batch = batch.with_weights((1..=8).map(f64::from).collect(), 36.0);
    let how = Evaluation::new(key(0));
    let loss = |model: &BijectorModel<Tch>| {
        let losses = model.evaluate_by(objective, &batch, &how).unwrap().losses;
        losses.iter().zip(1..).map(|(loss, weight)| loss * f64::from(weight) / 36.0).sum::<f64>()
    };
    let gradient = model.evaluate_by(objective, &batch, &how.with_gradient()).unwrap().gradient.unwrap();
    for (p, gradient) in gradient.iter().enumerate() {
        let exact = space.download(gradient);
        let (rows, cols) = space.shape(gradient);
        let name = model.parameters()[p].name.clone();
        for i in [0, exact.len() / 2, exact.len() - 1] {
            let mut at = |h: f64| {
                let mut unit = vec![0.0; exact.len()];
                unit[i] = h;
                let step = space.upload(rows, cols, &unit);
                space.accumulate(&mut model.parameters_mut()[p].value, 1.0, &[(1.0, &step)]);
                let found = loss(&model);
                space.accumulate(&mut model.parameters_mut()[p].value, 1.0, &[(-1.0, &step)]);
                found
            };
            // The kink of a rectified unit may lie within a step, but not within all of them.
            let differences = [1e-5, 1e-6, 1e-7].map(|h| (at(h) - at(-h)) / (2.0 * h));
            let near = |difference: &f64| (difference - exact[i]).abs() < 1e-6 * (1.0 + exact[i].abs());
            assert!(differences.iter().any(near), "{settings:?}, {name}[{i}]: {} and {differences:?}", exact[i]);
        }
    }
    let largest = gradient.iter().flat_map(|g| space.download(g)).fold(0.0f64, |most, g| most.max(g.abs()));
    assert!(largest > 1e-2, "{settings:?}: no gradient at all");
}

#[test]
fn gradients_of_a_likelihood_are_those_of_differences() {
    for space in spaces(Precision::F64) {
        for (settings, width) in all().into_iter().zip([0, 2, 0, 2]) {
            check_gradient(space, &settings, [DIM, width], &NegativeLogLikelihood::default());
        }
    }
}

/// The energy `Σ x⁴/4`.
fn quartic(dim: usize) -> FreeEnergy<impl Energy> {
    FreeEnergy::new(PointEnergy::new(dim, |x, gradient| {
        gradient.iter_mut().zip(x).for_each(|(g, x)| *g = x.powi(3));
        Ok(x.iter().map(|x| 0.25 * x.powi(4)).sum())
    }))
}

#[test]
fn a_free_energy_has_its_gradient_by_couplings_and_is_refused_by_autoregressive_layers() {
    for space in spaces(Precision::F64) {
        let [made, .., coupling] = all();
        check_gradient(space, &coupling, [DIM, 0], &quartic(DIM));
        let (model, batch) = (model(space, DIM, 0, &made), Batch::new(vec![0.0; DIM], DIM).unwrap());
        let how = Evaluation::new(key(0));
        assert!(model.evaluate_by(&quartic(DIM), &batch, &how).is_ok(), "its figure can be had");
        let error = model.evaluate_by(&quartic(DIM), &batch, &how.with_gradient()).unwrap_err();
        assert!(error.to_string().contains("likelihood of data"), "{error}");
    }
}

#[test]
fn a_mixture_is_a_density_and_reaches_into_its_tails() {
    for space in spaces(Precision::F64) {
        let model = model(space, 1, 0, &autoregressive(0, 4));
        let step = 0.002;
        let x: Vec<f64> = (-6000..6000).map(|i| step * f64::from(i)).collect();
        let ln_p = model.log_prob(&x, &[], key(0)).unwrap().values;
        let mass = ln_p.iter().map(|ln_p| ln_p.exp() * step).sum::<f64>();
        assert!((mass - 1.0).abs() < 1e-9, "{mass}");
        // 100 deviations away z stays where it is, and ln p is that of the nearest Gaussian.
        let far = model.log_prob(&[60.0, 61.0], &[], key(0)).unwrap().values;
        assert!(far[0] < -1000.0 && far[1] < far[0], "{far:?}");
        let z = [-8.0, -3.0, 0.1, 5.0, 8.0];
        let x = model.from_base(&z, &[], key(0)).unwrap().x;
        let back = model.to_base(&x, &[], key(0)).unwrap().x;
        assert!(back.iter().zip(&z).all(|(back, z)| (back - z).abs() < 1e-8), "{back:?}");
    }
}

#[test]
fn single_precision_is_near_double_precision() {
    let doubles = spaces(Precision::F64);
    for (single, double) in spaces(Precision::F32).into_iter().zip(doubles) {
        for settings in all() {
            let x = key(3).normals(0..ROWS, DIM);
            let ln_p = |space| model(space, DIM, 0, &settings).log_prob(&x, &[], key(0)).unwrap().values;
            for (found, exact) in ln_p(single).iter().zip(ln_p(double)) {
                assert!((found - exact).abs() < 1e-4, "{settings:?}: {found} and {exact}");
            }
        }
    }
}

#[test]
fn affine_layers_begin_as_the_identity() {
    for space in spaces(Precision::F64) {
        for settings in [autoregressive(3, 0), BijectorSettings::Coupling { layers: 2, hidden: vec![4] }] {
            let map = Layers::new(space, DIM, 0, &settings, 0).unwrap();
            let x = space.upload(1, DIM, &key(1).normals(0..1, DIM));
            let image = map.carry(Direction::Backward, x.clone(), None, false).unwrap();
            assert_eq!(space.download(&image.x), space.download(&x));
            assert_eq!(space.download_column(&image.log_density), [0.0]);
        }
    }
}

#[test]
fn rows_far_from_all_others_have_a_likelihood_and_a_gradient() {
    for space in spaces(Precision::F32) {
        let model = model(space, DIM, 0, &autoregressive(3, 0));
        let batch = Batch::new(key(5).normals(0..4, DIM).iter().map(|x| 300.0 * x).collect(), DIM).unwrap();
        let how = Evaluation::new(key(0)).with_gradient();
        let found = model.evaluate_by(&NegativeLogLikelihood::default(), &batch, &how).unwrap();
        assert!(found.losses.iter().all(|loss| loss.is_finite() && *loss > 1e4), "{:?}", found.losses);
        let gradient = found.gradient.unwrap();
        assert!(gradient.iter().all(|g| space.download(g).iter().all(|g| g.is_finite())));
    }
}

#[test]
fn a_hierarchy_of_blocks_is_a_map_with_its_gradients() {
    let hierarchical = |side| BijectorSettings::Hierarchical { side, layers: 2, hidden: vec![5] };
    for space in spaces(Precision::F64) {
        let model = model(space, 16, 0, &hierarchical(4));
        let x = key(3).normals(0..2, 16);
        let base = model.to_base(&x, &[], key(0)).unwrap();
        let back = model.from_base(&base.x, &[], key(0)).unwrap();
        assert!(back.x.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-10));
        for (r, x) in x.chunks_exact(16).enumerate() {
            let exact = log_determinant(jacobian(&model, x, &[]));
            assert!((base.log_jacobian[r] - exact).abs() < 1e-7, "{exact}");
            assert!((back.log_jacobian[r] + exact).abs() < 1e-7 && exact.abs() > 1e-3, "{exact}");
        }
        check_gradient(space, &hierarchical(4), [16, 0], &NegativeLogLikelihood::default());
        check_gradient(space, &hierarchical(4), [16, 0], &quartic(16));
        for wrong in [(16, 8), (9, 3), (4, 0)] {
            assert!(Layers::new(space, wrong.0, 0, &hierarchical(wrong.1), 0).is_err(), "{wrong:?}");
        }
    }
}

#[test]
fn sizes_that_make_no_map_are_refused() {
    let space = spaces(Precision::F64)[0];
    let coupling = |layers, hidden| BijectorSettings::Coupling { layers, hidden };
    for (dim, settings) in [
        (0, autoregressive(1, 0)),
        (3, autoregressive(0, 0)),
        (3, BijectorSettings::Autoregressive { layers: 1, hidden: vec![], components: 0 }),
        (3, coupling(1, vec![4, 0])),
        (1, coupling(1, vec![4])),
    ] {
        assert!(Layers::new(space, dim, 0, &settings, 0).is_err(), "{dim}, {settings:?}");
    }
    // A single coordinate has no others to depend on.
    assert!(Layers::new(space, 1, 0, &autoregressive(1, 0), 0).is_ok());
}
