//! Trainings in two phases: flow matching on sampled spins or fields, then fine-tuning by the free energy.

use datasets::lattice::{Boundary, Phi4Samples, Phi4Target};
use maflow::backend::Backend;
use maflow::tensor_file::TensorFile;
use serde_json::Value;

use crate::lab::{FIELD, Lab, MATCHED, copy, on_one_backend};

#[test]
fn a_training_of_two_phases_resumes_in_either_bit_for_bit() {
    on_one_backend(|lab| {
        let validated = ["--set=train.validate_every=4", "--set=train.validation_samples=16"];
        lab.trains(MATCHED, "whole", &validated);
        let best = |run: &str| TensorFile::read(&lab.path(run).join("checkpoints/best.safetensors")).unwrap().tensors;
        // What an end in the first phase, at its very end, or in the second leaves behind.
        for kept in [4, 8, 12] {
            let run = format!("cut-{kept}");
            copy(&lab.path("whole"), &lab.path(&run));
            for path in lab.checkpoints(&run) {
                let digits: String =
                    path.file_name().unwrap().to_str().unwrap().chars().filter(char::is_ascii_digit).collect();
                if digits.parse::<u64>().is_ok_and(|step| step > kept) {
                    std::fs::remove_file(path).unwrap();
                }
            }
            lab.does(&["train", "--resume", "--out", &run]);
            assert_eq!(lab.final_bits(&run), lab.final_bits("whole"), "cut after step {kept}");
            assert_eq!(lab.metrics(&run), lab.metrics("whole"), "cut after step {kept}");
            assert_eq!(best(&run), best("whole"), "cut after step {kept}");
        }
    });
}

#[test]
fn a_field_theory_learns_from_samples_and_has_the_figures_of_its_own_coordinates() {
    on_one_backend(|lab| {
        lab.trains(FIELD, "run", &[]);
        // Both trainings are in the picture, by losses of their own.
        let curve = std::fs::read_to_string(lab.path("run/plots/loss.svg")).unwrap();
        for words in ["Flow matching", "mean square error of the velocity", "Variational free energy"] {
            assert!(curve.contains(words), "{words}");
        }
        let figures = lab.figures("run", &[]);
        let number = |of: &Value| of.as_f64().unwrap_or_else(|| panic!("no number in {figures}"));
        assert!(number(&figures["ess"]) > 0.6, "{figures}");
        assert!(figures["exact_free_energy_per_site"].is_null(), "{figures}");
        // How near the bound comes.
        let gap = 16.0 * number(&figures["free_energy_per_site"]) + number(&figures["log_z_importance"]);
        assert!(gap < 0.3, "{gap} in {figures}");
        let studied = lab.does(&["physics", "run", "--samples", "1000", "--chain", "0", "--json"]);
        let studied: Value = serde_json::from_str(&studied).unwrap();
        for name in ["action_per_site", "magnetisation_per_site", "susceptibility"] {
            let of = |key: &str| number(&studied[format!("{name}_{key}")]);
            let error = of("weighted_error").hypot(of("clusters_error"));
            assert!((of("weighted") - of("clusters")).abs() < 4.0 * error, "{name}: {studied}");
        }
        for picture in ["samples", "path", "clusters", "loss", "weights"] {
            assert!(lab.path("run").join(format!("plots/{picture}.png")).is_file(), "{picture}");
        }
        lab.does(&["sample", "run", "--count", "1000", "--out", "fields.npy"]);
        let fields: ndarray::Array3<f32> = ndarray_npy::read_npy(lab.path("fields.npy")).unwrap();
        assert_eq!(fields.shape(), [1000, 4, 4]);
        // Samples are φ, and not y, whose neighbours are hardly correlated.
        let target = Phi4Target::new(4, 4, Boundary::Periodic, 0.25, 0.022).unwrap();
        let sampled = Phi4Samples::generate(&target, 4096, 5).unwrap();
        let neighbours = |field: &[f32]| (0..16).map(|i| field[i] * field[i / 4 * 4 + (i + 1) % 4]).sum::<f32>() / 16.0;
        let sampled = (0..4096).map(|k| neighbours(sampled.field(k))).sum::<f32>() / 4096.0;
        let learned = fields.as_slice().unwrap().chunks(16).map(neighbours).sum::<f32>() / 1000.0;
        assert!((learned - sampled).abs() < 0.1 && sampled > 0.3, "{learned} {sampled}");
    });
}

#[test]
fn a_run_starts_from_the_weights_of_another() {
    on_one_backend(|lab| {
        lab.trains(MATCHED, "matched", &["--set=fine_tune.steps=0"]);
        let settings = ["--set=train.objective=free-energy", "--set=train.steps=3", "--set=train.schedule.warmup=1"];
        lab.does(
            &[&["train", "--from", "matched", "--out", "tuned"][..], &settings, &["--set=train.learning_rate=1e-9"]]
                .concat(),
        );
        let kl = |run: &str| lab.figures(run, &[])["kl_nats"].as_f64().unwrap();
        // At so small a learning rate the figures of the other run must come out again.
        assert!((kl("tuned") - kl("matched")).abs() < 1e-3 * kl("matched"), "{} {}", kl("tuned"), kl("matched"));
    });
}

