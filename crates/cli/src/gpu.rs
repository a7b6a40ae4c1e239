//! Which GPU a process computes with where several share a machine that has several.

use std::{env, fs};

use mpi::Launch;

/// The variable by which CUDA is told what it may see.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// Has CUDA see one device alone. The devices of a machine are dealt out in turn to its processes.
///
/// # Safety
/// Nothing has asked CUDA for its devices yet, and no other thread reads the environment meanwhile.
pub unsafe fn choose(launch: &Launch) {
    let there = || fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count);
    let visible = match env::var(VISIBLE) {
        Ok(list) => list.split(',').map(ToOwned::to_owned).collect(),
        Err(_) => (0..there()).map(|device| device.to_string()).collect(),
    };
    if let Some(device) = launch.local_rank.and_then(|rank| device(visible, rank)) {
        // SAFETY: the caller promises that nobody else reads the environment.
        unsafe { env::set_var(VISIBLE, device) };
    }
}

/// The device of a process among those of its machine, where there is a choice.
fn device(mut visible: Vec<String>, rank: usize) -> Option<String> {
    let devices = visible.len();
    (devices > 1).then(|| visible.swap_remove(rank % devices))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_take_turns_with_devices() {
        let of = |visible: &[&str], rank| device(visible.iter().map(|&device| device.to_owned()).collect(), rank);
        assert_eq!([0, 1, 2, 5].map(|rank| of(&["4", "5", "7"], rank).unwrap()), ["4", "5", "7", "7"]);
        // One that a job has given to each process, or none, stays as it is.
        assert_eq!((of(&["3"], 1), of(&[], 1)), (None, None));
    }
}
