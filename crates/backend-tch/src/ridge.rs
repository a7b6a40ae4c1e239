//! The paper's potential, one hidden layer: `φ(x) = Σ_j v_j f(w_j·x + b_j)`, in plain and in feature-space coordinates.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_core::{
    Activation, Chart, Coordinates, Error, Field, Group, Memo, Parameter, Potential, RidgeParameters, Solve, Stage,
    TimeBasis,
};
use tch::{Kind, Tensor};

use crate::factor::Factor;
use crate::orbit::Orbit;
use crate::space::accumulate;
use crate::{Array, Column, Device, Tch};

/// `φ(x) = Σ_j v_j f(w_j·x + b_j)`, `∇φ = Wᵀ(v ⊙ f'(a))`, `∇²φ = Σ_j v_j f''(a_j) ‖w_j‖²`, `a = Wx + b`
/// (section 3 of arXiv:1809.10188). Parameters: `weight` (h × N), `bias` (h, optional), `amplitude` (h);
/// after [`Ridge::with_time`] amplitudes and offsets are coefficients of functions of time, M × h.
///
/// Field and pullback are written out; libtorch's automatic differentiation has no part in them.
/// As x moves only in the row space of W, a solve can run in feature space: with `G = WWᵀ`, computed once,
/// the state is `c` with `x = x₀ + Wᵀc`, `a = a₀ + Gc` and `dc/dt = v ⊙ f'(a)`: one h × h product per stage instead of two h × N ones.
/// [`Coordinates::Auto`] takes it when `h < 2N`.
///
/// ```
/// use backend_tch::{Activation, Device, Options, Ridge, Tch};
/// use flow_core::{Coordinates, Draws, FixedStep, Flow, Memory, Method, Precision, Purpose};
/// # if backend_tch::load(Device::Cpu).is_err() { return Ok(()) }
/// let tch = Tch::new(Device::Cpu, Precision::F64, Options::default())?;
/// let ridge = Ridge::new(tch, 2, 8, Activation::LnCosh, false, 0)?;
/// let integrator = FixedStep::new(Method::Rk4.tableau(), 10)?;
/// let flow = Flow {
///     space: &tch,
///     potential: &ridge,
///     integrator: &integrator,
///     duration: 1.0,
///     coordinates: Coordinates::Auto,
///     memory: Memory::Stages,
/// };
/// let ln_p = flow.log_density(&[0.5, -1.0], Draws::new(0, Purpose::Evaluate, 0))?;
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
        let (feature_stages, packed_stages) = (AtomicU64::new(0), AtomicU64::new(0));
        let basis = TimeBasis::constant();
        Ok(Self { space, activation, parameters, orbit: None, basis, feature_stages, packed_stages })
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
        Ok(self)
    }

    /// Lets amplitudes and offsets depend on time, `c(t) = Σ_m c_m b_m(t)`; all but the first term start at zero.
    #[must_use]
    pub fn with_time(mut self, basis: TimeBasis) -> Self {
        let RidgeParameters { weight, bias, amplitude } = self.parameters;
        let in_time = |parameter: Parameter<Tch>| parameter.in_time(&self.space, basis.terms());
        self.parameters = RidgeParameters { weight, bias: bias.map(in_time), amplitude: in_time(amplitude) };
        self.basis = basis;
        self
    }

    /// `c(t)` (1 × h) from the coefficients c_m (M × h).
    fn at(&self, t: f64, coefficients: &Tensor) -> Tensor {
        if self.basis.terms() == 1 {
            return coefficients.shallow_clone();
        }
        let terms = coefficients.split(1, 0);
        let mut now = terms[0].empty_like();
        accumulate(&mut now, 0.0, self.basis.at(t).zip(&terms));
        now
    }

    /// Evaluations that blocks of rows made in feature space so far: the proof that the fast path was taken.
    pub fn feature_stages(&self) -> u64 {
        self.feature_stages.load(Ordering::Relaxed)
    }

    /// Evaluations that blocks of rows made with factors laid out once, which MKL does in 32 bits on the CPU.
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

    /// From `a` to `s = f'(a)`, in place. All further derivatives are functions of s:
    /// softplus has `f'' = s(1−s)`, `f''' = f''(1−2s)`; ln cosh has `f'' = 1−s²`, `f''' = −2s f''`.
    fn slope(&self, a: &mut Tensor) {
        let _ = match self.activation {
            Activation::Softplus => a.sigmoid_(),
            Activation::LnCosh => a.tanh_(),
        };
    }

    /// `out ← factor ⊙ f''(a)`, from `s = f'(a)`.
    fn curvature_into(&self, out: &mut Tensor, factor: &Tensor, s: &Tensor) {
        let _ = match self.activation {
            Activation::Softplus => Tensor::sigmoid_backward_grad_input(out, factor, s),
            Activation::LnCosh => Tensor::tanh_backward_grad_input(out, factor, s),
        };
    }

    /// `factor ⊙ f''(a)`, from `s = f'(a)`.
    fn curvature(&self, factor: &Tensor, s: &Tensor) -> Tensor {
        match self.activation {
            Activation::Softplus => Tensor::sigmoid_backward(factor, s),
            Activation::LnCosh => Tensor::tanh_backward(factor, s),
        }
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

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<Tch> + '_> {
        // Parameters are shared, not copied: they cannot change while the frozen field borrows the potential.
        let weight = match &self.orbit {
            Some(orbit) => orbit.spread(&self.parameters.weight.value.0),
            None => self.parameters.weight.value.0.shallow_clone(),
        };
        let feature_space = match solve.coordinates {
            Coordinates::Auto => weight.size()[0] < 2 * weight.size()[1],
            Coordinates::X => false,
            Coordinates::Own => true,
        };
        let squares = weight.square().sum_dim_intlist(1, false, Kind::Double);
        let norms = squares.to_kind(self.space.kind()).unsqueeze(0);
        let amplitudes = self.all_of(&self.parameters.amplitude);
        let biases = self.parameters.bias.as_ref().map(|bias| self.all_of(bias));
        let constant = (amplitudes.size()[0] == 1).then(|| Amplitude::new(amplitudes.shallow_clone(), &norms));
        let gram = feature_space.then(|| weight.mm(&weight.tr()));
        Box::new(Frozen { ridge: self, weight, biases, amplitudes, norms, constant, gram })
    }
}

