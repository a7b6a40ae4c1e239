//! Processes of an MPI find together what the seam of teams promises, at every number of them; and none is left
//! waiting. This program starts itself by mpirun.

mod launched;

use std::env;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_core::{Precision, Team};
use mpi::{Launch, World};

/// What the members are to do.
const TASK: &str = "MAFLOW_TEST_TASK";

fn main() {
    match Launch::of_environment() {
        Some(launch) => member(&launch),
        // Whoever asks for names gets none: there is one test.
        None if env::args().any(|word| word == "--list") => {}
        None => start(),
    }
}

fn start() {
    for size in [2, 3, 4] {
        let Some((code, _, stderr)) = members(size, "find") else { return };
        assert_eq!(code, Some(0), "{size} members: {stderr}");
    }
    for (task, word) in [("panic", "one member has had enough"), ("late", "not all have come"), ("leave", "")] {
        let Some((code, seconds, stderr)) = members(3, task) else { return };
        assert!(code != Some(0) && stderr.contains(word), "{task}: {code:?} {stderr}");
        assert!(seconds < 10.0, "{task}: {seconds} seconds");
    }
    println!("ranks: 2, 3 and 4 members found the same; none waited for one that had gone");
}

/// Exit code, seconds and standard error of so many members.
fn members(size: usize, task: &str) -> Option<(Option<i32>, f64, String)> {
    let mut command = launched::mpirun(size, &env::current_exe().unwrap())?;
    let begun = Instant::now();
    let output = command.env(TASK, task).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Some((output.status.code(), begun.elapsed().as_secs_f64(), stderr))
}

fn member(launch: &Launch) {
    let world = World::start(launch).unwrap();
    let last = world.rank() + 1 == world.size();
    match env::var(TASK).unwrap().as_str() {
        "find" => {
            gathers(&world);
            sums(&world);
            decides(&world);
            knows_its_place(&world);
            other_threads_are_refused(&world);
            assert!(world.meet(Some(Duration::from_secs(20))).unwrap());
            world.finish().unwrap();
        }
        "panic" if last => panic!("one member has had enough"),
        "late" if last => sleep(Duration::from_secs(60)),
        "late" => {
            let begun = Instant::now();
            assert!(!world.meet(Some(Duration::from_millis(300))).unwrap());
            assert!(begun.elapsed() >= Duration::from_millis(300));
            eprintln!("not all have come");
            world.abort(3);
        }
        "leave" if last => std::process::exit(5),
        _ => drop(world.gather(&[1.0])),
    }
}

fn gathers(world: &World) {
    let rank = world.rank() as f64;
    for round in 0..3 {
        // Of different lengths, one of them zero.
        let all = world.gather(&vec![rank + f64::from(round); world.rank()]).unwrap();
        let expected: Vec<f64> = (0..world.size()).flat_map(|r| vec![r as f64 + f64::from(round); r]).collect();
        assert_eq!(all, expected);
    }
    assert_eq!(world.broadcast(vec![rank + 1.0; 5]).unwrap(), [1.0; 5]);
    assert!(world.broadcast(Vec::new()).unwrap().is_empty());
}

/// The share of a block: numbers of very different sizes, whose sum depends on its order.
fn share(block: usize, length: usize, precision: Precision) -> Vec<f64> {
    let number = |i: usize| {
        let hash = (block as u64 * 1_000_003 + i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let sign = if hash & 1 == 0 { 1.0 } else { -1.0 };
        sign * (1.0 + (hash >> 40) as f64 / 16_777_216.0) * 2f64.powi((hash >> 8 & 31) as i32 - 16)
    };
    (0..length).map(|i| precision.rounded(number(i))).collect()
}

fn sums(world: &World) {
    // Fewer numbers and fewer blocks than members, and more than go at a time.
    for (blocks, length) in [(7, 1000), (4, 2), (4, 1), (1, 10), (5, 0), (4, 700_000)] {
        for precision in [Precision::F32, Precision::F64] {
            let mine: Vec<_> = world.share(blocks).map(|block| share(block, length, precision)).collect();
            let found = world.sum(&mine, precision).unwrap();
            let mut expected = share(0, length, precision);
            for block in 1..blocks {
                let term = share(block, length, precision);
                expected.iter_mut().zip(term).for_each(|(sum, term)| *sum = precision.rounded(*sum + term));
            }
            let bits = |numbers: &[f64]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
            assert!(bits(&found) == bits(&expected), "{blocks} blocks of {length} in {precision:?}");
        }
    }
    assert!(world.sum(&[], Precision::F32).unwrap().is_empty());
    assert!(world.traffic().bytes > 0 && world.traffic().seconds > 0.0);
    let (before, size) = (world.traffic(), world.size() as u64);
    world.of_each(1.0).unwrap();
    assert_eq!(world.traffic().since(before).bytes, 8 * (size - 1));
}

fn decides(world: &World) {
    let last = world.rank() + 1 == world.size();
    assert!(world.any(last).unwrap() && !world.any(false).unwrap());
    assert_eq!(world.greatest(-(world.rank() as f64)).unwrap(), 0.0);
    assert!(world.greatest(if last { f64::NAN } else { 1.0 }).unwrap().is_nan());
    let found = flow_core::agreed(world, if last { Err(flow_core::Error::Callback("mine".into())) } else { Ok(()) });
    match (found.unwrap_err(), last) {
        (flow_core::Error::Callback(_), true) | (flow_core::Error::OtherMember, false) => {}
        (error, _) => panic!("{error}"),
    }
}

fn knows_its_place(world: &World) {
    // All are on this machine.
    assert_eq!((world.local(), world.machines()), ((world.rank(), world.size()), 1));
    assert!(!world.name().is_empty());
    let threads = world.of_each(world.threads().get() as f64).unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(threads.iter().sum::<f64>() <= (cores * world.size()).max(world.size()) as f64, "{threads:?}");
}

fn other_threads_are_refused(world: &World) {
    let refused = std::thread::scope(|scope| scope.spawn(|| world.gather(&[1.0])).join().unwrap());
    assert!(refused.unwrap_err().to_string().contains("the thread that started it"));
}
