//! What is refused, what is chosen, and what is said.

use super::*;
use crate::Bijection;
use crate::table::ReadOptions;

/// Three correlated columns of six decimals, as a file has them.
fn plain(rows: usize) -> Vec<[f64; 3]> {
    let round = |x: f64| (x * 1e6).round() / 1e6;
    (0..rows)
        .map(|i| {
            let (a, b, c) = (normal(3 * i), normal(3 * i + 1), normal(3 * i + 2));
            [round(a + 10.0), round(0.8 * a + b - 3.0), round(0.5 * c)]
        })
        .collect()
}

fn with(names: &[&str], rows: usize, more: impl Fn(usize, [f64; 3]) -> Vec<f64>) -> Table {
    let values =
        plain(rows).into_iter().enumerate().flat_map(|(i, row)| [row.to_vec(), more(i, row)].concat()).collect();
    Table::new(&[&["height", "mass", "ratio"], names].concat(), values).unwrap()
}

fn refused(table: &Table, words: &[&str]) {
    let error = plan(table, &[]).expect_err("refused").to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    assert!(error.starts_with("the table") && !error.contains('\n'), "{error}");
}

fn chosen(table: &Table) -> (Vec<String>, Vec<String>) {
    let plan = plan(table, &[]).unwrap();
    (plan.transforms.iter().map(ToString::to_string).collect(), plan.notes)
}

#[test]
fn plain_columns_are_standardised_without_a_word() {
    let (transforms, notes) = chosen(&with(&[], 300, |_, _| vec![]));
    assert_eq!((transforms, notes), (vec!["standardise".to_owned(); 3], vec![]));
}

#[test]
fn tables_without_a_density_are_refused() {
    refused(&with(&["unit"], 300, |_, _| vec![1.0]), &["\"unit\" is the same in all 300 rows", "`columns`"]);
    refused(&with(&["half"], 300, |_, _| vec![0.5]), &["\"half\" is the same"]);
    let pounds = |_, row: [f64; 3]| vec![(row[1] * 2.204_622_6e6).round() / 1e6];
    refused(&with(&["pounds"], 300, pounds), &["\"pounds\" is a linear function of \"mass\" in all"]);
    refused(
        &with(&["sum"], 300, |_, row| vec![row[0] - 2.0 * row[2]]),
        &["\"sum\" is a linear function of \"height\", \"ratio\""],
    );
    let five: Vec<f64> = (0..300).flat_map(|i| plain(5)[i % 5]).collect();
    refused(&Table::new(&["a", "b", "c"], five).unwrap(), &["only 5 of 300 rows are distinct"]);
    refused(&with(&[], 3, |_, _| vec![]), &["3 rows of 3 columns"]);
    let zeros = with(&["rain"], 300, |i, row| vec![if i % 4 == 0 { 0.0 } else { (row[0] * 100.0).round() / 100.0 }]);
    refused(
        &zeros,
        &["75 of 300 rows have exactly the value 0 in the column \"rain\"", "dequantise(0.01)", "`columns`"],
    );
    let text = Table::from_text("t.csv", "x,kind\n1.5,a\n2.5,b\n", &ReadOptions::default()).unwrap();
    assert!(plan(&text, &[]).unwrap_err().to_string().contains("\"kind\" holds text"));
    let irregular = with(&["odd"], 300, |i, _| vec![f64::from(i as u32 % 5).sqrt()]);
    refused(&irregular, &["in the column \"odd\"", "`columns`"]);
}

#[test]
fn what_is_nearly_dependent_or_repeated_is_allowed() {
    // A millionth of noise is a density, thin as it is.
    let thin = with(&["thin"], 300, |i, row| vec![row[1] + 1e-5 * normal(5000 + i)]);
    assert!(plan(&thin, &[]).is_ok());
    let some = with(&[], 300, |_, _| vec![]);
    let twice = some.take(&(0..300).map(|i| i / 2).collect::<Vec<_>>());
    let (_, notes) = chosen(&twice);
    assert!(notes[0].contains("150 of 300 rows are repetitions"), "{notes:?}");
    // Rows of counts repeat without a fault.
    let counts = Table::new(&["a", "b"], (0..400).map(|i| (4.0 * uniform(i)).floor()).collect()).unwrap();
    assert!(plan(&counts, &[]).is_ok());
}