/// A ridge potential frozen for one solve, h ridge functions with whole orbits counted. Their vectors are 1 × h.
struct Frozen<'a> {
    ridge: &'a Ridge,
    /// h × N.
    weight: Tensor,
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
    /// `−2 v_j ‖w_j‖²`.
    bent: Tensor,
}

impl Amplitude {
    fn new(v: Tensor, norms: &Tensor) -> Self {
        let curved = v.multiply(norms);
        Self { bent: curved.g_mul_scalar(-2.0), curved, v }
    }

    fn shallow_clone(&self) -> Self {
        let Self { v, curved, bent } = self;
        Self { v: v.shallow_clone(), curved: curved.shallow_clone(), bent: bent.shallow_clone() }
    }
}

impl Frozen<'_> {
    /// `a = x Wᵀ + b(t)`.
    fn arguments(&self, t: f64, x: &Tensor) -> Tensor {
        let transposed = self.weight.tr();
        match &self.biases {
            Some(biases) => self.ridge.at(t, biases).addmm(x, &transposed),
            None => x.mm(&transposed),
        }
    }

    /// A right factor for blocks of this many rows.
    fn factor(&self, of: &Tensor, rows: i64) -> Factor {
        Factor::new(&self.ridge.space, of, rows)
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
    fn enter(&self, rows: Range<usize>, x: Array) -> (Box<dyn Chart<Tch> + '_>, Array) {
        let rows = rows.len() as i64;
        let work = Work { field: self, rows, share: None };
        let Some(gram) = &self.gram else {
            let (weight, transposed) = (self.factor(&self.weight, rows), self.factor(&self.weight.tr(), rows));
            return (Box::new(Plain { work, weight, transposed }), x);
        };
        // Offsets that do not change are part of the origin.
        let moving = self.biases.is_some() && self.ridge.basis.terms() > 1;
        let origin = if moving { x.0.mm(&self.weight.tr()) } else { self.arguments(0.0, &x.0) };
        let (state, gram) = (Array(origin.zeros_like()), self.factor(gram, rows));
        (Box::new(Feature { work, gram, origin, moving, x: x.0, leave_bar: None }), state)
    }

    fn value(&self, _rows: Range<usize>, stage: Stage, x: &Array) -> Column {
        let a = self.arguments(stage.t, &x.0).to_kind(Kind::Double);
        // As `Activation::value`, free of overflow.
        let value = match self.ridge.activation {
            Activation::Softplus => a.clamp_min(0.0) + (-a.abs()).exp_().log1p_(),
            Activation::LnCosh => a.abs() + (a.abs() * -2.0).exp_().log1p_() - std::f64::consts::LN_2,
        };
        Column((value * self.amplitude(stage.t).v).sum_dim_intlist(1, false, Kind::Double))
    }

    fn gradient(&self, sums: Vec<Array>) -> Vec<Array> {
        let mut sums = sums.into_iter().map(|array| array.0);
        let mut next = || sums.next().expect("enter_pullback returns this many arrays");
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

/// Sums that a block of rows gathers for the gradient, each row's share apart (rows × h) until the end but where it says otherwise.
struct Share {
    /// Of `b_m(t) s ⊙ u`: the cotangents of v_m, for every function of time.
    amplitudes: Vec<Tensor>,
    /// Of `b_m(t) l̄ f''`, summed over the rows: the cotangents of `v_mj ‖w_j‖²`, for every function of time.
    curvatures: Vec<Tensor>,
    /// Of `b_m(t) ā`: the cotangents of the offsets, for every function of time; `b₀ = 1`, so that the first are those of a.
    /// Without offsets only these.
    arguments: Vec<Tensor>,
    /// `Σ leftᵀ · right` over all stages: of `(ā, x)` and `(v ⊙ s, velocity_bar)` in plain coordinates, of `(c, ā)` in feature space.
    products: Gathered,
}

/// A sum of products `leftᵀ · right` of short matrices, gathered until one product is large enough to be fast.
struct Gathered {
    sum: Tensor,
    left: Tensor,
    right: Tensor,
    filled: i64,
}

impl Gathered {
    const ROWS: i64 = 1024;

    /// For matrices of at most `rows` rows.
    fn new(space: &Tch, rows: i64, left: i64, right: i64) -> Self {
        let capacity = rows.max(Self::ROWS);
        let zeros = |rows, cols| space.zeros_of(&[rows, cols]);
        Self { sum: zeros(left, right), left: zeros(capacity, left), right: zeros(capacity, right), filled: 0 }
    }

    /// Room for the next left and right matrix, to be written to before the next call.
    fn next(&mut self, rows: i64) -> (Tensor, Tensor) {
        if self.filled + rows > self.left.size()[0] {
            self.flush();
        }
        let of = |buffer: &Tensor| buffer.narrow(0, self.filled, rows);
        let room = (of(&self.left), of(&self.right));
        self.filled += rows;
        room
    }

    fn flush(&mut self) {
        let of = |buffer: &Tensor| buffer.narrow(0, 0, self.filled);
        let _ = self.sum.addmm_(&of(&self.left).tr(), &of(&self.right));
        self.filled = 0;
    }

    fn finish(mut self) -> Tensor {
        self.flush();
        self.sum
    }
}

/// What both charts share: everything between the matrix products.
struct Work<'a> {
    field: &'a Frozen<'a>,
    rows: i64,
    /// Made at the first pullback: evaluation without gradient never needs it.
    share: Option<Share>,
}

impl Work<'_> {
    fn share(&mut self) -> &mut Share {
        self.share.get_or_insert_with(|| {
            let ridge = self.field.ridge;
            let hidden = self.field.norms.size()[1];
            let right = if self.field.gram.is_some() { hidden } else { self.field.weight.size()[1] };
            let zeros = || ridge.space.zeros_of(&[self.rows, hidden]);
            let products = Gathered::new(&ridge.space, self.rows, hidden, right);
            let many = |count: usize| (0..count).map(|_| zeros()).collect();
            let curvatures = (0..ridge.basis.terms()).map(|_| ridge.space.zeros_of(&[1, hidden])).collect();
            let terms = ridge.basis.terms();
            let arguments = many(if self.field.biases.is_some() { terms } else { 1 });
            Share { amplitudes: many(terms), curvatures, arguments, products }
        })
    }

    /// From `a` to `s = f'(a)` in place, `out = v ⊙ s`, and the Laplacian.
    fn forward(&self, t: f64, s: &mut Tensor, out: &mut Tensor, laplacian: Option<&mut Column>) {
        let (ridge, Amplitude { v, curved, .. }) = (self.field.ridge, self.field.amplitude(t));
        ridge.slope(s);
        let _ = s.mul_out(out, &v);
        if let Some(laplacian) = laplacian {
            // libtorch sums pairwise, so short of 64 bits little is lost; asked for a sum in 64 bits, it would first copy all terms.
            let terms = ridge.curvature(&curved, s);
            laplacian.0.copy_(&terms.sum_dim_intlist(1, false, terms.kind()));
        }
    }

    /// Fills `a_bar` from the cotangents `u` of `v ⊙ s` and `laplacian_bar`:
    /// `ā = v f'' u + l̄ v n f'''`; gathers what the gradient needs.
    fn backward(
        &mut self,
        t: f64,
        amplitude: &Amplitude,
        s: &Tensor,
        u: &Tensor,
        laplacian_bar: Option<&Column>,
        a_bar: &mut Tensor,
    ) {
        let (ridge, Amplitude { v, curved, bent }) = (self.field.ridge, amplitude);
        ridge.curvature_into(a_bar, &u.multiply(v), s);
        let basis: Vec<f64> = ridge.basis.at(t).collect();
        let share = self.share();
        add_products(&mut share.amplitudes, &basis, s, u);
        if let Some(laplacian_bar) = laplacian_bar {
            let l_bar = laplacian_bar.0.to_kind(s.kind()).unsqueeze(1);
            let curvature = ridge.curvature(&l_bar, s);
            add_each(&mut share.curvatures, &basis, &curvature.sum_dim_intlist(0, true, curvature.kind()));
            // f''' = −2s f'' (and + f'' for softplus).
            let _ = a_bar.addcmul_(&curvature.multiply(bent), s);
            if ridge.activation == Activation::Softplus {
                let _ = a_bar.addcmul_(&curvature, curved);
            }
        }
        add_each(&mut share.arguments, &basis, a_bar);
    }

    /// The gathered sums: of the weights' products, of arguments, amplitudes and curvatures.
    fn sums(mut self) -> [Array; 4] {
        self.share();
        let Share { amplitudes, curvatures, arguments, products } = self.share.expect("just made");
        let sum = |of: &Tensor| of.sum_dim_intlist(0, true, of.kind());
        let sums = |of: &[Tensor]| Array(Tensor::cat(&of.iter().map(sum).collect::<Vec<_>>(), 0));
        [Array(products.finish()), sums(&arguments), sums(&amplitudes), sums(&curvatures)]
    }
}

