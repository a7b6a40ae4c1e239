//! What the members of a team do and decide together.

use std::path::Path;

use flow_core::{Batch, Bijector, Engine, Evaluation, Flow, Objective, Outcome, Space, Team, cut};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::files::hex;
use crate::monitor::Monitor;
use crate::phases::Phase;
use crate::recipe::Recipe;
use crate::trained::{self, Trained};

/// What a member found, if all members found something.
///
/// # Errors
/// The member's own, or that another failed.
pub fn agreed<T>(team: &dyn Team, found: Result<T, Error>) -> Result<T, Error> {
    Ok(flow_core::agreed(team, found.map_err(flow_core::Error::from))?)
}

/// Work for the first member alone, while the others wait; `None` on those.
///
/// # Errors
/// As [`agreed`].
pub fn by_first<T>(team: &dyn Team, work: impl FnOnce() -> Result<T, Error>) -> Result<Option<T>, Error> {
    agreed(team, (team.rank() == 0).then(work).transpose())
}

/// A number that the first member finds, on every member.
///
/// # Errors
/// As [`agreed`].
pub(crate) fn of_first(
    team: &dyn Team,
    find: impl FnOnce() -> Result<Option<u64>, Error>,
) -> Result<Option<u64>, Error> {
    let found = by_first(team, find)?.flatten();
    let told = team.broadcast(found.into_iter().map(|number| number as f64).collect())?;
    Ok(told.first().map(|number| *number as u64))
}

/// Every member trains what the first does, whatever files its machine has.
///
/// # Errors
/// [`Error::Argument`] on a member with another recipe.
pub(crate) fn require_same_recipe(team: &dyn Team, recipe: &Recipe) -> Result<(), Error> {
    if team.size() == 1 {
        return Ok(());
    }
    // What made the run is no part of it: machines may differ in their cores.
    let text = toml::to_string(&Recipe { run: None, ..recipe.clone() });
    let text = agreed(team, text.map_err(|error| Error::Failed(format!("cannot write the recipe as TOML: {error}"))))?;
    require_same(team, "recipe", || text)
}

/// SHA-256 of numbers.
pub(crate) fn digest<'a>(numbers: impl Iterator<Item = &'a f64>) -> String {
    let mut digest = Sha256::new();
    numbers.for_each(|number| digest.update(number.to_le_bytes()));
    hex(&digest.finalize())
}

/// Every member has what the first has, whatever the files of its machine say; a member alone is not asked for `mine`.
///
/// # Errors
/// [`Error::Argument`] on a member with something else.
pub(crate) fn require_same(team: &dyn Team, what: &str, mine: impl FnOnce() -> String) -> Result<(), Error> {
    if team.size() == 1 {
        return Ok(());
    }
    let mine: Vec<f64> = mine().bytes().map(f64::from).collect();
    let same = team.broadcast(mine.clone())? == mine;
    let other = || Error::Argument(format!("this process has another {what} than the first; give all the same files"));
    agreed(team, if same { Ok(()) } else { Err(other()) })
}

/// What the run in `path` has trained, the same on every member.
///
/// # Errors
/// As [`trained::load_given`]; [`Error::Argument`] on a member with another recipe or checkpoint than the first.
pub(crate) fn load<E: Engine>(
    team: &dyn Team,
    space: &E,
    recipe: &Recipe,
    path: &Path,
    monitor: &dyn Monitor,
) -> Result<Trained<E>, Error> {
    require_same_recipe(team, recipe)?;
    let trained = agreed(team, trained::load_given(space, recipe, path, monitor))?;
    require_same(team, "checkpoint", || trained.checksum().unwrap_or_default())?;
    Ok(trained)
}

/// Sees to it that every batch has a block for every member. Where the backend cuts a batch by its threads, the first
/// member's cut becomes that of all.
///
/// # Errors
/// [`Error::FewBlocks`].
pub(crate) fn require_blocks<S: Space>(
    team: &dyn Team,
    space: &S,
    phases: &mut [Phase],
    monitor: &dyn Monitor,
) -> Result<(), Error> {
    for (phase, key) in phases.iter_mut().zip(["train.batch", "fine_tune.batch"]) {
        let settings = &mut phase.settings;
        let (batch, members) = (settings.batch, team.size());
        if members > 1 && space.cuts_by_threads() && settings.blocks.is_none() {
            let own = || Ok(Some(space.blocks(batch).max(members) as u64));
            settings.blocks = of_first(team, own)?.map(|blocks| blocks as usize);
            let blocks = settings.blocks.unwrap_or(members);
            monitor.note(&format!(
                "{key} = {batch} is cut into {blocks} blocks for {members} processes: other cuts differ by round-off, \
                 and train.blocks = {blocks} makes this one that of every number of processes"
            ));
        }
        let blocks = cut(batch, settings.blocks.unwrap_or_else(|| space.blocks(batch))).len();
        if blocks < members {
            return Err(Error::FewBlocks { key, batch, blocks, members });
        }
    }
    Ok(())
}

/// The objective of figures whose rows the members share: each has the whole batch, and learns the losses of all of it.
pub(crate) struct Shared<'a, S> {
    pub(crate) objective: Box<dyn Objective<S>>,
    pub(crate) team: &'a dyn Team,
}

impl<S: Space> Objective<S> for Shared<'_, S> {
    fn name(&self) -> &'static str {
        self.objective.name()
    }

    fn evaluate(
        &self,
        flow: &Flow<'_, S>,
        batch: &Batch,
        how: &Evaluation<'_>,
    ) -> Result<Outcome<S>, flow_core::Error> {
        let how = how.shared(self.team, flow.space, batch.of);
        self.objective.evaluate(flow, &how.my_part(flow.space, batch)?, &how)
    }

    fn evaluate_map(
        &self,
        map: &dyn Bijector<S>,
        batch: &Batch,
        how: &Evaluation<'_>,
    ) -> Result<Outcome<S>, flow_core::Error> {
        let how = how.shared(self.team, map.space(), batch.of);
        self.objective.evaluate_map(map, &how.my_part(map.space(), batch)?, &how)
    }
}

#[cfg(test)]
mod tests {
    use backend_ndarray::Cpu;
    use flow_core::Estimator;

    use super::*;
    use crate::{phases, recipes};

    /// One member of several, who is asked for no other.
    #[derive(Debug)]
    struct One {
        size: usize,
    }

    impl Team for One {
        fn rank(&self) -> usize {
            0
        }

        fn size(&self) -> usize {
            self.size
        }

        fn gather(&self, mine: &[f64]) -> Result<Vec<f64>, flow_core::Error> {
            Ok(mine.to_vec())
        }
    }

    #[test]
    fn more_members_than_blocks_are_one_sentence() {
        let recipe = recipes::load("ising-64", &[]).unwrap();
        let settings = flow_core::TrainSettings { batch: 32, ..phases::with_steps(&recipe, 10) };
        let phase = Phase { settings, objective: recipe.train.objective, gradient: Estimator::Total };
        let need = |size, blocks| {
            let mut phases =
                [Phase { settings: flow_core::TrainSettings { blocks, ..phase.settings.clone() }, ..phase }];
            require_blocks(&One { size }, &Cpu::<f32>::new(1), &mut phases, &())
        };
        assert!(need(4, None).is_ok() && need(8, Some(8)).is_ok());
        let error = need(8, None).unwrap_err().to_string();
        assert!(error.contains("32 rows in 4 blocks") && error.contains("8 processes"), "{error}");
        assert!(error.contains("train.blocks = 8"), "{error}");
    }
}
