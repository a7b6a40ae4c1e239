//! Potentials of one hidden layer, `φ(x, t) = Σ_j v_j(t) f(g_j(t) w_j·x + b_j(t))`, in plain and in feature-space
//! coordinates.

mod blocks;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_core::{
    Activation, Block, BlockField, Coordinates, Error, Field, Group, Parameter, Potential, RidgeParameters, Share,
    Solve, Space, Stage, TimeBasis,
};
use ndarray::{Array2, ArrayView1, ArrayView2, s};

use crate::accumulator::whole_sum;
use crate::arrays::{times, zeros};
use crate::context::offsets;
use crate::cpu::Cpu;
use crate::packed::Packed;
use crate::real::Real;
use crate::timed::{Timed, coefficients_bar};

/// `φ(x, t) = Σ_j v_j f(a_j)`, `a = g ⊙ Wx + b`, `∇φ = Wᵀ(v ⊙ g ⊙ f'(a))`, `∇²φ = Σ_j v_j g_j² f''(a_j) ‖w_j‖²`.
/// As it comes it is the paper's potential (section 3 of arXiv:1809.10188), with `g = 1` and nothing dependent on time.
///
/// Parameters: `weight` (h × N), `context` (h × k, with [`Ridge::with_context`]), `bias` (h, optional), `gain` (h, with
/// [`Ridge::with_gains`]), `amplitude` (h); after [`Ridge::with_time`] all but weights and context are coefficients of
/// functions of time, M × h.
///
/// As x moves only in the row space of W, a solve can run in feature space: with `G = WWᵀ`, computed once, the state is
/// `c` with `x = x₀ + Wᵀc`, `Wx = Wx₀ + Gc` and `dc/dt = v ⊙ g ⊙ f'(a)`: one h × h product per stage instead of two h ×
/// N ones. [`Coordinates::Auto`] takes it when `h < 2N`.
///
/// ```
/// use backend_ndarray::{Activation, Cpu, Ridge};
/// use flow_core::{Alone, FixedStep, Flow, Memory, Method, Purpose, RngKey};
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
///     team: &Alone,
/// };
/// let ln_p = flow.log_density(&[0.5, -1.0], RngKey::new(0, Purpose::Evaluate, 0))?;
/// assert!(ln_p[0] < 0.0);
/// # Ok::<(), flow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Ridge<T: Real> {
    space: Cpu<T>,
    activation: Activation,
    weight: Parameter<Cpu<T>>,
    context: Option<Parameter<Cpu<T>>>,
    bias: Option<Parameter<Cpu<T>>>,
    gain: Option<Parameter<Cpu<T>>>,
    amplitude: Parameter<Cpu<T>>,
    basis: TimeBasis,
    orbit: Option<Group>,
    feature_stages: AtomicU64,
    tiled_stages: AtomicU64,
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
        let basis = TimeBasis::constant();
        let [feature_stages, tiled_stages] = [0; 2].map(AtomicU64::new);
        let (context, gain, orbit) = (None, None, None);
        Ok(Self {
            space,
            activation,
            weight,
            context,
            bias,
            gain,
            amplitude,
            basis,
            orbit,
            feature_stages,
            tiled_stages,
        })
    }

    /// Sums the potential over a group, `φ(x) = Σ_g Σ_c v_c f(w_c·gx + b_c)`: exactly symmetric under it, with the same
    /// parameters. Every row of weights stands for its whole orbit, so a solve costs as much as one with
    /// `|G| · hidden` free ridge functions.
    ///
    /// # Errors
    /// [`Error::Shape`] when the group acts on another number of coordinates; [`Error::Setting`] with a context, whose
    /// offsets would break the symmetry.
    pub fn over_orbit(mut self, group: Group) -> Result<Self, Error> {
        group.check_dim(self.dim())?;
        self.require_no_context()?;
        // As many terms as before should start with the same variance.
        self.amplitude.value /= T::of((group.order() as f64).sqrt());
        self.orbit = Some(group);
        Ok(self)
    }

    /// Lets amplitudes, offsets and gains, as far as there are any, depend on time, `c(t) = Σ_m c_m b_m(t)`; all but
    /// the first term start at zero.
    #[must_use]
    pub fn with_time(mut self, basis: TimeBasis) -> Self {
        let in_time = |parameter: Parameter<_>| parameter.in_time(&self.space, basis.terms());
        self.bias = self.bias.map(in_time);
        self.gain = self.gain.map(in_time);
        self.amplitude = in_time(self.amplitude);
        self.basis = basis;
        self
    }

    /// Gives every argument a factor, `a_j = g_j(t) w_j·x + b_j(t)`, that starts at one.
    #[must_use]
    pub fn with_gains(mut self) -> Self {
        self.gain = Some(RidgeParameters::gain(&self.space, self.weight.value.nrows(), self.basis.terms()));
        self
    }

    /// Gives every argument an offset that is linear in a context of `width` numbers a row, `a = g ⊙ (Wx + Uc) + b`.
    /// First values are those of weights.
    ///
    /// # Errors
    /// [`Error::Setting`] for a potential that is summed over a group.
    pub fn with_context(mut self, width: usize, seed: u64) -> Result<Self, Error> {
        if self.orbit.is_some() {
            return Err(no_context_over_orbits());
        }
        self.context = RidgeParameters::context(&self.space, self.weight.shape[0], self.dim(), width, seed);
        Ok(self)
    }

    fn require_no_context(&self) -> Result<(), Error> {
        if self.context.is_some() { Err(no_context_over_orbits()) } else { Ok(()) }
    }

    /// Evaluations that blocks of rows made in feature space so far: the proof that the fast path was taken.
    pub fn feature_stages(&self) -> u64 {
        self.feature_stages.load(Ordering::Relaxed)
    }

    /// Evaluations that blocks of rows made with matrices laid out for this processor, and with all between the
    /// products done while their numbers were at hand. Stays zero on processors that have no layout of their own (no
    /// AVX2).
    pub fn tiled_stages(&self) -> u64 {
        self.tiled_stages.load(Ordering::Relaxed)
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

    /// Coefficients of all ridge functions, from those of the kernels.
    fn timed(&self, of: &Parameter<Cpu<T>>) -> Timed<T> {
        Timed::repeated(self.basis, &of.value, self.orbit.as_ref().map_or(1, Group::order))
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

    /// The cotangent of a parameter (M × kernels) from that of the coefficients of all ridge functions (h × M).
    fn folded(&self, all_bar: &Array2<T>) -> Array2<T> {
        let kernels = self.weight.value.nrows();
        let mut out = zeros(kernels, all_bar.ncols());
        for (j, bar) in all_bar.rows().into_iter().enumerate() {
            let mut folded = out.row_mut(j % kernels);
            folded += &bar;
        }
        coefficients_bar(&out)
    }
}

fn no_context_over_orbits() -> Error {
    Error::setting("context", "some", "none where the potential is summed over a group")
}

impl<T: Real> Potential<Cpu<T>> for Ridge<T> {
    fn dim(&self) -> usize {
        self.weight.value.ncols()
    }

    fn context_dim(&self) -> usize {
        self.context.as_ref().map_or(0, |context| context.value.ncols())
    }

    fn parameters(&self) -> Vec<&Parameter<Cpu<T>>> {
        let offsets_and_gains = self.context.iter().chain(&self.bias).chain(&self.gain);
        std::iter::once(&self.weight).chain(offsets_and_gains).chain([&self.amplitude]).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Cpu<T>>> {
        let offsets_and_gains = self.context.iter_mut().chain(&mut self.bias).chain(&mut self.gain);
        std::iter::once(&mut self.weight).chain(offsets_and_gains).chain([&mut self.amplitude]).collect()
    }

    fn has_score_pullback(&self) -> bool {
        true
    }

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<Cpu<T>> + '_> {
        let weight = self.all_weights();
        let feature_space = match solve.coordinates {
            Coordinates::Auto => self.hidden() < 2 * self.dim(),
            Coordinates::X => false,
            Coordinates::Feature => true,
        };
        let packed = |right: ArrayView2<'_, T>| Packed::new(&self.space, right);
        let gram = feature_space.then(|| {
            let mut gram = zeros(weight.nrows(), weight.nrows());
            self.space.product(gram.view_mut(), 0.0, weight.view(), weight.t());
            packed(gram.view())
        });
        let (rows, transposed) = (packed(weight.view()), packed(weight.t()));
        Box::new(Frozen {
            ridge: self,
            weight,
            rows,
            transposed,
            bias: self.bias.as_ref().map(|bias| self.timed(bias)),
            gain: self.gain.as_ref().map(|gain| self.timed(gain)),
            amplitude: self.timed(&self.amplitude),
            norms: OnceLock::new(),
            gram,
        })
    }
}

/// A ridge potential frozen for one solve.
struct Frozen<'a, T: Real> {
    ridge: &'a Ridge<T>,
    weight: Cow<'a, Array2<T>>,
    /// W as a right factor.
    rows: Packed<T>,
    /// Wᵀ as a right factor.
    transposed: Packed<T>,
    bias: Option<Timed<T>>,
    gain: Option<Timed<T>>,
    amplitude: Timed<T>,
    /// `‖w_j‖²`, once a Laplacian is asked for.
    norms: OnceLock<Vec<T>>,
    /// `WWᵀ` where the solve runs in feature space.
    gram: Option<Packed<T>>,
}

