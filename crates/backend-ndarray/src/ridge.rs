//! The paper's potential, one hidden layer: `φ(x) = Σ_j v_j f(w_j·x + b_j)`, in plain and in feature-space coordinates.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_core::{
    Activation, Chart, Coordinates, Error, Field, Group, Memo, Parameter, Potential, RidgeParameters, Solve, Space,
    Stage,
};
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, ShapeBuilder, s};

use crate::kernels::{BackwardBlock, ForwardBlock};
use crate::real::product;
use crate::{Cpu, Real};

/// `φ(x) = Σ_j v_j f(w_j·x + b_j)`, `∇φ = Wᵀ(v ⊙ f'(a))`, `∇²φ = Σ_j v_j f''(a_j) ‖w_j‖²`, `a = Wx + b`
/// (section 3 of arXiv:1809.10188). Parameters: `weight` (h × N), `bias` (h, optional), `amplitude` (h);
/// with amplitudes that depend on time ([`Ridge::with_time`]) `amplitude` is M × h.
///
/// As x moves only in the row space of W, a solve can run in feature space: with `G = WWᵀ`, computed once,
/// the state is `c` with `x = x₀ + Wᵀc`, `a = a₀ + Gc` and `dc/dt = v ⊙ f'(a)`: one h × h product per stage instead of two h × N ones.
/// [`Coordinates::Auto`] takes it when `h < 2N`.
///
/// ```
/// use backend_ndarray::{Activation, Cpu, Ridge};
/// use flow_core::{Draws, FixedStep, Flow, Memory, Method, Purpose};
/// let cpu = Cpu::<f64>::new(1);
/// let ridge = Ridge::new(cpu.clone(), 2, 8, Activation::LnCosh, false, 0)?;
/// let integrator = FixedStep::new(Method::Rk4.tableau(), 10)?;
/// let flow = Flow {
///     space: &cpu,
///     potential: &ridge,
///     integrator: &integrator,
///     duration: 1.0,
///     coordinates: flow_core::Coordinates::Auto,
///     memory: Memory::Stages,
/// };
/// let ln_p = flow.log_density(&[0.5, -1.0], Draws::new(0, Purpose::Evaluate, 0))?;
/// assert!(ln_p[0] < 0.0);
/// # Ok::<(), flow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Ridge<T: Real> {
    space: Cpu<T>,
    activation: Activation,
    weight: Parameter<Cpu<T>>,
    bias: Option<Parameter<Cpu<T>>>,
    amplitude: Parameter<Cpu<T>>,
    orbit: Option<Group>,
    /// Duration T of the amplitudes' `cos(mπt/T)`.
    duration: f64,
    feature_stages: AtomicU64,
}

impl<T: Real> Ridge<T> {
    /// A potential of `hidden` ridge functions of `dim` numbers; first values as [`RidgeParameters::new`] has them.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero.
    pub fn new(
        space: Cpu<T>,
        dim: usize,
        hidden: usize,
        activation: Activation,
        bias: bool,
        seed: u64,
    ) -> Result<Self, Error> {
        let RidgeParameters { weight, bias, amplitude } = RidgeParameters::new(&space, dim, hidden, bias, seed)?;
        let (orbit, duration, feature_stages) = (None, 1.0, AtomicU64::new(0));
        Ok(Self { space, activation, weight, bias, amplitude, orbit, duration, feature_stages })
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
        self.amplitude.value /= T::of((group.order() as f64).sqrt());
        self.orbit = Some(group);
        Ok(self)
    }

    /// Lets the amplitudes depend on time, `v(t) = Σ_m v_m cos(mπt/T)` with m < `terms`; all but v₀ start at zero.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are no terms or the duration T is not positive.
    pub fn with_time(mut self, terms: usize, duration: f64) -> Result<Self, Error> {
        let bad = |name, value: String, expected: &str| Err(Error::Setting { name, value, expected: expected.into() });
        if terms == 0 {
            return bad("potential.time_terms", "0".into(), "at least 1");
        }
        if !(duration > 0.0 && duration.is_finite()) {
            return bad("flow.time", duration.to_string(), "a positive number");
        }
        self.duration = duration;
        if terms > 1 {
            let kernels = self.weight.value.nrows();
            let mut value = zeros(terms, kernels);
            value.row_mut(0).assign(&self.amplitude.value.row(0));
            self.amplitude = Parameter { name: "amplitude".into(), shape: vec![terms, kernels], value };
        }
        Ok(self)
    }