#[test]
fn the_gradient_through_the_path_is_another_estimate_of_the_same() {
    on_one_backend(|lab| {
        lab.trains(MATCHED, "total", &["--set=fine_tune.gradient=total"]);
        lab.trains(MATCHED, "path", &["--set=fine_tune.gradient=path"]);
        let column = |run: &str, column: usize| -> Vec<f64> {
            let rows = lab.metrics(run).into_iter().skip(1);
            rows.map(|row| row.split(',').nth(column).unwrap().parse().unwrap()).collect()
        };
        // The first step of the fine-tuning has the same loss and another gradient; before it nothing differs.
        let (losses, norms) = (2, 5);
        assert_eq!(column("total", losses)[..9], column("path", losses)[..9]);
        assert_eq!(column("total", norms)[..8], column("path", norms)[..8]);
        let [total, path] = ["total", "path"].map(|run| column(run, norms)[8]);
        assert!(total != path && (0.2..5.0).contains(&(path / total)), "{total} {path}");
    });
}

#[test]
fn the_best_of_the_first_phase_stays_where_the_second_finds_no_better() {
    on_one_backend(|lab| {
        let validated = ["--set=train.validate_every=4", "--set=train.validation_samples=64"];
        // At such a rate the free energy grows. The best figure has its integration error added: steps so fine that it
        // does not count.
        let settings = [&validated[..], &["--set=fine_tune.learning_rate=3", "--set=flow.steps=16"]].concat();
        lab.trains(MATCHED, "run", &settings);
        let figures: Vec<f64> =
            lab.metrics("run").iter().skip(1).filter_map(|row| row.split(',').nth(8)?.parse().ok()).collect();
        let [first, second] = [&figures[..2], &figures[2..]].map(|of| of.iter().copied().fold(f64::INFINITY, f64::min));
        assert!(first < second, "{figures:?}");
        let best = TensorFile::read(&lab.path("run/checkpoints/best.safetensors")).unwrap();
        let state = best.into_checkpoint().unwrap().state.unwrap();
        assert!(state.step <= 8 && (state.best.unwrap() / 16.0 - first).abs() < 1e-6, "{state:?} {figures:?}");
    });
}

#[test]
fn what_does_not_fit_flow_matching_is_refused() {
    on_one_backend(|lab| {
        for (words, sentence) in [
            (["train", "ising-16", "--set=target.coordinates=x"], "whitened"),
            (["train", "ising-16", "--set=target={kind=\"phi4\", size=16, kappa=0.2, lambda=0.1}"], "whitened"),
            (["train", "ising-16", "--set=target.boundary=open"], "periodic lattice"),
            (["train", "ising-16", "--set=potential.terms.1.kernels=0"], "at least 1"),
            (["train", "ising-16", "--set=potential.terms.7.kernels=1"], "`terms` has 2 sections"),
            (["train", "ising-16", "--set=train.transport_cost=1"], "integrates nothing"),
            (["train", "energy-2", "--set=train.objective=flow-matching"], "no sampler"),
            (["train", "ising-16", "--set=train.gradient=path"], "one of the free energy"),
            (["train", "two-moons", "--set=train.gradient=path"], "one of the free energy"),
            (["train", "two-moons", "--set=train.force_weight=1"], "forces are those of an energy"),
            (["train", "phi4-16", "--set=train.force_weight=-1"], "0 turns it off"),
            (["train", "two-moons", "--set=train.clip_force=1"], "or by \"forward-kl\""),
            (["train", "ising-16", "--set=train.clip_force=-1"], "turn clipping off"),
            (["train", "ising-16", "--set=train.objective=forward-kl"], "by samples and by its energy"),
            (["train", "two-moons", "--set=train.objective=forward-kl"], "by samples and by its energy"),
            (["train", "ising-16", "--set=fine_tune.objective=forward-kl"], "by samples and by its energy"),
            (["train", "ising-16", "--set=fine_tune.objective=nll"], "the target's own objective"),
            (["train", "--from", "nowhere"], "nowhere"),
        ] {
            lab.refuses(&words, 2, &[sentence]);
        }
    });
}

