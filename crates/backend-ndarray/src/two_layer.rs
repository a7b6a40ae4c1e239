//! Potentials of two hidden layers, `φ(x, t) = Σ_k v_k(t) f(z_k)`, `z = W₂ f(a) + b₂(t)`, `a = g(t) ⊙ W₁x + b₁(t)`.

use std::ops::Range;
use std::sync::OnceLock;

use flow_core::{
    Activation, Block, BlockField, Error, Field, Motion, Parameter, Potential, Pullback, Share, Solve, Space, Stage,
    TimeBasis, TwoLayerParameters, TwoLayerSettings,
};
use ndarray::{Array2, ArrayView1};

use crate::accumulator::{GradientAccumulator, whole_sum};
use crate::arrays::{column, column_sums, numbers, numbers_mut, row_of, scaled, times, zeros};
use crate::context::{Offsets, offsets};
use crate::cpu::Cpu;
use crate::gemm::product;
use crate::real::Real;
use crate::tangents::{Tangents, TangentsBar};
use crate::timed::{Timed, TimedBar, coefficients_bar};

/// `φ(x, t) = Σ_k v_k f(z_k)`, `z = W₂ f(a) + b₂`, `a = g ⊙ (W₁x + Uc) + b₁` with a context c where there is one.
///
/// By back-propagation, `q = W₂ᵀ(v ⊙ f'(z))`, `∇φ = W₁ᵀ(q ⊙ f'(a) ⊙ g)`, and `∇²φ = Σ_k v_k f''(z_k) ‖J_k‖² + Σ_j q_j
/// f''(a_j) g_j² ‖w_j‖²`, `J = W₂ diag(f'(a) ⊙ g) W₁`. The second sum costs nothing. The first takes `h₂ h₁ N`
/// multiplications per row, against about `2 h₁(N + h₂)` for the gradient; with P probes ε it is estimated without bias
/// by `Σ_k v_k f''(z_k) mean_ε (J_k ε)²` with `P h₂ h₁` of them. Probes stay the same during a solve and belong to
/// their rows: errors of different rows are independent. A solve that asks for no Laplacian, as a regression does, does
/// none of that.
///
/// Memory for the Laplacian, per thread: `max(P, 256) · 2(h₁ + h₂)` numbers (P = N for the exact one), and `16 P (N +
/// h₁)` for probes.
///
/// Parameters: `layer1.weight` (h₁ × N), `layer1.context` (U, h₁ × k, where there is a context), `layer2.weight` (h₂ ×
/// h₁), and as coefficients of M functions of time (M × h, h for M = 1) `layer1.bias` (optional), `layer1.gain`,
/// `layer2.bias` and `amplitude`. Weights, biases and amplitudes start as those of PyTorch's linear layers, gains at
/// one, and all that depends on time at zero.
///
/// ```
/// use backend_ndarray::{Activation, Cpu, TwoLayer, TwoLayerSettings};
/// use flow_core::{Potential, TimeBasis};
/// let (hidden, activation) = ([32, 16], Activation::Softplus);
/// let settings = TwoLayerSettings { hidden, activation, bias: true, probes: 0, context: 0 };
/// let potential = TwoLayer::new(Cpu::<f32>::new(1), 2, settings, TimeBasis::constant(), 0)?;
/// assert_eq!(potential.parameters().len(), 6);
/// # Ok::<(), flow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct TwoLayer<T: Real> {
    space: Cpu<T>,
    activation: Activation,
    probes: usize,
    basis: TimeBasis,
    weight1: Parameter<Cpu<T>>,
    context: Option<Parameter<Cpu<T>>>,
    bias1: Option<Parameter<Cpu<T>>>,
    gain: Parameter<Cpu<T>>,
    weight2: Parameter<Cpu<T>>,
    bias2: Parameter<Cpu<T>>,
    amplitude: Parameter<Cpu<T>>,
}

