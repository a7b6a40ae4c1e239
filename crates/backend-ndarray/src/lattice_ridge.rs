//! Ridge functions of whole-lattice kernels, moved over every site: `φ(x, t) = Σ_c v_c(t) Σ_s f(g_c(t) (w_c ⋆ x)_s +
//! b_c(t))`.

use flow_core::{
    Block, BlockField, Error, Field, LatticeRidgeParameters, LatticeRidgeSettings, Motion, Parameter, Potential,
    Pullback, ScoredCotangent, ScoredPoint, ScoredPointBar, Share, Solve, Stage,
};
use fourier::Complex;
use ndarray::{Array1, Array2, ShapeBuilder};

use crate::arrays::zeros;
use crate::cpu::Cpu;
use crate::lattice_kernels::{CoefficientSums, Coefficients, Pair};
use crate::real::Real;
use crate::score_kernels::{Unit, UnitBars};
use crate::torus::Torus;

/// `φ(x, t) = Σ_c v_c(t) Σ_s f(a_cs)`, `a_cs = g_c(t) u_cs + b_c(t)`, `u_cs = (w_c ⋆ x)_s = Σ_i w_ci x_{s+i}`: every
/// kernel covers the whole periodic lattice and is moved to every site, so φ is exactly symmetric under translations,
/// and under `x → −x` with ln cosh and no offsets. `∇²φ = Σ_c v_c g_c² ‖w_c‖² Σ_s f''(a_cs)`.
///
/// Parameters: `weight` (kernels × N), of which `w = envelope ⊙ weight` is averaged over a group where there is one,
/// `amplitude`, `gain` and, where there is one, `bias` (M × kernels each). Products with kernels are made by Fourier
/// transforms, of two kernels at a time: one is the real part of a complex field, the other its imaginary part.
pub struct LatticeRidge<T: Real> {
    settings: LatticeRidgeSettings,
    torus: Torus<T>,
    envelope: Array1<T>,
    weight: Parameter<Cpu<T>>,
    amplitude: Parameter<Cpu<T>>,
    gain: Parameter<Cpu<T>>,
    bias: Option<Parameter<Cpu<T>>>,
}

impl<T: Real> LatticeRidge<T> {
    /// With first values as [`LatticeRidgeParameters::new`] has them.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero; [`Error::Shape`] when the group acts on another number of sites.
    pub fn new(space: &Cpu<T>, settings: LatticeRidgeSettings) -> Result<Self, Error> {
        let LatticeRidgeParameters { weight, amplitude, gain, bias } = LatticeRidgeParameters::new(space, &settings)?;
        let torus = Torus::new(settings.shape.0, settings.shape.1);
        let envelope = settings.envelope().into_iter().map(T::of).collect();
        Ok(Self { settings, torus, envelope, weight, amplitude, gain, bias })
    }

    /// Complex fields that hold the kernels, two in each.
    fn pairs(&self) -> usize {
        self.settings.kernels.div_ceil(2)
    }

    /// Kernels averaged over the group where they are tied. Its own adjoint.
    fn tied(&self, kernels: Array2<T>) -> Array2<T> {
        let Some(group) = &self.settings.tied else { return kernels };
        let mut out = zeros(kernels.nrows(), kernels.ncols());
        for g in 0..group.order() {
            let (source, sign) = group.element(g);
            for (i, &from) in source.iter().enumerate() {
                out.column_mut(i).scaled_add(T::of(sign / group.order() as f64), &kernels.column(from as usize));
            }
        }
        out
    }

    /// `Σ_m b_m(t) c_m` for the kernels, two by two; what has no parameter is zero.
    fn at(&self, of: Option<&Parameter<Cpu<T>>>, t: f64) -> Vec<Pair<T>> {
        let mut out = vec![[T::zero(); 2]; self.pairs()];
        let Some(parameter) = of else { return out };
        for (basis, row) in self.settings.time.at(t).zip(parameter.value.rows()) {
            for (c, value) in row.iter().enumerate() {
                out[c / 2][c % 2] += T::of(basis) * *value;
            }
        }
        out
    }
}

impl<T: Real> Potential<Cpu<T>> for LatticeRidge<T> {
    fn dim(&self) -> usize {
        self.torus.sites()
    }

