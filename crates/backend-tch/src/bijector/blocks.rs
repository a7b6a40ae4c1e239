//! Couplings of blocks of a lattice, and their layout over scales.

use tch::{Kind, Tensor};

use super::coupling::Coupling;
use super::network::Sizes;
use super::{Constant, Layer, Maker};
use std::ops::Range;

/// The same couplings of the four sites of every block of a layer.
pub(super) struct Blocks {
    /// Each with the places of its parameters among those of the layer.
    couplings: Vec<(Coupling, Range<usize>)>,
    /// Sites of the blocks, four by four.
    sites: Constant,
}

/// The layers of hierarchical couplings (Li and Wang, arXiv:1802.02840) of a periodic square lattice whose side is a
/// power of two: at every scale blocks of 2 × 2 sites are disentangled from their neighbours, and blocks shifted by a
/// site then decimated, of which one site in four goes on to the next scale. Sites go round a block, so that couplings
/// keep one diagonal of it and move the other. Numbers are places row by row; the first layer is the one next to the
/// model.
pub(super) fn scales(side: usize) -> Vec<Vec<i64>> {
    let mut layers = Vec::new();
    let mut stride = 1;
    while stride < side {
        let grid = side / stride;
        // A last block of the whole lattice has no neighbours.
        for shift in if grid > 2 { &[1, 0][..] } else { &[0] } {
            let site = |row: usize, col: usize| {
                let at = |place: usize| (place + shift) % grid * stride;
                (at(row) * side + at(col)) as i64
            };
            let corners = |i: usize, j: usize| [site(i, j), site(i, j + 1), site(i + 1, j + 1), site(i + 1, j)];
            let blocks = (0..grid).step_by(2).flat_map(|i| (0..grid).step_by(2).map(move |j| (i, j)));
            layers.push(blocks.flat_map(|(i, j)| corners(i, j)).collect());
        }
        stride *= 2;
    }
    layers
}

impl Blocks {
    pub fn new(maker: &mut Maker<'_>, name: &str, couplings: usize, hidden: &[usize], sites: &[i64]) -> Self {
        let before = maker.parameters.len();
        let couplings = (0..couplings).map(|k| {
            let first = maker.parameters.len() - before;
            let sizes = Sizes { dim: 4, context: 0, hidden };
            let coupling = Coupling::new(maker, &format!("{name}.coupling{}", k + 1), sizes, k % 2 == 0);
            (coupling, first..maker.parameters.len() - before)
        });
        let couplings = couplings.collect();
        Self { couplings, sites: Constant(Tensor::from_slice(sites).to_device(maker.space.device().into())) }
    }

    /// The rows with their blocks carried by all couplings one after the other.
    fn carried<'a>(
        &'a self,
        rows: &Tensor,
        couplings: impl Iterator<Item = &'a (Coupling, Range<usize>)>,
        by: impl Fn(&Coupling, Range<usize>, &Tensor) -> (Tensor, Tensor),
    ) -> (Tensor, Tensor) {
        let n = rows.size()[0];
        let blocks = rows.index_select(1, &self.sites.0).view([-1, 4]);
        let zero = Tensor::zeros([blocks.size()[0]], (Kind::Double, rows.device()));
        let (blocks, log_jacobian) = couplings.fold((blocks, zero), |(blocks, sum), (coupling, places)| {
            let (blocks, log_jacobian) = by(coupling, places.clone(), &blocks);
            (blocks, sum + log_jacobian)
        });
        let carried = rows.index_copy(1, &self.sites.0, &blocks.view([n, -1]));
        (carried, log_jacobian.view([n, -1]).sum_dim_intlist(1, false, Kind::Double))
    }
}

impl Layer for Blocks {
    fn to_base(&self, parameters: &[Tensor], x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.carried(x, self.couplings.iter(), |coupling, places, x| coupling.to_base(&parameters[places], x, None))
    }

    fn to_model(&self, parameters: &[Tensor], z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        let backwards = self.couplings.iter().rev();
        self.carried(z, backwards, |coupling, places, z| coupling.to_model(&parameters[places], z, None))
    }

    fn differentiable_to_model(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::scales;

    #[test]
    fn every_scale_has_its_blocks_and_one_site_in_four_goes_on() {
        assert_eq!(scales(2), [[0, 1, 3, 2]]);
        let layers = scales(4);
        assert_eq!(layers.iter().map(Vec::len).collect::<Vec<_>>(), [16, 16, 4]);
        // Shifted by a site, round the lattice; then in place; then every second site.
        assert_eq!(layers[0][..4], [5, 6, 10, 9]);
        assert_eq!(layers[0][12..], [15, 12, 0, 3]);
        assert_eq!(layers[1][..4], [0, 1, 5, 4]);
        assert_eq!(layers[2], [0, 2, 10, 8]);
        for layer in scales(16) {
            let mut sites = layer.clone();
            sites.sort_unstable();
            sites.dedup();
            assert_eq!(sites.len(), layer.len(), "a site is in one block of a layer");
        }
    }
}