#[test]
fn integers_and_grids_get_noise() {
    let counts: Vec<f64> =
        (0..300).flat_map(|i| [(10.0 * uniform(i)).floor(), 7.0, (3.0 * normal(i)).round()]).collect();
    let (transforms, notes) = chosen(&Table::new(&["count", "always", "score"], counts).unwrap());
    assert_eq!(transforms, ["dequantise(1)"; 3]);
    assert!(
        notes.iter().any(|note| note.contains("integers get uniform noise") && note.contains("\"count\", \"score\""))
    );
    assert!(notes.iter().any(|note| note.contains("the same integer") && note.contains("\"always\"")), "{notes:?}");
    let magnitudes = with(&["mag"], 800, |i, _| vec![((4.5 + 0.4 * normal(9000 + i)) * 10.0).round() / 10.0]);
    let (transforms, notes) = chosen(&magnitudes);
    assert_eq!(transforms[3], "dequantise(0.1)");
    assert!(
        notes.iter().any(|note| note.contains("a density has no bound")
            && note.contains(
                "values, \
        dequantise(0.1))"
            )),
        "{notes:?}"
    );
}

#[test]
fn heavy_tails_get_a_map_and_a_word() {
    let cauchy = |i: usize| (std::f64::consts::PI * (uniform(i) - 0.5)).tan();
    let table = with(&["far", "wide", "hits"], 500, |i, _| {
        vec![cauchy(i), (2.0 * normal(700 + i)).exp(), cauchy(9000 + i).round()]
    });
    let (transforms, notes) = chosen(&table);
    assert_eq!(transforms[3..], ["tail", "log", "dequantise(1) tail"]);
    assert!(
        notes.iter().any(|note| note.contains("heavy tails")
            && note.contains(
                "get the transformation tail: \"far\" \
            ("
            )),
        "{notes:?}"
    );
    let stated = plan(&table, &[("far", "standardise".parse().unwrap())]).unwrap();
    assert!(
        stated.notes.iter().any(|note| note.contains("would be suited by the transformation tail: \"far\"")),
        "{:?}",
        stated.notes
    );
    // After the map no value is far out.
    let fitted = Preparation::fit(&table, &plan(&table, &[]).unwrap().transforms, Whitening::Full, 1).unwrap();
    let (mut rows, mut log_jacobians) = (table.values().to_vec(), vec![0.0; 500]);
    fitted.dequantisation.keyed(&mut rows);
    fitted.bijection.forward(&mut rows, &[], &mut log_jacobians);
    assert!(rows.iter().all(|y| y.abs() < 8.0));
}

#[test]
fn bounds_are_checked_with_row_and_column() {
    let table = with(&["part"], 300, |i, _| vec![if i == 41 { 1.0 } else { uniform(i) }]);
    let logit = [("part", "logit(0, 1)".parse().unwrap())];
    let error = plan(&table, &logit).unwrap_err().to_string();
    assert!(error.contains("row 42, column \"part\": the value 1 is not between 0 and 1, both excluded"), "{error}");
    let error = plan(&table, &[("mass", "log".parse().unwrap())]).unwrap_err().to_string();
    assert!(error.contains("column \"mass\"") && error.contains("is not positive"), "{error}");
    let error = plan(&table, &[("mass", "dequantise(1)".parse().unwrap())]).unwrap_err().to_string();
    assert!(error.contains("is not a whole number of steps 1"), "{error}");
    assert!(plan(&table, &[("part", "logit(0, 1.001)".parse().unwrap())]).is_ok());
    assert!(plan(&table, &[("none", "log".parse().unwrap())]).unwrap_err().to_string().contains("no column \"none\""));
    // The same check for rows that come later.
    let inside = with(&["part"], 300, |i, _| vec![uniform(i)]);
    let fitted = Preparation::fit(&inside, &plan(&inside, &logit).unwrap().transforms, Whitening::Full, 1).unwrap();
    assert!(fitted.check(&inside).is_ok());
    assert!(fitted.check(&table).unwrap_err().to_string().contains("row 42"));
    assert!(matches!(fitted.check(&inside.select(&["part"]).unwrap()), Err(ColumnError::Shape { .. })));
}

