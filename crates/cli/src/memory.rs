//! The allocator of the program, and what is said where there is no memory left.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, Ordering};

use mimalloc::MiMalloc;

/// mimalloc, which remembers whether it ever refused memory.
///
/// Where the caller cannot do without that memory, Rust aborts the process, and [`say_on_abort`] adds a sentence. A
/// caller that expects a refusal, such as the reader of tables with `try_reserve`, gets its error as with any
/// allocator.
#[derive(Debug)]
pub struct Allocator;

/// Whether a request was refused.
static REFUSED: AtomicBool = AtomicBool::new(false);

fn noted(found: *mut u8) -> *mut u8 {
    if found.is_null() {
        REFUSED.store(true, Ordering::Relaxed);
    }
    found
}

// SAFETY: every call is mimalloc's own, with the arguments that came.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        noted(unsafe { MiMalloc.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        noted(unsafe { MiMalloc.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, found: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        noted(unsafe { MiMalloc.realloc(found, layout, size) })
    }

    unsafe fn dealloc(&self, found: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.dealloc(found, layout) }
    }
}

/// Has an abort for want of memory end the process with exit code 1 and a sentence below Rust's own. All other aborts
/// stay what they are.
pub fn say_on_abort() {
    #[cfg(unix)]
    {
        let handler = aborted as extern "C" fn(libc::c_int);
        // SAFETY: the handler calls nothing but what a handler may.
        unsafe { libc::signal(libc::SIGABRT, handler as libc::sighandler_t) };
    }
}

#[cfg(unix)]
extern "C" fn aborted(_: libc::c_int) {
    const SENTENCE: &str = "maflow: there is not enough memory; try a smaller batch or potential, fewer --threads, or \
                            let training keep less with --set flow.memory=recompute\n";
    if REFUSED.load(Ordering::Relaxed) {
        // SAFETY: both calls are safe in a handler, and the bytes are there for ever.
        unsafe {
            libc::write(libc::STDERR_FILENO, SENTENCE.as_ptr().cast(), SENTENCE.len());
            libc::_exit(1);
        }
    }
}
