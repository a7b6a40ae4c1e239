//! The two working precisions with all that is computed in them.

use crate::kernels::Kernels;
use crate::lattice_kernels::LatticeKernels;
use crate::number::Number;
use crate::particles::kernels::ParticleKernels;
use crate::score_kernels::ScoreKernels;
use crate::separable_kernels::SeparableKernels;
use crate::tiles::Tiled;
use crate::two_layer_kernels::TwoLayerKernels;

/// A working precision: `f32` or `f64`.
pub trait Real:
    Number + Kernels + LatticeKernels + ParticleKernels + ScoreKernels + SeparableKernels + Tiled + TwoLayerKernels
{
}

impl Real for f32 {}
impl Real for f64 {}
