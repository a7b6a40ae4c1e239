//! Configurations of many independent Markov chains, drawn on all threads of one process, or in parts by several.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Number of independent chains that fill a pool of configurations. It is fixed, so that a seed gives the same pool at
/// any number of threads and processes.
pub const CHAINS: usize = 32;

/// A progress callback: it is called from any thread with the number of things done, and returns `Break` to stop the
/// work.
pub type Heard<'a> = dyn Fn(usize) -> ControlFlow<()> + Sync + 'a;

/// A part of a pool of configurations, or of their partners: several processes make one each and exchange them.
///
/// ```
/// use datasets::chains::{CHAINS, Part};
/// use datasets::lattice::{Boundary, IsingSamples, Lattice};
///
/// let lattice = Lattice::new(4, 4, Boundary::Periodic)?;
/// let go_on = |_| std::ops::ControlFlow::Continue(());
/// let [first, second] = [0..7, 7..CHAINS].map(|chains| IsingSamples::part(&lattice, 2.0, 100, 1, chains, &go_on));
/// let (first, second) = (first?, second?);
/// let all = [first.numbers(), second.numbers()].concat();
/// assert_eq!(first.completed(&all).energies(), IsingSamples::generate(&lattice, 2.0, 100, 1)?.energies());
/// # Ok::<(), datasets::lattice::LatticeError>(())
/// ```
pub trait Part: Sized {
    /// What there is, as numbers that lose nothing. Those of all parts follow one another in the order of the parts.
    fn numbers(&self) -> Vec<f64>;

    /// The whole pool, from the numbers of all its parts.
    ///
    /// # Panics
    /// If these are not the numbers of all parts.
    fn completed(self, numbers: &[f64]) -> Self;
}

/// One number of a configuration.
pub(crate) trait Entry: Copy + Default + Send {
    /// How many entries fit into a number of 64 bits.
    const PACKED: usize;

    fn pack(entries: &[Self]) -> f64;

    fn unpack(number: f64, entries: &mut [Self]);
}

/// Spins, 1 or −1: as many as a number has bits for whole numbers, less a few.
impl Entry for i8 {
    const PACKED: usize = 48;

    fn pack(entries: &[Self]) -> f64 {
        entries.iter().rev().fold(0_u64, |word, spin| word << 1 | u64::from(*spin > 0)) as f64
    }

    fn unpack(number: f64, entries: &mut [Self]) {
        let word = number as u64;
        entries.iter_mut().enumerate().for_each(|(bit, spin)| *spin = if word >> bit & 1 == 1 { 1 } else { -1 });
    }
}

impl Entry for f32 {
    const PACKED: usize = 1;

    fn pack(entries: &[Self]) -> f64 {
        f64::from(entries[0])
    }

    fn unpack(number: f64, entries: &mut [Self]) {
        entries[0] = number as f32;
    }
}

impl Entry for f64 {
    const PACKED: usize = 1;

    fn pack(entries: &[Self]) -> f64 {
        entries[0]
    }

    fn unpack(number: f64, entries: &mut [Self]) {
        entries[0] = number;
    }
}

/// Configurations, chain after chain, with K figures each. Those of chains that are not drawn are zero.
#[derive(Debug, Clone)]
pub(crate) struct Pool<T, const K: usize> {
    /// Entries of a configuration.
    width: usize,
    /// Configurations of each chain; the last one may have fewer.
    per_chain: usize,
    /// The configurations that are here.
    drawn: Range<usize>,
    /// Row-major, a configuration in each row.
    rows: Vec<T>,
    figures: Vec<[f64; K]>,
}

/// Why a pool is not filled.
pub(crate) enum Unfilled<E> {
    /// No configurations were asked for, or more than memory holds.
    Count,
    /// The progress callback stopped the work after this many.
    Stopped(usize),
    /// A chain did not start.
    Chain(E),
}

