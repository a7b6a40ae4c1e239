//! The figures of a run, as JSON with fixed keys.

use serde::Serialize;

use crate::recipe::Objective;
use crate::transport::Transport;

/// Figures with standard error and integration error. The keys of the JSON object are fixed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was evaluated.
    pub objective: Objective,
    /// The file of the weights that it was evaluated with.
    pub checkpoint: String,
    /// Samples drawn or data points used.
    pub samples: usize,
    /// Integration steps of the figure; none where a method chooses its own.
    pub steps: Option<usize>,
    /// The integrator of the figure, in words.
    pub integrator: String,
    /// Standard error of the main figure: of `nll_nats`, or of `free_energy_per_site` (per site too).
    pub standard_error: f64,
    /// Change of the main figure from twice the step, in its unit.
    pub integration_error: f64,
    /// Whether that change is below a tenth of the standard error.
    pub converged: bool,
    /// Whether the field is random in time, so that the change is mostly that of the draws.
    #[serde(skip)]
    pub random_in_time: bool,
    /// Whether it is of a map in closed form, which integrates nothing: the integration error is zero by construction.
    #[serde(skip)]
    pub closed_form: bool,
    /// Probes per row that the Laplacian was estimated with; none where it is exact. Each row has its own, so that the
    /// standard error has their part in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub laplacian_probes: Option<usize>,
    /// Sites of the lattice; 1 for everything else.
    #[serde(skip)]
    pub sites: usize,
    /// Figures of the objective.
    #[serde(flatten)]
    pub figures: Figures,
    /// How far points are carried, beside the least that it takes; none of large flows, and of those of a density given
    /// something.
    #[serde(flatten)]
    pub transport: Option<Transport>,
}

/// What depends on the objective.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Figures {
    /// Figures of a density fitted to data.
    Nll {
        /// Negative log-likelihood in nats (MNIST: in logit space).
        nll_nats: f64,
        /// Mean over rows of the bits per number, of pixels and other integers.
        #[serde(skip_serializing_if = "Option::is_none")]
        bits_per_dim: Option<f64>,
        /// Their standard error.
        #[serde(skip_serializing_if = "Option::is_none")]
        bits_per_dim_error: Option<f64>,
        /// The same of a Gaussian of full covariance fitted to the training rows, for a table.
        #[serde(skip_serializing_if = "Option::is_none")]
        gaussian_nll_nats: Option<f64>,
        /// The same of independent columns fitted to the training rows, for a table.
        #[serde(skip_serializing_if = "Option::is_none")]
        independent_nll_nats: Option<f64>,
        /// Entropy of the data's density in nats, where it is known.
        #[serde(skip)]
        entropy_nats: Option<f64>,
        /// KL divergence from the data's density in nats, where its entropy is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        kl_nats: Option<f64>,
    },
    /// Figures of a density fitted to an energy.
    FreeEnergy {
        /// `E[ln p + energy]` per site.
        free_energy_per_site: f64,
        /// `−ln Z` per site, where it is known.
        exact_free_energy_per_site: Option<f64>,
        /// The gap of the whole lattice in nats: `KL(p ‖ Boltzmann)`.
        kl_nats: Option<f64>,
        /// Effective sample size `(Σw)²/(N Σw²)`, as a fraction of the N samples. None where the Laplacian is
        /// estimated, here and below: weights made of an estimate of ln p would be too large on average.
        ess: Option<f64>,
        /// `ln Z` of the whole lattice by importance weights.
        log_z_importance: Option<f64>,
        /// Its standard error; none where the tail of the weights is too heavy for one, or too short to tell.
        log_z_importance_error: Option<f64>,
        /// `ln Z` by Pareto-smoothed weights ([`flow_core::Pareto`]); none for a few samples.
        log_z_psis: Option<f64>,
        /// The Pareto shape of the largest weights. None for a few samples, and where the largest are all equal.
        pareto_k: Option<f64>,
        /// What samples of the target itself say, where there are any.
        #[serde(flatten)]
        forward: Option<Forward>,
    },
}

