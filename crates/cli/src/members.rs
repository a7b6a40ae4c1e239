//! Several processes that mpirun or srun has started: which commands they share, who speaks, and how all end together.

use std::sync::Arc;
use std::time::Duration;

use flow_core::Team;
use mpi::{Launch, World};

use crate::args::{Cli, Command};
use crate::error::CliError;
use crate::place::Place;
use crate::{commands, exhaustion, gpu, output, plan};

/// How long a process that failed waits for the others, which may have failed for the same reason, before it ends them.
const PATIENCE: Duration = Duration::from_secs(3);

/// What several processes do with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// They work on it together.
    Together,
    /// The first does it.
    First,
}

/// How processes share a command.
///
/// # Errors
/// [`CliError::Usage`] for one that would do the same work in every process, over the same file.
pub fn share(command: Option<&Command>, launch: &Launch) -> Result<Share, CliError> {
    let refused = |command: &str| {
        let instead = match command {
            "fit" => "; its run can go on in several by `maflow train --resume --out RUN`",
            _ => "",
        };
        let Launch { size, launcher, .. } = launch;
        Err(CliError::Usage(format!(
            "maflow {command} works in one process, and {launcher} started {size}; start it without{instead}"
        )))
    };
    match command {
        None
        | Some(
            Command::Train(_)
            | Command::Evaluate(_)
            | Command::Physics(_)
            | Command::Score(_)
            | Command::Sample(_)
            | Command::Transform(_)
            | Command::Doctor(_),
        ) => Ok(Share::Together),
        Some(Command::Recipes(_) | Command::Completions(_)) => Ok(Share::First),
        Some(Command::Fit(_)) => refused("fit"),
        Some(Command::Plot(_)) => refused("plot"),
        Some(Command::Report(_)) => refused("report"),
        Some(Command::Man(_)) => refused("man"),
        Some(Command::Import(_)) => refused("import"),
        Some(Command::Export(_)) => refused("export"),
    }
}

/// Does what was typed together with the other processes, and returns the exit code.
///
/// # Errors
/// [`CliError::Failed`] when the processes cannot be joined.
pub fn run(cli: Cli, launch: &Launch) -> Result<u8, CliError> {
    let Launch { size, launcher, .. } = launch;
    // SAFETY: the program has no other thread yet, nor has it asked for a device.
    unsafe { gpu::choose(launch) };
    let world = World::start(launch)
        .map_err(|error| CliError::Failed(format!("{launcher} started {size} processes: {error}")))?;
    let threads = cli.global.threads.is_none().then(|| world.threads());
    if let (Some((used, there)), Some(_)) = (world.bound_cores(), threads) {
        output::note(&format!(
            "{launcher} has bound the processes of this machine to {used} of its {there} cores; mpirun --bind-to none, \
             or srun --cpus-per-task N, gives them more"
        ));
    }
    let place = Place { world: Some(Arc::new(world)), threads };
    let done = exhaustion::caught(|| plan::resolve(cli).and_then(|plan| commands::execute(plan, &place)));
    let world = place.world.and_then(Arc::into_inner).expect("whoever did the work has let go of the others");
    Ok(end(world, done))
}

/// Ends this process together with the others. Where all of them get here, the first that knows a reason prints it. A
/// process that failed alone prints its reason, and ends all.
fn end(world: World, done: Result<(), CliError>) -> u8 {
    let code = done.as_ref().map_or_else(CliError::exit_code, |()| 0);
    let knows_why = matches!(&done, Err(error) if !matches!(error, CliError::Elsewhere | CliError::BrokenPipe));
    let (rank, size) = (world.rank(), world.size());
    let say = || match &done {
        Err(error) if knows_why && rank == 0 => output::say(&format!("maflow: {error}")),
        Err(error) if knows_why => output::say(&format!("maflow, process {rank} of 0 to {}: {error}", size - 1)),
        _ => {}
    };
    // A process that succeeded waits for the others for as long as they work.
    let limit = (code != 0).then_some(PATIENCE);
    let together = world.meet(limit).map_err(flow_core::Error::from);
    let codes = together.and_then(|all| match all {
        true => world.of_each(if knows_why { code.into() } else { 0.0 }).map(Some),
        false => Ok(None),
    });
    match codes {
        Ok(Some(codes)) => {
            let speaker = codes.iter().position(|code| *code > 0.0);
            if speaker == Some(rank) {
                say();
            }
            // What there was to do is done.
            let _ = world.finish();
            // A process that knows no reason exits with the code of one that does: a launcher may report that of any.
            if code == 0 { 0 } else { speaker.map_or(code, |speaker| codes[speaker] as u8) }
        }
        Ok(None) | Err(_) => {
            say();
            world.abort(code.max(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn what_computes_is_shared_and_the_rest_is_refused() {
        let launch = Launch { launcher: "mpirun", rank: 0, size: 3, local_rank: None };
        let of = |words: &[&str]| {
            let cli = Cli::try_parse_from([&["maflow"], words].concat()).unwrap();
            share(cli.command.as_ref(), &launch)
        };
        assert_eq!(of(&[]).unwrap(), Share::Together);
        assert_eq!(of(&["train", "rings"]).unwrap(), Share::Together);
        for words in [
            &["evaluate", "run"][..],
            &["physics", "run"],
            &["score", "run", "data.csv"],
            &["sample", "run", "--count", "3", "--out", "a.csv"],
            &["transform", "run", "data.csv", "--out", "a.csv"],
        ] {
            assert_eq!(of(words).unwrap(), Share::Together);
        }
        assert_eq!(of(&["recipes"]).unwrap(), Share::First);
        for words in [
            &["fit", "data.csv"][..],
            &["plot", "run"],
            &["report", "run"],
            &["man", "pages"],
            &["import", "a.safetensors", "--recipe", "mnist", "--out", "run"],
            &["export", "run", "--out", "a.safetensors"],
        ] {
            let error = of(words).unwrap_err();
            assert!(error.to_string().contains(&format!("maflow {} works in one process", words[0])), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
