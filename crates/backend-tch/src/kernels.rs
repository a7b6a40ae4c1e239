//! Kernels of our own for CUDA devices: what libtorch would take several operations for, each in one launch.
//!
//! At the sizes of a training step the launches take longer than the work. The source `kernels.cu` is compiled by
//! NVRTC, which every libtorch with CUDA brings, for the device that is there, when the first space on CUDA is made.
//!
//! The dozen functions of the driver and of NVRTC are declared here and not taken from the crate `cudarc`: loaded
//! dynamically, it looks for libraries by name alone, where NVRTC has to be the one of this libtorch, by its path, and
//! it panics where one is missing, for which there has to be a sentence.

#[cfg(feature = "emulation")]
pub(crate) mod emulated;
mod nvrtc;

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_core::Activation;
use libloading::os::unix::Library;
use tch::{Kind, Tensor};

use self::nvrtc::Nvrtc;
use crate::error::{Error, loader_reason};
use crate::ops::{PullbackOf, SlopesOf};

/// The source.
const SOURCE: &str = include_str!("kernels/kernels.cu");
/// Threads of a block on a CUDA device.
const THREADS: u32 = 256;
/// The most terms of a launch that sums, and functions of time of one that pulls back.
const MOST_TERMS: usize = 8;

/// `cuLaunchKernel(function, blocks along x, y, z, threads along x, y, z, shared memory, stream, parameters, extra)`.
#[rustfmt::skip]
type Launch = unsafe extern "C" fn(
    *mut c_void, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, *mut c_void, *mut *mut c_void,
    *mut *mut c_void,
) -> c_int;
/// `cuCtxSetCurrent(context)`.
type SetCurrent = unsafe extern "C" fn(*mut c_void) -> c_int;

/// The kernels for one kind of numbers, as handles of the driver.
struct Module {
    sum: *mut c_void,
    pointwise: *mut c_void,
    permute: *mut c_void,
    slopes: *mut c_void,
    pullback: *mut c_void,
}

/// The kernels, loaded on the first CUDA device, or in tests for the processor.
pub(crate) struct Kernels {
    launch: Launch,
    set_current: SetCurrent,
    /// The device's primary context, which libtorch uses too.
    context: *mut c_void,
    /// Where its tensors are.
    device: tch::Device,
    /// Of a block.
    threads: u32,
    single: Module,
    double: Module,
    /// Numbers of 32 bits, but factors of products of 64.
    mixed: Module,
    capability: [c_int; 2],
    launches: AtomicU64,
}

// SAFETY: handles of the driver may be used from any thread, and are never freed.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernels").field("launches", &self.launches()).finish_non_exhaustive()
    }
}

thread_local! {
    /// The stream that this thread launches on; null is the one that libtorch uses by default.
    static STREAM: Cell<*mut c_void> = const { Cell::new(null_mut()) };
}

/// Lets this thread launch on a stream from now on.
pub(crate) fn launch_on(stream: *mut c_void) {
    STREAM.set(stream);
}

/// The kernels of this process; libtorch is loaded for CUDA.
///
/// # Errors
/// [`Error::NoKernels`] when they cannot be compiled or loaded.
pub(crate) fn kernels() -> Result<&'static Kernels, Error> {
    static KERNELS: OnceLock<Result<Kernels, Error>> = OnceLock::new();
    KERNELS.get_or_init(|| Kernels::new().map_err(|reason| Error::NoKernels { reason })).as_ref().map_err(Clone::clone)
}

/// Turns an answer of the driver other than 0 into words.
fn checked(function: &str, answer: c_int) -> Result<(), String> {
    if answer == 0 { Ok(()) } else { Err(format!("{function}: error {answer}")) }
}

