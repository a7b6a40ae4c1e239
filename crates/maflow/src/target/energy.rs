//! An energy of a user's own, handed in or from a C library, with a scale for the base density and samples to learn
//! from.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use datasets::particles::{ClusterSamples, Composition};
use datasets::table::{ReadOptions, Table as Rows};
use datasets::yardstick::covariance;
use datasets::{Bijection, Standardisation};
use flow_core::{Energy, Purpose, RngKey, Team};
use sha2::{Digest, Sha256};

use super::epochs::Epochs;
use super::partners::{self, Partners};
use super::{Layout, Observables, Samples, Target};
use crate::c_energy::{CFunction, CLibrary, CObservables};
use crate::energy_check;
use crate::error::Error;
use crate::files::hex;
use crate::monitor::Monitor;
use crate::recipe::{EnergyTarget, MOST_PAIRED, OwnTarget, Pairing, Recipe, Standardise, TargetKind};

/// The target of `target.kind = "energy"`: the function `maflow_energy` of a shared library, which
/// `include/maflow_energy.h` of this crate declares.
///
/// Its code is loaded here and nowhere else, from the file that the caller names: a run or a recipe of somebody else's
/// names a library too, and that is no reason to run it. A caller who trusts a library hands the target in:
///
/// ```no_run
/// use std::path::Path;
/// use std::sync::Arc;
/// use maflow::recipe::TargetKind;
/// use maflow::recipes;
/// use maflow::run::Run;
/// use maflow::target::LibraryEnergy;
///
/// let mut recipe = recipes::load("energy.toml", &[])?;
/// let TargetKind::Energy(energy) = &recipe.target else { panic!("another target") };
/// let target = LibraryEnergy::for_training(energy, Path::new("energy.so"), None, recipe.train.seed)?;
/// // So that the run knows which library it was.
/// recipe.target = TargetKind::Energy(target.named(energy)?);
/// let run = Run::create("runs/energy".into(), recipe).with_target(Arc::new(target));
/// run.train(&())?;
/// println!("{}", run.report(&())?.json());
/// # Ok::<(), maflow::Error>(())
/// ```
pub struct LibraryEnergy {
    energy: Arc<InUnits<CFunction>>,
    observables: Option<CObservables>,
    /// The file, by its absolute path, and its SHA-256.
    library: PathBuf,
    sha256: String,
    /// Whether the map was found from samples, so that a run keeps it.
    found: bool,
    layout: Layout,
    samples: Option<Box<dyn Samples>>,
}

impl LibraryEnergy {
    /// Loads the library for a training, with the samples where the recipe names any, and checks it: finite energies
    /// where the training begins, and gradients that agree with differences; of particles, that it is the same wherever
    /// they are and whichever of one kind is which. A map found from the samples is that which a run has `kept` or, for
    /// a new one, found now. Epochs are shuffled by `seed`.
    ///
    /// # Errors
    /// [`Error::Library`], [`Error::OtherLibrary`], [`Error::EnergyNotFinite`], [`Error::WrongGradient`]; samples that
    /// cannot be read; those of the function.
    pub fn for_training(
        target: &EnergyTarget,
        library: &Path,
        kept: Option<Standardisation>,
        seed: u64,
    ) -> Result<Self, Error> {
        let (n, key) = (target.dimension, RngKey::new(seed, Purpose::Train, 0));
        let library = CLibrary::load(library, target)?;
        let of = composition(target)?;
        let samples = target.samples.as_deref().map(|file| read(file, n, of.as_ref())).transpose()?;
        let map = match (kept, &samples) {
            (None, Some(samples)) if target.standardise != Standardise::None => found(target.standardise, samples)?,
            (kept, _) => map_of(target, &kept.unwrap_or_else(|| Standardisation::identity(n)))?,
        };
        let points = first_points(&map, samples.as_ref(), key);
        energy_check::check(&library.function, &points, key)?;
        if let Some(of) = &of {
            energy_check::require_symmetry(&library.function, &points, of)?;
        }
        let samples = samples.map(|samples| -> Result<Box<dyn Samples>, Error> {
            Ok(match of {
                Some(of) => Box::new(Positions::new(of, samples, &map, target.pairs, seed)?),
                None => Box::new(SampleRows::new(samples, &map, seed)),
            })
        });
        Ok(Self { samples: samples.transpose()?, ..Self::new(target, library, map) })
    }

