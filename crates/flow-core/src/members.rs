//! Solves of whole batches whose rows the members of a team share.

use crate::batch::Batch;
use crate::error::Error;
use crate::evaluation::Evaluation;
use crate::flow::Flow;
use crate::space::Space;
use crate::team::{Alone, Team};

impl<S: Space> Flow<'_, S> {
    /// Numbers that come of the rows of a whole batch, on every member of the flow's [team](Flow::team). `of_part`
    /// finds them for a part of the batch: rows one after the other, of each as many numbers as of any other. Each
    /// member has some blocks; a batch of fewer blocks than members is done by all.
    ///
    /// Where a member fails at its part, every one does the whole batch: all fail as one process would, so that
    /// whatever comes next is the same on every member.
    ///
    /// # Errors
    /// Those of `of_part`, and of [`Team::gather`](crate::Team::gather).
    pub fn by_members<const K: usize>(
        &self,
        whole: &Batch,
        how: Evaluation<'_>,
        of_part: impl Fn(&Batch, &Evaluation<'_>) -> Result<[Vec<f64>; K], Error>,
    ) -> Result<[Vec<f64>; K], Error> {
        by_members(self.space, self.team, whole, how, of_part)
    }
}

/// As [`Flow::by_members`], of whatever has a space and a team.
pub(crate) fn by_members<S: Space, const K: usize>(
    space: &S,
    team: &dyn Team,
    whole: &Batch,
    how: Evaluation<'_>,
    of_part: impl Fn(&Batch, &Evaluation<'_>) -> Result<[Vec<f64>; K], Error>,
) -> Result<[Vec<f64>; K], Error> {
    let how = how.shared(team, space, whole.of);
    if how.team.size() == 1 {
        return of_part(whole, &how);
    }
    let found = of_part(&how.my_part(space, whole)?, &how);
    match (how.team.any(found.is_err())?, found) {
        (false, Ok(mut found)) => {
            for numbers in &mut found {
                *numbers = how.team.gather(numbers)?;
            }
            Ok(found)
        }
        _ => of_part(whole, &how.by(&Alone)),
    }
}
