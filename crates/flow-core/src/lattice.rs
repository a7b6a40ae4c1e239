//! What the lattice kernels of all backends share: settings, first values of parameters, and how kernels fall off with
//! distance.

use crate::activation::Activation;
use crate::error::Error;
use crate::parameter::Parameter;
use crate::rng::{Purpose, RngKey};
use crate::space::Space;
use crate::symmetry::Group;
use crate::time::TimeBasis;

/// What a potential of kernels that are moved over a periodic lattice is made of, `φ(x, t) = Σ_c v_c(t) Σ_s f(g_c(t)
/// (w_c ⋆ x)_s + b_c(t))`.
#[derive(Debug, Clone)]
pub struct LatticeRidgeSettings {
    /// Sites in either direction; the lattice is periodic, and site (i, j) is coordinate `i · cols + j`.
    pub shape: (usize, usize),
    /// Number of kernels.
    pub kernels: usize,
    /// The function f.
    pub activation: Activation,
    /// Whether there are offsets b; without them and with ln cosh, φ is even.
    pub bias: bool,
    /// Functions of time that amplitudes, gains and offsets are expanded in.
    pub time: TimeBasis,
    /// Permutations of the sites that fix the origin; kernels are averaged over them, and φ is then symmetric under
    /// them.
    pub tied: Option<Group>,
    /// Power of the distance that kernels fall off with, as [`LatticeRidgeSettings::envelope`] has it; 0: not at all.
    pub fall_off: f64,
    /// Seed of the first kernels and amplitudes.
    pub seed: u64,
}

impl LatticeRidgeSettings {
    /// Number of sites N.
    pub fn sites(&self) -> usize {
        self.shape.0 * self.shape.1
    }

    /// `e_i = c (1 + r_i)^−p` for every site i: r is its distance from the origin, p the fall-off, and c makes the mean
    /// of e² one, so that the correlation of a first kernel with noise is as large as without.
    ///
    /// Kernels are learned as `w = e ⊙ weight`, and so what is near before what is far. An optimiser that moves every
    /// weight by steps of the same size would let the noise of all far sites into the kernels, the more the larger the
    /// lattice. At p = 1 every doubling of the distance has the same share.
    ///
    /// ```
    /// use flow_core::{Activation, LatticeRidgeSettings, TimeBasis};
    /// let (activation, time) = (Activation::LnCosh, TimeBasis::constant());
    /// let settings = LatticeRidgeSettings {
    ///     shape: (4, 6), kernels: 1, activation, bias: false, time, tied: None, fall_off: 1.0, seed: 0,
    /// };
    /// let e = settings.envelope();
    /// assert!((e[0] / e[6] - 2.0).abs() < 1e-12); // one site away
    /// assert!((e[1] - e[5]).abs() < 1e-12); // to either side
    /// assert!((e.iter().map(|e| e * e).sum::<f64>() - 24.0).abs() < 1e-12);
    /// ```
    pub fn envelope(&self) -> Vec<f64> {
        let (rows, cols) = self.shape;
        let around = |i: usize, length: usize| i.min(length - i) as f64;
        let distance = |site: usize| around(site / cols, rows).hypot(around(site % cols, cols));
        let e: Vec<f64> = (0..rows * cols).map(|site| (1.0 + distance(site)).powf(-self.fall_off)).collect();
        let mean_square = e.iter().map(|e| e * e).sum::<f64>() / e.len() as f64;
        e.into_iter().map(|e| e / mean_square.sqrt()).collect()
    }
}

/// The parameters of such a potential; the same seed gives the same numbers on every backend, to working precision.
#[derive(Debug)]
pub struct LatticeRidgeParameters<S: Space> {
    /// `weight`, kernels × N: of the kernels before envelope and average.
    pub weight: Parameter<S>,
    /// `amplitude`, M × kernels.
    pub amplitude: Parameter<S>,
    /// `gain`, M × kernels.
    pub gain: Parameter<S>,
    /// `bias`, M × kernels, where there is one.
    pub bias: Option<Parameter<S>>,
}

impl<S: Space> LatticeRidgeParameters<S> {
    /// First values: weights uniform in `±1/√N`, constant amplitudes uniform in `±1/√(kernels · N)`, gains 1, offsets
    /// 0.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero; [`Error::Shape`] when the group acts on another number of sites.
    pub fn new(space: &S, settings: &LatticeRidgeSettings) -> Result<Self, Error> {
        let (sites, kernels, terms) = (settings.sites(), settings.kernels, settings.time.terms());
        Error::at_least_1([("sites", sites), ("kernels", kernels)])?;
        settings.tied.as_ref().map_or(Ok(()), |group| group.check_dim(sites))?;
        // Unlike `Parameter::in_time`, a matrix for a single function of time too.
        let in_time = |name: &str, mut first: Vec<f64>| {
            first.resize(terms * kernels, 0.0);
            Parameter { name: name.into(), shape: vec![terms, kernels], value: space.upload(terms, kernels, &first) }
        };
        let bound = 1.0 / (sites as f64).sqrt() / (kernels as f64).sqrt();
        let mut amplitudes = RngKey::new(settings.seed, Purpose::Initialise, 0).uniform(2, kernels);
        amplitudes.iter_mut().for_each(|u| *u *= bound);
        Ok(Self {
            weight: Parameter::uniform(space, "weight", &[kernels, sites], sites, settings.seed, 0),
            amplitude: in_time("amplitude", amplitudes),
            gain: in_time("gain", vec![1.0; kernels]),
            bias: settings.bias.then(|| in_time("bias", Vec::new())),
        })
    }
}