    /// `cos(mπt/T)` for all m.
    fn time_basis(&self, t: f64) -> impl Iterator<Item = T> + use<T> {
        let angle = std::f64::consts::PI * t / self.duration;
        (0..self.amplitude.value.nrows()).map(move |m| T::of((m as f64 * angle).cos()))
    }

    /// Evaluations that blocks of rows made in feature space so far: the proof that the fast path was taken.
    pub fn feature_stages(&self) -> u64 {
        self.feature_stages.load(Ordering::Relaxed)
    }

    /// Ridge functions that a solve works with, whole orbits counted.
    fn hidden(&self) -> usize {
        self.weight.value.nrows() * self.orbit.as_ref().map_or(1, Group::order)
    }

    /// The weights of all ridge functions: those of element g of the group follow those of element g − 1.
    fn all_weights(&self) -> Cow<'_, Array2<T>> {
        let kernels = &self.weight.value;
        let Some(group) = &self.orbit else { return Cow::Borrowed(kernels) };
        let mut all = zeros(self.hidden(), kernels.ncols());
        for g in 0..group.order() {
            let (source, sign) = group.element(g);
            let first = g * kernels.nrows();
            // w·(gx) = Σ_i w_i sign x[source_i].
            for (i, &from) in source.iter().enumerate() {
                let mut out = all.slice_mut(s![first..first + kernels.nrows(), from as usize]);
                out.assign(&kernels.column(i));
                out *= T::of(sign);
            }
        }
        Cow::Owned(all)
    }

    /// One number per ridge function, from one per kernel.
    fn all_of(&self, of: ArrayView1<'_, T>) -> Vec<T> {
        of.to_vec().repeat(self.orbit.as_ref().map_or(1, Group::order))
    }

    /// The cotangent of the kernels from that of all weights.
    fn kernels_bar(&self, all_bar: Array2<T>) -> Array2<T> {
        let Some(group) = &self.orbit else { return all_bar };
        let kernels = &self.weight.value;
        let mut out = zeros(kernels.nrows(), kernels.ncols());
        for g in 0..group.order() {
            let (source, sign) = group.element(g);
            let first = g * kernels.nrows();
            for (i, &from) in source.iter().enumerate() {
                out.column_mut(i)
                    .scaled_add(T::of(sign), &all_bar.slice(s![first..first + kernels.nrows(), from as usize]));
            }
        }
        out
    }

    /// The cotangent of one number (or column) per kernel from that of one per ridge function.
    fn folded(&self, all_bar: Array2<T>) -> Array2<T> {
        let kernels = self.weight.value.nrows();
        let mut out = zeros(all_bar.nrows(), kernels);
        for (j, bar) in all_bar.columns().into_iter().enumerate() {
            let mut folded = out.column_mut(j % kernels);
            folded += &bar;
        }
        out
    }

    /// `a · b` with the rows of `a` shared among the threads.
    fn shared_product(&self, a: &Array2<T>, b: ArrayView2<'_, T>) -> Array2<T> {
        let blocks = self.space.map_rows(a.nrows(), |rows| {
            let mut out = zeros(rows.len(), b.ncols());
            product(out.view_mut(), 0.0, a.slice(s![rows, ..]), b);
            out
        });
        let (mut out, mut first) = (zeros(a.nrows(), b.ncols()), 0);
        for block in blocks {
            out.slice_mut(s![first..first + block.nrows(), ..]).assign(&block);
            first += block.nrows();
        }
        out
    }
}

/// A matrix in the layout of [`Cpu`].
fn zeros<T: Real>(rows: usize, cols: usize) -> Array2<T> {
    Array2::zeros((rows, cols).f())
}

impl<T: Real> Potential<Cpu<T>> for Ridge<T> {
    fn dim(&self) -> usize {
        self.weight.value.ncols()
    }

