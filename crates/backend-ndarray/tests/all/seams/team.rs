//! Members of a team, as threads of one process: what they find together is what one finds alone, bit for bit.

use std::ops::Range;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use backend_ndarray::{Activation, Cpu, Real, Ridge, TwoLayer, TwoLayerSettings};
use flow_core::{
    Alone, ArrayRows, BaseSamples, Batch, Batches, Coordinates, Direction, Error, Estimator, Evaluation, FixedStep,
    Flow, FlowMatching, FlowModel, FreeEnergy, Method, NegativeLogLikelihood, Objective, Observer, Path, PointEnergy,
    Potential, Precision, RngKey, Space, Sum, Team, TimeBasis, TrainSettings, Trainer, Validation, WassersteinDistance,
};

use super::objective::{LogVariance, weighted};
use super::{DIM, key, normals, ridge};
use crate::kept::Kept;

const ROWS: usize = 50;

/// A member that hears of the others through the memory.
#[derive(Debug)]
struct Thread<'a> {
    rank: usize,
    desk: &'a Desk,
}

/// Where members put what they gather.
#[derive(Debug)]
struct Desk {
    size: usize,
    laid_down: Mutex<Round>,
    changed: Condvar,
}

/// What is on the desk: of every member what it laid down, and how many took it all.
#[derive(Debug)]
struct Round {
    of_member: Vec<Option<Vec<f64>>>,
    taken: usize,
}

impl Team for Thread<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.desk.size
    }

    fn gather(&self, mine: &[f64]) -> Result<Vec<f64>, Error> {
        let alone = || Error::Callback("the other members do not come".into());
        let wait = |round, until: &dyn Fn(&Round) -> bool| {
            let patience = Duration::from_secs(60);
            let waiting = self.desk.changed.wait_timeout_while(round, patience, |round| !until(round)).unwrap();
            if waiting.1.timed_out() { Err(alone()) } else { Ok(waiting.0) }
        };
        // Those of the round before have to leave first.
        let mut round = wait(self.desk.laid_down.lock().unwrap(), &|round| round.of_member[self.rank].is_none())?;
        round.of_member[self.rank] = Some(mine.to_vec());
        self.desk.changed.notify_all();
        let mut round = wait(round, &|round| round.of_member.iter().all(Option::is_some))?;
        let all = round.of_member.iter().flatten().flatten().copied().collect();
        round.taken += 1;
        if round.taken == self.desk.size {
            *round = Round { of_member: vec![None; self.desk.size], taken: 0 };
            self.desk.changed.notify_all();
        }
        Ok(all)
    }
}

/// What every member returns.
pub(super) fn together<R: Send>(size: usize, work: impl Fn(&dyn Team) -> R + Sync) -> Vec<R> {
    let round = Mutex::new(Round { of_member: vec![None; size], taken: 0 });
    let desk = Desk { size, laid_down: round, changed: Condvar::new() };
    let (desk, work) = (&desk, &work);
    std::thread::scope(|scope| {
        let start = |rank| scope.spawn(move || work(&Thread { rank, desk }));
        let members: Vec<_> = (0..size).map(start).collect();
        members.into_iter().map(|member| member.join().unwrap()).collect()
    })
}

#[test]
fn what_is_gathered_is_in_the_order_of_the_members() {
    let found = together(3, |team| {
        let rank = team.rank() as f64;
        // Several rounds, of different lengths.
        let gathered: Vec<Vec<f64>> =
            (0..20).map(|i| team.gather(&vec![rank + i as f64; team.rank()]).unwrap()).collect();
        let shares = [vec![rank, 1.0], vec![1e-3, f64::from(f32::EPSILON)]];
        let sum = team.sum(&shares[..1 + team.rank() % 2], Precision::F32).unwrap();
        let decided = [team.any(team.rank() == 1).unwrap(), team.any(false).unwrap()];
        (gathered, sum, decided, team.broadcast(vec![rank; 2]).unwrap(), team.greatest(-rank).unwrap())
    });
    for (gathered, sum, decided, first, greatest) in found {
        for (i, gathered) in gathered.into_iter().enumerate() {
            assert_eq!(gathered, [1, 2, 2].map(|rank| f64::from(rank) + i as f64));
        }
        let mut expected = [0.0f32, 1.0];
        for [a, b] in [[1.0, 1.0], [1e-3, f32::EPSILON], [2.0, 1.0]] {
            expected = [expected[0] + a, expected[1] + b];
        }
        assert_eq!(sum, expected.map(f64::from));
        assert_eq!((decided, first, greatest), ([true, false], vec![0.0; 2], 0.0));
    }
}

