//! An integrator that is not Runge-Kutta: it goes back over its own steps instead of keeping a tape.

use backend_ndarray::Cpu;
use flow_core::{
    Adaptive, Backward, BaseSamples, BlockField, Coordinates, Direction, Error, Estimator, Evaluation, Finish,
    FixedStep, Flow, FlowModel, FreeEnergy, Integrator, Memory, Method, Motion, NegativeLogLikelihood, Objective,
    Observer, PointEnergy, Pullback, Solution, SolutionCotangent, SolveOptions, Space, Span, Stage, StepMetrics,
    TrainSettings, TrainState, Trainer, converged,
};

use super::{DIM, assert_gradient_is_the_difference, key, normals, ridge};
use crate::kept::Kept;

/// The asynchronous leapfrog method (Mutze, arXiv:1311.6602; for adjoints Zhuang et al., arXiv:2102.04668): a velocity
/// v goes beside the state, `y = x + hv/2`, `v ← 2 f(y) − v`, `x ← y + hv/2`. A step is undone by the same method with
/// −h, so the way back needs nothing but the end.
#[derive(Clone)]
struct AsynchronousLeapfrog {
    steps: u64,
}

/// Where the way back begins.
struct End<S: Space> {
    state: S::Array,
    velocity: S::Array,
    span: Span,
    steps: u64,
}

/// Evaluation n of a solve: 0 is the start, n > 0 the middle of step n.
fn stage(span: Span, h: f64, n: u64) -> Stage {
    Stage { t: if n == 0 { span.from } else { span.from + (n as f64 - 0.5) * h }, index: n }
}

impl<S: Space> Integrator<S> for AsynchronousLeapfrog {
    fn solve(
        &self,
        space: &S,
        block: &mut dyn BlockField<S>,
        start: S::Array,
        span: Span,
        options: SolveOptions,
    ) -> Result<Solution<S>, Error> {
        let (rows, h) = (space.shape(&start).0, (span.to - span.from) / self.steps as f64);
        let (mut state, mut velocity, mut found) = (start.clone(), space.empty_like(&start), space.empty_like(&start));
        let (mut laplacian, mut log_density) = (space.column_zeros(rows), space.column_zeros(rows));
        let mut cost = options.cost.then(|| (space.column_zeros(rows), space.column_zeros(rows)));
        block.evaluate(stage(span, h, 0), &start, Motion { velocity: &mut velocity, laplacian: None, residuals: None });
        for n in 1..=self.steps {
            space.accumulate(&mut state, 1.0, &[(0.5 * h, &velocity)]);
            block.evaluate(
                stage(span, h, n),
                &state,
                Motion { velocity: &mut found, laplacian: Some(&mut laplacian), residuals: None },
            );
            space.accumulate(&mut velocity, -1.0, &[(2.0, &found)]);
            space.accumulate(&mut state, 1.0, &[(0.5 * h, &velocity)]);
            space.column_accumulate(&mut log_density, 1.0, &[(-h, &laplacian)]);
            if let Some((cost, square)) = &mut cost {
                space.row_dot(square, &found, &found);
                space.column_accumulate(cost, 1.0, &[(0.5 * h.abs(), square)]);
            }
        }
        let backward = options.backward.map(|_| {
            let (state, steps) = (state.clone(), self.steps);
            Box::new(End { state, velocity, span, steps }) as Box<dyn Backward<S>>
        });
        Ok(Solution { state, log_density, cost: cost.map(|(cost, _)| cost), backward })
    }

    fn evaluations(&self) -> Option<usize> {
        Some(1 + self.steps as usize)
    }

    fn level(&self) -> u64 {
        self.steps
    }

    fn order(&self) -> f64 {
        2.0
    }

    fn at_level(&self, level: u64) -> Box<dyn Integrator<S>> {
        Box::new(Self { steps: level.max(1) })
    }

    fn describe(&self) -> String {
        format!("{} steps of asynchronous leapfrog", self.steps)
    }
}