impl<T: Real> TwoLayer<T> {
    /// A potential of `dim` numbers.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero.
    pub fn new(
        space: Cpu<T>,
        dim: usize,
        settings: TwoLayerSettings,
        basis: TimeBasis,
        seed: u64,
    ) -> Result<Self, Error> {
        let TwoLayerParameters { weight1, context, bias1, gain, weight2, bias2, amplitude } =
            TwoLayerParameters::new(&space, dim, &settings, basis, seed)?;
        let TwoLayerSettings { activation, probes, .. } = settings;
        Ok(Self { space, activation, probes, basis, weight1, context, bias1, gain, weight2, bias2, amplitude })
    }

    fn hidden(&self) -> [usize; 2] {
        [self.weight1.shape[0], self.weight2.shape[0]]
    }
}

impl<T: Real> Potential<Cpu<T>> for TwoLayer<T> {
    fn dim(&self) -> usize {
        self.weight1.shape[1]
    }

    fn context_dim(&self) -> usize {
        self.context.as_ref().map_or(0, |context| context.value.ncols())
    }

    fn parameters(&self) -> Vec<&Parameter<Cpu<T>>> {
        let first = std::iter::once(&self.weight1).chain(&self.context).chain(&self.bias1).chain([&self.gain]);
        first.chain([&self.weight2, &self.bias2, &self.amplitude]).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Cpu<T>>> {
        let offsets = self.context.iter_mut().chain(&mut self.bias1);
        let first = std::iter::once(&mut self.weight1).chain(offsets).chain([&mut self.gain]);
        first.chain([&mut self.weight2, &mut self.bias2, &mut self.amplitude]).collect()
    }

    fn draw_width(&self, solve: &Solve) -> usize {
        if solve.laplacians { self.probes * self.dim() } else { 0 }
    }

    /// Random signs, the vectors of one probe after another.
    fn draw(&self, solve: &Solve, rows: Range<usize>) -> Vec<f64> {
        solve.key.rademacher(rows, self.draw_width(solve))
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<Cpu<T>> + '_> {
        let timed = |of: &Parameter<Cpu<T>>| Timed::new(self.basis, &of.value);
        Box::new(Frozen {
            of: self,
            transposed1: self.space.transposed(&self.weight1.value),
            transposed2: self.space.transposed(&self.weight2.value),
            bias1: self.bias1.as_ref().map(timed),
            gain: timed(&self.gain),
            bias2: timed(&self.bias2),
            amplitude: timed(&self.amplitude),
            norms: OnceLock::new(),
        })
    }
}

/// A potential frozen for one solve.
struct Frozen<'a, T: Real> {
    of: &'a TwoLayer<T>,
    /// `W₁ᵀ`.
    transposed1: Array2<T>,
    /// `W₂ᵀ`.
    transposed2: Array2<T>,
    bias1: Option<Timed<T>>,
    gain: Timed<T>,
    bias2: Timed<T>,
    amplitude: Timed<T>,
    /// `‖w_j‖²`, once a Laplacian is asked for.
    norms: OnceLock<Vec<T>>,
}

impl<T: Real> Frozen<'_, T> {
    fn norms(&self) -> &[T] {
        self.norms.get_or_init(|| {
            let (weight, mut norms) = (&self.of.weight1.value, vec![0.0; self.of.hidden()[0]]);
            self.of.space.row_dot(&mut norms, weight, weight);
            norms.into_iter().map(T::of).collect()
        })
    }

    /// `(W₁x, a)`, with `Uc` added to the first where it is given.
    fn first_arguments(&self, t: f64, x: &Array2<T>, offsets: Option<&Array2<T>>) -> (Array2<T>, Array2<T>) {
        let mut u = zeros(x.nrows(), self.of.hidden()[0]);
        let keep = match offsets {
            Some(offsets) => {
                u.assign(offsets);
                1.0
            }
            None => 0.0,
        };
        product(u.view_mut(), keep, x.view(), self.transposed1.view());
        let mut a = scaled(&u, &self.gain.at(t));
        if let Some(bias) = &self.bias1 {
            a += &ArrayView1::from(&bias.at(t));
        }
        (u, a)
    }

    /// `z`.
    fn second_arguments(&self, t: f64, y: &Array2<T>) -> Array2<T> {
        let mut z = zeros(y.nrows(), self.of.hidden()[1]);
        z.assign(&ArrayView1::from(&self.bias2.at(t)));
        product(z.view_mut(), 1.0, y.view(), self.transposed2.view());
        z
    }

    /// `v ⊙ f''(z)`, from `s₂ = f'(z)`.
    fn curvature2(&self, t: f64, s2: &Array2<T>) -> Array2<T> {
        let f = self.of.activation;
        scaled(&s2.mapv(|s| f.curvature(s)), &self.amplitude.at(t))
    }
}

