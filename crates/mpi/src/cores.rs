//! How many cores are a process's own, where several share a machine.

use std::thread::available_parallelism;

/// Cores that a process may run on: bit k of word w for core `32 w + k`. Empty where the system does not tell.
pub(crate) type Mask = Vec<u32>;

/// Those of this process.
pub(crate) fn own() -> Mask {
    of_process(0)
}

/// Those of whoever started this process: what a launcher has before it gives its processes parts of that.
pub(crate) fn of_launcher() -> Mask {
    of_process(parent())
}

#[cfg(target_os = "linux")]
fn parent() -> i32 {
    // SAFETY: takes nothing and always succeeds.
    unsafe { libc::getppid() }
}

#[cfg(not(target_os = "linux"))]
fn parent() -> i32 {
    0
}

#[cfg(target_os = "linux")]
fn of_process(id: libc::pid_t) -> Mask {
    // SAFETY: all zeros are a set of no cores.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes no more than the set has room for.
    if unsafe { libc::sched_getaffinity(id, size_of::<libc::cpu_set_t>(), &mut set) } != 0 {
        return Mask::new();
    }
    let word = |w: usize| {
        // SAFETY: the number is below that of a set's cores.
        let has = |k: usize| unsafe { libc::CPU_ISSET(32 * w + k, &set) };
        (0..32).map(|k| u32::from(has(k)) << k).sum()
    };
    (0..libc::CPU_SETSIZE as usize / 32).map(word).collect()
}

#[cfg(not(target_os = "linux"))]
fn of_process(_id: i32) -> Mask {
    Mask::new()
}

/// The number of cores.
pub(crate) fn count(mask: &[u32]) -> usize {
    mask.iter().map(|word| word.count_ones() as usize).sum()
}

/// All cores that any of some processes may run on.
pub(crate) fn union(masks: &[Mask]) -> Mask {
    let words = masks.iter().map(Vec::len).max().unwrap_or(0);
    (0..words).map(|w| masks.iter().filter_map(|mask| mask.get(w)).fold(0, |all, word| all | word)).collect()
}

/// The cores of one of the processes of a machine, each core shared by those that may run on it; at least one.
pub(crate) fn share(masks: &[Mask], one: usize) -> usize {
    let available = available_parallelism().map_or(1, usize::from);
    share_of(masks, one, available)
}

/// `available` is less than the cores of the mask where the system limits the time that processes have together.
fn share_of(masks: &[Mask], one: usize, available: usize) -> usize {
    let equal = available / masks.len().max(1);
    let own = &masks[one];
    if own.is_empty() || available < count(own) {
        return equal.max(1);
    }
    let core = |c: usize| own[c / 32] >> (c % 32) & 1 == 1;
    let sharers =
        |c: usize| masks.iter().filter(|mask| mask.get(c / 32).is_some_and(|word| word >> (c % 32) & 1 == 1)).count();
    let share: f64 = (0..32 * own.len()).filter(|c| core(*c)).map(|c| 1.0 / sharers(c) as f64).sum();
    // Thirds and the like do not add up exactly.
    ((share + 1e-9) as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_divided_among_those_that_share_them() {
        let all = vec![0xffu32, 0];
        let together = vec![all.clone(); 3];
        assert_eq!([0, 1, 2].map(|one| share_of(&together, one, 8)), [2; 3]);
        // Each bound to cores of its own, and two to the same.
        let bound = [vec![0x0f], vec![0xf0], vec![0xf0]];
        assert_eq!([0, 1, 2].map(|one| share_of(&bound, one, 4)), [4, 2, 2]);
        assert_eq!(share_of(&vec![vec![1u32]; 4], 2, 1), 1);
        // A limit on the time of all.
        assert_eq!(share_of(&together, 0, 6), 2);
        assert_eq!(share_of(&vec![Mask::new(); 2], 1, 8), 4);
        assert_eq!((count(&union(&bound)), count(&all)), (8, 8));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_knows_its_cores() {
        let available = available_parallelism().map_or(1, usize::from);
        assert!(count(&own()) >= available && available >= 1);
        assert_eq!(share(&[own()], 0), available);
        assert!(count(&of_launcher()) >= 1);
    }
}
