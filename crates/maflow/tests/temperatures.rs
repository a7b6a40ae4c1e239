//! One flow for a range of temperatures: trained, studied at each, given them, and resumed.

mod patience;

use std::path::Path;
use std::sync::atomic::AtomicU64;

use flow_core::Finish;
use maflow::monitor::Monitor;
use maflow::physics::SampleCounts;
use maflow::physics::report::AtTemperature;
use maflow::recipe::Recipe;
use maflow::report::Figures;
use maflow::run::Run;
use maflow::target::studied;
use maflow::train::{Start, Train};
use maflow::{recipes, run_dir};
use patience::Patience;

/// A small lattice, few kernels, and a short training.
fn recipe(more: &[&str]) -> Recipe {
    let small = [
        "target.size=3",
        "potential.terms=[{kind=\"lattice-quadratic\", time_terms=3}, {kind=\"lattice-quadratic\", time_terms=3}, \
         {kind=\"lattice-ridge\", kernels=3, activation=\"ln-cosh\", bias=false, time_terms=3}, \
         {kind=\"lattice-ridge\", kernels=3, activation=\"ln-cosh\", bias=false, time_terms=3}]",
        "flow.steps=6",
        "train.batch=64",
        "train.pool=3300",
        "train.schedule.warmup=5",
        "fine_tune.batch=32",
        "evaluate.samples=1000",
    ];
    let settings = small.iter().chain(more).map(|setting| setting.parse().unwrap()).collect::<Vec<_>>();
    recipes::load("ising-16-temperatures", &settings).unwrap()
}

fn trained(folder: &Path, more: &[&str]) -> Run {
    let train = Train { recipe: recipe(more), start: Start::New(folder.join("run")), ..Train::default() };
    train.run(&()).unwrap();
    Run::open(&folder.join("run"), &[]).unwrap()
}

/// ln Z by importance weights has the exact value at every temperature, and rows have the ln p that they have there.
#[test]
fn a_flow_of_a_range_has_the_exact_partition_functions() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), &["train.steps=200", "fine_tune.steps=30", "train.checkpoint_every=100"]);
    for temperature in [1.9, 2.8] {
        let at = run.at_temperature(temperature).unwrap();
        let found = at.physics(SampleCounts { samples: 2000, chain: 0, leapfrog: 1, forces: 20 }, &()).unwrap();
        let Figures::FreeEnergy {
            log_z_importance: Some(log_z),
            log_z_importance_error: Some(error),
            exact_free_energy_per_site: Some(exact),
            ess: Some(ess),
            kl_nats: Some(kl),
            ..
        } = found.report.figures
        else {
            panic!("no weights at T = {temperature}: {:?}", found.report.figures)
        };
        assert!(ess > 0.2 && kl > 0.0 && error < 0.1, "T = {temperature}: {ess} {kl} {error}");
        assert!((log_z + 9.0 * exact).abs() < 4.0 * error, "T = {temperature}: {log_z} ± {error}, {exact}");
        for row in &found.observables {
            let Some(exact) = row.exact else { continue };
            let off = (row.weighted.value - exact).abs();
            assert!(off < 4.0 * row.weighted.standard_error, "{} at T = {temperature}: {row:?}", row.observable.key);
        }
        // The density given a temperature is that of the run at it.
        let rows = at.sample(5).unwrap();
        assert_eq!(rows, run.sample_given(&[temperature; 5]).unwrap());
        let given = run.log_prob((&rows[..], &[temperature; 5][..])).unwrap();
        let own = at.log_prob(&rows).unwrap();
        assert!(given.values.iter().zip(&own.values).all(|(a, b)| (a - b).abs() < 1e-3), "{given:?} {own:?}");
    }
    // Figures of the whole range: the exact value is the mean over it, and gaps have the scatter of one temperature.
    let report = run.report(&()).unwrap();
    let Figures::FreeEnergy { kl_nats: Some(kl), ess: Some(ess), forward: Some(forward), .. } = report.figures else {
        panic!("{:?}", report.figures)
    };
    assert!(kl > 0.0 && kl < 2.0 && 9.0 * report.standard_error < 0.2 && ess > 0.2, "{report:?}");
    assert!(forward.forward_kl_nats > 0.0 && forward.forward_kl_nats < 2.0, "{forward:?}");
    // What is not of one temperature says so.
    assert!(run.weighted_samples(10, &()).unwrap_err().to_string().contains("target.temperature"));
    for outside in [run.sample_given(&[3.5]).map(drop), run.at_temperature(1.0).unwrap().sample(1).map(drop)] {
        assert!(outside.unwrap_err().to_string().contains("outside of the range from 1.8 to 3"));
    }
}

#[test]
fn a_study_has_every_temperature_with_its_exact_values() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), &["train.steps=20", "fine_tune.steps=0", "train.checkpoint_every=20"]);
    let found = run.temperatures(SampleCounts { samples: 50, chain: 0, leapfrog: 1, forces: 20 }, &()).unwrap();
    assert_eq!(found.iter().map(|at| at.temperature).collect::<Vec<_>>(), studied([1.8, 3.0]));
    let json: serde_json::Value = serde_json::from_str(&AtTemperature::json(&found)).unwrap();
    let all = json["temperatures"].as_array().unwrap();
    let lattice = ising_exact::Lattice::new(3, 3).unwrap();
    for (one, temperature) in all.iter().zip(studied([1.8, 3.0])) {
        let exact = lattice.thermodynamics(temperature).unwrap();
        let continuous = lattice.continuous(temperature).unwrap().free_energy_per_site;
        for (key, exact) in [
            ("temperature", temperature),
            ("exact_energy_per_site", exact.energy_per_site),
            ("exact_specific_heat_per_site", exact.specific_heat_per_site),
            ("exact_free_energy_per_site", continuous),
        ] {
            assert!((one[key].as_f64().unwrap() - exact).abs() < 1e-12, "{key} at T = {temperature}: {one}");
        }
    }
    assert!(all.len() == 13 && all.iter().all(|one| one["energy_per_site_weighted"].is_number()));
}

#[test]
fn an_interrupted_training_goes_on_to_the_same_bits_in_either_phase() {
    let folder = tempfile::tempdir().unwrap();
    let steps = ["train.steps=8", "fine_tune.steps=6", "train.checkpoint_every=4"];
    let train = |start, monitor: &dyn Monitor| {
        Train { recipe: recipe(&steps), start, ..Train::default() }.run(monitor).unwrap().finish
    };
    let whole = folder.path().join("whole");
    assert_eq!(train(Start::New(whole.clone()), &()), Finish::Completed);
    let last = |run: &Path| {
        let bytes = std::fs::read(run_dir::checkpoints(run).join("step-00000014.safetensors")).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    for made in [5, 11] {
        let cut = folder.path().join(made.to_string());
        assert_eq!(train(Start::New(cut.clone()), &Patience(AtomicU64::new(made))), Finish::Interrupted);
        assert_eq!(train(Start::Resume(cut.clone()), &()), Finish::Completed);
        assert_eq!(last(&whole), last(&cut), "interrupted after {made} steps");
    }
}
