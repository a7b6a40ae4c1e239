//! The seam to the backends: each is one implementation of [`Engine`]; all work is written once, generic over it.

use std::num::NonZeroUsize;

use backend_ndarray::{
    Cpu, FullQuadratic, LatticeQuadratic, LatticeRidge, Quadratic, Real, Ridge, Separable, TwoLayer,
};
use datasets::lattice::{Lattice, LatticeSymmetry};
use flow_core::potentials::ContextQuadratic;
use flow_core::{Centres, Group, LatticeRidgeSettings, Potential, Space, TimeBasis, TimeFamily, TwoLayerSettings};

use crate::error::Error;
use crate::recipe::{
    self, Arithmetic, LatticeRidgeTerm, RidgePotential, RunInfo, SeparableTerm, Term, TermKind, TwoLayerTerm,
};

/// Where the numbers are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// Pure Rust on the CPU.
    Ndarray,
    /// libtorch on the CPU.
    TchCpu,
    /// libtorch on an NVIDIA GPU.
    TchCuda,
}

impl Backend {
    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndarray => "ndarray",
            Self::TchCpu => "tch-cpu",
            Self::TchCuda => "tch-cuda",
        }
    }

    /// The device of libtorch that it stands for, where it does.
    pub fn libtorch_device(self) -> Option<backend_tch::Device> {
        match self {
            Self::Ndarray => None,
            Self::TchCpu => Some(backend_tch::Device::Cpu),
            Self::TchCuda => Some(backend_tch::Device::Cuda),
        }
    }
}

/// Where the numbers are computed, and by how many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    /// The library.
    pub backend: Backend,
    /// Threads.
    pub threads: NonZeroUsize,
}

/// ndarray on all cores.
impl Default for Compute {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { backend: Backend::Ndarray, threads }
    }
}

impl Compute {
    /// What a run remembers of it, without data.
    pub fn run_info(&self) -> RunInfo {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        RunInfo { version, backend: self.backend, threads: self.threads.get(), data: None }
    }
}

/// A backend in one precision: where arrays live, and the potentials it brings.
pub trait Engine {
    /// Its arrays.
    type Space: Space;

    /// Where its arrays live.
    fn space(&self) -> &Self::Space;

    /// The paper's potential of `dim` numbers for flows of this duration, with its first parameters drawn from `seed`,
    /// summed over a group where there is one.
    ///
    /// # Errors
    /// When a size is out of range.
    fn ridge(
        &self,
        dim: usize,
        ridge: &RidgePotential,
        duration: f64,
        seed: u64,
        orbit: Option<Group>,
    ) -> Result<Box<dyn Potential<Self::Space>>, Error>;

    /// A term of a sum. It takes the context where its kind has a place for one.
    ///
    /// # Errors
    /// When a size is out of range.
    fn term(&self, term: &Term, of: &TermRequest) -> Result<Box<dyn Potential<Self::Space>>, Error>;
}

/// What a term of a sum has to know beside its own keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TermRequest {
    /// Numbers per row.
    pub dim: usize,
    /// Numbers of context per row.
    pub context: usize,
    /// Rows and columns of the lattice that a row is, where it is one.
    pub lattice: Option<(usize, usize)>,
    /// Duration of the flow.
    pub duration: f64,
    /// Seed of the first parameters.
    pub seed: u64,
}

impl TermRequest {
    fn shape(&self) -> (usize, usize) {
        self.lattice.expect("a validated recipe has lattice terms for lattices alone")
    }
}

/// Pure Rust on the CPU.
impl<T: Real> Engine for Cpu<T> {
    type Space = Self;

    fn space(&self) -> &Self {
        self
    }

    fn ridge(
        &self,
        dim: usize,
        ridge: &RidgePotential,
        duration: f64,
        seed: u64,
        orbit: Option<Group>,
    ) -> Result<Box<dyn Potential<Self>>, Error> {
        let free = Ridge::new(self.clone(), dim, ridge.hidden, ridge.activation, ridge.bias, seed)?
            .with_time(TimeBasis::new(TimeFamily::Cosine, ridge.time_terms, duration)?);
        Ok(match orbit {
            Some(group) => Box::new(free.over_orbit(group)?),
            None => Box::new(free),
        })
    }

