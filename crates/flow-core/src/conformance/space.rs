//! Every operation of a space against plain loops on the host.

use super::{assert_close, points};
use crate::activation::Activation;
use crate::space::{Factor, Quotient, Space, cut};

/// Checks every operation of a [`Space`].
///
/// # Panics
/// When one is wrong, with the numbers.
pub fn space<S: Space>(space: &S) {
    let (rows, cols) = (5, 7);
    let host: Vec<Vec<f64>> = (0..6).map(|key| rounded(space, rows, cols, &points(rows, cols, key))).collect();
    let array: Vec<S::Array> = host.iter().map(|values| space.upload(rows, cols, values)).collect();
    let coefficients = [0.5, -2.0, 0.25, 1.5, 3.0];
    let tolerance = 32.0 * space.round_off();
    let close = |what: &str, got: &S::Array, expected: &dyn Fn(usize) -> f64| {
        let expected: Vec<f64> = (0..rows * cols).map(expected).collect();
        assert_close(what, &space.download(got), &expected, tolerance, 1.0);
    };
    assert_eq!(space.shape(&array[0]), (rows, cols));
    close("host and back", &array[0], &|i| host[0][i]);
    for n in 0..=5 {
        let terms: Vec<(f64, &S::Array)> = coefficients[..n].iter().copied().zip(&array[1..]).collect();
        let sum = |i: usize| (0..n).map(|k| coefficients[k] * host[k + 1][i]).sum::<f64>();
        let mut out = array[5].clone();
        space.combine(&mut out, &array[0], &terms);
        close("combine", &out, &|i| host[0][i] + sum(i));
        let mut room = space.empty_like(&array[0]);
        space.combine(&mut room, &array[0], &terms);
        close("combine into room", &room, &|i| host[0][i] + sum(i));
        for keep in [1.0, -0.5] {
            let mut out = array[0].clone();
            space.accumulate(&mut out, keep, &terms);
            close("accumulate", &out, &|i| keep * host[0][i] + sum(i));
        }
        let mut out = space.upload(rows, cols, &vec![f64::NAN; rows * cols]);
        space.accumulate(&mut out, 0.0, &terms);
        close("overwrite", &out, &sum);
    }
    products(space, &host, &array, &close);
    columns(space, &host, &array, &close);
    matrix_products(space);
    activations(space, &host, &array, &close);
    blocks(space);
}

/// Every product of plain and transposed factors, added and overwritten.
fn matrix_products<S: Space>(space: &S) {
    let (n, k, m) = (5, 7, 3);
    let [a, b, c] = [points(n, k, 31), points(k, m, 32), points(n, m, 33)];
    let transposed = |of: &[f64], rows: usize, cols: usize| -> Vec<f64> {
        (0..rows * cols).map(|i| of[(i % rows) * cols + i / rows]).collect()
    };
    let [a, b, c] = [rounded(space, n, k, &a), rounded(space, k, m, &b), rounded(space, n, m, &c)];
    let upload =
        |of: &[f64], rows, cols| [space.upload(rows, cols, of), space.upload(cols, rows, &transposed(of, rows, cols))];
    let ([a_plain, a_turned], [b_plain, b_turned]) = (upload(&a, n, k), upload(&b, k, m));
    let product = |i: usize| (0..k).map(|j| a[i / m * k + j] * b[j * m + i % m]).sum::<f64>();
    let lefts = || [Factor::Plain(&a_plain), Factor::Transposed(&a_turned)];
    for left in lefts() {
        for right in [Factor::Plain(&b_plain), Factor::Transposed(&b_turned)] {
            let left = match &left {
                Factor::Plain(a) => Factor::Plain(*a),
                Factor::Transposed(a) => Factor::Transposed(*a),
            };
            let mut out = space.upload(n, m, &c);
            let right_again = match &right {
                Factor::Plain(b) => Factor::Plain(*b),
                Factor::Transposed(b) => Factor::Transposed(*b),
            };
            space.matmul(&mut out, 0.5, left, right);
            let expected: Vec<f64> = (0..n * m).map(|i| 0.5 * c[i] + product(i)).collect();
            assert_close("matrix product, added", &space.download(&out), &expected, 32.0 * space.round_off(), 1.0);
            let mut out = space.upload(n, m, &vec![f64::NAN; n * m]);
            space.matmul(&mut out, 0.0, Factor::Plain(&a_plain), right_again);
            let expected: Vec<f64> = (0..n * m).map(product).collect();
            assert_close("matrix product", &space.download(&out), &expected, 32.0 * space.round_off(), 1.0);
        }
    }
}

fn activations<S: Space>(space: &S, host: &[Vec<f64>], array: &[S::Array], close: &Close<'_, S>) {
    for activation in [Activation::Softplus, Activation::LnCosh] {
        for k in 0..=3 {
            let mut out = space.empty_like(&array[1]);
            space.activate(&mut out, activation, k, &array[1]);
            close("activation", &out, &|i| activation.derivative(k, host[1][i]));
        }
        let far = space.upload(1, 2, &[-200.0, 200.0]);
        let mut out = space.empty_like(&far);
        space.activate(&mut out, activation, 0, &far);
        let expected = [-200.0, 200.0].map(|a| activation.value(a));
        assert_close("activation far out", &space.download(&out), &expected, 4.0 * space.round_off(), 1.0);
    }
}

fn rounded<S: Space>(space: &S, rows: usize, cols: usize, values: &[f64]) -> Vec<f64> {
    space.download(&space.upload(rows, cols, values))
}

type Close<'a, S> = dyn Fn(&str, &<S as Space>::Array, &dyn Fn(usize) -> f64) + 'a;