    fn parameters(&self) -> Vec<&Parameter<Cpu<T>>> {
        std::iter::once(&self.weight).chain(&self.bias).chain([&self.amplitude]).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Cpu<T>>> {
        std::iter::once(&mut self.weight).chain(&mut self.bias).chain([&mut self.amplitude]).collect()
    }

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<Cpu<T>> + '_> {
        let weight = self.all_weights();
        let feature_space = match solve.coordinates {
            Coordinates::Auto => self.hidden() < 2 * self.dim(),
            Coordinates::X => false,
            Coordinates::Own => true,
        };
        let mut norms = vec![0.0; self.hidden()];
        self.space.row_dot(&mut norms, &weight, &weight);
        let norms: Vec<T> = norms.into_iter().map(T::of).collect();
        let amplitudes = self.amplitude.value.rows().into_iter().map(|v| self.all_of(v)).collect();
        let bias = self.bias.as_ref().map(|bias| self.all_of(bias.value.row(0)));
        let transposed = column_major(weight.t());
        let gram = feature_space.then(|| self.shared_product(&weight, transposed.view()));
        Box::new(Frozen { ridge: self, weight, bias, amplitudes, norms, transposed, gram })
    }
}

/// A ridge potential frozen for one solve.
struct Frozen<'a, T: Real> {
    ridge: &'a Ridge<T>,
    weight: Cow<'a, Array2<T>>,
    bias: Option<Vec<T>>,
    /// v_m for every term of the time basis.
    amplitudes: Vec<Vec<T>>,
    /// `‖w_j‖²`.
    norms: Vec<T>,
    /// `Wᵀ`, so that products with it are as fast as those with W.
    transposed: Array2<T>,
    /// `WWᵀ` where the solve runs in feature space.
    gram: Option<Array2<T>>,
}

impl<T: Real> Frozen<'_, T> {
    /// `a ← x Wᵀ + b`.
    fn arguments(&self, x: &Array2<T>, a: &mut Array2<T>) {
        match &self.bias {
            Some(bias) => a.assign(&ArrayView1::from(bias)),
            None => a.fill(T::zero()),
        }
        product(a.view_mut(), 1.0, x.view(), self.transposed.view());
    }

    /// `v(t)`.
    fn amplitude(&self, t: f64) -> Vec<T> {
        let mut v = vec![T::zero(); self.norms.len()];
        for (basis, term) in self.ridge.time_basis(t).zip(&self.amplitudes) {
            for (v, term) in v.iter_mut().zip(term) {
                *v += basis * *term;
            }
        }
        v
    }
}

/// The numbers of one of our own matrices, column by column.
fn numbers<T>(matrix: &Array2<T>) -> &[T] {
    matrix.as_slice_memory_order().expect("our own matrices are contiguous")
}

fn numbers_mut<T>(matrix: &mut Array2<T>) -> &mut [T] {
    matrix.as_slice_memory_order_mut().expect("our own matrices are contiguous")
}

/// A copy in column-major order.
fn column_major<T: Real>(of: ArrayView2<'_, T>) -> Array2<T> {
    let mut out = zeros(of.nrows(), of.ncols());
    out.assign(&of);
    out
}

impl<T: Real> Field<Cpu<T>> for Frozen<'_, T> {
    fn enter(&self, rows: Range<usize>, x: Array2<T>) -> (Box<dyn Chart<Cpu<T>> + '_>, Array2<T>) {
        let (n, h) = (rows.len(), self.ridge.hidden());
        let matrix = || zeros(n, h);
        let share = Share::new(self.amplitudes.len(), n, h, self.gram.as_ref().map_or(self.ridge.dim(), |_| h));
        let work = Pointwise { field: self, s: matrix(), scratch: matrix(), a_bar: matrix(), v_bar: matrix(), share };
        match &self.gram {
            None => (Box::new(Plain { work, bias_bar: zeros(1, h) }), x),
            Some(gram) => {
                let mut origin = matrix();
                self.arguments(&x, &mut origin);
                let chart = Feature { work, gram, origin, origin_bar: matrix(), x, leave_bar: None, weight_bar: None };
                (Box::new(chart), matrix())
            }
        }
    }

    fn value(&self, _rows: Range<usize>, stage: Stage, x: &Array2<T>) -> Vec<f64> {
        let amplitude = self.amplitude(stage.t);
        let mut a = zeros(x.nrows(), self.ridge.hidden());
        self.arguments(x, &mut a);
        let row = |a: ArrayView1<'_, T>| {
            let terms = a.iter().zip(&amplitude);
            terms.map(|(a, v)| v.wide() * self.ridge.activation.value(a.wide())).sum()
        };
        a.rows().into_iter().map(row).collect()
    }

    fn gradient(&self, sums: Vec<Array2<T>>) -> Vec<Array2<T>> {
        let mut sums = sums.into_iter();
        let mut next = || sums.next().expect("enter_pullback returns this many arrays");
        let (mut weight_bar, bias_bar, amplitude_bar, norm_bar) = (next(), next(), next(), next());
        let weight = &*self.weight;
        if self.gram.is_some() {
            // G = WWᵀ: W̄ += (Ḡ + Ḡᵀ) W.
            let gram_bar = next();
            let twice = column_major((&gram_bar + &gram_bar.t()).view());
            weight_bar += &self.ridge.shared_product(&twice, weight.view());
        }
        // n_j = ‖w_j‖²: w̄_j += 2 n̄_j w_j.
        let norm_bar = norm_bar.mapv(|bar| T::of(2.0) * bar);
        weight_bar += &(weight * &norm_bar.t());
        let mut out = vec![self.ridge.kernels_bar(weight_bar)];
        out.extend(self.ridge.bias.as_ref().map(|_| self.ridge.folded(bias_bar)));
        out.push(self.ridge.folded(amplitude_bar));
        out
    }
}

