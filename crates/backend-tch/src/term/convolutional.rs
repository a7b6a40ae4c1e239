//! The term of a small U-shaped convolutional network.

use flow_core::{Error, NetworkSettings, Parameter, Space, TimeBasis};
use tch::{Kind, Tensor};

use super::{At, Formula, Term, sum_of_rows};
use crate::module::{gradients_kept, inner};
use crate::tensors::Tch;

impl Term {
    /// `φ(x, t) = ⟨x, U(x, t)⟩` of square pictures, zero at first. U is a U-shaped network with the activation `f(z) =
    /// z σ(z)`:
    ///
    /// ```text
    /// x ─ down1 ─ f ─ down2 ─ f ─ dense1 ─ f ─ dense2 ─ + ─ f ─ up2 ─ + ─ f ─ up1 ─ U
    ///             │           └─────────── middle ──────┘             │
    ///             └────────────────────────── skip ───────────────────┘
    /// ```
    ///
    /// `down` halves the resolution by convolutions of 4 × 4, `up` doubles it by transposed ones, `middle` and `skip`
    /// are convolutions of 3 × 3. Time enters through offsets before every activation and gains of every weight but the
    /// first dense one, which are coefficients of functions of time (M × channels, channels for M = 1). Gradients are
    /// written out as the network's transpose, so that a pullback is one backward pass over ordinary convolutions.
    ///
    /// Parameters: `down1.weight`, `down1.gain`, `down1.offset`, and so on in the order of the picture.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero or the side is no multiple of 4.
    pub fn convolutional(space: Tch, network: NetworkSettings, basis: TimeBasis, seed: u64) -> Result<Self, Error> {
        let NetworkSettings { side, channels: [c1, c2], hidden, probes } = network;
        Error::at_least_1([("channels", c1.min(c2)), ("hidden", hidden)])?;
        if side == 0 || !side.is_multiple_of(4) {
            return Err(Error::setting("side", side, "a multiple of 4"));
        }
        let wide = side / 4 * (side / 4) * c2;
        let mut parameters = Vec::new();
        let mut layer = |name: &str, shape: &[usize], fan_in: usize, timed: &[(&str, usize)]| {
            // Uniform with variance 2 / fan_in: activations that let half of their input through keep the scale.
            let which = parameters.len() as u64;
            let mut weight = Parameter::uniform(&space, &format!("{name}.weight"), shape, fan_in, seed, which);
            space.accumulate(&mut weight.value, 6f64.sqrt(), &[]);
            parameters.push(weight);
            for (kind, size) in timed {
                let first = if *kind == "gain" { 1.0 } else { 0.0 };
                let value = space.upload(1, *size, &vec![first; *size]);
                let first = Parameter { name: format!("{name}.{kind}"), shape: vec![*size], value };
                parameters.push(first.in_time(&space, basis.terms()));
            }
        };
        layer("down1", &[c1, 1, 4, 4], 16, &[("gain", c1), ("offset", c1)]);
        layer("down2", &[c2, c1, 4, 4], 16 * c1, &[("gain", c2), ("offset", c2)]);
        layer("dense1", &[hidden, wide], wide, &[("offset", hidden)]);
        layer("dense2", &[wide, hidden], hidden, &[("gain", hidden)]);
        layer("middle", &[c2, c2, 3, 3], 9 * c2, &[("gain", c2), ("offset", c2)]);
        layer("up2", &[c2, c1, 4, 4], 4 * c2, &[("gain", c2)]);
        layer("skip", &[c1, c1, 3, 3], 9 * c1, &[("gain", c1), ("offset", c1)]);
        layer("up1", &[c1, 1, 4, 4], 4 * c1, &[("gain", c1)]);
        let last = parameters.len() - 2;
        space.accumulate(&mut parameters[last].value, 0.0, &[]);
        Ok(Self::new(space, side * side, basis, parameters, probes, Box::new(Convolutional(network))))
    }
}

struct Convolutional(NetworkSettings);

/// The network at the time of its rows.
struct Layers {
    down1: Gained,
    down2: Gained,
    dense1: Tensor,
    dense2: Tensor,
    dense_gain: Tensor,
    middle: Gained,
    up2: Gained,
    skip: Gained,
    up1: Gained,
    /// Before the five activations, from left to right.
    offsets: [Tensor; 5],
}

/// An activation and its derivative: `f = zσ`, `f' = σ + f(1 − σ)`.
struct Activated {
    f: Tensor,
    slope: Tensor,
}

impl Activated {
    fn new(z: &Tensor) -> Self {
        let s = z.sigmoid();
        let f = z * &s;
        let slope = s.addcmul(&f, &(1.0 - &s));
        Self { f, slope }
    }
}

/// The weight of convolutions with padding 1, the channels on its low side times gains.
struct Gained {
    /// With the gains in it, where these are the same for all rows.
    weight: Tensor,
    /// n × channels × 1 × 1, where they are not.
    gain: Option<Tensor>,
}

impl Gained {
    fn new(weight: Tensor, gain: Tensor) -> Self {
        match gain.size()[0] {
            1 => Self { weight: weight * gain.view([-1, 1, 1, 1]), gain: None },
            _ => Self { weight, gain: Some(for_pixels(&gain)) },
        }
    }

    fn down(&self, x: &Tensor, stride: i64) -> Tensor {
        let out = x.conv2d(&self.weight, None::<&Tensor>, [stride; 2], [1, 1], [1, 1], 1);
        self.gain.as_ref().map_or_else(|| out.shallow_clone(), |gain| &out * gain)
    }

