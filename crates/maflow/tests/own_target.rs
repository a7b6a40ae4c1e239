//! A target from outside the crate: trained, evaluated, sampled and resumed like those that recipes name.

mod patience;

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use datasets::columns::Regression;
use datasets::table::Table as Rows;
use datasets::{Bijection, Standardisation};
use flow_core::{Energy, Finish, RngKey};
use maflow::backend::Compute;
use maflow::fit::{self, Fit};
use maflow::kept::Kept;
use maflow::monitor::Monitor;
use maflow::recipe::{Objective, Recipe};
use maflow::run::Run;
use maflow::target::{CFunction, Known, OwnEnergy, Samples, Target};
use maflow::train::{Start, Train};
use maflow::{Error, recipes, run_dir};
use patience::Patience;

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

/// A run of rows that no file has keeps them: it is evaluated and resumed wherever it is moved to.
#[test]
fn rows_in_memory_are_kept_by_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let (first, moved) = (folder.path().join("first"), folder.path().join("moved"));
    let numbers: Vec<f64> =
        (0..200).flat_map(|i| [(f64::from(i) * 0.7).sin(), f64::from(i * i % 17) * 0.1, f64::from(i % 2)]).collect();
    let rows = Rows::new(&["x", "y", "arm"], numbers).unwrap();
    for (rows, kept) in [
        (rows.clone(), "training.safetensors"),
        (rows.with_labels(2, &["left".into(), "right".into()]).unwrap(), "training.csv"),
    ] {
        let planned = fit().plan_rows(rows, None, None, &Compute::default(), &()).unwrap();
        assert_eq!(planned.recipe.train.steps, Some(10));
        Run::create(first.clone(), planned.recipe).with_target(planned.target).train(&()).unwrap();
        assert!(first.join("rows").join(kept).exists());
        let expected = Run::open(&first, &[]).unwrap().report(&()).unwrap();
        std::fs::rename(&first, &moved).unwrap();
        let run = Run::open(&moved, &["train.steps=12".parse().unwrap()]).unwrap();
        let found = run.report(&()).unwrap();
        assert_eq!((found.figures, found.samples), (expected.figures, 20));
        assert_eq!(run.resume(&()).unwrap(), Finish::Completed);
        std::fs::remove_dir_all(&moved).unwrap();
    }
}

/// Rows of a normal column whose mean and ln of its deviation are linear in a number and a category, with their ln p.
fn conditional_gaussian(rows: Range<usize>) -> (Rows, Vec<f64>) {
    let (mut numbers, mut densities) = (Vec::new(), Vec::new());
    for (z, row) in RngKey::new(5, flow_core::Purpose::Train, 0).normals(rows.clone(), 2).chunks_exact(2).zip(rows) {
        let (c, arm) = (z[0], (row % 2) as f64);
        let log_scale = 0.7 * c - 1.0 - arm;
        numbers.extend([50.0 + 4.0 * c - 9.0 * arm + log_scale.exp() * z[1], c, arm]);
        densities.push(-0.5 * (z[1] * z[1] + std::f64::consts::TAU.ln()) - log_scale);
    }
    (Rows::new(&["x", "c", "arm"], numbers).unwrap(), densities)
}

/// With the context in the map a flow that has learned nothing has the density, and knows the way back.
#[test]
fn a_gaussian_by_what_is_given_is_known_before_any_training() {
    let folder = tempfile::tempdir().unwrap();
    let ((rows, _), (fresh, exact)) = (conditional_gaussian(0..4000), conditional_gaussian(4000..6000));
    let points = fresh.select(&["x"]).unwrap().values().to_vec();
    let untrained = |regression: Regression, name: &str| {
        let fit = Fit { given: vec!["c".to_owned(), "arm".to_owned()], regression, steps: Some(1), ..fit() };
        let mut planned = fit.plan_rows(rows.clone(), None, None, &Compute::default(), &()).unwrap();
        planned.recipe.train.learning_rate = 1e-9;
        let run = Run::create(folder.path().join(name), planned.recipe).with_target(planned.target);
        run.train(&()).unwrap();
        Run::open(run.path(), &[]).unwrap()
    };
    let run = untrained(Regression::LocationScale, "run");
    let context = run.context(&fresh).unwrap();
    let gap = |run: &Run| {
        let found = run.log_prob((&points[..], &context[..])).unwrap();
        exact.iter().zip(&found.values).map(|(exact, found)| exact - found).sum::<f64>() / exact.len() as f64
    };
    // Six free coefficients lose half a nat each to the 3200 rows that they were fitted to.
    assert!(gap(&run).abs() < 5e-3, "{}", gap(&run));
    assert!(gap(&untrained(Regression::None, "none")) > 0.5);
    // Base coordinates, and back.
    let base = run.to_base((&points[..], &context[..])).unwrap().values;
    let back = run.from_base((&base[..], &context[..])).unwrap().values;
    assert!(points.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-4), "f32 keeps seven digits");
    // Samples of one context.
    let samples = run.sample_given(&context[..context.len() / fresh.rows()].repeat(4000)).unwrap();
    let (c, arm) = (fresh.row(0)[1], fresh.row(0)[2]);
    let (mean, deviation) = (50.0 + 4.0 * c - 9.0 * arm, (0.7 * c - 1.0 - arm).exp());
    let found = samples.iter().sum::<f64>() / 4000.0;
    let spread = (samples.iter().map(|x| (x - found).powi(2)).sum::<f64>() / 4000.0).sqrt();
    assert!((found - mean).abs() < 0.1 * deviation && (spread / deviation - 1.0).abs() < 0.1, "{found} ± {spread}");
}

