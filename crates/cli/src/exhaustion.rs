//! A library that runs out of memory or of threads can only panic: here that becomes an error like the others.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::error::CliError;

/// Does the work. What panics for another reason than a lack of memory or threads still panics, with its message.
///
/// # Errors
/// Those of the work; [`CliError::Failed`] when there was not enough.
pub fn caught(work: impl FnOnce() -> Result<(), CliError>) -> Result<(), CliError> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if lack(info.payload()).is_none() {
                usual(info);
            }
        }));
    });
    // What the work has changed is on the disk, where every file is whole; nothing else is looked at afterwards.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| match lack(&*payload) {
        Some(sentence) => Err(CliError::Failed(sentence)),
        None => panic::resume_unwind(payload),
    })
}

/// What was lacking and what helps, where that is why it panicked.
fn lack(payload: &(dyn Any + Send)) -> Option<String> {
    let message = payload.downcast_ref::<String>()?;
    if let Some(wanted) = wanted(message) {
        return Some(format!(
            "the backend ran out of memory when it wanted {wanted} more; try a smaller batch or potential, or let \
             training keep less with --set flow.memory=recompute, or nothing of its steps with --set \
             flow.method=reversible-rk4"
        ));
    }
    let threads = ["ThreadPoolBuildError", "failed to spawn thread"].iter().any(|words| message.contains(words));
    threads.then(|| {
        "the system starts no more threads; give fewer --threads, or allow the program more memory and processes \
         (ulimit -v, ulimit -u)"
            .to_owned()
    })
}

/// How much memory libtorch could not get, in its own words: `CUDA out of memory. Tried
/// to allocate 2.00 GiB. ...` or `DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. ...`
fn wanted(message: &str) -> Option<&str> {
    let (_, rest) = ["out of memory. Tried to allocate ", "can't allocate memory: you tried to allocate "]
        .iter()
        .find_map(|words| message.split_once(words))?;
    let end = rest.find(['B', 's']).filter(|end| *end < 40)?;
    Some(&rest[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_memory_is_an_error_and_nothing_else_is() {
        for (message, amount) in [
            (
                "Torch(\"CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB\")",
                "2.00 GiB",
            ),
            (
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12",
                "4096 bytes",
            ),
        ] {
            let error = caught(|| panic!("called `Result::unwrap()` on an `Err` value: {message}")).unwrap_err();
            assert!(error.to_string().contains(&format!("wanted {amount} more;")), "{error}");
            assert_eq!(error.exit_code(), 1);
        }
        let threads = "no pool: ThreadPoolBuildError { kind: IOError(Os { code: 11, kind: WouldBlock }) }";
        let error = caught(|| panic!("{threads}")).unwrap_err();
        assert!(error.to_string().contains("fewer --threads"), "{error}");
        let other = panic::catch_unwind(|| caught(|| panic::panic_any("odd".to_owned()))).unwrap_err();
        assert_eq!(*other.downcast::<String>().unwrap(), "odd");
        caught(|| Ok(())).unwrap();
    }
}
