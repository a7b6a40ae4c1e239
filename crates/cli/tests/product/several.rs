//! Several processes that mpirun starts train the same run to the same bits as one, decide together and fail together.

#[path = "../../../mpi/tests/launched/mod.rs"]
mod launched;

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use flow_core::{Purpose, RngKey};
use maflow::backend::Backend;

use crate::lab::{FIELD, ISING, Lab, MATCHED, TOY, content, wants_all};

/// A likelihood with everything that is decided together: the watch, validations, averages.
const LIKELIHOOD: &[&str] = &[
    "--set=train.watch_every=2",
    "--set=train.watch_tolerance=1e-5",
    "--set=train.validate_every=3",
    "--set=train.validation_samples=1010",
    "--set=train.average=0.9",
    "--set=train.keep=9",
];

/// The gradient of a free energy through the path alone, which carries scores.
const PATH: &[&str] = &["--set=train.gradient=path", "--set=train.precision=f64"];

/// A fine-tuning with a block for each of four processes.
const TUNED: &[&str] = &["--set=fine_tune.batch=32", "--set=train.validate_every=4"];

/// Long enough to be stopped on the way.
const LONG: &[&str] = &["--set=train.steps=400", "--set=train.checkpoint_every=20"];

/// The words as so many processes of one thread each; `None`, after a sentence, where that cannot be.
fn several(lab: &Lab, size: usize, words: &[&str]) -> Option<Command> {
    let mut command = launched::mpirun(size, &assert_cmd::cargo::cargo_bin("maflow"))?;
    command.args(["--backend", lab.backend(), "--threads", "1"]).args(words);
    command.current_dir(lab.path("")).stdin(Stdio::null());
    Some(command)
}

