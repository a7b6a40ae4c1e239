//! A potential that is any function of libtorch; its derivatives come from automatic differentiation.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flow_core::{Block, BlockField, Error, Field, Motion, Parameter, Potential, Pullback, Share, Solve, Stage};
use tch::{Kind, Tensor, nn};

use crate::device::Device;
use crate::tensors::{Array, Column, Tch};

/// How `∇²φ` is computed from products of the Hessian H with vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Laplacian {
    /// `Σ_i e_i·He_i`: exact, at the cost of N products.
    Exact,
    /// The mean of `z·Hz` over some vectors z of random signs, drawn once per row and solve (M. F. Hutchinson, Commun.
    /// Stat. Simul. Comput. 19, 433 (1990)): right on average over solves, exact for diagonal H.
    Hutchinson {
        /// Vectors per row.
        probes: usize,
    },
}

impl fmt::Display for Laplacian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => write!(f, "exact trace"),
            Self::Hutchinson { probes } => write!(f, "Hutchinson's estimate with {probes} probes"),
        }
    }
}

/// A potential `φ(x, t)` written with libtorch. Gradient, Laplacian and pullback come from automatic differentiation,
/// so φ has to be made of operations that can be differentiated three times (softplus, tanh and SiLU can; ReLU has no
/// curvature), row by row (no batch norm), and the same at every call (no dropout). One thread at a time evaluates it:
/// on the CPU, give flows and trainings a space [with whole batches](Tch::with_whole_batches), which leaves the threads
/// to the operations.
///
/// A small convolutional potential of pictures of 8 × 8:
///
/// ```
/// use backend_tch::tch::{Tensor, nn};
/// use backend_tch::{Device, Laplacian, ModulePotential, Options, Tch};
/// use flow_core::{Potential, Precision};
/// # if backend_tch::load(Device::Cpu).is_err() { return Ok(()) }
/// let tch = Tch::new(Device::Cpu, Precision::F32, Options::default())?.with_whole_batches();
/// let potential = ModulePotential::new(tch, 64, Laplacian::Hutchinson { probes: 1 }, 0, |path| {
///     let same = nn::ConvConfig { padding: 1, ..Default::default() };
///     // Two channels come in, the picture and the time.
///     let (first, second) = (nn::conv2d(path / "first", 2, 8, 3, same), nn::conv2d(path / "second", 8, 1, 3, same));
///     move |x: &Tensor, t: f64| {
///         let picture = x.view([-1, 1, 8, 8]);
///         let input = Tensor::cat(&[&picture, &picture.full_like(t)], 1);
///         (input.apply(&first).softplus().apply(&second) * picture).flat_view().sum_dim_intlist(1, false, x.kind())
///     }
/// })?;
/// assert_eq!(potential.parameters().len(), 4); // two weights and two biases
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ModulePotential {
    space: Tch,
    dim: usize,
    laplacian: Laplacian,
    parameters: Vec<Parameter<Tch>>,
    module: Mutex<Module>,
    kept: AtomicU64,
}

/// φ, and the variables that it was built with, in the order of the parameters.
struct Module {
    phi: Box<Phi>,
    variables: Vec<Tensor>,
}

type Phi = dyn Fn(&Tensor, f64) -> Tensor + Send;

impl fmt::Debug for ModulePotential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { space, dim, laplacian, parameters, .. } = self;
        let names: Vec<_> = parameters.iter().map(|p| &p.name).collect();
        f.debug_struct("ModulePotential")
            .field("space", space)
            .field("dim", dim)
            .field("laplacian", laplacian)
            .field("parameters", &names)
            .finish_non_exhaustive()
    }
}

