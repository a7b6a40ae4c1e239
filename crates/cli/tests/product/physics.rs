//! `maflow physics` from outside: figures against exact ones, the keys of its object, and what it refuses.

use serde_json::Value;

use crate::lab::{ISING, Lab, TOY, on_one_backend};

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

/// A figure and its standard error.
#[track_caller]
fn figure(of: &Value, name: &str) -> (f64, f64) {
    let number = |key: &str| of[key].as_f64().unwrap_or_else(|| panic!("no {key} in {of}"));
    (number(name), number(&format!("{name}_error")))
}

#[track_caller]
fn agree(of: &Value, a: &str, b: &str) {
    let ((x, x_error), (y, y_error)) = (figure(of, a), figure(of, b));
    assert!((x - y).abs() < 4.0 * x_error.hypot(y_error), "{a}: {x} ± {x_error}, {b}: {y} ± {y_error}");
}

#[track_caller]
fn near(of: &Value, name: &str, exact: f64) {
    let (value, error) = figure(of, name);
    assert!((value - exact).abs() < 4.0 * error, "{name}: {value} ± {error}, exact {exact}");
}

const WAYS: [&str; 6] = ["clusters", "flow", "latent_hybrid", "metropolis", "plain_hybrid", "weighted"];

#[test]
fn a_flow_tells_exact_values_of_the_ising_model() {
    on_one_backend(|lab| {
        lab.trains(ISING, "run", &[SYMMETRIC, WARM].concat());
        let found = study(lab, "run", &["--samples", "8000", "--chain", "20"]);
        let names = ["energy_per_site", "magnetisation_per_site", "specific_heat_per_site"];
        assert!(found.as_object().unwrap().values().all(|value| !value.is_object()), "the object is flat: {found}");
        for key in [
            "checkpoint",
            "converged",
            "ess",
            "exact_free_energy_per_site",
            "force_mismatch_per_site_integration_error",
            "free_energy_per_site",
            "integration_error",
            "integrator",
            "kl_nats",
            "log_z_importance_error",
            "log_z_integration_error",
            "samples",
            "standard_error",
            "steps",
        ] {
            assert!(!found[key].is_null(), "no {key} in {found}");
        }
        assert_eq!((found["target"].as_str(), found["sites"].as_u64()), (Some("ising"), Some(16)));
        assert!(found["ess"].as_f64().unwrap() > 0.3, "{found}");
        let exact = ising_exact::Lattice::square(4).unwrap().thermodynamics(4.0).unwrap();
        near(&found, "log_z_importance", -16.0 * found["exact_free_energy_per_site"].as_f64().unwrap());
        for (name, exact) in [(names[0], exact.energy_per_site), (names[2], exact.specific_heat_per_site)] {
            assert!((found[format!("exact_{name}")].as_f64().unwrap() - exact).abs() < 1e-12);
            for way in WAYS.into_iter().filter(|way| *way != "flow") {
                near(&found, &format!("{name}_{way}"), exact);
            }
        }
        assert!(found[format!("exact_{}", names[1])].is_null());
        for way in WAYS.into_iter().filter(|way| *way != "flow") {
            agree(&found, &format!("{}_{way}", names[1]), &format!("{}_clusters", names[1]));
        }
        for name in ["metropolis", "latent_hybrid", "plain_hybrid"] {
            let acceptance = found[format!("{name}_acceptance")].as_f64().unwrap();
            assert!(acceptance > 0.2 && acceptance < 1.0, "{name}: {found}");
            assert!(found[format!("{name}_autocorrelation_energy")].as_f64().unwrap() > 0.0, "{name}: {found}");
            assert_eq!(found[format!("{name}_step_size")].is_null(), name == "metropolis");
        }
        let few = || study(lab, "run", &["--samples", "500", "--chain", "5"]);
        assert_eq!(few(), few(), "the same seed, the same numbers");
        let short = study(lab, "run", &["--samples", "8000", "--chain", "0"]);
        assert!(short["latent_hybrid_chains"].is_null());
        assert_eq!(figure(&short, "log_z_importance"), figure(&found, "log_z_importance"));
        let told = lab.does(&["physics", "run", "--samples", "300", "--chain", "0"]);
        for words in
            ["ln Z by importance", "exact value", "effective sample size", "specific heat per site", "Metropolis"]
        {
            assert!(told.contains(words), "{words:?} is not in\n{told}");
        }
        // Evaluation draws the same samples.
        let figures = lab.figures("run", &["--samples", "8000"]);
        let log_z = figures["log_z_importance"].as_f64().unwrap();
        assert!((log_z - figure(&found, "log_z_importance").0).abs() < 1e-3, "{log_z} {found}");
    });
}