impl<T: Entry, const K: usize> Pool<T, K> {
    /// Draws some of the chains of a pool of `count` configurations of `width` entries: `start` makes the chain of a
    /// number, `next` writes its next configuration and returns its figures, and `progress` hears how many there are.
    pub fn draw<C, E: Send>(
        [count, width]: [usize; 2],
        chains: Range<usize>,
        start: impl Fn(u64) -> Result<C, E> + Sync,
        next: impl Fn(&mut C, &mut [T]) -> [f64; K] + Sync,
        progress: &Heard<'_>,
    ) -> Result<Self, Unfilled<E>> {
        let mut rows = Vec::new();
        let held = count.checked_mul(width).is_some_and(|size| rows.try_reserve_exact(size).is_ok());
        if count == 0 || !held {
            return Err(Unfilled::Count);
        }
        rows.resize(count * width, T::default());
        let mut figures = vec![[0.0; K]; count];
        let (per_chain, done) = (count.div_ceil(CHAINS), AtomicUsize::new(0));
        let parts = rows.par_chunks_mut(per_chain * width).zip(figures.par_chunks_mut(per_chain)).enumerate();
        let chosen = parts.skip(chains.start).take(chains.len());
        chosen.try_for_each(|(number, (rows, figures))| {
            let mut chain = start(number as u64).map_err(Unfilled::Chain)?;
            for (row, figures) in rows.chunks_exact_mut(width).zip(figures) {
                *figures = next(&mut chain, row);
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if progress(done).is_break() {
                    return Err(Unfilled::Stopped(done));
                }
            }
            Ok(())
        })?;
        let drawn = (chains.start * per_chain).min(count)..(chains.end * per_chain).min(count);
        Ok(Self { width, per_chain, drawn, rows, figures })
    }

    /// Rows that are there already, of `width` entries each.
    pub fn given(width: usize, rows: Vec<T>) -> Self {
        let count = rows.len() / width;
        Self { width, per_chain: count.div_ceil(CHAINS), drawn: 0..count, rows, figures: vec![[0.0; K]; count] }
    }

    /// Number of configurations of the whole pool.
    pub fn len(&self) -> usize {
        self.figures.len()
    }

    /// Entries of a configuration.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Configuration `index`.
    pub fn row(&self, index: usize) -> &[T] {
        &self.rows[index * self.width..(index + 1) * self.width]
    }

    /// All of them, one after the other.
    pub fn rows(&self) -> &[T] {
        &self.rows
    }

    /// Figure `k` of each configuration.
    pub fn figure(&self, k: usize) -> Vec<f64> {
        self.figures.iter().map(|figures| figures[k]).collect()
    }

    /// A number for each configuration, chain by chain.
    pub fn by_chain<'a>(&self, numbers: &'a [f64]) -> Vec<&'a [f64]> {
        numbers.chunks(self.per_chain).collect()
    }

    /// See [`Part::numbers`].
    pub fn numbers(&self) -> Vec<f64> {
        let packed = |k: usize| self.row(k).chunks(T::PACKED).map(T::pack);
        self.drawn.clone().flat_map(|k| packed(k).chain(self.figures[k])).collect()
    }

    /// See [`Part::completed`].
    pub fn completed(mut self, numbers: &[f64]) -> Self {
        let words = self.width.div_ceil(T::PACKED);
        assert_eq!(numbers.len(), self.len() * (words + K), "numbers of a pool of {} configurations", self.len());
        let rows = self.rows.chunks_exact_mut(self.width).zip(&mut self.figures);
        for ((row, figures), numbers) in rows.zip(numbers.chunks_exact(words + K)) {
            let (packed, rest) = numbers.split_at(words);
            packed.iter().zip(row.chunks_mut(T::PACKED)).for_each(|(word, entries)| T::unpack(*word, entries));
            figures.copy_from_slice(rest);
        }
        Self { drawn: 0..self.len(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool of which three processes draw unequal parts, and the same drawn by one.
    fn parted<T: Entry + PartialEq + std::fmt::Debug>(count: usize, width: usize, entry: impl Fn(u64) -> T + Sync) {
        let draw = |chains| {
            let start = |number| Ok::<_, ()>(1000 * number);
            let next = |chain: &mut u64, row: &mut [T]| {
                row.fill_with(|| {
                    *chain += 1;
                    entry(*chain)
                });
                [*chain as f64, -0.5]
            };
            Pool::<T, 2>::draw([count, width], chains, start, next, &|_| ControlFlow::Continue(())).ok().unwrap()
        };
        let parts = [0..5, 5..6, 6..CHAINS].map(draw);
        let all = parts.iter().flat_map(Pool::numbers).collect::<Vec<_>>();
        let whole = draw(0..CHAINS);
        for part in parts {
            let part = part.completed(&all);
            assert_eq!((&part.rows, &part.figures, part.drawn), (&whole.rows, &whole.figures, whole.drawn.clone()));
        }
    }

    #[test]
    fn parts_make_the_pool_of_one_process() {
        // Not a multiple of the number of chains, fewer than chains, and rows that end within a word.
        for (count, width) in [(101, 49), (7, 48), (320, 5), (1, 100)] {
            parted::<i8>(count, width, |n| if n % 3 == 0 || n % 7 == 1 { 1 } else { -1 });
            parted::<f32>(count, width, |n| (n as f32).sin());
            parted::<f64>(count, width, |n| (n as f64).sin());
        }
    }
}
