//! Trainings on this backend: they reach a known answer, resume bit for bit, roll back, and watch the integration error.

use std::cell::Cell;
use std::path::Path;

use backend_ndarray::{Activation, Cpu, Ridge};
use flow_core::checkpoint::{CheckpointFolder, Occasion};
use flow_core::train::{
    BaseSamples, Batches, Finish, Observer, StepMetrics, TrainSettings, TrainState, Trainer, Validation,
};
use flow_core::{
    AdamSettings, Coordinates, Energy, Error, Estimator, Flow, FreeEnergy, Memory, Method, Objective, Outcome, Purpose,
    RngKey, Schedule, converged,
};

const DIM: usize = 2;

/// Two coupled anharmonic oscillators: `E = Σ x⁴/4 + (x₁ − x₂)²/2`.
struct Oscillators;

impl Energy for Oscillators {
    fn dim(&self) -> usize {
        DIM
    }

    fn energy_and_gradient(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
        let apart = x[0] - x[1];
        gradient[0] = x[0].powi(3) + apart;
        gradient[1] = x[1].powi(3) - apart;
        (x[0].powi(4) + x[1].powi(4)) / 4.0 + apart * apart / 2.0
    }
}

/// −ln Z of the oscillators by the trapezoidal rule, which converges faster than any power here.
fn exact() -> f64 {
    let (n, width) = (400, 6.0);
    let at = |i: usize| -width + 2.0 * width * i as f64 / n as f64;
    let weight = |i: usize, j: usize| (-Oscillators.energy_and_gradient(&[at(i), at(j)], &mut [0.0; 2])).exp();
    let sum: f64 = (0..=n).flat_map(|i| (0..=n).map(move |j| weight(i, j))).sum();
    -(sum * (2.0 * width / n as f64).powi(2)).ln()
}

fn settings() -> TrainSettings {
    TrainSettings {
        first: 0,
        steps: 20,
        batch: 64,
        learning_rate: 0.02,
        schedule: Schedule::Constant,
        adam: AdamSettings::default(),
        average: None,
        clip_norm: Some(10.0),
        seed: 3,
        tableau: Method::Rk4.tableau(),
        flow_steps: 8,
        max_flow_steps: 8,
        duration: 3.0,
        coordinates: Coordinates::Auto,
        memory: Memory::Stages,
        watch_every: 5,
        watch_tolerance: 0.05,
        validate_every: 5,
        checkpoint_every: 5,
        max_rollbacks: 3,
    }
}

/// Listens, and interrupts when a given number of steps is made.
#[derive(Default)]
struct Listener {
    stop_at: Option<u64>,
    metrics: Vec<StepMetrics>,
    notes: Vec<String>,
}

impl Observer for Listener {
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        self.metrics.push(*metrics);
        Ok(())
    }

    fn note(&mut self, sentence: &str) {
        self.notes.push(sentence.to_string());
    }

    fn rewind(&mut self, step: u64) -> Result<(), Error> {
        self.metrics.retain(|m| m.step <= step);
        Ok(())
    }

    fn interrupted(&self) -> bool {
        self.stop_at.is_some_and(|stop| self.metrics.last().is_some_and(|m| m.step == stop))
    }
}

/// The bits of all arrays at the end, and the state without its seconds.
type End = (Vec<(String, Vec<u64>)>, TrainState);

struct Run<'a> {
    settings: TrainSettings,
    folder: &'a Path,
    batches: &'a dyn Batches,
}

impl Run<'_> {
    fn go(&self, listener: &mut Listener, resume: bool) -> Result<(Finish, End), Error> {
        let cpu = Cpu::<f32>::new(2);
        let mut ridge = Ridge::new(cpu.clone(), DIM, 24, Activation::LnCosh, false, 1)?;
        let objective = FreeEnergy { energy: Oscillators, transport_cost: 0.0, gradient: Estimator::Total };
        let folder = CheckpointFolder::open(self.folder, 3)?;
        let mut trainer = Trainer::new(&cpu, self.settings.clone(), &mut ridge, &objective, self.batches, &folder)?;
        if resume {
            trainer.resume(listener)?.expect("there is a checkpoint");
        }
        let mut validate = |flow: &Flow<'_, Cpu<f32>>| {
            let key = RngKey::new(3, Purpose::Validate, 0);
            let losses = objective.evaluate(flow, &key.normals(0..64, DIM), key, false)?.losses;
            Ok(Validation { figure: losses.iter().sum(), standard_error: 0.0, integration_error: 0.0 })
        };
        let finish = trainer.run(listener, &mut validate)?;
        let bits = |t: flow_core::checkpoint::Tensor| (t.name, t.values.iter().map(|v| v.to_bits()).collect());
        let tensors = trainer.checkpoint().tensors.into_iter().map(bits).collect();
        Ok((finish, (tensors, TrainState { seconds: 0.0, ..*trainer.state() })))
    }
}

const BASE: BaseSamples = BaseSamples { dim: DIM };