    fn term(&self, term: &Term, of: &TermRequest) -> Result<Box<dyn Potential<Self>>, Error> {
        let TermRequest { dim, context, seed, .. } = *of;
        let basis = term.time.basis(of.duration)?;
        Ok(match &term.kind {
            TermKind::LatticeQuadratic => Box::new(LatticeQuadratic::new(self, of.shape(), basis)?),
            TermKind::LatticeRidge(term) => {
                Box::new(LatticeRidge::new(self, lattice_ridge(term, of.shape(), basis, seed)?)?)
            }
            TermKind::Quadratic(term) => Box::new(Quadratic::new(self.clone(), dim, basis, term.linear)?),
            TermKind::FullQuadratic => Box::new(FullQuadratic::new(self.clone(), dim, basis)?),
            TermKind::ContextQuadratic => Box::new(ContextQuadratic::new(self.clone(), dim, context, basis)?),
            TermKind::Separable(term) => {
                Box::new(Separable::new(self.clone(), dim, centres(term), term.activation, basis)?)
            }
            TermKind::Ridge(term) => {
                let ridge = Ridge::new(self.clone(), dim, term.hidden, term.activation, term.bias, seed)?;
                let ridge = ridge.with_time(basis).with_context(context, seed)?;
                let ridge = if term.gains { ridge.with_gains() } else { ridge };
                sharpened(self, Box::new(ridge), term.sharpness, term.reach)
            }
            TermKind::TwoLayer(term) => {
                Box::new(TwoLayer::new(self.clone(), dim, two_layer(term, context), basis, seed)?)
            }
            TermKind::Convolutional(_) => return Err(Error::NeedsLibtorch(term.kind.name())),
        })
    }
}

/// Checks that a backend has the terms of a potential.
///
/// # Errors
/// [`Error::NeedsLibtorch`].
pub fn require_terms(backend: Backend, potential: &recipe::Potential) -> Result<(), Error> {
    let recipe::Potential::Sum(sum) = potential else { return Ok(()) };
    match sum.terms.iter().find(|term| matches!(term.kind, TermKind::Convolutional(_))) {
        Some(term) if backend.libtorch_device().is_none() => Err(Error::NeedsLibtorch(term.kind.name())),
        _ => Ok(()),
    }
}

/// The symmetries of a periodic lattice that fix the origin.
fn point_group((rows, cols): (usize, usize)) -> Result<Group, Error> {
    let lattice = Lattice::new(rows, cols, datasets::lattice::Boundary::Periodic)?;
    let elements = LatticeSymmetry::new(lattice).point_group();
    let signs = vec![1.0; elements.len()];
    Ok(Group::new(elements, signs)?)
}

/// Kernels of a periodic lattice in the words of flow-core.
fn lattice_ridge(
    term: &LatticeRidgeTerm,
    shape: (usize, usize),
    time: TimeBasis,
    seed: u64,
) -> Result<LatticeRidgeSettings, Error> {
    Ok(LatticeRidgeSettings {
        shape,
        kernels: term.kernels,
        activation: term.activation,
        bias: term.bias,
        time,
        tied: term.d4.then(|| point_group(shape)).transpose()?,
        fall_off: term.fall_off,
        seed,
    })
}

/// Two hidden layers in the words of flow-core.
fn two_layer(term: &TwoLayerTerm, context: usize) -> TwoLayerSettings {
    let TwoLayerTerm { hidden, activation, bias, probes } = *term;
    TwoLayerSettings { hidden, activation, bias, probes, context }
}

/// The centres of a separable term in the words of flow-core.
fn centres(term: &SeparableTerm) -> Centres {
    let [from, to] = term.interval;
    Centres { count: term.centres, from, to, sharpness: term.sharpness }
}

/// Multiplies weights and biases by the sharpness, biases by the reach too, and divides amplitudes by the square of the
/// sharpness.
pub fn sharpened<S: Space>(
    space: &S,
    mut ridge: Box<dyn Potential<S>>,
    sharpness: f64,
    reach: f64,
) -> Box<dyn Potential<S>> {
    for parameter in ridge.parameters_mut() {
        let factor = match parameter.name.as_str() {
            "amplitude" => sharpness.powi(-2),
            "gain" => 1.0,
            "bias" => sharpness * reach,
            _ => sharpness,
        };
        if factor != 1.0 {
            space.accumulate(&mut parameter.value, factor, &[]);
        }
    }
    ridge
}

/// libtorch, on the CPU or on a GPU.
#[cfg(maflow_tch)]
impl Engine for backend_tch::Tch {
    type Space = Self;

    fn space(&self) -> &Self {
        self
    }

    fn ridge(
        &self,
        dim: usize,
        ridge: &RidgePotential,
        duration: f64,
        seed: u64,
        orbit: Option<Group>,
    ) -> Result<Box<dyn Potential<Self>>, Error> {
        let free = backend_tch::Ridge::new(*self, dim, ridge.hidden, ridge.activation, ridge.bias, seed)?
            .with_time(TimeBasis::new(TimeFamily::Cosine, ridge.time_terms, duration)?);
        Ok(match orbit {
            Some(group) => Box::new(free.over_orbit(group)?),
            None => Box::new(free),
        })
    }

