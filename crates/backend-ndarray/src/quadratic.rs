//! Quadratic potentials: diagonal with a linear part, and full symmetric. Gaussians stay Gaussians under them.

use flow_core::{
    Block, BlockField, Error, Field, Motion, Parameter, Potential, Pullback, ScoredCotangent, ScoredPoint,
    ScoredPointBar, Share, Solve, Stage, TimeBasis,
};
use ndarray::Array2;

use crate::accumulator::{GradientAccumulator, whole_sum};
use crate::arrays::{column_dots, column_sums, numbers, numbers_mut, row_of, zeros};
use crate::cpu::Cpu;
use crate::gemm::product;
use crate::real::Real;
use crate::timed::{Timed, TimedBar, coefficients_bar};

/// `φ(x, t) = ½ Σ_i q_i(t) x_i² + Σ_i l_i(t) x_i`, `∇φ = q ⊙ x + l`, `∇²φ = Σ_i q_i`.
///
/// Parameters: `quadratic` and, where there is a linear part, `linear`: coefficients of functions of time, both M × N.
/// They start at zero.
///
/// ```
/// use backend_ndarray::{Cpu, Quadratic};
/// use flow_core::{Parameter, Potential, TimeBasis, TimeFamily};
/// let basis = TimeBasis::new(TimeFamily::Cosine, 4, 1.0)?;
/// let quadratic = Quadratic::new(Cpu::<f32>::new(1), 784, basis, true)?;
/// let shapes: Vec<_> = quadratic.parameters().iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
/// assert_eq!(shapes, [("quadratic".into(), vec![4, 784]), ("linear".into(), vec![4, 784])]);
/// # Ok::<(), flow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Quadratic<T: Real> {
    basis: TimeBasis,
    quadratic: Parameter<Cpu<T>>,
    linear: Option<Parameter<Cpu<T>>>,
}

impl<T: Real> Quadratic<T> {
    /// A potential of `dim` numbers that starts at zero, with a linear part where asked for.
    ///
    /// # Errors
    /// [`Error::Setting`] when `dim` is zero.
    pub fn new(space: Cpu<T>, dim: usize, basis: TimeBasis, linear: bool) -> Result<Self, Error> {
        check_dim(dim)?;
        let zero = |name| Parameter::zeros(&space, name, &[basis.terms(), dim]);
        Ok(Self { basis, quadratic: zero("quadratic"), linear: linear.then(|| zero("linear")) })
    }
}

pub(crate) fn check_dim(dim: usize) -> Result<(), Error> {
    Error::at_least_1([("the dimension of the target", dim)])
}

impl<T: Real> Potential<Cpu<T>> for Quadratic<T> {
    fn dim(&self) -> usize {
        self.quadratic.shape[1]
    }

    fn parameters(&self) -> Vec<&Parameter<Cpu<T>>> {
        std::iter::once(&self.quadratic).chain(&self.linear).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Cpu<T>>> {
        std::iter::once(&mut self.quadratic).chain(&mut self.linear).collect()
    }

    fn has_score_pullback(&self) -> bool {
        true
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<Cpu<T>> + '_> {
        let timed = |of: &Parameter<Cpu<T>>| Timed::new(self.basis, &of.value);
        Box::new(Frozen { quadratic: timed(&self.quadratic), linear: self.linear.as_ref().map(timed) })
    }
}

struct Frozen<T: Real> {
    quadratic: Timed<T>,
    linear: Option<Timed<T>>,
}

impl<T: Real> Field<Cpu<T>> for Frozen<T> {
    fn enter(&self, block: Block<Cpu<T>>) -> (Box<dyn BlockField<Cpu<T>> + '_>, Array2<T>) {
        let (quadratic_bar, linear_bar) = (self.quadratic.bar(), self.linear.as_ref().map(Timed::bar));
        (Box::new(Rows { field: self, quadratic_bar, linear_bar }), block.x)
    }

    fn value(&self, stage: Stage, block: Block<Cpu<T>>) -> Vec<f64> {
        let x = &block.x;
        let quadratic = self.quadratic.at(stage.t);
        let linear = self.linear.as_ref().map(|linear| linear.at(stage.t));
        let of_row = |row: usize| {
            let terms = x.row(row).into_iter().enumerate().map(|(i, x)| {
                let linear = linear.as_ref().map_or(0.0, |linear| linear[i].wide());
                (0.5 * quadratic[i].wide() * x.wide() + linear) * x.wide()
            });
            terms.sum()
        };
        (0..x.nrows()).map(of_row).collect()
    }

    fn gradient(&self, sums: Vec<Share<Cpu<T>>>) -> Vec<Array2<T>> {
        sums.into_iter().map(|sum| coefficients_bar(&sum.into_sum())).collect()
    }
}

struct Rows<'a, T: Real> {
    field: &'a Frozen<T>,
    quadratic_bar: TimedBar<T>,
    linear_bar: Option<TimedBar<T>>,
}