    fn parameters(&self) -> Vec<&Parameter<Cpu<T>>> {
        [&self.weight, &self.amplitude, &self.gain].into_iter().chain(&self.bias).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Cpu<T>>> {
        [&mut self.weight, &mut self.amplitude, &mut self.gain].into_iter().chain(&mut self.bias).collect()
    }

    fn has_score_pullback(&self) -> bool {
        true
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<Cpu<T>> + '_> {
        let (sites, kernels) = (self.torus.sites(), self.tied(&self.weight.value * &self.envelope));
        let mut spectra = vec![zero(); self.pairs() * sites];
        let mut norms = vec![[T::zero(); 2]; self.pairs()];
        for (c, kernel) in kernels.rows().into_iter().enumerate() {
            for (site, w) in spectra[c / 2 * sites..].iter_mut().zip(kernel) {
                // w₁ − i w₂: its convolution with u₁ + i u₂ has the real part w₁ ∗ u₁ + w₂ ∗ u₂.
                if c % 2 == 0 {
                    site.re = *w
                } else {
                    site.im = -*w
                }
                norms[c / 2][c % 2] += *w * *w;
            }
        }
        self.torus.transform(&mut spectra, &mut self.torus.work());
        let scale = T::one() / T::of(sites as f64);
        spectra.iter_mut().for_each(|z| *z *= scale);
        let conjugate = spectra.iter().map(Complex::conj).collect();
        Box::new(Frozen { of: self, kernels, norms, spectra, conjugate })
    }
}

fn zero<T: Real>() -> Complex<T> {
    Complex::new(T::zero(), T::zero())
}

/// The real and imaginary parts of complex fields.
fn parts<T: Real>(fields: &[Complex<T>]) -> &[Pair<T>] {
    // SAFETY: Complex is `repr(C)`: two numbers one after the other, like an array of two.
    unsafe { std::slice::from_raw_parts(fields.as_ptr().cast(), fields.len()) }
}

fn parts_mut<T: Real>(fields: &mut [Complex<T>]) -> &mut [Pair<T>] {
    // SAFETY: as above, and the borrow is as exclusive as the one it comes from.
    unsafe { std::slice::from_raw_parts_mut(fields.as_mut_ptr().cast(), fields.len()) }
}

/// A lattice ridge potential frozen for one solve.
struct Frozen<'a, T: Real> {
    of: &'a LatticeRidge<T>,
    /// The kernels as they act.
    kernels: Array2<T>,
    /// `‖w_c‖²`.
    norms: Vec<Pair<T>>,
    /// Spectra of `w₁ − i w₂` over the number of sites, and their complex conjugates.
    spectra: Vec<Complex<T>>,
    conjugate: Vec<Complex<T>>,
}

/// The coefficients of all pairs at one time.
struct TimeSlice<T> {
    amplitude: Vec<Pair<T>>,
    gain: Vec<Pair<T>>,
    offset: Vec<Pair<T>>,
    products: Vec<Coefficients<T>>,
}

impl<T: Real> Frozen<'_, T> {
    fn at(&self, t: f64) -> TimeSlice<T> {
        let of = self.of;
        let (amplitude, gain, offset) =
            (of.at(Some(&of.amplitude), t), of.at(Some(&of.gain), t), of.at(of.bias.as_ref(), t));
        let product = |p: usize| {
            let (v, g, n) = (amplitude[p], gain[p], self.norms[p]);
            Coefficients { v: [v[0] * g[0], v[1] * g[1]], n: [g[0] * n[0], g[1] * n[1]] }
        };
        let products = (0..of.pairs()).map(product).collect();
        TimeSlice { amplitude, gain, offset, products }
    }

    /// `w ⋆ x` for all kernels: from the spectrum of a real field to `u₁ + i u₂`.
    fn correlate(&self, spectrum: &[Complex<T>], out: &mut [Complex<T>], work: &mut [Complex<T>]) {
        let sites = spectrum.len();
        for (out, kernel) in out.chunks_exact_mut(sites).zip(self.conjugate.chunks_exact(sites)) {
            T::multiply(out, spectrum, kernel);
        }
        self.of.torus.transform_back(out, work);
    }

    /// `Σ_c w_c ∗ u_c` from the spectra of `u₁ + i u₂`: its adjoint, as the real part of `out`.
    fn spread(&self, spectra: &[Complex<T>], out: &mut [Complex<T>], work: &mut [Complex<T>]) {
        out.fill(zero());
        for (u, kernel) in spectra.chunks_exact(out.len()).zip(self.spectra.chunks_exact(out.len())) {
            T::multiply_add(out, u, kernel);
        }
        self.of.torus.transform_back(out, work);
    }

    fn spectrum(&self, x: &Array2<T>, row: usize, out: &mut [Complex<T>], work: &mut [Complex<T>]) {
        out.iter_mut().zip(x.row(row)).for_each(|(z, x)| *z = Complex::new(*x, T::zero()));
        self.of.torus.transform(out, work);
    }
}

