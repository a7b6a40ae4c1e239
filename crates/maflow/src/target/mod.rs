//! Densities to be fitted: the open trait [`Target`], and the targets that recipes name.

mod digits;
mod energy;
mod epochs;
mod interpolated;
mod ising;
mod ising_range;
mod lattice_model;
mod particles;
mod partners;
mod phi4;
mod plane;
mod pool;
mod registry;
mod rows;
mod sets;
mod table;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datasets::{Bijection, Standardisation};
use flow_core::{Energy, Path, RngKey, Team};

pub use crate::c_energy::CFunction;
pub use crate::observable::{Measured, Observable, Observables};
pub use digits::Digits;
pub use energy::{LibraryEnergy, OwnEnergy};
pub use ising::Ising;
pub use ising_range::{IsingRange, studied, temperatures};
pub use lattice_model::LatticeModel;
pub use particles::{CLUSTER_ENERGY, Particles};
pub use phi4::Phi4;
pub use plane::{DensityInPlane, EnergyInPlane};
pub use registry::{open, units};
pub use rows::{DEFAULT_ROWS, FIGURE_ROWS, FigureRows, TrainingRows};
pub use sets::Sets;
pub use table::{Given, Parts, Table, TableMap, as_they_weigh};

use crate::error::Error;
use crate::monitor::Monitor;
pub use crate::recipe::Layout;
use crate::recipe::Standardise;

/// A density to be fitted, in the coordinates that the flow works in.
///
/// It is known by samples, by an energy, or by both. A target with an energy is fitted by its free energy, or by flow
/// matching to its samples where it has them; one with samples alone by likelihood or flow matching.
///
/// ```
/// use std::sync::Arc;
/// use flow_core::{Energy, PointEnergy};
/// use maflow::target::{Known, Target};
///
/// /// A spring of stiffness 4 in one dimension: exp(−2x²)/Z.
/// #[derive(Debug)]
/// struct Spring;
///
/// impl Target for Spring {
///     fn dimension(&self) -> usize { 1 }
///     fn energy(&self) -> Option<Arc<dyn Energy>> {
///         Some(Arc::new(PointEnergy::new(1, |x, gradient| {
///             gradient[0] = 4.0 * x[0];
///             Ok(2.0 * x[0] * x[0])
///         })))
///     }
///     fn known(&self) -> Option<Known> {
///         Some(Known::MinusLogZ(-0.5 * (std::f64::consts::PI / 2.0).ln()))
///     }
/// }
/// assert_eq!(Spring.sites(), 1);
/// ```
pub trait Target: fmt::Debug + Send + Sync {
    /// Numbers per row.
    fn dimension(&self) -> usize;

    /// Numbers per row that the density is conditional on.
    fn context_dim(&self) -> usize {
        0
    }

    /// How the numbers of a row are laid out.
    fn layout(&self) -> Layout {
        Layout::Vector(self.dimension())
    }

    /// The map from a user's coordinates to the flow's; `None` where they are the same.
    fn bijection(&self) -> Option<Arc<dyn Bijection>> {
        None
    }

    /// Samples, where there are any.
    fn samples(&self) -> Option<&dyn Samples> {
        None
    }

    /// The energy, a function of the flow's coordinates, where it is known. With the log-Jacobian of the bijection in
    /// it, figures are those of the density of the user's coordinates.
    fn energy(&self) -> Option<Arc<dyn Energy>> {
        None
    }

    /// The standardisation that was found from its training data, which a run keeps; `None` where there is none.
    fn standardisation(&self) -> Option<&Standardisation> {
        None
    }

    /// Contexts that the free energy of a conditional density is averaged over, one for each of these rows of a batch,
    /// row by row: a function of the key and a row's number alone.
    fn contexts(&self, _key: RngKey, _rows: Range<usize>) -> Vec<f64> {
        Vec::new()
    }

    /// `count` points of the density of an energy, in the flow's coordinates, `count × N` row by row, that no training
    /// has seen; of a conditional density each is followed by its context. `None` where there is no sampler. They show
    /// parts of the target that the flow never visits. The members of a team, [`Alone`](flow_core::Alone) for one
    /// process, may share the work: all make the same call, and each gets all points.
    fn reference(
        &self,
        _seed: u64,
        _count: usize,
        _team: &dyn Team,
        _monitor: &dyn Monitor,
    ) -> Option<Result<Vec<f64>, Error>> {
        None
    }

    /// The logarithms of independent weights whose mean is Z in expectation, found without a flow, as by annealing from
    /// a density whose Z is known; `None` where there is no such way. A flow's own ln Z is compared with it. The
    /// members of a team share the work as in [`Target::reference`].
    fn annealed(&self, _seed: u64, _team: &dyn Team, _monitor: &dyn Monitor) -> Option<Result<Vec<f64>, Error>> {
        None
    }

