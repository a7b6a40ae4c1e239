//! Trainings on this backend: they reach a known answer, resume bit for bit, roll back, and watch the integration
//! error.

use std::sync::atomic::{AtomicU32, Ordering};

use backend_ndarray::{Activation, Cpu, Ridge};
use flow_core::{
    AdamSettings, BaseSamples, Batch, Batches, CheckpointStore, CosineSchedule, Energy, Error, Evaluation, Finish,
    FixedStep, Flow, FlowModel, FreeEnergy, Memory, Method, Model, Objective, Observer, Occasion, Outcome, PointEnergy,
    Purpose, RngKey, Schedule, StepMetrics, Tableau, TrainSettings, TrainState, Trainer, Validation, choose_level,
    converged, three_quarters,
};

use crate::kept::Kept;

const DIM: usize = 2;

/// Two coupled anharmonic oscillators: `E = Σ x⁴/4 + (x₁ − x₂)²/2`.
fn oscillators() -> impl Energy {
    PointEnergy::new(DIM, |x, gradient| {
        let apart = x[0] - x[1];
        gradient[0] = x[0].powi(3) + apart;
        gradient[1] = x[1].powi(3) - apart;
        Ok((x[0].powi(4) + x[1].powi(4)) / 4.0 + apart * apart / 2.0)
    })
}

/// −ln Z of the oscillators by the trapezoidal rule, which converges faster than any power here.
fn exact() -> f64 {
    let (n, width) = (400, 6.0);
    let at = |i: usize| -width + 2.0 * width * i as f64 / n as f64;
    let energy = |x: [f64; DIM]| oscillators().energy_and_gradient(&x, &[], &mut [0.0; DIM]).unwrap();
    let weight = |i: usize, j: usize| (-energy([at(i), at(j)])).exp();
    let sum: f64 = (0..=n).flat_map(|i| (0..=n).map(move |j| weight(i, j))).sum();
    -(sum * (2.0 * width / n as f64).powi(2)).ln()
}

fn settings() -> TrainSettings {
    TrainSettings {
        steps: 20,
        batch: 64,
        learning_rate: 0.02,
        clip_norm: Some(10.0),
        seed: 3,
        max_level: 8,
        watch_every: 5,
        watch_tolerance: 0.05,
        validate_every: 5,
        checkpoint_every: 5,
        max_rollbacks: 3,
        ..TrainSettings::default()
    }
}

/// A flow that learns the oscillators by its free energy.
fn model(space: Cpu<f32>, tableau: Tableau, steps: usize) -> Result<FlowModel<Cpu<f32>>, Error> {
    let ridge = Ridge::new(space.clone(), DIM, 24, Activation::LnCosh, false, 1)?;
    let integrator = FixedStep::new(tableau, steps)?;
    let objective = FreeEnergy::new(oscillators());
    let model = FlowModel::new(space, Box::new(ridge), Box::new(integrator), Box::new(objective));
    Ok(FlowModel { duration: 3.0, ..model })
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
    tableau: Tableau,
    steps: usize,
    batches: &'a dyn Batches,
}

impl Run<'_> {
    /// Eight steps of the classical method a solve.
    fn new(settings: TrainSettings) -> Self {
        Self { settings, tableau: Method::Rk4.tableau(), steps: 8, batches: &BASE }
    }

    fn go(&self, store: &mut Kept, listener: &mut Listener, resume: bool) -> Result<(Finish, End), Error> {
        let mut model = model(Cpu::new(2), self.tableau.clone(), self.steps)?;
        let validate = |model: &FlowModel<Cpu<f32>>| {
            let key = RngKey::new(3, Purpose::Validate, 0);
            let losses = model.evaluate(&Batch::new(key.normals(0..64, DIM), DIM)?, &Evaluation::new(key))?.losses;
            Ok(Validation { figure: losses.iter().sum(), standard_error: 0.0, integration_error: 0.0 })
        };
        let trainer = Trainer::new(&mut model, self.settings.clone(), self.batches)?;
        let mut trainer = trainer.with_store(store).with_validator(validate);
        if resume {
            trainer.resume(listener)?.expect("there is a checkpoint");
        }
        let finish = trainer.run(listener)?;
        let bits = |t: flow_core::Tensor| (t.name, t.values.iter().map(|v| v.to_bits()).collect());
        let tensors = trainer.checkpoint().tensors.into_iter().map(bits).collect();
        Ok((finish, (tensors, TrainState { seconds: 0.0, ..*trainer.state() })))
    }
}

const BASE: BaseSamples = BaseSamples { dim: DIM };