impl<T: Real> Rows<'_, T> {
    /// `out ← x diag(q(t))`.
    fn multiply(&self, t: f64, x: &Array2<T>, out: &mut Array2<T>) {
        let columns = out.columns_mut().into_iter().zip(x.columns());
        for ((mut out, x), q) in columns.zip(self.field.quadratic.at(t)) {
            out.zip_mut_with(&x, |out, x| *out = q * *x);
        }
    }
}

impl<T: Real> BlockField<Cpu<T>> for Rows<'_, T> {
    fn evaluate(&mut self, stage: Stage, state: &Array2<T>, Motion { velocity, laplacian, .. }: Motion<'_, Cpu<T>>) {
        let quadratic = self.field.quadratic.at(stage.t);
        let linear = self.field.linear.as_ref().map(|linear| linear.at(stage.t));
        let rows = state.nrows();
        let columns = numbers_mut(velocity).chunks_exact_mut(rows).zip(numbers(state).chunks_exact(rows));
        for (i, (velocity, x)) in columns.enumerate() {
            let (q, l) = (quadratic[i], linear.as_ref().map_or(T::zero(), |linear| linear[i]));
            velocity.iter_mut().zip(x).for_each(|(v, x)| *v = q * *x + l);
        }
        if let Some(laplacian) = laplacian {
            laplacian.fill(quadratic.iter().map(|q| q.wide()).sum());
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Pullback { velocity_bar, laplacian_bar, state_bar, .. }: Pullback<'_, Cpu<T>>,
    ) {
        let mut bar = column_dots(velocity_bar, state);
        if let Some(laplacian_bar) = laplacian_bar {
            let trace_bar = T::of(laplacian_bar.iter().sum());
            bar.iter_mut().for_each(|bar| *bar += trace_bar);
        }
        self.quadratic_bar.add(stage.t, &bar);
        if let Some(linear_bar) = &mut self.linear_bar {
            linear_bar.add(stage.t, &column_sums(velocity_bar));
        }
        if let Some(state_bar) = state_bar {
            self.multiply(stage.t, velocity_bar, state_bar);
        }
    }

    /// The linear part pushes points alone: `ψ = a·(q ⊙ x + l) + l̄ Σ q + b·(q ⊙ s)`.
    fn score_pullback(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, Cpu<T>>,
        bar: ScoredCotangent<'_, Cpu<T>>,
        out: ScoredPointBar<'_, Cpu<T>>,
    ) {
        self.pullback(stage, at.x, bar.to_points(out.x));
        self.quadratic_bar.add(stage.t, &column_dots(bar.change, at.score));
        self.multiply(stage.t, bar.change, out.score);
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array2<T>) -> (Array2<T>, Vec<Share<Cpu<T>>>) {
        (state_bar, std::iter::once(self.quadratic_bar).chain(self.linear_bar).map(|bar| Share::of(bar.sum)).collect())
    }
}

/// `φ(x, t) = ½ xᵀ A(t) x`, `∇φ = ½(A + Aᵀ) x`, `∇²φ = tr A`: only the symmetric part of A counts.
///
/// Parameter: `quadratic`, coefficients of functions of time, M × N × N. It starts at zero.
#[derive(Debug)]
pub struct FullQuadratic<T: Real> {
    space: Cpu<T>,
    basis: TimeBasis,
    quadratic: Parameter<Cpu<T>>,
}

impl<T: Real> FullQuadratic<T> {
    /// A potential of `dim` numbers that starts at zero.
    ///
    /// # Errors
    /// [`Error::Setting`] when `dim` is zero.
    pub fn new(space: Cpu<T>, dim: usize, basis: TimeBasis) -> Result<Self, Error> {
        check_dim(dim)?;
        let quadratic = Parameter::zeros(&space, "quadratic", &[basis.terms(), dim, dim]);
        Ok(Self { space, basis, quadratic })
    }
}

impl<T: Real> Potential<Cpu<T>> for FullQuadratic<T> {
    fn dim(&self) -> usize {
        self.quadratic.shape[1]
    }

    fn parameters(&self) -> Vec<&Parameter<Cpu<T>>> {
        vec![&self.quadratic]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Cpu<T>>> {
        vec![&mut self.quadratic]
    }

    fn has_score_pullback(&self) -> bool {
        true
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<Cpu<T>> + '_> {
        let (n, half) = (self.dim(), T::of(0.5));
        let symmetric = Array2::from_shape_fn(self.quadratic.value.dim(), |(m, ij)| {
            let (i, j) = (ij / n, ij % n);
            half * (self.quadratic.value[[m, i * n + j]] + self.quadratic.value[[m, j * n + i]])
        });
        Box::new(FullFrozen { of: self, symmetric: Timed::new(self.basis, &symmetric) })
    }
}

struct FullFrozen<'a, T: Real> {
    of: &'a FullQuadratic<T>,
    /// The symmetric part of A.
    symmetric: Timed<T>,
}

