//! Potentials written once for all backends, over the operations of a [`Space`](crate::Space) alone.
//!
//! A backend may have a fused twin of one, with kernels of its own; the conformance suite compares the two. A new term
//! starts here.

mod context_quadratic;
mod mapped_context;
mod modulated;
mod ridge;

pub use context_quadratic::ContextQuadratic;
pub use mapped_context::{ContextMap, MappedContext};
pub use modulated::Modulated;
pub use ridge::Ridge;