impl Kernels {
    fn new() -> Result<Self, String> {
        let words = |error: libloading::Error| loader_reason(&error);
        // SAFETY: the driver was loaded and initialised before; its initialisers have run.
        let driver = unsafe { Library::new("libcuda.so.1") }.map_err(words)?;
        // SAFETY: the types are those of the driver API; `primary` and `attribute` write one value where they are told
        // to.
        let (context, capability, launch, set_current) = unsafe {
            let launch = *driver.get::<Launch>("cuLaunchKernel").map_err(words)?;
            let set_current = *driver.get::<SetCurrent>("cuCtxSetCurrent").map_err(words)?;
            type Retain = unsafe extern "C" fn(*mut *mut c_void, c_int) -> c_int;
            type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
            let retain = driver.get::<Retain>("cuDevicePrimaryCtxRetain").map_err(words)?;
            let attribute = driver.get::<Attribute>("cuDeviceGetAttribute").map_err(words)?;
            let mut context = null_mut();
            checked("cuDevicePrimaryCtxRetain", retain(&mut context, 0))?;
            checked("cuCtxSetCurrent", set_current(context))?;
            let mut capability = [0; 2];
            for (of, number) in capability.iter_mut().zip([CAPABILITY_MAJOR, CAPABILITY_MINOR]) {
                checked("cuDeviceGetAttribute", attribute(of, number, 0))?;
            }
            (context, capability, launch, set_current)
        };
        let compiler = Nvrtc::open()?;
        let module = |real, wide| Module::load(&driver, &compiled(&compiler, real, wide, capability)?);
        let (single, double, mixed) =
            (module("float", "float")?, module("double", "double")?, module("float", "double")?);
        // The handles stay in use as long as the process lives.
        std::mem::forget(driver);
        let (device, threads, launches) = (tch::Device::Cuda(0), THREADS, AtomicU64::new(0));
        Ok(Self { launch, set_current, context, device, threads, single, double, mixed, capability, launches })
    }

    /// Launches so far.
    pub(crate) fn launches(&self) -> u64 {
        self.launches.load(Ordering::Relaxed)
    }

    /// Whether this device's products of short matrices take no longer in 64 bits than in 32: on those whose matrix
    /// units do both in 64 bits at the full rate and have nothing for 32 (compute capabilities 8.0 and 9.0).
    pub(crate) fn products_are_better_in_64_bits(&self) -> bool {
        matches!(self.capability, [8 | 9, 0])
    }

    /// The kernels for numbers of a kind, with factors of products of another.
    fn module(&self, kind: Kind, wide: Kind) -> &Module {
        match (kind, wide) {
            (Kind::Float, Kind::Float) => &self.single,
            (Kind::Double, Kind::Double) => &self.double,
            (Kind::Float, Kind::Double) => &self.mixed,
            other => unreachable!("arrays are of 32 or 64 bits, not {other:?}"),
        }
    }