    /// The kind of that standardisation where it is the whole map from a caller's coordinates to the flow's, of a
    /// target that a caller hands in: densities and samples of its runs then need no target.
    fn standardise(&self) -> Option<Standardise> {
        None
    }

    /// The least value that the loss can reach, where it is known.
    fn known(&self) -> Option<Known> {
        None
    }

    /// `ln p` of a point in the user's coordinates, normalised, where it is known in closed form.
    fn log_density(&self, _x: &[f64]) -> Option<f64> {
        None
    }

    /// What figures in nats are divided by: the sites of a lattice; 1 for everything else.
    fn sites(&self) -> usize {
        1
    }

    /// Bits per number of each row, from the rows in the flow's coordinates and their losses in nats; `None` where
    /// bits mean nothing.
    fn bits_per_dim(&self, _rows: &[f64], _losses: &[f64]) -> Option<Vec<f64>> {
        None
    }

    /// A problem of the target that may be why a training failed, as the end of a sentence; `None` where none was seen.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// The table that it is, where it is one.
    fn table(&self) -> Option<&Table> {
        None
    }

    /// What a study is to average over it beside its energy. Those of a lattice model are its own.
    fn named_observables(&self) -> Option<&dyn Observables> {
        None
    }

    /// The lattice model that it is, where it is one.
    fn lattice_model(&self) -> Option<&dyn LatticeModel> {
        None
    }
}

/// The least value that the loss can reach, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Known {
    /// The entropy of the data's density.
    Entropy(f64),
    /// `−ln Z` of the energy.
    MinusLogZ(f64),
}

impl Known {
    /// In nats.
    pub fn value(self) -> f64 {
        match self {
            Self::Entropy(value) | Self::MinusLogZ(value) => value,
        }
    }

    /// What it is, in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Entropy(_) => "entropy",
            Self::MinusLogZ(_) => "exact",
        }
    }
}

/// Rows set apart from those that are trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// For choices during training.
    Validation,
    /// For final figures.
    Test,
}

/// Samples of a target, in the flow's coordinates: a finite data set, or as many as are asked for.
///
/// A row is its point and, of a density that is conditional, then its context.
pub trait Samples: fmt::Debug + Send + Sync {
    /// Rows of a finite training set; `None` where as many can be drawn as are asked for.
    fn training_rows(&self) -> Option<usize> {
        None
    }

    /// Rows of a split of a finite data set; `None` where there is no split, or as many rows can be drawn as are asked
    /// for.
    fn held_out_rows(&self, _split: Split) -> Option<usize> {
        None
    }

    /// Makes ready what takes time, before the first batch. The members of a team may share the work.
    ///
    /// # Errors
    /// When they cannot be had, or the monitor asks for an end.
    fn prepare(&self, _team: &dyn Team, _monitor: &dyn Monitor) -> Result<(), Error> {
        Ok(())
    }

    /// Writes some rows of a training batch to `out`, row by row. `seen` is the number of rows trained on before the
    /// batch, which a finite data set goes on after. What is drawn at random is a function of the key and of a row's
    /// place in the batch alone.
    ///
    /// # Errors
    /// When they cannot be had.
    fn training(&self, key: RngKey, seen: u64, rows: Range<usize>, out: &mut [f64]) -> Result<(), Error>;

    /// Writes some rows of a batch of a split to `out`, row by row. The batch begins `first` rows into the split. An
    /// endless source draws fresh ones by the key.
    ///
    /// # Errors
    /// When they cannot be had.
    fn held_out(
        &self,
        _split: Split,
        key: RngKey,
        _first: usize,
        rows: Range<usize>,
        out: &mut [f64],
    ) -> Result<(), Error> {
        self.training(key, 0, rows, out)
    }

    /// What the rows of a split count in figures, relative to each other; `None` where all count alike. Training rows
    /// come as often as they weigh.
    fn weights(&self, _split: Split) -> Option<&[f64]> {
        None
    }

    /// Whether a training row comes with a point of the base density that it is paired with in flow matching: its
    /// numbers then follow those of the row, `N` more of them.
    fn paired(&self) -> bool {
        false
    }

    /// The path of flow matching that ends in the target.
    fn path(&self) -> Path {
        Path::Straight
    }

    /// A digest of finite data, by which a resumed run knows that they are those it was begun with.
    fn digest(&self) -> Option<String> {
        None
    }
}

/// The seed of samples that are compared with the flow: others than those it was trained on.
pub fn reference_seed(seed: u64) -> u64 {
    seed ^ u64::from_be_bytes(*b"clusters")
}
