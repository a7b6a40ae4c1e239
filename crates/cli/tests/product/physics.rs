//! `maflow physics` from outside: figures against exact ones, the keys of its object, and what it refuses.

use serde_json::Value;

use crate::lab::{ISING, Lab, TOY, on_every_backend};

/// A potential that is exactly symmetric, and more training than elsewhere: weights must be worth something.
const SYMMETRIC: &[&str] = &[
    "--set=potential.symmetry={group=[\"translations\"], draw=\"never\"}",
    "--set=train.batch=64",
    "--set=train.steps=150",
    "--set=train.learning_rate=2e-2",
    "--set=train.checkpoint_every=150",
];

/// A warm lattice.
const WARM: &[&str] = &["--set=target.temperature=4", "--precision=f64"];

const PHI4: &[&str] = &["--set=target={kind=\"phi4\", size=4, kappa=0.2, lambda=0.5}"];

fn study(lab: &Lab, run: &str, more: &[&str]) -> Value {
    serde_json::from_str(&lab.does(&[&["physics", run, "--json"], more].concat())).unwrap()
}

fn keys(of: &Value) -> Vec<&str> {
    of.as_object().unwrap_or_else(|| panic!("{of} is no object")).keys().map(String::as_str).collect()
}

/// Value and standard error.
#[track_caller]
fn figure(of: &Value) -> (f64, f64) {
    let number = |key: &str| of[key].as_f64().unwrap_or_else(|| panic!("no {key} in {of}"));
    (number("value"), number("standard_error"))
}

#[track_caller]
fn agree(what: &str, a: &Value, b: &Value) {
    let ((a, a_error), (b, b_error)) = (figure(a), figure(b));
    assert!((a - b).abs() < 4.0 * a_error.hypot(b_error), "{what}: {a} ± {a_error}, {b} ± {b_error}");
}

#[track_caller]
fn near(what: &str, found: &Value, exact: f64) {
    let (value, error) = figure(found);
    assert!((value - exact).abs() < 4.0 * error, "{what}: {value} ± {error}, exact {exact}");
}

#[test]
fn a_flow_tells_exact_values_of_the_ising_model() {
    on_every_backend(|lab| {
        lab.trains(ISING, "run", &[SYMMETRIC, WARM].concat());
        let found = study(lab, "run", &["--samples", "8000", "--chain", "20"]);
        let expected = [
            "converged",
            "ess",
            "force_mismatch_per_site",
            "integrator",
            "latent_hybrid",
            "log_z",
            "log_z_exact",
            "metropolis",
            "observables",
            "plain_hybrid",
            "samples",
            "sites",
            "target",
        ];
        assert_eq!(keys(&found), expected);
        assert_eq!((found["target"].as_str(), found["sites"].as_u64()), (Some("ising"), Some(16)));
        assert!(found["ess"].as_f64().unwrap() > 0.3, "{found}");
        let names = ["energy_per_site", "magnetisation_per_site", "specific_heat_per_site"];
        assert_eq!(keys(&found["observables"]), names);
        let exact = ising_exact::Lattice::square(4).unwrap().thermodynamics(4.0).unwrap();
        near("ln Z", &found["log_z"], found["log_z_exact"].as_f64().unwrap());
        for (name, exact) in [(names[0], exact.energy_per_site), (names[2], exact.specific_heat_per_site)] {
            let of = &found["observables"][name];
            assert!((of["exact"].as_f64().unwrap() - exact).abs() < 1e-12);
            for way in ["weighted", "clusters", "metropolis", "latent_hybrid", "plain_hybrid"] {
                near(&format!("{name} by {way}"), &of[way], exact);
            }
        }
        let magnetisation = &found["observables"][names[1]];
        assert!(magnetisation["exact"].is_null());
        for way in ["weighted", "metropolis", "latent_hybrid", "plain_hybrid"] {
            agree(&format!("|magnetisation| by {way}"), &magnetisation[way], &magnetisation["clusters"]);
        }
        for name in ["metropolis", "latent_hybrid", "plain_hybrid"] {
            let sampler = &found[name];
            let acceptance = sampler["acceptance"].as_f64().unwrap();
            assert!(acceptance > 0.2 && acceptance < 1.0, "{name}: {sampler}");
            assert!(sampler["autocorrelation_energy"]["value"].as_f64().unwrap() > 0.0, "{name}: {sampler}");
            assert_eq!(keys(sampler).contains(&"step_size"), name != "metropolis");
        }
        assert_eq!(
            found,
            study(lab, "run", &["--samples", "8000", "--chain", "20"]),
            "the same seed, the same numbers"
        );
        let short = study(lab, "run", &["--samples", "8000", "--chain", "0"]);
        assert!(short["latent_hybrid"].is_null() && short["log_z"] == found["log_z"]);
        let told = lab.does(&["physics", "run", "--samples", "300", "--chain", "0"]);
        for words in
            ["ln Z by importance", "exact value", "effective sample size", "specific heat per site", "Metropolis"]
        {
            assert!(told.contains(words), "{words:?} is not in\n{told}");
        }
        // Evaluation draws the same samples.
        let figures = lab.figures("run", &["--samples", "8000"]);
        let log_z = figures["log_z_importance"].as_f64().unwrap();
        assert!((log_z - figure(&found["log_z"]).0).abs() < 1e-3, "{log_z} {found}");
    });
}

#[test]
fn a_field_theory_is_sampled_by_every_way() {
    on_every_backend(|lab| {
        lab.trains(ISING, "run", &[SYMMETRIC, PHI4].concat());
        let found = study(lab, "run", &["--samples", "4000", "--chain", "30"]);
        assert_eq!(keys(&found["observables"]), ["action_per_site", "magnetisation_per_site", "susceptibility"]);
        assert!(!keys(&found).contains(&"log_z_exact"));
        for name in keys(&found["observables"]) {
            let of = &found["observables"][name];
            assert!(of["exact"].is_null(), "{of}");
            for way in ["weighted", "metropolis", "latent_hybrid", "plain_hybrid"] {
                agree(&format!("{name} by {way}"), &of[way], &of["clusters"]);
            }
        }
    });
}

#[test]
fn what_is_no_lattice_model_is_refused() {
    on_every_backend(|lab| {
        lab.trains(TOY, "toy", &[]);
        lab.refuses(&["physics", "toy"], 2, &["lattice models", "maflow evaluate"]);
    });
}
