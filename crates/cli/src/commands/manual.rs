//! `maflow completions` and `maflow man`: what a shell and a reader of manuals need, from the command line itself.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use maflow::files::write_whole;

use crate::args::Cli;
use crate::error::CliError;
use crate::output;

/// Prints the completions of a shell.
pub fn completions(shell: Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "maflow", &mut script);
    io::stdout().lock().write_all(&script).map_err(CliError::stdout)
}

/// Writes a page for the program and one for each of its commands.
pub fn write(folder: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(|source| maflow::Error::Io {
        action: "create",
        path: folder.to_owned(),
        source,
    })?;
    let mut program = Cli::command();
    program.build();
    let commands = program.get_subcommands().filter(|command| command.get_name() != "help").cloned();
    for command in std::iter::once(program.clone()).chain(commands) {
        let name = command.get_display_name().unwrap_or("maflow").to_owned();
        let (mut page, file) = (Vec::new(), folder.join(format!("{name}.1")));
        Man::new(command).render(&mut page).expect("memory takes all");
        write_whole(&file, &page)?;
        output::line(&file.display().to_string())?;
    }
    Ok(())
}
