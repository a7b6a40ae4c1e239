//! The separable potential, `φ(x, t) = Σ_i Σ_k α_ik(t) f(g(x_i − c_k))`: any change of every coordinate on its own.

use flow_core::{
    Activation, Block, BlockField, Centres, Error, Field, Motion, Parameter, Potential, Precision, Pullback,
    ScoredCotangent, ScoredPoint, ScoredPointBar, Share, Solve, Stage, TimeBasis,
};
use ndarray::{Array2, ArrayView1};

use crate::arrays::{column, numbers, numbers_mut};
use crate::cpu::Cpu;
use crate::quadratic::check_dim;
use crate::real::Real;
use crate::score_kernels::Unit;
use crate::separable_kernels::{GROUP, Group, Points};
use crate::timed::{Timed, TimedBar, coefficients_bar};

/// `φ(x, t) = Σ_i Σ_k α_ik(t) f(g(x_i − c_k))`, `∂_i φ = g Σ_k α_ik f'(g(x_i − c_k))`, `∇²φ = g² Σ_ik α_ik f''(g(x_i −
/// c_k))`.
///
/// Parameter: `amplitude`, coefficients α of functions of time, M × N × K. It starts at zero. The [`Centres`] are
/// fixed.
///
/// ```
/// use backend_ndarray::{Activation, Cpu, Separable};
/// use flow_core::{Centres, Potential, TimeBasis, TimeFamily};
/// let basis = TimeBasis::new(TimeFamily::Cosine, 4, 1.0)?;
/// let separable = Separable::new(Cpu::<f32>::new(1), 784, Centres::default(), Activation::Softplus, basis)?;
/// assert_eq!(separable.parameters()[0].shape, [4, 784, 16]);
/// # Ok::<(), flow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Separable<T: Real> {
    centres: Centres,
    activation: Activation,
    basis: TimeBasis,
    amplitude: Parameter<Cpu<T>>,
}

impl<T: Real> Separable<T> {
    /// A potential of `dim` numbers that starts at zero.
    ///
    /// # Errors
    /// [`Error::Setting`] when `dim` is zero or the centres are out of range.
    pub fn new(
        space: Cpu<T>,
        dim: usize,
        centres: Centres,
        activation: Activation,
        basis: TimeBasis,
    ) -> Result<Self, Error> {
        check_dim(dim)?;
        centres.check()?;
        let amplitude = Parameter::zeros(&space, "amplitude", &[basis.terms(), dim, centres.count]);
        Ok(Self { centres, activation, basis, amplitude })
    }

    fn gain(&self) -> f64 {
        self.centres.gain(self.activation)
    }
}

/// Centres that share an exponential.
fn groups<T: Real>(of: &Centres) -> Vec<Group<T>> {
    let group = |first: usize| {
        let count = GROUP.min(of.count - first);
        let middle = T::of(0.5 * (of.centre(first) + of.centre(first + count - 1)));
        let mut factors = [T::zero(); GROUP];
        for (k, factor) in factors[..count].iter_mut().enumerate() {
            // From the middle as rounded.
            *factor = T::of((of.rate() * (of.centre(first + k) - middle.wide())).exp());
        }
        Group { middle, factors, count }
    };
    (0..of.count).step_by(GROUP).map(group).collect()
}

impl<T: Real> Potential<Cpu<T>> for Separable<T> {
    fn dim(&self) -> usize {
        self.amplitude.shape[1]
    }

    fn parameters(&self) -> Vec<&Parameter<Cpu<T>>> {
        vec![&self.amplitude]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Cpu<T>>> {
        vec![&mut self.amplitude]
    }

    fn has_score_pullback(&self) -> bool {
        true
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<Cpu<T>> + '_> {
        let groups = groups(&self.centres);
        Box::new(Frozen { of: self, groups, amplitude: Timed::new(self.basis, &self.amplitude.value) })
    }
}

struct Frozen<'a, T: Real> {
    of: &'a Separable<T>,
    groups: Vec<Group<T>>,
    amplitude: Timed<T>,
}

impl<T: Real> Frozen<'_, T> {
    fn points<'a>(&'a self, x: &'a Array2<T>, alpha: &'a [T]) -> Points<'a, T> {
        let rate = T::of(self.of.centres.rate());
        Points { x: numbers(x), rows: x.nrows(), rate, limit: limit(), groups: &self.groups, alpha }
    }
}

/// The greatest exponent: with the factors of a group of centres, from `e^{−30}` to `e^{30}`, it stays in range,
/// and its inverse is below round-off.
fn limit<T: Real>() -> T {
    T::of(match T::PRECISION {
        Precision::F32 => 50.0,
        Precision::F64 => 300.0,
    })
}