/// The same, done to a good end.
#[track_caller]
fn does(lab: &Lab, size: usize, words: &[&str]) -> Option<Output> {
    let output = several(lab, size, words)?.output().unwrap();
    assert!(output.status.success(), "{size} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output)
}

/// What is said on standard error by maflow itself, of all that is there.
fn sentences(output: &Output) -> Vec<String> {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    stderr.lines().filter(|line| line.starts_with("maflow")).map(ToOwned::to_owned).collect()
}

/// The last of these numbers of processes, or all of them.
fn some(sizes: &[usize]) -> impl Iterator<Item = usize> {
    sizes.iter().copied().skip(if wants_all() { 0 } else { sizes.len() - 1 })
}

/// Trains a model by one process, and by several with the same bits.
fn same_at_every_number(name: &str, model: &[&str], more: &[&str], sizes: &[usize]) {
    let lab = Lab::on(Backend::Ndarray);
    let figures = lab.trains(model, "1", more);
    for size in some(sizes) {
        let out = size.to_string();
        let words = [&["train"], model, more, &["--out", &out]].concat();
        let Some(output) = does(&lab, size, &words) else { return };
        let names = |run: &str| {
            let files = lab.checkpoints(run).into_iter();
            files.map(|file| file.file_name().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("1"), names(&out), "{name}");
        for (one, other) in lab.checkpoints("1").iter().zip(&lab.checkpoints(&out)) {
            assert_eq!(lab.bits(one), lab.bits(other), "{name} by {size} processes: {}", one.display());
        }
        assert_eq!(lab.metrics("1"), lab.metrics(&out), "{name} by {size} processes");
        // Figures once, and those of one process.
        let told = String::from_utf8(output.stdout).unwrap();
        let without = |text: &str| {
            text.lines()
                .filter(|line| !line.contains("steps in") && !line.contains("plots/") && !line.contains("next:"))
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(without(&told), without(&figures), "{name}");
        let evaluated = does(&lab, size, &["evaluate", "1", "--json"]).unwrap();
        let evaluated: serde_json::Value = serde_json::from_slice(&evaluated.stdout).unwrap();
        let mut expected: serde_json::Value = serde_json::from_str(&lab.does(&["evaluate", "1", "--json"])).unwrap();
        expected["checkpoint"] = evaluated["checkpoint"].clone();
        assert_eq!(evaluated, expected, "{name}");
        let rows = maflow::metrics::read(&lab.path(&out).join("metrics.csv")).unwrap();
        assert!(rows.iter().all(|row| row.communication_bytes > Some(0) && row.communication_seconds > Some(0.0)));
    }
    let rows = maflow::metrics::read(&lab.path("1").join("metrics.csv")).unwrap();
    assert!(rows.iter().all(|row| row.communication_bytes.is_none() && row.communication_seconds.is_none()));
}

#[test]
fn a_likelihood_has_the_same_bits_at_any_number_of_processes() {
    same_at_every_number("likelihood", TOY, LIKELIHOOD, &[2, 3]);
}

#[test]
#[ignore = "seconds: .ci/run"]
fn a_free_energy_has_the_same_bits_at_any_number_of_processes() {
    // In the plane, with the settings of the density there.
    let energy = [&["energy-1"], &TOY[1..]].concat();
    same_at_every_number("total gradient", &energy, &[], &[3, 2]);
    same_at_every_number("path gradient", &energy, PATH, &[2, 3]);
}

#[test]
fn two_trainings_have_the_same_bits_at_any_number_of_processes() {
    // Flow matching, and then a fine-tuning by the free energy, whose batch has its own blocks.
    same_at_every_number("flow matching", MATCHED, TUNED, &[2, 3]);
}

/// Trains a model by one process, and by several of them one after the other: so many up to a step.
fn goes_on(name: &str, model: &[&str], more: &[&str], parts: &[(usize, u64)]) {
    let lab = Lab::on(Backend::Ndarray);
    let steps = parts.last().expect("there are parts").1;
    let constant = [more, &["--set=train.schedule=constant"]].concat();
    lab.trains(model, "whole", &[&constant[..], &[&format!("--set=train.steps={steps}")]].concat());
    let begin = [&["train"], model, &constant, &["--out", "parts"]].concat();
    for (k, (size, steps)) in parts.iter().enumerate() {
        let words = if k == 0 { &begin[..] } else { &["train", "--resume", "--out", "parts"] };
        if does(&lab, *size, &[words, &[&format!("--set=train.steps={steps}")]].concat()).is_none() {
            return;
        }
    }
    assert_eq!(lab.final_bits("whole"), lab.final_bits("parts"), "{name}");
}

#[test]
#[ignore = "seconds: .ci/run"]
fn a_run_goes_on_at_another_number_of_processes() {
    goes_on("likelihood", TOY, LIKELIHOOD, &[(3, 7), (2, 9), (1, 10), (3, 12)]);
}

/// The words by one process and by several: the files that they write have the same bytes, and one process speaks.
#[track_caller]
fn writes_the_same(lab: &Lab, words: &[&str], ending: &str, sizes: &[usize]) {
    let out = |size: usize| format!("{}-{size}.{ending}", words[0]);
    let by_one = lab.does(&[words, &["--out", &out(1)]].concat());
    let expected = fs::read(lab.path(&out(1))).unwrap();
    assert!(expected.len() > 100, "{words:?}");
    for size in some(sizes) {
        let Some(told) = does(lab, size, &[words, &["--out", &out(size)]].concat()) else { return };
        assert!(fs::read(lab.path(&out(size))).unwrap() == expected, "{words:?} by {size} processes");
        assert_eq!(String::from_utf8(told.stdout).unwrap(), by_one.replace(&out(1), &out(size)));
    }
}

#[test]
#[ignore = "seconds: .ci/run"]
fn densities_maps_and_samples_have_the_same_bytes_at_any_number_of_processes() {
    let lab = Lab::on(Backend::Ndarray);
    // More rows than are read at a time, with a category.
    let rows = RngKey::new(5, Purpose::Sample, 0).normals(0..5000, 3);
    let line = |z: &[f64]| format!("{:?},{},{:?}\n", z[0], if z[1] > 0.3 { "drug" } else { "placebo" }, z[0] + z[2]);
    let text = format!("dose,arm,x\n{}", rows.chunks(3).map(line).collect::<String>());
    fs::write(lab.path("trial.csv"), &text).unwrap();
    fs::write(lab.path("few.csv"), text.lines().take(400).collect::<Vec<_>>().join("\n")).unwrap();
    lab.does(&["fit", "few.csv", "--given", "dose,arm", "--minutes=0.001", "--out", "fit"]);
    // Of terms that take no time.
    fs::copy(lab.path("fit/config.toml"), lab.path("trial.toml")).unwrap();
    let terms =
        "potential.terms=[{kind = \"quadratic\", time_terms = 2}, {kind = \"context-quadratic\", time_terms = 2}]";
    let short = [
        "--set=train.objective=nll",
        "--set=train.steps=20",
        "--set=train.schedule=constant",
        "--set=train.validate_every=0",
    ];
    lab.does(&[&["train", "trial.toml", "--out", "trial", "--set", terms], &short[..]].concat());
    writes_the_same(&lab, &["score", "trial", "trial.csv"], "csv", &[2, 3]);
    writes_the_same(&lab, &["transform", "trial", "trial.csv"], "csv", &[3]);
    let back = ["transform", "trial", "transform-1.csv", "--inverse", "--given", "trial.csv"];
    writes_the_same(&lab, &back, "npy", &[3]);
    writes_the_same(&lab, &["sample", "trial", "--given", "few.csv", "--count", "3"], "csv", &[2]);
    lab.trains(TOY, "toy", &[]);
    writes_the_same(&lab, &["sample", "toy", "--count", "2300"], "npy", &[2, 3]);
    writes_the_same(&lab, &["sample", "toy", "--count", "300"], "png", &[3]);
    // To standard output.
    let Some(told) = does(&lab, 2, &["score", "trial", "few.csv"]) else { return };
    assert_eq!(String::from_utf8(told.stdout).unwrap(), lab.does(&["score", "trial", "few.csv"]));
    // A row in the second block that is none, which all processes read.
    fs::write(lab.path("bad.csv"), format!("{text}1.0,drug,far\n")).unwrap();
    let score = ["score", "trial", "bad.csv", "--out", "bad-scores.csv"];
    refuses(&lab, 3, &score, 1, &["maflow: ", "bad.csv", "far"], &[]);
}

#[test]
#[ignore = "seconds: .ci/run"]
fn physics_has_the_same_figures_at_any_number_of_processes() {
    let lab = Lab::on(Backend::Ndarray);
    lab.trains(ISING, "ising", &[]);
    lab.trains(&[&["energy-1"], &TOY[1..]].concat(), "plane", &[]);
    for (run, more) in [("ising", &[][..]), ("plane", &["--set=evaluate.method=tsit5"])] {
        let words = [&["physics", run, "--json", "--samples=1300", "--chain=6", "--leapfrog=2"], more].concat();
        let expected = lab.does(&words);
        for size in some(&[2, 3]) {
            let Some(told) = does(&lab, size, &words) else { return };
            assert_eq!(String::from_utf8(told.stdout).unwrap(), expected, "{run} by {size} processes");
        }
    }
}

/// Runs the words by so many processes; expects the exit code, one sentence of maflow with the parts, and nothing
/// written.
#[track_caller]
fn refuses(
    lab: &Lab,
    size: usize,
    words: &[&str],
    code: i32,
    parts: &[&str],
    variables: &[(&str, &str)],
) -> Option<()> {
    let before = content(&lab.path(""));
    let output = several(lab, size, words)?.envs(variables.iter().copied()).output().unwrap();
    let said = sentences(&output);
    assert_eq!(said.len(), 1, "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(parts.iter().all(|part| said[0].contains(part)), "{said:?} lacks {parts:?}");
    assert_eq!(output.status.code(), Some(code), "{said:?}");
    assert_eq!(content(&lab.path("")), before, "something was written");
    Some(())
}

#[test]
#[ignore = "seconds: .ci/run"]
fn what_several_processes_cannot_do_is_one_sentence() {
    let lab = Lab::on(Backend::Ndarray);
    lab.trains(TOY, "run", &[]);
    let refuses = |size, words: &[&str], code, parts: &[&str], variables: &[_]| {
        refuses(&lab, size, words, code, parts, variables)
    };
    let alone = [&["plot", "run"][..], &["export", "run", "--out", "a.safetensors"]];
    for words in alone.into_iter().skip(usize::from(!wants_all())) {
        refuses(2, words, 2, &[words[0], "works in one process", "started 2"], &[]);
    }
    refuses(2, &["fit", "data.csv"], 2, &["maflow train --resume"], &[]);
    refuses(2, &["train", "no-such-recipe"], 2, &["no recipe `no-such-recipe`"], &[]);
    let many = [&["train"], TOY, &["--out", "more", "--set=train.blocks=2"]].concat();
    refuses(3, &many, 2, &["32 rows in 2 blocks", "3 processes", "start at most 2", "train.blocks = 3"], &[]);
    refuses(2, &["train", "rings", "--out", "run"], 2, &["already holds a run"], &[]);
    let missing = [("MAFLOW_MPI", "/nonexistent/maflow_mpi.so")];
    refuses(2, &["train", "rings"], 1, &["started 2 processes", "setup-mpi.sh", "/nonexistent"], &missing);
}

#[test]
fn doctor_names_the_mpi_and_its_processes() {
    let lab = Lab::on(Backend::Ndarray);
    let Some(output) = several(&lab, 2, &["doctor"]).map(|mut command| command.output().unwrap()) else { return };
    let text = String::from_utf8(output.stdout).unwrap();
    let name = mpi::name().unwrap();
    let line = text.lines().find(|line| line.starts_with("mpi")).unwrap();
    assert!(line.contains(&name) && line.contains("2 processes on this machine, 2 here"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("ndarray")).count(), 1, "told once: {text}");
    assert!(lab.does(&["doctor"]).contains(&format!("{name}; ")), "{text}");
}

/// The processes of maflow that a launcher has started.
fn children(launcher: u32) -> Vec<u32> {
    let status = |id: u32, key: &str| {
        let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        Some(text.lines().find_map(|line| line.strip_prefix(key))?.trim().to_owned())
    };
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let below = |id: u32| {
        // MPICH has a process of its own between.
        let parent = |of: u32| status(of, "PPid:")?.parse::<u32>().ok();
        parent(id) == Some(launcher) || parent(id).and_then(parent) == Some(launcher)
    };
    let mut found: Vec<u32> =
        ids.filter(|id| status(*id, "Name:").as_deref() == Some("maflow") && below(*id)).collect();
    found.sort_unstable();
    found
}

/// The processes of a launcher, once so many are there.
fn started(launcher: &Child, size: usize) -> Vec<u32> {
    let begun = Instant::now();
    loop {
        let found = children(launcher.id());
        if found.len() == size {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{found:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(name: &str, process: u32) {
    Command::new("kill").args([name, &process.to_string()]).status().unwrap();
}

/// Waits for the end of what was signalled: it may take ten seconds, and no process stays behind.
#[track_caller]
fn ends(child: Child, members: &[u32]) -> Output {
    let begun = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let stay = |id: &&u32| fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    let patience = Instant::now();
    while members.iter().any(|id| stay(&id)) {
        assert!(patience.elapsed() < Duration::from_secs(5), "a process stays behind");
        std::thread::sleep(Duration::from_millis(20));
    }
    output
}

/// Kills one of so many processes so many times at other moments, and goes on: to the bits of a run in peace.
#[cfg(target_os = "linux")]
fn killed_and_resumed(kills: u64, size: usize) {
    let lab = Lab::on(Backend::Ndarray);
    // Longer than what is done between kills.
    let most = 40 + 9 * kills;
    let steps = format!("--set=train.steps={most}");
    let more = [&[&*steps], LIKELIHOOD, &["--set=train.checkpoint_every=5"]].concat();
    lab.trains(TOY, "whole", &more);
    let mut words = [&["train"], TOY, &more, &["--out", "killed"]].concat();
    let mut made = 0;
    for kill in 0..kills {
        let Some(mut command) = several(&lab, size, &words) else { return };
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let members = started(&child, size);
        // Some in their first moments, the others a few steps on, where a checkpoint may be under way.
        if kill % 5 != 4 {
            lab.waits_for_step("killed", (made + 3 + kill % 7).min(most - 5) as usize, &mut child);
        }
        std::thread::sleep(Duration::from_millis(kill % 7));
        signal("-KILL", members[kill as usize % size]);
        let output = ends(child, &members);
        assert!(!output.status.success(), "kill {kill} after step {made}");
        // The newest checkpoint is whole: it is read, with its checksum.
        let newest = lab.checkpoints("killed").into_iter().rfind(|file| file.to_string_lossy().contains("step-"));
        made = lab.step(&newest.expect("the first step comes after the first checkpoint"));
        words = vec!["train", "--resume", "--out", "killed"];
    }
    does(&lab, 2, &words);
    assert_eq!(lab.final_bits("whole"), lab.final_bits("killed"));
    assert_eq!(lab.metrics("whole"), lab.metrics("killed"));
}

#[test]
#[ignore = "seconds: .ci/run"]
#[cfg(target_os = "linux")]
fn a_killed_process_ends_all_and_the_run_goes_on() {
    killed_and_resumed(3, 3);
}

#[test]
#[ignore = "seconds: .ci/run"]
#[cfg(target_os = "linux")]
fn a_wish_to_stop_that_one_process_hears_stops_all_after_a_checkpoint() {
    let lab = Lab::on(Backend::Ndarray);
    let words = [&["train"], TOY, LONG, &["--out", "run"]].concat();
    let Some(mut command) = several(&lab, 2, &words) else { return };
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    lab.waits_for_step("run", 5, &mut child);
    let members = started(&child, 2);
    signal("-TERM", members[1]);
    let output = ends(child, &members);
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let said = sentences(&output);
    assert!(said.len() == 1 && said[0].contains("train --resume --out run"), "{said:?}");
    assert!(lab.checkpoints("run").iter().any(|file| file.to_string_lossy().contains("interrupt-")));
    lab.trains(TOY, "whole", LONG);
    does(&lab, 3, &["train", "--resume", "--out", "run"]);
    assert_eq!(lab.final_bits("whole"), lab.final_bits("run"));
}

#[test]
#[ignore = "seconds: .ci/run"]
#[cfg(target_os = "linux")]
fn a_process_that_fails_alone_says_why_and_ends_all() {
    let lab = Lab::on(Backend::Ndarray);
    let source = "#include <stdlib.h>\n#include \"maflow_energy.h\"\n\
        int maflow_energy(size_t rows, size_t dim, const double *x, double *e, double *g, void *user) {\n\
        static int calls; const char *rank = getenv(\"OMPI_COMM_WORLD_RANK\");\n\
        if (!rank) rank = getenv(\"PMI_RANK\");\n\
        if (++calls > 60 && rank && rank[0] == '1') return 77;\n\
        for (size_t r = 0; r < rows; r++, x += dim, g += dim) { e[r] = 0; for (size_t i = 0; i < dim; i++) {\n\
        e[r] += 0.5 * x[i] * x[i]; g[i] = x[i]; } }\n return 0; }\n";
    crate::energies::compile(&lab, "failing", source);
    crate::energies::recipe(&lab, "failing", "");
    let words = ["train", "failing.toml", "--out", "run", "--set=train.batch=32", "--set=train.checkpoint_every=2"];
    let Some(mut command) = several(&lab, 2, &words) else { return };
    let begun = Instant::now();
    let output = command.output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    let said = sentences(&output);
    assert!(said.len() == 1 && said[0].starts_with("maflow, process 1 of 0 to 1:"), "{said:?}");
    assert!(said[0].contains("returned 77"), "{said:?}");
    assert_eq!(output.status.code(), Some(1));
    let newest = lab.checkpoints("run").pop().unwrap();
    lab.bits(&newest);
    // In the chains of a study likewise.
    lab.does(&["train", "failing.toml", "--out", "alone", "--set=train.batch=32", "--set=train.steps=5"]);
    let study = ["physics", "alone", "--library", "failing.so", "--samples=300"];
    let output = several(&lab, 2, &study).unwrap().output().unwrap();
    let said = sentences(&output);
    assert!(said.len() == 1 && said[0].contains("returned 77"), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

// Minutes each.
mod long {
    use super::*;

    #[test]
    #[ignore = "long: scripts/full"]
    fn two_hundred_steps_of_every_objective_have_the_same_bits_at_one_to_four_processes() {
        let energy = [&["energy-1"], &TOY[1..]].concat();
        // Without the fine-tuning, after which no length can be changed.
        let matched: Vec<&str> = FIELD.iter().copied().filter(|word| !word.contains("fine_tune")).collect();
        let often = ["--set=train.steps=200", "--set=train.checkpoint_every=50"];
        for (name, model, more) in [
            ("likelihood", TOY, LIKELIHOOD),
            ("total gradient", &energy[..], &[][..]),
            ("path gradient", &energy, PATH),
            ("flow matching", &matched, &[]),
        ] {
            let more = [more, &often].concat();
            same_at_every_number(name, model, &more, &[2, 3, 4]);
            goes_on(name, model, &more, &[(3, 70), (4, 130), (1, 150), (2, 200)]);
        }
        same_at_every_number("two trainings", MATCHED, &[TUNED, &often].concat(), &[2, 3, 4]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[ignore = "long: scripts/full"]
    fn fifty_killed_processes_lose_nothing() {
        killed_and_resumed(50, 4);
    }
}
