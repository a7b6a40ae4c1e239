//! A table of one's own from outside: fitted, scored, sampled, transformed, and what is refused with a remedy.

use std::fmt::Write as _;
use std::fs;

use flow_core::{Purpose, RngKey};
use maflow::backend::Backend;
use serde_json::Value;

use crate::lab::Lab;

/// Correlated normal columns of their own units, and their entropy in nats.
fn normal(rows: usize) -> (Vec<[f64; 2]>, f64) {
    let noise = RngKey::new(7, Purpose::Sample, 0).normals(0..rows, 2);
    let rows = noise.chunks_exact(2).map(|z| [1000.0 + 20.0 * z[0], 3e-4 * (0.6 * z[0] + 0.8 * z[1])]);
    let tau_e = 2.0 * std::f64::consts::PI * std::f64::consts::E;
    (rows.collect(), tau_e.ln() + (20.0 * 3e-4 * 0.8_f64).ln())
}

fn csv(names: &str, rows: &[[f64; 2]]) -> String {
    let mut text = format!("{names}\n");
    for [a, b] in rows {
        writeln!(text, "{a:?},{b:?}").unwrap();
    }
    text
}

/// A fit of a moment: the fewest steps that the rules allow.
const FIT: &[&str] = &["--minutes=0.001"];

fn numbers(csv: &str) -> Vec<Vec<f64>> {
    csv.lines().skip(1).map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect()
}

