//! Potentials of two hidden layers, `φ(x, t) = Σ_k v_k(t) f(z_k)`, `z = W₂ f(a) + b₂(t)`, `a = g(t) ⊙ W₁x + b₁(t)`.

use std::ops::Range;
use std::sync::OnceLock;

use flow_core::{
    Activation, Block, BlockField, Error, Field, Motion, Parameter, Potential, Pullback, Share, Solve, Space, Stage,
    TimeBasis, TwoLayerParameters, TwoLayerSettings,
};
use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::accumulator::{GradientAccumulator, whole_sum};
use crate::arrays::{column_major, for_columns, numbers, numbers_mut, row_of, scaled, times, zeros};
use crate::context::{Offsets, offsets};
use crate::cpu::Cpu;
use crate::kernels::{BackwardBlock, ForwardBlock, Sums};
use crate::packed::Packed;
use crate::real::Real;
use crate::tangents::{Tangents, TangentsBar};
use crate::timed::{Timed, TimedBar, coefficients_bar};
use crate::two_layer_kernels::{FirstLayer, TraceTerms};

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
        let packed = |right: ArrayView2<'_, T>| Packed::unless_narrow(&self.space, right);
        let (weight1, weight2) = (&self.weight1.value, &self.weight2.value);
        Box::new(Frozen {
            of: self,
            weight1: packed(weight1.view()),
            transposed1: packed(weight1.t()),
            weight2: packed(weight2.view()),
            transposed2: packed(weight2.t()),
            units: OnceLock::new(),
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
    /// W₁ as a right factor, and its transpose.
    weight1: Packed<T>,
    transposed1: Packed<T>,
    /// W₂ as a right factor, and its transpose.
    weight2: Packed<T>,
    transposed2: Packed<T>,
    /// `W₁ᵀ`: the images of the unit vectors, once an exact Laplacian is asked for.
    units: OnceLock<Array2<T>>,
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

    /// `a`, with `Uc` added to `W₁x` where it is given.
    fn first_arguments(&self, t: f64, x: &Array2<T>, offsets: Option<&Array2<T>>) -> Array2<T> {
        let [rows, h1] = [x.nrows(), self.of.hidden()[0]];
        let (mut u, mut a) = (zeros(rows, h1), zeros(rows, h1));
        self.transposed1.product(&mut u, offsets, x, |_, _| ());
        let bias = self.bias1.as_ref().map(|bias| bias.at(t));
        T::arguments(numbers(&u), &self.gain.at(t), bias.as_deref(), rows, numbers_mut(&mut a));
        a
    }

    /// `z`.
    fn second_arguments(&self, t: f64, y: &Array2<T>) -> Array2<T> {
        let mut z = self.transposed2.of(y);
        for_columns(numbers_mut(&mut z), y.nrows(), &self.bias2.at(t), |z, bias| *z += bias);
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
            spare: None,
            k: zeros(block.rows.len(), h2),
            p: zeros(block.rows.len(), h1),
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
        let y = self.first_arguments(stage.t, x, offsets.as_ref()).mapv_into(|a| T::of(f.value(a.wide())));
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
    /// What an evaluation without residuals left to be overwritten.
    spare: Option<[Array2<T>; 5]>,
    /// `v ⊙ f'(z)`.
    k: Array2<T>,
    /// `q ⊙ f'(a) ⊙ g`.
    p: Array2<T>,
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
            // On this thread alone: one that waited for others could come to ask for the same.
            0 => Tangents::exact(field.units.get_or_init(|| column_major(field.of.weight1.value.t()))),
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
        let (field, f, gain, rows) = (self.field, self.field.of.activation, self.field.gain.at(t), self.rows);
        let tangents = self.tangents.as_ref().expect("drawn above");
        let squares = tangents.squares(&scaled(s1, &gain), &field.transposed2);
        let weights = times(&times(&gain, &gain), field.norms());
        out.fill(0.0);
        let mut add = |weights: &[T], slopes: &Array2<T>, factors: &Array2<T>| {
            let columns = numbers(slopes).chunks_exact(rows).zip(numbers(factors).chunks_exact(rows));
            for ((slopes, factors), weight) in columns.zip(weights) {
                let terms = slopes.iter().zip(factors).map(|(s, factor)| *weight * f.curvature(*s) * *factor);
                out.iter_mut().zip(terms).for_each(|(out, term)| *out += term.wide());
            }
        };
        add(&field.amplitude.at(t), s2, &squares);
        add(&weights, s1, q);
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
        let (squares, d_bar) = tangents.pullback(&d, (&field.weight2, &field.transposed2), &squares_bar, bar);
        TraceBar { l_bar, squares, d_bar, norms: field.norms().to_vec() }
    }

    /// From the cotangent of p to that of `q`, and p itself again.
    fn q_bar(
        &mut self,
        t: f64,
        residuals: &Memory<'_, T>,
        p_bar: &mut Array2<T>,
        velocity_bar: &Array2<T>,
    ) -> Array2<T> {
        let (field, gain, rows) = (self.field, self.field.gain.at(t), self.rows);
        let mut q_bar = zeros(rows, gain.len());
        let (s1, q, p, out) =
            (numbers(residuals.s1), numbers(residuals.q), numbers_mut(&mut self.p), numbers_mut(&mut q_bar));
        field.transposed1.product(p_bar, None, velocity_bar, |units, p_bar| {
            let (at, gain) = (units.start * rows..units.end * rows, &gain[units]);
            T::stretched(&q[at.clone()], &s1[at.clone()], gain, rows, &mut p[at.clone()]);
            T::stretched(p_bar, &s1[at.clone()], gain, rows, &mut out[at]);
        });
        q_bar
    }

    /// What the Laplacian adds to the cotangent of q.
    fn add_to_q_bar(&self, t: f64, s1: &Array2<T>, trace: &TraceBar<T>, q_bar: &mut Array2<T>) {
        let (f, gain, rows) = (self.field.of.activation, self.field.gain.at(t), self.rows);
        let columns = numbers_mut(q_bar).chunks_exact_mut(rows).zip(numbers(s1).chunks_exact(rows));
        for (j, (out, s)) in columns.enumerate() {
            let weight = gain[j] * gain[j] * trace.norms[j];
            (0..rows).for_each(|r| out[r] += trace.l_bar[r] * weight * f.curvature(s[r]));
        }
    }

    /// From the cotangent of q to that of z; k again, and the cotangents of amplitudes and offsets gathered.
    fn z_bar(&mut self, t: f64, s2: &Array2<T>, q_bar: &Array2<T>, trace: Option<&TraceBar<T>>) -> Array2<T> {
        let (field, f, v, rows) = (self.field, self.field.of.activation, self.field.amplitude.at(t), self.rows);
        let [mut k_bar, mut z_bar] = [(); 2].map(|()| zeros(rows, v.len()));
        let [mut v_bar, mut bias_bar, mut unused] = [(); 3].map(|()| vec![T::zero(); v.len()]);
        let (no_norms, no_bar) = (vec![T::zero(); v.len()], vec![T::zero(); rows]);
        let (s, k, out) = (numbers(s2), numbers_mut(&mut self.k), numbers_mut(&mut z_bar));
        field.transposed2.product(&mut k_bar, None, q_bar, |units, k_bar| {
            let at = units.start * rows..units.end * rows;
            let (s, v) = (&s[at.clone()], &v[units.clone()]);
            T::forward(ForwardBlock { s, v, vn: &[], out: &mut k[at.clone()], rows, laplacian: None }, f);
            let sums =
                Sums { b: &mut bias_bar[units.clone()], v: &mut v_bar[units.clone()], n: &mut unused[units.clone()] };
            let (u, n, l_bar, a_bar) = (k_bar, &no_norms[units], &no_bar[..], &mut out[at]);
            T::backward(BackwardBlock { s, v, n, u, rows, l_bar, a_bar, sums }, f);
        });
        if let Some(trace) = trace {
            for (k, (z_bar, s)) in out.chunks_exact_mut(rows).zip(s.chunks_exact(rows)).enumerate() {
                for r in 0..rows {
                    let bar = trace.l_bar[r] * trace.squares[[r, k]];
                    let bent = bar * v[k] * f.third(s[r]);
                    z_bar[r] += bent;
                    bias_bar[k] += bent;
                    v_bar[k] += bar * f.curvature(s[r]);
                }
            }
        }
        self.amplitude_bar.add(t, &v_bar);
        self.bias2_bar.add(t, &bias_bar);
        z_bar
    }

    /// From the cotangents of z and p to that of `W₁x`; those of offsets, gains and norms gathered.
    fn u_bar(
        &mut self,
        t: f64,
        residuals: &Memory<'_, T>,
        [z_bar, p_bar]: [&Array2<T>; 2],
        trace: Option<&TraceBar<T>>,
    ) -> Array2<T> {
        let (field, gain, rows) = (self.field, self.field.gain.at(t), self.rows);
        let [mut bias_bar, mut gain_bar] = [(); 2].map(|()| vec![T::zero(); gain.len()]);
        let mut u_bar = zeros(rows, gain.len());
        let [u, s, q, p_bar] = [residuals.u, residuals.s1, residuals.q, p_bar].map(numbers);
        let norms_bar = &mut self.norms_bar;
        field.weight2.product(&mut u_bar, None, z_bar, |units, bar| {
            let at = units.start * rows..units.end * rows;
            let trace = trace.map(|trace| TraceTerms {
                laplacian_bar: &trace.l_bar,
                d_bar: &numbers(&trace.d_bar)[at.clone()],
                norms: &trace.norms[units.clone()],
                norms_bar: &mut norms_bar[units.clone()],
            });
            let of = FirstLayer {
                u: &u[at.clone()],
                s: &s[at.clone()],
                q: &q[at.clone()],
                p_bar: &p_bar[at],
                gain: &gain[units.clone()],
                rows,
                trace,
                bar,
                bias_bar: &mut bias_bar[units.clone()],
                gain_bar: &mut gain_bar[units],
            };
            T::first_back(of, field.of.activation);
        });
        if let Some(sum) = &mut self.bias1_bar {
            sum.add(t, &bias_bar);
        }
        self.gain_bar.add(t, &gain_bar);
        u_bar
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
        let (t, field, f, rows) = (stage.t, self.field, self.field.of.activation, self.rows);
        let [h1, h2] = field.of.hidden();
        let fresh = || [h1, h1, h1, h2, h1].map(|h| zeros(rows, h));
        let [mut u, mut y, mut s1, mut s2, mut q] = self.spare.take().unwrap_or_else(fresh);
        let (gain, bias1) = (field.gain.at(t), field.bias1.as_ref().map(|bias| bias.at(t)));
        let offsets = self.offsets.as_ref().map(|offsets| &offsets.value);
        let (values, slopes) = (numbers_mut(&mut y), numbers_mut(&mut s1));
        field.transposed1.product(&mut u, offsets, state, |units, u| {
            let at = units.start * rows..units.end * rows;
            let (a, bias) = (&mut slopes[at.clone()], bias1.as_ref().map(|bias| &bias[units.clone()]));
            T::arguments(u, &gain[units], bias, rows, a);
            T::value_and_slope(f, a, &mut values[at]);
        });
        let (bias2, amplitude, k) = (field.bias2.at(t), field.amplitude.at(t), numbers_mut(&mut self.k));
        field.transposed2.product(&mut s2, None, &y, |units, z| {
            for_columns(z, rows, &bias2[units.clone()], |z, bias| *z += bias);
            T::slope(f, z);
            let (v, out) = (&amplitude[units.clone()], &mut k[units.start * rows..units.end * rows]);
            T::forward(ForwardBlock { s: z, v, vn: &[], out, rows, laplacian: None }, f);
        });
        let (slopes, p) = (numbers(&s1), numbers_mut(&mut self.p));
        field.weight2.product(&mut q, None, &self.k, |units, q| {
            let at = units.start * rows..units.end * rows;
            T::stretched(q, &slopes[at.clone()], &gain[units], rows, &mut p[at]);
        });
        field.weight1.product(velocity, None, &self.p, |_, _| ());
        if let Some(laplacian) = laplacian {
            self.laplacian(t, &s1, &s2, &q, laplacian);
        }
        match residuals {
            Some(residuals) => residuals.extend([u, y, s1, s2, q]),
            None => self.spare = Some([u, y, s1, s2, q]),
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Pullback { residuals, velocity_bar, laplacian_bar, state_bar }: Pullback<'_, Cpu<T>>,
    ) {
        let (t, field, residuals) = (stage.t, self.field, Memory::of(residuals));
        let trace = laplacian_bar.map(|bar| self.trace_bar(t, &residuals, bar));
        let mut p_bar = zeros(self.rows, field.of.hidden()[0]);
        let mut q_bar = self.q_bar(t, &residuals, &mut p_bar, velocity_bar);
        if let Some(trace) = &trace {
            self.add_to_q_bar(t, residuals.s1, trace, &mut q_bar);
        }
        self.products1.add(&self.p, velocity_bar);
        let z_bar = self.z_bar(t, residuals.s2, &q_bar, trace.as_ref());
        self.products2.add(&self.k, &q_bar);
        self.products2.add(&z_bar, residuals.y);
        let u_bar = self.u_bar(t, &residuals, [&z_bar, &p_bar], trace.as_ref());
        self.products1.add(&u_bar, state);
        if let Some(offsets) = &mut self.offsets {
            offsets.add(&u_bar);
        }
        if let Some(state_bar) = state_bar {
            field.weight1.product(state_bar, None, &u_bar, |_, _| ());
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
