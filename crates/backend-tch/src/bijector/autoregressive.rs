//! The affine autoregressive layer of masked autoregressive flows.

use tch::{Kind, Tensor};

use super::network::{MaskedNetwork, Sizes};
use super::{Layer, Maker, sum_of_rows};

/// What a coordinate is multiplied or divided by at most.
const GREATEST_SCALE: f64 = 1000.0;

/// `z_i = (x_i − μ_i) exp(−α_i)`, μ_i and α_i functions of the coordinates before i (Papamakarios, Pavlakou and Murray,
/// arXiv:1705.07057, equation 4). With a the output of the network, `α = a / (1 + |a| / ln 1000)`: scales are between
/// 1/1000 and 1000. Outputs grow with the coordinates, so that without a bound a row a hundred deviations away from all
/// others comes to no finite number.
pub(super) struct Affine {
    network: MaskedNetwork,
    /// Whether the last coordinate is the first.
    reversed: bool,
}

impl Affine {
    pub fn new(maker: &mut Maker<'_>, name: &str, sizes: Sizes<'_>, reversed: bool) -> Self {
        Self { network: MaskedNetwork::new(maker, name, sizes, 2), reversed }
    }
}

/// α of outputs a.
fn bounded(outputs: &Tensor) -> Tensor {
    outputs / (outputs.abs() / GREATEST_SCALE.ln() + 1.0)
}

/// The coordinates in the order of a layer, and back.
pub(super) fn ordered(rows: &Tensor, reversed: bool) -> Tensor {
    if reversed { rows.flip([1]) } else { rows.shallow_clone() }
}

impl Layer for Affine {
    fn to_base(&self, parameters: &[Tensor], x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let x = ordered(x, self.reversed);
        let outputs = self.network.outputs(parameters, &x, context).chunk(2, 1);
        let (shift, log_scale) = (&outputs[0], bounded(&outputs[1]));
        let z = (x - shift) * (-&log_scale).exp();
        (ordered(&z, self.reversed), -sum_of_rows(&log_scale))
    }

    fn to_model(&self, parameters: &[Tensor], z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let z = ordered(z, self.reversed);
        let mut log_jacobian = Tensor::zeros([z.size()[0]], (Kind::Double, z.device()));
        let x = self.network.rows(parameters, &z, context, |i, outputs| {
            let (shift, log_scale) = (outputs.narrow(1, 0, 1), bounded(&outputs.narrow(1, 1, 1)));
            log_jacobian += log_scale.to_kind(Kind::Double).squeeze_dim(1);
            z.narrow(1, i, 1) * log_scale.exp() + shift
        });
        (ordered(&x, self.reversed), log_jacobian)
    }
}