#[test]
fn free_energy_comes_down_to_the_exact_one() {
    let folder = tempfile::tempdir().unwrap();
    let schedule = Schedule::Cosine { warmup: 10, end: 0.01 };
    let settings =
        TrainSettings { steps: 800, batch: 128, learning_rate: 0.05, schedule, validate_every: 0, ..settings() };
    Run { settings, folder: folder.path(), batches: &BASE }.go(&mut Listener::default(), false).unwrap();

    let cpu = Cpu::<f64>::new(2);
    let mut ridge = Ridge::new(cpu.clone(), DIM, 24, Activation::LnCosh, false, 1).unwrap();
    let found = CheckpointFolder::open(folder.path(), 3).unwrap().newest(None).unwrap().unwrap();
    let parameters = flow_core::Potential::parameters_mut(&mut ridge);
    found.checkpoint.load_parameters(&cpu, parameters, &found.path).unwrap();
    let integrator = flow_core::FixedStep::new(Method::Rk4.tableau(), 8).unwrap();
    let (coordinates, memory) = (Coordinates::Auto, Memory::Stages);
    let flow = Flow { space: &cpu, potential: &ridge, integrator: &integrator, duration: 3.0, coordinates, memory };
    let batches = |i| {
        let key = RngKey::new(3, Purpose::Evaluate, i);
        Ok((key.normals(0..1000, DIM), key))
    };
    let objective = FreeEnergy { energy: Oscillators, transport_cost: 0.0, gradient: Estimator::Total };
    let figure = converged(&flow, &objective, 5, batches, 4, |_, _| {}).unwrap();
    assert!(figure.is_converged(), "integration error {:e}", figure.integration_error);
    let gap = figure.mean.mean - exact();
    let allowed = 4.0 * figure.mean.standard_error;
    assert!(gap > -allowed, "the free energy {} lies below the exact bound by {:e}", figure.mean.mean, -gap);
    assert!(gap < 0.05, "after a short training the gap should be a few hundredths of a nat, but is {gap}");
}

#[test]
fn an_interrupted_training_ends_on_the_same_bits() {
    let whole = tempfile::tempdir().unwrap();
    let (finish, expected) =
        Run { settings: settings(), folder: whole.path(), batches: &BASE }.go(&mut Listener::default(), false).unwrap();
    assert_eq!(finish, Finish::Completed);
    for stop in [1, 5, 7, 19] {
        let folder = tempfile::tempdir().unwrap();
        let run = Run { settings: settings(), folder: folder.path(), batches: &BASE };
        let mut listener = Listener { stop_at: Some(stop), ..Listener::default() };
        let (finish, _) = run.go(&mut listener, false).unwrap();
        assert_eq!(finish, Finish::Interrupted);
        listener.stop_at = None;
        let (finish, end) = run.go(&mut listener, true).unwrap();
        assert_eq!(finish, Finish::Completed);
        assert_eq!(end, expected, "interrupted after {stop} steps");
        assert!(listener.metrics.iter().map(|m| m.step).eq(1..=20), "a row of metrics for every step, once");
    }
}

#[test]
fn a_truncated_checkpoint_falls_back_to_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run { settings: settings(), folder: folder.path(), batches: &BASE };
    let (_, expected) = run.go(&mut Listener::default(), false).unwrap();
    let newest = CheckpointFolder::open(folder.path(), 3).unwrap().newest(Some(Occasion::Periodic)).unwrap().unwrap();
    let bytes = std::fs::read(&newest.path).unwrap();
    std::fs::write(&newest.path, &bytes[..bytes.len() - 100]).unwrap();
    let mut listener = Listener::default();
    let (_, end) = run.go(&mut listener, true).unwrap();
    assert_eq!(end, expected);
    assert!(listener.notes[0].contains("falling back"), "{:?}", listener.notes);
    assert_eq!(listener.metrics.first().unwrap().step, 16);
}

/// NaN from a batch on, as bad data would give, for the first few readings of it.
struct Poisoned {
    from: u64,
    readings: Cell<u32>,
}

// SAFETY: `batch` is only called by the training's own thread, one call at a time.
unsafe impl Sync for Poisoned {}

impl Batches for Poisoned {
    fn batch(&self, key: RngKey, rows: usize) -> Result<Vec<f64>, Error> {
        let mut out = BASE.batch(key, rows)?;
        if key.step() == self.from && self.readings.get() > 0 {
            self.readings.set(self.readings.get() - 1);
            out[5] = f64::NAN;
        }
        Ok(out)
    }
}

#[test]
fn non_finite_numbers_lead_back_to_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let batches = Poisoned { from: 8, readings: Cell::new(2) };
    let mut listener = Listener::default();
    let (finish, (_, state)) =
        Run { settings: settings(), folder: folder.path(), batches: &batches }.go(&mut listener, false).unwrap();
    assert_eq!((finish, state.step, state.rollbacks, state.learning_rate_scale), (Finish::Completed, 20, 2, 0.25));
    assert!(listener.notes.iter().any(|n| n.contains("back to step 5")), "{:?}", listener.notes);
    assert!(listener.metrics.iter().all(|m| m.loss.mean.is_finite()));
    assert_eq!(listener.metrics[19].learning_rate, 0.02 * 0.25);
}

