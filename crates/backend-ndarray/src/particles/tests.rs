//! The symmetries of the potential of particles, and where they meet.

use flow_core::{Activation, FixedStep, Flow, Method, Motion, Purpose, RngKey, Space, TimeFamily};
use proptest::prelude::*;

use super::*;

fn settings(particles: usize, space: usize, sums: usize, vectors: usize) -> ParticlesSettings {
    let (interval, core) = ([0.4, 5.0], 0.3);
    let (hidden, activation) = ([7, 5], Activation::Softplus);
    let (kinds, cutoff, centres) = (Vec::new(), None, 6);
    ParticlesSettings { particles, space, kinds, centres, interval, core, cutoff, sums, vectors, hidden, activation }
}

/// With every coefficient away from zero.
fn potential(of: ParticlesSettings) -> Particles<f64> {
    let cpu = Cpu::<f64>::new(1);
    let basis = TimeBasis::new(TimeFamily::Cosine, 2, 1.0).unwrap();
    let mut potential = Particles::new(cpu.clone(), of, basis, 3).unwrap();
    for (k, parameter) in potential.parameters_mut().into_iter().enumerate() {
        let (rows, cols) = parameter.value.dim();
        let noise = RngKey::new(4, Purpose::Sample, k as u64).normals(0..rows, cols);
        parameter.value += &(cpu.upload(rows, cols, &noise) * 0.3);
    }
    potential
}

/// ln p of points under the flow of a potential, and where the points came from.
fn log_density(of: &Particles<f64>, x: &[f64]) -> Vec<f64> {
    let (cpu, steps) = (Cpu::<f64>::new(1), FixedStep::new(Method::Rk4.tableau(), 8).unwrap());
    let flow = Flow::new(&cpu, of, &steps);
    let batch = flow_core::Batch::new(x.to_vec(), of.dim()).unwrap();
    flow.log_density_of(&batch, RngKey::new(0, Purpose::Evaluate, 0)).unwrap()
}

/// A rotation, with a reflection, of d dimensions.
fn turned(x: &[f64], d: usize, angle: f64) -> Vec<f64> {
    let (s, c) = angle.sin_cos();
    x.chunks_exact(d)
        .flat_map(|x| match d {
            1 => vec![-x[0]],
            2 => vec![c * x[0] + s * x[1], s * x[0] - c * x[1]],
            _ => {
                let (y, z) = (c * x[1] + s * x[2], c * x[2] - s * x[1]);
                vec![c * y - s * x[0], -(s * y + c * x[0]), z]
            }
        })
        .collect()
}

#[test]
fn ln_p_does_not_tell_how_a_cluster_is_numbered_or_turned_or_where_it_is() {
    for (n, d) in [(4, 2), (5, 3), (3, 1), (2, 3)] {
        let of = potential(settings(n, d, 3, 2));
        let x = RngKey::new(7, Purpose::Sample, 0).normals(0..1, n * d);
        let ln_p = log_density(&of, &x)[0];
        let close = |what: &str, found: f64| {
            assert!((found - ln_p).abs() < 1e-11 * ln_p.abs().max(1.0), "{what} of {n} in {d}: {found} {ln_p}");
        };
        let mut renumbered = x.clone();
        renumbered.rotate_left(d);
        renumbered.chunks_exact_mut(2 * d).for_each(|two| two.rotate_left(d));
        close("permutation", log_density(&of, &renumbered)[0]);
        close("rotation and reflection", log_density(&of, &turned(&x, d, 0.7))[0]);
        // The centre is a standard normal of its own.
        let centre = |x: &[f64]| -> f64 {
            (0..d).map(|a| x.iter().skip(a).step_by(d).sum::<f64>().powi(2)).sum::<f64>() / n as f64
        };
        let moved: Vec<f64> = x.iter().enumerate().map(|(i, x)| x + 0.4 * (i % d) as f64 - 0.9).collect();
        close("translation", log_density(&of, &moved)[0] + 0.5 * (centre(&moved) - centre(&x)));
    }
}

#[test]
fn particles_of_one_kind_alone_may_change_places() {
    let (n, d) = (5, 3);
    let of = potential(ParticlesSettings { kinds: vec![7, 2, 7, 2, 2], ..settings(n, d, 3, 2) });
    assert_eq!(of.parameters()[1].shape, [2, 3 * 6, 6]);
    let x = RngKey::new(7, Purpose::Sample, 0).normals(0..1, n * d);
    let ln_p = log_density(&of, &x)[0];
    let swapped = |i: usize, j: usize| {
        let mut x = x.clone();
        (0..d).for_each(|a| x.swap(i * d + a, j * d + a));
        (log_density(&of, &x)[0] - ln_p).abs()
    };
    for (i, j) in [(0, 2), (1, 3), (1, 4), (3, 4)] {
        assert!(swapped(i, j) < 1e-11 * ln_p.abs(), "{i} {j}: {}", swapped(i, j));
    }
    for (i, j) in [(0, 1), (2, 3), (0, 4)] {
        assert!(swapped(i, j) > 1e-3, "{i} {j}: {}", swapped(i, j));
    }
    let turned = log_density(&of, &turned(&x, d, 0.7))[0];
    assert!((turned - ln_p).abs() < 1e-11 * ln_p.abs());
}

