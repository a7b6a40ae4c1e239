//! The figures of a run, as `maflow evaluate` prints them: for people, or as JSON with fixed keys.

use serde::Serialize;

use crate::config::Objective;

/// Figures with standard error and integration error. The keys of the JSON object are fixed.
#[derive(Debug, Clone, Serialize)]
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
}

/// What depends on the objective.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Figures {
    /// Of a density fitted to data.
    Nll {
        /// Negative log-likelihood in nats (MNIST: in logit space).
        nll_nats: f64,
        /// Mean over pictures of the bits per pixel.
        #[serde(skip_serializing_if = "Option::is_none")]
        bits_per_dim: Option<f64>,
        /// Their standard error.
        #[serde(skip_serializing_if = "Option::is_none")]
        bits_per_dim_error: Option<f64>,
        /// Entropy of the data's density in nats, where it is known.
        #[serde(skip)]
        entropy_nats: Option<f64>,
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
        /// The gap of the whole lattice in nats: `KL(p ‖ Boltzmann)`.
        kl_nats: Option<f64>,
        /// Effective sample size `(Σw)²/(N Σw²)`, as a fraction of the N samples. None where the Laplacian is
        /// estimated, here and below: weights made of an estimate of ln p would be too large on average.
        ess: Option<f64>,
        /// `ln Z` of the whole lattice by importance weights.
        log_z_importance: Option<f64>,
        /// Its standard error.
        log_z_importance_error: Option<f64>,
    },
}

/// Weights that are worth fewer samples than this tell little, and their errors less.
pub const FEW: f64 = 100.0;

impl Report {
    /// One JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a flat struct of numbers and words is always JSON")
    }

    /// A table for people.
    pub fn text(&self) -> String {
        let mut rows = self.figure_rows();
        // Differences are told in nats of the whole lattice, like the gap.
        let nats = self.sites as f64 * self.integration_error;
        rows.push(("integration error", format!("{} nats{}", short(nats), self.remedy())));
        rows.push(("", format!("{} samples, {}", self.samples, self.integrator)));
        if let Some(probes) = self.laplacian_probes {
            let plural = if probes == 1 { "" } else { "s" };
            rows.push((
                "",
                format!("Laplacian by {probes} probe{plural} per row, whose scatter is in the standard error"),
            ));
        }
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let lines: Vec<String> = rows
            .iter()
            .map(|(name, value)| {
                // Signs stand in a column of their own.
                let sign = if value.starts_with('-') { "" } else { " " };
                format!("  {name:width$}  {sign}{value}")
            })
            .collect();
        lines.join("\n")
    }

    /// What to do about an integration error that is too large.
    fn remedy(&self) -> String {
        match (self.converged, self.random_in_time) {
            (true, _) => String::new(),
            (false, true) => {
                "  of the draws at every stage: --set potential.symmetry.draw=per-solve is exact".to_owned()
            }
            (false, false) if self.standard_error.is_nan() => {
                "  one picture has no standard error to compare it with: give more test pictures".to_owned()
            }
            (false, false) => {
                format!("  not below a tenth of the standard error: {}", finer(self.steps.is_none()))
            }
        }
    }

    fn figure_rows(&self) -> Vec<(&'static str, String)> {
        let nats_error = self.sites as f64 * self.standard_error;
        let mut rows = Vec::new();
        match &self.figures {
            Figures::Nll { nll_nats, bits_per_dim, bits_per_dim_error, entropy_nats, kl_nats } => {
                rows.push(("negative log-likelihood", format!("{} nats", with_error(*nll_nats, self.standard_error))));
                if let (Some(bits), Some(error)) = (bits_per_dim, bits_per_dim_error) {
                    rows.push(("bits per pixel", with_error(*bits, *error)));
                }
                if let Some(entropy) = entropy_nats {
                    rows.push(("entropy of the data", format!("{} nats", like_error(*entropy, self.standard_error))));
                }
                if let Some(kl) = kl_nats {
                    rows.push(("gap (KL divergence)", format!("{} nats", with_error(*kl, nats_error))));
                }
            }
            Figures::FreeEnergy {
                free_energy_per_site,
                exact_free_energy_per_site,
                kl_nats,
                ess,
                log_z_importance,
                log_z_importance_error,
            } => {
                let name = if self.sites > 1 { "free energy per site" } else { "free energy" };
                rows.push((name, with_error(*free_energy_per_site, self.standard_error)));
                if let Some(exact) = exact_free_energy_per_site {
                    rows.push(("exact value", like_error(*exact, self.standard_error)));
                }
                if let Some(kl) = kl_nats {
                    rows.push(("gap (KL divergence)", format!("{} nats", with_error(*kl, nats_error))));
                }
                let (Some(ess), Some(log_z), Some(log_z_error)) = (ess, log_z_importance, log_z_importance_error)
                else {
                    return rows;
                };
                let worth = ess * self.samples as f64;
                let few =
                    if worth < FEW { ": too few samples' worth for ln Z and its error to be relied on" } else { "" };
                rows.push(("effective sample size", format!("{:.1} %{few}", 100.0 * ess)));
                rows.push(("ln Z by importance", with_error(*log_z, *log_z_error)));
                if let Some(exact) = exact_free_energy_per_site {
                    rows.push(("ln Z, exact value", like_error(-exact * self.sites as f64, *log_z_error)));
                }
            }
        }
        rows
    }
}