/// Sums that a block of rows gathers for the gradient.
struct Share<T: Real> {
    /// Every row's share of the cotangents of v_m, for every term of the time basis.
    amplitudes: Vec<Array2<T>>,
    /// Every row's share of the cotangents of `‖w_j‖²`.
    norms: Array2<T>,
    /// `Σ leftᵀ · right` over all stages: of `(ā, x)` and `(v ⊙ s, velocity_bar)` in plain coordinates, of `(c, ā)` in feature space.
    products: Gathered<T>,
}

impl<T: Real> Share<T> {
    fn new(terms: usize, rows: usize, hidden: usize, cols: usize) -> Self {
        let amplitudes = (0..terms).map(|_| zeros(rows, hidden)).collect();
        Self { amplitudes, norms: zeros(rows, hidden), products: Gathered::new(hidden, cols) }
    }
}

/// A sum of products `leftᵀ · right` of short matrices, gathered until one product is large enough to be fast.
struct Gathered<T> {
    sum: Array2<T>,
    left: Array2<T>,
    right: Array2<T>,
    filled: usize,
}

impl<T: Real> Gathered<T> {
    const ROWS: usize = 384;

    fn new(left: usize, right: usize) -> Self {
        Self { sum: zeros(left, right), left: zeros(0, left), right: zeros(0, right), filled: 0 }
    }

    fn add(&mut self, left: &Array2<T>, right: &Array2<T>) {
        let rows = left.nrows();
        if self.left.nrows() == 0 {
            // Allocated at the first use: evaluation without gradient never needs it.
            let capacity = Self::ROWS.max(rows);
            self.left = zeros(capacity, left.ncols());
            self.right = zeros(capacity, right.ncols());
        }
        if self.filled + rows > self.left.nrows() {
            self.flush();
        }
        let range = self.filled..self.filled + rows;
        self.left.slice_mut(s![range.clone(), ..]).assign(left);
        self.right.slice_mut(s![range, ..]).assign(right);
        self.filled += rows;
    }

    fn flush(&mut self) {
        let (left, right) = (self.left.slice(s![..self.filled, ..]), self.right.slice(s![..self.filled, ..]));
        product(self.sum.view_mut(), 1.0, left.t(), right);
        self.filled = 0;
    }

    fn finish(mut self) -> Array2<T> {
        self.flush();
        self.sum
    }
}

/// What both charts share: everything between the matrix products.
struct Pointwise<'a, T: Real> {
    field: &'a Frozen<'a, T>,
    s: Array2<T>,
    scratch: Array2<T>,
    a_bar: Array2<T>,
    v_bar: Array2<T>,
    share: Share<T>,
}