impl<T: Real> FullFrozen<'_, T> {
    fn matrix(&self, t: f64) -> Array2<T> {
        let n = self.of.dim();
        Array2::from_shape_vec((n, n), self.symmetric.at(t)).expect("N² numbers").reversed_axes()
    }

    /// `out ← x A(t)`.
    fn apply(&self, t: f64, x: &Array2<T>, out: &mut Array2<T>) {
        product(out.view_mut(), 0.0, x.view(), self.matrix(t).view());
    }
}

impl<T: Real> Field<Cpu<T>> for FullFrozen<'_, T> {
    fn enter(&self, block: Block<Cpu<T>>) -> (Box<dyn BlockField<Cpu<T>> + '_>, Array2<T>) {
        let (n, m) = (self.of.dim(), self.of.basis.terms());
        let rows =
            FullRows { field: self, products: GradientAccumulator::new(m * n, n), trace_bar: vec![T::zero(); m] };
        (Box::new(rows), block.x)
    }

    fn value(&self, stage: Stage, block: Block<Cpu<T>>) -> Vec<f64> {
        let x = &block.x;
        let mut ax = zeros(x.nrows(), self.of.dim());
        self.apply(stage.t, x, &mut ax);
        let of_row = |row| ax.row(row).iter().zip(x.row(row)).map(|(ax, x)| 0.5 * ax.wide() * x.wide()).sum();
        (0..x.nrows()).map(of_row).collect()
    }

    fn gradient(&self, sums: Vec<Share<Cpu<T>>>) -> Vec<Array2<T>> {
        let mut sums = sums.into_iter();
        let mut next = || sums.next().expect("enter_pullback returns two arrays");
        let (products, trace_bar) = (next(), next().into_sum());
        let (n, m, half) = (self.of.dim(), self.of.basis.terms(), T::of(0.5));
        let products = whole_sum(&self.of.space, (m * n, n), products);
        let mut bar = zeros(m, n * n);
        for ((m, ij), bar) in bar.indexed_iter_mut() {
            let (i, j) = (ij / n, ij % n);
            *bar = half * (products[[m * n + i, j]] + products[[m * n + j, i]]);
            if i == j {
                *bar += trace_bar[[0, m]];
            }
        }
        vec![bar]
    }
}

struct FullRows<'a, T: Real> {
    field: &'a FullFrozen<'a, T>,
    /// `Σ b_m velocity_barᵀ · x`, for all m one below the other.
    products: GradientAccumulator<T>,
    /// `Σ b_m laplacian_bar`.
    trace_bar: Vec<T>,
}

impl<T: Real> BlockField<Cpu<T>> for FullRows<'_, T> {
    fn evaluate(&mut self, stage: Stage, state: &Array2<T>, Motion { velocity, laplacian, .. }: Motion<'_, Cpu<T>>) {
        let matrix = self.field.matrix(stage.t);
        product(velocity.view_mut(), 0.0, state.view(), matrix.view());
        if let Some(laplacian) = laplacian {
            laplacian.fill(matrix.diag().iter().map(|a| a.wide()).sum());
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Pullback { velocity_bar, laplacian_bar, state_bar, .. }: Pullback<'_, Cpu<T>>,
    ) {
        let n = state.ncols();
        let basis: Vec<T> = self.field.of.basis.at(stage.t).map(T::of).collect();
        let mut left = zeros(state.nrows(), basis.len() * n);
        for (k, mut column) in left.columns_mut().into_iter().enumerate() {
            column.scaled_add(basis[k / n], &velocity_bar.column(k % n));
        }
        self.products.add(&left, state);
        if let Some(laplacian_bar) = laplacian_bar {
            let trace_bar = T::of(laplacian_bar.iter().sum());
            self.trace_bar.iter_mut().zip(basis).for_each(|(sum, basis)| *sum += basis * trace_bar);
        }
        if let Some(state_bar) = state_bar {
            self.field.apply(stage.t, velocity_bar, state_bar);
        }
    }

    /// A quadratic form of x, and the same of s: `ψ = aᵀ A x + l tr A + bᵀ A s`.
    fn score_pullback(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, Cpu<T>>,
        bar: ScoredCotangent<'_, Cpu<T>>,
        out: ScoredPointBar<'_, Cpu<T>>,
    ) {
        self.pullback(stage, at.x, bar.to_points(out.x));
        self.pullback(stage, at.score, bar.to_scores(out.score));
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array2<T>) -> (Array2<T>, Vec<Share<Cpu<T>>>) {
        let products = self.products.finish();
        (state_bar, vec![products, Share::of(row_of(self.trace_bar))])
    }
}
