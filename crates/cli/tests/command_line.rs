//! The program from outside: words typed, exit codes, one clear sentence, nothing lost.

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::{contains, is_empty};

fn maflow(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("maflow").unwrap();
    command.current_dir(folder);
    command
}

/// Runs the words in an empty folder; expects the exit code, nothing on stdout, one line on stderr with all
/// `words`, and the folder still empty.
#[track_caller]
fn refuses(words: &[&str], code: i32, sentence: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let output = maflow(folder.path()).args(words).assert().code(code).stdout(is_empty());
    let stderr = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert_eq!(stderr.trim_end().lines().count(), 1, "not one sentence: {stderr}");
    for part in sentence {
        assert!(stderr.contains(part), "{stderr:?} lacks {part:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
}

#[test]
fn help_of_every_command_comes_with_examples() {
    let folder = tempfile::tempdir().unwrap();
    maflow(folder.path()).arg("--help").assert().success().stdout(contains("Exit codes: 0 done"));
    let commands =
        "fit train evaluate physics score sample transform plot report import export recipes doctor completions man";
    for command in commands.split(' ') {
        let words = [command, "--help"];
        maflow(folder.path()).args(words).assert().success().stdout(contains("Example"));
    }
    maflow(folder.path()).arg("--version").assert().success().stdout(contains("maflow 0."));
}

#[test]
fn completions_and_manual_pages_know_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let words = ["completions", shell];
        maflow(folder.path()).args(words).assert().success().stdout(contains("evaluate")).stderr(is_empty());
    }
    maflow(folder.path()).args(["completions", "tcsh"]).assert().code(2).stderr(contains("zsh"));
    maflow(folder.path()).args(["man", "pages"]).assert().success().stdout(contains("maflow-fit.1"));
    let page = |name: &str| fs::read_to_string(folder.path().join("pages").join(name)).unwrap();
    assert!(page("maflow.1").contains(".TH maflow 1") && page("maflow-fit.1").contains("transform"));
}

#[test]
fn recipes_are_listed_and_printed() {
    let folder = tempfile::tempdir().unwrap();
    let list = contains("[default]").and(contains("mnist")).and(contains("ising-16-paper"));
    maflow(folder.path()).arg("recipes").assert().success().stdout(list).stderr(is_empty());
    let printed = maflow(folder.path()).args(["recipes", "mnist"]).assert().success();
    let text = String::from_utf8(printed.get_output().stdout.clone()).unwrap();
    assert!(text.parse::<toml::Table>().unwrap().contains_key("target"));
    refuses(&["recipes", "mnits"], 2, &["no recipe `mnits`", "did you mean `mnist`"]);
}

#[cfg(feature = "libtorch")]
#[test]
fn doctor_names_its_findings() {
    let folder = tempfile::tempdir().unwrap();
    let doctor = |words: &[&str]| {
        let output = maflow(folder.path()).arg("doctor").args(words).assert().success().stderr(is_empty());
        String::from_utf8(output.get_output().stdout.clone()).unwrap()
    };
    let text = doctor(&[]);
    let json: serde_json::Value = serde_json::from_str(&doctor(&["--json"])).unwrap();
    for name in ["maflow", "threads", "cpu", "ndarray", "libtorch", "driver", "tch-cpu", "tch-cuda", "mnist"] {
        let (ready, finding) = (json[name]["ready"].as_bool().unwrap(), json[name]["finding"].as_str().unwrap());
        assert!(text.lines().any(|line| line.starts_with(name) && line.ends_with(finding)), "{name}: {text}");
        // What is not ready comes with its remedy.
        let remedies = ["run `", "use `", "install", "update", "--data DIR", "`maflow train mnist`"];
        assert!(ready || remedies.iter().any(|remedy| finding.contains(remedy)), "{name}: {finding}");
    }
    let ready = backend_tch::load(backend_tch::Device::Cpu).is_ok();
    assert_eq!(json["tch-cpu"]["ready"], ready, "{text}");
    let (key, words) = if ready { ("libtorch", "2.11.0 is needed") } else { ("tch-cpu", "setup-libtorch.sh") };
    assert!(json[key]["finding"].as_str().unwrap().contains(words), "{text}");
}

#[test]
fn wrong_words_end_with_code_2() {
    let folder = tempfile::tempdir().unwrap();
    for words in [
        &["fly"][..],
        &["--backend", "abacus"],
        &["train", "--threads", "0"],
        &["train", "--seed", "-1"],
        &["train", "--precision", "f16"],
        &["train", "--set", "no-equals-sign"],
        &["sample", "run", "--out", "a.npy"],
        &["evaluate"],
    ] {
        maflow(folder.path()).args(words).assert().code(2).stdout(is_empty()).stderr(contains("error:"));
    }
}

