//! The right factor of many products of short matrices, laid out once where libtorch brings MKL.

use std::ffi::c_int;
use std::sync::OnceLock;

use libloading::os::unix::Library;
use tch::{Kind, Tensor};

use crate::tensors::Tch;

/// A `k × n` matrix that many matrices of the same few rows are multiplied by from the left.
///
/// MKL lays a factor out anew in every product, which for short matrices takes a third of the time; in 32 bits it can
/// be told to do so once. libtorch exports these functions of MKL, but no operation that calls them.
pub(crate) struct Factor {
    plain: Tensor,
    packed: Option<Packed>,
}

impl Factor {
    /// For left factors of `rows` rows.
    pub(crate) fn new(space: &Tch, of: &Tensor, rows: i64) -> Self {
        let packed = if space.kernels.is_none() { Packed::new(of, rows) } else { None };
        Self { plain: of.shallow_clone(), packed }
    }

    /// For a product or two, which laying out would not pay for.
    pub(crate) fn plain(of: Tensor) -> Self {
        Self { plain: of, packed: None }
    }

    /// Whether the factor is laid out.
    pub(crate) fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// `out ← left · self`.
    pub(crate) fn product(&self, out: &mut Tensor, left: &Tensor) {
        match &self.packed {
            Some(packed) => packed.product(out, 0.0, left),
            None => drop(left.mm_out(out, &self.plain)),
        }
    }

    /// `left · self`.
    pub(crate) fn product_of(&self, left: &Tensor) -> Tensor {
        let mut out = self.empty_like(left);
        self.product(&mut out, left);
        out
    }

    /// `base + left · self`; a base of one row is the same for all.
    pub(crate) fn product_plus(&self, base: &Tensor, left: &Tensor) -> Tensor {
        let Some(packed) = &self.packed else { return base.addmm(left, &self.plain) };
        let mut out = self.empty_like(left);
        out.copy_(base);
        packed.product(&mut out, 1.0, left);
        out
    }

    fn empty_like(&self, left: &Tensor) -> Tensor {
        Tensor::empty([left.size()[0], self.plain.size()[1]], (left.kind(), left.device()))
    }
}

/// Numbers from one row of a 32-bit matrix of this shape to the next, whose numbers lie one after the other.
fn row_stride(of: &Tensor, rows: i64, columns: i64) -> i64 {
    let (apart, next) = of.stride2().expect("factors are matrices");
    let apart = if rows == 1 { columns } else { apart };
    let fits = apart >= columns && (next == 1 || columns == 1);
    assert!(of.size() == [rows, columns] && fits && of.kind() == Kind::Float, "{of:?}");
    apart
}

/// MKL's enumerations (`mkl_cblas.h`).
const ROW_MAJOR: c_int = 101;
const NO_TRANSPOSITION: c_int = 111;
const TRANSPOSITION: c_int = 112;
const PACKED: c_int = 151;
const RIGHT_FACTOR: c_int = 162;

/// `cblas_sgemm_pack_get_size(identifier, m, n, k)`, in bytes.
type PackSize = unsafe extern "C" fn(c_int, c_int, c_int, c_int) -> usize;
/// `cblas_sgemm_pack(layout, identifier, transposition, m, n, k, alpha, source, leading dimension, destination)`.
type Pack = unsafe extern "C" fn(c_int, c_int, c_int, c_int, c_int, c_int, f32, *const f32, c_int, *mut f32);
/// `cblas_sgemm_compute(layout, transpositions of a and b, m, n, k, a, its leading dimension, b, its, beta, c, its)`.
#[rustfmt::skip]
type Compute = unsafe extern "C" fn(
    c_int, c_int, c_int, c_int, c_int, c_int, *const f32, c_int, *const f32, c_int, f32, *mut f32, c_int,
);

/// The functions of MKL, in a libtorch that was built with it.
struct Mkl {
    pack_size: PackSize,
    pack: Pack,
    compute: Compute,
}

impl Mkl {
    /// libtorch is loaded.
    fn find() -> Option<&'static Self> {
        static MKL: OnceLock<Option<Mkl>> = OnceLock::new();
        let find = || {
            let loaded = Library::this();
            // SAFETY: the types are those of MKL's header `mkl_cblas.h`, with the 32-bit integers that libtorch is
            // built for.
            unsafe {
                Some(Mkl {
                    pack_size: *loaded.get::<PackSize>("cblas_sgemm_pack_get_size").ok()?,
                    pack: *loaded.get::<Pack>("cblas_sgemm_pack").ok()?,
                    compute: *loaded.get::<Compute>("cblas_sgemm_compute").ok()?,
                })
            }
        };
        MKL.get_or_init(find).as_ref()
    }
}

/// A factor in the layout of MKL, which depends on the size of the whole product.
struct Packed {
    mkl: &'static Mkl,
    numbers: Tensor,
    rows: i64,
    inner: i64,
    columns: i64,
}

