//! Kernels of a ridge potential and all their images under a symmetry group.

use flow_core::Group;
use tch::Tensor;

use crate::tensors::Tch;

/// A group of signed permutations as index tensors: element g sends x to `y_i = sign_g · x[source_g[i]]`.
#[derive(Debug)]
pub(crate) struct Orbit {
    /// Elements × N.
    source: Tensor,
    /// Elements × N: the place of i in `source_g`.
    place: Tensor,
    /// Elements × 1 × 1.
    sign: Tensor,
}

// SAFETY: as for `Array`.
unsafe impl Sync for Orbit {}

impl Orbit {
    pub(crate) fn new(space: &Tch, group: &Group) -> Self {
        let (order, dim) = (group.order() as i64, group.dim() as i64);
        let (mut source, mut place) = (Vec::new(), Vec::new());
        for g in 0..group.order() {
            let (permutation, _) = group.element(g);
            let mut inverse = vec![0; permutation.len()];
            for (i, &from) in permutation.iter().enumerate() {
                inverse[from as usize] = i as i64;
            }
            source.extend(permutation.iter().map(|&from| i64::from(from)));
            place.extend(inverse);
        }
        let index = |of: &[i64]| Tensor::from_slice(of).to_device(space.device().into()).reshape([order, dim]);
        let signs: Vec<f64> = (0..group.order()).map(|g| group.element(g).1).collect();
        Self { source: index(&source), place: index(&place), sign: space.send(&signs, space.kind(), &[order, 1, 1]) }
    }

    /// Number of elements.
    pub(crate) fn order(&self) -> i64 {
        self.sign.size()[0]
    }

    /// The weights of all ridge functions from those of the kernels (k × N):
    /// those of element g of the group follow those of element g − 1. `w·(gx) = Σ_i w_i sign x[source_i]`.
    pub(crate) fn spread(&self, kernels: &Tensor) -> Tensor {
        let (k, dim) = kernels.size2().expect("weights are a matrix");
        let all = kernels.index_select(1, &self.place.reshape([-1])).reshape([k, -1, dim]).transpose(0, 1);
        (all * &self.sign).reshape([-1, dim])
    }

    /// The cotangent of the kernels from that of all weights.
    pub(crate) fn gather(&self, all_bar: &Tensor) -> Tensor {
        let dim = all_bar.size()[1];
        let all_bar = all_bar.reshape([self.order(), -1, dim]);
        let index = self.source.unsqueeze(1).expand_as(&all_bar);
        (all_bar.gather(2, &index, false) * &self.sign).sum_dim_intlist(0, false, all_bar.kind())
    }
}
