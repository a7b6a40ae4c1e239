//! The `maflow` program: hands the command line to the library and its exit code to the shell.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: cli::memory::Allocator = cli::memory::Allocator;

fn main() -> ExitCode {
    #[cfg(feature = "libtorch")]
    // SAFETY: nothing has started a thread yet.
    unsafe {
        cli::openmp::let_threads_sleep();
    }
    cli::memory::say_on_abort();
    cli::interrupt::refuse_files_beyond_limits();
    ExitCode::from(cli::run(std::env::args_os()))
}
