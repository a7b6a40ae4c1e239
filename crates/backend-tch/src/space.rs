//! Tensors of libtorch as a space of flow-core, on the CPU or on a CUDA device, in 32 or 64 bits.

use std::ops::Range;

use flow_core::{Activation, Factor, GraphCache, Precision, Quotient, Space, map_by};
use tch::kind::Element;
use tch::{Kind, Tensor};

use crate::activation;
use crate::context;
use crate::device::Device;
use crate::error::Error;
use crate::graph;
use crate::kernels::{self, Kernels};
use crate::loading::load;
use crate::pointwise;
use crate::tensors::{Array, Column, Options, Tch, kind, slice, slice_mut};
use crate::workers;

/// Signed permutations of the columns, see [`Space::permutations`].
#[derive(Debug)]
pub struct Permutations {
    /// Element × column: where the number comes from, in 32 bits, as there may be thousands of elements.
    source: Tensor,
    /// Element × 1.
    sign: Tensor,
}

// SAFETY: as for `Array`.
unsafe impl Sync for Permutations {}

impl Tch {
    /// Loads libtorch for a device, unless it is loaded.
    ///
    /// On the CPU, this thread treats denormal numbers as zero from now on. So do the threads that libtorch starts for
    /// it, and those that work on blocks of rows. It should be the thread that trains.
    ///
    /// # Errors
    /// Those of [`load`]; [`Error::NoKernels`].
    ///
    /// # Panics
    /// When the system cannot start the threads.
    pub fn new(device: Device, precision: Precision, options: Options) -> Result<Self, Error> {
        load(device)?;
        let threads = workers::set_threads(options.threads);
        context::allow_tf32(options.allow_tf32);
        context::same_bits_again();
        if device == Device::Cpu {
            context::flush_denormals();
        }
        let workers = (device == Device::Cpu && threads > 1).then(|| workers::of(threads));
        let kernels = (device == Device::Cuda).then(kernels::kernels).transpose()?;
        let graphs = (device == Device::Cuda).then(graph::on_cuda).transpose()?;
        let wide = kernels.is_some_and(Kernels::products_are_better_in_64_bits) && !options.allow_tf32;
        let product_kind = if wide { Kind::Double } else { kind(precision) };
        Ok(Self { device, precision, workers, kernels, graphs, product_kind })
    }

    /// The same, with whole batches for blocks on the CPU too, and the threads inside each operation.
    ///
    /// For a [`ModulePotential`](crate::ModulePotential), which one thread at a time can evaluate.
    #[must_use]
    pub fn with_whole_batches(self) -> Self {
        Self { workers: None, ..self }
    }

    /// Where the tensors are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The same, with every solve asked for operation by operation, on a CUDA device too: the plain way, to compare
    /// with.
    #[must_use]
    pub fn without_graphs(self) -> Self {
        Self { graphs: None, ..self }
    }

    /// libtorch on the CPU that is used as a CUDA device is, for tests. Batches are whole, and the kernels are those of
    /// this crate, which the system's C++ compiler makes for the processor. Products of feature space are of the
    /// precision that such a device would make them in. Nothing is captured.
    ///
    /// # Errors
    /// Those of [`load`].
    ///
    /// # Panics
    /// When the kernels cannot be compiled, with what the compiler says.
    #[cfg(feature = "emulation")]
    pub fn emulated(precision: Precision, products: Precision) -> Result<Self, Error> {
        let on_the_cpu = Self::new(Device::Cpu, precision, Options { threads: 1, allow_tf32: false })?;
        let kernels = Some(kernels::emulated::kernels());
        Ok(Self { workers: None, kernels, product_kind: kind(products), ..on_the_cpu })
    }

    /// The same with captured solves, in a cache of this space and its copies alone. A replay is played: the work is
    /// done again on the refilled inputs of the capture, and its results are copied into the outputs of the capture.
    ///
    /// # Errors
    /// As [`Tch::emulated`].
    ///
    /// # Panics
    /// As [`Tch::emulated`].
    #[cfg(feature = "emulation")]
    pub fn emulated_with_graphs(precision: Precision, products: Precision) -> Result<Self, Error> {
        Ok(Self { graphs: Some(graph::emulated()), ..Self::emulated(precision, products)? })
    }

