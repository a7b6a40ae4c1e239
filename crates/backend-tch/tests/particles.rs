//! The symmetries of the term of particles, and where they meet.
#![cfg(set_up)]

mod common;

use backend_tch::{Activation, Tch, Term};
use common::{devices, spaces};
use flow_core::{
    Batch, Block, Coordinates, Evaluation, FixedStep, Flow, Method, Motion, NegativeLogLikelihood, Objective,
    ParticlesSettings, Potential, Precision, Purpose, RngKey, Solve, Space, Stage, TimeBasis, TimeFamily,
};

fn settings(particles: usize, space: usize) -> ParticlesSettings {
    let (interval, core, cutoff) = ([0.4, 5.0], 0.3, None);
    let (hidden, activation) = ([7, 5], Activation::Softplus);
    let (kinds, centres, sums, vectors) = (Vec::new(), 6, 3, 2);
    ParticlesSettings { particles, space, kinds, centres, interval, core, cutoff, sums, vectors, hidden, activation }
}

/// With every coefficient away from zero.
fn term(on: Tch, of: ParticlesSettings) -> Term {
    let basis = TimeBasis::new(TimeFamily::Cosine, 2, 1.0).unwrap();
    let mut term = Term::particles(on, of, basis, 3).unwrap();
    for (k, parameter) in term.parameters_mut().into_iter().enumerate() {
        let (rows, cols) = on.shape(&parameter.value);
        let noise = on.upload(rows, cols, &RngKey::new(4, Purpose::Sample, k as u64).normals(0..rows, cols));
        on.accumulate(&mut parameter.value, 1.0, &[(0.3, &noise)]);
    }
    term
}

/// Minus ln p of a point under the flow of a term.
fn loss(on: Tch, of: &Term, x: &[f64]) -> f64 {
    let steps = FixedStep::new(Method::Rk4.tableau(), 8).unwrap();
    let flow = Flow::new(&on, of, &steps);
    let batch = Batch::new(x.to_vec(), of.dim()).unwrap();
    let how = Evaluation::new(RngKey::new(0, Purpose::Evaluate, 0));
    NegativeLogLikelihood::default().evaluate(&flow, &batch, &how).unwrap().losses[0]
}

/// A rotation, with a reflection, of d dimensions.
fn turned(x: &[f64], d: usize, angle: f64) -> Vec<f64> {
    let (s, c) = angle.sin_cos();
    let turn = |x: &[f64]| match d {
        1 => vec![-x[0]],
        2 => vec![c * x[0] + s * x[1], s * x[0] - c * x[1]],
        _ => {
            let (y, z) = (c * x[1] + s * x[2], c * x[2] - s * x[1]);
            vec![c * y - s * x[0], -(s * y + c * x[0]), z]
        }
    };
    x.chunks_exact(d).flat_map(turn).collect()
}

#[test]
fn ln_p_does_not_tell_how_a_cluster_is_numbered_or_turned_or_where_it_is() {
    for on in spaces(Precision::F64) {
        for (n, d) in [(4, 2), (5, 3), (3, 1), (2, 3)] {
            let of = term(on, settings(n, d));
            let x = RngKey::new(7, Purpose::Sample, 0).normals(0..1, n * d);
            let here = loss(on, &of, &x);
            let close = |what: &str, found: f64| {
                assert!((found - here).abs() < 1e-11 * here.abs().max(1.0), "{what} of {n} in {d}: {found} {here}");
            };
            let mut renumbered = x.clone();
            renumbered.rotate_left(d);
            renumbered.chunks_exact_mut(2 * d).for_each(|two| two.rotate_left(d));
            close("permutation", loss(on, &of, &renumbered));
            close("rotation and reflection", loss(on, &of, &turned(&x, d, 0.7)));
            // The centre is a standard normal of its own.
            let centre = |x: &[f64]| -> f64 {
                (0..d).map(|a| x.iter().skip(a).step_by(d).sum::<f64>().powi(2)).sum::<f64>() / n as f64
            };
            let moved: Vec<f64> = x.iter().enumerate().map(|(i, x)| x + 0.4 * (i % d) as f64 - 0.9).collect();
            close("translation", loss(on, &of, &moved) - 0.5 * (centre(&moved) - centre(&x)));
        }
    }
}

