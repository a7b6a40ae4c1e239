//! The keys of `[model]`: models in closed form, which stand in place of a potential and its flow.

use serde::{Deserialize, Serialize};

/// A model in closed form, to compare flows with: on libtorch's backends.
///
/// It integrates nothing, so that no figure of it has an integration error. It has no batch normalisation; affine
/// layers begin as the identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Model {
    /// A masked autoregressive network (MADE, arXiv:1502.03509): of every coordinate a Gaussian, or a mixture of them,
    /// given those before it.
    Made(MadeModel),
    /// A masked autoregressive flow (MAF, arXiv:1705.07057): autoregressive layers in turns with the order reversed.
    Maf(MafModel),
    /// Affine couplings of every other coordinate in turns (Real NVP, arXiv:1605.08803).
    RealNvp(RealNvpModel),
    /// Couplings of blocks of a periodic square lattice, scale by scale (neural renormalisation group,
    /// arXiv:1802.02840).
    NeuralRg(NeuralRgModel),
}

/// One autoregressive network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeModel {
    /// Units of the hidden layers.
    pub hidden: Vec<usize>,
    /// Gaussians that each coordinate is a mixture of, given those before it.
    #[serde(default = "one")]
    pub components: usize,
}

/// Autoregressive layers on a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MafModel {
    /// Autoregressive layers.
    pub layers: usize,
    /// Units of the hidden layers of each.
    pub hidden: Vec<usize>,
    /// Gaussians of the base: 1: a standard normal; more: an autoregressive mixture with a network of its own.
    #[serde(default = "one")]
    pub components: usize,
}

/// Couplings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RealNvpModel {
    /// Couplings, each of which moves every other coordinate by those between.
    pub layers: usize,
    /// Units of the hidden layers of both networks of each: tanh for the scales, rectified for the shifts.
    pub hidden: Vec<usize>,
}

/// Couplings of 2 × 2 sites: at every scale blocks are disentangled from their neighbours and then decimated, and one
/// site in four goes on. Those of a layer are all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeuralRgModel {
    /// Couplings of a block.
    pub layers: usize,
    /// Units of the hidden layers of both networks of each.
    pub hidden: Vec<usize>,
}

fn one() -> usize {
    1
}

impl Model {
    /// Its name in recipes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Made(_) => "made",
            Self::Maf(_) => "maf",
            Self::RealNvp(_) => "real-nvp",
            Self::NeuralRg(_) => "neural-rg",
        }
    }
}