impl<T: Real> Field<Cpu<T>> for Frozen<'_, T> {
    fn enter(&self, block: Block<Cpu<T>>) -> (Box<dyn BlockField<Cpu<T>> + '_>, Array2<T>) {
        (Box::new(Rows { field: self, amplitude_bar: self.amplitude.bar() }), block.x)
    }

    fn value(&self, stage: Stage, block: Block<Cpu<T>>) -> Vec<f64> {
        let x = &block.x;
        let (alpha, of) = (self.amplitude.at(stage.t), self.of);
        let term = |i: usize, k: usize, x: T| {
            let z = of.gain() * (x.wide() - of.centres.centre(k));
            alpha[i * of.centres.count + k].wide() * of.activation.value(z)
        };
        let coordinate = |(i, x): (usize, &T)| (0..of.centres.count).map(|k| term(i, k, *x)).sum::<f64>();
        x.rows().into_iter().map(|row| row.iter().enumerate().map(coordinate).sum()).collect()
    }

    fn gradient(&self, sums: Vec<Share<Cpu<T>>>) -> Vec<Array2<T>> {
        sums.into_iter().map(|sum| coefficients_bar(&sum.into_sum())).collect()
    }
}

struct Rows<'a, T: Real> {
    field: &'a Frozen<'a, T>,
    amplitude_bar: TimedBar<T>,
}

