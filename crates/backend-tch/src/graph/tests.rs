//! Which solves the cache keeps, and how sessions go, on a device that plays at capturing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use flow_core::Precision;

use super::emulated::Emulated;
use super::*;
use crate::device::Device;
use crate::tensors::Options;

/// [`Emulated`], in a mode that tests choose.
#[derive(Default)]
struct Fake {
    mode: AtomicU64,
}

impl Capture for Fake {
    type Graph = ();

    fn capture(&self, work: &mut Work<'_>) -> Result<((), Outputs<Tch>), Error> {
        Emulated.capture(work)
    }

    fn replay(&self, graph: &(), outputs: &Outputs<Tch>, work: &mut Work<'_>) -> Result<(), Error> {
        Emulated.replay(graph, outputs, work)
    }

    fn mode(&self) -> u64 {
        self.mode.load(Ordering::Relaxed)
    }
}

/// How a solve was done.
#[derive(Debug, PartialEq)]
enum Done {
    Ordinarily,
    Captured,
    Replayed,
}
use Done::{Captured, Ordinarily, Replayed};

/// A cache, and solves of one parameter.
struct Bench {
    cache: Cache<Fake>,
    space: Tch,
    parameter: Array,
}

impl Bench {
    fn new() -> Self {
        // Other tests of this program want CUDA, which has to come first where it can be used.
        let _ = crate::loading::load(Device::Cuda);
        let options = Options { threads: 1, allow_tf32: false };
        let space = Tch::new(Device::Cpu, Precision::F64, options).unwrap();
        Self { cache: Cache::new(Fake::default()), space, parameter: space.upload(1, 1, &[3.0]) }
    }

    fn session(&self, key: u64) -> Option<Box<dyn Session<Tch> + '_>> {
        self.cache.session(&self.space, CacheKey::new().with(key), &[&self.parameter])
    }

    /// A stage whose output is so many times the parameter times x.
    fn stage(&self, session: &mut dyn Session<Tch>, times: f64, x: &Array) -> Array {
        let work = &mut || {
            let mut out = self.space.zeros(1, 1);
            self.space.accumulate_product(&mut out, 0.0, times, &self.parameter, x);
            Ok(Outputs { arrays: vec![out], columns: Vec::new() })
        };
        session.stage(work).unwrap().arrays.swap_remove(0)
    }

    /// A solve of so many stages.
    fn solve(&self, key: u64, stages: usize) -> Done {
        let before = self.cache.replays();
        let Some(mut session) = self.session(key) else { return Ordinarily };
        for stage in 0..stages {
            let number = key as f64 + stage as f64;
            let x = session.input(1, 1, &[number]);
            assert_eq!(self.space.download(&self.stage(&mut *session, 2.0, &x)), [6.0 * number]);
        }
        session.finish();
        if self.cache.replays() > before { Replayed } else { Captured }
    }

    /// Solves twice, which captures.
    fn capture(&self, key: u64, stages: usize) {
        assert_eq!([self.solve(key, stages), self.solve(key, stages)], [Ordinarily, Captured], "{key}");
    }
}

const WITHOUT_GRADIENT: usize = 2;
const WITH_GRADIENT: usize = 4;

#[test]
fn a_solve_is_captured_the_second_time_and_replayed_afterwards() {
    let bench = Bench::new();
    assert!(bench.session(7).is_none());
    let mut addresses = Vec::new();
    for number in [1.0, 2.0, 5.0] {
        let mut session = bench.session(7).expect("it was seen before");
        let (x, column) = (session.input(1, 1, &[number]), session.input_column(&[number, 4.0]));
        let out = bench.stage(&mut *session, 1.0, &x);
        assert_eq!(bench.space.download(&out), [3.0 * number]);
        assert_eq!(bench.space.download_column(&column), [number, 4.0]);
        addresses.push([x.0.data_ptr(), column.0.data_ptr(), out.0.data_ptr()].map(|p| p.addr()));
        session.finish();
    }
    assert_eq!(bench.cache.replays(), 2);
    assert_eq!(addresses[0], addresses[1], "inputs and outputs of a replay are those of the capture");
    assert_eq!(addresses[0], addresses[2], "inputs and outputs of a replay are those of the capture");
}

#[test]
fn the_solve_that_was_used_last_is_the_last_to_go() {
    let bench = Bench::new();
    (0..8).for_each(|key| bench.capture(key, WITHOUT_GRADIENT));
    assert_eq!(bench.solve(0, WITHOUT_GRADIENT), Replayed);
    bench.capture(8, WITHOUT_GRADIENT);
    assert_eq!(bench.solve(1, WITHOUT_GRADIENT), Ordinarily);
    for key in [0, 2, 3, 4, 5, 6, 7, 8] {
        assert_eq!(bench.solve(key, WITHOUT_GRADIENT), Replayed, "{key}");
    }
}