impl<T: Real> Field<Cpu<T>> for Frozen<'_, T> {
    fn enter(&self, block: Block<Cpu<T>>) -> (Box<dyn BlockField<Cpu<T>> + '_>, Array2<T>) {
        let (sites, pairs, terms) = (self.of.torus.sites(), self.of.pairs(), self.of.settings.time.terms());
        let rows = Rows {
            field: self,
            site: vec![zero(); sites],
            state: vec![zero(); sites],
            fields: vec![zero(); pairs * sites],
            others: vec![zero(); pairs * sites],
            work: self.of.torus.work(),
            kernels_bar: Vec::new(),
            coefficients_bar: vec![vec![Bar::default(); pairs]; terms],
            norms_bar: vec![[0.0; 2]; pairs],
        };
        (Box::new(rows), block.x)
    }

    fn value(&self, stage: Stage, block: Block<Cpu<T>>) -> Vec<f64> {
        let x = &block.x;
        let (sites, now) = (self.of.torus.sites(), self.at(stage.t));
        let mut work = self.of.torus.work();
        let (mut site, mut fields) = (vec![zero(); sites], vec![zero(); self.of.pairs() * sites]);
        let row = |r: usize| {
            self.spectrum(x, r, &mut site, &mut work);
            self.correlate(&site, &mut fields, &mut work);
            let of_pair = |(p, field): (usize, &[Complex<T>])| -> f64 {
                let (v, g, b) = (now.amplitude[p], now.gain[p], now.offset[p]);
                let value = |i: usize, u: T| v[i].wide() * self.of.settings.activation.value((g[i] * u + b[i]).wide());
                field.iter().map(|u| value(0, u.re) + value(1, u.im)).sum()
            };
            fields.chunks_exact(sites).enumerate().map(of_pair).sum()
        };
        (0..x.nrows()).map(row).collect()
    }

    fn gradient(&self, sums: Vec<Share<Cpu<T>>>) -> Vec<Array2<T>> {
        let sums: Vec<_> = sums.into_iter().map(Share::into_sum).collect();
        let [kernels_bar, norms_bar, amplitude, gain, bias]: [Array2<T>; 5] =
            sums.try_into().expect("enter_pullback returns this many arrays");
        // n_c = ‖w_c‖²: w̄_c += 2 n̄_c w_c.
        let mut weight_bar = kernels_bar;
        for (c, mut bar) in weight_bar.rows_mut().into_iter().enumerate() {
            bar.scaled_add(T::of(2.0) * norms_bar[[0, c]], &self.kernels.row(c));
        }
        let mut out = vec![self.of.tied(weight_bar) * &self.of.envelope, amplitude, gain];
        out.extend(self.of.bias.as_ref().map(|_| bias));
        out
    }
}

/// Cotangents of the coefficients of a pair, for one function of time.
#[derive(Debug, Clone, Copy, Default)]
struct Bar {
    amplitude: [f64; 2],
    gain: [f64; 2],
    offset: [f64; 2],
}

/// A block of rows, one after the other.
struct Rows<'a, T: Real> {
    field: &'a Frozen<'a, T>,
    /// One real field and its spectrum.
    site: Vec<Complex<T>>,
    state: Vec<Complex<T>>,
    /// Fields of all pairs of kernels.
    fields: Vec<Complex<T>>,
    others: Vec<Complex<T>>,
    work: Vec<Complex<T>>,
    /// Spectra of the cotangents of `w₁ − i w₂`; allocated at the first pullback.
    kernels_bar: Vec<Complex<T>>,
    coefficients_bar: Vec<Vec<Bar>>,
    norms_bar: Vec<[f64; 2]>,
}

