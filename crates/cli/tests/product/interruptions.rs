//! Runs that are killed, interrupted or damaged go on as if nothing had happened, and nothing is lost.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use maflow::backend::Backend;

use crate::lab::{ISING, Lab, TOY, content, on_every_backend, on_one_backend};

/// Long enough to be killed several times.
const LONG: &[&str] = &["--set=train.steps=240", "--set=train.checkpoint_every=20", "--set=train.validate_every=50"];

fn resumed(lab: &Lab, run: &str) {
    lab.does(&["train", "--resume", "--out", run]);
}

#[track_caller]
fn same(lab: &Lab, whole: &str, other: &str) {
    assert_eq!(lab.final_bits(whole), lab.final_bits(other));
    assert_eq!(lab.metrics(whole), lab.metrics(other));
}

/// Kills a run at these steps, each after a pause, and has it go on.
fn killed_and_resumed(moments: &[(usize, u64)]) {
    on_every_backend(|lab| {
        lab.trains(ISING, "whole", LONG);
        let mut words = [&["train"], ISING, &["--out", "killed"], LONG].concat();
        for &(step, pause) in moments {
            let mut child = lab.starts(&words);
            lab.waits_for_step("killed", step, &mut child);
            std::thread::sleep(std::time::Duration::from_millis(pause));
            child.kill().unwrap();
            assert!(!child.wait().unwrap().success(), "it ended before it was killed at step {step}");
            words = vec!["train", "--resume", "--out", "killed"];
        }
        resumed(lab, "killed");
        same(lab, "whole", "killed");
        assert_eq!(lab.figures("whole", &[]), lab.figures("killed", &[]));
    });
}

// Steps before the first checkpoint, at one and between two, and pauses that end anywhere in between.
#[test]
fn a_run_killed_at_any_moment_ends_like_an_uninterrupted_one() {
    killed_and_resumed(&[(1, 0), (20, 0), (131, 1)]);
}

#[test]
#[cfg(target_os = "linux")]
fn too_little_memory_is_a_sentence() {
    let lab = Lab::on(Backend::Ndarray);
    let (mut sentences, mut done) = (0, false);
    // From what is too little to start to what is enough, in KiB of addresses.
    for limit in (1..).map(|power| 20_000 * (1u64 << power)).take(12) {
        let out = format!("run-{limit}");
        let words = [
            &["train", "ising-16", "--out", &out, "--threads", "2"][..],
            &["--set=train.schedule.warmup=1", "--set=train.steps=2", "--set=train.pool=5000"],
            &["--set=fine_tune.steps=2", "--set=evaluate.samples=100"],
        ];
        let output = limited(&lab, limit, &words.concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0..=2)) && !stderr.contains("panicked"), "{limit} KiB: {stderr}");
        done = output.status.success();
        if done {
            break;
        }
        assert!(stderr.contains("maflow: "), "{limit} KiB: {stderr}");
        sentences += 1;
    }
    assert!(done && sentences > 0, "{sentences} failed");
}

/// The words with addresses limited to so many KiB.
#[cfg(target_os = "linux")]
fn limited(lab: &Lab, limit: u64, words: &[&str]) -> std::process::Output {
    Process::new("sh")
        .args(["-c", "ulimit -v $0; exec \"$@\"", &limit.to_string()])
        .arg(assert_cmd::cargo::cargo_bin("maflow"))
        .args(words)
        .current_dir(lab.path(""))
        .output()
        .unwrap()
}