#[test]
fn free_energy_comes_down_to_the_exact_one() {
    let schedule = Schedule::Cosine(CosineSchedule { warmup: 10, final_fraction: 0.01 });
    let settings =
        TrainSettings { steps: 800, batch: 128, learning_rate: 0.05, schedule, validate_every: 0, ..settings() };
    let mut store = Kept::default();
    Run::new(settings).go(&mut store, &mut Listener::default(), false).unwrap();

    let cpu = Cpu::<f64>::new(2);
    let mut ridge = Ridge::new(cpu.clone(), DIM, 24, Activation::LnCosh, false, 1).unwrap();
    let found = store.newest(false).unwrap().unwrap().checkpoint;
    found.load_parameters(&cpu, flow_core::Potential::parameters_mut(&mut ridge)).unwrap();
    let integrator = FixedStep::new(Method::Rk4.tableau(), 8).unwrap();
    let flow = Flow { duration: 3.0, ..Flow::new(&cpu, &ridge, &integrator) };
    let batches = |i| {
        let key = RngKey::new(3, Purpose::Evaluate, i);
        Ok((Batch::new(key.normals(0..1000, DIM), DIM)?, key))
    };
    let objective = FreeEnergy::new(oscillators());
    let figure = converged(&flow, &objective, 5, batches, 4, |_, _| {}).unwrap();
    assert!(figure.is_converged(), "integration error {:e}", figure.integration_error);
    // At the level that a few rows choose, all rows are integrated twice, and their losses are the same.
    let (all, key) = batches(0).unwrap();
    let pilot = Batch::new(all.x[..700 * DIM].to_vec(), DIM).unwrap();
    let level = choose_level(&flow, &objective, &pilot, key, 5000, 4).unwrap();
    assert_eq!(level, figure.level);
    let coarser = FixedStep::new(Method::Rk4.tableau(), level as usize / 2).unwrap();
    let mut passes = Vec::new();
    let once_more =
        converged(&flow.with_integrator(&coarser), &objective, 5, batches, 4, |pass, _| passes.push(pass)).unwrap();
    assert_eq!(passes, [[0; 5], [1; 5]].concat());
    assert_eq!(once_more.losses, figure.losses);
    // The more rows, the finer; where there are many more than the pilot's, three quarters of the steps may do.
    let coarse = FixedStep::new(Method::Rk4.tableau(), 2).unwrap();
    let chosen: Vec<u64> = (0..40)
        .map(|power| 800.0 * 1.3_f64.powi(power))
        .map(|rows| choose_level(&flow.with_integrator(&coarse), &objective, &pilot.first(100), key, rows as usize, 9))
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(chosen.is_sorted(), "{chosen:?}");
    let fewer = |level: &u64| (8..=1024).any(|all| three_quarters(all) == Some(*level));
    let doubled = |level: &u64| level.is_power_of_two();
    assert!(chosen.iter().any(fewer) && chosen.iter().any(doubled) && chosen.iter().all(|l| fewer(l) || doubled(l)));
    let gap = figure.mean.mean - exact();
    let allowed = 4.0 * figure.mean.standard_error;
    assert!(gap > -allowed, "the free energy {} lies below the exact bound by {:e}", figure.mean.mean, -gap);
    assert!(gap < 0.05, "after a short training the gap should be a few hundredths of a nat, but is {gap}");
}

#[test]
fn equal_losses_that_do_not_change_need_no_finer_step() {
    let cpu = Cpu::<f64>::new(1);
    let mut still = Ridge::new(cpu.clone(), DIM, 24, Activation::LnCosh, false, 1).unwrap();
    for parameter in flow_core::Potential::parameters_mut(&mut still) {
        parameter.value.fill(0.0);
    }
    let integrator = FixedStep::new(Method::Rk4.tableau(), 2).unwrap();
    let flow = Flow::new(&cpu, &still, &integrator);
    let pilot = Batch::new([0.5; DIM].repeat(20), DIM).unwrap();
    let key = RngKey::new(3, Purpose::Evaluate, 0);
    assert_eq!(choose_level(&flow, &FreeEnergy::new(oscillators()), &pilot, key, 20, 6).unwrap(), 4);
}

#[test]
fn an_interrupted_training_ends_on_the_same_bits() {
    let run = Run::new(settings());
    let (finish, expected) = run.go(&mut Kept::default(), &mut Listener::default(), false).unwrap();
    assert_eq!(finish, Finish::Completed);
    for stop in [1, 5, 7, 19] {
        let mut store = Kept::default();
        let mut listener = Listener { stop_at: Some(stop), ..Listener::default() };
        let (finish, _) = run.go(&mut store, &mut listener, false).unwrap();
        assert_eq!(finish, Finish::Interrupted);
        listener.stop_at = None;
        let (finish, end) = run.go(&mut store, &mut listener, true).unwrap();
        assert_eq!(finish, Finish::Completed);
        assert_eq!(end, expected, "interrupted after {stop} steps");
        assert!(listener.metrics.iter().map(|m| m.step).eq(1..=20), "a row of metrics for every step, once");
    }
}