impl<T: Real> Rows<'_, T> {
    /// From the cotangents of `v g` and `g n` to those of v, g and n, added up.
    fn add(&mut self, p: usize, bases: &[f64], now: &TimeSlice<T>, sums: &CoefficientSums<T>) {
        for i in 0..2 {
            let (v, g, n) = (now.amplitude[p][i].wide(), now.gain[p][i].wide(), self.field.norms[p][i].wide());
            let (product_bar, curve_bar) = (sums.v[i].wide(), sums.n[i].wide());
            self.norms_bar[p][i] += g * curve_bar;
            for (basis, bar) in bases.iter().zip(&mut self.coefficients_bar) {
                bar[p].amplitude[i] += basis * g * product_bar;
                bar[p].gain[i] += basis * (v * product_bar + n * curve_bar + sums.gain[i].wide());
                bar[p].offset[i] += basis * sums.offset[i].wide();
            }
        }
    }

    /// Adds the cotangents of the coefficients of a pair themselves.
    fn add_bars(&mut self, p: usize, bases: &[f64], bars: &UnitBars<T>) {
        for i in 0..2 {
            self.norms_bar[p][i] += bars.norm[i].wide();
            for (basis, bar) in bases.iter().zip(&mut self.coefficients_bar) {
                bar[p].amplitude[i] += basis * bars.amplitude[i].wide();
                bar[p].gain[i] += basis * bars.gain[i].wide();
                bar[p].offset[i] += basis * bars.offset[i].wide();
            }
        }
    }

    /// One number per kernel and function of time.
    fn coefficients(&self, of: impl Fn(&Bar) -> [f64; 2]) -> Array2<T> {
        let shape = (self.coefficients_bar.len(), self.field.of.settings.kernels);
        Array2::from_shape_fn(shape.f(), |(m, c)| T::of(of(&self.coefficients_bar[m][c / 2])[c % 2]))
    }
}

