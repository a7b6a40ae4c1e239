//! libtorch, loaded while the program runs, computes: a matrix product in double precision against the sums written
//! out.
#![cfg(set_up)]

use backend_tch::{Device, Options, Tch};
use flow_core::{Precision, Space};
use tch::{Kind, Tensor};

#[test]
fn a_matrix_product_is_that_of_the_sums() {
    backend_tch::load(Device::Cpu).unwrap_or_else(|error| panic!("{error}"));
    let (m, k, n) = (7, 301, 5);
    let entry = |i: usize, j: usize, shift: f64| (0.37 * i as f64 - 0.11 * j as f64 + shift).sin();
    let a: Vec<f64> = (0..m * k).map(|i| entry(i / k, i % k, 0.2)).collect();
    let b: Vec<f64> = (0..k * n).map(|i| entry(i / n, i % n, 1.3)).collect();
    let on_device = |values: &[f64], rows: usize, columns: usize| {
        Tensor::from_slice(values).reshape([rows as i64, columns as i64]).to_device(Device::Cpu.into())
    };
    let product = on_device(&a, m, k).matmul(&on_device(&b, k, n));
    assert_eq!((product.size(), product.kind()), (vec![m as i64, n as i64], Kind::Double));
    for i in 0..m {
        for j in 0..n {
            let expected: f64 = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
            let found = product.double_value(&[i as i64, j as i64]);
            // Any order of k products and sums of numbers up to 1: an error of at most about k^2 units of round-off.
            assert!(
                (found - expected).abs() <= (k * k) as f64 * f64::EPSILON,
                "({i}, {j}): {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn an_error_of_libtorch_comes_back_as_an_error() {
    backend_tch::load(Device::Cpu).unwrap_or_else(|error| panic!("{error}"));
    let a = Tensor::zeros([2, 3], (Kind::Double, Device::Cpu.into()));
    assert!(a.f_matmul(&a).unwrap_err().to_string().contains("2x3"));
}

#[test]
fn denormal_numbers_count_as_zero_on_every_thread_of_libtorch() {
    let tch = Tch::new(Device::Cpu, Precision::F32, Options { threads: 2, allow_tf32: false }).unwrap();
    // Enough for libtorch to give every thread a share.
    let columns = 1 << 18;
    let (small, factor) = (tch.upload(1, columns, &vec![1e-37; columns]), tch.upload(1, columns, &vec![1e-5; columns]));
    let mut out = tch.zeros(1, columns);
    tch.accumulate_product(&mut out, 0.0, 1.0, &small, &factor);
    assert!(tch.download(&small).iter().all(|x| *x > 0.9e-37), "normal numbers stay");
    assert!(tch.download(&out).iter().all(|x| *x == 0.0));
}