#[test]
fn a_training_that_cannot_go_on_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let batches = Poisoned { from: 8, readings: Cell::new(u32::MAX) };
    let error = Run { settings: settings(), folder: folder.path(), batches: &batches }
        .go(&mut Listener::default(), false)
        .unwrap_err();
    assert!(matches!(error, Error::TooManyRollbacks { tries: 4, step: 8, .. }), "{error}");
}

#[test]
fn the_watch_raises_the_steps_of_a_coarse_integration() {
    let folder = tempfile::tempdir().unwrap();
    let coarse = TrainSettings {
        tableau: Method::Euler.tableau(),
        flow_steps: 1,
        max_flow_steps: 64,
        watch_every: 1,
        watch_tolerance: 1e-2,
        ..settings()
    };
    let mut listener = Listener::default();
    let (_, (_, state)) =
        Run { settings: coarse, folder: folder.path(), batches: &BASE }.go(&mut listener, false).unwrap();
    assert!(state.flow_steps > 8 && state.flow_steps <= 64, "{} steps", state.flow_steps);
    assert!(listener.notes.iter().any(|n| n.contains("passes the tolerance")), "{:?}", listener.notes);
    let last = listener.metrics.last().unwrap();
    assert!(last.integration_error.unwrap().abs() < 2e-2, "{:?}", last.integration_error);
}

#[test]
fn the_best_checkpoint_is_the_one_with_the_lowest_validation() {
    let folder = tempfile::tempdir().unwrap();
    let mut listener = Listener::default();
    Run { settings: settings(), folder: folder.path(), batches: &BASE }.go(&mut listener, false).unwrap();
    let validations = listener.metrics.iter().filter_map(|m| m.validation.map(|v| (m.step, v.figure)));
    let best = validations.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let path = CheckpointFolder::open(folder.path(), 3).unwrap().best().unwrap();
    let metadata = flow_core::checkpoint::Checkpoint::read(&path).unwrap().metadata;
    let state: serde_json::Value = serde_json::from_str(&metadata["train_state"]).unwrap();
    assert_eq!((state["step"].as_u64(), state["best"].as_f64()), (Some(best.0), Some(best.1)));
}

/// An objective that is no number wherever no gradient is asked for, as in the watch.
struct NoNumberWhenWatched<O>(O);

impl<O: Objective<Cpu<f32>>> Objective<Cpu<f32>> for NoNumberWhenWatched<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn evaluate(
        &self,
        flow: &Flow<'_, Cpu<f32>>,
        batch: &[f64],
        key: RngKey,
        gradient: bool,
    ) -> Result<Outcome<Cpu<f32>>, Error> {
        let mut outcome = self.0.evaluate(flow, batch, key, gradient)?;
        if !gradient {
            outcome.losses.fill(f64::NAN);
        }
        Ok(outcome)
    }
}

#[test]
fn figures_that_are_no_numbers_raise_the_steps_and_are_never_the_best() {
    let (folder, cpu) = (tempfile::tempdir().unwrap(), Cpu::<f32>::new(2));
    let mut ridge = Ridge::new(cpu.clone(), DIM, 24, Activation::LnCosh, false, 1).unwrap();
    let objective =
        NoNumberWhenWatched(FreeEnergy { energy: Oscillators, transport_cost: 0.0, gradient: Estimator::Total });
    let folder = CheckpointFolder::open(folder.path(), 3).unwrap();
    let settings = TrainSettings { max_flow_steps: 20, ..settings() };
    let mut trainer = Trainer::new(&cpu, settings, &mut ridge, &objective, &BASE, &folder).unwrap();
    let mut figures = [f64::NAN, 2.0, 1.0, f64::NAN].into_iter();
    let mut validate = |_: &Flow<'_, Cpu<f32>>| {
        let figure = figures.next().expect("20 steps with a validation after every fifth");
        Ok(Validation { figure, standard_error: 0.0, integration_error: 0.0 })
    };
    trainer.run(&mut Listener::default(), &mut validate).unwrap();
    let state = trainer.state();
    assert_eq!((state.flow_steps, state.best), (20, Some(1.0)));
}

#[test]
fn settings_out_of_range_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bad) in [
        ("learning_rate", TrainSettings { learning_rate: f64::NAN, ..settings() }),
        ("batch", TrainSettings { batch: 0, ..settings() }),
        ("max_flow_steps", TrainSettings { max_flow_steps: 3, ..settings() }),
        ("clip_norm", TrainSettings { clip_norm: Some(-1.0), ..settings() }),
        ("flow.time", TrainSettings { duration: 0.0, ..settings() }),
        ("betas", TrainSettings { adam: AdamSettings { betas: (1.0, 0.9), ..AdamSettings::default() }, ..settings() }),
    ] {
        let error = Run { settings: bad, folder: folder.path(), batches: &BASE }
            .go(&mut Listener::default(), false)
            .unwrap_err()
            .to_string();
        assert!(error.contains(name), "{error}");
    }
}