impl<T: Real> BlockField<Cpu<T>> for Rows<'_, T> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Motion { velocity, mut laplacian, residuals }: Motion<'_, Cpu<T>>,
    ) {
        let Self { field, site, fields, others, work, .. } = self;
        let (activation, sites) = (field.of.settings.activation, site.len());
        let now = field.at(stage.t);
        // Slopes f'(a) of every row and, for the gains, what they multiply.
        let room = state.nrows() * 2 * fields.len();
        let mut kept = residuals.is_some().then(|| (Vec::with_capacity(room), Vec::with_capacity(room)));
        for r in 0..state.nrows() {
            field.spectrum(state, r, site, work);
            field.correlate(site, fields, work);
            if let Some((_, arguments)) = &mut kept {
                arguments.extend_from_slice(parts(fields).as_flattened());
            }
            let mut sum = 0.0;
            for (p, (s, out)) in fields.chunks_exact_mut(sites).zip(others.chunks_exact_mut(sites)).enumerate() {
                T::scale_shift(parts_mut(s), now.gain[p], now.offset[p]);
                T::slope(activation, parts_mut(s).as_flattened_mut());
                let curved = laplacian.is_some();
                sum += T::weigh(parts(s), now.products[p], parts_mut(out), curved, activation).wide();
            }
            if let Some(laplacian) = &mut laplacian {
                laplacian[r] = sum;
            }
            if let Some((slopes, _)) = &mut kept {
                slopes.extend_from_slice(parts(fields).as_flattened());
            }
            field.of.torus.transform(others, work);
            field.spread(others, site, work);
            velocity.row_mut(r).iter_mut().zip(&*site).for_each(|(v, z)| *v = z.re);
        }
        if let (Some(residuals), Some((slopes, arguments))) = (residuals, kept) {
            let shape = (state.nrows(), 2 * fields.len());
            let matrix = |numbers| Array2::from_shape_vec(shape, numbers).expect("as many numbers as were written");
            residuals.extend([matrix(slopes), matrix(arguments)]);
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Pullback { residuals, velocity_bar, laplacian_bar, mut state_bar }: Pullback<'_, Cpu<T>>,
    ) {
        let (field, sites) = (self.field, self.site.len());
        let (now, activation) = (field.at(stage.t), field.of.settings.activation);
        let bases: Vec<f64> = field.of.settings.time.at(stage.t).collect();
        self.kernels_bar.resize(self.fields.len(), zero());
        for r in 0..state.nrows() {
            let [slopes, arguments] =
                [0, 1].map(|i| residuals[i].row(r).to_slice().expect("a row of ours is contiguous"));
            let (slopes, arguments) = (slopes.as_chunks::<2>().0, arguments.as_chunks::<2>().0);
            field.spectrum(state, r, &mut self.state, &mut self.work);
            field.spectrum(velocity_bar, r, &mut self.site, &mut self.work);
            // Cotangents of u = v g s, then of the arguments.
            field.correlate(&self.site, &mut self.fields, &mut self.work);
            let l_bar = laplacian_bar.map_or(T::zero(), |l| T::of(l[r]));
            for p in 0..field.of.pairs() {
                let range = p * sites..(p + 1) * sites;
                let (s, a0) = (&slopes[range.clone()], &arguments[range.clone()]);
                let u = parts_mut(&mut self.fields[range.clone()]);
                let sums = T::weigh_back(s, Some(a0), now.products[p], u, l_bar, activation);
                T::scale_shift(u, now.gain[p], [T::zero(); 2]);
                T::weigh(s, now.products[p], parts_mut(&mut self.others[range]), false, activation);
                self.add(p, &bases, &now, &sums);
            }
            field.of.torus.transform(&mut self.fields, &mut self.work);
            field.of.torus.transform(&mut self.others, &mut self.work);
            // u = w ⋆ x and velocity = w ∗ (v g s): two shares of the kernels' cotangents.
            for p in 0..field.of.pairs() {
                let range = p * sites..(p + 1) * sites;
                let bar = &mut self.kernels_bar[range.clone()];
                T::conjugate_multiply_add(bar, &self.fields[range.clone()], &self.state);
                T::conjugate_multiply_add(bar, &self.others[range], &self.site);
            }
            if let Some(state_bar) = &mut state_bar {
                field.spread(&self.fields, &mut self.site, &mut self.work);
                state_bar.row_mut(r).iter_mut().zip(&self.site).for_each(|(x, z)| *x = z.re);
            }
        }
    }

    fn score_pullback(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, Cpu<T>>,
        bar: ScoredCotangent<'_, Cpu<T>>,
        out: ScoredPointBar<'_, Cpu<T>>,
    ) {
        let (field, sites) = (self.field, self.site.len());
        let (now, settings) = (field.at(stage.t), &field.of.settings);
        let bases: Vec<f64> = settings.time.at(stage.t).collect();
        let vectors = [at.x, bar.velocity, at.score, bar.change];
        // Of every vector its spectrum, and its products with the kernels at all sites.
        let mut spectra = vectors.map(|_| vec![zero(); sites]);
        let mut fields = vectors.map(|_| vec![zero(); self.fields.len()]);
        let mut slopes = vec![[T::zero(); 2]; sites];
        self.kernels_bar.resize(self.fields.len(), zero());
        for (r, laplacian_bar) in bar.laplacian.iter().enumerate() {
            let l = vec![T::of(*laplacian_bar); 2 * sites];
            for ((vector, spectrum), products) in vectors.iter().zip(&mut spectra).zip(&mut fields) {
                field.spectrum(vector, r, spectrum, &mut self.work);
                field.correlate(spectrum, products, &mut self.work);
            }
            for p in 0..field.of.pairs() {
                let of_pair = fields.each_mut().map(|of| parts_mut(&mut of[p * sites..(p + 1) * sites]));
                slopes.copy_from_slice(&*of_pair[0]);
                T::scale_shift(&mut slopes, now.gain[p], now.offset[p]);
                T::slope(settings.activation, slopes.as_flattened_mut());
                let unit = Unit { amplitude: now.amplitude[p], gain: now.gain[p], norm: field.norms[p] };
                let of_pair = of_pair.map(|of| of.as_flattened_mut());
                let bars = T::score_back(slopes.as_flattened(), &l, unit, of_pair, settings.activation);
                self.add_bars(p, &bases, &bars);
            }
            for (products, spectrum) in fields.iter_mut().zip(&spectra) {
                field.of.torus.transform(products, &mut self.work);
                let of_pairs = self.kernels_bar.chunks_exact_mut(sites).zip(products.chunks_exact(sites));
                of_pairs.for_each(|(bar, product)| T::conjugate_multiply_add(bar, product, spectrum));
            }
            for (out, products) in [(&mut *out.x, &fields[0]), (&mut *out.score, &fields[2])] {
                field.spread(products, &mut self.site, &mut self.work);
                out.row_mut(r).iter_mut().zip(&self.site).for_each(|(out, z)| *out = z.re);
            }
        }
    }

    fn enter_pullback(mut self: Box<Self>, state_bar: Array2<T>) -> (Array2<T>, Vec<Share<Cpu<T>>>) {
        let of = self.field.of;
        let (sites, kernels) = (of.torus.sites(), of.settings.kernels);
        self.kernels_bar.resize(self.fields.len(), zero());
        of.torus.transform_back(&mut self.kernels_bar, &mut self.work);
        let scale = T::one() / T::of(sites as f64);
        let kernels_bar = Array2::from_shape_fn((kernels, sites).f(), |(c, i)| {
            let bar = self.kernels_bar[c / 2 * sites + i];
            scale * if c % 2 == 0 { bar.re } else { -bar.im }
        });
        let norms_bar = Array2::from_shape_fn((1, kernels).f(), |(_, c)| T::of(self.norms_bar[c / 2][c % 2]));
        let [amplitude, gain, offset] =
            [self.coefficients(|b| b.amplitude), self.coefficients(|b| b.gain), self.coefficients(|b| b.offset)];
        (state_bar, [kernels_bar, norms_bar, amplitude, gain, offset].map(Share::of).into())
    }
}
