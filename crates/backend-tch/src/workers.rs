//! Threads that each work on rows of their own, with operations of libtorch that use one thread.

use std::sync::{Mutex, OnceLock, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::context;

/// A pool that lives as long as the process.
pub(crate) type Workers = &'static ThreadPool;

/// Sets the threads of operations that the calling thread starts (0: libtorch's own choice), and says how many they
/// are.
pub(crate) fn set_threads(threads: usize) -> usize {
    static OWN_CHOICE: OnceLock<i32> = OnceLock::new();
    // Asked once, before the first pool exists: its threads change what libtorch answers to a new thread.
    let own = *OWN_CHOICE.get_or_init(tch::get_num_threads);
    let threads = if threads == 0 { own } else { i32::try_from(threads).unwrap_or(i32::MAX) };
    set_own_threads(threads);
    threads.max(1) as usize
}

/// Sets the threads of operations that the calling thread starts, and of no other. A thread that has never asked for
/// their number takes it from whichever thread set one last when its first operation starts, so it asks before it sets
/// its own.
fn set_own_threads(threads: i32) {
    let _ = tch::get_num_threads();
    tch::set_num_threads(threads);
}

/// The pool of this many threads; libtorch is loaded.
///
/// # Panics
/// When the system cannot start the threads.
pub(crate) fn of(threads: usize) -> Workers {
    static POOLS: Mutex<Vec<(usize, Workers)>> = Mutex::new(Vec::new());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, pool)) = pools.iter().find(|(of, _)| *of == threads) {
        return pool;
    }
    let one_thread_and_no_denormals = |_| {
        set_own_threads(1);
        context::flush_denormals();
    };
    let builder = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("maflow-tch-{i}"));
    let pool = builder.start_handler(one_thread_and_no_denormals).build().expect("the system starts threads");
    let pool: Workers = Box::leak(Box::new(pool));
    pools.push((threads, pool));
    pool
}

/// Does the tasks 0 to `count` − 1 in a pool.
pub(crate) fn each(pool: Workers, count: usize, task: &(dyn Fn(usize) + Sync)) {
    pool.install(|| (0..count).into_par_iter().for_each(task));
}
