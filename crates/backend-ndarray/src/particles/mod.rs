//! The potential of equal particles: functions of their distances, with the gradient, the Laplacian and their pullbacks
//! in closed form.

mod classes;
mod contrasts;
mod features;
mod features_bar;
pub(crate) mod kernels;
mod lanes;
mod network;
mod radial;
mod rows;

use std::ops::Range;

use flow_core::{
    Block, BlockField, Error, Field, Motion, Parameter, ParticlesNetwork, ParticlesParameters, ParticlesSettings,
    Potential, Pullback, Residuals, ScoredMotion, ScoredPoint, Share, Solve, Stage, TimeBasis,
};
use ndarray::Array2;

use crate::arrays::{numbers, numbers_mut, zeros};
use crate::cpu::Cpu;
use crate::real::Real;
use crate::timed::{Timed, TimedBar, coefficients_bar};
use classes::Classes;
use features::{Configuration, Features, Operator, Shape, from_centre};
use features_bar::FeaturesBar;
use network::{Jet, JetBar, Layers, Network, NetworkBar, Tangents};
use radial::{Gaussians, ORDERS};

/// `φ = ½ q Σ_i |x_i − x̄|² + Σ_{i<j} P(r_ij) + Σ_i F(S_i)` of n particles in d dimensions, rows of n d numbers,
/// particle by particle: see [`ParticlesSettings`].
///
/// With primes for derivatives by `r²`, `∇_i P = 2 P' (x_i − x_j)` and its Laplacian over both particles is
/// `8 r² P'' + 4 d P'`. That of F has `∂F/∂S` times the Laplacians of sums and squares, and the second derivatives of F
/// along the first derivatives of S in the (n − 1) d directions that leave the centre: `Σ_k v_k f''(z_k) |W₂ (f'(a) ⊙
/// W₁ y)|²` and the like, which is most of the work, about `n (n − 1) d h₁ (features + h₂)` multiplications a row,
/// against `n h₁ (features + h₂)` for the gradient. The pullback is the adjoint of the derivative `u·∇ + λ∇²` of φ, u
/// and λ being the cotangents.
///
/// The field is exactly that of a function of distances: it turns with the cluster, follows its permutations, and
/// leaves the centre where it is, to round-off.
///
/// Parameters: `quadratic` (M × 1), `radial` (M × (1 + sums + vectors) × K, as many functions again for every two kinds
/// of particles), and where there are features `layer1.weight`, `layer1.bias`, `layer2.weight`, `layer2.bias` and
/// `amplitude`.
///
/// ```
/// use backend_ndarray::{Activation, Cpu, Particles};
/// use flow_core::{ParticlesSettings, Potential, TimeBasis};
/// let settings = ParticlesSettings {
///     particles: 4,
///     space: 2,
///     kinds: Vec::new(),
///     centres: 16,
///     interval: [0.3, 9.0],
///     core: 0.3,
///     cutoff: None,
///     sums: 8,
///     vectors: 8,
///     hidden: [32, 32],
///     activation: Activation::Softplus,
/// };
/// let potential = Particles::new(Cpu::<f32>::new(1), settings, TimeBasis::constant(), 0)?;
/// assert_eq!((potential.dim(), potential.parameters().len()), (8, 7));
/// # Ok::<(), flow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Particles<T: Real> {
    settings: ParticlesSettings,
    basis: TimeBasis,
    quadratic: Parameter<Cpu<T>>,
    radial: Parameter<Cpu<T>>,
    network: Option<ParticlesNetwork<Cpu<T>>>,
}

impl<T: Real> Particles<T> {
    /// A potential with its first values.
    ///
    /// # Errors
    /// [`Error::Setting`] for a size that is out of range.
    pub fn new(space: Cpu<T>, settings: ParticlesSettings, basis: TimeBasis, seed: u64) -> Result<Self, Error> {
        let ParticlesParameters { quadratic, radial, network } =
            ParticlesParameters::new(&space, &settings, basis, seed)?;
        Ok(Self { settings, basis, quadratic, radial, network })
    }