    /// Loads the library for the figures of a run, with the map that it has kept.
    ///
    /// # Errors
    /// [`Error::Library`], [`Error::OtherLibrary`].
    pub fn of_run(target: &EnergyTarget, library: &Path, kept: &Standardisation) -> Result<Self, Error> {
        let library = CLibrary::load(library, target)?;
        Ok(Self::new(target, library, map_of(target, kept)?))
    }

    fn new(target: &EnergyTarget, library: CLibrary, map: Standardisation) -> Self {
        let CLibrary { function, observables, path: library, sha256 } = library;
        let found = target.standardise != Standardise::None;
        let layout = target.row_layout();
        let mut energy = InUnits::of(function, map);
        if let Layout::Particles(_, space) = layout {
            energy.centre = Some(space);
        }
        Self { energy: Arc::new(energy), observables, library, sha256, found, layout, samples: None }
    }

    /// The keys of the recipe with this library in them: its absolute path and its SHA-256.
    ///
    /// # Errors
    /// Where the current folder is not known.
    pub fn named(&self, target: &EnergyTarget) -> Result<EnergyTarget, Error> {
        let absolute = |file: &Path| std::path::absolute(file).map_err(Error::io("find", file));
        Ok(EnergyTarget {
            library: self.library.clone(),
            sha256: Some(self.sha256.clone()),
            samples: target.samples.as_deref().map(absolute).transpose()?,
            ..target.clone()
        })
    }

    /// The error for a library that a recipe names and that the caller has not loaded.
    pub(super) fn not_loaded(target: &EnergyTarget) -> Error {
        Error::NotLoaded { library: target.library.clone(), sha256: target.sha256.clone() }
    }
}

/// From the user's coordinates to the flow's: the map that a run has kept where one is found from samples, else the
/// scale.
///
/// # Errors
/// Scales that are not positive, or not as many as coordinates.
pub fn map_of(target: &EnergyTarget, kept: &Standardisation) -> Result<Standardisation, Error> {
    let n = target.dimension;
    match &target.scale {
        _ if target.standardise != Standardise::None => Ok(kept.clone()),
        None => Ok(Standardisation::identity(n)),
        Some(scale) => Standardisation::from_parts(vec![0.0; n], scale.of_coordinates(n), None)
            .map_err(|error| Error::Argument(format!("target.scale: {error}"))),
    }
}

impl fmt::Debug for LibraryEnergy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LibraryEnergy")
            .field("dimension", &self.dimension())
            .field("library", &self.library)
            .finish_non_exhaustive()
    }
}