impl<T: Real> Frozen<'_, T> {
    fn norms(&self) -> &[T] {
        self.norms.get_or_init(|| {
            let mut norms = vec![0.0; self.weight.nrows()];
            self.ridge.space.row_dot(&mut norms, &self.weight, &self.weight);
            norms.into_iter().map(T::of).collect()
        })
    }

    /// `Uc` of every row, n × h, where there is a context.
    fn offsets(&self, context: Option<&Array2<T>>) -> Option<Array2<T>> {
        offsets(self.ridge.context.as_ref(), context)
    }

    /// `v(t) ⊙ g(t)`.
    fn strength(&self, t: f64) -> Vec<T> {
        let v = self.amplitude.at(t);
        match &self.gain {
            Some(gain) => times(&v, &gain.at(t)),
            None => v,
        }
    }

    /// `‖w_j‖² g_j(t)`.
    fn weighed_norms(&self, t: f64) -> Cow<'_, [T]> {
        match &self.gain {
            Some(gain) => Cow::Owned(times(self.norms(), &gain.at(t))),
            None => Cow::Borrowed(self.norms()),
        }
    }
}

impl<T: Real> Field<Cpu<T>> for Frozen<'_, T> {
    fn enter(&self, block: Block<Cpu<T>>) -> (Box<dyn BlockField<Cpu<T>> + '_>, Array2<T>) {
        blocks::enter(self, block)
    }

    fn value(&self, stage: Stage, block: Block<Cpu<T>>) -> Vec<f64> {
        let x = &block.x;
        let amplitude = self.amplitude.at(stage.t);
        let (offsets, mut a) = (self.offsets(block.context.as_ref()), zeros(x.nrows(), self.ridge.hidden()));
        self.transposed.product(&mut a, offsets.as_ref(), x, |_, _| ());
        if let Some(gain) = &self.gain {
            a *= &ArrayView1::from(&gain.at(stage.t));
        }
        if let Some(bias) = &self.bias {
            a += &ArrayView1::from(&bias.at(stage.t));
        }
        let row = |a: ArrayView1<'_, T>| {
            let terms = a.iter().zip(&amplitude);
            terms.map(|(a, v)| v.wide() * self.ridge.activation.value(a.wide())).sum()
        };
        a.rows().into_iter().map(row).collect()
    }

    fn gradient(&self, sums: Vec<Share<Cpu<T>>>) -> Vec<Array2<T>> {
        let mut sums = sums.into_iter();
        let mut next = || sums.next().expect("enter_pullback returns this many arrays");
        let (space, weight, products) = (&self.ridge.space, &*self.weight, next());
        let mut weight_bar = match &self.gram {
            None => whole_sum(space, weight.dim(), products),
            Some(_) => {
                // G = WWᵀ: W̄ += (Ḡ + Ḡᵀ) W.
                let products = whole_sum(space, (weight.nrows(), weight.nrows()), products);
                let twice = &products + &space.transposed(&products);
                let mut weight_bar = next().into_sum();
                space.product(weight_bar.view_mut(), 1.0, twice.view(), weight.view());
                weight_bar
            }
        };
        // n_j = ‖w_j‖²: w̄_j += 2 n̄_j w_j. Never touched unless a Laplacian had a cotangent.
        let norm_bar = next().into_sum();
        let context_bar = self.ridge.context.as_ref().map(|_| next().into_sum());
        if norm_bar.iter().any(|bar| *bar != T::zero()) {
            let norm_bar = norm_bar.mapv(|bar| T::of(2.0) * bar);
            weight_bar += &(weight * &norm_bar.t());
        }
        std::iter::once(self.ridge.kernels_bar(weight_bar))
            .chain(context_bar)
            .chain(sums.map(|bar| self.ridge.folded(&bar.into_sum())))
            .collect()
    }
}
