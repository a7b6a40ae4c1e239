//! Models in closed form on libtorch, in the same pipeline as flows: trained, resumed, judged, drawn from.

use std::fs;

use flow_core::{Purpose, RngKey};

use crate::lab::{Lab, on_every_backend, wants_all};
use crate::runs::number;

/// Each kind at a size that trains in a moment.
const KINDS: [(&str, &str); 4] = [
    ("made", "{ kind = 'made', hidden = [8] }"),
    ("mixture", "{ kind = 'made', hidden = [8, 8], components = 3 }"),
    ("maf", "{ kind = 'maf', layers = 2, hidden = [8], components = 2 }"),
    ("real-nvp", "{ kind = 'real-nvp', layers = 2, hidden = [8] }"),
];

/// One made of conditionals and one of couplings, or all of them.
fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.into_iter().filter(|(name, _)| wants_all() || matches!(*name, "maf" | "real-nvp"))
}

const NEURAL_RG: &str = "{ kind = 'neural-rg', layers = 2, hidden = [4] }";

/// Writes a recipe of a model for a target.
fn recipe(lab: &Lab, name: &str, target: &str, model: &str, objective: &str) {
    let text = format!(
        "target = {target}\nmodel = {model}\n[train]\nobjective = '{objective}'\nbatch = 32\nsteps = 12\n\
         checkpoint_every = 4\naverage = 0.9\n[evaluate]\nsamples = 300\n"
    );
    fs::write(lab.path(&format!("{name}.toml")), text).unwrap();
}

const RINGS: &str = "{ kind = 'toy', name = 'rings' }";

#[test]
fn a_model_goes_through_the_whole_pipeline() {
    on_every_backend(|lab| {
        for (name, model) in kinds() {
            recipe(lab, name, RINGS, model, "nll");
            let file = format!("{name}.toml");
            if lab.backend() == "ndarray" {
                let stderr = lab.refuses(&["train", &file, "--out", name], 2, &["the model", "--backend tch-cpu"]);
                assert!(stderr.lines().count() == 1 && !lab.path(name).exists(), "{stderr}");
                continue;
            }
            let told = lab.trains(&[&file], name, &[]);
            assert!(told.contains("none: the map is in closed form") && !told.contains("flow steps"), "{told}");
            let figures = lab.figures(name, &[]);
            assert_eq!((number(&figures, "integration_error"), &figures["steps"]), (0.0, &serde_json::Value::Null));
            assert!(number(&figures, "standard_error") > 0.0);
            for picture in ["loss", "density", "path"] {
                assert!(lab.path(name).join(format!("plots/{picture}.png")).exists(), "{picture}");
            }
            // Base coordinates lead back to the samples that they are of.
            lab.does(&["sample", name, "--count", "20", "--out", "x.csv"]);
            lab.does(&["transform", name, "x.csv", "--out", "z.csv"]);
            lab.does(&["transform", name, "z.csv", "--inverse", "--out", "again.csv"]);
            let numbers = |file: &str| -> Vec<f64> {
                let text = fs::read_to_string(lab.path(file)).unwrap();
                text.lines().skip(1).flat_map(|line| line.split(',')).map(|x| x.parse().unwrap()).collect()
            };
            let off =
                numbers("x.csv").iter().zip(numbers("again.csv")).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
            assert!(off < 1e-3, "{name}: {off}");
            let scored = lab.does(&["score", name, "x.csv"]);
            assert!(scored.starts_with("log_density,integration_error\n") && scored.lines().count() == 21, "{scored}");
            lab.refuses(&["evaluate", name, "--steps", "4"], 2, &["evaluate.steps", "closed form"]);
        }
    });
}

#[test]
#[ignore = "seconds: .ci/run"]
fn a_resumed_training_comes_to_the_same_bits() {
    on_every_backend(|lab| {
        if lab.backend() == "ndarray" {
            return;
        }
        for (name, model) in kinds() {
            recipe(lab, name, RINGS, model, "nll");
            lab.trains(&[&format!("{name}.toml")], name, &[]);
            let (bits, metrics) = (lab.final_bits(name), lab.metrics(name));
            fs::remove_file(lab.checkpoints(name).last().unwrap()).unwrap();
            lab.does(&["train", "--resume", "--out", name]);
            assert!(lab.final_bits(name) == bits && lab.metrics(name) == metrics, "{name}");
            let other = ["train", "--resume", "--out", name, "--set=model.hidden=[9]"];
            lab.refuses(&other, 2, &["keeps its `model`"]);
        }
    });
}

