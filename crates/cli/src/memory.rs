//! What the allocator of the program does with freed memory.

/// The option's number in mimalloc's header, of version 2 as of version 3; `libmimalloc-sys` has no name for it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Keeps freed memory for the next step of a training instead of giving it back to the kernel, which clears every page
/// before it hands it out again: a tenth of the time of a step. What the process holds is what it once needed at most.
/// For programs whose global allocator is mimalloc; the variable `MIMALLOC_PURGE_DELAY` goes before.
///
/// # Safety
/// No other thread of the program runs yet.
pub unsafe fn keep() {
    // SAFETY: mimalloc wants options to be set by one thread at a time, which the caller promises.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, -1) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_option_has_this_number() {
        // SAFETY: reads a number, as the other call stores one.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        // mimalloc's own choice, in milliseconds.
        assert_eq!(delay(), 1000);
        // SAFETY: mimalloc is not the allocator of the tests, so no other thread asks it anything.
        unsafe { super::keep() };
        assert_eq!(delay(), -1);
    }
}