impl<S: Space> Backward<S> for End<S> {
    fn pull_back(self: Box<Self>, space: &S, block: &mut dyn BlockField<S>, bar: SolutionCotangent<S>) -> S::Array {
        let Self { mut state, mut velocity, span, steps } = *self;
        let h = (span.to - span.from) / steps as f64;
        let mut state_bar = bar.state;
        let array = || space.empty_like(&state_bar);
        let (mut found, mut found_bar, mut through) = (array(), array(), array());
        let mut velocity_bar = space.zeros(space.shape(&state_bar).0, space.shape(&state_bar).1);
        let mut laplacian_bar = bar.log_density.clone();
        space.column_accumulate(&mut laplacian_bar, -h, &[]);
        for n in (1..=steps).rev() {
            let (stage, mut residuals) = (stage(span, h, n), Vec::new());
            space.accumulate(&mut state, 1.0, &[(-0.5 * h, &velocity)]);
            block.evaluate(
                stage,
                &state,
                Motion { velocity: &mut found, laplacian: None, residuals: Some(&mut residuals) },
            );
            space.accumulate(&mut velocity, -1.0, &[(2.0, &found)]);
            space.accumulate(&mut velocity_bar, 1.0, &[(0.5 * h, &state_bar)]);
            space.accumulate(&mut found_bar, 0.0, &[(2.0, &velocity_bar)]);
            if let Some(cost) = &bar.cost {
                space.accumulate_scaled_rows(&mut found_bar, h.abs(), cost, &found);
            }
            block.pullback(
                stage,
                &state,
                Pullback {
                    residuals: &residuals,
                    velocity_bar: &found_bar,
                    laplacian_bar: Some(&laplacian_bar),
                    state_bar: Some(&mut through),
                },
            );
            space.accumulate(&mut state_bar, 1.0, &[(1.0, &through)]);
            space.accumulate(&mut velocity_bar, -1.0, &[(0.5 * h, &state_bar)]);
            space.accumulate(&mut state, 1.0, &[(-0.5 * h, &velocity)]);
        }
        let (stage, mut residuals) = (stage(span, h, 0), Vec::new());
        block.evaluate(
            stage,
            &state,
            Motion { velocity: &mut found, laplacian: None, residuals: Some(&mut residuals) },
        );
        block.pullback(
            stage,
            &state,
            Pullback {
                residuals: &residuals,
                velocity_bar: &velocity_bar,
                laplacian_bar: None,
                state_bar: Some(&mut through),
            },
        );
        space.accumulate(&mut state_bar, 1.0, &[(1.0, &through)]);
        state_bar
    }
}

/// A coupled quartic well.
fn well() -> impl flow_core::Energy {
    PointEnergy::new(DIM, |x, gradient| {
        let mut energy = 0.0;
        gradient.fill(0.0);
        for i in 0..DIM {
            let j = (i + 1) % DIM;
            energy += x[i].powi(4) / 4.0 + x[i] * x[j] / 2.0;
            gradient[i] += x[i].powi(3) + x[j] / 2.0;
            gradient[j] += x[i] / 2.0;
        }
        Ok(energy)
    })
}

#[test]
fn its_gradient_is_the_exact_one_of_its_own_map() {
    let (space, mut potential, batch) = (Cpu::<f64>::new(2), ridge(&Cpu::new(1), 5), normals(20));
    let integrator = AsynchronousLeapfrog { steps: 3 };
    let likelihood = NegativeLogLikelihood { transport_cost: 0.7, log_jacobian: 0.0.into() };
    let objectives: [Box<dyn Objective<Cpu<f64>>>; 3] =
        [Box::new(NegativeLogLikelihood::default()), Box::new(likelihood), Box::new(FreeEnergy::new(well()))];
    for objective in &objectives {
        for coordinates in [Coordinates::X, Coordinates::Feature] {
            let outcome = |potential: &dyn flow_core::Potential<Cpu<f64>>| {
                let flow = Flow { coordinates, ..Flow::new(&space, potential, &integrator) };
                objective.evaluate(&flow, &batch, &Evaluation::new(key(0)).with_gradient())
            };
            let what = format!("{} in {coordinates:?}", objective.name());
            assert_gradient_is_the_difference(&what, &mut potential, &batch, &outcome);
        }
    }
}

#[test]
fn it_has_order_two_in_points_densities_and_scores() {
    let (space, potential, batch) = (Cpu::<f64>::new(2), ridge(&Cpu::new(1), 5), normals(8));
    let solve = |integrator: &dyn Integrator<Cpu<f64>>| {
        let flow = Flow::new(&space, &potential, integrator);
        let end = flow.scored_samples(&batch.x, key(0)).unwrap();
        [end.x, end.log_density, end.score]
    };
    let exact = solve(&FixedStep::new(Method::Dopri5.tableau(), 200).unwrap());
    let errors = [32, 64].map(|steps| {
        let found = solve(&AsynchronousLeapfrog { steps });
        [0, 1, 2].map(|i| found[i].iter().zip(&exact[i]).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt())
    });
    for i in 0..3 {
        let order = (errors[0][i] / errors[1][i]).log2();
        assert!((order - 2.0).abs() < 0.1, "figure {i}: errors {errors:?}, order {order}");
    }
}

