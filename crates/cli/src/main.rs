//! The `maflow` program: hands the command line to the library and its exit code to the shell.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
