//! CUDA graphs: work that libtorch and our kernels ask for once, and the device replays as a whole.
//!
//! They are those of libtorch's class `at::cuda::CUDAGraph`, which keeps the memory of captured work apart. Its
//! functions are called by their names in the library, as libtorch's C interface has none for them.

use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;

use flow_core::Outputs;
use libloading::os::unix::Library;
use tch::{Kind, Tensor};

use super::{Capture, Work};
use crate::error::lacks;
use crate::{Error, Tch, context, kernels};

/// `c10::cuda::CUDAStream`: the type and number of a device, and the number of the stream (c10/core/Stream.h).
#[derive(Clone, Copy)]
#[repr(C)]
struct Stream {
    device: [i8; 2],
    id: i64,
}

/// `at::cuda::CUDAGraph`, of which only the size matters: it has less than 256 bytes (ATen/cuda/CUDAGraph.h).
type Object = [u128; 64];

/// The functions of libtorch, under the names that compilers for Linux write (Itanium C++ ABI). The names are those of
/// one version, which [`libtorch`](crate::libtorch) has checked.
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
        // SAFETY: the types are those of the functions of these names in libtorch's headers; a class of two words
        // without a copy constructor of its own, and a pair of two, are passed as two words.
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

/// The first CUDA device.
pub(super) struct Cuda {
    functions: Functions,
    /// The stream that work is captured on.
    stream: Stream,
    /// A number to be overwritten, so that no graph is empty: libtorch complains of those.
    number: Tensor,
}

// SAFETY: the tensor is private, and only captured work writes to it, of which one session at a time does some.
unsafe impl Sync for Cuda {}

impl Cuda {
    /// libtorch is loaded for CUDA.
    ///
    /// # Errors
    /// [`Error::CannotLoad`] when libtorch lacks the functions.
    pub(super) fn new() -> Result<Self, Error> {
        let functions = Functions::find().map_err(|error| lacks(&error, true))?;
        // SAFETY: the first device exists.
        let stream = unsafe { (functions.from_pool)(false, 0) };
        Ok(Self { functions, stream, number: Tensor::zeros([1], (Kind::Float, tch::Device::Cuda(0))) })
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

impl Capture for Cuda {
    type Graph = Graph;

    fn capture(&self, work: &mut Work<'_>) -> Result<(Graph, Outputs<Tch>), flow_core::Error> {
        // What the work reads is made before it is captured.
        tch::Cuda::synchronize(0);
        // Should the work panic, for want of memory perhaps, the object stays: a device that is capturing can neither
        // be waited for nor let go of what it captures, and whoever catches the panic ends the program.
        let mut object: ManuallyDrop<Box<Object>> = ManuallyDrop::new(Box::new([0; 64]));
        let outputs = {
            let _on = On::new(&self.functions, self.stream);
            // SAFETY: the memory is large enough and aligned for the object, which lives in it from now on and never
            // moves.
            unsafe {
                (self.functions.construct)(&mut **object, false);
                (self.functions.begin)(&mut **object, 0, 0, RELAXED);
            }
            let _ = self.number.shallow_clone().zero_();
            let outputs = work();
            // SAFETY: the object is capturing.
            unsafe { (self.functions.end)(&mut **object) };
            outputs
        };
        let graph = Graph { functions: self.functions, object: ManuallyDrop::into_inner(object) };
        let outputs = outputs?;
        // Nothing was done yet: the operations were only written down.
        graph.launch();
        Ok((graph, outputs))
    }

    fn replay(&self, graph: &Graph, _outputs: &Outputs<Tch>, _work: &mut Work<'_>) -> Result<(), flow_core::Error> {
        graph.launch();
        Ok(())
    }

    fn mode(&self) -> u64 {
        context::tf32().into()
    }
}

/// A captured graph.
pub(super) struct Graph {
    functions: Functions,
    object: Box<Object>,
}

// SAFETY: the object belongs to no thread. Sessions use it one at a time.
unsafe impl Send for Graph {}

impl Graph {
    /// Asks the device to do it.
    fn launch(&self) {
        let object = std::ptr::from_ref(&*self.object).cast_mut();
        // SAFETY: the capture has ended; the object's method changes nothing in it.
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