#[test]
fn particles_beyond_the_cutoff_do_not_see_each_other() {
    let of = potential(ParticlesSettings { cutoff: Some([1.0, 2.5]), ..settings(4, 2, 3, 2) });
    let cpu = Cpu::<f64>::new(1);
    let velocity_of = |x: &[f64; 8]| {
        let frozen = of.freeze(&Solve {
            rows: 1,
            block_rows: 1,
            key: RngKey::new(0, Purpose::Evaluate, 0),
            coordinates: flow_core::Coordinates::X,
            evaluations: None,
            laplacians: false,
        });
        let (mut block, state) = frozen.enter(Block::new(0..1, cpu.upload(1, 8, x)));
        let mut velocity = zeros(1, 8);
        block.evaluate(
            Stage { t: 0.3, index: 0 },
            &state,
            Motion { velocity: &mut velocity, laplacian: None, residuals: None },
        );
        cpu.download(&velocity)
    };
    // Two pairs far apart: how far changes nothing but the quadratic part, which is the same in both of a pair.
    let pairs = |gap: f64| [0.0, 0.0, 0.9, 0.3, gap, 0.0, gap + 0.7, -0.5];
    let between = |v: Vec<f64>| [v[0] - v[2], v[1] - v[3], v[4] - v[6], v[5] - v[7]];
    let (near, far) = (between(velocity_of(&pairs(5.0))), between(velocity_of(&pairs(9.0))));
    assert!(near.iter().zip(&far).all(|(a, b)| (a - b).abs() < 1e-12), "{near:?} {far:?}");
    let closer = between(velocity_of(&pairs(2.0)));
    assert!(near.iter().zip(&closer).any(|(a, b)| (a - b).abs() > 1e-3), "{near:?} {closer:?}");
}

#[test]
fn the_field_is_smooth_where_particles_meet() {
    for (sums, vectors) in [(0, 0), (3, 2)] {
        let of = potential(settings(4, 2, sums, vectors));
        let at = |gap: f64| {
            // Two particles on either side of one place.
            let x = [0.3 + gap, 0.2, 0.3 - gap, 0.2, -1.0, 0.4, 0.9, -0.8];
            let frozen = of.freeze(&Solve {
                rows: 1,
                block_rows: 1,
                key: RngKey::new(0, Purpose::Evaluate, 0),
                coordinates: flow_core::Coordinates::X,
                evaluations: None,
                laplacians: true,
            });
            let cpu = Cpu::<f64>::new(1);
            let (mut block, state) = frozen.enter(Block::new(0..1, cpu.upload(1, 8, &x)));
            let (mut velocity, mut laplacian) = (zeros(1, 8), vec![0.0]);
            block.evaluate(
                Stage { t: 0.3, index: 0 },
                &state,
                Motion { velocity: &mut velocity, laplacian: Some(&mut laplacian), residuals: None },
            );
            (cpu.download(&velocity), laplacian[0])
        };
        let (here, near) = (at(0.0), at(1e-7));
        assert!(here.0.iter().all(|v| v.is_finite()) && here.1.is_finite());
        assert!(here.0.iter().zip(&near.0).all(|(a, b)| (a - b).abs() < 1e-5), "{here:?} {near:?}");
        assert!((here.1 - near.1).abs() < 1e-5, "{} {}", here.1, near.1);
        // Neither of them is pushed: they meet where they are alike.
        assert!((here.0[0] - here.0[2]).abs() < 1e-12 && (here.0[1] - here.0[3]).abs() < 1e-12);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn velocities_leave_the_centre_alone(seed: u64, n in 2usize..6, d in 1usize..4) {
        let of = potential(settings(n, d, 2, 2));
        let x = RngKey::new(seed, Purpose::Sample, 0).normals(0..1, n * d);
        let (cpu, steps) = (Cpu::<f64>::new(1), FixedStep::new(Method::Rk4.tableau(), 4).unwrap());
        let flow = Flow::new(&cpu, &of, &steps);
        let key = RngKey::new(0, Purpose::Sample, 0);
        let end = flow.transport(&x, flow.span(flow_core::Direction::Forward), key).unwrap().x;
        for a in 0..d {
            let sum = |of: &[f64]| of.iter().skip(a).step_by(d).sum::<f64>();
            prop_assert!((sum(&end) - sum(&x)).abs() < 1e-12);
        }
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    let new = |of| Particles::new(Cpu::<f64>::new(1), of, TimeBasis::constant(), 0);
    let good = settings(3, 2, 1, 1);
    for bad in [
        ParticlesSettings { particles: 1, ..good.clone() },
        ParticlesSettings { space: 4, ..good.clone() },
        ParticlesSettings { centres: 1, ..good.clone() },
        ParticlesSettings { interval: [2.0, 1.0], ..good.clone() },
        ParticlesSettings { core: 0.0, ..good.clone() },
        ParticlesSettings { hidden: [0, 3], ..good.clone() },
        ParticlesSettings { kinds: vec![0, 1], ..good.clone() },
        ParticlesSettings { cutoff: Some([2.0, 2.0]), ..good.clone() },
    ] {
        assert!(new(bad.clone()).is_err(), "{bad:?}");
    }
    assert!(new(ParticlesSettings { sums: 0, vectors: 0, hidden: [0, 0], ..good }).is_ok());
}