    /// Launches of this crate's own kernels in this process so far, the proof that a CUDA device has run them; none
    /// where there is none.
    pub fn kernel_launches(&self) -> Option<u64> {
        self.kernels.map(Kernels::launches)
    }

    /// `out ← keep · out + base + Σ cᵢ · termᵢ` in one pass or one launch, where there is one for these tensors; says
    /// whether.
    fn sum_at_once(&self, out: &mut Tensor, base: Option<&Tensor>, keep: f64, terms: &[(f64, &Tensor)]) -> bool {
        match self.kernels {
            Some(kernels) => kernels.sum(out, base, keep, terms),
            None => pointwise::sum(out, base, keep, terms),
        }
    }

    /// `out ← keep · out + Σ cᵢ · termᵢ`.
    pub(crate) fn accumulate_tensors(&self, out: &mut Tensor, keep: f64, terms: &[(f64, &Tensor)]) {
        if self.sum_at_once(out, None, keep, terms) {
            return;
        }
        match terms {
            [] if keep == 0.0 => drop(out.zero_()),
            [(c, first), rest @ ..] if keep == 0.0 => {
                let _ = first.mul_out(out, &number(*c, first));
                add(out, rest);
            }
            _ => {
                if keep != 1.0 {
                    let _ = out.g_mul_scalar_(keep);
                }
                add(out, terms);
            }
        }
    }

    pub(crate) fn zeros_of(&self, size: &[i64]) -> Tensor {
        Tensor::zeros(size, (self.kind(), self.device.into()))
    }

    /// Host numbers on the device, in a kind; rounded here, so that no more than needed is sent.
    pub(crate) fn send(&self, values: &[f64], kind: Kind, size: &[i64]) -> Tensor {
        Tensor::from_slice(values).to_kind(kind).to_device(self.device.into()).reshape(size)
    }
}

/// The numbers of a tensor on the host.
fn fetch(of: &Tensor) -> Vec<f64> {
    Vec::try_from(of.to_device(tch::Device::Cpu).to_kind(Kind::Double).reshape([-1])).expect("a row of 64-bit numbers")
}

/// The same numbers in 64 bits; products with them are too.
fn wide(of: &Tensor) -> Tensor {
    of.to_kind(Kind::Double)
}

/// A number as libtorch's operations take it with tensors of any device: without dimensions, on the CPU.
fn number(value: f64, like: &Tensor) -> Tensor {
    if like.kind() == Kind::Float { Tensor::from(value as f32) } else { Tensor::from(value) }
}

/// `out ← out + Σ cᵢ · termᵢ`, one pass per term: libtorch's C interface has no sum with a factor but this one.
fn add(out: &mut Tensor, terms: &[(f64, &Tensor)]) {
    for (c, term) in terms {
        let _ = if *c == 1.0 { out.g_add_(term) } else { out.addcmul_(term, &number(*c, term)) };
    }
}

/// [`Space::permute`] on the CPU: for libtorch this is six operations, each longer than the work itself.
fn permute_rows<T: Element + Copy + Into<f64> + std::ops::Mul<Output = T>>(
    out: &mut Array,
    x: &Array,
    table: &Permutations,
    (elements, column): (&Array, usize),
) {
    let columns = table.source.size()[1] as usize;
    let (sources, signs) = (slice::<i32>(&table.source), slice::<T>(&table.sign));
    let elements = slice::<T>(&elements.0).chunks_exact(elements.0.size()[1] as usize);
    let rows = slice_mut::<T>(&mut out.0).chunks_exact_mut(columns).zip(slice::<T>(&x.0).chunks_exact(columns));
    for ((out, x), elements) in rows.zip(elements) {
        let g = elements[column].into() as usize;
        for (out, from) in out.iter_mut().zip(&sources[g * columns..(g + 1) * columns]) {
            *out = signs[g] * x[*from as usize];
        }
    }
}

/// The same terms, as tensors.
fn tensors<'a, T>(terms: &[(f64, &'a T)], of: impl Fn(&'a T) -> &'a Tensor) -> Vec<(f64, &'a Tensor)> {
    terms.iter().map(|(c, term)| (*c, of(term))).collect()
}

/// The fewest rows of one of several blocks.
const BLOCK_ROWS: usize = 8;