impl ModulePotential {
    /// A potential of `dim` numbers per row. `build` makes its variables under a path, whose names become those of the
    /// parameters, and returns φ: from x (rows × `dim`) and t to one number per row. First values are drawn on the CPU
    /// with `seed`, so they are the same on every device.
    ///
    /// # Errors
    /// [`Error::Shape`] when φ does not return one number per row, [`Error::Setting`] for no probes.
    pub fn new<F>(
        space: Tch,
        dim: usize,
        laplacian: Laplacian,
        seed: u64,
        build: impl FnOnce(&nn::Path) -> F,
    ) -> Result<Self, Error>
    where
        F: Fn(&Tensor, f64) -> Tensor + Send + 'static,
    {
        if laplacian == (Laplacian::Hutchinson { probes: 0 }) {
            return Err(Error::setting("probes", 0, "at least 1"));
        }
        let mut store = nn::VarStore::new(Device::Cpu.into());
        let phi = {
            // libtorch's generator is one for the whole process.
            static GENERATOR: Mutex<()> = Mutex::new(());
            let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
            tch::manual_seed(seed.cast_signed());
            build(&store.root())
        };
        // In place: the layers that φ has captured share these tensors.
        store.set_kind(space.kind());
        store.set_device(space.device().into());
        let mut named: Vec<_> = store.variables().into_iter().filter(|(_, tensor)| tensor.requires_grad()).collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let parameter = |(name, tensor): &(String, Tensor)| {
            let shape: Vec<usize> = tensor.size().iter().map(|n| *n as usize).collect();
            Parameter { name: name.clone(), value: Array(matrix(&tensor.detach_copy(), &shape)), shape }
        };
        let parameters = named.iter().map(parameter).collect();
        let variables = named.into_iter().map(|(_, tensor)| tensor).collect();

        // One number per row: two rows tell them from one number for all.
        let found = phi(&space.zeros_of(&[2, dim as i64]), 0.0).size();
        if found != [2] {
            let found = found.iter().map(|n| *n as usize).collect();
            return Err(Error::Shape { what: "φ of two rows".into(), found, expected: vec![2] });
        }
        let module = Mutex::new(Module { phi: Box::new(phi), variables });
        Ok(Self { space, dim, laplacian, parameters, module, kept: AtomicU64::new(0) })
    }

    /// How `∇²φ` is computed.
    pub fn laplacian(&self) -> Laplacian {
        self.laplacian
    }

    /// Pullbacks that went back over the graph of their evaluation so far: the proof that nothing was computed twice.
    pub fn kept_graphs(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    fn module(&self) -> MutexGuard<'_, Module> {
        self.module.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tensor as the matrix that stands for it in a [`Parameter`].
fn matrix(tensor: &Tensor, shape: &[usize]) -> Tensor {
    let rows = if shape.len() < 2 { 1 } else { shape[0] as i64 };
    tensor.reshape([rows, -1])
}

impl Potential<Tch> for ModulePotential {
    fn dim(&self) -> usize {
        self.dim
    }

    fn parameters(&self) -> Vec<&Parameter<Tch>> {
        self.parameters.iter().collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Tch>> {
        self.parameters.iter_mut().collect()
    }

    fn draw_width(&self, solve: &Solve) -> usize {
        match self.laplacian {
            Laplacian::Hutchinson { probes } if solve.laplacians => probes * self.dim,
            _ => 0,
        }
    }

    /// The probes, one after the other in every row.
    fn draw(&self, solve: &Solve, rows: Range<usize>) -> Vec<f64> {
        solve.key.rademacher(rows, self.draw_width(solve))
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<Tch> + '_> {
        // The parameters may have changed since the last solve; during one they cannot.
        tch::no_grad(|| {
            for (variable, parameter) in self.module().variables.iter_mut().zip(&self.parameters) {
                variable.copy_(&parameter.value.0.view_as(&*variable));
            }
        });
        Box::new(Frozen { of: self })
    }
}

/// A potential frozen for one solve.
struct Frozen<'a> {
    of: &'a ModulePotential,
}

impl Field<Tch> for Frozen<'_> {
    fn enter(&self, block: Block<Tch>) -> (Box<dyn BlockField<Tch> + '_>, Array) {
        let share = self.of.parameters.iter().map(|p| p.value.0.zeros_like()).collect();
        let probes = Probes::new(self.of, block.rows.len(), block.draws);
        (Box::new(Rows { of: self.of, probes, share }), block.x)
    }

    fn value(&self, stage: Stage, block: Block<Tch>) -> Column {
        Column(tch::no_grad(|| (self.of.module().phi)(&block.x.0, stage.t)).to_kind(Kind::Double))
    }

    fn gradient(&self, sums: Vec<Share<Tch>>) -> Vec<Array> {
        sums.into_iter().map(Share::into_sum).collect()
    }
}

/// The vectors z whose `z·Hz` make the Laplacian.
struct Probes {
    /// probes × rows × N (or × 1 × N where they are the same for all rows).
    vectors: Tensor,
    /// `∇²φ = weight · Σ z·Hz`.
    weight: f64,
}

impl Probes {
    /// Copies of the batch that are differentiated at once: enough to keep a device busy, few enough for its memory.
    const ROWS: i64 = 4096;