    fn shape(&self) -> Shape {
        let ParticlesSettings { particles, space, sums, vectors, .. } = self.settings;
        Shape { particles, space, sums, vectors }
    }
}

impl<T: Real> Potential<Cpu<T>> for Particles<T> {
    fn dim(&self) -> usize {
        self.shape().numbers()
    }

    fn parameters(&self) -> Vec<&Parameter<Cpu<T>>> {
        let network = self.network.iter();
        let network = network.flat_map(|of| [&of.weight1, &of.bias1, &of.weight2, &of.bias2, &of.amplitude]);
        [&self.quadratic, &self.radial].into_iter().chain(network).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Cpu<T>>> {
        let network = self
            .network
            .iter_mut()
            .flat_map(|of| [&mut of.weight1, &mut of.bias1, &mut of.weight2, &mut of.bias2, &mut of.amplitude]);
        [&mut self.quadratic, &mut self.radial].into_iter().chain(network).collect()
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<Cpu<T>> + '_> {
        let timed = |of: &Parameter<Cpu<T>>| Timed::new(self.basis, &of.value);
        Box::new(Frozen {
            of: self,
            shape: self.shape(),
            classes: Classes::new(&self.settings),
            gaussians: Gaussians::new(&self.settings),
            quadratic: timed(&self.quadratic),
            radial: timed(&self.radial),
            network: self.network.as_ref().map(|network| FrozenNetwork {
                bias1: timed(&network.bias1),
                bias2: timed(&network.bias2),
                amplitude: timed(&network.amplitude),
                weight1: &network.weight1.value,
                weight2: &network.weight2.value,
            }),
        })
    }
}

/// A potential frozen for one solve.
struct Frozen<'a, T: Real> {
    of: &'a Particles<T>,
    shape: Shape,
    classes: Classes,
    gaussians: Gaussians<T>,
    quadratic: Timed<T>,
    radial: Timed<T>,
    network: Option<FrozenNetwork<'a, T>>,
}

struct FrozenNetwork<'a, T> {
    weight1: &'a Array2<T>,
    weight2: &'a Array2<T>,
    bias1: Timed<T>,
    bias2: Timed<T>,
    amplitude: Timed<T>,
}

/// The coefficients at one time.
struct Now<'a, T> {
    quadratic: T,
    /// Functions of all classes of pairs × K.
    radial: Array2<T>,
    network: Option<Network<'a, T>>,
}

/// Numbers of first derivatives of features that are held at a time: with what the layers make of them they fit a
/// processor's second cache.
const TANGENTS: usize = 1 << 14;

impl<T: Real> Frozen<'_, T> {
    fn at(&self, t: f64) -> Now<'_, T> {
        let shape = (self.classes.functions(), self.gaussians.count());
        let network = self.network.as_ref().map(|network| Network {
            activation: self.of.settings.activation,
            weight1: network.weight1,
            weight2: network.weight2,
            bias1: network.bias1.at(t),
            bias2: network.bias2.at(t),
            amplitude: network.amplitude.at(t),
        });
        let radial = Array2::from_shape_vec(shape, self.radial.at(t)).expect("functions times Gaussians");
        Now { quadratic: self.quadratic.at(t)[0], radial, network }
    }

    /// Rows that are worked on at once.
    fn chunks(&self, rows: usize, second: bool) -> impl Iterator<Item = Range<usize>> {
        let of_row = self.shape.particles * self.shape.directions() * self.shape.features().max(1);
        let most = if second { (TANGENTS / of_row).max(1) } else { rows.max(1) };
        (0..rows).step_by(most).map(move |first| first..rows.min(first + most))
    }

    /// Some rows, with functions of their distances up to so many derivatives.
    fn rows(&self, now: &Now<'_, T>, state: &Array2<T>, rows: Range<usize>, orders: usize) -> Rows<T> {
        let (n, pairs, k) = (self.shape.numbers(), self.shape.pairs(), self.gaussians.count());
        let x = row_by_row(state, rows.clone());
        let mut gaussians: [Vec<T>; ORDERS] = Default::default();
        gaussians[..orders].fill(vec![T::zero(); rows.len() * pairs * k]);
        let of_rows = x.chunks_exact(n).flat_map(|x| {
            let configuration = Configuration { shape: self.shape, x, radial: [&[]; ORDERS] };
            configuration.squares().collect::<Vec<_>>()
        });
        let squares: Vec<T> = of_rows.collect();
        T::gaussians(&self.gaussians, &squares, gaussians.each_mut().map(|of| &mut of[..]));
        let radial = gaussians.each_ref().map(|of| self.classes.through(of, &now.radial));
        Rows { x, gaussians, radial }
    }
}

