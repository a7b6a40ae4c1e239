//! What a study of a target with an energy found, as one flat JSON object with fixed keys.

use flow_core::{Mean, Pareto, Weights};
use serde_json::{Map, Value, json};

use crate::report::Report;
use crate::target::Observable;

/// A figure with its errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// The figure.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Its change from twice the integration step, where it depends on one.
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
#[derive(Debug, Clone, Copy, PartialEq)]
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Independent chains.
    pub chains: usize,
    /// Measured states of each.
    pub length: usize,
    /// Mean acceptance of a proposal or trajectory.
    pub acceptance: f64,
    /// Tuned step of the leapfrog.
    pub step_size: Option<f64>,
    /// Leapfrog steps of a trajectory.
    pub leapfrog_steps: Option<usize>,
    /// Autocorrelation time of the energy; for a field theory, of the action.
    pub autocorrelation_energy: Time,
    /// Autocorrelation time of |magnetisation|; `None` where the target is no lattice.
    pub autocorrelation_magnetisation: Option<Time>,
}

/// An observable by every way it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The observable.
    pub observable: Observable,
    /// Over samples of the flow as it is.
    pub flow: Figure,
    /// Over the same samples under importance weights.
    pub weighted: Figure,
    /// The exact value.
    pub exact: Option<f64>,
    /// By cluster Monte Carlo of a lattice model itself.
    pub clusters: Option<Figure>,
    /// Over points that the target of no lattice has drawn itself, where it can.
    pub reference: Option<Figure>,
    /// By independence Metropolis with the flow as proposal.
    pub metropolis: Option<Figure>,
    /// By hybrid Monte Carlo in the base density's coordinates z.
    pub latent_hybrid: Option<Figure>,
    /// By plain hybrid Monte Carlo in the flow's coordinates x.
    pub plain_hybrid: Option<Figure>,
}

/// Everything. Its JSON object is flat: see [`PhysicsReport::json`].
#[derive(Debug, Clone, PartialEq)]
pub struct PhysicsReport {
    /// The figures that an evaluation has too, of the same samples; converged where all figures here are.
    pub report: Report,
    /// `ising` or `phi4`; `energy` for any other target.
    pub target: &'static str,
    /// Change of `ln Z` by importance weights from twice the step.
    pub log_z_integration_error: f64,
    /// `ln Z` without the flow, where the target knows a way.
    pub annealing: Option<Annealed>,
    /// `ln Z` from samples of the flow and of the target together, where both can be drawn.
    pub log_z_bar: Option<Figure>,
    /// `‖∇ ln p + ∇E‖²` per site (in all of a target that is no lattice), averaged over the flow: 0 where it is the
    /// target.
    pub force_mismatch_per_site: Figure,
    /// Observables: energy, |magnetisation| and specific heat per site, or action and |magnetisation| per site and
    /// susceptibility; of a target that is no lattice the energy and its variance.
    pub observables: Vec<Row>,
    /// Independence Metropolis; none for too few samples.
    pub metropolis: Option<Sampler>,
    /// Hybrid Monte Carlo in z, where it was asked for.
    pub latent_hybrid: Option<Sampler>,
    /// Hybrid Monte Carlo in x, where it was asked for.
    pub plain_hybrid: Option<Sampler>,
    /// What a picture of particles shows; not in the JSON object.
    pub particles: Option<Particles>,
}

/// What a study found at one temperature of a range.
#[derive(Debug, Clone, PartialEq)]
pub struct AtTemperature {
    /// The temperature.
    pub temperature: f64,
    /// The study of the density at it.
    pub report: PhysicsReport,
}

impl AtTemperature {
    /// The studies of several temperatures as one JSON object: `temperatures` has the object of each, with its
    /// `temperature`.
    pub fn json(all: &[Self]) -> String {
        let one = |at: &Self| {
            let mut flat = at.report.flat();
            flat.put("temperature", at.temperature);
            Value::Object(flat.0)
        };
        json!({ "temperatures": all.iter().map(one).collect::<Vec<_>>() }).to_string()
    }
}

/// `ln Z` by annealing from a density whose ln Z is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Annealed {
    /// The figure.
    pub log_z: f64,
    /// Its standard error; none where the weights have a heavy tail.
    pub standard_error: Option<f64>,
    /// Effective sample size of the weights, as a fraction.
    pub ess: f64,
    /// Pareto shape of their tail, where there are enough of them.
    pub pareto_k: Option<f64>,
}

impl Annealed {
    /// From the logarithms of the weights.
    pub fn of(log_weights: &[f64]) -> Self {
        let weights = Weights::new(&log_weights.iter().map(|w| -w).collect::<Vec<_>>());
        let (found, pareto) = (weights.log_z(), weights.pareto());
        let reliable = pareto.as_ref().is_some_and(Pareto::is_reliable);
        Self {
            log_z: found.mean,
            standard_error: reliable.then_some(found.standard_error),
            ess: weights.ess(),
            pareto_k: pareto.map(|pareto| pareto.shape).filter(|shape| shape.is_finite()),
        }
    }
}

