//! Monge-Ampère flows on the CPU in pure Rust, in 32 or 64 bits.
//!
//! [`Cpu`] is the [`flow_core::Space`]; [`Ridge`] is the paper's one-hidden-layer potential, which can depend on time.
//! [`TwoLayer`] has two, [`Quadratic`], [`FullQuadratic`] and [`Separable`] are further terms for a [`flow_core::Sum`],
//! and [`Particles`] knows the distances of equal particles. Rows of a batch are cut into blocks that run on a pool of
//! threads from the start of a solve to its end; the cut depends on the batch alone, so results are the same at any
//! number of threads.

mod accumulator;
mod arrays;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod context;
mod cpu;
mod engine;
mod gemm;
mod kernels;
mod lattice_kernels;
mod lattice_quadratic;
mod lattice_ridge;
mod number;
mod packed;
mod particles;
mod quadratic;
mod real;
mod ridge;
mod score_kernels;
mod separable;
mod separable_kernels;
mod tangents;
mod tiles;
mod timed;
mod torus;
#[cfg(target_arch = "x86_64")]
mod transpose;
mod two_layer;
mod two_layer_kernels;

pub use cpu::Cpu;
pub use flow_core::{Activation, LatticeRidgeSettings, TwoLayerSettings};
pub use lattice_quadratic::LatticeQuadratic;
pub use lattice_ridge::LatticeRidge;
pub use number::Number;
pub use particles::Particles;
pub use quadratic::{FullQuadratic, Quadratic};
pub use real::Real;
pub use ridge::Ridge;
pub use separable::Separable;
pub use two_layer::TwoLayer;
