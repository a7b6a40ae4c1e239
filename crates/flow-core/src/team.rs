//! Several processes that train one model: which member has which blocks of a batch, and how their results are put
//! together.

use std::fmt;
use std::ops::Range;

use crate::error::Error;
use crate::space::Precision;

/// Processes that work on the same batches. Every member calls the same methods in the same order.
///
/// A batch is cut into blocks of rows, and each member has some blocks that follow one another. Sums are made in the
/// order of the blocks, so that their last bit depends on the blocks alone and not on how many members there are.
///
/// An implementation brings [`Team::rank`], [`Team::size`] and [`Team::gather`]; one that knows a quicker way overrides
/// the others. Two threads that exchange numbers through shared memory:
///
/// ```
/// use std::sync::{Barrier, Mutex};
/// use flow_core::{Error, Precision, Team};
///
/// #[derive(Debug)]
/// struct Desk { places: Mutex<[Vec<f64>; 2]>, meeting: Barrier }
/// #[derive(Debug)]
/// struct Member<'a> { rank: usize, desk: &'a Desk }
///
/// impl Team for Member<'_> {
///     fn rank(&self) -> usize { self.rank }
///     fn size(&self) -> usize { 2 }
///     fn gather(&self, mine: &[f64]) -> Result<Vec<f64>, Error> {
///         self.desk.places.lock().unwrap()[self.rank] = mine.to_vec();
///         self.desk.meeting.wait();
///         let all = self.desk.places.lock().unwrap().concat();
///         // No member writes again before all have read.
///         self.desk.meeting.wait();
///         Ok(all)
///     }
/// }
///
/// let desk = Desk { places: Mutex::default(), meeting: Barrier::new(2) };
/// // Of three blocks the first member has one and the second two.
/// let work = |rank, mine: Vec<Vec<f64>>| {
///     let member = Member { rank, desk: &desk };
///     assert_eq!(member.share(3).len(), mine.len());
///     member.sum(&mine, Precision::F64).unwrap()
/// };
/// let sums = std::thread::scope(|scope| {
///     let second = scope.spawn(|| work(1, vec![vec![0.25], vec![4.0]]));
///     [work(0, vec![vec![1.0]]), second.join().unwrap()]
/// });
/// assert_eq!(sums, [[5.25], [5.25]]);
/// ```
pub trait Team: fmt::Debug + Send + Sync {
    /// The number of this member, from 0.
    fn rank(&self) -> usize;

    /// How many members there are, at least 1.
    fn size(&self) -> usize;

    /// The numbers of all members one after the other, in the order of their ranks, on every member. Members may have
    /// different amounts.
    ///
    /// # Errors
    /// Whatever keeps the members from hearing of each other, as [`Error::Callback`].
    fn gather(&self, mine: &[f64]) -> Result<Vec<f64>, Error>;

    /// Which of `blocks` blocks are this member's.
    fn share(&self, blocks: usize) -> Range<usize> {
        let (rank, size) = (self.rank(), self.size());
        rank * blocks / size..(rank + 1) * blocks / size
    }

    /// The sum of the shares of all blocks, in the order of the blocks, each addition rounded to a precision; the same
    /// on every member. `mine` are those of this member's blocks, all equally long, of numbers in that precision. A
    /// member without blocks gives none.
    ///
    /// # Errors
    /// Those of [`Team::gather`].
    fn sum(&self, mine: &[Vec<f64>], precision: Precision) -> Result<Vec<f64>, Error> {
        let length = self.greatest(mine.first().map_or(0.0, |share| share.len() as f64))? as usize;
        let all = self.gather(&mine.concat())?;
        let mut shares = all.chunks_exact(length.max(1));
        let mut sum = shares.next().map_or_else(Vec::new, <[f64]>::to_vec);
        for share in shares {
            sum.iter_mut().zip(share).for_each(|(sum, term)| *sum = precision.rounded(*sum + term));
        }
        Ok(sum)
    }

    /// One number of every member, in the order of their ranks.
    ///
    /// # Errors
    /// Those of [`Team::gather`].
    fn of_each(&self, mine: f64) -> Result<Vec<f64>, Error> {
        self.gather(&[mine])
    }

    /// The greatest of the members' numbers; NaN where any is.
    ///
    /// # Errors
    /// Those of [`Team::gather`].
    fn greatest(&self, mine: f64) -> Result<f64, Error> {
        let greater = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) };
        Ok(self.of_each(mine)?.into_iter().fold(f64::NEG_INFINITY, greater))
    }

    /// Whether any member says so: a decision that all take alike.
    ///
    /// # Errors
    /// Those of [`Team::gather`].
    fn any(&self, mine: bool) -> Result<bool, Error> {
        Ok(self.greatest(f64::from(u8::from(mine)))? > 0.0)
    }

    /// The numbers of the first member, on every member.
    ///
    /// # Errors
    /// Those of [`Team::gather`].
    fn broadcast(&self, mine: Vec<f64>) -> Result<Vec<f64>, Error> {
        self.gather(if self.rank() == 0 { &mine } else { &[] })
    }

    /// What this member has exchanged with the others so far.
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

/// What a member has exchanged with the others.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Traffic {
    /// Seconds that it took, those of waiting for others included.
    pub seconds: f64,
    /// Bytes of numbers that came from others.
    pub bytes: u64,
}

impl Traffic {
    /// What was exchanged since an earlier value.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { seconds: self.seconds - before.seconds, bytes: self.bytes - before.bytes }
    }
}

/// What a member found, if all members found something: no member waits for one that has failed.
///
/// ```
/// use flow_core::{Alone, Error, agreed};
/// assert_eq!(agreed(&Alone, Ok(1))?, 1);
/// assert!(agreed::<()>(&Alone, Err(Error::Callback("the disk is full".into()))).is_err());
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// The member's own; [`Error::OtherMember`] where only others failed; those of [`Team::gather`].
pub fn agreed<T>(team: &dyn Team, found: Result<T, Error>) -> Result<T, Error> {
    match (team.any(found.is_err())?, found) {
        (true, Ok(_)) => Err(Error::OtherMember),
        (_, found) => found,
    }
}

/// A team of one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Team for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, mine: &[f64]) -> Result<Vec<f64>, Error> {
        Ok(mine.to_vec())
    }
}
