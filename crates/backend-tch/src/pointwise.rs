//! The pointwise work of a ridge potential between its products: one pass over the numbers on the CPU, one launch on a
//! CUDA device.
//!
//! libtorch would take five to ten operations for either, each with a pass of its own.

mod cpu;

pub(crate) use cpu::sum;
use tch::Tensor;

use crate::ops::{PullbackOf, SlopesOf};
use crate::tensors::Tch;

impl Tch {
    /// From arguments to slopes `s = f'`, with velocities and Laplacians where they are wanted; the arguments' memory
    /// may be used again.
    pub(crate) fn slopes(&self, a: Tensor, of: SlopesOf<'_>) -> Tensor {
        match self.kernels {
            Some(kernels) if a.kind() == self.kind() => {
                kernels.slopes(&a, &a, &of);
                a
            }
            Some(kernels) => {
                let s = Tensor::empty(a.size(), (self.kind(), a.device()));
                kernels.slopes(&a, &s, &of);
                s
            }
            None => cpu::slopes(a, of),
        }
    }

    /// From the cotangents of velocities and Laplacians to those of the arguments; adds what the gradient needs.
    pub(crate) fn pullback(&self, s: &Tensor, of: PullbackOf<'_>) {
        match self.kernels {
            Some(kernels) => kernels.pullback(s, &of),
            None => cpu::pullback(s, of),
        }
    }

    /// Rows of the sums of `s ⊙ u` and `l̄ f''` for so many rows of a block.
    pub(crate) fn rows_of_sums(&self, rows: i64) -> i64 {
        // On a device every row has its own: there is more memory than time.
        if self.kernels.is_some() { rows } else { 1 }
    }
}

#[cfg(all(test, set_up))]
mod tests {
    use flow_core::{Activation, Precision, Space};

    use super::*;
    use crate::device::Device;
    use crate::ops::Update;
    use crate::tensors::{Array, Options};

    /// On CUDA, where it can be used, on the CPU, and there as on CUDA devices.
    fn spaces(precision: Precision) -> Vec<Tch> {
        let options = Options { threads: 1, allow_tf32: false };
        let cuda = Tch::new(Device::Cuda, precision, options);
        let mut spaces = vec![Tch::new(Device::Cpu, precision, options).unwrap()];
        if std::env::var_os("MAFLOW_TEST_CUDA").is_some() {
            spaces.push(cuda.unwrap());
        } else {
            spaces.extend(cuda);
            spaces.extend([Precision::F64, precision].map(|products| Tch::emulated(precision, products).unwrap()));
        }
        spaces
    }

    /// Numbers that differ and have both signs, on the host as the device has them.
    fn wave(space: &Tch, rows: usize, columns: usize, key: usize) -> (Array, Vec<f64>) {
        let values: Vec<f64> = (0..rows * columns).map(|i| ((i * i + 7 * key + 1) as f64 * 0.37).sin()).collect();
        let array = space.upload(rows, columns, &values);
        let values = space.download(&array);
        (array, values)
    }

    #[track_caller]
    fn close(space: &Tch, what: &str, found: &Tensor, expected: impl Fn(usize) -> f64) {
        let found = space.download(&Array(found.shallow_clone()));
        for (i, found) in found.iter().enumerate() {
            let expected = expected(i);
            let tolerance = 200.0 * space.round_off() * (1.0 + expected.abs());
            assert!((found - expected).abs() <= tolerance, "{what} {i} on {}: {found} {expected}", space.device());
        }
    }

    const SIZES: [(usize, usize); 5] = [(1, 1), (3, 17), (2, 300), (4, 257), (5, 512)];