#[test]
fn sizes_beyond_all_measure_are_refused_before_any_work() {
    let toy = |settings: &[&'static str]| {
        let words = settings.iter().flat_map(|set| ["--set", set]);
        ["train", "two-moons"].into_iter().chain(words).collect::<Vec<_>>()
    };
    refuses(&toy(&["evaluate.steps=9000000000000000000"]), 2, &["evaluate.steps", "at most 1000000"]);
    refuses(&toy(&["evaluate.samples=9000000000000000000"]), 2, &["evaluate.samples", "at most"]);
    refuses(&toy(&["potential.terms.1.hidden=[1000000, 1000000]"]), 2, &["potential.terms.hidden", "at most 2147"]);
    let large =
        ["train", "ising-16", "--set", "target.size=1024", "--set", "potential.terms=[{kind=\"full-quadratic\"}]"];
    refuses(&large, 2, &["full-quadratic", "1048576 by 1048576"]);
    let separable = |term: &str| format!("potential.terms=[{{kind=\"separable\", {term}}}]");
    let refused = |term: &str, words: &[&str]| refuses(&["train", "two-moons", "--set", &separable(term)], 2, words);
    refused("sharpness=5.0", &["potential.terms.sharpness", "4"]);
    refused("interval=[1.0, 1.0]", &["potential.terms.interval", "the lower first"]);
}

#[test]
fn unknown_keys_are_answered_with_the_known_ones() {
    refuses(
        &["train", "--set", "train.lerning_rate=1e-3"],
        2,
        &["`train.lerning_rate`", "did you mean `train.learning_rate`", "weight_decay"],
    );
    refuses(&["train", "--set", "flwo.steps=3"], 2, &["`flwo`", "did you mean `flow`"]);
    refuses(&["train", "mnist", "--set", "target.size=8"], 2, &["`target.size`", "split_seed"]);
    refuses(&["train", "ising-8", "--set", "potential.symmetry.drawn=1"], 2, &["`potential.symmetry.drawn`", "draw"]);
    refuses(&["train", "--set", "train.schedule.warm_up=1"], 2, &["`train.schedule.warmup`"]);
    refuses(&["train", "--set", "name.first=1"], 2, &["`name`", "expected a string"]);
    refuses(&["train", "--set", "flow.steps.coarse=1"], 2, &["`flow.steps.coarse`", "no keys below it"]);
}

#[test]
fn wrong_types_and_words_name_the_key_and_what_is_expected() {
    refuses(&["train", "--set", "train.batch=many"], 2, &["`train.batch`", "many", "a whole number"]);
    refuses(&["train", "--set", "train.batch=2.5"], 2, &["`train.batch`", "2.5"]);
    refuses(&["train", "--set", "train.learning_rate=fast"], 2, &["`train.learning_rate`", "a number"]);
    refuses(&["train", "--set", "flow.method=rk5"], 2, &["`flow.method`", "rk5", "ralston3"]);
    refuses(&["train", "--set", "target.temperature=hot"], 2, &["\"critical\" or a number"]);
    refuses(&["train", "--set", "target.kind=potts"], 2, &["`target.kind`", "potts", "\"ising\""]);
    refuses(&["train", "--set", "train=1"], 2, &["`train`", "expected a section"]);
}

