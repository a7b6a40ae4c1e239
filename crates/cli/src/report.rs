//! The figures of a run as a table for people.

use maflow::numbers::{like_error, short, with_error};
use maflow::report::{Figures, Report};

/// A table for people.
pub fn text(report: &Report) -> String {
    let rows = rows(report);
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

/// Names of figures with their values. A line without a name belongs to the one before.
pub fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let mut rows = figure_rows(report);
    // Differences are told in nats of the whole lattice, like the gap.
    let nats = report.sites as f64 * report.integration_error;
    let error = match report.closed_form {
        true => "none: the map is in closed form".to_owned(),
        false => format!("{} nats{}", short(nats), remedy(report)),
    };
    rows.push(("integration error", error));
    rows.push(("", format!("{} samples, {}", report.samples, report.integrator)));
    if let Some(probes) = report.laplacian_probes {
        let plural = if probes == 1 { "" } else { "s" };
        rows.push(("", format!("Laplacian by {probes} probe{plural} per row, whose scatter is in the standard error")));
    }
    if let Some(transport) = &report.transport {
        let cost = with_error(transport.transport_cost, transport.transport_cost_error);
        let ratio = with_error(transport.transport_ratio, transport.transport_ratio_error);
        let (error, samples) = (short(transport.transport_integration_error), transport.transport_samples);
        rows.push(("transport cost", format!("{cost} in the flow's coordinates, squared")));
        rows.push(("over the least", format!("at most {ratio}, integration error {error}, {samples} samples")));
    }
    rows
}

/// What to do about an integration error that is too large.
fn remedy(report: &Report) -> String {
    match (report.converged, report.random_in_time) {
        (true, _) => String::new(),
        (false, true) => {
            "  of the draws at every stage: a flow trained with potential.symmetry.draw=per-solve has none".to_owned()
        }
        (false, false) if report.standard_error.is_nan() => {
            "  one row has no standard error to compare it with: give more test rows".to_owned()
        }
        (false, false) if report.integration_error.abs() > report.standard_error => format!(
            "  more than the standard error, so that these are no figures: {}, or take a smaller flow.time",
            finer(report.steps.is_none())
        ),
        (false, false) => {
            format!("  not below a tenth of the standard error: {}", finer(report.steps.is_none()))
        }
    }
}

/// Names and values of a report's figures.
type FigureRows = Vec<(&'static str, String)>;

fn figure_rows(report: &Report) -> FigureRows {
    match &report.figures {
        Figures::Nll { .. } => likelihood_rows(report),
        Figures::FreeEnergy { .. } => free_energy_rows(report),
    }
}

/// `gap (KL divergence)`, where it is known.
fn gap_row(report: &Report, kl: Option<f64>) -> Option<(&'static str, String)> {
    let error = report.sites as f64 * report.standard_error;
    kl.map(|kl| ("gap (KL divergence)", format!("{} nats", with_error(kl, error))))
}

fn likelihood_rows(report: &Report) -> FigureRows {
    let Figures::Nll {
        nll_nats,
        bits_per_dim,
        bits_per_dim_error,
        gaussian_nll_nats,
        independent_nll_nats,
        entropy_nats,
        kl_nats,
    } = &report.figures
    else {
        return Vec::new();
    };
    let mut rows = vec![("negative log-likelihood", format!("{} nats", with_error(*nll_nats, report.standard_error)))];
    if let (Some(bits), Some(error)) = (bits_per_dim, bits_per_dim_error) {
        rows.push(("bits per dimension", with_error(*bits, *error)));
    }
    let beside = [
        ("the same of a Gaussian", gaussian_nll_nats),
        ("of independent columns", independent_nll_nats),
        ("entropy of the data", entropy_nats),
    ];
    for (name, nats) in beside {
        if let Some(nats) = nats {
            rows.push((name, format!("{} nats", like_error(*nats, report.standard_error))));
        }
    }
    rows.extend(gap_row(report, *kl_nats));
    rows
}

fn free_energy_rows(report: &Report) -> FigureRows {
    let Figures::FreeEnergy {
        free_energy_per_site,
        exact_free_energy_per_site,
        kl_nats,
        ess,
        log_z_importance,
        log_z_importance_error,
        log_z_psis,
        pareto_k,
        forward,
    } = &report.figures
    else {
        return Vec::new();
    };
    let name = if report.sites > 1 { "free energy per site" } else { "free energy" };
    let mut rows = vec![(name, with_error(*free_energy_per_site, report.standard_error))];
    if let Some(exact) = exact_free_energy_per_site {
        rows.push(("exact value", like_error(*exact, report.standard_error)));
    }
    rows.extend(gap_row(report, *kl_nats));
    let (Some(ess), Some(log_z)) = (ess, log_z_importance) else { return rows };
    rows.push(("effective sample size", format!("{:.1} %", 100.0 * ess)));
    rows.push(("ln Z by importance", by_importance(*log_z, *log_z_importance_error, *pareto_k)));
    if let (Some(smoothed), None) = (log_z_psis, log_z_importance_error) {
        rows.push(("ln Z, Pareto-smoothed", format!("{smoothed:.1}")));
    }
    if let Some(exact) = exact_free_energy_per_site {
        let like = log_z_importance_error.unwrap_or(0.1);
        rows.push(("ln Z, exact value", like_error(-exact * report.sites as f64, like)));
    }
    match forward {
        None => rows.push(("", "no reference: modes never visited cannot be seen".to_owned())),
        Some(forward) => {
            let kl = with_error(forward.forward_kl_nats, forward.forward_kl_error);
            rows.push(("forward KL divergence", format!("{kl} nats")));
            let (ess, samples) = (100.0 * forward.forward_ess, forward.forward_samples);
            rows.push(("forward sample size", format!("{ess:.1} %, by {samples} samples of the target")));
        }
    }
    rows
}

/// ln Z by importance weights with its error, or why it has none.
pub fn by_importance(log_z: f64, error: Option<f64>, shape: Option<f64>) -> String {
    match (error, shape) {
        (Some(error), _) => with_error(log_z, error),
        (None, Some(shape)) => {
            format!("{log_z:.1}, without an error: the weights' tail has the Pareto shape {shape:.2}")
        }
        (None, None) => format!("{log_z:.1}, without an error: too few samples carry the weight"),
    }
}

/// How to integrate more accurately: an adaptive method goes by its tolerances, any other by its steps.
pub fn finer(adaptive: bool) -> &'static str {
    match adaptive {
        true => "lower evaluate.rtol and evaluate.atol with --set, in --precision f64",
        false => "give more --steps",
    }
}

