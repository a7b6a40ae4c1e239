//! One flow for the Ising model at a range of temperatures, from outside.

use std::fs;

use maflow::backend::Backend;
use serde_json::Value;

use crate::lab::{Lab, on_every_backend};

const RANGE: &[&str] = &[
    "ising-16-temperatures",
    "--set=target.size=4",
    "--set=potential.terms=[{kind=\"lattice-quadratic\", time_terms=2}, {kind=\"lattice-ridge\", kernels=3, \
     activation=\"ln-cosh\", bias=false, time_terms=2}]",
    "--set=flow.steps=4",
    "--set=train.batch=32",
    "--set=train.pool=330",
    "--set=train.steps=8",
    "--set=train.schedule.warmup=2",
    "--set=train.checkpoint_every=4",
    "--set=fine_tune.steps=4",
    "--set=fine_tune.batch=16",
    "--set=evaluate.samples=200",
];

fn csv(text: &str) -> Vec<Vec<f64>> {
    text.lines().skip(1).map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect()
}

/// ln p of the rows of a file, by more words.
fn scores(lab: &Lab, words: &[&str]) -> Vec<f64> {
    csv(&lab.does(&[&["score", "run"], words].concat())).iter().map(|row| row[0]).collect()
}

#[test]
fn every_command_works_given_a_temperature() {
    on_every_backend(|lab| {
        lab.trains(RANGE, "run", &[]);
        for picture in ["loss", "samples", "weights"] {
            assert!(lab.path(&format!("run/plots/{picture}.png")).exists(), "{picture}");
        }
        let figures = lab.figures("run", &[]);
        assert!(figures["kl_nats"].as_f64().unwrap() > 0.0 && figures["forward_kl_nats"].is_number(), "{figures}");
        // A temperature, or a file of them.
        lab.does(&["sample", "run", "--count=3", "--given=2.27", "--out=one.csv"]);
        let one = csv(&fs::read_to_string(lab.path("one.csv")).unwrap());
        assert!(one.len() == 3 && one.iter().all(|row| row.len() == 17 && row[0] == 2.27), "{one:?}");
        fs::write(lab.path("t.csv"), "temperature\n1.9\n2.9\n").unwrap();
        lab.does(&["sample", "run", "--count=2", "--given=t.csv", "--out=two.csv"]);
        let two = csv(&fs::read_to_string(lab.path("two.csv")).unwrap());
        assert_eq!(two.iter().map(|row| row[0]).collect::<Vec<_>>(), [1.9, 1.9, 2.9, 2.9]);
        lab.does(&["sample", "run", "--count=9", "--given=2.27", "--out=one.png"]);
        // The column beside the rows, in a file of its own, or typed: the same ln p.
        let beside = scores(lab, &["one.csv"]);
        let points: Vec<String> =
            one.iter().map(|row| row[1..].iter().map(f64::to_string).collect::<Vec<_>>().join(",")).collect();
        let names = (0..16).map(|i| format!("x{i}")).collect::<Vec<_>>().join(",");
        fs::write(lab.path("points.csv"), format!("{names}\n{}\n", points.join("\n"))).unwrap();
        fs::write(lab.path("same.csv"), "temperature\n2.27\n2.27\n2.27\n").unwrap();
        assert_eq!(scores(lab, &["points.csv", "--given=2.27"]), beside);
        assert_eq!(scores(lab, &["points.csv", "--given=same.csv"]), beside);
        assert!(scores(lab, &["points.csv", "--given=2.5"]).iter().zip(&beside).all(|(a, b)| (a - b).abs() > 1e-3));
        lab.does(&["transform", "run", "one.csv", "--out=base.csv"]);
        lab.does(&["transform", "run", "base.csv", "--inverse", "--given=2.27", "--out=back.csv"]);
        let back = csv(&fs::read_to_string(lab.path("back.csv")).unwrap());
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-2);
        assert!(back.iter().zip(&one).all(|(back, row)| near(back, &row[1..])), "{back:?} {one:?}");
    });
}

#[test]
fn a_study_is_a_table_of_temperatures_and_a_picture() {
    let lab = &Lab::on(Backend::Ndarray);
    lab.trains(RANGE, "run", &[]);
    let told = lab.does(&["physics", "run", "--samples=60"]);
    assert!(told.contains("specific heat per site") && told.contains("2.2692"), "{told}");
    assert!(lab.path("run/plots/temperatures.png").exists());
    let json: Value = serde_json::from_str(&lab.does(&["physics", "run", "--samples=60", "--json"])).unwrap();
    assert_eq!(json["temperatures"].as_array().unwrap().len(), 13);
    // One temperature of the range has all that a run of one has.
    let at = ["--set=target.temperature=2.5", "--samples=60"];
    let one = lab.does(&[&["physics", "run", "--chain=5"], &at[..]].concat());
    assert!(one.contains("hybrid in z") && one.contains("ln Z by importance"), "{one}");
    lab.figures("run", &at);
    lab.does(&["sample", "run", "--count=2", "--out=x.npy", "--set=target.temperature=2.5"]);
    lab.does(&["plot", "run"]);
    lab.does(&["report", "run", "--out=report.html"]);
    // Wrong words are one sentence each.
    for (words, parts) in [
        (&["sample", "run", "--count=2", "--out=x.npy"][..], &["the temperature", "--given"][..]),
        (&["sample", "run", "--count=2", "--given=7", "--out=x.csv"], &["outside of the range from 1.8 to 3"]),
        (&["score", "run", "nothing.csv", "--given=2"], &["nothing.csv"]),
        (&["train", "ising-16", "--set=target.temperature=[3.0, 1.8]"], &["the lower end comes first"]),
        (&["train", "ising-16", "--set=target.temperature=[1.8]"], &["target.temperature"]),
        (
            &["train", "ising-8", "--set=target.temperature=[1.8, 3.0]"],
            &["target.coordinates = \"whitened\" for a range"],
        ),
        (
            &[
                "train",
                "ising-16-neural-rg",
                "--set=target.temperature=[1.8, 3.0]",
                "--set=target.coordinates=whitened",
            ],
            &["choose a potential for a range of temperatures"],
        ),
    ] {
        let output = lab.maflow(words).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let last = stderr.trim_end().lines().last().unwrap_or_default();
        assert!(!output.status.success() && parts.iter().all(|part| last.contains(part)), "{words:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}
