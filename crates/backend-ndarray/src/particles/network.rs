//! The function F of every particle: two hidden layers, carried along with directional derivatives and pulled back.

use flow_core::Activation;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::arrays::zeros;
use crate::gemm::product;
use crate::real::Real;

/// F at one time. Matrices of particles are row-major here, a particle in each row.
pub(super) struct Network<'a, T> {
    pub(super) activation: Activation,
    /// W₁, h₁ × features.
    pub(super) weight1: &'a Array2<T>,
    /// W₂, h₂ × h₁.
    pub(super) weight2: &'a Array2<T>,
    pub(super) bias1: Vec<T>,
    pub(super) bias2: Vec<T>,
    /// v.
    pub(super) amplitude: Vec<T>,
}

/// What F went through at so many particles.
pub(super) struct Layers<T> {
    /// `f(z₁)` and `f'(z₁)`, particles × h₁.
    value1: Vec<T>,
    slope1: Vec<T>,
    /// `f(z₂)` and `f'(z₂)`, particles × h₂.
    value2: Vec<T>,
    slope2: Vec<T>,
}

/// First derivatives of the features in all directions, and what the layers make of them.
pub(super) struct Tangents<T> {
    /// Directions per particle.
    directions: usize,
    /// `W₁ y` of every direction y of every particle, rows of h₁.
    first: Vec<T>,
    /// `f'(z₁) ⊙ W₁ y`.
    bent: Vec<T>,
    /// `W₂` of that, rows of h₂.
    second: Vec<T>,
    /// Sums of the squares of `first` and of `second` over the directions, particles × h.
    squares1: Vec<T>,
    squares2: Vec<T>,
}

/// The derivative of F that is pulled back, and the derivatives of the features that it is made of.
pub(super) struct Jet<'a, T> {
    /// The features, particles × features.
    pub(super) features: &'a [T],
    /// Of every feature `(u·∇ + λ∇²)`, particles × features.
    pub(super) kappa: &'a [T],
    /// λ of every particle, with the first derivatives of the features in all directions; none where every λ is 0.
    pub(super) second: Option<(&'a [T], &'a [T], Tangents<T>)>,
}

/// Cotangents of a [`Jet`].
pub(super) struct JetBar<T> {
    pub(super) features: Vec<T>,
    pub(super) kappa: Vec<T>,
    /// Of the first derivatives; empty where there are none.
    pub(super) tangents: Vec<T>,
}

/// Cotangents of the parameters of F at one time.
pub(super) struct NetworkBar<T> {
    pub(super) weight1: Array2<T>,
    pub(super) bias1: Vec<T>,
    pub(super) weight2: Array2<T>,
    pub(super) bias2: Vec<T>,
    pub(super) amplitude: Vec<T>,
}

fn rows_of<T>(of: &[T], cols: usize) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((of.len() / cols, cols), of).expect("whole rows")
}

fn rows_of_mut<T>(of: &mut [T], cols: usize) -> ArrayViewMut2<'_, T> {
    ArrayViewMut2::from_shape((of.len() / cols, cols), of).expect("whole rows")
}

/// `rows · Wᵀ`, with a row to start from where it is given.
pub(super) fn through<T: Real>(rows: &[T], weight: ArrayView2<'_, T>, start: Option<&[T]>) -> Vec<T> {
    if rows.is_empty() {
        return Vec::new();
    }
    let (out, fan_in) = weight.dim();
    let count = rows.len() / fan_in;
    let (mut found, keep) = match start {
        Some(start) => (start.repeat(count), 1.0),
        None => (vec![T::zero(); count * out], 0.0),
    };
    product(rows_of_mut(&mut found, out), keep, rows_of(rows, fan_in), weight.t());
    found
}

/// `sum ← sum + leftᵀ · right`, both with a particle or a direction in each row.
pub(super) fn gather<T: Real>(sum: &mut Array2<T>, left: &[T], right: &[T]) {
    let (m, n) = sum.dim();
    product(sum.view_mut(), 1.0, rows_of(left, m).t(), rows_of(right, n));
}

/// Adds the sum of all rows.
fn add_rows<T: Real>(sum: &mut [T], rows: &[T]) {
    for row in rows.chunks_exact(sum.len()) {
        sum.iter_mut().zip(row).for_each(|(sum, row)| *sum += *row);
    }
}

