//! The affine coupling layer of Real NVP.

use tch::Tensor;

use super::network::{Network, Sizes, Unit};
use super::{Constant, Layer, Maker, sum_of_rows};

/// `z_b = (x_b − t(x_a)) exp(−s(x_a))`, `z_a = x_a` (Dinh, Sohl-Dickstein and Bengio, arXiv:1605.08803, section 3.3), a
/// every other coordinate and b those between. Hidden units of s are tanh, those of t rectified, as in
/// arXiv:1705.07057.
pub(super) struct Coupling {
    log_scale: Network,
    shift: Network,
    /// Parameters of the first network.
    of_scale: usize,
    kept: Constant,
    moved: Constant,
    /// Where each coordinate is when those kept stand before those moved.
    places: Constant,
}

impl Coupling {
    /// Coordinates 1, 3, 5, … are kept, or 0, 2, 4, … .
    pub fn new(maker: &mut Maker<'_>, name: &str, sizes: Sizes<'_>, keeps_odd: bool) -> Self {
        let (kept, moved): (Vec<i64>, Vec<i64>) = (0..sizes.dim as i64).partition(|i| (i % 2 == 1) == keeps_odd);
        let ends = (kept.len(), moved.len());
        let first = maker.parameters.len();
        let log_scale = Network::new(maker, &format!("{name}.scale"), ends, sizes, Unit::Tanh);
        let of_scale = maker.parameters.len() - first;
        let shift = Network::new(maker, &format!("{name}.shift"), ends, sizes, Unit::Relu);
        let mut places = vec![0; sizes.dim];
        kept.iter().chain(&moved).enumerate().for_each(|(place, i)| places[*i as usize] = place as i64);
        let constant = |of: &[i64]| Constant(Tensor::from_slice(of).to_device(maker.space.device().into()));
        let (kept, moved, places) = (constant(&kept), constant(&moved), constant(&places));
        Self { log_scale, shift, of_scale, kept, moved, places }
    }

    /// The rows with their moved coordinates replaced: those come from what they were, the shift and the logarithm of
    /// the scale. The latter is returned too.
    fn with_moved(
        &self,
        parameters: &[Tensor],
        rows: &Tensor,
        context: Option<&Tensor>,
        to: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Tensor,
    ) -> (Tensor, Tensor) {
        let [kept, moved] = [&self.kept, &self.moved].map(|places| rows.index_select(1, &places.0));
        let (of_scale, of_shift) = parameters.split_at(self.of_scale);
        let log_scale = self.log_scale.outputs(of_scale, &kept, context);
        let shift = self.shift.outputs(of_shift, &kept, context);
        let moved = to(&moved, &shift, &log_scale);
        (Tensor::cat(&[kept, moved], 1).index_select(1, &self.places.0), log_scale)
    }
}

impl Layer for Coupling {
    fn to_base(&self, parameters: &[Tensor], x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (z, log_scale) =
            self.with_moved(parameters, x, context, |x, shift, log_scale| (x - shift) * (-log_scale).exp());
        (z, -sum_of_rows(&log_scale))
    }

    fn to_model(&self, parameters: &[Tensor], z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (x, log_scale) = self.with_moved(parameters, z, context, |z, shift, log_scale| z * log_scale.exp() + shift);
        (x, sum_of_rows(&log_scale))
    }

    fn differentiable_to_model(&self) -> bool {
        true
    }
}