#[test]
fn a_checkpoint_that_is_passed_over_is_noted_and_the_one_before_taken() {
    let (run, mut store) = (Run::new(settings()), Kept::default());
    let (_, expected) = run.go(&mut store, &mut Listener::default(), false).unwrap();
    store.spoiled = 1;
    let mut listener = Listener::default();
    let (_, end) = run.go(&mut store, &mut listener, true).unwrap();
    assert_eq!(end, expected);
    assert_eq!(listener.notes[0], "one was passed over");
    assert_eq!(listener.metrics.first().unwrap().step, 16);
}

/// NaN from a batch on, as bad data would give, for the first few readings of it.
struct Poisoned {
    from: u64,
    readings: AtomicU32,
}

impl Batches for Poisoned {
    fn batch(&self, key: RngKey, part: std::ops::Range<usize>, rows: usize) -> Result<Batch, Error> {
        let mut out = BASE.batch(key, part, rows)?;
        let poison = |left: u32| left.checked_sub(1);
        if key.step() == self.from && self.readings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, poison).is_ok() {
            out.x[5] = f64::NAN;
        }
        Ok(out)
    }
}

#[test]
fn non_finite_numbers_lead_back_to_the_last_checkpoint() {
    let batches = Poisoned { from: 8, readings: 2.into() };
    let mut listener = Listener::default();
    let run = Run { batches: &batches, ..Run::new(settings()) };
    let (finish, (_, state)) = run.go(&mut Kept::default(), &mut listener, false).unwrap();
    assert_eq!((finish, state.step, state.rollbacks, state.learning_rate_scale), (Finish::Completed, 20, 2, 0.25));
    assert!(listener.notes.iter().any(|n| n.contains("back to step 5")), "{:?}", listener.notes);
    assert!(listener.metrics.iter().all(|m| m.loss.mean.is_finite()));
    assert_eq!(listener.metrics[19].learning_rate, 0.02 * 0.25);
}

#[test]
fn a_training_that_cannot_go_on_says_so() {
    let batches = Poisoned { from: 8, readings: u32::MAX.into() };
    let run = Run { batches: &batches, ..Run::new(settings()) };
    let error = run.go(&mut Kept::default(), &mut Listener::default(), false).unwrap_err();
    assert!(matches!(error, Error::TooManyRollbacks { tries: 4, step: 8, .. }), "{error}");
}

#[test]
fn the_watch_raises_the_steps_of_a_coarse_integration() {
    let settings = TrainSettings { max_level: 64, watch_every: 1, watch_tolerance: 1e-2, ..settings() };
    let run = Run { tableau: Method::Euler.tableau(), steps: 1, ..Run::new(settings) };
    let mut listener = Listener::default();
    let (_, (_, state)) = run.go(&mut Kept::default(), &mut listener, false).unwrap();
    assert!(state.level > 8 && state.level <= 64, "{} steps", state.level);
    assert!(listener.notes.iter().any(|n| n.contains("passes the tolerance")), "{:?}", listener.notes);
    let last = listener.metrics.last().unwrap();
    assert!(last.integration_error.unwrap().abs() < 2e-2, "{:?}", last.integration_error);
}

#[test]
fn the_best_checkpoint_is_the_one_with_the_lowest_validation() {
    let (mut store, mut listener) = (Kept::default(), Listener::default());
    Run::new(settings()).go(&mut store, &mut listener, false).unwrap();
    let validations = listener.metrics.iter().filter_map(|m| m.validation.map(|v| (m.step, v.figure)));
    let best = validations.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let stored = store.checkpoints.iter().rfind(|(occasion, _)| *occasion == Occasion::Best).unwrap();
    let state = stored.1.state.unwrap();
    assert_eq!((state.step, state.best), (best.0, Some(best.1)));
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
        batch: &Batch,
        how: &Evaluation<'_>,
    ) -> Result<Outcome<Cpu<f32>>, Error> {
        let mut outcome = self.0.evaluate(flow, batch, how)?;
        if !how.gradient {
            outcome.losses.fill(f64::NAN);
        }
        Ok(outcome)
    }
}