    /// Those of a block of rows, from what it drew; none where an estimate is not going to be asked for.
    fn new(of: &ModulePotential, rows: usize, draws: Option<Array>) -> Option<Self> {
        let dim = of.dim as i64;
        match of.laplacian {
            Laplacian::Exact => {
                let vectors = Tensor::eye(dim, (of.space.kind(), of.space.device().into())).unsqueeze(1);
                Some(Self { vectors, weight: 1.0 })
            }
            Laplacian::Hutchinson { probes } => {
                let signs = draws?.0.reshape([rows as i64, probes as i64, dim]);
                Some(Self { vectors: signs.transpose(0, 1), weight: 1.0 / probes as f64 })
            }
        }
    }

    /// The vectors in parts of about [`Probes::ROWS`] rows.
    fn parts(&self, rows: i64) -> impl Iterator<Item = Tensor> {
        let dim = self.vectors.size()[2];
        let parts = self.vectors.split((Self::ROWS / rows).max(1), 0);
        parts.into_iter().map(move |part| part.expand([part.size()[0], rows, dim], false).reshape([-1, dim]))
    }
}

/// A block of rows, in plain coordinates.
struct Rows<'a> {
    of: &'a ModulePotential,
    probes: Option<Probes>,
    /// Sums of the cotangents of the parameters.
    share: Vec<Tensor>,
}

const PROBES: &str = "a solve with Laplacians brings probes";

/// The gradient of a sum with respect to one or more tensors, with zeros for those it does not depend on.
pub(crate) fn gradients<T: Borrow<Tensor>>(of: &Tensor, to: &[T], differentiable: bool) -> Vec<Tensor> {
    backward(of, to, differentiable, differentiable)
}

/// As [`gradients`], and the graph stays for further ones.
pub(crate) fn gradients_kept<T: Borrow<Tensor>>(of: &Tensor, to: &[T], differentiable: bool) -> Vec<Tensor> {
    backward(of, to, true, differentiable)
}

fn backward<T: Borrow<Tensor>>(of: &Tensor, to: &[T], keep: bool, differentiable: bool) -> Vec<Tensor> {
    if !of.requires_grad() {
        return to.iter().map(|tensor| tensor.borrow().zeros_like()).collect();
    }
    let found = Tensor::run_backward(&[of], to, keep, differentiable);
    found.into_iter().zip(to).map(|(g, to)| if g.defined() { g } else { to.borrow().zeros_like() }).collect()
}

fn gradient(of: &Tensor, to: &Tensor, differentiable: bool) -> Tensor {
    gradients(of, &[to], differentiable).swap_remove(0)
}

/// `a · b` of all numbers.
pub(crate) fn inner(a: &Tensor, b: &Tensor) -> Tensor {
    a.multiply(b).sum(a.kind())
}

/// `∇φ` of every row of x, such that it can be differentiated again.
fn slope(phi: &Phi, x: &Tensor, t: f64) -> Tensor {
    gradient(&phi(x, t).sum(x.kind()), x, true)
}