/// Bits of losses and gradient, from this member's part of a batch.
fn bits<T: Real>(
    objective: &dyn Objective<Cpu<T>>,
    kind: usize,
    coordinates: Coordinates,
    whole: &Batch,
    blocks: Option<usize>,
    team: &dyn Team,
) -> Vec<Vec<u64>> {
    let space = Cpu::<T>::new(1);
    let potential = potential(kind, &space);
    let integrator = FixedStep::new(Method::Rk4.tableau(), 2).unwrap();
    let flow = Flow { coordinates, ..Flow::new(&space, &*potential, &integrator) };
    let how = Evaluation { blocks, ..Evaluation::new(key(0)).by(team).with_gradient() };
    let batch = how.my_part(&space, whole).unwrap();
    let outcome = objective.evaluate(&flow, &batch, &how).unwrap();
    assert_eq!(outcome.losses.len(), ROWS);
    let gradient = outcome.gradient.unwrap();
    let of = |numbers: &[f64]| numbers.iter().map(|v| v.to_bits()).collect();
    std::iter::once(of(&outcome.losses)).chain(gradient.iter().map(|g| of(&space.download(g)))).collect()
}

fn two_layer<T: Real>(space: &Cpu<T>) -> TwoLayer<T> {
    let settings =
        TwoLayerSettings { hidden: [7, 6], activation: Activation::Softplus, bias: true, probes: 2, context: 0 };
    TwoLayer::new(space.clone(), DIM, settings, TimeBasis::constant(), 3).unwrap()
}

/// A potential whose shares are sums, one whose shares of a regression are factors, and a sum of such.
const POTENTIALS: Range<usize> = 0..3;

fn potential<T: Real>(kind: usize, space: &Cpu<T>) -> Box<dyn Potential<Cpu<T>>> {
    match kind {
        0 => Box::new(ridge(space, 5)),
        1 => Box::new(two_layer(space)),
        _ => {
            let wide = Ridge::new(space.clone(), DIM, 9, Activation::LnCosh, false, 1).unwrap();
            let deep = Box::new(two_layer(space));
            let sum = Sum::new(space.clone(), vec![("wide".into(), Box::new(wide)), ("deep".into(), deep)]);
            Box::new(sum.unwrap())
        }
    }
}

fn quartic() -> impl flow_core::Energy {
    PointEnergy::new(DIM, |x, gradient| {
        gradient.iter_mut().zip(x).for_each(|(g, x)| *g = x.powi(3));
        Ok(x.iter().map(|x| x.powi(4) / 4.0).sum())
    })
}

fn objectives<T: Real>() -> Vec<Box<dyn Objective<Cpu<T>>>> {
    vec![
        Box::new(NegativeLogLikelihood::default()),
        Box::new(NegativeLogLikelihood { transport_cost: 0.3, log_jacobian: 0.0.into() }),
        Box::new(FreeEnergy::new(quartic())),
        Box::new(FreeEnergy { gradient: Estimator::Path, ..FreeEnergy::new(quartic()) }),
        // More times than a member of a team has rows.
        Box::new(FlowMatching::new(Path::Straight, 40)),
        Box::new(LogVariance),
        Box::new(WassersteinDistance::Sinkhorn { blur: 0.5 }),
        Box::new(WassersteinDistance::Sliced { projections: 5 }),
    ]
}