/// The most MiB that a training held when it had made these steps.
#[cfg(target_os = "linux")]
fn held_at(lab: &Lab, run: &str, step: usize, words: &[&str]) -> f64 {
    let mut child = lab.starts(words);
    lab.waits_for_step(run, step, &mut child);
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

#[test]
#[cfg(unix)]
fn a_signal_that_was_ignored_from_the_start_stays_ignored() {
    on_one_backend(|lab| {
        let program = assert_cmd::cargo::cargo_bin("maflow");
        // As nohup starts a program, and a shell one in the background.
        let script = "trap '' HUP INT; exec \"$@\"";
        let mut child = Process::new("sh")
            .args(["-c", script, "sh"])
            .arg(program)
            .args([&["train"], TOY, &["--out", "run"], LONG].concat())
            .current_dir(lab.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        lab.waits_for_step("run", 5, &mut child);
        for signal in ["-HUP", "-INT"] {
            assert!(Process::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        }
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !stderr.contains("stopping"), "{stderr}");
        assert_eq!(lab.metrics("run").len(), 241, "a line of names and one for every step");
    });
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_the_state_and_says_how_to_go_on() {
    on_one_backend(|lab| {
        lab.trains(TOY, "whole", LONG);
        let mut words = [&["train"], TOY, &["--out", "stopped"], LONG].concat();
        for step in [3, 70, 180] {
            let mut child = lab.starts(&words);
            lab.waits_for_step("stopped", step, &mut child);
            let told = Process::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
            assert!(told.success());
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(130), "{stderr}");
            assert!(stderr.contains("maflow train --resume --out stopped"), "{stderr}");
            let names: Vec<String> =
                lab.checkpoints("stopped").iter().map(|p| p.file_name().unwrap().to_string_lossy().into()).collect();
            assert!(names.iter().any(|name| name.starts_with("interrupt-")), "{names:?}");
            words = vec!["train", "--resume", "--out", "stopped"];
        }
        resumed(lab, "stopped");
        same(lab, "whole", "stopped");
    });
}

// By the path gradient, whose score is carried along by the same steps.
#[test]
#[ignore = "seconds: .ci/run"]
#[cfg(unix)]
fn a_run_with_reversible_steps_goes_on_to_the_same_bits() {
    let reversible = ["--set=flow.method=reversible-heun", "--set=flow.coupling=0.995", "--set=train.gradient=path"];
    on_one_backend(|lab| {
        let told = lab.trains(ISING, "whole", &[LONG, &reversible].concat());
        assert!(told.contains("steps of reversible-heun"), "{told}");
        let mut child = lab.starts(&[&["train"], ISING, &["--out", "stopped"], LONG, &reversible].concat());
        lab.waits_for_step("stopped", 3, &mut child);
        assert!(Process::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        resumed(lab, "stopped");
        same(lab, "whole", "stopped");
        // The map is that of its base, and so are the figures at fine steps.
        let [own, base] =
            [&[][..], &["--method", "rk4"]].map(|method| lab.figures("whole", &[method, &["--steps", "32"]].concat()));
        let [own, base] = [own, base].map(|figures| figures["free_energy_per_site"].as_f64().unwrap());
        assert!((own - base).abs() < 1e-4, "{own} {base}");
    });
}

#[test]
#[ignore = "seconds: .ci/run"]
#[cfg(unix)]
fn ctrl_c_ends_the_drawing_of_samples_too() {
    let lab = Lab::on(Backend::Ndarray);
    let short = ["--set=train.steps=101", "--set=fine_tune.steps=1", "--set=evaluate.samples=50"];
    // Minutes of it.
    let mut child =
        lab.starts(&[&["train", "ising-16", "--set=train.pool=3000000", "--out", "run"], &short[..]].concat());
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("cluster Monte Carlo") {
        assert!(stderr.read_line(&mut told).unwrap() > 0, "{told}");
    }
    let asked = Instant::now();
    assert!(Process::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    stderr.read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{told}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert!(told.contains("maflow train --resume --out run"), "{told}");
    lab.does(&["train", "--resume", "--out", "run", "--set=train.pool=100"]);
}

#[test]
#[ignore = "seconds: .ci/run"]
#[cfg(unix)]
fn ctrl_c_leaves_nothing_of_samples_that_were_not_all_drawn() {
    let lab = Lab::on(Backend::Ndarray);
    lab.trains(TOY, "run", &[]);
    let files = || fs::read_dir(lab.path(".")).unwrap().count();
    let before = files();
    let mut child = lab.starts(&["sample", "run", "--count", "500000000", "--out", "samples.npy"]);
    // It says how far it is from the first samples on.
    let mut told = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut told).unwrap();
    assert!(told.contains("sampling"), "{told}");
    assert!(Process::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(files(), before);
}

#[test]
fn a_training_is_not_taken_back() {
    let lab = Lab::on(Backend::Ndarray);
    lab.trains(TOY, "run", &[]);
    let before = content(&lab.path("run"));
    lab.refuses(&["train", "--resume", "--out", "run", "--set=train.steps=4"], 2, &["has made 12 steps", "the 4 that"]);
    assert_eq!(before, content(&lab.path("run")));
}

#[test]
fn a_truncated_checkpoint_gives_way_to_the_one_before() {
    on_one_backend(|lab| {
        lab.trains(TOY, "run", &[]);
        let (bits, metrics, figures) = (lab.final_bits("run"), lab.metrics("run"), lab.figures("run", &[]));
        let newest = lab.checkpoints("run").pop().unwrap();
        let whole = fs::read(&newest).unwrap();
        // Reading it has nothing to do with the backend: every length on one is enough.
        let lengths = [whole.len() / 2, 0, 7, whole.len() - 1];
        for &length in if lab.backend() == "ndarray" { &lengths[..] } else { &lengths[..1] } {
            fs::write(&newest, &whole[..length]).unwrap();
            let output = lab.maflow(&["train", "--resume", "--out", "run"]).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success() && stderr.contains("falling back"), "{stderr}");
            assert_eq!((bits.clone(), metrics.clone()), (lab.final_bits("run"), lab.metrics("run")));
        }
        // Figures too are those of the one before, and say so.
        fs::write(&newest, &whole[..100]).unwrap();
        let output = lab.maflow(&["evaluate", "run", "--json"]).output().unwrap();
        assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("falling back"));
        assert_ne!(serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), figures);

        for file in lab.checkpoints("run") {
            fs::write(file, b"").unwrap();
        }
        let before = content(&lab.path("run"));
        lab.refuses(&["train", "--resume", "--out", "run"], 1, &["cannot be used", "truncated"]);
        lab.refuses(&["evaluate", "run"], 1, &["cannot be used", "truncated"]);
        assert_eq!(before, content(&lab.path("run")));
    });
}

#[test]
fn a_run_without_its_metrics_goes_on_all_the_same() {
    let lab = Lab::on(Backend::Ndarray);
    lab.trains(TOY, "run", &[]);
    let rows = lab.metrics("run").len();
    fs::remove_file(lab.path("run/metrics.csv")).unwrap();
    lab.does(&["train", "--resume", "--out", "run", "--set=train.steps=20"]);
    assert!((2..rows + 20).contains(&lab.metrics("run").len()), "{:?}", lab.metrics("run"));
}

#[test]
fn a_run_with_its_best_checkpoint_alone_is_not_started_again() {
    on_one_backend(|lab| {
        lab.trains(TOY, "run", &[]);
        let mut files = lab.checkpoints("run");
        fs::rename(files.pop().unwrap(), lab.path("run/checkpoints/best.safetensors")).unwrap();
        files.iter().for_each(|file| fs::remove_file(file).unwrap());
        let before = content(&lab.path("run"));
        lab.refuses(&["train", "--resume", "--out", "run"], 1, &["only its best checkpoint", "train --from run"]);
        assert_eq!(before, content(&lab.path("run")));
    });
}

#[test]
fn what_is_there_is_not_overwritten() {
    on_one_backend(|lab| {
        lab.trains(TOY, "run", &[]);
        let before = content(&lab.path("run"));
        lab.refuses(&[&["train"], TOY, &["--out", "run"]].concat(), 2, &["already holds a run", "--resume"]);
        let words = ["train", "--resume", "--out", "run", "--set", "potential.hidden=9"];
        lab.refuses(&words, 2, &["`potential`"]);
        // The configuration is only replaced once a checkpoint fits it.
        let config = lab.path("run/config.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("hidden = 8", "hidden = 9")).unwrap();
        lab.refuses(&["train", "--resume", "--out", "run"], 1, &["[8, 2]", "[9, 2]"]);
        lab.refuses(&["evaluate", "run"], 1, &["[8, 2]", "[9, 2]"]);
        fs::write(&config, text).unwrap();
        assert_eq!(before, content(&lab.path("run")));
        // Without a name the next free one is taken.
        for run in ["runs/rings", "runs/rings-2"] {
            let told = lab.does(&[&["train"], TOY].concat());
            assert!(told.contains(run) && lab.path(run).is_dir(), "{told}");
        }
    });
}

#[test]
fn a_training_that_blows_up_rolls_back_and_then_gives_up() {
    on_one_backend(|lab| {
        let absurd = ["--set=train.learning_rate=1e30", "--set=train.max_rollbacks=3", "--out", "run"];
        let words = [&["train"], TOY, &absurd].concat();
        let stderr = lab.refuses(&words, 1, &["non-finite numbers 4 times", "lower learning rate"]);
        assert_eq!(stderr.matches("back to step").count(), 3, "{stderr}");
        let log = fs::read_to_string(lab.path("run/log.txt")).unwrap();
        assert_eq!(log.matches("back to step").count(), 3, "{log}");
        // The last good state is kept, and goes on at a sane rate.
        lab.does(&["train", "--resume", "--out", "run", "--set=train.learning_rate=1e-3"]);
        assert_eq!(lab.metrics("run").len(), 1 + 12);
    });
}

#[test]
fn a_finished_run_can_be_trained_longer() {
    on_one_backend(|lab| {
        let constant = ["--set=train.schedule={kind=\"constant\"}"];
        lab.trains(&TOY.iter().copied().filter(|word| !word.contains("warmup")).collect::<Vec<_>>(), "run", &constant);
        lab.does(&["train", "--resume", "--out", "run", "--set", "train.steps=20"]);
        assert_eq!(lab.metrics("run").len(), 1 + 20);
        let config = fs::read_to_string(lab.path("run/config.toml")).unwrap();
        assert!(config.contains("steps = 20"), "{config}");
    });
}

#[test]
fn the_blocks_of_a_batch_are_kept_in_the_run() {
    let lab = Lab::on(Backend::Ndarray);
    let three = "--set=train.blocks=3";
    lab.trains(TOY, "three", &[LONG, &[three]].concat());
    let config = fs::read_to_string(lab.path("three/config.toml")).unwrap();
    assert!(config.contains("blocks = 3"), "{config}");
    // Gone on with from an earlier checkpoint, as the run itself says.
    let whole = lab.final_bits("three");
    fs::remove_file(lab.checkpoints("three").last().unwrap()).unwrap();
    resumed(&lab, "three");
    assert_eq!(lab.final_bits("three"), whole);
    // Other blocks add up in another order.
    lab.trains(TOY, "one", &[LONG, &["--set=train.blocks=1"]].concat());
    assert_ne!(lab.final_bits("one"), whole);
    lab.refuses(&[&["train"], TOY, &["--set=train.blocks=0"]].concat(), 2, &["train.blocks", "at least 1"]);
}

// Minutes each.
mod long {
    use super::*;

    #[test]
    #[ignore = "long: scripts/full"]
    fn a_run_killed_at_many_moments_ends_like_an_uninterrupted_one() {
        killed_and_resumed(&[(1, 0), (19, 1), (20, 0), (37, 3), (60, 0), (100, 2), (131, 1), (219, 0)]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[ignore = "long: scripts/full"]
    fn what_a_training_needs_is_known_before_it_begins() {
        let lab = Lab::on(Backend::Ndarray);
        let common = ["--set=train.steps=3", "--set=train.schedule=constant", "--set=train.checkpoint_every=1"];
        let small = held_at(&lab, "small", 2, &[&["train"], TOY, &["--out", "small"], &common].concat());
        for (run, part, settings) in [
            ("parameters", "the parameters", &["--set=potential.hidden=8192", "--set=flow.steps=2"][..]),
            ("stages", "the integration steps", &["--set=flow.steps=300", "--set=train.batch=64"]),
            (
                "gradients",
                "the gradients",
                &["--set=potential.hidden=2048", "--set=flow.steps=1", "--set=train.batch=8192"],
            ),
        ] {
            let words = [&["train", "ising-16-paper", "--out", run], &common[..], settings].concat();
            let told =
                String::from_utf8(limited(&lab, 200_000, &[&["--threads", "2"], &words[..]].concat()).stderr).unwrap();
            assert!(told.contains("left by ulimit -v") && told.contains(part) && !lab.path(run).exists(), "{told}");
            let needed = told.split("needs at least ").nth(1).and_then(|rest| rest.split(" MiB of memory").next());
            let needed: f64 = needed.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{told}"));
            let held = held_at(&lab, run, 2, &words) - small;
            let factor = maflow::memory::Estimate::FACTOR as f64;
            assert!(held >= 0.9 * needed && held <= factor * needed, "{run}: {needed} MiB needed, {held} MiB held");
            println!("{run}: {needed} MiB needed, {held:.0} MiB held");
        }
    }
}