impl<T: Real> Field<Cpu<T>> for Frozen<'_, T> {
    fn enter(&self, block: Block<Cpu<T>>) -> (Box<dyn BlockField<Cpu<T>> + '_>, Array2<T>) {
        let [h1, h2] = self.of.hidden();
        let rows = Rows {
            field: self,
            rows: block.rows.len(),
            draws: block.draws,
            offsets: Offsets::new(self.of.context.as_ref(), block.context),
            tangents: None,
            tangents_bar: None,
            products1: GradientAccumulator::new(h1, self.of.dim()),
            products2: GradientAccumulator::new(h2, h1),
            norms_bar: vec![T::zero(); h1],
            bias1_bar: self.bias1.as_ref().map(Timed::bar),
            gain_bar: self.gain.bar(),
            bias2_bar: self.bias2.bar(),
            amplitude_bar: self.amplitude.bar(),
        };
        (Box::new(rows), block.x)
    }

    fn value(&self, stage: Stage, block: Block<Cpu<T>>) -> Vec<f64> {
        let x = &block.x;
        let f = self.of.activation;
        let offsets = offsets(self.of.context.as_ref(), block.context.as_ref());
        let y = self.first_arguments(stage.t, x, offsets.as_ref()).1.mapv_into(|a| T::of(f.value(a.wide())));
        let amplitude = self.amplitude.at(stage.t);
        let of_row = |z: ArrayView1<'_, T>| z.iter().zip(&amplitude).map(|(z, v)| v.wide() * f.value(z.wide())).sum();
        self.second_arguments(stage.t, &y).rows().into_iter().map(of_row).collect()
    }

    fn gradient(&self, sums: Vec<Share<Cpu<T>>>) -> Vec<Array2<T>> {
        let mut sums = sums.into_iter();
        let mut next = || sums.next().expect("enter_pullback returns this many arrays");
        let (space, weight1) = (&self.of.space, &self.of.weight1.value);
        let mut weight1_bar = whole_sum(space, weight1.dim(), next());
        let mut weight2_bar = whole_sum(space, self.of.weight2.value.dim(), next());
        let [trace2_bar, trace1_bar, norms_bar] = [(); 3].map(|()| next().into_sum());
        // Empty unless a Laplacian had a cotangent.
        if !trace2_bar.is_empty() {
            weight2_bar += &trace2_bar;
            weight1_bar += &trace1_bar.t();
            // n_j = ‖w_j‖²: w̄_j += 2 n̄_j w_j.
            weight1_bar += &(weight1 * &norms_bar.mapv(|bar| T::of(2.0) * bar).t());
        }
        let context_bar = self.of.context.as_ref().map(|_| sums.next().expect("as many").into_sum());
        let mut timed: Vec<_> = sums.map(|sum| coefficients_bar(&sum.into_sum())).collect();
        let after2 = timed.split_off(timed.len() - 2);
        std::iter::once(weight1_bar).chain(context_bar).chain(timed).chain([weight2_bar]).chain(after2).collect()
    }
}

/// A block of rows, with its sums for the gradient.
struct Rows<'a, T: Real> {
    field: &'a Frozen<'a, T>,
    rows: usize,
    /// Random signs, P · N a row, until a Laplacian is asked for; `None` where it is exact.
    draws: Option<Array2<T>>,
    /// `Uc`, where there is a context.
    offsets: Option<Offsets<T>>,
    /// Once a Laplacian is asked for.
    tangents: Option<Tangents<'a, T>>,
    /// Once a Laplacian has a cotangent.
    tangents_bar: Option<TangentsBar<T>>,
    products1: GradientAccumulator<T>,
    products2: GradientAccumulator<T>,
    norms_bar: Vec<T>,
    bias1_bar: Option<TimedBar<T>>,
    gain_bar: TimedBar<T>,
    bias2_bar: TimedBar<T>,
    amplitude_bar: TimedBar<T>,
}

