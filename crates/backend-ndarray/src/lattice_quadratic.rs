//! Quadratic potentials of a periodic lattice, diagonal in Fourier space: `φ(x, t) = ½ xᵀ C(t) x` with C circulant.

use flow_core::{
    Block, BlockField, Error, Field, Motion, Parameter, Potential, Pullback, ScoredCotangent, ScoredPoint,
    ScoredPointBar, Share, Solve, Space, Stage, TimeBasis,
};
use fourier::Complex;
use ndarray::{Array2, ShapeBuilder};

use crate::cpu::Cpu;
use crate::real::Real;
use crate::torus::Torus;

/// `φ(x, t) = ½ xᵀ C(t) x`, C symmetric and the same at every site of a periodic lattice: `C = F† diag(c_k(t)) F` with
/// real `c_k = c_−k`. `∇φ = C x`, `∇²φ = Σ_k c_k`. Carries Gaussian fields into Gaussian fields.
///
/// Parameter: `eigenvalue` (M × classes), one class for each pair of wave numbers k and −k, in the order of `k · cols +
/// l` of the smaller; it starts at zero.
pub struct LatticeQuadratic<T: Real> {
    torus: Torus<T>,
    time: TimeBasis,
    /// Class of every wave number, in the order of [`Torus`]'s spectra.
    class: Vec<usize>,
    eigenvalue: Parameter<Cpu<T>>,
}

impl<T: Real> LatticeQuadratic<T> {
    /// A potential on a periodic lattice of `shape` sites, all zero.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are no sites.
    pub fn new(space: &Cpu<T>, shape: (usize, usize), time: TimeBasis) -> Result<Self, Error> {
        let (rows, cols) = shape;
        Error::at_least_1([("sites", rows * cols)])?;
        // The smaller of k and −k stands for both.
        let leader = |k: usize, l: usize| {
            let opposite = (rows - k) % rows * cols + (cols - l) % cols;
            (k * cols + l).min(opposite)
        };
        let mut leaders: Vec<usize> = (0..rows * cols).map(|i| leader(i / cols, i % cols)).collect();
        let spectrum_order: Vec<usize> = (0..rows * cols).map(|i| leader(i % rows, i / rows)).collect();
        leaders.sort_unstable();
        leaders.dedup();
        let class_of = |leader: &usize| leaders.binary_search(leader).expect("every leader is listed");
        let class = spectrum_order.iter().map(class_of).collect();
        let shape = vec![time.terms(), leaders.len()];
        let eigenvalue = Parameter { name: "eigenvalue".into(), value: space.zeros(shape[0], shape[1]), shape };
        Ok(Self { torus: Torus::new(rows, cols), time, class, eigenvalue })
    }

    /// `c(t)` for all classes.
    fn classes(&self, t: f64) -> Vec<T> {
        let mut out = vec![T::zero(); self.eigenvalue.value.ncols()];
        for (basis, row) in self.time.at(t).zip(self.eigenvalue.value.rows()) {
            out.iter_mut().zip(row).for_each(|(c, value)| *c += T::of(basis) * *value);
        }
        out
    }
}

impl<T: Real> Potential<Cpu<T>> for LatticeQuadratic<T> {
    fn dim(&self) -> usize {
        self.torus.sites()
    }

    fn parameters(&self) -> Vec<&Parameter<Cpu<T>>> {
        vec![&self.eigenvalue]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Cpu<T>>> {
        vec![&mut self.eigenvalue]
    }

    fn has_score_pullback(&self) -> bool {
        true
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<Cpu<T>> + '_> {
        Box::new(Frozen { of: self })
    }
}

struct Frozen<'a, T: Real> {
    of: &'a LatticeQuadratic<T>,
}

impl<T: Real> Frozen<'_, T> {
    fn rows(&self) -> Rows<'_, T> {
        let field = || vec![Complex::new(T::zero(), T::zero()); self.of.torus.sites()];
        let bar = vec![vec![0.0; self.of.eigenvalue.value.ncols()]; self.of.time.terms()];
        Rows { of: self.of, site: field(), other: field(), work: self.of.torus.work(), bar }
    }
}