fn products<S: Space>(space: &S, host: &[Vec<f64>], array: &[S::Array], close: &Close<'_, S>) {
    let mut out = array[0].clone();
    space.accumulate_product(&mut out, 0.5, 2.0, &array[1], &array[2]);
    close("product", &out, &|i| 0.5 * host[0][i] + 2.0 * host[1][i] * host[2][i]);
    space.accumulate_product(&mut out, 0.0, 2.0, &array[1], &array[1]);
    close("square", &out, &|i| 2.0 * host[1][i] * host[1][i]);
    let mut quotient = array[0].clone();
    let of = Quotient { numerator: &array[2], square: &out, scale: 0.5, epsilon: 0.1 };
    space.accumulate_quotient(&mut quotient, 3.0, of);
    close("quotient", &quotient, &|i| host[0][i] + 3.0 * host[2][i] / (host[1][i].abs() + 0.1));
}

fn columns<S: Space>(space: &S, host: &[Vec<f64>], array: &[S::Array], close: &Close<'_, S>) {
    let (rows, cols) = space.shape(&array[0]);
    let tolerance = 32.0 * space.round_off();
    let row = |k: usize, r: usize| &host[k][r * cols..(r + 1) * cols];
    let row_dots: Vec<f64> = (0..rows).map(|r| row(0, r).iter().zip(row(1, r)).map(|(a, b)| a * b).sum()).collect();
    let mut dots = space.column_zeros(rows);
    space.row_dot(&mut dots, &array[0], &array[1]);
    assert_close("row dot", &space.download_column(&dots), &row_dots, tolerance, 1.0);
    assert_close("dot", &[space.dot(&array[0], &array[1])], &[row_dots.iter().sum()], tolerance, cols as f64);

    let scale = [1.0, -2.0, 0.0, 0.5, 4.0];
    let column = space.upload_column(&scale);
    let mut out = array[0].clone();
    space.accumulate_scaled_rows(&mut out, 0.5, &column, &array[1]);
    close("scaled rows", &out, &|i| host[0][i] + 0.5 * scale[i / cols] * host[1][i]);

    let factors: Vec<f64> = (0..cols).map(|i| 0.5 - i as f64).collect();
    let of_columns = space.upload(1, cols, &factors);
    let mut out = array[0].clone();
    space.accumulate_scaled_columns(&mut out, -1.0, 0.5, &array[1], &of_columns);
    close("scaled columns", &out, &|i| -host[0][i] + 0.5 * factors[i % cols] * host[1][i]);
    let mut out = space.upload(rows, cols, &vec![f64::NAN; rows * cols]);
    space.accumulate_scaled_columns(&mut out, 0.0, 0.5, &array[1], &of_columns);
    close("overwritten by scaled columns", &out, &|i| 0.5 * factors[i % cols] * host[1][i]);

    let mut sum = space.upload_column(&[f64::NAN; 5]);
    space.column_accumulate(&mut sum, 0.0, &[(2.0, &column), (1.0, &column)]);
    assert_eq!(space.download_column(&sum), scale.map(|s| 3.0 * s));
    space.column_accumulate(&mut sum, -1.0, &[(4.0, &column)]);
    assert_eq!(space.download_column(&sum), scale);
    let mut product = space.upload_column(&[f64::NAN; 5]);
    space.column_product(&mut product, &column, &sum);
    assert_eq!(space.download_column(&product), scale.map(|s| s * s));
    // A column is 64-bit whatever the arrays are.
    let fine = [1.0 + f64::EPSILON];
    assert_eq!(space.download_column(&space.upload_column(&fine)), fine);

    let expected = (0..rows).map(|r| {
        let squares = (0..cols).map(|c| {
            let allowed = 0.1 + 0.2 * row(1, r)[c].abs().max(row(2, r)[c].abs());
            (row(0, r)[c] / allowed).powi(2)
        });
        (squares.sum::<f64>() / cols as f64).sqrt()
    });
    let error = space.scaled_error(&array[0], &array[1], &array[2], 0.1, 0.2);
    assert_close("scaled error", &[error], &[expected.fold(0.0, f64::max)], tolerance, 1.0);
    let poisoned = space.upload(rows, cols, &vec![f64::NAN; rows * cols]);
    assert!(space.scaled_error(&poisoned, &array[1], &array[2], 0.1, 0.2).is_nan());

    let mut part = array[0].clone();
    space.copy_columns(&mut part, 1, &array[1], 3..6);
    close("columns", &part, &|i| if (1..4).contains(&(i % cols)) { host[1][i + 2] } else { host[0][i] });

    let shift: Vec<u32> = (0..cols as u32).map(|c| (c + 2) % cols as u32).collect();
    let identity: Vec<u32> = (0..cols as u32).collect();
    let table = space.permutations(&[identity, shift], &[1.0, -1.0]);
    let elements = [0, 1, 1, 0, 1];
    let beside: Vec<f64> = elements.iter().flat_map(|g| [1.0 - f64::from(*g), f64::from(*g), 0.0]).collect();
    let beside = space.upload(rows, 3, &beside);
    close("permute", &space.permute(&array[3], &table, &beside, 1), &|i| match elements[i / cols] {
        0 => host[3][i],
        _ => -row(3, i / cols)[(i % cols + 2) % cols],
    });
}

fn blocks<S: Space>(space: &S) {
    for rows in [0, 1, 64, 100, 333] {
        let blocks = space.blocks(rows);
        assert!(blocks <= rows && (blocks > 0) == (rows > 0), "{blocks} blocks of {rows} rows");
        let ranges = space.map_blocks(cut(rows, blocks), |range| range);
        assert_eq!(ranges, cut(rows, blocks));
        assert_eq!(ranges.iter().cloned().flatten().collect::<Vec<_>>(), (0..rows).collect::<Vec<_>>());
    }
}
