//! What a study of a target with an energy found, as tables for people.

use maflow::numbers::{like_error, short, with_error};
use maflow::physics::report::{AtTemperature, Figure, PhysicsReport, Row, Time};
use maflow::report::Figures;

use crate::report::{by_importance, finer};

/// Tables for people.
pub fn text(report: &PhysicsReport) -> String {
    [weights(report), observables(report), samplers(report)].map(|table| lines(&table)).join("\n\n")
}

/// A table of the studies of several temperatures: free energy, ln Z, energy and specific heat, each beside its exact
/// value.
pub fn of_temperatures(all: &[AtTemperature]) -> String {
    let head = [
        "T",
        "free energy per site",
        "exact",
        "gap in nats",
        "ESS",
        "ln Z by importance",
        "exact",
        "energy per site",
        "exact",
        "specific heat per site",
        "exact",
        "integration error in nats",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(of_temperature));
    let report = &all[0].report.report;
    let notes = format!(
        "{} samples at each temperature; {}{}",
        report.samples,
        "energy and specific heat by weighted samples",
        match all.iter().all(|at| at.report.report.converged) {
            true => String::new(),
            false => format!("; not all figures are converged in the step: {}", finer(report.steps.is_none())),
        }
    );
    format!("{}\n\n  {notes}", lines(&rows))
}

/// A row of that table.
fn of_temperature(AtTemperature { temperature, report: physics }: &AtTemperature) -> Vec<String> {
    let report = &physics.report;
    let mut row = vec![format!("{temperature:.4}")];
    if let Figures::FreeEnergy {
        free_energy_per_site,
        exact_free_energy_per_site: exact,
        kl_nats,
        ess,
        log_z_importance,
        log_z_importance_error: error,
        pareto_k,
        ..
    } = report.figures
    {
        let sites = report.sites as f64;
        row.extend([
            with_error(free_energy_per_site, report.standard_error),
            exact.map_or(String::new(), |exact| like_error(exact, report.standard_error)),
            kl_nats.map_or(String::new(), |kl| with_error(kl, sites * report.standard_error)),
            ess.map_or(String::new(), |ess| format!("{:.1} %", 100.0 * ess)),
            log_z_importance.map_or(String::new(), |log_z| by_importance(log_z, error, pareto_k)),
            exact.map_or(String::new(), |exact| like_error(-exact * sites, error.unwrap_or(0.1))),
        ]);
    }
    for row_of in physics.observables.iter().filter(|row| row.exact.is_some()) {
        row.push(figure(&row_of.weighted));
        row.push(row_of.exact.map_or(String::new(), |exact| like_error(exact, row_of.weighted.standard_error)));
    }
    row.push(short(report.sites as f64 * report.integration_error));
    row
}

fn figure(figure: &Figure) -> String {
    with_error(figure.value, figure.standard_error)
}

fn time(time: &Time) -> String {
    let bound = if time.lower_bound { "> " } else { "" };
    format!("{bound}{}", with_error(time.value, time.standard_error))
}

fn weights(physics: &PhysicsReport) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let report = &physics.report;
    let mut rows = Vec::new();
    if let Figures::FreeEnergy {
        log_z_importance: Some(log_z),
        log_z_importance_error: error,
        ess: Some(ess),
        exact_free_energy_per_site: exact,
        pareto_k,
        ..
    } = report.figures
    {
        let worth = ess * report.samples as f64;
        let heavy = if error.is_none() { ": weighted figures are not to be relied on" } else { "" };
        rows.push(row("ln Z by importance", by_importance(log_z, error, pareto_k)));
        if let Some(exact) = exact {
            rows.push(row("ln Z, exact value", like_error(-exact * report.sites as f64, error.unwrap_or(0.1))));
        }
        if let Some(annealed) = &physics.annealing {
            rows.push(row(
                "ln Z by annealing",
                by_importance(annealed.log_z, annealed.standard_error, annealed.pareto_k),
            ));
        }
        if let Some(bar) = &physics.log_z_bar {
            rows.push(row("ln Z by Bennett's ratio", figure(bar)));
        }
        rows.push(row("effective sample size", format!("{:.1} %, {worth:.0} samples{heavy}", 100.0 * ess)));
    }
    let mismatch = if report.sites > 1 { "|∇ ln p + ∇E|² per site" } else { "|∇ ln p + ∇E|²" };
    rows.push(row(mismatch, figure(&physics.force_mismatch_per_site)));
    let remedy = match report.converged {
        true => String::new(),
        false => {
            format!("; some figure moved by more than a tenth of its standard error: {}", finer(report.steps.is_none()))
        }
    };
    rows.push(row("integration error of ln Z", format!("{}{remedy}", short(physics.log_z_integration_error))));
    rows.push(row("", format!("{} samples, {}", report.samples, report.integrator)));
    rows
}

fn observables(report: &PhysicsReport) -> Vec<Vec<String>> {
    type Cell = fn(&Row) -> Option<String>;
    let columns: [(&str, Cell); 8] = [
        ("flow", |row| Some(figure(&row.flow))),
        ("weighted", |row| Some(figure(&row.weighted))),
        ("exact", |row| row.exact.map(|exact| like_error(exact, row.weighted.standard_error))),
        ("cluster Monte Carlo", |row| row.clusters.as_ref().map(figure)),
        ("reference", |row| row.reference.as_ref().map(figure)),
        ("Metropolis", |row| row.metropolis.as_ref().map(figure)),
        ("hybrid in z", |row| row.latent_hybrid.as_ref().map(figure)),
        ("hybrid in x", |row| row.plain_hybrid.as_ref().map(figure)),
    ];
    // A row for each way, for there are more ways than observables.
    let mut rows = vec![std::iter::once(String::new()).chain(names(report)).collect()];
    for (name, of) in columns {
        let cells: Vec<Option<String>> = report.observables.iter().map(of).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(Option::unwrap_or_default);
            rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
        }
    }
    rows
}

fn names(report: &PhysicsReport) -> impl Iterator<Item = String> {
    report.observables.iter().map(|row| row.observable.words.to_string())
}

fn samplers(report: &PhysicsReport) -> Vec<Vec<String>> {
    let energy = if report.target == "phi4" { "τ of action" } else { "τ of energy" };
    let samplers = [
        ("Metropolis", report.metropolis),
        ("hybrid in z", report.latent_hybrid),
        ("hybrid in x", report.plain_hybrid),
    ];
    let samplers = samplers.into_iter().filter_map(|(name, sampler)| Some((name, sampler?)));
    let magnetic = samplers.clone().any(|(_, sampler)| sampler.autocorrelation_magnetisation.is_some());
    let head = ["", "acceptance", energy].into_iter().chain(magnetic.then_some("τ of |magnetisation|"));
    let mut rows = vec![head.chain(["chains"]).map(str::to_owned).collect()];
    for (name, sampler) in samplers {
        let mut chains = format!("{} of {} states", sampler.chains, sampler.length);
        if let (Some(step), Some(steps)) = (sampler.step_size, sampler.leapfrog_steps) {
            chains += &format!(", {steps} leapfrog steps of {step:.3}");
        }
        let acceptance = format!("{:.1} %", 100.0 * sampler.acceptance);
        let mut cells = vec![name.to_owned(), acceptance, time(&sampler.autocorrelation_energy)];
        cells.extend(sampler.autocorrelation_magnetisation.as_ref().map(time));
        cells.push(chains);
        rows.push(cells);
    }
    rows
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
