//! What a study of a lattice model found, as one JSON object with fixed keys.

use flow_core::Mean;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::target::Observable;

/// A figure with its errors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// The figure.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Its change from twice the integration step, where it depends on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integration_error: Option<f64>,
}

impl Figure {
    /// A figure that depends on the integration step.
    pub fn new(mean: Mean, integration_error: f64) -> Self {
        Self { integration_error: Some(integration_error), ..Self::plain(mean) }
    }

    /// A figure that does not, or whose change was not measured.
    pub fn plain(Mean { mean, standard_error }: Mean) -> Self {
        Self { value: mean, standard_error, integration_error: None }
    }
}

/// An integrated autocorrelation time in states of a chain; ½ is independence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Time {
    /// The time; a lower bound where `lower_bound` says so.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Whether the chains are shorter than twenty times it, so that it may be much longer.
    pub lower_bound: bool,
}

impl Time {
    /// The time of chains of a length.
    pub fn new(value: f64, standard_error: f64, length: usize) -> Self {
        Self { value, standard_error, lower_bound: (length as f64) < 20.0 * value }
    }
}

/// A Markov chain Monte Carlo.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sampler {
    /// Independent chains.
    pub chains: usize,
    /// Measured states of each.
    pub length: usize,
    /// Mean acceptance of a proposal or trajectory.
    pub acceptance: f64,
    /// Tuned step of the leapfrog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_size: Option<f64>,
    /// Leapfrog steps of a trajectory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leapfrog_steps: Option<usize>,
    /// Of the energy (the action).
    pub autocorrelation_energy: Time,
    /// Of |magnetisation|.
    pub autocorrelation_magnetisation: Time,
}

/// An observable by every way it was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Row {
    /// Which.
    #[serde(skip)]
    pub observable: Observable,
    /// Over samples of the flow as it is.
    pub flow: Figure,
    /// Over the same samples under importance weights.
    pub weighted: Figure,
    /// The exact value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<f64>,
    /// By cluster Monte Carlo of the model itself.
    pub clusters: Figure,
    /// By independence Metropolis with the flow as proposal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metropolis: Option<Figure>,
    /// By hybrid Monte Carlo in the base density's coordinates z.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent_hybrid: Option<Figure>,
    /// By plain hybrid Monte Carlo in the flow's coordinates x.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain_hybrid: Option<Figure>,
}

/// Everything. The keys of the JSON object are fixed: those of this struct, of [`Figure`], [`Row`], [`Sampler`] and
/// [`Time`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhysicsReport {
    /// `ising` or `phi4`.
    pub target: &'static str,
    /// Sites N of the lattice.
    pub sites: usize,
    /// Samples of the flow.
    pub samples: usize,
    /// The integrator of the figures, in words.
    pub integrator: String,
    /// Whether the integrator chooses its own steps.
    #[serde(skip)]
    pub adaptive: bool,
    /// Whether no figure changed by more than a tenth of its standard error at the last halving of the step.
    pub converged: bool,
    /// `ln Z` by importance weights.
    pub log_z: Figure,
    /// Its exact value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_z_exact: Option<f64>,
    /// Effective sample size `(Σw)²/(n Σw²)`, as a fraction of the samples.
    pub ess: f64,
    /// `‖∇ ln p + ∇E‖²` per site, averaged over the flow: 0 where it is the target.
    pub force_mismatch_per_site: Figure,
    /// Observables by name: `energy_per_site`, `magnetisation_per_site` and `specific_heat_per_site`, or
    /// `action_per_site`, `magnetisation_per_site` and `susceptibility`.
    #[serde(serialize_with = "by_name")]
    pub observables: Vec<Row>,
    /// Independence Metropolis; none for too few samples.
    pub metropolis: Option<Sampler>,
    /// Hybrid Monte Carlo in z, where it was asked for.
    pub latent_hybrid: Option<Sampler>,
    /// Hybrid Monte Carlo in x, likewise.
    pub plain_hybrid: Option<Sampler>,
}

fn by_name<S: Serializer>(rows: &[Row], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(rows.len()))?;
    for row in rows {
        map.serialize_entry(row.observable.key, row)?;
    }
    map.end()
}

impl PhysicsReport {
    /// One JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("structs of numbers and words are always JSON")
    }
}
