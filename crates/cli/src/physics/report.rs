//! What `maflow physics` prints: tables for people, or one JSON object with fixed keys.

use flow_core::Mean;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::model::Observable;
use crate::report::{FEW, finer, like_error, short, with_error};

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

    fn text(&self) -> String {
        with_error(self.value, self.standard_error)
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

    fn text(&self) -> String {
        let bound = if self.lower_bound { "> " } else { "" };
        format!("{bound}{}", with_error(self.value, self.standard_error))
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

    /// Tables for people.
    pub fn text(&self) -> String {
        [self.weights(), self.observables(), self.samplers()].map(|table| lines(&table)).join("\n\n")
    }

    fn weights(&self) -> Vec<Vec<String>> {
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let worth = self.ess * self.samples as f64;
        let few = if worth < FEW { ": too few for weighted figures to be relied on" } else { "" };
        let mut rows = vec![
            row("ln Z by importance", self.log_z.text()),
            row("effective sample size", format!("{:.1} %, {worth:.0} samples{few}", 100.0 * self.ess)),
            row("|∇ ln p + ∇E|² per site", self.force_mismatch_per_site.text()),
        ];
        if let Some(exact) = self.log_z_exact {
            rows.insert(1, row("ln Z, exact value", like_error(exact, self.log_z.standard_error)));
        }
        let error = short(self.log_z.integration_error.unwrap_or(f64::NAN));
        let remedy = match self.converged {
            true => String::new(),
            false => {
                format!("; some figure moved by more than a tenth of its standard error: {}", finer(self.adaptive))
            }
        };
        rows.push(row("integration error of ln Z", format!("{error}{remedy}")));
        rows.push(row("", format!("{} samples, {}", self.samples, self.integrator)));
        rows
    }

    fn observables(&self) -> Vec<Vec<String>> {
        type Cell = fn(&Row) -> Option<String>;
        let columns: [(&str, Cell); 7] = [
            ("flow", |row| Some(row.flow.text())),
            ("weighted", |row| Some(row.weighted.text())),
            ("exact", |row| row.exact.map(|exact| like_error(exact, row.weighted.standard_error))),
            ("cluster Monte Carlo", |row| Some(row.clusters.text())),
            ("Metropolis", |row| row.metropolis.as_ref().map(Figure::text)),
            ("hybrid in z", |row| row.latent_hybrid.as_ref().map(Figure::text)),
            ("hybrid in x", |row| row.plain_hybrid.as_ref().map(Figure::text)),
        ];
        // A row for each way, for there are more ways than observables.
        let mut rows = vec![std::iter::once(String::new()).chain(self.names()).collect()];
        for (name, of) in columns {
            let cells: Vec<Option<String>> = self.observables.iter().map(of).collect();
            if cells.iter().any(Option::is_some) {
                let cells = cells.into_iter().map(Option::unwrap_or_default);
                rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
            }
        }
        rows
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.observables.iter().map(|row| row.observable.words.to_owned())
    }

    fn samplers(&self) -> Vec<Vec<String>> {
        let energy = if self.target == "ising" { "τ of energy" } else { "τ of action" };
        let head = ["", "acceptance", energy, "τ of |magnetisation|", "chains"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        let samplers =
            [("Metropolis", self.metropolis), ("hybrid in z", self.latent_hybrid), ("hybrid in x", self.plain_hybrid)];
        for (name, sampler) in samplers {
            let Some(sampler) = sampler else { continue };
            let mut chains = format!("{} of {} states", sampler.chains, sampler.length);
            if let (Some(step), Some(steps)) = (sampler.step_size, sampler.leapfrog_steps) {
                chains += &format!(", {steps} leapfrog steps of {step:.3}");
            }
            rows.push(vec![
                name.to_owned(),
                format!("{:.1} %", 100.0 * sampler.acceptance),
                sampler.autocorrelation_energy.text(),
                sampler.autocorrelation_magnetisation.text(),
                chains,
            ]);
        }
        rows
    }
}

/// A table with its columns side by side.
fn lines(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("   ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