/// Some configurations with the Gaussians and the functions of their distances.
struct Rows<T> {
    /// Row by row.
    x: Vec<T>,
    /// Of every pair of every row, K each; those derivatives that are not asked for are empty.
    gaussians: [Vec<T>; ORDERS],
    /// The same of the functions.
    radial: [Vec<T>; ORDERS],
}

impl<T: Real> Rows<T> {
    fn each(&self, shape: Shape) -> impl Iterator<Item = Configuration<'_, T>> {
        let of_row = shape.pairs() * shape.functions();
        self.x.chunks_exact(shape.numbers()).enumerate().map(move |(r, x)| {
            let of = |all: &'_ Vec<T>| if all.is_empty() { 0..0 } else { r * of_row..(r + 1) * of_row };
            let radial = self.radial.each_ref().map(|all| &all[of(all)]);
            Configuration { shape, x, radial }
        })
    }
}

/// The values of all features, row after row.
fn values<T: Real>(features: &[Features<T>]) -> Vec<T> {
    features.iter().map(|of| &of.values[..]).collect::<Vec<_>>().concat()
}

/// What operators made of them, likewise.
fn kappas<T: Real>(features: &[Features<T>]) -> Vec<T> {
    features.iter().map(|of| &of.kappa[..]).collect::<Vec<_>>().concat()
}

impl<T: Real> Field<Cpu<T>> for Frozen<'_, T> {
    fn enter(&self, block: Block<Cpu<T>>) -> (Box<dyn BlockField<Cpu<T>> + '_>, Array2<T>) {
        let network = self.network.as_ref().map(|network| NetworkShare {
            weight1: zeros(network.weight1.nrows(), network.weight1.ncols()),
            bias1: network.bias1.bar(),
            weight2: zeros(network.weight2.nrows(), network.weight2.ncols()),
            bias2: network.bias2.bar(),
            amplitude: network.amplitude.bar(),
        });
        let (quadratic, radial) = (self.quadratic.bar(), self.radial.bar());
        (Box::new(ParticlesBlock { field: self, quadratic, radial, network }), block.x)
    }

    fn value(&self, stage: Stage, block: Block<Cpu<T>>) -> Vec<f64> {
        let now = self.at(stage.t);
        let rows = self.rows(&now, &block.x, 0..block.x.nrows(), 1);
        let half = 0.5 * now.quadratic.wide();
        let of_row = |row: Configuration<'_, T>| {
            let square = from_centre(row.x, self.shape.space).iter().map(|x| x.wide().powi(2)).sum::<f64>();
            let many = now.network.as_ref().map_or(0.0, |network| {
                let layers = network.layers(&T::features(&row).values);
                network.values(&layers).iter().map(|f| f.wide()).sum()
            });
            half * square + row.energy().wide() + many
        };
        rows.each(self.shape).map(of_row).collect()
    }

    fn gradient(&self, sums: Vec<Share<Cpu<T>>>) -> Vec<Array2<T>> {
        let of_sum = |(i, sum): (usize, Share<Cpu<T>>)| {
            // The weights of the layers do not change with time.
            if [2, 4].contains(&i) { sum.into_sum() } else { coefficients_bar(&sum.into_sum()) }
        };
        sums.into_iter().enumerate().map(of_sum).collect()
    }
}

