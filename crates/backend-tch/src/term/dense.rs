//! Terms of all coordinates alike: quadratic, separable, and one hidden layer.

use flow_core::{Activation, Centres, Error, Parameter, RidgeParameters, RidgeSettings, TimeBasis};
use tch::{Kind, Tensor};

use super::{At, Formula, Term, Time, sum_of_rows};
use crate::activation;
use crate::tensors::Tch;

impl Term {
    /// `φ(x, t) = ½ Σ_i q_i(t) x_i² + Σ_i l_i(t) x_i`, zero at first. Parameters: `quadratic` and, where asked for,
    /// `linear`, M × N.
    ///
    /// # Errors
    /// [`Error::Setting`] when `dim` is zero.
    pub fn quadratic(space: Tch, dim: usize, basis: TimeBasis, linear: bool) -> Result<Self, Error> {
        Error::at_least_1([("dim", dim)])?;
        let zeros = |name: &&str| Parameter::zeros(&space, name, &[basis.terms(), dim]);
        let names = if linear { &["quadratic", "linear"][..] } else { &["quadratic"] };
        let parameters = names.iter().map(zeros).collect();
        Ok(Self::new(space, dim, basis, parameters, 0, Box::new(Quadratic)))
    }

    /// `φ(x, t) = ½ xᵀ A(t) x`, zero at first. Parameter: `quadratic`, M × N × N, of which the symmetric part counts.
    ///
    /// # Errors
    /// [`Error::Setting`] when `dim` is zero.
    pub fn full_quadratic(space: Tch, dim: usize, basis: TimeBasis) -> Result<Self, Error> {
        Error::at_least_1([("dim", dim)])?;
        let parameters = vec![Parameter::zeros(&space, "quadratic", &[basis.terms(), dim, dim])];
        Ok(Self::new(space, dim, basis, parameters, 0, Box::new(FullQuadratic)))
    }

    /// `φ(x, t) = Σ_i Σ_k α_ik(t) f(g(x_i − c_k))`, zero at first. Parameter: `amplitude`, M × N × K for K centres.
    ///
    /// # Errors
    /// [`Error::Setting`] when `dim` is zero or the centres are out of range.
    pub fn separable(
        space: Tch,
        dim: usize,
        centres: Centres,
        activation: Activation,
        basis: TimeBasis,
    ) -> Result<Self, Error> {
        Error::at_least_1([("dim", dim)])?;
        centres.check()?;
        let (gain, count) = (centres.gain(activation), centres.count);
        let scaled: Vec<f64> = (0..count).map(|k| gain * centres.centre(k)).collect();
        let scaled = space.send(&scaled, space.kind(), &[1, 1, count as i64]);
        let formula = Box::new(Separable { activation, gain, centres: scaled });
        let parameters = vec![Parameter::zeros(&space, "amplitude", &[basis.terms(), dim, count])];
        Ok(Self::new(space, dim, basis, parameters, 0, formula))
    }

    /// `φ(x, t) = Σ_j v_j(t) f(g_j(t) (w_j·x + u_j·c) + b_j(t))`; first values as [`RidgeParameters::new`] has them,
    /// gains at one. Parameters: `weight` (h × N), `context` (U, h × k, where there is a context), `bias` and `gain`
    /// (where asked for) and `amplitude` (M × h, h for M = 1).
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero.
    pub fn ridge(space: Tch, dim: usize, settings: RidgeSettings, basis: TimeBasis, seed: u64) -> Result<Self, Error> {
        let RidgeSettings { hidden, activation, bias, gains, context } = settings;
        let RidgeParameters { weight, bias, amplitude } = RidgeParameters::new(&space, dim, hidden, bias, seed)?;
        let in_time = |parameter: Parameter<Tch>| parameter.in_time(&space, basis.terms());
        let mut parameters = vec![weight];
        let mut place = |parameter: Option<Parameter<Tch>>| {
            parameter.map(|parameter| {
                parameters.push(parameter);
                parameters.len() - 1
            })
        };
        let formula = Ridge {
            activation,
            context: place(RidgeParameters::context(&space, hidden, dim, context, seed)),
            bias: place(bias.map(in_time)),
            gain: place(gains.then(|| RidgeParameters::gain(&space, hidden, basis.terms()))),
        };
        parameters.push(in_time(amplitude));
        Ok(Self::new(space, dim, basis, parameters, 0, Box::new(formula)).in_context(context))
    }
}

struct Quadratic;

impl Formula for Quadratic {
    fn value(&self, at: &At) -> Tensor {
        let half = at.coefficient(0) * at.x * 0.5;
        let inner = if at.parameters.len() > 1 { half + at.coefficient(1) } else { half };
        sum_of_rows(&(inner * at.x))
    }

    fn field(&self, at: &At, laplacian: bool) -> (Tensor, Option<Tensor>) {
        let q = at.coefficient(0);
        let trace = laplacian.then(|| at.for_every_row(&q.sum(Kind::Double)));
        let velocity = q * at.x;
        (if at.parameters.len() > 1 { velocity + at.coefficient(1) } else { velocity }, trace)
    }
}