impl Target for LibraryEnergy {
    fn dimension(&self) -> usize {
        self.energy.dim()
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn bijection(&self) -> Option<Arc<dyn Bijection>> {
        self.energy.bijection()
    }

    fn samples(&self) -> Option<&dyn Samples> {
        self.samples.as_deref()
    }

    fn energy(&self) -> Option<Arc<dyn Energy>> {
        Some(self.energy.clone())
    }

    fn standardisation(&self) -> Option<&Standardisation> {
        self.found.then_some(&self.energy.map)
    }

    fn named_observables(&self) -> Option<&dyn Observables> {
        self.observables.as_ref().map(|observables| observables as &dyn Observables)
    }

    fn trouble(&self) -> Option<String> {
        let library = self.library.display();
        self.energy.not_finite.get().map(|x| format!("the energy of {library} was not finite, first at x = {x}"))
    }
}

/// The target of an energy that a caller hands in, a function of the caller's coordinates, with a scale for the base
/// density or samples to learn from. Its recipe is of `target.kind = "own"`, from
/// [`fit::recipe_for`](crate::fit::recipe_for), and a run keeps the map to the flow's coordinates: densities and
/// samples of the run then need no energy.
///
/// ```
/// use std::sync::Arc;
/// use flow_core::PointEnergy;
/// use maflow::fit;
/// use maflow::run::Run;
/// use maflow::target::OwnEnergy;
///
/// let spring = PointEnergy::new(1, |x, gradient| {
///     gradient[0] = x[0] / 100.0;
///     Ok(0.5 * x[0] * x[0] / 100.0)
/// });
/// let target = Arc::new(OwnEnergy::with_scale(Arc::new(spring), vec![8.0], 0)?);
/// let mut recipe = fit::recipe_for(&*target)?;
/// (recipe.train.steps, recipe.train.schedule) = (Some(20), flow_core::Schedule::Constant);
/// let folder = tempfile::tempdir()?;
/// Run::create(folder.path().join("run"), recipe).with_target(target).train(&())?;
///
/// let run = Run::open(&folder.path().join("run"), &[])?;
/// assert!(run.sample(100)?.iter().any(|x| x.abs() > 5.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OwnEnergy {
    energy: Arc<InUnits<Arc<dyn Energy>>>,
    observables: Option<Arc<dyn Observables>>,
    kind: Standardise,
    samples: Option<SampleRows>,
}

impl OwnEnergy {
    /// With a base density of this size in each coordinate: its samples are `x = scale · z`, z standard normal. The
    /// energy is checked: finite where the training begins, with a gradient that agrees with differences.
    ///
    /// # Errors
    /// [`Error::EnergyNotFinite`], [`Error::WrongGradient`]; scales that are not positive, or not one for each
    /// coordinate; those of the energy.
    pub fn with_scale(energy: Arc<dyn Energy>, scale: Vec<f64>, seed: u64) -> Result<Self, Error> {
        let map = Standardisation::from_parts(vec![0.0; energy.dim()], scale, None)
            .map_err(|error| Error::Argument(format!("scale: {error}")))?;
        Self::checked(energy, map, Standardise::PerCoordinate, None, seed)
    }

    /// With samples of the target, one column for each coordinate, which are learned from first and standardised by
    /// their covariance (of more than 256 coordinates by their deviations). Checked as above, at samples.
    ///
    /// # Errors
    /// As [`OwnEnergy::with_scale`]; samples of another dimension, or such as do not vary.
    pub fn with_samples(energy: Arc<dyn Energy>, samples: Rows, seed: u64) -> Result<Self, Error> {
        let (expected, columns) = (energy.dim(), samples.columns().len());
        samples.require_numbers()?;
        if columns != expected {
            return Err(Error::Argument(format!(
                "the samples have {columns} columns, but a point of the energy has {expected} numbers; give one column \
                 for each coordinate"
            )));
        }
        let kind = if expected > MOST_PAIRED { Standardise::PerCoordinate } else { Standardise::Gaussian };
        let map = found(kind, &samples)?;
        Self::checked(energy, map, kind, Some(samples), seed)
    }

    /// For the figures of a run, with the map that it has kept.
    ///
    /// # Errors
    /// A run whose target is no energy of this dimension that was handed in.
    pub fn of_run(energy: Arc<dyn Energy>, recipe: &Recipe, kept: &Standardisation) -> Result<Self, Error> {
        let refused = |why: String| Err(Error::Argument(why));
        let kind = match &recipe.target {
            TargetKind::Own(OwnTarget { energy: true, standardise: Some(kind), .. }) => *kind,
            other => {
                return refused(format!(
                    "the target of the run is {}, and takes no energy; leave it out",
                    other.words()
                ));
            }
        };
        let (found, expected) = (energy.dim(), recipe.dimension());
        if found != expected {
            return refused(format!(
                "a point of the energy has {found} numbers, but one of the run has {expected}; give the energy that it \
                 was trained with"
            ));
        }
        Ok(Self { energy: InUnits::new(energy, kept.clone()), observables: None, kind, samples: None })
    }

