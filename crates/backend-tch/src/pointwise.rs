//! The pointwise work of a ridge potential between its products: one pass over the numbers on the CPU, one launch on a CUDA device.
//!
//! libtorch would take five to ten operations for either, each with a pass of its own.

mod cpu;

pub(crate) use cpu::sum;
use tch::Tensor;

use crate::Tch;

/// What follows a product on the way there, rows × columns.
pub(crate) struct SlopesOf<'a> {
    /// Softplus, or else ln cosh.
    pub softplus: bool,
    /// Offsets of the arguments: one row, or one for every row.
    pub base: Option<&'a Tensor>,
    /// One more row of them.
    pub moving: Option<&'a Tensor>,
    /// v, one row, and where `v ⊙ s` goes.
    pub v: &'a Tensor,
    pub velocity: Option<&'a Tensor>,
    /// `v_j ‖w_j‖²`, and where `Σ_j v_j ‖w_j‖² f''_j` goes, one number per row.
    pub curved: &'a Tensor,
    pub laplacian: Option<&'a Tensor>,
    /// Where the velocity leads; only with a velocity.
    pub toward: Option<Leads<'a>>,
}

/// `out ← base + Σ cᵢ · termᵢ + c · velocity`.
pub(crate) struct Leads<'a> {
    pub out: &'a Tensor,
    pub base: &'a Tensor,
    pub terms: &'a [(f64, &'a Tensor)],
    pub c: f64,
}

/// What is between the products on the way back, rows × columns.
pub(crate) struct PullbackOf<'a> {
    /// Softplus, or else ln cosh.
    pub softplus: bool,
    /// The cotangents of `v ⊙ s`, or of s where there is no v: a sum.
    pub u: &'a [(f64, &'a Tensor)],
    pub v: Option<&'a Tensor>,
    /// `v_j ‖w_j‖²`.
    pub curved: &'a Tensor,
    /// The cotangents of the Laplacians.
    pub laplacian_bar: Option<&'a Tensor>,
    /// `ā = f'' s̄ + l̄ v ‖w‖² f'''`, overwritten.
    pub a_bar: &'a Tensor,
    /// What is copied on the way, and to where.
    pub copy: Option<(&'a Tensor, &'a Tensor)>,
    /// The functions of time now, and what they are the factors of in these sums, where there is room for them: `s ⊙ u`, `l̄ f''` and ā.
    /// The first two are summed over the rows too where they have but one.
    pub b: &'a [f64],
    pub amplitudes: &'a [Tensor],
    pub curvatures: &'a [Tensor],
    pub arguments: &'a [Tensor],
}

impl Tch {
    /// From arguments to slopes `s = f'`, with velocities and Laplacians where they are wanted; the arguments' memory may be used again.
    pub(crate) fn slopes(&self, a: Tensor, of: &SlopesOf<'_>) -> Tensor {
        match self.kernels {
            Some(kernels) if a.kind() == self.kind() => {
                kernels.slopes(&a, &a, of);
                a
            }
            Some(kernels) => {
                let s = Tensor::empty(a.size(), (self.kind(), a.device()));
                kernels.slopes(&a, &s, of);
                s
            }
            None => cpu::slopes(a, of),
        }
    }

    /// From the cotangents of velocities and Laplacians to those of the arguments; adds what the gradient needs.
    pub(crate) fn pullback(&self, s: &Tensor, of: &PullbackOf<'_>) {
        match self.kernels {
            Some(kernels) => kernels.pullback(s, of),
            None => cpu::pullback(s, of),
        }
    }

    /// Rows of the sums of `s ⊙ u` and `l̄ f''` for so many rows of a block.
    pub(crate) fn rows_of_sums(&self, rows: i64) -> i64 {
        // On a device every row has its own: there is more memory than time.
        if self.kernels.is_some() { rows } else { 1 }
    }
}
