//! Blocks of rows of a ridge potential, in plain and in feature-space coordinates, and what they gather for the
//! gradient.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use flow_core::{
    Block, BlockField, Motion, Potential, Pullback, ScoredCotangent, ScoredPoint, ScoredPointBar, Share, Stage,
};
use ndarray::{Array2, ArrayView1};

use super::Frozen;
use crate::accumulator::GradientAccumulator;
use crate::arrays::{column_dots, for_columns, numbers, numbers_mut, row_of, times, zeros};
use crate::context::{self, Offsets};
use crate::cpu::Cpu;
use crate::gemm::product;
use crate::kernels::{BackwardBlock, ForwardBlock, Sums};
use crate::packed::Packed;
use crate::real::Real;
use crate::score_kernels::Unit;
use crate::timed::{Timed, TimedBar};

/// A block of rows in the coordinates of the solve, and its state at the start.
pub(super) fn enter<'a, T: Real>(
    field: &'a Frozen<'a, T>,
    block: Block<Cpu<T>>,
) -> (Box<dyn BlockField<Cpu<T>> + 'a>, Array2<T>) {
    let (x, work) = (block.x, Pointwise::new(field, block.rows.len()));
    match &field.gram {
        None => (Box::new(Plain { work, offsets: Offsets::new(field.ridge.context.as_ref(), block.context) }), x),
        Some(gram) => {
            let (offsets, mut origin) = (field.offsets(block.context.as_ref()), work.matrix());
            field.transposed.product(&mut origin, offsets.as_ref(), &x, |_, _| ());
            let (state, origin_bar, context) = (work.matrix(), work.matrix(), block.context);
            let (leave_bar, weight_bar) = (None, None);
            (Box::new(Feature { work, gram, origin, origin_bar, x, context, leave_bar, weight_bar }), state)
        }
    }
}

/// What both kinds of blocks share: everything between the matrix products, and the sums that a block gathers for the
/// gradient.
struct Pointwise<'a, T: Real> {
    field: &'a Frozen<'a, T>,
    rows: usize,
    /// Of evaluations without residuals.
    s: Array2<T>,
    scratch: Array2<T>,
    a_bar: Array2<T>,
    /// `Σ leftᵀ · right` over all stages: of `(ū, x)` and `(v ⊙ g ⊙ s, velocity_bar)` in plain coordinates, of `(c, ū)`
    /// in feature space.
    products: GradientAccumulator<T>,
    norms_bar: Vec<T>,
    bias_bar: Option<TimedBar<T>>,
    gain_bar: Option<TimedBar<T>>,
    amplitude_bar: TimedBar<T>,
}

impl<'a, T: Real> Pointwise<'a, T> {
    fn new(field: &'a Frozen<'a, T>, rows: usize) -> Self {
        let h = field.ridge.hidden();
        let matrix = || zeros(rows, h);
        let right = if field.gram.is_some() { h } else { field.ridge.dim() };
        Self {
            field,
            s: matrix(),
            scratch: matrix(),
            a_bar: matrix(),
            products: GradientAccumulator::new(h, right),
            norms_bar: vec![T::zero(); h],
            bias_bar: field.bias.as_ref().map(Timed::bar),
            gain_bar: field.gain.as_ref().map(Timed::bar),
            amplitude_bar: field.amplitude.bar(),
            rows,
        }
    }

    /// A matrix of `rows × h`.
    fn matrix(&self) -> Array2<T> {
        zeros(self.rows, self.field.ridge.hidden())
    }

