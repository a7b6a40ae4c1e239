// How tests start programs as several processes, for those of this crate and of the program.

use std::path::Path;
use std::process::Command;

/// Starts a program as so many processes: mpirun, or what the variable `MAFLOW_TEST_MPIRUN` names. `None`, after a
/// sentence, where there is none, or where the shim was not compiled.
pub fn mpirun(size: usize, program: &Path) -> Option<Command> {
    let launcher = std::env::var("MAFLOW_TEST_MPIRUN").unwrap_or_else(|_| "mpirun".to_owned());
    if Command::new(&launcher).arg("--version").output().is_err() {
        eprintln!("left out: there is no {launcher}");
        return None;
    }
    if let Err(error) = mpi::name() {
        eprintln!("left out: {error}");
        return None;
    }
    let mut command = Command::new(launcher);
    command.args(["-n", &size.to_string()]).arg(program);
    // Open MPI wants to be told that root is meant, and that processes may be more than cores.
    for variable in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"] {
        command.env(variable, "1");
    }
    // Version 5 has another name for it.
    command.env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
    Some(command)
}
