//! What a study of a target with an energy measures of points, and the averages that it computes of these numbers.

use std::borrow::Cow;

use datasets::lattice::Estimate;
use flow_core::{Mean, Weights};

/// Numbers of a point in the user's coordinates whose averages over a target a study is to find.
pub trait Observables: Send + Sync {
    /// Their names, which begin keys of JSON.
    fn names(&self) -> &[String];

    /// Measures points `x`, `rows × N` row by row. `values` gets `rows × names` numbers, row by row.
    ///
    /// # Errors
    /// Whatever they may meet, as [`flow_core::Error::Callback`].
    fn measure(&self, x: &[f64], values: &mut [f64]) -> Result<(), flow_core::Error>;
}

/// What is measured of points, one number each; of configurations for the whole lattice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// `−Σ s_i s_j` over the bonds of an Ising model; the action of a φ⁴ theory; any other target's energy.
    pub energy: Vec<f64>,
    /// `|Σ_i s_i|` or `|Σ_i φ_i|`.
    pub magnetisation: Vec<f64>,
    /// Those of [`Observables`], one series for each name.
    pub named: Vec<Vec<f64>>,
}

impl Measured {
    /// Adds more points.
    pub fn extend(&mut self, more: Self) {
        self.energy.extend(more.energy);
        self.magnetisation.extend(more.magnetisation);
        self.named.resize_with(more.named.len().max(self.named.len()), Vec::new);
        self.named.iter_mut().zip(more.named).for_each(|(series, more)| series.extend(more));
    }

    /// The measurements of some points, by their places from 0.
    pub fn pick(&self, points: &[usize]) -> Self {
        // What is not measured has no numbers.
        let pick = |of: &Vec<f64>| points.iter().filter_map(|i| of.get(*i).copied()).collect();
        Self {
            energy: pick(&self.energy),
            magnetisation: pick(&self.magnetisation),
            named: self.named.iter().map(pick).collect(),
        }
    }
}

/// A mean or a variance of a number measured, times a factor.
#[derive(Debug, Clone, PartialEq)]
pub struct Observable {
    /// Key in JSON.
    pub key: Cow<'static, str>,
    /// In words.
    pub words: Cow<'static, str>,
    of: Series,
    variance: bool,
    factor: f64,
}

/// Which of the numbers measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Series {
    Energy,
    Magnetisation,
    Named(usize),
}

impl Observable {
    /// The mean of the energy times a factor.
    pub fn mean_energy(key: &'static str, words: &'static str, factor: f64) -> Self {
        Self { key: key.into(), words: words.into(), of: Series::Energy, variance: false, factor }
    }

    /// The variance of the energy times a factor.
    pub fn variance_of_energy(key: &'static str, words: &'static str, factor: f64) -> Self {
        Self { variance: true, ..Self::mean_energy(key, words, factor) }
    }

    /// The mean of |magnetisation| times a factor.
    pub fn mean_magnetisation(key: &'static str, words: &'static str, factor: f64) -> Self {
        Self { of: Series::Magnetisation, ..Self::mean_energy(key, words, factor) }
    }

    /// The variance of |magnetisation| times a factor.
    pub fn variance_of_magnetisation(key: &'static str, words: &'static str, factor: f64) -> Self {
        Self { variance: true, ..Self::mean_magnetisation(key, words, factor) }
    }

    /// The mean of the named number at this place.
    pub fn named(name: &str, place: usize) -> Self {
        let name = name.to_owned();
        Self { key: name.clone().into(), words: name.into(), of: Series::Named(place), variance: false, factor: 1.0 }
    }

    fn series<'a>(&self, measured: &'a Measured) -> &'a [f64] {
        match self.of {
            Series::Energy => &measured.energy,
            Series::Magnetisation => &measured.magnetisation,
            Series::Named(place) => &measured.named[place],
        }
    }

    /// Its average over weighted points, with its standard error.
    pub fn weighted(&self, weights: &Weights, measured: &Measured) -> Mean {
        let of = self.series(measured);
        let found = if self.variance { weights.variance(of) } else { weights.mean(of) };
        Mean { mean: self.factor * found.mean, standard_error: self.factor * found.standard_error }
    }

    /// Its average over Markov chains, with a standard error that accounts for their autocorrelation.
    pub fn of_chains(&self, chains: &[Measured]) -> Mean {
        let of: Vec<&[f64]> = chains.iter().map(|chain| self.series(chain)).collect();
        let found = if self.variance { Estimate::variance(&of) } else { Estimate::from_chains(&of) };
        mean(found.scaled(self.factor))
    }
}

/// A mean of configurations of cluster Monte Carlo or of chains, without what tells of their correlation.
pub(crate) fn mean(Estimate { mean, standard_error, .. }: Estimate) -> Mean {
    Mean { mean, standard_error }
}
