//! The seam to whole backends: a space with the potentials that it brings.

use crate::activation::Activation;
use crate::bijector::Bijector;
use crate::centres::Centres;
use crate::error::Error;
use crate::lattice::LatticeRidgeSettings;
use crate::particles::ParticlesSettings;
use crate::potential::Potential;
use crate::ridge::RidgeSettings;
use crate::space::Space;
use crate::symmetry::Group;
use crate::time::TimeBasis;
use crate::two_layer::TwoLayerSettings;

/// A space that makes potentials of its own, by their settings.
///
/// A backend implements it for each of its precisions by itself, not for all of them at once: what it brings is then
/// compiled with the backend, and not again by everyone who uses it.
pub trait Engine: Space {
    /// A potential of `dim` numbers, its coefficients expanded in functions of `time`, with its first parameters drawn
    /// from `seed`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a size that is out of range, or a potential that this backend lacks; [`Error::Shape`] for
    /// a group or a lattice of another dimension.
    fn potential(
        &self,
        dim: usize,
        settings: &PotentialSettings,
        time: TimeBasis,
        seed: u64,
    ) -> Result<Box<dyn Potential<Self>>, Error>;

    /// A map in closed form of `dim` numbers, with `context` numbers of context per row and its first parameters drawn
    /// from `seed`. The default refuses: it is for backends that have none.
    ///
    /// # Errors
    /// [`Error::Setting`] for a size that is out of range, or a backend that has none.
    fn bijector(
        &self,
        _dim: usize,
        _context: usize,
        _settings: &BijectorSettings,
        _seed: u64,
    ) -> Result<Box<dyn Bijector<Self>>, Error> {
        Err(Error::setting("model", "in closed form", "a flow: this backend has no other, those of libtorch have"))
    }
}

/// Maps in closed form, by their shapes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BijectorSettings {
    /// Masked autoregressive layers (Papamakarios, Pavlakou and Murray, arXiv:1705.07057), the order of the coordinates
    /// reversed from one to the next: each is a masked network (Germain et al., arXiv:1502.03509) with these hidden
    /// layers of rectified linear units. Scales are between 1/1000 and 1000.
    Autoregressive {
        /// Layers that shift and scale.
        layers: usize,
        /// Units of the hidden layers of each.
        hidden: Vec<usize>,
        /// Gaussians of which one further layer, next to the base, makes every conditional a mixture; 0: no such layer.
        components: usize,
    },
    /// The couplings of 2 × 2 blocks of a periodic square lattice in a hierarchy of scales (Li and Wang,
    /// arXiv:1802.02840), the same for every block of a layer.
    Hierarchical {
        /// Sites in one direction, a power of two.
        side: usize,
        /// Couplings of a block.
        layers: usize,
        /// Units of the hidden layers of each of both networks.
        hidden: Vec<usize>,
    },
    /// Affine couplings (Dinh, Sohl-Dickstein and Bengio, arXiv:1605.08803), which shift and scale every other
    /// coordinate by functions of those between, in turns.
    Coupling {
        /// Couplings.
        layers: usize,
        /// Units of the hidden layers of each of both networks.
        hidden: Vec<usize>,
    },
}

/// The potentials that backends bring, by their shapes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PotentialSettings {
    /// `½ Σ_i q_i(t) x_i² + Σ_i l_i(t) x_i`.
    Quadratic {
        /// Whether there is a linear part.
        linear: bool,
    },
    /// `½ xᵀ A(t) x`, A symmetric.
    FullQuadratic,
    /// `Σ_i Σ_k α_ik(t) f(g (x_i − c_k))` with fixed centres.
    Separable {
        /// The centres, the same for every coordinate.
        centres: Centres,
        /// The function f.
        activation: Activation,
    },
    /// `Σ_j v_j(t) f(g_j(t) (w_j·x + u_j·c) + b_j(t))`, summed over a group where there is one.
    Ridge {
        /// Sizes.
        settings: RidgeSettings,
        /// The group, for a potential without gains and context.
        orbit: Option<Group>,
    },
    /// Two hidden layers.
    TwoLayer(TwoLayerSettings),
    /// `½ xᵀ C(t) x` with C the same at every site of a periodic lattice.
    LatticeQuadratic {
        /// Rows and columns.
        shape: (usize, usize),
    },
    /// Kernels moved over a periodic lattice.
    LatticeRidge(LatticeRidgeSettings),
    /// Distances of equal particles.
    Particles(ParticlesSettings),
    /// `⟨x, U(x, t)⟩` of square pictures.
    Convolutional(NetworkSettings),
}

/// Sizes of a U-shaped network of square pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Rows and columns of a picture: a multiple of 4.
    pub side: usize,
    /// Channels at half and at a quarter of the resolution.
    pub channels: [usize; 2],
    /// Units of the dense layer at a quarter of the resolution.
    pub hidden: usize,
    /// Probes that the Laplacian is estimated with, drawn once per solve for every row; 0: the exact Laplacian, at the
    /// cost of one product with the Hessian per pixel.
    pub probes: usize,
}
