//! Captured solves: which are kept, and how a session captures or replays one.
//!
//! A solve is captured the second time its key is seen, and replayed afterwards. How a device captures is its own
//! business, see [`Capture`].

mod cuda;
#[cfg(feature = "emulation")]
mod emulated;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};

use flow_core::{CacheKey, Error, GraphCache, Outputs, Session, Space};
use tch::Tensor;

use self::cuda::Cuda;
use crate::tensors::{Array, Column, Tch};

/// A device that captures work and replays it.
trait Capture: Send + Sync {
    /// Captured work.
    type Graph: Send;

    /// Does work once and captures it. Arrays that are made on the way keep their memory as long as the graph lives.
    fn capture(&self, work: &mut Work<'_>) -> Result<(Self::Graph, Outputs<Tch>), Error>;

    /// Does captured work again, with what the arrays that it reads hold now. The outputs of the capture get the new
    /// numbers. `work` is what this session would have done, for a device that only plays at it.
    fn replay(&self, graph: &Self::Graph, outputs: &Outputs<Tch>, work: &mut Work<'_>) -> Result<(), Error>;

    /// A number for the settings of the process that captured operations keep to.
    fn mode(&self) -> u64;
}

/// The work of a stage.
type Work<'a> = dyn FnMut() -> Result<Outputs<Tch>, Error> + 'a;

/// The captured solves of this process on the first CUDA device; libtorch is loaded for CUDA.
///
/// # Errors
/// [`NoInterface`](crate::Error::NoInterface) when the part of the C interface that is for CUDA cannot be used.
pub(crate) fn on_cuda() -> Result<&'static dyn GraphCache<Tch>, crate::error::Error> {
    static CACHE: OnceLock<Result<Cache<Cuda>, crate::error::Error>> = OnceLock::new();
    let cache = CACHE.get_or_init(|| Ok(Cache::new(Cuda::new()?)));
    cache.as_ref().map(|cache| cache as _).map_err(Clone::clone)
}

/// A cache of its own for every call, which lives as long as the process: replays are played by doing the work again.
#[cfg(feature = "emulation")]
pub(crate) fn emulated() -> &'static dyn GraphCache<Tch> {
    Box::leak(Box::new(Cache::new(emulated::Emulated)))
}

/// The captured solves of a device.
struct Cache<C: Capture> {
    device: C,
    entries: Mutex<Entries<C::Graph>>,
    replays: AtomicU64,
}

/// The last solves, in the order of their last use.
struct Entries<G> {
    /// Keys that were seen once. They have a list of their own, so that they push no captured solve out.
    seen: Vec<Key>,
    captured: Vec<Solve<G>>,
}

/// What has to be the same for captured operations to serve.
#[derive(Clone, PartialEq)]
struct Key {
    solve: CacheKey,
    mode: u64,
    /// Addresses of the parameters.
    parameters: Vec<usize>,
}

/// A captured solve.
struct Solve<G> {
    key: Key,
    /// In the order in which they are asked for; they are refilled in their place.
    inputs: Vec<Tensor>,
    stages: Vec<Stage<G>>,
}

struct Stage<G> {
    graph: G,
    outputs: Outputs<Tch>,
}

impl<G> Solve<G> {
    /// The stages of a solve without gradient: the potential is frozen, and points are carried to their end.
    const STAGES_WITHOUT_GRADIENT: usize = 2;

    fn has_gradient(&self) -> bool {
        self.stages.len() > Self::STAGES_WITHOUT_GRADIENT
    }
}

impl<G> Entries<G> {
    /// The most captured solves, and the most keys that were seen once.
    const MOST: usize = 8;
    /// The most captured solves with a gradient, whose memory is many times that of the others.
    const MOST_WITH_GRADIENT: usize = 2;

    /// Takes a captured solve out.
    fn take(&mut self, key: &Key) -> Option<Solve<G>> {
        let place = self.captured.iter().position(|solve| solve.key == *key)?;
        Some(self.captured.remove(place))
    }

    /// Whether a key was seen before. It is then taken out, or else put in.
    fn was_seen(&mut self, key: &Key) -> bool {
        if let Some(place) = self.seen.iter().position(|seen| seen == key) {
            self.seen.remove(place);
            return true;
        }
        if self.seen.len() == Self::MOST {
            self.seen.remove(0);
        }
        self.seen.push(key.clone());
        false
    }

    /// Lets go of the solves that were used least recently, until there may be one more. That one may have a gradient,
    /// which shows only when its memory is in use.
    fn make_room(&mut self) {
        if self.captured.len() == Self::MOST {
            self.captured.remove(0);
        }
        while self.captured.iter().filter(|solve| solve.has_gradient()).count() >= Self::MOST_WITH_GRADIENT {
            let oldest = self.captured.iter().position(Solve::has_gradient).expect("there are some");
            self.captured.remove(oldest);
        }
    }
}

impl<C: Capture> Cache<C> {
    fn new(device: C) -> Self {
        let entries = Mutex::new(Entries { seen: Vec::new(), captured: Vec::new() });
        Self { device, entries, replays: AtomicU64::new(0) }
    }
}

