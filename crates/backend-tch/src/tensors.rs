//! libtorch as a space: the handle, its arrays and its columns. Its operations are in `space`.

use flow_core::{GraphCache, Precision};
use tch::kind::Element;
use tch::{Kind, Tensor};

use crate::device::Device;
use crate::kernels::Kernels;
use crate::workers::Workers;

/// A `rows × cols` tensor. Only residuals of an evaluation take part in automatic differentiation.
///
/// Its numbers are in working precision, but for states and cotangents of feature space: on devices whose products are
/// better in 64 bits they have these, and sums take both kinds together.
#[derive(Debug)]
pub struct Array(pub(crate) Tensor);

/// One 64-bit figure per row, on the device.
#[derive(Debug)]
pub struct Column(pub(crate) Tensor);

// SAFETY: constant operations of libtorch on one tensor are safe from several threads. The tensors are private to this
// crate, and nothing that writes to one (in place, as an out-parameter, by a kernel, or to its gradient) is called here
// but by who has the array alone. The inputs and outputs of a session share their numbers with the captured solve,
// which writes to them in the next session of its key: by then, the trait of sessions says, they are no longer read.
unsafe impl Sync for Array {}
// SAFETY: as for `Array`.
unsafe impl Sync for Column {}
impl Clone for Array {
    fn clone(&self) -> Self {
        Self(self.0.detach_copy())
    }
}

impl Clone for Column {
    fn clone(&self) -> Self {
        Self(self.0.detach_copy())
    }
}

/// What a user may choose about libtorch. TF32 is allowed or not in the whole process, as the last [`Tch::new`] has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Threads on the CPU; 0 leaves libtorch its own choice.
    pub threads: usize,
    /// Lets CUDA devices round the factors of 32-bit matrix products and convolutions to the 10-bit mantissas of TF32:
    /// several times faster, and wrong in the fourth digit.
    pub allow_tf32: bool,
}

/// libtorch as a [`Space`](flow_core::Space).
///
/// On a CUDA device a batch is one block. On the CPU there is one for each thread, of eight rows at least, so that
/// results depend on the number of threads by their rounding. A thread works on its rows from the start of a solve to
/// its end: threads that share every operation lose more time waiting for each other than short matrices take.
///
/// Nothing waits for a CUDA device but what the trait says does: downloads, [`Space::dot`](flow_core::Space::dot) and
/// [`Space::scaled_error`](flow_core::Space::scaled_error).
/// Sums and permutations are one launch each there, of kernels of this crate. Most solves are captured as CUDA graphs
/// the second time they come, and replayed afterwards: the last eight of them, of which at most two have a gradient.
///
/// ```
/// use backend_tch::{Device, Options, Tch};
/// use flow_core::{Precision, Space};
/// # if backend_tch::load(Device::Cpu).is_err() { return Ok(()) }
/// let tch = Tch::new(Device::Cpu, Precision::F32, Options::default())?;
/// let a = tch.upload(1, 2, &[3.0, 4.0]);
/// assert_eq!(tch.dot(&a, &a), 25.0);
/// # Ok::<(), backend_tch::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Tch {
    pub(crate) device: Device,
    pub(crate) precision: Precision,
    /// Where blocks of rows are worked on at once.
    pub(crate) workers: Option<Workers>,
    /// On a CUDA device.
    pub(crate) kernels: Option<&'static Kernels>,
    pub(crate) graphs: Option<&'static dyn GraphCache<Self>>,
    /// What long chains of products of short matrices are best in.
    pub(crate) product_kind: Kind,
}

impl std::fmt::Debug for Tch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { device, precision, .. } = self;
        f.debug_struct("Tch").field("device", device).field("precision", precision).finish_non_exhaustive()
    }
}

impl Tch {
    /// The working precision, in libtorch's words.
    pub(crate) fn kind(&self) -> Kind {
        kind(self.precision)
    }

    /// The kind of numbers in which a solve best makes its products. On some CUDA devices it is 64 bits in 32-bit
    /// working precision too.
    pub(crate) fn product_kind(&self) -> Kind {
        self.product_kind
    }
}

pub(crate) fn kind(precision: Precision) -> Kind {
    match precision {
        Precision::F32 => Kind::Float,
        Precision::F64 => Kind::Double,
    }
}

/// A tensor of adjacent numbers on the CPU, as its numbers.
pub(crate) fn slice<T: Element>(of: &Tensor) -> &[T] {
    // SAFETY: so many numbers of this kind lie there, and nothing writes to a tensor that is borrowed but through
    // `slice_mut`.
    unsafe { std::slice::from_raw_parts(first::<T>(of), of.numel()) }
}

/// The same, to write to; views of the same numbers are not in use meanwhile.
pub(crate) fn slice_mut<T: Element>(of: &mut Tensor) -> &mut [T] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(first(of), of.numel()) }
}

/// Where the numbers of such a tensor lie; without any, somewhere that a slice may begin.
fn first<T: Element>(of: &Tensor) -> *mut T {
    assert!(of.is_contiguous() && of.device() == tch::Device::Cpu && of.kind() == T::KIND, "{of:?}");
    let first = of.data_ptr().cast();
    if of.numel() == 0 { std::ptr::dangling_mut() } else { first }
}
