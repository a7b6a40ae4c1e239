//! The paper's potential, one hidden layer: `φ(x) = Σ_j v_j f(w_j·x + b_j)`, in plain and in feature-space coordinates.

mod blocks;

use std::sync::atomic::{AtomicU64, Ordering};

use flow_core::{
    Activation, Block, BlockField, Coordinates, Error, Field, Group, Parameter, Potential, RidgeParameters, Share,
    Solve, Stage, TimeBasis, new_cache_key,
};
use tch::{Kind, Tensor};

use crate::activation;
use crate::factor::Factor;
use crate::orbit::Orbit;
use crate::tensors::{Array, Column, Tch};

/// `φ(x) = Σ_j v_j f(w_j·x + b_j)`, `∇φ = Wᵀ(v ⊙ f'(a))`, `∇²φ = Σ_j v_j f''(a_j) ‖w_j‖²`, `a = Wx + b`
/// (section 3 of arXiv:1809.10188). Parameters: `weight` (h × N), `bias` (h, optional), `amplitude` (h);
/// after [`Ridge::with_time`] amplitudes and offsets are coefficients of functions of time, M × h.
///
/// Field and pullback are written out; libtorch's automatic differentiation has no part in them. As x moves only in the
/// row space of W, a solve can run in feature space. The state is then `c` with `x = x₀ + Wᵀc`, `a = a₀ + Gc` and
/// `dc/dt = v ⊙ f'(a)`, where `G = WWᵀ` is computed once: one h × h product per stage instead of two h × N ones.
/// [`Coordinates::Auto`] takes it when `h < 2N`.
///
/// ```
/// use backend_tch::{Activation, Device, Options, Ridge, Tch};
/// use flow_core::{FixedStep, Flow, Method, Precision, Purpose, RngKey};
/// # if backend_tch::load(Device::Cpu).is_err() { return Ok(()) }
/// let tch = Tch::new(Device::Cpu, Precision::F64, Options::default())?;
/// let ridge = Ridge::new(tch, 2, 8, Activation::LnCosh, false, 0)?;
/// let integrator = FixedStep::new(Method::Rk4.tableau(), 10)?;
/// let flow = Flow::new(&tch, &ridge, &integrator);
/// let ln_p = flow.log_density(&[0.5, -1.0], RngKey::new(0, Purpose::Evaluate, 0))?;
/// assert!(ln_p[0] < 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Ridge {
    space: Tch,
    activation: Activation,
    parameters: RidgeParameters<Tch>,
    orbit: Option<Orbit>,
    basis: TimeBasis,
    cache_key: u64,
    feature_stages: AtomicU64,
    packed_stages: AtomicU64,
}

impl Ridge {
    /// A potential of `hidden` ridge functions of `dim` numbers; first values as [`RidgeParameters::new`] has them.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero.
    pub fn new(
        space: Tch,
        dim: usize,
        hidden: usize,
        activation: Activation,
        bias: bool,
        seed: u64,
    ) -> Result<Self, Error> {
        let parameters = RidgeParameters::new(&space, dim, hidden, bias, seed)?;
        let [feature_stages, packed_stages] = [0; 2].map(AtomicU64::new);
        let basis = TimeBasis::constant();
        let cache_key = new_cache_key();
        let orbit = None;
        Ok(Self { space, activation, parameters, orbit, basis, cache_key, feature_stages, packed_stages })
    }

    /// Sums the potential over a group, `φ(x) = Σ_g Σ_c v_c f(w_c·gx + b_c)`: exactly symmetric under it, with the same
    /// parameters. Every row of weights stands for its whole orbit, so a solve costs as much as one with
    /// `|G| · hidden` free ridge functions.
    ///
    /// # Errors
    /// [`Error::Shape`] when the group acts on another number of coordinates.
    pub fn over_orbit(mut self, group: Group) -> Result<Self, Error> {
        group.check_dim(self.dim())?;
        // As many terms as before should start with the same variance.
        let _ = self.parameters.amplitude.value.0.g_div_scalar_((group.order() as f64).sqrt());
        self.orbit = Some(Orbit::new(&self.space, &group));
        self.cache_key = new_cache_key();
        Ok(self)
    }

