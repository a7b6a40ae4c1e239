//! What a user types to have libtorch set up.

use std::sync::{PoisonError, RwLock};

/// The command that sets libtorch up, from the root of the project.
pub const SCRIPT: &str = "scripts/setup-libtorch.sh";

/// What a user types to have libtorch set up, as sentences name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// For the processor.
    pub cpu: &'static str,
    /// For CUDA too.
    pub cuda: &'static str,
}

static COMMAND: RwLock<Command> = RwLock::new(Command { cpu: SCRIPT, cuda: "scripts/setup-libtorch.sh --cuda" });

/// Has every sentence of this process name another command than [`SCRIPT`], for a program that comes without it.
pub fn is_done_by(command: Command) {
    *COMMAND.write().unwrap_or_else(PoisonError::into_inner) = command;
}

/// The command, for CUDA too or for the processor alone.
pub fn command(cuda: bool) -> &'static str {
    let command = *COMMAND.read().unwrap_or_else(PoisonError::into_inner);
    if cuda { command.cuda } else { command.cpu }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_for_cuda_is_one_of_its_own() {
        assert_eq!([false, true].map(command), [SCRIPT, "scripts/setup-libtorch.sh --cuda"]);
    }
}