/// Particles of the flow beside those of the target's own chains.
#[derive(Debug, Clone, PartialEq)]
pub struct Particles {
    /// The energy of the cluster.
    pub energies: Compared,
    /// The distances of all pairs of particles in the first thousand samples.
    pub distances: Compared,
}

/// A number over samples of the flow and over the target's own chains.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Compared {
    /// The number at samples of the flow.
    pub flow: Vec<f64>,
    /// Importance weights of these samples, in units of the greatest.
    pub weights: Vec<f64>,
    /// The number at configurations of the chains; empty where the target cannot be drawn.
    pub reference: Vec<f64>,
}

impl PhysicsReport {
    /// One flat JSON object. Beside the keys of [`Report::json`] it has, for every observable like `energy_per_site`
    /// and every way like `weighted` that it was found by, `energy_per_site_weighted`, its standard error
    /// `energy_per_site_weighted_error` and, where it depends on the step,
    /// `energy_per_site_weighted_integration_error`; `exact_energy_per_site` where that is known; and for every chain
    /// `metropolis_acceptance` and so on. What was not asked for is not there.
    pub fn json(&self) -> String {
        Value::Object(self.flat().0).to_string()
    }

    fn flat(&self) -> Flat {
        let Ok(Value::Object(report)) = serde_json::to_value(&self.report) else { unreachable!("a struct of figures") };
        let mut flat = Flat(report);
        flat.put("target", self.target);
        flat.put("sites", self.report.sites);
        flat.put("log_z_integration_error", self.log_z_integration_error);
        if let Some(annealed) = &self.annealing {
            flat.put("log_z_annealing", annealed.log_z);
            flat.put("log_z_annealing_error", annealed.standard_error);
            flat.put("log_z_annealing_ess", annealed.ess);
        }
        if let Some(bar) = &self.log_z_bar {
            flat.figure("log_z_bar", bar);
        }
        flat.figure("force_mismatch_per_site", &self.force_mismatch_per_site);
        for row in &self.observables {
            let name = &row.observable.key;
            if let Some(exact) = row.exact {
                flat.put(format!("exact_{name}"), exact);
            }
            for (way, figure) in row.ways() {
                flat.figure(&format!("{name}_{way}"), &figure);
            }
        }
        let samplers = [
            ("metropolis", self.metropolis),
            ("latent_hybrid", self.latent_hybrid),
            ("plain_hybrid", self.plain_hybrid),
        ];
        for (name, sampler) in samplers {
            sampler.into_iter().for_each(|sampler| flat.sampler(name, &sampler));
        }
        flat
    }
}

impl Row {
    /// The ways that it was found by, with their names in JSON.
    fn ways(&self) -> impl Iterator<Item = (&'static str, Figure)> {
        let always = [("flow", self.flow), ("weighted", self.weighted)];
        let others = [
            ("clusters", self.clusters),
            ("reference", self.reference),
            ("metropolis", self.metropolis),
            ("latent_hybrid", self.latent_hybrid),
            ("plain_hybrid", self.plain_hybrid),
        ];
        always.into_iter().chain(others.into_iter().filter_map(|(way, figure)| figure.map(|figure| (way, figure))))
    }
}

/// A JSON object in the making.
struct Flat(Map<String, Value>);

impl Flat {
    fn put(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(name.into(), value.into());
    }

    fn figure(&mut self, name: &str, figure: &Figure) {
        self.put(name, figure.value);
        self.put(format!("{name}_error"), figure.standard_error);
        if let Some(error) = figure.integration_error {
            self.put(format!("{name}_integration_error"), error);
        }
    }

    fn sampler(&mut self, name: &str, sampler: &Sampler) {
        self.put(format!("{name}_chains"), sampler.chains);
        self.put(format!("{name}_length"), sampler.length);
        self.put(format!("{name}_acceptance"), sampler.acceptance);
        if let (Some(size), Some(steps)) = (sampler.step_size, sampler.leapfrog_steps) {
            self.put(format!("{name}_step_size"), size);
            self.put(format!("{name}_leapfrog_steps"), steps);
        }
        let energy = ("energy", sampler.autocorrelation_energy);
        let magnetisation = sampler.autocorrelation_magnetisation.map(|time| ("magnetisation", time));
        for (of, time) in [energy].into_iter().chain(magnetisation) {
            let name = format!("{name}_autocorrelation_{of}");
            self.put(&name, time.value);
            self.put(format!("{name}_error"), time.standard_error);
            self.put(format!("{name}_lower_bound"), time.lower_bound);
        }
    }
}