    /// The same, with what a study of it is to average.
    #[must_use]
    pub fn with_observables(self, observables: Arc<dyn Observables>) -> Self {
        Self { observables: Some(observables), ..self }
    }

    fn checked(
        user: Arc<dyn Energy>,
        map: Standardisation,
        kind: Standardise,
        samples: Option<Rows>,
        seed: u64,
    ) -> Result<Self, Error> {
        let key = RngKey::new(seed, Purpose::Train, 0);
        energy_check::check(&*user, &first_points(&map, samples.as_ref(), key), key)?;
        let samples = samples.map(|samples| SampleRows::new(samples, &map, seed));
        Ok(Self { energy: InUnits::new(user, map), observables: None, kind, samples })
    }
}

impl fmt::Debug for OwnEnergy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnEnergy").field("dimension", &self.dimension()).finish_non_exhaustive()
    }
}

impl Target for OwnEnergy {
    fn dimension(&self) -> usize {
        self.energy.dim()
    }

    fn bijection(&self) -> Option<Arc<dyn Bijection>> {
        self.energy.bijection()
    }

    fn samples(&self) -> Option<&dyn Samples> {
        self.samples.as_ref().map(|samples| samples as &dyn Samples)
    }

    fn energy(&self) -> Option<Arc<dyn Energy>> {
        Some(self.energy.clone())
    }

    fn named_observables(&self) -> Option<&dyn Observables> {
        self.observables.as_deref()
    }

    fn standardisation(&self) -> Option<&Standardisation> {
        Some(&self.energy.map)
    }

    fn standardise(&self) -> Option<Standardise> {
        Some(self.kind)
    }

    fn trouble(&self) -> Option<String> {
        self.energy.not_finite.get().map(|x| format!("the energy was not finite, first at x = {x}"))
    }
}

/// Points where a training begins: samples of the target where there are any, else of the base.
fn first_points(map: &Standardisation, samples: Option<&Rows>, key: RngKey) -> Vec<f64> {
    let n = map.dimension();
    match samples {
        Some(samples) => samples.values()[..samples.rows().min(energy_check::POINTS) * n].to_vec(),
        None => {
            let mut base = key.normals(0..energy_check::POINTS, n);
            map.invert(&mut base);
            base
        }
    }
}

/// An energy of a user's coordinates as one of the flow's, with the log-Jacobian in it.
#[derive(Debug)]
struct InUnits<E> {
    user: E,
    map: Standardisation,
    /// Dimensions of the space of particles whose energy knows nothing of their centre: the base density's own is
    /// added.
    centre: Option<usize>,
    /// The first point where it was not finite, in words.
    not_finite: OnceLock<String>,
}

impl<E> InUnits<E> {
    fn new(user: E, map: Standardisation) -> Arc<Self> {
        Arc::new(Self::of(user, map))
    }

    fn of(user: E, map: Standardisation) -> Self {
        Self { user, map, centre: None, not_finite: OnceLock::new() }
    }

    fn bijection(&self) -> Option<Arc<dyn Bijection>> {
        let map = &self.map;
        (*map != Standardisation::identity(map.dimension())).then(|| Arc::new(map.clone()) as Arc<dyn Bijection>)
    }

    fn remember(&self, points: &[f64], energies: &[f64], gradients: &[f64]) {
        let n = self.map.dimension();
        let rows = points.chunks_exact(n).zip(gradients.chunks_exact(n)).zip(energies);
        let finite = |gradient: &[f64]| gradient.iter().all(|g| g.is_finite());
        for ((x, _), _) in rows.filter(|((_, gradient), energy)| !(energy.is_finite() && finite(gradient))).take(1) {
            self.not_finite.get_or_init(|| energy_check::shown(x));
        }
    }
}