fn teams_find_what_one_finds_alone<T: Real>() {
    let whole = weighted(normals(ROWS));
    for objective in objectives::<T>() {
        for kind in POTENTIALS {
            for (coordinates, blocks) in [(Coordinates::Auto, None), (Coordinates::X, Some(7))] {
                let find = |team: &dyn Team| bits(&*objective, kind, coordinates, &whole, blocks, team);
                let alone = find(&Alone);
                assert!(alone.iter().all(|of| of.iter().any(|bits| f64::from_bits(*bits) != 0.0)), "nothing was found");
                for size in [2, 3] {
                    for (rank, found) in together(size, find).into_iter().enumerate() {
                        assert!(found == alone, "{} of member {rank} of {size}, kind {kind}", objective.name());
                    }
                }
            }
        }
    }
}

#[test]
fn teams_find_what_one_finds_alone_in_single_precision() {
    teams_find_what_one_finds_alone::<f32>();
}

#[test]
fn teams_find_what_one_finds_alone_in_double_precision() {
    teams_find_what_one_finds_alone::<f64>();
}

/// Rows of which one is NaN when it is read for the first time.
struct Poisoned<'a> {
    inner: &'a dyn Batches,
    step: u64,
    row: usize,
    fresh: Mutex<bool>,
}

impl Batches for Poisoned<'_> {
    fn batch(&self, key: RngKey, part: Range<usize>, rows: usize) -> Result<Batch, Error> {
        let mut batch = self.inner.batch(key, part.clone(), rows)?;
        if key.step() == self.step && part.contains(&self.row) && std::mem::take(&mut *self.fresh.lock().unwrap()) {
            batch.x[(self.row - part.start) * DIM] = f64::NAN;
        }
        Ok(batch)
    }
}

/// Interrupts where it is told to.
struct Interrupting {
    rank: Option<usize>,
    notes: Vec<String>,
    steps: u64,
}

impl Observer for Interrupting {
    fn step(&mut self, metrics: &flow_core::StepMetrics) -> Result<(), Error> {
        self.steps = metrics.step;
        Ok(())
    }

    fn note(&mut self, sentence: &str) {
        self.notes.push(sentence.into());
    }

    fn interrupted(&self) -> bool {
        self.rank == Some(1) && self.steps == 7
    }
}

/// Names and bits of all arrays at the end, the state, and what was noted.
type Trained = (Vec<(String, Vec<u64>)>, String, Vec<String>);

/// A training from its start, or from the newest checkpoint of the first member's store.
fn train<T: Real>(kind: usize, team: &dyn Team, interrupted: bool, store: Option<&mut Kept>, resume: bool) -> Trained {
    let space = Cpu::<T>::new(1);
    let (potential, objective) = (potential(kind % 3, &space), objectives::<T>().swap_remove(kind));
    let integrator = FixedStep::new(Method::Heun.tableau(), 1).unwrap();
    let mut model = FlowModel::new(space, potential, Box::new(integrator), objective);
    let data = ArrayRows::new(normals(70).x, DIM).unwrap();
    let base = BaseSamples { dim: DIM };
    let inner: &dyn Batches = if kind < 2 { &data } else { &base };
    let batches = Poisoned { inner, step: 5, row: ROWS - 1, fresh: true.into() };
    let settings = TrainSettings {
        steps: 9,
        batch: ROWS,
        blocks: Some(4),
        learning_rate: 0.02,
        average: Some(0.9),
        watch_every: 2,
        watch_tolerance: 1e-3,
        checkpoint_every: 4,
        validate_every: 3,
        ..TrainSettings::default()
    };
    // Of its own rank, so that members differ where they do not agree.
    let rank = team.rank() as f64;
    let validate = |_: &_| Ok(Validation { figure: 2.0 + rank, standard_error: rank, integration_error: rank });
    let mut trainer = Trainer::new(&mut model, settings, &batches).unwrap().with_team(team).with_validator(validate);
    if let Some(store) = store {
        trainer = trainer.with_store(store);
    }
    if resume {
        trainer.resume(&mut ()).unwrap().expect("the first member has a checkpoint");
    }
    let rank = interrupted.then_some(if team.size() == 1 { 1 } else { team.rank() });
    let mut observer = Interrupting { rank, notes: Vec::new(), steps: 0 };
    let finish = trainer.run(&mut observer).unwrap();
    let bits = |t: flow_core::Tensor| (t.name, t.values.iter().map(|v| v.to_bits()).collect());
    let arrays = trainer.checkpoint().tensors.into_iter().map(bits).collect();
    let state = flow_core::TrainState { seconds: 0.0, ..*trainer.state() };
    (arrays, format!("{finish:?} {state:?}"), observer.notes)
}