#[test]
#[ignore = "seconds: .ci/run"]
fn a_field_theory_is_sampled_by_every_way() {
    on_one_backend(|lab| {
        lab.trains(ISING, "run", &[SYMMETRIC, PHI4].concat());
        let found = study(lab, "run", &["--samples", "4000", "--chain", "30"]);
        for name in ["action_per_site", "magnetisation_per_site", "susceptibility"] {
            assert!(found[format!("exact_{name}")].is_null(), "{found}");
            for way in WAYS.into_iter().filter(|way| *way != "flow") {
                agree(&found, &format!("{name}_{way}"), &format!("{name}_clusters"));
            }
        }
        assert!(found["exact_free_energy_per_site"].is_null());
    });
}

#[test]
fn a_study_of_an_energy_that_is_no_lattice_is_of_the_energy_alone() {
    on_one_backend(|lab| {
        let short = ["energy-1", "--set=potential.hidden=8", "--set=train.steps=20", "--set=train.schedule.warmup=2"];
        lab.trains(&short, "run", &["--set=train.batch=64", "--set=evaluate.samples=300"]);
        let found = study(lab, "run", &["--samples", "1000", "--chain", "10"]);
        assert_eq!((found["target"].as_str(), found["sites"].as_u64()), (Some("energy"), Some(1)));
        for name in ["energy", "energy_variance"] {
            for way in WAYS {
                assert_eq!(found[format!("{name}_{way}")].is_null(), way == "clusters", "{way}: {found}");
            }
        }
        assert!(found["metropolis_autocorrelation_energy"].is_number(), "{found}");
        assert!(found["metropolis_autocorrelation_magnetisation"].is_null(), "{found}");
        let told = lab.does(&["physics", "run", "--samples", "300", "--chain", "0"]);
        assert!(told.contains("variance of energy") && told.contains("τ of energy"), "{told}");
        assert!(!told.contains("magnetisation") && !told.contains("per site"), "{told}");
    });
}

#[test]
fn a_target_without_an_energy_is_refused() {
    on_one_backend(|lab| {
        lab.trains(TOY, "toy", &[]);
        lab.refuses(&["physics", "toy"], 2, &["targets with an energy", "maflow evaluate"]);
    });
}

#[test]
#[ignore = "seconds: .ci/run"]
fn a_mode_that_the_flow_never_visits_is_seen_by_samples_of_its_target() {
    on_one_backend(|lab| {
        // So short a training ends on one of two halves of a ring.
        let cut_short = [
            "energy-1",
            "--set=potential.hidden=64",
            "--set=train.steps=250",
            "--set=train.batch=256",
            "--set=train.schedule.warmup=20",
        ];
        let told = lab.trains(&cut_short, "run", &[]);
        let figures = lab.figures("run", &[]);
        let number = |key: &str| figures[key].as_f64().unwrap_or_else(|| panic!("no {key} in {figures}"));
        let exact = -number("exact_free_energy_per_site");
        assert!((number("log_z_importance") - (exact - 2f64.ln())).abs() < 0.1, "half of it: {figures}");
        // Its own samples find themselves worth a quarter of their number.
        assert!(number("ess") > 0.1, "{figures}");
        assert!(number("forward_kl_nats") > 1.0 && number("forward_ess") < 0.01, "{figures}");
        assert_eq!(number("forward_samples"), 2000.0);
        for words in ["forward KL divergence", "by 2000 samples of the target"] {
            assert!(told.contains(words), "{words:?} is not in\n{told}");
        }
        // Where nobody can draw samples, that is said; a lattice model has its own sampler.
        let ising = lab.trains(ISING, "ising", &[]);
        assert!(ising.contains("by 300 samples of the target") && !ising.contains("no reference"), "{ising}");
    });
}