#[test]
fn particles_of_one_kind_alone_may_change_places() {
    let on = devices(Precision::F64).remove(0);
    let (n, d) = (5, 3);
    let of = term(on, ParticlesSettings { kinds: vec![7, 2, 7, 2, 2], ..settings(n, d) });
    let x = RngKey::new(7, Purpose::Sample, 0).normals(0..1, n * d);
    let here = loss(on, &of, &x);
    let swapped = |i: usize, j: usize| {
        let mut x = x.clone();
        (0..d).for_each(|a| x.swap(i * d + a, j * d + a));
        (loss(on, &of, &x) - here).abs()
    };
    for (i, j) in [(0, 2), (1, 3), (1, 4), (3, 4)] {
        assert!(swapped(i, j) < 1e-11 * here.abs(), "{i} {j}: {}", swapped(i, j));
    }
    for (i, j) in [(0, 1), (2, 3), (0, 4)] {
        assert!(swapped(i, j) > 1e-3, "{i} {j}: {}", swapped(i, j));
    }
}

/// ∇φ and ∇²φ at a point.
fn field(on: Tch, of: &Term, x: &[f64]) -> (Vec<f64>, f64) {
    let frozen = of.freeze(&Solve {
        rows: 1,
        block_rows: 1,
        key: RngKey::new(0, Purpose::Evaluate, 0),
        coordinates: Coordinates::X,
        evaluations: None,
        laplacians: true,
    });
    let (mut block, state) = frozen.enter(Block::new(0..1, on.upload(1, x.len(), x)));
    let (mut velocity, mut laplacian) = (on.zeros(1, x.len()), on.column_zeros(1));
    let out = Motion { velocity: &mut velocity, laplacian: Some(&mut laplacian), residuals: None };
    block.evaluate(Stage { t: 0.3, index: 0 }, &state, out);
    (on.download(&velocity), on.download_column(&laplacian)[0])
}

#[test]
fn field_and_gradient_are_smooth_where_particles_meet() {
    let on = devices(Precision::F64).remove(0);
    let of = term(on, settings(4, 2));
    // Two particles on either side of one place.
    let apart = |gap: f64| [0.3 + gap, 0.2, 0.3 - gap, 0.2, -1.0, 0.4, 0.9, -0.8];
    let [here, near] = [0.0, 1e-7].map(|gap| field(on, &of, &apart(gap)));
    assert!(here.0.iter().zip(&near.0).all(|(a, b)| (a - b).abs() < 1e-5), "{here:?} {near:?}");
    assert!((here.1 - near.1).abs() < 1e-5, "{} {}", here.1, near.1);
    // Neither of them is pushed: they meet where they are alike.
    assert!((here.0[0] - here.0[2]).abs() < 1e-12 && (here.0[1] - here.0[3]).abs() < 1e-12);
    let gradient = |gap: f64| -> Vec<f64> {
        let steps = FixedStep::new(Method::Rk4.tableau(), 2).unwrap();
        let flow = Flow::new(&on, &of, &steps);
        let how = Evaluation::new(RngKey::new(0, Purpose::Train, 0)).with_gradient();
        let batch = Batch::new(apart(gap).to_vec(), 8).unwrap();
        let found = NegativeLogLikelihood::default().evaluate(&flow, &batch, &how).unwrap();
        found.gradient.unwrap().iter().flat_map(|g| on.download(g)).collect()
    };
    let [here, near] = [0.0, 1e-7].map(gradient);
    let size = near.iter().fold(0.0f64, |m, g| m.max(g.abs()));
    assert!(here.iter().zip(&near).all(|(a, b)| (a - b).abs() < 1e-5 * size), "{here:?} {near:?}");
}

#[test]
fn rows_of_other_particles_are_refused() {
    use flow_core::{Engine, PotentialSettings};
    let on = devices(Precision::F64).remove(0);
    let of = |settings| on.potential(8, &PotentialSettings::Particles(settings), TimeBasis::constant(), 0).map(drop);
    assert!(of(settings(4, 2)).is_ok());
    let error = of(settings(5, 2)).unwrap_err().to_string();
    assert!(error.contains("particles") && error.contains("10") && error.contains('8'), "{error}");
    assert!(of(ParticlesSettings { core: 0.0, ..settings(4, 2) }).is_err());
}