/// Ten steps on whatever rows there are, given their last column.
fn fit() -> Fit {
    Fit {
        file: "data".into(),
        validation: None,
        test: None,
        given: vec!["arm".to_owned()],
        weights: None,
        transforms: Vec::new(),
        regression: Regression::None,
        model: Default::default(),
        read: Default::default(),
        minutes: None,
        steps: Some(10),
        precision: Default::default(),
        seed: 0,
    }
}

/// Springs of stiffness 4 around 3, as C has them; fails where its last argument points to a number that is not zero.
unsafe extern "C" fn springs(
    rows: usize,
    dim: usize,
    x: *const f64,
    energy: *mut f64,
    gradient: *mut f64,
    user: *mut c_void,
) -> c_int {
    // SAFETY: the library calls it as `maflow_energy.h` says, and the tests hand in a number, or nothing.
    unsafe {
        if !user.is_null() && *user.cast::<c_int>() != 0 {
            return *user.cast::<c_int>();
        }
        let x = std::slice::from_raw_parts(x, rows * dim);
        std::slice::from_raw_parts_mut(gradient, rows * dim).iter_mut().zip(x).for_each(|(g, x)| *g = 4.0 * (x - 3.0));
        let of_row = |x: &[f64]| x.iter().map(|x| 2.0 * (x - 3.0).powi(2)).sum();
        std::slice::from_raw_parts_mut(energy, rows)
            .iter_mut()
            .zip(x.chunks_exact(dim))
            .for_each(|(e, x)| *e = of_row(x));
    }
    0
}

fn springs_with(user: &c_int) -> Arc<dyn Energy> {
    let function: Springs = springs;
    // SAFETY: the function is of this file and of that signature, and the number outlives the energy.
    Arc::new(unsafe { CFunction::at(function as usize, 2, std::ptr::from_ref(user) as usize, true) })
}

type Springs = unsafe extern "C" fn(usize, usize, *const f64, *mut f64, *mut f64, *mut c_void) -> c_int;

/// A run by an energy that was handed in keeps its map: samples and densities need no energy, figures do.
#[test]
fn an_energy_that_is_handed_in_is_needed_for_figures_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let z = RngKey::new(1, flow_core::Purpose::Train, 0).normals(0..500, 2);
    let samples = Rows::new(&["a", "b"], z.iter().map(|z| 3.0 + 0.5 * z).collect()).unwrap();
    for target in [
        OwnEnergy::with_scale(springs_with(&0), vec![2.0, 3.0], 0).unwrap(),
        OwnEnergy::with_samples(springs_with(&0), samples, 0).unwrap(),
    ] {
        let mut recipe = fit::recipe_for(&target).unwrap();
        let standardised = target.samples().is_some();
        assert_eq!(recipe.fine_tune.is_some(), standardised);
        (recipe.train.steps, recipe.train.batch, recipe.train.schedule) = (Some(10), 16, Default::default());
        (recipe.fine_tune, recipe.evaluate.samples) = (None, Some(300));
        let maflow::recipe::Density::Flow { flow, .. } = &mut recipe.density else { panic!("a flow by the rules") };
        flow.steps = 2;
        Run::create(path.clone(), recipe).with_target(Arc::new(target)).train(&()).unwrap();
        let run = Run::open(&path, &[]).unwrap();
        let mean = run.sample(200).unwrap().iter().sum::<f64>() / 400.0;
        let at_centre = run.log_prob(&[3.0, 3.0]).unwrap().values[0];
        // The samples tell nearly all of this target; a scale does not.
        let exact = (4.0 / std::f64::consts::TAU).ln();
        assert_eq!((mean - 3.0).abs() < 0.2 && (at_centre - exact).abs() < 0.3, standardised, "{mean} {at_centre}");
        let error = run.report(&()).unwrap_err().to_string();
        assert!(error.contains("hands to the library"), "{error}");
        let kept = Kept::read(&path, run.recipe()).unwrap().standardisation;
        let with = |user: &c_int| {
            let target = OwnEnergy::of_run(springs_with(user), run.recipe(), &kept).unwrap();
            run.clone().with_target(Arc::new(target)).report(&())
        };
        let found = with(&0).unwrap();
        assert!(found.json().contains("log_z_importance"), "{}", found.json());
        let error = with(&7).unwrap_err().to_string();
        assert!(error.contains("returned 7 for points of 2 numbers") && error.contains("whether dim is"), "{error}");
        std::fs::remove_dir_all(&path).unwrap();
    }
    let toy = recipes::load("energy-1", &[]).unwrap();
    let error = OwnEnergy::of_run(springs_with(&0), &toy, &Standardisation::identity(2)).unwrap_err().to_string();
    assert!(error.contains("takes no energy"), "{error}");
}