impl BlockField<Tch> for Rows<'_> {
    fn evaluate(&mut self, stage: Stage, state: &Array, Motion { velocity, laplacian, residuals }: Motion<'_, Tch>) {
        let (module, rows) = (self.of.module(), state.0.size()[0]);
        tch::with_grad(|| {
            let Some(laplacian) = laplacian else {
                let x = state.0.detach_copy().set_requires_grad(true);
                let found = slope(&module.phi, &x, stage.t);
                velocity.0.copy_(&found.detach());
                // As in a term: without a Laplacian the pullback goes back over this graph.
                residuals
                    .into_iter()
                    .for_each(|residuals| residuals.extend([Array(x.shallow_clone()), Array(found.shallow_clone())]));
                return;
            };
            let _ = laplacian.0.zero_();
            let all = self.probes.as_ref().expect(PROBES);
            for probes in all.parts(rows) {
                let copies = probes.size()[0] / rows;
                let x = state.0.repeat([copies, 1]).set_requires_grad(true);
                let slope = slope(&module.phi, &x, stage.t);
                let product = gradient(&inner(&slope, &probes), &x, false);
                let traces = (product * probes).sum_dim_intlist(1, false, Kind::Double);
                laplacian.0 += traces.reshape([copies, rows]).sum_dim_intlist(0, false, Kind::Double);
                velocity.0.copy_(&slope.detach().narrow(0, 0, rows));
            }
            let _ = laplacian.0.g_mul_scalar_(all.weight);
        });
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array,
        Pullback { residuals, velocity_bar, laplacian_bar, mut state_bar }: Pullback<'_, Tch>,
    ) {
        let (module, rows) = (self.of.module(), state.0.size()[0]);
        if let Some(state_bar) = &mut state_bar {
            let _ = state_bar.0.zero_();
        }
        let (x, kept) = match (residuals, laplacian_bar) {
            ([x, velocity], None) if velocity.0.requires_grad() => (x.0.shallow_clone(), Some(&velocity.0)),
            _ => (state.0.detach_copy().set_requires_grad(true), None),
        };
        let share = &mut self.share;
        let mut add = |pairing: &Tensor| {
            let to: Vec<_> = state_bar.iter().map(|_| &x).chain(&module.variables).collect();
            let mut bars = gradients_kept(pairing, &to, false).into_iter();
            if let Some(state_bar) = &mut state_bar {
                state_bar.0 += bars.next().expect("one for x");
            }
            for (sum, bar) in share.iter_mut().zip(bars) {
                // Gradients of convolutions come in layouts of libtorch's choice, which `view` refuses.
                *sum += bar.reshape_as(sum);
            }
        };
        if let Some(velocity) = kept {
            self.of.kept.fetch_add(1, Ordering::Relaxed);
            return add(&inner(velocity, &velocity_bar.0));
        }
        tch::with_grad(|| {
            let Some(laplacian_bar) = laplacian_bar else {
                add(&inner(&slope(&module.phi, &x, stage.t), &velocity_bar.0));
                return;
            };
            let all = self.probes.as_ref().expect(PROBES);
            let l_bar = (&laplacian_bar.0 * all.weight).to_kind(x.kind()).unsqueeze(1);
            for (i, probes) in all.parts(rows).enumerate() {
                let copies = probes.size()[0] / rows;
                let many = x.repeat([copies, 1]);
                let slope = slope(&module.phi, &many, stage.t);
                let product = gradient(&inner(&slope, &probes), &many, true);
                let mut pairing = inner(&product, &(probes * l_bar.repeat([copies, 1])));
                if i == 0 {
                    pairing += inner(&slope.narrow(0, 0, rows), &velocity_bar.0);
                }
                add(&pairing);
            }
        });
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array) -> (Array, Vec<Share<Tch>>) {
        (state_bar, self.share.into_iter().map(|bar| Share::of(Array(bar))).collect())
    }
}