impl<E: Energy> Energy for InUnits<E> {
    fn dim(&self) -> usize {
        self.user.dim()
    }

    fn energies_and_gradients(
        &self,
        x: &[f64],
        context: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), flow_core::Error> {
        let mut points = x.to_vec();
        self.map.invert(&mut points);
        self.user.energies_and_gradients(&points, context, energies, gradients)?;
        self.remember(&points, energies, gradients);
        self.map.pull_back(gradients);
        // exp(−E) of y is that of x times |∂x/∂y|.
        let log_jacobian = self.map.log_jacobian();
        energies.iter_mut().for_each(|energy| *energy += log_jacobian);
        if let Some(space) = self.centre {
            add_centre(x, space, self.dim(), energies, gradients);
            // Its Z is 1 in the flow's coordinates, and what remains is that of the hyperplane.
            let of_centre = log_jacobian * space as f64 / self.dim() as f64;
            energies.iter_mut().for_each(|energy| *energy -= of_centre);
        }
        Ok(())
    }

    fn concurrent(&self) -> bool {
        self.user.concurrent()
    }
}

/// Samples of the target, in the flow's coordinates.
#[derive(Debug)]
struct SampleRows {
    n: usize,
    rows: Vec<f64>,
    epochs: Epochs,
    digest: String,
}

impl SampleRows {
    fn new(samples: Rows, map: &Standardisation, seed: u64) -> Self {
        let (n, mut rows) = (map.dimension(), samples.values().to_vec());
        let mut hash = Sha256::new();
        rows.iter().for_each(|value| hash.update(value.to_le_bytes()));
        map.apply(&mut rows);
        Self { n, rows, epochs: Epochs::new(samples.rows(), seed), digest: hex(&hash.finalize()) }
    }
}

impl Samples for SampleRows {
    fn training_rows(&self) -> Option<usize> {
        Some(self.rows.len() / self.n)
    }

    fn training(&self, _key: RngKey, seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        let places = seen + rows.start as u64..seen + rows.end as u64;
        for (row, out) in self.epochs.rows(places).into_iter().zip(out.chunks_exact_mut(self.n)) {
            out.copy_from_slice(&self.rows[row as usize * self.n..][..self.n]);
        }
        Ok(())
    }

    fn digest(&self) -> Option<String> {
        Some(self.digest.clone())
    }
}

/// Adds `½ n |z̄|² + ½ d ln 2π` to energies of particles, and its gradient: the centre of a standard normal cluster.
fn add_centre(z: &[f64], d: usize, dim: usize, energies: &mut [f64], gradients: &mut [f64]) {
    let n = (dim / d) as f64;
    for ((z, energy), gradient) in z.chunks_exact(dim).zip(energies).zip(gradients.chunks_exact_mut(dim)) {
        *energy += 0.5 * d as f64 * std::f64::consts::TAU.ln();
        for a in 0..d {
            let centre = z.iter().skip(a).step_by(d).sum::<f64>() / n;
            *energy += 0.5 * n * centre * centre;
            gradient.iter_mut().skip(a).step_by(d).for_each(|g| *g += centre);
        }
    }
}

/// The particles that the numbers of a point are of, where they are of particles.
fn composition(target: &EnergyTarget) -> Result<Option<Composition>, Error> {
    match target.row_layout() {
        Layout::Particles(particles, space) => Ok(Some(Composition::new(particles, space)?.with_kinds(&target.kinds)?)),
        _ => Ok(None),
    }
}

/// Positions of particles in the flow's coordinates, each with the point of the base density that it is paired with.
#[derive(Debug)]
struct Positions {
    samples: ClusterSamples,
    partners: Partners,
    digest: String,
}