impl Packed {
    /// `None` where MKL cannot: in 64 bits, in a libtorch without it, for a matrix whose numbers lie apart both ways.
    fn new(of: &Tensor, rows: i64) -> Option<Self> {
        let (inner, columns) = of.size2().expect("factors are matrices");
        // Of a single row the stride says nothing, and MKL wants one no shorter than the row.
        let (transposition, leading) = match of.stride2().expect("factors are matrices") {
            (leading, 1) if inner == 1 || leading >= columns => (NO_TRANSPOSITION, leading.max(columns)),
            (1, leading) if columns == 1 || leading >= inner => (TRANSPOSITION, leading.max(inner)),
            _ => return None,
        };
        let [m, n, k, leading] = [rows, columns, inner, leading].map(|of| c_int::try_from(of).ok());
        let (m, n, k, leading) = (m?, n?, k?, leading?);
        if of.kind() != Kind::Float {
            return None;
        }
        let mkl = Mkl::find()?;
        // SAFETY: the function only computes.
        let bytes = unsafe { (mkl.pack_size)(RIGHT_FACTOR, m, n, k) };
        let numbers = Tensor::empty([bytes.div_ceil(size_of::<f32>()) as i64], (Kind::Float, of.device()));
        let (source, destination) = (of.data_ptr() as *const f32, numbers.data_ptr() as *mut f32);
        // SAFETY: the source has these sizes and strides, of rows that do not overlap, the destination has the size
        // that MKL asks for, and both are 32-bit numbers on the CPU.
        unsafe { (mkl.pack)(ROW_MAJOR, RIGHT_FACTOR, transposition, m, n, k, 1.0, source, leading, destination) };
        Some(Self { mkl, numbers, rows, inner, columns })
    }

    /// `out ← keep · out + left · self`.
    fn product(&self, out: &mut Tensor, keep: f32, left: &Tensor) {
        let stride = |of: &Tensor, columns| row_stride(of, self.rows, columns) as c_int;
        let (apart, out_apart) = (stride(left, self.inner), stride(out, self.columns));
        let [m, n, k] = [self.rows, self.columns, self.inner].map(|of| of as c_int);
        let (a, b, c) =
            (left.data_ptr() as *const f32, self.numbers.data_ptr() as *const f32, out.data_ptr() as *mut f32);
        // SAFETY: sizes, strides and kind of both matrices were just looked at, the factor was laid out for these
        // sizes, and nothing else uses `out`, which is borrowed alone and no view of a factor.
        unsafe {
            (self.mkl.compute)(ROW_MAJOR, NO_TRANSPOSITION, PACKED, m, n, k, a, apart, b, n, keep, c, out_apart);
        }
    }
}

#[cfg(all(test, set_up))]
mod tests {
    use flow_core::Precision;

    use super::*;
    use crate::device::Device;
    use crate::tensors::Options;

    /// Numbers that differ and have both signs.
    fn wave(rows: i64, columns: i64, kind: Kind) -> Tensor {
        let index = Tensor::arange(rows * columns, (Kind::Double, tch::Device::Cpu));
        (index.square() * 0.37).sin().reshape([rows, columns]).to_kind(kind)
    }

    #[test]
    fn products_with_a_packed_factor_are_those_of_libtorch() {
        // Other tests of this program want CUDA, which has to come first where it can be used.
        let _ = crate::loading::load(Device::Cuda);
        for (precision, tolerance) in [(Precision::F32, 2e-6), (Precision::F64, 1e-14)] {
            let tch = Tch::new(Device::Cpu, precision, Options { threads: 1, allow_tf32: false }).unwrap();
            let kind = tch.kind();
            let sizes = [(1, 1, 1), (3, 1, 5), (1, 4, 1), (4, 5, 1), (3, 17, 5), (25, 40, 130), (50, 300, 64)];
            for (rows, inner, columns) in sizes {
                for of in [wave(inner, columns, kind), wave(columns, inner, kind).tr()] {
                    let factor = Factor::new(&tch, &of, rows);
                    assert_eq!(factor.is_packed(), precision == Precision::F32 && tch::utils::has_mkl());
                    // A view of wider rows, as gathered products have.
                    let left = wave(rows, inner + 3, kind).narrow(1, 2, inner);
                    let expected = left.to_kind(Kind::Double).mm(&of.to_kind(Kind::Double));
                    let close = |found: Tensor, expected: &Tensor| {
                        let worst = (found.to_kind(Kind::Double) - expected).abs().max().double_value(&[]);
                        assert!(worst <= tolerance * inner as f64, "{rows} {inner} {columns}: {worst:e}");
                    };
                    close(factor.product_of(&left), &expected);
                    let base = wave(1, columns, kind);
                    close(factor.product_plus(&base, &left), &(expected + &base));
                }
            }
        }
    }

    #[test]
    fn a_matrix_whose_numbers_lie_apart_both_ways_is_left_to_libtorch() {
        let _ = crate::loading::load(Device::Cuda);
        let tch = Tch::new(Device::Cpu, Precision::F32, Options { threads: 1, allow_tf32: false }).unwrap();
        let of = wave(8, 6, Kind::Float).as_strided([4, 3], [12, 2], None);
        let factor = Factor::new(&tch, &of, 2);
        assert!(!factor.is_packed());
        let left = wave(2, 4, Kind::Float);
        assert_eq!(factor.product_of(&left), left.mm(&of));
    }
}