/// A block's share of the gradient by the parameters of F.
struct NetworkShare<T> {
    weight1: Array2<T>,
    bias1: TimedBar<T>,
    weight2: Array2<T>,
    bias2: TimedBar<T>,
    amplitude: TimedBar<T>,
}

impl<T: Real> NetworkShare<T> {
    fn add(&mut self, t: f64, bar: &NetworkBar<T>) {
        self.weight1 += &bar.weight1;
        self.bias1.add(t, &bar.bias1);
        self.weight2 += &bar.weight2;
        self.bias2.add(t, &bar.bias2);
        self.amplitude.add(t, &bar.amplitude);
    }
}

struct ParticlesBlock<'a, T: Real> {
    field: &'a Frozen<'a, T>,
    quadratic: TimedBar<T>,
    radial: TimedBar<T>,
    network: Option<NetworkShare<T>>,
}

/// Writes a row of numbers into a row of a state.
fn put<T: Real>(state: &mut Array2<T>, row: usize, of: &[T]) {
    let rows = state.nrows();
    let to = numbers_mut(state);
    of.iter().enumerate().for_each(|(c, value)| to[c * rows + row] = *value);
}

/// First derivatives of the features of all particles of some rows in the directions of their row.
fn tangents<T: Real>(shape: Shape, rows: &Rows<T>, features: &[Features<T>]) -> Vec<T> {
    let of_row = shape.particles * shape.directions() * shape.features();
    let mut y = vec![T::zero(); features.len() * of_row];
    let each = rows.each(shape).zip(features).zip(y.chunks_exact_mut(of_row));
    each.for_each(|((row, features), y)| T::tangents(&row, features, y));
    y
}

/// Some rows, evaluated.
struct Seen<'a, T: Real> {
    shape: Shape,
    now: &'a Now<'a, T>,
    rows: Rows<T>,
    features: Vec<Features<T>>,
    network: Option<SeenNetwork<'a, T>>,
}

struct SeenNetwork<'a, T> {
    of: &'a Network<'a, T>,
    layers: Layers<T>,
    /// `∂F/∂f(z₁)` and `∂F/∂S` of every particle.
    of_first: Vec<T>,
    slopes: Vec<T>,
}

/// First derivatives of the features in all directions, and what the layers make of them.
type Curved<T> = (Vec<T>, Tangents<T>);

impl<'a, T: Real> Seen<'a, T> {
    fn new(shape: Shape, now: &'a Now<'a, T>, rows: Rows<T>) -> Self {
        let features: Vec<_> = rows.each(shape).map(|row| T::features(&row)).collect();
        let network = now.network.as_ref().map(|of| {
            let layers = of.layers(&values(&features));
            let (of_first, slopes) = of.slopes(&layers);
            SeenNetwork { of, layers, of_first, slopes }
        });
        Self { shape, now, rows, features, network }
    }

    /// `∂F/∂S` of the particles of row r.
    fn slopes(&self, r: usize) -> &[T] {
        let width = self.shape.particles * self.shape.features();
        self.network.as_ref().map_or(&[], |network| &network.slopes[r * width..(r + 1) * width])
    }

    /// Writes ∇φ into rows of a state, from `first` on.
    fn write_velocities(&self, velocity: &mut Array2<T>, first: usize) {
        for (r, (row, features)) in self.rows.each(self.shape).zip(&self.features).enumerate() {
            let mut out = from_centre(row.x, self.shape.space);
            out.iter_mut().for_each(|x| *x *= self.now.quadratic);
            T::add_gradient(&row, features, self.slopes(r), &mut out);
            put(velocity, first + r, &out);
        }
    }