    fn term(&self, term: &Term, of: &TermRequest) -> Result<Box<dyn Potential<Self>>, Error> {
        use backend_tch::Term as Of;
        use flow_core::RidgeSettings;

        use crate::recipe::RidgeTerm;
        let TermRequest { dim, context, seed, .. } = *of;
        let basis = term.time.basis(of.duration)?;
        Ok(Box::new(match &term.kind {
            TermKind::LatticeQuadratic => Of::lattice_quadratic(*self, of.shape(), basis)?,
            TermKind::LatticeRidge(term) => Of::lattice_ridge(*self, &lattice_ridge(term, of.shape(), basis, seed)?)?,
            TermKind::Quadratic(term) => Of::quadratic(*self, dim, basis, term.linear)?,
            TermKind::FullQuadratic => Of::full_quadratic(*self, dim, basis)?,
            TermKind::ContextQuadratic => return Ok(Box::new(ContextQuadratic::new(*self, dim, context, basis)?)),
            TermKind::Separable(term) => Of::separable(*self, dim, centres(term), term.activation, basis)?,
            TermKind::Ridge(term) => {
                let RidgeTerm { hidden, activation, bias, gains, .. } = *term;
                // The paper's own is written out, and quicker.
                let ridge: Box<dyn Potential<Self>> = if gains || context > 0 {
                    let settings = RidgeSettings { hidden, activation, bias, gains, context };
                    Box::new(Of::ridge(*self, dim, settings, basis, seed)?)
                } else {
                    Box::new(backend_tch::Ridge::new(*self, dim, hidden, activation, bias, seed)?.with_time(basis))
                };
                return Ok(sharpened(self, ridge, term.sharpness, term.reach));
            }
            TermKind::TwoLayer(term) => Of::two_layer(*self, dim, two_layer(term, context), basis, seed)?,
            TermKind::Convolutional(term) => {
                let network = backend_tch::Network {
                    side: crate::target::SIDE,
                    channels: term.channels,
                    hidden: term.hidden,
                    probes: term.probes,
                };
                Of::convolutional(*self, network, basis, seed)?
            }
        }))
    }
}

/// Something to be done on whichever backend was chosen.
pub trait Work {
    /// What comes of it.
    type Output;

    /// Does it.
    ///
    /// # Errors
    /// Whatever ends it before it is done.
    fn run<E: Engine>(self, engine: &E) -> Result<Self::Output, Error>;
}

/// The backends of this build.
pub const COMPILED: &[Backend] = match backend_tch::BUILT {
    true => &[Backend::Ndarray, Backend::TchCpu, Backend::TchCuda],
    false => &[Backend::Ndarray],
};

/// Checks that a backend is part of this build.
///
/// # Errors
/// A sentence with the remedy.
pub fn require(backend: Backend) -> Result<(), Error> {
    match backend.libtorch_device() {
        Some(device) if !backend_tch::BUILT => Err(Error::Failed(format!(
            "there is no backend {device}: {}",
            backend_tch::Error::NotSetUp { cuda: device == backend_tch::Device::Cuda }
        ))),
        _ => Ok(()),
    }
}

/// Does `work` on the backend and in the precision chosen; libtorch is loaded here, where it is asked for.
///
/// # Errors
/// Those of the work; a backend that is not part of this build, or cannot be used on this machine.
pub fn run<W: Work>(compute: &Compute, precision: Arithmetic, work: W) -> Result<W::Output, Error> {
    require(compute.backend)?;
    let threads = compute.threads.get();
    match (compute.backend.libtorch_device(), precision) {
        (Some(device), _) => on_libtorch(device, precision, threads, work),
        (None, Arithmetic::F64) => work.run(&Cpu::<f64>::new(threads)),
        (None, Arithmetic::F32 | Arithmetic::Tf32) => work.run(&Cpu::<f32>::new(threads)),
    }
}

#[cfg(maflow_tch)]
fn on_libtorch<W: Work>(
    device: backend_tch::Device,
    precision: Arithmetic,
    threads: usize,
    work: W,
) -> Result<W::Output, Error> {
    let options = backend_tch::Options { threads, allow_tf32: precision == Arithmetic::Tf32 };
    work.run(&backend_tch::Tch::new(device, precision.precision(), options)?)
}

#[cfg(not(maflow_tch))]
fn on_libtorch<W: Work>(
    device: backend_tch::Device,
    _precision: Arithmetic,
    _threads: usize,
    _work: W,
) -> Result<W::Output, Error> {
    Err(backend_tch::load(device).expect_err("this build has no libtorch").into())
}