/// A flow judged by samples of its target. They see modes that it never visits, as none of its own samples can.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Forward {
    /// `KL(Boltzmann ‖ p)` of the whole lattice in nats: `−E[ln p + energy] − ln Z` over the samples. Where `ln Z` is
    /// not known it is `−ln E[p exp(energy)]` over the same samples, which makes of the divergence a lower bound on
    /// average.
    pub forward_kl_nats: f64,
    /// Its standard error.
    pub forward_kl_error: f64,
    /// Its change from twice the integration step.
    pub forward_kl_integration_error: f64,
    /// Effective sample size of the flow's weights as samples of the target find it: `1/(E[w] E[1/w])`.
    pub forward_ess: f64,
    /// How many samples of the target.
    pub forward_samples: usize,
}

impl Report {
    /// One JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a flat struct of numbers and words is always JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(report: &Report) -> Vec<String> {
        let value: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    }

    fn report() -> Report {
        Report {
            objective: Objective::FreeEnergy,
            checkpoint: "run/checkpoints/best.safetensors".to_owned(),
            samples: 1000,
            steps: Some(20),
            integrator: "20 steps of rk4".to_owned(),
            standard_error: 0.0012,
            integration_error: 3.2e-5,
            converged: true,
            random_in_time: false,
            closed_form: false,
            laplacian_probes: None,
            sites: 100,
            figures: Figures::FreeEnergy {
                free_energy_per_site: -2.3,
                exact_free_energy_per_site: Some(-2.315_920_858_819),
                kl_nats: Some(1.592),
                ess: Some(0.031),
                log_z_importance: Some(231.4),
                log_z_importance_error: Some(0.25),
                log_z_psis: Some(231.3),
                pareto_k: Some(0.31),
                forward: None,
            },
            transport: None,
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a list of keys")]
    fn the_keys_are_the_fixed_ones() {
        let plain = [
            "checkpoint",
            "converged",
            "ess",
            "exact_free_energy_per_site",
            "free_energy_per_site",
            "integration_error",
            "integrator",
            "kl_nats",
            "log_z_importance",
            "log_z_importance_error",
            "log_z_psis",
            "objective",
            "pareto_k",
            "samples",
            "standard_error",
            "steps",
        ];
        assert_eq!(keys(&report()), plain);
        let mut judged = report();
        let Figures::FreeEnergy { forward, .. } = &mut judged.figures else { panic!("another objective") };
        *forward = Some(Forward {
            forward_kl_nats: 1.7,
            forward_kl_error: 0.1,
            forward_kl_integration_error: 1e-4,
            forward_ess: 0.03,
            forward_samples: 1000,
        });
        let more: Vec<String> = keys(&judged).into_iter().filter(|key| !plain.contains(&key.as_str())).collect();
        let forward = ["ess", "kl_error", "kl_integration_error", "kl_nats", "samples"];
        assert_eq!(more, forward.map(|key| format!("forward_{key}")));
        let transport = Transport {
            transport_cost: 2.2,
            transport_cost_error: 0.1,
            transport_bound: 2.0,
            transport_ratio: 1.1,
            transport_ratio_error: 0.01,
            transport_integration_error: 1e-5,
            transport_samples: 2000,
        };
        let moved = keys(&Report { transport: Some(transport), ..report() });
        let more: Vec<String> = moved.into_iter().filter(|key| !plain.contains(&key.as_str())).collect();
        let of_transport = ["bound", "cost", "cost_error", "integration_error", "ratio", "ratio_error", "samples"];
        assert_eq!(more, of_transport.map(|key| format!("transport_{key}")));
        let figures = Figures::Nll {
            nll_nats: 1255.5,
            bits_per_dim: Some(1.66),
            bits_per_dim_error: Some(0.0021),
            gaussian_nll_nats: None,
            independent_nll_nats: None,
            entropy_nats: None,
            kl_nats: None,
        };
        let nll = Report { objective: Objective::Nll, figures, ..report() };
        assert_eq!(
            keys(&nll),
            [
                "bits_per_dim",
                "bits_per_dim_error",
                "checkpoint",
                "converged",
                "integration_error",
                "integrator",
                "nll_nats",
                "objective",
                "samples",
                "standard_error",
                "steps"
            ]
        );
    }
}
