//! All processes that were started together, as a team.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use flow_core::{Precision, Team, Traffic};

use crate::cores::{self, Mask};
use crate::error::Error;
use crate::launch::Launch;
use crate::shim::{Number, Places, Shim};

/// The most numbers that one member sends at a time when shares are summed: more go one after the other, so that memory
/// and MPI's counts suffice for every model.
const AT_A_TIME: usize = 1 << 24;

/// All processes that were started together, as a team. MPI is called by the thread that made this alone.
///
/// A value that is dropped while its thread panics ends all processes.
#[derive(Debug)]
pub struct World {
    shim: Shim,
    places: Places,
    name: String,
    thread: ThreadId,
    traffic: Mutex<Traffic>,
    /// Cores of every process of this machine.
    masks: Vec<Mask>,
    /// Processes that are the first of their machine.
    machines: usize,
}

impl World {
    /// Joins the processes that were started with this one. The thread is to be the main one.
    ///
    /// # Errors
    /// [`Error::NotSetUp`], [`Error::CannotLoad`], [`Error::OtherMpi`], [`Error::Failed`].
    pub fn start(launch: &Launch) -> Result<Self, Error> {
        let shim = Shim::load()?;
        let (places, name) = (shim.start()?, shim.name());
        if places.size != launch.size {
            // Alone there: nobody else is waited for.
            let _ = shim.finish();
            let (launcher, started, found) = (launch.launcher, launch.size, places.size);
            return Err(Error::OtherMpi { launcher, started, name, found });
        }
        let (thread, traffic) = (thread::current().id(), Mutex::default());
        let mut world = Self { shim, places, name, thread, traffic, masks: Vec::new(), machines: 1 };
        world.learn_of_machines()?;
        Ok(world)
    }

    /// Which processes share this machine, and which of its cores they may use.
    fn learn_of_machines(&mut self) -> Result<(), Error> {
        let mask = cores::own();
        let firsts = self.of_all(&[self.places.first_here as f64])?;
        let lengths: Vec<usize> =
            self.of_all(&[mask.len() as f64])?.into_iter().map(|length| length as usize).collect();
        let words = self.collect(&mask.iter().map(|word| f64::from(*word)).collect::<Vec<_>>(), &lengths)?;
        let mut rest = &words[..];
        for (first, length) in firsts.iter().zip(lengths) {
            let (words, behind) = rest.split_at(length);
            rest = behind;
            if *first == self.places.first_here as f64 {
                self.masks.push(words.iter().map(|word| *word as u32).collect());
            }
        }
        self.machines = firsts.iter().enumerate().filter(|(rank, first)| *rank as f64 == **first).count();
        *self.traffic.get_mut().unwrap_or_else(PoisonError::into_inner) = Traffic::default();
        Ok(())
    }

    /// The name of the MPI, with its version.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of this process among those of its machine, from 0, and how many these are.
    pub fn local(&self) -> (usize, usize) {
        (self.places.local_rank, self.places.local_size)
    }

    /// How many machines there are.
    pub fn machines(&self) -> usize {
        self.machines
    }

