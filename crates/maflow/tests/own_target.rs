//! A target from outside the crate: trained, evaluated, sampled and resumed like those that recipes name.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datasets::{Bijection, Standardisation};
use flow_core::{Finish, RngKey};
use maflow::metrics::Row;
use maflow::monitor::Monitor;
use maflow::recipe::{Objective, Recipe};
use maflow::run::Run;
use maflow::target::{Known, Samples, Target};
use maflow::train::{Start, Train};
use maflow::{Error, recipes, run_dir};

/// Normal variables around (5, −1) with deviations 2 and 0.5, in their own units; the flow sees them standardised.
#[derive(Debug)]
struct Measurements(Standardisation);

const MEAN: [f64; 2] = [5.0, -1.0];
const VARIANCE: [f64; 2] = [4.0, 0.25];

impl Measurements {
    fn target() -> Arc<dyn Target> {
        Arc::new(Self(Standardisation::per_coordinate(MEAN.to_vec(), VARIANCE.to_vec()).unwrap()))
    }

    fn entropy() -> f64 {
        VARIANCE.iter().map(|v| 0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E * v).ln()).sum()
    }
}

impl Target for Measurements {
    fn dimension(&self) -> usize {
        2
    }

    fn bijection(&self) -> Option<Arc<dyn Bijection>> {
        Some(Arc::new(self.0.clone()))
    }

    fn samples(&self) -> Option<&dyn Samples> {
        Some(self)
    }

    fn known(&self) -> Option<Known> {
        Some(Known::Entropy(Self::entropy()))
    }
}

impl Samples for Measurements {
    fn training(&self, key: RngKey, _seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        // Standardised, they are standard normal.
        out.copy_from_slice(&key.normals(rows, 2));
        Ok(())
    }
}

fn recipe() -> Recipe {
    let settings = [
        "target={kind=\"own\", dimension=2, energy=false, samples=true}",
        "train.steps=30",
        "train.schedule=constant",
        "train.checkpoint_every=10",
        "train.precision=f64",
        "evaluate.samples=2000",
    ];
    recipes::load("rings", &settings.map(|setting| setting.parse().unwrap())).unwrap()
}

fn train(start: Start, monitor: &dyn Monitor) -> Finish {
    Train { recipe: recipe(), start, target: Some(Measurements::target()), ..Train::default() }
        .run(monitor)
        .unwrap()
        .finish
}

#[test]
fn figures_densities_and_samples_are_those_of_the_users_units() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    assert_eq!(train(Start::New(path.clone()), &()), Finish::Completed);
    let run = Run::open(&path, &[]).unwrap().with_target(Measurements::target());
    let report: serde_json::Value = serde_json::from_str(&run.report(&()).unwrap().json()).unwrap();
    let number = |key: &str| report[key].as_f64().unwrap();
    // The flow starts near the identity, which is the answer.
    assert!((number("nll_nats") - Measurements::entropy()).abs() < 0.5, "{report}");
    assert!((number("nll_nats") - Measurements::entropy() - number("kl_nats")).abs() < 1e-12, "{report}");
    // ln p of a row is what its own density integrates to one with, in the user's units.
    let side = 120;
    let cell = |k: usize, i: usize| MEAN[i] + VARIANCE[i].sqrt() * 14.0 * ((k as f64 + 0.5) / side as f64 - 0.5);
    let rows: Vec<f64> = (0..side * side).flat_map(|k| [cell(k % side, 0), cell(k / side, 1)]).collect();
    let ln_p = run.log_prob(&rows).unwrap();
    let area: f64 = VARIANCE.iter().map(|v| v.sqrt() * 14.0 / side as f64).product();
    let mass = area * ln_p.values.iter().map(|value| value.exp()).sum::<f64>();
    assert!((mass - 1.0).abs() < 1e-3, "{mass}");
    let samples = run.sample(2000).unwrap();
    let mean = |i: usize| samples.chunks_exact(2).map(|x| x[i]).sum::<f64>() / 2000.0;
    assert!((mean(0) - 5.0).abs() < 1.0 && (mean(1) + 1.0).abs() < 0.25, "{} {}", mean(0), mean(1));
    assert!(matches!(run.log_prob(&[1.0]), Err(Error::Argument(_))));
    // Without the target nobody knows the map, and nothing is printed in coordinates that are not the user's.
    let alone = Run::open(&path, &[]).unwrap();
    assert!(matches!(alone.sample(3), Err(Error::Argument(_))));
    assert!(matches!(alone.report(&()), Err(Error::Argument(_))));
}

/// Asks for an end after so many steps.
struct Patience(AtomicU64);

impl Monitor for Patience {
    fn step(&self, _row: &Row, _validation: Option<f64>) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn a_cancelled_training_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    train(Start::New(whole.clone()), &());
    assert_eq!(train(Start::New(cut.clone()), &Patience(AtomicU64::new(13))), Finish::Interrupted);
    assert_eq!(train(Start::Resume(cut.clone()), &()), Finish::Completed);
    let last = |run: &Path| std::fs::read(run_dir::checkpoints(run).join("step-00000030.safetensors")).unwrap();
    let tensors = |bytes: Vec<u8>| {
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    assert_eq!(tensors(last(&whole)), tensors(last(&cut)));
}

#[test]
fn a_target_of_another_dimension_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let three = ["target={kind=\"own\", dimension=3, energy=false, samples=true}", "train.schedule=constant"];
    let recipe = recipes::load("rings", &three.map(|setting| setting.parse().unwrap())).unwrap();
    let wrong =
        Train { recipe, start: Start::New(path.clone()), target: Some(Measurements::target()), ..Train::default() };
    let error = wrong.run(&()).unwrap_err();
    assert!(matches!(&error, Error::Argument(sentence) if sentence.contains("2 numbers per row")), "{error}");
    assert!(!path.exists());
}

/// Says nothing of itself but how many numbers it has.
#[derive(Debug)]
struct Unknown;

impl Target for Unknown {
    fn dimension(&self) -> usize {
        2
    }
}

#[test]
fn a_target_without_what_its_training_needs_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for objective in ["nll", "flow-matching"] {
        let path = folder.path().join(objective);
        let mut recipe = recipe();
        recipe.train.objective = match objective {
            "nll" => Objective::Nll,
            _ => Objective::FlowMatching,
        };
        let train =
            Train { recipe, start: Start::New(path.clone()), target: Some(Arc::new(Unknown)), ..Train::default() };
        let error = train.run(&()).unwrap_err();
        assert!(matches!(&error, Error::Argument(sentence) if sentence.contains("no samples")), "{error}");
        assert!(!path.exists());
    }
}
