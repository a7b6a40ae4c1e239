//! Networks that layers get their shifts and scales from: plain ones, and ones masked so that outputs know the
//! coordinates before them alone.

use flow_core::Space;
use tch::Tensor;

use super::{Constant, Maker};

/// What the network of a layer is for.
#[derive(Clone, Copy)]
pub(super) struct Sizes<'a> {
    /// Coordinates.
    pub dim: usize,
    /// Numbers of context per row.
    pub context: usize,
    /// Units of the hidden layers.
    pub hidden: &'a [usize],
}

/// The function of hidden units.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Relu,
    Tanh,
}

impl Unit {
    fn of(self, a: &Tensor) -> Tensor {
        match self {
            Self::Relu => a.relu(),
            Self::Tanh => a.tanh(),
        }
    }
}

/// `h₁ = f(W₁x + Uc + b₁)`, `h_l = f(W_l h_{l−1} + b_l)`, `out = W h + b`, c the context. Parameters in this order:
/// W₁, b₁, then U where there is context, W₂, b₂, … .
pub(super) struct Network {
    unit: Unit,
    /// Hidden layers.
    depth: usize,
    context: bool,
    /// What the weights W are multiplied by, in a masked network.
    masks: Option<Vec<Constant>>,
}

impl Network {
    /// From `inputs` numbers to `outputs`, the latter zero at first.
    pub fn new(
        maker: &mut Maker<'_>,
        name: &str,
        (inputs, outputs): (usize, usize),
        sizes: Sizes<'_>,
        unit: Unit,
    ) -> Self {
        let mut before = inputs;
        for (l, units) in sizes.hidden.iter().enumerate() {
            maker.weight(format!("{name}.weight{}", l + 1), *units, before);
            maker.zeros(format!("{name}.bias{}", l + 1), &[*units]);
            if l == 0 && sizes.context > 0 {
                maker.weight(format!("{name}.context"), *units, sizes.context);
            }
            before = *units;
        }
        maker.zeros(format!("{name}.weight{}", sizes.hidden.len() + 1), &[outputs, before]);
        maker.zeros(format!("{name}.bias{}", sizes.hidden.len() + 1), &[outputs]);
        Self { unit, depth: sizes.hidden.len(), context: sizes.context > 0, masks: None }
    }

    /// Weight and bias of a layer, the last of which gives the outputs.
    fn layer<'a>(&self, parameters: &'a [Tensor], l: usize) -> [&'a Tensor; 2] {
        let first = 2 * l + usize::from(self.context && l > 0);
        [&parameters[first], &parameters[first + 1]]
    }

    /// `Uc + b₁`: n × units, or 1 × units without context.
    fn first_offset(&self, parameters: &[Tensor], context: Option<&Tensor>) -> Tensor {
        let bias = &parameters[1];
        match context {
            Some(context) => bias.addmm(context, &parameters[2].tr()),
            None => bias.shallow_clone(),
        }
    }

    /// All outputs of rows x.
    pub fn outputs(&self, parameters: &[Tensor], x: &Tensor, context: Option<&Tensor>) -> Tensor {
        let mut h = x.shallow_clone();
        for l in 0..=self.depth {
            let [weight, bias] = self.layer(parameters, l);
            let offset = if l == 0 { self.first_offset(parameters, context) } else { bias.shallow_clone() };
            let a = match &self.masks {
                Some(masks) => offset.addmm(&h, &(weight * &masks[l].0).tr()),
                None => offset.addmm(&h, &weight.tr()),
            };
            h = if l < self.depth { self.unit.of(&a) } else { a };
        }
        h
    }
}

/// A masked network (Germain et al., arXiv:1502.03509): the outputs of coordinate i, of which there are `each`, depend
/// on the coordinates before i and on the context alone.
///
/// A unit of degree m knows the first m coordinates. Degrees ascend, so that units that become known together lie side
/// by side.
pub(super) struct MaskedNetwork {
    network: Network,
    dim: usize,
    each: usize,
    /// Degrees of the units of every hidden layer.
    degrees: Vec<Vec<usize>>,
}

