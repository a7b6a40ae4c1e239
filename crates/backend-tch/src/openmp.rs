//! How threads of OpenMP wait, which libtorch brings.

use std::env;

/// A variable of the environment, and a value that a program had better give it before it starts a thread; none where
/// the user has chosen.
///
/// It lets threads that have nothing to do sleep: the OpenMP of libtorch, which reads it when it is loaded, lets them
/// spin, and on a machine with other work to do a training step of a small model then takes ten times as long. No
/// library can set it, as other threads may read the environment meanwhile.
///
/// ```
/// if let Some((name, value)) = backend_tch::wait_policy() {
///     // SAFETY: this is the first that the program does, and it has one thread.
///     unsafe { std::env::set_var(name, value) };
/// }
/// # assert_eq!(backend_tch::wait_policy(), None);
/// ```
pub fn wait_policy() -> Option<(&'static str, &'static str)> {
    const POLICY: &str = "OMP_WAIT_POLICY";
    let chosen = [POLICY, "GOMP_SPINCOUNT"].iter().any(|name| env::var_os(name).is_some());
    (!chosen).then_some((POLICY, "PASSIVE"))
}