    /// Lets amplitudes and offsets depend on time, `c(t) = Σ_m c_m b_m(t)`; all but the first term start at zero.
    #[must_use]
    pub fn with_time(mut self, basis: TimeBasis) -> Self {
        let RidgeParameters { weight, bias, amplitude } = self.parameters;
        let in_time = |parameter: Parameter<Tch>| parameter.in_time(&self.space, basis.terms());
        self.parameters = RidgeParameters { weight, bias: bias.map(in_time), amplitude: in_time(amplitude) };
        self.basis = basis;
        self.cache_key = new_cache_key();
        self
    }

    /// `c(t)` (1 × h) from the coefficients c_m (M × h).
    fn at(&self, t: f64, coefficients: &Tensor) -> Tensor {
        if self.basis.terms() == 1 {
            return coefficients.shallow_clone();
        }
        let coefficients = coefficients.split(1, 0);
        let mut now = coefficients[0].empty_like();
        self.space.accumulate_tensors(&mut now, 0.0, &self.basis.at(t).zip(&coefficients).collect::<Vec<_>>());
        now
    }

    /// Evaluations that blocks of rows made in feature space so far: the proof that the fast path was taken.
    pub fn feature_stages(&self) -> u64 {
        self.feature_stages.load(Ordering::Relaxed)
    }

    /// Evaluations that blocks of rows made with factors that MKL laid out once: in 32 bits on the CPU.
    pub fn packed_stages(&self) -> u64 {
        self.packed_stages.load(Ordering::Relaxed)
    }

    /// Counts an evaluation with a factor.
    fn count(&self, factor: &Factor) {
        if factor.is_packed() {
            self.packed_stages.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One number per ridge function in each row, from one per kernel.
    fn all_of(&self, of: &Parameter<Tch>) -> Tensor {
        match &self.orbit {
            Some(orbit) => of.value.0.repeat([1, orbit.order()]),
            None => of.value.0.shallow_clone(),
        }
    }

    /// The cotangent of one number per kernel from that of one per ridge function.
    fn folded(&self, all_bar: Tensor) -> Array {
        Array(match &self.orbit {
            Some(orbit) => {
                let (rows, kind) = (all_bar.size()[0], all_bar.kind());
                all_bar.reshape([rows, orbit.order(), -1]).sum_dim_intlist(1, false, kind)
            }
            None => all_bar,
        })
    }
}

impl Potential<Tch> for Ridge {
    fn dim(&self) -> usize {
        self.parameters.weight.shape[1]
    }

    fn parameters(&self) -> Vec<&Parameter<Tch>> {
        std::iter::once(&self.parameters.weight)
            .chain(&self.parameters.bias)
            .chain([&self.parameters.amplitude])
            .collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Tch>> {
        let RidgeParameters { weight, bias, amplitude } = &mut self.parameters;
        std::iter::once(weight).chain(bias).chain([amplitude]).collect()
    }

    fn cache_key(&self) -> Option<u64> {
        Some(self.cache_key)
    }

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<Tch> + '_> {
        // Parameters are shared, not copied: they cannot change while the frozen field borrows the potential.
        let weight = match &self.orbit {
            Some(orbit) => orbit.spread(&self.parameters.weight.value.0),
            None => self.parameters.weight.value.0.shallow_clone(),
        };
        let feature_space = match solve.coordinates {
            Coordinates::Auto => weight.size()[0] < 2 * weight.size()[1],
            Coordinates::X => false,
            Coordinates::Feature => true,
        };
        let squares = weight.square().sum_dim_intlist(1, false, Kind::Double);
        let norms = squares.to_kind(self.space.kind()).unsqueeze(0);
        let amplitudes = self.all_of(&self.parameters.amplitude);
        let biases = self.parameters.bias.as_ref().map(|bias| self.all_of(bias));
        let constant = (amplitudes.size()[0] == 1).then(|| Amplitude::new(amplitudes.shallow_clone(), &norms));
        let gram = feature_space.then(|| {
            let weight = weight.to_kind(self.space.product_kind());
            weight.mm(&weight.tr())
        });
        let in_x = constant.as_ref().filter(|_| !feature_space);
        let scaled = in_x.map(|Amplitude { v, .. }| weight.multiply(&v.tr()));
        Box::new(Frozen { ridge: self, weight, scaled, biases, amplitudes, norms, constant, gram })
    }
}

/// A ridge potential frozen for one solve, h ridge functions with whole orbits counted. Their vectors are 1 × h.
struct Frozen<'a> {
    ridge: &'a Ridge,
    /// h × N.
    weight: Tensor,
    /// `diag(v) W` in plain coordinates where v does not depend on time, so that no stage needs to multiply by v.
    scaled: Option<Tensor>,
    /// b_m, M × h.
    biases: Option<Tensor>,
    /// v_m, M × h.
    amplitudes: Tensor,
    /// `‖w_j‖²`.
    norms: Tensor,
    /// The amplitudes of all times, where they do not depend on it.
    constant: Option<Amplitude>,
    /// `WWᵀ` where the solve runs in feature space.
    gram: Option<Tensor>,
}

// SAFETY: as for `Array`: the tensors are private and only read.
unsafe impl Sync for Frozen<'_> {}

/// The amplitudes at one time.
struct Amplitude {
    /// v.
    v: Tensor,
    /// `v_j ‖w_j‖²`.
    curved: Tensor,
}

impl Amplitude {
    fn new(v: Tensor, norms: &Tensor) -> Self {
        let curved = v.multiply(norms);
        Self { curved, v }
    }