impl Space for Tch {
    type Array = Array;
    type Column = Column;
    type Permutations = Permutations;

    fn precision(&self) -> Precision {
        self.precision
    }

    fn zeros(&self, rows: usize, cols: usize) -> Array {
        Array(self.zeros_of(&[rows as i64, cols as i64]))
    }

    fn empty_like(&self, like: &Array) -> Array {
        Array(like.0.empty_like())
    }

    fn shape(&self, array: &Array) -> (usize, usize) {
        let (rows, cols) = array.0.size2().expect("arrays are matrices");
        (rows as usize, cols as usize)
    }

    fn upload(&self, rows: usize, cols: usize, values: &[f64]) -> Array {
        assert_eq!(values.len(), rows * cols, "a {rows} × {cols} matrix");
        Array(self.send(values, self.kind(), &[rows as i64, cols as i64]))
    }

    fn download(&self, array: &Array) -> Vec<f64> {
        fetch(&array.0)
    }

    fn combine(&self, out: &mut Array, base: &Array, terms: &[(f64, &Array)]) {
        let terms = tensors(terms, |a| &a.0);
        if self.sum_at_once(&mut out.0, Some(&base.0), 0.0, &terms) {
            return;
        }
        match &terms[..] {
            [] => out.0.copy_(&base.0),
            [(c, first), rest @ ..] => {
                let _ = base.0.addcmul_out(&out.0, first, &number(*c, first));
                add(&mut out.0, rest);
            }
        }
    }

    fn accumulate(&self, out: &mut Array, keep: f64, terms: &[(f64, &Array)]) {
        self.accumulate_tensors(&mut out.0, keep, &tensors(terms, |a| &a.0));
    }

    fn accumulate_product(&self, out: &mut Array, keep: f64, c: f64, a: &Array, b: &Array) {
        if self.kernels.is_some_and(|kernels| kernels.product(&out.0, keep, c, &a.0, &b.0)) {
            return;
        }
        if keep == 0.0 {
            let _ = a.0.mul_out(&out.0, &b.0);
            if c != 1.0 {
                let _ = out.0.g_mul_scalar_(c);
            }
        } else {
            if keep != 1.0 {
                let _ = out.0.g_mul_scalar_(keep);
            }
            let _ = if c == 1.0 { out.0.addcmul_(&a.0, &b.0) } else { out.0.addcmul_(&a.0.g_mul_scalar(c), &b.0) };
        }
    }

    fn accumulate_quotient(&self, out: &mut Array, c: f64, of: Quotient<'_, Array>) {
        let Quotient { numerator, square, scale, epsilon } = of;
        let constants = (scale, epsilon);
        if self.kernels.is_some_and(|kernels| kernels.quotient(&out.0, c, &numerator.0, &square.0, constants)) {
            return;
        }
        let denominator = square.0.g_mul_scalar(scale).sqrt_().g_add_scalar_(epsilon);
        let _ = out.0.addcdiv_(&numerator.0.g_mul_scalar(c), &denominator);
    }

    fn accumulate_scaled_rows(&self, out: &mut Array, c: f64, scale: &Column, a: &Array) {
        let _ = out.0.addcmul_(&a.0, &scale.0.g_mul_scalar(c).to_kind(self.kind()).unsqueeze(1));
    }

    fn row_dot(&self, out: &mut Column, a: &Array, b: &Array) {
        let _ = wide(&a.0).multiply(&b.0).sum_intlist_out(&out.0, 1, false, Kind::Double);
    }

    fn dot(&self, a: &Array, b: &Array) -> f64 {
        wide(&a.0).multiply(&b.0).sum(Kind::Double).double_value(&[])
    }

    fn scaled_error(&self, error: &Array, before: &Array, after: &Array, absolute: f64, relative: f64) -> f64 {
        let scale = before.0.abs().maximum(&after.0.abs()).to_kind(Kind::Double);
        let allowed = (scale * relative) + absolute;
        let squares = (error.0.to_kind(Kind::Double) / allowed).square();
        squares.mean_dim(1, false, Kind::Double).max().double_value(&[]).sqrt()
    }

    fn column_zeros(&self, rows: usize) -> Column {
        Column(Tensor::zeros([rows as i64], (Kind::Double, self.device.into())))
    }