impl<T: Real> BlockField<Cpu<T>> for Rows<'_, T> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Motion { velocity, mut laplacian, .. }: Motion<'_, Cpu<T>>,
    ) {
        let (field, gain) = (self.field, self.field.of.gain());
        // α g in the place of α.
        let mut alpha = field.amplitude.at(stage.t);
        alpha.iter_mut().for_each(|alpha| *alpha *= T::of(gain));
        if let Some(laplacian) = &mut laplacian {
            laplacian.fill(0.0);
        }
        let second = laplacian.as_deref_mut().map(Vec::as_mut_slice);
        T::slopes(field.points(state, &alpha), field.of.activation, numbers_mut(velocity), second);
        if let Some(laplacian) = laplacian {
            laplacian.iter_mut().for_each(|sum| *sum *= gain);
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Pullback { velocity_bar, laplacian_bar, state_bar, .. }: Pullback<'_, Cpu<T>>,
    ) {
        let (field, gain) = (self.field, self.field.of.gain());
        let (activation, alpha) = (field.of.activation, field.amplitude.at(stage.t));
        // Relative to that of the velocity: ∂_i φ and ∇²φ have one and two factors g.
        let second_bar: Option<Vec<T>> = laplacian_bar.map(|bar| bar.iter().map(|bar| T::of(gain * bar)).collect());
        let (first_bar, second_bar) = (numbers(velocity_bar), second_bar.as_deref());
        let mut bar = alpha.clone();
        T::shares(field.points(state, &alpha), activation, first_bar, second_bar, &mut bar);
        bar.iter_mut().for_each(|bar| *bar *= T::of(gain));
        self.amplitude_bar.add(stage.t, &bar);
        if let Some(state_bar) = state_bar {
            T::bends(field.points(state, &alpha), activation, first_bar, second_bar, numbers_mut(state_bar));
            *state_bar *= T::of(gain * gain);
        }
    }

    /// Every coordinate has ridge functions of its own, one for each centre.
    fn score_pullback(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, Cpu<T>>,
        bar: ScoredCotangent<'_, Cpu<T>>,
        out: ScoredPointBar<'_, Cpu<T>>,
    ) {
        let Separable { centres, activation, .. } = self.field.of;
        let (gain, alpha) = (T::of(self.field.of.gain()), self.field.amplitude.at(stage.t));
        let l: Vec<T> = bar.laplacian.iter().map(|l| T::of(*l)).collect();
        let (mut slopes, mut alpha_bar) = (l.clone(), alpha.clone());
        out.x.fill(T::zero());
        out.score.fill(T::zero());
        for i in 0..at.x.ncols() {
            let vectors = [at.x, bar.velocity, at.score, bar.change].map(|of| column(of, i));
            let mut out = [&mut *out.x, &mut *out.score].map(|of| of.column_mut(i));
            for k in 0..centres.count {
                let (place, centre) = (i * centres.count + k, T::of(centres.centre(k)));
                slopes.iter_mut().zip(vectors[0]).for_each(|(slope, x)| *slope = gain * (*x - centre));
                T::slope(*activation, &mut slopes);
                let unit = Unit { amplitude: [alpha[place]; 2], gain: [gain; 2], norm: [T::one(); 2] };
                let mut fields = vectors.map(<[T]>::to_vec);
                let bars = T::score_back(&slopes, &l, unit, fields.each_mut().map(|of| &mut of[..]), *activation);
                alpha_bar[place] = bars.amplitude[0] + bars.amplitude[1];
                for (out, bars) in out.iter_mut().zip([&fields[0], &fields[2]]) {
                    *out += &ArrayView1::from(bars);
                }
            }
        }
        self.amplitude_bar.add(stage.t, &alpha_bar);
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array2<T>) -> (Array2<T>, Vec<Share<Cpu<T>>>) {
        (state_bar, vec![Share::of(self.amplitude_bar.sum)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_core::{Purpose, RngKey, Space};
    use proptest::prelude::*;

    /// `Σ_k α_ik f^{(order)}(z_k)` the plain way.
    fn plain<T: Real>(of: &Separable<T>, order: usize, i: usize, x: f64) -> f64 {
        let derivative = |z: f64| {
            let s = match of.activation {
                Activation::Softplus => 0.5 * (1.0 + (0.5 * z).tanh()),
                Activation::LnCosh => z.tanh(),
            };
            let bend = match of.activation {
                Activation::Softplus => 0.25 / (0.5 * z).cosh().powi(2),
                Activation::LnCosh => 1.0 / z.cosh().powi(2),
            };
            match (order, of.activation) {
                (1, _) => s,
                (2, _) => bend,
                (_, Activation::Softplus) => bend * (1.0 - 2.0 * s),
                (_, Activation::LnCosh) => -2.0 * s * bend,
            }
        };
        let k = of.centres.count;
        let alpha = |j: usize| of.amplitude.value[[0, i * k + j]].wide();
        (0..k).map(|j| alpha(j) * derivative(of.gain() * (x - of.centres.centre(j)))).sum()
    }

    /// Greatest difference of the kernels and the plain sums, in units of round-off and of the sum of all |α|.
    fn worst<T: Real>(centres: Centres, activation: Activation, x: &[f64], rows: usize) -> f64 {
        let (cpu, dim) = (Cpu::<T>::new(1), x.len() / rows);
        let mut of = Separable::new(cpu.clone(), dim, centres, activation, TimeBasis::constant()).unwrap();
        let alpha = RngKey::new(3, Purpose::Sample, 0).normals(0..dim, centres.count);
        of.amplitude.value = cpu.upload(1, dim * centres.count, &alpha);
        let groups = groups(&centres);
        let frozen = Frozen { of: &of, groups, amplitude: Timed::new(of.basis, &of.amplitude.value) };
        let (x, alpha) = (cpu.upload(rows, dim, x), frozen.amplitude.at(0.0));
        let ones = cpu.upload(rows, dim, &vec![1.0; rows * dim]);
        let (mut first, mut second, mut bends) = (ones.clone(), vec![0.0; rows], ones.clone());
        T::slopes(frozen.points(&x, &alpha), activation, numbers_mut(&mut first), Some(&mut second));
        let row_ones = vec![T::one(); rows];
        T::bends(frozen.points(&x, &alpha), activation, numbers(&ones), Some(&row_ones), numbers_mut(&mut bends));
        let mut shares = alpha.clone();
        T::shares(frozen.points(&x, &alpha), activation, numbers(&ones), Some(&row_ones), &mut shares);
        let unit = cpu.round_off() * alpha.iter().map(|a| a.wide().abs()).sum::<f64>();
        let mut worst = 0.0f64;
        for r in 0..rows {
            let mut laplacian = 0.0;
            for i in 0..dim {
                let of_order = |order| plain(&of, order, i, x[[r, i]].wide());
                laplacian += of_order(2);
                worst = worst.max((first[[r, i]].wide() - of_order(1)).abs());
                worst = worst.max((bends[[r, i]].wide() - of_order(2) - of_order(3)).abs());
            }
            worst = worst.max((second[r] - laplacian).abs());
        }
        // The cotangents of α are those sums with α left out: their pairing with α is the sum of both.
        let pairing: f64 = shares.iter().zip(&alpha).map(|(s, a)| s.wide() * a.wide()).sum();
        let expected: f64 = (0..rows)
            .map(|r| {
                (0..dim).map(|i| plain(&of, 1, i, x[[r, i]].wide()) + plain(&of, 2, i, x[[r, i]].wide())).sum::<f64>()
            })
            .sum();
        worst.max((pairing - expected).abs() / rows as f64) / unit
    }

    proptest! {
        #[test]
        fn one_exponential_for_all_centres_is_as_good_as_one_each(
            count in 2usize..40, from in -8.0..2.0f64, width in 0.1..20.0f64, sharpness in 0.05..4.0f64,
            x in prop::collection::vec(-12.0..12.0f64, 51), far in -1e6..1e6f64, ln_cosh: bool,
            rows in prop::sample::select(vec![1usize, 3, 17, 51]),
        ) {
            let mut x = x;
            (x[0], x[1]) = (far, 1e-3 * far);
            let activation = if ln_cosh { Activation::LnCosh } else { Activation::Softplus };
            let centres = Centres { count, from, to: from + width, sharpness };
            // λz is at most 7.5 · sharpness away from that of the middle where f'' is not small; three roundings of
            // that on the way, of which f'' and f''' pass on a half or less. In 64 bits the constants are rounded as
            // much again.
            let single = worst::<f32>(centres, activation, &x, rows);
            prop_assert!(single < 16.0 + 12.0 * sharpness, "f32: {single} units");
            let double = worst::<f64>(centres, activation, &x, rows);
            prop_assert!(double < 16.0 + 24.0 * sharpness, "f64: {double} units");
        }
    }
}