/// `sum_m ← sum_m + c_m a`.
fn add_each(sums: &mut [Tensor], c: &[f64], a: &Tensor) {
    for (c, sum) in c.iter().zip(sums) {
        accumulate(sum, 1.0, [(*c, a)].into_iter());
    }
}

/// `sum_m ← sum_m + c_m a ⊙ b`; the first c is 1.
fn add_products(sums: &mut [Tensor], c: &[f64], a: &Tensor, b: &Tensor) {
    let (first, rest) = sums.split_first_mut().expect("there is one term at least");
    let _ = first.addcmul_(a, b);
    if !rest.is_empty() {
        add_each(rest, &c[1..], &a.multiply(b));
    }
}

/// Plain coordinates: the state is x.
struct Plain<'a> {
    work: Work<'a>,
    /// W.
    weight: Factor,
    /// Wᵀ.
    transposed: Factor,
}

impl Chart<Tch> for Plain<'_> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &Array,
        velocity: &mut Array,
        laplacian: Option<&mut Column>,
        memo: Option<&mut Memo<Tch>>,
    ) {
        let field = self.work.field;
        let mut s = match &field.biases {
            Some(biases) => self.transposed.product_plus(&field.ridge.at(stage.t, biases), &state.0),
            None => self.transposed.product_of(&state.0),
        };
        let mut scaled = s.empty_like();
        self.work.forward(stage.t, &mut s, &mut scaled, laplacian);
        self.weight.product(&mut velocity.0, &scaled);
        if let Some(memo) = memo {
            memo.push(Array(s));
        }
        field.ridge.count(&self.weight);
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array,
        memo: &[Array],
        velocity_bar: &Array,
        laplacian_bar: Option<&Column>,
        state_bar: Option<&mut Array>,
    ) {
        let (rows, amplitude) = (self.work.rows, self.work.field.amplitude(stage.t));
        let s = &memo[0].0;
        let u = self.transposed.product_of(&velocity_bar.0);
        let (left, mut right) = self.work.share().products.next(rows);
        let _ = s.mul_out(&left, &amplitude.v);
        right.copy_(&velocity_bar.0);
        let (mut a_bar, mut right) = self.work.share().products.next(rows);
        right.copy_(&state.0);
        self.work.backward(stage.t, &amplitude, s, &u, laplacian_bar, &mut a_bar);
        if let Some(state_bar) = state_bar {
            self.weight.product(&mut state_bar.0, &a_bar);
        }
    }

    fn leave(&mut self, state: Array) -> Array {
        state
    }

    fn leave_pullback(&mut self, _state: &Array, x_bar: Array) -> Array {
        x_bar
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array) -> (Array, Vec<Array>) {
        (state_bar, self.work.sums().into())
    }
}