    fn upload_column(&self, values: &[f64]) -> Column {
        Column(self.send(values, Kind::Double, &[values.len() as i64]))
    }

    fn download_column(&self, column: &Column) -> Vec<f64> {
        fetch(&column.0)
    }

    fn column_accumulate(&self, out: &mut Column, keep: f64, terms: &[(f64, &Column)]) {
        self.accumulate_tensors(&mut out.0, keep, &tensors(terms, |a| &a.0));
    }

    fn column_product(&self, out: &mut Column, a: &Column, b: &Column) {
        let _ = a.0.mul_out(&out.0, &b.0);
    }

    fn permutations(&self, source: &[Vec<u32>], sign: &[f64]) -> Permutations {
        let columns = source.first().map_or(0, Vec::len) as i64;
        let index: Vec<i32> = source.iter().flatten().map(|i| *i as i32).collect();
        let source = Tensor::from_slice(&index).reshape([source.len() as i64, columns]).to_device(self.device.into());
        Permutations { source, sign: self.send(sign, self.kind(), &[sign.len() as i64, 1]) }
    }

    fn permute(&self, x: &Array, table: &Permutations, elements: &Array, column: usize) -> Array {
        let x = Array(x.0.contiguous());
        let mut out = Array(x.0.empty_like());
        assert_eq!(x.0.size()[0], elements.0.size()[0], "an element for every row");
        match (self.kernels, self.precision) {
            (Some(kernels), _) => {
                kernels.permute([&out.0, &x.0], [&table.source, &table.sign], (&elements.0, column));
            }
            (None, Precision::F32) => permute_rows::<f32>(&mut out, &x, table, (elements, column)),
            (None, Precision::F64) => permute_rows::<f64>(&mut out, &x, table, (elements, column)),
        }
        out
    }

    fn copy_columns(&self, out: &mut Array, first: usize, from: &Array, columns: Range<usize>) {
        let count = columns.len() as i64;
        out.0.narrow(1, first as i64, count).copy_(&from.0.narrow(1, columns.start as i64, count));
    }

    fn matmul(&self, out: &mut Array, keep: f64, a: Factor<'_, Array>, b: Factor<'_, Array>) {
        let view = |of: Factor<'_, Array>| match of {
            Factor::Plain(of) => of.0.shallow_clone(),
            Factor::Transposed(of) => of.0.tr(),
        };
        let (a, b) = (view(a), view(b));
        if keep == 0.0 {
            let _ = a.mm_out(&out.0, &b);
            return;
        }
        if keep != 1.0 {
            let _ = out.0.g_mul_scalar_(keep);
        }
        let _ = out.0.addmm_(&a, &b);
    }

    fn activate(&self, out: &mut Array, activation: Activation, derivative: u8, a: &Array) {
        out.0.copy_(&activation::derivative(activation, derivative, &a.0));
    }

    fn accumulate_scaled_columns(&self, out: &mut Array, keep: f64, c: f64, a: &Array, row: &Array) {
        let row = if c == 1.0 { row.0.shallow_clone() } else { row.0.g_mul_scalar(c) };
        if keep == 0.0 {
            let _ = a.0.mul_out(&out.0, &row);
            return;
        }
        if keep != 1.0 {
            let _ = out.0.g_mul_scalar_(keep);
        }
        let _ = out.0.addcmul_(&a.0, &row);
    }

    /// One for each thread on the CPU, of eight rows at least. One on a CUDA device, and [with whole
    /// batches](Tch::with_whole_batches).
    fn blocks(&self, rows: usize) -> usize {
        let threads = self.workers.map_or(1, |workers| workers.current_num_threads());
        if rows == 0 { 0 } else { (rows / BLOCK_ROWS).clamp(1, threads) }
    }

    fn cuts_by_threads(&self) -> bool {
        true
    }

    fn map_blocks<T: Send>(&self, blocks: Vec<Range<usize>>, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
        match self.workers {
            Some(workers) if blocks.len() > 1 => {
                map_by(blocks, work, |count, task| workers::each(workers, count, task))
            }
            // On this thread, whose operations use the others.
            _ => blocks.into_iter().map(work).collect(),
        }
    }

    fn graphs(&self) -> Option<&dyn GraphCache<Self>> {
        self.graphs.map(|graphs| graphs as _)
    }
}