impl<T: Real> Field<Cpu<T>> for Frozen<'_, T> {
    fn enter(&self, block: Block<Cpu<T>>) -> (Box<dyn BlockField<Cpu<T>> + '_>, Array2<T>) {
        (Box::new(self.rows()), block.x)
    }

    fn value(&self, stage: Stage, block: Block<Cpu<T>>) -> Vec<f64> {
        let x = &block.x;
        let mut product = Array2::zeros(x.raw_dim());
        self.rows().multiply(stage.t, x, &mut product);
        let rows = x.rows().into_iter().zip(product.rows());
        rows.map(|(x, y)| 0.5 * x.iter().zip(y).map(|(x, y)| x.wide() * y.wide()).sum::<f64>()).collect()
    }

    fn gradient(&self, sums: Vec<Share<Cpu<T>>>) -> Vec<Array2<T>> {
        sums.into_iter().map(Share::into_sum).collect()
    }
}

struct Rows<'a, T: Real> {
    of: &'a LatticeQuadratic<T>,
    site: Vec<Complex<T>>,
    other: Vec<Complex<T>>,
    work: Vec<Complex<T>>,
    /// Cotangents of the eigenvalues, for every function of time.
    bar: Vec<Vec<f64>>,
}

impl<T: Real> Rows<'_, T> {
    /// `out ← x C`, two rows at a time: one as the real part of a field, the next as its imaginary part.
    fn multiply(&mut self, t: f64, x: &Array2<T>, out: &mut Array2<T>) {
        let scale = T::one() / T::of(self.of.torus.sites() as f64);
        let classes: Vec<T> = self.of.classes(t).iter().map(|c| *c * scale).collect();
        for r in (0..x.nrows()).step_by(2) {
            pack(x, r, &mut self.site);
            self.of.torus.transform(&mut self.site, &mut self.work);
            for (z, class) in self.site.iter_mut().zip(&self.of.class) {
                *z *= classes[*class];
            }
            self.of.torus.transform_back(&mut self.site, &mut self.work);
            out.row_mut(r).iter_mut().zip(&self.site).for_each(|(out, z)| *out = z.re);
            if r + 1 < x.nrows() {
                out.row_mut(r + 1).iter_mut().zip(&self.site).for_each(|(out, z)| *out = z.im);
            }
        }
    }
}

/// Rows r and r + 1, where there is one, as a complex field.
fn pack<T: Real>(x: &Array2<T>, r: usize, out: &mut [Complex<T>]) {
    out.iter_mut().zip(x.row(r)).for_each(|(z, x)| *z = Complex::new(*x, T::zero()));
    if r + 1 < x.nrows() {
        out.iter_mut().zip(x.row(r + 1)).for_each(|(z, x)| z.im = *x);
    }
}

impl<T: Real> BlockField<Cpu<T>> for Rows<'_, T> {
    fn evaluate(&mut self, stage: Stage, state: &Array2<T>, Motion { velocity, laplacian, .. }: Motion<'_, Cpu<T>>) {
        self.multiply(stage.t, state, velocity);
        if let Some(laplacian) = laplacian {
            let classes = self.of.classes(stage.t);
            laplacian.fill(self.of.class.iter().map(|class| classes[*class].wide()).sum());
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Pullback { velocity_bar, laplacian_bar, state_bar, .. }: Pullback<'_, Cpu<T>>,
    ) {
        // c̄_k = Re(conj(X_k) V̄_k)/N, summed over rows and the wave numbers of a class. Rows are packed in pairs:
        // Σ_k of a class is Re of the packed product too, because mixed terms of k and −k cancel.
        let mut sums = vec![laplacian_bar.map_or(0.0, |l| l.iter().sum::<f64>()); self.of.class.len()];
        let scale = 1.0 / self.of.torus.sites() as f64;
        for r in (0..state.nrows()).step_by(2) {
            pack(state, r, &mut self.site);
            pack(velocity_bar, r, &mut self.other);
            self.of.torus.transform(&mut self.site, &mut self.work);
            self.of.torus.transform(&mut self.other, &mut self.work);
            for (sum, (x, v)) in sums.iter_mut().zip(self.site.iter().zip(&self.other)) {
                *sum += scale * (x.re * v.re + x.im * v.im).wide();
            }
        }
        for (basis, bar) in self.of.time.at(stage.t).zip(&mut self.bar) {
            sums.iter().zip(&self.of.class).for_each(|(sum, class)| bar[*class] += basis * sum);
        }
        if let Some(state_bar) = state_bar {
            self.multiply(stage.t, velocity_bar, state_bar);
        }
    }

    /// A quadratic form of x, and the same of s: `ψ = aᵀ C x + l tr C + bᵀ C s`.
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
        let shape = self.of.eigenvalue.value.dim();
        let bar = Array2::from_shape_fn(shape.f(), |(m, class)| T::of(self.bar[m][class]));
        (state_bar, vec![Share::of(bar)])
    }
}