#[test]
fn trainings_by_a_team_end_on_the_bits_of_one() {
    fn check<T: Real>(kind: usize, interrupted: bool) {
        let alone = train::<T>(kind, &Alone, interrupted, None, false);
        assert!(alone.2.iter().any(|note| note.contains("back to step 4")), "{:?}", alone.2);
        assert!(alone.1.contains("best: Some(2.0)"), "{}", alone.1);
        for size in [2, 3] {
            for (rank, found) in
                together(size, |team| train::<T>(kind, team, interrupted, None, false)).into_iter().enumerate()
            {
                assert!(found == alone, "member {rank} of {size}, objective {kind}: {:?}", (&found.1, &alone.1));
            }
        }
    }
    for kind in 0..6 {
        check::<f32>(kind, false);
    }
    check::<f64>(0, false);
    check::<f64>(4, false);
    check::<f32>(2, true);
}

#[test]
fn a_team_resumes_from_the_store_of_its_first_member() {
    let (expected, state, _) = train::<f32>(2, &Alone, false, None, false);
    let found = together(3, |team| {
        let mut store = (team.rank() == 0).then(Kept::default);
        let interrupted = train::<f32>(2, team, true, store.as_mut(), false);
        assert!(interrupted.1.starts_with("Interrupted TrainState { step: 7"), "{}", interrupted.1);
        train::<f32>(2, team, false, store.as_mut(), true)
    });
    for (arrays, found, _) in found {
        assert!(arrays == expected);
        assert_eq!(found, state);
    }
}

#[test]
fn fewer_blocks_than_members_are_one_clear_error() {
    let found = together(3, |team| {
        let space = Cpu::<f64>::new(1);
        let how = Evaluation { blocks: Some(2), ..Evaluation::new(key(0)).by(team) };
        let integrator = FixedStep::new(Method::Euler.tableau(), 1).unwrap();
        let mut model = FlowModel::new(
            space.clone(),
            Box::new(ridge(&space, 5)),
            Box::new(integrator),
            Box::new(NegativeLogLikelihood::default()),
        );
        let settings = TrainSettings { blocks: Some(2), ..TrainSettings::default() };
        let batches = BaseSamples { dim: DIM };
        let refused = how.my_blocks(&space, ROWS).unwrap_err().to_string();
        let trained = Trainer::new(&mut model, settings, &batches).unwrap().with_team(team).run(&mut ()).unwrap_err();
        (refused, trained.to_string())
    });
    let sentence =
        "blocks is 2, but must be at least the 3 members of the team; make the batch larger or the team smaller";
    for (refused, trained) in found {
        assert_eq!((&*refused, &*trained), (sentence, sentence));
    }
}