/// Decimals at which an error shows two significant digits.
fn decimals(error: f64) -> usize {
    match error.abs() {
        error if error > 0.0 && error.is_finite() => (1.0 - error.log10().floor()).clamp(0.0, 12.0) as usize,
        _ => 6,
    }
}

/// How to integrate more accurately: an adaptive method goes by its tolerances, any other by its steps.
pub fn finer(adaptive: bool) -> &'static str {
    match adaptive {
        true => "lower evaluate.rtol and evaluate.atol with --set, in --precision f64",
        false => "give more --steps",
    }
}

/// A figure with its standard error, both to the digits that mean something. One row alone has no standard error.
pub fn with_error(value: f64, error: f64) -> String {
    let digits = decimals(error);
    match value.is_finite() && error.is_nan() {
        true => format!("{} (without a standard error)", fixed(value, digits)),
        false => format!("{} ± {}", fixed(value, digits), fixed(error, digits)),
    }
}

/// A number with so many decimals; by its power of ten where nobody would count the digits before them.
pub fn fixed(value: f64, digits: usize) -> String {
    match value.is_finite() && value.abs() >= 1e15 {
        true => format!("{value:.3e}"),
        false => format!("{value:.digits$}"),
    }
}

/// A figure with the digits of another's standard error.
pub fn like_error(value: f64, error: f64) -> String {
    fixed(value, decimals(error))
}

/// An error with two significant digits.
pub fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = (1 - value.abs().log10().floor() as i32).max(0) as usize;
    match digits {
        0..=8 => fixed(value, digits),
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
            laplacian_probes: None,
            sites: 100,
            figures: Figures::FreeEnergy {
                free_energy_per_site: -2.3,
                exact_free_energy_per_site: Some(-2.315_920_858_819),
                kl_nats: Some(1.592),
                ess: Some(0.031),
                log_z_importance: Some(231.4),
                log_z_importance_error: Some(0.25),
            },
        }
    }

    #[test]
    fn an_estimated_laplacian_gives_no_importance_weights() {
        let mut report = report();
        let Figures::FreeEnergy { ess, log_z_importance, log_z_importance_error, .. } = &mut report.figures else {
            panic!("another objective")
        };
        (*ess, *log_z_importance, *log_z_importance_error) = (None, None, None);
        let text = report.text();
        assert!(
            text.contains("gap (KL divergence)") && !text.contains("ln Z") && !text.contains("sample size"),
            "{text}"
        );
        assert!(report.json().contains("\"ess\":null"));
    }

    #[test]
    fn the_keys_are_the_fixed_ones() {
        assert_eq!(
            keys(&report()),
            [
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
                "objective",
                "samples",
                "standard_error",
                "steps"
            ]
        );
        let figures = Figures::Nll {
            nll_nats: 1255.5,
            bits_per_dim: Some(1.66),
            bits_per_dim_error: Some(0.0021),
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

    #[test]
    fn people_read_the_digits_that_mean_something() {
        let text = report().text();
        for line in [
            "  free energy per site   -2.3000 ± 0.0012",
            "  exact value            -2.3159",
            "  gap (KL divergence)     1.59 ± 0.12 nats",
            "  effective sample size   3.1 %: too few samples' worth for ln Z and its error to be relied on",
            "  ln Z by importance      231.40 ± 0.25",
            "  ln Z, exact value       231.59",
            "  integration error       0.0032 nats",
            "                          1000 samples, 20 steps of rk4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
        assert!(!text.contains("probe"), "{text}");
        let text = Report { laplacian_probes: Some(4), ..report() }.text();
        assert!(
            text.ends_with(
                "                          Laplacian by 4 probes per row, whose scatter is in the standard error"
            ),
            "{text}"
        );
        let text = Report { converged: false, ..report() }.text();
        assert!(text.contains("give more --steps"), "{text}");
        let text = Report { converged: false, steps: None, ..report() }.text();
        assert!(text.contains("lower evaluate.rtol and evaluate.atol") && !text.contains("--steps"), "{text}");
        let text = Report { converged: false, standard_error: f64::NAN, ..report() }.text();
        assert!(text.contains("more test pictures") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn errors_have_two_digits() {
        assert_eq!(short(0.001_234), "0.0012");
        assert_eq!(short(12.7), "13");
        assert_eq!(short(3.4e-12), "3.4e-12");
        assert_eq!(with_error(1255.48, 3.1), "1255.5 ± 3.1");
        assert_eq!(with_error(1.0, 0.0), "1.000000 ± 0.000000");
        assert_eq!(with_error(1.5, f64::NAN), "1.500000 (without a standard error)");
        assert_eq!(with_error(f64::NAN, f64::NAN), "NaN ± NaN");
    }

    #[test]
    fn no_number_fills_a_screen() {
        assert_eq!(with_error(-2e300, 3e299), "-2.000e300 ± 3.000e299");
        assert_eq!([short(1.5e300), like_error(1e40, 0.1)], ["1.500e300", "1.000e40"]);
        assert_eq!(fixed(-123_456_789_012.5, 1), "-123456789012.5");
    }
}
