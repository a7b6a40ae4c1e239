//! The layer that makes every conditional a mixture of Gaussians.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use flow_core::Space;
use tch::{Kind, Tensor};

use super::autoregressive::ordered;
use super::network::{MaskedNetwork, Sizes};
use super::{Layer, Maker, sum_of_rows};

/// The monotone map of every coordinate that makes a mixture of Gaussians the standard normal, `z_i = Φ⁻¹(F_i(x_i))`,
/// `F_i = Σ_c w_ic Φ((x_i − m_ic) exp(−s_ic))`, with w, m and s functions of the coordinates before i. So the density
/// is `Π_i Σ_c w_ic N(x_i; m_ic, e^{s_ic})`: the mixture of arXiv:1705.07057, section 4, for a base.
///
/// All of it is in 64 bits. ln p is the mixture's own in any case. Beyond 37 deviations, where the tails of Φ end, z is
/// 37.
pub(super) struct Mixture {
    network: MaskedNetwork,
    components: i64,
    reversed: bool,
}

/// Halvings that leave a bracket no wider than its numbers are exact.
const HALVINGS: usize = 54;
/// The least tail that has a quantile: of 37 deviations.
const LEAST_TAIL: f64 = 1e-300;

impl Mixture {
    /// The Gaussians of width ½ are equally spaced between ±1.5 at first.
    pub fn new(maker: &mut Maker<'_>, name: &str, sizes: Sizes<'_>, components: usize, reversed: bool) -> Self {
        let network = MaskedNetwork::new(maker, name, sizes, 3 * components);
        let mut first = vec![0.0; 3 * components];
        for c in 0..components {
            first[components + c] = 1.5 * ((2 * c + 1) as f64 / components as f64 - 1.0);
            first[2 * components + c] = 0.5_f64.ln();
        }
        let first: Vec<f64> = first.iter().flat_map(|number| vec![*number; sizes.dim]).collect();
        let bias = maker.parameters.last_mut().expect("a network ends with a bias");
        bias.value = maker.space.upload(1, first.len(), &first);
        Self { network, components: components as i64, reversed }
    }

    /// The mixtures that the outputs of some coordinates say.
    fn conditionals(&self, outputs: &Tensor) -> Conditionals {
        let parts = outputs.to_kind(Kind::Double).view([outputs.size()[0], 3, self.components, -1]).unbind(1);
        let [weights, means, log_scales] = &parts[..] else { unreachable!("three parts") };
        Conditionals {
            log_weights: weights.log_softmax(1, Kind::Double),
            means: means.shallow_clone(),
            log_scales: log_scales.shallow_clone(),
        }
    }
}

/// Mixtures of coordinates: n × components × coordinates.
struct Conditionals {
    log_weights: Tensor,
    means: Tensor,
    log_scales: Tensor,
}

/// Logarithm of the standard normal density without its constant.
fn log_normal(z: &Tensor) -> Tensor {
    z * z * -0.5
}

impl Conditionals {
    /// x in units of every component.
    fn standardised(&self, x: &Tensor) -> Tensor {
        (x.unsqueeze(1) - &self.means) * (-&self.log_scales).exp()
    }

    /// ln p of coordinates, without the constant of a standard normal.
    fn log_density(&self, x: &Tensor) -> Tensor {
        (&self.log_weights - &self.log_scales + log_normal(&self.standardised(x))).logsumexp([1], false)
    }

    /// z of coordinates x, by whichever tail is smaller. The derivative of z is that of the tail over the normal
    /// density.
    fn quantiles(&self, x: &Tensor) -> Tensor {
        let (t, weights) = (self.standardised(x), self.log_weights.exp());
        // Φ(t) = erfc(−t/√2)/2 is exact far out, where 1 + erf is not.
        let tail = |t: &Tensor| (&weights * (t * -FRAC_1_SQRT_2).erfc()).sum_dim_intlist(1, false, Kind::Double) * 0.5;
        let (lower, upper) = (tail(&t), tail(&-&t));
        let quantile = |tail: &Tensor| tail.detach().clamp_min(LEAST_TAIL).special_ndtri();
        let below = lower.le_tensor(&upper);
        let z = quantile(&lower).where_self(&below, &-quantile(&upper));
        let smaller = lower.where_self(&below, &-upper);
        let density = log_normal(&z).exp() / (2.0 * PI).sqrt();
        z + (&smaller - smaller.detach()) / density
    }

    /// The one coordinate at these quantiles (n × 1), which lies between those of the components.
    fn at(&self, z: &Tensor) -> Tensor {
        let of_components = &self.means + self.log_scales.exp() * z.unsqueeze(1);
        let (mut low, mut high) = (of_components.amin([1], false), of_components.amax([1], false));
        for _ in 0..HALVINGS {
            let middle = (&low + &high) * 0.5;
            let below = self.quantiles(&middle).lt_tensor(z);
            low = middle.where_self(&below, &low);
            high = high.where_self(&below, &middle);
        }
        (low + high) * 0.5
    }
}

impl Layer for Mixture {
    fn to_base(&self, parameters: &[Tensor], x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let x = ordered(x, self.reversed);
        let conditionals = self.conditionals(&self.network.outputs(parameters, &x, context));
        let wide = x.to_kind(Kind::Double);
        // Of the z that is handed on, so that ln p is the mixture's to the last bit.
        let z = conditionals.quantiles(&wide).to_kind(x.kind());
        let log_jacobian = conditionals.log_density(&wide) - log_normal(&z.to_kind(Kind::Double));
        (ordered(&z, self.reversed), sum_of_rows(&log_jacobian))
    }

    fn to_model(&self, parameters: &[Tensor], z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let z = ordered(z, self.reversed);
        let kind = z.kind();
        let mut log_jacobian = Tensor::zeros([z.size()[0]], (Kind::Double, z.device()));
        let x = self.network.rows(parameters, &z, context, |i, outputs| {
            let (conditionals, z) = (self.conditionals(outputs), z.narrow(1, i, 1).to_kind(Kind::Double));
            // The log-Jacobian is that of the point that comes out, which working precision rounds.
            let x = conditionals.at(&z).to_kind(kind).to_kind(Kind::Double);
            log_jacobian += (log_normal(&z) - conditionals.log_density(&x)).squeeze_dim(1);
            x
        });
        (ordered(&x, self.reversed), log_jacobian)
    }
}