#[test]
fn columns_that_may_be_something_else_get_a_hint() {
    let table = with(&["w", "index", "angle"], 300, |i, _| {
        vec![0.5 + uniform(i), i as f64, std::f64::consts::TAU * uniform(i + 7000)]
    });
    let (_, notes) = chosen(&table);
    assert!(notes.iter().any(|note| note.contains("\"w\" is modelled as a column") && note.contains("`weights`")));
    assert!(notes.iter().any(|note| note.contains("\"index\" counts the rows")));
    assert!(notes.iter().any(|note| note.contains("\"angle\" looks like an angle")), "{notes:?}");
}

#[test]
fn pictures_get_the_logit_of_mnist() {
    let pixels: Vec<u8> = (0..160).map(|i| (256.0 * uniform(i)) as u8).collect();
    let header = [0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 4, 0, 0, 0, 4];
    let bytes = [&header[..], &pixels].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.idx");
    std::fs::write(&path, bytes).unwrap();
    // Fewer pictures than pixels are no fault.
    let table = Table::read(&path, &ReadOptions::default()).unwrap();
    let plan = plan(&table, &[]).unwrap();
    let fitted = Preparation::fit(&table, &plan.transforms, Whitening::None, 1).unwrap();
    let (mut rows, mut log_jacobians) = (table.values().to_vec(), vec![0.0; 10]);
    fitted.dequantisation.keyed(&mut rows);
    let noisy = rows.clone();
    fitted.bijection.forward(&mut rows, &[], &mut log_jacobians);
    let lambda = crate::mnist::LogitTransform::MNIST.lambda();
    let y = lambda + (1.0 - 2.0 * lambda) * noisy[5] / 256.0;
    assert!((rows[5] - (y / (1.0 - y)).ln()).abs() < 1e-9);
    // Per 1/256, as the formula for bits/dim counts.
    let exact = crate::mnist::LogitTransform::MNIST.log_jacobian(&rows[..16]) - 16.0 * 256f64.ln();
    assert!((log_jacobians[0] - exact).abs() < 1e-9, "{} {exact}", log_jacobians[0]);
}

#[test]
fn scales_of_any_size_are_whitened() {
    let table = with(&[], 500, |_, _| vec![]);
    let values = table.values().chunks_exact(3).flat_map(|r| [1e15 + 1e12 * r[0], 1e-9 * r[1], r[2]]).collect();
    let huge = Table::new(&["height", "mass", "ratio"], values).unwrap();
    let both = [&table, &huge].map(|table| {
        let transforms = plan(table, &[]).unwrap().transforms;
        let fitted = Preparation::fit(table, &transforms, Whitening::Full, 1).unwrap();
        let (mut rows, mut log_jacobians) = (table.values().to_vec(), vec![0.0; 500]);
        fitted.bijection.forward(&mut rows, &[], &mut log_jacobians);
        let white = rows.clone();
        fitted.bijection.inverse(&mut rows, &[], &mut log_jacobians);
        for column in 0..3 {
            let scale = table.column(column).fold(0.0f64, |a, x| a.max(x.abs()));
            let back = rows.iter().skip(column).step_by(3);
            assert!(back.zip(table.column(column)).all(|(x, start)| (x - start).abs() < 1e-13 * scale));
        }
        (white, fitted.bijection.constant_log_jacobian().unwrap())
    });
    // The units change the Jacobian by their logarithms, and the coordinates not at all, but for the digits that 1e15
    // has.
    assert!(both[0].0.iter().zip(&both[1].0).all(|(a, b)| (a - b).abs() < 1e-8));
    assert!((both[0].1 - both[1].1 - (1e12f64.ln() + 1e-9f64.ln())).abs() < 1e-8);
}