impl<C: Capture> GraphCache<Tch> for Cache<C> {
    fn session<'a>(&'a self, space: &Tch, key: CacheKey, parameters: &[&Array]) -> Option<Box<dyn Session<Tch> + 'a>> {
        let mut entries = match self.entries.try_lock() {
            Ok(entries) => entries,
            // A session that panicked had taken its solve out; all others are whole.
            Err(TryLockError::Poisoned(entries)) => entries.into_inner(),
            // Nobody waits for the solve of another thread.
            Err(TryLockError::WouldBlock) => return None,
        };
        let parameters = parameters.iter().map(|array| array.0.data_ptr().addr()).collect();
        let key = Key { solve: key, mode: self.device.mode(), parameters };
        if let Some(solve) = entries.take(&key) {
            return Some(Box::new(Replaying { cache: self, entries, solve, inputs: 0, stages: 0 }));
        }
        if !entries.was_seen(&key) {
            return None;
        }
        entries.make_room();
        let solve = Solve { key, inputs: Vec::new(), stages: Vec::new() };
        Some(Box::new(Capturing { cache: self, space: *space, entries, solve }))
    }

    fn replays(&self) -> u64 {
        self.replays.load(Ordering::Relaxed)
    }
}

/// Other names for the same arrays.
fn handles(of: &Outputs<Tch>) -> Outputs<Tch> {
    Outputs {
        arrays: of.arrays.iter().map(|array| Array(array.0.shallow_clone())).collect(),
        columns: of.columns.iter().map(|column| Column(column.0.shallow_clone())).collect(),
    }
}

/// A session that captures. Its solve becomes an entry when it is finished.
struct Capturing<'a, C: Capture> {
    cache: &'a Cache<C>,
    space: Tch,
    entries: MutexGuard<'a, Entries<C::Graph>>,
    solve: Solve<C::Graph>,
}

impl<C: Capture> Capturing<'_, C> {
    fn keep(&mut self, input: &Tensor) {
        self.solve.inputs.push(input.shallow_clone());
    }
}

impl<C: Capture> Session<Tch> for Capturing<'_, C> {
    fn input(&mut self, rows: usize, cols: usize, values: &[f64]) -> Array {
        let input = self.space.upload(rows, cols, values);
        self.keep(&input.0);
        input
    }

    fn input_column(&mut self, values: &[f64]) -> Column {
        let input = self.space.upload_column(values);
        self.keep(&input.0);
        input
    }

    fn stage(&mut self, work: &mut Work<'_>) -> Result<Outputs<Tch>, Error> {
        let (graph, outputs) = self.cache.device.capture(work)?;
        let found = handles(&outputs);
        self.solve.stages.push(Stage { graph, outputs });
        Ok(found)
    }

    fn finish(self: Box<Self>) {
        let Self { mut entries, solve, .. } = *self;
        entries.captured.push(solve);
    }
}

/// A session that replays. Its solve was taken out, and becomes an entry again when it is finished.
struct Replaying<'a, C: Capture> {
    cache: &'a Cache<C>,
    entries: MutexGuard<'a, Entries<C::Graph>>,
    solve: Solve<C::Graph>,
    /// Inputs that were asked for so far.
    inputs: usize,
    /// Stages that were done so far.
    stages: usize,
}

impl<C: Capture> Replaying<'_, C> {
    /// The next input, refilled.
    fn refilled(&mut self, size: &[i64], values: &[f64]) -> Tensor {
        let input = self.solve.inputs.get_mut(self.inputs).expect("a solve has as many inputs as when it was captured");
        self.inputs += 1;
        assert_eq!(input.size(), size, "the size of an input when it was captured, and now");
        let values = Tensor::from_slice(values).to_kind(input.kind()).reshape(size);
        input.copy_(&values);
        input.shallow_clone()
    }
}

impl<C: Capture> Session<Tch> for Replaying<'_, C> {
    fn input(&mut self, rows: usize, cols: usize, values: &[f64]) -> Array {
        Array(self.refilled(&[rows as i64, cols as i64], values))
    }

    fn input_column(&mut self, values: &[f64]) -> Column {
        Column(self.refilled(&[values.len() as i64], values))
    }

    fn stage(&mut self, work: &mut Work<'_>) -> Result<Outputs<Tch>, Error> {
        let stage = self.solve.stages.get(self.stages).expect("a solve has as many stages as when it was captured");
        self.stages += 1;
        self.cache.device.replay(&stage.graph, &stage.outputs, work)?;
        Ok(handles(&stage.outputs))
    }

    fn finish(self: Box<Self>) {
        let Self { cache, mut entries, solve, inputs, stages } = *self;
        let captured = (solve.inputs.len(), solve.stages.len());
        assert_eq!((inputs, stages), captured, "inputs and stages of a solve, now and when it was captured");
        // The solve that was used last is the last to go.
        entries.captured.push(solve);
        cache.replays.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, set_up))]
mod tests;
