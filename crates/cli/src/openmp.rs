//! How the threads of OpenMP wait, which libtorch brings.

/// Lets those that have nothing to do sleep, unless the user has chosen otherwise: see [`backend_tch::wait_policy`].
///
/// # Safety
/// No other thread of the program runs yet.
pub unsafe fn let_threads_sleep() {
    if let Some((name, value)) = backend_tch::wait_policy() {
        // SAFETY: the caller promises that nobody else reads the environment.
        unsafe { std::env::set_var(name, value) };
    }
}