    #[test]
    fn slopes_and_updates_are_those_of_the_formulas() {
        for space in [Precision::F32, Precision::F64].into_iter().flat_map(spaces) {
            for (rows, columns) in SIZES {
                for activation in [Activation::LnCosh, Activation::Softplus] {
                    for base_rows in [0, 1, rows] {
                        let matrix = |key| wave(&space, rows, columns, key);
                        let row = |key| wave(&space, 1, columns, key);
                        let (a, a_values) = matrix(0);
                        let (base, base_values) = wave(&space, base_rows.max(1), columns, 1);
                        let ((moving, moving_values), (v, v_values)) = (row(2), row(3));
                        let ((curved, curved_values), (start, start_values)) = (row(4), matrix(5));
                        // More than a kernel takes at a time.
                        let terms: Vec<_> = (0..10).map(|key| matrix(6 + key)).collect();
                        let of_terms: Vec<_> = terms.iter().map(|(term, _)| (0.1, &term.0)).collect();
                        let (mut velocity, mut out) = (space.zeros(rows, columns), space.zeros(rows, columns));
                        let mut laplacian = space.column_zeros(rows);
                        let s = space.slopes(
                            a.0,
                            SlopesOf {
                                activation,
                                base: (base_rows > 0).then_some(&base.0),
                                moving: Some(&moving.0),
                                v: &v.0,
                                velocity: Some(&mut velocity.0),
                                curved: &curved.0,
                                laplacian: Some(&mut laplacian.0),
                                update: Some(Update { out: &mut out.0, base: &start.0, terms: &of_terms, c: 0.3 }),
                            },
                        );
                        let argument = |i: usize| {
                            let base = if base_rows == 0 { 0.0 } else { base_values[i % base_values.len()] };
                            a_values[i] + base + moving_values[i % columns]
                        };
                        let slope = |i: usize| [1, 2, 3].map(|k| activation.derivative(k, argument(i)));
                        let expected_velocity = |i: usize| v_values[i % columns] * slope(i)[0];
                        close(&space, "slope", &s, |i| slope(i)[0]);
                        close(&space, "velocity", &velocity.0, expected_velocity);
                        close(&space, "update", &out.0, |i| {
                            let sum: f64 = terms.iter().map(|(_, values)| 0.1 * values[i]).sum();
                            start_values[i] + sum + 0.3 * expected_velocity(i)
                        });
                        for (r, found) in space.download_column(&laplacian).iter().enumerate() {
                            let terms = (0..columns).map(|j| curved_values[j] * slope(r * columns + j)[1]);
                            let scale = 20.0 * space.round_off() * columns as f64;
                            assert!(
                                (found - terms.sum::<f64>()).abs() <= scale.max(1e-12),
                                "Laplacian of {r}: {found}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn pullbacks_are_those_of_the_formulas() {
        for space in [Precision::F32, Precision::F64].into_iter().flat_map(spaces) {
            for (rows, columns) in SIZES {
                for (activation, of_velocity, with_laplacian) in [
                    (Activation::Softplus, true, true),
                    (Activation::LnCosh, false, true),
                    (Activation::Softplus, true, false),
                ] {
                    let matrix = |key| wave(&space, rows, columns, key);
                    let row = |key| wave(&space, 1, columns, key);
                    let ((s, s_values), (from, from_values)) = (matrix(0), matrix(1));
                    let ((v, v_values), (curved, curved_values)) = (row(2), row(3));
                    let terms: Vec<_> = (0..9).map(|key| matrix(4 + key)).collect();
                    let u: Vec<_> = terms.iter().map(|(term, _)| (0.5, &term.0)).collect();
                    let l_values: Vec<f64> = (0..rows).map(|r| 0.3 - 0.2 * r as f64).collect();
                    let l = space.upload_column(&l_values);
                    let (mut a_bar, mut copy) = (space.zeros(rows, columns), space.zeros(rows, columns));
                    let b = [1.0, 0.5, -0.3];
                    let sums = |rows: i64| b.map(|_| space.zeros_of(&[rows, columns as i64]));
                    let own = space.rows_of_sums(rows as i64);
                    let (mut amplitudes, mut curvatures, mut arguments) = (sums(own), sums(own), sums(rows as i64));
                    // Twice, as sums are added to.
                    for _ in 0..2 {
                        let of = PullbackOf {
                            activation,
                            u: &u,
                            v: of_velocity.then_some(&v.0),
                            curved: &curved.0,
                            laplacian_bar: with_laplacian.then_some(&l.0),
                            a_bar: &mut a_bar.0,
                            copy: Some((&from.0, &mut copy.0)),
                            b: &b,
                            amplitudes: if of_velocity { &mut amplitudes } else { &mut [] },
                            curvatures: &mut curvatures,
                            arguments: &mut arguments,
                        };
                        space.pullback(&s.0, of);
                    }
                    let u = |i: usize| terms.iter().map(|(_, values)| 0.5 * values[i]).sum::<f64>();
                    let l = |i: usize| if with_laplacian { l_values[i / columns] } else { 0.0 };
                    let bar = |i: usize| {
                        let s_bar = u(i) * if of_velocity { v_values[i % columns] } else { 1.0 };
                        let s = s_values[i];
                        activation.curvature(s) * s_bar + l(i) * curved_values[i % columns] * activation.third(s)
                    };
                    close(&space, "cotangent", &a_bar.0, bar);
                    close(&space, "copy", &copy.0, |i| from_values[i]);
                    let over_rows =
                        |of: &dyn Fn(usize) -> f64, j: usize| (0..rows).map(|r| of(r * columns + j)).sum::<f64>();
                    for (m, b) in b.into_iter().enumerate() {
                        let column = |of: &Tensor| of.sum_dim_intlist(0, true, space.kind());
                        if of_velocity {
                            let product = |i: usize| s_values[i] * u(i);
                            close(&space, "amplitude", &column(&amplitudes[m]), |j| 2.0 * b * over_rows(&product, j));
                        }
                        let bent = |i: usize| l(i) * activation.curvature(s_values[i]);
                        close(&space, "curvature", &column(&curvatures[m]), |j| 2.0 * b * over_rows(&bent, j));
                        close(&space, "argument", &arguments[m], |i| 2.0 * b * bar(i));
                    }
                }
            }
        }
    }
}