struct FullQuadratic;

impl FullQuadratic {
    /// The symmetric part of A.
    fn matrix(at: &At) -> Tensor {
        let n = at.x.size()[1];
        let a = at.coefficient(0).reshape([n, n]);
        (&a + a.tr()) * 0.5
    }

    /// `A(t) x` of rows at times of their own: a product for every function of time, then their sum.
    fn apply_each(at: &At, b: &Tensor) -> Tensor {
        let n = at.x.size()[1];
        let a = at.parameters[0].reshape([-1, n, n]);
        let products = at.x.matmul(&((&a + a.transpose(1, 2)) * 0.5));
        (products * b.tr().unsqueeze(2)).sum_dim_intlist(0, false, at.x.kind())
    }
}

impl Formula for FullQuadratic {
    fn value(&self, at: &At) -> Tensor {
        sum_of_rows(&(at.x.mm(&Self::matrix(at)) * at.x * 0.5))
    }

    fn field(&self, at: &At, laplacian: bool) -> (Tensor, Option<Tensor>) {
        if let Time::OfEach(b) = at.time {
            return (Self::apply_each(at, b), None);
        }
        let a = Self::matrix(at);
        (at.x.mm(&a), laplacian.then(|| at.for_every_row(&a.diag(0).sum(Kind::Double))))
    }
}

struct Separable {
    activation: Activation,
    gain: f64,
    /// `g c_k`, 1 × 1 × K.
    centres: Tensor,
}

// SAFETY: as for `Array`: the tensor is private and only read.
unsafe impl Sync for Separable {}

impl Separable {
    /// `g(x_i − c_k)`, N × n × K: every coordinate has a matrix of its own, as a sum over k is a product of it with
    /// α_i.
    fn arguments(&self, at: &At) -> Tensor {
        (at.x.tr() * self.gain).unsqueeze(2) - &self.centres
    }

    /// `Σ_k α_ik c_ik`, n × N, of c, N × n × K.
    fn sum(at: &At, of: &Tensor) -> Tensor {
        let n = at.x.size()[1];
        match at.time {
            Time::OfAll(_) => of.bmm(&at.coefficient(0).reshape([n, -1, 1])).squeeze_dim(2).tr(),
            // For every function of time, then their sum.
            Time::OfEach(b) => {
                let alpha = at.parameters[0].reshape([at.basis.terms() as i64, n, -1]).permute([1, 2, 0]);
                (of.bmm(&alpha) * b).sum_dim_intlist(2, false, of.kind()).tr()
            }
        }
    }
}

impl Formula for Separable {
    fn value(&self, at: &At) -> Tensor {
        sum_of_rows(&Self::sum(at, &activation::value(self.activation, &self.arguments(at))))
    }

    fn field(&self, at: &At, laplacian: bool) -> (Tensor, Option<Tensor>) {
        let s = activation::slope(self.activation, &self.arguments(at));
        let velocity = Self::sum(at, &s) * self.gain;
        let trace =
            || sum_of_rows(&Self::sum(at, &activation::curvature(self.activation, &s))) * (self.gain * self.gain);
        (velocity, laplacian.then(trace))
    }
}

/// One hidden layer, with the numbers of the parameters that it may do without.
struct Ridge {
    activation: Activation,
    context: Option<usize>,
    bias: Option<usize>,
    gain: Option<usize>,
}

impl Ridge {
    /// `a = g ⊙ (Wx + Uc) + b`, and v.
    fn layer(&self, at: &At) -> (Tensor, Tensor) {
        let mut a = at.first_layer(self.context);
        if let Some(gain) = self.gain {
            a *= at.coefficient(gain);
        }
        if let Some(bias) = self.bias {
            a += at.coefficient(bias);
        }
        (a, at.coefficient(at.parameters.len() - 1))
    }
}

impl Formula for Ridge {
    fn value(&self, at: &At) -> Tensor {
        let (a, amplitude) = self.layer(at);
        sum_of_rows(&(activation::value(self.activation, &a) * amplitude))
    }

    fn field(&self, at: &At, laplacian: bool) -> (Tensor, Option<Tensor>) {
        let (a, amplitude) = self.layer(at);
        let (weight, s) = (&at.parameters[0], activation::slope(self.activation, &a));
        let gained =
            |of: Tensor| self.gain.map_or_else(|| of.shallow_clone(), |gain| of.shallow_clone() * at.coefficient(gain));
        let strength = gained(amplitude);
        let velocity = (&s * &strength).mm(weight);
        let trace = || {
            let norms = weight.square().sum_dim_intlist(1, false, weight.kind());
            sum_of_rows(&(activation::curvature(self.activation, &s) * (gained(strength) * norms)))
        };
        (velocity, laplacian.then(trace))
    }
}