#[test]
fn few_solves_with_a_gradient_are_kept() {
    let bench = Bench::new();
    for (key, stages) in [(0, WITH_GRADIENT), (1, WITHOUT_GRADIENT), (2, WITH_GRADIENT)] {
        bench.capture(key, stages);
    }
    assert_eq!(bench.solve(0, WITH_GRADIENT), Replayed);
    bench.capture(3, WITH_GRADIENT);
    assert_eq!(bench.solve(2, WITH_GRADIENT), Ordinarily);
    for (key, stages) in [(0, WITH_GRADIENT), (1, WITHOUT_GRADIENT), (3, WITH_GRADIENT)] {
        assert_eq!(bench.solve(key, stages), Replayed, "{key}");
    }
}

#[test]
fn keys_that_were_seen_push_no_captured_solve_out() {
    let bench = Bench::new();
    bench.capture(0, WITHOUT_GRADIENT);
    (1..=9).for_each(|key| assert_eq!(bench.solve(key, WITHOUT_GRADIENT), Ordinarily, "{key}"));
    assert_eq!(bench.solve(0, WITHOUT_GRADIENT), Replayed);
    // Of the keys themselves, the last eight are known.
    assert_eq!([1, 9].map(|key| bench.solve(key, WITHOUT_GRADIENT)), [Ordinarily, Captured]);
}

#[test]
fn a_session_that_is_not_finished_leaves_nothing() {
    let bench = Bench::new();
    bench.capture(5, WITHOUT_GRADIENT);
    let one_stage = |key| {
        let mut session = bench.session(key).expect("it was seen before");
        let x = session.input(1, 1, &[1.0]);
        bench.stage(&mut *session, 1.0, &x);
        session
    };
    // While it is captured, and while it is replayed; dropped, or by a panic.
    let ways: [&dyn Fn(u64); 2] = [&|key| drop(one_stage(key)), &|key| {
        let panics = || {
            let _session = one_stage(key);
            panic!("for a test");
        };
        catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    }];
    for (key, way) in ways.into_iter().enumerate() {
        let key = key as u64;
        assert_eq!(bench.solve(key, WITHOUT_GRADIENT), Ordinarily);
        way(key);
        bench.capture(key, WITHOUT_GRADIENT);
        way(key);
        assert_eq!(bench.solve(key, WITHOUT_GRADIENT), Ordinarily);
    }
    assert_eq!(bench.solve(5, WITHOUT_GRADIENT), Replayed, "others stay");
}

#[test]
fn an_error_of_a_stage_comes_back() {
    let bench = Bench::new();
    assert!(bench.session(1).is_none());
    let mut session = bench.session(1).expect("it was seen before");
    let error = session.stage(&mut || Err(Error::Callback("no more".into()))).unwrap_err();
    assert_eq!(error.to_string(), "no more");
    drop(session);
    bench.capture(1, WITHOUT_GRADIENT);
}

#[test]
fn modes_and_parameters_have_solves_of_their_own() {
    let mut bench = Bench::new();
    bench.capture(1, WITHOUT_GRADIENT);
    bench.cache.device.mode.store(1, Ordering::Relaxed);
    bench.capture(1, WITHOUT_GRADIENT);
    let first = std::mem::replace(&mut bench.parameter, bench.space.upload(1, 1, &[3.0]));
    bench.capture(1, WITHOUT_GRADIENT);
    assert_eq!(bench.solve(1, WITHOUT_GRADIENT), Replayed);
    bench.parameter = first;
    assert_eq!(bench.solve(1, WITHOUT_GRADIENT), Replayed);
    bench.cache.device.mode.store(0, Ordering::Relaxed);
    assert_eq!(bench.solve(1, WITHOUT_GRADIENT), Replayed);
}

#[test]
fn nobody_waits_for_the_session_of_another_thread() {
    let bench = Bench::new();
    bench.capture(1, WITHOUT_GRADIENT);
    let session = bench.session(1).expect("it was captured");
    std::thread::scope(|scope| {
        let other = scope.spawn(|| bench.session(1).is_none() && bench.session(2).is_none());
        assert!(other.join().unwrap());
    });
    drop(session);
}

#[test]
#[should_panic(expected = "the size of an input")]
fn a_replay_of_another_size_is_refused() {
    let bench = Bench::new();
    bench.capture(1, WITHOUT_GRADIENT);
    bench.session(1).expect("it was captured").input(2, 1, &[1.0, 2.0]);
}

#[test]
#[should_panic(expected = "inputs and stages of a solve")]
fn a_replay_that_ends_early_is_refused() {
    let bench = Bench::new();
    bench.capture(1, WITHOUT_GRADIENT);
    bench.session(1).expect("it was captured").finish();
}