    /// From `left · right` plus `origin` to `a = g ⊙ (…) + b`, `s = f'(a)`, `out = v ⊙ g ⊙ s` and the Laplacian, a few
    /// hidden units at a time. The residuals become s and, where there are gains, what they are multiplied with.
    fn evaluate(
        &mut self,
        t: f64,
        factors: (&Array2<T>, &Packed<T>),
        origin: Option<&Array2<T>>,
        out: Motion<'_, Cpu<T>>,
    ) {
        let Motion { velocity: out, mut laplacian, residuals } = out;
        let (field, rows) = (self.field, self.rows);
        let (bias, gain) = (field.bias.as_ref().map(|bias| bias.at(t)), field.gain.as_ref().map(|gain| gain.at(t)));
        let v = field.strength(t);
        let vn = laplacian.as_ref().map(|_| times(&v, &field.weighed_norms(t)));
        if let Some(laplacian) = &mut laplacian {
            laplacian.fill(0.0);
        }
        let mut kept = residuals.as_ref().map(|_| self.matrix());
        let mut multiplied = residuals.as_ref().and(gain.as_ref()).map(|_| self.matrix());
        let (out, s) = (numbers_mut(out), kept.as_mut().unwrap_or(&mut self.s));
        factors.1.product(s, origin, factors.0, |units, a| {
            if let Some(gain) = &gain {
                if let Some(multiplied) = &mut multiplied {
                    numbers_mut(multiplied)[units.start * rows..units.end * rows].copy_from_slice(a);
                }
                for_columns(a, rows, &gain[units.clone()], |a, gain| *a *= gain);
            }
            if let Some(bias) = &bias {
                for_columns(a, rows, &bias[units.clone()], |a, bias| *a += bias);
            }
            T::slope(field.ridge.activation, a);
            let block = ForwardBlock {
                s: a,
                v: &v[units.clone()],
                vn: vn.as_ref().map_or(&[], |vn| &vn[units.clone()]),
                out: &mut out[units.start * rows..units.end * rows],
                rows,
                laplacian: laplacian.as_mut().map(|laplacian| laplacian.as_mut_slice()),
            };
            T::forward(block, field.ridge.activation);
        });
        if let Some(residuals) = residuals {
            residuals.extend(kept.into_iter().chain(multiplied));
        }
        if factors.1.is_tiled() {
            field.ridge.tiled_stages.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Fills `self.a_bar` with the cotangent of what the gains multiply, from those of `v(t) ⊙ g(t) ⊙ s` (`k_bar`) and
    /// of the Laplacian; gathers those of amplitudes, gains, offsets and norms. `residuals` is what the evaluation
    /// left: s and, where there are gains, `Wx + Uc`.
    fn backward(&mut self, t: f64, residuals: &[Array2<T>], k_bar: &Array2<T>, laplacian_bar: Option<&Vec<f64>>) {
        // With v_e = v g and n_e = n g all is as without gains; the chain rule then takes v_e, n_e and a apart.
        let (field, s, rows) = (self.field, &residuals[0], self.rows);
        let v = field.strength(t);
        let zeros = |n: usize| vec![T::zero(); n];
        let (n, l_bar) = match laplacian_bar {
            Some(l_bar) => (field.weighed_norms(t), l_bar.iter().map(|l| T::of(*l)).collect()),
            None => (Cow::Owned(zeros(v.len())), zeros(rows)),
        };
        let (mut offset_bar, mut strength_bar, mut norms_bar) = (zeros(v.len()), zeros(v.len()), zeros(v.len()));
        let block = BackwardBlock {
            s: numbers(s),
            u: numbers(k_bar),
            v: &v,
            n: &n,
            rows,
            l_bar: &l_bar,
            a_bar: numbers_mut(&mut self.a_bar),
            sums: Sums { b: &mut offset_bar, v: &mut strength_bar, n: &mut norms_bar },
        };
        T::backward(block, field.ridge.activation);
        if let Some(bias_bar) = &mut self.bias_bar {
            bias_bar.add(t, &offset_bar);
        }
        if let (Some(gain), Some(gain_bar)) = (&field.gain, &mut self.gain_bar) {
            let (gain, v) = (gain.at(t), field.amplitude.at(t));
            let mut bar = column_dots(&self.a_bar, &residuals[1]);
            bar.iter_mut().zip(times(&v, &strength_bar)).for_each(|(bar, term)| *bar += term);
            if laplacian_bar.is_some() {
                bar.iter_mut().zip(times(field.norms(), &norms_bar)).for_each(|(bar, term)| *bar += term);
                norms_bar = times(&norms_bar, &gain);
            }
            gain_bar.add(t, &bar);
            strength_bar = times(&strength_bar, &gain);
            self.a_bar *= &ArrayView1::from(&gain);
        }
        self.amplitude_bar.add(t, &strength_bar);
        if laplacian_bar.is_some() {
            self.norms_bar.iter_mut().zip(norms_bar).for_each(|(sum, bar)| *sum += bar);
        }
    }

    /// The pullback of a score: `fields` are the products of W with x, a, s and b of [`BlockField::score_pullback`],
    /// that with x with the offsets of the context, and become the cotangents of these. Gathers those of amplitudes,
    /// gains, offsets and norms.
    fn score_back(&mut self, t: f64, fields: &mut [Array2<T>; 4], laplacian_bar: &[f64]) {
        let (field, rows) = (self.field, self.rows);
        let (bias, gain) = (field.bias.as_ref().map(|bias| bias.at(t)), field.gain.as_ref().map(|gain| gain.at(t)));
        let (v, norms, activation) = (field.amplitude.at(t), field.norms(), field.ridge.activation);
        let l: Vec<T> = laplacian_bar.iter().map(|l| T::of(*l)).collect();
        let mut slopes = vec![T::zero(); rows];
        let [mut amplitude_bar, mut gain_bar, mut offset_bar] = [(); 3].map(|()| vec![T::zero(); v.len()]);
        let [x, a, s, b] = fields.each_mut().map(|field| numbers_mut(field).chunks_exact_mut(rows));
        for (j, (((x, a), s), b)) in x.zip(a).zip(s).zip(b).enumerate() {
            let g = gain.as_ref().map_or(T::one(), |gain| gain[j]);
            let offset = bias.as_ref().map_or(T::zero(), |bias| bias[j]);
            slopes.iter_mut().zip(&*x).for_each(|(slope, x)| *slope = g * *x + offset);
            T::slope(activation, &mut slopes);
            let unit = Unit { amplitude: [v[j]; 2], gain: [g; 2], norm: [norms[j]; 2] };
            let bars = T::score_back(&slopes, &l, unit, [x, a, s, b], activation);
            amplitude_bar[j] = bars.amplitude[0] + bars.amplitude[1];
            gain_bar[j] = bars.gain[0] + bars.gain[1];
            offset_bar[j] = bars.offset[0] + bars.offset[1];
            self.norms_bar[j] += bars.norm[0] + bars.norm[1];
        }
        self.amplitude_bar.add(t, &amplitude_bar);
        if let Some(of_gain) = &mut self.gain_bar {
            of_gain.add(t, &gain_bar);
        }
        if let Some(bias_bar) = &mut self.bias_bar {
            bias_bar.add(t, &offset_bar);
        }
    }

    /// The gathered sums: of the products, of the weights beside them where it is given, of the norms, of the context
    /// where there is one, and of offsets, gains and amplitudes as far as there are any.
    fn sums(self, weight_bar: Option<Array2<T>>, context_bar: Option<Array2<T>>) -> Vec<Share<Cpu<T>>> {
        let products = self.products.finish();
        let timed = self.bias_bar.into_iter().chain(self.gain_bar).chain([self.amplitude_bar]);
        let sums = weight_bar.into_iter().chain([row_of(self.norms_bar)]).chain(context_bar);
        let sums = sums.chain(timed.map(|bar| bar.sum));
        std::iter::once(products).chain(sums.map(Share::of)).collect()
    }
}

/// Plain coordinates: the state is x.
struct Plain<'a, T: Real> {
    work: Pointwise<'a, T>,
    /// `Uc`, where there is a context.
    offsets: Option<Offsets<T>>,
}

impl<T: Real> BlockField<Cpu<T>> for Plain<'_, T> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Motion { velocity, laplacian, residuals }: Motion<'_, Cpu<T>>,
    ) {
        let field = self.work.field;
        let mut scaled = std::mem::replace(&mut self.work.scratch, zeros(0, 0));
        let offsets = self.offsets.as_ref().map(|offsets| &offsets.value);
        let out = Motion { velocity: &mut scaled, laplacian, residuals };
        self.work.evaluate(stage.t, (state, &field.transposed), offsets, out);
        field.rows.product(velocity, None, &scaled, |_, _| ());
        self.work.scratch = scaled;
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Pullback { residuals, velocity_bar, laplacian_bar, state_bar }: Pullback<'_, Cpu<T>>,
    ) {
        let field = self.work.field;
        let mut k = std::mem::replace(&mut self.work.scratch, zeros(0, 0));
        field.transposed.product(&mut k, None, velocity_bar, |_, _| ());
        self.work.backward(stage.t, residuals, &k, laplacian_bar);
        // v ⊙ g ⊙ s, whose product with velocity_bar is one half of the weights' cotangent.
        k.assign(&residuals[0]);
        k *= &ArrayView1::from(&field.strength(stage.t));
        self.work.products.add(&k, velocity_bar);
        self.work.products.add(&self.work.a_bar, state);
        if let Some(offsets) = &mut self.offsets {
            offsets.add(&self.work.a_bar);
        }
        self.work.scratch = k;
        if let Some(state_bar) = state_bar {
            field.rows.product(state_bar, None, &self.work.a_bar, |_, _| ());
        }
    }

    fn score_pullback(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, Cpu<T>>,
        bar: ScoredCotangent<'_, Cpu<T>>,
        out: ScoredPointBar<'_, Cpu<T>>,
    ) {
        let (field, offsets) = (self.work.field, self.offsets.as_ref().map(|offsets| &offsets.value));
        let vectors = [at.x, bar.velocity, at.score, bar.change];
        let mut fields = vectors.map(|_| self.work.matrix());
        for ((of_vector, vector), offsets) in fields.iter_mut().zip(vectors).zip([offsets, None, None, None]) {
            field.transposed.product(of_vector, offsets, vector, |_, _| ());
        }
        self.work.score_back(stage.t, &mut fields, bar.laplacian);
        fields.iter().zip(vectors).for_each(|(bars, vector)| self.work.products.add(bars, vector));
        if let Some(offsets) = &mut self.offsets {
            offsets.add(&fields[0]);
        }
        field.rows.product(out.x, None, &fields[0], |_, _| ());
        field.rows.product(out.score, None, &fields[2], |_, _| ());
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array2<T>) -> (Array2<T>, Vec<Share<Cpu<T>>>) {
        (state_bar, self.work.sums(None, self.offsets.map(Offsets::finish)))
    }
}