impl<T: Real> Pointwise<'_, T> {
    /// The two scratch matrices, to be put back after use.
    fn take(&mut self) -> (Array2<T>, Array2<T>) {
        (std::mem::replace(&mut self.s, zeros(0, 0)), std::mem::replace(&mut self.scratch, zeros(0, 0)))
    }

    /// From `a` to `s = f'(a)` in place, `out = v ⊙ s`, and the Laplacian.
    fn forward(&self, t: f64, s: &mut Array2<T>, out: &mut Array2<T>, laplacian: Option<&mut Vec<f64>>) {
        let (activation, rows) = (self.field.ridge.activation, s.nrows());
        T::slope(activation, numbers_mut(s));
        let laplacian = laplacian.map(Vec::as_mut_slice);
        let v = self.field.amplitude(t);
        let vn: Vec<T> = v.iter().zip(&self.field.norms).map(|(v, n)| *v * *n).collect();
        T::forward(ForwardBlock { s: numbers(s), v: &v, vn: &vn, out: numbers_mut(out), rows, laplacian }, activation);
    }

    /// Fills `self.a_bar` from the cotangents `u` of `v(t) ⊙ s` and `laplacian_bar`; gathers those of the amplitudes and norms.
    fn backward(&mut self, t: f64, s: &Array2<T>, u: &Array2<T>, laplacian_bar: Option<&Vec<f64>>) {
        let v = self.field.amplitude(t);
        self.v_bar.fill(T::zero());
        let bar = |r: usize| laplacian_bar.map_or(T::zero(), |l| T::of(l[r]));
        let l_bar: Vec<T> = (0..s.nrows()).map(bar).collect();
        let block = BackwardBlock {
            s: numbers(s),
            u: numbers(u),
            v: &v,
            n: &self.field.norms,
            l_bar: &l_bar,
            a_bar: numbers_mut(&mut self.a_bar),
            v_bar: numbers_mut(&mut self.v_bar),
            n_bar: numbers_mut(&mut self.share.norms),
        };
        T::backward(block, self.field.ridge.activation);
        for (basis, share) in self.field.ridge.time_basis(t).zip(&mut self.share.amplitudes) {
            share.scaled_add(basis, &self.v_bar);
        }
    }

    /// The gathered sums: of the weights' products, of biases (given), amplitudes and norms.
    fn sums(share: Share<T>, bias_bar: Array2<T>) -> [Array2<T>; 4] {
        let mut amplitude_bar = zeros(share.amplitudes.len(), share.norms.ncols());
        for (mut out, term) in amplitude_bar.rows_mut().into_iter().zip(&share.amplitudes) {
            out.assign(&term.sum_axis(Axis(0)));
        }
        [share.products.finish(), bias_bar, amplitude_bar, column_sums(&share.norms)]
    }
}

fn column_sums<T: Real>(a: &Array2<T>) -> Array2<T> {
    a.sum_axis(Axis(0)).insert_axis(Axis(0))
}

/// Plain coordinates: the state is x.
struct Plain<'a, T: Real> {
    work: Pointwise<'a, T>,
    bias_bar: Array2<T>,
}

impl<T: Real> Chart<Cpu<T>> for Plain<'_, T> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        velocity: &mut Array2<T>,
        laplacian: Option<&mut Vec<f64>>,
        memo: Option<&mut Memo<Cpu<T>>>,
    ) {
        let (mut s, mut scratch) = self.work.take();
        self.work.field.arguments(state, &mut s);
        self.work.forward(stage.t, &mut s, &mut scratch, laplacian);
        product(velocity.view_mut(), 0.0, scratch.view(), self.work.field.weight.view());
        if let Some(memo) = memo {
            memo.push(s.clone());
        }
        (self.work.s, self.work.scratch) = (s, scratch);
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        memo: &[Array2<T>],
        velocity_bar: &Array2<T>,
        laplacian_bar: Option<&Vec<f64>>,
        state_bar: Option<&mut Array2<T>>,
    ) {
        let weight = &*self.work.field.weight;
        let (s, mut u) = self.work.take();
        product(u.view_mut(), 0.0, velocity_bar.view(), self.work.field.transposed.view());
        self.work.backward(stage.t, &memo[0], &u, laplacian_bar);
        // v ⊙ s, whose product with velocity_bar is one half of the weights' cotangent.
        u.assign(&memo[0]);
        u *= &ArrayView1::from(&self.work.field.amplitude(stage.t));
        self.work.share.products.add(&u, velocity_bar);
        self.work.share.products.add(&self.work.a_bar, state);
        self.bias_bar += &column_sums(&self.work.a_bar);
        if let Some(state_bar) = state_bar {
            product(state_bar.view_mut(), 0.0, self.work.a_bar.view(), weight.view());
        }
        (self.work.s, self.work.scratch) = (s, u);
    }

    fn leave(&mut self, state: Array2<T>) -> Array2<T> {
        state
    }

    fn leave_pullback(&mut self, _state: &Array2<T>, x_bar: Array2<T>) -> Array2<T> {
        x_bar
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array2<T>) -> (Array2<T>, Vec<Array2<T>>) {
        (state_bar, Pointwise::sums(self.work.share, self.bias_bar).into())
    }
}

