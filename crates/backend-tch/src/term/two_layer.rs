//! The term of two hidden layers.

use flow_core::{Activation, Error, TimeBasis, TwoLayerParameters, TwoLayerSettings};
use tch::{Kind, Tensor};

use super::{At, Formula, Term, sum_of_rows};
use crate::activation;
use crate::tensors::Tch;

impl Term {
    /// `φ(x, t) = Σ_k v_k f(z_k)`, `z = W₂ f(a) + b₂`, `a = g ⊙ (W₁x + Uc) + b₁`, c the context. The Laplacian is
    /// exact, or an estimate without bias by vectors of random signs, drawn once per solve for every row.
    ///
    /// Parameters: those of [`TwoLayerParameters`].
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero.
    pub fn two_layer(
        space: Tch,
        dim: usize,
        settings: TwoLayerSettings,
        basis: TimeBasis,
        seed: u64,
    ) -> Result<Self, Error> {
        let TwoLayerSettings { activation, bias, probes, context, .. } = settings;
        let parameters = TwoLayerParameters::new(&space, dim, &settings, basis, seed)?.into_vec();
        let formula = TwoLayer { activation, context: context > 0, bias };
        Ok(Self::new(space, dim, basis, parameters, probes, Box::new(formula)).in_context(context))
    }
}

struct TwoLayer {
    activation: Activation,
    context: bool,
    bias: bool,
}

/// What the layers of a batch come to.
struct Layers {
    /// g, 1 × h₁.
    gain: Tensor,
    /// a, n × h₁.
    a: Tensor,
    /// z, n × h₂.
    z: Tensor,
    /// v, 1 × h₂.
    amplitude: Tensor,
}

impl TwoLayer {
    /// Jacobians of at most so many numbers are made at once by a thread that works on rows.
    const NUMBERS: i64 = 1 << 25;

    /// W₁ and W₂.
    fn weights<'a>(&self, at: &'a At) -> (&'a Tensor, &'a Tensor) {
        (&at.parameters[0], &at.parameters[2 + self.shift()])
    }

    /// Parameters between W₁ and g.
    fn shift(&self) -> usize {
        usize::from(self.context) + usize::from(self.bias)
    }

    fn layers(&self, at: &At) -> Layers {
        let ((_, second), shift) = (self.weights(at), self.shift());
        let gain = at.coefficient(1 + shift);
        let product = at.first_layer(self.context.then_some(1)) * &gain;
        let a = if self.bias { product + at.coefficient(shift) } else { product };
        let z = activation::value(self.activation, &a).mm(&second.tr()) + at.coefficient(3 + shift);
        Layers { gain, a, z, amplitude: at.coefficient(4 + shift) }
    }

    /// `‖J_k‖²`, n × h₂, or its estimate: `J = W₂ diag(d) W₁`, d n × h₁.
    fn squared_lengths(&self, at: &At, d: &Tensor) -> Tensor {
        let (first, second) = self.weights(at);
        if let Some(probes) = at.probes {
            let images = probes.matmul(&first.tr()) * d.unsqueeze(1);
            return images.matmul(&second.tr()).square().mean_dim(1, false, d.kind());
        }
        let (wide, dim) = (second.size()[0] * second.size()[1].max(first.size()[1]), 2);
        let of = |d: &Tensor| {
            let jacobian = (second.unsqueeze(0) * d.unsqueeze(1)).matmul(first);
            jacobian.square().sum_dim_intlist(dim, false, d.kind())
        };
        Tensor::cat(&d.split((Self::NUMBERS / wide).max(1), 0).iter().map(of).collect::<Vec<_>>(), 0)
    }
}

impl Formula for TwoLayer {
    fn value(&self, at: &At) -> Tensor {
        let Layers { z, amplitude, .. } = self.layers(at);
        sum_of_rows(&(activation::value(self.activation, &z) * amplitude))
    }

    fn field(&self, at: &At, laplacian: bool) -> (Tensor, Option<Tensor>) {
        let ((first, second), Layers { gain, a, z, amplitude }) = (self.weights(at), self.layers(at));
        let (s1, s2) = (activation::slope(self.activation, &a), activation::slope(self.activation, &z));
        let q = (&s2 * &amplitude).mm(second);
        let d = &s1 * &gain;
        let velocity = (&q * &d).mm(first);
        let trace = || {
            let norms = first.square().sum_dim_intlist(1, false, first.kind());
            let inner = q * activation::curvature(self.activation, &s1) * (gain.square() * norms);
            let outer = activation::curvature(self.activation, &s2) * amplitude * self.squared_lengths(at, &d);
            inner.sum_dim_intlist(1, false, Kind::Double) + outer.sum_dim_intlist(1, false, Kind::Double)
        };
        (velocity, laplacian.then(trace))
    }
}