/// What the Laplacian adds to a pullback.
struct TraceBar<T> {
    /// Cotangent of the Laplacian, per row.
    l_bar: Vec<T>,
    /// `‖J_k‖²`, rows × h₂.
    squares: Array2<T>,
    /// Cotangent of `f'(a) ⊙ g` in the Jacobian, rows × h₁.
    d_bar: Array2<T>,
    /// `‖w_j‖²`.
    norms: Vec<T>,
}

impl<T: Real> Rows<'_, T> {
    fn draw_tangents(&mut self) {
        let (field, draws) = (self.field, &mut self.draws);
        self.tangents.get_or_insert_with(|| match field.of.probes {
            0 => Tangents::exact(&field.transposed1),
            count => {
                let draws = draws.take().expect("a solve with Laplacians brings probes");
                let dim = field.of.dim();
                let mut probes = zeros(draws.nrows() * count, dim);
                for ((r, column), sign) in draws.indexed_iter() {
                    probes[[r * count + column / dim, column % dim]] = *sign;
                }
                Tangents::probes(probes, count, &field.transposed1)
            }
        });
    }

    /// `∇²φ` from `s₁ = f'(a)`, `s₂ = f'(z)` and q.
    fn laplacian(&mut self, t: f64, s1: &Array2<T>, s2: &Array2<T>, q: &Array2<T>, out: &mut [f64]) {
        self.draw_tangents();
        let (field, f, gain) = (self.field, self.field.of.activation, self.field.gain.at(t));
        let d = scaled(s1, &gain);
        let tangents = self.tangents.as_ref().expect("drawn above");
        let mut terms = tangents.squares(&d, &field.transposed2);
        terms *= &field.curvature2(t, s2);
        out.fill(0.0);
        let mut add = |column: ArrayView1<'_, T>| {
            out.iter_mut().zip(column).for_each(|(out, term)| *out += term.wide());
        };
        terms.columns().into_iter().for_each(&mut add);
        let second = times(&times(&gain, &gain), field.norms());
        let curved = scaled(&s1.mapv(|s| f.curvature(s)), &second) * q;
        curved.columns().into_iter().for_each(add);
    }

    fn trace_bar(&mut self, t: f64, residuals: &Memory<'_, T>, laplacian_bar: &[f64]) -> TraceBar<T> {
        self.draw_tangents();
        let (field, l_bar) = (self.field, laplacian_bar.iter().map(|l| T::of(*l)).collect::<Vec<T>>());
        let tangents = self.tangents.as_ref().expect("drawn above");
        let bar = self.tangents_bar.get_or_insert_with(|| tangents.bar(&field.of.weight2.value));
        let d = scaled(residuals.s1, &field.gain.at(t));
        let mut squares_bar = field.curvature2(t, residuals.s2);
        for mut column in squares_bar.columns_mut() {
            column *= &ArrayView1::from(&l_bar);
        }
        let (squares, d_bar) = tangents.pullback(&d, (&field.of.weight2.value, &field.transposed2), &squares_bar, bar);
        TraceBar { l_bar, squares, d_bar, norms: field.norms().to_vec() }
    }

    /// From the cotangent of `p = q ⊙ f'(a) ⊙ g` to that of q.
    fn q_bar(&self, t: f64, residuals: &Memory<'_, T>, p_bar: &Array2<T>, trace: Option<&TraceBar<T>>) -> Array2<T> {
        let (f, gain, rows) = (self.field.of.activation, self.field.gain.at(t), self.rows);
        let mut out = scaled(p_bar, &gain) * residuals.s1;
        if let Some(trace) = trace {
            let columns = numbers_mut(&mut out).chunks_exact_mut(rows).zip(numbers(residuals.s1).chunks_exact(rows));
            for (j, (out, s)) in columns.enumerate() {
                let weight = gain[j] * gain[j] * trace.norms[j];
                (0..rows).for_each(|r| out[r] += trace.l_bar[r] * weight * f.curvature(s[r]));
            }
        }
        out
    }

    /// From the cotangent of `k = v ⊙ f'(z)` to that of z, and that of the amplitudes gathered.
    fn z_bar(&mut self, t: f64, s2: &Array2<T>, k_bar: &Array2<T>, trace: Option<&TraceBar<T>>) -> Array2<T> {
        let (f, v, rows) = (self.field.of.activation, self.field.amplitude.at(t), self.rows);
        let (mut z_bar, mut v_bar) = (k_bar.clone(), k_bar.clone() * s2);
        let columns =
            numbers_mut(&mut z_bar).chunks_exact_mut(rows).zip(numbers_mut(&mut v_bar).chunks_exact_mut(rows));
        for (k, ((z_bar, v_bar), s)) in columns.zip(numbers(s2).chunks_exact(rows)).enumerate() {
            (0..rows).for_each(|r| z_bar[r] *= v[k] * f.curvature(s[r]));
            if let Some(trace) = trace {
                for r in 0..rows {
                    let bar = trace.l_bar[r] * trace.squares[[r, k]];
                    z_bar[r] += bar * v[k] * f.third(s[r]);
                    v_bar[r] += bar * f.curvature(s[r]);
                }
            }
        }
        self.amplitude_bar.add(t, &column_sums(&v_bar));
        self.bias2_bar.add(t, &column_sums(&z_bar));
        z_bar
    }

    /// From the cotangents of `y = f(a)` (overwritten) and p to that of `W₁x`; those of offsets, gains and norms
    /// gathered.
    fn u_bar(
        &mut self,
        t: f64,
        residuals: &Memory<'_, T>,
        mut y_bar: Array2<T>,
        p_bar: &Array2<T>,
        trace: Option<&TraceBar<T>>,
    ) -> Array2<T> {
        let (f, gain, rows, two) = (self.field.of.activation, self.field.gain.at(t), self.rows, T::of(2.0));
        let mut bias_bar = vec![T::zero(); gain.len()];
        let mut gain_bar = bias_bar.clone();
        for (j, bar) in numbers_mut(&mut y_bar).chunks_exact_mut(rows).enumerate() {
            let (s, q, u, p_bar) =
                (column(residuals.s1, j), column(residuals.q, j), column(residuals.u, j), column(p_bar, j));
            let g = gain[j];
            for r in 0..rows {
                let (mut d_bar, mut curved) = (p_bar[r] * q[r], T::zero());
                if let Some(trace) = trace {
                    d_bar += trace.d_bar[[r, j]];
                    curved = trace.l_bar[r] * q[r];
                    let bent = curved * f.curvature(s[r]) * g;
                    gain_bar[j] += two * bent * trace.norms[j];
                    self.norms_bar[j] += bent * g;
                    curved *= g * g * trace.norms[j];
                }
                let a_bar = bar[r] * s[r] + g * d_bar * f.curvature(s[r]) + curved * f.third(s[r]);
                bias_bar[j] += a_bar;
                gain_bar[j] += a_bar * u[r] + d_bar * s[r];
                bar[r] = g * a_bar;
            }
        }
        if let Some(sum) = &mut self.bias1_bar {
            sum.add(t, &bias_bar);
        }
        self.gain_bar.add(t, &gain_bar);
        y_bar
    }
}