#[test]
#[ignore = "seconds: .ci/run"]
fn couplings_learn_an_energy_and_physics_is_for_flows() {
    on_every_backend(|lab| {
        if lab.backend() == "ndarray" {
            return;
        }
        recipe(lab, "ising", "{ kind = 'ising', size = 4 }", KINDS[3].1, "free-energy");
        lab.trains(&["ising.toml"], "ising", &[]);
        let figures = lab.figures("ising", &[]);
        assert!(number(&figures, "kl_nats") > 0.0 && number(&figures, "forward_samples") == 300.0, "{figures}");
        recipe(lab, "rg", "{ kind = 'ising', size = 4 }", NEURAL_RG, "free-energy");
        lab.trains(&["rg.toml"], "rg", &[]);
        assert!(number(&lab.figures("rg", &[]), "kl_nats") > 0.0);
        lab.refuses(&["train", "rg.toml", "--set", "target.size=6"], 2, &["model.kind", "power of two"]);
        lab.refuses(&["physics", "ising"], 2, &["physics needs a flow"]);
        recipe(lab, "made", "{ kind = 'ising', size = 4 }", KINDS[0].1, "free-energy");
        lab.refuses(&["train", "made.toml"], 2, &["model.kind", "real-nvp"]);
    });
}

#[test]
fn what_only_a_flow_has_is_refused_with_its_key() {
    on_every_backend(|lab| {
        recipe(lab, "maf", RINGS, KINDS[2].1, "nll");
        for (setting, words) in [
            ("train.objective=flow-matching", "train.objective"),
            ("train.transport_cost=0.1", "train.transport_cost"),
            ("train.force_weight=0.1", "train.force_weight"),
            ("evaluate.refinements=1", "evaluate.refinements"),
            ("evaluate.method=rk4", "evaluate.method"),
            ("flow={time=1.0, steps=4}", "given beside flow"),
            ("potential=ridge", "given beside potential"),
            ("model.hidden=[]", "at least 1"),
            ("model.hidden=[8, 0]", "at least 1"),
            ("model.layers=0", "model.layers"),
            ("model.components=0", "model.components"),
            ("model.depth=2", "model.depth"),
            ("model.kind=nice", "real-nvp"),
        ] {
            lab.refuses(&["train", "maf.toml", "--set", setting], 2, &[words]);
        }
    });
}

/// Rows of two columns that depend on a third in words.
fn write_table(lab: &Lab) {
    let z = RngKey::new(1, Purpose::Sample, 0).normals(0..400, 2);
    let row = |(r, z): (usize, &[f64])| {
        let arm = if r % 2 == 0 { "high" } else { "low" };
        let place = if r % 2 == 0 { 3.0 } else { -3.0 };
        format!("{:.4},{:.4},{arm}\n", place + z[0], z[0] * z[0] + 0.3 * z[1])
    };
    let rows: String = z.chunks_exact(2).enumerate().map(row).collect();
    fs::write(lab.path("data.csv"), format!("a,b,arm\n{rows}")).unwrap();
}

#[test]
#[ignore = "seconds: .ci/run"]
fn a_table_is_fitted_by_a_model_and_by_what_is_given() {
    on_every_backend(|lab| {
        if lab.backend() == "ndarray" {
            return;
        }
        write_table(lab);
        let fit = |model: &str, out: &str, more: &[&str]| {
            let words = ["fit", "data.csv", "--model", model, "--minutes", "0.01", "--out", out];
            lab.does(&[&words[..], more].concat());
        };
        fit("made", "made", &["--columns", "a,b"]);
        let figures = lab.figures("made", &[]);
        assert!(number(&figures, "nll_nats") < number(&figures, "gaussian_nll_nats"), "{figures}");
        assert_eq!(number(&figures, "integration_error"), 0.0);
        let config = fs::read_to_string(lab.path("made/config.toml")).unwrap();
        assert!(config.contains("kind = \"made\"") && config.contains("hidden = [64, 64]"), "{config}");
        // The place of a is that of its arm.
        fit("maf", "given", &["--given", "arm"]);
        fs::write(lab.path("arms.csv"), "arm\nhigh\nlow\n").unwrap();
        lab.does(&["sample", "given", "--given", "arms.csv", "--count", "20", "--out", "s.csv"]);
        let text = fs::read_to_string(lab.path("s.csv")).unwrap();
        // What is given stands before the columns.
        let high = |line: &str| line.split(',').nth(1).unwrap().parse::<f64>().unwrap() > 0.0;
        let right = text.lines().skip(1).filter(|line| high(line) == line.starts_with("high")).count();
        assert!(right + 2 >= text.lines().count() - 1 && text.lines().count() == 41, "{right} of {text}");
    });
}
