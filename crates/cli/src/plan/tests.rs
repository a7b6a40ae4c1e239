//! Plans of command lines.

use clap::Parser;

use super::*;
use maflow::backend::Backend;
use maflow::recipe::{Arithmetic, FlowMethod};
use maflow::recipes;
use maflow::run_dir::{self, RunDir};
use maflow::train::Start;

fn plan(words: &[&str]) -> Result<Plan, CliError> {
    resolve(Cli::try_parse_from([&["maflow"], words].concat()).unwrap())
}

fn train(words: &[&str]) -> Train {
    match plan(words).unwrap() {
        Plan::Train(train) => *train,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_command_trains_the_default_recipe() {
    let plan = train(&[]);
    assert_eq!(plan.recipe.name, recipes::DEFAULT);
    assert_eq!(plan.start, Start::NewNumbered(run_dir::RUNS.into()));
    assert_eq!(plan.compute.backend, Backend::Ndarray);
}

#[test]
fn flags_win_over_settings_and_settings_over_the_recipe() {
    let words = ["train", "mnist", "--set", "train.seed=1", "--set", "flow.steps=7"];
    let plan = train(&[&words[..], &["--seed", "5", "--precision", "f64", "--threads", "3"]].concat());
    assert_eq!((plan.recipe.train.seed, plan.recipe.flow().map(|flow| flow.steps)), (5, Some(7)));
    assert_eq!(plan.recipe.train.precision, Arithmetic::F64);
    assert_eq!(plan.compute.threads.get(), 3);
}

#[test]
fn more_threads_than_a_machine_has_are_refused_by_every_training() {
    for words in [&["train", "rings"][..], &["fit", "data.csv"]] {
        let error = plan(&[words, &["--threads", "5000"]].concat()).unwrap_err();
        assert!(error.to_string().contains("--threads 5000"), "{error}");
        plan(&[words, &["--threads", "3"]].concat()).unwrap();
    }
}

#[test]
fn a_resumed_run_keeps_its_model_but_may_be_trained_longer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let out = path.to_str().unwrap();
    RunDir::create(&path, &recipes::load("rings", &[]).unwrap()).unwrap();
    let longer = train(&["train", "--resume", "--out", out, "--set", "train.steps=9000"]);
    assert_eq!(longer.recipe.train.steps, Some(9000));
    assert_eq!(longer.start, Start::Resume(path.clone()));
    for (words, key) in [
        (["--set", "potential.hidden=3"], "`potential`"),
        (["--set", "target.name=pinwheel"], "`target`"),
        (["--seed", "77"], "`train.seed`"),
        (["--precision", "f64"], "`train.precision`"),
    ] {
        let words = [&["train", "--resume", "--out", out][..], &words].concat();
        let error = plan(&words).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let error = plan(&["train", "mnist", "--resume", "--out", out]).unwrap_err();
    assert!(error.to_string().contains("rings, not of mnist"), "{error}");
}

#[test]
fn the_figures_of_a_run_may_use_another_method() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = path.to_str().unwrap();
    RunDir::create(&path, &recipes::load("ising-8", &[]).unwrap()).unwrap();
    let words = ["evaluate", run, "--method", "tsit5", "--samples", "500", "--json"];
    let Plan::Evaluate(evaluate) = plan(&words).unwrap() else { panic!("not an evaluation") };
    assert_eq!(evaluate.run.recipe().evaluate.method, Some(FlowMethod::RungeKutta(flow_core::Method::Tsit5)));
    assert_eq!(evaluate.run.recipe().evaluate.samples, Some(500));
    assert!(evaluate.json);
    let error = plan(&["evaluate", run, "--method", "tsit5", "--steps", "9"]).unwrap_err();
    assert!(error.to_string().contains("chooses its own steps"), "{error}");
    let error = plan(&["physics", run, "--set", "evaluate.method=tsit5", "--steps", "9"]).unwrap_err();
    assert!(error.to_string().contains("chooses its own steps"), "{error}");
    let error = plan(&["sample", run, "--count", "9223372036854775807", "--out", "a.npy"]).unwrap_err();
    assert!(error.to_string().contains("at most 68719476736"), "{error}");
    let error = plan(&["sample", run, "--count", "3", "--out", "a.jpg"]).unwrap_err();
    assert!(error.to_string().contains(".npy"), "{error}");
}