impl MaskedNetwork {
    pub fn new(maker: &mut Maker<'_>, name: &str, sizes: Sizes<'_>, each: usize) -> Self {
        let Sizes { dim, context, hidden } = sizes;
        let mut network = Network::new(maker, name, (dim, dim * each), sizes, Unit::Relu);
        let degrees: Vec<Vec<usize>> = hidden.iter().map(|units| degrees(*units, dim, context > 0)).collect();
        let inputs: Vec<usize> = (1..=dim).collect();
        // What knows no more than the coordinates before it may see a unit of at most that degree.
        let outputs: Vec<usize> = (0..each).flat_map(|_| 0..dim).collect();
        let knows: Vec<&Vec<usize>> = std::iter::once(&inputs).chain(&degrees).chain([&outputs]).collect();
        let mask = |pair: &[&Vec<usize>]| {
            let of = pair[1].iter().flat_map(|to| pair[0].iter().map(move |from| f64::from(u8::from(from <= to))));
            Constant(maker.space.upload(pair[1].len(), pair[0].len(), &of.collect::<Vec<_>>()).0)
        };
        network.masks = Some(knows.windows(2).map(mask).collect());
        Self { network, dim, each, degrees }
    }

    /// The outputs of all coordinates, n × (each · dim): the first of every coordinate, then the second, and so on.
    pub fn outputs(&self, parameters: &[Tensor], x: &Tensor, context: Option<&Tensor>) -> Tensor {
        self.network.outputs(parameters, x, context)
    }

    /// Rows made one coordinate after the other: `next` makes that of this number (n × 1) of its outputs (n × each).
    ///
    /// Every unit is computed once, when the coordinates that it knows are there: all together cost one evaluation.
    pub fn rows(
        &self,
        parameters: &[Tensor],
        like: &Tensor,
        context: Option<&Tensor>,
        mut next: impl FnMut(i64, &Tensor) -> Tensor,
    ) -> Tensor {
        let (rows, options, network) = (like.size()[0], (like.kind(), like.device()), &self.network);
        let x = Tensor::zeros([rows, self.dim as i64], options);
        let hidden: Vec<Tensor> =
            self.degrees.iter().map(|units| Tensor::zeros([rows, units.len() as i64], options)).collect();
        let mut known = vec![0; hidden.len()];
        let offset = network.first_offset(parameters, context);
        let [weight, bias] = network.layer(parameters, network.depth);
        let weight = weight.view([self.each as i64, self.dim as i64, -1]);
        let bias = bias.view([self.each as i64, self.dim as i64]);
        for i in 0..self.dim {
            for (l, degrees) in self.degrees.iter().enumerate() {
                let from = known[l];
                let more = degrees[from..].iter().take_while(|degree| **degree <= i).count();
                if more == 0 {
                    continue;
                }
                let new = |of: &Tensor, dim: i64| of.narrow(dim, from as i64, more as i64);
                let [weight, bias] = network.layer(parameters, l);
                let (before, inputs) = if l == 0 { (&x, i) } else { (&hidden[l - 1], known[l - 1]) };
                let offset = if l == 0 { new(&offset, 1) } else { new(bias, 1) };
                let weight = new(weight, 0).narrow(1, 0, inputs as i64);
                let a = offset.addmm(&before.narrow(1, 0, inputs as i64), &weight.tr());
                new(&hidden[l], 1).copy_(&network.unit.of(&a));
                known[l] += more;
            }
            let (last, units) = (&hidden[hidden.len() - 1], known[hidden.len() - 1] as i64);
            let weight = weight.select(1, i as i64).narrow(1, 0, units);
            let outputs = bias.select(1, i as i64).addmm(&last.narrow(1, 0, units), &weight.tr());
            x.narrow(1, i as i64, 1).copy_(&next(i as i64, &outputs));
        }
        x
    }
}

/// Degrees of so many units, evenly from the least to the greatest that is of use: all coordinates but the last. Degree
/// 0, which knows the context alone, is of use where there is one.
fn degrees(units: usize, dim: usize, context: bool) -> Vec<usize> {
    let least = usize::from(!context);
    let count = dim.saturating_sub(least).max(1);
    (0..units).map(|k| least + k * count / units).collect()
}

#[cfg(test)]
mod tests {
    use super::degrees;

    #[test]
    fn degrees_ascend_from_the_least_to_the_last_but_one_coordinate() {
        assert_eq!(degrees(6, 4, false), [1, 1, 2, 2, 3, 3]);
        assert_eq!(degrees(4, 4, true), [0, 1, 2, 3]);
        assert_eq!(degrees(2, 1, true), [0, 0], "of the context alone");
        assert_eq!(degrees(2, 1, false), [1, 1], "of no use to a single coordinate");
        assert_eq!(degrees(2, 9, false), [1, 5]);
    }
}