#[cfg(test)]
mod tests {
    use maflow::recipe::Objective;
    use maflow::report::Forward;

    use super::*;

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
    fn an_estimated_laplacian_gives_no_importance_weights() {
        let mut report = report();
        let Figures::FreeEnergy { ess, log_z_importance, log_z_importance_error, .. } = &mut report.figures else {
            panic!("another objective")
        };
        (*ess, *log_z_importance, *log_z_importance_error) = (None, None, None);
        let told = text(&report);
        assert!(
            told.contains("gap (KL divergence)") && !told.contains("ln Z") && !told.contains("sample size"),
            "{told}"
        );
        assert!(report.json().contains("\"ess\":null"));
    }

    #[test]
    fn people_read_the_digits_that_mean_something() {
        let told = text(&report());
        for line in [
            "  free energy per site   -2.3000 ± 0.0012",
            "  exact value            -2.3159",
            "  gap (KL divergence)     1.59 ± 0.12 nats",
            "  effective sample size   3.1 %",
            "  ln Z by importance      231.40 ± 0.25",
            "  ln Z, exact value       231.59",
            "                          no reference: modes never visited cannot be seen",
            "  integration error       0.0032 nats",
            "                          1000 samples, 20 steps of rk4",
        ] {
            assert!(told.lines().any(|found| found == line), "{line:?} is not in\n{told}");
        }
        assert!(!told.contains("probe"), "{told}");
        let told = text(&Report { laplacian_probes: Some(4), ..report() });
        assert!(
            told.ends_with(
                "                          Laplacian by 4 probes per row, whose scatter is in the standard error"
            ),
            "{told}"
        );
        let told = text(&Report { converged: false, ..report() });
        assert!(told.contains("not below a tenth of the standard error: give more --steps"), "{told}");
        let told = text(&Report { converged: false, integration_error: 0.0013, ..report() });
        assert!(told.contains("these are no figures: give more --steps, or take a smaller flow.time"), "{told}");
        let mut heavy = report();
        let Figures::FreeEnergy { log_z_importance_error, pareto_k, forward, .. } = &mut heavy.figures else {
            panic!("another objective")
        };
        (*log_z_importance_error, *pareto_k) = (None, Some(0.912));
        *forward = Some(Forward {
            forward_kl_nats: 2.34,
            forward_kl_error: 0.051,
            forward_kl_integration_error: 1e-4,
            forward_ess: 0.021,
            forward_samples: 2000,
        });
        let told = text(&heavy);
        for line in [
            "  ln Z by importance      231.4, without an error: the weights' tail has the Pareto shape 0.91",
            "  ln Z, Pareto-smoothed   231.3",
            "  ln Z, exact value       231.59",
            "  forward KL divergence   2.340 ± 0.051 nats",
            "  forward sample size     2.1 %, by 2000 samples of the target",
        ] {
            assert!(told.lines().any(|found| found == line), "{line:?} is not in\n{told}");
        }
        let told = text(&Report { converged: false, steps: None, ..report() });
        assert!(told.contains("lower evaluate.rtol and evaluate.atol") && !told.contains("--steps"), "{told}");
        let told = text(&Report { converged: false, standard_error: f64::NAN, ..report() });
        assert!(told.contains("more test rows") && !told.contains("NaN"), "{told}");
    }
}