#[test]
fn all_that_asks_for_an_integrator_takes_it() {
    let (space, potential, batch) = (Cpu::<f64>::new(2), ridge(&Cpu::new(1), 5), normals(20));
    let integrator = AsynchronousLeapfrog { steps: 8 };
    let flow = Flow::new(&space, &potential, &integrator);
    // There and back by the same steps, up to round-off of the reversal and the error of v at either end.
    let there = flow.transport(&batch.x, flow.span(Direction::Forward), key(0)).unwrap();
    let back = flow.transport(&there.x, flow.span(Direction::Backward), key(0)).unwrap();
    let off = back.x.iter().zip(&batch.x).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
    assert!(off < 1e-2, "{off}");
    // What it keeps is its own affair.
    let objective = FreeEnergy { gradient: Estimator::Path, ..FreeEnergy::new(well()) };
    let how = Evaluation::new(key(0)).with_gradient();
    let [stages, starts] = [Memory::Stages, Memory::Recompute].map(|memory| {
        let outcome = objective.evaluate(&Flow { memory, ..flow }, &batch, &how).unwrap();
        (outcome.losses, outcome.gradient.unwrap())
    });
    assert_eq!(stages, starts);
    let figure = converged(&flow, &objective, 1, |_| Ok((normals(20), key(0))), 12, |_, _| ()).unwrap();
    assert!(figure.is_converged() && figure.integrator.ends_with("asynchronous leapfrog"), "{figure:?}");
}

/// Interrupts after a given step, and keeps what it hears.
#[derive(Default)]
struct Listener {
    stop_at: Option<u64>,
    levels: Vec<u64>,
    notes: Vec<String>,
}

impl Observer for Listener {
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        self.levels.push(metrics.level);
        Ok(())
    }

    fn note(&mut self, sentence: &str) {
        self.notes.push(sentence.into());
    }

    fn interrupted(&self) -> bool {
        self.stop_at == Some(self.levels.len() as u64)
    }
}

fn train(store: &mut Kept, listener: &mut Listener, resume: bool) -> (Finish, Vec<Vec<f64>>, TrainState) {
    let space = Cpu::<f64>::new(2);
    let potential = Box::new(ridge(&space, 8));
    let integrator = Box::new(AsynchronousLeapfrog { steps: 1 });
    let mut model = FlowModel::new(space, potential, integrator, Box::new(FreeEnergy::new(well())));
    let settings = TrainSettings {
        steps: 16,
        batch: 32,
        learning_rate: 0.02,
        max_level: 50,
        watch_every: 3,
        watch_tolerance: 3e-4,
        checkpoint_every: 5,
        ..TrainSettings::default()
    };
    let batches = BaseSamples { dim: DIM };
    let mut trainer = Trainer::new(&mut model, settings, &batches).unwrap().with_store(store);
    if resume {
        trainer.resume(listener).unwrap().expect("there is a checkpoint");
    }
    let finish = trainer.run(listener).unwrap();
    let state = TrainState { seconds: 0.0, ..*trainer.state() };
    let tensors = trainer.checkpoint().tensors.into_iter().map(|tensor| tensor.values).collect();
    (finish, tensors, state)
}

#[test]
fn a_training_watches_it_and_resumes_with_it() {
    let mut listener = Listener::default();
    let (finish, tensors, state) = train(&mut Kept::default(), &mut listener, false);
    assert_eq!(finish, Finish::Completed);
    assert!(listener.levels[0] == 1 && state.level > 4, "from {} to {}", listener.levels[0], state.level);
    let note = listener.notes.last().expect("the watch says so");
    assert!(note.ends_with(&format!("from now on {} steps of asynchronous leapfrog", state.level)), "{note}");
    for stop in [2, 8, 10] {
        let (mut store, mut again) = (Kept::default(), Listener { stop_at: Some(stop), ..Listener::default() });
        let (finish, _, interrupted) = train(&mut store, &mut again, false);
        assert_eq!((finish, interrupted.step), (Finish::Interrupted, stop));
        again.stop_at = None;
        let resumed = train(&mut store, &mut again, true);
        assert_eq!(resumed, (Finish::Completed, tensors.clone(), state), "interrupted after {stop} steps");
        assert_eq!(again.levels, listener.levels);
    }
}

#[test]
fn a_level_of_tolerances_is_the_same_by_every_way_to_it() {
    let built = Adaptive::new(Method::Tsit5.tableau(), 1e-3, 0.3, 10).unwrap();
    let built: &dyn Integrator<Cpu<f64>> = &built;
    let raised = built.at_level(6);
    assert_eq!((built.level(), raised.level()), (3, 6));
    assert_eq!(raised.at_level(3).describe(), built.describe());
    assert_eq!(raised.at_level(13).describe(), built.at_level(13).describe());
}
