//! A small cluster of particles, from outside: trained on aligned samples, evaluated, sampled, scored and studied.

use maflow::backend::Backend;
use serde_json::Value;

use crate::lab::Lab;

/// Three particles in the plane, whose ln Z is known.
const CLUSTER: &[&str] = &[
    "dw4",
    "--set=target.particles=3",
    "--set=target.pair=harmonic",
    "--set=target.strength=0.7",
    "--set=potential.terms.0.centres=8",
    "--set=potential.terms.0.interval=[0.5, 5.0]",
    "--set=potential.terms.0.core=0.5",
    "--set=potential.terms.0.sums=4",
    "--set=potential.terms.0.vectors=3",
    "--set=potential.terms.0.hidden=[12, 8]",
    "--set=potential.terms.0.time_terms=2",
    "--set=flow.steps=6",
    "--set=train.batch=64",
    "--set=train.pool=3000",
    "--set=train.steps=300",
    "--set=train.schedule.warmup=20",
    "--set=train.average=0.95",
    "--set=train.checkpoint_every=150",
    "--set=fine_tune.steps=20",
    "--set=fine_tune.batch=32",
    "--set=evaluate.samples=2000",
];

#[test]
fn a_cluster_is_learned_and_ln_p_does_not_tell_its_particles_apart() {
    let lab = Lab::on(Backend::Ndarray);
    lab.trains(CLUSTER, "run", &[]);
    let figures = lab.figures("run", &[]);
    let number = |of: &Value| of.as_f64().unwrap_or_else(|| panic!("no number in {figures}"));
    // (n − 1) d/2 · ln(2π/(n k)).
    let exact = 2.0 * (std::f64::consts::TAU / (3.0 * 0.7)).ln();
    assert!((number(&figures["exact_free_energy_per_site"]) + exact).abs() < 1e-9, "{figures}");
    assert!(number(&figures["ess"]) > 0.85 && number(&figures["forward_ess"]) > 0.85, "{figures}");
    let error = number(&figures["log_z_importance_error"]);
    assert!((number(&figures["log_z_importance"]) - exact).abs() < 4.0 * error && error < 0.02, "{figures}");

    lab.does(&["sample", "run", "--count", "50", "--out", "x.npy"]);
    let x: ndarray::Array3<f32> = ndarray_npy::read_npy(lab.path("x.npy")).unwrap();
    assert_eq!(x.shape(), [50, 3, 2]);
    lab.refuses(&["sample", "run", "--count", "50", "--out", "x.png"], 2, &["no picture", "6 numbers"]);

    let table = |name: &str, order: [usize; 3], sign: f32| {
        let row = |x: ndarray::ArrayView2<'_, f32>| {
            let numbers = order.iter().flat_map(|i| [sign * x[[*i, 1]], x[[*i, 0]]]).map(|x| x.to_string());
            numbers.collect::<Vec<_>>().join(",")
        };
        let rows: Vec<String> = x.outer_iter().map(row).collect();
        std::fs::write(lab.path(name), format!("x0,x1,x2,x3,x4,x5\n{}\n", rows.join("\n"))).unwrap();
        let scores = lab.does(&["score", "run", name]);
        let ln_p = |line: &str| line.split(',').next().unwrap().parse::<f64>().unwrap();
        scores.lines().skip(1).map(ln_p).collect::<Vec<_>>()
    };
    let (plain, other) = (table("plain.csv", [0, 1, 2], 1.0), table("other.csv", [2, 0, 1], -1.0));
    assert_eq!(plain.len(), 50);
    for (a, b) in plain.iter().zip(&other) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }

    let studied = lab.does(&["physics", "run", "--samples", "2000", "--chain", "0", "--json"]);
    let studied: Value = serde_json::from_str(&studied).unwrap();
    let (found, error) = (&studied["cluster_energy_weighted"], &studied["cluster_energy_weighted_error"]);
    // Half a unit of energy for each of the (n − 1) d directions.
    assert!((number(found) - 2.0).abs() < 4.0 * number(error) && number(error) < 0.1, "{studied}");
}

#[test]
fn a_training_on_aligned_samples_resumes_bit_for_bit() {
    let lab = Lab::on(Backend::Ndarray);
    // Over the end of the first training, into that by the divergence from the target.
    let short =
        ["--set=train.steps=8", "--set=train.schedule.warmup=2", "--set=train.pool=200", "--set=fine_tune.steps=4"];
    lab.trains(CLUSTER, "whole", &[&short[..], &["--set=train.checkpoint_every=4"]].concat());
    crate::lab::copy(&lab.path("whole"), &lab.path("cut"));
    for path in lab.checkpoints("cut") {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.contains('8') || name.contains("12") {
            std::fs::remove_file(path).unwrap();
        }
    }
    lab.does(&["train", "--resume", "--out", "cut"]);
    assert_eq!(lab.final_bits("cut"), lab.final_bits("whole"));
}

#[test]
fn what_is_no_cluster_is_refused_before_anything_is_written() {
    let lab = Lab::on(Backend::Ndarray);
    for (setting, parts) in [
        ("target.particles=1", ["target.particles", "at least 2"]),
        ("target.space=4", ["target.space", "at most 3"]),
        ("target.strength=0", ["target.strength", "positive"]),
        ("target.pair=spring", ["target.pair", "spring"]),
        ("potential.terms.0.core=0", ["potential.terms.core", "positive"]),
        ("potential.terms.0.interval=[3.0, 1.0]", ["potential.terms.interval", "lower first"]),
        ("potential.terms.0.vectors=5000", ["potential.terms.vectors", "at most 4096"]),
        ("train.epochs=3", ["train.epochs", "train.steps instead"]),
        ("fine_tune.gradient=path", ["fine_tune.gradient", "one of the free energy"]),
        ("train.clip_force=0", ["train.clip_force", "positive"]),
    ] {
        lab.refuses(&["train", "dw4", "--out", "run", "--set", setting], 2, &parts);
    }
    let lattice = "potential.terms=[{kind = \"particles\", interval = [0.5, 5.0], core = 0.5, sums = 1, vectors = 1}]";
    lab.refuses(&["train", "ising-16", "--set", lattice], 2, &["\"particles\"", "particles as the target"]);
    assert!(!lab.path("run").exists());
}