/// Feature space: the state is c, with `x = x₀ + Wᵀc` and `Wx = Wx₀ + Gc`. What is linear in the context joins `Wx₀`.
struct Feature<'a, T: Real> {
    work: Pointwise<'a, T>,
    gram: &'a Packed<T>,
    /// `Wx₀`, and with a context `Wx₀ + Uc`.
    origin: Array2<T>,
    origin_bar: Array2<T>,
    /// x₀.
    x: Array2<T>,
    /// The context, n × k, where the potential has one.
    context: Option<Array2<T>>,
    /// Cotangent of x at the end, which is also one of x₀.
    leave_bar: Option<Array2<T>>,
    /// `cᵀ x̄` of the end.
    weight_bar: Option<Array2<T>>,
}

impl<T: Real> BlockField<Cpu<T>> for Feature<'_, T> {
    fn evaluate(&mut self, stage: Stage, state: &Array2<T>, out: Motion<'_, Cpu<T>>) {
        self.work.evaluate(stage.t, (state, self.gram), Some(&self.origin), out);
        self.work.field.ridge.feature_stages.fetch_add(1, Ordering::Relaxed);
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Pullback { residuals, velocity_bar, laplacian_bar, state_bar }: Pullback<'_, Cpu<T>>,
    ) {
        self.work.backward(stage.t, residuals, velocity_bar, laplacian_bar);
        let a_bar = &self.work.a_bar;
        self.origin_bar += a_bar;
        self.work.products.add(state, a_bar);
        if let Some(state_bar) = state_bar {
            // G is symmetric: its transpose is itself.
            self.gram.product(state_bar, None, a_bar, |_, _| ());
        }
    }

    fn leave(&mut self, state: Array2<T>) -> Array2<T> {
        let mut x = zeros(self.x.nrows(), self.x.ncols());
        self.work.field.rows.product(&mut x, Some(&self.x), &state, |_, _| ());
        x
    }

    fn leave_pullback(&mut self, state: &Array2<T>, x_bar: Array2<T>) -> Array2<T> {
        let weight = &*self.work.field.weight;
        let mut weight_bar = zeros(weight.nrows(), weight.ncols());
        product(weight_bar.view_mut(), 0.0, state.t(), x_bar.view());
        self.weight_bar = Some(weight_bar);
        let mut state_bar = zeros(state.nrows(), state.ncols());
        self.work.field.transposed.product(&mut state_bar, None, &x_bar, |_, _| ());
        self.leave_bar = Some(x_bar);
        state_bar
    }

    fn enter_pullback(self: Box<Self>, _state_bar: Array2<T>) -> (Array2<T>, Vec<Share<Cpu<T>>>) {
        // The state starts at zero whatever x is: its cotangent goes nowhere.
        let weight = &*self.work.field.weight;
        let mut weight_bar = self.weight_bar.unwrap_or_else(|| zeros(weight.nrows(), weight.ncols()));
        product(weight_bar.view_mut(), 1.0, self.origin_bar.t(), self.x.view());
        let mut x_bar = zeros(self.x.nrows(), self.x.ncols());
        self.work.field.rows.product(&mut x_bar, self.leave_bar.as_ref(), &self.origin_bar, |_, _| ());
        let context_bar = self.context.map(|context| context::weight_bar(&self.origin_bar, &context));
        (x_bar, self.work.sums(Some(weight_bar), context_bar))
    }
}