/// What an evaluation leaves for its pullback.
struct Memory<'a, T> {
    /// `W₁x`, and with a context `W₁x + Uc`.
    u: &'a Array2<T>,
    /// `f(a)`.
    y: &'a Array2<T>,
    /// `f'(a)`.
    s1: &'a Array2<T>,
    /// `f'(z)`.
    s2: &'a Array2<T>,
    q: &'a Array2<T>,
}

impl<'a, T> Memory<'a, T> {
    fn of(residuals: &'a [Array2<T>]) -> Self {
        let [u, y, s1, s2, q] = residuals else { panic!("evaluate leaves five arrays, not {}", residuals.len()) };
        Self { u, y, s1, s2, q }
    }
}

impl<T: Real> BlockField<Cpu<T>> for Rows<'_, T> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Motion { velocity, laplacian, residuals }: Motion<'_, Cpu<T>>,
    ) {
        let (t, field, of) = (stage.t, self.field, self.field.of);
        let (u, mut s1) = field.first_arguments(t, state, self.offsets.as_ref().map(|offsets| &offsets.value));
        let mut y = zeros(s1.nrows(), s1.ncols());
        T::value_and_slope(of.activation, numbers_mut(&mut s1), numbers_mut(&mut y));
        let mut s2 = field.second_arguments(t, &y);
        T::slope(of.activation, numbers_mut(&mut s2));
        let k = scaled(&s2, &field.amplitude.at(t));
        let mut q = zeros(s1.nrows(), s1.ncols());
        product(q.view_mut(), 0.0, k.view(), of.weight2.value.view());
        let p = scaled(&q, &field.gain.at(t)) * &s1;
        product(velocity.view_mut(), 0.0, p.view(), of.weight1.value.view());
        if let Some(laplacian) = laplacian {
            self.laplacian(t, &s1, &s2, &q, laplacian);
        }
        if let Some(residuals) = residuals {
            residuals.extend([u, y, s1, s2, q]);
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Pullback { residuals, velocity_bar, laplacian_bar, state_bar }: Pullback<'_, Cpu<T>>,
    ) {
        let (t, field, residuals, [h1, h2]) = (stage.t, self.field, Memory::of(residuals), self.field.of.hidden());
        let (weight1, weight2, rows) = (&field.of.weight1.value, &field.of.weight2.value, self.rows);
        let trace = laplacian_bar.map(|bar| self.trace_bar(t, &residuals, bar));
        let p = scaled(residuals.q, &field.gain.at(t)) * residuals.s1;
        self.products1.add(&p, velocity_bar);
        // p's own memory serves for its cotangent.
        let mut p_bar = p;
        product(p_bar.view_mut(), 0.0, velocity_bar.view(), field.transposed1.view());
        let q_bar = self.q_bar(t, &residuals, &p_bar, trace.as_ref());
        let k = scaled(residuals.s2, &field.amplitude.at(t));
        self.products2.add(&k, &q_bar);
        let mut k_bar = zeros(rows, h2);
        product(k_bar.view_mut(), 0.0, q_bar.view(), field.transposed2.view());
        let z_bar = self.z_bar(t, residuals.s2, &k_bar, trace.as_ref());
        self.products2.add(&z_bar, residuals.y);
        let mut y_bar = zeros(rows, h1);
        product(y_bar.view_mut(), 0.0, z_bar.view(), weight2.view());
        let u_bar = self.u_bar(t, &residuals, y_bar, &p_bar, trace.as_ref());
        self.products1.add(&u_bar, state);
        if let Some(offsets) = &mut self.offsets {
            offsets.add(&u_bar);
        }
        if let Some(state_bar) = state_bar {
            product(state_bar.view_mut(), 0.0, u_bar.view(), weight1.view());
        }
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array2<T>) -> (Array2<T>, Vec<Share<Cpu<T>>>) {
        let products = [self.products1.finish(), self.products2.finish()];
        let trace = match (self.tangents_bar, &self.tangents) {
            (Some(bar), Some(tangents)) => bar.finish(tangents),
            _ => [zeros(0, 0), zeros(0, 0)],
        };
        let timed = self.bias1_bar.into_iter().chain([self.gain_bar, self.bias2_bar, self.amplitude_bar]);
        let context = self.offsets.map(Offsets::finish);
        let sums = trace.into_iter().chain([row_of(self.norms_bar)]).chain(context).chain(timed.map(|bar| bar.sum));
        (state_bar, products.into_iter().chain(sums.map(Share::of)).collect())
    }
}
