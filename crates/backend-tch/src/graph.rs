//! CUDA graphs: work that libtorch and our kernels ask for once and the device repeats as a whole.
//!
//! libtorch's class `at::cuda::CUDAGraph` keeps the memory of what is recorded apart, so its functions are asked: it has no others.

use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;

use flow_core::{Record, Repeat};
use libloading::os::unix::Library;
use tch::{Kind, Tensor};

use crate::error::lacks;
use crate::{Array, Error, Tch, context, kernels};

/// `c10::cuda::CUDAStream`: the type and number of a device, and the number of the stream (c10/core/Stream.h).
#[derive(Clone, Copy)]
#[repr(C)]
struct Stream {
    device: [i8; 2],
    id: i64,
}

/// `at::cuda::CUDAGraph`, of which only the size matters: it has less than 256 bytes (ATen/cuda/CUDAGraph.h).
type Object = [u128; 64];

/// The functions of libtorch, in the names that compilers for Linux write (Itanium C++ ABI); [`libtorch`](crate::libtorch) has checked the version
/// they are those of.
#[derive(Clone, Copy)]
struct Functions {
    /// `getStreamFromPool(bool high_priority, DeviceIndex)`.
    from_pool: unsafe extern "C-unwind" fn(bool, i8) -> Stream,
    /// `getCurrentCUDAStream(DeviceIndex)`.
    current: unsafe extern "C-unwind" fn(i8) -> Stream,
    /// `setCurrentCUDAStream(CUDAStream)`.
    set_current: unsafe extern "C-unwind" fn(Stream),
    /// `CUDAStream::stream()`.
    handle: unsafe extern "C-unwind" fn(*const Stream) -> *mut c_void,
    /// `CUDAGraph::CUDAGraph(bool keep_graph)`.
    construct: unsafe extern "C-unwind" fn(*mut Object, bool),
    /// `CUDAGraph::capture_begin(std::pair<unsigned long long, unsigned long long> pool, cudaStreamCaptureMode)`.
    begin: unsafe extern "C-unwind" fn(*mut Object, u64, u64, c_int),
    /// `CUDAGraph::capture_end()`.
    end: unsafe extern "C-unwind" fn(*mut Object),
    /// `CUDAGraph::replay()`.
    replay: unsafe extern "C-unwind" fn(*mut Object),
    /// `CUDAGraph::~CUDAGraph()`.
    destroy: unsafe extern "C-unwind" fn(*mut Object),
}

/// `cudaStreamCaptureModeRelaxed`: other threads may do what they like meanwhile.
const RELAXED: c_int = 2;

impl Functions {
    fn find() -> Result<Self, libloading::Error> {
        let loaded = Library::this();
        // SAFETY: the types are those of the functions of these names in libtorch's headers; a class of two words without a copy
        // constructor of its own, and a pair of two, are passed as two words.
        unsafe {
            Ok(Self {
                from_pool: *loaded.get("_ZN3c104cuda17getStreamFromPoolEba")?,
                current: *loaded.get("_ZN3c104cuda20getCurrentCUDAStreamEa")?,
                set_current: *loaded.get("_ZN3c104cuda20setCurrentCUDAStreamENS0_10CUDAStreamE")?,
                handle: *loaded.get("_ZNK3c104cuda10CUDAStream6streamEv")?,
                construct: *loaded.get("_ZN2at4cuda9CUDAGraphC1Eb")?,
                begin: *loaded.get("_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode")?,
                end: *loaded.get("_ZN2at4cuda9CUDAGraph11capture_endEv")?,
                replay: *loaded.get("_ZN2at4cuda9CUDAGraph6replayEv")?,
                destroy: *loaded.get("_ZN2at4cuda9CUDAGraphD1Ev")?,
            })
        }
    }
}

/// The first CUDA device as one that records.
pub(crate) struct Graphs {
    functions: Functions,
    /// The stream that work is recorded on.
    stream: Stream,
    /// A number to be overwritten, so that no graph is empty: libtorch complains of those.
    number: Array,
}

impl Graphs {
    /// libtorch is loaded for CUDA.
    ///
    /// # Errors
    /// [`Error::CannotLoad`] when libtorch lacks the functions.
    pub(crate) fn new() -> Result<Self, Error> {
        let functions = Functions::find().map_err(|error| lacks(&error, true))?;
        // SAFETY: the first device exists.
        let stream = unsafe { (functions.from_pool)(false, 0) };
        Ok(Self { functions, stream, number: Array(Tensor::zeros([1], (Kind::Float, tch::Device::Cuda(0)))) })
    }
}

/// Lets this thread work on another stream until it is dropped.
struct On<'a> {
    functions: &'a Functions,
    before: Stream,
}

impl<'a> On<'a> {
    fn new(functions: &'a Functions, stream: Stream) -> Self {
        // SAFETY: both are streams of the first device.
        let (before, handle) = unsafe {
            let before = (functions.current)(0);
            (functions.set_current)(stream);
            (before, (functions.handle)(&stream))
        };
        kernels::launch_on(handle);
        Self { functions, before }
    }
}

impl Drop for On<'_> {
    fn drop(&mut self) {
        kernels::launch_on(std::ptr::null_mut());
        // SAFETY: the stream was the current one before.
        unsafe { (self.functions.set_current)(self.before) };
    }
}

impl Record<Tch> for Graphs {
    fn record(&self, work: &mut dyn FnMut()) -> Box<dyn Repeat> {
        // What the work reads is made before it is recorded.
        tch::Cuda::synchronize(0);
        // Should the work panic, for want of memory perhaps, the object stays: a device that is recording can neither be waited for nor let
        // go of what it records, and whoever catches the panic ends the program.
        let mut object: ManuallyDrop<Box<Object>> = ManuallyDrop::new(Box::new([0; 64]));
        {
            let _on = On::new(&self.functions, self.stream);
            // SAFETY: the memory is large enough and aligned for the object, which lives in it from now on and never moves.
            unsafe {
                (self.functions.construct)(&mut **object, false);
                (self.functions.begin)(&mut **object, 0, 0, RELAXED);
            }
            let _ = self.number.0.shallow_clone().zero_();
            work();
            // SAFETY: the object is recording.
            unsafe { (self.functions.end)(&mut **object) };
        }
        let graph = Graph { functions: self.functions, object: ManuallyDrop::into_inner(object) };
        graph.repeat();
        Box::new(graph)
    }

    fn refill(&self, array: &mut Array, values: &[f64]) {
        let size = array.0.size();
        array.0.copy_(&Tensor::from_slice(values).to_kind(array.0.kind()).reshape(&size));
    }

    fn address(&self, array: &Array) -> usize {
        array.0.data_ptr().addr()
    }

    fn mode(&self) -> u64 {
        context::tf32().into()
    }
}

/// A recorded graph.
struct Graph {
    functions: Functions,
    object: Box<Object>,
}

// SAFETY: the object belongs to no thread; it is used by one at a time, as it has no method for a shared reference but `replay`, which
// only reads it.
unsafe impl Send for Graph {}

impl Repeat for Graph {
    fn repeat(&self) {
        let object = std::ptr::from_ref(&*self.object).cast_mut();
        // SAFETY: the recording has ended; the object's method changes nothing in it.
        unsafe { (self.functions.replay)(object) };
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // The device may still be at it, and the object gives its memory back.
        tch::Cuda::synchronize(0);
        // SAFETY: the object was constructed, and nothing uses it any more.
        unsafe { (self.functions.destroy)(&mut *self.object) };
    }
}