#[test]
fn a_table_is_fitted_scored_sampled_and_transformed_in_its_own_units() {
    let lab = Lab::on(Backend::Ndarray);
    let (rows, entropy) = normal(2000);
    fs::write(lab.path("data.csv"), csv("height,mass", &rows)).unwrap();
    let told = lab.does(&[&["fit", "data.csv", "--out", "run"], FIT].concat());
    for words in ["negative log-likelihood", "the same of a Gaussian", "of independent columns"] {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
    // The run needs no other word, and its figure is that of the user's units.
    let figures: Value = serde_json::from_str(&lab.does(&["evaluate", "run", "--json"])).unwrap();
    let number = |key: &str| figures[key].as_f64().unwrap_or_else(|| panic!("no {key} in {figures}"));
    let (nll, error) = (number("nll_nats"), number("standard_error"));
    assert!((nll - entropy).abs() < 4.0 * error + 0.05, "{nll} ± {error}, entropy {entropy}");
    assert!((number("gaussian_nll_nats") - entropy).abs() < 4.0 * error + 0.05, "{figures}");
    assert!(number("independent_nll_nats") > nll + 0.1, "the columns are correlated: {figures}");
    // ln p of the rows, by name and not by place.
    let swapped: String = csv("mass,height", &rows.iter().map(|[a, b]| [*b, *a]).collect::<Vec<_>>());
    fs::write(lab.path("swapped.csv"), swapped).unwrap();
    let scores = numbers(&lab.does(&["score", "run", "data.csv"]));
    assert_eq!(scores, numbers(&lab.does(&["score", "run", "swapped.csv"])));
    assert_eq!((scores.len(), scores[0].len()), (2000, 2));
    assert!(scores.iter().all(|row| row[1] < 1e-2), "integration errors are small");
    let mean = scores.iter().map(|row| row[0]).sum::<f64>() / 2000.0;
    assert!((mean + entropy).abs() < 0.15, "{mean} {entropy}");
    // Samples have the names, and the moments.
    lab.does(&["sample", "run", "--count", "2000", "--out", "samples.csv"]);
    let samples = fs::read_to_string(lab.path("samples.csv")).unwrap();
    assert!(samples.starts_with("height,mass\n"), "{}", &samples[..30]);
    let of = numbers(&samples);
    let mean = |column: usize| of.iter().map(|row| row[column]).sum::<f64>() / 2000.0;
    assert!((mean(0) - 1000.0).abs() < 3.0 && mean(1).abs() < 4e-5, "{} {}", mean(0), mean(1));
    // To base coordinates, nearly standard normal, and back.
    lab.does(&["transform", "run", "data.csv", "--out", "base.csv"]);
    let base = fs::read_to_string(lab.path("base.csv")).unwrap();
    assert!(base.starts_with("z0,z1\n"), "{}", &base[..30]);
    let squares = numbers(&base).iter().flatten().map(|z| z * z).sum::<f64>() / 4000.0;
    assert!((squares - 1.0).abs() < 0.15, "{squares}");
    lab.does(&["transform", "run", "base.csv", "--inverse", "--out", "back.csv"]);
    let back = numbers(&fs::read_to_string(lab.path("back.csv")).unwrap());
    for (row, [a, b]) in back.iter().zip(&rows) {
        assert!((row[0] - a).abs() < 0.1 && (row[1] - b).abs() < 2e-6, "{row:?} {a} {b}");
    }
}

#[test]
fn the_recipe_in_a_run_of_a_table_trains_to_the_same_bits() {
    let lab = Lab::on(Backend::Ndarray);
    fs::write(lab.path("data.csv"), csv("a,b", &normal(400).0)).unwrap();
    lab.does(&[&["fit", "data.csv", "--out", "run"], FIT].concat());
    fs::copy(lab.path("run/config.toml"), lab.path("mine.toml")).unwrap();
    lab.does(&["train", "mine.toml", "--out", "again"]);
    let figures = |run: &str| {
        let mut figures: Value = serde_json::from_str(&lab.does(&["evaluate", run, "--json"])).unwrap();
        figures.as_object_mut().unwrap().remove("checkpoint");
        figures
    };
    assert_eq!(figures("run"), figures("again"));
    // Other data under the same name are not gone on with.
    fs::write(lab.path("data.csv"), csv("a,b", &normal(500).0)).unwrap();
    lab.refuses(&["train", "--resume", "--out", "run"], 2, &["begun with"]);
}

#[test]
#[ignore = "seconds: .ci/run"]
fn rows_count_as_often_as_they_weigh() {
    let lab = Lab::on(Backend::Ndarray);
    let (rows, entropy) = normal(1500);
    // Far rows that weigh nothing, and rows of another width that weigh a third of their like.
    let mut text = "a,w,b\n".to_owned();
    for (i, [a, b]) in rows.iter().enumerate() {
        let weight = 1.0 + f64::from(i as u32 % 3);
        writeln!(text, "{a:?},{weight:?},{b:?}").unwrap();
        if i % 2 == 0 {
            writeln!(text, "{:?},0.0,{:?}", a + 5000.0, b - 1.0).unwrap();
        }
    }
    fs::write(lab.path("data.csv"), &text).unwrap();
    lab.does(&[&["fit", "data.csv", "--weights", "w", "--out", "run"], FIT].concat());
    let figures: Value = serde_json::from_str(&lab.does(&["evaluate", "run", "--json"])).unwrap();
    let number = |key: &str| figures[key].as_f64().unwrap_or_else(|| panic!("no {key} in {figures}"));
    let error = number("standard_error");
    for key in ["nll_nats", "gaussian_nll_nats"] {
        assert!((number(key) - entropy).abs() < 4.0 * error + 0.1, "{key}: {figures}, entropy {entropy}");
    }
    // Scores want no weights.
    fs::write(lab.path("new.csv"), "a,b\n1000.0,1e-4\n").unwrap();
    assert_eq!(numbers(&lab.does(&["score", "run", "new.csv"])).len(), 1);
    let told = lab.maflow(&[&["fit", "data.csv", "--out", "plain"], FIT].concat()).output().unwrap().stderr;
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("\"w\"") && told.contains("--weights"), "{told}");
    fs::write(lab.path("bad.csv"), text.replacen(",1.0,", ",-1.0,", 1)).unwrap();
    lab.refuses(&["fit", "bad.csv", "--weights", "w", "--out", "x"], 2, &["bad.csv", "\"w\"", "row 1", "-1"]);
    lab.refuses(&["fit", "data.csv", "--weights", "v", "--out", "x"], 1, &["data.csv", "\"v\""]);
}