    fn shallow_clone(&self) -> Self {
        Self { v: self.v.shallow_clone(), curved: self.curved.shallow_clone() }
    }
}

impl Frozen<'_> {
    /// `a = x Wᵀ + b(t)`, with Wᵀ as a factor.
    fn arguments(&self, t: f64, x: &Tensor, transposed: &Factor) -> Tensor {
        match &self.biases {
            Some(biases) => transposed.product_plus(&self.ridge.at(t, biases), x),
            None => transposed.product_of(x),
        }
    }

    /// The amplitudes at time t.
    fn amplitude(&self, t: f64) -> Amplitude {
        match &self.constant {
            Some(constant) => constant.shallow_clone(),
            None => Amplitude::new(self.ridge.at(t, &self.amplitudes), &self.norms),
        }
    }
}

impl Field<Tch> for Frozen<'_> {
    fn enter(&self, block: Block<Tch>) -> (Box<dyn BlockField<Tch> + '_>, Array) {
        blocks::enter(self, block.rows.len() as i64, block.x)
    }

    /// Where the field is the same at all times.
    fn rows_may_have_times(&self) -> bool {
        self.ridge.basis.terms() == 1 && self.gram.is_none()
    }

    fn value(&self, stage: Stage, block: Block<Tch>) -> Column {
        let a = self.arguments(stage.t, &block.x.0, &Factor::plain(self.weight.tr())).to_kind(Kind::Double);
        let value = activation::value(self.ridge.activation, &a) * self.amplitude(stage.t).v;
        Column(value.sum_dim_intlist(1, false, Kind::Double))
    }

    fn gradient(&self, sums: Vec<Share<Tch>>) -> Vec<Array> {
        let mut sums = sums.into_iter().map(|share| share.into_sum().0);
        let mut next = || sums.next().expect("enter_pullback returns this many shares");
        let (mut weight_bar, bias_bar, mut amplitude_bar, curvature_bar) = (next(), next(), next(), next());
        if self.gram.is_some() {
            // G = WWᵀ: W̄ += (Ḡ + Ḡᵀ) W.
            let gram_bar = next();
            let _ = weight_bar.addmm_(&(&gram_bar + gram_bar.tr()), &self.weight);
        }
        // ∇²φ = Σ_j Σ_m b_m(t) v_mj n_j f''_j with n_j = ‖w_j‖²:
        // v̄_m += n ⊙ g_m, n̄ = Σ_m v_m ⊙ g_m and w̄_j += 2 n̄_j w_j, g_m the sum of b_m l̄ f''.
        let _ = amplitude_bar.addcmul_(&self.norms, &curvature_bar);
        let norm_bar = (curvature_bar * &self.amplitudes).sum_dim_intlist(0, true, self.norms.kind()) * 2.0;
        let _ = weight_bar.addcmul_(&self.weight, &norm_bar.tr());
        let kernels_bar = match &self.ridge.orbit {
            Some(orbit) => orbit.gather(&weight_bar),
            None => weight_bar,
        };
        let mut out = vec![Array(kernels_bar)];
        out.extend(self.biases.as_ref().map(|_| self.ridge.folded(bias_bar)));
        out.push(self.ridge.folded(amplitude_bar));
        out
    }
}