    /// `∇²φ` of every row; the features know its operator afterwards.
    fn laplacians(&mut self) -> (Vec<f64>, Option<Curved<T>>) {
        let (shape, numbers) = (self.shape, self.shape.numbers());
        let trace = self.now.quadratic.wide() * ((shape.particles - 1) * shape.space) as f64;
        let mut sums: Vec<f64> = self.rows.each(shape).map(|row| trace + row.pairs_laplacian().wide()).collect();
        let Some(SeenNetwork { of, layers, of_first, .. }) = &self.network else { return (sums, None) };
        let u = vec![T::zero(); numbers];
        for (row, features) in self.rows.each(shape).zip(&mut self.features) {
            T::apply(&row, features, Operator { u: &u, lambda: T::one() });
        }
        let y = tangents(shape, &self.rows, &self.features);
        let tangents = of.tangents(layers, &y, shape.directions());
        let curvatures = of.curvatures(layers, of_first, &tangents);
        for (r, (sum, features)) in sums.iter_mut().zip(&self.features).enumerate() {
            *sum += self.slopes(r).iter().zip(&features.kappa).map(|(s, k)| (*s * *k).wide()).sum::<f64>();
            *sum += curvatures[r * shape.particles..(r + 1) * shape.particles].iter().map(|c| c.wide()).sum::<f64>();
        }
        (sums, Some((y, tangents)))
    }

    /// `(∇∇φ) s + ∇∇²φ` of every row for its score s; after [`Seen::laplacians`].
    fn changes(&mut self, scores: &[T], curved: Option<Curved<T>>) -> Vec<T> {
        let (shape, numbers, one) = (self.shape, self.shape.numbers(), T::one());
        for ((row, features), u) in self.rows.each(shape).zip(&mut self.features).zip(scores.chunks_exact(numbers)) {
            T::apply(&row, features, Operator { u, lambda: T::zero() });
        }
        let bars = self.network.as_ref().zip(curved).map(|(network, (y, tangents))| {
            let kappa = kappas(&self.features);
            let lambda = vec![one; self.features.len() * shape.particles];
            let features = values(&self.features);
            let jet = Jet { features: &features, kappa: &kappa, second: Some((&lambda, &y, tangents)) };
            network.of.pullback(&network.layers, &jet, None)
        });
        let mut unused = [0; 3].map(|_| vec![T::zero(); shape.pairs() * shape.functions()]);
        let mut out = vec![T::zero(); scores.len()];
        let rows = self.rows.each(shape).zip(&self.features).zip(scores.chunks_exact(numbers));
        for (r, (((row, features), u), out)) in rows.zip(out.chunks_exact_mut(numbers)).enumerate() {
            let bar = FeaturesBar::of_row(bars.as_ref(), shape, r);
            T::pullback(
                &row,
                features,
                Operator { u, lambda: one },
                bar,
                unused.each_mut().map(|of| &mut of[..]),
                Some(out),
            );
            let of_u = from_centre(u, shape.space);
            out.iter_mut().zip(of_u).for_each(|(out, u)| *out += self.now.quadratic * u);
        }
        out
    }
}

/// The rows of a state one after the other.
fn row_by_row<T: Real>(state: &Array2<T>, rows: Range<usize>) -> Vec<T> {
    let (all, of) = (state.nrows(), numbers(state));
    rows.flat_map(|r| (0..state.ncols()).map(move |c| of[c * all + r])).collect()
}

