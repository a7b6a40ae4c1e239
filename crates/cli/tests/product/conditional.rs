//! A density that is conditional on columns of a table, from outside: fitted, scored, sampled given them, and refused.

use std::fmt::Write as _;
use std::fs;

use flow_core::{Purpose, RngKey};
use maflow::backend::Backend;
use serde_json::Value;

use crate::lab::Lab;

/// A row: a number and a category that are given, and a point that is normal about a mean and with a width of theirs.
struct Row {
    dose: f64,
    arm: &'static str,
    x: f64,
}

/// Mean and width of x, given.
fn law(dose: f64, arm: &str) -> (f64, f64) {
    if arm == "drug" { (40.0 + 4.0 * dose, 3.0) } else { (20.0 + dose, 1.5) }
}

fn rows(count: usize) -> Vec<Row> {
    let numbers = RngKey::new(17, Purpose::Sample, 0).normals(0..count, 3);
    let row = |z: &[f64]| {
        let (dose, arm) = (z[0].clamp(-2.0, 2.0), if z[1] > 0.3 { "drug" } else { "placebo" });
        let (mean, width) = law(dose, arm);
        Row { dose, arm, x: mean + width * z[2] }
    };
    numbers.chunks_exact(3).map(row).collect()
}

fn csv(rows: &[Row]) -> String {
    let mut text = "dose,arm,x\n".to_owned();
    rows.iter().for_each(|Row { dose, arm, x }| writeln!(text, "{dose:?},{arm},{x:?}").unwrap());
    text
}

fn log_density(row: &Row) -> f64 {
    let (mean, width) = law(row.dose, row.arm);
    -0.5 * ((row.x - mean) / width).powi(2) - (width * std::f64::consts::TAU.sqrt()).ln()
}

fn numbers(csv: &str) -> Vec<Vec<f64>> {
    csv.lines().skip(1).map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect()
}

fn mean(of: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = of.len() as f64;
    of.sum::<f64>() / count
}

#[test]
fn a_gaussian_with_a_mean_and_a_width_by_what_is_given() {
    let lab = Lab::on(Backend::Ndarray);
    let rows = rows(3000);
    fs::write(lab.path("trial.csv"), csv(&rows)).unwrap();
    let fit = ["fit", "trial.csv", "--given", "dose,arm", "--minutes=0.001", "--out", "run"];
    let output = lab.maflow(&fit).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && told.contains("conditional on \"dose\" (a number), \"arm\" (2 categories)"),
        "{told}"
    );
    let figures = |run: &str| -> Value { serde_json::from_str(&lab.does(&["evaluate", run, "--json"])).unwrap() };
    let fitted = figures("run");
    let number = |figures: &Value, key: &str| figures[key].as_f64().unwrap_or_else(|| panic!("no {key} in {figures}"));
    // A Gaussian of all columns together knows the means, but one width.
    let [nll, gaussian, independent] =
        ["nll_nats", "gaussian_nll_nats", "independent_nll_nats"].map(|key| number(&fitted, key));
    assert!(gaussian < independent - 0.5 && nll < independent - 0.5, "{fitted}");
    // Of the terms that have the context in their coefficients such a density is one, exactly.
    fs::copy(lab.path("run/config.toml"), lab.path("exact.toml")).unwrap();
    let terms =
        "potential.terms=[{kind = \"quadratic\", time_terms = 2}, {kind = \"context-quadratic\", time_terms = 2}]";
    let words = ["train", "exact.toml", "--out", "exact", "--set", terms, "--set", "train.steps=300"];
    let how = ["--set=train.objective=nll", "--set=train.learning_rate=0.05", "--set=train.schedule.warmup=10"];
    lab.does(&[&words[..], &how, &["--set=train.validate_every=0", "--set=train.average=0.95"]].concat());
    let exact = figures("exact");
    assert!(number(&exact, "nll_nats") < number(&exact, "gaussian_nll_nats") - 0.02, "{exact}");
    // ln p row by row, in the units of the file, against the exact one.
    let scores = numbers(&lab.does(&["score", "exact", "trial.csv"]));
    assert_eq!(scores.len(), rows.len());
    let gap = mean(rows.iter().zip(&scores).map(|(row, score)| log_density(row) - score[0]));
    assert!(gap.abs() < 0.02, "{gap} nats");
    // The same with what is given in a file of its own.
    let (mut points, mut given) = ("x\n".to_owned(), "arm,dose\n".to_owned());
    for Row { dose, arm, x } in &rows {
        writeln!(points, "{x:?}").unwrap();
        writeln!(given, "{arm},{dose:?}").unwrap();
    }
    fs::write(lab.path("points.csv"), points).unwrap();
    fs::write(lab.path("given.csv"), &given).unwrap();
    assert_eq!(scores, numbers(&lab.does(&["score", "exact", "points.csv", "--given", "given.csv"])));
    // Base coordinates, and back.
    lab.does(&["transform", "exact", "trial.csv", "--out", "base.csv"]);
    lab.does(&["transform", "exact", "base.csv", "--inverse", "--given", "trial.csv", "--out", "back.csv"]);
    let back = numbers(&fs::read_to_string(lab.path("back.csv")).unwrap());
    assert!(back.iter().zip(&rows).all(|(back, row)| (back[0] - row.x).abs() < 0.05));
    // Samples of each of two rows, with what was given before them.
    fs::write(lab.path("two.csv"), "dose,arm\n1.0,drug\n-1.0,placebo\n").unwrap();
    lab.does(&["sample", "exact", "--count", "400", "--given", "two.csv", "--out", "samples.csv"]);
    let text = fs::read_to_string(lab.path("samples.csv")).unwrap();
    assert!(text.starts_with("dose,arm,x\n"), "{}", &text[..40]);
    for (arm, dose) in [("drug", 1.0), ("placebo", -1.0)] {
        let of: Vec<f64> = text
            .lines()
            .skip(1)
            .filter(|line| line.contains(arm))
            .map(|line| line.rsplit(',').next().unwrap().parse().unwrap())
            .collect();
        let (centre, width) = law(dose, arm);
        assert_eq!(of.len(), 400);
        let found = mean(of.iter().copied());
        assert!((found - centre).abs() < 0.3 * width, "{arm}: {found}, exact {centre} ± {width}");
        let spread = mean(of.iter().map(|x| (x - found).powi(2))).sqrt();
        assert!((spread / width - 1.0).abs() < 0.2, "{arm}: {spread}, exact {width}");
    }
    refused(&lab, &given);
}