/// Feature space: the state is c, with `x = x₀ + Wᵀc` and `a = a₀ + Gc`.
struct Feature<'a, T: Real> {
    work: Pointwise<'a, T>,
    gram: &'a Array2<T>,
    /// `a₀ = Wx₀ + b`.
    origin: Array2<T>,
    origin_bar: Array2<T>,
    /// x₀.
    x: Array2<T>,
    /// Cotangent of x at the end, which is also one of x₀.
    leave_bar: Option<Array2<T>>,
    /// `cᵀ x̄` of the end.
    weight_bar: Option<Array2<T>>,
}

impl<T: Real> Chart<Cpu<T>> for Feature<'_, T> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        velocity: &mut Array2<T>,
        laplacian: Option<&mut Vec<f64>>,
        memo: Option<&mut Memo<Cpu<T>>>,
    ) {
        let (mut s, scratch) = self.work.take();
        s.assign(&self.origin);
        product(s.view_mut(), 1.0, state.view(), self.gram.view());
        self.work.forward(stage.t, &mut s, velocity, laplacian);
        if let Some(memo) = memo {
            memo.push(s.clone());
        }
        (self.work.s, self.work.scratch) = (s, scratch);
        self.work.field.ridge.feature_stages.fetch_add(1, Ordering::Relaxed);
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        memo: &[Array2<T>],
        velocity_bar: &Array2<T>,
        laplacian_bar: Option<&Vec<f64>>,
        state_bar: Option<&mut Array2<T>>,
    ) {
        self.work.backward(stage.t, &memo[0], velocity_bar, laplacian_bar);
        let a_bar = &self.work.a_bar;
        self.origin_bar += a_bar;
        self.work.share.products.add(state, a_bar);
        if let Some(state_bar) = state_bar {
            // G is symmetric: its transpose is itself.
            product(state_bar.view_mut(), 0.0, a_bar.view(), self.gram.view());
        }
    }

    fn leave(&mut self, state: Array2<T>) -> Array2<T> {
        let mut x = self.x.clone();
        product(x.view_mut(), 1.0, state.view(), self.work.field.weight.view());
        x
    }

    fn leave_pullback(&mut self, state: &Array2<T>, x_bar: Array2<T>) -> Array2<T> {
        let weight = &*self.work.field.weight;
        let mut weight_bar = zeros(weight.nrows(), weight.ncols());
        product(weight_bar.view_mut(), 0.0, state.t(), x_bar.view());
        self.weight_bar = Some(weight_bar);
        let mut state_bar = zeros(state.nrows(), state.ncols());
        product(state_bar.view_mut(), 0.0, x_bar.view(), self.work.field.transposed.view());
        self.leave_bar = Some(x_bar);
        state_bar
    }

    fn enter_pullback(self: Box<Self>, _state_bar: Array2<T>) -> (Array2<T>, Vec<Array2<T>>) {
        // The state starts at zero whatever x is: its cotangent goes nowhere.
        let weight = &*self.work.field.weight;
        let mut weight_bar = self.weight_bar.unwrap_or_else(|| zeros(weight.nrows(), weight.ncols()));
        product(weight_bar.view_mut(), 1.0, self.origin_bar.t(), self.x.view());
        let mut x_bar = self.leave_bar.unwrap_or_else(|| zeros(self.x.nrows(), self.x.ncols()));
        product(x_bar.view_mut(), 1.0, self.origin_bar.view(), weight.view());
        let [gram_bar, bias_bar, amplitude_bar, norm_bar] =
            Pointwise::sums(self.work.share, column_sums(&self.origin_bar));
        (x_bar, vec![weight_bar, bias_bar, amplitude_bar, norm_bar, gram_bar])
    }
}