impl<T: Real> BlockField<Cpu<T>> for ParticlesBlock<'_, T> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Motion { velocity, mut laplacian, .. }: Motion<'_, Cpu<T>>,
    ) {
        let (field, second) = (self.field, laplacian.is_some());
        let now = field.at(stage.t);
        for chunk in field.chunks(state.nrows(), second) {
            let rows = field.rows(&now, state, chunk.clone(), if second { 3 } else { 2 });
            let mut seen = Seen::new(field.shape, &now, rows);
            seen.write_velocities(velocity, chunk.start);
            if let Some(laplacian) = &mut laplacian {
                laplacian[chunk].copy_from_slice(&seen.laplacians().0);
            }
        }
    }

    fn evaluate_scored(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, Cpu<T>>,
        _ones: &Vec<f64>,
        _scratch: &mut Residuals<Cpu<T>>,
        out: ScoredMotion<'_, Cpu<T>>,
    ) {
        let (field, ScoredMotion { velocity, mut laplacian, change }) = (self.field, out);
        let now = field.at(stage.t);
        for chunk in field.chunks(at.x.nrows(), true) {
            let mut seen = Seen::new(field.shape, &now, field.rows(&now, at.x, chunk.clone(), ORDERS));
            seen.write_velocities(velocity, chunk.start);
            let (laplacians, curved) = seen.laplacians();
            let changes = seen.changes(&row_by_row(at.score, chunk.clone()), curved);
            let of_rows = changes.chunks_exact(field.shape.numbers());
            of_rows.zip(chunk.clone()).for_each(|(of, r)| put(change, r, of));
            if let Some(laplacian) = &mut laplacian {
                laplacian[chunk].copy_from_slice(&laplacians);
            }
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array2<T>,
        Pullback { velocity_bar, laplacian_bar, mut state_bar, .. }: Pullback<'_, Cpu<T>>,
    ) {
        let (field, second) = (self.field, laplacian_bar.is_some());
        let now = field.at(stage.t);
        let orders = 2 + usize::from(second) + usize::from(state_bar.is_some());
        let mut bar = Bar {
            quadratic: T::zero(),
            radial: Array2::zeros(now.radial.dim()),
            network: now.network.as_ref().map(Network::bar),
        };
        for chunk in field.chunks(state.nrows(), second) {
            let rows = field.rows(&now, state, chunk.clone(), orders);
            let u = row_by_row(velocity_bar, chunk.clone());
            let lambda: Vec<T> = match laplacian_bar {
                Some(of) => chunk.clone().map(|r| T::of(of[r])).collect(),
                None => vec![T::zero(); chunk.len()],
            };
            let found = bar.add(field, &now, &rows, RowsBar { u: &u, lambda: &lambda, second }, state_bar.is_some());
            if let Some(state_bar) = &mut state_bar {
                let of_rows = found.chunks_exact(field.shape.numbers());
                of_rows.zip(chunk).for_each(|(of, r)| put(state_bar, r, of));
            }
        }
        self.quadratic.add(stage.t, &[bar.quadratic]);
        self.radial.add(stage.t, bar.radial.as_slice().expect("functions times Gaussians"));
        if let (Some(share), Some(bar)) = (&mut self.network, &bar.network) {
            share.add(stage.t, bar);
        }
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array2<T>) -> (Array2<T>, Vec<Share<Cpu<T>>>) {
        let network = self
            .network
            .into_iter()
            .flat_map(|of| [of.weight1, of.bias1.sum, of.weight2, of.bias2.sum, of.amplitude.sum]);
        let shares = [self.quadratic.sum, self.radial.sum].into_iter().chain(network).map(Share::of);
        (state_bar, shares.collect())
    }
}

impl<'a, T> FeaturesBar<'a, T> {
    /// Those of row r, of all particles of all rows.
    fn of_row(bars: Option<&'a JetBar<T>>, shape: Shape, r: usize) -> Self {
        let Some(bars) = bars else { return FeaturesBar { values: &[], kappa: &[], tangents: &[] } };
        let of_features = shape.particles * shape.features();
        let [values, tangents] =
            [of_features, of_features * shape.directions()].map(|width| r * width..(r + 1) * width);
        let tangents = if bars.tangents.is_empty() { &[] } else { &bars.tangents[tangents] };
        FeaturesBar { values: &bars.features[values.clone()], kappa: &bars.kappa[values], tangents }
    }
}

