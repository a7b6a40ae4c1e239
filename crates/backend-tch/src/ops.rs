//! What the pointwise work of a ridge potential is given, by the processor's kernels and by a device's.

use flow_core::Activation;
use tch::Tensor;

/// What follows a product on the way there, rows × columns.
pub(crate) struct SlopesOf<'a> {
    /// f.
    pub activation: Activation,
    /// Offsets of the arguments: one row, or one for every row.
    pub base: Option<&'a Tensor>,
    /// One more row of them.
    pub moving: Option<&'a Tensor>,
    /// v, one row, and where `v ⊙ s` goes.
    pub v: &'a Tensor,
    pub velocity: Option<&'a mut Tensor>,
    /// `v_j ‖w_j‖²`, and where `Σ_j v_j ‖w_j‖² f''_j` goes, one number per row.
    pub curved: &'a Tensor,
    pub laplacian: Option<&'a mut Tensor>,
    /// The update of a state by the velocity; only with a velocity.
    pub update: Option<Update<'a>>,
}

/// `out ← base + Σ cᵢ · termᵢ + c · velocity`.
pub(crate) struct Update<'a> {
    pub out: &'a mut Tensor,
    pub base: &'a Tensor,
    pub terms: &'a [(f64, &'a Tensor)],
    pub c: f64,
}

/// What is between the products on the way back, rows × columns.
pub(crate) struct PullbackOf<'a> {
    /// f.
    pub activation: Activation,
    /// The cotangents of `v ⊙ s`, or of s where there is no v: a sum.
    pub u: &'a [(f64, &'a Tensor)],
    pub v: Option<&'a Tensor>,
    /// `v_j ‖w_j‖²`.
    pub curved: &'a Tensor,
    /// The cotangents of the Laplacians.
    pub laplacian_bar: Option<&'a Tensor>,
    /// `ā = f'' s̄ + l̄ v ‖w‖² f'''`, overwritten.
    pub a_bar: &'a mut Tensor,
    /// What is copied on the way, and to where.
    pub copy: Option<(&'a Tensor, &'a mut Tensor)>,
    /// The functions of time now, and what they are the factors of in these sums, where there is room for them: `s ⊙
    /// u`, `l̄ f''` and ā. The first two are summed over the rows too where they have but one.
    pub b: &'a [f64],
    pub amplitudes: &'a mut [Tensor],
    pub curvatures: &'a mut [Tensor],
    pub arguments: &'a mut [Tensor],
}