#[test]
fn values_out_of_range_come_with_the_range_and_the_remedy() {
    refuses(&["train", "--set", "train.batch=0"], 2, &["`train.batch` = 0", "at least 1"]);
    refuses(&["train", "--set", "train.learning_rate=-1"], 2, &["`train.learning_rate` = -1", "positive"]);
    refuses(&["train", "--set", "train.learning_rate=nan"], 2, &["NaN", "positive"]);
    refuses(&["train", "--set", "flow.time=inf"], 2, &["`flow.time` = inf"]);
    refuses(&["train", "--set", "flow.time=1e-300"], 2, &["`flow.time`", "a number from 1e-6 to 1000000"]);
    refuses(&["train", "--set", "flow.method=tsit5"], 2, &["fixed step", "evaluate.method"]);
    let reversible = |key_and_value: &str, parts: &[&str]| {
        refuses(&["train", "--set", "flow.method=reversible-rk4", "--set", key_and_value], 2, parts);
    };
    reversible(
        "flow.coupling=0.9",
        &["`flow.coupling` = 0.9", "0.99032 for 1000 steps in f32", "train.max_flow_steps"],
    );
    reversible("flow.coupling=1.5", &["`flow.coupling` = 1.5", "at most 1", "0.999 is usual"]);
    reversible("flow.memory=recompute", &["\"recompute\"", "reversible-rk4", "keeps the end alone"]);
    refuses(
        &["train", "ising-16-paper", "--set", "flow.memory=continuous"],
        2,
        &["\"continuous\"", "drawn per stage", "potential.symmetry.draw"],
    );
    let distance = |words: &[&str], parts: &[&str]| refuses(&[&["train", "two-moons"], words].concat(), 2, parts);
    distance(
        &["--set=train.objective=sinkhorn", "--set=train.blur=1e-5"],
        &["`train.blur` = 0.00001", "from 0.001 to 10"],
    );
    distance(&["--set=train.blur=0.1"], &["`train.blur`", "\"sinkhorn\"", "leave it out"]);
    distance(&["--set=train.objective=sliced-wasserstein", "--set=train.projections=0"], &["`train.projections` = 0"]);
    distance(&["--set=train.objective=sinkhorn", "--set=train.transport_cost=1"], &["0 for sinkhorn", "leave it out"]);
    refuses(&["train", "--set", "train.objective=sinkhorn"], 2, &["\"free-energy\"", "compares rows of data"]);
    refuses(&["train", "--set", "flow.coupling=0.99"], 2, &["`flow.coupling`", "\"rk4\"", "leave it out"]);
    refuses(&["train", "--set", "potential.terms.1.fall_off=-1"], 2, &["fall_off` = -1", "from 0 to 8", "2 is usual"]);
    refuses(&["train", "--set", "target.size=1"], 2, &["`target.size` = 1", "at least 2"]);
    refuses(&["train", "ising-16-paper", "--set", "target.boundary=open"], 2, &["\"translations\"", "periodic"]);
    refuses(
        &["train", "ising-16-paper", "--set", "target.size=100"],
        2,
        &["potential.symmetry.group", "smaller lattice"],
    );
    refuses(&["train", "ising-16-paper", "--set", "target.size_y=6"], 2, &["\"transpose\"", "square"]);
    refuses(&["train", "--set", "train.objective=nll"], 2, &["train.objective", "\"free-energy\""]);
    refuses(&["train", "--set", "train.epochs=3"], 2, &["train.epochs", "train.steps instead"]);
    refuses(&["train", "--set", "train.betas=[0.9, 1.0]"], 2, &["train.betas", "[0.9, 0.999]"]);
    refuses(&["train", "mnist", "--set", "target.lambda=0"], 2, &["`target.lambda` = 0", "1e-6"]);
    refuses(&["train", "--threads", "100000"], 2, &["--threads 100000", "fewer"]);
    refuses(&["train", "--set", "train.max_flow_steps=2"], 2, &["at least flow.steps"]);
    refuses(&["train", "--set", "name=../escape"], 2, &["`name`"]);
}