#[test]
fn one_member_that_fails_ends_the_evaluation_of_all() {
    let whole = normals(ROWS);
    // The last row's alone, which the last member has.
    let last = whole.x[(ROWS - 1) * DIM];
    let found = together(2, |team| {
        let space = Cpu::<f64>::new(1);
        let potential = ridge(&space, 4);
        let steps = FixedStep::new(Method::Rk4.tableau(), 2).unwrap();
        let flow = Flow::new(&space, &potential, &steps);
        let how = Evaluation::new(key(1)).with_gradient().by(team);
        let mine = how.my_part(&space, &whole).unwrap();
        let fails = mine.x[mine.x.len() - DIM] == last;
        let energy = PointEnergy::new(DIM, |_, _| match fails {
            true => Err(Error::Callback("the force field has gone".into())),
            false => Ok(0.0),
        });
        FreeEnergy::new(energy).evaluate(&flow, &mine, &how).map(drop).unwrap_err().to_string()
    });
    assert!(found[0].contains("another member"), "{found:?}");
    assert!(found[1].contains("the force field"), "{found:?}");
}

/// Bits of whatever comes of points that a flow carries, without a gradient by its parameters.
fn carried<T: Real>(kind: usize, rows: usize, team: &dyn Team) -> Vec<Vec<u64>> {
    let space = Cpu::<T>::new(1);
    let potential = potential(kind, &space);
    let integrator = FixedStep::new(Method::Rk4.tableau(), 2).unwrap();
    let flow = Flow::new(&space, &*potential, &integrator).by(team);
    let (z, forward) = (normals(rows), flow.span(Direction::Forward));
    let there = flow.transport_batch(&z, forward, key(0)).unwrap();
    let scored = flow.scored_samples(&z.x, key(0)).unwrap();
    let (energies, gradients) = flow.latent_energy(&quartic(), &z.x, key(0)).unwrap();
    let cost = flow.transport_cost(&z, forward, key(0)).unwrap().cost;
    let ln_p = flow.log_density(&there.x, key(1)).unwrap();
    let found = [there.x, there.log_density, scored.x, scored.score, energies, gradients, cost, ln_p];
    found.map(|numbers| numbers.into_iter().map(f64::to_bits).collect()).to_vec()
}

#[test]
fn points_that_a_team_carries_are_those_of_one() {
    // Enough for every member to have some, and so few that all do them.
    for rows in [ROWS, 1] {
        for kind in POTENTIALS {
            for size in [2, 3] {
                for (rank, found) in together(size, |team| carried::<f32>(kind, rows, team)).into_iter().enumerate() {
                    assert!(
                        found == carried::<f32>(kind, rows, &Alone),
                        "{rows} rows, member {rank} of {size}, {kind}"
                    );
                }
            }
        }
    }
    assert!(together(3, |team| carried::<f64>(1, ROWS, team)).iter().all(|f| *f == carried::<f64>(1, ROWS, &Alone)));
}

#[test]
fn points_that_one_member_cannot_carry_fail_on_all_as_they_fail_alone() {
    let fails = |team: &dyn Team| {
        let space = Cpu::<f64>::new(1);
        let (potential, integrator) = (ridge(&space, 4), FixedStep::new(Method::Rk4.tableau(), 2).unwrap());
        let flow = Flow::new(&space, &potential, &integrator);
        let z = normals(ROWS).x;
        let ends = flow.transport(&z, flow.span(Direction::Forward), key(0)).unwrap().x;
        let (last, calls) = (ends[ends.len() - DIM], Mutex::new(0));
        let energy = PointEnergy::new(DIM, |x, _| {
            *calls.lock().unwrap() += 1;
            if x[0] == last { Err(Error::Callback(format!("there is nothing at {}", x[0]))) } else { Ok(0.0) }
        });
        let error = flow.by(team).latent_energy(&energy, &z, key(0)).unwrap_err().to_string();
        (error, calls.into_inner().unwrap())
    };
    let (alone, _) = fails(&Alone);
    assert!(alone.contains("there is nothing at"), "{alone}");
    for (error, calls) in together(3, fails) {
        assert_eq!(error, alone);
        // First its own part, then all rows.
        assert!(calls > ROWS, "{calls}");
    }
}