#[test]
fn forces_are_trained_on_where_every_term_has_their_derivative() {
    on_one_backend(|lab| {
        for gradient in ["total", "path"] {
            let gradient_set = format!("--set=fine_tune.gradient={gradient}");
            let losses = |weight: &str| -> Vec<f64> {
                let run = format!("{gradient}-{weight}");
                lab.trains(MATCHED, &run, &[&gradient_set, &format!("--set=train.force_weight={weight}")]);
                let rows = lab.metrics(&run).into_iter().skip(1);
                rows.map(|row| row.split(',').nth(2).unwrap().parse().unwrap()).collect()
            };
            let [without, with] = ["0", "0.5"].map(losses);
            // Forces belong to the fine-tuning. They only add to the loss of its first step, and then change the way.
            assert_eq!(without[..8], with[..8]);
            assert!(with[8] > without[8] + 1e-3, "{with:?} {without:?}");
            let differences: Vec<f64> = with[8..].iter().zip(&without[8..]).map(|(a, b)| a - b).collect();
            assert!(differences.iter().any(|difference| difference != &differences[0]), "{differences:?}");
        }
    });
}

#[test]
fn a_term_without_the_derivative_of_forces_says_so_before_anything_is_written() {
    let lab = Lab::on(Backend::Ndarray);
    let potential = "--set=potential={kind=\"sum\", terms=[{kind=\"two-layer\", hidden=[4, 4]}]}";
    let words = ["train", "energy-2", "--set=train.force_weight=0.1", potential, "--out", "run"];
    lab.refuses(&words, 1, &["force_weight needs the pullback of the score", "on ndarray"]);
    assert!(!lab.path("run").exists());
    let cost = "--set=train.transport_cost=1";
    lab.refuses(&["train", "phi4-16", "--set=train.force_weight=1", cost], 2, &["leave one of the two out"]);
}

/// Half circles by likelihood, in two segments.
const SEGMENTS: &[&str] = &[
    "two-moons",
    "--set=potential.terms.1.hidden=[6, 4]",
    "--set=potential.terms.0.time_terms=2",
    "--set=potential.terms.1.time_terms=2",
    "--set=flow.segments=2",
    "--set=flow.normalisation=0.9",
    "--set=flow.steps=3",
    "--set=train.objective=nll",
    "--set=train.batch=64",
    "--set=train.steps=6",
    "--set=train.schedule.warmup=2",
    "--set=train.checkpoint_every=3",
    "--set=evaluate.samples=300",
];

#[test]
fn a_flow_of_segments_with_normalisation_is_a_run_like_any_other() {
    on_one_backend(|lab| {
        lab.trains(SEGMENTS, "whole", &[]);
        let newest = lab.checkpoints("whole").pop().unwrap();
        let tensors = TensorFile::read(&newest).unwrap().tensors;
        let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(find("normalisation-1.batches").values, [6.0]);
        assert!(find("normalisation-1.variance").values.iter().all(|variance| *variance > 0.0 && *variance != 1.0));
        assert_ne!(find("segment-1.two-layer.amplitude").values, find("segment-2.two-layer.amplitude").values);
        copy(&lab.path("whole"), &lab.path("cut"));
        std::fs::remove_file(lab.path("cut").join(newest.strip_prefix(lab.path("whole")).unwrap())).unwrap();
        lab.does(&["train", "--resume", "--out", "cut"]);
        assert_eq!(lab.final_bits("cut"), lab.final_bits("whole"));
        // Samples go to the base and back, and have the density that is drawn by.
        let figures = lab.figures("whole", &[]);
        assert!(figures["nll_nats"].as_f64().unwrap().is_finite(), "{figures}");
        lab.does(&["sample", "whole", "--count", "20", "--out", "samples.csv"]);
        lab.does(&["transform", "whole", "samples.csv", "--out", "base.csv"]);
        lab.does(&["transform", "whole", "base.csv", "--inverse", "--out", "back.csv"]);
        let numbers = |file: &str| -> Vec<f64> {
            let text = std::fs::read_to_string(lab.path(file)).unwrap();
            text.lines()
                .skip(1)
                .flat_map(|line| line.split(',').map(|n| n.parse().unwrap()).collect::<Vec<_>>())
                .collect()
        };
        let (samples, back) = (numbers("samples.csv"), numbers("back.csv"));
        assert!(samples.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-3), "{samples:?} {back:?}");
        lab.does(&["export", "whole", "--out", "weights.safetensors"]);
        lab.does(&[&["import", "weights.safetensors", "--out", "theirs", "--recipe"], SEGMENTS].concat());
        assert_eq!(lab.figures("theirs", &[])["nll_nats"], figures["nll_nats"]);
    });
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let lab = Lab::on(Backend::Ndarray);
    for (words, sentence) in [
        (["train", "phi4-16", "--set=flow.segments=2", "--set=flow.normalisation=0.9"], "break its symmetry"),
        (["train", "ising-16-paper", "--set=flow.segments=2", "--set=train.seed=1"], "drawn per stage"),
        (["train", "mnist", "--set=flow.segments=1", "--set=flow.normalisation=0.9"], "between segments"),
        (["train", "two-moons", "--set=flow.segments=2", "--set=flow.normalisation=0.9"], "rows of data"),
        (["train", "two-moons", "--set=flow.segments=0", "--set=train.seed=1"], "at least 1"),
    ] {
        lab.refuses(&words, 2, &[sentence]);
    }
}