impl Positions {
    fn new(of: Composition, samples: Rows, map: &Standardisation, pairing: Pairing, seed: u64) -> Result<Self, Error> {
        let SampleRows { rows, digest, .. } = SampleRows::new(samples, map, seed);
        let samples = ClusterSamples::given(&of, rows)?;
        Ok(Self { samples, partners: Partners::new(of, pairing, seed), digest })
    }
}

impl Samples for Positions {
    fn prepare(&self, team: &dyn Team, monitor: &dyn Monitor) -> Result<(), Error> {
        self.partners.prepare(team, monitor, || Ok(self.samples.clone()))
    }

    fn training(&self, key: RngKey, _seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error> {
        self.partners.write(key, rows, out, || Ok(self.samples.clone()))
    }

    fn paired(&self) -> bool {
        true
    }

    fn digest(&self) -> Option<String> {
        Some(self.digest.clone())
    }
}

/// Samples of n numbers from a table, or of particles from any file of positions.
fn read(file: &Path, n: usize, of: Option<&Composition>) -> Result<Rows, Error> {
    if let Some(of) = of {
        let names: Vec<String> = (0..n).map(|i| format!("x{i}")).collect();
        return Ok(Rows::new(&names, partners::read(file, of)?)?);
    }
    let rows = Rows::read(file, &ReadOptions::default())?;
    rows.require_numbers()?;
    match rows.columns().len() {
        found if found == n => Ok(rows),
        found => Err(Error::Argument(format!(
            "target.samples: {} has {found} columns, but target.dimension is {n}; give one column for each coordinate",
            file.display()
        ))),
    }
}

/// The map that samples determine.
fn found(kind: Standardise, samples: &Rows) -> Result<Standardisation, Error> {
    let n = samples.columns().len();
    let moment = |i: usize| {
        let (mean, variance) = covariance(&samples.column(i).collect::<Vec<_>>(), 1, None);
        (mean[0], variance[0])
    };
    let each = || (0..n).map(moment).unzip::<_, _, Vec<_>, Vec<_>>();
    let map = match kind {
        Standardise::None => Ok(Standardisation::identity(n)),
        Standardise::Scale => {
            let (mean, variance) = each();
            Standardisation::scale(&mean, &variance)
        }
        Standardise::PerCoordinate => {
            let (mean, variance) = each();
            Standardisation::per_coordinate(mean, variance)
        }
        Standardise::Gaussian => {
            let (mean, covariance) = covariance(samples.values(), n, None);
            Standardisation::gaussian(mean, &covariance)
        }
    };
    map.map_err(|error| {
        let file = samples.file();
        Error::Failed(format!("target.standardise = \"{}\": {error}; these are the samples of {file}", kind.name()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_standard_and_the_keys_choose_the_map() {
        let values: Vec<f64> = (0..200).map(|i| (f64::from(i) * 0.7).sin() * 3.0 + f64::from(i % 2)).collect();
        let samples = Rows::new(&["a", "b"], values).unwrap();
        for kind in [Standardise::PerCoordinate, Standardise::Gaussian] {
            let map = found(kind, &samples).unwrap();
            let rows = SampleRows::new(samples.clone(), &map, 0);
            let (mean, covariance) = covariance(&rows.rows, 2, None);
            assert!(mean.iter().all(|m| m.abs() < 1e-12), "{mean:?}");
            assert!((covariance[0] - 1.0).abs() < 1e-12 && (covariance[3] - 1.0).abs() < 1e-12, "{covariance:?}");
            assert_eq!(covariance[1].abs() < 1e-12, kind == Standardise::Gaussian, "{covariance:?}");
        }
        let constant = Rows::new(&["a", "b"], vec![1.0, 2.0, 3.0, 2.0]).unwrap();
        let error = found(Standardise::PerCoordinate, &constant).unwrap_err().to_string();
        assert!(error.contains("direction 1"), "{error}");
    }
}