/// Cotangents of the gradients and Laplacians of some rows.
struct RowsBar<'a, T> {
    /// Of the gradients.
    u: &'a [T],
    /// Of the Laplacians, a number for each row.
    lambda: &'a [T],
    /// Whether there are those of Laplacians: all λ are zero otherwise.
    second: bool,
}

/// Cotangents of the coefficients at one time.
struct Bar<T> {
    quadratic: T,
    radial: Array2<T>,
    network: Option<NetworkBar<T>>,
}

impl<T: Real> Bar<T> {
    /// Adds those of some rows for cotangents u of the gradient and λ of the Laplacian; returns those of the
    /// coordinates where they are wanted.
    fn add(
        &mut self,
        Frozen { shape, classes, .. }: &Frozen<'_, T>,
        now: &Now<'_, T>,
        rows: &Rows<T>,
        RowsBar { u, lambda, second }: RowsBar<'_, T>,
        of_state: bool,
    ) -> Vec<T> {
        let (shape, numbers) = (*shape, shape.numbers());
        let operators = || u.chunks_exact(numbers).zip(lambda).map(|(u, lambda)| Operator { u, lambda: *lambda });
        let mut features: Vec<_> = rows.each(shape).map(|row| T::features(&row)).collect();
        for ((row, features), operator) in rows.each(shape).zip(&mut features).zip(operators()) {
            T::apply(&row, features, operator);
        }
        let bars = now.network.as_ref().zip(self.network.as_mut()).map(|(network, bar)| {
            let values = values(&features);
            let kappa = kappas(&features);
            let layers: Layers<T> = network.layers(&values);
            let lambda: Vec<T> = lambda.iter().flat_map(|l| std::iter::repeat_n(*l, shape.particles)).collect();
            let y = if second { tangents(shape, rows, &features) } else { Vec::new() };
            let second = second.then(|| (&lambda[..], &y[..], network.tangents(&layers, &y, shape.directions())));
            network.pullback(&layers, &Jet { features: &values, kappa: &kappa, second }, Some(bar))
        });
        let of_row = shape.pairs() * shape.functions();
        let mut radial_bars = [0; 3].map(|_| vec![T::zero(); of_row * features.len()]);
        let mut x_bar = vec![T::zero(); if of_state { u.len() } else { 0 }];
        for (r, ((row, features), operator)) in rows.each(shape).zip(&features).zip(operators()).enumerate() {
            let bar = FeaturesBar::of_row(bars.as_ref(), shape, r);
            let radial_bars = radial_bars.each_mut().map(|of| &mut of[r * of_row..(r + 1) * of_row]);
            let own = if of_state { Some(&mut x_bar[r * numbers..(r + 1) * numbers]) } else { None };
            T::pullback(&row, features, operator, bar, radial_bars, own);
            self.add_quadratic(now, &row, operator, shape, x_bar.get_mut(r * numbers..(r + 1) * numbers));
        }
        for (bars, gaussians) in radial_bars.iter().zip(&rows.gaussians).filter(|(_, of)| !of.is_empty()) {
            classes.gather(&mut self.radial, bars, gaussians);
        }
        x_bar
    }

    /// The part of the quadratic term.
    fn add_quadratic(
        &mut self,
        now: &Now<'_, T>,
        row: &Configuration<'_, T>,
        operator: Operator<'_, T>,
        shape: Shape,
        x_bar: Option<&mut [T]>,
    ) {
        let of_x = from_centre(row.x, shape.space);
        let along = of_x.iter().zip(operator.u).fold(T::zero(), |sum, (x, u)| sum + *x * *u);
        self.quadratic += along + operator.lambda * T::of(((shape.particles - 1) * shape.space) as f64);
        if let Some(x_bar) = x_bar {
            let of_u = from_centre(operator.u, shape.space);
            x_bar.iter_mut().zip(of_u).for_each(|(x_bar, u)| *x_bar += now.quadratic * u);
        }
    }
}

#[cfg(test)]
mod tests;