/// Feature space: the state is c, with `x = x₀ + Wᵀc` and `a = a₀ + Gc`.
struct Feature<'a> {
    work: Work<'a>,
    /// G.
    gram: Factor,
    /// `a₀ = Wx₀`, and b where it does not change with time.
    origin: Tensor,
    /// Whether there is a b that does.
    moving: bool,
    /// x₀.
    x: Tensor,
    /// `cᵀ x̄` of the end, and the cotangent of x at the end, which is also one of x₀.
    leave_bar: Option<(Tensor, Tensor)>,
}

impl Chart<Tch> for Feature<'_> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &Array,
        velocity: &mut Array,
        laplacian: Option<&mut Column>,
        memo: Option<&mut Memo<Tch>>,
    ) {
        let mut s = self.gram.product_plus(&self.origin, &state.0);
        if let (true, Some(biases)) = (self.moving, &self.work.field.biases) {
            let _ = s.g_add_(&self.work.field.ridge.at(stage.t, biases));
        }
        self.work.forward(stage.t, &mut s, &mut velocity.0, laplacian);
        if let Some(memo) = memo {
            memo.push(Array(s));
        }
        self.work.field.ridge.feature_stages.fetch_add(1, Ordering::Relaxed);
        self.work.field.ridge.count(&self.gram);
    }

    /// On the CPU: a CUDA device has memory to spare, but no time for more kernels.
    fn recalls(&self) -> bool {
        self.work.field.ridge.space.device() == Device::Cpu
    }

    fn recall(&self, stage: Stage, memo: &[Array], velocity: &mut Array) {
        let _ = memo[0].0.mul_out(&velocity.0, &self.work.field.amplitude(stage.t).v);
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array,
        memo: &[Array],
        velocity_bar: &Array,
        laplacian_bar: Option<&Column>,
        state_bar: Option<&mut Array>,
    ) {
        let rows = self.work.rows;
        let (mut left, mut a_bar) = self.work.share().products.next(rows);
        left.copy_(&state.0);
        let amplitude = self.work.field.amplitude(stage.t);
        self.work.backward(stage.t, &amplitude, &memo[0].0, &velocity_bar.0, laplacian_bar, &mut a_bar);
        if let Some(state_bar) = state_bar {
            // G is symmetric: its transpose is itself.
            self.gram.product(&mut state_bar.0, &a_bar);
        }
    }

    fn leave(&mut self, state: Array) -> Array {
        Array(self.x.addmm(&state.0, &self.work.field.weight))
    }

    fn leave_pullback(&mut self, state: &Array, x_bar: Array) -> Array {
        let state_bar = x_bar.0.mm(&self.work.field.weight.tr());
        self.leave_bar = Some((state.0.tr().mm(&x_bar.0), x_bar.0));
        Array(state_bar)
    }

    fn enter_pullback(mut self: Box<Self>, _state_bar: Array) -> (Array, Vec<Array>) {
        // The state starts at zero whatever x is: its cotangent goes nowhere.
        let weight = &self.work.field.weight;
        let (mut weight_bar, mut x_bar) =
            self.leave_bar.take().unwrap_or_else(|| (weight.zeros_like(), self.x.zeros_like()));
        let argument_bar = &self.work.share().arguments[0];
        let _ = weight_bar.addmm_(&argument_bar.tr(), &self.x);
        let _ = x_bar.addmm_(argument_bar, weight);
        let [gram_bar, bias_bar, amplitude_bar, curvature_bar] = self.work.sums();
        (Array(x_bar), vec![Array(weight_bar), bias_bar, amplitude_bar, curvature_bar, gram_bar])
    }
}