impl<T: Real> Network<'_, T> {
    /// All layers at so many particles.
    pub(super) fn layers(&self, features: &[T]) -> Layers<T> {
        let layer = |mut slope: Vec<T>| {
            let mut value = vec![T::zero(); slope.len()];
            T::value_and_slope(self.activation, &mut slope, &mut value);
            (value, slope)
        };
        let (value1, slope1) = layer(through(features, self.weight1.view(), Some(&self.bias1)));
        let (value2, slope2) = layer(through(&value1, self.weight2.view(), Some(&self.bias2)));
        Layers { value1, slope1, value2, slope2 }
    }

    /// F of every particle.
    pub(super) fn values(&self, layers: &Layers<T>) -> Vec<T> {
        let of_particle = |row: &[T]| row.iter().zip(&self.amplitude).fold(T::zero(), |sum, (f, v)| sum + *f * *v);
        layers.value2.chunks_exact(self.amplitude.len()).map(of_particle).collect()
    }

    /// `∂F/∂f(z₁)` and `∂F/∂S` of every particle.
    pub(super) fn slopes(&self, layers: &Layers<T>) -> (Vec<T>, Vec<T>) {
        let mut last = layers.slope2.clone();
        for row in last.chunks_exact_mut(self.amplitude.len()) {
            row.iter_mut().zip(&self.amplitude).for_each(|(s, v)| *s *= *v);
        }
        let of_first = through(&last, self.weight2.t(), None);
        let bent: Vec<T> = of_first.iter().zip(&layers.slope1).map(|(q, s)| *q * *s).collect();
        let of_features = through(&bent, self.weight1.t(), None);
        (of_first, of_features)
    }

    /// First derivatives of the features, so many directions to a particle, through the layers.
    pub(super) fn tangents(&self, layers: &Layers<T>, y: &[T], directions: usize) -> Tangents<T> {
        let [h1, h2] = [self.bias1.len(), self.bias2.len()];
        let first = through(y, self.weight1.view(), None);
        let mut bent = Vec::with_capacity(first.len());
        let mut squares1 = vec![T::zero(); layers.slope1.len()];
        let particles = first.chunks_exact(directions * h1).zip(layers.slope1.chunks_exact(h1));
        for ((rows, slope), squares) in particles.zip(squares1.chunks_exact_mut(h1)) {
            T::add_squares(rows, squares);
            T::scale_rows(rows, slope, &mut bent);
        }
        let second = through(&bent, self.weight2.view(), None);
        let mut squares2 = vec![T::zero(); layers.slope2.len()];
        for (rows, squares) in second.chunks_exact(directions * h2).zip(squares2.chunks_exact_mut(h2)) {
            T::add_squares(rows, squares);
        }
        Tangents { directions, first, bent, second, squares1, squares2 }
    }

    /// Of every particle the sum over the directions of the second derivative of F along them, the features being
    /// linear.
    pub(super) fn curvatures(&self, layers: &Layers<T>, of_first: &[T], tangents: &Tangents<T>) -> Vec<T> {
        let [h1, h2] = [self.bias1.len(), self.bias2.len()];
        let of_layer = |slopes: &[T], squares: &[T], factors: &[T]| {
            let terms = slopes.iter().zip(squares).zip(factors);
            terms.fold(T::zero(), |sum, ((s, square), q)| sum + *q * self.activation.curvature(*s) * *square)
        };
        let particle = |i: usize| {
            let [a, b] = [i * h1..(i + 1) * h1, i * h2..(i + 1) * h2];
            of_layer(&layers.slope1[a.clone()], &tangents.squares1[a.clone()], &of_first[a])
                + of_layer(&layers.slope2[b.clone()], &tangents.squares2[b], &self.amplitude)
        };
        (0..layers.slope1.len() / h1).map(particle).collect()
    }

    /// Where cotangents of the parameters are gathered.
    pub(super) fn bar(&self) -> NetworkBar<T> {
        let like = |of: &Array2<T>| zeros(of.nrows(), of.ncols());
        let zero = |of: &[T]| vec![T::zero(); of.len()];
        NetworkBar {
            weight1: like(self.weight1),
            bias1: zero(&self.bias1),
            weight2: like(self.weight2),
            bias2: zero(&self.bias2),
            amplitude: zero(&self.amplitude),
        }
    }

    /// Pulls back `Σ (u·∇ + λ∇²) F` over all particles, cotangent 1: those of the jet are returned, those of the
    /// parameters added where they are wanted.
    pub(super) fn pullback(
        &self,
        layers: &Layers<T>,
        jet: &Jet<'_, T>,
        mut bar: Option<&mut NetworkBar<T>>,
    ) -> JetBar<T> {
        let ([h1, h2], f) = ([self.bias1.len(), self.bias2.len()], self.activation);
        let kappa1 = through(jet.kappa, self.weight1.view(), None);
        let second = jet.second.as_ref();
        // λ times the sum of squares, where there is one.
        let bend1 = |i: usize| second.map_or(T::zero(), |(lambda, _, t)| lambda[i / h1] * t.squares1[i]);
        let bend2 = |i: usize| second.map_or(T::zero(), |(lambda, _, t)| lambda[i / h2] * t.squares2[i]);
        let kappa_bent: Vec<T> = kappa1
            .iter()
            .enumerate()
            .map(|(i, kappa)| layers.slope1[i] * *kappa + f.curvature(layers.slope1[i]) * bend1(i))
            .collect();
        let kappa2 = through(&kappa_bent, self.weight2.view(), None);

        let (mut z2_bar, mut kappa2_bar) = (kappa2.clone(), layers.slope2.clone());
        for (i, kappa) in kappa2.iter().enumerate() {
            let (s, v) = (layers.slope2[i], self.amplitude[i % h2]);
            if let Some(bar) = &mut bar {
                bar.amplitude[i % h2] += s * *kappa + f.curvature(s) * bend2(i);
            }
            z2_bar[i] = v * (f.curvature(s) * *kappa + f.third(s) * bend2(i));
            kappa2_bar[i] = v * s;
        }
        if let Some(bar) = &mut bar {
            add_rows(&mut bar.bias2, &z2_bar);
            gather(&mut bar.weight2, &z2_bar, &layers.value1);
            gather(&mut bar.weight2, &kappa2_bar, &kappa_bent);
        }
        let value1_bar = through(&z2_bar, self.weight2.t(), None);
        let kappa_bent_bar = through(&kappa2_bar, self.weight2.t(), None);

        let (mut z1_bar, mut kappa1_bar) = (value1_bar, kappa_bent_bar.clone());
        for (i, z1_bar) in z1_bar.iter_mut().enumerate() {
            let (s, kappa_bar) = (layers.slope1[i], kappa_bent_bar[i]);
            *z1_bar = s * *z1_bar + kappa_bar * (f.curvature(s) * kappa1[i] + f.third(s) * bend1(i));
            kappa1_bar[i] = s * kappa_bar;
        }
        let tangents_bar = match second {
            Some(second) => self.pull_tangents(layers, second, &kappa_bent_bar, &mut z1_bar, bar.as_deref_mut()),
            None => Vec::new(),
        };
        if let Some(bar) = bar {
            add_rows(&mut bar.bias1, &z1_bar);
            gather(&mut bar.weight1, &z1_bar, jet.features);
            gather(&mut bar.weight1, &kappa1_bar, jet.kappa);
        }
        JetBar {
            features: through(&z1_bar, self.weight1.t(), None),
            kappa: through(&kappa1_bar, self.weight1.t(), None),
            tangents: tangents_bar,
        }
    }

    /// The part of [`Network::pullback`] that second derivatives have: the cotangents of the first derivatives, from
    /// those of what operators make of `f'(z₁)`. Adds to those of z₁.
    fn pull_tangents(
        &self,
        layers: &Layers<T>,
        (lambda, y, tangents): &(&[T], &[T], Tangents<T>),
        kappa_bent_bar: &[T],
        z1_bar: &mut [T],
        mut bar: Option<&mut NetworkBar<T>>,
    ) -> Vec<T> {
        let ([h1, h2], f, two) = ([self.bias1.len(), self.bias2.len()], self.activation, T::of(2.0));
        let mut second_bar = Vec::with_capacity(tangents.second.len());
        for (i, rows) in tangents.second.chunks_exact(tangents.directions * h2).enumerate() {
            let of_row = layers.slope2[i * h2..].iter().zip(&self.amplitude);
            let factors: Vec<T> = of_row.map(|(s, v)| two * lambda[i] * *v * f.curvature(*s)).collect();
            T::scale_rows(rows, &factors, &mut second_bar);
        }
        if let Some(bar) = bar.as_deref_mut() {
            gather(&mut bar.weight2, &second_bar, &tangents.bent);
        }
        let mut first_bar = through(&second_bar, self.weight2.t(), None);
        let of_particles = first_bar.chunks_exact_mut(tangents.directions * h1);
        for (i, (rows, first)) in of_particles.zip(tangents.first.chunks_exact(tangents.directions * h1)).enumerate() {
            let of_particle = i * h1..(i + 1) * h1;
            let slopes = &layers.slope1[of_particle.clone()];
            let bends: Vec<T> = slopes.iter().map(|s| f.curvature(*s)).collect();
            let bars = bends.iter().zip(&kappa_bent_bar[of_particle.clone()]);
            let factors: Vec<T> = bars.map(|(bend, bar)| two * lambda[i] * *bend * *bar).collect();
            let mut along = vec![T::zero(); h1];
            T::pull_bend(rows, first, slopes, &factors, &mut along);
            let bars = z1_bar[of_particle].iter_mut().zip(bends.iter().zip(&along));
            bars.for_each(|(z1_bar, (bend, along))| *z1_bar += *bend * *along);
        }
        if let Some(bar) = bar {
            gather(&mut bar.weight1, &first_bar, y);
        }
        through(&first_bar, self.weight1.t(), None)
    }
}