    /// Launches a kernel on this thread's stream.
    ///
    /// # Panics
    /// When the driver refuses.
    fn start<P: Parameters>(&self, function: *mut c_void, blocks: usize, parameters: &P) {
        thread_local!(static CURRENT: Cell<bool> = const { Cell::new(false) });
        let blocks = c_uint::try_from(blocks).expect("fewer than 2^32 blocks");
        if blocks == 0 {
            return;
        }
        let answer = CURRENT.with(|current| {
            if !current.replace(true) {
                // SAFETY: the context lives as long as the process.
                let answer = unsafe { (self.set_current)(self.context) };
                assert_eq!(answer, 0, "cuCtxSetCurrent");
            }
            let mut pointer = std::ptr::from_ref(parameters).cast_mut().cast::<c_void>();
            // SAFETY: the kernel takes one structure, this one, which the driver copies before it returns; what its
            // pointers lead to, the caller has looked at, and libtorch gives memory that is let go of to no other
            // stream than this one.
            unsafe {
                (self.launch)(function, blocks, 1, 1, self.threads, 1, 1, 0, STREAM.get(), &mut pointer, null_mut())
            }
        });
        assert_eq!(answer, 0, "cuLaunchKernel: {}", std::any::type_name::<P>());
        self.launches.fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers of a tensor that has so many, of this kind, next to each other on the device.
    fn of_kind(&self, of: &Tensor, kind: Kind, count: usize) -> *mut c_void {
        assert!(self.adjacent(of, count) && of.kind() == kind, "{of:?}: {count} of {kind:?}");
        of.data_ptr()
    }

    /// Whether a tensor is so many numbers of 32 or 64 bits, next to each other on the device.
    fn summable(&self, of: &Tensor, count: usize) -> bool {
        self.adjacent(of, count) && matches!(of.kind(), Kind::Float | Kind::Double)
    }

    /// Whether a tensor is so many numbers next to each other on the device.
    fn adjacent(&self, of: &Tensor, count: usize) -> bool {
        of.is_contiguous() && of.device() == self.device && of.numel() == count
    }

    /// Blocks for so many numbers, of which each thread takes 16 bytes.
    fn blocks(&self, count: usize, kind: Kind) -> usize {
        count.div_ceil(16 / kind.elt_size_in_bytes() * self.threads as usize)
    }

    /// `out ← keep · out + base + Σ cᵢ · termᵢ`; `keep = 0` overwrites. Does nothing and says `false` where that is no
    /// sum of equally many numbers that lie next to each other.
    pub(crate) fn sum(&self, out: &Tensor, base: Option<&Tensor>, keep: f64, terms: &[(f64, &Tensor)]) -> bool {
        let tensors = || std::iter::once(out).chain(base).chain(terms.iter().map(|(_, term)| *term));
        if !tensors().all(|of| self.summable(of, out.numel())) {
            return false;
        }
        let any = |kind| tensors().any(|of| of.kind() == kind);
        let [narrow, wide] = match [any(Kind::Float), any(Kind::Double)] {
            [true, true] => [Kind::Float, Kind::Double],
            [true, false] => [Kind::Float; 2],
            _ => [Kind::Double; 2],
        };
        let is_wide = |of: &Tensor| c_int::from(of.kind() == wide);
        let (first, more) = terms.split_at(terms.len().min(MOST_TERMS));
        let sum = Sum {
            out: out.data_ptr(),
            base: base.map_or(null_mut(), Tensor::data_ptr),
            keep,
            n: out.numel() as i64,
            out_wide: is_wide(out),
            base_wide: base.map_or(0, is_wide),
            terms: Terms::new(first, wide),
        };
        self.start(self.module(narrow, wide).sum, self.blocks(out.numel(), narrow), &sum);
        more.is_empty() || self.sum(out, None, 1.0, more)
    }

    /// `out ← keep · out + c · a ⊙ b`; `keep = 0` overwrites. Does nothing and says `false` as [`Kernels::sum`] does.
    pub(crate) fn product(&self, out: &Tensor, keep: f64, c: f64, a: &Tensor, b: &Tensor) -> bool {
        self.pointwise([out, a, b], keep, c, None)
    }

    /// `out ← out + c · a / (√(scale · b) + ε)`. Does nothing and says `false` as [`Kernels::sum`] does.
    pub(crate) fn quotient(&self, out: &Tensor, c: f64, a: &Tensor, b: &Tensor, (scale, epsilon): (f64, f64)) -> bool {
        self.pointwise([out, a, b], 1.0, c, Some((scale, epsilon)))
    }

    fn pointwise(&self, [out, a, b]: [&Tensor; 3], keep: f64, c: f64, quotient: Option<(f64, f64)>) -> bool {
        let (kind, count) = (out.kind(), out.numel());
        if ![out, a, b].into_iter().all(|of| self.summable(of, count) && of.kind() == kind) {
            return false;
        }
        let (scale, epsilon) = quotient.unwrap_or_default();
        let parameters = Pointwise {
            out: out.data_ptr(),
            a: a.data_ptr(),
            b: b.data_ptr(),
            n: count as i64,
            keep,
            c,
            scale,
            epsilon,
            quotient: quotient.is_some().into(),
        };
        self.start(self.module(kind, kind).pointwise, self.blocks(count, kind), &parameters);
        true
    }

    /// Row r of `out ← ` that element of a table, applied to row r of x, whose number is in this column of `elements`;
    /// the table is element × column of where numbers come from, and a sign for each.
    pub(crate) fn permute(
        &self,
        [out, x]: [&Tensor; 2],
        [source, sign]: [&Tensor; 2],
        (elements, column): (&Tensor, usize),
    ) {
        let (kind, (rows, stride)) = (x.kind(), shape(elements));
        let columns = source.size()[1] as usize;
        assert!(column < stride, "column {column} of {stride}");
        let parameters = Permute {
            out: self.of_kind(out, kind, rows * columns),
            x: self.of_kind(x, kind, rows * columns),
            source: self.of_kind(source, Kind::Int, source.numel()),
            sign: self.of_kind(sign, kind, sign.numel()),
            element: self.of_kind(elements, kind, rows * stride),
            columns: int(columns),
            column: int(column),
            stride: int(stride),
        };
        self.start(self.module(kind, kind).permute, rows, &parameters);
    }

    /// From arguments a to slopes s, which may lie in the same place, with what else is wanted. Matrices of `update`
    /// may be of either kind.
    pub(crate) fn slopes(&self, a: &Tensor, s: &Tensor, wanted: &SlopesOf<'_>) {
        let ((rows, columns), wide) = (shape(s), a.kind());
        let of = |of: &Tensor, rows: usize| self.of_kind(of, s.kind(), rows * columns);
        let is_wide = |of: &Tensor| c_int::from(of.kind() == wide);
        let base_rows = wanted.base.map_or(0, |base| shape(base).0);
        assert!(base_rows <= 1 || base_rows == rows, "{base_rows} rows of offsets for {rows}");
        let update = wanted.update.as_ref();
        let terms = update.map_or(&[][..], |update| update.terms);
        let (terms, more) = terms.split_at(terms.len().min(MOST_TERMS));
        for of in update.iter().flat_map(|update| [update.out, update.base]).chain(terms.iter().map(|(_, term)| *term))
        {
            assert!(self.summable(of, rows * columns) && [s.kind(), wide].contains(&of.kind()), "{of:?}");
        }
        let parameters = Slopes {
            a: self.of_kind(a, wide, rows * columns),
            s: of(s, rows),
            base: wanted.base.map_or(null_mut(), |base| of(base, base_rows)),
            moving: wanted.moving.map_or(null_mut(), |moving| of(moving, 1)),
            velocity: wanted.velocity.as_ref().map_or(null_mut(), |velocity| of(velocity, rows)),
            v: of(wanted.v, 1),
            curved: of(wanted.curved, 1),
            laplacian: wanted
                .laplacian
                .as_ref()
                .map_or(null_mut(), |laplacian| self.of_kind(laplacian, Kind::Double, rows)),
            columns: int(columns),
            base_rows: int(base_rows),
            softplus: (wanted.activation == Activation::Softplus).into(),
            out_wide: update.map_or(0, |update| is_wide(update.out)),
            start_wide: update.map_or(0, |update| is_wide(update.base)),
            out: update.map_or(null_mut(), |update| update.out.data_ptr()),
            start: update.map_or(null_mut(), |update| update.base.data_ptr()),
            terms: Terms::new(terms, wide),
            c: update.map_or(0.0, |update| update.c),
        };
        self.start(self.module(s.kind(), wide).slopes, rows, &parameters);
        if let Some(update) = update.filter(|_| !more.is_empty()) {
            assert!(self.sum(update.out, None, 1.0, more), "terms like those before them");
        }
    }

    /// The cotangents of arguments from those of slopes and Laplacians; adds what the gradient needs.
    pub(crate) fn pullback(&self, s: &Tensor, of: &PullbackOf<'_>) {
        let (rows, columns) = shape(s);
        let numbers = |tensor: &Tensor| self.of_kind(tensor, s.kind(), rows * columns);
        let row = |tensor: &Tensor| self.of_kind(tensor, s.kind(), columns);
        let wide = of.a_bar.kind();
        let added = (of.u.len() > MOST_TERMS).then(|| of.a_bar.empty_like());
        let added = added.as_ref().map(|added| {
            assert!(self.sum(added, None, 0.0, of.u), "cotangents like the slopes");
            [(1.0, added)]
        });
        let u = added.as_ref().map_or(of.u, |added| added);
        let known = |term: &Tensor| self.summable(term, rows * columns) && [s.kind(), wide].contains(&term.kind());
        assert!(u.iter().all(|(_, term)| known(term)), "{u:?}");
        let factor = |tensor: &Tensor| self.of_kind(tensor, wide, rows * columns);
        for start in (0..of.b.len()).step_by(MOST_TERMS) {
            let functions = (of.b.len() - start).min(MOST_TERMS);
            let room = |sums: &[Tensor]| {
                let mut out = [null_mut(); MOST_TERMS];
                for (out, sum) in out.iter_mut().zip(sums.iter().skip(start).take(functions)) {
                    *out = numbers(sum);
                }
                out
            };
            let mut parameters = Pullback {
                s: numbers(s),
                u: Terms::new(u, wide),
                v: of.v.map_or(null_mut(), row),
                curved: row(of.curved),
                l: of.laplacian_bar.map_or(null_mut(), |l| self.of_kind(l, Kind::Double, rows)),
                a_bar: factor(of.a_bar),
                from: of.copy.as_ref().map_or(null_mut(), |(from, _)| factor(from)),
                copy: of.copy.as_ref().map_or(null_mut(), |(_, to)| factor(to)),
                columns: int(columns),
                functions: int(functions),
                softplus: (of.activation == Activation::Softplus).into(),
                b: [0.0; MOST_TERMS],
                amplitude: room(of.amplitudes),
                curvature: room(of.curvatures),
                argument: room(of.arguments),
            };
            parameters.b[..functions].copy_from_slice(&of.b[start..start + functions]);
            self.start(self.module(s.kind(), wide).pullback, rows, &parameters);
        }
    }
}

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`.
const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;

/// The machine code for two kinds of numbers, those of factors of products the second, and a compute capability.
fn compiled(compiler: &Nvrtc, real: &str, wide: &str, [major, minor]: [c_int; 2]) -> Result<Vec<u8>, String> {
    let options = [
        format!("--gpu-architecture=sm_{major}{minor}"),
        format!("-DREAL={real}"),
        format!("-DWIDE={wide}"),
        format!("-DTHREADS={THREADS}"),
        format!("-DMOST_TERMS={MOST_TERMS}"),
    ];
    compiler.compile(SOURCE, &options)
}

impl Module {
    fn load(driver: &Library, image: &[u8]) -> Result<Self, String> {
        type Load = unsafe extern "C" fn(*mut *mut c_void, *const c_void) -> c_int;
        type Find = unsafe extern "C" fn(*mut *mut c_void, *mut c_void, *const std::ffi::c_char) -> c_int;
        let words = |error: libloading::Error| loader_reason(&error);
        // SAFETY: the types are those of the driver API.
        let (load, find) = unsafe {
            (
                driver.get::<Load>("cuModuleLoadData").map_err(words)?,
                driver.get::<Find>("cuModuleGetFunction").map_err(words)?,
            )
        };
        let mut module = null_mut();
        // SAFETY: the image is whole machine code, from the compiler.
        checked("cuModuleLoadData", unsafe { load(&mut module, image.as_ptr().cast()) })?;
        let function = |name: &std::ffi::CStr| {
            let mut function = null_mut();
            // SAFETY: the module was just loaded; the name ends with a zero.
            checked("cuModuleGetFunction", unsafe { find(&mut function, module, name.as_ptr()) }).map(|()| function)
        };
        Ok(Self {
            sum: function(c"sum")?,
            pointwise: function(c"pointwise")?,
            permute: function(c"permute")?,
            slopes: function(c"slopes")?,
            pullback: function(c"pullback")?,
        })
    }
}

fn shape(of: &Tensor) -> (usize, usize) {
    let (rows, columns) = of.size2().expect("a matrix");
    (rows as usize, columns as usize)
}

fn int(count: usize) -> c_int {
    c_int::try_from(count).expect("fewer than 2^31 numbers in a row")
}

/// A structure of `kernels.cu`.
///
/// # Safety
/// It has the same fields, of the same sizes, in the same order.
unsafe trait Parameters {}

/// A part of others.
#[repr(C)]
struct Terms {
    count: c_int,
    wide: c_int,
    term: [*mut c_void; MOST_TERMS],
    c: [f64; MOST_TERMS],
}

impl Terms {
    /// At most [`MOST_TERMS`], which the caller has looked at.
    fn new(terms: &[(f64, &Tensor)], wide: Kind) -> Self {
        let mut out =
            Self { count: terms.len() as c_int, wide: 0, term: [null_mut(); MOST_TERMS], c: [0.0; MOST_TERMS] };
        for (i, (c, term)) in terms.iter().enumerate() {
            (out.c[i], out.term[i]) = (*c, term.data_ptr());
            out.wide |= c_int::from(term.kind() == wide) << i;
        }
        out
    }
}

#[repr(C)]
struct Sum {
    out: *mut c_void,
    base: *mut c_void,
    keep: f64,
    n: i64,
    out_wide: c_int,
    base_wide: c_int,
    terms: Terms,
}
// SAFETY: as the trait says.
unsafe impl Parameters for Sum {}

#[repr(C)]
struct Pointwise {
    out: *mut c_void,
    a: *mut c_void,
    b: *mut c_void,
    n: i64,
    keep: f64,
    c: f64,
    scale: f64,
    epsilon: f64,
    quotient: c_int,
}
// SAFETY: as the trait says.
unsafe impl Parameters for Pointwise {}

#[repr(C)]
struct Permute {
    out: *mut c_void,
    x: *mut c_void,
    source: *mut c_void,
    sign: *mut c_void,
    element: *mut c_void,
    columns: c_int,
    column: c_int,
    stride: c_int,
}
// SAFETY: as the trait says.
unsafe impl Parameters for Permute {}

#[repr(C)]
struct Slopes {
    a: *mut c_void,
    s: *mut c_void,
    base: *mut c_void,
    moving: *mut c_void,
    velocity: *mut c_void,
    v: *mut c_void,
    curved: *mut c_void,
    laplacian: *mut c_void,
    columns: c_int,
    base_rows: c_int,
    softplus: c_int,
    out_wide: c_int,
    start_wide: c_int,
    out: *mut c_void,
    start: *mut c_void,
    terms: Terms,
    c: f64,
}
// SAFETY: as the trait says.
unsafe impl Parameters for Slopes {}

#[repr(C)]
struct Pullback {
    s: *mut c_void,
    u: Terms,
    v: *mut c_void,
    curved: *mut c_void,
    l: *mut c_void,
    a_bar: *mut c_void,
    from: *mut c_void,
    copy: *mut c_void,
    columns: c_int,
    functions: c_int,
    softplus: c_int,
    b: [f64; MOST_TERMS],
    amplitude: [*mut c_void; MOST_TERMS],
    curvature: [*mut c_void; MOST_TERMS],
    argument: [*mut c_void; MOST_TERMS],
}
// SAFETY: as the trait says.
unsafe impl Parameters for Pullback {}