#[test]
fn integers_get_noise_and_come_back_as_integers() {
    let lab = Lab::on(Backend::Ndarray);
    let mut text = "n\tm\n".to_owned();
    for z in RngKey::new(3, Purpose::Sample, 0).normals(0..500, 2).chunks_exact(2) {
        writeln!(text, "{}\t{}", (10.0 + 3.0 * z[0]).round(), (5.0 * z[1] + z[0]).round()).unwrap();
    }
    fs::write(lab.path("counts.tsv"), text).unwrap();
    let output = lab.maflow(&[&["fit", "counts.tsv", "--out", "run"], FIT].concat()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.contains("uniform noise in [0, 1)"), "{stderr}");
    assert!(stderr.contains("delimiter tab"), "{stderr}");
    // Noise that fills a unit: the figure is one of bits, too, and there is a picture of the columns.
    let figures: Value = serde_json::from_str(&lab.does(&["evaluate", "run", "--json"])).unwrap();
    let [nll, bits] =
        ["nll_nats", "bits_per_dim"].map(|key| figures[key].as_f64().unwrap_or_else(|| panic!("{figures}")));
    assert!((bits - nll / (2.0 * std::f64::consts::LN_2)).abs() < 1e-9, "{figures}");
    assert!(fs::read(lab.path("run/plots/columns.png")).unwrap().starts_with(b"\x89PNG"));
    lab.does(&["sample", "run", "--count", "50", "--out", "samples.tsv"]);
    let samples = fs::read_to_string(lab.path("samples.tsv")).unwrap();
    assert!(samples.starts_with("n\tm\n") && !samples.contains('.'), "{samples}");
    // The noise is of the row's content: the same scores every time, whatever stands beside the row.
    let whole = lab.does(&["score", "run", "counts.tsv"]);
    let lines: Vec<String> = fs::read_to_string(lab.path("counts.tsv")).unwrap().lines().map(str::to_owned).collect();
    fs::write(lab.path("two.tsv"), format!("{}\n{}\n{}\n", lines[0], lines[300], lines[7])).unwrap();
    let (all, two) = (numbers(&whole), numbers(&lab.does(&["score", "run", "two.tsv"])));
    for (found, expected) in two.iter().zip([&all[299], &all[6]]) {
        assert!((found[0] - expected[0]).abs() < 1e-4, "{found:?} {expected:?}");
    }
}

#[test]
fn what_has_no_density_is_refused_before_any_training() {
    let lab = Lab::on(Backend::Ndarray);
    let (rows, _) = normal(60);
    let good = csv("a,b", &rows);
    let with = |line: &str| good.replacen(&good.lines().nth(5).unwrap().to_owned(), line, 1);
    let constant: Vec<[f64; 2]> = rows.iter().map(|[a, _]| [*a, 2.5]).collect();
    for (name, text, parts) in [
        ("missing.csv", with("1.0,"), &["row 5", "\"b\"", "--drop-missing"][..]),
        ("text.csv", with("1.0,high"), &["\"b\"", "high"]),
        ("infinite.csv", with("1.0,inf"), &["row 5", "\"b\"", "inf"]),
        ("ragged.csv", with("1.0"), &["row 5"]),
        ("empty.csv", String::new(), &["empty.csv"]),
        ("header.csv", "a,b\n".to_owned(), &["header.csv"]),
        ("constant.csv", csv("a,b", &constant), &["\"b\"", "same in all", "--columns"]),
        ("few.csv", csv("a,b", &rows[..2]), &["few.csv", "2 rows"]),
    ] {
        fs::write(lab.path(name), text).unwrap();
        lab.refuses(&[&["fit", name, "--out", "run"], FIT].concat(), if name == "few.csv" { 2 } else { 1 }, parts);
        assert!(!lab.path("run").exists(), "{name}");
    }
    fs::write(lab.path("missing.csv"), with("1.0,")).unwrap();
    lab.does(&[&["fit", "missing.csv", "--drop-missing", "--out", "run"], FIT].concat());
    fs::write(lab.path("other.csv"), csv("a,c", &rows)).unwrap();
    lab.refuses(&["score", "run", "other.csv"], 1, &["other.csv", "\"b\""]);
    lab.refuses(&["fit", "good.csv", "--out", "x"], 1, &["good.csv"]);
    fs::write(lab.path("good.csv"), good).unwrap();
    lab.refuses(&["fit", "good.csv", "--transform", "a=cube"], 2, &["a=cube", "quantile"]);
    lab.refuses(&["fit", "good.csv", "--transform", "b=log", "--out", "x"], 1, &["row", "\"b\"", "positive"]);
    // A map that has no value where the row is.
    lab.does(&[&["fit", "good.csv", "--transform", "a=log", "--out", "logs"], FIT].concat());
    fs::write(lab.path("negative.csv"), "a,b\n1.0,2e-4\n-3.0,1e-4\n").unwrap();
    lab.refuses(&["score", "logs", "negative.csv"], 2, &["row 2", "\"a\" = -3", "log"]);
    lab.refuses(&["fit", "good.csv", "--minutes", "0"], 2, &["--minutes"]);
    lab.refuses(&["sample", "run", "--count", "3", "--out", "samples.xls"], 2, &["samples.xls", ".csv"]);
    lab.refuses(&["transform", "run", "good.csv", "--out", "nowhere/x.csv"], 2, &["nowhere"]);
}