#[test]
fn no_sentence_has_a_number_of_hundreds_of_digits() {
    for (setting, found) in [
        ("train.learning_rate=-1e300", "`train.learning_rate` = -1e300"),
        ("train.clip_norm=-1e-300", "= -1e-300"),
        ("target.temperature=-1e300", "= -1e300"),
        ("evaluate.rtol=1e300", "= 1e300, expected a number from 1e-15 to 1"),
        ("train.batch=1e300", "1e300"),
        ("flow.method=1e300", "`flow.method`"),
        ("train=1e300", "1e300"),
        ("name=1e300", "found float 1e300"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = maflow(folder.path()).args(["train", "ising-8", "--set", setting]).assert().code(2);
        let stderr = String::from_utf8(output.get_output().stderr.clone()).unwrap();
        assert!(stderr.contains(found) && stderr.len() < 300, "{setting}: {stderr}");
    }
}

#[test]
fn recipe_files_are_read_and_their_errors_placed() {
    refuses(&["train", "missing.toml"], 1, &["missing.toml", "check the path"]);
    refuses(&["train", "nonsense"], 2, &["no recipe `nonsense`", "ising-8", "TOML file"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    for (content, sentence) in [
        ("name = ", "line 1"),
        ("[target]\nkind = \"ising\"\nsize = 4\n[target]", "line 4"),
        ("[target]\nkind = \"ising\"", "`train` is missing"),
        ("\u{0}", "not valid TOML"),
    ] {
        fs::write(&file, content).unwrap();
        let assert = maflow(folder.path()).args(["train", "mine.toml"]).assert();
        assert.code(2).stderr(contains(sentence).and(contains("mine.toml").or(contains("missing"))));
    }
    fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    maflow(folder.path()).args(["train", "mine.toml"]).assert().code(1).stderr(contains("UTF-8"));
}

#[test]
fn a_folder_does_not_hide_the_recipe_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mnist")).unwrap();
    let words = ["train", "mnist", "--data", "nowhere"];
    maflow(folder.path()).args(words).assert().code(2).stderr(contains("nowhere is not a folder"));
}

#[test]
fn what_is_not_a_run_is_refused() {
    for words in [
        &["evaluate", "nowhere"][..],
        &["plot", "nowhere"],
        &["sample", "nowhere", "--count", "3", "--out", "a.npy"],
        &["export", "nowhere", "--out", "a.safetensors"],
        &["train", "--resume", "--out", "nowhere"],
    ] {
        refuses(words, 2, &["nowhere is not a run directory"]);
    }
    refuses(&["train", "--resume"], 2, &["no run of ising-16"]);
    refuses(&["train", "--data", "nowhere"], 2, &["--data nowhere is not a folder"]);
    refuses(&["import", "w.safetensors", "--recipe", "mnist", "--out", "a"], 2, &["no file w.safetensors"]);
    refuses(&["train", "."], 2, &["is a folder", "--resume"]);
}

#[test]
fn data_are_refused_where_the_target_has_no_files() {
    for recipe in ["two-moons", "energy-2", "ising-16", "phi4-16"] {
        let folder = tempfile::tempdir().unwrap();
        let sentence = contains("--data .").and(contains(recipe)).and(contains("no files; leave --data out"));
        maflow(folder.path()).args(["train", recipe, "--data", "."]).assert().code(2).stderr(sentence);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
    }
}

#[cfg(feature = "libtorch")]
#[test]
fn a_term_of_libtorch_alone_is_refused_elsewhere_before_any_work() {
    let sentence = ["\"convolutional\"", "ndarray", "--backend tch-cpu", "scripts/setup-libtorch.sh"];
    refuses(&["train", "mnist-conv"], 2, &sentence);
    refuses(&["train", "mnist-maf"], 2, &[&["the model \"maf\""][..], &sentence[1..]].concat());
    refuses(&["--backend", "ndarray", "fit", "data.csv", "--model", "made"], 2, &["the model \"made\"", "tch-cpu"]);
    let conv = "potential.terms=[{kind = \"convolutional\", channels = [2, 2], hidden = 2}]";
    refuses(&["train", "--set", conv], 2, &["\"convolutional\"", "pictures as the target"]);
    refuses(&["train", "mnist-conv", "--set", "potential.terms.2.channels=[0, 2]"], 2, &["channels", "at least 1"]);
}

#[cfg(not(feature = "libtorch"))]
#[test]
fn a_build_without_libtorch_says_so() {
    refuses(&["train", "mnist-conv"], 2, &["\"convolutional\"", "--backend tch-cpu", "the feature `libtorch`"]);
    for backend in ["tch-cpu", "tch-cuda"] {
        refuses(&["--backend", backend], 1, &[backend, "leaves out", "the feature `libtorch`", "ndarray"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let doctor = maflow(folder.path()).args(["doctor", "--json"]).assert().success();
    let found: serde_json::Value = serde_json::from_slice(&doctor.get_output().stdout).unwrap();
    for (name, ready) in [("ndarray", true), ("libtorch", false), ("tch-cpu", false), ("tch-cuda", false)] {
        assert_eq!(found[name]["ready"], ready, "{found}");
    }
}

/// A set-up of libtorch that is not there.
#[cfg(feature = "libtorch")]
const NO_SET_UP: (&str, &str) = ("MAFLOW_LIBTORCH_SETUP", "nowhere/libtorch.setup");

#[cfg(feature = "libtorch")]
#[test]
fn before_the_set_up_the_backends_of_libtorch_name_it() {
    let folder = tempfile::tempdir().unwrap();
    for (backend, command) in
        [("tch-cpu", "`scripts/setup-libtorch.sh`"), ("tch-cuda", "`scripts/setup-libtorch.sh --cuda`")]
    {
        let sentence = contains("not set up").and(contains(command)).and(contains("`--backend ndarray`"));
        let refused = maflow(folder.path()).env(NO_SET_UP.0, NO_SET_UP.1).args(["--backend", backend]).assert();
        refused.code(1).stdout(is_empty()).stderr(sentence);
    }
    let set_up = contains("not set up").and(contains("`scripts/setup-libtorch.sh`"));
    let fit = maflow(folder.path()).env(NO_SET_UP.0, NO_SET_UP.1).args(["fit", "data.csv", "--model", "maf"]).assert();
    fit.code(1).stdout(is_empty()).stderr(set_up);
    let listed = maflow(folder.path()).env(NO_SET_UP.0, NO_SET_UP.1).arg("recipes").assert().success();
    let listed = String::from_utf8(listed.get_output().stdout.clone()).unwrap();
    for name in ["mnist-conv", "mnist-made", "mnist-maf", "mnist-real-nvp"] {
        let line = listed.lines().find(|line| line.split(' ').next() == Some(name)).expect(name);
        assert!(line.contains("needs --backend tch-cpu or tch-cuda"), "{line}");
    }
    let doctor = maflow(folder.path()).env(NO_SET_UP.0, NO_SET_UP.1).arg("doctor").assert().success();
    doctor.stdout(contains("setup-libtorch.sh"));
    fs::write(folder.path().join("old"), "libtorch = a\ninterface = b\ntorch-sys = 0.1.0\n").unwrap();
    let old = maflow(folder.path()).env(NO_SET_UP.0, "old").args(["--backend", "tch-cpu"]).assert();
    old.code(1).stdout(is_empty()).stderr(contains("another version").and(contains("setup-libtorch.sh` again")));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was written");
}

#[cfg(feature = "libtorch")]
#[test]
fn libtorch_is_only_looked_for_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let maflow = |words: &[&str]| maflow(folder.path()).env("LIBTORCH", "nowhere").args(words).assert();
    for words in [&["--help"][..], &["recipes"], &["--backend", "tch-cpu", "recipes", "mnist"], &["doctor"]] {
        maflow(words).success();
    }
    for backend in ["tch-cpu", "tch-cuda"] {
        let sentence = contains("no libtorch in nowhere (named by LIBTORCH)").and(contains("setup-libtorch.sh"));
        maflow(&["--backend", backend]).code(1).stdout(is_empty()).stderr(sentence);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
}

#[cfg(feature = "libtorch")]
#[test]
fn a_missing_c_interface_is_named_with_its_remedy() {
    if backend_tch::libtorch().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let words = ["--backend", "tch-cpu", "train", "two-moons"];
    let sentence =
        contains("nowhere/libtch.so").and(contains("unset MAFLOW_LIBTCH")).and(contains("setup-libtorch.sh"));
    let refused = maflow(folder.path()).env("MAFLOW_LIBTCH", "nowhere/libtch.so").args(words).assert().code(1);
    refused.stdout(is_empty()).stderr(sentence);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
}

#[cfg(feature = "libtorch")]
#[test]
fn threads_of_openmp_sleep_unless_the_user_has_chosen() {
    if backend_tch::load(backend_tch::Device::Cpu).is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let chosen = |by_user: Option<(&str, &str)>, turns: &str| {
        let mut command = maflow(folder.path());
        command.env_remove("OMP_WAIT_POLICY").env_remove("GOMP_SPINCOUNT").envs(by_user);
        // libtorch's OpenMP then says how many turns its threads wait before they sleep.
        let told = command.env("OMP_DISPLAY_ENV", "verbose").arg("doctor").assert().success();
        told.stderr(contains(format!("GOMP_SPINCOUNT = '{turns}'")));
    };
    chosen(None, "0");
    chosen(Some(("OMP_WAIT_POLICY", "active")), "30000000000");
    chosen(Some(("GOMP_SPINCOUNT", "5")), "5");
}

#[cfg(feature = "libtorch")]
#[test]
fn without_a_gpu_its_backend_says_what_is_missing() {
    if backend_tch::load(backend_tch::Device::Cuda).is_err() {
        refuses(&["--backend", "tch-cuda"], 1, &["`--backend tch-cpu`"]);
    }
}

#[test]
fn tf32_is_for_gpus() {
    refuses(&["--precision", "tf32"], 2, &["tf32", "--backend tch-cuda", "--precision f32"]);
    refuses(&["train", "mnist", "--set", "train.precision=tf32"], 2, &["tf32", "ndarray"]);
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    for words in [&["recipes", "mnist"][..], &["doctor"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Process::new(assert_cmd::cargo::cargo_bin("maflow"))
            .args(words)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
    }
}
