//! The figures of a run, as `maflow evaluate` prints them: for people, or as JSON with fixed keys.

use serde::Serialize;

use crate::config::Objective;

/// Figures with standard error and integration error. The keys of the JSON object are fixed.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was evaluated.
    pub objective: Objective,
    /// Samples drawn or data points used.
    pub samples: usize,
    /// Integration steps of the figure.
    pub steps: usize,
    /// Standard error of the main figure: of `nll_nats`, or of `free_energy_per_site`.
    pub standard_error: f64,
    /// Change of the main figure when the step is halved once more.
    pub integration_error: f64,
    /// Figures of the objective.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What depends on the objective.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Figures {
    /// Of a density fitted to data.
    Nll {
        /// Negative log-likelihood in nats (MNIST: in logit space).
        nll_nats: f64,
        /// The same in bits per dimension of the undecoded data; only for pictures.
        #[serde(skip_serializing_if = "Option::is_none")]
        bits_per_dim: Option<f64>,
        /// KL divergence from the data's density in nats, where its entropy is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        kl_nats: Option<f64>,
    },
    /// Of a density fitted to an energy.
    FreeEnergy {
        /// `E[ln p + energy]` per site.
        free_energy_per_site: f64,
        /// `−ln Z` per site, where it is known.
        exact_free_energy_per_site: Option<f64>,
        /// The gap in nats: `KL(p ‖ Boltzmann)`.
        kl_nats: Option<f64>,
        /// Effective sample size as a fraction of the samples, from 0 to 1.
        ess: f64,
        /// `ln Z` by importance weights.
        log_z_importance: f64,
    },
}

impl Report {
    /// One JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a flat struct of numbers and words is always JSON")
    }

    /// A table for people.
    pub fn text(&self) -> String {
        let mut rows = Vec::new();
        let error = format!("± {}", short(self.standard_error));
        match &self.figures {
            Figures::Nll { nll_nats, bits_per_dim, kl_nats } => {
                rows.push(("negative log-likelihood", format!("{nll_nats:.4} {error} nats")));
                if let Some(bits) = bits_per_dim {
                    rows.push(("bits per dimension", format!("{bits:.4}")));
                }
                if let Some(kl) = kl_nats {
                    rows.push(("KL divergence", format!("{kl:.4} {error} nats")));
                }
            }
            Figures::FreeEnergy {
                free_energy_per_site,
                exact_free_energy_per_site,
                kl_nats,
                ess,
                log_z_importance,
            } => {
                rows.push(("free energy", format!("{free_energy_per_site:.6} {error} per site")));
                if let Some(exact) = exact_free_energy_per_site {
                    rows.push(("exact", format!("{exact:.6} per site")));
                }
                if let Some(kl) = kl_nats {
                    rows.push(("gap (KL divergence)", format!("{kl:.4} nats")));
                }
                rows.push(("effective sample size", format!("{:.2} %", 100.0 * ess)));
                rows.push(("ln Z by importance", format!("{log_z_importance:.4}")));
            }
        }
        rows.push(("integration error", short(self.integration_error)));
        rows.push(("samples", self.samples.to_string()));
        rows.push(("integration steps", self.steps.to_string()));
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
        lines.join("\n")
    }
}

/// An error with two significant digits.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = (1 - value.abs().log10().floor() as i32).max(0) as usize;
    match digits {
        0..=8 => format!("{value:.digits$}"),
        _ => format!("{value:.1e}"),
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

    #[test]
    fn the_keys_are_the_fixed_ones() {
        let common = Report {
            objective: Objective::FreeEnergy,
            samples: 1000,
            steps: 20,
            standard_error: 0.0012,
            integration_error: 3.2e-5,
            figures: Figures::FreeEnergy {
                free_energy_per_site: -2.3,
                exact_free_energy_per_site: Some(-2.315_920_858_819),
                kl_nats: Some(4.1),
                ess: 0.031,
                log_z_importance: 592.8,
            },
        };
        assert_eq!(
            keys(&common),
            [
                "ess",
                "exact_free_energy_per_site",
                "free_energy_per_site",
                "integration_error",
                "kl_nats",
                "log_z_importance",
                "objective",
                "samples",
                "standard_error",
                "steps"
            ]
        );
        let text = common.text();
        assert!(text.contains("-2.300000 ± 0.0012 per site"), "{text}");
        assert!(text.contains("3.10 %"), "{text}");
        let figures = Figures::Nll { nll_nats: 1255.5, bits_per_dim: Some(1.66), kl_nats: None };
        let nll = Report { objective: Objective::Nll, figures, ..common };
        assert_eq!(
            keys(&nll),
            ["bits_per_dim", "integration_error", "nll_nats", "objective", "samples", "standard_error", "steps"]
        );
    }

    #[test]
    fn errors_have_two_digits() {
        assert_eq!(short(0.001_234), "0.0012");
        assert_eq!(short(12.7), "13");
        assert_eq!(short(3.4e-12), "3.4e-12");
    }
}