    /// The transpose of [`Gained::down`].
    fn up(&self, x: &Tensor, stride: i64) -> Tensor {
        let x = self.gain.as_ref().map_or_else(|| x.shallow_clone(), |gain| x * gain);
        x.conv_transpose2d(&self.weight, None::<&Tensor>, [stride; 2], [1, 1], [0, 0], 1, [1, 1])
    }
}

/// Numbers of channels, the same for all pixels.
fn for_pixels(of: &Tensor) -> Tensor {
    of.unsqueeze(2).unsqueeze(3)
}

impl Convolutional {
    /// The parameters at the time of `at`; numbers are places in the order of [`Term::convolutional`].
    fn layers(&self, at: &At) -> Layers {
        let [c1, c2] = self.0.channels.map(|c| c as i64);
        let gained =
            |weight: usize, size: [i64; 4]| Gained::new(at.parameters[weight].view(size), at.coefficient(weight + 1));
        let offset = |place: usize| for_pixels(&at.coefficient(place));
        Layers {
            down1: gained(0, [c1, 1, 4, 4]),
            down2: gained(3, [c2, c1, 4, 4]),
            dense1: at.parameters[6].shallow_clone(),
            dense2: at.parameters[8].shallow_clone(),
            dense_gain: at.coefficient(9),
            middle: gained(10, [c2, c2, 3, 3]),
            up2: gained(13, [c2, c1, 4, 4]),
            skip: gained(15, [c1, c1, 3, 3]),
            up1: gained(18, [c1, 1, 4, 4]),
            offsets: [offset(2), offset(5), at.coefficient(7), offset(12), offset(17)],
        }
    }

    /// U, as pictures of one channel, and the five activations.
    fn network(&self, layers: &Layers, pictures: &Tensor) -> (Tensor, [Activated; 5]) {
        let (l, [o1, o2, o3, o4, o5]) = (layers, &layers.offsets);
        let first = Activated::new(&(l.down1.down(pictures, 2) + o1));
        let second = Activated::new(&(l.down2.down(&first.f, 2) + o2));
        let dense = Activated::new(&(second.f.flatten(1, -1).mm(&l.dense1.tr()) + o3));
        let seen = (&dense.f * &l.dense_gain).mm(&l.dense2.tr()).view_as(&second.f);
        let third = Activated::new(&(l.middle.down(&second.f, 1) + seen + o4));
        let fourth = Activated::new(&(l.up2.up(&third.f, 2) + l.skip.down(&first.f, 1) + o5));
        let u = l.up1.up(&fourth.f, 2);
        (u, [first, second, dense, third, fourth])
    }

    fn pictures(&self, x: &Tensor) -> Tensor {
        let side = self.0.side as i64;
        x.view([-1, 1, side, side])
    }

    /// `∇φ = U + (∂U/∂x)ᵀ x`.
    fn velocity(&self, at: &At, x: &Tensor) -> Tensor {
        let (l, pictures) = (self.layers(at), self.pictures(x));
        let (u, [first, second, dense, third, fourth]) = self.network(&l, &pictures);
        let fourth_bar = l.up1.down(&pictures, 2) * fourth.slope;
        let third_bar = l.up2.down(&fourth_bar, 2) * third.slope;
        let dense_bar = third_bar.flatten(1, -1).mm(&l.dense2) * &l.dense_gain * dense.slope;
        let seen = dense_bar.mm(&l.dense1).view_as(&third_bar);
        let second_bar = (l.middle.up(&third_bar, 1) + seen) * second.slope;
        let first_bar = (l.down2.up(&second_bar, 2) + l.skip.up(&fourth_bar, 1)) * first.slope;
        (u + l.down1.up(&first_bar, 2)).flatten(1, -1)
    }

    /// `Σ z·Hz` over the probes or the unit vectors, H the Jacobian of the velocity.
    fn trace(&self, at: &At, x: &Tensor, velocity: &Tensor) -> Tensor {
        let (vectors, weight) = match at.probes {
            Some(probes) => (probes.unbind(1), 1.0 / probes.size()[1] as f64),
            None => (Tensor::eye(x.size()[1], (x.kind(), x.device())).unbind(0), 1.0),
        };
        let trace = |z: &Tensor| {
            let product = gradients_kept(&inner(velocity, z), &[x], at.differentiable).swap_remove(0);
            (product * z).sum_dim_intlist(1, false, Kind::Double)
        };
        let sum = vectors.iter().map(trace).reduce(|sum, one| sum + one).expect("at least one vector");
        sum * weight
    }
}

impl Formula for Convolutional {
    /// Its Laplacian goes over a graph that is let go of.
    fn is_differentiable_twice(&self) -> bool {
        false
    }

    fn value(&self, at: &At) -> Tensor {
        let pictures = self.pictures(at.x);
        let (u, _) = self.network(&self.layers(at), &pictures);
        sum_of_rows(&(u * pictures))
    }

    fn field(&self, at: &At, laplacian: bool) -> (Tensor, Option<Tensor>) {
        if !laplacian {
            return (self.velocity(at, at.x), None);
        }
        tch::with_grad(|| {
            let x = if at.x.requires_grad() { at.x.shallow_clone() } else { at.x.detach().set_requires_grad(true) };
            let velocity = self.velocity(at, &x);
            let trace = self.trace(at, &x, &velocity);
            (velocity, Some(trace))
        })
    }
}
