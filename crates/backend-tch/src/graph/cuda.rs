//! CUDA graphs: work that libtorch and our kernels ask for once, and the device replays as a whole.
//!
//! They are those of libtorch's class `at::cuda::CUDAGraph`, which keeps the memory of captured work apart. The set-up
//! compiles the functions that handle it, `interface/cuda.cpp`.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;

use flow_core::Outputs;
use libloading::os::unix::Library;
use tch::{Kind, Tensor};

use super::{Capture, Work};
use crate::context;
use crate::device::Device;
use crate::error::Error;
use crate::kernels;
use crate::loading::in_interface;
use crate::tensors::Tch;

/// What a function has to say of its failure, until this thread's next call; null after success.
type Answer = *const c_char;
/// A captured graph, or one that is being captured.
type Object = *mut c_void;

/// The functions of `interface/cuda.cpp`.
#[derive(Clone, Copy)]
struct Functions {
    begin: unsafe extern "C" fn(*mut Object, *mut *mut c_void) -> Answer,
    end: unsafe extern "C" fn(Object) -> Answer,
    leave: unsafe extern "C" fn(Object) -> Answer,
    replay: unsafe extern "C" fn(Object) -> Answer,
    free: unsafe extern "C" fn(Object),
}

impl Functions {
    fn find(interface: &Library) -> Result<Self, libloading::Error> {
        // SAFETY: the types are those of the functions of these names in `interface/cuda.cpp`.
        unsafe {
            Ok(Self {
                begin: *interface.get("maflow_capture_begin")?,
                end: *interface.get("maflow_capture_end")?,
                leave: *interface.get("maflow_capture_leave")?,
                replay: *interface.get("maflow_graph_replay")?,
                free: *interface.get("maflow_graph_free")?,
            })
        }
    }
}

/// Panics with what a function says of its failure, as the operations of `tch` do.
///
/// # Safety
/// It is the answer of this thread's last call.
unsafe fn succeeded(answer: Answer) {
    if !answer.is_null() {
        // SAFETY: the caller promises that the zero-ended text is still there.
        panic!("{}", unsafe { CStr::from_ptr(answer) }.to_string_lossy());
    }
}

/// The first CUDA device.
pub(super) struct Cuda {
    functions: Functions,
    /// A number to be overwritten, so that no graph is empty: libtorch complains of those.
    number: Tensor,
}

// SAFETY: the tensor is private, and only captured work writes to it, of which one session at a time does some.
unsafe impl Sync for Cuda {}

impl Cuda {
    /// libtorch is loaded for CUDA.
    ///
    /// # Errors
    /// [`Error::NoInterface`] when the part of the C interface that is for CUDA cannot be used.
    pub(super) fn new() -> Result<Self, Error> {
        let functions = in_interface(Device::Cuda, Functions::find)?;
        Ok(Self { functions, number: Tensor::zeros([1], (Kind::Float, tch::Device::Cuda(0))) })
    }
}

/// A capture by this thread, which works on a stream of its own until this is dropped.
///
/// Should the work panic, for want of memory perhaps, the object stays: a device that is capturing can neither be
/// waited for nor let go of what it captures, and whoever catches the panic ends the program.
struct Capturing {
    functions: Functions,
    object: Object,
}

impl Capturing {
    fn begin(functions: Functions) -> Self {
        let (mut object, mut stream) = (null_mut(), null_mut());
        // SAFETY: the function writes both where it succeeds.
        unsafe { succeeded((functions.begin)(&mut object, &mut stream)) };
        kernels::launch_on(stream);
        Self { functions, object }
    }

    fn end(self) -> Graph {
        // SAFETY: the object is capturing, and is the graph's alone from now on but for what dropping this does.
        unsafe { succeeded((self.functions.end)(self.object)) };
        Graph { functions: self.functions, object: self.object }
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        kernels::launch_on(null_mut());
        // SAFETY: the object remembers the stream of before. That one was this thread's, so there is nothing to fail.
        unsafe { (self.functions.leave)(self.object) };
    }
}

impl Capture for Cuda {
    type Graph = Graph;

    fn capture(&self, work: &mut Work<'_>) -> Result<(Graph, Outputs<Tch>), flow_core::Error> {
        // What the work reads is made before it is captured.
        tch::Cuda::synchronize(0);
        let capturing = Capturing::begin(self.functions);
        let _ = self.number.shallow_clone().zero_();
        let outputs = work();
        let graph = capturing.end();
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
    object: Object,
}

// SAFETY: the object belongs to no thread. Sessions use it one at a time.
unsafe impl Send for Graph {}

impl Graph {
    /// Asks the device to do it.
    fn launch(&self) {
        // SAFETY: the capture has ended.
        unsafe { succeeded((self.functions.replay)(self.object)) };
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // The device may still be at it, and the object gives its memory back.
        tch::Cuda::synchronize(0);
        // SAFETY: nothing uses the object any more.
        unsafe { (self.functions.free)(self.object) };
    }
}