#[test]
fn figures_that_are_no_numbers_raise_the_steps_and_are_never_the_best() {
    let model = model(Cpu::new(2), Method::Rk4.tableau(), 8).unwrap();
    let mut model = FlowModel { objective: Box::new(NoNumberWhenWatched(FreeEnergy::new(oscillators()))), ..model };
    let settings = TrainSettings { max_level: 20, ..settings() };
    // The lowest figure is that of steps too coarse: half of them would have found 3.5.
    let mut figures = [(f64::NAN, 0.0), (2.0, 0.0), (1.0, 0.5), (0.5, 3.0)].into_iter();
    let validate = |_: &FlowModel<Cpu<f32>>| {
        let (figure, integration_error) = figures.next().expect("20 steps with a validation after every fifth");
        Ok(Validation { figure, standard_error: 0.0, integration_error })
    };
    let mut trainer = Trainer::new(&mut model, settings, &BASE).unwrap().with_validator(validate);
    trainer.run(&mut ()).unwrap();
    assert_eq!((trainer.state().level, trainer.state().best), (20, Some(1.5)));
}

#[test]
fn a_training_ends_early_where_validations_find_nothing_better() {
    let settings = TrainSettings { validate_every: 2, patience: Some(2), ..settings() };
    let validated = |store: &mut Kept, resume: bool| {
        let mut model = model(Cpu::new(1), Method::Rk4.tableau(), 4).unwrap();
        let mut figures = [3.0, 4.0, 2.0, 1.0, f64::NAN, 1.0, 0.0].into_iter();
        let mut listener = Listener::default();
        let trainer = Trainer::new(&mut model, settings.clone(), &BASE).unwrap().with_store(store);
        let mut trainer = trainer.with_validator(move |_: &FlowModel<Cpu<f32>>| {
            let figure = figures.next().expect("it has ended");
            Ok(Validation { figure, standard_error: 0.0, integration_error: 0.0 })
        });
        if resume {
            trainer.resume(&mut listener).unwrap();
        }
        let finish = trainer.run(&mut listener).unwrap();
        (finish, trainer.state().step, trainer.state().best, listener)
    };
    let mut store = Kept::default();
    let (finish, step, best, listener) = validated(&mut store, false);
    // After 12 steps two in a row are no better than the best.
    assert_eq!((finish, step, best), (Finish::EarlyStopped, 12, Some(1.0)));
    assert!(listener.notes[0].contains("the training ends at step 12 of 20"), "{:?}", listener.notes);
    // Its last state is kept, and a training taken up there has nothing to do.
    let (finish, step, best, listener) = validated(&mut store, true);
    assert_eq!((finish, step, best), (Finish::EarlyStopped, 12, Some(1.0)));
    assert!(listener.metrics.is_empty());
}

#[test]
fn a_training_says_how_far_its_gradients_are_from_exact_ones() {
    let notes = |memory| {
        let mut model = model(Cpu::new(1), Method::Heun.tableau(), 4).unwrap();
        model.memory = memory;
        let mut listener = Listener::default();
        let settings = TrainSettings { watch_tolerance: 1e9, ..settings() };
        Trainer::new(&mut model, settings, &BASE).unwrap().run(&mut listener).unwrap();
        listener.notes
    };
    assert!(notes(Memory::Stages).is_empty() && notes(Memory::Recompute).is_empty());
    let told = notes(Memory::Continuous);
    assert!(told[0].starts_with("gradients by the continuous adjoint are off: at step 0 by "), "{told:?}");
    assert!(told[0].ends_with("of the exact discrete gradient, with 4 steps of heun"), "{told:?}");
    // Said again where it is twice as much, and that is looked at four times.
    assert!(told.len() <= 4, "{told:?}");
    let error: f64 = told[0].split(" by ").nth(2).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((1e-5..0.5).contains(&error), "{told:?}");
}

#[test]
fn settings_out_of_range_are_refused_with_their_name() {
    for (name, bad) in [
        ("learning_rate", TrainSettings { learning_rate: f64::NAN, ..settings() }),
        ("batch", TrainSettings { batch: 0, ..settings() }),
        ("blocks", TrainSettings { blocks: Some(0), ..settings() }),
        ("patience", TrainSettings { patience: Some(0), ..settings() }),
        ("max_level", TrainSettings { max_level: 3, ..settings() }),
        ("clip_norm", TrainSettings { clip_norm: Some(-1.0), ..settings() }),
        ("average", TrainSettings { average: Some(1.0), ..settings() }),
        ("steps", TrainSettings { first: 20, ..settings() }),
        ("betas", TrainSettings { adam: AdamSettings { betas: (1.0, 0.9), ..AdamSettings::default() }, ..settings() }),
    ] {
        let refused = Run::new(bad).go(&mut Kept::default(), &mut Listener::default(), false);
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}
