//! Trainings in two phases: flow matching on sampled spins, then fine-tuning by the free energy.

use crate::lab::{MATCHED, on_every_backend};

#[test]
fn a_training_of_two_phases_resumes_in_either_bit_for_bit() {
    on_every_backend(|lab| {
        lab.trains(MATCHED, "whole", &[]);
        // What an end in the first phase, at its very end, or in the second leaves behind.
        for kept in [4, 8, 12] {
            let run = format!("cut-{kept}");
            lab.trains(MATCHED, &run, &[]);
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
        }
    });
}

#[test]
fn a_run_starts_from_the_weights_of_another() {
    on_every_backend(|lab| {
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
    on_every_backend(|lab| {
        lab.trains(MATCHED, "total", &[]);
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
fn what_does_not_fit_flow_matching_is_refused() {
    on_every_backend(|lab| {
        for (words, sentence) in [
            (["train", "ising-16", "--set=target.coordinates=x"], "whitened"),
            (["train", "ising-16", "--set=target.boundary=open"], "periodic lattice"),
            (["train", "ising-16", "--set=potential.terms.1.kernels=0"], "at least 1"),
            (["train", "ising-16", "--set=potential.terms.7.kernels=1"], "`terms` has 2 sections"),
            (["train", "ising-16", "--set=train.transport_cost=1"], "integrates nothing"),
            (["train", "energy-2", "--set=train.objective=flow-matching"], "no sampler"),
            (["train", "ising-16", "--set=train.gradient=path"], "one of the free energy"),
            (["train", "two-moons", "--set=train.gradient=path"], "one of the free energy"),
            (["train", "--from", "nowhere"], "nowhere"),
        ] {
            lab.refuses(&words, 2, &[sentence]);
        }
    });
}