    /// Threads that this process should compute with: its share of the cores that it may run on.
    pub fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(cores::share(&self.masks, self.places.local_rank)).unwrap_or(NonZeroUsize::MIN)
    }

    /// Cores that the processes of this machine may use together, and those that their launcher has, where these are
    /// more: it has bound every process to some.
    pub fn bound_cores(&self) -> Option<(usize, usize)> {
        let (used, there) = (cores::count(&cores::union(&self.masks)), cores::count(&cores::of_launcher()));
        (used < there).then_some((used, there))
    }

    /// Comes to a meeting of all members; `true` once all have come, `false` where they have not within a limit. After
    /// that there is nothing left but [`World::abort`]. Waiting takes next to no work.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn meet(&self, limit: Option<Duration>) -> Result<bool, Error> {
        self.require_thread()?;
        self.shim.meet()?;
        let (start, mut pause) = (Instant::now(), Duration::from_micros(50));
        while !self.shim.met()? {
            if limit.is_some_and(|limit| start.elapsed() >= limit) {
                return Ok(false);
            }
            thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(20));
        }
        Ok(true)
    }

    /// Parts from the others: all members do.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn finish(self) -> Result<(), Error> {
        self.require_thread()?;
        self.shim.finish()
    }

    /// Ends all processes, this one with the exit code.
    pub fn abort(&self, code: u8) -> ! {
        self.shim.abort(code);
        std::process::exit(code.into())
    }

    fn require_thread(&self) -> Result<(), Error> {
        if thread::current().id() == self.thread { Ok(()) } else { Err(Error::OtherThread) }
    }

    /// A call of MPI that brings so many numbers from others.
    fn counted<T: Number>(&self, call: impl FnOnce() -> Result<Vec<T>, Error>, own: usize) -> Result<Vec<T>, Error> {
        self.require_thread()?;
        let start = Instant::now();
        let numbers = call()?;
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.seconds += start.elapsed().as_secs_f64();
        traffic.bytes += ((numbers.len() - own) * size_of::<T>()) as u64;
        Ok(numbers)
    }

    /// The numbers of all members, of which each has so many.
    fn collect<T: Number>(&self, mine: &[T], counts: &[usize]) -> Result<Vec<T>, Error> {
        self.counted(|| self.shim.gather(mine, counts), mine.len())
    }

    /// The same where all have equally many.
    fn of_all(&self, mine: &[f64]) -> Result<Vec<f64>, Error> {
        self.collect(mine, &vec![mine.len(); self.places.size])
    }

    /// The sum of the shares of all members at the places from `first` on. Every member sums some places and tells the
    /// others.
    fn sum_from<T: Number>(
        &self,
        mine: &[Vec<f64>],
        blocks: &[usize],
        first: usize,
        length: usize,
    ) -> Result<Vec<f64>, Error> {
        let Places { rank, size, .. } = self.places;
        let width = |of: usize| (of + 1) * length / size - of * length / size;
        let places = |of: usize| first + of * length / size..first + (of + 1) * length / size;
        let sent: Vec<T> = (0..size)
            .flat_map(|owner| mine.iter().flat_map(move |share| &share[places(owner)]))
            .map(|number| T::of(*number))
            .collect();
        let to: Vec<usize> = (0..size).map(|owner| mine.len() * width(owner)).collect();
        let from: Vec<usize> = blocks.iter().map(|blocks| blocks * width(rank)).collect();
        let shares = self.counted(|| self.shim.exchange(&sent, &to, &from), from[rank])?;
        // Members have blocks in the order of their ranks.
        let mut shares = shares.chunks_exact(width(rank).max(1));
        let mut sums = shares.next().map_or_else(Vec::new, <[T]>::to_vec);
        for share in shares {
            sums.iter_mut().zip(share).for_each(|(sum, term)| *sum = sum.plus(*term));
        }
        let widths: Vec<usize> = (0..size).map(width).collect();
        Ok(self.collect(&sums, &widths)?.into_iter().map(T::wide).collect())
    }
}

impl Team for World {
    fn rank(&self) -> usize {
        self.places.rank
    }

    fn size(&self) -> usize {
        self.places.size
    }

    fn gather(&self, mine: &[f64]) -> Result<Vec<f64>, flow_core::Error> {
        let counts: Vec<usize> = self.of_all(&[mine.len() as f64])?.into_iter().map(|count| count as usize).collect();
        Ok(self.collect(mine, &counts)?)
    }

    fn sum(&self, mine: &[Vec<f64>], precision: Precision) -> Result<Vec<f64>, flow_core::Error> {
        let found = self.of_all(&[mine.len() as f64, mine.first().map_or(0, Vec::len) as f64])?;
        let blocks: Vec<usize> = found.iter().step_by(2).map(|blocks| *blocks as usize).collect();
        let length = found.iter().skip(1).step_by(2).fold(0.0, |most: f64, length| most.max(*length)) as usize;
        let most = blocks.iter().copied().max().unwrap_or(0).max(1);
        let at_a_time = (AT_A_TIME / most).max(1);
        let mut sums = Vec::with_capacity(length);
        for first in (0..length).step_by(at_a_time) {
            let length = at_a_time.min(length - first);
            sums.extend(match precision {
                Precision::F32 => self.sum_from::<f32>(mine, &blocks, first, length)?,
                Precision::F64 => self.sum_from::<f64>(mine, &blocks, first, length)?,
            });
        }
        Ok(sums)
    }

    fn of_each(&self, mine: f64) -> Result<Vec<f64>, flow_core::Error> {
        Ok(self.of_all(&[mine])?)
    }

    fn traffic(&self) -> Traffic {
        *self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No member waits for one that panicked.
impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            self.shim.abort(101);
        }
    }
}