#[test]
fn a_regression_on_what_is_given_is_asked_for_or_refused() {
    let lab = Lab::on(Backend::Ndarray);
    let rows = rows(400);
    fs::write(lab.path("trial.csv"), csv(&rows)).unwrap();
    let fit = ["fit", "trial.csv", "--given", "dose,arm", "--minutes=0.001"];
    lab.does(&[&fit[..], &["--regression", "location", "--out", "run"]].concat());
    let text = |path: &str| fs::read_to_string(lab.path(path)).unwrap();
    assert!(text("run/config.toml").contains("regression = \"location\""), "{}", text("run/config.toml"));
    assert!(text("run/columns.toml").contains("[[regression]]"), "{}", text("run/columns.toml"));
    lab.does(&["transform", "run", "trial.csv", "--out", "base.csv"]);
    lab.does(&["transform", "run", "base.csv", "--inverse", "--given", "trial.csv", "--out", "back.csv"]);
    assert!(numbers(&text("back.csv")).iter().zip(&rows).all(|(back, row)| (back[0] - row.x).abs() < 1e-3));
    // Coefficients of another context, or none that are numbers.
    let kept = text("run/columns.toml");
    for (from, to, said) in
        [("location = [", "location = [0.5, ", "4 numbers"), ("location = [", "location = [nan, ", "finite")]
    {
        fs::write(lab.path("run/columns.toml"), kept.replacen(from, to, 1)).unwrap();
        lab.refuses(&["score", "run", "trial.csv"], 1, &["columns.toml", said]);
    }
    lab.refuses(&["fit", "trial.csv", "--regression", "location"], 2, &["trial.csv", "--given", "--regression"]);
    let mut twice = "dose,arm,x,y\n".to_owned();
    for Row { dose, arm, x } in &rows {
        writeln!(twice, "{dose:?},{arm},{x:?},{:?}", 3.0 * dose + if *arm == "drug" { 1.0 } else { 0.0 }).unwrap();
    }
    fs::write(lab.path("twice.csv"), twice).unwrap();
    lab.refuses(&["fit", "twice.csv", "--given", "dose,arm"], 1, &["\"y\"", "linear function", "--columns", "--given"]);
}

/// What is wrong with what is given is one sentence with a remedy.
fn refused(lab: &Lab, given: &str) {
    lab.refuses(&["sample", "run", "--count", "4", "--out", "s.csv"], 2, &["conditional on dose, arm", "--given"]);
    fs::write(lab.path("unknown.csv"), "dose,arm\n1.0,surgery\n").unwrap();
    let sample = ["sample", "run", "--count", "4", "--out", "s.csv", "--given"];
    lab.refuses(&[&sample[..], &["unknown.csv"]].concat(), 1, &["row 1", "\"arm\"", "surgery", "drug, placebo"]);
    fs::write(lab.path("half.csv"), "dose\n1.0\n").unwrap();
    lab.refuses(&[&sample[..], &["half.csv"]].concat(), 1, &["half.csv", "arm"]);
    let short: String = given.lines().take(10).map(|line| format!("{line}\n")).collect();
    fs::write(lab.path("short.csv"), short).unwrap();
    lab.refuses(&["score", "run", "points.csv", "--given", "short.csv"], 2, &["as many rows"]);
    lab.refuses(&["score", "run", "points.csv"], 1, &["points.csv", "dose"]);
    lab.refuses(&["fit", "trial.csv", "--given", "dose,arm,x"], 2, &["no columns beside those given"]);
    lab.refuses(&["fit", "trial.csv", "--given", "weight"], 1, &["weight", "dose, arm, x"]);
    lab.refuses(&["fit", "trial.csv"], 1, &["\"arm\"", "drug"]);
}
