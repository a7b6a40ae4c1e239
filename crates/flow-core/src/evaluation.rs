//! How an objective is evaluated and what comes of it: the key, the team that shares the work, and its blocks.

use std::ops::Range;

use crate::batch::Batch;
use crate::error::Error;
use crate::normalisation::Moments;
use crate::rng::RngKey;
use crate::space::{Space, cut};
use crate::team::{Alone, Team};

/// How an objective is evaluated.
#[derive(Clone, Copy)]
pub struct Evaluation<'a> {
    /// The key of whatever the potential draws for this solve.
    pub key: RngKey,
    /// Whether the gradient is wanted.
    pub gradient: bool,
    /// The processes that share the work.
    pub team: &'a dyn Team,
    /// Blocks that the whole batch is cut into; `None` leaves it to the space. On a space that computes the same at any
    /// number of threads, results depend on this number alone.
    pub blocks: Option<usize>,
    /// Whether the model is to integrate one level finer than it does, to measure the integration error. Models do so;
    /// objectives ignore it.
    pub refined: bool,
}

impl Evaluation<'static> {
    /// The losses alone, by this process alone.
    pub fn new(key: RngKey) -> Self {
        Self { key, gradient: false, team: &Alone, blocks: None, refined: false }
    }
}

impl<'a> Evaluation<'a> {
    /// The same with the gradient.
    #[must_use]
    pub fn with_gradient(self) -> Self {
        Self { gradient: true, ..self }
    }

    /// The same with the work shared.
    #[must_use]
    pub fn by<'b>(self, team: &'b dyn Team) -> Evaluation<'b>
    where
        'a: 'b,
    {
        Evaluation { team, ..self }
    }

    /// The same with the work on a batch of `of` rows shared by the team. A batch of fewer blocks than members is not
    /// shared: every member does all of it.
    #[must_use]
    pub fn shared<'b, S: Space>(self, team: &'b dyn Team, space: &S, of: usize) -> Evaluation<'b>
    where
        'a: 'b,
    {
        // Members may have different numbers of threads.
        let by_threads = team.size() > 1 && space.cuts_by_threads();
        let how = Self { blocks: self.blocks.or(by_threads.then(|| team.size())), ..self };
        if how.all_blocks(space, of).len() < team.size() { how.by(&Alone) } else { how.by(team) }
    }

    /// The blocks of a batch of `of` rows that are this member's.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are fewer blocks than members.
    pub fn my_blocks<S: Space>(&self, space: &S, of: usize) -> Result<Vec<Range<usize>>, Error> {
        let blocks = self.all_blocks(space, of);
        if blocks.len() < self.team.size() {
            let expected = format!(
                "at least the {} members of the team; make the batch larger or the team smaller",
                self.team.size()
            );
            return Err(Error::setting("blocks", blocks.len(), expected));
        }
        Ok(blocks[self.team.share(blocks.len())].to_vec())
    }

    /// The rows of a whole batch that are this member's, as part of it.
    ///
    /// # Errors
    /// As [`Evaluation::my_blocks`].
    pub fn my_part<S: Space>(&self, space: &S, whole: &Batch) -> Result<Batch, Error> {
        let blocks = self.my_blocks(space, whole.of)?;
        Ok(whole.member(blocks[0].start..blocks[blocks.len() - 1].end))
    }

    /// The blocks of a batch of `of` rows, those of all members.
    fn all_blocks<S: Space>(&self, space: &S, of: usize) -> Vec<Range<usize>> {
        cut(of, self.blocks.unwrap_or_else(|| space.blocks(of)))
    }

    /// The most rows of a block of the whole batch, whoever has it: what a field prepares for is the same on every
    /// member.
    pub(crate) fn block_rows<S: Space>(&self, space: &S, of: usize) -> usize {
        self.all_blocks(space, of).iter().map(Range::len).max().unwrap_or(0)
    }

    /// The blocks of a batch that are here: all of this member's.
    ///
    /// # Errors
    /// As [`Evaluation::my_blocks`]; [`Error::Shape`] when other rows are here than this member's.
    pub(crate) fn blocks_of<S: Space>(&self, space: &S, batch: &Batch) -> Result<Vec<Range<usize>>, Error> {
        let blocks = self.my_blocks(space, batch.of)?;
        let mine = blocks[0].start..blocks[blocks.len() - 1].end;
        if mine == batch.rows {
            return Ok(blocks);
        }
        let [found, expected] = [&batch.rows, &mine].map(|rows| vec![rows.start, rows.end]);
        Err(Error::Shape { what: "the part of the batch that this member has".into(), found, expected })
    }
}

/// What an objective returns.
#[derive(Debug)]
pub struct Outcome<S: Space> {
    /// Loss of every row of the whole batch, in nats.
    pub losses: Vec<f64>,
    /// Gradient of the mean loss, one array per parameter, where it was asked for.
    pub gradient: Option<Vec<S::Array>>,
    /// What the whole batch was like at every [layer](crate::Field::layers), where it went backward with a gradient.
    pub moments: Vec<Moments>,
}
